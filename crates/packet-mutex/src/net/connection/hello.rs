//! The first frame.

use super::wire::{Out, Read, Refused, Wire};
use super::{Connection, LONG, Peer, pause};
use crate::backend::Backend;
use crate::error::Error;
use crate::net::VERSION;
use crate::net::frame::{Fields, Frame, seconds};
use crate::net::server::House;
use crate::roster_toml::from_toml;
use packet_mutex_arbiter::Roster;
use serde_json::{Value, json};
use std::future::poll_fn;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncRead, AsyncWrite};

/// Takes the hello. Whoever says anything else is told why it is turned away, once.
pub(super) async fn greet<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    wire: &mut Wire<R, W>,
    peer: Peer,
    house: &House,
) -> Option<Connection> {
    let mut id = None;
    let read = poll_fn(|context| wire.poll_read(context)).await.ok()?;
    let greeted = match read {
        Read::End => return None,
        Read::TooLong => Err(Refused::TooLong),
        Read::Line(line) => {
            if line.len() > LONG {
                pause(line.len()).await;
            }
            Frame::parse(&line).map_err(Refused::Bad).and_then(|frame| {
                id = frame.number("id").ok().flatten();
                hello(&frame, peer, house)
            })
        }
    };
    let mut out = Out::default();
    let connection = match greeted {
        Ok((connection, reply)) => {
            out.object(reply);
            Some(connection)
        }
        Err(why) => {
            out.refuse(id, why);
            None
        }
    };
    wire.write(&out.0).await.ok()?;
    connection
}

fn hello(frame: &Frame<'_>, peer: Peer, house: &House) -> Result<(Connection, Value), Refused> {
    let id = frame.number("id")?;
    if frame.needed_text("op")? != "hello" {
        return Err(Refused::Bad("the first frame is a hello".into()));
    }
    // Nothing is told to who does not know the secret.
    if let (Peer::Tcp, Some(secret)) = (peer, &house.options.secret) {
        let told = frame.text("secret")?.unwrap_or_default();
        if !bool::from(told.as_bytes().ct_eq(secret.as_bytes())) {
            return Err(Error::Unauthorized.into());
        }
    }
    let version = frame.needed_number("version")?;
    if version != VERSION {
        return Err(Refused::Version(format!(
            "version {version} of the protocol; this server speaks version {VERSION}"
        )));
    }
    let name = frame.text("mutex")?.unwrap_or("main");
    let folded = packet_mutex_arbiter::fold_name(name).map_err(Error::InvalidName)?;
    let Some(mutex) = house.mutexes.get(folded.as_str()) else {
        return Err(Error::Unavailable(format!("no mutex `{folded}` behind this socket")).into());
    };
    let theirs = mutex.roster();
    if let Some(text) = frame.text("roster")? {
        let fields = theirs.differences(&roster(text)?);
        if !fields.is_empty() {
            return Err(Error::RosterDiffers { fields }.into());
        }
    }
    let Backend::Local(shared) = &mutex.backend else {
        return Err(Error::Unsupported("the mutex is behind another socket").into());
    };
    let lease = (peer == Peer::Tcp).then_some(house.options.lease);
    let reply = json!({
        "id": id,
        "ok": true,
        "version": VERSION,
        "server": concat!("packet-mutex ", env!("CARGO_PKG_VERSION")),
        "mutex": folded,
        "life": life(shared.number),
        "timeout": seconds(theirs.spec().timeout),
        "lease": lease.map(seconds),
    });
    Ok((Connection::new(mutex.clone(), shared.clone(), lease), reply))
}

/// A text that no other mutex of any other process has: the numbers of requests and events begin anew with each.
fn life(number: u64) -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    format!("{:016x}-{number}", *PROCESS)
}

pub(super) fn roster(text: &str) -> Result<Roster, Refused> {
    from_toml("roster", text).map_err(|errors| Refused::Bad(errors.to_string()))
}
