//! The mutex itself.

use crate::ask::{Ask, Target, sealed};
use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::events::Events;
use crate::local::{LocalMutex, Tokens};
use crate::module::{Module, ModuleRef};
use crate::owner::this_thread;
use crate::place::{Place, check_steer};
use crate::turn::{OfTask, OfThread, TaskTurn, Turn, TurnOf};
use packet_mutex_arbiter::{Arbiter, Below, Mode, Roster, Start, Status, Steer, fold_name};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The lock that the modules of one program share: strict priorities, a handover delay, timeouts.
///
/// Cloning it gives another handle of the same mutex. It has no data of its own; [`Guarded`](crate::Guarded) owns the
/// channel too.
///
/// ```
/// use packet_mutex::{PacketMutex, Roster};
///
/// let mutex = PacketMutex::new(Roster::default());
/// {
///     let _turn = mutex.acquire("fisher")?; // waits at most 30 s
///     // send packets
/// } // released
/// # Ok::<(), packet_mutex::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PacketMutex {
    pub(crate) place: Arc<dyn Place>,
}

/// Settings of a mutex that is to be made: from [`PacketMutex::builder`].
#[derive(Debug)]
#[must_use = "a builder makes nothing until `build` is called"]
pub struct Builder {
    pub(crate) roster: Roster,
    name: String,
    clock: Arc<dyn Clock>,
    start: Start,
}

impl Builder {
    /// The name that events and logs show; `main` without it. A text that is no name is refused by
    /// [`build_named`](Self::build_named) and shown as it is by [`build`](Self::build).
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// The clock, for tests in virtual time; the system's without it.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Tokens begin here, and the mutex behaves as after an abandoned turn (S17): for whoever stores tokens.
    pub fn after_restart(mut self, first_token: u64) -> Self {
        self.start = Start { first_token, after_restart: true, ..self.start };
        self
    }

    /// Makes the mutex.
    #[must_use]
    pub fn build(self) -> PacketMutex {
        self.build_with(None)
    }

    /// Makes a mutex whose tokens go on where they were, also over restarts (S17): how far they went is stored in this
    /// directory, ahead of the grants. If there was a mutex before, this one behaves as after an abandoned turn. If the
    /// marks can no longer be stored, it warns, and closes before it would give a token above the last one.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`]; [`Error::Unavailable`] if the directory cannot be used or another process uses it.
    pub fn build_stored(mut self, directory: &Path) -> Result<PacketMutex, Error> {
        self.name = fold_name(&self.name).map_err(Error::InvalidName)?;
        let waiters = self.roster.spec().limits.waiters;
        let (tokens, first_token, was_before) = Tokens::open(directory, &self.name, waiters)?;
        self.start = Start { first_token, after_restart: was_before, ..self.start };
        Ok(self.build_with(Some(tokens)))
    }

    fn build_with(self, tokens: Option<Tokens>) -> PacketMutex {
        let start = Start { now: self.clock.now(), ..self.start };
        let arbiter = Arbiter::new(self.roster, start);
        PacketMutex { place: LocalMutex::new(self.name.into(), self.clock, arbiter, tokens) }
    }

    /// Makes the mutex and keeps it under its name, so that all of the process finds it with [`PacketMutex::named`].
    /// One that is there already is returned if its roster is the same.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`], or [`Error::RosterDiffers`] with the fields in which the mutex of this name differs (S19).
    pub fn build_named(mut self) -> Result<PacketMutex, Error> {
        self.name = fold_name(&self.name).map_err(Error::InvalidName)?;
        let mut named = named_mutexes();
        if let Some(mutex) = named.get(&self.name) {
            let theirs = mutex.roster();
            let fields = theirs.differences(&self.roster);
            return if fields.is_empty() {
                Ok(mutex.clone())
            } else {
                Err(Error::RosterDiffers { fields })
            };
        }
        let name = self.name.clone();
        let mutex = self.build();
        named.insert(name, mutex.clone());
        Ok(mutex)
    }
}

