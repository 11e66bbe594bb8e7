//! The far end of the channel. It takes actions with tokens, and refuses a token older than the newest that it has seen.

use crate::log::now;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

pub(crate) struct Channel {
    pub(crate) address: SocketAddr,
    over: Arc<AtomicBool>,
}

impl Channel {
    pub(crate) fn open() -> std::io::Result<Channel> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        let newest = Arc::new(Mutex::new(0));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let newest = newest.clone();
                thread::spawn(move || take_from(stream, &newest));
            }
        });
        Ok(Channel { address, over })
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the listener, which waits in `accept`.
        let _ = TcpStream::connect(self.address);
    }
}

/// Takes actions until the sender is gone.
fn take_from(stream: TcpStream, newest: &Mutex<u64>) {
    let Ok(mut answers) = stream.try_clone() else { return };
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let Ok(token) = line.parse::<u64>() else { return };
        // The time is read under the lock, so that the order of the times is the order in which actions were taken.
        let answer = {
            let mut newest = newest.lock().expect("no thread panics with it");
            if token < *newest {
                format!("refused {}\n", *newest)
            } else {
                *newest = token;
                format!("accepted {}\n", now())
            }
        };
        if answers.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
