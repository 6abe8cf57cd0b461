//! `emitters:` and `providers:`: the plugins' own keys, read by the plugins.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{EmitterName, ProviderName};
use serde_json::Value;

use super::Maker;
use super::entries::{take, take_kind};
use crate::raw;
use crate::settings::{EmitterSettings, ProviderSettings};

impl Maker<'_> {
    pub(super) fn emitters(&mut self, document: &Value) -> BTreeMap<EmitterName, EmitterSettings> {
        self.entries(document, "emitters", |maker, _, value, problems| {
            let known = maker.registries.emitters.iter().map(|(kind, _)| kind);
            let (kind, mut config) = take_kind(value, known, problems);
            let probe: raw::Probe = take(&mut config, "probe", problems);
            if probe.every.0 < Duration::from_millis(100) {
                let message = "a look every 100ms is the fastest; the server has other users too";
                problems.error(["probe".into(), "every".into()], message);
            }
            let kind = kind?;
            let facts = (maker.registries.emitters.get(&kind)?.check)(&config, problems)?;
            let (every, timeout) = (probe.every.0, probe.timeout.0);
            Some(EmitterSettings {
                kind,
                config,
                facts,
                every,
                timeout,
            })
        })
    }

    pub(super) fn providers(
        &mut self,
        document: &Value,
    ) -> BTreeMap<ProviderName, ProviderSettings> {
        self.entries(document, "providers", |maker, _, value, problems| {
            let known = maker.registries.providers.iter().map(|(kind, _)| kind);
            let (kind, config) = take_kind(value, known, problems);
            let kind = kind?;
            let facts = (maker.registries.providers.get(&kind)?.check)(&config, problems)?;
            Some(ProviderSettings {
                kind,
                config,
                facts,
            })
        })
    }
}
