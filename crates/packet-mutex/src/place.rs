//! Where a mutex is: the one seam between what programs use and who decides.
//!
//! Each implementation of [`Place`] has a folder: `local/` for an arbiter in this process, and `net/remote/` for a server. A
//! new place is a folder with its own `impl Place`, a form of `Address` in `net/url.rs`, and the line in `net/connect.rs` that
//! opens it. A method that it does not override either follows from the others or says that it is not supported.

use crate::clock::Clock;
use crate::error::Error;
use crate::events::EventSource;
use crate::module::{Module, ModuleRef};
use crate::sync::Parker;
use packet_mutex_arbiter::{
    Grant, Leave, Mode, ModuleId, Owner, RequestId, Roster, Status, Steer, Time,
};
use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

/// What every handle of a mutex shows, wherever the mutex is.
#[derive(Debug)]
pub struct Identity {
    /// Tells mutexes of one process apart.
    pub number: u64,
    /// The mutex's name.
    pub name: Arc<str>,
    /// Where its time comes from.
    pub clock: Arc<dyn Clock>,
    /// Whether its turns come with the channel itself. If so, there are no passes (S15).
    hands_out_channel: AtomicBool,
}

impl Identity {
    pub(crate) fn new(name: Arc<str>, clock: Arc<dyn Clock>) -> Self {
        let hands_out_channel = AtomicBool::new(false);
        Identity { number: unique_number(), name, clock, hands_out_channel }
    }

    /// Notes that its turns come with the channel itself from now on.
    pub(crate) fn hand_out_channel(&self) {
        self.hands_out_channel.store(true, Ordering::Relaxed);
    }

    pub(crate) fn hands_out_channel(&self) -> bool {
        // The flag guards no other memory. It is set before the channel can be had by anybody, and is never cleared.
        self.hands_out_channel.load(Ordering::Relaxed)
    }
}

/// Returns a number that this process has not used before.
pub(crate) fn unique_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What an ask says beside its module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// The owner that asks; `None` for a task, which is not an owner (S5).
    pub owner: Option<Owner>,
    /// How long it waits at most; `None`: as the roster says (S4).
    pub timeout: Option<Duration>,
    /// Whether it goes ahead of all that are not urgent (S10).
    pub urgent: bool,
    /// The hold inside which a nested turn is asked for (S5).
    pub within: Option<RequestId>,
    /// Whether its grant must be claimed. If so, a grant that no [`Place::poll`] takes in time is declined (S12).
    pub claim: bool,
}

/// The answer to a request. A grant without a token is a pass (S15).
pub type Granted = Result<Grant, Error>;

/// A request that was made, and its answer if it came at once. Otherwise [`Place::poll`] finds the answer.
pub type Asked = (RequestId, Option<Granted>);

/// A hold, and a sleep inside it.
#[derive(Clone, Copy, Debug)]
pub struct Nap {
    /// The hold or pass.
    pub hold: RequestId,
    /// Whether it is a pass. Nobody asks a pass to yield.
    pub is_pass: bool,
    /// When the sleep is over.
    pub end: Time,
    /// The key under which the sleeper leaves its waker, from [`Place::new_key`].
    pub key: u64,
}

/// How a sleep inside a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slept {
    /// The whole time has passed.
    Whole,
    /// The turn should be given away, or is over already (S11).
    ShouldYield,
}

const CANNOT: &str = "the mutex cannot do that where it is";

/// A place where a mutex can be.
///
/// No call waits for another module's turn. Whoever waits polls, and a thread [parks](Self::park) in between.
pub trait Place: Any + Debug + Send + Sync {
    /// Returns what every handle shows.
    fn identity(&self) -> &Identity;

    // Asking.

