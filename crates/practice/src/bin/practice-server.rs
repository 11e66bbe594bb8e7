//! The practice server as a process of its own.

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

use practice::server::Server;

const USAGE: &str = "usage: practice-server [--listen ADDR] [--log FILE]   (default 127.0.0.1:7172)
FILE gets each frame as the server saw it, one line of JSON each.";

const DEFAULT: &str = "127.0.0.1:7172";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (address, log) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => (DEFAULT, None),
        ["--listen", address] => (address, None),
        ["--log", log] => (DEFAULT, Some(log)),
        ["--listen", address, "--log", log] => (address, Some(log)),
        ["--help" | "-h"] => {
            let _ = writeln!(std::io::stdout(), "{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            let _ = writeln!(std::io::stderr(), "{USAGE}");
            return ExitCode::from(2);
        }
    };
    let log = match log.map(File::create).transpose() {
        Ok(log) => log,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "practice-server: the log: {error}");
            return ExitCode::from(2);
        }
    };
    match Server::start_logging(address, log) {
        Ok(server) => {
            // For scripts that ask for port 0.
            let _ = writeln!(std::io::stdout(), "listening on {}", server.address());
            server.wait();
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ =
                writeln!(std::io::stderr(), "practice-server: cannot listen on {address}: {error}");
            ExitCode::from(2)
        }
    }
}
