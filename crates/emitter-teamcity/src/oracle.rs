//! What the server said about who can run what, and what is made of it.
//!
//! A build type is asked about once in a while: which agents could run its builds, those that are off or not authorised
//! among them (`compatible:(buildType:…),defaultFilter:false`). A *kind* of agents (one pool of ours) is known by its
//! *samples*: its machines that joined, and its prototype. Where a kind has no sample nobody can be asked. What was said
//! before counts then; else one build is allowed to bring a first machine, the *canary*, and all others of unknown
//! fitness wait for what the server says about it.
//!
//! The memory may be lost at any time. Then the answers are asked for again; where no sample is left, one canary is the
//! price. It is bounded, and the answer that was not needed for the longest time makes room.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{Job, JobClass};

use crate::chain::SameAgent;
use crate::matcher::{AWAITS, CAN, CANARY, CANNOT, UNLINKED};

/// An answer is asked for again after this. Sooner costs a request per build type; later, builds whose requirements were
/// changed wait for machines that cannot run them.
const FRESH: Duration = Duration::from_secs(300);

/// How long "cannot" counts while no sample is left. It is what a build that nobody can run costs: one machine in this
/// time. Longer, and a mended image is not found out.
const REFUSED: Duration = Duration::from_secs(3600);

/// Build types that are remembered.
const TYPES: usize = 5000;

/// One kind of agents.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kind {
    /// What stands for it in a job's facts.
    pub(crate) key: String,
    /// Its agents that can be asked about.
    pub(crate) samples: BTreeSet<u64>,
    /// Projects linked to its agent pool; `None` if that could not be read.
    pub(crate) projects: Option<BTreeSet<String>>,
}

impl Kind {
    /// Whether builds of a project may run on its agents at all. What could not be read is no obstacle.
    pub(crate) fn is_linked(&self, project: &str) -> bool {
        let projects = self.projects.as_ref();
        projects.is_none_or(|projects| projects.contains(project))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Verdict {
    can: bool,
    /// One of the samples that it is about.
    of: u64,
    at: Duration,
}

#[derive(Debug, Default)]
struct Known {
    asked_at: Option<Duration>,
    agents: BTreeSet<u64>,
    verdicts: BTreeMap<String, Verdict>,
    same_agent: Option<(Duration, BTreeSet<String>)>,
    last_look: u64,
}

/// What is to be thought of one build type on one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Judgement {
    Can,
    /// Nobody to ask about.
    Unknown,
    /// Somebody is there, and the server has not been asked yet.
    Unasked,
    Cannot,
}

/// The memory.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    types: BTreeMap<String, Known>,
    looks: u64,
}

