//! What a server sends.

use super::errors::Refused;
use super::fields::{
    Anything, Field, OrNull, Seconds, Text, TokenText, bad, fields, needed, read_field,
};
use crate::events::Event;
use crate::json::StatusObject;
use packet_mutex_arbiter::{Grant, ModuleId, RequestId, Status, Time};
use serde::Deserialize;
use std::borrow::Cow;
use std::time::Duration;

/// The answer to a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Reply<'a> {
    /// It was done, and there is nothing more to say.
    Done,
    /// The reply to a hello.
    Welcome {
        version: u64,
        /// The server's name.
        server: Text<'a>,
        mutex: Text<'a>,
        /// A text that changes whenever the numbers of requests and events start again.
        life: Text<'a>,
        /// How long an ask waits unless the ask or its module says otherwise.
        timeout: Duration,
        lease: Option<Duration>,
    },
    /// A turn or a pass. The module's number in the grant means nothing to the other side; its name does.
    Granted {
        request: RequestId,
        module: Text<'a>,
        grant: Grant,
    },
    /// The ask waits. Another reply follows within the timeout.
    Waiting {
        request: RequestId,
        timeout: Option<Duration>,
    },
    ShouldYield(bool),
    Module {
        module: Text<'a>,
        first_unknown: bool,
        nearest: Option<Text<'a>>,
    },
    /// A snapshot of the mutex of this name.
    Status(Text<'a>, Box<Status>),
    /// The roster as TOML.
    Roster(Text<'a>),
    /// Events after this number follow as notices.
    Events {
        after: u64,
    },
    Failed(Failed),
}

/// A request that was refused, or an ask that failed.
#[derive(Debug, PartialEq)]
pub(crate) struct Failed {
    /// The ask that failed.
    pub(crate) request: Option<RequestId>,
    /// The turn was not given away and goes on.
    pub(crate) still_held: bool,
    pub(crate) why: Refused,
}

/// What a server sends without being asked.
#[derive(Debug, PartialEq)]
pub(crate) enum Notice {
    /// The turn was ended by somebody other than its holder.
    Lost(RequestId),
    /// The turn should be given away, or need not be any more.
    ShouldYield(RequestId, bool),
    Event(Event),
}

/// One line of a server.
#[derive(Debug, PartialEq)]
pub(crate) enum FromServer<'a> {
    /// A reply and the number of its request, which is `None` if the server could not read that number.
    Reply(Option<u64>, Reply<'a>),
    Notice(Notice),
}

fields! {
    /// All fields of all replies and notices.
    struct Fields<'a> {
        id: OrNull<u64>,
        ok: bool,
        waiting: bool,
        notice: Text<'a>,
        version: u64,
        server: Text<'a>,
        mutex: Text<'a>,
        life: Text<'a>,
        request: u64,
        still_held: bool,
        should_yield: bool,
        module: Text<'a>,
        token: OrNull<TokenText>,
        waited: Seconds,
        others: u64,
        predecessor_abandoned: bool,
        depth: u64,
        timeout: OrNull<Seconds>,
        lease: OrNull<Seconds>,
        first_unknown: bool,
        status: Box<StatusObject>,
        roster: Text<'a>,
        after: u64,
        event: Box<Event>,
        error: Text<'a>,
        message: Text<'a>,
        holder: OrNull<Text<'a>>,
        held: OrNull<Seconds>,
        ahead: u64,
        delay_left: Seconds,
        paused: OrNull<Text<'a>>,
        holds: Text<'a>,
        asked: Text<'a>,
        limit: u64,
        name: Text<'a>,
        meant: Text<'a>,
        nearest: OrNull<Text<'a>>,
        fields: Vec<String>,
    }
}

// These two are boxed: each is larger than all other fields together, and hardly any frame has one.
impl Field for Box<StatusObject> {
    const MUST: &'static str = "a snapshot";
}

impl Field for Box<Event> {
    const MUST: &'static str = "an event";
}

