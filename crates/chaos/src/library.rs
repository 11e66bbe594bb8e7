//! A client as a program has it: `PacketMutex::connect`.

use crate::log::What;
use crate::step::{NESTED, Step};
use crate::subject::{ACTIONS, Own, Subject, Trouble, persist};
use packet_mutex::{Events, PacketMutex, Turn};
use std::time::{Duration, Instant};

pub(crate) struct Library {
    own: Own,
    mutex: PacketMutex,
    nested: Option<Turn>,
    turn: Option<Turn>,
    acted: usize,
    _events: Option<Events>,
}

impl Library {
    pub(crate) fn new(own: Own, url: &str) -> Result<Library, Trouble> {
        let mutex = PacketMutex::connect(url)?;
        Ok(Library { own, mutex, nested: None, turn: None, acted: 0, _events: None })
    }

    fn acquire(&mut self) -> Result<(), Trouble> {
        self.own.log.write(What::Asks);
        let turn = self.mutex.acquire(self.own.module.as_str())?;
        self.granted(turn)
    }

    fn granted(&mut self, turn: Turn) -> Result<(), Trouble> {
        let abandoned = turn.predecessor_abandoned();
        self.own.log.write(What::Granted { token: token(&turn)?, abandoned });
        if abandoned && turn.acknowledge().is_ok() {
            self.own.log.write(What::Acknowledged);
        }
        (self.turn, self.acted) = (Some(turn), 0);
        Ok(())
    }

    fn act(&mut self) -> Result<bool, Trouble> {
        let turn = self.turn.as_ref().ok_or_else(|| Trouble("no turn".into()))?;
        self.acted += 1;
        self.own.act(token(turn)?)
    }

    /// Acts as often as is still due, and releases; looks before each action.
    fn end(&mut self) -> Result<(), Trouble> {
        while self.acted < ACTIONS {
            if !self.turn.as_ref().is_some_and(Turn::is_held) || !self.act()? {
                return self.lost();
            }
        }
        self.nested = None;
        let Some(turn) = self.turn.take_if(|turn| turn.is_held()) else { return self.lost() };
        let token = token(&turn)?;
        self.own.log.write(What::Releases { token });
        turn.release();
        // The connection is in order: once this is answered, so is what was sent before it.
        self.mutex.try_status()?;
        self.own.log.write(What::Released { token });
        Ok(())
    }

    fn lost(&mut self) -> Result<(), Trouble> {
        self.own.log.write(What::Lost);
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
                self.own.log.write(What::Yields { token: token(&turn)? });
                self.own.log.write(What::Asks);
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
        // A program that was in the middle of its actions looks at nothing before the next.
        self.act()?;
        // What comes of it is in the log.
        let _ = self.end();
        Ok(())
    }

    fn notice_loss(&mut self) -> Result<(), Trouble> {
        let Some(turn) = &self.turn else { return Ok(()) };
        let end = Instant::now() + Duration::from_secs(10);
        while turn.is_held() {
            if end <= Instant::now() {
                return Err(Trouble("the loss of the turn is not told".into()));
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
        Err(Trouble("a library's connection is its own".into()))
    }

    fn reset(&mut self) -> Result<(), Trouble> {
        self.half_close()
    }
}

fn token(turn: &Turn) -> Result<u64, Trouble> {
    Ok(turn.token().ok_or_else(|| Trouble("no token".into()))?.0)
}
