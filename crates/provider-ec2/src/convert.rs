//! Between EC2's words and ours: tags, names, states and places. Pure, and without the SDK's types.
//!
//! One RunInstances call gives all of its machines equal tags, so a machine's own name cannot be a tag. The
//! tag says the batch, EC2's launch index says which machine of it; together they are the name.
#![cfg_attr(
    not(feature = "sdk"),
    allow(dead_code, reason = "called by the client only")
)]

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{
    BatchId, CreateBatch, FleetId, Generation, InstallationId, Instance, InstanceName,
    InstanceState, Owner, ProviderRef,
};

use crate::config::Offer;

/// Tag keys. Readable from inside the machine, which forbids slashes.
pub(crate) mod tag {
    /// Whose machine it is; what we list by.
    pub(crate) const FLEET: &str = "parmanu:fleet";
    /// Which installation made it.
    pub(crate) const INSTALLATION: &str = "parmanu:installation";
    /// The creation it came from.
    pub(crate) const BATCH: &str = "parmanu:batch";
    /// The offer it came from.
    pub(crate) const OFFER: &str = "parmanu:offer";
    /// What it was made from, as a hash.
    pub(crate) const GENERATION: &str = "parmanu:generation";
    /// The executor registered for it.
    pub(crate) const EXECUTOR: &str = "parmanu:executor";
    /// That the machine is taken back, in the words of whoever was told: the guest (a rebalance recommendation is told to
    /// nobody else), or a rule of the account.
    pub(crate) const NOTICE: &str = "parmanu:notice";
    /// Until when the machine is wanted, renewed while a Parmanu lives; the guest reads it, and `parmanu reap`.
    pub(crate) const EXPIRES: &str = "parmanu:expires";
    /// Asks the guest to end its agent and power off (docs/guest.md).
    pub(crate) const DRAIN: &str = "parmanu:drain";
    /// What the console shows; for people only, never read back.
    pub(crate) const NAME: &str = "Name";
}

/// How many tags Parmanu may set itself.
pub(crate) const OWN_TAGS: usize = 8;

/// Combinations of type and place that one creation tries. Each costs one of the account's RunInstances
/// calls, of which AWS allows 5 at once and then 2 a second; more would starve the other pools.
pub(crate) const MAX_PLACEMENTS: usize = 6;

/// Longest user data, before base64 (EC2 guide, "Run commands when you launch an instance").
pub(crate) const MAX_USER_DATA: usize = 16 * 1024;

/// The tags of every machine and volume of a batch.
pub(crate) fn tags(batch: &CreateBatch, offer: &Offer) -> BTreeMap<String, String> {
    let mut tags = offer.tags.clone();
    let name = match batch.count {
        1 => batch.batch.instance(0).to_string(),
        _ => batch.batch.to_string(),
    };
    let executor = batch.executor.as_ref().map(ToString::to_string);
    let own = [
        (tag::NAME, Some(name)),
        (tag::FLEET, Some(batch.fleet.to_string())),
        (tag::INSTALLATION, Some(batch.installation.to_string())),
        (tag::BATCH, Some(batch.batch.to_string())),
        (tag::OFFER, Some(batch.offer.to_string())),
        (tag::GENERATION, Some(batch.generation.to_string())),
        (tag::EXECUTOR, executor),
    ];
    let own = own
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));
    tags.extend(own);
    tags
}

/// What EC2 says of one machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) launch_index: Option<u32>,
    pub(crate) state: Option<String>,
    /// `StateReason.Code`.
    pub(crate) reason: Option<String>,
    pub(crate) zone: Option<String>,
    pub(crate) launched_at: Option<Timestamp>,
    pub(crate) is_spot: bool,
    pub(crate) tags: BTreeMap<String, String>,
}

/// What EC2 says of the request behind a spot machine that it takes back: from the notice on, two minutes ahead (EC2 user
/// guide, "Spot request status").
pub(crate) const TAKEN_BACK: &[&str] = &[
    "marked-for-termination",
    "marked-for-stop",
    "instance-terminated-no-capacity",
    "instance-terminated-by-price",
    "instance-terminated-capacity-oversubscribed",
    "instance-terminated-launch-group-constraint",
    "instance-terminated-by-schedule",
    "instance-terminated-by-service",
];

