//! What the remote API shows of the state, whole; `tree=` cuts it afterwards.
//!
//! Shapes as in the answers of Jenkins 2.446 that were recorded for this project, with values of our own.

use serde_json::{Value, json};

use crate::world::{Item, Jenkins, Node, Rights, Sight, Stage, Task};

impl Jenkins {
    pub(crate) fn show_root(&self, rights: Rights) -> Value {
        let jobs = self.jobs.iter().filter(|_| rights.job_read);
        let jobs: Vec<Value> = jobs.map(|name| json!({ "name": name })).collect();
        json!({ "_class": "hudson.model.Hudson", "quietingDown": self.quieting, "jobs": jobs })
    }

    pub(crate) fn show_queue(&self, rights: Rights) -> Value {
        let may = |item: &&Item| rights.job_read && item.sight == Sight::Readable;
        // the ones likely to run next stand at the end
        let items: Vec<Value> = self
            .items
            .iter()
            .rev()
            .filter(may)
            .map(|item| self.show_item(item))
            .collect();
        let stubs: Vec<Value> = self
            .items
            .iter()
            .filter(|item| item.sight == Sight::Discoverable)
            // pipeline steps are omitted altogether
            .filter(|item| !matches!(item.task, Task::Step { .. }))
            .map(|item| json!({ "task": { "name": self.show_task(&item.task)["name"] } }))
            .collect();
        json!({ "_class": "hudson.model.Queue", "discoverableItems": stubs, "items": items })
    }

    fn show_item(&self, item: &Item) -> Value {
        let (class, buildable, blocked) = match item.stage {
            Stage::Waiting(_) => ("WaitingItem", false, false),
            Stage::Blocked(_) => ("BlockedItem", false, true),
            Stage::Buildable => ("BuildableItem", true, false),
        };
        let since = item.since.as_millisecond();
        let mut shown = json!({
            "_class": format!("hudson.model.Queue${class}"),
            "actions": [], "blocked": blocked, "buildable": buildable, "id": item.id,
            "inQueueSince": since, "params": "", "stuck": false,
            "task": self.show_task(&item.task),
            "url": format!("queue/item/{}/", item.id),
            "why": self.why(item),
        });
        match item.stage {
            Stage::Waiting(until) => shown["timestamp"] = json!(until.as_millisecond()),
            Stage::Blocked(_) => shown["buildableStartMilliseconds"] = json!(since),
            Stage::Buildable => {
                shown["buildableStartMilliseconds"] = json!(since);
                shown["pending"] = json!(false);
            }
        }
        shown
    }

    fn show_task(&self, task: &Task) -> Value {
        let last = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
        let absolute = |name: &str| format!("{}/job/{}/", self.base, name.replace('/', "/job/"));
        match task {
            Task::Freestyle { name, label } => json!({
                "_class": "hudson.model.FreeStyleProject", "name": last(name),
                "url": absolute(name), "labelExpression": label,
                "fullDisplayName": name.replace('/', " » "),
            }),
            Task::Matrix { name, .. } => json!({
                "_class": "hudson.matrix.MatrixConfiguration", "name": last(name),
                "url": absolute(name), "labelExpression": null,
            }),
            // only on old controllers these lack everything but the class
            Task::Step { .. } if self.old => json!({ "_class": STEP }),
            Task::Step { name, run, .. } => {
                let words = format!("part of {} #{run}", name.replace('/', " » "));
                let url = format!("job/{}/{run}/", name.replace('/', "/job/"));
                json!({ "_class": STEP, "name": words, "fullDisplayName": words, "url": url })
            }
            Task::Pipeline { name } => json!({
                "_class": "org.jenkinsci.plugins.workflow.job.WorkflowJob",
                "name": last(name), "url": absolute(name),
            }),
        }
    }

    pub(crate) fn show_computers(&self, rights: Rights) -> Value {
        let controller = json!({
            "_class": "hudson.model.Hudson$MasterComputer",
            "assignedLabels": [{ "name": "built-in" }],
            "description": "the Jenkins controller's built-in node",
            "displayName": "Built-In Node", "executors": [], "oneOffExecutors": [], "idle": true,
            "jnlpAgent": false, "numExecutors": 0, "offline": false, "offlineCause": null,
            "offlineCauseReason": "", "temporarilyOffline": false,
        });
        let mut computers = vec![controller];
        computers.extend(
            self.nodes
                .iter()
                .map(|(name, node)| self.show_computer(name, node, rights)),
        );
        json!({ "_class": "hudson.model.ComputerSet", "computer": computers, "displayName": "Nodes" })
    }

    pub(crate) fn show_computer(&self, name: &str, node: &Node, rights: Rights) -> Value {
        let labels: Vec<Value> = node
            .labels
            .iter()
            .map(String::as_str)
            .chain([name])
            .filter(|_| !node.ghost)
            .map(|label| json!({ "name": label }))
            .collect();
        let executors: Vec<Value> = (0u32..)
            .zip(&node.executors)
            .map(|(number, held)| {
                let begun = held.as_ref().filter(|work| work.begun && rights.job_read);
                let run = begun.map(|work| {
                    let task = self.show_task(&work.task);
                    let step = matches!(work.task, Task::Step { .. });
                    let mut run = json!({
                        "_class": if step { EXECUTABLE } else { "hudson.model.FreeStyleBuild" },
                        "fullDisplayName": format!("{} #1", task["fullDisplayName"].as_str().unwrap_or("?")),
                        "number": 1, "timestamp": work.since.as_millisecond(),
                        "estimatedDuration": -1,
                        "url": format!("{}1/", task["url"].as_str().unwrap_or("?")),
                    });
                    if !step {
                        run["queueId"] = json!(work.item);
                    }
                    run
                });
                json!({ "currentExecutable": run, "idle": held.is_none(), "number": number })
            })
            .collect();
        let one_offs: Vec<Value> = (0..node.one_offs)
            .map(|_| json!({ "idle": false }))
            .collect();
        let cause = node.cause.as_ref();
        let reason = cause.map_or("", |cause| cause.message.as_str());
        let memory = node.memory_free.map(|free| {
            json!({
                "_class": "hudson.node_monitors.SwapSpaceMonitor$MemoryUsage2",
                "availablePhysicalMemory": free, "availableSwapSpace": 0,
            })
        });
        let path = (node.connected && rights.agent_connect).then_some("/home/ci");
        json!({
            "_class": "hudson.slaves.SlaveComputer", "assignedLabels": labels,
            "description": if node.description.is_empty() || node.ghost { Value::Null } else { json!(node.description) },
            "displayName": name, "executors": executors, "oneOffExecutors": one_offs,
            "idle": node.idle(), "jnlpAgent": true,
            "numExecutors": if node.ghost { 0 } else { node.executors.len() },
            "offline": !node.online(),
            "offlineCause": cause.map(|cause| json!({ "_class": cause.class, "timestamp": cause.at.as_millisecond() })),
            "offlineCauseReason": reason,
            "temporarilyOffline": node.temporarily_offline, "absoluteRemotePath": path,
            "monitorData": { "hudson.node_monitors.SwapSpaceMonitor": memory },
        })
    }
}

const STEP: &str =
    "org.jenkinsci.plugins.workflow.support.steps.ExecutorStepExecution$PlaceholderTask";
const EXECUTABLE: &str = "org.jenkinsci.plugins.workflow.support.steps.ExecutorStepExecution$PlaceholderTask$PlaceholderExecutable";
