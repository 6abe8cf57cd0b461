//! The configuration after it has been checked: what the services are built from.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use model::{
    ConfigHash, EmitterName, FleetId, FleetPolicy, JobRange, OfferId, Policy, PoolName,
    ProviderName,
};
use ports::{EmitterFacts, ProviderFacts, SecretRef, StoreAddress};
use serde_json::Value;

use crate::template::Template;

/// A whole checked configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Owner id on every machine.
    pub fleet: FleetId,
    /// Hash of the effective configuration.
    pub hash: ConfigHash,
    /// Where probot and scaler meet.
    pub store: StoreSettings,
    /// What an operator must say to change something over scaler's API; `None` when nobody may.
    pub api_token: Option<SecretRef>,
    /// The CI servers.
    pub emitters: BTreeMap<EmitterName, EmitterSettings>,
    /// The cloud accounts.
    pub providers: BTreeMap<ProviderName, ProviderSettings>,
    /// The pools.
    pub pools: BTreeMap<PoolName, PoolSettings>,
    /// What the pools share: caps and budgets.
    pub limits: FleetPolicy,
}

/// Where probot and scaler meet.
#[derive(Debug, Clone)]
pub enum StoreSettings {
    /// Redis at this address.
    Redis(StoreAddress),
    /// In this process.
    Memory,
}

/// One CI server.
#[derive(Clone)]
pub struct EmitterSettings {
    /// Which plugin.
    pub kind: String,
    /// The plugin's own keys.
    pub config: Value,
    /// What the plugin says of itself.
    pub facts: EmitterFacts,
    /// Time between the starts of two looks.
    pub every: Duration,
    /// Longest time one look may take.
    pub timeout: Duration,
    /// What the sender of a hook must know; `None` when hooks are not taken.
    pub hook: Option<SecretRef>,
}

/// One cloud account.
#[derive(Clone)]
pub struct ProviderSettings {
    /// Which plugin.
    pub kind: String,
    /// The plugin's own keys.
    pub config: Value,
    /// What the plugin says of itself.
    pub facts: ProviderFacts,
    /// Where its machines are, in words: the kind and the keys that say it ([`ports::ProviderPlugin::PLACE`]).
    pub place: String,
    /// Machines that may exist there at once, if there is a limit.
    pub max_machines: Option<u32>,
}

/// One pool.
#[derive(Debug, Clone)]
pub struct PoolSettings {
    /// What the engine needs to know.
    pub policy: Policy,
    /// Its `serves:` entries, as the emitter's plugin reads them.
    pub serves: Vec<Value>,
    /// Its rank when a job fits several pools; greater goes first.
    pub precedence: i32,
    /// What one of its jobs needs, as far as the file says.
    pub job: JobRange,
    /// The provider's own keys of each offer.
    pub offers: BTreeMap<OfferId, Value>,
    /// Its boot script, if it has one.
    pub bootstrap: Option<Template>,
}

impl Settings {
    /// The pools of one emitter, each with its `serves:` entries.
    pub fn serves_of(&self, emitter: &EmitterName) -> BTreeMap<PoolName, Vec<Value>> {
        self.pools
            .iter()
            .filter(|(_, pool)| pool.policy.emitter.as_ref() == Some(emitter))
            .map(|(name, pool)| (name.clone(), pool.serves.clone()))
            .collect()
    }
}

impl Settings {
    /// Whether what is made for one CI server from `other` would be what is made from this: then it may go on, with what it
    /// remembers and has counted.
    #[must_use]
    pub fn has_same_emitter(&self, other: &Settings, name: &EmitterName) -> bool {
        let made_from = |settings: &Settings| {
            let emitter = settings.emitters.get(name)?;
            Some((
                settings.fleet.clone(),
                emitter.kind.clone(),
                emitter.config.clone(),
                emitter.timeout,
                settings.serves_of(name),
            ))
        };
        made_from(self).is_some_and(|this| made_from(other) == Some(this))
    }

    /// The same for one cloud account.
    #[must_use]
    pub fn has_same_provider(&self, other: &Settings, name: &ProviderName) -> bool {
        let made_from = |settings: &Settings| {
            let provider = settings.providers.get(name)?;
            Some((provider.kind.clone(), provider.config.clone()))
        };
        made_from(self).is_some_and(|this| made_from(other) == Some(this))
    }
}

impl fmt::Debug for EmitterSettings {
    /// Without the plugin's keys: a token may stand among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmitterSettings")
            .field("kind", &self.kind)
            .field("facts", &self.facts)
            .field("every", &self.every)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ProviderSettings {
    /// Without the plugin's keys: a token may stand among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderSettings")
            .field("kind", &self.kind)
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}
