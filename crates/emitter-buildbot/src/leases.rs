//! Which worker names are spoken for, as far as nobody else can know it yet.
//!
//! Worker names are fixed, so two machines must never get one. Who has a name is told by the machines' tags and by
//! the intents in the store; both come to us with each `register`. What is neither there yet (the creation is on
//! its way) is remembered here. Losing this memory is safe: a new process has a new epoch, and no name is
//! handed out while a creation of an earlier epoch may have one that nobody knows of.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{ExecutorId, InstanceName};

/// A lease that never turned up anywhere is forgotten after this. A creation is given a minute and its outcome is
/// written at the next tick; shorter, and a slow one could lose its name to another machine; longer, and a creation
/// whose name could not be given back blocks it for longer.
const FORGET: Duration = Duration::from_secs(600);

/// A name that was shown and is not any more is free only after this: what is told to one registration may be older than
/// what was told to another, by as long as a control verb may take (20 s).
const SHOWN_GRACE: Duration = Duration::from_secs(30);

/// Names that were handed out by this process.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    held: BTreeMap<ExecutorId, Lease>,
}

#[derive(Debug)]
struct Lease {
    instance: InstanceName,
    since: Duration,
    /// When a tag or an intent last named it: from the first time on they are the truth.
    shown: Option<Duration>,
}

impl Leases {
    /// The first of `free` that nobody has. The same machine again gets the same name.
    pub(crate) fn take(
        &mut self,
        instance: &InstanceName,
        free: &[ExecutorId],
        taken: &BTreeSet<ExecutorId>,
        now: Duration,
    ) -> Option<ExecutorId> {
        self.held.retain(|id, lease| {
            if taken.contains(id) {
                lease.shown = Some(now);
            }
            match lease.shown {
                Some(last) => now.saturating_sub(last) <= SHOWN_GRACE,
                None => now.saturating_sub(lease.since) <= FORGET,
            }
        });
        let before = self
            .held
            .iter()
            .find(|(_, lease)| lease.instance == *instance);
        if let Some((id, _)) = before {
            return Some(id.clone());
        }
        let id = free
            .iter()
            .find(|id| !taken.contains(id) && !self.held.contains_key(id))?;
        let lease = Lease {
            instance: instance.clone(),
            since: now,
            shown: None,
        };
        self.held.insert(id.clone(), lease);
        Some(id.clone())
    }

    /// The name that this process handed out to a machine, as far as it remembers.
    pub(crate) fn of(&self, instance: &InstanceName) -> Option<ExecutorId> {
        let mut held = self.held.iter();
        let found = held.find(|(_, lease)| lease.instance == *instance);
        found.map(|(id, _)| id.clone())
    }

    /// The machine is gone, or was never made.
    pub(crate) fn give_back(&mut self, id: &ExecutorId) {
        self.held.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> ExecutorId {
        ExecutorId::new(number.to_string())
    }

    fn machine(sequence: u32) -> InstanceName {
        format!("linux-7-{sequence}-0").parse().unwrap()
    }

    fn taken(ids: &[u32]) -> BTreeSet<ExecutorId> {
        ids.iter().map(|number| id(*number)).collect()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn two_machines_never_get_one_name() {
        let mut leases = Leases::default();
        let free = [id(1), id(2), id(3)];
        let mut take = |sequence| leases.take(&machine(sequence), &free, &taken(&[2]), SECOND);
        assert_eq!(take(1), Some(id(1)));
        assert_eq!(take(2), Some(id(3)));
        assert_eq!(take(3), None);
        assert_eq!(take(1), Some(id(1)), "asked twice is asked once");
    }

    #[test]
    fn a_name_is_free_again_once_its_machine_was_seen_and_is_gone() {
        let mut leases = Leases::default();
        let free = [id(1)];
        assert_eq!(
            leases.take(&machine(1), &free, &taken(&[]), SECOND),
            Some(id(1))
        );
        assert_eq!(
            leases.take(&machine(2), &free, &taken(&[]), SECOND * 60),
            None
        );
        assert_eq!(
            leases.take(&machine(2), &free, &taken(&[1]), SECOND * 90),
            None
        );
        assert_eq!(
            leases.take(&machine(2), &free, &taken(&[]), SECOND * 91),
            None,
            "an older list may have been told"
        );
        assert_eq!(
            leases.take(&machine(2), &free, &taken(&[]), SECOND * 121),
            Some(id(1))
        );
    }

    #[test]
    fn a_name_that_was_given_back_or_never_turned_up_is_free_again() {
        let mut leases = Leases::default();
        let free = [id(1)];
        leases
            .take(&machine(1), &free, &taken(&[]), SECOND)
            .unwrap();
        leases.give_back(&id(1));
        assert_eq!(
            leases.take(&machine(2), &free, &taken(&[]), SECOND),
            Some(id(1))
        );
        assert_eq!(
            leases.take(&machine(3), &free, &taken(&[]), SECOND * 700),
            Some(id(1))
        );
    }
}
