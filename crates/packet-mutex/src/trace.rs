//! Traces: files to which events are written as they happen.

use crate::clock::SystemClock;
use crate::events::{Event, Events};
use crate::mutex::PacketMutex;
use crate::sync::{Parker, park_until};
use crate::wakers::Wakers;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::JoinHandle;

/// Writes the events of mutexes to a file, one JSON object a line, until it is dropped. It begins with the events that are
/// still kept. `packet-mutex report` makes a timeline of the file.
///
/// It delays no grant. When it is dropped, it writes all that has happened until then. For a mutex elsewhere, it waits up to
/// a second for what the server still has to tell.
///
/// ```
/// use packet_mutex::{PacketMutex, Roster, Trace};
/// # let directory = tempfile::tempdir()?;
/// # let file = directory.path().join("run.jsonl");
///
/// let mutex = PacketMutex::new(Roster::default());
/// let trace = Trace::start(&file, [&mutex])?;
/// drop(mutex.acquire("fisher").unwrap());
/// trace.finish()?;
/// assert_eq!(std::fs::read_to_string(&file)?.lines().count(), 3); // requested, granted, released
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing more is written when this is dropped"]
pub struct Trace {
    out: Arc<Out>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Out {
    stop: AtomicBool,
    /// The wakers of the threads that wait for events.
    wakers: Mutex<Wakers>,
    /// The file, or what failed first. Nothing is written after a failure, so that the file has no hidden gap.
    file: Mutex<Result<File, io::Error>>,
}

impl Trace {
    /// Begins the file, which is emptied if it exists. Each mutex gets a thread that writes.
    ///
    /// # Errors
    ///
    /// If the file cannot be made, or a thread cannot be started.
    pub fn start<'m>(
        path: impl AsRef<Path>,
        mutexes: impl IntoIterator<Item = &'m PacketMutex>,
    ) -> io::Result<Self> {
        let file = Mutex::new(Ok(File::create(path)?));
        let wakers = Mutex::default();
        let out = Arc::new(Out { stop: AtomicBool::new(false), wakers, file });
        let mut trace = Trace { out, threads: Vec::new() };
        for mutex in mutexes {
            let (events, out) = (mutex.events_so_far(), trace.out.clone());
            let thread = std::thread::Builder::new().name("packet-mutex-trace".into());
            trace.threads.push(thread.spawn(move || out.write(events))?);
        }
        Ok(trace)
    }

    /// Writes what is left, and returns whether all of it is in the file.
    ///
    /// # Errors
    ///
    /// What failed first. The file ends before it.
    pub fn finish(mut self) -> io::Result<()> {
        self.stop();
        let mut file = self.out.file.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *file, Err(io::ErrorKind::Other.into())).map(drop)
    }

    fn stop(&mut self) {
        // Set before the wakers are taken. A thread leaves its waker first and looks at this after, so it either sees the flag
        // or is woken.
        self.out.stop.store(true, Ordering::SeqCst);
        let mut waiting = Vec::new();
        self.out.wakers().move_to(&mut waiting);
        waiting.into_iter().for_each(Waker::wake);
        for thread in self.threads.drain(..) {
            // The panic hook has reported a panic in there.
            let _ = thread.join();
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Out {
    fn write(&self, mut events: Events) {
        let key = self.wakers().new_key();
        loop {
            // Looked at before the events, so that those from before it was set are not missed.
            let ending = self.stop.load(Ordering::SeqCst);
            if ending {
                events.catch_up();
            }
            let log = if ending { events.take() } else { self.next(&mut events, key) };
            self.append(&log);
            // What was read last has all from before the stop. On a busy mutex, to read until nothing is new might never end.
            if ending {
                return;
            }
        }
    }

    /// Waits for new events and returns them, or returns none once the trace is to stop.
    fn next(&self, events: &mut Events, key: u64) -> Vec<Event> {
        let look = |waker: &Waker| {
            drop(self.wakers().leave(key, waker.clone()));
            let stopped = || self.stop.load(Ordering::SeqCst).then(Vec::new);
            events.poll(waker).or_else(stopped)
        };
        park_until(&SystemClock, None, Parker::park, look).unwrap_or_default()
    }

    fn wakers(&self) -> MutexGuard<'_, Wakers> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, log: &[Event]) {
        let mut lines = String::new();
        for event in log {
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{event}");
        }
        // Whole lines at once, so that those of several mutexes do not mix.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(open) = &mut *file
            && let Err(error) = open.write_all(lines.as_bytes())
        {
            *file = Err(error);
        }
    }
}
