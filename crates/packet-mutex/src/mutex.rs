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

/// The lock that the modules of one program share. It has strict priorities, a handover delay and timeouts.
///
/// A clone is another handle of the same mutex. The mutex has no data of its own. [`Guarded`](crate::Guarded) owns the
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

/// The settings of a mutex that is to be made. [`PacketMutex::builder`] returns it.
///
/// ```
/// use packet_mutex::{PacketMutex, Roster};
///
/// let mutex = PacketMutex::builder(Roster::default()).name("ship").build();
/// assert_eq!(&**mutex.name(), "ship");
/// ```
#[derive(Debug)]
#[must_use = "a builder makes nothing until `build` is called"]
pub struct Builder {
    pub(crate) roster: Roster,
    name: String,
    clock: Arc<dyn Clock>,
    start: Start,
}

impl Builder {
    /// Sets the name that events and logs show. Without it, the name is `main`. [`build_named`](Self::build_named) and
    /// [`build_stored`](Self::build_stored) refuse a text that is not a valid name. [`build`](Self::build) takes any text as
    /// it is.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// Sets the clock, for tests in virtual time. Without it, the mutex uses [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets the first token, and makes the mutex behave as after an abandoned turn (S17). This is for programs that store
    /// tokens themselves.
    ///
    /// ```
    /// use packet_mutex::{PacketMutex, Roster};
    ///
    /// let mutex = PacketMutex::builder(Roster::default()).after_restart(1001).build();
    /// let turn = mutex.request("fisher").urgent().acquire()?; // the others wait for the delay
    /// assert_eq!(turn.token().unwrap().0, 1001);
    /// assert!(turn.predecessor_abandoned());
    /// # Ok::<(), packet_mutex::Error>(())
    /// ```
    pub fn after_restart(mut self, first_token: u64) -> Self {
        self.start = Start { first_token, after_restart: true, ..self.start };
        self
    }

    /// Makes the mutex.
    #[must_use]
    pub fn build(self) -> PacketMutex {
        self.build_with(None)
    }

    /// Makes a mutex whose tokens go on where they were, even over restarts (S17). A mark in this directory, stored ahead of
    /// the grants, says how far they went. If there was a mutex before, this one behaves as after an abandoned turn.
    ///
    /// If the mark can no longer be stored, the mutex warns. It closes before it would give a token above the last mark.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`], or [`Error::Unavailable`] if the directory cannot be used or another process uses it.
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

