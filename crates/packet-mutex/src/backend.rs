//! Where a mutex is: in this process, or behind a socket. Asks and turns are the same for both.

use crate::clock::{Alarm, Clock};
use crate::error::Error;
use crate::log;
use crate::module::{Module, ModuleRef};
use crate::shared::Shared;
use crate::turn::Slept;
use packet_mutex_arbiter::{Grant, Leave, ModuleId, Owner, RequestId, Time};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

#[cfg(feature = "net")]
use crate::net::Remote;

/// A mutex, wherever it is.
#[derive(Clone, Debug)]
pub(crate) enum Backend {
    /// In this process.
    Local(Arc<Shared>),
    /// Behind a socket.
    #[cfg(feature = "net")]
    Remote(Arc<Remote>),
}

/// What a request was answered.
pub(crate) type Granted = Result<Grant, Error>;

/// What an ask says beside its module.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asking {
    pub(crate) owner: Option<Owner>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) urgent: bool,
    pub(crate) within: Option<RequestId>,
    pub(crate) claim: bool,
}

/// Both kinds have the same methods; this calls one.
macro_rules! either {
    ($backend:expr, $it:ident => $call:expr) => {
        match $backend {
            Backend::Local($it) => $call,
            #[cfg(feature = "net")]
            Backend::Remote($it) => $call,
        }
    };
}

impl Backend {
    #[cfg(test)]
    pub(crate) fn local(&self) -> &Shared {
        match self {
            Backend::Local(shared) => shared,
            #[cfg(feature = "net")]
            Backend::Remote(remote) => panic!("{remote:?} is elsewhere"),
        }
    }

    /// Tells mutexes of one process apart.
    pub(crate) fn number(&self) -> u64 {
        either!(self, it => it.number)
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        either!(self, it => &it.name)
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        either!(self, it => &*it.clock)
    }

    /// From now on its turns come with the channel itself.
    pub(crate) fn hand_out_channel(&self) {
        either!(self, it => it.hand_out_channel());
    }

    pub(crate) fn hands_out_channel(&self) -> bool {
        either!(self, it => it.hands_out_channel())
    }

    pub(crate) fn begin(
        &self,
        module: &ModuleRef<'_>,
        asking: Asking,
    ) -> Result<(RequestId, Option<Granted>), Error> {
        either!(self, it => it.begin(module, asking))
    }

    pub(crate) fn poll(&self, id: RequestId, waker: &Waker) -> Option<Granted> {
        either!(self, it => it.poll(id, waker))
    }

    pub(crate) fn wait_for(&self, id: RequestId) -> Granted {
        either!(self, it => it.wait_for(id))
    }

    pub(crate) fn forget(&self, id: RequestId) {
        either!(self, it => it.forget(id));
    }

    pub(crate) fn end(
        &self,
        hold: RequestId,
        owner: Option<Owner>,
        how: Leave,
    ) -> Result<(), Error> {
        either!(self, it => it.end(hold, owner, how))
    }

    pub(crate) fn leave(&self, hold: RequestId, owner: Option<Owner>, how: Leave) {
        either!(self, it => it.leave(hold, owner, how));
    }

    pub(crate) fn end_module(&self, module: &ModuleRef<'_>, owner: Owner) -> Result<(), Error> {
        either!(self, it => it.end_module(module, owner))
    }

    pub(crate) fn owner_lost(&self, owner: Owner) {
        either!(self, it => it.owner_lost(owner));
    }

    pub(crate) fn give_away(
        &self,
        hold: RequestId,
        owner: Option<Owner>,
        timeout: Option<Duration>,
    ) -> Result<(RequestId, Option<Granted>), Error> {
        either!(self, it => it.give_away(hold, owner, timeout))
    }

    pub(crate) fn holds(&self, hold: RequestId) -> bool {
        either!(self, it => it.holds(hold))
    }

