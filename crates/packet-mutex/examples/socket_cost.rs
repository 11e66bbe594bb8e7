//! What a turn over a Unix socket costs, beside two bare ping-pongs of the same size: run with `--release --features net`.
#![allow(clippy::print_stdout, reason = "the numbers are what it is for")]

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    on_unix::main()
}

#[cfg(unix)]
mod on_unix {
    use packet_mutex::net::{Options, Server};
    use packet_mutex::{PacketMutex, Roster};
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::time::{Duration, Instant};

    const ROUNDS: usize = 21;
    const TURNS: u32 = 2_000;

    const ASK: &str = "{\"id\":1000,\"module\":\"fisher\",\"op\":\"acquire\"}\n";
    const GRANT: &str = "{\"depth\":0,\"id\":1000,\"module\":\"fisher\",\"ok\":true,\"others\":0,\
        \"predecessor_abandoned\":false,\"request\":1000,\"token\":\"1000\",\"waited\":0.0}\n";
    const RELEASE: &str = "{\"id\":1001,\"op\":\"release\",\"request\":1000}\n";
    const DONE: &str = "{\"id\":1001,\"ok\":true}\n";

    pub(super) fn main() -> Result<(), Box<dyn std::error::Error>> {
        let place = std::env::temp_dir().join(format!("packet-mutex-cost-{}", std::process::id()));
        let url = format!("unix:{}/socket", place.display());
        let mutex = PacketMutex::new(Roster::default());
        let server = Server::start(&url, [mutex], Options::default())?;
        let bare = UnixListener::bind(place.join("bare"))?;
        std::thread::spawn(move || pong(&bare));

        let mut ping = Lines::new(UnixStream::connect(place.join("bare"))?)?;
        let mut raw = Lines::new(UnixStream::connect(place.join("socket"))?)?;
        raw.call("{\"id\":1,\"op\":\"hello\",\"version\":1}\n")?;
        let client = PacketMutex::connect(&url)?;
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            times[0].push(measure(|| {
                ping.call(ASK)?;
                ping.call(RELEASE)
            })?);
            times[1].push(measure(|| {
                let grant = raw.call(ASK)?;
                let request = grant.split("\"request\":").nth(1);
                let request = request.and_then(|rest| rest.split(',').next()).unwrap_or_default();
                raw.call(&format!("{{\"id\":1001,\"op\":\"release\",\"request\":{request}}}\n"))
            })?);
            times[2].push(measure(|| {
                client.acquire("fisher").map(drop).map_err(std::io::Error::other)?;
                Ok(String::new())
            })?);
        }
        let names = ["two bare ping-pongs", "raw protocol", "client library, release unawaited"];
        let medians = times.map(|mut times| {
            times.sort_unstable();
            times[ROUNDS / 2]
        });
        for (name, median) in names.iter().zip(medians) {
            let ratio = median.as_secs_f64() / medians[0].as_secs_f64();
            println!("{name:<36} {:>8.2} us {ratio:>6.2}", median.as_secs_f64() * 1e6);
        }
        drop(server);
        let _ = std::fs::remove_dir_all(place);
        Ok(())
    }

    /// The time of one turn.
    fn measure(mut turn: impl FnMut() -> std::io::Result<String>) -> std::io::Result<Duration> {
        let start = Instant::now();
        for _ in 0..TURNS {
            turn()?;
        }
        Ok(start.elapsed() / TURNS)
    }

    /// Answers lines with lines of the length that the server's have.
    fn pong(listener: &UnixListener) {
        let Ok((stream, _)) = listener.accept() else { return };
        let Ok(reader) = stream.try_clone() else { return };
        for line in BufReader::new(reader).lines().map_while(Result::ok) {
            let reply = if line.contains("acquire") { GRANT } else { DONE };
            if (&stream).write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    }

    struct Lines {
        stream: UnixStream,
        reader: BufReader<UnixStream>,
    }

    impl Lines {
        fn new(stream: UnixStream) -> std::io::Result<Self> {
            Ok(Lines { reader: BufReader::new(stream.try_clone()?), stream })
        }

        fn call(&mut self, line: &str) -> std::io::Result<String> {
            self.stream.write_all(line.as_bytes())?;
            let mut reply = String::new();
            self.reader.read_line(&mut reply)?;
            Ok(reply)
        }
    }
}
