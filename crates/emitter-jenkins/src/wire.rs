//! The rows of Jenkins' remote API as far as they are asked for, and the `tree=` that asks for them.
//!
//! A row of another shape is no row: it makes the look partial, and never smaller in silence.

use serde::Deserialize;
use serde_json::Value;

/// Items of the queue that are asked for. These take some 20 MiB once they are parsed, and the client refuses what takes
/// more than 32: a look that is cut here is partial, one that is refused there would be none.
pub(crate) const MOST_ITEMS: usize = 10_000;
/// Computers that are asked for, for the same reason: one with four executors and four labels takes 14 KiB.
pub(crate) const MOST_COMPUTERS: usize = 2_000;

/// The queue.
pub(crate) fn queue_tree() -> String {
    format!(
        "discoverableItems[task[name]]{{0,100}},items[id,why,blocked,buildable,pending,inQueueSince,\
         buildableStartMilliseconds,timestamp,task[name,url,fullDisplayName,labelExpression]]{{0,{MOST_ITEMS}}}"
    )
}

/// What is read of one computer.
pub(crate) const COMPUTER: &str = "displayName,description,offline,temporarilyOffline,offlineCauseReason,\
    offlineCause[timestamp],idle,numExecutors,absoluteRemotePath,assignedLabels[name],\
    executors[number,idle,currentExecutable[number,url,fullDisplayName,timestamp,estimatedDuration,queueId]],\
    oneOffExecutors[idle],monitorData[hudson.node_monitors.SwapSpaceMonitor[availablePhysicalMemory]]";

/// All computers.
pub(crate) fn computers_tree() -> String {
    format!("computer[{COMPUTER}]{{0,{MOST_COMPUTERS}}}")
}

/// Names of computers that are asked for; a name alone is small.
pub(crate) const MOST_NAMES: usize = 20_000;

/// The names of all computers.
pub(crate) fn names_tree() -> String {
    format!("computer[displayName]{{0,{MOST_NAMES}}}")
}

/// Whether the user sees any job at all, and whether the controller is about to stop.
pub(crate) const SIGHT: &str = "quietingDown,jobs[name]{0,1}";

/// One entry of the queue.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Item {
    pub(crate) id: u64,
    pub(crate) why: Option<String>,
    // every item of every version says both; an item that does not must not pass for one that has time
    pub(crate) blocked: bool,
    pub(crate) buildable: bool,
    #[serde(default)]
    pub(crate) pending: bool,
    pub(crate) in_queue_since: Option<i64>,
    pub(crate) buildable_start_milliseconds: Option<i64>,
    pub(crate) timestamp: Option<i64>,
    #[serde(default)]
    pub(crate) task: Option<Task>,
}

/// What an item wants to run.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Task {
    #[serde(rename = "_class", default)]
    pub(crate) class: String,
    pub(crate) name: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) full_display_name: Option<String>,
    pub(crate) label_expression: Option<String>,
}

impl Task {
    /// A `node('…') {}` of a pipeline.
    pub(crate) fn is_step(&self) -> bool {
        self.class.ends_with("$PlaceholderTask")
    }

    /// A pipeline itself, which runs on the controller without an executor.
    pub(crate) fn is_pipeline(&self) -> bool {
        self.class.ends_with(".WorkflowJob")
    }

    /// A job whose label, if it has one, is in `labelExpression`.
    pub(crate) fn tells_its_label(&self) -> bool {
        self.class.ends_with(".FreeStyleProject") || self.class.ends_with(".MavenModuleSet")
    }
}

/// One computer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Computer {
    #[serde(rename = "_class", default)]
    pub(crate) class: String,
    pub(crate) display_name: String,
    pub(crate) description: Option<String>,
    pub(crate) offline: bool,
    pub(crate) temporarily_offline: bool,
    pub(crate) offline_cause_reason: Option<String>,
    pub(crate) offline_cause: Option<Cause>,
    pub(crate) idle: bool,
    pub(crate) num_executors: u32,
    pub(crate) absolute_remote_path: Option<String>,
    #[serde(default)]
    pub(crate) assigned_labels: Vec<Label>,
    pub(crate) executors: Vec<Slot>,
    pub(crate) one_off_executors: Vec<Slot>,
    /// Absent where the monitor is switched off, and while it has measured nothing. Nothing else depends on it, so it may
    /// have any shape.
    #[serde(default)]
    monitor_data: Value,
}

