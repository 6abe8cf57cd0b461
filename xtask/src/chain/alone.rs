//! Parmanu is gone for good: what its machines do by themselves.
//!
//! Two builds begin, and all services are killed. One machine's mark `expires` is put into the past, as time would; the
//! other's still lies an hour ahead. The first must let its build end and power off, the second must stay until it is asked to
//! drain. Then the services come back, and clear up what is left.

use std::time::Duration;

use super::look::{self, Look};
use super::stage::Stage;
use super::story::Teller;
use crate::command::{now, sleep, wait_until};

/// Builds that are begun for this.
pub(crate) const BUILDS: usize = 2;
const BUILDER: &str = "linux";

/// A mark that is over.
const LONG_AGO: &str = "2026-01-01T00:00:00Z";

/// A machine that boots, a build of 6 s, some looks of the guest, and a power-off.
const LIMIT: Duration = Duration::from_secs(120);

const MARK_LIMIT: Duration = Duration::from_secs(20);

/// So long the machine that is wanted is watched beyond the end of the other: many looks of its guest.
const STAYS_FOR: Duration = Duration::from_secs(8);

const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// What was seen.
pub(crate) struct Alone {
    /// What was not as promised.
    pub(crate) facts: Vec<String>,
}

/// Plays it; `None` when the builds did not begin, which the story then says by standing still.
pub(crate) fn play(stage: &mut Stage, teller: &mut Teller) -> anyhow::Result<Option<Alone>> {
    for _ in 0..BUILDS {
        look::force(BUILDER)?;
    }
    teller.say("chain", "two more builds are asked for");
    let Some(look) = until(stage, teller, |look| running(look).len() == BUILDS)? else {
        return Ok(None);
    };
    stage.probot.kill()?;
    for scaler in &mut stage.scalers {
        scaler.kill()?;
    }
    let builds = running(&look);
    let (forgotten, wanted) = (builds[0].1.clone(), builds[1].1.clone());
    // LXD refuses as long as the start is not over on its side
    wait_until("the mark", MARK_LIMIT, || {
        Ok(look::mark(&forgotten, "expires", LONG_AGO).ok())
    })?;
    teller.say("FAULT", &format!("all services are gone for good; nobody has renewed {forgotten}, and {wanted} is wanted for an hour"));

    let mut facts = Vec::new();
    let off = |look: &Look| status(look, &forgotten).is_some_and(|status| status != "Running");
    match until(stage, teller, off)? {
        None => facts.push(format!("{forgotten} did not power off")),
        Some(look) => {
            let ended = look
                .queue
                .as_ref()
                .and_then(|queue| queue.builds.get(&builds[0].0));
            if ended.and_then(|build| build.results) != Some(0) {
                facts.push(format!(
                    "{forgotten} powered off, and its build was {ended:?}"
                ));
            }
        }
    }
    let start = now();
    while start.elapsed() < STAYS_FOR {
        let look = teller.look(stage)?;
        if status(&look, &wanted).is_some_and(|status| status != "Running") {
            facts.push(format!("{wanted} did not stay"));
            break;
        }
        sleep(BETWEEN_LOOKS);
    }
    look::mark(&wanted, "drain", "kernel update")?;
    teller.say("chain", &format!("{wanted} is asked to drain"));
    let off = |look: &Look| status(look, &wanted).is_some_and(|status| status != "Running");
    if facts.is_empty() && until(stage, teller, off)?.is_none() {
        facts.push(format!("{wanted} did not drain"));
    }
    stage.probot.start()?;
    for scaler in &mut stage.scalers {
        scaler.start()?;
    }
    teller.say("chain", "the services are back");
    Ok(Some(Alone { facts }))
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

fn status<'a>(look: &'a Look, machine: &str) -> Option<&'a str> {
    // what does not answer says nothing
    let machines = look.machines.as_ref()?;
    Some(
        machines
            .get(machine)
            .map_or("gone", |machine| &machine.status),
    )
}

/// The first look of which this holds, if it comes in time.
fn until(
    stage: &mut Stage,
    teller: &mut Teller,
    holds: impl Fn(&Look) -> bool,
) -> anyhow::Result<Option<Look>> {
    let start = now();
    while start.elapsed() < LIMIT {
        let look = teller.look(stage)?;
        if look.queue.is_some() && look.machines.is_some() && holds(&look) {
            return Ok(Some(look));
        }
        sleep(BETWEEN_LOOKS);
    }
    Ok(None)
}
