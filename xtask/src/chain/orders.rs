//! An operator's order and a changed boot script, on a fleet that has nothing to do.
//!
//! Pool `docs` is given one machine for some minutes, by the scaler that stands by, and the one that acts has the order. Then
//! the boot script changes: another machine joins before the first leaves. A second order takes the place of the first, and
//! ends by itself after seconds; the rules decide again, and the machine leaves like any other.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use serde_json::Value;

use super::look::{self, Look};
use super::operator::WHO;
use super::stage::{BOOT_SCRIPT, SCALERS, Stage};
use super::story::Teller;
use crate::command::wait_until;

const POOL: &str = "docs";
const ORDER: &str = "pin:docs";
const BECAUSE: &str = "documents are due tonight";

/// Far longer than a machine takes to come and another to take its place.
const LONG: &str = "10m";
/// So that its end is seen.
const SHORT: &str = "3s";

/// A replica that does not act has an order within five seconds (docs/operations.md), and a verb is a process.
const HEARD_WITHIN: Duration = Duration::from_secs(20);

/// What was seen.
pub(crate) struct Orders {
    /// What the order did not do.
    pub(crate) pin: Vec<String>,
    /// What the changed boot script did not do.
    pub(crate) change: Vec<String>,
}

/// Plays it, with services that run and no machine.
pub(crate) fn play(stage: &mut Stage, teller: &mut Teller) -> anyhow::Result<Orders> {
    let [active, standby] = wait_until("a scaler that acts", HEARD_WITHIN, || Ok(roles()))?;
    let ordered = stage.operator.pin(standby, POOL, "1", LONG, BECAUSE)?;
    teller.say(
        WHO,
        &format!("pins {POOL} to 1 for {LONG}, at the scaler that stands by"),
    );
    let mut pin = ordered.ends_with("parmanu pin", 0);
    let mut change = Vec::new();
    if in_force(stage, active)?.is_none() {
        pin.push("the scaler that acts does not show the order, its author and its reason".into());
    }
    match teller.until(stage, |look| joined(look).len() == 1)? {
        None => pin.push("no machine came of the order".to_owned()),
        Some(look) => change = replaced(stage, teller, &joined(&look)[0])?,
    }
    let ordered = stage.operator.pin(active, POOL, "1", SHORT, BECAUSE)?;
    pin.extend(ordered.ends_with("parmanu pin", 0));
    teller.say(WHO, &format!("pins {POOL} to 1 for {SHORT} only"));
    let over = wait_until("the end of the order", HEARD_WITHIN, || {
        let answer = stage.operator.overrides(active)?.answer;
        let empty = answer["overrides"].as_array().is_some_and(Vec::is_empty);
        Ok(empty.then_some(()))
    });
    match over {
        Ok(()) => teller.say("chain", "no order is in force any more"),
        Err(error) => pin.push(error.to_string()),
    }
    Ok(Orders { pin, change })
}

/// The addresses of the scaler that acts and of the one that stands by, as soon as they say so.
fn roles() -> Option<[&'static str; 2]> {
    let [first, second] = SCALERS.map(|(_, listen)| listen);
    match [first, second].map(look::leads) {
        [Some(true), Some(false)] => Some([first, second]),
        [Some(false), Some(true)] => Some([second, first]),
        _ => None,
    }
}

/// Waits until this scaler shows the order as it was given.
fn in_force(stage: &Stage, scaler: &str) -> anyhow::Result<Option<()>> {
    let seen = wait_until("the order", HEARD_WITHIN, || {
        let answer = stage.operator.overrides(scaler)?.answer;
        let mut all = answer["overrides"].as_array().into_iter().flatten();
        let is_it = |order: &Value| {
            order["id"] == ORDER && order["who"] == WHO && order["because"] == BECAUSE
        };
        Ok(all.any(is_it).then_some(()))
    });
    Ok(seen.ok())
}

/// Changes the boot script; what was not as promised of the machine that takes this one's place.
fn replaced(stage: &mut Stage, teller: &mut Teller, old: &str) -> anyhow::Result<Vec<String>> {
    let mut script = OpenOptions::new().append(true).open(BOOT_SCRIPT)?;
    script.write_all(b"# changed by an operator\n")?;
    teller.say(WHO, "changes the boot script");
    let mut facts = Vec::new();
    let another = |look: &Look| joined(look).iter().any(|name| name != old);
    let is_there = |look: &Look| {
        let machines = look.machines.as_ref();
        machines.is_some_and(|machines| machines.contains_key(old))
    };
    match teller.until(stage, |look| another(look) || !is_there(look))? {
        None => facts.push(format!("no other machine joined for {old}")),
        // a look that shows both does not tell which was first; the settle time lies between them
        Some(look) if !another(&look) => {
            facts.push(format!("{old} left before another had joined"));
        }
        Some(_) => {}
    }
    if facts.is_empty()
        && teller
            .until(stage, |look| another(look) && !is_there(look))?
            .is_none()
    {
        facts.push(format!("{old} stayed beside the one that took its place"));
    }
    Ok(facts)
}

/// The pool's machines whose workers are connected.
fn joined(look: &Look) -> Vec<String> {
    let (Some(queue), Some(machines)) = (&look.queue, &look.machines) else {
        return Vec::new();
    };
    let connected = |id: Option<u64>| {
        let worker = id.and_then(|id| queue.workers.get(&id));
        worker.is_some_and(|worker| worker.connected)
    };
    let of_pool = machines.iter().filter(|(_, it)| it.pool == POOL);
    let joined = of_pool.filter(|(_, it)| connected(it.worker));
    joined.map(|(name, _)| name.clone()).collect()
}