impl Computer {
    /// Bytes of memory that were free when Jenkins measured last. It has a value of minus one for what it cannot tell.
    pub(crate) fn memory_free(&self) -> Option<u64> {
        let swap = self
            .monitor_data
            .get("hudson.node_monitors.SwapSpaceMonitor")?;
        swap.get("availablePhysicalMemory")?.as_u64()
    }

    pub(crate) fn is_controller(&self) -> bool {
        self.class.ends_with("MasterComputer")
    }

    /// What is left of a node that was deleted while it was busy.
    pub(crate) fn is_ghost(&self) -> bool {
        !self.is_controller() && self.num_executors == 0 && self.assigned_labels.is_empty()
    }

    /// Whether an agent stands behind it. While it is cordoned only its folder says so, and that only to a user who has
    /// Agent/Connect.
    pub(crate) fn is_connected(&self) -> bool {
        !self.offline || self.absolute_remote_path.is_some()
    }

    /// Executors that hold something, flyweight ones among them.
    pub(crate) fn held(&self) -> usize {
        let all = self.executors.iter().chain(&self.one_off_executors);
        all.filter(|slot| slot.idle != Some(true)).count()
    }

    /// Its labels without its own name.
    pub(crate) fn labels(&self) -> Vec<String> {
        let names = self.assigned_labels.iter().map(|label| &label.name);
        let mut names: Vec<String> = names
            .filter(|name| **name != self.display_name)
            .cloned()
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

/// The name of one computer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Named {
    display_name: String,
}

impl Named {
    pub(crate) fn is(&self, name: &str) -> bool {
        self.display_name == name
    }
}

/// Why a computer is offline.
#[derive(Debug, Deserialize)]
pub(crate) struct Cause {
    pub(crate) timestamp: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Label {
    name: String,
}

/// One executor.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Slot {
    pub(crate) number: Option<i64>,
    pub(crate) idle: Option<bool>,
    pub(crate) current_executable: Option<Run>,
}

impl Slot {
    /// What it runs; nothing is known of a build that has not begun yet, or that the user may not read. Only a word that
    /// it is idle makes it free: an idle one may show an empty build.
    pub(crate) fn run(&self) -> Option<&Run> {
        static HIDDEN: Run = Run {
            url: None,
            full_display_name: None,
            timestamp: None,
            estimated_duration: None,
            queue_id: None,
        };
        (self.idle != Some(true)).then(|| self.current_executable.as_ref().unwrap_or(&HIDDEN))
    }
}

/// What an executor runs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Run {
    pub(crate) url: Option<String>,
    pub(crate) full_display_name: Option<String>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) estimated_duration: Option<i64>,
    pub(crate) queue_id: Option<u64>,
}

/// The rows of a list, and how many of them could not be read. `None` when there is no list.
pub(crate) fn rows<T: for<'a> Deserialize<'a>>(
    body: &mut Value,
    list: &str,
) -> Option<(Vec<T>, usize)> {
    let Some(Value::Array(values)) = body.get_mut(list).map(Value::take) else {
        return None;
    };
    let all = values.len();
    let read: Vec<T> = values
        .into_iter()
        .filter_map(|value| T::deserialize(value).ok())
        .collect();
    let bad = all - read.len();
    Some((read, bad))
}

#[cfg(test)]
mod tests {
    use fake_jenkins::unexported;

    use super::*;

    /// Jenkins leaves what it does not export out of its answer without a word.
    #[test]
    fn nothing_is_asked_for_that_jenkins_does_not_export() {
        for (tree, class) in [
            (queue_tree(), "hudson.model.Queue"),
            (computers_tree(), "hudson.model.ComputerSet"),
            (names_tree(), "hudson.model.ComputerSet"),
            (COMPUTER.to_owned(), "hudson.slaves.SlaveComputer"),
            (SIGHT.to_owned(), "hudson.model.Hudson"),
        ] {
            assert_eq!(unexported(&tree, class).unwrap(), [""; 0], "{tree}");
        }
        let slip = queue_tree().replace("labelExpression", "assignedLabel");
        let found = unexported(&slip, "hudson.model.Queue").unwrap();
        assert_eq!(found, ["hudson.model.Queue.items.task.assignedLabel"]);
    }
}