impl Oracle {
    /// A look begins: these build types are needed in it.
    pub(crate) fn begin<'a>(&mut self, types: impl Iterator<Item = &'a String>) {
        self.looks += 1;
        for of_type in types {
            self.types.entry(of_type.clone()).or_default().last_look = self.looks;
        }
        while self.types.len() > TYPES {
            let oldest = self.types.iter().min_by_key(|(_, known)| known.last_look);
            let oldest = oldest.map(|(name, _)| name.clone());
            self.types.remove(&oldest.unwrap_or_default());
        }
    }

    /// Whether it is time to ask about a build type.
    pub(crate) fn is_due(
        &self,
        of_type: &str,
        kinds: &[Kind],
        anybody: bool,
        now: Duration,
    ) -> bool {
        if !anybody {
            return false;
        }
        let Some(known) = self.types.get(of_type) else {
            return true;
        };
        let aged = known
            .asked_at
            .is_none_or(|at| now.saturating_sub(at) > FRESH);
        let unheard = |kind: &Kind| {
            let verdict = known.verdicts.get(&kind.key);
            !kind.samples.is_empty() && verdict.is_none_or(|said| !kind.samples.contains(&said.of))
        };
        aged || kinds.iter().any(unheard)
    }

    /// The time of the last answer, for asking in the order of need.
    pub(crate) fn asked_at(&self, of_type: &str) -> Option<Duration> {
        self.types.get(of_type)?.asked_at
    }

    /// Takes in an answer.
    pub(crate) fn learn(
        &mut self,
        of_type: &str,
        agents: BTreeSet<u64>,
        kinds: &[Kind],
        now: Duration,
    ) {
        let known = self.types.entry(of_type.to_owned()).or_default();
        for kind in kinds {
            let Some(of) = kind.samples.first() else {
                continue;
            };
            let can = kind.samples.intersection(&agents).next().is_some();
            let verdict = Verdict {
                can,
                of: *of,
                at: now,
            };
            known.verdicts.insert(kind.key.clone(), verdict);
        }
        known.agents = agents;
        known.asked_at = Some(now);
    }

    /// Whether it is time to ask which dependencies of a build type hold its builds on one agent.
    pub(crate) fn bonds_are_due(&self, of_type: &str, now: Duration) -> bool {
        let known = self
            .types
            .get(of_type)
            .and_then(|known| known.same_agent.as_ref());
        known.is_none_or(|(at, _)| now.saturating_sub(*at) > FRESH)
    }

    pub(crate) fn learn_bonds(&mut self, of_type: &str, on: BTreeSet<String>, now: Duration) {
        let known = self.types.entry(of_type.to_owned()).or_default();
        known.same_agent = Some((now, on));
    }

    /// Of every build type that was asked about; nothing is a set of none.
    pub(crate) fn bonds(&self) -> SameAgent {
        let known = self.types.iter().filter_map(|(of_type, known)| {
            let (_, on) = known.same_agent.as_ref()?;
            Some((of_type.clone(), on.clone()))
        });
        known.collect()
    }

    /// For each kind the agents that run every build type which the kind is known to run: an agent of somebody else's
    /// among them is as good as a machine of ours.
    pub(crate) fn as_good(&self, kinds: &[Kind]) -> Vec<BTreeSet<u64>> {
        let good = |kind: &Kind| {
            let said = |known: &&Known| known.verdicts.get(&kind.key).is_some_and(|said| said.can);
            let runs = self.types.values().filter(said).map(|known| &known.agents);
            let all = runs.fold(None, |all: Option<BTreeSet<u64>>, agents| {
                Some(match all {
                    Some(all) => all.intersection(agents).copied().collect(),
                    None => agents.clone(),
                })
            });
            all.unwrap_or_default()
        };
        kinds.iter().map(good).collect()
    }

    fn judge(&self, of_type: &str, kind: &Kind, now: Duration) -> Judgement {
        let said = self
            .types
            .get(of_type)
            .and_then(|known| known.verdicts.get(&kind.key));
        match said {
            Some(said) if said.can => Judgement::Can,
            Some(said) if !kind.samples.is_empty() || now.saturating_sub(said.at) <= REFUSED => {
                Judgement::Cannot
            }
            _ if kind.samples.is_empty() => Judgement::Unknown,
            _ => Judgement::Unasked,
        }
    }

    fn judge_all(&self, types: &BTreeSet<String>, kind: &Kind, now: Duration) -> Judgement {
        let each = types.iter().map(|of_type| self.judge(of_type, kind, now));
        each.max().unwrap_or(Judgement::Unasked)
    }

    /// Writes into every job what is known of it, and chooses the canaries: at most one for each kind without a sample, and
    /// a job is the canary of one kind only. The set beside a job is what its agent has to run.
    pub(crate) fn tell(&self, jobs: &mut [(Job, BTreeSet<String>)], kinds: &[Kind], now: Duration) {
        // a thousand builds are of a few types
        let mut judged: BTreeMap<BTreeSet<String>, Vec<Judgement>> = BTreeMap::new();
        for (_, types) in jobs.iter() {
            if !judged.contains_key(types) {
                let each = kinds.iter().map(|kind| self.judge_all(types, kind, now));
                judged.insert(types.clone(), each.collect());
            }
        }
        let mut chosen = BTreeSet::new();
        for (of, kind) in kinds.iter().enumerate() {
            let mut canary = false;
            for (at, (job, types)) in jobs.iter_mut().enumerate() {
                let said = &judged[types];
                let fact = match said[of] {
                    _ if !kind.is_linked(&job.project) => UNLINKED,
                    Judgement::Can => CAN,
                    Judgement::Cannot => CANNOT,
                    Judgement::Unasked => continue,
                    Judgement::Unknown => {
                        let served = said.contains(&Judgement::Can);
                        let first = !canary && job.class == JobClass::Runnable;
                        if first && !served && chosen.insert(at) {
                            canary = true;
                            CANARY
                        } else {
                            AWAITS
                        }
                    }
                };
                let facts = job.requirement.facts.entry(fact.to_owned()).or_default();
                facts.push(kind.key.clone());
            }
        }
    }

    /// How many of these build types nobody was asked about though there is somebody to ask about.
    pub(crate) fn unasked(&self, types: &BTreeSet<String>, kinds: &[Kind], now: Duration) -> usize {
        let unasked = |of_type: &&String| {
            kinds
                .iter()
                .any(|kind| self.judge(of_type, kind, now) == Judgement::Unasked)
        };
        types.iter().filter(unasked).count()
    }
}

#[cfg(test)]
mod tests {
    use model::{JobId, Requirement};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn kind(key: &str, samples: &[u64]) -> Kind {
        Kind {
            key: key.to_owned(),
            samples: samples.iter().copied().collect(),
            projects: Some(["App".to_owned()].into()),
        }
    }

    fn job(id: u32, of_type: &str) -> (Job, BTreeSet<String>) {
        let job = Job {
            id: JobId::new(id.to_string()),
            name: of_type.to_owned(),
            project: "App".to_owned(),
            requirement: Requirement::default(),
            queued_at: None,
            started_at: None,
            expected: None,
            class: JobClass::Runnable,
        };
        (job, [of_type.to_owned()].into())
    }

