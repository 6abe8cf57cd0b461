//! Between the contract and ours: tags, replies, and what may be believed of them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::{
    CreateBatch, FleetId, Generation, InstallationId, Instance, InstanceName, InstanceState,
    Listing, Owner, ProviderName, ProviderRef,
};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use crate::config::Offer;
use crate::error::Failure;
use crate::program::Said;
use crate::wire::{Creation, ErrorReply, Fared, ListReply, Machine, Refusal, Row, Target, VERSION};
use crate::words::Words;

/// What our tags begin with.
pub(crate) const MARK: &str = "parmanu-";
/// Longest id of a machine; it stands in each record of it.
const LONGEST_ID: usize = 512;
/// Most parts that could not be seen are named so often; one is enough to know that the list is not whole.
const MOST_UNKNOWN: usize = 20;
/// How long a new machine is wanted without anybody saying so again: long enough for its first renewal.
const WANTED_FOR: std::time::Duration = std::time::Duration::from_secs(3600);

/// Reads a reply: the version first, then a refusal of the whole request, then what was asked for.
pub(crate) fn reply<T: DeserializeOwned>(said: &Said) -> Result<T, Failure> {
    if said.reply.iter().all(u8::is_ascii_whitespace) {
        return Err(Failure::bad_answer(
            "it ended well and wrote no reply to its standard output",
        ));
    }
    let head: Head = serde_json::from_slice(&said.reply).map_err(|error| {
        Failure::bad_answer("its standard output is not one JSON reply").because(error)
    })?;
    match head.version {
        Some(version) if version.as_u64() == Some(VERSION) => {}
        Some(version) => {
            let message = format!(
                "it speaks version {} of the contract, and this is version {VERSION}",
                said.words.fit(&version.to_string())
            );
            return Err(Failure::bad_answer(message));
        }
        None => {
            let message = format!("its reply has no `version`; write \"version\": {VERSION}");
            return Err(Failure::bad_answer(message));
        }
    }
    if head.error.is_some() {
        let refused: ErrorReply = typed(&said.reply)?;
        return Err(Failure::said(&refused.error, &said.words));
    }
    typed(&said.reply)
}

/// What is read of every reply first; the rest is only passed over, for it may be large.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    version: Option<Value>,
    #[serde(default)]
    error: Option<IgnoredAny>,
}

/// The end of the text was seen when its head was read.
fn typed<T: DeserializeOwned>(reply: &[u8]) -> Result<T, Failure> {
    let mut text = serde_json::Deserializer::from_slice(reply);
    serde_path_to_error::deserialize(&mut text).map_err(|error| {
        let message = format!("its reply is wrong at `{}`", error.path());
        Failure::bad_answer(message).because(error.into_inner())
    })
}

/// The tags of the machines of a batch.
pub(crate) fn tags(batch: &CreateBatch, now: Timestamp) -> BTreeMap<String, String> {
    let expires = now.checked_add(WANTED_FOR).unwrap_or(now);
    let tags = [
        ("fleet", Some(batch.fleet.to_string())),
        ("installation", Some(batch.installation.to_string())),
        ("pool", Some(batch.batch.pool.to_string())),
        ("batch", Some(batch.batch.to_string())),
        ("epoch", Some(batch.batch.epoch.to_string())),
        ("offer", Some(batch.offer.to_string())),
        ("generation", Some(batch.generation.to_string())),
        ("executor", batch.executor.as_ref().map(ToString::to_string)),
        ("expires", Some(expires.to_string())),
    ];
    let tags = tags.into_iter();
    tags.filter_map(|(key, value)| Some((format!("{MARK}{key}"), value?)))
        .collect()
}

/// The request for a batch.
pub(crate) fn creation(
    batch: &CreateBatch,
    names: &[InstanceName],
    offer: Offer,
    now: Timestamp,
) -> Creation {
    Creation {
        fleet: batch.fleet.to_string(),
        names: names.iter().map(ToString::to_string).collect(),
        spec: offer.spec,
        market: offer.market,
        tags: tags(batch, now),
        user_data: batch.user_data.0.clone(),
        attempt: batch.attempt,
        // one account, so one zone as far as the token is concerned
        token: batch.token(""),
    }
}

