//! A channel that can only be had with a turn.

use crate::ask::{Ask, Target, sealed};
use crate::error::Error;
use crate::module::ModuleRef;
use crate::mutex::PacketMutex;
use crate::place::{Place, Slept};
use crate::turn::{OfTask, OfThread, Turn, TurnOf};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A mutex that owns its channel. Without a turn there is no way to send.
///
/// The channel moves into the turn and back out of it. So there is never a second `&mut T`, whatever becomes of a turn. A
/// turn that was leaked takes the channel with it. Later asks then get [`Error::ChannelLost`], until
/// [`replace`](Self::replace) brings a new channel (S7).
///
/// ```
/// use packet_mutex::{Guarded, PacketMutex, Roster};
/// use std::io::Write;
///
/// let stream = Vec::new(); // a TcpStream in real life
/// let packets = Guarded::new(PacketMutex::new(Roster::default()), stream);
///
/// let mut turn = packets.acquire("fisher")?; // waits at most 30 s
/// turn.write_all(&[0x83, 0xff])?; // `turn` is the stream
/// drop(turn); // released
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Guarded<T> {
    mutex: PacketMutex,
    /// Empty while a turn has the channel, and after such a turn was leaked.
    channel: Mutex<Option<T>>,
}

/// A turn with the channel. It dereferences to the channel.
#[must_use = "the turn ends when it is dropped: bind it to a name"]
pub struct GuardedTurn<'a, T, Of = OfThread> {
    guarded: &'a Guarded<T>,
    /// `None` only while a yield is under way or has failed.
    channel: Option<T>,
    // It ends after `drop` has put the channel back: fields are dropped after that. If it ended first, the next holder could
    // look for the channel before it is there.
    turn: TurnOf<Of>,
}

/// A nested turn with the channel of the turn around it.
#[derive(Debug)]
#[must_use = "the turn ends when it is dropped: bind it to a name"]
pub struct NestedTurn<'a, T, Of = OfThread> {
    channel: &'a mut T,
    turn: TurnOf<Of>,
}

const LOST: &str = "the turn was given away and not got back";

impl<T> Guarded<T> {
    /// Puts a channel under a mutex.
    ///
    /// All modules of that mutex are enforced from then on. To switch one to observed or off is refused, and an ask of one
    /// that is observed or off already fails with [`Error::Unsupported`] (S15).
    #[must_use]
    pub fn new(mutex: PacketMutex, channel: T) -> Self {
        mutex.place.identity().hand_out_channel();
        Guarded { mutex, channel: Mutex::new(Some(channel)) }
    }

    /// Returns the mutex, for its status and events, and for steering it.
    #[must_use]
    pub fn mutex(&self) -> &PacketMutex {
        &self.mutex
    }