    fn told(oracle: &Oracle, jobs: &[(u32, &str)], kinds: &[Kind], now: Duration) -> Vec<String> {
        let mut jobs: Vec<_> = jobs.iter().map(|(id, of)| job(*id, of)).collect();
        oracle.tell(&mut jobs, kinds, now);
        let words = jobs.iter().map(|(job, _)| {
            let facts = job.requirement.facts.iter();
            let facts: Vec<String> = facts
                .map(|(fact, keys)| format!("{fact} {}", keys.join("+")))
                .collect();
            format!("{}: {}", job.id, facts.join(", "))
        });
        words.collect()
    }

    #[test]
    fn without_a_sample_one_job_brings_the_first_machine() {
        let oracle = Oracle::default();
        let jobs = [(1, "A"), (2, "A"), (3, "B")];
        assert_eq!(
            told(&oracle, &jobs, &[kind("Linux", &[])], HOUR),
            [
                "1: canary Linux",
                "2: awaits-canary Linux",
                "3: awaits-canary Linux"
            ]
        );
        // two kinds try two jobs, and never one job for both
        assert_eq!(
            told(
                &oracle,
                &jobs[..2],
                &[kind("Linux", &[]), kind("Mac", &[])],
                HOUR
            ),
            [
                "1: awaits-canary Mac, canary Linux",
                "2: awaits-canary Linux, canary Mac"
            ]
        );
        let mut elsewhere = kind("Linux", &[]);
        elsewhere.projects = Some(BTreeSet::new());
        assert_eq!(
            told(&oracle, &jobs[..1], &[elsewhere], HOUR),
            ["1: unlinked Linux"]
        );
    }

    #[test]
    fn what_was_said_about_the_canary_is_remembered_when_it_is_gone() {
        let mut oracle = Oracle::default();
        let up = [kind("Linux", &[7])];
        assert!(oracle.is_due("A", &up, true, HOUR));
        assert_eq!(told(&oracle, &[(1, "A")], &up, HOUR), ["1: "]);
        assert_eq!(oracle.unasked(&["A".to_owned()].into(), &up, HOUR), 1);
        oracle.learn("A", [7].into(), &up, HOUR);
        oracle.learn("B", [9].into(), &up, HOUR);
        assert!(!oracle.is_due("A", &up, true, HOUR));
        let gone = [kind("Linux", &[])];
        let jobs = [(1, "A"), (2, "B"), (3, "C")];
        let both = ["1: can Linux", "2: cannot Linux"];
        assert_eq!(told(&oracle, &jobs[..2], &gone, HOUR), both);
        // a refusal is tried again after an hour, with one machine; what can run is not in doubt
        let late = HOUR * 3;
        assert_eq!(
            told(&oracle, &jobs, &gone, late),
            ["1: can Linux", "2: canary Linux", "3: awaits-canary Linux"]
        );
        // another machine of the kind is asked about anew, and what was said counts until then
        let other = [kind("Linux", &[8])];
        assert!(oracle.is_due("A", &other, true, HOUR));
        assert_eq!(told(&oracle, &jobs[..2], &other, HOUR), both);
        assert!(!oracle.is_due("A", &gone, false, HOUR));
    }

    #[test]
    fn a_group_runs_only_where_all_of_it_can() {
        let mut oracle = Oracle::default();
        let up = [kind("Linux", &[7])];
        oracle.learn("A", [7].into(), &up, HOUR);
        oracle.learn("B", [].into(), &up, HOUR);
        let mut jobs = [job(1, "A")];
        jobs[0].1.insert("B".to_owned());
        oracle.tell(&mut jobs, &up, HOUR);
        assert!(jobs[0].0.requirement.facts.contains_key(CANNOT));
    }

    #[test]
    fn an_agent_is_as_good_as_a_kind_when_it_runs_all_that_the_kind_runs() {
        let mut oracle = Oracle::default();
        let up = [kind("Linux", &[7])];
        assert_eq!(oracle.as_good(&up), [BTreeSet::new()]);
        oracle.learn("A", [7, 1, 2].into(), &up, HOUR);
        oracle.learn("B", [7, 1].into(), &up, HOUR);
        oracle.learn("C", [2].into(), &up, HOUR);
        assert_eq!(oracle.as_good(&up), [BTreeSet::from([1, 7])]);
    }

    #[test]
    fn the_memory_has_a_bound() {
        let mut oracle = Oracle::default();
        for look in 0..3 {
            let types: Vec<String> = (0..TYPES).map(|n| format!("{look}-{n}")).collect();
            oracle.begin(types.iter());
        }
        assert_eq!(oracle.types.len(), TYPES);
        assert!(oracle.types.contains_key("2-0") && !oracle.types.contains_key("0-0"));
    }
}
