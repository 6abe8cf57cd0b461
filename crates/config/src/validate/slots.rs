//! How many jobs a pool's machines run at a time, and whether its jobs fit on them at all.
//!
//! The *most* that a job may need decides: CI servers hand out jobs without looking at what they need, so a machine has
//! to bear its slots full of the largest. Whoever knows better states `slots`.

use std::fmt::Display;

use model::{JobRange, MachineName};
use ports::strict::Problems;

use super::machines::MAX_SLOTS;
use crate::raw;
use crate::raw::quantity::{Decimal, Range, Size};

/// Slots of one machine in this pool.
pub(super) fn of_pool(
    pool: &raw::Pool,
    name: &MachineName,
    machine: &raw::Machine,
    problems: &mut Problems,
) -> u32 {
    let mut inner = Problems::default();
    let job = pool.job.as_ref();
    let cpu = job.and_then(|job| job.cpu).and_then(|range| {
        let of = |decimal: Decimal| u64::from(decimal.milli);
        fits(
            "cpu",
            range,
            machine.cpu,
            of,
            (name, machine.slots),
            &mut inner,
        )
    });
    let memory = job.and_then(|job| job.memory).and_then(|range| {
        let of = |size: Size| size.0;
        fits(
            "memory",
            range,
            machine.memory,
            of,
            (name, machine.slots),
            &mut inner,
        )
    });
    problems.append(&["job".into()], inner);
    let found = [cpu, memory].into_iter().flatten().min();
    machine.slots.or(found).unwrap_or(1).clamp(1, MAX_SLOTS)
}

/// How many of the largest jobs fit by one measure.
fn fits<T: Copy + Display>(
    key: &str,
    job: Range<T>,
    machine: Option<T>,
    of: impl Fn(T) -> u64,
    (name, slots): (&MachineName, Option<u32>),
    problems: &mut Problems,
) -> Option<u32> {
    if of(job.most) == 0 {
        problems.error([key.into()], "a job needs more than nothing");
        return None;
    }
    let Some(machine) = machine else {
        if slots.is_none() {
            let message = format!(
                "machine `{name}` states no `{key}`, so nobody can tell how many jobs fit: state it, or `slots`"
            );
            problems.error([key.into()], message);
        }
        return None;
    };
    let fit = of(machine) / of(job.most);
    match slots {
        _ if fit == 0 => problems.error(
            [key.into()],
            format!(
                "a job may need {}, but machine `{name}` has {machine}",
                job.most
            ),
        ),
        Some(slots) if u64::from(slots) > fit => problems.warning(
            [key.into()],
            format!(
                "{slots} slots of {} each are more than the {machine} of machine `{name}`",
                job.most
            ),
        ),
        Some(_) | None => {}
    }
    u32::try_from(fit).ok().filter(|fit| *fit > 0)
}

/// What the mapping needs to know.
pub(super) fn range(pool: &raw::Pool) -> JobRange {
    let job = pool.job.as_ref();
    let cpu = job.and_then(|job| job.cpu);
    let memory = job.and_then(|job| job.memory);
    JobRange {
        cpu_milli: cpu.map(|range| (range.least.milli, range.most.milli)),
        memory: memory.map(|range| (range.least.0, range.most.0)),
    }
}
