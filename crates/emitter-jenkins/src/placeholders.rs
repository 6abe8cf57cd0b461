//! The nodes that keep Jenkins telling labels: one for each pool, with its labels, always offline.
//!
//! Jenkins explains the wait of a pipeline step in words that hold its label only if no node has the label or several do;
//! with one node alone they name that node, and with no node at all nothing. A placeholder beside the machines makes each
//! label of a pool one of several nodes. That has a second use: a step that still names one machine asks for that very
//! machine, which is how a pipeline looks that ran on it before the controller was restarted.
//!
//! A placeholder carries no mark of the fleet, so that no verb of control ever takes it for a machine.

use std::collections::BTreeMap;

use model::{FleetId, PoolName};

use crate::client::Client;
use crate::config::{Serves, labels};
use crate::mark;
use crate::nodes::NewNode;
use crate::wire::Computer;

/// Placeholders that are made or removed in one look; a hundred pools are through in a minute.
const MOST_WRITES: usize = 10;

/// The placeholders of the pools.
pub(crate) struct Placeholders {
    /// Name and labels.
    wanted: Vec<(String, Vec<String>)>,
    work_dir: String,
}

/// What became of them.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// How many were made just now.
    pub(crate) made: usize,
    /// Why the first one could not be.
    pub(crate) failed: Option<String>,
}

impl Placeholders {
    pub(crate) fn of(
        fleet: &FleetId,
        pools: &BTreeMap<PoolName, Vec<Serves>>,
        work_dir: String,
    ) -> Self {
        let wanted = pools.iter().map(|(pool, entries)| {
            let labels = labels(entries).into_iter().map(str::to_owned).collect();
            (mark::placeholder(fleet, pool), labels)
        });
        Placeholders {
            wanted: wanted.collect(),
            work_dir,
        }
    }

    /// Makes those that are missing, and removes those whose pool has other labels now, to make them at the next look.
    pub(crate) async fn keep(&self, client: &Client, computers: &[Computer]) -> Kept {
        let mut kept = Kept::default();
        let mut writes = 0;
        for (name, labels) in &self.wanted {
            let there = computers.iter().find(|node| node.display_name == *name);
            if there.is_some_and(|node| node.labels() == *labels) {
                continue;
            }
            writes += 1;
            if writes > MOST_WRITES {
                break;
            }
            let done = match there {
                None => self
                    .make(client, name, labels)
                    .await
                    .map(|()| kept.made += 1),
                Some(node) => remove(client, node).await,
            };
            if let Err(why) = done {
                tracing::warn!(node = name, why, "a placeholder node could not be kept");
                kept.failed.get_or_insert(why);
            }
        }
        kept
    }

    async fn make(&self, client: &Client, name: &str, labels: &[String]) -> Result<(), String> {
        let node = NewNode {
            name,
            description: mark::PLACEHOLDER,
            labels: &labels.join(" "),
            executors: 1,
            work_dir: &self.work_dir,
        };
        post(client, &["computer", "doCreateItem"], &node.form()).await
    }
}

/// Only what is plainly a placeholder that nobody ever used.
async fn remove(client: &Client, node: &Computer) -> Result<(), String> {
    let unused = node.description.as_deref() == Some(mark::PLACEHOLDER)
        && !node.is_connected()
        && node.idle
        && node.held() == 0;
    if !unused {
        return Err(format!(
            "node {} has other labels than its pool, and is in use or not ours: remove it",
            node.display_name
        ));
    }
    post(client, &["computer", &node.display_name, "doDelete"], &[]).await
}

async fn post(client: &Client, path: &[&str], form: &[(&str, String)]) -> Result<(), String> {
    match client.post(path, &[], form).await {
        Ok(answer) if matches!(answer.status, 200..=399) => Ok(()),
        Ok(answer) => Err(answer.failure().message),
        Err(failure) => Err(failure.message),
    }
}
