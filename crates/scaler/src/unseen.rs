//! Machines that nobody lists any more, and that may still be there: their provider was taken out of the configuration, or
//! got another region or account under its name, while no scaler ran that went on listing it (`lister.rs`).
//!
//! The memory of each pool says where its machines were listed last. What stood at a place that no provider is at now is put
//! among the listings as a partial one: it counts against `max`, its executors are no ghosts, and nothing leaves there. That
//! lasts until the provider is put back, another one lists the machines, or an operator confirms that they are gone.
//!
//! A store that was wiped knows nothing of them; and of a pool that was removed together with its provider nothing is read, unless
//! executors of it are left at a CI server (`left_over.rs`).

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use engine::{FleetObservation, Observation};
use jiff::Timestamp;
use model::{
    Instance, InstanceName, InstanceState, LastListed, Owner, Policy, ProviderName, ProviderRef,
    Seen,
};

use crate::lister::{alive, earlier};
use crate::run::Fleet;

/// What one provider listed that is not there any more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Gone {
    /// Where it stood, in words.
    pub(crate) place: String,
    pub(crate) machines: BTreeSet<InstanceName>,
}

/// What nobody sees, by provider: the name it had, or one made from it where another one has it now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Unseen(pub(crate) BTreeMap<ProviderName, Gone>);

impl Unseen {
    /// What was listed somewhere where nobody looks any more, but for what an operator took for gone.
    pub(crate) fn of(
        fleet: &Fleet,
        seen: &FleetObservation,
        confirmed: &BTreeSet<ProviderName>,
    ) -> Unseen {
        let places = fleet.stands_at();
        // nearly always nobody asks for it
        let listed = LazyCell::new(|| -> HashSet<&InstanceName> {
            let listings = seen.listings.values().filter_map(Seen::any);
            listings.flatten().map(|machine| &machine.name).collect()
        });
        let mut unseen = Unseen::default();
        let memories = seen.pools.values().flat_map(|pool| &pool.memory.listed);
        for (name, last) in memories.filter(|(name, last)| !is_listed(&places, name, last)) {
            let named = earlier(name, |name| places.contains_key(name));
            if confirmed.contains(&named) {
                continue;
            }
            let missing = last.machines.iter().filter(|name| !listed.contains(name));
            let mut missing = missing.cloned().peekable();
            if missing.peek().is_some() {
                let gone = unseen.0.entry(named).or_default();
                gone.place.clone_from(&last.place);
                gone.machines.extend(missing);
            }
        }
        unseen
    }

    /// Lets the engine count them.
    pub(crate) fn add_to(&self, seen: &mut FleetObservation, now: Timestamp) {
        for (provider, gone) in &self.0 {
            let fleet = &seen.fleet;
            let machine = |name: &InstanceName| Instance {
                name: name.clone(),
                id: ProviderRef::new(name.to_string()),
                scope: String::new(),
                state: InstanceState::Unknown {
                    what: "its provider is not in the configuration any more".to_owned(),
                },
                created_at: None,
                owner: Owner {
                    fleet: fleet.clone(),
                    installation: None,
                },
                executor: None,
                offer: None,
                generation: None,
                notice: None,
                expires: None,
            };
            let listing = Seen::Partial {
                value: gone.machines.iter().map(machine).collect(),
                at: now,
                why: vec![format!(
                    "{} machines were listed there last, and nothing of the configuration looks there now: put the provider back, or `parmanu confirm` that they are gone",
                    gone.machines.len()
                )],
            };
            seen.listings.insert(provider.clone(), listing);
        }
    }

    /// Where the machines of one pool are, to be remembered: of what is listed where somebody looks. That none is where the
    /// pool has an offer is remembered too: whoever begins blind knows then that there is nothing to be counted.
    pub(crate) fn remember(
        &self,
        places: &BTreeMap<ProviderName, String>,
        policy: &Policy,
        seen: &Observation,
    ) -> BTreeMap<ProviderName, LastListed> {
        let mut all = BTreeMap::new();
        for (name, place) in places {
            let listing = seen.listings.get(name);
            let known = seen.seen.memory.listed.get(name);
            let known = known.filter(|known| at(place, known));
            let heard = listing.and_then(Seen::any);
            if heard.is_none() && known.is_none() {
                continue;
            }
            let machines = listing.into_iter().flat_map(alive);
            let mut machines: BTreeSet<_> = machines.map(|machine| machine.name.clone()).collect();
            let is_whole = matches!(listing, Some(Seen::Complete { .. }));
            if let Some(known) = known.filter(|_| !is_whole) {
                machines.extend(known.machines.iter().cloned());
            }
            let place = place.clone();
            all.insert(name.clone(), LastListed { place, machines });
        }
        let has_offer = |name: &ProviderName| policy.offers.iter().any(|it| it.provider == *name);
        all.retain(|name, last| !last.machines.is_empty() || has_offer(name));
        for (name, gone) in &self.0 {
            let machines = gone.machines.iter();
            let machines = machines.filter(|name| *name.pool() == policy.pool);
            let machines: BTreeSet<_> = machines.cloned().collect();
            if !machines.is_empty() {
                let place = gone.place.clone();
                all.insert(name.clone(), LastListed { place, machines });
            }
        }
        all
    }
}

