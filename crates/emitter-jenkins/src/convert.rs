//! From Jenkins' rows to jobs and executors. Pure, and where most of Jenkins' traps are.
//!
//! - A label is told by `labelExpression` for freestyle jobs, and for all others only by `why`. One matching node: its name
//!   instead of the label. No node at all: nothing. Then the label of an earlier look counts, else what the named node
//!   offers; what still cannot be known is said to be unknown, and the job is reported as fitting no pool.
//! - A pipeline holds a flyweight executor for its whole life, which is no capacity and no work of ours; its `node {}`
//!   blocks are.
//! - A deleted busy node stays listed as a ghost for a while: neither executor nor work.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{
    Cordon, Executor, ExecutorId, ExecutorState, FleetId, Health, Job, JobClass, JobId,
    Requirement, Timestamp,
};

use crate::mark;
use crate::matcher::{LIKE_OTHERS, LIKE_OURS, UNKNOWN};
use crate::why::{self, Why};
use crate::wire::{Computer, Item, Run, Task};

/// The nodes of one look, for finding out what an item asks for.
pub(crate) struct Nodes<'a> {
    /// `None` when they could not be read.
    pub(crate) computers: Option<&'a [Computer]>,
    pub(crate) fleet: &'a FleetId,
}

/// What an item asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asks {
    Label(String),
    NoLabel,
    Like { ours: bool, labels: Vec<String> },
    Unknown(String),
}

impl Nodes<'_> {
    /// Whether any node is registered, the controller and ghosts aside; Jenkins tells no label without one.
    pub(crate) fn any(&self) -> Option<bool> {
        let computers = self.computers?;
        let node = |computer: &Computer| !computer.is_controller() && !computer.is_ghost();
        Some(computers.iter().any(node))
    }

    fn named(&self, name: &str) -> Option<&Computer> {
        let mut computers = self.computers?.iter();
        // old controllers call themselves `master` in texts
        computers.find(|computer| {
            computer.display_name == name || (computer.is_controller() && name == "master")
        })
    }

    /// What taking the place of these nodes would ask for: they all must offer the same. A node that keeps the place of a
    /// pool stands for that pool, unless a node is named beside it that can be had.
    fn like(&self, names: &[String]) -> Asks {
        let keeps_a_place = |name: &&String| mark::is_placeholder(self.fleet, name);
        let mut names: Vec<&String> = names.iter().collect();
        if !names.iter().all(keeps_a_place) {
            names.retain(|name| !keeps_a_place(name));
        }
        let mut offered: Option<Asks> = None;
        for name in names {
            let Some(node) = self.named(name) else {
                return Asks::Unknown(format!(
                    "Jenkins says only that it waits for ‘{name}’, which is no node now"
                ));
            };
            let labels = node.labels();
            if labels.is_empty() || node.is_controller() {
                return Asks::Unknown(format!(
                    "Jenkins names the node ‘{name}’ instead of the label, and that node tells nothing of it"
                ));
            }
            let ours = is_ours(node, self.fleet) || mark::is_placeholder(self.fleet, name);
            let this = Asks::Like { ours, labels };
            if offered.as_ref().is_some_and(|before| *before != this) {
                return Asks::Unknown(
                    "Jenkins names several nodes instead of the label, and they differ".to_owned(),
                );
            }
            offered = Some(this);
        }
        offered.unwrap_or_else(|| Asks::Unknown("Jenkins says nothing of its label".to_owned()))
    }

    fn asks(&self, item: &Item, task: &Task, remembered: Option<&String>) -> Asks {
        if let Some(expression) = &task.label_expression {
            return Asks::Label(expression.clone());
        }
        let known = || remembered.cloned().map(Asks::Label);
        let words = item.why.as_deref().unwrap_or("");
        match why::read(words) {
            Why::Label(label) => Asks::Label(label),
            Why::NodeOrLabel(name) if self.computers.is_some() && self.named(&name).is_none() => {
                Asks::Label(name)
            }
            Why::NodeOrLabel(name) => known().unwrap_or_else(|| self.like(&[name])),
            Why::Nodes(names) => known().unwrap_or_else(|| self.like(&names)),
            Why::NoLabel => Asks::NoLabel,
            // a freestyle job whose field is empty has no label, whatever the texts leave out
            _ if task.tells_its_label() => known().unwrap_or(Asks::NoLabel),
            Why::Untold if self.any() == Some(true) => known().unwrap_or(Asks::NoLabel),
            Why::Untold => known().unwrap_or_else(|| {
                Asks::Unknown(
                    "Jenkins tells no label while no node is registered: keep one permanent node, which may be offline"
                        .to_owned(),
                )
            }),
            Why::ShuttingDown => {
                known().unwrap_or_else(|| Asks::Unknown("Jenkins is about to shut down".to_owned()))
            }
            Why::Unread => known().unwrap_or_else(|| {
                Asks::Unknown(
                    "what Jenkins says of its wait is not understood: is it in another language than English?".to_owned(),
                )
            }),
        }
    }
}

