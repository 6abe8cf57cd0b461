//! `emitters:` and `providers:`: the plugins' own keys, read by the plugins.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{EmitterName, ProviderName};
use ports::strict::Problems;
use serde_json::Value;

use super::Maker;
use super::entries::{LONGEST, take, take_kind, too_long};
use crate::raw;
use crate::settings::{EmitterSettings, ProviderSettings};

/// Faster than this a CI server is attacked, not asked.
const FASTEST: Duration = Duration::from_millis(100);
/// Slower than this a job waits longer to be seen than most machines need to boot.
const SLOW: Duration = Duration::from_secs(600);

fn probing(probe: &raw::Probe, problems: &mut Problems) {
    let (every, timeout) = (probe.every.0, probe.timeout.0);
    if every < FASTEST {
        problems.error(
            ["probe".into(), "every".into()],
            format!("a look every {FASTEST:?} is the fastest: the server has other users too"),
        );
    } else if every > SLOW && every <= LONGEST {
        problems.warning(
            ["probe".into(), "every".into()],
            format!("a job may wait {every:?} before it is seen at all"),
        );
    }
    too_long("probe.every", every, problems);
    too_long("probe.timeout", timeout, problems);
    if timeout.is_zero() {
        problems.error(
            ["probe".into(), "timeout".into()],
            "no look ends in no time: 30s is usual",
        );
    }
}

impl Maker<'_> {
    pub(super) fn emitters(&mut self, document: &Value) -> BTreeMap<EmitterName, EmitterSettings> {
        self.entries(document, "emitters", |maker, _, value, problems| {
            let known = maker.registries.emitters.iter().map(|(kind, _)| kind);
            let (kind, mut config) = take_kind(value, known, problems);
            let probe: raw::Probe = take(&mut config, "probe", problems);
            probing(&probe, problems);
            let hook: Option<raw::Hook> = take(&mut config, "hook", problems);
            if hook.as_ref().is_some_and(|hook| hook.secret.is_literal()) {
                problems.warning(
                    ["hook".into(), "secret".into()],
                    "the secret stands in the configuration itself: use ${env:NAME} or ${file:/path}",
                );
            }
            let kind = kind?;
            let facts = (maker.registries.emitters.get(&kind)?.check)(&config, problems)?;
            too_long("settle", facts.settle, problems);
            let (every, timeout) = (probe.every.0, probe.timeout.0);
            Some(EmitterSettings {
                kind,
                config,
                facts,
                every,
                timeout,
                hook: hook.map(|hook| hook.secret),
            })
        })
    }

    pub(super) fn providers(
        &mut self,
        document: &Value,
    ) -> BTreeMap<ProviderName, ProviderSettings> {
        self.entries(document, "providers", |maker, _, value, problems| {
            let known = maker.registries.providers.iter().map(|(kind, _)| kind);
            let (kind, mut config) = take_kind(value, known, problems);
            let max: Option<raw::MaxMachines> = take(&mut config, "max_machines", problems);
            let kind = kind?;
            let entry = maker.registries.providers.get(&kind)?;
            let facts = (entry.check)(&config, problems)?;
            let place = place(&kind, entry.place, &config);
            too_long("listing_lag", facts.listing_lag, problems);
            Some(ProviderSettings {
                kind,
                config,
                facts,
                place,
                max_machines: max.map(|max| max.0),
            })
        })
    }
}

/// Where a provider's machines are: its kind, and the values under these JSON pointers as far as they are given.
fn place(kind: &str, pointers: &[&str], config: &Value) -> String {
    let mut place = kind.to_owned();
    for pointer in pointers {
        if let Some(value) = config.pointer(pointer) {
            let said = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            place = format!("{place} {}={said}", pointer.trim_start_matches('/'));
        }
    }
    place
}
