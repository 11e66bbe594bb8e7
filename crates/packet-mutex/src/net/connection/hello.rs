//! The first frame of a connection.

use super::state::{Client, Connection};
use super::wire::{BYTES_PER_MS, Out, Read, Wire, pause};
use crate::error::Error;
use crate::net::hosted::Hosted;
use crate::net::limits::{FRAME_MAX, VERSION};
use crate::net::protocol::{Hello, Refused, Reply};
use crate::roster_toml::from_toml;
use packet_mutex_arbiter::fold_name;
use std::future::poll_fn;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncRead, AsyncWrite};

/// Reads the hello. A client that sends anything else is told why, and is turned away.
pub(super) async fn greet<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    wire: &mut Wire<R, W>,
    client: Client,
    hosted: &Hosted,
) -> Option<Connection> {
    let read = poll_fn(|context| wire.poll_read(context)).await.ok()?;
    let mut out = Out::default();
    let connection = match read {
        Read::End => return None,
        Read::TooLong => {
            out.refuse(None, Refused::TooLong(FRAME_MAX));
            None
        }
        Read::Line(line) => {
            // Nobody knows this client yet: a long frame must not cost the others more here than it does later.
            if line.len() > BYTES_PER_MS {
                pause(line.len()).await;
            }
            greeted(&line, client, hosted, &mut out)
        }
    };
    wire.write(&out.0).await.ok()?;
    connection
}

fn greeted(line: &[u8], client: Client, hosted: &Hosted, out: &mut Out) -> Option<Connection> {
    let (id, hello) = match Hello::parse(line) {
        Ok(hello) => hello,
        Err(wrong) => {
            out.refuse(wrong.id, wrong.why);
            return None;
        }
    };
    match admit(&hello, client, hosted) {
        Ok((connection, reply)) => {
            out.reply(id, reply);
            Some(connection)
        }
        Err(why) => {
            out.refuse(Some(id), why);
            None
        }
    }
}

fn admit(
    hello: &Hello<'_>,
    client: Client,
    hosted: &Hosted,
) -> Result<(Connection, Reply<'static>), Refused> {
    let Hello { version, mutex, secret, roster } = hello;
    // This comes first: a client that does not know the secret learns nothing, not even the version.
    if let (Client::Tcp, Some(expected)) = (client, &hosted.options.secret) {
        let told = secret.as_deref().unwrap_or_default();
        if !bool::from(told.as_bytes().ct_eq(expected.as_bytes())) {
            return Err(Error::Unauthorized.into());
        }
    }
    if *version != VERSION {
        return Err(Refused::Unsupported(format!(
            "this server speaks version {VERSION} of the protocol, not version {version}"
        )));
    }
    let name = mutex.as_deref().unwrap_or("main");
    let name = fold_name(name).map_err(Error::InvalidName)?;
    let Some(mutex) = hosted.mutexes.get(name.as_str()) else {
        let why = format!("there is no mutex `{name}` behind this socket");
        return Err(Error::Unavailable(why).into());
    };
    let in_force = mutex.roster();
    if let Some(text) = roster {
        let brought = from_toml("roster", text);
        let brought = brought.map_err(|errors| Refused::BadFrame(errors.to_string()))?;
        let fields = in_force.differences(&brought);
        if !fields.is_empty() {
            return Err(Error::RosterDiffers { fields }.into());
        }
    }
    let Some(local) = mutex.local() else {
        return Err(Error::Unsupported("the mutex is behind another socket").into());
    };
    let lease = (client == Client::Tcp).then_some(hosted.options.lease);
    let reply = Reply::Welcome {
        version: VERSION,
        server: concat!("packet-mutex ", env!("CARGO_PKG_VERSION")).into(),
        mutex: name.into(),
        life: life(local.identity.number).into(),
        timeout: in_force.spec().timeout,
        lease,
    };
    Ok((Connection::new(mutex.clone(), local, lease), reply))
}

/// Returns a text that no other mutex of any process has. The numbers of requests and events start again with each mutex, so
/// a client needs to know which one they belong to.
fn life(number: u64) -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    format!("{:016x}-{number}", *PROCESS)
}