    /// Waits for a turn with the channel, as long as the roster says (30 s by default).
    ///
    /// # Errors
    ///
    /// As [`Ask::acquire`]. Also [`Error::ChannelLost`] if a leaked turn took the channel away, and [`Error::Unsupported`] if
    /// the thread has the channel already (nest through the turn) or the module is not enforced.
    pub fn acquire<'m>(
        &'m self,
        module: impl Into<ModuleRef<'m>>,
    ) -> Result<GuardedTurn<'m, T>, Error> {
        self.request(module).acquire()
    }

    /// Gets a turn with the channel if that is possible this instant.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    pub fn try_acquire<'m>(
        &'m self,
        module: impl Into<ModuleRef<'m>>,
    ) -> Result<GuardedTurn<'m, T>, Error> {
        self.request(module).timeout(Duration::ZERO).acquire()
    }

    /// The async twin of [`acquire`](Self::acquire).
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire) and [`Ask::acquire_async`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future at any point withdraws the ask. See [`Ask::acquire_async`].
    pub async fn acquire_async<'m>(
        &'m self,
        module: impl Into<ModuleRef<'m>>,
    ) -> Result<GuardedTurn<'m, T, OfTask>, Error> {
        self.request(module).acquire_async().await
    }

    /// Returns an ask to which terms can be added: a timeout, urgency, a validity check.
    pub fn request<'m>(&'m self, module: impl Into<ModuleRef<'m>>) -> Ask<'m, Self> {
        Ask::new(self, module.into())
    }

    /// Gives the mutex a new channel, after a reconnect or after [`Error::ChannelLost`]. Returns the old one, if it was there.
    ///
    /// # Errors
    ///
    /// The new channel itself, if a turn is open.
    pub fn replace(&self, channel: T) -> Result<Option<T>, T> {
        let mut place = self.place();
        // The place is locked before the look: a turn that is granted from here on waits for it, and then takes the new
        // channel. Looked at first, a turn could take the old channel between the two.
        if self.mutex.place.holder().is_some() {
            return Err(channel);
        }
        Ok(place.replace(channel))
    }

    /// Returns the channel, if no turn took it away.
    #[must_use]
    pub fn into_inner(self) -> Option<T> {
        self.channel.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self) -> MutexGuard<'_, Option<T>> {
        // Nothing panics while it is locked, so a poisoned lock would still hold a good channel.
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit_any<Of>(&self, turn: TurnOf<Of>) -> Result<GuardedTurn<'_, T, Of>, Error> {
        if turn.is_pass() {
            turn.decline();
            return Err(Error::Unsupported(
                "the module is observed or off, and a Guarded channel needs a turn",
            ));
        }
        // The outer turn of this thread has the channel in its hands. It is not lost, so the answer must not be
        // `ChannelLost`.
        if turn.depth() > 0 {
            turn.decline();
            return Err(Error::Unsupported(
                "this thread's turn has the channel already: nest through it with `turn.nest(..)`",
            ));
        }
        let Some(channel) = self.place().take() else {
            turn.decline();
            return Err(Error::ChannelLost);
        };
        Ok(GuardedTurn { guarded: self, channel: Some(channel), turn })
    }
}

impl<T> sealed::Sealed for Guarded<T> {}

impl<T> Target for Guarded<T> {
    type Turn<'a>
        = GuardedTurn<'a, T>
    where
        T: 'a;
    type TaskTurn<'a>
        = GuardedTurn<'a, T, OfTask>
    where
        T: 'a;

    fn place(&self) -> &Arc<dyn Place> {
        &self.mutex.place
    }

    fn admit(&self, turn: Turn) -> Result<GuardedTurn<'_, T>, Error> {
        self.admit_any(turn)
    }

    fn admit_task(&self, turn: TurnOf<OfTask>) -> Result<GuardedTurn<'_, T, OfTask>, Error> {
        self.admit_any(turn)
    }
}

impl<T, Of> GuardedTurn<'_, T, Of> {
    /// Returns the turn, which knows its token, whether it should be yielded, and more.
    pub fn turn(&self) -> &TurnOf<Of> {
        &self.turn
    }

    /// Ends a turn in which nothing was sent. No delay starts, and the history stays what it was (S9).
    pub fn decline(mut self) {
        self.put_back();
        self.turn.decline_in_place();
    }

    fn put_back(&mut self) {
        if let Some(channel) = self.channel.take() {
            let mut place = self.guarded.place();
            // A channel that was replaced meanwhile stays replaced. The old one is dropped outside the lock, since its
            // destructor is other people's code.
            let old = if place.is_none() { place.replace(channel) } else { Some(channel) };
            drop(place);
            drop(old);
        }
    }

    /// Takes the channel again if there is a turn: a new one, or the old one if the yield was refused.
    fn take_again(&mut self, yielded: Result<(), Error>) -> Result<(), Error> {
        if self.turn.is_open() {
            self.channel = self.guarded.place().take();
            return if self.channel.is_some() { yielded } else { Err(Error::ChannelLost) };
        }
        yielded
    }
}

