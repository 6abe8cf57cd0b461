//! Plain policies, to compare with: what people run who have no autoscaler to speak of, and what most autoscalers do.

use crate::Ms;
use crate::world::{Controller, Pool};

/// One machine for each job: it is made when the job can run and deleted when the job is done.
pub(crate) struct OnePerJob;

impl Controller for OnePerJob {
    fn decide(&mut self, pool: &mut Pool, now: Ms) {
        for number in std::mem::take(&mut pool.changed) {
            if pool.machines[number].served > 0 {
                pool.delete(number, now);
            }
        }
        grow(pool, now);
        pool.changed.clear();
    }

    fn follows_events(&self) -> bool {
        true
    }

    fn wakes(&self, _: &Pool) -> Option<Ms> {
        None
    }
}

/// Makes no machine: the pool is in no policy.
pub(crate) struct Nobody;

impl Controller for Nobody {
    fn decide(&mut self, _: &mut Pool, _: Ms) {}

    fn follows_events(&self) -> bool {
        false
    }

    fn wakes(&self, _: &Pool) -> Option<Ms> {
        None
    }
}

/// As many machines as jobs that can run; a machine without a job leaves after a fixed time.
pub(crate) struct IdleTimeout {
    /// The time.
    pub(crate) idle_for: Ms,
    /// Decides at these times; `None` at every event, and the moment the time is over.
    pub(crate) ticks: Option<Ticks>,
}

impl Controller for IdleTimeout {
    fn decide(&mut self, pool: &mut Pool, now: Ms) {
        grow(pool, now);
        while let Some((number, since)) = pool.longest_idle() {
            if now < since + self.idle_for {
                break;
            }
            pool.delete(number, now);
        }
        if let Some(ticks) = &mut self.ticks {
            ticks.last = Some(now);
        }
        pool.changed.clear();
    }

    fn follows_events(&self) -> bool {
        self.ticks.is_none()
    }

    fn wakes(&self, pool: &Pool) -> Option<Ms> {
        let over = pool.longest_idle().map(|(_, since)| since + self.idle_for);
        let Some(ticks) = self.ticks else {
            return over;
        };
        let next = ticks.next(pool.now());
        let short = pool.queue.len() > pool.booting as usize * pool.spec.slots as usize;
        if short {
            return Some(next);
        }
        // nothing is decided before a machine has been empty for long enough
        Some(ticks.next(over?.max(next)))
    }
}

/// Fixed times of decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticks {
    every: Ms,
    phase: Ms,
    /// The last decision.
    pub(crate) last: Option<Ms>,
}

impl Ticks {
    pub(crate) fn new(every: Ms, phase: Ms) -> Self {
        Ticks {
            every: every.max(1),
            phase,
            last: None,
        }
    }

    /// The first of them from `now` on that is later than the last decision.
    pub(crate) fn next(&self, now: Ms) -> Ms {
        let from = self.last.map_or(now, |last| now.max(last + 1));
        from.saturating_sub(self.phase).div_ceil(self.every) * self.every + self.phase
    }
}

/// Makes a machine for every waiting job that no booting machine will take.
fn grow(pool: &mut Pool, now: Ms) {
    let waiting = u32::try_from(pool.queue.len()).unwrap_or(u32::MAX);
    let short = waiting
        .div_ceil(pool.spec.slots)
        .saturating_sub(pool.booting);
    let room = pool.spec.max.saturating_sub(pool.alive);
    for _ in 0..short.min(room) {
        pool.create(now);
    }
}
