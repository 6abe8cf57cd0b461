//! `machines:` and their offers.

use std::collections::BTreeMap;

use model::{MachineName, OfferId, OfferPolicy, ProviderName};
use ports::strict::{self, Problems};
use serde_json::{Map, Value};

use super::Maker;
use super::entries::{names, unknown};
use crate::raw;
use crate::settings::{ProviderSettings, Template};

pub(super) struct MachineParts {
    pub(super) machine: raw::Machine,
    pub(super) offers: Vec<(OfferPolicy, Value)>,
    pub(super) template: Option<Template>,
}

impl Maker<'_> {
    pub(super) fn machines(
        &mut self,
        document: &Value,
        providers: &BTreeMap<ProviderName, ProviderSettings>,
    ) -> BTreeMap<MachineName, MachineParts> {
        let provider_names = names(document, "providers");
        self.entries(
            document,
            "machines",
            |maker, name: &MachineName, value, problems| {
                let machine: raw::Machine = strict::read(value, problems)?;
                if machine.slots == 0 {
                    problems.error(
                        ["slots".into()],
                        "a machine runs at least one job: slots is 1 or more",
                    );
                }
                if machine.boot.timeout <= machine.boot.expect {
                    problems.error(
                    ["boot".into()],
                    "boot.timeout must be longer than boot.expect, or every machine is given up",
                );
                }
                if machine.offers.is_empty() {
                    problems.error(["offers".into()], "a machine needs at least one offer");
                }
                let mut offers = Vec::new();
                for (index, value) in machine.offers.iter().enumerate() {
                    let mut inner = Problems::default();
                    let read = maker.offer(value, providers, &provider_names, &mut inner);
                    problems.append(&["offers".into(), index.into()], inner);
                    let index = u32::try_from(index).unwrap_or(u32::MAX);
                    let id = OfferId {
                        machine: name.clone(),
                        index,
                    };
                    offers.extend(read.map(|(offer, facts, spec)| {
                        let policy = OfferPolicy {
                            id,
                            provider: offer.provider,
                            price: offer.price,
                            listing_lag: facts.listing_lag,
                            batch_limit: facts.batch_limit,
                        };
                        (policy, spec)
                    }));
                }
                let template = maker.template(machine.bootstrap.as_deref(), problems);
                Some(MachineParts {
                    machine,
                    offers,
                    template,
                })
            },
        )
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
            problems.error([], "an offer is a mapping of keys");
            return None;
        };
        let mut common = Map::new();
        for key in ["provider", "price"] {
            common.extend(map.remove(key).map(|value| (key.to_owned(), value)));
        }
        let offer: raw::Offer = strict::read(&Value::Object(common), problems)?;
        if offer
            .price
            .is_some_and(|price| !price.is_finite() || price < 0.0)
        {
            problems.error(["price".into()], "a price is zero or more");
        }
        let name = offer.provider.as_str();
        self.used.insert(("providers", name.to_owned()));
        if !names.iter().any(|known| known == name) {
            unknown("provider", name, names, ["provider".into()], problems);
        }
        let provider = providers.get(&offer.provider)?;
        let entry = self.registries.providers.get(&provider.kind)?;
        (entry.check_offer)(&provider.config, &spec, problems);
        Some((offer, provider.facts, spec))
    }

    fn template(&self, path: Option<&str>, problems: &mut Problems) -> Option<Template> {
        let path = path?;
        let text = match std::fs::read_to_string(self.base.join(path)) {
            Ok(text) => text,
            Err(error) => {
                problems.error(
                    ["bootstrap".into()],
                    format!("{path} cannot be read: {error}"),
                );
                return None;
            }
        };
        let mut environment = minijinja::Environment::new();
        environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        if let Err(error) = environment.template_from_str(&text) {
            problems.error(
                ["bootstrap".into()],
                format!("{path} is not a template: {error}"),
            );
        }
        Some(Template {
            name: path.to_owned(),
            text,
        })
    }
}
