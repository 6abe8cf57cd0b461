//! Executors that the CI server refuses to have cordoned.
//!
//! One refusal mostly means that the token lacks a right, and then every machine would be refused: the whole pool is
//! read-only for a while. But it may be the one executor (locked, moved to another project, of another owner), and then the
//! others must not stay with it: it is asked for again later than they are, and once one of them was cordoned it is known as
//! the odd one, whose refusal says nothing of the pool.
//!
//! Kept in memory only: who takes over asks once more.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{InstanceName, PoolName};

/// The pool is read-only for so long. Shorter, and each machine that is too many is a refused request (and a line in the
/// audit of the CI server) every few seconds; longer, and an operator who has mended the token waits for machines to leave.
const POOL_WAITS: Duration = Duration::from_secs(300);
/// The machine itself is asked for again after this: later than the others, so that they come first then.
const MACHINE_WAITS: Duration = Duration::from_secs(600);
/// Refused machines remembered of one pool: memory is bounded.
const MOST: usize = 1000;

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// No executor of the pool can be cordoned for now, which is news.
    Pool,
    /// This executor cannot be, which is news.
    Machine,
    /// What was known already.
    Nothing,
}

/// Of all pools. Times are on the clock's boot time.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    pools: BTreeMap<PoolName, OfPool>,
}

#[derive(Debug, Default)]
struct OfPool {
    /// What was said last, and until when nobody is asked for. Kept beyond that, so that the same refusal is said once.
    whole: Option<(String, Duration)>,
    machines: BTreeMap<InstanceName, OfMachine>,
}

#[derive(Debug)]
struct OfMachine {
    why: String,
    until: Duration,
    /// Whether another machine was cordoned since.
    is_odd: bool,
}

impl Refusals {
    /// The CI server refused to cordon a machine's executor.
    pub(crate) fn refuse(
        &mut self,
        pool: &PoolName,
        machine: &InstanceName,
        why: &str,
        now: Duration,
    ) -> Meaning {
        let of_pool = self.pools.entry(pool.clone()).or_default();
        // machines that are gone are never asked for again
        let is_fresh = |machine: &OfMachine| now.saturating_sub(machine.until) < MACHINE_WAITS;
        of_pool.machines.retain(|_, machine| is_fresh(machine));
        let before = of_pool.machines.remove(machine);
        let is_odd = before.as_ref().is_some_and(|before| before.is_odd);
        let news = OfMachine {
            why: why.to_owned(),
            until: now + MACHINE_WAITS,
            is_odd,
        };
        if of_pool.machines.len() < MOST {
            of_pool.machines.insert(machine.clone(), news);
        }
        if is_odd {
            let is_known = before.is_some_and(|before| before.why == why);
            return if is_known {
                Meaning::Nothing
            } else {
                Meaning::Machine
            };
        }
        let whole = (why.to_owned(), now + POOL_WAITS);
        match of_pool.whole.replace(whole) {
            Some((said, _)) if said == why => Meaning::Nothing,
            Some(_) | None => Meaning::Pool,
        }
    }

    /// It let a machine's executor be cordoned. True when the pool was read-only before.
    pub(crate) fn grant(&mut self, pool: &PoolName, machine: &InstanceName) -> bool {
        let Some(of_pool) = self.pools.get_mut(pool) else {
            return false;
        };
        of_pool.machines.remove(machine);
        for other in of_pool.machines.values_mut() {
            other.is_odd = true;
        }
        let was_whole = of_pool.whole.take().is_some();
        if of_pool.machines.is_empty() {
            self.pools.remove(pool);
        }
        was_whole
    }

    /// Why no executor of the pool is to be cordoned now, if so.
    pub(crate) fn of_pool(&self, pool: &PoolName, now: Duration) -> Option<String> {
        let (why, until) = self.pools.get(pool)?.whole.as_ref()?;
        (*until > now).then(|| why.clone())
    }

    /// Whose executors are not to be cordoned now, and why.
    pub(crate) fn of_machines(
        &self,
        pool: &PoolName,
        now: Duration,
    ) -> BTreeMap<InstanceName, String> {
        let machines = self.pools.get(pool).into_iter().flat_map(|p| &p.machines);
        let refused = machines.filter(|(_, machine)| machine.until > now);
        refused
            .map(|(name, machine)| (name.clone(), machine.why.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHY: &str = "403 Forbidden";

    fn minutes(n: u64) -> Duration {
        Duration::from_secs(n * 60)
    }

    fn machine(n: u32) -> InstanceName {
        format!("linux-7-{n}-0").parse().unwrap()
    }

    /// What `minutes(n)` forbids: the whole pool, and how many machines.
    fn forbids(refusals: &Refusals, pool: &PoolName, n: u64) -> (bool, usize) {
        let now = minutes(n);
        let whole = refusals.of_pool(pool, now).is_some();
        (whole, refusals.of_machines(pool, now).len())
    }

    #[test]
    fn a_token_without_the_right_makes_the_pool_read_only_and_one_that_has_it_again_does_not() {
        let pool: PoolName = "linux".parse().unwrap();
        let mut refusals = Refusals::default();
        let meaning = |refusals: &mut Refusals, n, at| refusals.refuse(&pool, &machine(n), WHY, at);
        assert_eq!(meaning(&mut refusals, 1, minutes(0)), Meaning::Pool);
        assert_eq!(meaning(&mut refusals, 2, minutes(0)), Meaning::Nothing);
        assert_eq!(forbids(&refusals, &pool, 4), (true, 2));
        // the others of the pool may try
        assert_eq!(forbids(&refusals, &pool, 5), (false, 2));
        assert_eq!(meaning(&mut refusals, 3, minutes(5)), Meaning::Nothing);
        assert_eq!(forbids(&refusals, &pool, 9), (true, 3));
        // the same is said once, another answer again
        let other = refusals.refuse(&pool, &machine(1), "401", minutes(10));
        assert_eq!(other, Meaning::Pool);
        assert!(refusals.grant(&pool, &machine(1)));
        assert!(!forbids(&refusals, &pool, 11).0);
        // what is said after a grant is news
        assert_eq!(meaning(&mut refusals, 4, minutes(60)), Meaning::Pool);
    }

    /// One executor that may not be cordoned kept all others of its pool, five minutes at a time, for ever.
    #[test]
    fn the_odd_one_keeps_no_other() {
        let pool: PoolName = "linux".parse().unwrap();
        let mut refusals = Refusals::default();
        let odd = machine(1);
        assert_eq!(refusals.refuse(&pool, &odd, WHY, minutes(0)), Meaning::Pool);
        assert!(refusals.grant(&pool, &machine(2)), "after five minutes");
        for n in 1..100 {
            let at = n * 10;
            assert_eq!(forbids(&refusals, &pool, at), (false, 0));
            let again = refusals.refuse(&pool, &odd, WHY, minutes(at));
            assert_eq!(again, Meaning::Nothing, "{n}");
            assert_eq!(forbids(&refusals, &pool, at + 9), (false, 1));
        }
        // it is whole again
        assert!(!refusals.grant(&pool, &odd));
        assert!(refusals.pools.is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let pool: PoolName = "linux".parse().unwrap();
        let mut refusals = Refusals::default();
        for n in 0..2000 {
            refusals.refuse(&pool, &machine(n), WHY, minutes(0));
        }
        assert_eq!(forbids(&refusals, &pool, 1), (true, MOST));
        refusals.refuse(&pool, &machine(1), WHY, minutes(21));
        assert_eq!(forbids(&refusals, &pool, 22), (true, 1));
    }
}
