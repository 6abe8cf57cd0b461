//! `machines:` and their offers.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Generation, MachineName, Money, OfferId, OfferPolicy, ProviderName};
use ports::ProviderEntry;
use ports::strict::{self, Problems};
use ports::units::Span;
use serde_json::{Map, Value};

use super::Maker;
use super::boot_script;
use super::entries::{names, too_long, unknown};
use crate::raw;
use crate::settings::ProviderSettings;
use crate::template::Template;

/// More jobs than this on one machine is a mistyped number; the schema has the same limit.
pub(super) const MAX_SLOTS: u32 = 1000;

pub(super) struct MachineParts {
    pub(super) machine: raw::Machine,
    pub(super) offers: Vec<(OfferPolicy, Value)>,
    pub(super) template: Option<Template>,
    /// Providers of its offers that can ask no guest.
    pub(super) deaf: Vec<ProviderName>,
}

impl Maker<'_> {
    pub(super) fn machines(
        &mut self,
        document: &Value,
        providers: &BTreeMap<ProviderName, ProviderSettings>,
    ) -> BTreeMap<MachineName, MachineParts> {
        let provider_names = names(document, "providers");
        let read =
            |maker: &mut Self, name: &MachineName, value: &Value, problems: &mut Problems| {
                let machine: raw::Machine = strict::read(value, problems)?;
                numbers(&machine, problems);
                let mut offers = Vec::new();
                let mut deaf = Vec::new();
                for (index, value) in machine.offers.iter().enumerate() {
                    let mut inner = Problems::default();
                    if let Some(same) = machine.offers[..index]
                        .iter()
                        .position(|other| other == value)
                    {
                        let message = format!(
                            "the same as offer {} of this list: it is tried again in vain",
                            same + 1
                        );
                        inner.warning([], message);
                    }
                    let read = maker.offer(value, providers, &provider_names, &mut inner);
                    if let Some((offer, _, spec)) = &read
                        && let Some((account, plugin)) = maker.account(offer, providers)
                        && let Some(serves_for) = (plugin.serves_for)(account, spec)
                    {
                        ends(&machine, serves_for, &mut inner);
                    }
                    problems.append(&["offers".into(), index.into()], inner);
                    let index = u32::try_from(index).unwrap_or(u32::MAX);
                    let id = OfferId {
                        machine: name.clone(),
                        index,
                    };
                    if let Some((offer, _, spec)) = &read
                        && offer.price.is_none()
                        && let Some((account, plugin)) = maker.account(offer, providers)
                        && let Some(hint) = (plugin.price_hint)(account, spec)
                    {
                        maker.price_hints.insert(id.clone(), hint);
                    }
                    offers.extend(read.map(|(offer, facts, spec)| {
                        if !facts.asks_guests {
                            deaf.push(offer.provider.clone());
                        }
                        let policy = OfferPolicy {
                            id,
                            provider: offer.provider,
                            // what the pool adds to it is not known here
                            generation: Generation::new(""),
                            price: offer.price.and_then(Money::from_decimal),
                            listing_lag: facts.listing_lag,
                            batch_limit: facts.batch_limit,
                            least_billed: facts.least_billed,
                        };
                        (policy, spec)
                    }));
                }
                let path = machine.bootstrap.as_deref();
                let template = path.and_then(|path| boot_script::read(maker.base, path, problems));
                Some(MachineParts {
                    machine,
                    offers,
                    template,
                    deaf,
                })
            };
        self.entries(document, "machines", read)
    }

    /// The account of an offer, and its plugin.
    fn account<'p>(
        &self,
        offer: &raw::Offer,
        providers: &'p BTreeMap<ProviderName, ProviderSettings>,
    ) -> Option<(&'p Value, &ProviderEntry)> {
        let provider = providers.get(&offer.provider)?;
        let entry = self.registries.providers.get(&provider.kind)?;
        Some((&provider.config, entry))
    }

    /// What is added to a message that asks for the price of this offer.
    pub(super) fn hint_at_price(&self, offer: &OfferId) -> String {
        let hint = self.price_hints.get(offer);
        hint.map_or_else(String::new, |hint| {
            format!(". An estimate: {hint}; write `price:` as it is in your region and contract")
        })
    }

    fn offer(
        &mut self,
        value: &Value,
        providers: &BTreeMap<ProviderName, ProviderSettings>,
        names: &[String],
        problems: &mut Problems,
    ) -> Option<(raw::Offer, ports::ProviderFacts, Value)> {
        let mut spec = value.clone();
        let Some(map) = spec.as_object_mut() else {
            problems.error([], "expected a mapping of keys, such as { provider: … }");
            return None;
        };
        let mut common = Map::new();
        for key in ["provider", "price"] {
            common.extend(map.remove(key).map(|value| (key.to_owned(), value)));
        }
        let offer: raw::Offer = strict::read(&Value::Object(common), problems)?;
        if offer
            .price
            .is_some_and(|price| Money::from_decimal(price).is_none())
        {
            problems.error(
                ["price".into()],
                "a price is zero or more, per machine and hour",
            );
        }
        let name = offer.provider.as_str();
        self.used.insert(("providers", name.to_owned()));
        if !names.iter().any(|known| known == name) {
            unknown("provider", name, names, ["provider".into()], problems);
        }
        let facts = providers.get(&offer.provider)?.facts;
        let (account, plugin) = self.account(&offer, providers)?;
        (plugin.check_offer)(account, &spec, problems);
        Some((offer, facts, spec))
    }
}

