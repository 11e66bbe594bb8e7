//! What a client sends.

use super::errors::Refused;
use super::fields::{
    Anything, How, Level, ModeName, Outline, Seconds, Text, fields, needed, read_field,
};
use crate::net::limits::VERSION;
use crate::roster_toml::{from_toml, to_toml};
use packet_mutex_arbiter::{Leave, Owner, RequestId, Steer};
use std::time::Duration;

/// One line of a client: a request, and the number that its reply will have.
#[derive(Debug, PartialEq)]
pub(crate) struct Frame<'a> {
    pub(crate) id: u64,
    pub(crate) request: Request<'a>,
}

/// What a client asks for. `docs/PROTOCOL.md` describes each.
#[derive(Debug, PartialEq)]
pub(crate) enum Request<'a> {
    Hello(Hello<'a>),
    Acquire(Acquire<'a>),
    Yield {
        request: RequestId,
        owner: Option<u64>,
        timeout: Option<Duration>,
    },
    Release {
        request: RequestId,
        owner: Option<u64>,
        how: Leave,
    },
    ReleaseModule {
        module: Text<'a>,
        owner: Option<u64>,
    },
    Withdraw(Which),
    Claim(Which),
    Acknowledge(Which),
    /// Renews the lease of a request, or with `None` all leases of the connection.
    Heartbeat(Option<RequestId>),
    ShouldYield(Which),
    OwnerLost {
        owner: u64,
    },
    Ping,
    Module(Text<'a>),
    Status,
    Roster,
    Events {
        so_far: bool,
        after: Option<u64>,
    },
    /// What an operator does. The owner of a reset is the client's own number.
    Steer(Steer<Text<'a>>),
}

/// The first frame.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Hello<'a> {
    pub(crate) version: u64,
    pub(crate) mutex: Option<Text<'a>>,
    pub(crate) secret: Option<Text<'a>>,
    pub(crate) roster: Option<Text<'a>>,
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Acquire<'a> {
    pub(crate) module: Text<'a>,
    pub(crate) owner: Option<u64>,
    pub(crate) within: Option<RequestId>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) urgent: bool,
    pub(crate) claim: bool,
    pub(crate) lease: Option<Duration>,
    pub(crate) requeued: bool,
}

/// Which request is meant: by its number, or by the frame that made it, for a client that has not read the number yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Which {
    Request(RequestId),
    Ask(u64),
}

fields! {
    /// All fields of all requests.
    struct Fields<'a> {
        id: u64,
        op: Text<'a>,
        version: u64,
        mutex: Text<'a>,
        secret: Text<'a>,
        roster: Text<'a>,
        module: Text<'a>,
        request: u64,
        ask: u64,
        owner: u64,
        within: u64,
        timeout: Seconds,
        urgent: bool,
        claim: bool,
        lease: Seconds,
        requeued: bool,
        how: How,
        so_far: bool,
        after: u64,
        mode: ModeName,
        reason: Text<'a>,
        below: Level,
        lasts: Seconds,
    }
}

/// Why a line is not a frame.
#[derive(Debug, PartialEq)]
pub(crate) struct NotAFrame {
    /// The number that its reply would have had.
    pub(crate) id: Option<u64>,
    pub(crate) why: Wrong,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Wrong {
    /// It is not a JSON object, so nothing after it can be relied on either.
    Garbled(String),
    /// A field is not what it must be.
    Field(String),
    /// The `op` is not known.
    Op,
}

impl<'a> Frame<'a> {
    /// Reads a line. It copies only texts in which something is escaped.
    pub(crate) fn parse(line: &'a [u8]) -> Result<Frame<'a>, NotAFrame> {
        Frame::parse_if(line, |_| Ok(()))
    }

    /// Reads a line if its `op` is accepted. Nothing more than the fields is read before that.
    fn parse_if(
        line: &'a [u8],
        accept: impl FnOnce(&str) -> Result<(), Wrong>,
    ) -> Result<Frame<'a>, NotAFrame> {
        let mut fields = Fields::default();
        read(line, &mut fields)?;
        let id = fields.id;
        let wrong = |why| NotAFrame { id, why };
        let op = needed(fields.op.take(), "op").map_err(|why| wrong(Wrong::Field(why)));
        let id = needed(id, "id").map_err(|why| wrong(Wrong::Field(why)))?;
        let op = op?;
        accept(&op).map_err(wrong)?;
        Ok(Frame { id, request: Request::of(&op, fields).map_err(wrong)? })
    }