    /// Makes the mutex and keeps it under its name, so that the whole process finds it with [`PacketMutex::named`]. If there
    /// is one of this name with the same roster, returns that.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`], or [`Error::RosterDiffers`] with the fields in which the mutex of this name differs (S19).
    ///
    /// ```
    /// use packet_mutex::{Error, PacketMutex, Roster, RosterSpec};
    ///
    /// PacketMutex::builder(Roster::default()).name("ship").build_named()?;
    /// let mutex = PacketMutex::named("ship")?; // the same one, from anywhere in the process
    ///
    /// let other = Roster::new(RosterSpec::default()).unwrap(); // without modules
    /// let error = PacketMutex::builder(other).name("ship").build_named().unwrap_err();
    /// assert!(matches!(error, Error::RosterDiffers { .. }));
    /// # Ok::<(), packet_mutex::Error>(())
    /// ```
    pub fn build_named(mut self) -> Result<PacketMutex, Error> {
        self.name = fold_name(&self.name).map_err(Error::InvalidName)?;
        // Locked over look-up and insertion, so that two threads do not each make a mutex of one name.
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

/// Returns the process's mutexes by name. They live as long as the process.
fn named_mutexes() -> MutexGuard<'static, BTreeMap<String, PacketMutex>> {
    static NAMED: Mutex<BTreeMap<String, PacketMutex>> = Mutex::new(BTreeMap::new());
    NAMED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PacketMutex {
    /// Makes a mutex with this roster, named `main`.
    #[must_use]
    pub fn new(roster: Roster) -> Self {
        Self::builder(roster).build()
    }

    /// Returns a builder, for a mutex with settings of its own.
    pub fn builder(roster: Roster) -> Builder {
        Builder {
            roster,
            name: "main".into(),
            clock: Arc::new(SystemClock),
            start: Start::default(),
        }
    }

    /// Returns the process's mutex of this name. If [`Builder::build_named`] has not made it, it is made with the default
    /// roster.
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

    /// Returns the mutex's name.
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

    /// Gets a turn of the module if that is possible this instant.
    ///
    /// # Errors
    ///
    /// As [`Ask::acquire`]. [`Error::Timeout`] says what is in the way.
    pub fn try_acquire<'m>(&'m self, module: impl Into<ModuleRef<'m>>) -> Result<Turn, Error> {
        self.request(module).timeout(Duration::ZERO).acquire()
    }

    /// The async twin of [`acquire`](Self::acquire). It uses the same queue and works on any executor.
    ///
    /// # Errors
    ///
    /// As [`Ask::acquire_async`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future at any point withdraws the ask. See [`Ask::acquire_async`].
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

    /// Returns an ask to which terms can be added: a timeout, urgency, a validity check.
    pub fn request<'m>(&'m self, module: impl Into<ModuleRef<'m>>) -> Ask<'m, PacketMutex> {
        Ask::new(self, module.into())
    }

    /// Looks a module up once, for hot loops.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`]; [`Error::UnknownModule`] if the roster is strict; [`Error::Refused`] if there are too many
    /// modules.
    pub fn module(&self, name: &str) -> Result<Module, Error> {
        self.place.module(name)
    }

    /// Ends the calling thread's newest turn of the module. This is for code that cannot keep the turn: leak it with
    /// [`std::mem::forget`] and release it by name.
    ///
    /// # Errors
    ///
    /// [`Error::NotHolder`] if the thread has none. Nothing was changed then (S6). [`Error::Unsupported`] where turns hand out
    /// the channel itself: a turn that ended behind its guard's back would still have it.
    pub fn release<'m>(&self, module: impl Into<ModuleRef<'m>>) -> Result<(), Error> {
        if self.place.identity().hands_out_channel() {
            return Err(Error::Unsupported("the turn of a Guarded channel ends with its guard"));
        }
        self.place.end_module(&module.into(), this_thread(&self.place))
    }

    // Looking.

    /// Returns a consistent snapshot: who holds, who waits, and when the next grant can come (S16). If the mutex cannot be
    /// reached, the snapshot is empty. See [`try_status`](Self::try_status).
    #[must_use]
    pub fn status(&self) -> Status {
        self.try_status().unwrap_or_else(|_| {
            let now = self.place.identity().clock.now();
            Status { now, ..Status::default() }
        })
    }

    /// Like [`status`](Self::status), for a mutex that may be out of reach.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the server of the mutex cannot be reached.
    pub fn try_status(&self) -> Result<Status, Error> {
        self.place.status()
    }

