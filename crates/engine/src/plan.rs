//! What to do: actions on *named* machines, and why.
//!
//! A plan leaves no choice to the actuator, so acting twice is acting once. One [`std::fmt::Display`] serves the log,
//! `parmanu plan` and the snapshots.

use std::fmt;

use model::{
    BatchId, Epoch, ExecutorRef, InstanceName, Intent, IntentKey, LeaveStep, OfferId, PoolMemory,
    PoolName, ProviderName,
};
use serde::{Deserialize, Serialize};

use crate::reason::{Reason, count};

/// What to do next for one pool.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[must_use]
pub struct Plan {
    /// The pool.
    pub pool: PoolName,
    /// Where it stands and what it aims at.
    pub summary: Summary,
    /// What to do, in the order in which it matters: call back, create, go on with departures, begin new ones.
    pub actions: Vec<Action>,
    /// Why; never empty.
    pub reasons: Vec<Reason>,
    /// Intents to record before any action begins.
    pub put: Vec<Intent>,
    /// Intents that ended.
    pub end: Vec<IntentKey>,
    /// What the engine wants to remember.
    pub memory: PoolMemory,
    /// The sequence of the next batch of this epoch.
    pub next_sequence: u32,
}

/// The pool in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Machines wanted, after the limits.
    pub target: u32,
    /// Machines that work, or will work, for the pool.
    pub serving: u32,
    /// Machines that cost money.
    pub costing: u32,
    /// Jobs waiting for nothing but an executor.
    pub queued: u32,
    /// Jobs running.
    pub running: u32,
    /// Executors that are not ours.
    pub static_executors: u32,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Let a departing machine take jobs again.
    Uncordon {
        /// The machine.
        instance: InstanceName,
        /// Its executor.
        executor: ExecutorRef,
    },
    /// Make a batch of machines.
    Create {
        /// Its name.
        batch: BatchId,
        /// How many machines.
        count: u32,
        /// Where.
        provider: ProviderName,
        /// From which offer.
        offer: OfferId,
    },
    /// Keep a machine from new jobs: the first step of every departure.
    Cordon {
        /// The machine.
        instance: InstanceName,
        /// Its executor.
        executor: ExecutorRef,
        /// Why it leaves.
        why: LeaveWhy,
    },
    /// Ask a machine's guest to end its agent after its build, and to power off.
    AskGuest {
        /// The machine.
        instance: InstanceName,
        /// Where it is.
        provider: ProviderName,
        /// Why it leaves.
        why: LeaveWhy,
    },
    /// Read a settled machine's executor for the first time.
    Verify {
        /// The machine.
        instance: InstanceName,
        /// Its executor.
        executor: ExecutorRef,
    },
    /// Read it once more and, if it is still certainly idle and cordoned, delete the machine.
    Delete {
        /// The machine.
        instance: InstanceName,
        /// Where it is.
        provider: ProviderName,
        /// What the deletion rests on.
        proof: DeleteProof,
    },
    /// Remove the executor of a machine that is gone.
    RemoveExecutor {
        /// The machine it was.
        instance: InstanceName,
        /// The executor.
        executor: ExecutorRef,
    },
}

/// What a deletion rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "proof", rename_all = "snake_case")]
pub enum DeleteProof {
    /// Cordoned, settled, read as certainly idle a settle time ago; to be read again right before the deletion.
    ReadIdle {
        /// The executor to read again.
        executor: ExecutorRef,
    },
    /// A fresh look showed it idle, nothing more: what `scale_in: best-effort` asks for.
    LookedIdle,
    /// The cloud says it is powered off: nothing runs on it.
    PoweredOff,
    /// Nothing was ever registered for it and a complete look shows nothing that registered itself.
    NeverRegistered,
    /// The machine joins no CI server.
    NoExecutor,
}

impl DeleteProof {
    /// Whether it says that nobody is there, and not what somebody does: then the CI server is asked once more, by the
    /// machine's name, right before the deletion.
    pub fn rests_on_absence(&self) -> bool {
        match self {
            DeleteProof::NeverRegistered | DeleteProof::PoweredOff => true,
            DeleteProof::ReadIdle { .. } | DeleteProof::LookedIdle | DeleteProof::NoExecutor => {
                false
            }
        }
    }
}

/// Why a machine leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveWhy {
    /// Idle for long enough, and more machines than wanted.
    Idle,
    /// It never joined within the boot deadline.
    Stuck,
    /// Its executor went offline.
    Lost,
    /// It is powered off.
    Stopped,
    /// Its provider takes it back soon.
    Preempted,
    /// It has run the jobs it may run.
    Spent,
    /// It is older than machines of its pool grow.
    Aged,
    /// It was made from what is not configured any more.
    Changed,
    /// An operator drains it, its zone or its image.
    Drained,
}

impl fmt::Display for LeaveWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LeaveWhy::Idle => "idle for long enough",
            LeaveWhy::Stuck => "it never joined within the boot deadline",
            LeaveWhy::Lost => "its executor went offline",
            LeaveWhy::Stopped => "it is powered off",
            LeaveWhy::Preempted => "its provider takes it back",
            LeaveWhy::Spent => "it has run the jobs it may run (reuse.max_jobs)",
            LeaveWhy::Aged => "it is as old as its machines grow (reuse.max_age)",
            LeaveWhy::Drained => "an operator drains it",
            LeaveWhy::Changed => {
                "its image, boot script or registration is not what is configured now"
            }
        })
    }
}