impl<'a> FromServer<'a> {
    /// Reads a line. Returns `None` for a notice of a kind that only a newer server knows.
    ///
    /// # Errors
    ///
    /// What is wrong with it. The client must end the connection then: the line may have been a grant, and a turn that nobody
    /// knows of would keep all others out.
    pub(crate) fn parse(line: &'a [u8]) -> Result<Option<Self>, String> {
        let frame = str::from_utf8(line).map_err(|error| format!("not UTF-8: {error}"))?;
        let (mut fields, mut wrong) = (Fields::default(), None);
        if let Err(error) = fields.read(frame, &mut wrong) {
            let event = newer_event(frame).map(Notice::Event).map(FromServer::Notice);
            let why = || wrong.unwrap_or_else(|| format!("not a frame: {error}"));
            return event.map(Some).ok_or_else(why);
        }
        if let Some(notice) = &fields.notice {
            let request = || needed(fields.request, "request").map(RequestId);
            return Ok(Some(FromServer::Notice(match &**notice {
                "lost" => Notice::Lost(request()?),
                "should_yield" => {
                    Notice::ShouldYield(request()?, fields.should_yield.unwrap_or(true))
                }
                "event" => Notice::Event(*needed(fields.event, "event")?),
                _ => return Ok(None),
            })));
        }
        let id = fields.id.and_then(|id| id.0);
        Ok(Some(FromServer::Reply(id, Reply::of(fields)?)))
    }

    /// Appends the frame as a line.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let mut fields = Fields::default();
        match self {
            FromServer::Notice(notice) => notice.fill(&mut fields),
            FromServer::Reply(id, reply) => {
                fields.id = Some(OrNull(id));
                reply.fill(&mut fields);
            }
        }
        fields.write(out);
    }
}

/// Reads an event of a kind that only a newer server knows. It counts as dropped, so that readers know that one is missing.
fn newer_event(frame: &str) -> Option<Event> {
    #[derive(Deserialize)]
    struct Outer<'a> {
        #[serde(borrow)]
        event: Inner<'a>,
    }
    #[derive(Deserialize)]
    struct Inner<'a> {
        seq: u64,
        t: Seconds,
        #[serde(borrow)]
        mutex: Cow<'a, str>,
    }
    let Outer { event: Inner { seq, t: Seconds(t), mutex } } = serde_json::from_str(frame).ok()?;
    Some(Event::dropped((&*mutex).into(), seq, Time::ZERO + t, 1))
}

impl Notice {
    fn fill(self, fields: &mut Fields<'_>) {
        let kind = match self {
            Notice::Lost(request) => {
                fields.request = Some(request.0);
                "lost"
            }
            Notice::ShouldYield(request, should) => {
                (fields.request, fields.should_yield) = (Some(request.0), Some(should));
                "should_yield"
            }
            Notice::Event(event) => {
                fields.event = Some(Box::new(event));
                "event"
            }
        };
        fields.notice = Some(kind.into());
    }
}

impl<'a> Reply<'a> {
    /// Returns the reply that these fields describe. Which kind it is follows from the fields that are there.
    fn of(fields: Fields<'a>) -> Result<Self, String> {
        if fields.error.is_some() {
            return Ok(Reply::Failed(Failed {
                request: fields.request.map(RequestId),
                still_held: fields.still_held.unwrap_or_default(),
                why: fields.refused(),
            }));
        }
        let timeout = fields.timeout.and_then(|timeout| timeout.0).map(|timeout| timeout.0);
        if fields.waiting == Some(true) {
            let request = RequestId(needed(fields.request, "request")?);
            return Ok(Reply::Waiting { request, timeout });
        }
        if let Some(life) = fields.life {
            return Ok(Reply::Welcome {
                version: needed(fields.version, "version")?,
                server: fields.server.unwrap_or_default(),
                mutex: fields.mutex.unwrap_or_default(),
                life,
                timeout: timeout.ok_or_else(|| bad("timeout", Seconds::MUST))?,
                lease: fields.lease.and_then(|lease| lease.0).map(|lease| lease.0),
            });
        }
        if let Some(request) = fields.request {
            let depth = fields.depth.unwrap_or_default();
            let grant = Grant {
                module: ModuleId::NONE,
                token: fields.token.and_then(|token| token.0).map(|token| token.0),
                waited: fields.waited.unwrap_or_default().0,
                others_since_request: fields.others.unwrap_or_default(),
                predecessor_abandoned: fields.predecessor_abandoned.unwrap_or_default(),
                depth: usize::try_from(depth).unwrap_or(usize::MAX),
            };
            let module = needed(fields.module, "module")?;
            return Ok(Reply::Granted { request: RequestId(request), module, grant });
        }
        Ok(if let Some(should) = fields.should_yield {
            Reply::ShouldYield(should)
        } else if let Some(status) = fields.status {
            let (mutex, status) = status.into_parts();
            Reply::Status(mutex.into(), Box::new(status))
        } else if let Some(roster) = fields.roster {
            Reply::Roster(roster)
        } else if let Some(after) = fields.after {
            Reply::Events { after }
        } else if let Some(module) = fields.module {
            let nearest = fields.nearest.and_then(|nearest| nearest.0);
            let first_unknown = fields.first_unknown.unwrap_or_default();
            Reply::Module { module, first_unknown, nearest }
        } else {
            Reply::Done
        })
    }

