//! What was done and what stayed, as data: the JSON of `parmanu reap`.

use jiff::Timestamp;
use model::{
    ExecutorRef, FleetId, Instance, InstanceName, InstanceState, Listing, PoolName, ProviderName,
    ProviderRef,
};
use serde::Serialize;

use super::due::{Mark, Order};

/// One run. Keys may be added, and none changes its meaning within a version.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(super) version: u32,
    pub(super) fleet: FleetId,
    pub(super) at: Timestamp,
    pub(super) dry_run: bool,
    /// That nobody asked whether builds were running.
    pub(super) even_if_busy: bool,
    /// Providers that could be listed.
    pub(super) listed: usize,
    /// What could not be seen, in words.
    pub(super) doubts: Vec<String>,
    /// Machines that somebody wants.
    pub(super) wanted: usize,
    /// Machines without a mark, which were left alone.
    pub(super) unmarked: usize,
    /// Machines that are gone or on their way.
    pub(super) leaving: usize,
    /// The machines past their time.
    pub(super) machines: Vec<Row>,
}

/// One machine past its time.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    pub(super) machine: InstanceName,
    pub(super) provider: ProviderName,
    pub(super) id: ProviderRef,
    pub(super) scope: String,
    pub(super) pool: PoolName,
    #[serde(flatten)]
    pub(super) state: InstanceState,
    pub(super) expires: Option<Timestamp>,
    pub(super) created_at: Option<Timestamp>,
    pub(super) executor: Option<ExecutorRef>,
    #[serde(flatten)]
    pub(super) fate: Fate,
    /// Why its executor could not be removed, or its cordon not be lifted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) left_behind: Option<String>,
}

/// What became of a machine past its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fate", content = "why", rename_all = "snake_case")]
pub(super) enum Fate {
    /// Its deletion was asked for; the words are the proof.
    Deleted(String),
    /// It went without us.
    Gone,
    /// Somebody said meanwhile that it is wanted.
    Wanted,
    /// It is still there, and why.
    Stayed(String),
    /// A run without `--dry-run` would see to it; what is known of it now.
    WouldGo(String),
}

impl Row {
    pub(super) fn of(provider: &ProviderName, machine: &Instance, fate: Fate) -> Self {
        Row {
            machine: machine.name.clone(),
            provider: provider.clone(),
            id: machine.id.clone(),
            scope: machine.scope.clone(),
            pool: machine.pool().clone(),
            state: machine.state.clone(),
            expires: machine.expires,
            created_at: machine.created_at,
            executor: machine.executor.clone(),
            fate,
            left_behind: None,
        }
    }
}

impl Report {
    pub(super) fn of(order: &Order, at: Timestamp) -> Self {
        Report {
            version: 1,
            fleet: order.fleet.clone(),
            at,
            dry_run: order.dry_run,
            even_if_busy: order.even_if_busy,
            listed: 0,
            doubts: Vec::new(),
            wanted: 0,
            unmarked: 0,
            leaving: 0,
            machines: Vec::new(),
        }
    }

    /// Notes what a provider could not list; the machines that it could.
    pub(super) fn take(
        &mut self,
        provider: &ProviderName,
        listing: Result<Listing, String>,
    ) -> Option<Vec<Instance>> {
        let (doubts, machines) = match listing {
            Ok(listing) => (listing.unknown, Some(listing.instances)),
            Err(why) => (vec![why], None),
        };
        self.listed += usize::from(machines.is_some());
        let doubts = doubts.into_iter().map(|why| format!("{provider}: {why}"));
        self.doubts.extend(doubts);
        machines
    }

    /// Counts a machine by its mark; those past their time have a row.
    pub(super) fn count(&mut self, mark: Mark) {
        match mark {
            Mark::Wanted => self.wanted += 1,
            Mark::None => self.unmarked += 1,
            Mark::Leaving => self.leaving += 1,
            Mark::Due => {}
        }
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_done(&self) -> bool {
        let open = |row: &Row| {
            let open = matches!(row.fate, Fate::Stayed(_) | Fate::WouldGo(_));
            open || row.left_behind.is_some()
        };
        self.doubts.is_empty() && !self.machines.iter().any(open)
    }

    /// Whether no provider answered at all.
    pub(crate) fn saw_nothing(&self) -> bool {
        self.listed == 0
    }
}
