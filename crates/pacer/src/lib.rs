//! A local model of an API's request buckets, so that an account is never throttled by our own doing.
//!
//! Clouds count the calls of an account in token buckets and refuse what finds them empty. A refusal costs a round trip,
//! says nothing of when to come back, and hits every other tool of the account too; so calls wait here instead, where it
//! is known when there will be a token, and the urgent ones go first.
//!
//! What it does not do: it makes no call and repeats none, and it knows no cloud; who owns a [`Pacer`] says how large the
//! bucket is. Other tools may draw on the same bucket, so a refusal can happen all the same: [`Pacer::refused`] slows
//! down, and the pace recovers by itself.
//!
//! Rate limiter crates hand out tokens in the order of asking and know one rate; what makes this one worth writing is
//! that a deletion overtakes a thousand creations, that whoever would wait too long is told at once for how long, and
//! that all of it runs on the port's clock, in virtual time too.
#![forbid(unsafe_code)]

mod line;

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ports::Clock;
use tokio::sync::Notify;

use line::{Line, Place, Step};

/// How many calls an API lets through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// At once, after a time of rest.
    pub burst: u32,
    /// Further ones each second. More than zero.
    pub per_second: f64,
}

/// Who goes first, where several wait for the same bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// What ends the cost of a machine.
    Delete,
    /// What a job waits for.
    Create,
    /// What only tells.
    Look,
}

/// The bucket will not have enough within the patience of whoever asked. Nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the account's own call rate is used up for {retry_after:?}")]
pub struct Busy {
    /// When there may be room, as things stand.
    pub retry_after: Duration,
}

/// One bucket of an account, and the line of those who wait for it.
pub struct Pacer {
    clock: Arc<dyn Clock>,
    line: Mutex<Line>,
}

impl Pacer {
    /// A bucket that is full, as after a rest.
    pub fn new(clock: Arc<dyn Clock>, bucket: Bucket) -> Self {
        let line = Line::new(bucket, clock.boottime());
        Self {
            clock,
            line: Mutex::new(line),
        }
    }

    /// Takes `amount` tokens as soon as those who go first have theirs. More than the bucket can ever hold counts as a
    /// full bucket. Whoever would wait longer than `patience` is refused at once, and takes nothing; so is whoever is
    /// dropped while waiting.
    pub async fn take(&self, amount: u32, turn: Turn, patience: Duration) -> Result<(), Busy> {
        let until = self.clock.boottime().saturating_add(patience);
        let mine = Arc::new(Notify::new());
        let place = {
            let mut line = self.line();
            let wait = line.expected_wait(amount, turn, self.clock.boottime());
            if wait > patience {
                return Err(Busy { retry_after: wait });
            }
            line.enter(amount, turn, Arc::clone(&mine))
        };
        let ticket = Ticket { pacer: self, place };
        loop {
            let now = self.clock.boottime();
            let step = self.line().step(ticket.place, now);
            let left = until.saturating_sub(now);
            let sleep = match step {
                Step::Taken => return Ok(()),
                Step::First { wait } if wait > left => return Err(Busy { retry_after: wait }),
                Step::First { wait } => wait,
                Step::Behind { wait } if left.is_zero() => {
                    return Err(Busy { retry_after: wait });
                }
                Step::Behind { .. } => left,
            };
            let mut moved = pin!(mine.notified());
            tokio::select! {
                biased;
                () = &mut moved => {}
                () = self.clock.sleep(sleep) => {}
            }
        }
    }

    /// How long a call that asked now would wait.
    pub fn expected_wait(&self, amount: u32, turn: Turn) -> Duration {
        let now = self.clock.boottime();
        self.line().expected_wait(amount, turn, now)
    }

    /// The API refused a call that this bucket let through: somebody else draws on it, or it is smaller than documented.
    /// It counts as empty, and fills at half the speed; the speed recovers within a minute. Several refusals with nothing let
    /// through in between are one.
    pub fn refused(&self) {
        let now = self.clock.boottime();
        self.line().refused(now);
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Pacer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pacer")
            .field("line", &*self.line())
            .finish()
    }
}

/// A place in the line, given up when it is dropped.
struct Ticket<'a> {
    pacer: &'a Pacer,
    place: Place,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.pacer.line().leave(self.place);
    }
}
