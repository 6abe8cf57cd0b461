//! Names as types, so that a pool cannot be passed where an emitter is meant.
//!
//! All names that an operator writes obey one grammar, because they end up in Redis keys, cloud tags,
//! host names and metric labels: lowercase letters, digits and inner hyphens, at most 30 bytes.
//!
//! Their text is shared: a plan for one pool clones each name a dozen times.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

/// Longest name an operator may choose. A machine is called `<pool>-<epoch>-<sequence>-<index>` and a
/// host name has at most 63 bytes: 30 + 1 + 13 (epoch in ms) + 1 + 8 + 1 + 4 leaves room.
const MAX_NAME: usize = 30;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Wrong characters or wrong length.
    #[error(
        "`{text}` is not a name: use 1 to {MAX_NAME} lowercase letters, digits and hyphens, starting with a letter and not ending with a hyphen"
    )]
    Name {
        /// What was read.
        text: String,
    },
    /// Not `<pool>-<epoch>-<sequence>` with an optional `-<index>`.
    #[error("`{text}` is not a machine name of the form <pool>-<epoch>-<sequence>-<index>")]
    Batch {
        /// What was read.
        text: String,
    },
}

fn check_name(text: &str) -> Result<(), IdError> {
    let bytes = text.as_bytes();
    let ok = (1..=MAX_NAME).contains(&bytes.len())
        && bytes[0].is_ascii_lowercase()
        && bytes[bytes.len() - 1] != b'-'
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
    if ok {
        Ok(())
    } else {
        Err(IdError::Name {
            text: text.to_owned(),
        })
    }
}

// Shared text: names are copied with every machine at every tick, and an allocation for each was a third of a plan.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                schemars::json_schema!({
                    "type": "string",
                    "pattern": "^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$"
                })
            }
        }

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
            /// Whether a text is such a name.
            pub fn check(text: &str) -> Result<(), IdError> {
                check_name(text)
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                check_name(text)?;
                Ok(Self(text.into()))
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                check_name(&text)?;
                Ok(Self(text.into()))
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}

macro_rules! opaque {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl $name {
            /// Wraps an id that somebody else chose; any text is valid.
            pub fn new(text: impl Into<String>) -> Self {
                Self(Arc::from(text.into()))
            }
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}

name!(
    /// The owner written on every machine. Two fleets never touch each other's machines.
    FleetId
);
name!(
    /// A set of interchangeable machines.
    PoolName
);
name!(
    /// One CI server, as the configuration calls it.
    EmitterName
);
name!(
    /// One cloud account, as the configuration calls it.
    ProviderName
);
name!(
    /// A machine description (`machines:` in the YAML), not a machine.
    MachineName
);
name!(
    /// Pools that share caps.
    GroupName
);
opaque!(
    /// The CI server's id of a job, unique within its emitter.
    JobId
);
opaque!(
    /// The CI server's id of an executor (GitLab runner id, Jenkins node name, TeamCity agent id).
    ExecutorId
);
opaque!(
    /// The cloud's own id of a machine (EC2 `i-…`, GCE or LXD name).
    ProviderRef
);
opaque!(
    /// One running process that may hold a lease: host, pid and a random part.
    HolderId
);
opaque!(
    /// Random id of one installation of Parmanu, to notice two that share a fleet id.
    InstallationId
);
opaque!(
    /// Hash of what a machine is made from: its image, its boot script, what it was registered for. A machine whose hash
    /// no offer of its pool has any more was made from what is not configured any more.
    Generation
);
opaque!(
    /// Hash of the effective configuration; probot stamps it into each workload.
    ConfigHash
);

/// The term of one active scaler; a later holder always has a greater one (DESIGN: leases).
///
/// Also part of every machine name, so names are never used twice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch of a new holder: greater than the stored one, than any seen on a machine, and than the
    /// store's clock, so that it grows even over a wiped store.
    pub fn next(stored: Epoch, highest_on_machines: Epoch, store_clock_ms: u64) -> Epoch {
        Epoch(
            stored
                .0
                .max(highest_on_machines.0)
                .max(store_clock_ms)
                .saturating_add(1),
        )
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fit_for_tags_keys_and_host_names() {
        for good in [
            "a",
            "linux",
            "linux-m",
            "x86-64",
            "a23456789012345678901234567890",
        ] {
            assert!(good.parse::<PoolName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "Linux",
            "a_b",
            "ä",
            "1a",
            "a b",
            "a234567890123456789012345678901",
        ] {
            assert!(bad.parse::<PoolName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_epoch_grows_over_a_wiped_store_and_a_clock_that_went_back() {
        assert_eq!(Epoch::next(Epoch(0), Epoch(0), 1_000), Epoch(1_001));
        assert_eq!(Epoch::next(Epoch(2_000), Epoch(0), 1_000), Epoch(2_001));
        assert_eq!(Epoch::next(Epoch(0), Epoch(5_000), 1_000), Epoch(5_001));
    }
}
