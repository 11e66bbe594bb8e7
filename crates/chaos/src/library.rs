//! A client that uses the library, as programs do: `PacketMutex::connect`.

use crate::log::What;
use crate::step::{NESTED, Step};
use crate::subject::{ACTIONS, Actor, Subject, Trouble, persist};
use packet_mutex::{Events, PacketMutex, Turn};
use std::time::{Duration, Instant};

pub(crate) struct Library {
    actor: Actor,
    mutex: PacketMutex,
    nested: Option<Turn>,
    turn: Option<Turn>,
    acted: usize,
    /// Kept open and never read.
    _events: Option<Events>,
}

impl Library {
    pub(crate) fn new(actor: Actor, url: &str) -> Result<Library, Trouble> {
        let mutex = PacketMutex::connect(url)?;
        Ok(Library { actor, mutex, nested: None, turn: None, acted: 0, _events: None })
    }

    fn acquire(&mut self) -> Result<(), Trouble> {
        self.actor.log.write(What::Asks);
        let turn = self.mutex.acquire(self.actor.module.as_str())?;
        self.granted(turn)
    }

    fn granted(&mut self, turn: Turn) -> Result<(), Trouble> {
        let abandoned = turn.predecessor_abandoned();
        self.actor.log.write(What::Granted { token: token(&turn)?, abandoned });
        if abandoned && turn.acknowledge().is_ok() {
            self.actor.log.write(What::Acknowledged);
        }
        (self.turn, self.acted) = (Some(turn), 0);
        Ok(())
    }

    fn act(&mut self) -> Result<bool, Trouble> {
        let turn = self.turn.as_ref().ok_or_else(|| Trouble("no turn".into()))?;
        self.acted += 1;
        self.actor.act(token(turn)?)
    }

    /// Does the actions that are left and releases. It checks before each action that it still has the turn.
    fn end(&mut self) -> Result<(), Trouble> {
        while self.acted < ACTIONS {
            if !self.turn.as_ref().is_some_and(Turn::is_held) || !self.act()? {
                return self.lost();
            }
        }
        self.nested = None;
        let Some(turn) = self.turn.take_if(|turn| turn.is_held()) else { return self.lost() };
        let token = token(&turn)?;
        self.actor.log.write(What::Releases { token });
        turn.release();
        // The server answers a connection's frames in order: after this answer the release is done.
        self.mutex.try_status()?;
        self.actor.log.write(What::Released { token });
        Ok(())
    }

    fn lost(&mut self) -> Result<(), Trouble> {
        self.actor.log.write(What::Lost);
        (self.nested, self.turn) = (None, None);
        Err(Trouble("the turn is lost".into()))
    }
}

impl Subject for Library {
    fn reach(&mut self, step: Step) -> Result<(), Trouble> {
        if self.turn.is_none() && step != Step::Greeted {
            self.acquire()?;
        }
        match step {
            Step::Acting => {
                self.act()?;
            }
            Step::Nested => {
                let turn = self.turn.as_ref().ok_or_else(|| Trouble("no turn".into()))?;
                self.nested = Some(turn.nest(NESTED)?);
            }
            Step::YieldSent => {
                let mut turn = self.turn.take().ok_or_else(|| Trouble("no turn".into()))?;
                self.actor.log.write(What::Yields { token: token(&turn)? });
                self.actor.log.write(What::Asks);
                turn.yield_now()?;
                self.granted(turn)?;
            }
            Step::Events => self._events = Some(self.mutex.events_so_far()),
            Step::Idle => self.end()?,
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Trouble> {
        if self.turn.is_none() {
            return self.turn();
        }
        // A program that was stopped in the middle of its actions checks nothing before the next one.
        self.act()?;
        // The log has the result.
        let _ = self.end();
        Ok(())
    }

    fn notice_loss(&mut self) -> Result<(), Trouble> {
        let Some(turn) = &self.turn else { return Ok(()) };
        let end = Instant::now() + Duration::from_secs(10);
        while turn.is_held() {
            if end <= Instant::now() {
                return Err(Trouble("the library does not report the loss of the turn".into()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.lost();
        Ok(())
    }

    fn turn(&mut self) -> Result<(), Trouble> {
        persist(|| {
            if self.turn.is_none() {
                self.acquire()?;
            }
            self.end()
        })
    }

    fn half_close(&mut self) -> Result<(), Trouble> {
        Err(Trouble("the library's connection cannot be reached".into()))
    }

    fn reset(&mut self) -> Result<(), Trouble> {
        self.half_close()
    }
}

fn token(turn: &Turn) -> Result<u64, Trouble> {
    Ok(turn.token().ok_or_else(|| Trouble("no token".into()))?.0)
}