/// Whether a provider of `places` stands where this one stood, so that its machines are listed; where nobody said where that was, the
/// name tells.
pub fn is_listed(
    places: &BTreeMap<ProviderName, String>,
    name: &ProviderName,
    last: &LastListed,
) -> bool {
    let stands_there = |place: &String| !place.is_empty() && *place == last.place;
    places.get(name).is_some_and(|place| at(place, last)) || places.values().any(stands_there)
}

fn at(place: &str, last: &LastListed) -> bool {
    place == last.place || place.is_empty() || last.place.is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const AT: &str = "2026-01-01T12:00:00Z";

    /// A pool with an offer at `aws`.
    fn policy() -> Policy {
        let span = |secs: u64| json!({"secs": secs, "nanos": 0});
        let offer = json!({
            "id": {"machine": "m", "index": 0}, "provider": "aws", "generation": "g", "price": null,
            "listing_lag": span(60), "batch_limit": 1, "least_billed": span(60),
        });
        let policy = json!({
            "pool": "linux", "emitter": null, "slots": 1, "min": 0, "max": 9,
            "boot": {"expect": span(60), "timeout": span(600)}, "executors": {"mode": "none"},
            "bootstrap": "shared", "offers": [offer], "rules": [],
            "trust": {"fresh_for": span(60), "on_stale": "hold"},
        });
        serde_json::from_value(policy).expect("a policy")
    }

    fn never() -> Value {
        json!({"seen": "never", "why": "connection refused"})
    }

    fn complete(machines: &[&str]) -> Value {
        let machine = |name: &&str| {
            json!({
                "name": name, "id": name, "scope": "a", "state": {"state": "running"}, "created_at": AT,
                "owner": {"fleet": "acme"}, "executor": null, "offer": null, "generation": null, "notice": null,
                "expires": null,
            })
        };
        let value: Vec<Value> = machines.iter().map(machine).collect();
        json!({"seen": "complete", "value": value, "at": AT})
    }

    fn partial(machines: &[&str]) -> Value {
        let mut listing = complete(machines);
        listing["seen"] = json!("partial");
        listing["why"] = json!(["a zone does not answer"]);
        listing
    }

    /// What is remembered of where the pool's machines are, as provider, place and number, when this is listed next.
    fn next(
        known: &BTreeMap<ProviderName, LastListed>,
        places: &[(&str, &str)],
        listings: Value,
    ) -> BTreeMap<ProviderName, LastListed> {
        let seen = json!({
            "fleet": "acme", "config": "c", "epoch": 7, "listings": listings, "intents_lost_at": null,
            "unavailable": {},
            "seen": {
                "workload": {"seen": "never", "why": null}, "intents": [], "memory": {"listed": known},
                "next_sequence": 1, "creation_held": null,
            },
        });
        let seen: Observation = serde_json::from_value(seen).expect("an observation");
        let places = places.iter();
        let places =
            places.map(|(name, place)| (name.parse().expect("a name"), (*place).to_owned()));
        Unseen::default().remember(&places.collect(), &policy(), &seen)
    }

    fn counts(listed: &BTreeMap<ProviderName, LastListed>) -> Vec<(&str, usize)> {
        let counts = listed.iter();
        let counts = counts.map(|(name, last)| (name.as_str(), last.machines.len()));
        counts.collect()
    }

    #[test]
    fn what_stood_at_a_provider_is_remembered_while_it_cannot_be_listed() {
        let places = [("aws", "eu-west-1"), ("gcp", "acme-ci")];
        let two = ["linux-7-1-0", "linux-7-1-1"];
        let nothing = BTreeMap::new();
        let known = next(&nothing, &places, json!({"aws": never(), "gcp": never()}));
        assert_eq!(
            counts(&known),
            [],
            "of what was never heard nothing is known"
        );
        let known = next(
            &known,
            &places,
            json!({"aws": complete(&two), "gcp": complete(&[])}),
        );
        assert_eq!(counts(&known), [("aws", 2)], "the pool has no offer at gcp");
        let known = next(&known, &places, json!({"aws": never(), "gcp": never()}));
        assert_eq!(counts(&known), [("aws", 2)]);
        let known = next(&known, &places, json!({"aws": partial(&["linux-7-2-0"])}));
        assert_eq!(
            counts(&known),
            [("aws", 3)],
            "a partial listing takes nothing away"
        );
        let known = next(&known, &places, json!({"aws": complete(&[])}));
        assert_eq!(
            counts(&known),
            [("aws", 0)],
            "that none is there is known too"
        );
        let known = next(&known, &places, json!({"aws": never()}));
        assert_eq!(counts(&known), [("aws", 0)]);
        let moved = next(&known, &[("aws", "us-east-1")], json!({"aws": never()}));
        assert_eq!(counts(&moved), [], "of another place nothing is known yet");
    }

    /// What an earlier version wrote has no entries of providers without machines: of those nothing is known.
    #[test]
    fn what_an_earlier_version_remembered_is_read() {
        let memory = json!({"version": 1, "standing": {"aws": 0, "gcp": 1}, "listed": {
            "gcp": {"place": "acme-ci", "machines": ["linux-7-1-0"]},
        }});
        let memory: model::PoolMemory = serde_json::from_value(memory).expect("a memory");
        assert_eq!(counts(&memory.listed), [("gcp", 1)]);
    }
}