    /// Makes a request.
    ///
    /// # Errors
    ///
    /// What keeps the request from being made: the errors of the module's name, or [`Error::Unavailable`].
    fn begin(&self, module: &ModuleRef<'_>, terms: Terms) -> Result<Asked, Error>;

    /// Takes the answer to a request, and claims its grant if it must be claimed. Without an answer, it leaves the waker.
    fn poll(&self, request: RequestId, waker: &Waker) -> Option<Granted>;

    /// Like [`poll`](Self::poll), for a thread that [parks](Self::park) if there is no answer.
    fn poll_as_thread(&self, request: RequestId, waker: &Waker) -> Option<Granted> {
        self.poll(request, waker)
    }

    /// Withdraws a request whose asker went away. A grant that it has not seen is declined (S12).
    fn withdraw(&self, request: RequestId);

    /// Waits as a thread until the parker is woken.
    fn park(&self, parker: &Parker) {
        parker.park();
    }

    // Turns.

    /// Ends a hold or pass.
    ///
    /// # Errors
    ///
    /// [`Error::NotHolder`] if it is not the owner's, or is over (S6).
    fn end(&self, hold: RequestId, owner: Option<Owner>, how: Leave) -> Result<(), Error>;

    /// Like [`end`](Self::end), for destructors. If somebody else has ended the turn, it is over all the same, and the log says
    /// so.
    fn leave(&self, hold: RequestId, owner: Option<Owner>, how: Leave) {
        let _ = self.end(hold, owner, how);
    }

    /// Ends the owner's newest hold of a module.
    ///
    /// # Errors
    ///
    /// [`Error::NotHolder`] if it has none (S6).
    fn end_module(&self, module: &ModuleRef<'_>, owner: Owner) -> Result<(), Error> {
        let _ = (module, owner);
        Err(Error::Unsupported(CANNOT))
    }

    /// Ends all that a lost owner held and waited for (S7).
    fn owner_lost(&self, owner: Owner);

    /// Ends the turn and asks again, in one step (S11).
    ///
    /// # Errors
    ///
    /// [`Error::NotHolder`], or [`Error::Refused`] while nested turns are open. The turn then goes on.
    fn give_away(
        &self,
        hold: RequestId,
        owner: Option<Owner>,
        timeout: Option<Duration>,
    ) -> Result<Asked, Error> {
        let _ = (hold, owner, timeout);
        Err(Error::Unsupported(CANNOT))
    }

    /// Returns whether this is an open hold of the turn.
    fn holds(&self, hold: RequestId) -> bool;

    /// Returns whether this hold's turn should be given away (S11), or was lost (S6).
    fn should_yield(&self, hold: RequestId) -> bool;

    /// Notes that things were put right after an abandoned turn (S7).
    ///
    /// # Errors
    ///
    /// [`Error::NotHolder`] for a pass or a turn that is over.
    fn acknowledge(&self, hold: RequestId) -> Result<(), Error> {
        let _ = hold;
        Err(Error::Unsupported(CANNOT))
    }

    /// Returns a new key, under which a sleeper leaves its wakers.
    fn new_key(&self) -> u64;

    /// Returns how a sleep ended, if it has (S11). Otherwise it leaves the waker.
    fn poll_nap(&self, nap: &Nap, waker: &Waker) -> Option<Slept>;

    /// Forgets the wakers of a sleeper that is gone.
    fn forget_key(&self, key: u64);

    // Looking.

    /// Returns the module of this name.
    ///
    /// # Errors
    ///
    /// The errors of the name.
    fn module(&self, name: &str) -> Result<Module, Error>;

    /// Returns a module's name.
    fn module_name(&self, module: ModuleId) -> Arc<str>;

    /// Returns the holder: its owner, if it has one in this process, and its module's name.
    fn holder(&self) -> Option<(Option<Owner>, Arc<str>)>;

    /// Returns a consistent snapshot (S16).
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the mutex cannot be reached.
    fn status(&self) -> Result<Status, Error> {
        Err(Error::Unsupported(CANNOT))
    }

    /// Returns the roster in force.
    fn roster(&self) -> Roster;

    /// Returns a reader of the events from now on. With `so_far`, it also reads those that are still kept.
    fn events(self: Arc<Self>, so_far: bool) -> Box<dyn EventSource>;

    // Steering.

    /// Steers the mutex (S12, S15, S19, S20). The caller has asked `check_steer`.
    ///
    /// # Errors
    ///
    /// The errors of the module's name, and what the arbiter refuses.
    fn steer(&self, steer: Steer<&str>) -> Result<(), Error> {
        let _ = steer;
        Err(Error::Unsupported(CANNOT))
    }
}

/// Refuses what is not safe for a mutex whose turns hand out the channel, wherever that mutex is. A pass beside the turn, or
/// a turn that ends behind its guard's back, would lead to a second `&mut` (S7, S12, S15).
///
/// # Errors
///
/// [`Error::Unsupported`].
pub(crate) fn check_steer<M>(identity: &Identity, steer: &Steer<M>) -> Result<(), Error> {
    if !identity.hands_out_channel() {
        return Ok(());
    }
    let is_enforced = |mode: Mode| mode == Mode::Enforced;
    match steer {
        Steer::Mode { mode, .. } if !is_enforced(*mode) => Err(Error::Unsupported(
            "a Guarded channel can only be had with a turn, so its modules are all enforced",
        )),
        Steer::Reload(roster) if !roster.spec().modules.iter().all(|m| is_enforced(m.mode)) => {
            Err(Error::Unsupported("the modules of a Guarded channel are all enforced"))
        }
        Steer::Revoke { .. } => Err(Error::Unsupported(
            "the holder has the channel of a Guarded mutex in its hands; it must end the turn itself",
        )),
        _ => Ok(()),
    }
}

#[cfg(all(test, not(pm_loom)))]
mod tests {
    use super::*;
    use crate::local::LocalMutex;
    use crate::{Guarded, ManualClock, PacketMutex, below};
    use std::mem::forget;
    use std::thread;

