//! The mutex itself.

use crate::ask::Ask;
use crate::backend::Backend;
use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::events::Events;
use crate::local::tick;
use crate::module::{Module, ModuleRef};
use crate::owner::this_thread;
use crate::shared::Shared;
use crate::tokens::Tokens;
use crate::turn::{TaskTurn, Turn};
use packet_mutex_arbiter::{Arbiter, Below, Input, Mode, Roster, Start, Status, fold_name};
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
    pub(crate) backend: Backend,
}

/// Settings of a mutex that is to be made: from [`PacketMutex::builder`].
#[derive(Debug)]
#[must_use = "a builder makes nothing until `build` is called"]
pub struct Builder {
    roster: Roster,
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

    /// Connects to a mutex [at a URL](PacketMutex::connect) that must have this roster (S19). The name is the URL's.
    ///
    /// # Errors
    ///
    /// As [`PacketMutex::connect`]; [`Error::RosterDiffers`].
    #[cfg(feature = "net")]
    pub fn connect(self, url: &str) -> Result<PacketMutex, Error> {
        crate::net::connect(url, Some(self.roster))
    }

    fn build_with(self, tokens: Option<Tokens>) -> PacketMutex {
        let start = Start { now: self.clock.now(), ..self.start };
        let arbiter = Arbiter::new(self.roster, start);
        let shared = Shared::new(self.name.into(), self.clock, arbiter, tokens);
        PacketMutex { backend: Backend::Local(shared) }
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

    /// The mutex at a URL: `local:` for the one that all of this process shares, `unix:/path` or `tcp://host:port` for one
    /// behind a [server](crate::net); `#name` after it if it is not named `main`. A secret for TCP is taken from the
    /// environment, `PACKET_MUTEX_SECRET`.
    ///
    /// Everything works as with a mutex in this process. If the connection is lost, so is a turn: its `should_yield`
    /// turns true, and what needs the turn fails with [`Error::Lost`]. An ask that waits is made anew with the time that
    /// is left to it once the server can be reached again; if it cannot, it fails with [`Error::Unavailable`].
    ///
    /// Calls that look or steer wait for the server, as does giving a turn away; in async code that is a short block.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the text is no URL or the server cannot be reached; [`Error::Unauthorized`].
    #[cfg(feature = "net")]
    pub fn connect(url: &str) -> Result<Self, Error> {
        crate::net::connect(url, None)
    }

    /// The async twin of [`connect`](Self::connect), for any executor: a thread does the waiting.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves no connection behind.
    #[cfg(feature = "net")]
    pub async fn connect_async(url: &str) -> Result<Self, Error> {
        let (tell, told) = tokio::sync::oneshot::channel();
        let url = url.to_owned();
        let thread = std::thread::Builder::new().name("packet-mutex-connect".into());
        let thread = thread.spawn(move || tell.send(Self::connect(&url)).map_err(drop));
        thread.map_err(|error| Error::Unavailable(error.to_string()))?;
        told.await
            .unwrap_or_else(|_| Err(Error::Unavailable("the thread that connects died".into())))
    }

    /// The mutex's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        self.backend.name()
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
        self.backend.module(name)
    }

