//! How old machines are, by what this process itself has seen of them.
//!
//! A cloud says when a machine was created by its own clock, and its age is told by this host's. Where the two differ by an hour
//! (a host that was set by hand, woke or was restored), each new machine would look an hour old and go as one
//! that never joined, over and over; or an hour too young, and idle ones would stay so long. So two things bound what a cloud
//! says, both counted by a clock that nobody sets: a machine is no older than the last whole listing without it, and no younger
//! than the first listing with it.
//!
//! What stood already when this process began is bounded on one side only.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use model::{Instance, InstanceName};

/// So much earlier than the last listing without it a machine may say it was created: a listing may lag behind, EC2's by two
/// minutes. Below it every lag would look like a clock that is wrong.
const LAG: Duration = Duration::from_secs(120);

/// When something was, by the boot-time clock.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    not_before: Option<Duration>,
    not_after: Duration,
}

/// The machines of one provider.
#[derive(Debug, Default)]
pub(crate) struct Ages {
    known: BTreeMap<InstanceName, Bounds>,
    /// When the last whole listing was asked for.
    whole_at: Option<Duration>,
}

/// One moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) wall: Timestamp,
    pub(crate) boottime: Duration,
}

impl Moment {
    /// What the wall clock would have shown then, had it not been set since.
    fn at(&self, then: Duration) -> Timestamp {
        let ago = self.boottime.saturating_sub(then);
        self.wall.checked_sub(ago).unwrap_or(Timestamp::MIN)
    }
}

impl Ages {
    /// Puts right when the machines of a listing that was asked for at `asked` were created, where that cannot be.
    pub(crate) fn put_right(&mut self, machines: &mut [Instance], is_whole: bool, asked: Moment) {
        let mut known = BTreeMap::new();
        for machine in machines.iter_mut() {
            let bounds = self.known.get(&machine.name).copied().unwrap_or(Bounds {
                not_before: self.whole_at,
                not_after: asked.boottime,
            });
            known.insert(machine.name.clone(), bounds);
            if let Some(created) = machine.created_at {
                machine.created_at = Some(bounds.within(created, asked));
            }
        }
        if is_whole {
            // what is not listed is gone, and no name is used twice
            self.known = known;
            self.whole_at = Some(asked.boottime);
        } else {
            self.known.append(&mut known);
        }
    }
}

impl Bounds {
    fn within(self, created: Timestamp, asked: Moment) -> Timestamp {
        let latest = asked.at(self.not_after);
        let earliest = self.not_before.map(|then| asked.at(then));
        match earliest {
            Some(earliest) if model::age(created, earliest) > LAG => earliest,
            _ => created.min(latest),
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{InstanceState, Owner, ProviderRef};

    use super::*;

    const NOW: i64 = 1_795_531_234;

    fn wall(seconds: i64) -> Timestamp {
        Timestamp::from_second(NOW + seconds).unwrap()
    }

    fn moment(boottime: u64, set_off: i64) -> Moment {
        Moment {
            wall: wall(boottime.cast_signed() + set_off),
            boottime: Duration::from_secs(boottime),
        }
    }

    fn machine(created: i64) -> Vec<Instance> {
        vec![Instance {
            name: "linux-7-0-0".parse().unwrap(),
            id: ProviderRef::new("i-1"),
            scope: "zone".to_owned(),
            state: InstanceState::Running,
            created_at: Some(wall(created)),
            owner: Owner {
                fleet: "acme".parse().unwrap(),
                installation: None,
            },
            executor: None,
            offer: None,
            generation: None,
            notice: None,
            expires: None,
        }]
    }

    /// When the machine was created by the wall clock of each look: nothing at 100, and the machine at 110 and 170.
    fn seen(created: i64, set_off: i64, set_later: i64) -> [i64; 2] {
        let mut ages = Ages::default();
        ages.put_right(&mut [], true, moment(100, set_off));
        [(110, set_off), (170, set_off + set_later)].map(|(boottime, set_off)| {
            let (mut listed, asked) = (machine(created), moment(boottime, set_off));
            ages.put_right(&mut listed, true, asked);
            let created = listed[0].created_at.unwrap();
            created.as_second() - NOW
        })
    }

    #[test]
    fn what_a_cloud_says_is_taken_while_it_can_be() {
        assert_eq!(seen(104, 0, 0), [104, 104]);
        assert_eq!(seen(20, 0, 0), [20, 20], "a listing that lags behind");
        assert_eq!(seen(100, 20, 0), [100, 100], "clocks that differ a little");
    }

    #[test]
    fn a_host_that_is_ahead_takes_no_new_machine_for_an_old_one() {
        assert_eq!(seen(104, 3600, 0), [3700, 3700]);
    }

    #[test]
    fn a_host_that_is_behind_takes_no_old_machine_for_a_new_one() {
        assert_eq!(seen(104, -3600, 0), [110 - 3600, 110 - 3600]);
    }

    #[test]
    fn a_clock_that_is_set_takes_the_ages_along() {
        assert_eq!(seen(104, 0, 3600), [104, 3700]);
        assert_eq!(seen(104, 0, -3600), [104, 110 - 3600]);
    }

    #[test]
    fn in_a_part_of_a_listing_nothing_is_forgotten_and_absence_says_nothing() {
        let mut ages = Ages::default();
        ages.put_right(&mut machine(10), true, moment(20, 0));
        ages.put_right(&mut [], false, moment(400, 0));
        let mut again = machine(10);
        ages.put_right(&mut again, true, moment(500, 0));
        assert_eq!(again[0].created_at, Some(wall(10)));
        ages.put_right(&mut [], true, moment(510, 0));
        assert!(ages.known.is_empty());
    }
}
