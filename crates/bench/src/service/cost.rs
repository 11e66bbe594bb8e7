//! The cost of a turn over a socket, compared with two bare ping-pongs of the same size.

use super::processes::{Done, Lines, Process, pin};
use crate::median::median;
use packet_mutex::PacketMutex;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

const ROUNDS: usize = 51;
/// About how long a round of one contender lasts.
const ROUND: Duration = Duration::from_millis(20);

// As long as the real frames: ask and grant, release and reply.
const ASK: &str = "{\"id\":1000,\"module\":\"fisher\",\"op\":\"acquire\"}\n";
const GRANT: &str = "{\"depth\":0,\"id\":1000,\"module\":\"fisher\",\"ok\":true,\"others\":0,\
    \"predecessor_abandoned\":false,\"request\":100000,\"token\":\"100000\",\"waited\":0.0}\n";
const RELEASE: &str = "{\"id\":1001,\"op\":\"release\",\"request\":100000}\n";
const DONE: &str = "{\"id\":1001,\"ok\":true}\n";

/// Takes and releases one turn.
type TakeTurn = Box<dyn FnMut() -> Done>;

pub(super) fn report() -> Done {
    for (kind, place) in [("a Unix socket", "unix:"), ("TCP on the loopback", "tcp://127.0.0.1:0")]
    {
        for (cores, (server, client)) in [("on one core", (1, 1)), ("on two cores", (0, 1))] {
            println!("\nAcquire and release over {kind}, server and client {cores}:\n");
            measure(place, server, client)?;
        }
    }
    Ok(())
}

fn measure(place: &str, server_core: usize, client_core: usize) -> Done {
    // On one core, no figure has the time in it that another core takes to wake up; on two, both sides can run at once.
    pin(client_core)?;
    let directory = tempfile::tempdir()?;
    let at = |name: &str| match place {
        "unix:" => format!("unix:{}/run/{name}", directory.path().display()),
        other => other.to_owned(),
    };
    let server = Process::start("serve", server_core, &at("socket"), &[])?;
    let pong = Process::start("pong", server_core, &at("bare"), &[])?;
    let (mut ping, mut raw) = (Lines::new(&pong.url)?, Lines::greeted(&server.url)?);
    let (client, again) = (PacketMutex::connect(&server.url)?, PacketMutex::connect(&server.url)?);
    let mut contenders: [(&str, TakeTurn); 4] = [
        (
            "two bare ping-pongs",
            Box::new(move || {
                ping.call(ASK)?;
                Ok(ping.call(RELEASE).map(drop)?)
            }),
        ),
        (
            "the raw protocol",
            Box::new(move || {
                let request = raw.acquire()?;
                Ok(raw.release(request)?)
            }),
        ),
        (
            "the client library, release acknowledged",
            Box::new(move || {
                let turn = client.acquire("fisher")?;
                client.release("fisher")?;
                drop(turn);
                Ok(())
            }),
        ),
        (
            "the client library, turn dropped",
            Box::new(move || Ok(again.acquire("fisher").map(drop)?)),
        ),
    ];
    let mut times = [const { Vec::new() }; 4];
    for round in 0..ROUNDS + 1 {
        for ((_, turn), times) in contenders.iter_mut().zip(&mut times) {
            let (start, mut turns) = (Instant::now(), 0);
            while start.elapsed() < ROUND {
                turn()?;
                turns += 1;
            }
            // The first round only warms up.
            if round > 0 {
                times.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(turns));
            }
        }
    }
    println!("| | µs | × bare |\n|---|---:|---:|");
    for ((name, _), own) in contenders.iter().zip(&times) {
        // The ratio within a round: other work of the machine at that time affected both.
        let mut ratios: Vec<f64> =
            own.iter().zip(&times[0]).map(|(own, bare)| own / bare).collect();
        println!("| {name} | {:.1} | {:.2} |", median(&mut own.clone()), median(&mut ratios));
    }
    Ok(())
}

/// Answers lines with lines as long as the server's.
pub(super) fn pong(url: &str) -> Done {
    match url.strip_prefix("unix:") {
        Some(path) => {
            let listener = UnixListener::bind(path)?;
            println!("{url}");
            let (stream, _) = listener.accept()?;
            answer(stream.try_clone()?, stream)
        }
        None => {
            let listener = TcpListener::bind(url.trim_start_matches("tcp://"))?;
            println!("tcp://{}", listener.local_addr()?);
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            answer(stream.try_clone()?, stream)
        }
    }
}

fn answer(reader: impl std::io::Read, mut writer: impl Write) -> Done {
    let (mut reader, mut line) = (BufReader::new(reader), String::new());
    while reader.read_line(&mut line)? > 0 {
        let reply = if line.contains("acquire") { GRANT } else { DONE };
        writer.write_all(reply.as_bytes())?;
        line.clear();
    }
    Ok(())
}
