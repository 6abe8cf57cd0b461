//! From TeamCity's rows to jobs and executors. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{
    Cordon, Executor, ExecutorId, ExecutorState, FleetId, Job, JobClass, JobId, Requirement,
};

use crate::chain::Placed;
use crate::error::line;
use crate::mark;
use crate::matcher::TYPE;
use crate::wire::{self, Agent, AgentLink, Build};

/// A build of the queue, with what its agent has to run.
pub(crate) fn waiting(placed: &Placed<'_>) -> (Job, BTreeSet<String>) {
    (
        job(placed.build, placed.class.clone()),
        placed.types.clone(),
    )
}

/// Builds that hold an agent. Composite ones do not, and those that go on without theirs do not any more.
pub(crate) fn running(builds: &[Build]) -> Vec<(Job, BTreeSet<String>)> {
    let with_agent = builds
        .iter()
        .filter(|build| !build.composite && !build.detached_from_agent);
    let mut jobs: Vec<_> = with_agent
        .map(|build| {
            let executor = build.agent.as_ref().and_then(named);
            let mut job = job(build, JobClass::Running { executor });
            job.started_at = wire::time(build.start_date.as_ref());
            let estimate = build.running_info.as_ref();
            let seconds = estimate.and_then(|info| info.estimated_total_seconds);
            job.expected = seconds.filter(|s| *s > 0).map(Duration::from_secs);
            (
                job,
                build.of_type().map(str::to_owned).into_iter().collect(),
            )
        })
        .collect();
    jobs.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
    jobs
}

fn named(agent: &AgentLink) -> Option<ExecutorId> {
    agent.name.as_deref().map(ExecutorId::new)
}

fn job(build: &Build, class: JobClass) -> Job {
    let of_type = build
        .of_type()
        .unwrap_or("a build that does not say its type");
    let inner = build.build_type.as_ref();
    let name = inner.and_then(|t| t.name.as_deref()).unwrap_or(of_type);
    let project = build
        .project()
        .or(inner.and_then(|t| t.project_name.as_deref()));
    Job {
        id: JobId::new(build.id.to_string()),
        name: line(name),
        project: project.map(line).unwrap_or_default(),
        requirement: Requirement {
            facts: [(TYPE.to_owned(), vec![line(of_type)])].into(),
            ..Requirement::default()
        },
        queued_at: wire::time(build.queued_date.as_ref()),
        started_at: None,
        expected: None,
        class,
    }
}

/// Whose cordon an agent carries. Taking its authorisation away is a cordon too.
pub(crate) fn cordon(agent: &Agent, fleet: &FleetId) -> Cordon {
    if is_withdrawn(agent, fleet) {
        return Cordon::Foreign;
    }
    mark::cordon(agent.is_enabled(), agent.enabled_words(), fleet)
}

/// Whether a person took the authorisation of an agent away. One that was never authorised has nobody's name on it.
pub(crate) fn is_withdrawn(agent: &Agent, fleet: &FleetId) -> bool {
    let comment = agent.authorized_info.as_ref();
    let by_somebody = comment
        .and_then(|info| info.comment.as_ref())
        .is_some_and(|comment| comment.user.is_some());
    !agent.authorized && by_somebody && !mark::is_removed(agent.owner_words(), fleet)
}

/// Whether TeamCity itself says that an agent is ours.
pub(crate) fn is_marked(agent: &Agent, fleet: &FleetId) -> bool {
    mark::owner(agent.owner_words()).as_ref() == Some(fleet)
        || matches!(cordon(agent, fleet), Cordon::Ours { .. })
}

/// Whether TeamCity itself says that an agent is another fleet's, or about to be: two fleets may have pools of one name.
pub(crate) fn is_of_another(agent: &Agent, fleet: &FleetId) -> bool {
    !is_marked(agent, fleet)
        && [agent.owner_words(), agent.enabled_words()]
            .iter()
            .any(|words| mark::is_of_another(words, fleet))
}

/// What speaks for an agent without a mark being ours.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Claim {
    /// It has the name of a machine of a pool of ours.
    pub(crate) name: bool,
    /// It showed the key of its name, which is a machine's of a pool that is not configured.
    pub(crate) key: bool,
}