/// The queue as jobs. `remembered` holds the label of each item id as far as it was ever told, and is brought up to date.
pub(crate) fn queued(
    items: &[Item],
    nodes: &Nodes<'_>,
    remembered: &mut BTreeMap<u64, String>,
) -> Vec<Job> {
    let mut kept = BTreeMap::new();
    let mut jobs = Vec::new();
    for item in items {
        let absent = Task::default();
        let task = item.task.as_ref().unwrap_or(&absent);
        let asks = nodes.asks(item, task, remembered.get(&item.id));
        if let Asks::Label(label) = &asks {
            kept.insert(item.id, label.clone());
        }
        let (project, name) = names(task.url.as_deref(), task.is_step())
            .or_else(|| Some((String::new(), task.full_display_name.clone()?)))
            .or_else(|| Some((String::new(), task.name.clone()?)))
            .unwrap_or_else(|| (String::new(), "(a job without a name)".to_owned()));
        let since = item.buildable_start_milliseconds.or(item.in_queue_since);
        jobs.push(Job {
            id: JobId::new(item.id.to_string()),
            name,
            project,
            class: class(item, task),
            requirement: requirement(asks),
            queued_at: since.and_then(moment),
            started_at: None,
            expected: None,
        });
    }
    *remembered = kept;
    jobs
}

fn class(item: &Item, task: &Task) -> JobClass {
    let words = item.why.clone().unwrap_or_default();
    let blocked = |by: String| JobClass::Blocked {
        by,
        parents: Vec::new(),
    };
    if !item.buildable && !item.blocked {
        return match item.timestamp.and_then(moment) {
            Some(at) => JobClass::Scheduled { at },
            None => blocked(words),
        };
    }
    if item.blocked || task.is_pipeline() || why::read(&words) == Why::ShuttingDown {
        return blocked(words);
    }
    if item.pending {
        // an executor was picked already
        return JobClass::Running { executor: None };
    }
    JobClass::Runnable
}

fn requirement(asks: Asks) -> Requirement {
    let (expression, fact) = match asks {
        Asks::Label(label) => (Some(label), None),
        Asks::NoLabel => (None, None),
        Asks::Like { ours: true, labels } => (None, Some((LIKE_OURS, labels))),
        Asks::Like {
            ours: false,
            labels,
        } => (None, Some((LIKE_OTHERS, labels))),
        Asks::Unknown(words) => (None, Some((UNKNOWN, vec![words]))),
    };
    Requirement {
        expression: expression.filter(|label| !label.trim().is_empty()),
        facts: fact
            .into_iter()
            .map(|(key, words)| (key.to_owned(), words))
            .collect(),
        ..Requirement::default()
    }
}

/// Whether any job waits for an executor and nobody knows for which.
pub(crate) fn any_unknown(jobs: &[Job]) -> bool {
    jobs.iter()
        .any(|job| job.class == JobClass::Runnable && job.requirement.facts.contains_key(UNKNOWN))
}

