//! The state, and what happens inside a controller without anybody asking over HTTP.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::fault::Fault;
use crate::label::satisfies;

/// What a user may do, by the names Jenkins gives its permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the permission of that name")]
pub struct Rights {
    pub overall_read: bool,
    pub job_read: bool,
    pub agent_create: bool,
    pub agent_connect: bool,
    pub agent_disconnect: bool,
    pub agent_delete: bool,
}

impl Rights {
    /// Everything an autoscaler needs.
    pub const ALL: Self = Self {
        overall_read: true,
        job_read: true,
        agent_create: true,
        agent_connect: true,
        agent_disconnect: true,
        agent_delete: true,
    };
    /// What looking needs.
    pub const READ: Self = Self {
        agent_create: false,
        agent_connect: false,
        agent_disconnect: false,
        agent_delete: false,
        ..Self::ALL
    };
}

/// Why a node is offline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfflineCause {
    /// The Java class.
    pub class: &'static str,
    /// Its words.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// What one executor holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// The queue item it came from.
    pub item: u64,
    /// False while it was handed over and has not begun: busy, and nobody can see with what.
    pub begun: bool,
    /// When it began.
    pub since: Timestamp,
    pub(crate) task: Task,
}

/// One node and its computer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Labels beside its own name.
    pub labels: Vec<String>,
    /// Its description.
    pub description: String,
    /// One for each executor.
    pub executors: Vec<Option<Work>>,
    /// Flyweight work, such as the parent of a matrix.
    pub one_offs: u32,
    /// Whether it refuses work that asks for no label.
    pub exclusive: bool,
    /// Whether an agent is connected.
    pub connected: bool,
    /// Kept from taking work.
    pub temporarily_offline: bool,
    /// Why.
    pub cause: Option<OfflineCause>,
    /// A cordon that a restart lifted, and that comes back with the agent.
    pub(crate) kept_cause: Option<OfflineCause>,
    /// Deleted while busy: listed until its work has ended.
    pub ghost: bool,
    /// Bytes of memory that were free when it was last measured.
    pub memory_free: Option<u64>,
}

impl Node {
    /// Whether it takes work.
    pub fn online(&self) -> bool {
        self.connected && !self.temporarily_offline && !self.ghost
    }

    /// Whether nothing runs on it.
    pub fn idle(&self) -> bool {
        self.one_offs == 0 && self.executors.iter().all(Option::is_none)
    }
}

/// What kind of task an item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// A freestyle project: exports its label expression.
    Freestyle {
        /// Full name, with folders divided by `/`.
        name: String,
        /// What it is restricted to.
        label: Option<String>,
    },
    /// A matrix configuration: has a label, and does not export it.
    Matrix {
        /// Full name.
        name: String,
        /// The assigned label.
        label: Option<String>,
    },
    /// A `node('label') {}` of a pipeline.
    Step {
        /// Full name of the pipeline.
        name: String,
        /// Number of its run.
        run: u64,
        /// The label of the block.
        label: Option<String>,
    },
    /// A pipeline itself, which needs no agent.
    Pipeline {
        /// Full name.
        name: String,
    },
}

impl Task {
    pub(crate) fn label(&self) -> Option<&str> {
        match self {
            Task::Freestyle { label, .. }
            | Task::Matrix { label, .. }
            | Task::Step { label, .. } => label.as_deref(),
            Task::Pipeline { .. } => None,
        }
    }
}

/// Where an item stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// In the quiet period until then.
    Waiting(Timestamp),
    /// For this reason.
    Blocked(String),
    /// Waits for an executor.
    Buildable,
}

/// Who may see an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Who may read jobs.
    Readable,
    /// Only its name, for everybody.
    Discoverable,
    /// Nobody.
    Hidden,
}

/// One entry of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its id, kept through all stages.
    pub id: u64,
    /// What it is.
    pub task: Task,
    /// Where it stands.
    pub stage: Stage,
    /// Who may see it.
    pub sight: Sight,
    /// When it was queued.
    pub since: Timestamp,
}

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The queue item it came from.
    pub item: u64,
    /// Where it ran.
    pub node: String,
    /// Whether it was left to end by itself.
    pub whole: bool,
}