/// An agent as an executor; `None` for one of somebody else's that may not run anything.
pub(crate) fn executor(
    agent: &Agent,
    fleet: &FleetId,
    claim: Claim,
    bound: &BTreeMap<String, Vec<JobId>>,
    labels: Vec<String>,
) -> Option<Executor> {
    let owner = mark::owner(agent.owner_words());
    // by its name, while a person keeps it: its machine must not be taken for one whose agent is gone
    let kept = claim.name && owner.is_none() && is_withdrawn(agent, fleet);
    let ours = is_marked(agent, fleet) || kept || claim.key;
    if !ours && !agent.authorized && agent.build.is_none() {
        return None;
    }
    let cordon = match agent.enabled_info {
        Some(_) => cordon(agent, fleet),
        // not told: neither ours nor a person's
        None => Cordon::None,
    };
    Some(Executor {
        id: ExecutorId::new(&*agent.name),
        name: agent.name.clone(),
        fleet: if ours { Some(fleet.clone()) } else { owner },
        labels,
        run_untagged: false,
        protected_only: false,
        slots: 1,
        state: state(agent, fleet, bound),
        cordon,
        health: None,
    })
}

fn state(agent: &Agent, fleet: &FleetId, bound: &BTreeMap<String, Vec<JobId>>) -> ExecutorState {
    let unknown = |why: &str| ExecutorState::Unknown {
        why: why.to_owned(),
    };
    if let Some(held) = &agent.build {
        let jobs = held.id.map(|id| JobId::new(id.to_string()));
        return ExecutorState::Busy {
            jobs: jobs.into_iter().collect(),
        };
    }
    if agent.enabled_info.is_none() {
        return unknown("the token may not see details of agents");
    }
    let since = wire::time(agent.last_activity_time.as_ref());
    if is_withdrawn(agent, fleet) {
        return unknown("a person took its authorisation away");
    }
    let joining = agent.enabled_words() == mark::joining(fleet) && !agent.is_enabled();
    if mark::is_removed(agent.owner_words(), fleet) {
        return ExecutorState::Offline { since };
    }
    if !agent.authorized || joining {
        return ExecutorState::NeverJoined;
    }
    if !agent.connected {
        return ExecutorState::Offline { since };
    }
    if let Some(jobs) = bound.get(&agent.name) {
        // the next build of its chain can run nowhere else
        return ExecutorState::Busy { jobs: jobs.clone() };
    }
    if agent.uptodate == Some(false) {
        return unknown("it is being upgraded, and takes no build until then");
    }
    match &agent.idle_since_time {
        // told of every agent that has no build, whoever may see the build
        None => unknown("it shows no build and does not say since when it is idle"),
        since => ExecutorState::Idle {
            since: wire::time(since.as_ref()),
        },
    }
}

#[cfg(test)]
mod tests {
    use model::Epoch;
    use serde_json::{Value, json};

    use super::*;

    fn fleet() -> FleetId {
        "acme-ci".parse().unwrap()
    }

    const NAMED: Claim = Claim {
        name: true,
        key: false,
    };

    fn agent(change: impl Fn(&mut Value)) -> Agent {
        let mut row = json!({
            "id": 7, "name": "linux-1795531234567-1-0", "connected": true, "enabled": true, "authorized": true, "uptodate": true,
            "idleSinceTime": "20260901T100000+0000", "pool": { "id": 3, "name": "Linux" },
            "enabledInfo": { "status": true }, "authorizedInfo": { "status": true, "comment": { "text": "parmanu-fleet=acme-ci" } },
        });
        change(&mut row);
        serde_json::from_value(row).unwrap()
    }

    fn seen(change: impl Fn(&mut Value)) -> Option<Executor> {
        executor(
            &agent(change),
            &fleet(),
            NAMED,
            &BTreeMap::new(),
            Vec::new(),
        )
    }

    fn state_of(change: impl Fn(&mut Value)) -> ExecutorState {
        seen(change).unwrap().state
    }