    /// Appends the frame as a line.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let mut fields = Fields::default();
        let op = self.request.fill(&mut fields);
        (fields.id, fields.op) = (Some(self.id), Some(op.into()));
        fields.write(out);
    }
}

impl<'a> Hello<'a> {
    /// Reads the first line of a connection. Returns the hello, and the number that its reply will have.
    ///
    /// A client that has not said hello may not know the secret: the server must not read a roster for it.
    pub(crate) fn parse(line: &'a [u8]) -> Result<(u64, Hello<'a>), NotAFrame> {
        let other = || Wrong::Field("the first frame must be a hello".into());
        let is_hello = |op: &str| if op == "hello" { Ok(()) } else { Err(other()) };
        match Frame::parse_if(line, is_hello)? {
            Frame { id, request: Request::Hello(hello) } => Ok((id, hello)),
            Frame { id, .. } => Err(NotAFrame { id: Some(id), why: other() }),
        }
    }
}

/// Reads what the buttons of the page send: a request that steers, without a number.
///
/// # Errors
///
/// What is wrong with it. The message never repeats the text itself.
pub fn steer_from_json(text: &[u8]) -> Result<Steer<String>, String> {
    let told = |wrong: Wrong| match wrong {
        Wrong::Garbled(why) | Wrong::Field(why) => why,
        Wrong::Op => "`op` must be a way to steer, such as \"pause\"".into(),
    };
    let mut fields = Fields::default();
    read(text, &mut fields).map_err(|not_a_frame| told(not_a_frame.why))?;
    let op = needed(fields.op.take(), "op")?;
    match Request::of(&op, fields).map_err(told)? {
        Request::Steer(steer) => steer.try_map_module(|module| Ok(module.0.into_owned())),
        _ => Err(told(Wrong::Op)),
    }
}

fn read<'a>(line: &'a [u8], fields: &mut Fields<'a>) -> Result<(), NotAFrame> {
    let garbled = |why: String| NotAFrame { id: None, why: Wrong::Garbled(why) };
    // Messages never repeat the text itself, which may hold a secret. They say what is wrong and where.
    let frame = str::from_utf8(line).map_err(|error| garbled(format!("not UTF-8: {error}")))?;
    let mut wrong = None;
    if fields.read(frame, &mut wrong).is_ok() {
        return Ok(());
    }
    // A wrong field does not end the connection, unless the frame is not JSON either. Then that is what counts.
    match (serde_json::from_str::<Outline>(frame), wrong) {
        (Ok(Outline { id }), Some(why)) => Err(NotAFrame { id, why: Wrong::Field(why) }),
        (Err(error), _) if !error.is_data() => Err(garbled(format!("not JSON: {error}"))),
        _ => Err(garbled("a frame is a JSON object".into())),
    }
}