    /// Ends the calling thread's newest turn of the module, for code that cannot keep the turn: leak it with
    /// [`std::mem::forget`] and release it by name.
    ///
    /// # Errors
    ///
    /// [`Error::NotHolder`] if the thread has none; nothing was changed (S6). [`Error::Unsupported`] where turns hand out
    /// the channel itself: a turn that ended behind its guard's back would still have it.
    pub fn release<'m>(&self, module: impl Into<ModuleRef<'m>>) -> Result<(), Error> {
        if self.backend.hands_out_channel() {
            return Err(Error::Unsupported("the turn of a Guarded channel ends with its guard"));
        }
        self.backend.end_module(&module.into(), this_thread(&self.backend))
    }

    // Looking.

    /// A consistent snapshot: who holds, who waits, when the next grant can come (S16). Of a mutex behind a socket that
    /// cannot be reached, an empty one; see [`try_status`](Self::try_status).
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.backend {
            Backend::Local(shared) => shared.with(|state, now| {
                tick(state, now);
                state.arbiter.status(now)
            }),
            #[cfg(feature = "net")]
            Backend::Remote(remote) => remote.status().unwrap_or_else(|_| remote.no_status()),
        }
    }

    /// [`status`](Self::status) of a mutex that may be out of reach.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] for a mutex behind a socket whose server cannot be reached.
    pub fn try_status(&self) -> Result<Status, Error> {
        match &self.backend {
            Backend::Local(_) => Ok(self.status()),
            #[cfg(feature = "net")]
            Backend::Remote(remote) => remote.status(),
        }
    }

    /// A reader of the events from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        Events::new(&self.backend, false)
    }

    /// A reader of the events that are still kept, and those to come.
    #[must_use]
    pub fn events_so_far(&self) -> Events {
        Events::new(&self.backend, true)
    }

    /// The roster in force.
    #[must_use]
    pub fn roster(&self) -> Roster {
        match &self.backend {
            Backend::Local(shared) => shared.with(|state, _| state.arbiter.roster().clone()),
            #[cfg(feature = "net")]
            Backend::Remote(remote) => remote.roster(),
        }
    }

    // Steering (S12, S15, S19, S20).

    /// Ends all waiting requests of the module with [`Error::Cancelled`]; a grant that was decided stays.
    ///
    /// # Errors
    ///
    /// Those of the module's name.
    pub fn cancel<'m>(&self, module: impl Into<ModuleRef<'m>>) -> Result<(), Error> {
        let module = module.into();
        match &self.backend {
            Backend::Local(shared) => {
                shared.input_about(&module, |module| Input::Cancel { module })
            }
            #[cfg(feature = "net")]
            Backend::Remote(remote) => remote.about("cancel", module.name()),
        }
    }

    /// Refuses the module's new requests with [`Error::Disabled`]; what waits, stays.
    ///
    /// # Errors
    ///
    /// Those of the module's name.
    pub fn disable<'m>(&self, module: impl Into<ModuleRef<'m>>) -> Result<(), Error> {
        let module = module.into();
        match &self.backend {
            Backend::Local(shared) => {
                shared.input_about(&module, |module| Input::Disable { module })
            }
            #[cfg(feature = "net")]
            Backend::Remote(remote) => remote.about("disable", module.name()),
        }
    }

    /// Takes the module's requests again.
    ///
    /// # Errors
    ///
    /// Those of the module's name.
    pub fn enable<'m>(&self, module: impl Into<ModuleRef<'m>>) -> Result<(), Error> {
        let module = module.into();
        match &self.backend {
            Backend::Local(shared) => {
                shared.input_about(&module, |module| Input::Enable { module })
            }
            #[cfg(feature = "net")]
            Backend::Remote(remote) => remote.about("enable", module.name()),
        }
    }

    /// Switches how far the mutex governs the module (S15), its waiters at once.
    ///
    /// # Errors
    ///
    /// Those of the module's name; [`Error::Unsupported`] for anything but [`Mode::Enforced`] where turns hand out the
    /// channel itself.
    pub fn set_mode<'m>(&self, module: impl Into<ModuleRef<'m>>, mode: Mode) -> Result<(), Error> {
        let module = module.into();
        match &self.backend {
            Backend::Local(shared) if mode != Mode::Enforced && shared.hands_out_channel() => {
                Err(Error::Unsupported(
                    "a Guarded channel can only be had with a turn, so its modules are all enforced",
                ))
            }
            Backend::Local(shared) => {
                shared.input_about(&module, |module| Input::SetMode { module, mode })
            }
            #[cfg(feature = "net")]
            Backend::Remote(remote) => remote.set_mode(module.name(), mode),
        }
    }

    /// Holds back requests until [`resume`](Self::resume); a lower holder is asked to yield. Another pause of the same
    /// reason replaces it.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] for a reason that is empty, over 200 bytes or has control characters.
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
        self.set_pause(reason, below, None)
    }

    /// A [`pause`](Self::pause) that ends by itself.
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause).
    pub fn pause_for(&self, lasts: Duration, below: Below, reason: &str) -> Result<(), Error> {
        self.set_pause(reason, below, Some(lasts))
    }

    fn set_pause(&self, reason: &str, below: Below, lasts: Option<Duration>) -> Result<(), Error> {
        match &self.backend {
            Backend::Local(shared) => {
                Ok(shared.input(Input::Pause { reason: reason.to_owned(), below, lasts })?)
            }
            #[cfg(feature = "net")]
            Backend::Remote(remote) => remote.pause(reason, below, lasts),
        }
    }

    /// Ends the pause with this reason.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if there is none.
    pub fn resume(&self, reason: &str) -> Result<(), Error> {
        self.end_pause(Some(reason))
    }

    /// Ends all pauses.
    pub fn resume_all(&self) {
        // Nothing refuses this; a mutex that cannot be reached pauses nobody.
        let _ = self.end_pause(None);
    }

    fn end_pause(&self, reason: Option<&str>) -> Result<(), Error> {
        match &self.backend {
            Backend::Local(shared) => {
                Ok(shared.input(Input::Resume { reason: reason.map(String::from) })?)
            }
            #[cfg(feature = "net")]
            Backend::Remote(remote) => remote.resume(reason),
        }
    }

    /// Ends all waiters with [`Error::Closed`], lets the holder finish, and refuses what comes.
    pub fn close(&self) {
        match &self.backend {
            // Nothing refuses this.
            Backend::Local(shared) => drop(shared.input(Input::Close)),
            #[cfg(feature = "net")]
            Backend::Remote(remote) => remote.close(),
        }
    }

    /// Replaces the roster; waiters keep their arrival, and no running delay shrinks.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if old and new modules are more than the new limit; [`Error::Unsupported`] for modes other than
    /// enforced where turns hand out the channel itself.
    pub fn reload(&self, roster: Roster) -> Result<(), Error> {
        let all_enforced = roster.spec().modules.iter().all(|m| m.mode == Mode::Enforced);
        match &self.backend {
            Backend::Local(shared) if shared.hands_out_channel() && !all_enforced => {
                Err(Error::Unsupported("the modules of a Guarded channel are all enforced"))
            }
            Backend::Local(shared) => Ok(shared.input(Input::Reload(Box::new(roster)))?),
            #[cfg(feature = "net")]
            Backend::Remote(remote) => remote.reload(&roster),
        }
    }

    /// For tests: ends the calling thread's own turn, cancels the waiters, clears counts and forgets the delay. It ends no
    /// turn of another and restarts no token (S20). A turn that has a [`Guarded`](crate::Guarded) channel stays: it ends with
    /// its guard.
    pub fn reset(&self) {
        let owner = (!self.backend.hands_out_channel()).then(|| this_thread(&self.backend));
        match &self.backend {
            // Nothing refuses this.
            Backend::Local(shared) => drop(shared.input(Input::Reset { owner })),
            #[cfg(feature = "net")]
            Backend::Remote(remote) => remote.reset(owner),
        }
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
