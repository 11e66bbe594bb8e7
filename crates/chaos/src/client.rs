//! A client process, driven by commands, one a line.

use crate::library::Library;
use crate::raw::Raw;
use crate::step::Step;
use crate::subject::{Actor, Subject, Trouble};
use std::io::{self, Write};

/// `client KIND URL MODULE CHANNEL LOG`: carries out the commands on stdin and answers each with a line, until stdin ends.
///
/// # Errors
///
/// An error in the arguments, or why the client cannot start.
pub fn serve_commands(args: &[String]) -> Result<(), String> {
    let [kind, url, module, channel, log] = args else {
        return Err("client KIND URL MODULE CHANNEL LOG".into());
    };
    let told = |error: io::Error| error.to_string();
    let actor = Actor::new(module, channel, log).map_err(told)?;
    let mut subject: Box<dyn Subject> = match kind.as_str() {
        "raw" => Box::new(Raw::new(actor, url)),
        _ => Box::new(Library::new(actor, url).map_err(|why| why.0)?),
    };
    let mut answers = io::stdout();
    writeln!(answers, "ready").map_err(told)?;
    for command in io::stdin().lines().map_while(Result::ok) {
        let done = carry_out(&mut *subject, &command);
        let answer = done.map_or_else(|why| format!("{command}: {}", why.0), |()| "done".into());
        if writeln!(answers, "{answer}").is_err() {
            break;
        }
    }
    Ok(())
}

fn carry_out(subject: &mut dyn Subject, command: &str) -> Result<(), Trouble> {
    match command.split_once(' ').unwrap_or((command, "")) {
        ("reach", step) => {
            let step = Step::named(step).ok_or_else(|| Trouble("no such step".into()))?;
            subject.reach(step)
        }
        ("finish", _) => subject.finish(),
        ("notice-loss", _) => subject.notice_loss(),
        ("turn", _) => subject.turn(),
        ("half-close", _) => subject.half_close(),
        ("reset", _) => subject.reset(),
        _ => Err(Trouble("no such command".into())),
    }
}
