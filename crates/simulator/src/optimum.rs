//! What a clairvoyant would pay: bounds that no policy can beat, for the ratio that says how far a policy is from them.
//!
//! OPT0 is the cost of serving every job the instant it can run, by machines that may be used again, each boot billed.
//! Jobs are given to the machine that became empty last; then the idle gaps of the machines (the *levels*) are
//! independent of one another, and in each gap the cheaper of waiting and booting anew is chosen (Lu and Chen, "Simple
//! and effective dynamic provisioning for power-proportional data centers", arXiv 1112.0442):
//!
//! `OPT0 = work + sum over gaps of min(gap, boot) + boot * levels`
//!
//! For machines of several slots the same is done for the machines that a packing onto the fullest machine with a free
//! slot needs. That is what a policy can reach with this packing, no longer a bound over all packings.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::{Ms, Trace};

/// The bounds of one pool, in machine-milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Optimum {
    /// Sum of the durations.
    pub work: Ms,
    /// The clairvoyant cost at zero wait.
    pub cost: Ms,
    /// Machines that exist at once at most.
    pub levels: u32,
    /// Boots it pays for.
    pub creates: u32,
}

/// The end of each job if every job starts the instant it can run.
fn instant_starts(trace: &Trace) -> Vec<(Ms, Ms)> {
    let mut times: Vec<(Ms, Ms)> = Vec::with_capacity(trace.jobs.len());
    for job in &trace.jobs {
        let parents = job.parents.iter().map(|parent| times[*parent as usize].1);
        let start = parents.max().unwrap_or(0).max(job.submitted);
        times.push((start, start + job.duration));
    }
    times
}

/// The bound of one pool of the trace.
pub fn optimum(trace: &Trace, pool: u32, slots: u32, boot: Ms) -> Optimum {
    let times = instant_starts(trace);
    let mut starts: Vec<(Ms, Ms)> = trace
        .jobs
        .iter()
        .zip(&times)
        .filter(|(job, _)| job.pool == pool)
        .map(|(_, times)| *times)
        .collect();
    // the order of the file decides between jobs of one moment, as in the queue of a CI server
    starts.sort_by_key(|(start, _)| *start);
    levels(&starts, slots.max(1), boot)
}

struct Level {
    busy: u32,
    /// Since when it has had a job, or none.
    since: Ms,
}

#[derive(Default)]
struct Packing {
    levels: Vec<Level>,
    /// Machines without a job, the one that became empty last on top.
    empty: Vec<usize>,
    ends: BinaryHeap<Reverse<(Ms, usize)>>,
    busy_time: Ms,
}

impl Packing {
    /// Ends the jobs that end until then.
    fn end_until(&mut self, until: Ms) {
        while let Some(Reverse((at, index))) = self.ends.peek().copied() {
            if at > until {
                break;
            }
            self.ends.pop();
            let level = &mut self.levels[index];
            level.busy -= 1;
            if level.busy == 0 {
                self.busy_time += at - level.since;
                level.since = at;
                self.empty.push(index);
            }
        }
    }

    /// The fullest machine that has a job and a free slot.
    fn partly_free(&self, slots: u32) -> Option<usize> {
        let levels = self.levels.iter().enumerate();
        levels
            .filter(|(_, level)| level.busy > 0 && level.busy < slots)
            .max_by_key(|(index, level)| (level.busy, Reverse(*index)))
            .map(|(index, _)| index)
    }
}

fn levels(starts: &[(Ms, Ms)], slots: u32, boot: Ms) -> Optimum {
    let mut found = Optimum::default();
    let mut packing = Packing::default();
    for &(start, end) in starts {
        packing.end_until(start);
        let partly = (slots > 1).then(|| packing.partly_free(slots)).flatten();
        let index = if let Some(index) = partly {
            index
        } else if let Some(index) = packing.empty.pop() {
            let level = &mut packing.levels[index];
            let gap = start - level.since;
            found.cost += gap.min(boot);
            found.creates += u32::from(gap > boot);
            level.since = start;
            index
        } else {
            packing.levels.push(Level {
                busy: 0,
                since: start,
            });
            found.cost += boot;
            found.creates += 1;
            packing.levels.len() - 1
        };
        packing.levels[index].busy += 1;
        found.work += end - start;
        packing.ends.push(Reverse((end, index)));
    }
    packing.end_until(Ms::MAX);
    found.levels = u32::try_from(packing.levels.len()).unwrap_or(u32::MAX);
    found.cost += packing.busy_time;
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &str, slots: u32) -> Optimum {
        let text = format!("submitted_at_s,duration_s,pool,parents\n{rows}");
        let trace = Trace::read(text.as_bytes()).expect("a trace");
        optimum(&trace, 0, slots, 60_000)
    }

    #[test]
    fn a_short_gap_is_waited_out_and_a_long_one_is_not() {
        // one level: 100 s of work, a gap of 20 s, 100 s, a gap of 500 s, 100 s
        let found = of("0,100,a,\n120,100,a,\n720,100,a,\n", 1);
        assert_eq!(found.cost, (300 + 60 + 20 + 60) * 1000);
        assert_eq!((found.levels, found.creates), (1, 2));
    }

    #[test]
    fn the_machine_that_became_empty_last_is_taken_first() {
        // two levels; the third job takes the one that became empty at 100, not the one at 50: a gap of 10 s
        let found = of("0,100,a,\n0,50,a,\n110,10,a,\n", 1);
        assert_eq!(found.cost, (160 + 120 + 10) * 1000);
    }

    #[test]
    fn a_child_starts_when_its_last_parent_ends() {
        let found = of("0,100,a,\n0,50,a,\n1,10,a,0;1\n", 1);
        assert_eq!(found.cost, (160 + 120) * 1000);
    }

    #[test]
    fn a_machine_of_two_slots_is_paid_once_while_it_has_a_job() {
        let found = of("0,100,a,\n50,100,a,\n", 2);
        assert_eq!((found.cost, found.work), (210_000, 200_000));
    }
}