    pub(crate) fn should_yield(&self, hold: RequestId) -> bool {
        either!(self, it => it.should_yield(hold))
    }

    pub(crate) fn acknowledge(&self, hold: RequestId) -> Result<(), Error> {
        either!(self, it => it.acknowledge(hold))
    }

    pub(crate) fn module_name(&self, module: ModuleId) -> Arc<str> {
        either!(self, it => it.module_name(module))
    }

    pub(crate) fn module(&self, name: &str) -> Result<Module, Error> {
        either!(self, it => it.module(name))
    }

    pub(crate) fn sleep(&self, hold: RequestId, is_pass: bool, length: Duration) -> Slept {
        let end = self.clock().now() + length;
        either!(self, it => it.sleep(hold, is_pass, end))
    }

    /// The event log cannot say why a request timed out, so whoever has the answer does.
    pub(crate) fn log_timeout(&self, module: &str, error: &Error) {
        log::write_timeout(self.name(), module, error);
    }

    pub(crate) fn downgrade(&self) -> WeakBackend {
        match self {
            Backend::Local(shared) => WeakBackend::Local(Arc::downgrade(shared)),
            #[cfg(feature = "net")]
            Backend::Remote(remote) => WeakBackend::Remote(Arc::downgrade(remote)),
        }
    }
}

/// A mutex that may be gone.
#[derive(Debug)]
pub(crate) enum WeakBackend {
    Local(Weak<Shared>),
    #[cfg(feature = "net")]
    Remote(Weak<Remote>),
}

impl WeakBackend {
    pub(crate) fn upgrade(&self) -> Option<Backend> {
        match self {
            WeakBackend::Local(shared) => shared.upgrade().map(Backend::Local),
            #[cfg(feature = "net")]
            WeakBackend::Remote(remote) => remote.upgrade().map(Backend::Remote),
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        match self {
            WeakBackend::Local(shared) => shared.strong_count() == 0,
            #[cfg(feature = "net")]
            WeakBackend::Remote(remote) => remote.strong_count() == 0,
        }
    }

    pub(crate) fn is(&self, backend: &Backend) -> bool {
        match (self, backend) {
            (WeakBackend::Local(known), Backend::Local(shared)) => {
                std::ptr::eq(known.as_ptr(), Arc::as_ptr(shared))
            }
            #[cfg(feature = "net")]
            (WeakBackend::Remote(known), Backend::Remote(remote)) => {
                std::ptr::eq(known.as_ptr(), Arc::as_ptr(remote))
            }
            #[cfg(feature = "net")]
            _ => false,
        }
    }
}

/// A sleep inside a turn, by polling (S11). Dropping it ends the sleep and nothing else.
#[derive(Debug)]
pub(crate) struct Sleep {
    backend: Backend,
    hold: RequestId,
    is_pass: bool,
    end: Time,
    key: u64,
    alarm: Option<Alarm>,
}

impl Sleep {
    /// A sleep of this length inside this hold or pass.
    pub(crate) fn new(backend: &Backend, hold: RequestId, is_pass: bool, length: Duration) -> Self {
        let end = backend.clock().now() + length;
        let key = either!(backend, it => it.new_sleep());
        Sleep { backend: backend.clone(), hold, is_pass, end, key, alarm: None }
    }

    /// How it ended, if it has; else leaves the waker.
    pub(crate) fn poll(&mut self, waker: &Waker) -> Option<Slept> {
        let (turn, end, key) = ((self.hold, self.is_pass), self.end, self.key);
        let slept = either!(&self.backend, it => it.poll_sleep(turn, end, key, waker));
        self.cancel();
        if slept.is_none() {
            self.alarm = Some(self.backend.clock().wake_at(end, waker.clone()));
        }
        slept
    }

    fn cancel(&mut self) {
        self.alarm.take().into_iter().for_each(|alarm| self.backend.clock().cancel(alarm));
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.cancel();
        either!(&self.backend, it => it.forget_sleep(self.key));
    }
}
