//! How machines are named and how a creation is made idempotent.
//!
//! A creation is a *batch*, `<pool>-<epoch>-<sequence>`; its machines are `<batch>-<index>`. The epoch
//! grows with every active scaler and the sequence within it, so no name is ever used twice and an old
//! name found anywhere tells who made the machine and when.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Epoch, ExecutorRef, FleetId, Generation, IdError, InstallationId, OfferId, PoolName};

/// One creation: the unit of retry, of the idempotency token and of the batch tag.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BatchId {
    /// The pool the machines are for.
    pub pool: PoolName,
    /// The term of the scaler that planned it.
    pub epoch: Epoch,
    /// Counts the batches of one epoch.
    pub sequence: u32,
}

impl BatchId {
    /// The name of machine number `index` (from 0) of this batch.
    pub fn instance(&self, index: u32) -> InstanceName {
        InstanceName {
            batch: self.clone(),
            index,
        }
    }

    /// The parts of the name of machine number `index` of this batch.
    pub fn instance_parts(&self, index: u32) -> NameParts<'_> {
        NameParts {
            pool: self.pool.as_str(),
            epoch: self.epoch,
            sequence: self.sequence,
            index,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (pool, epoch, sequence) = batch_parts(text)?;
        Some(BatchId {
            pool: pool.parse().ok()?,
            epoch,
            sequence,
        })
    }
}

fn batch_parts(text: &str) -> Option<(&str, Epoch, u32)> {
    let (rest, sequence) = text.rsplit_once('-')?;
    let (pool, epoch) = rest.rsplit_once('-')?;
    Some((pool, Epoch(canonical(epoch)?), canonical(sequence)?))
}

/// Parses a whole number only in the form we print it, so that two texts never mean one name.
fn canonical<N: FromStr>(text: &str) -> Option<N> {
    let plain = text == "0" || !text.starts_with(['0', '+']);
    plain.then(|| text.parse().ok()).flatten()
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.pool, self.epoch, self.sequence)
    }
}

/// The name of one machine, the same at the cloud and at the CI server.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceName {
    /// The creation it came from.
    pub batch: BatchId,
    /// Its number in the batch, from 0.
    pub index: u32,
}

impl InstanceName {
    /// The pool it was made for.
    pub fn pool(&self) -> &PoolName {
        &self.batch.pool
    }

    /// Its parts, to be compared with those of a text.
    pub fn parts(&self) -> NameParts<'_> {
        self.batch.instance_parts(self.index)
    }

    fn parse(text: &str) -> Option<Self> {
        NameParts::of(text)?.to_name()
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.batch, self.index)
    }
}

/// The parts of a machine's name, borrowed from wherever they stand: to look names up among texts, of which a CI server
/// lists thousands at every tick, without making a name of each.
///
/// Ordered by the numbers first, which is cheap to compare; so names of one pool are ordered like [`InstanceName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameParts<'a> {
    /// The term of the scaler that planned it.
    pub epoch: Epoch,
    /// The batch of that term.
    pub sequence: u32,
    /// The number in the batch.
    pub index: u32,
    /// The pool.
    pub pool: &'a str,
}

impl<'a> NameParts<'a> {
    /// Takes a text apart that is a machine's name; `None` for any other.
    pub fn of(text: &'a str) -> Option<NameParts<'a>> {
        let (batch, index) = text.rsplit_once('-')?;
        let (pool, epoch, sequence) = batch_parts(batch)?;
        PoolName::check(pool).ok()?;
        let index = canonical(index)?;
        Some(NameParts {
            pool,
            epoch,
            sequence,
            index,
        })
    }

    /// The name; `None` if the pool is none.
    pub fn to_name(self) -> Option<InstanceName> {
        let batch = BatchId {
            pool: self.pool.parse().ok()?,
            epoch: self.epoch,
            sequence: self.sequence,
        };
        Some(batch.instance(self.index))
    }
}

macro_rules! text_form {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text).ok_or_else(|| IdError::Batch {
                    text: text.to_owned(),
                })
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.to_string()
            }
        }
    };
}
text_form!(BatchId);
text_form!(InstanceName);

/// What a provider is asked to create: `count` machines of one offer, named `<batch>-0` and up.
///
/// The same batch asked for again creates nothing new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateBatch {
    /// Owner id, written on every machine in the same call that creates it.
    pub fleet: FleetId,
    /// Which installation asks; a second one with the same fleet id is noticed by this mark.
    pub installation: InstallationId,
    /// Name, epoch and pool of the creation.
    pub batch: BatchId,
    /// How many machines, 1 or more.
    pub count: u32,
    /// Which offer of the pool's machine description: the provider's own part of the YAML.
    pub offer: OfferId,
    /// The offer as the provider plugin's `Offer` type reads it.
    pub spec: serde_json::Value,
    /// What the machines are made from, written on them in the same call.
    pub generation: Generation,
    /// Counts the tries of this batch that had a *known* failure; part of the token.
    pub attempt: u32,
    /// The executor registered for the machine before it exists; only when `count` is 1.
    pub executor: Option<ExecutorRef>,
    /// Boot script. Single-machine credentials may stand in it, so it is never logged.
    pub user_data: UserData,
}