    fn fill(self, fields: &mut Fields<'a>) {
        fields.ok = Some(true);
        match self {
            Reply::Done => {}
            Reply::Welcome { version, server, mutex, life, timeout, lease } => {
                fields.version = Some(version);
                fields.server = Some(server);
                fields.mutex = Some(mutex);
                fields.life = Some(life);
                fields.timeout = Some(OrNull(Some(Seconds(timeout))));
                fields.lease = Some(OrNull(lease.map(Seconds)));
            }
            Reply::Granted { request, module, grant } => {
                let Grant {
                    module: _,
                    token,
                    waited,
                    others_since_request,
                    predecessor_abandoned,
                    depth,
                } = grant;
                fields.request = Some(request.0);
                fields.module = Some(module);
                fields.token = Some(OrNull(token.map(TokenText)));
                fields.waited = Some(Seconds(waited));
                fields.others = Some(others_since_request);
                fields.predecessor_abandoned = Some(predecessor_abandoned);
                fields.depth = Some(depth as u64);
            }
            Reply::Waiting { request, timeout } => {
                (fields.ok, fields.waiting) = (None, Some(true));
                fields.request = Some(request.0);
                fields.timeout = Some(OrNull(timeout.map(Seconds)));
            }
            Reply::ShouldYield(should) => fields.should_yield = Some(should),
            Reply::Module { module, first_unknown, nearest } => {
                fields.module = Some(module);
                fields.first_unknown = Some(first_unknown);
                fields.nearest = Some(OrNull(nearest));
            }
            Reply::Status(mutex, status) => {
                fields.status = Some(Box::new(StatusObject::new(&mutex, &status)));
            }
            Reply::Roster(roster) => fields.roster = Some(roster),
            Reply::Events { after } => fields.after = Some(after),
            Reply::Failed(Failed { request, still_held, why }) => {
                fields.ok = None;
                fields.request = request.map(|request| request.0);
                fields.still_held = still_held.then_some(true);
                why.fill(fields);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::net::protocol::Refused;
    use packet_mutex_arbiter::{InvalidName, NameError, Refusal, TimedOut, Token};

    fn read_back(frame: FromServer<'_>, shown: &str) {
        let mut line = Vec::new();
        frame.write(&mut line);
        assert_eq!(line.pop(), Some(b'\n'));
        let again = FromServer::parse(&line).unwrap_or_else(|why| panic!("{shown}: {why}"));
        assert_eq!(format!("{:?}", again.unwrap()), shown);
    }

    #[test]
    fn what_a_server_writes_a_client_reads() {
        let grant = Grant {
            module: ModuleId::NONE,
            token: Some(Token(u64::MAX)),
            waited: Duration::from_nanos(1_500_000_001),
            others_since_request: 3,
            predecessor_abandoned: true,
            depth: 2,
        };
        let request = RequestId(7);
        let module = || Text::from("fi\"sher");
        let replies = [
            Reply::Done,
            Reply::Welcome {
                version: 1,
                server: "s".into(),
                mutex: "main".into(),
                life: "a-1".into(),
                timeout: Duration::from_secs(30),
                lease: None,
            },
            Reply::Granted { request, module: module(), grant },
            Reply::Granted { request, module: module(), grant: Grant { token: None, ..grant } },
            Reply::Waiting { request, timeout: Some(Duration::from_millis(1)) },
            Reply::ShouldYield(true),
            Reply::Module { module: module(), first_unknown: true, nearest: Some("fisher".into()) },
            Reply::Status("main".into(), Box::default()),
            Reply::Roster("timeout = \"1s\"".into()),
            Reply::Events { after: 0 },
        ];
        for reply in replies {
            let frame = FromServer::Reply(Some(5), reply);
            let shown = format!("{frame:?}");
            read_back(frame, &shown);
        }
        for notice in [Notice::Lost(request), Notice::ShouldYield(request, false)] {
            let frame = FromServer::Notice(notice);
            let shown = format!("{frame:?}");
            read_back(frame, &shown);
        }
    }

    #[test]
    fn errors_are_read_as_they_were_written() {
        let errors = [
            Error::Timeout(TimedOut {
                waited: Duration::from_millis(1500),
                holder: Some(("fisher".into(), Duration::from_secs(2))),
                ahead: 3,
                delay_left: Duration::from_nanos(1),
                paused: Some("alarm".into()),
            }),
            Error::Timeout(TimedOut::default()),
            Error::WouldDeadlock { holds: "a".into(), asked: "b".into() },
            Error::Refused(Refusal::Other("no".into())),
            Error::Cancelled,
            Error::Disabled { module: "a".into() },
            Error::Closed,
            Error::NotHolder { holder: None },
            Error::NotHolder { holder: Some("a".into()) },
            Error::QueueFull { limit: 9 },
            Error::InvalidName(InvalidName::NearMiss { name: "a-b".into(), meant: "a_b".into() }),
            Error::UnknownModule(NameError::UnknownModule { name: "a".into(), nearest: None }),
            Error::NoLongerValid,
            Error::Lost,
            Error::ChannelLost,
            Error::Unavailable("gone".into()),
            Error::Unauthorized,
            Error::RosterDiffers { fields: vec!["timeout".into()] },
        ];
        let refused = errors.map(Refused::Error).into_iter().chain([
            Refused::Withdrawn,
            Refused::BadFrame("`id` must be".into()),
            Refused::Unsupported("no".into()),
        ]);
        for why in refused {
            let failed = Failed { request: Some(RequestId(1)), still_held: true, why };
            let frame = FromServer::Reply(None, Reply::Failed(failed));
            let shown = format!("{frame:?}");
            read_back(frame, &shown);
        }
    }

    #[test]
    fn an_event_of_a_newer_server_counts_as_dropped() {
        let line =
            br#"{"notice":"event","event":{"seq":7,"t":2.5,"event":"blessed","mutex":"main"}}"#;
        let at = Time::from_nanos(2_500_000_000);
        let dropped = Event::dropped("main".into(), 7, at, 1);
        assert_eq!(FromServer::parse(line), Ok(Some(FromServer::Notice(Notice::Event(dropped)))));
    }

    #[test]
    fn what_only_a_newer_server_says_is_passed_over() {
        let newer = br#"{"notice":"weather","request":{"of":1},"sky":["grey"]}"#;
        assert!(FromServer::parse(newer).is_err(), "a known field keeps its type");
        assert_eq!(FromServer::parse(br#"{"notice":"weather","sky":["grey"]}"#), Ok(None));
        let reply = br#"{"id":3,"ok":true,"sky":{"colour":"grey"},"after":7}"#;
        let expected = FromServer::Reply(Some(3), Reply::Events { after: 7 });
        assert_eq!(FromServer::parse(reply), Ok(Some(expected)));
        let kind = br#"{"id":3,"error":"overcast","message":"no sun"}"#;
        let refused = Refused::Error(Error::Refused(Refusal::Other("no sun".into())));
        let failed = Failed { request: None, still_held: false, why: refused };
        assert_eq!(
            FromServer::parse(kind),
            Ok(Some(FromServer::Reply(Some(3), Reply::Failed(failed))))
        );
    }

    #[test]
    fn what_is_not_a_frame_says_why() {
        let bad = [
            ("nonsense", "not a frame: expected"),
            ("[]", "not a frame: invalid type"),
            (r#"{"id":1,"ok":"yes"}"#, "`ok` must be true or false"),
            (r#"{"notice":"lost"}"#, "`request` must be a whole number"),
            (r#"{"notice":"event","event":{"event":"reset"}}"#, "`event` must be an event"),
        ];
        for (line, why) in bad {
            let error = FromServer::parse(line.as_bytes()).unwrap_err();
            assert!(error.starts_with(why), "{line}: {error}");
        }
    }
}
