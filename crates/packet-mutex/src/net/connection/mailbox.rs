//! How other threads reach the task of a connection.

use packet_mutex_arbiter::RequestId;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Where other threads leave what the task of the connection has to look at.
#[derive(Default)]
pub(super) struct Mailbox {
    answered: Mutex<Vec<RequestId>>,
    /// There is mail: an answer, a change that may concern a hold, or new events.
    signalled: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Mailbox {
    /// Ready if there is mail. Otherwise the task is woken when there is.
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !task.as_ref().is_some_and(|task| task.will_wake(context.waker())) {
            *task = Some(context.waker().clone());
        }
        drop(task);
        if self.has_mail() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Returns whether there is mail.
    pub(super) fn has_mail(&self) -> bool {
        self.signalled.load(Ordering::SeqCst)
    }

    /// Empties the mailbox. Returns the requests that were answered.
    pub(super) fn empty(&self) -> Vec<RequestId> {
        // Before anything is looked at, so that what happens meanwhile signals again.
        self.signalled.store(false, Ordering::SeqCst);
        std::mem::take(&mut *self.answered())
    }

    fn answered(&self) -> MutexGuard<'_, Vec<RequestId>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The waker of one request: it wakes the task of the connection because the request was answered.
pub(super) struct Answered(pub(super) Arc<Mailbox>, pub(super) RequestId);

impl Wake for Answered {
    fn wake(self: Arc<Self>) {
        self.0.answered().push(self.1);
        self.0.wake_by_ref();
    }
}

impl Wake for Mailbox {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.signalled.store(true, Ordering::SeqCst);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        task.into_iter().for_each(Waker::wake);
    }
}