/// A boot script; `Debug` prints only its size, as it may carry a credential.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct UserData(pub String);

impl fmt::Debug for UserData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

impl CreateBatch {
    /// The idempotency token for one zone (see [`idempotency_token`]).
    pub fn token(&self, zone: &str) -> String {
        idempotency_token(&self.fleet, &self.batch, &self.offer, zone, self.attempt)
    }
}

/// The provider's idempotency token of one creation call: 64 hexadecimal digits.
///
/// `zone` is part of it because EC2's ClientToken is zonal: the same token in another zone would launch
/// a second set (EC2 developer guide, "Ensuring idempotency"). 64 is also EC2's limit for its length.
pub fn idempotency_token(
    fleet: &FleetId,
    batch: &BatchId,
    offer: &OfferId,
    zone: &str,
    attempt: u32,
) -> String {
    let mut hash = Sha256::new();
    // Length-prefixed, so that no two different inputs run together to the same bytes.
    for part in [
        fleet.as_str(),
        &batch.to_string(),
        &offer.to_string(),
        zone,
        &attempt.to_string(),
    ] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offer(index: u32) -> OfferId {
        OfferId {
            machine: "linux-m".parse().unwrap(),
            index,
        }
    }

    #[test]
    fn names_with_hyphens_in_the_pool_parse_from_the_right() {
        let name: InstanceName = "linux-x86-1795531234567-12-0".parse().unwrap();
        assert_eq!(name.pool().as_str(), "linux-x86");
        assert_eq!(name.batch.epoch, Epoch(1_795_531_234_567));
        assert_eq!((name.batch.sequence, name.index), (12, 0));
        for foreign in [
            "linux",
            "web-1",
            "linux-1-2",
            "linux-01-2-3",
            "linux-1-2-+3",
            "",
        ] {
            assert!(foreign.parse::<InstanceName>().is_err(), "{foreign}");
        }
    }

    #[test]
    fn the_longest_name_is_a_valid_host_name() {
        let pool: PoolName = "a23456789012345678901234567890".parse().unwrap();
        let batch = BatchId {
            pool,
            epoch: Epoch(9_999_999_999_999),
            sequence: 99_999_999,
        };
        assert!(batch.instance(9_999).to_string().len() <= 63);
    }

    #[test]
    fn the_token_differs_by_zone_and_attempt_and_is_short_enough_for_ec2() {
        let fleet: FleetId = "acme".parse().unwrap();
        let batch: BatchId = "linux-7-1".parse().unwrap();
        let a = idempotency_token(&fleet, &batch, &offer(0), "a", 0);
        assert_eq!(a.len(), 64);
        assert_eq!(a, idempotency_token(&fleet, &batch, &offer(0), "a", 0));
        for other in [
            idempotency_token(&fleet, &batch, &offer(0), "b", 0),
            idempotency_token(&fleet, &batch, &offer(0), "a", 1),
            idempotency_token(&fleet, &batch, &offer(1), "a", 0),
        ] {
            assert_ne!(a, other);
        }
    }

    proptest! {
        #[test]
        fn a_machine_name_survives_the_round_trip(
            pool in "[a-z]([a-z0-9-]{0,28}[a-z0-9])?", epoch: u64, sequence: u32, index: u32,
        ) {
            let batch = BatchId { pool: pool.parse().unwrap(), epoch: Epoch(epoch), sequence };
            let name = batch.instance(index);
            let text = name.to_string();
            prop_assert_eq!(&text.parse::<InstanceName>().unwrap(), &name);
            prop_assert_eq!(NameParts::of(&text), Some(name.parts()));
        }

        #[test]
        fn parts_are_found_exactly_where_a_name_is(text in "[a-z0-9-]{0,40}") {
            let name = text.parse::<InstanceName>().ok();
            prop_assert_eq!(NameParts::of(&text), name.as_ref().map(InstanceName::parts));
        }

        #[test]
        fn parts_of_one_pool_are_ordered_like_names(
            a in (0u64..3, 0u32..3, 0u32..3), b in (0u64..3, 0u32..3, 0u32..3),
        ) {
            let name = |(epoch, sequence, index): (u64, u32, u32)| {
                let batch = BatchId { pool: "linux".parse().unwrap(), epoch: Epoch(epoch), sequence };
                batch.instance(index)
            };
            let (a, b) = (name(a), name(b));
            prop_assert_eq!(a.parts().cmp(&b.parts()), a.cmp(&b));
        }
    }
}
