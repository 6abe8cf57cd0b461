//! Machines that nobody lists any more, and that may still be there: their provider was taken out of the configuration, or
//! got another region or account under its name, while no scaler ran that went on listing it (`lister.rs`).
//!
//! The memory of each pool says where its machines were listed last. What stood at a place that no provider is at now is put
//! among the listings as a partial one: it counts against `max`, its executors are no ghosts, and nothing leaves there. That
//! lasts until the provider is put back, another one lists the machines, or an operator confirms that they are gone.
//!
//! A store that was wiped knows nothing of them; and of a pool that was removed together with its provider nothing is read.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use engine::{FleetObservation, Observation};
use jiff::Timestamp;
use model::{
    Instance, InstanceName, InstanceState, LastListed, Owner, PoolName, ProviderName, ProviderRef,
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

    /// Where the machines of one pool are, to be remembered: of what is listed where somebody looks.
    pub(crate) fn remember(
        &self,
        places: &BTreeMap<ProviderName, String>,
        pool: &PoolName,
        seen: &Observation,
    ) -> BTreeMap<ProviderName, LastListed> {
        let mut all = BTreeMap::new();
        for (name, place) in places {
            let listing = seen.listings.get(name);
            let machines = listing.into_iter().flat_map(alive);
            let mut machines: BTreeSet<_> = machines.map(|machine| machine.name.clone()).collect();
            let is_whole = matches!(listing, Some(Seen::Complete { .. }));
            let known = seen.seen.memory.listed.get(name);
            if let Some(known) = known.filter(|known| !is_whole && at(place, known)) {
                machines.extend(known.machines.iter().cloned());
            }
            let place = place.clone();
            all.insert(name.clone(), LastListed { place, machines });
        }
        for (name, gone) in &self.0 {
            let machines = gone.machines.iter().filter(|name| name.pool() == pool);
            let (place, machines) = (gone.place.clone(), machines.cloned().collect());
            all.insert(name.clone(), LastListed { place, machines });
        }
        all.retain(|_, last| !last.machines.is_empty());
        all
    }
}

/// Whether a provider is listed that stands where this one stood; where nobody said it, the name tells.
fn is_listed(
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
