//! How long each stage of a machine's way to its first job takes: asked for, being made, booting, unused.
//!
//! A slow cloud, a slow image and a slow CI server look alike from a job's wait alone. Only what this process has seen begin and
//! end is counted: after a start or a pause the stage in which a machine is found is not. Decides nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::{Machine, Phase};
use model::InstanceName;

/// A stage, in the order in which a machine goes through them; the words are those of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Asked for, and not listed yet.
    Requested,
    /// Listed, and not running.
    Provisioning,
    /// Running, and its executor was not seen online yet.
    Booting,
    /// Online, and without its first job.
    Unused,
    /// It had a job: the way is over.
    Used,
}

impl Stage {
    /// The label of the metric.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Stage::Requested => "requested",
            Stage::Provisioning => "provisioning",
            Stage::Booting => "booting",
            Stage::Unused => "unused",
            Stage::Used => "used",
        }
    }

    /// Where a machine is on its way; `None` for one that left it.
    fn of(phase: &Phase) -> Option<Stage> {
        match phase {
            Phase::Requested => Some(Stage::Requested),
            Phase::Provisioning => Some(Stage::Provisioning),
            Phase::Booting => Some(Stage::Booting),
            Phase::Idle { .. } => Some(Stage::Unused),
            Phase::Busy { unknown: None } | Phase::Spent { .. } => Some(Stage::Used),
            _ => None,
        }
    }
}

/// The machines on their way, as of the last tick.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    /// In which stage each is, and since when; not since when where that was not seen.
    known: BTreeMap<InstanceName, (Stage, Option<Duration>)>,
    /// Whether the last tick was looked at too: then what is new began since.
    is_watched: bool,
}

impl Stages {
    /// Goes on to this tick, at a time of the clock that nobody sets; gives each stage that ended, and how long it took.
    pub(crate) fn tick<'a>(
        &mut self,
        machines: impl Iterator<Item = &'a Machine>,
        now: Duration,
    ) -> Vec<(&'a InstanceName, Stage, Duration)> {
        let mut known = BTreeMap::new();
        let mut ended = Vec::new();
        for machine in machines {
            let Some(stage) = Stage::of(&machine.phase) else {
                continue;
            };
            let entry = match self.known.remove(&machine.name) {
                // an idle machine that had a job is not unused again
                Some((before, since)) if stage <= before => (before, since),
                Some((before, since)) => {
                    let took = since.map(|since| now.saturating_sub(since));
                    ended.extend(took.map(|took| (&machine.name, before, took)));
                    (stage, Some(now))
                }
                None => (stage, self.is_watched.then_some(now)),
            };
            known.insert(machine.name.clone(), entry);
        }
        self.known = known;
        self.is_watched = true;
        ended
    }

    /// Nobody looks for a while.
    pub(crate) fn rest(&mut self) {
        *self = Stages::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(name: &str, phase: Phase) -> Machine {
        Machine {
            name: name.parse().unwrap(),
            provider: "cloud".parse().unwrap(),
            listed: None,
            agent: None,
            executor_ref: None,
            offer: None,
            generation: None,
            leaving: None,
            phase,
            free_slots: 0,
            jobs: None,
        }
    }

    fn idle() -> Phase {
        Phase::Idle {
            since: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    const BUSY: Phase = Phase::Busy { unknown: None };

    /// What ended at each second.
    fn story(stages: &mut Stages, phases: &[(u64, Phase)]) -> Vec<(&'static str, u64)> {
        let mut ended = Vec::new();
        for (second, phase) in phases {
            let machines = [machine("linux-7-1-0", phase.clone())];
            let now = stages.tick(machines.iter(), Duration::from_secs(*second));
            ended.extend(
                now.iter()
                    .map(|(_, stage, took)| (stage.as_str(), took.as_secs())),
            );
        }
        ended
    }

    #[test]
    fn each_stage_is_timed_once() {
        let mut stages = Stages::default();
        assert!(stages.tick([].iter(), Duration::ZERO).is_empty());
        let phases = [
            (1, Phase::Requested),
            (4, Phase::Requested),
            (5, Phase::Provisioning),
            (9, Phase::Booting),
            (49, idle()),
            (50, BUSY),
            (60, idle()),
            (70, BUSY),
        ];
        let each = [
            ("requested", 4),
            ("provisioning", 4),
            ("booting", 40),
            ("unused", 1),
        ];
        assert_eq!(story(&mut stages, &phases), each);
    }

    #[test]
    fn a_stage_that_nobody_saw_begin_is_not_timed_and_one_that_is_left_out_took_no_time() {
        let mut stages = Stages::default();
        // found on its way at the start
        let phases = [(100, Phase::Booting), (110, idle()), (111, BUSY)];
        assert_eq!(story(&mut stages, &phases), [("unused", 1)]);
        stages.rest();
        assert_eq!(story(&mut stages, &[(900, idle()), (901, BUSY)]), []);
        // from one look to the next it is online and has a job
        let mut stages = Stages::default();
        assert!(stages.tick([].iter(), Duration::ZERO).is_empty());
        let phases = [(1, Phase::Requested), (31, BUSY)];
        assert_eq!(story(&mut stages, &phases), [("requested", 30)]);
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut stages = Stages::default();
        assert_eq!(story(&mut stages, &[(1, Phase::Booting)]), []);
        assert!(stages.tick([].iter(), Duration::from_secs(2)).is_empty());
        assert!(stages.known.is_empty());
    }
}
