//! Connecting to a running mutex by its URL.

use crate::exit::Failure;
use packet_mutex::PacketMutex;
use packet_mutex::net::{Address, Url, default_url};

/// Which running mutex a command is about.
#[derive(Debug, clap::Args)]
pub(crate) struct Connection {
    /// Where the mutex is: unix:/path or tcp://host:port, with #name if it is not `main`; without it,
    /// PACKET_MUTEX_URL, or else where `serve` listens
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// Returns the given URL, or the environment's, or the default.
pub(crate) fn url(given: Option<&str>) -> String {
    let environment = || std::env::var("PACKET_MUTEX_URL").ok().filter(|url| !url.is_empty());
    given.map(String::from).or_else(environment).unwrap_or_else(default_url)
}

impl Connection {
    pub(crate) fn url(&self) -> String {
        url(self.url.as_deref())
    }

    /// Connects, and returns once the server has answered.
    pub(crate) fn open(&self) -> Result<PacketMutex, Failure> {
        let url = self.url();
        let bad = |why: String| Failure::bad_input(format!("{url}: {why}"));
        let Url { address, .. } =
            url.parse().map_err(|why: packet_mutex::net::UrlError| bad(why.to_string()))?;
        if address == Address::Local {
            let why =
                "this is a process's own mutex; give the URL of a running `packet-mutex serve`";
            return Err(bad(why.into()));
        }
        Ok(PacketMutex::connect(&url)?)
    }
}
