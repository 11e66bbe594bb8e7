//! A thread with a tokio runtime of its own.

use crate::error::Error;
use std::future::Future;
use std::io;
use std::thread::JoinHandle;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// A thread that serves on a tokio runtime of its own, for programs without tokio. Dropping this stops it.
#[doc(hidden)]
#[derive(Debug)]
#[must_use = "the thread stops when this is dropped"]
pub struct RuntimeThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl RuntimeThread {
    /// Runs `bind` on the calling thread, so that the caller gets its error. The first part of its result is returned. The
    /// second is a future, which runs on a new thread of this name until it ends or the `RuntimeThread` is dropped.
    ///
    /// # Errors
    ///
    /// Those of `bind`; [`Error::Unavailable`] if the system gives no runtime or no thread.
    pub fn start<T, F>(
        name: &str,
        bind: impl Future<Output = Result<(T, F), Error>>,
    ) -> Result<(T, Self), Error>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let unavailable = |error: io::Error| Error::Unavailable(error.to_string());
        let runtime = Builder::new_current_thread().enable_all().build().map_err(unavailable)?;
        let (bound, serve) = runtime.block_on(bind)?;
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve => {}
                    // A sender that is dropped stops it too.
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(run);
        let thread = thread.map_err(unavailable)?;
        Ok((bound, RuntimeThread { stop: Some(stop), thread: Some(thread) }))
    }
}

impl Drop for RuntimeThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The panic hook has already reported a panic of the thread.
            let _ = thread.join();
        }
    }
}
