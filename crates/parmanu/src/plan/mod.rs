//! `parmanu plan --config FILE [--world FILE]`: what the next tick would do, in words, and nothing of it done.
//!
//! The plan is made by the engine, which can reach nothing. The world comes from a file (`world.rs`), or is read from the
//! store and the providers (`live.rs`) by types that cannot act.

mod live;
mod orders;
mod world;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use config::{LoadError, Settings};
use engine::{Action, FleetObservation, PoolPlan};
use jiff::Timestamp;
use model::{Money, Policy};

use world::World;

/// Prints the plan.
pub(crate) async fn run(config: &Path, world: Option<&Path>) -> anyhow::Result<ExitCode> {
    let settings = match config::load(config, &service::registries()) {
        Ok((settings, report)) => {
            print!("{report}");
            settings
        }
        Err(LoadError::Invalid { report }) => {
            print!("{report}");
            return Ok(ExitCode::FAILURE);
        }
        Err(error @ LoadError::Io { .. }) => return Err(error.into()),
    };
    let (seen, now) = match world {
        Some(file) => {
            let world = World::read(file)?;
            let now = world.now.unwrap_or_else(now);
            (world.seen(&settings, now)?, now)
        }
        None => {
            let now = now();
            (live::read(&settings, now).await?, now)
        }
    };
    print!("{}", in_words(&settings, seen, now));
    Ok(ExitCode::SUCCESS)
}

fn now() -> Timestamp {
    ports::Clock::now(&telemetry::SystemClock)
}

/// The whole plan in words.
fn in_words(settings: &Settings, seen: FleetObservation, now: Timestamp) -> String {
    let unread: BTreeSet<_> = settings
        .pools
        .keys()
        .filter(|name| !seen.pools.contains_key(name))
        .cloned()
        .collect();
    let policies = settings.pools.values().map(|pool| &pool.policy);
    let plans = engine::plan_fleet(seen.split(), policies, &settings.limits, now);
    let mut text = String::new();
    let mut total = Totals::default();
    for planned in &plans {
        let summary = &planned.plan.summary;
        let _ = writeln!(
            text,
            "pool {}: {} queued, {} running; {} serving of {} that cost money -> {}",
            planned.plan.pool,
            summary.queued,
            summary.running,
            summary.serving,
            summary.costing,
            summary.target
        );
        for line in planned.plan.to_string().lines() {
            let _ = writeln!(text, "  {line}");
        }
        if let Some(pool) = settings.pools.get(&planned.plan.pool) {
            total.add(planned, &pool.policy);
        }
    }
    for pool in unread {
        let _ = writeln!(
            text,
            "pool {pool}: what the store holds of it cannot be read, so it is left alone"
        );
    }
    let _ = writeln!(
        text,
        "in all: {} to create{}, {} to call back, {} to begin or go on leaving; nothing was done",
        total.created,
        total.price(),
        total.called_back,
        total.leaving
    );
    text
}

#[derive(Default)]
struct Totals {
    created: u32,
    called_back: usize,
    leaving: usize,
    per_hour: Money,
    unpriced: bool,
}

impl Totals {
    fn add(&mut self, planned: &PoolPlan, policy: &Policy) {
        for action in &planned.plan.actions {
            match action {
                Action::Create { count, offer, .. } => {
                    self.created += count;
                    let offer = policy.offers.iter().find(|known| known.id == *offer);
                    match offer.and_then(|offer| offer.price) {
                        Some(price) => self.per_hour = self.per_hour.plus(price.times(*count)),
                        None => self.unpriced = true,
                    }
                }
                Action::Uncordon { .. } => self.called_back += 1,
                Action::Cordon { .. }
                | Action::AskGuest { .. }
                | Action::Verify { .. }
                | Action::Delete { .. } => {
                    self.leaving += 1;
                }
                Action::RemoveExecutor { .. } => {}
            }
        }
    }

    /// What the new machines cost, as far as their prices are stated.
    fn price(&self) -> String {
        match (self.created, self.unpriced) {
            (0, _) | (_, true) => String::new(),
            _ => format!(" ({} more per hour)", self.per_hour),
        }
    }
}