/// The filter of a listing by a tag.
pub(crate) fn by_tag(key: &str) -> String {
    format!("tag:{key}")
}

impl Seen {
    pub(crate) fn is_running_spot(&self) -> bool {
        self.is_spot && self.state.as_deref() == Some("running")
    }

    fn tag(&self, key: &str) -> Option<&str> {
        self.tags.get(key).map(String::as_str)
    }
}

/// Reads a machine of our fleet back from its tags; says what is odd about one that cannot be read.
pub(crate) fn instance(seen: &Seen, fleet: &FleetId, region: &str) -> Result<Instance, String> {
    if seen.tag(tag::FLEET) != Some(fleet.as_str()) {
        return Err("its fleet tag is not the one asked for".to_owned());
    }
    let batch = seen.tag(tag::BATCH).ok_or("it has no batch tag")?;
    let batch: BatchId = batch
        .parse()
        .map_err(|error| format!("its batch tag: {error}"))?;
    let index = seen.launch_index.ok_or("it has no launch index")?;
    let installation = seen.tag(tag::INSTALLATION).map(InstallationId::new);
    Ok(Instance {
        name: batch.instance(index),
        id: ProviderRef::new(&seen.id),
        scope: seen.zone.clone().unwrap_or_else(|| region.to_owned()),
        state: state(seen),
        created_at: seen.launched_at,
        owner: Owner {
            fleet: fleet.clone(),
            installation,
        },
        executor: seen.tag(tag::EXECUTOR).and_then(|text| text.parse().ok()),
        offer: seen.tag(tag::OFFER).and_then(|text| text.parse().ok()),
        generation: seen.tag(tag::GENERATION).map(Generation::new),
        notice: seen.tag(tag::NOTICE).map(str::to_owned),
        expires: seen.tag(tag::EXPIRES).and_then(|text| text.parse().ok()),
    })
}

fn state(seen: &Seen) -> InstanceState {
    match seen.state.as_deref() {
        Some("pending") => InstanceState::Pending,
        Some("running") => InstanceState::Running,
        Some("shutting-down" | "stopping") => InstanceState::Stopping,
        Some("stopped") => InstanceState::Stopped,
        Some("terminated") => InstanceState::Gone {
            why: seen.reason.clone(),
        },
        other => InstanceState::Unknown {
            what: other.unwrap_or("no state at all").to_owned(),
        },
    }
}

/// The machines a creation call answered with, by their place in the batch. The answer's own tags are not
/// relied on: the call that was answered set them.
pub(crate) fn created(
    batch: &CreateBatch,
    offer: &Offer,
    region: &str,
    answer: Vec<Seen>,
) -> BTreeMap<InstanceName, Instance> {
    let tags = tags(batch, offer);
    let machines = answer.into_iter().filter_map(|mut seen| {
        seen.tags.clone_from(&tags);
        let machine = instance(&seen, &batch.fleet, region).ok()?;
        Some((machine.name.clone(), machine))
    });
    machines.collect()
}

/// Where a machine is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// Where EC2 likes, in the default network.
    Anywhere,
    /// In this zone of the default network.
    Zone(&'a str),
    /// In this subnet, and so in its zone.
    Subnet(&'a str),
}

/// One try of a creation: a type in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placement<'a> {
    pub(crate) instance_type: &'a str,
    pub(crate) place: Place<'a>,
}

impl Placement<'_> {
    /// What distinguishes this try in the idempotency token. EC2's token is zonal, and another type under the
    /// same token is a mismatch; so each try has a token of its own.
    pub(crate) fn scope(&self) -> String {
        let place = match self.place {
            Place::Anywhere => "any",
            Place::Zone(name) | Place::Subnet(name) => name,
        };
        format!("{}@{place}", self.instance_type)
    }
}