impl<'a> Request<'a> {
    /// Returns the request that these fields describe.
    fn of(op: &str, fields: Fields<'a>) -> Result<Self, Wrong> {
        let Fields {
            id: _,
            op: _,
            version,
            mutex,
            secret,
            roster,
            module,
            request,
            ask,
            owner,
            within,
            timeout,
            urgent,
            claim,
            lease,
            requeued,
            how,
            so_far,
            after,
            mode,
            reason,
            below,
            lasts,
        } = fields;
        let timeout = timeout.map(|timeout| timeout.0);
        let request_id = || needed(request, "request").map(RequestId);
        let which = || match ask {
            Some(ask) => Ok(Which::Ask(ask)),
            None => request_id().map(Which::Request),
        };
        let module_name = || needed(module, "module");
        let reason_text =
            |reason: Option<Text<'_>>| needed(reason, "reason").map(|reason| reason.0.into_owned());
        let request = match op {
            "hello" => {
                let version = needed(version, "version")?;
                Request::Hello(Hello { version, mutex, secret, roster })
            }
            "acquire" => Request::Acquire(Acquire {
                module: module_name()?,
                owner,
                within: within.map(RequestId),
                timeout,
                urgent: urgent.unwrap_or_default(),
                claim: claim.unwrap_or_default(),
                lease: lease.map(|lease| lease.0),
                requeued: requeued.unwrap_or_default(),
            }),
            "yield" => Request::Yield { request: request_id()?, owner, timeout },
            "release" => {
                let how = how.map_or(Leave::Released, |how| how.0);
                Request::Release { request: request_id()?, owner, how }
            }
            "release_module" => Request::ReleaseModule { module: module_name()?, owner },
            "withdraw" => Request::Withdraw(which()?),
            "claim" => Request::Claim(which()?),
            "acknowledge" => Request::Acknowledge(which()?),
            "heartbeat" => Request::Heartbeat(request.map(RequestId)),
            "should_yield" => Request::ShouldYield(which()?),
            "owner_lost" => Request::OwnerLost { owner: needed(owner, "owner")? },
            "ping" => Request::Ping,
            "module" => Request::Module(module_name()?),
            "status" => Request::Status,
            "roster" => Request::Roster,
            "events" => Request::Events { so_far: so_far.unwrap_or_default(), after },
            "cancel" => Request::Steer(Steer::Cancel { module: module_name()? }),
            "disable" => Request::Steer(Steer::Disable { module: module_name()? }),
            "enable" => Request::Steer(Steer::Enable { module: module_name()? }),
            "mode" => {
                let mode = needed(mode, "mode")?.0;
                Request::Steer(Steer::Mode { module: module_name()?, mode })
            }
            "pause" => Request::Steer(Steer::Pause {
                reason: reason_text(reason)?,
                below: needed(below, "below")?.0,
                lasts: lasts.map(|lasts| lasts.0),
            }),
            "resume" => {
                let reason = reason.map(|reason| reason.0.into_owned());
                Request::Steer(Steer::Resume { reason })
            }
            "close" => Request::Steer(Steer::Close),
            "revoke" => Request::Steer(Steer::Revoke { reason: reason_text(reason)? }),
            "reload" => {
                let roster = from_toml("roster", &needed(roster, "roster")?);
                let roster = roster.map_err(|errors| Wrong::Field(errors.to_string()))?;
                Request::Steer(Steer::Reload(Box::new(roster)))
            }
            "reset" => Request::Steer(Steer::Reset { owner: owner.map(Owner) }),
            _ => return Err(Wrong::Op),
        };
        Ok(request)
    }