/// The builds on the agents' executors.
pub(crate) fn running(computers: &[Computer]) -> Vec<Job> {
    let agents = computers
        .iter()
        .filter(|computer| !computer.is_controller() && !computer.is_ghost());
    let runs = agents.flat_map(|computer| {
        held(computer).map(|(number, run)| build(run, &computer.display_name, number))
    });
    runs.collect()
}

/// What the executors of a node run, with their numbers.
fn held(computer: &Computer) -> impl Iterator<Item = (i64, &Run)> {
    (0i64..)
        .zip(&computer.executors)
        .filter_map(|(place, slot)| Some((slot.number.unwrap_or(place), slot.run()?)))
}

/// The id of what runs: its queue item's, which only builds of jobs tell; a pipeline step is told apart by its place.
fn run_id(run: &Run, node: &str, number: i64) -> JobId {
    match run.queue_id {
        Some(id) => JobId::new(id.to_string()),
        None => JobId::new(format!(
            "{}@{node}/{number}",
            run.url.as_deref().unwrap_or("?")
        )),
    }
}

fn build(run: &Run, node: &str, number: i64) -> Job {
    let (project, name) = names(run.url.as_deref(), true)
        .or_else(|| Some((String::new(), run.full_display_name.clone()?)))
        .unwrap_or_else(|| (String::new(), "(a hidden build)".to_owned()));
    let expected = run.estimated_duration.and_then(|ms| u64::try_from(ms).ok());
    Job {
        id: run_id(run, node, number),
        name,
        project,
        // where it runs is known; on a node of somebody else it is nobody's demand
        requirement: requirement(Asks::Unknown("it runs on another node".to_owned())),
        queued_at: None,
        started_at: run.timestamp.and_then(moment),
        expected: expected.map(Duration::from_millis),
        class: JobClass::Running {
            executor: Some(ExecutorId::new(node)),
        },
    }
}

/// Folder and name out of `…/job/team/job/pipe/1/`; the address is not the one we asked, so only its path counts.
fn names(url: Option<&str>, run: bool) -> Option<(String, String)> {
    let parts: Vec<&str> = url?.split('/').filter(|part| !part.is_empty()).collect();
    let first = parts.iter().position(|part| *part == "job")?;
    let mut names: Vec<String> = Vec::new();
    let mut rest = parts[first..].iter();
    while rest.next() == Some(&"job") {
        names.push(decode(rest.next()?));
    }
    let _the_number_of_the_run = run;
    let name = names.pop()?;
    Some((names.join("/"), name))
}

fn decode(part: &str) -> String {
    let query = part
        .replace('+', "%2B")
        .replace('&', "%26")
        .replace('=', "%3D");
    url::form_urlencoded::parse(query.as_bytes())
        .next()
        .map_or_else(|| part.to_owned(), |(text, _)| text.into_owned())
}

/// The nodes as executors: without the controller, ghosts and our own placeholders.
pub(crate) fn executors(
    computers: &[Computer],
    fleet: &FleetId,
    session: Option<&str>,
) -> Vec<Executor> {
    computers
        .iter()
        .filter(|computer| !computer.is_controller() && !computer.is_ghost())
        .filter(|computer| !mark::is_placeholder(fleet, &computer.display_name))
        .map(|computer| executor(computer, fleet, session))
        .collect()
}

fn executor(computer: &Computer, fleet: &FleetId, session: Option<&str>) -> Executor {
    let owner = mark::owner(computer.description.as_deref().unwrap_or(""));
    let reason = computer.offline_cause_reason.as_deref().unwrap_or("");
    Executor {
        id: ExecutorId::new(&*computer.display_name),
        name: computer.display_name.clone(),
        state: state(computer, session, owner.as_ref()),
        fleet: owner.map(|owner| owner.fleet),
        labels: computer.labels(),
        run_untagged: false,
        protected_only: false,
        slots: computer.num_executors,
        cordon: mark::cordon(computer.temporarily_offline, reason, fleet),
        health: computer.memory_free().map(|free| Health {
            memory_free: Some(free),
            load_milli: None,
        }),
    }
}

