//! Where a mutex is: `local:`, `unix:/path` or `tcp://host:port`, and `#name` if it is not `main`.

use crate::english::English;
use packet_mutex_arbiter::fold_name;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a mutex is.
///
/// ```
/// use packet_mutex::net::{Address, Url};
///
/// let url: Url = "unix:/run/user/1000/packet-mutex/socket#second".parse().unwrap();
/// assert_eq!(url.mutex, "second");
/// assert_eq!("tcp://127.0.0.1:7720".parse::<Url>().unwrap().mutex, "main");
/// assert!("http://example".parse::<Url>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// The address of its server.
    pub address: Address,
    /// The name of the mutex there, folded.
    pub mutex: String,
}

/// An address at which there are mutexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// In this process.
    Local,
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP port: the name or address of a host, IPv6 in brackets, and the port.
    Tcp(String),
}

/// Why a text is not the URL of a mutex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlError(String);

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UrlError {}

const FORMS: &str =
    "a mutex is at `local:`, `unix:/path` or `tcp://host:port`, each with or without `#name`";

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (place, name) = text.split_once('#').unwrap_or((text, "main"));
        let mutex =
            fold_name(name).map_err(|why| UrlError(format!("after the `#`: {}", English(&why))))?;
        let address = if place == "local:" {
            Address::Local
        } else if let Some(path) = place.strip_prefix("unix:") {
            if !path.starts_with('/') {
                return Err(UrlError("the path after `unix:` begins with `/`".into()));
            }
            Address::Unix(path.into())
        } else if let Some(host) = place.strip_prefix("tcp://") {
            let port = host.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            if port.is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
                return Err(UrlError("`tcp://` is followed by `host:port`".into()));
            }
            Address::Tcp(host.into())
        } else {
            return Err(UrlError(FORMS.into()));
        };
        Ok(Url { address, mutex })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Local => f.write_str("local:"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mutex.as_str() {
            "main" => write!(f, "{}", self.address),
            name => write!(f, "{}#{name}", self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_round_trip() {
        for text in [
            "local:",
            "local:#a",
            "unix:/run/x",
            "unix:/run/x#b.c",
            "tcp://[::1]:1",
            "tcp://h:65535#d",
        ] {
            assert_eq!(text.parse::<Url>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_text_that_is_not_a_url_is_told_why() {
        let bad = [
            ("", FORMS),
            ("unix:socket", "begins with `/`"),
            ("tcp://:1", "`host:port`"),
            ("tcp://host", "`host:port`"),
            ("tcp://host:65536", "`host:port`"),
            ("local:#", "must not be empty"),
            ("local:#\u{1b}[31m", "allowed are a-z"),
        ];
        for (text, why) in bad {
            let error = text.parse::<Url>().unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}