    /// Sets the fields that describe this request. Returns its `op`.
    fn fill(self, fields: &mut Fields<'a>) -> &'static str {
        let flag = |is: bool| is.then_some(true);
        match self {
            Request::Hello(Hello { version, mutex, secret, roster }) => {
                fields.version = Some(version);
                fields.mutex = mutex;
                fields.secret = secret;
                fields.roster = roster;
                "hello"
            }
            Request::Acquire(Acquire {
                module,
                owner,
                within,
                timeout,
                urgent,
                claim,
                lease,
                requeued,
            }) => {
                fields.module = Some(module);
                fields.owner = owner;
                fields.within = within.map(|within| within.0);
                fields.timeout = timeout.map(Seconds);
                fields.urgent = flag(urgent);
                fields.claim = flag(claim);
                fields.lease = lease.map(Seconds);
                fields.requeued = flag(requeued);
                "acquire"
            }
            Request::Yield { request, owner, timeout } => {
                fields.request = Some(request.0);
                fields.owner = owner;
                fields.timeout = timeout.map(Seconds);
                "yield"
            }
            Request::Release { request, owner, how } => {
                fields.request = Some(request.0);
                fields.owner = owner;
                fields.how = (how != Leave::Released).then_some(How(how));
                "release"
            }
            Request::ReleaseModule { module, owner } => {
                (fields.module, fields.owner) = (Some(module), owner);
                "release_module"
            }
            Request::Withdraw(which) => {
                which.fill(fields);
                "withdraw"
            }
            Request::Claim(which) => {
                which.fill(fields);
                "claim"
            }
            Request::Acknowledge(which) => {
                which.fill(fields);
                "acknowledge"
            }
            Request::Heartbeat(request) => {
                fields.request = request.map(|request| request.0);
                "heartbeat"
            }
            Request::ShouldYield(which) => {
                which.fill(fields);
                "should_yield"
            }
            Request::OwnerLost { owner } => {
                fields.owner = Some(owner);
                "owner_lost"
            }
            Request::Ping => "ping",
            Request::Module(module) => {
                fields.module = Some(module);
                "module"
            }
            Request::Status => "status",
            Request::Roster => "roster",
            Request::Events { so_far, after } => {
                (fields.so_far, fields.after) = (flag(so_far), after);
                "events"
            }
            Request::Steer(steer) => fill_steer(steer, fields),
        }
    }
}

fn fill_steer<'a>(steer: Steer<Text<'a>>, fields: &mut Fields<'a>) -> &'static str {
    match steer {
        Steer::Cancel { module } => {
            fields.module = Some(module);
            "cancel"
        }
        Steer::Disable { module } => {
            fields.module = Some(module);
            "disable"
        }
        Steer::Enable { module } => {
            fields.module = Some(module);
            "enable"
        }
        Steer::Mode { module, mode } => {
            (fields.module, fields.mode) = (Some(module), Some(ModeName(mode)));
            "mode"
        }
        Steer::Pause { reason, below, lasts } => {
            fields.reason = Some(reason.into());
            fields.below = Some(Level(below));
            fields.lasts = lasts.map(Seconds);
            "pause"
        }
        Steer::Resume { reason } => {
            fields.reason = reason.map(Text::from);
            "resume"
        }
        Steer::Close => "close",
        Steer::Revoke { reason } => {
            fields.reason = Some(reason.into());
            "revoke"
        }
        Steer::Reload(roster) => {
            fields.roster = Some(to_toml(&roster).into());
            "reload"
        }
        Steer::Reset { owner } => {
            fields.owner = owner.map(|Owner(number)| number);
            "reset"
        }
    }
}

impl Which {
    fn fill(self, fields: &mut Fields<'_>) {
        match self {
            Which::Request(request) => fields.request = Some(request.0),
            Which::Ask(ask) => fields.ask = Some(ask),
        }
    }
}

impl From<String> for Wrong {
    fn from(why: String) -> Self {
        Wrong::Field(why)
    }
}

impl From<Wrong> for Refused {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Garbled(why) | Wrong::Field(why) => Refused::BadFrame(why),
            Wrong::Op => Refused::Unsupported(format!("version {VERSION} has no such `op`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet_mutex_arbiter::{Below, Mode};

    fn parse(line: &str) -> Result<Request<'_>, NotAFrame> {
        Frame::parse(line.as_bytes()).map(|frame| frame.request)
    }

    #[test]
    fn what_a_client_writes_a_server_reads() {
        let (request, owner) = (RequestId(7), Some(3));
        let second = Some(Duration::from_secs(1));
        let which = Which::Request(request);
        let module = || Text::from("fisher");
        let reason = || "an \"alarm\"\u{1}".to_owned();
        let hello = Hello { version: 1, mutex: Some("a".into()), ..Hello::default() };
        let acquire = Acquire {
            module: module(),
            owner,
            within: Some(request),
            timeout: Some(Duration::from_nanos(1_234_567_891)),
            urgent: true,
            claim: true,
            lease: second,
            requeued: true,
        };
        let requests = [
            Request::Hello(hello),
            Request::Acquire(acquire),
            Request::Acquire(Acquire { module: module(), ..Acquire::default() }),
            Request::Yield { request, owner, timeout: second },
            Request::Release { request, owner: None, how: Leave::Released },
            Request::Release { request, owner, how: Leave::Declined },
            Request::ReleaseModule { module: module(), owner },
            Request::Withdraw(Which::Ask(2)),
            Request::Claim(which),
            Request::Acknowledge(which),
            Request::Heartbeat(None),
            Request::Heartbeat(Some(request)),
            Request::ShouldYield(which),
            Request::OwnerLost { owner: 3 },
            Request::Ping,
            Request::Module(module()),
            Request::Status,
            Request::Roster,
            Request::Events { so_far: true, after: Some(0) },
            Request::Steer(Steer::Cancel { module: module() }),
            Request::Steer(Steer::Disable { module: module() }),
            Request::Steer(Steer::Enable { module: module() }),
            Request::Steer(Steer::Mode { module: module(), mode: Mode::Off }),
            Request::Steer(Steer::Pause { reason: reason(), below: Below::Urgent, lasts: second }),
            Request::Steer(Steer::Pause {
                reason: reason(),
                below: Below::Priority(9),
                lasts: None,
            }),
            Request::Steer(Steer::Resume { reason: Some(reason()) }),
            Request::Steer(Steer::Resume { reason: None }),
            Request::Steer(Steer::Close),
            Request::Steer(Steer::Revoke { reason: reason() }),
            Request::Steer(Steer::Reload(Box::default())),
            Request::Steer(Steer::Reset { owner: Some(Owner(5)) }),
        ];
        for request in requests {
            let shown = format!("{request:?}");
            let mut line = Vec::new();
            Frame { id: 1, request }.write(&mut line);
            assert_eq!(line.pop(), Some(b'\n'));
            let again = Frame::parse(&line).unwrap_or_else(|why| panic!("{shown}: {why:?}"));
            assert_eq!(format!("{:?}", again.request), shown);
        }
    }

    #[test]
    fn fields_that_are_unknown_null_or_doubled() {
        let line = r#"{"id":7,"x":[{"y":1e9}],"op":"acquire","module":"a\u0062","id":8,"urgent":true,"owner":null,"timeout":2}"#;
        let frame = Frame::parse(line.as_bytes()).unwrap();
        let acquire = Acquire {
            module: "ab".into(),
            urgent: true,
            timeout: Some(Duration::from_secs(2)),
            ..Acquire::default()
        };
        assert_eq!(frame, Frame { id: 8, request: Request::Acquire(acquire) });
    }

    #[test]
    fn a_field_that_is_wrong_is_named() {
        let bad = [
            (r#"{"id":1}"#, "`op` must be a text"),
            (r#"{"op":"ping"}"#, "`id` must be a whole number from 0"),
            (r#"{"id":-1,"op":"ping"}"#, "`id` must be a whole number from 0"),
            (r#"{"id":1,"op":"acquire"}"#, "`module` must be a text"),
            (r#"{"id":1,"op":"acquire","module":7}"#, "`module` must be a text"),
            (
                r#"{"id":1,"op":"acquire","module":"a","timeout":-1}"#,
                "`timeout` must be a number of seconds from 0",
            ),
            (
                r#"{"id":1,"op":"acquire","module":"a","timeout":1e300}"#,
                "`timeout` must be a number of seconds from 0",
            ),
            (
                r#"{"id":1,"op":"acquire","module":"a","urgent":"yes"}"#,
                "`urgent` must be true or false",
            ),
            (r#"{"id":1,"op":"withdraw"}"#, "`request` must be a whole number from 0"),
            (
                r#"{"id":1,"op":"release","request":1,"how":"slowly"}"#,
                "`how` must be \"released\", \"panicked\" or \"declined\"",
            ),
            (
                r#"{"id":1,"op":"pause","reason":"x"}"#,
                "`below` must be a priority from 0 to 255 or \"urgent\"",
            ),
            (
                r#"{"id":1,"op":"pause","reason":"x","below":256}"#,
                "`below` must be a priority from 0 to 255 or \"urgent\"",
            ),
            (
                r#"{"id":1,"op":"mode","module":"a","mode":"loose"}"#,
                "`mode` must be \"enforced\", \"observed\" or \"off\"",
            ),
        ];
        for (line, why) in bad {
            assert_eq!(parse(line).unwrap_err().why, Wrong::Field(why.into()), "{line}");
        }
        assert_eq!(parse(r#"{"id":1,"op":"acquire","module":7}"#).unwrap_err().id, Some(1));
        assert_eq!(
            parse(r#"{"id":1,"op":"dance"}"#),
            Err(NotAFrame { id: Some(1), why: Wrong::Op })
        );
    }

    #[test]
    fn what_is_not_an_object_is_garbled() {
        let (open, deep) = ("[".repeat(60_000), "[".repeat(200) + &"]".repeat(200));
        let inside = format!("{{\"id\":1,\"op\":\"ping\",\"x\":{deep}}}");
        let bad =
            ["", "null", "[]", "{", r#"{"op":}"#, "\u{0}\u{1}", "{}{}", &open, &deep, &inside];
        for bad in
            bad.map(str::as_bytes).into_iter().chain([&b"\xff\xfe{}"[..], b"{\"x\":\"\xff\"}"])
        {
            let wrong = Frame::parse(bad).unwrap_err().why;
            assert!(
                matches!(wrong, Wrong::Garbled(_)),
                "{:.20}: {wrong:?}",
                String::from_utf8_lossy(bad)
            );
        }
    }

    #[test]
    fn the_examples_of_the_documentation_are_frames() {
        let text = include_str!("../../../../../docs/PROTOCOL.md");
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let (mut asked, mut said) = (0, 0);
        for (from, line) in lines.filter(|(_, line)| line.starts_with('{')) {
            match from {
                ">" => {
                    asked += usize::from(
                        Frame::parse(line.as_bytes())
                            .map_err(|why| panic!("{line}: {why:?}"))
                            .is_ok(),
                    )
                }
                "<" => {
                    let frame = super::super::FromServer::parse(line.as_bytes());
                    said += usize::from(frame.map_err(|why| panic!("{line}: {why}")).is_ok());
                }
                _ => {}
            }
        }
        assert!(asked >= 3 && said >= 4, "{asked} and {said} examples");
    }

    #[test]
    fn nothing_is_read_before_the_hello() {
        let (id, hello) = Hello::parse(br#"{"id":4,"op":"hello","version":1}"#).unwrap();
        assert_eq!((id, hello), (4, Hello { version: 1, ..Hello::default() }));
        let wrong = Hello::parse(br#"{"id":4,"op":"reload","roster":"not TOML"}"#).unwrap_err();
        let why = Wrong::Field("the first frame must be a hello".into());
        assert_eq!(wrong, NotAFrame { id: Some(4), why });
    }

    #[test]
    fn the_pages_buttons_steer_and_do_nothing_else() {
        let steer = steer_from_json(br#"{"op":"pause","reason":"x","below":60,"lasts":1.5}"#);
        let lasts = Some(Duration::from_millis(1500));
        let below = Below::Priority(60);
        assert_eq!(steer, Ok(Steer::Pause { reason: "x".into(), below, lasts }));
        assert!(steer_from_json(br#"{"op":"acquire","module":"fisher"}"#).is_err());
        assert!(steer_from_json(br#"{"op":"cancel"}"#).unwrap_err().contains("`module`"));
    }
}
