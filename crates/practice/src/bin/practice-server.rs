//! The practice server as a process of its own.

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

use practice::server::Server;

const USAGE: &str = "usage: practice-server [--listen ADDR] [--log FILE]   (default 127.0.0.1:7172)
FILE gets each frame as the server saw it, one line of JSON each.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (mut address, mut log) = ("127.0.0.1:7172", None);
    for option in arguments.chunks(2) {
        match option {
            ["--listen", value] => address = value,
            ["--log", value] => log = Some(value),
            ["--help" | "-h"] => {
                let _ = writeln!(std::io::stdout(), "{USAGE}");
                return ExitCode::SUCCESS;
            }
            _ => {
                let _ = writeln!(std::io::stderr(), "{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
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
