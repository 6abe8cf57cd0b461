//! Machines whose deletion rests on having no executor, and of which that could not be proven at the last moment.
//!
//! Each stays, and is asked about again after a while that doubles: an executor that was found shows in the next look and is
//! known then, but one that no look shows (hidden, of another mark), and a CI server that cannot tell, would be asked at every
//! tick. Kept in memory only: who takes over asks once more.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{InstanceName, PoolName};

/// How long a machine is left alone after the first time. Longer than looks are apart, so that the next one may show its
/// executor; much longer, and a CI server that was away for a moment costs an idle machine.
const FIRST_WAIT: Duration = Duration::from_secs(30);
/// How long at most, for what does not mend by itself.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// So long after that it is remembered how often it was asked.
const KEPT: Duration = Duration::from_secs(3600);
/// Machines remembered: memory is bounded. Of others it is asked more often than need be, and nothing worse.
const MOST: usize = 10_000;

/// Of all pools. Times are on the clock's boot time.
#[derive(Debug, Default)]
pub(crate) struct Sought {
    machines: BTreeMap<InstanceName, Doubt>,
}

#[derive(Debug)]
struct Doubt {
    why: String,
    wait: Duration,
    until: Duration,
}

impl Sought {
    /// It could not be proven, for this reason. Gives how long the machine is left alone.
    pub(crate) fn doubt(&mut self, machine: &InstanceName, why: String, now: Duration) -> Duration {
        self.machines.retain(|_, doubt| doubt.until + KEPT > now);
        let before = self.machines.remove(machine);
        let wait = before.map_or(FIRST_WAIT, |before| (before.wait * 2).min(LONGEST_WAIT));
        if self.machines.len() < MOST {
            let until = now + wait;
            let doubt = Doubt { why, wait, until };
            self.machines.insert(machine.clone(), doubt);
        }
        wait
    }

    /// Machines of a pool that are left alone now, and why.
    pub(crate) fn of_pool(&self, pool: &PoolName, now: Duration) -> BTreeMap<InstanceName, String> {
        let machines = self.machines.iter();
        let left_alone = machines.filter(|(name, doubt)| name.pool() == pool && doubt.until > now);
        left_alone
            .map(|(name, doubt)| (name.clone(), doubt.why.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_is_asked_again_after_a_while_that_doubles_up_to_a_bound() {
        let machine: InstanceName = "linux-7-1-0".parse().unwrap();
        let other: PoolName = "mac".parse().unwrap();
        let mut sought = Sought::default();
        let mut now = SECOND;
        for wait in [30, 60, 120, 240, 480, 900, 900] {
            let waits = sought.doubt(&machine, "503".to_owned(), now);
            assert_eq!(waits, SECOND * wait);
            let held = |at| sought.of_pool(machine.pool(), at).len();
            assert_eq!((held(now + waits - SECOND), held(now + waits)), (1, 0));
            assert!(sought.of_pool(&other, now).is_empty());
            now += waits;
        }
        // what went well for an hour begins anew
        let waits = sought.doubt(&machine, "503".to_owned(), now + KEPT + SECOND);
        assert_eq!(waits, FIRST_WAIT);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut sought = Sought::default();
        for n in 0..=MOST {
            let machine = format!("linux-7-{n}-0").parse().unwrap();
            sought.doubt(&machine, String::new(), SECOND);
        }
        assert_eq!(sought.machines.len(), MOST);
    }
}
