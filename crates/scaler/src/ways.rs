//! How the machines of a pool leave that is not configured any more: by the CI server that they joined, and by what may be done
//! there. Pure, and shared with `parmanu doctor`, so that it gives no other reason than scaler acts on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{EmitterName, ExecutorMode, Instance, Joins, UncontrolledLeave};

use crate::run::Parts;

/// A CI server, and what is possible there; `None` for machines that join none.
pub(crate) type Way = (Option<EmitterName>, ExecutorMode);

/// The CI servers of a configuration.
#[derive(Debug, Clone, Default)]
pub struct CiServers {
    /// How long each may take to hand out a job that it promised.
    pub settles: BTreeMap<EmitterName, Duration>,
    /// Those whose executors may be controlled.
    pub controlled: BTreeSet<EmitterName>,
}

impl CiServers {
    pub(crate) fn of(parts: &Parts) -> Self {
        CiServers {
            settles: parts.settles.clone(),
            controlled: parts.controls.keys().cloned().collect(),
        }
    }

    /// Why machines of one pool that is not configured are left alone, if they are. `joins` is what the pool's memory says of
    /// them.
    pub fn why_left_alone(&self, machines: &[Instance], joins: Option<&Joins>) -> Option<String> {
        let by_tags = self.way_by_tags(machines);
        let way = match (by_tags, joins) {
            (Err(_), Some(joins)) => self.way_by_memory(joins, machines),
            (way, _) => way,
        };
        way.err()
    }

    /// The CI server that all of these machines joined, with its settle time.
    pub(crate) fn way_by_tags(&self, machines: &[Instance]) -> Result<Way, String> {
        let mut emitters = machines.iter().map(|machine| {
            let executor = machine.executor.as_ref();
            executor
                .map(|executor| &executor.emitter)
                .ok_or_else(|| format!("{} does not say which executor it has", machine.name))
        });
        let first = emitters.next().ok_or("it has no machine")??;
        for other in emitters {
            let other = other?;
            if other != first {
                return Err(format!("its machines joined both {first} and {other}"));
            }
        }
        self.managed(first)
    }

    /// How machines leave whose executors Parmanu controls.
    pub(crate) fn managed(&self, emitter: &EmitterName) -> Result<Way, String> {
        match self.settles.get(emitter) {
            Some(settle) if self.controlled.contains(emitter) => {
                let settle = *settle;
                Ok((Some(emitter.clone()), ExecutorMode::Managed { settle }))
            }
            _ => Err(format!(
                "executors of {emitter} cannot be controlled by this configuration"
            )),
        }
    }

    /// How the machines of a pool leave by what it was when it was configured; all of them must be younger than that. One that
    /// does not tell its age may be older.
    pub(crate) fn way_by_memory(
        &self,
        joins: &Joins,
        machines: &[Instance],
    ) -> Result<Way, String> {
        let is_older = |machine: &&Instance| machine.created_at.is_none_or(|at| at < joins.since);
        if let Some(machine) = machines.iter().find(is_older) {
            let name = &machine.name;
            return Err(format!(
                "{name} may be older than what is known of its pool, and may have joined another CI server"
            ));
        }
        let Some(emitter) = &joins.emitter else {
            return Ok((None, ExecutorMode::None));
        };
        match joins.uncontrolled {
            None => self.managed(emitter),
            Some(UncontrolledLeave::ByThemselves) => Err(format!(
                "executors of {emitter} could not be controlled, and its pool let machines leave by themselves only"
            )),
            // somebody has to look at them
            Some(leave) if self.settles.contains_key(emitter) => {
                Ok((Some(emitter.clone()), ExecutorMode::ReadOnly { leave }))
            }
            Some(_) => Err(format!("{emitter} is not configured any more")),
        }
    }
}