/// A machine as it is named to the program.
pub(crate) fn target(instance: &Instance) -> Target {
    Target {
        name: instance.name.to_string(),
        id: instance.id.to_string(),
        scope: instance.scope.clone(),
        state: match &instance.state {
            InstanceState::Pending => "pending",
            InstanceState::Running => "running",
            InstanceState::Stopping => "stopping",
            InstanceState::Stopped => "stopped",
            InstanceState::Gone { .. } => "gone",
            InstanceState::Unknown { what } => what,
        }
        .to_owned(),
    }
}

/// Why a machine of a reply is not taken for one of ours.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Odd {
    /// It carries another fleet's mark, or none.
    Foreign,
    /// It carries our mark and cannot be read.
    Unreadable(String),
}

/// Reads a machine of this fleet.
pub(crate) fn instance(
    machine: Machine,
    fleet: &FleetId,
    provider: &ProviderName,
) -> Result<Instance, Odd> {
    let mark = |key: &str| {
        let value = machine.tags.get(&format!("{MARK}{key}"));
        value.map(String::as_str).filter(|value| !value.is_empty())
    };
    if mark("fleet") != Some(fleet.as_str()) {
        return Err(Odd::Foreign);
    }
    let unreadable = |why: String| Odd::Unreadable(why);
    let name: InstanceName = machine
        .name
        .parse()
        .map_err(|error| unreadable(format!("its name: {error}")))?;
    if mark("batch") != Some(name.batch.to_string().as_str()) {
        let why = "its name and its tag parmanu-batch do not agree";
        return Err(unreadable(why.to_owned()));
    }
    if machine.id.is_empty() || machine.id.len() > LONGEST_ID {
        let why = format!("its id is empty, or longer than {LONGEST_ID} bytes");
        return Err(unreadable(why));
    }
    // shown in logs and reasons, so no longer than other words
    let words = Words::default();
    let fit = |text: &Option<String>| {
        let text = text.as_deref().map(|text| words.fit(text));
        text.filter(|text| !text.is_empty())
    };
    Ok(Instance {
        id: ProviderRef::new(&machine.id),
        scope: fit(&machine.scope).unwrap_or_else(|| provider.to_string()),
        state: state(&words.fit(&machine.state), fit(&machine.why)),
        created_at: machine.created_at,
        owner: Owner {
            fleet: fleet.clone(),
            installation: mark("installation").map(InstallationId::new),
        },
        executor: mark("executor").and_then(|text| text.parse().ok()),
        offer: mark("offer").and_then(|text| text.parse().ok()),
        generation: mark("generation").map(Generation::new),
        notice: fit(&machine.notice),
        expires: mark("expires").and_then(|text| text.parse().ok()),
        name,
    })
}

fn state(word: &str, why: Option<String>) -> InstanceState {
    match word {
        "pending" => InstanceState::Pending,
        "running" => InstanceState::Running,
        "stopping" => InstanceState::Stopping,
        "stopped" => InstanceState::Stopped,
        "gone" => InstanceState::Gone { why },
        other => InstanceState::Unknown {
            what: other.to_owned(),
        },
    }
}

/// What a listing said beside our machines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Oddities {
    /// How many machines were not ours, and the name of one.
    pub(crate) foreign: Option<(usize, String)>,
    /// Machines with our mark that cannot be read: name, and why.
    pub(crate) unreadable: Vec<(String, String)>,
}