    #[test]
    fn each_state_of_an_agent_is_told_apart() {
        let idle = state_of(|_| {});
        let since = "2026-09-01T10:00:00Z".parse().ok();
        assert_eq!(idle, ExecutorState::Idle { since });
        let busy = |jobs: &[&str]| ExecutorState::Busy {
            jobs: jobs.iter().map(|id| JobId::new(*id)).collect(),
        };
        assert_eq!(
            state_of(|row| row["build"] = json!({ "id": 9 })),
            busy(&["9"])
        );
        // a build that may not be seen, on an agent whose details may not be seen
        assert_eq!(
            state_of(|row| {
                row["build"] = json!({});
                row["enabledInfo"] = Value::Null;
            }),
            busy(&[])
        );
        assert!(matches!(
            state_of(|row| row["idleSinceTime"] = Value::Null),
            ExecutorState::Unknown { .. }
        ));
        assert!(matches!(
            state_of(|row| row["enabledInfo"] = Value::Null),
            ExecutorState::Unknown { .. }
        ));
        assert!(matches!(
            state_of(|row| row["uptodate"] = json!(false)),
            ExecutorState::Unknown { .. }
        ));
        assert_eq!(
            state_of(|row| row["authorized"] = json!(false)),
            ExecutorState::NeverJoined
        );
        assert_eq!(
            state_of(|row| row["connected"] = json!(false)),
            ExecutorState::Offline { since: None }
        );
        assert_eq!(
            state_of(
                |row| row["enabledInfo"] = json!({ "status": false, "comment": { "text": "parmanu-joining fleet=acme-ci" } })
            ),
            ExecutorState::NeverJoined
        );
        assert_eq!(
            state_of(|row| {
                row["authorized"] = json!(false);
                row["authorizedInfo"]["comment"]["text"] = json!("parmanu-removed fleet=acme-ci");
            }),
            ExecutorState::Offline { since: None }
        );
        let bound = [(agent(|_| {}).name, vec![JobId::new("4")])].into();
        let held = executor(&agent(|_| {}), &fleet(), NAMED, &bound, Vec::new()).unwrap();
        assert_eq!(held.state, busy(&["4"]));
    }

    #[test]
    fn ours_others_and_who_keeps_them_from_work_are_told_apart() {
        assert_eq!(seen(|_| {}).unwrap().fleet, Some(fleet()));
        let others = |row: &mut Value| row["authorizedInfo"] = json!({ "status": true });
        assert_eq!(seen(others).unwrap().fleet, None);
        // a person keeps it: it stays ours, and is left alone
        let kept = seen(|row| {
            row["authorized"] = json!(false);
            row["authorizedInfo"]["comment"] = json!({ "text": "broken", "user": { "id": 1 } });
        });
        let kept = kept.unwrap();
        assert_eq!((kept.fleet, kept.cordon), (Some(fleet()), Cordon::Foreign));
        // another fleet's that leaves, with a pool of the same name, is kept by nobody
        assert!(
            seen(|row| {
                row["authorized"] = json!(false);
                row["authorizedInfo"]["comment"] =
                    json!({ "text": "parmanu-removed fleet=other", "user": { "id": 1 } });
            })
            .is_none()
        );
        // somebody else's that may not run anything is no capacity
        assert!(
            seen(|row| {
                others(row);
                row["authorized"] = json!(false);
            })
            .is_none()
        );
        let disabled = |words: &str| {
            let words = words.to_owned();
            seen(move |row| {
                row["enabledInfo"] = json!({ "status": false, "comment": { "text": words } });
            })
            .unwrap()
            .cordon
        };
        assert_eq!(disabled("lunch"), Cordon::Foreign);
        assert_eq!(
            disabled("parmanu-cordon fleet=acme-ci epoch=7"),
            Cordon::Ours { epoch: Epoch(7) }
        );
    }

    #[test]
    fn a_running_build_tells_its_agent_its_start_and_its_estimate() {
        let rows = json!([
            { "id": 1, "buildTypeId": "App_Build", "startDate": "20260901T100000+0000", "agent": { "id": 7, "name": "a" },
              "buildType": { "id": "App_Build", "name": "Build", "projectId": "App" }, "running-info": { "estimatedTotalSeconds": 60 } },
            { "id": 2, "composite": true }, { "id": 3, "detachedFromAgent": true }, { "id": 4 },
        ]);
        let builds: Vec<Build> = serde_json::from_value(rows).unwrap();
        let jobs = running(&builds);
        let ids: Vec<&str> = jobs.iter().map(|(job, _)| job.id.as_str()).collect();
        assert_eq!(ids, ["1", "4"]);
        let (first, types) = &jobs[0];
        assert_eq!(
            first.class,
            JobClass::Running {
                executor: Some(ExecutorId::new("a"))
            }
        );
        assert_eq!(
            (first.name.as_str(), first.project.as_str()),
            ("Build", "App")
        );
        assert_eq!(first.expected, Some(Duration::from_secs(60)));
        assert!(types.contains("App_Build") && first.started_at.is_some());
        assert_eq!(jobs[1].0.class, JobClass::Running { executor: None });
    }
}