/// A controller.
#[derive(Debug)]
pub struct Jenkins {
    /// Its own address, as it is configured.
    pub base: String,
    /// Answers 503 with a page, as at start-up.
    pub starting: bool,
    /// Is about to shut down.
    pub quieting: bool,
    /// Answers `why` in German, whatever is asked for.
    pub german: bool,
    /// An old one: another name for the JNLP file.
    pub old: bool,
    /// The version it tells.
    pub version: &'static str,
    /// Changes with each restart.
    pub session: u32,
    /// The agents' nodes.
    pub nodes: BTreeMap<String, Node>,
    /// The queue.
    pub items: Vec<Item>,
    /// Full names of all jobs.
    pub jobs: BTreeSet<String>,
    /// Every build that ended.
    pub ended: Vec<Ended>,
    /// Requests by `METHOD path`.
    pub requests: Vec<String>,
    pub(crate) users: BTreeMap<String, (String, Rights)>,
    pub(crate) faults: Vec<Fault>,
    next: u64,
}

impl Default for Jenkins {
    fn default() -> Self {
        Self::new()
    }
}

impl Jenkins {
    /// A controller without executors, nodes and jobs.
    pub fn new() -> Self {
        Self {
            base: "http://jenkins".to_owned(),
            starting: false,
            quieting: false,
            german: false,
            old: false,
            version: "2.446",
            session: 1,
            nodes: BTreeMap::new(),
            items: Vec::new(),
            jobs: BTreeSet::new(),
            ended: Vec::new(),
            requests: Vec::new(),
            users: BTreeMap::new(),
            faults: Vec::new(),
            next: 0,
        }
    }

    /// Lets a user in with an API token; again: changes his rights.
    pub fn grant(&mut self, user: &str, token: &str, rights: Rights) {
        self.users
            .insert(user.to_owned(), (token.to_owned(), rights));
    }