impl Action {
    /// A stable word for metric labels.
    pub fn as_str(&self) -> &'static str {
        match self {
            Action::Uncordon { .. } => "uncordon",
            Action::Create { .. } => "create",
            Action::Cordon { .. } => "cordon",
            Action::AskGuest { .. } => "ask_guest",
            Action::Verify { .. } => "verify",
            Action::Delete { .. } => "delete",
            Action::RemoveExecutor { .. } => "remove_executor",
        }
    }

    /// What it is about, as text: the batch or the machine.
    pub fn subject(&self) -> String {
        match self {
            Action::Create { batch, .. } => batch.to_string(),
            Action::Uncordon { instance, .. }
            | Action::Cordon { instance, .. }
            | Action::AskGuest { instance, .. }
            | Action::Verify { instance, .. }
            | Action::Delete { instance, .. }
            | Action::RemoveExecutor { instance, .. } => instance.to_string(),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Uncordon { instance, .. } => write!(f, "uncordon {instance}"),
            Action::Create {
                batch,
                count: n,
                provider,
                offer,
            } => {
                write!(
                    f,
                    "create {batch}: {} at {provider} from {offer}",
                    count(*n, "machine")
                )
            }
            Action::Cordon { instance, why, .. } => write!(f, "cordon {instance}: {why}"),
            Action::AskGuest { instance, why, .. } => {
                write!(
                    f,
                    "ask the guest of {instance} to end its agent and power off: {why}"
                )
            }
            Action::Verify { instance, .. } => write!(f, "verify {instance}: read its executor"),
            Action::Delete {
                instance,
                provider,
                proof,
            } => write!(
                f,
                "delete {instance} at {provider}: {}",
                match proof {
                    DeleteProof::ReadIdle { .. } =>
                        "cordoned, settled, read idle once; read again first",
                    DeleteProof::LookedIdle =>
                        "a look showed it idle, and it may have got a job since (scale_in: best-effort)",
                    DeleteProof::PoweredOff => "it is powered off",
                    DeleteProof::NeverRegistered => "it never registered",
                    DeleteProof::NoExecutor => "it joins no CI server",
                }
            ),
            Action::RemoveExecutor { instance, .. } => {
                write!(f, "remove executor {instance}: its machine is gone")
            }
        }
    }
}

impl Plan {
    /// What changes only when the decision changes: one log line is written for each new essence.
    pub fn essence(&self) -> (u32, Vec<String>, Vec<&'static str>) {
        let actions = self.actions.iter().map(ToString::to_string).collect();
        let mut codes: Vec<&'static str> = self.reasons.iter().map(Reason::code).collect();
        codes.dedup();
        (self.summary.target, actions, codes)
    }

    /// The reasons as one sentence; what is said of many machines is said once.
    pub fn reasons_in_words(&self) -> String {
        let said = self.reasons.iter().map(|reason| match reason {
            Reason::Departing { instance, what } => (Some(instance), format!("leaving: {what}")),
            Reason::Leaves { instance, why } => {
                (Some(instance), format!("beginning to leave: {why}"))
            }
            Reason::Unclear { instance, why } => (Some(instance), format!("left alone: {why}")),
            Reason::CordonRefused { instance, why } => {
                let what =
                    format!("kept, since the CI server refuses to keep them from new jobs: {why}");
                (Some(instance), what)
            }
            Reason::ForeignCordon { instance } => {
                let why = "left alone: somebody else keeps them from taking jobs";
                (Some(instance), why.to_owned())
            }
            Reason::Ghost { instance } => (Some(instance), "without a machine, removed".to_owned()),
            other => (None, other.to_string()),
        });
        let groups = grouped(said.map(|(name, what)| (name.map(ToString::to_string), what)));
        let words = groups
            .into_iter()
            .map(|(names, what)| match names.is_empty() {
                true => what,
                false => format!("{what} ({})", listed(&names)),
            });
        words.collect::<Vec<_>>().join("; ")
    }

    /// The actions as one sentence: verbs with the machines they are about.
    pub fn actions_in_words(&self) -> String {
        let said = self.actions.iter().map(|action| {
            let name = match action {
                Action::Create {
                    batch, count: n, ..
                } if *n > 1 => format!("{batch} x{n}"),
                other => other.subject(),
            };
            (Some(name), action.as_str().replace('_', " "))
        });
        let groups = grouped(said);
        let words = groups
            .into_iter()
            .map(|(names, verb)| format!("{verb} {} ({})", names.len(), listed(&names)));
        words.collect::<Vec<_>>().join("; ")
    }

    pub(crate) fn begin_leave(
        &mut self,
        instance: &InstanceName,
        executor: Option<ExecutorRef>,
        epoch: Epoch,
        step: LeaveStep,
    ) {
        self.put.push(Intent::Leave {
            instance: instance.clone(),
            executor,
            epoch,
            step,
        });
    }
}

/// Puts together what is said of several names, in the order in which it is said first.
fn grouped(said: impl Iterator<Item = (Option<String>, String)>) -> Vec<(Vec<String>, String)> {
    let mut groups: Vec<(Vec<String>, String)> = Vec::new();
    for (name, what) in said {
        match groups.iter_mut().find(|(_, known)| *known == what) {
            Some((names, _)) => names.extend(name),
            None => groups.push((name.into_iter().collect(), what)),
        }
    }
    groups
}

/// Up to three names in full; the others as a number, since a fleet has thousands.
fn listed(names: &[String]) -> String {
    match names {
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        few => few.join(", "),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.actions.is_empty() {
            writeln!(f, "nothing to do")?;
        }
        for action in &self.actions {
            writeln!(f, "{action}")?;
        }
        for reason in &self.reasons {
            writeln!(f, "  {reason}")?;
        }
        Ok(())
    }
}
