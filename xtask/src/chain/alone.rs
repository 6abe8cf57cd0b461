//! Parmanu is gone for good: what its machines do by themselves.
//!
//! Two builds begin, and all services are killed. One machine's mark `expires` is put into the past, as time would; the
//! other's still lies an hour ahead. The first must let its build end and power off, the second must stay until it is asked to
//! drain. Meanwhile an operator has `parmanu reap` and `parmanu doctor` look at them, which need no service: the first machine
//! stays as long as its build runs, and is deleted when it is off. Then the services come back, and clear up what is left.

use std::time::Duration;

use super::look::{self, Look};
use super::operator::{WHO, WRONG};
use super::stage::Stage;
use super::story::Teller;
use crate::command::{now, sleep, wait_until};

/// Builds that are begun for this.
pub(crate) const BUILDS: usize = 2;
const BUILDER: &str = "linux";
/// Long enough for the operator's commands, each of which is to see the build running.
const BUILD_SECONDS: u32 = 12;

/// A mark that is over.
const LONG_AGO: &str = "2026-01-01T00:00:00Z";

const MARK_LIMIT: Duration = Duration::from_secs(20);

/// So long the machine that is wanted is watched beyond the end of the other: many looks of its guest.
const STAYS_FOR: Duration = Duration::from_secs(8);

const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// What was seen.
pub(crate) struct Alone {
    /// What was not as promised.
    pub(crate) facts: Vec<String>,
    /// What `parmanu reap` did that it must not, or did not do.
    pub(crate) reap: Vec<String>,
    /// What `parmanu doctor` did not name.
    pub(crate) doctor: Vec<String>,
}

/// Plays it; `None` when the builds did not begin, which the story then says by standing still.
pub(crate) fn play(stage: &mut Stage, teller: &mut Teller) -> anyhow::Result<Option<Alone>> {
    for _ in 0..BUILDS {
        look::force(BUILDER, BUILD_SECONDS)?;
    }
    teller.say("chain", "two more builds are asked for");
    let Some(look) = teller.until(stage, |look| running(look).len() == BUILDS)? else {
        return Ok(None);
    };
    stage.probot.kill()?;
    for scaler in &mut stage.scalers {
        scaler.kill()?;
    }
    let builds = running(&look);
    // the one that began last has the most of its build ahead
    let (wanted, (build, forgotten)) = (builds[0].1.clone(), builds[1].clone());
    // LXD refuses as long as the start is not over on its side
    wait_until("the mark", MARK_LIMIT, || {
        Ok(look::mark(&forgotten, "expires", LONG_AGO).ok())
    })?;
    teller.say("FAULT", &format!("all services are gone for good; nobody has renewed {forgotten}, and {wanted} is wanted for an hour"));
    let mut alone = Alone {
        facts: Vec::new(),
        // before the reaper's cordon, which a doctor would have to name too
        doctor: named_by_doctor(stage, teller, &forgotten)?,
        reap: left_by_reap(stage, teller, build, &forgotten)?,
    };
    match teller.until(stage, |look| is_off(look, &forgotten))? {
        None => alone.facts.push(format!("{forgotten} did not power off")),
        Some(look) => {
            let queue = look.queue.as_ref();
            let ended = queue.and_then(|queue| queue.builds.get(&build));
            if ended.and_then(|build| build.results) != Some(0) {
                let what = format!("{forgotten} powered off, and its build was {ended:?}");
                alone.facts.push(what);
            }
            let deleted = format!("{forgotten}: deleted");
            alone.reap.extend(reap(stage, teller, &deleted, 0)?);
        }
    }
    let stayed = stays(stage, teller, &wanted)?;
    alone.facts.extend(stayed);
    stage.probot.start()?;
    for scaler in &mut stage.scalers {
        scaler.start()?;
    }
    teller.say("chain", "the services are back");
    Ok(Some(alone))
}

/// Runs the reaper while the build runs: the machine must stay, and the exit code must say so.
fn left_by_reap(
    stage: &mut Stage,
    teller: &mut Teller,
    build: u64,
    machine: &str,
) -> anyhow::Result<Vec<String>> {
    let mut facts = reap(stage, teller, &format!("{machine}: stayed"), WRONG)?;
    let look = teller.look(stage)?;
    let queue = look.queue.as_ref();
    let build = queue.and_then(|queue| queue.builds.get(&build));
    if build.is_none_or(|build| build.results.is_some()) {
        facts.push(format!("the build was not seen to run any more: {build:?}"));
    }
    Ok(facts)
}

/// Runs the reaper, which must end with this code and do this and nothing else.
fn reap(stage: &Stage, teller: &mut Teller, fate: &str, code: i32) -> anyhow::Result<Vec<String>> {
    let reap = stage.operator.reap()?;
    let fates = reap.fates();
    teller.say(WHO, &format!("runs `parmanu reap`: {}", fates.join(", ")));
    let mut facts = reap.ends_with("parmanu reap", code);
    if fates != [fate] {
        facts.push(format!("not {fate}, but {fates:?}"));
    }
    Ok(facts)
}

/// Looks at the fleet without any service: what is wrong must be named, and nothing else.
fn named_by_doctor(
    stage: &Stage,
    teller: &mut Teller,
    machine: &str,
) -> anyhow::Result<Vec<String>> {
    let doctor = stage.operator.doctor()?;
    let wrong = doctor.wrong();
    teller.say(WHO, &format!("runs `parmanu doctor`: {}", wrong.join(", ")));
    let mut facts = doctor.ends_with("parmanu doctor", WRONG);
    let named = format!("{machine}: expired");
    if !wrong.contains(&named) {
        facts.push(format!("it named {wrong:?}"));
    }
    let of_others = |wrong: &&String| !wrong.starts_with(&format!("{machine}: "));
    let others = wrong.iter().filter(of_others);
    facts.extend(others.map(|wrong| format!("it named {wrong} too")));
    Ok(facts)
}

/// Watches the machine that is wanted, and then asks it to drain.
fn stays(stage: &mut Stage, teller: &mut Teller, wanted: &str) -> anyhow::Result<Option<String>> {
    let start = now();
    while start.elapsed() < STAYS_FOR {
        if is_off(&teller.look(stage)?, wanted) {
            return Ok(Some(format!("{wanted} did not stay")));
        }
        sleep(BETWEEN_LOOKS);
    }
    look::mark(wanted, "drain", "kernel update")?;
    teller.say("chain", &format!("{wanted} is asked to drain"));
    let off = teller.until(stage, |look| is_off(look, wanted))?;
    Ok(off.is_none().then(|| format!("{wanted} did not drain")))
}

/// Builds that run on machines that are known, with these machines.
fn running(look: &Look) -> Vec<(u64, String)> {
    let (Some(queue), Some(machines)) = (&look.queue, &look.machines) else {
        return Vec::new();
    };
    let running = queue
        .builds
        .iter()
        .filter(|(_, build)| build.results.is_none());
    let machine = |worker| {
        let mut all = machines.iter();
        all.find(|(_, machine)| machine.worker == Some(worker))
    };
    let on = running.filter_map(|(id, build)| Some((*id, machine(build.worker)?.0.clone())));
    on.collect()
}

/// Whether the machine was seen not to run; a provider that does not answer says nothing.
fn is_off(look: &Look, machine: &str) -> bool {
    let machines = look.machines.as_ref();
    machines.is_some_and(|machines| {
        let machine = machines.get(machine);
        machine.is_none_or(|machine| machine.status != "Running")
    })
}
