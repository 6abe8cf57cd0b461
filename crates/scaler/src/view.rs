//! What the scaler shows of itself: the pools as of the last tick.

use engine::{Machine, Plan, Supply};
use jiff::Timestamp;
use model::{Epoch, PoolName};
use serde::Serialize;

/// The fleet as of the last tick.
#[derive(Debug, Clone, Default, Serialize)]
pub struct FleetView {
    /// The term, while this scaler is active.
    pub epoch: Option<Epoch>,
    /// When the last tick was.
    pub at: Option<Timestamp>,
    /// The pools.
    pub pools: Vec<PoolView>,
}

/// One pool as of the last tick.
#[derive(Debug, Clone, Serialize)]
pub struct PoolView {
    /// Its name.
    pub name: PoolName,
    /// The numbers.
    pub summary: engine::Summary,
    /// Its machines.
    pub machines: Vec<MachineView>,
    /// What was decided, in words.
    pub actions: Vec<String>,
    /// Why, in words.
    pub reasons: Vec<String>,
}

/// One machine as of the last tick.
#[derive(Debug, Clone, Serialize)]
pub struct MachineView {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub phase: &'static str,
}

impl PoolView {
    pub(crate) fn of(plan: &Plan, supply: &Supply) -> Self {
        let machine = |machine: &Machine| MachineView {
            name: machine.name.to_string(),
            phase: machine.phase.as_str(),
        };
        PoolView {
            name: plan.pool.clone(),
            summary: plan.summary,
            machines: supply.machines.iter().map(machine).collect(),
            actions: plan.actions.iter().map(ToString::to_string).collect(),
            reasons: plan.reasons.iter().map(ToString::to_string).collect(),
        }
    }

    /// How many machines stand in a phase.
    pub fn count(&self, phase: &str) -> usize {
        self.machines
            .iter()
            .filter(|machine| machine.phase == phase)
            .count()
    }
}