fn state(computer: &Computer, session: Option<&str>, owner: Option<&mark::Owner>) -> ExecutorState {
    // `idle` looks at flyweight executors too; an executor alone may be idle while its node is not
    if !computer.idle || computer.held() > 0 {
        let jobs = held(computer);
        let mut jobs: Vec<JobId> = jobs
            .map(|(number, run)| run_id(run, &computer.display_name, number))
            .collect();
        jobs.sort();
        jobs.dedup();
        return ExecutorState::Busy { jobs };
    }
    if computer.is_connected() {
        return ExecutorState::Idle { since: None };
    }
    if has_never_joined(computer, session, owner) {
        return ExecutorState::NeverJoined;
    }
    let since = computer.offline_cause.as_ref();
    ExecutorState::Offline {
        since: since.and_then(|cause| moment(cause.timestamp?)),
    }
}

/// Without a reason for being offline nobody was ever connected, but only as long as the controller was not started anew:
/// then it has forgotten all reasons.
pub(crate) fn has_never_joined(
    computer: &Computer,
    session: Option<&str>,
    owner: Option<&mark::Owner>,
) -> bool {
    let made_in = owner.and_then(|owner| owner.session.as_deref());
    !computer.is_connected()
        && computer.offline_cause.is_none()
        && session.is_some()
        && session == made_in
}

/// Whether a node carries this fleet's mark.
pub(crate) fn is_ours(computer: &Computer, fleet: &FleetId) -> bool {
    mark::owner(computer.description.as_deref().unwrap_or(""))
        .is_some_and(|owner| owner.fleet == *fleet)
}

/// Who keeps a node from taking work.
pub(crate) fn cordon(computer: &Computer, fleet: &FleetId) -> Cordon {
    let reason = computer.offline_cause_reason.as_deref().unwrap_or("");
    mark::cordon(computer.temporarily_offline, reason, fleet)
}

