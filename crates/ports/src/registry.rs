//! The plugins by their `kind:`, with their types erased.
//!
//! The configuration is checked, the JSON Schema made and the adapters built through these entries, so that nothing
//! else in the system names a plugin.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

use crate::strict::{self, Problems};
use crate::{
    Emitter, EmitterContext, EmitterFacts, EmitterPlugin, ExecutorControl, Matcher, PluginError,
    Provider, ProviderContext, ProviderFacts, ProviderPlugin, Report,
};

/// All emitters, by `kind:`.
#[derive(Default)]
pub struct EmitterRegistry(BTreeMap<&'static str, EmitterEntry>);

/// All providers, by `kind:`.
#[derive(Default)]
pub struct ProviderRegistry(BTreeMap<&'static str, ProviderEntry>);

/// One emitter plugin with its types erased.
pub struct EmitterEntry {
    /// What its executors say of their machines.
    pub reports: &'static [Report],
    /// Schema of its keys in `emitters:`.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Schema of one entry of a pool's `serves:`.
    pub serves_schema: fn(&mut SchemaGenerator) -> Schema,
    /// Checks its keys; `None` when they cannot be read.
    pub check: fn(&Value, &mut Problems) -> Option<EmitterFacts>,
    /// Checks one `serves:` entry.
    pub check_serves: fn(&Value, &mut Problems),
    /// Checks the entries of a pool together, with its slots per machine; says nothing of entries that cannot be read.
    pub check_pool: fn(&[Value], u32, &mut Problems),
    /// Makes a pool's matcher from checked entries.
    pub matcher: fn(&[Value]) -> Made<Box<dyn Matcher>>,
    /// Makes the probing half from a checked configuration.
    pub emitter: fn(&Value, &EmitterContext) -> Made<Arc<dyn Emitter>>,
    /// Makes the control half from a checked configuration.
    pub control: fn(&Value, &EmitterContext) -> Made<Option<Arc<dyn ExecutorControl>>>,
}

/// What a plugin makes from a checked configuration.
pub type Made<T> = Result<T, PluginError>;

/// One provider plugin with its types erased.
pub struct ProviderEntry {
    /// [`ProviderPlugin::PLACE`].
    pub place: &'static [&'static str],
    /// Schema of its keys in `providers:`.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Schema of its keys in an offer.
    pub offer_schema: fn(&mut SchemaGenerator) -> Schema,
    /// Checks its keys; `None` when they cannot be read.
    pub check: fn(&Value, &mut Problems) -> Option<ProviderFacts>,
    /// Checks the keys of an offer against the provider's keys.
    pub check_offer: fn(&Value, &Value, &mut Problems),
    /// What a machine of an offer cost somewhere, as a hint.
    pub price_hint: fn(&Value, &Value) -> Option<String>,
    /// For how long a machine of an offer takes jobs before its provider ends it.
    pub serves_for: fn(&Value, &Value) -> Option<Duration>,
    /// Makes the provider from a checked configuration.
    pub provider: fn(&Value, &ProviderContext) -> Made<Arc<dyn Provider>>,
}

fn typed<T: serde::de::DeserializeOwned>(
    kind: &'static str,
    value: &Value,
) -> Result<T, PluginError> {
    serde_path_to_error::deserialize(value).map_err(|error| PluginError {
        kind,
        message: "its configuration was not checked before use".into(),
        source: Some(Box::new(error)),
    })
}

impl EmitterRegistry {
    /// Adds a plugin: the one line that a new CI server needs.
    #[must_use]
    pub fn with<P: EmitterPlugin>(mut self) -> Self {
        let entry = EmitterEntry {
            reports: P::REPORTS,
            schema: |generator| generator.subschema_for::<P::Config>(),
            serves_schema: |generator| generator.subschema_for::<P::Serves>(),
            check: |value, problems| {
                let config: P::Config = strict::read(value, problems)?;
                P::check(&config, problems);
                Some(P::facts(&config))
            },
            check_serves: |value, problems| {
                let _: Option<P::Serves> = strict::read(value, problems);
            },
            check_pool: |values, slots, problems| {
                let serves: Result<Vec<P::Serves>, _> =
                    values.iter().map(|value| typed(P::KIND, value)).collect();
                // one that cannot be read is reported where it stands
                if let Ok(serves) = serves {
                    P::check_serves(&serves, slots, problems);
                }
            },
            matcher: |serves| {
                let serves: Result<Vec<P::Serves>, _> =
                    serves.iter().map(|value| typed(P::KIND, value)).collect();
                Ok(P::matcher(serves?))
            },
            emitter: |value, context| P::emitter(typed(P::KIND, value)?, context),
            control: |value, context| P::control(typed(P::KIND, value)?, context),
        };
        self.0.insert(P::KIND, entry);
        self
    }

    /// The plugin of this `kind:`.
    pub fn get(&self, kind: &str) -> Option<&EmitterEntry> {
        self.0.get(kind)
    }

    /// The plugin of this `kind:`, which a checked configuration names.
    ///
    /// # Errors
    ///
    /// When this build does not have it.
    pub fn require(&self, kind: &str) -> Made<&EmitterEntry> {
        self.get(kind).ok_or_else(|| PluginError {
            kind: "emitter",
            message: format!("there is no `{kind}` in this build"),
            source: None,
        })
    }

    /// All of them, sorted by kind.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &EmitterEntry)> {
        self.0.iter().map(|(kind, entry)| (*kind, entry))
    }
}

impl ProviderRegistry {
    /// Adds a plugin: the one line that a new cloud needs.
    #[must_use]
    pub fn with<P: ProviderPlugin>(mut self) -> Self {
        let entry = ProviderEntry {
            place: P::PLACE,
            schema: |generator| generator.subschema_for::<P::Config>(),
            offer_schema: |generator| generator.subschema_for::<P::Offer>(),
            check: |value, problems| {
                let config: P::Config = strict::read(value, problems)?;
                P::check(&config, problems);
                Some(P::facts(&config))
            },
            check_offer: |config, offer, problems| {
                // a broken account is reported where it stands, not once more for each offer
                let account: Option<P::Config> = strict::read(config, &mut Problems::default());
                let offer: Option<P::Offer> = strict::read(offer, problems);
                if let (Some(account), Some(offer)) = (account, offer) {
                    P::check_offer(&account, &offer, problems);
                }
            },
            price_hint: |config, offer| {
                let config = typed::<P::Config>(P::KIND, config).ok()?;
                let offer = typed::<P::Offer>(P::KIND, offer).ok()?;
                P::price_hint(&config, &offer)
            },
            serves_for: |config, offer| {
                let config = typed::<P::Config>(P::KIND, config).ok()?;
                let offer = typed::<P::Offer>(P::KIND, offer).ok()?;
                P::serves_for(&config, &offer)
            },
            provider: |value, context| P::provider(typed(P::KIND, value)?, context),
        };
        self.0.insert(P::KIND, entry);
        self
    }

    /// The plugin of this `kind:`.
    pub fn get(&self, kind: &str) -> Option<&ProviderEntry> {
        self.0.get(kind)
    }

    /// The plugin of this `kind:`, which a checked configuration names.
    ///
    /// # Errors
    ///
    /// When this build does not have it.
    pub fn require(&self, kind: &str) -> Made<&ProviderEntry> {
        self.get(kind).ok_or_else(|| PluginError {
            kind: "provider",
            message: format!("there is no `{kind}` in this build"),
            source: None,
        })
    }

    /// All of them, sorted by kind.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &ProviderEntry)> {
        self.0.iter().map(|(kind, entry)| (*kind, entry))
    }
}
