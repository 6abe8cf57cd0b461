//! A pool of machines that join no CI server (`executor: none`), under an operator's orders.
//!
//! A pin makes one, which is ready when it runs. A drain of it has another stand in before it leaves. A pause keeps what is there,
//! although nobody wants it any more; with its end the pool empties.

use std::time::Duration;

use super::look::Look;
use super::operator::WHO;
use super::orders::roles;
use super::stage::Stage;
use super::story::Teller;
use crate::command::{now, sleep};

pub(crate) const POOL: &str = "nodes";
pub(crate) const MAX: usize = 2;

const BECAUSE: &str = "a rehearsal";
/// Longer than this takes.
const LONG: &str = "10m";

/// Longer than an idle time, an order's way to the other replica, and a deletion: without the pause they would be gone.
const PAUSED: Duration = Duration::from_secs(12);

const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// What was seen.
pub(crate) struct Nodes {
    /// What was not as ordered.
    pub(crate) facts: Vec<String>,
}

/// Plays it, with services that run and no machine.
pub(crate) fn play(stage: &mut Stage, teller: &mut Teller) -> anyhow::Result<Nodes> {
    let mut facts = Vec::new();
    give(stage, teller, &["pin", POOL, "1"], &mut facts)?;
    match teller.until(stage, |look| up(look).len() == 1)? {
        None => facts.push("no machine came of the pin".to_owned()),
        Some(look) => {
            let first = up(&look)[0].clone();
            give(stage, teller, &["drain", "machine", &first], &mut facts)?;
            facts.extend(stood_in(stage, teller, &first)?);
            facts.extend(paused(stage, teller)?);
        }
    }
    Ok(Nodes { facts })
}

/// Gives an order to the scaler that acts.
fn give(
    stage: &Stage,
    teller: &mut Teller,
    order: &[&str],
    facts: &mut Vec<String>,
) -> anyhow::Result<()> {
    let [active, _] = roles()?;
    let words = order.join(" ");
    teller.say(WHO, &format!("orders: {words}"));
    let said = stage.operator.order(active, order, LONG, BECAUSE)?;
    facts.extend(said.ends_with(&words, 0));
    Ok(())
}

/// Watches the drain of this machine.
fn stood_in(stage: &mut Stage, teller: &mut Teller, first: &str) -> anyhow::Result<Vec<String>> {
    let mut facts = Vec::new();
    let another = |look: &Look| up(look).iter().any(|name| name != first);
    let is_there = |look: &Look| up(look).iter().any(|name| name == first);
    match teller.until(stage, |look| another(look) || !is_there(look))? {
        None => facts.push(format!("no other machine came for {first}")),
        Some(look) if !another(&look) => facts.push(format!("{first} left before another ran")),
        Some(_) => {}
    }
    let left = teller.until(stage, |look| !is_there(look))?;
    if left.is_none() {
        facts.push(format!("{first} stayed although it was drained"));
    }
    Ok(facts)
}

/// Pauses the pool, takes the pin back, and watches that nothing leaves until the pause is taken back too.
fn paused(stage: &mut Stage, teller: &mut Teller) -> anyhow::Result<Vec<String>> {
    let mut facts = Vec::new();
    give(stage, teller, &["pause", POOL], &mut facts)?;
    let [active, _] = roles()?;
    let pin = format!("pin:{POOL}");
    let said = stage
        .operator
        .tell(active, &["overrides", "--remove", &pin])?;
    facts.extend(said.ends_with("overrides --remove", 0));
    teller.say(WHO, "takes the pin back, and the pause stays");
    let Some(look) = teller.until(stage, |_| true)? else {
        facts.push("nobody says which machines there are".to_owned());
        return Ok(facts);
    };
    let stays = up(&look);
    let start = now();
    while start.elapsed() < PAUSED {
        let look = teller.look(stage)?;
        if look.machines.is_some() && up(&look) != stays {
            facts.push(format!("{stays:?} did not stay as they were in the pause"));
            break;
        }
        sleep(BETWEEN_LOOKS);
    }
    let said = stage.operator.tell(active, &["resume", POOL])?;
    facts.extend(said.ends_with("parmanu resume", 0));
    teller.say(WHO, "takes the pause back");
    if teller.until(stage, |look| up(look).is_empty())?.is_none() {
        facts.push("machines stayed that nobody wants".to_owned());
    }
    Ok(facts)
}

/// The pool's machines that run.
fn up(look: &Look) -> Vec<String> {
    let machines = look.machines.iter().flatten();
    let of_pool = machines.filter(|(_, it)| it.pool == POOL && it.status == "Running");
    of_pool.map(|(name, _)| name.clone()).collect()
}