fn moment(ms: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(ms).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::wire;

    const STEP: &str =
        "org.jenkinsci.plugins.workflow.support.steps.ExecutorStepExecution$PlaceholderTask";

    fn fleet() -> FleetId {
        "acme-ci".parse().unwrap()
    }

    // The rows have the shape of answers recorded from Jenkins 2.263.4 and 2.446, with values of our own.

    fn computer(name: &str, labels: &[&str], change: Value) -> Computer {
        let mut labels: Vec<Value> = labels.iter().map(|l| json!({ "name": l })).collect();
        labels.push(json!({ "name": name }));
        let mut row = json!({
            "_class": "hudson.slaves.SlaveComputer", "assignedLabels": labels, "description": null,
            "displayName": name, "executors": [{ "currentExecutable": null, "idle": true, "number": 0 }],
            "idle": true, "numExecutors": 1, "offline": false, "offlineCause": null,
            "offlineCauseReason": "", "oneOffExecutors": [], "temporarilyOffline": false,
            "absoluteRemotePath": "/home/ci",
        });
        for (key, value) in change.as_object().unwrap() {
            row[key] = value.clone();
        }
        serde_json::from_value(row).unwrap()
    }

    fn controller() -> Computer {
        let class = json!({ "_class": "hudson.model.Hudson$MasterComputer", "numExecutors": 0, "executors": [] });
        computer("Built-In Node", &["built-in"], class)
    }

    fn item(id: u64, class: &str, why: &str, label: Option<&str>) -> Item {
        serde_json::from_value(json!({
            "_class": "hudson.model.Queue$BuildableItem", "blocked": false, "buildable": true,
            "id": id, "inQueueSince": 1_795_319_996_026_i64, "why": why, "pending": false,
            "buildableStartMilliseconds": 1_795_319_996_041_i64,
            "task": { "_class": class, "labelExpression": label, "url": "job/team/job/sub/job/pipe/1/" },
        }))
        .unwrap()
    }

    fn asks(computers: &[Computer], item: Item) -> (Option<String>, Vec<String>) {
        let mut remembered = BTreeMap::new();
        asks_again(computers, item, &mut remembered)
    }

    fn asks_again(
        computers: &[Computer],
        item: Item,
        remembered: &mut BTreeMap<u64, String>,
    ) -> (Option<String>, Vec<String>) {
        let fleet = fleet();
        let nodes = Nodes {
            computers: Some(computers),
            fleet: &fleet,
        };
        let jobs = queued(&[item], &nodes, remembered);
        let requirement = jobs[0].requirement.clone();
        let facts = requirement.facts.into_iter();
        let facts = facts.map(|(key, words)| format!("{key}: {}", words.join(" ")));
        (requirement.expression, facts.collect())
    }

    fn label(label: &str) -> (Option<String>, Vec<String>) {
        (Some(label.to_owned()), Vec::new())
    }

    #[test]
    fn a_freestyle_job_tells_its_label_and_a_step_is_known_by_why() {
        let nodes = [controller(), computer("vm-1", &["linux"], json!({}))];
        let freestyle = "hudson.model.FreeStyleProject";
        let waiting = "Waiting for next available executor";
        assert_eq!(
            asks(
                &nodes,
                item(1, freestyle, "‘vm-1’ is offline", Some("a && b"))
            ),
            label("a && b")
        );
        assert_eq!(
            asks(&nodes, item(1, freestyle, waiting, None)),
            (None, vec![])
        );
        let none = "There are no nodes with the label ‘vm-linux&&big’";
        assert_eq!(
            asks(&nodes, item(1, STEP, none, None)),
            label("vm-linux&&big")
        );
        let on = "Waiting for next available executor on ‘linux’";
        assert_eq!(asks(&nodes, item(1, STEP, on, None)), label("linux"));
    }

    #[test]
    fn the_one_matching_node_stands_for_its_labels() {
        let ours = json!({ "description": "parmanu-fleet=acme-ci session=1" });
        let nodes = [
            controller(),
            computer("vm-1", &["linux", "docker"], ours),
            computer("mac", &["macos"], json!({})),
        ];
        for why in [
            "‘vm-1’ is offline",
            "Waiting for next available executor on ‘vm-1’",
        ] {
            let (_, facts) = asks(&nodes, item(1, STEP, why, None));
            assert_eq!(facts, ["like-our-node: docker linux"]);
        }
        let (_, facts) = asks(&nodes, item(1, STEP, "‘mac’ is offline", None));
        assert_eq!(facts, ["like-node: macos"]);
    }

    #[test]
    fn a_node_that_keeps_the_place_of_a_pool_stands_for_the_pool() {
        let ours = json!({ "description": "parmanu-fleet=acme-ci session=1" });
        let nodes = [
            controller(),
            computer(
                "parmanu-placeholder-acme-ci-linux",
                &["linux", "docker"],
                json!({}),
            ),
            computer("vm-1", &["gpu"], ours),
        ];
        let kept = "‘parmanu-placeholder-acme-ci-linux’ is offline";
        for (why, like) in [
            (kept.to_owned(), "like-our-node: docker linux"),
            (format!("{kept}; ‘vm-1’ is offline"), "like-our-node: gpu"),
        ] {
            assert_eq!(asks(&nodes, item(1, STEP, &why, None)).1, [like], "{why}");
        }
        assert_eq!(executors(&nodes, &fleet(), None).len(), 1);
    }

    #[test]
    fn an_item_whose_label_cannot_be_known_says_so() {
        let nodes = [
            controller(),
            computer("vm-1", &["linux"], json!({})),
            computer("vm-2", &["mac"], json!({})),
            computer("bare", &[], json!({})),
        ];
        let matrix = "hudson.matrix.MatrixConfiguration";
        for (computers, class, why, words) in [
            (
                &nodes[..1],
                STEP,
                "Waiting for next available executor",
                "no node is registered",
            ),
            (
                &nodes[..1],
                matrix,
                "Waiting for next available executor",
                "no node is registered",
            ),
            (
                &nodes,
                STEP,
                "Waiting for next available executor on ‘Built-In Node’",
                "tells nothing",
            ),
            (
                &nodes,
                STEP,
                "Waiting for next available executor on ‘master’",
                "tells nothing",
            ),
            (&nodes, STEP, "‘bare’ is offline", "tells nothing"),
            (&nodes, STEP, "‘gone’ is offline", "no node now"),
            (
                &nodes,
                STEP,
                "‘vm-1’ is offline; ‘vm-2’ is offline",
                "they differ",
            ),
            (&nodes, STEP, "Warte auf vm-1", "another language"),
        ] {
            let (expression, facts) = asks(computers, item(1, class, why, None));
            assert_eq!(expression, None);
            assert!(facts[0].contains(words), "{why}: {facts:?}");
        }
        // with a node, the same text means that there is no label
        assert_eq!(
            asks(
                &nodes,
                item(1, STEP, "Waiting for next available executor", None)
            ),
            (None, vec![])
        );
    }

    #[test]
    fn the_label_of_an_item_is_remembered_while_its_text_changes() {
        let nodes = [controller(), computer("vm-1", &["linux", "x"], json!({}))];
        let mut remembered = BTreeMap::new();
        for why in [
            "There are no nodes with the label ‘linux&&!y’",
            "‘vm-1’ is offline",
            "Waiting for next available executor",
            "Waiting for next available executor on ‘vm-1’",
        ] {
            let asked = asks_again(&nodes, item(6, STEP, why, None), &mut remembered);
            assert_eq!(asked, label("linux&&!y"), "{why}");
        }
        // forgotten with its item
        asks_again(
            &nodes,
            item(7, STEP, "‘vm-1’ is offline", None),
            &mut remembered,
        );
        assert!(remembered.is_empty());
    }

    #[test]
    fn only_buildable_items_are_demand() {
        let class_of = |change: Value| {
            let mut row = json!({ "id": 1, "why": "x", "blocked": false, "buildable": true, "task": { "_class": STEP } });
            for (key, value) in change.as_object().unwrap() {
                row[key] = value.clone();
            }
            let item: Item = serde_json::from_value(row).unwrap();
            class(&item, item.task.as_ref().unwrap())
        };
        assert_eq!(class_of(json!({})), JobClass::Runnable);
        assert_eq!(
            class_of(json!({ "pending": true })),
            JobClass::Running { executor: None }
        );
        let quiet = class_of(json!({ "buildable": false, "timestamp": 5_000 }));
        assert_eq!(
            quiet,
            JobClass::Scheduled {
                at: Timestamp::from_second(5).unwrap()
            }
        );
        for blocked in [
            json!({ "buildable": false, "blocked": true }),
            json!({ "why": "Jenkins is about to shut down" }),
            json!({ "task": { "_class": "org.jenkinsci.plugins.workflow.job.WorkflowJob" } }),
        ] {
            assert!(matches!(class_of(blocked), JobClass::Blocked { .. }));
        }
    }

    #[test]
    fn folders_are_the_project() {
        for (url, project, name) in [
            ("http://x:1/jenkins/job/team/job/a%20b/", "team", "a b"),
            ("job/team/job/sub/job/pipe/12/", "team/sub", "pipe"),
            ("/job/pipe/1/", "", "pipe"),
        ] {
            assert_eq!(
                names(Some(url), true),
                Some((project.to_owned(), name.to_owned()))
            );
        }
        assert_eq!(names(Some("http://x/"), false), None);
    }

    fn state_of(change: Value) -> ExecutorState {
        let mut with = json!({ "description": "parmanu-fleet=acme-ci session=1" });
        for (key, value) in change.as_object().unwrap() {
            with[key] = value.clone();
        }
        executors(&[computer("vm-1", &["linux"], with)], &fleet(), Some("1"))[0]
            .state
            .clone()
    }

    #[test]
    fn a_node_is_busy_when_anything_runs_on_it() {
        assert!(matches!(state_of(json!({})), ExecutorState::Idle { .. }));
        // the parent of a matrix: the executor is idle, the node is not
        let flyweight = json!({ "idle": false, "oneOffExecutors": [{ "idle": false }] });
        assert_eq!(state_of(flyweight), ExecutorState::Busy { jobs: vec![] });
        let run = json!({ "url": "job/pipe/1/", "number": 1 });
        let step = json!({ "idle": false, "executors": [{ "currentExecutable": run, "idle": false, "number": 0 }] });
        let id = JobId::new("job/pipe/1/@vm-1/0");
        assert_eq!(state_of(step), ExecutorState::Busy { jobs: vec![id] });
    }

    #[test]
    fn a_node_has_never_joined_only_in_the_session_in_which_it_was_made() {
        let away = json!({ "offline": true, "absoluteRemotePath": null });
        assert_eq!(state_of(away.clone()), ExecutorState::NeverJoined);
        let mut other = away.clone();
        other["description"] = json!("parmanu-fleet=acme-ci session=0");
        assert_eq!(state_of(other), ExecutorState::Offline { since: None });
        let mut lost = away;
        lost["offlineCause"] = json!({ "timestamp": 5_000 });
        let since = Timestamp::from_second(5).ok();
        assert_eq!(state_of(lost), ExecutorState::Offline { since });
        // cordoned and connected is idle
        let drained = json!({ "offline": true, "temporarilyOffline": true });
        assert!(matches!(state_of(drained), ExecutorState::Idle { .. }));
    }

    #[test]
    fn free_memory_is_told_where_jenkins_measured_it() {
        let told = |data: Value| {
            let node = computer("vm-1", &["linux"], json!({ "monitorData": data }));
            let health = executors(&[node], &fleet(), None)[0].health;
            health.map(|health| (health.memory_free, health.load_milli))
        };
        let swap = |data: Value| json!({ "hudson.node_monitors.SwapSpaceMonitor": data });
        // in the shape of an answer recorded from Jenkins 2.446
        let measured = swap(
            json!({ "_class": "hudson.node_monitors.SwapSpaceMonitor$MemoryUsage2", "availablePhysicalMemory": 482_213_888 }),
        );
        assert_eq!(told(measured), Some((Some(482_213_888), None)));
        for odd in [
            Value::Null,
            json!({}),
            json!("x"),
            swap(Value::Null),
            swap(json!({ "availablePhysicalMemory": -1 })),
            swap(json!({ "availablePhysicalMemory": "much" })),
        ] {
            assert_eq!(told(odd.clone()), None, "{odd}");
        }
    }

    #[test]
    fn ghosts_and_the_controller_are_no_executors() {
        let ghost = json!({ "assignedLabels": [], "numExecutors": 0, "idle": false,
            "executors": [{ "idle": false, "currentExecutable": { "url": "job/a/1/" } }] });
        let computers = [controller(), computer("vm-1", &[], ghost)];
        assert_eq!(executors(&computers, &fleet(), None), []);
        assert_eq!(running(&computers), []);
        let fleet = fleet();
        let nodes = Nodes {
            computers: Some(&computers),
            fleet: &fleet,
        };
        assert_eq!(nodes.any(), Some(false));
    }

    #[test]
    fn a_row_of_another_shape_is_counted() {
        let item = |id: Value| json!({ "id": id, "blocked": false, "buildable": true });
        let mut without_task = item(json!(2));
        without_task["task"] = Value::Null;
        let rows = [
            item(json!(1)),
            item(json!("x")),
            json!(7),
            item(json!(-1)),
            json!({ "id": 3 }),
            without_task,
        ];
        let mut body = json!({ "items": rows });
        let (rows, bad) = wire::rows::<Item>(&mut body, "items").unwrap();
        assert_eq!((rows.len(), bad), (2, 4));
        assert!(wire::rows::<Item>(&mut json!({ "items": {} }), "items").is_none());
    }
}
