//! What is left of earlier configurations: pools that are not configured and have machines or executors, and providers that are
//! not and had machines. Pure.

use std::collections::{BTreeMap, BTreeSet};

use model::words::counted;
use model::{Executor, Instance, InstanceName, NameParts, PoolMemory, PoolName, ProviderName};

use super::examine::Fleet;
use super::executors::is_heard_of;
use super::report::Problem;

/// What is there of one pool.
#[derive(Default)]
struct Left<'a> {
    machines: Vec<Instance>,
    executors: Vec<&'a Executor>,
}

/// Each pool of which something is there and that is not configured, with what becomes of it.
pub(super) fn pools(fleet: &Fleet<'_>) -> Vec<Problem> {
    let left = left(fleet).into_iter();
    left.map(|(pool, left)| pool_problem(fleet, &pool, &left))
        .collect()
}

fn left<'a>(fleet: &Fleet<'a>) -> BTreeMap<PoolName, Left<'a>> {
    let mut all: BTreeMap<PoolName, Left<'a>> = BTreeMap::new();
    for (_, machine) in &fleet.machines {
        let left = all.entry(machine.pool().clone()).or_default();
        left.machines.push((*machine).clone());
    }
    let looks = fleet.seen.looks.values().flatten();
    let executors = looks.flat_map(|look| &look.executors);
    let ours = executors.filter(|executor| executor.fleet.as_ref() == Some(&fleet.seen.fleet));
    for executor in ours {
        let pool = NameParts::of(&executor.name).and_then(|name| name.pool.parse().ok());
        if let Some(pool) = pool {
            all.entry(pool).or_default().executors.push(executor);
        }
    }
    all.retain(|pool, _| !fleet.seen.pools.contains_key(pool));
    all
}

fn pool_problem(fleet: &Fleet<'_>, pool: &PoolName, left: &Left<'_>) -> Problem {
    let what = format!(
        "pool {pool} is not configured, and has {} and {}",
        counted(left.machines.len(), "machine"),
        counted(left.executors.len(), "executor"),
    );
    let memory = memory(fleet, pool);
    let joins = memory.and_then(|memory| memory.joins.as_ref());
    let why = fleet.seen.servers.why_left_alone(&left.machines, joins);
    let advice = match why {
        _ if left.machines.is_empty() => {
            let online = left.executors.iter().filter(|it| is_heard_of(it)).count();
            let away = left.executors.len() - online;
            format!(
                "an active scaler removes those that are offline ({away}) once it has watched them for ten minutes; {online} that the CI server hears of have machines that nobody lists, and stay"
            )
        }
        // it may know more of them
        Some(why) if memory.is_none() => format!(
            "as far as can be told without scaler's memory of it nothing leaves, since {why}: look at `parmanu status`, else delete its machines by hand or configure the pool again with `max: 0`"
        ),
        Some(why) => format!(
            "nothing of it leaves, since {why}: delete its machines by hand, or configure the pool again with `max: 0`"
        ),
        None => "an active scaler lets its machines leave as they become idle, ten minutes after they were made; without one, `parmanu reap` does".to_owned(),
    };
    Problem::new("former_pool", what, advice)
}

/// What scaler remembers of a pool, if that could be read.
fn memory<'a>(fleet: &Fleet<'a>, pool: &PoolName) -> Option<&'a PoolMemory> {
    let record = fleet.seen.record.as_ref()?.as_ref().ok()?;
    record.pools.get(pool)?.memory.as_ref()
}

/// Each provider that is not configured, or stands somewhere else now, and where machines were listed last that nobody lists now.
pub(super) fn providers(fleet: &Fleet<'_>) -> Vec<Problem> {
    let record = fleet.seen.record.iter().flatten();
    let memories = record.flat_map(|record| record.pools.values());
    let memories = memories.filter_map(|pool| pool.memory.as_ref());
    let mut gone: BTreeMap<(&ProviderName, &str), BTreeSet<&InstanceName>> = BTreeMap::new();
    for (provider, last) in memories.flat_map(|memory| &memory.listed) {
        if scaler::is_listed(&fleet.seen.places, provider, last) {
            continue;
        }
        let machines = last.machines.iter().filter(|name| !fleet.is_listed(name));
        gone.entry((provider, &last.place))
            .or_default()
            .extend(machines);
    }
    gone.retain(|_, machines| !machines.is_empty());
    let gone = gone.into_iter().map(|((provider, place), machines)| {
        let place = if place.is_empty() { String::new() } else { format!(" ({place})") };
        Problem::new(
            "former_provider",
            format!(
                "{provider}{place} is not in the configuration any more, and had {}",
                counted(machines.len(), "machine")
            ),
            "a scaler that ran when it was taken out lists it until they have left (`parmanu status` says so); else nobody does, and they count against max: put it back, or `parmanu confirm` that they are gone",
        )
    });
    gone.collect()
}