    /// Orders a fault.
    pub fn inject(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Queues a task that waits for an executor.
    pub fn push(&mut self, task: Task, now: Timestamp) -> u64 {
        self.next += 1;
        let (Task::Freestyle { name, .. }
        | Task::Matrix { name, .. }
        | Task::Step { name, .. }
        | Task::Pipeline { name }) = &task;
        self.jobs.insert(name.clone());
        self.items.push(Item {
            id: self.next,
            task,
            stage: Stage::Buildable,
            sight: Sight::Readable,
            since: now,
        });
        self.next
    }

    /// One entry of the queue.
    pub fn item_mut(&mut self, id: u64) -> Option<&mut Item> {
        self.items.iter_mut().find(|item| item.id == id)
    }

    /// Adds a node that somebody set up by hand.
    pub fn add_node(&mut self, name: &str, labels: &[&str], slots: usize) {
        let node = Node {
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            description: String::new(),
            executors: vec![None; slots],
            one_offs: 0,
            exclusive: true,
            connected: false,
            temporarily_offline: false,
            cause: None,
            kept_cause: None,
            ghost: false,
            memory_free: None,
        };
        self.nodes.insert(name.to_owned(), node);
    }

    /// The agent of a node connects with its secret; a wrong one is refused.
    pub fn connect(&mut self, name: &str, secret: &str) -> bool {
        let right = self.secret(name) == secret;
        let Some(node) = self.nodes.get_mut(name) else {
            return false;
        };
        if !right || node.ghost {
            return false;
        }
        node.connected = true;
        // a cordon that a restart lifted is back as soon as the agent is
        if let Some(cause) = node.kept_cause.take() {
            node.temporarily_offline = true;
            node.cause = Some(cause);
        }
        if !node.temporarily_offline {
            node.cause = None;
        }
        true
    }

    /// The connection of a node ends.
    pub fn disconnect(&mut self, name: &str, now: Timestamp) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.connected = false;
            if !node.temporarily_offline {
                node.cause = Some(OfflineCause {
                    class: "hudson.slaves.OfflineCause$ChannelTermination",
                    message: "Connection was broken".to_owned(),
                    at: now,
                });
            }
        }
    }

    /// The machine of a node is gone: what it ran ends at once, and so does its connection.
    pub fn kill(&mut self, name: &str, now: Timestamp) {
        let node = self.nodes.get(name);
        let held = node.map(|node| node.executors.iter().flatten().map(|work| work.item));
        for item in held.into_iter().flatten().collect::<Vec<_>>() {
            self.end(item, false);
        }
        self.disconnect(name, now);
    }

    /// The controller starts anew: no cordon and no connection until the agents are back, and other sessions.
    pub fn restart(&mut self) {
        self.session += 1;
        self.nodes.retain(|_, node| !node.ghost);
        for node in self.nodes.values_mut() {
            node.connected = false;
            if node.temporarily_offline {
                node.kept_cause = node.cause.take();
            }
            node.temporarily_offline = false;
            node.cause = None;
        }
    }

    /// The secret of a node: made of its name, so the same name has the same one.
    pub fn secret(&self, name: &str) -> String {
        name.bytes()
            .cycle()
            .take(32)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Hands every buildable item to an executor that may take it, oldest first.
    pub fn dispatch(&mut self, now: Timestamp) {
        let ids: Vec<u64> = self.items.iter().map(|item| item.id).collect();
        for id in ids {
            let free = self.nodes.iter().find(|(name, node)| {
                node.online()
                    && node.executors.contains(&None)
                    && self.may_take(id, name)
                    && !self.quieting
            });
            if let Some(name) = free.map(|(name, _)| name.clone()) {
                self.start(id, &name, now);
            }
        }
    }

    /// The scheduler gives a node the oldest item it may take, though it was cordoned after the scheduler had looked.
    pub fn hand_out_late(&mut self, name: &str, now: Timestamp) -> Option<u64> {
        let id = self
            .items
            .iter()
            .map(|item| item.id)
            .find(|id| self.may_take(*id, name))?;
        self.start(id, name, now).then_some(id)
    }

    fn may_take(&self, id: u64, name: &str) -> bool {
        let item = self.items.iter().find(|item| item.id == id);
        let Some((item, node)) = item.zip(self.nodes.get(name)) else {
            return false;
        };
        item.stage == Stage::Buildable
            && !matches!(item.task, Task::Pipeline { .. })
            && match item.task.label() {
                Some(label) => matches(name, node, label),
                None => !node.exclusive,
            }
    }

    /// The item runs on this node from now on, whatever stands against it.
    pub fn start(&mut self, id: u64, name: &str, now: Timestamp) -> bool {
        self.hold(id, name, true, now)
    }

    /// The item is given to an executor that has not begun with it.
    pub fn promise(&mut self, id: u64, name: &str, now: Timestamp) -> bool {
        self.hold(id, name, false, now)
    }

    fn hold(&mut self, id: u64, name: &str, begun: bool, now: Timestamp) -> bool {
        let Some(place) = self.items.iter().position(|item| item.id == id) else {
            return false;
        };
        let node = self.nodes.get_mut(name);
        let Some(free) = node.and_then(|node| node.executors.iter_mut().find(|e| e.is_none()))
        else {
            return false;
        };
        let item = self.items.remove(place);
        *free = Some(Work {
            item: id,
            begun,
            since: now,
            task: item.task,
        });
        true
    }

    /// A build ends by itself.
    pub fn finish(&mut self, id: u64) -> bool {
        self.end(id, true)
    }

    pub(crate) fn end(&mut self, id: u64, whole: bool) -> bool {
        for (name, node) in &mut self.nodes {
            let holds = |held: &Option<Work>| held.as_ref().is_some_and(|work| work.item == id);
            if let Some(held) = node.executors.iter_mut().find(|held| holds(held)) {
                *held = None;
                self.ended.push(Ended {
                    item: id,
                    node: name.clone(),
                    whole,
                });
                return true;
            }
        }
        false
    }

    /// What was left of deleted nodes goes.
    pub fn clear_ghosts(&mut self) {
        self.nodes.retain(|_, node| !node.ghost);
    }
}

/// Whether a node satisfies a label expression. Its own name is a label of it.
pub(crate) fn matches(name: &str, node: &Node, expression: &str) -> bool {
    !node.ghost
        && satisfies(expression, &|label| {
            label == name || node.labels.iter().any(|has| has == label)
        })
}