/// Reads a listing. Others' machines are dropped, and said.
pub(crate) fn listing(
    reply: ListReply,
    fleet: &FleetId,
    provider: &ProviderName,
    words: &Words,
) -> (Listing, Oddities) {
    let mut listing = Listing {
        instances: Vec::with_capacity(reply.machines.len()),
        unknown: unseen(&reply.unknown, words),
    };
    let mut odd = Oddities::default();
    let mut seen = BTreeSet::new();
    for machine in reply.machines {
        let name = words.fit(&machine.name);
        match instance(machine, fleet, provider) {
            // the same machine twice is one; two machines of one name are two
            Ok(machine) if !seen.insert((machine.name.clone(), machine.id.clone())) => {}
            Ok(machine) => listing.instances.push(machine),
            Err(Odd::Foreign) => {
                let (count, _) = odd.foreign.get_or_insert((0, name));
                *count += 1;
            }
            Err(Odd::Unreadable(why)) => odd.unreadable.push((name, why)),
        }
    }
    (listing, odd)
}

fn unseen(parts: &[String], words: &Words) -> Vec<String> {
    let named = parts.iter().take(MOST_UNKNOWN);
    let mut named: Vec<_> = named.map(|part| words.fit(part)).collect();
    if let Some(more @ 1..) = parts.len().checked_sub(MOST_UNKNOWN) {
        named.push(format!("and {more} more"));
    }
    named
}

/// Sorts the rows of a change by the machines that were asked for.
///
/// # Errors
///
/// A row about a machine that was not asked for: a program that does something else than what it was told is not believed
/// about the rest either.
pub(crate) fn rows(
    rows: Vec<Row>,
    names: &[InstanceName],
    words: &Words,
) -> Result<Vec<Result<Row, Failure>>, Failure> {
    let mut by_name: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in rows {
        by_name.entry(row.name.clone()).or_default().push(row);
    }
    let found = names.iter().map(|name| {
        let mut rows = by_name.remove(&name.to_string()).unwrap_or_default();
        match (rows.pop(), rows.is_empty()) {
            (Some(row), true) => Ok(row),
            (None, _) => Err(Failure::bad_answer(format!(
                "its reply says nothing of {name}"
            ))),
            (Some(_), false) => Err(Failure::bad_answer(format!(
                "its reply speaks twice of {name}"
            ))),
        }
    });
    let found: Vec<_> = found.collect();
    match by_name.keys().next() {
        None => Ok(found),
        Some(other) => Err(Failure::bad_answer(format!(
            "its reply speaks of {}, which it was not asked about: nothing of it is believed",
            words.fit(other)
        ))),
    }
}

/// How one machine of a change fared: `Ok` if it was done.
pub(crate) fn done(row: Row, words: &Words) -> Result<Option<Machine>, Failure> {
    let refusal = |error: Option<Refusal>| {
        error.ok_or_else(|| {
            Failure::bad_answer(format!(
                "its reply gives no `error` for {}, which was not done",
                words.fit(&row.name)
            ))
        })
    };
    match row.outcome {
        Fared::Done => Ok(row.machine),
        Fared::Failed => Err(Failure::said(&refusal(row.error)?, words)),
        Fared::Unknown => {
            let mut failure = Failure::said(&refusal(row.error)?, words);
            failure.fate = crate::error::Fate::Unknown;
            Err(failure)
        }
    }
}

/// The machine that a creation gave, if it is the one that was asked for.
pub(crate) fn created(
    machine: Option<Machine>,
    name: &InstanceName,
    fleet: &FleetId,
    provider: &ProviderName,
) -> Result<Instance, Failure> {
    let Some(machine) = machine else {
        let message = format!("its reply gives no `machine` for {name}, which is done");
        return Err(Failure::bad_answer(message));
    };
    match instance(machine, fleet, provider) {
        Ok(machine) if machine.name == *name => Ok(machine),
        Ok(machine) => Err(Failure::bad_answer(format!(
            "its reply gives the machine {} for {name}",
            machine.name
        ))),
        Err(Odd::Foreign) => Err(Failure::bad_answer(format!(
            "the machine that its reply gives for {name} does not carry the tag parmanu-fleet of {fleet}"
        ))),
        Err(Odd::Unreadable(why)) => Err(Failure::bad_answer(format!(
            "the machine that its reply gives for {name} cannot be read: {why}"
        ))),
    }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
