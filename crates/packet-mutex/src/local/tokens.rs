//! Stores how far a mutex's tokens went, so that they go on from there after a restart (S17).

use crate::error::Error;
use packet_mutex_arbiter::Token;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// How many tokens ahead a mark is stored, so that few grants wait for the disk.
const AHEAD: u64 = 1000;

/// The most bytes of the file that are read.
const FILE_MAX: u64 = 4096;

/// The file with the mark: no token above it was ever given. While this lives, no other process uses the file.
#[derive(Debug)]
pub(crate) struct Tokens {
    file: PathBuf,
    high: u64,
    /// The most tokens that one step of the mutex can give: one to each waiter, and one to the request that comes.
    step: u64,
    _lock: File,
}

impl Tokens {
    /// Opens the mark of a mutex in this directory, which is made if it is missing. `waiters` is the roster's limit. Returns
    /// the first token to give, too, and whether there was a mark before.
    pub(crate) fn open(
        directory: &Path,
        mutex: &str,
        waiters: usize,
    ) -> Result<(Self, u64, bool), Error> {
        let unavailable = |why: String| {
            Error::Unavailable(format!("the tokens of `{mutex}` in {}: {why}", directory.display()))
        };
        make_private(directory).map_err(|error| unavailable(error.to_string()))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join(format!("{mutex}.lock")))
            .map_err(|error| unavailable(error.to_string()))?;
        // The lock is a file of its own. The mark's file is replaced with each store, and a lock would stay with the
        // old one.
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => unavailable("another process uses them".into()),
            TryLockError::Error(error) => unavailable(error.to_string()),
        })?;
        let file = directory.join(format!("{mutex}.tokens"));
        let last = read(&file).map_err(unavailable)?;
        let step = waiters as u64 + 1;
        let mut tokens = Tokens { file, high: last.unwrap_or(0), step, _lock: lock };
        let first =
            tokens.high.checked_add(1).ok_or_else(|| unavailable("no tokens left".into()))?;
        // Stored before the first grant: a process that dies right after it must not give the same tokens again.
        tokens.store(first).map_err(|error| unavailable(error.to_string()))?;
        Ok((tokens, first, last.is_some()))
    }

    /// Makes sure that this token, and all that the next step can give, are at most the stored mark.
    pub(crate) fn cover(&mut self, newest: Token) -> io::Result<()> {
        // Stored anew when half is used. The other half is for a time in which it cannot be stored.
        if newest.0.saturating_add(self.step + AHEAD / 2) <= self.high {
            return Ok(());
        }
        self.store(newest.0)
    }

    /// Returns whether the next step could give tokens above the mark.
    pub(crate) fn is_near_its_end(&self, newest: Token) -> bool {
        newest.0.saturating_add(self.step) > self.high
    }

    /// Stores a mark that is ahead of this token. Whatever happens meanwhile, the old mark or the new one is there.
    fn store(&mut self, newest: u64) -> io::Result<()> {
        let high = newest.saturating_add(self.step + AHEAD);
        let new = self.file.with_extension("tokens.new");
        let mut file = File::create(&new)?;
        writeln!(file, "{high}")?;
        // First the content, then the name, then the directory. Renamed earlier, the name could outlive a power cut
        // without its content. Without the last step, the rename itself could be lost, although tokens above the old
        // mark were given.
        file.sync_all()?;
        fs::rename(&new, &self.file)?;
        if let Some(directory) = self.file.parent() {
            File::open(directory)?.sync_all()?;
        }
        // Only now: a mark that may not be on the disk covers no token.
        self.high = high;
        Ok(())
    }
}

fn read(file: &Path) -> Result<Option<u64>, String> {
    use std::io::Read as _;
    let mut text = String::new();
    match File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
        Ok(file) => file.take(FILE_MAX).read_to_string(&mut text).map_err(|e| e.to_string())?,
    };
    // A fresh start from a broken file would give tokens a second time.
    let high = text.trim().parse().map_err(|_| "the file holds no number".to_string())?;
    Ok(Some(high))
}

/// Makes a directory, if it is missing, that only its user can enter.
pub(crate) fn make_private(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PacketMutex, Roster};
    use tempfile::{TempDir, tempdir};

    fn open(directory: &TempDir) -> Result<PacketMutex, Error> {
        PacketMutex::builder(Roster::default()).build_stored(directory.path())
    }

    #[test]
    fn tokens_grow_over_restarts_and_the_first_turn_is_warned() {
        let directory = tempdir().unwrap();
        let mut last = 0;
        for restart in 0..3 {
            let mutex = open(&directory).unwrap();
            // After a restart the delay holds for all; an urgent ask skips it.
            let turn = mutex.request("fisher").urgent().acquire().unwrap();
            let token = turn.token().unwrap().0;
            assert!(token > last, "{token} after {last}");
            assert_eq!(turn.predecessor_abandoned(), restart > 0);
            last = token;
        }
    }

    #[test]
    fn a_mark_is_stored_before_its_tokens_are_given() {
        let directory = tempdir().unwrap();
        let mutex = open(&directory).unwrap();
        for _ in 0..12_000 {
            let turn = mutex.acquire("fisher").unwrap();
            let stored = fs::read_to_string(directory.path().join("main.tokens")).unwrap();
            assert!(turn.token().unwrap().0 <= stored.trim().parse().unwrap());
        }
    }

    #[test]
    fn two_do_not_share_a_mark() {
        let directory = tempdir().unwrap();
        let _first = open(&directory).unwrap();
        let error = open(&directory).unwrap_err();
        assert!(error.to_string().contains("another process uses them"), "{error}");
    }

    #[test]
    fn a_broken_file_is_refused() {
        let directory = tempdir().unwrap();
        drop(open(&directory).unwrap());
        fs::write(directory.path().join("main.tokens"), "12x").unwrap();
        let error = open(&directory).unwrap_err();
        assert!(error.to_string().contains("no number"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn without_a_place_for_marks_it_closes_before_it_runs_out() {
        let directory = tempdir().unwrap();
        let mutex = open(&directory).unwrap();
        // Nothing can be created in a directory that is gone.
        fs::remove_dir_all(&directory).unwrap();
        let mut given = 0_u64;
        let error = loop {
            match mutex.acquire("fisher") {
                Ok(turn) => given = turn.token().unwrap().0,
                Err(error) => break error,
            }
        };
        assert_eq!(error, Error::Closed);
        assert!((500..10_000).contains(&given), "{given}");
    }
}
