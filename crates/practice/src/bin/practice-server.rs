//! The practice server as a process of its own.

use std::io::Write;
use std::process::ExitCode;

use practice::server::Server;

const USAGE: &str = "usage: practice-server [--listen ADDR]   (default 127.0.0.1:7172)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let address = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => "127.0.0.1:7172",
        ["--listen", address] => address,
        ["--help" | "-h"] => {
            let _ = writeln!(std::io::stdout(), "{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            let _ = writeln!(std::io::stderr(), "{USAGE}");
            return ExitCode::from(2);
        }
    };
    match Server::start(address) {
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
