//! Windows and others. It was tried on Linux in place of what is there, and has not run elsewhere.

use super::Told;
use std::io;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::ctrl_c;

/// Being told to end.
pub(crate) struct End(Runtime);

impl End {
    /// From here on Ctrl-C is an orderly end.
    pub(crate) fn prepare() -> io::Result<End> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        // The first poll is what takes Ctrl-C over.
        runtime.block_on(async {
            let mut end = std::pin::pin!(ctrl_c());
            let _ =
                std::future::poll_fn(|context| std::task::Poll::Ready(end.as_mut().poll(context)))
                    .await;
        });
        Ok(End(runtime))
    }

    /// Waits for it.
    pub(crate) fn wait(self) {
        let _ = self.0.block_on(ctrl_c());
    }
}

/// There is nothing that could be told; Ctrl-C is a key like any other.
pub(crate) fn tell_signals(_: impl Fn(Told) -> bool + Send + 'static) {}

/// There is nobody who could tell it to go on.
pub(crate) fn suspend() {}

/// There is no limit that could be raised.
pub(crate) fn allow_many_connections() {}
