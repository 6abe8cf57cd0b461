//! An operator's order and a changed boot script, on a fleet that has nothing to do.
//!
//! Pool `docs` is given one machine for some minutes, by the scaler that stands by, and the one that acts has the order. Then
//! the boot script changes: another machine joins before the first leaves. Then the configuration gives machines an age, and one
//! reaches it while it builds (`age.rs`). Then it makes machines single-use, and
//! two builds come: each has a machine of its own, although the pool has one. A second order takes the place of the first, and
//! ends by itself after seconds; the rules decide again, and the last machine leaves like any other.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use serde_json::Value;

use super::age;
use super::look::{self, Look};
use super::operator::{Said, WHO};
use super::stage::{BOOT_SCRIPT, MACHINES, SCALERS, Stage};
use super::story::Teller;
use crate::command::{now, wait_until};
use crate::image::Image;

pub(crate) const POOL: &str = "docs";
const ORDER: &str = "pin:docs";
const BECAUSE: &str = "documents are due tonight";

/// Builds that are begun for this.
pub(crate) const BUILDS: usize = 2;
/// Long enough for a changed configuration to be read and for the cordon of the next probe, while the first of them runs.
const BUILD_SECONDS: u32 = 10;

/// Where the file of the machines gets the key, and how the key begins.
const MACHINE: &str = "  worker:\n";
const REUSE: &str = "    reuse:";

/// Far longer than a machine takes to come and another to take its place.
const LONG: &str = "10m";
/// So that its end is seen.
const SHORT: &str = "3s";

/// A lease, and some looks at it.
const LEASE: Duration = Duration::from_secs(20);

/// What was seen.
pub(crate) struct Orders {
    /// What the order did not do.
    pub(crate) pin: Vec<String>,
    /// What the changed boot script did not do.
    pub(crate) change: Vec<String>,
    /// What the machine of age did not do.
    pub(crate) age: Vec<String>,
    /// What single-use machines did not do.
    pub(crate) reuse: Vec<String>,
}

/// Plays it, with services that run and no machine.
pub(crate) fn play(stage: &mut Stage, teller: &mut Teller, image: Image) -> anyhow::Result<Orders> {
    let [active, standby] = roles()?;
    let pinned = ["pin", POOL, "1"];
    let ordered = stage.operator.order(standby, &pinned, LONG, BECAUSE)?;
    teller.say(
        WHO,
        &format!("pins {POOL} to 1 for {LONG}, at the scaler that stands by"),
    );
    let mut pin = ordered.ends_with("parmanu pin", 0);
    let (mut change, mut age, mut reuse) = (Vec::new(), Vec::new(), Vec::new());
    let operator = stage.operator.clone();
    let shown = |_: &Look| operator.overrides(active).is_ok_and(|said| is_shown(&said));
    if teller.until(stage, shown)?.is_none() {
        pin.push("the scaler that acts does not show the order, its author and its reason".into());
    }
    match teller.until(stage, |look| joined(look).len() == 1)? {
        None => pin.push("no machine came of the order".to_owned()),
        Some(look) => {
            let since = now();
            change = replaced(stage, teller, &joined(&look)[0])?;
            age = age::play(stage, teller, since, image)?;
            reuse = single_use(stage, teller)?;
        }
    }
    let ordered = stage.operator.order(active, &pinned, SHORT, BECAUSE)?;
    pin.extend(ordered.ends_with("parmanu pin", 0));
    teller.say(WHO, &format!("pins {POOL} to 1 for {SHORT} only"));
    let none = |said: Said| said.orders().is_some_and(<[Value]>::is_empty);
    let over = |_: &Look| operator.overrides(active).is_ok_and(none);
    match teller.until(stage, over)? {
        Some(_) => teller.say("chain", "no order is in force any more"),
        None => pin.push(format!("an order for {SHORT} is still in force")),
    }
    Ok(Orders {
        pin,
        change,
        age,
        reuse,
    })
}

/// The addresses of the scaler that acts and of the one that stands by, as soon as they say so.
pub(crate) fn roles() -> anyhow::Result<[&'static str; 2]> {
    let [first, second] = SCALERS.map(|(_, listen)| listen);
    wait_until("a scaler that acts", LEASE, || {
        Ok(match [first, second].map(look::leads) {
            [Some(true), Some(false)] => Some([first, second]),
            [Some(false), Some(true)] => Some([second, first]),
            _ => None,
        })
    })
}

/// Gives the machines these keys of `reuse`, in place of those that they have.
pub(crate) fn reuse(keys: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(MACHINES)?;
    let others = text.split_inclusive('\n');
    let others: String = others.filter(|line| !line.starts_with(REUSE)).collect();
    let changed = others.replacen(MACHINE, &format!("{MACHINE}{REUSE} {{ {keys} }}\n"), 1);
    // as editors do it: a half-written file is a file that cannot be used
    let beside = format!("{MACHINES}.new");
    std::fs::write(&beside, changed)?;
    std::fs::rename(&beside, MACHINES)?;
    Ok(())
}

/// Whether this is a list with the order in it as it was given.
fn is_shown(said: &Said) -> bool {
    let is_it =
        |order: &Value| order["id"] == ORDER && order["who"] == WHO && order["because"] == BECAUSE;
    said.orders().is_some_and(|orders| orders.iter().any(is_it))
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

/// Makes machines single-use and asks for two builds; what was not as promised of them.
fn single_use(stage: &mut Stage, teller: &mut Teller) -> anyhow::Result<Vec<String>> {
    reuse("max_jobs: 1")?;
    for _ in 0..BUILDS {
        look::force(POOL, BUILD_SECONDS)?;
    }
    teller.say(WHO, "makes machines single-use, and asks for two builds");
    let Some(look) = teller.until(stage, |look| running(look).is_some())? else {
        return Ok(vec!["no build began".to_owned()]);
    };
    let Some((first, worker)) = running(&look) else {
        return Ok(vec!["no build began".to_owned()]);
    };
    let mut facts = Vec::new();
    let over = |look: &Look| running(look).is_none_or(|(machine, _)| machine != first);
    let cordoned = |look: &Look| is_cordoned(look, worker);
    let seen = teller.until(stage, |look| cordoned(look) || over(look))?;
    if seen.is_none_or(|look| over(&look)) {
        facts.push(format!("{first} was not cordoned while its last build ran"));
    }
    let another = |look: &Look| running(look).is_some_and(|(machine, _)| machine != first);
    if teller.until(stage, another)?.is_none() {
        facts.push(format!("the second build did not begin beside {first}"));
    }
    Ok(facts)
}

/// Whether a worker is kept from new builds.
pub(crate) fn is_cordoned(look: &Look, worker: u64) -> bool {
    let workers = look.queue.iter().flat_map(|queue| &queue.workers);
    let mut paused = workers.filter(|(_, it)| it.paused);
    paused.any(|(id, _)| *id == worker)
}

/// The machine of the pool that runs a build, and its worker.
pub(crate) fn running(look: &Look) -> Option<(String, u64)> {
    let (queue, machines) = (look.queue.as_ref()?, look.machines.as_ref()?);
    let runs = |worker| {
        let mut builds = queue.builds.values();
        builds.any(|build| build.worker == worker && build.results.is_none())
    };
    let mut of_pool = machines.iter().filter(|(_, it)| it.pool == POOL);
    of_pool.find_map(|(name, it)| Some((name.clone(), it.worker.filter(|id| runs(*id))?)))
}

/// The pool's machines whose workers are connected.
pub(crate) fn joined(look: &Look) -> Vec<String> {
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
