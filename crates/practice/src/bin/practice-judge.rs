//! Judges the logs of a run: `practice-judge DIR`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use packet_mutex::Roster;
use practice::logs::Logs;

const USAGE: &str = "usage: practice-judge DIR   (its frames.jsonl, sends*.jsonl and events.jsonl; prints one JSON object;
exit code 1: something went wrong in that run)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--help" | "-h"] => {
            let _ = writeln!(std::io::stdout(), "{USAGE}");
            ExitCode::SUCCESS
        }
        [directory] if !directory.starts_with('-') => match Logs::read(Path::new(directory)) {
            Ok(logs) => tell(&logs),
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "practice-judge: {error}");
                ExitCode::from(2)
            }
        },
        _ => {
            let _ = writeln!(std::io::stderr(), "{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn tell(logs: &Logs) -> ExitCode {
    let findings = logs.judge(&Roster::default());
    // Numbers and names: they always have a JSON.
    let json = serde_json::to_string(&findings).unwrap_or_default();
    let _ = writeln!(std::io::stdout(), "{json}");
    if findings.clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