    /// A place with the required methods and nothing else. Behind it is a mutex of this process.
    #[derive(Debug)]
    struct Elsewhere(Arc<LocalMutex>);

    impl Place for Elsewhere {
        fn identity(&self) -> &Identity {
            self.0.identity()
        }

        fn begin(&self, module: &ModuleRef<'_>, terms: Terms) -> Result<Asked, Error> {
            self.0.begin(module, terms)
        }

        fn poll(&self, request: RequestId, waker: &Waker) -> Option<Granted> {
            self.0.poll(request, waker)
        }

        fn withdraw(&self, request: RequestId) {
            self.0.withdraw(request);
        }

        fn end(&self, hold: RequestId, owner: Option<Owner>, how: Leave) -> Result<(), Error> {
            self.0.end(hold, owner, how)
        }

        fn owner_lost(&self, owner: Owner) {
            self.0.owner_lost(owner);
        }

        fn holds(&self, hold: RequestId) -> bool {
            self.0.holds(hold)
        }

        fn should_yield(&self, hold: RequestId) -> bool {
            self.0.should_yield(hold)
        }

        fn new_key(&self) -> u64 {
            self.0.new_key()
        }

        fn poll_nap(&self, nap: &Nap, waker: &Waker) -> Option<Slept> {
            self.0.poll_nap(nap, waker)
        }

        fn forget_key(&self, key: u64) {
            self.0.forget_key(key);
        }

        fn module(&self, name: &str) -> Result<Module, Error> {
            self.0.module(name)
        }

        fn module_name(&self, module: ModuleId) -> Arc<str> {
            self.0.module_name(module)
        }

        fn holder(&self) -> Option<(Option<Owner>, Arc<str>)> {
            self.0.holder()
        }

        fn roster(&self) -> Roster {
            self.0.roster()
        }

        fn events(self: Arc<Self>, so_far: bool) -> Box<dyn EventSource> {
            self.0.clone().events(so_far)
        }
    }

    /// The mutex there, the same one as this process sees it, and its clock.
    fn elsewhere() -> (PacketMutex, PacketMutex, ManualClock) {
        let clock = ManualClock::new();
        let here = PacketMutex::builder(Roster::default()).clock(clock.clone()).build();
        let place = Arc::new(Elsewhere(here.local().unwrap()));
        (PacketMutex { place }, here, clock)
    }