/// The tries of a creation, in order: every place for the first type, then for the next. Batches take turns in
/// where they begin, so that a pool spreads over its zones.
pub(crate) fn placements(offer: &Offer, sequence: u32) -> Vec<Placement<'_>> {
    let subnets = offer.subnets.iter().map(|id| Place::Subnet(id));
    let mut places: Vec<Place<'_>> = subnets
        .chain(offer.zones.iter().map(|name| Place::Zone(name)))
        .collect();
    if places.is_empty() {
        places.push(Place::Anywhere);
    }
    let first = sequence as usize % places.len();
    places.rotate_left(first);
    let types = offer.types.iter();
    let all = types.flat_map(|instance_type| {
        places.iter().map(move |&place| Placement {
            instance_type,
            place,
        })
    });
    all.take(MAX_PLACEMENTS).collect()
}

#[cfg(test)]
mod tests {
    use model::{Epoch, ExecutorId, ExecutorRef, OfferId, UserData};
    use serde_json::json;

    use super::*;

    fn offer(subnets: &[&str], zones: &[&str]) -> Offer {
        serde_json::from_value(json!({
            "image": "ami-12345678", "types": ["m7i.xlarge", "m6i.xlarge"], "subnets": subnets,
            "zones": zones, "tags": {"cost-centre": "ci"},
        }))
        .unwrap()
    }

    fn batch(count: u32) -> CreateBatch {
        let pool = "linux-x86".parse().unwrap();
        CreateBatch {
            fleet: "acme".parse().unwrap(),
            installation: InstallationId::new("here"),
            batch: BatchId {
                pool,
                epoch: Epoch(1_795_531_234_567),
                sequence: 3,
            },
            count,
            offer: OfferId {
                machine: "linux-m".parse().unwrap(),
                index: 1,
            },
            spec: json!({}),
            generation: model::Generation::new("0f3c5a"),
            attempt: 0,
            executor: (count == 1).then(|| ExecutorRef {
                emitter: "gitlab".parse().unwrap(),
                id: ExecutorId::new("42:odd"),
            }),
            user_data: UserData::default(),
        }
    }

    fn seen(index: u32, state: &str, tags: BTreeMap<String, String>) -> Seen {
        Seen {
            id: format!("i-0000000{index}"),
            launch_index: Some(index),
            state: Some(state.to_owned()),
            reason: Some("Server.SpotInstanceTermination".to_owned()),
            zone: Some("eu-central-1a".to_owned()),
            is_spot: true,
            launched_at: Some("2026-01-02T03:04:05Z".parse().unwrap()),
            tags,
        }
    }

    #[test]
    fn a_machine_is_read_back_as_it_was_asked_for() {
        let batch = batch(1);
        let found = seen(0, "running", tags(&batch, &offer(&[], &[])));
        let machine = instance(&found, &batch.fleet, "eu-central-1").unwrap();
        assert_eq!(machine.name, batch.batch.instance(0));
        assert_eq!(machine.executor, batch.executor);
        assert_eq!(machine.offer, Some(batch.offer.clone()));
        assert_eq!(machine.generation, Some(batch.generation.clone()));
        assert_eq!(machine.owner.installation, Some(batch.installation));
        assert_eq!(machine.state, InstanceState::Running);
        assert_eq!(machine.scope, "eu-central-1a");
        assert_eq!(found.tags["Name"], "linux-x86-1795531234567-3-0");
        assert_eq!(found.tags["cost-centre"], "ci");
        assert!(found.tags.len() <= OWN_TAGS + 1);
    }

    #[test]
    fn until_when_it_is_wanted_is_read_and_what_is_no_time_is_no_mark() {
        let batch = batch(1);
        let mut found = seen(0, "running", tags(&batch, &offer(&[], &[])));
        let expires = |found: &Seen| instance(found, &batch.fleet, "r").unwrap().expires;
        assert_eq!(expires(&found), None, "nobody said so yet");
        let mark = |found: &mut Seen, text: &str| {
            found.tags.insert(tag::EXPIRES.to_owned(), text.to_owned());
        };
        mark(&mut found, "2026-11-24T17:34:34Z");
        assert_eq!(expires(&found), "2026-11-24T17:34:34Z".parse().ok());
        mark(&mut found, "tomorrow");
        assert_eq!(expires(&found), None);
    }

