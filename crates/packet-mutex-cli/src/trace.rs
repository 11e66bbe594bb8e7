//! Writing a mutex's events to a file as they happen.

use packet_mutex::{Events, PacketMutex};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the last events may take to reach the file when the trace is ended.
const LOOK: Duration = Duration::from_millis(200);

/// Writes the events of mutexes to a file, one JSON object a line, until it is dropped.
#[cfg_attr(not(unix), allow(dead_code, reason = "only servers write traces"))]
pub(crate) struct Trace {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Trace {
    #[cfg_attr(not(unix), allow(dead_code, reason = "only servers write traces"))]
    pub(crate) fn start(path: &Path, mutexes: &[PacketMutex]) -> io::Result<Self> {
        let file = Arc::new(Mutex::new(File::create(path)?));
        let stop = Arc::new(AtomicBool::new(false));
        let threads = mutexes.iter().map(|mutex| {
            let (events, file, stop) = (mutex.events_so_far(), file.clone(), stop.clone());
            std::thread::spawn(move || write(events, &file, &stop))
        });
        Ok(Trace { threads: threads.collect(), stop })
    }
}

fn write(mut events: Events, file: &Mutex<File>, stop: &AtomicBool) {
    loop {
        let ending = stop.load(Ordering::SeqCst);
        let entries = if ending { events.take() } else { events.wait(LOOK) };
        let lines: String = entries.iter().map(|entry| format!("{entry}\n")).collect();
        // Whole lines at once, so that those of several mutexes do not mix. A full disk must not end the mutex.
        if let Ok(mut file) = file.lock() {
            let _ = file.write_all(lines.as_bytes());
        }
        if ending {
            return;
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            // A panic in there was told by the panic hook.
            let _ = thread.join();
        }
    }
}