    #[test]
    fn turns_need_no_more_than_what_is_required() {
        let (mutex, here, clock) = elsewhere();
        let second = Duration::from_secs(1);
        let mut events = mutex.events();
        assert_eq!(&**mutex.name(), "main");
        assert_eq!(mutex.roster(), here.roster());
        assert_eq!(&**mutex.module("fisher").unwrap().name(), "fisher");

        let turn = mutex.acquire("fisher").unwrap();
        drop(turn.nest("stacker").unwrap());
        assert!(turn.is_held() && !turn.should_yield());
        thread::scope(|s| {
            let waits = s.spawn(|| mutex.acquire("runemaker").map(|turn| turn.waited()));
            assert_eq!(turn.sleep(60 * second), Slept::ShouldYield);
            turn.release();
            while !waits.is_finished() {
                clock.advance(second);
            }
            assert!(waits.join().unwrap().unwrap() >= second);
        });
        clock.advance(second);
        assert!(matches!(
            mutex.request("eater").valid_if(|| false).acquire(),
            Err(Error::NoLongerValid)
        ));

        // A thread that ends leaves nothing behind.
        thread::spawn({
            let mutex = mutex.clone();
            move || forget(mutex.acquire("eater").unwrap())
        })
        .join()
        .unwrap();
        while here.status().holder.is_some() {
            thread::yield_now();
        }
        let kinds: Vec<_> = events.take().iter().map(|event| event.kind.name()).collect();
        assert_eq!(kinds.last(), Some(&"abandoned"));
        assert!(events.wait(Duration::ZERO).is_empty());
    }

    #[test]
    fn tasks_need_no_more_than_what_is_required() {
        let (mutex, here, clock) = elsewhere();
        let mut context = std::task::Context::from_waker(Waker::noop());
        let turn = mutex.acquire("fisher").unwrap();
        let mut gone = Box::pin(mutex.acquire_async("eater"));
        assert!(gone.as_mut().poll(&mut context).is_pending());
        drop(gone);
        assert!(here.status().waiters.is_empty());
        let mut ask = Box::pin(mutex.acquire_async("eater"));
        assert!(ask.as_mut().poll(&mut context).is_pending());
        drop(turn);
        clock.advance(Duration::from_secs(1));
        let std::task::Poll::Ready(Ok(turn)) = ask.as_mut().poll(&mut context) else { panic!() };
        assert!(turn.is_held());
    }

    #[test]
    fn what_a_place_leaves_out_is_not_supported() {
        fn is_unsupported<T: Debug>(result: Result<T, Error>) -> bool {
            matches!(result, Err(Error::Unsupported(_)))
        }
        let (mutex, here, _) = elsewhere();
        let mut turn = mutex.acquire("fisher").unwrap();
        assert!(is_unsupported(turn.yield_now()));
        assert!(turn.is_held(), "it goes on");
        assert!(is_unsupported(turn.acknowledge()));
        assert!(is_unsupported(mutex.release("fisher")));
        assert!(is_unsupported(mutex.try_status()));
        assert_eq!(mutex.status(), Status { now: mutex.status().now, ..Status::default() });

        assert!(is_unsupported(mutex.cancel("fisher")));
        assert!(is_unsupported(mutex.disable("fisher")));
        assert!(is_unsupported(mutex.enable("fisher")));
        assert!(is_unsupported(mutex.set_mode("fisher", Mode::Off)));
        assert!(is_unsupported(mutex.pause(below(60), "alarm")));
        assert!(is_unsupported(mutex.resume("alarm")));
        assert!(is_unsupported(mutex.reload(Roster::default())));
        assert!(is_unsupported(mutex.revoke("it hangs")));
        mutex.resume_all();
        mutex.close();
        mutex.reset();
        assert!(turn.is_held() && !here.status().closed);
    }

    /// It asks who holds, not for a status, which a place may leave out.
    #[test]
    fn a_channel_is_replaced_between_turns_only() {
        let (mutex, _, _) = elsewhere();
        let channel = Guarded::new(mutex, 1);
        let turn = channel.acquire("fisher").unwrap();
        assert_eq!(channel.replace(2), Err(2));
        drop(turn);
        assert_eq!(channel.replace(2), Ok(Some(1)));
    }
}