fn numbers(machine: &raw::Machine, problems: &mut Problems) {
    if machine
        .slots
        .is_some_and(|slots| !(1..=MAX_SLOTS).contains(&slots))
    {
        problems.error(
            ["slots".into()],
            format!("slots is 1 to {MAX_SLOTS}: the jobs that one machine runs at a time"),
        );
    }
    let boot = &machine.boot;
    too_long("boot.expect", boot.expect.0, problems);
    too_long("boot.timeout", boot.timeout.0, problems);
    if boot.timeout <= boot.expect {
        let (timeout, expect) = (boot.timeout.0, boot.expect.0);
        problems.error(
            ["boot".into()],
            format!(
                "boot.timeout ({timeout:?}) must be longer than boot.expect ({expect:?}), or every machine is given up while it boots"
            ),
        );
    }
    reuse(machine, problems);
    if machine.offers.is_empty() {
        problems.error(
            ["offers".into()],
            "a machine needs at least one offer: where is it to be had?",
        );
    }
}

/// Whether machines are replaced, a few at a time, before their provider ends them. Those that are not are kept from jobs in
/// time, all at once if they were made together. Those that run a counted number of jobs seldom grow so old.
fn ends(machine: &raw::Machine, serves_for: Duration, problems: &mut Problems) {
    let reuse = &machine.reuse;
    // one that is replaced may wait for the other to boot
    let longest = serves_for.saturating_sub(machine.boot.timeout.0);
    let so = match reuse.max_age {
        Some(age) if age.0 <= longest => return,
        None if reuse.max_jobs.is_some() => return,
        Some(age) => format!("its machine has `reuse.max_age: {age}`"),
        None => "its machine has no `reuse.max_age`".to_owned(),
    };
    let message = format!(
        "a machine of this offer takes no job after {}, since its provider ends it soon after that, and {so}: machines that were made together stop serving together. Write a `max_age` of at most {}, so that they are replaced a few at a time, or let the provider end them later",
        Span(serves_for),
        Span(longest),
    );
    problems.warning([], message);
}

fn reuse(machine: &raw::Machine, problems: &mut Problems) {
    let reuse = &machine.reuse;
    let at = |key: &str| ["reuse".into(), key.into()];
    if let Some(age) = reuse.max_age {
        too_long("reuse.max_age", age.0, problems);
        let timeout = machine.boot.timeout;
        if age <= timeout {
            let (age, timeout) = (age.0, timeout.0);
            problems.error(
                at("max_age"),
                format!(
                    "a max_age of {age:?} is no longer than boot.timeout ({timeout:?}): a machine may be too old before it runs a job"
                ),
            );
        }
    }
    if machine.executor == raw::ExecutorKind::None && reuse.max_jobs.is_some() {
        problems.error(
            at("max_jobs"),
            "a machine with `executor: none` runs no jobs that could be counted; limit it with `max_age`",
        );
    }
    if reuse.max_jobs == Some(0) {
        problems.error(
            at("max_jobs"),
            "max_jobs is 1 or more; leave it out for no limit",
        );
    }
    if reuse.at_once.0.permille == 0 || reuse.at_once.0.permille > 1000 {
        problems.error(
            at("at_once"),
            "at_once is more than 0% and at most 100%; `when_changed: keep` replaces nothing",
        );
    }
}
