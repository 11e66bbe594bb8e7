//! One of the six modules in a process of its own.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use packet_mutex::{PacketMutex, Roster};
use practice::client::Client;
use practice::clock;
use practice::modules::{Mode, Module, Player};
use practice::run::run_module;

const USAGE: &str =
    "usage: practice-module MODULE --server ADDR --log FILE [--seconds N] [--seed N] [--without]
It joins the character `six` and takes its turns at PACKET_MUTEX_URL, or none with --without.
What it sends is written to FILE.";
/// The character that all processes play.
const CHARACTER: &str = "six";

struct Options {
    module: Module,
    server: SocketAddr,
    log: String,
    length: Duration,
    seed: u64,
    mode: Mode,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if matches!(arguments.iter().map(String::as_str).collect::<Vec<_>>()[..], ["--help" | "-h"]) {
        let _ = writeln!(std::io::stdout(), "{USAGE}");
        return ExitCode::SUCCESS;
    }
    let Some(options) = read(&arguments) else {
        let _ = writeln!(std::io::stderr(), "{USAGE}");
        return ExitCode::from(2);
    };
    match play(&options) {
        Ok(failures) => {
            for (module, why) in failures {
                let _ = writeln!(std::io::stderr(), "{module}: {why}");
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "{}: {why}", options.module.name());
            ExitCode::FAILURE
        }
    }
}

fn read(arguments: &[String]) -> Option<Options> {
    let (module, mut rest) = arguments.split_first()?;
    let module = Module::named(module)?;
    let (mut server, mut log) = (None, None);
    let (mut seconds, mut seed, mut mode) = (60, 1, Mode::With);
    while let Some((option, more)) = rest.split_first() {
        rest = more;
        if option == "--without" {
            mode = Mode::Without;
            continue;
        }
        let (value, more) = rest.split_first()?;
        rest = more;
        match option.as_str() {
            "--server" => server = Some(value.parse().ok()?),
            "--log" => log = Some(value.clone()),
            "--seconds" => seconds = value.parse().ok()?,
            "--seed" => seed = value.parse().ok()?,
            _ => return None,
        }
    }
    let length = Duration::from_secs(seconds);
    Some(Options { module, server: server?, log: log?, length, seed, mode })
}

fn play(options: &Options) -> Result<Vec<(String, String)>, Box<dyn std::error::Error>> {
    let mutex = match options.mode {
        Mode::Without => PacketMutex::new(Roster::default()),
        _ => {
            let url = std::env::var("PACKET_MUTEX_URL");
            PacketMutex::connect(&url.map_err(|why| format!("PACKET_MUTEX_URL: {why}"))?)?
        }
    };
    let log = File::create(&options.log).map_err(|why| format!("{}: {why}", options.log))?;
    let client = Client::join(options.server, CHARACTER, options.seed, log)?;
    let player = Player::new(options.module, options.mode, options.seed, clock::now());
    Ok(run_module(player, &client, &mutex, options.length)?)
}