    #[test]
    fn machines_of_one_batch_differ_by_their_launch_index() {
        let batch = batch(3);
        let answer = (0..3)
            .map(|index| seen(index, "pending", BTreeMap::new()))
            .collect();
        let machines = created(&batch, &offer(&[], &[]), "eu-central-1", answer);
        let names: Vec<String> = machines.keys().map(ToString::to_string).collect();
        assert_eq!(names[2], "linux-x86-1795531234567-3-2");
        assert_eq!(names.len(), 3);
        assert_eq!(
            tags(&batch, &offer(&[], &[]))["Name"],
            "linux-x86-1795531234567-3"
        );
    }

    #[test]
    fn a_machine_that_cannot_be_read_says_why() {
        let batch = batch(1);
        let good = seen(0, "running", tags(&batch, &offer(&[], &[])));
        let spoil = |change: &dyn Fn(&mut Seen)| {
            let mut spoilt = good.clone();
            change(&mut spoilt);
            instance(&spoilt, &batch.fleet, "r").unwrap_err()
        };
        assert!(spoil(&|s| drop(s.tags.remove(tag::FLEET))).contains("fleet"));
        assert!(
            spoil(&|s| drop(s.tags.insert(tag::FLEET.into(), "other".into()))).contains("fleet")
        );
        assert!(spoil(&|s| drop(s.tags.remove(tag::BATCH))).contains("batch"));
        assert!(
            spoil(&|s| drop(s.tags.insert(tag::BATCH.into(), "web-1".into()))).contains("batch")
        );
        assert!(spoil(&|s| s.launch_index = None).contains("launch index"));
    }

    #[test]
    fn every_state_has_its_word_and_a_new_one_is_not_guessed() {
        let batch = batch(1);
        let tags = tags(&batch, &offer(&[], &[]));
        let gone = InstanceState::Gone {
            why: Some("Server.SpotInstanceTermination".to_owned()),
        };
        for (word, state) in [
            ("pending", InstanceState::Pending),
            ("running", InstanceState::Running),
            ("shutting-down", InstanceState::Stopping),
            ("stopping", InstanceState::Stopping),
            ("stopped", InstanceState::Stopped),
            ("terminated", gone),
            (
                "hibernating",
                InstanceState::Unknown {
                    what: "hibernating".to_owned(),
                },
            ),
        ] {
            let machine = instance(&seen(0, word, tags.clone()), &batch.fleet, "r").unwrap();
            assert_eq!(machine.state, state);
        }
    }

    #[test]
    fn batches_take_turns_in_where_they_begin() {
        let offer = offer(&["subnet-a", "subnet-b", "subnet-c"], &[]);
        let scopes = |sequence| -> Vec<String> {
            placements(&offer, sequence)
                .iter()
                .map(Placement::scope)
                .collect()
        };
        assert_eq!(
            scopes(0)[..3],
            [
                "m7i.xlarge@subnet-a",
                "m7i.xlarge@subnet-b",
                "m7i.xlarge@subnet-c"
            ]
        );
        assert_eq!(
            scopes(1)[..3],
            [
                "m7i.xlarge@subnet-b",
                "m7i.xlarge@subnet-c",
                "m7i.xlarge@subnet-a"
            ]
        );
        assert_eq!(scopes(0).len(), 6);
        assert_eq!(scopes(0)[3], "m6i.xlarge@subnet-a");
        assert!(scopes(u32::MAX).len() <= MAX_PLACEMENTS);
    }

    #[test]
    fn without_places_there_is_one_try_for_each_type() {
        let offer = offer(&[], &[]);
        let scopes: Vec<String> = placements(&offer, 7).iter().map(Placement::scope).collect();
        assert_eq!(scopes, ["m7i.xlarge@any", "m6i.xlarge@any"]);
    }
}