    /// Returns a reader of the events from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        self.read_events(false)
    }

    /// Returns a reader of the events that are still kept, and of those to come.
    #[must_use]
    pub fn events_so_far(&self) -> Events {
        self.read_events(true)
    }

    fn read_events(&self, so_far: bool) -> Events {
        Events::new(self.place.clone().events(so_far), self.place.identity().clock.clone())
    }

    /// Returns the roster in force. If the mutex cannot be reached, returns the last one that was known.
    #[must_use]
    pub fn roster(&self) -> Roster {
        self.place.roster()
    }

    // Steering (S12, S15, S19, S20).

    /// Steers the mutex. Commands, keys and frames are each parsed into a [`Steer`], which is handed over here. The methods
    /// below are shorter for a program's own use.
    ///
    /// # Errors
    ///
    /// The errors of the module's name; [`Error::Refused`] for what the arbiter refuses; [`Error::Unsupported`] for what is not
    /// safe where turns hand out the channel itself; [`Error::Unavailable`] if the mutex cannot be reached.
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

    /// Ends all waiting requests of the module with [`Error::Cancelled`]. A grant that was already decided stays (S12).
    ///
    /// # Errors
    ///
    /// As [`steer`](Self::steer).
    pub fn cancel<'m>(&self, module: impl Into<ModuleRef<'m>>) -> Result<(), Error> {
        self.steer(Steer::Cancel { module: module.into().name() })
    }

    /// Refuses the module's new requests with [`Error::Disabled`]. Requests that already wait, stay (S12).
    ///
    /// # Errors
    ///
    /// As [`steer`](Self::steer).
    ///
    /// ```
    /// use packet_mutex::{Error, PacketMutex, Roster};
    ///
    /// let mutex = PacketMutex::new(Roster::default());
    /// mutex.disable("eater")?;
    /// assert!(matches!(mutex.acquire("eater"), Err(Error::Disabled { .. })));
    /// mutex.enable("eater")?;
    /// # Ok::<(), packet_mutex::Error>(())
    /// ```
    pub fn disable<'m>(&self, module: impl Into<ModuleRef<'m>>) -> Result<(), Error> {
        self.steer(Steer::Disable { module: module.into().name() })
    }

    /// Accepts the module's requests again.
    ///
    /// # Errors
    ///
    /// As [`steer`](Self::steer).
    pub fn enable<'m>(&self, module: impl Into<ModuleRef<'m>>) -> Result<(), Error> {
        self.steer(Steer::Enable { module: module.into().name() })
    }

    /// Switches how far the mutex governs the module (S15). This applies to its waiters at once.
    ///
    /// # Errors
    ///
    /// As [`steer`](Self::steer).
    ///
    /// ```
    /// use packet_mutex::{Mode, PacketMutex, Roster};
    ///
    /// let mutex = PacketMutex::new(Roster::default());
    /// mutex.set_mode("eater", Mode::Observed)?;
    /// assert!(mutex.acquire("eater")?.is_pass()); // recorded, and let through at once
    /// # Ok::<(), packet_mutex::Error>(())
    /// ```
    pub fn set_mode<'m>(&self, module: impl Into<ModuleRef<'m>>, mode: Mode) -> Result<(), Error> {
        self.steer(Steer::Mode { module: module.into().name(), mode })
    }

    /// Holds back requests until [`resume`](Self::resume), and asks a lower holder to yield. Another pause with the same
    /// reason replaces it (S12).
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] for a reason that is empty, longer than 200 bytes or has control characters. Otherwise as
    /// [`steer`](Self::steer).
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

    /// Sets a [`pause`](Self::pause) that ends by itself.
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
    /// [`Error::Refused`] if there is none. Otherwise as [`steer`](Self::steer).
    pub fn resume(&self, reason: &str) -> Result<(), Error> {
        self.steer(Steer::Resume { reason: Some(reason.to_owned()) })
    }

    /// Ends all pauses.
    pub fn resume_all(&self) {
        // The arbiter never refuses this, and a mutex that cannot be reached grants nothing anyway.
        let _ = self.steer(Steer::Resume { reason: None });
    }

    /// Ends all waiters with [`Error::Closed`], lets the holder finish, and refuses new requests (S12).
    pub fn close(&self) {
        // The arbiter never refuses this, and a mutex that cannot be reached takes no requests either.
        let _ = self.steer(Steer::Close);
    }

    /// Replaces the roster. Waiters keep their arrival, and no running delay shrinks (S19).
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the old and new modules together exceed the new limit. Otherwise as [`steer`](Self::steer).
    pub fn reload(&self, roster: Roster) -> Result<(), Error> {
        self.steer(Steer::Reload(Box::new(roster)))
    }

    /// Takes the open turn away. The turn ends as revoked, its holder is told, and the next turns see the mark (S7, S12).
    ///
    /// The holder may still be acting, so the delay holds for every group. What it sends late is known by the turn's token.
    ///
    /// # Errors
    ///
    /// [`Error::NotHolder`] if nobody holds the mutex; [`Error::Refused`] for a bad reason, as with [`pause`](Self::pause).
    /// Otherwise as [`steer`](Self::steer).
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

    /// Resets the mutex for a test: ends the calling thread's own turn, cancels the waiters, clears the counts and forgets the
    /// delay. It ends no turn of another owner and does not restart the tokens (S20). A turn with a
    /// [`Guarded`](crate::Guarded) channel stays, and ends with its guard.
    pub fn reset(&self) {
        let has_channel = self.place.identity().hands_out_channel();
        let owner = (!has_channel).then(|| this_thread(&self.place));
        // The arbiter never refuses this.
        let _ = self.steer(Steer::Reset { owner });
    }

    /// Returns the mutex itself, if it is in this process.
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

/// Selects all modules of a lower priority than this, for [`PacketMutex::pause`].
#[must_use]
pub fn below(priority: u8) -> Below {
    Below::Priority(priority)
}

/// Selects every request that is not urgent, for [`PacketMutex::pause`].
#[must_use]
pub fn all_but_urgent() -> Below {
    Below::Urgent
}
