//! Windows and others. This file was tried on Linux in place of `unix.rs`, and has not run elsewhere.

use super::Signal;
use std::io;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::ctrl_c;

/// Ctrl-C, which asks the program to end.
pub(crate) struct Shutdown(Runtime);

impl Shutdown {
    /// Catches Ctrl-C from now on, so that it is an orderly end.
    pub(crate) fn catch() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        // The first poll takes Ctrl-C over.
        runtime.block_on(async {
            let mut end = std::pin::pin!(ctrl_c());
            let _ =
                std::future::poll_fn(|context| std::task::Poll::Ready(end.as_mut().poll(context)))
                    .await;
        });
        Ok(Shutdown(runtime))
    }

    /// Waits for Ctrl-C.
    pub(crate) fn wait(self) {
        let _ = self.0.block_on(ctrl_c());
    }
}

/// Does nothing: there are no signals, and Ctrl-C is a key like any other.
pub(crate) fn on_signal(_: impl Fn(Signal) -> bool + Send + 'static) {}

/// Does nothing: nobody could continue the process.
pub(crate) fn suspend() {}

/// Does nothing: there is no limit to raise.
pub(crate) fn allow_many_connections() {}
