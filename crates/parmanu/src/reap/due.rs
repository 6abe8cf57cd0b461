//! Which machines of a listing are past their time. Pure.

use std::time::Duration;

use jiff::Timestamp;
use model::{FleetId, Instance, InstanceState, age};

/// What was asked for.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) fleet: FleetId,
    /// How long a mark must have been over.
    pub(super) grace: Duration,
    /// Machines without a mark that are older than this are meant too.
    pub(super) unmarked: Option<Duration>,
    pub(super) even_if_busy: bool,
    pub(super) dry_run: bool,
}

/// What becomes of a machine by its mark alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Somebody wants it, or did within the grace.
    Wanted,
    /// Nobody ever said until when, and that is left alone.
    None,
    /// It is past its time.
    Due,
    /// It is gone, or on its way.
    Leaving,
}

impl Order {
    /// Whether the machine is past its time. `alive` says that a scaler of the fleet showed itself in the same listing.
    pub(super) fn mark(&self, machine: &Instance, alive: bool, now: Timestamp) -> Mark {
        if matches!(
            machine.state,
            InstanceState::Gone { .. } | InstanceState::Stopping
        ) {
            return Mark::Leaving;
        }
        match (machine.expires, self.unmarked, machine.created_at) {
            (Some(until), ..) if age(until, now) > self.grace => Mark::Due,
            (Some(_), ..) => Mark::Wanted,
            (None, Some(limit), Some(created)) if !alive && age(created, now) > limit => Mark::Due,
            (None, ..) => Mark::None,
        }
    }
}

/// Whether a mark lies ahead: only a scaler that lives writes such a one.
pub(super) fn is_renewed(machine: &Instance, now: Timestamp) -> bool {
    machine.expires.is_some_and(|until| until > now)
}
