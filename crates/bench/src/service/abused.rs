//! How long a client waits for its grants while another misuses the server, and how much memory connections cost.

use super::processes::{Done, Lines, Process, connect, pin};
use super::ways::{ABUSES, Abused, Ends};
use crate::median::median;
use std::io::Write;
use std::time::{Duration, Instant};

/// Rounds with and without the abuse, alternating.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(400);
/// How long the abuse needs to get under way.
const SETTLES: Duration = Duration::from_millis(600);
/// The core of the server and of the client that waits for its grants. The abuser has the other core, so that it takes nothing
/// from them but the server's time.
const SERVER: usize = 1;
const ABUSER: usize = 0;
/// No abuse at all: it shows how much a busy neighbour alone changes the figures.
const COMPUTES: &str = "a program that only computes";

pub(super) fn report(names: &[&str]) -> Done {
    println!("\nGrants of one client while another misuses the server:\n");
    println!(
        "| beside | Unix: median µs | × alone | p99 µs | × alone | TCP: median µs | × alone | p99 µs | × alone |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    pin(SERVER)?;
    let known = std::iter::once(COMPUTES).chain(ABUSES.iter().map(|abuse| abuse.name));
    for name in known.filter(|name| names.is_empty() || names.contains(name)) {
        print!("| {name} |");
        let directory = tempfile::tempdir()?;
        for url in [&format!("unix:{}/run/socket", directory.path().display()), "tcp://127.0.0.1:0"]
        {
            let server = Process::start("serve", SERVER, url, &[])?;
            let [alone, beside] = in_turns(&server.url, name)?;
            for (alone, beside) in alone.into_iter().zip(beside) {
                print!(" {beside:.1} | {:.2} |", beside / alone);
            }
        }
        println!();
    }
    memory()
}

/// Measures median and p99 of the grants, in microseconds, alone and beside the abuse.
fn in_turns(url: &str, name: &str) -> Done<[[f64; 2]; 2]> {
    let mut client = Lines::greeted(url)?;
    let mut all = [const { [const { Vec::new() }; 2] }; 2];
    // Warms up.
    grants(&mut client)?;
    for _ in 0..ROUNDS {
        for (which, figures) in all.iter_mut().enumerate() {
            let _abuser = match which {
                0 => None,
                _ => Some(Process::start("abuse", ABUSER, url, &[name])?),
            };
            std::thread::sleep(if which == 0 { SETTLES / 6 } else { SETTLES });
            // The pause above is well below a lease, so the client's connection over TCP outlives it.
            let mut times = grants(&mut client)?;
            figures[0].push(median(&mut times));
            figures[1].push(times.get(times.len() * 99 / 100).copied().unwrap_or(f64::NAN));
        }
    }
    Ok(all.map(|figures| figures.map(|mut rounds| median(&mut rounds))))
}

/// Measures the microseconds from each ask to its grant.
fn grants(client: &mut Lines) -> Done<Vec<f64>> {
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < ROUND {
        let asked = Instant::now();
        let request = client.acquire()?;
        times.push(asked.elapsed().as_secs_f64() * 1e6);
        client.release(request)?;
    }
    Ok(times)
}

/// Misuses the server again and again, until the parent ends this process.
pub(super) fn abuse(url: &str, name: &str) -> Done {
    println!("begun");
    if name == COMPUTES {
        loop {
            std::hint::spin_loop();
        }
    }
    let abuse = ABUSES.iter().find(|abuse| abuse.name == name).ok_or("no such abuse")?;
    let mut left: Abused = Vec::new();
    loop {
        let sockets = (abuse.begin)(&|| connect(url))?;
        match abuse.ends {
            Ends::Refused(_) | Ends::Served(_) => {
                sockets.into_iter().try_for_each(|socket| abuse.ends.see(socket))?;
            }
            // Many, so that there is always one that the server has not dropped yet.
            Ends::Dropped if left.len() < 300 => left.extend(sockets),
            Ends::Dropped | Ends::Stays => {
                left.extend(sockets);
                std::thread::sleep(Duration::from_secs(60));
            }
        }
    }
}

/// Measures the bytes that a connection costs the server.
fn memory() -> Done {
    println!("\nThe server's memory for each of 5,000 connections over a Unix socket:\n");
    println!("| which sent | bytes |\n|---|---:|");
    const COUNT: usize = 5_000;
    let hello = b"{\"id\":1,\"op\":\"hello\",\"version\":1}\n";
    let short_of_a_frame = vec![b' '; 64 * 1024 - 1];
    for (what, bytes) in [
        ("nothing", &[][..]),
        ("a hello, and idles", hello),
        ("65,535 bytes of a first frame without end", &short_of_a_frame),
    ] {
        let directory = tempfile::tempdir()?;
        let url = format!("unix:{}/run/socket", directory.path().display());
        let server = Process::start("serve", SERVER, &url, &[])?;
        Lines::greeted(&url)?;
        let before = server.memory()?;
        let mut sockets: Abused = Vec::new();
        for _ in 0..COUNT {
            let mut socket = connect(&url)?;
            socket.write_all(bytes)?;
            sockets.push(socket);
        }
        // The server takes its connections in turn: once it answers the newest ones, it has read what the others sent.
        for _ in 0..100 {
            Lines::greeted(&url)?.release(0)?;
        }
        let used = server.memory()?.saturating_sub(before);
        println!("| {what} | {} |", used * 1024 / COUNT as u64);
    }
    Ok(())
}