/// The process's mutexes by name. They live as long as the process.
fn named_mutexes() -> MutexGuard<'static, BTreeMap<String, PacketMutex>> {
    static NAMED: Mutex<BTreeMap<String, PacketMutex>> = Mutex::new(BTreeMap::new());
    NAMED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PacketMutex {
    /// A mutex with this roster, named `main`.
    #[must_use]
    pub fn new(roster: Roster) -> Self {
        Self::builder(roster).build()
    }

    /// A mutex with settings of its own.
    pub fn builder(roster: Roster) -> Builder {
        Builder {
            roster,
            name: "main".into(),
            clock: Arc::new(SystemClock),
            start: Start::default(),
        }
    }

    /// The process's mutex of this name; made with the default roster if [`Builder::build_named`] has not made it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`].
    pub fn named(name: &str) -> Result<Self, Error> {
        let name = fold_name(name).map_err(Error::InvalidName)?;
        let mut named = named_mutexes();
        let make = || Self::builder(Roster::default()).name(&name).build();
        Ok(named.entry(name.clone()).or_insert_with(make).clone())
    }

    /// The mutex's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.place.identity().name
    }

    // Turns.

    /// Waits for a turn of the module, as long as the roster says (30 s by default). The calling thread is its owner.
    ///
    /// # Errors
    ///
    /// As [`Ask::acquire`].
    pub fn acquire<'m>(&'m self, module: impl Into<ModuleRef<'m>>) -> Result<Turn, Error> {
        self.request(module).acquire()
    }

    /// A turn of the module if it can be had this very instant.
    ///
    /// # Errors
    ///
    /// As [`Ask::acquire`]; [`Error::Timeout`] says who is in the way.
    pub fn try_acquire<'m>(&'m self, module: impl Into<ModuleRef<'m>>) -> Result<Turn, Error> {
        self.request(module).timeout(Duration::ZERO).acquire()
    }

    /// The async twin of [`acquire`](Self::acquire), on the same queue, for any executor.
    ///
    /// # Errors
    ///
    /// As [`Ask::acquire_async`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future at any point withdraws the ask; see [`Ask::acquire_async`].
    ///
    /// ```
    /// # use packet_mutex::{PacketMutex, Roster};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), packet_mutex::Error> {
    /// let mutex = PacketMutex::new(Roster::default());
    /// let turn = mutex.acquire_async("fisher").await?;
    /// // send packets
    /// drop(turn);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn acquire_async<'m>(
        &'m self,
        module: impl Into<ModuleRef<'m>>,
    ) -> Result<TaskTurn, Error> {
        self.request(module).acquire_async().await
    }

    /// An ask with terms: timeout, urgency, a validity check.
    pub fn request<'m>(&'m self, module: impl Into<ModuleRef<'m>>) -> Ask<'m, PacketMutex> {
        Ask::new(self, module.into())
    }

    /// Looks a module up once, for hot loops.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`], [`Error::UnknownModule`] from a strict roster, [`Error::Refused`] if there are too many.
    pub fn module(&self, name: &str) -> Result<Module, Error> {
        self.place.module(name)
    }

    /// Ends the calling thread's newest turn of the module, for code that cannot keep the turn: leak it with
    /// [`std::mem::forget`] and release it by name.
    ///
    /// # Errors
    ///
    /// [`Error::NotHolder`] if the thread has none; nothing was changed (S6). [`Error::Unsupported`] where turns hand out
    /// the channel itself: a turn that ended behind its guard's back would still have it.
    pub fn release<'m>(&self, module: impl Into<ModuleRef<'m>>) -> Result<(), Error> {
        if self.place.identity().hands_out_channel() {
            return Err(Error::Unsupported("the turn of a Guarded channel ends with its guard"));
        }
        self.place.end_module(&module.into(), this_thread(&self.place))
    }

    // Looking.

    /// A consistent snapshot: who holds, who waits, when the next grant can come (S16). Of a mutex that cannot be reached, an
    /// empty one; see [`try_status`](Self::try_status).
    #[must_use]
    pub fn status(&self) -> Status {
        self.try_status().unwrap_or_else(|_| {
            let now = self.place.identity().clock.now();
            Status { now, ..Status::default() }
        })
    }

    /// [`status`](Self::status) of a mutex that may be out of reach.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] for a mutex behind a socket whose server cannot be reached.
    pub fn try_status(&self) -> Result<Status, Error> {
        self.place.status()
    }

    /// A reader of the events from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        self.read_events(false)
    }

    /// A reader of the events that are still kept, and those to come.
    #[must_use]
    pub fn events_so_far(&self) -> Events {
        self.read_events(true)
    }

    fn read_events(&self, so_far: bool) -> Events {
        Events::new(self.place.clone().events(so_far), self.place.identity().clock.clone())
    }

    /// The roster in force. Of a mutex that cannot be reached, the last that was known.
    #[must_use]
    pub fn roster(&self) -> Roster {
        self.place.roster()
    }

    // Steering (S12, S15, S19, S20).

    /// Steers the mutex. Each way in, be it a command, a key or a frame, parses its own form of a [`Steer`] and hands it
    /// over here; the methods below are shorter for a program's own use.
    ///
    /// # Errors
    ///
    /// Those of the module's name; what the arbiter refuses, as [`Error::Refused`]; [`Error::Unsupported`] for what a mutex
    /// must not do whose turns hand out the channel itself; [`Error::Unavailable`] if the mutex cannot be reached.
    ///
    /// ```
    /// use packet_mutex::{PacketMutex, Roster, Steer, below};
    ///
    /// let mutex = PacketMutex::new(Roster::default());
    /// mutex.steer(Steer::Pause { reason: "alarm".into(), below: below(60), lasts: None })?;
    /// mutex.steer(Steer::Disable { module: "eater" })?;
    /// assert_eq!(mutex.status().paused.len(), 1);
    /// # Ok::<(), packet_mutex::Error>(())
    /// ```
    pub fn steer(&self, steer: Steer<&str>) -> Result<(), Error> {
        check_steer(self.place.identity(), &steer)?;
        self.place.steer(steer)
    }

    /// Ends all waiting requests of the module with [`Error::Cancelled`]; a grant that was decided stays.
    ///
    /// # Errors
    ///
    /// As [`steer`](Self::steer).
    pub fn cancel<'m>(&self, module: impl Into<ModuleRef<'m>>) -> Result<(), Error> {
        self.steer(Steer::Cancel { module: module.into().name() })
    }

    /// Refuses the module's new requests with [`Error::Disabled`]; what waits, stays.
    ///
    /// # Errors
    ///
    /// As [`steer`](Self::steer).
    pub fn disable<'m>(&self, module: impl Into<ModuleRef<'m>>) -> Result<(), Error> {
        self.steer(Steer::Disable { module: module.into().name() })
    }

    /// Takes the module's requests again.
    ///
    /// # Errors
    ///
    /// As [`steer`](Self::steer).
    pub fn enable<'m>(&self, module: impl Into<ModuleRef<'m>>) -> Result<(), Error> {
        self.steer(Steer::Enable { module: module.into().name() })
    }

    /// Switches how far the mutex governs the module (S15), its waiters at once.
    ///
    /// # Errors
    ///
    /// As [`steer`](Self::steer).
    pub fn set_mode<'m>(&self, module: impl Into<ModuleRef<'m>>, mode: Mode) -> Result<(), Error> {
        self.steer(Steer::Mode { module: module.into().name(), mode })
    }

    /// Holds back requests until [`resume`](Self::resume); a lower holder is asked to yield. Another pause of the same
    /// reason replaces it.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] for a reason that is empty, over 200 bytes or has control characters; as [`steer`](Self::steer).
    ///
    /// ```
    /// use packet_mutex::{PacketMutex, Roster, below};
    ///
    /// let mutex = PacketMutex::new(Roster::default());
    /// mutex.pause(below(60), "alarm")?;
    /// assert!(mutex.try_acquire("eater").is_err());
    /// assert!(mutex.try_acquire("runemaker").is_ok());
    /// mutex.resume("alarm")?;
    /// # Ok::<(), packet_mutex::Error>(())
    /// ```
    pub fn pause(&self, below: Below, reason: &str) -> Result<(), Error> {
        self.steer(Steer::Pause { reason: reason.to_owned(), below, lasts: None })
    }

    /// A [`pause`](Self::pause) that ends by itself.
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause).
    pub fn pause_for(&self, lasts: Duration, below: Below, reason: &str) -> Result<(), Error> {
        self.steer(Steer::Pause { reason: reason.to_owned(), below, lasts: Some(lasts) })
    }

    /// Ends the pause with this reason.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if there is none; as [`steer`](Self::steer).
    pub fn resume(&self, reason: &str) -> Result<(), Error> {
        self.steer(Steer::Resume { reason: Some(reason.to_owned()) })
    }

    /// Ends all pauses.
    pub fn resume_all(&self) {
        // Nothing refuses this; a mutex that cannot be reached pauses nobody.
        let _ = self.steer(Steer::Resume { reason: None });
    }

    /// Ends all waiters with [`Error::Closed`], lets the holder finish, and refuses what comes.
    pub fn close(&self) {
        // Nothing refuses this; a mutex that cannot be reached takes no requests either.
        let _ = self.steer(Steer::Close);
    }

    /// Replaces the roster; waiters keep their arrival, and no running delay shrinks.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if old and new modules are more than the new limit; as [`steer`](Self::steer).
    pub fn reload(&self, roster: Roster) -> Result<(), Error> {
        self.steer(Steer::Reload(Box::new(roster)))
    }

    /// Takes the open turn away: it ends as revoked, its holder is told, and the next turns see the mark (S7).
    ///
    /// Its holder may still be acting. The delay holds for every group, and the turn's token tells what comes late.
    ///
    /// # Errors
    ///
    /// [`Error::NotHolder`] if nobody holds the mutex; [`Error::Refused`] for a bad reason, as with [`pause`](Self::pause);
    /// as [`steer`](Self::steer).
    ///
    /// ```
    /// use packet_mutex::{PacketMutex, Roster};
    ///
    /// let mutex = PacketMutex::new(Roster::default());
    /// let turn = mutex.acquire("fisher")?;
    /// mutex.revoke("the fisher hangs")?;
    /// assert!(!turn.is_held());
    /// # Ok::<(), packet_mutex::Error>(())
    /// ```
    pub fn revoke(&self, reason: &str) -> Result<(), Error> {
        self.steer(Steer::Revoke { reason: reason.to_owned() })
    }

    /// For tests: ends the calling thread's own turn, cancels the waiters, clears counts and forgets the delay. It ends no
    /// turn of another and restarts no token (S20). A turn that has a [`Guarded`](crate::Guarded) channel stays: it ends with
    /// its guard.
    pub fn reset(&self) {
        let has_channel = self.place.identity().hands_out_channel();
        let owner = (!has_channel).then(|| this_thread(&self.place));
        // Nothing refuses this.
        let _ = self.steer(Steer::Reset { owner });
    }

    /// The mutex itself, if it is in this process.
    #[cfg(any(test, feature = "net"))]
    pub(crate) fn local(&self) -> Option<Arc<LocalMutex>> {
        let place: Arc<dyn std::any::Any + Send + Sync> = self.place.clone();
        place.downcast().ok()
    }
}

impl sealed::Sealed for PacketMutex {}

impl Target for PacketMutex {
    type Turn<'a> = TurnOf<OfThread>;
    type TaskTurn<'a> = TurnOf<OfTask>;

    fn place(&self) -> &Arc<dyn Place> {
        &self.place
    }

    fn admit(&self, turn: Turn) -> Result<Turn, Error> {
        Ok(turn)
    }

    fn admit_task(&self, turn: TurnOf<OfTask>) -> Result<TurnOf<OfTask>, Error> {
        Ok(turn)
    }
}

/// All modules of a lower priority than this, for [`PacketMutex::pause`].
#[must_use]
pub fn below(priority: u8) -> Below {
    Below::Priority(priority)
}

/// Everything that is not urgent, for [`PacketMutex::pause`].
#[must_use]
pub fn all_but_urgent() -> Below {
    Below::Urgent
}