impl<T> GuardedTurn<'_, T> {
    /// Gets a nested turn for a module of the same group, with the same channel (S5).
    ///
    /// # Errors
    ///
    /// [`Error::WouldDeadlock`] for another group.
    pub fn nest<'m>(
        &mut self,
        module: impl Into<ModuleRef<'m>>,
    ) -> Result<NestedTurn<'_, T>, Error> {
        let turn = self.turn.nest(module)?;
        let channel = self.channel.as_mut().ok_or(Error::Lost)?;
        Ok(NestedTurn { channel, turn })
    }

    /// Gives the turn and its channel away and asks again in one step (S11).
    ///
    /// # Errors
    ///
    /// As [`TurnOf::yield_now`]. If no turn is left, the channel is with the mutex, and using this turn panics.
    pub fn yield_now(&mut self) -> Result<(), Error> {
        // Before the turn ends: the next holder looks for the channel at once. With a turn but no channel, it would
        // report it as lost.
        self.put_back();
        let yielded = self.turn.yield_now();
        self.take_again(yielded)
    }

    /// Sleeps inside the turn. The sleep ends early when the turn should be given away (S11).
    pub fn sleep(&self, time: Duration) -> Slept {
        self.turn.sleep(time)
    }
}

impl<T> GuardedTurn<'_, T, OfTask> {
    /// Gets a nested turn for a module of the same group, with the same channel (S5).
    ///
    /// # Errors
    ///
    /// [`Error::WouldDeadlock`] for another group.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future withdraws the ask.
    pub async fn nest<'m>(
        &mut self,
        module: impl Into<ModuleRef<'m>>,
    ) -> Result<NestedTurn<'_, T, OfTask>, Error> {
        let turn = self.turn.nest(module).await?;
        let channel = self.channel.as_mut().ok_or(Error::Lost)?;
        Ok(NestedTurn { channel, turn })
    }

    /// Gives the turn and its channel away and asks again in one step (S11).
    ///
    /// # Errors
    ///
    /// As [`TurnOf::yield_now`]. If no turn is left, the channel is with the mutex, and using this turn panics.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future withdraws the new ask and leaves no turn. The channel is with the mutex.
    pub async fn yield_now(&mut self) -> Result<(), Error> {
        self.put_back();
        let yielded = self.turn.yield_now().await;
        self.take_again(yielded)
    }

    /// Sleeps inside the turn. The sleep ends early when the turn should be given away (S11).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the sleep and nothing else.
    pub async fn sleep(&self, time: Duration) -> Slept {
        self.turn.sleep(time).await
    }
}

impl<T, Of> Drop for GuardedTurn<'_, T, Of> {
    fn drop(&mut self) {
        self.put_back();
    }
}

/// # Panics
///
/// If a yield failed, so that there is no turn and no channel.
impl<T, Of> Deref for GuardedTurn<'_, T, Of> {
    type Target = T;
    fn deref(&self) -> &T {
        self.channel.as_ref().expect(LOST)
    }
}

/// # Panics
///
/// If a yield failed, so that there is no turn and no channel.
impl<T, Of> DerefMut for GuardedTurn<'_, T, Of> {
    fn deref_mut(&mut self) -> &mut T {
        self.channel.as_mut().expect(LOST)
    }
}

impl<T, Of> NestedTurn<'_, T, Of> {
    /// Returns the turn, which knows its token, whether it should be yielded, and more.
    pub fn turn(&self) -> &TurnOf<Of> {
        &self.turn
    }
}

impl<T, Of> Deref for NestedTurn<'_, T, Of> {
    type Target = T;
    fn deref(&self) -> &T {
        self.channel
    }
}

impl<T, Of> DerefMut for NestedTurn<'_, T, Of> {
    fn deref_mut(&mut self) -> &mut T {
        self.channel
    }
}

impl<T> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("mutex", &self.mutex).finish_non_exhaustive()
    }
}

impl<T, Of: fmt::Debug> fmt::Debug for GuardedTurn<'_, T, Of> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedTurn").field("turn", &self.turn).finish_non_exhaustive()
    }
}
