//! From a merged document to settings: the types first, then what they mean together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use model::{
    Boot, Bootstrap, ConfigHash, EmitterName, ExecutorMode, FleetId, MachineName, OfferId,
    OfferPolicy, OnStale, Policy, PoolName, ProviderName, ScaleIn, WorkloadTrust,
};
use ports::strict::{self, Problem, Problems, Severity, Step, nearest};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::load::Registries;
use crate::raw;
use crate::settings::{
    EmitterSettings, PoolSettings, ProviderSettings, Settings, StoreSettings, Template,
};

/// A workload may be this many probes old and still let machines leave: one lost probe must not hold a pool.
const FRESH_PROBES: u32 = 4;
/// ... and at least this old, so that a fast probe does not make a pool nervous.
const FRESH_AT_LEAST: Duration = Duration::from_secs(60);
/// Idle time before a machine may leave, where no rule says otherwise (what most comparable systems start with).
const IDLE_FOR: Duration = Duration::from_secs(600);

/// Makes settings of a document; `None` when a part that everything needs cannot be read. Problems are added either way.
pub(crate) fn settings(
    document: &Value,
    registries: &Registries,
    base: &Path,
    problems: &mut Problems,
) -> Option<Settings> {
    top_level(document, problems);
    let fleet = section::<FleetId>(document, "fleet", problems);
    let store = store(document, problems);
    let mut maker = Maker {
        registries,
        base,
        problems,
        used: BTreeSet::new(),
    };
    let emitters = maker.emitters(document);
    let providers = maker.providers(document);
    let machines = maker.machines(document, &providers);
    let rules = maker.rules(document);
    let pools = maker.pools(document, &emitters, &machines, &rules, &providers);
    maker.unused(document);
    alike(&pools, problems);
    Some(Settings {
        fleet: fleet?,
        hash: hash(document),
        store: store?,
        emitters,
        providers,
        pools,
    })
}

fn hash(document: &Value) -> ConfigHash {
    let digest = Sha256::digest(document.to_string().as_bytes());
    ConfigHash::new(
        digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>(),
    )
}

fn top_level(document: &Value, problems: &mut Problems) {
    for key in document.as_object().into_iter().flat_map(Map::keys) {
        if !raw::SECTIONS.contains(&key.as_str()) {
            problems.0.push(Problem {
                severity: Severity::Error,
                path: vec![Step::Key(key.clone())],
                at_key: true,
                message: format!(
                    "unknown key `{key}`; known are {}",
                    raw::SECTIONS.join(", ")
                ),
                suggestion: nearest(key, raw::SECTIONS),
            });
        }
    }
    match document.get("version") {
        Some(version) if version.as_u64() == Some(1) => {}
        Some(other) => problems.error(
            ["version".into()],
            format!("this program reads version 1, not {other}"),
        ),
        None => problems.error([], "missing the key `version`; write `version: 1`"),
    }
}

fn section<T: DeserializeOwned>(document: &Value, key: &str, problems: &mut Problems) -> Option<T> {
    let Some(value) = document.get(key) else {
        problems.error([], format!("missing the key `{key}`"));
        return None;
    };
    let mut inner = Problems::default();
    let read = strict::read(value, &mut inner);
    problems.append(&[key.into()], inner);
    read
}

fn store(document: &Value, problems: &mut Problems) -> Option<StoreSettings> {
    let Some(value) = document.get("store") else {
        // the address that compose and Kubernetes give both services
        return Some(StoreSettings::Redis {
            url: ports::SecretRef::Env("REDIS_URL".into()),
        });
    };
    let mut inner = Problems::default();
    let (kind, rest) = take_kind(value, ["memory", "redis"], &mut inner);
    let store = match kind.as_deref() {
        Some("redis") => strict::read::<raw::RedisStore>(&rest, &mut inner)
            .map(|redis| StoreSettings::Redis { url: redis.url }),
        Some("memory") => {
            strict::read::<raw::MemoryStore>(&rest, &mut inner).map(|_| StoreSettings::Memory)
        }
        _ => None,
    };
    problems.append(&["store".into()], inner);
    store
}

/// Takes `kind:` out of an entry; reports one that is missing or not known.
fn take_kind<'k>(
    value: &Value,
    known: impl IntoIterator<Item = &'k str>,
    problems: &mut Problems,
) -> (Option<String>, Value) {
    let known: Vec<&str> = known.into_iter().collect();
    let mut rest = value.clone();
    let Some(map) = rest.as_object_mut() else {
        problems.error([], "this is not a mapping of keys");
        return (None, rest);
    };
    match map.remove("kind") {
        Some(Value::String(kind)) if known.contains(&kind.as_str()) => (Some(kind), rest),
        Some(other) => {
            let word = other
                .as_str()
                .map_or_else(|| other.to_string(), str::to_owned);
            problems.0.push(Problem {
                severity: Severity::Error,
                path: vec!["kind".into()],
                at_key: false,
                message: format!(
                    "`{word}` is not a kind known here; known are {}",
                    known.join(", ")
                ),
                suggestion: nearest(&word, known.iter().copied()),
            });
            (None, rest)
        }
        None => {
            problems.error(
                [],
                format!("missing the key `kind`; known are {}", known.join(", ")),
            );
            (None, rest)
        }
    }
}

fn take<T: DeserializeOwned + Default>(rest: &mut Value, key: &str, problems: &mut Problems) -> T {
    let Some(value) = rest.as_object_mut().and_then(|map| map.remove(key)) else {
        return T::default();
    };
    let mut inner = Problems::default();
    let read = strict::read(&value, &mut inner);
    problems.append(&[key.into()], inner);
    read.unwrap_or_default()
}

struct Maker<'a> {
    registries: &'a Registries,
    base: &'a Path,
    problems: &'a mut Problems,
    /// Entries that something refers to, as (section, name).
    used: BTreeSet<(&'static str, String)>,
}

impl Maker<'_> {
    /// Reads every entry of a section under a checked name.
    fn entries<N, T>(
        &mut self,
        document: &Value,
        key: &'static str,
        mut read: impl FnMut(&mut Self, &N, &Value, &mut Problems) -> Option<T>,
    ) -> BTreeMap<N, T>
    where
        N: std::str::FromStr<Err = model::IdError> + Ord,
    {
        let mut made = BTreeMap::new();
        let entries = match document.get(key) {
            None | Some(Value::Null) => return made,
            Some(Value::Object(entries)) => entries,
            Some(_) => {
                self.problems
                    .error([key.into()], format!("`{key}` must be a mapping of names"));
                return made;
            }
        };
        for (name, value) in entries {
            let place = [key.into(), Step::Key(name.clone())];
            let mut inner = Problems::default();
            match name.parse::<N>() {
                Ok(parsed) => {
                    if let Some(entry) = read(self, &parsed, value, &mut inner) {
                        made.insert(parsed, entry);
                    }
                }
                Err(error) => inner.0.push(Problem {
                    severity: Severity::Error,
                    path: Vec::new(),
                    at_key: true,
                    message: error.to_string(),
                    suggestion: None,
                }),
            }
            self.problems.append(&place, inner);
        }
        made
    }

    fn emitters(&mut self, document: &Value) -> BTreeMap<EmitterName, EmitterSettings> {
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

    fn providers(&mut self, document: &Value) -> BTreeMap<ProviderName, ProviderSettings> {
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

    fn machines(
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

    fn rules(&mut self, document: &Value) -> BTreeMap<String, Rule> {
        let made: BTreeMap<MachineName, Rule> =
            self.entries(document, "rules", |_, _, value, problems| {
                let (kind, rest) = take_kind(value, ["scale-in"], problems);
                kind?;
                strict::read::<raw::ScaleInRule>(&rest, problems).map(Rule::ScaleIn)
            });
        made.into_iter()
            .map(|(name, rule)| (name.to_string(), rule))
            .collect()
    }

    fn pools(
        &mut self,
        document: &Value,
        emitters: &BTreeMap<EmitterName, EmitterSettings>,
        machines: &BTreeMap<MachineName, MachineParts>,
        rules: &BTreeMap<String, Rule>,
        _providers: &BTreeMap<ProviderName, ProviderSettings>,
    ) -> BTreeMap<PoolName, PoolSettings> {
        let known = Known {
            emitters: names(document, "emitters"),
            machines: names(document, "machines"),
            rules: names(document, "rules"),
        };
        let pools = self.entries(
            document,
            "pools",
            |maker, name: &PoolName, value, problems| {
                let pool: raw::Pool = strict::read(value, problems)?;
                maker.references(&pool, &known, problems);
                limits(&pool, problems);
                let scale_in = scale_in(&pool, rules, problems);
                let machine = machines.get(&pool.machine)?;
                let emitter = match &pool.emitter {
                    Some(emitter) => Some(emitters.get(emitter)?),
                    None => None,
                };
                maker.serves(&pool, emitter, problems);
                maker.bootstrap(&pool, machine, emitter, problems);
                Some(make_pool(name, pool, machine, emitter, scale_in, problems))
            },
        );
        if pools.is_empty() && names(document, "pools").is_empty() {
            self.problems.error(
                [],
                "there is no pool: without `pools:` there is nothing to scale",
            );
        }
        pools
    }

    fn references(&mut self, pool: &raw::Pool, known: &Known, problems: &mut Problems) {
        if let Some(emitter) = &pool.emitter {
            self.used.insert(("emitters", emitter.to_string()));
            if !known.emitters.iter().any(|name| name == emitter.as_str()) {
                let path = ["emitter".into()];
                unknown("emitter", emitter.as_str(), &known.emitters, path, problems);
            }
        }
        let machine = pool.machine.as_str();
        self.used.insert(("machines", machine.to_owned()));
        if !known.machines.iter().any(|name| name == machine) {
            unknown(
                "machine",
                machine,
                &known.machines,
                ["machine".into()],
                problems,
            );
        }
        for (index, rule) in pool.rules.iter().enumerate() {
            self.used.insert(("rules", rule.clone()));
            if !known.rules.contains(rule) {
                unknown(
                    "rule",
                    rule,
                    &known.rules,
                    ["rules".into(), index.into()],
                    problems,
                );
            }
        }
    }

    fn serves(&self, pool: &raw::Pool, emitter: Option<&EmitterSettings>, problems: &mut Problems) {
        let Some(emitter) = emitter else {
            if !pool.serves.is_empty() {
                problems.error(
                    ["serves".into()],
                    "a pool without an emitter serves no jobs",
                );
            }
            return;
        };
        if pool.serves.is_empty() {
            problems.error(
                [],
                "missing the key `serves`: which jobs of the emitter go to this pool?",
            );
        }
        let Some(entry) = self.registries.emitters.get(&emitter.kind) else {
            return;
        };
        for (index, value) in pool.serves.iter().enumerate() {
            let mut inner = Problems::default();
            (entry.check_serves)(value, &mut inner);
            problems.append(&["serves".into(), index.into()], inner);
        }
    }

    fn bootstrap(
        &self,
        pool: &raw::Pool,
        machine: &MachineParts,
        emitter: Option<&EmitterSettings>,
        problems: &mut Problems,
    ) {
        let joins = machine.machine.executor == raw::ExecutorKind::Joins;
        let name = &pool.machine;
        match emitter {
            Some(_) if !joins => problems.error(
                ["machine".into()],
                format!("machine `{name}` joins no CI server (executor: none), but the pool has an emitter"),
            ),
            None if joins => problems.error(
                [],
                format!(
                    "missing the key `emitter`; or say `executor: none` in machine `{name}` for nodes that join no CI server"
                ),
            ),
            Some(emitter) if emitter.facts.manages && machine.machine.bootstrap.is_none() => {
                problems.warning(
                    ["machine".into()],
                    format!(
                        "machine `{name}` has no bootstrap: its image must join the CI server under the machine's name by itself"
                    ),
                );
            }
            Some(emitter) if !emitter.facts.manages => problems.warning(
                ["emitter".into()],
                "there is no right to control executors: this pool grows, but its machines leave only by themselves",
            ),
            Some(_) | None => {}
        }
    }

    fn unused(&mut self, document: &Value) {
        for section in ["emitters", "providers", "machines", "rules"] {
            for name in names(document, section) {
                if !self.used.contains(&(section, name.clone())) {
                    self.problems.0.push(Problem {
                        severity: Severity::Warning,
                        path: vec![section.into(), Step::Key(name.clone())],
                        at_key: true,
                        message: format!("`{name}` is not used by anything"),
                        suggestion: None,
                    });
                }
            }
        }
    }
}

struct MachineParts {
    machine: raw::Machine,
    offers: Vec<(OfferPolicy, Value)>,
    template: Option<Template>,
}

enum Rule {
    ScaleIn(raw::ScaleInRule),
}

struct Known {
    emitters: Vec<String>,
    machines: Vec<String>,
    rules: Vec<String>,
}

fn names(document: &Value, section: &str) -> Vec<String> {
    let entries = document.get(section).and_then(Value::as_object);
    entries.into_iter().flat_map(Map::keys).cloned().collect()
}

fn unknown<const N: usize>(
    noun: &str,
    name: &str,
    known: &[String],
    path: [Step; N],
    problems: &mut Problems,
) {
    let list = if known.is_empty() {
        "none is defined".to_owned()
    } else {
        known.join(", ")
    };
    problems.0.push(Problem {
        severity: Severity::Error,
        path: path.to_vec(),
        at_key: false,
        message: format!("there is no {noun} `{name}`; known are {list}"),
        suggestion: nearest(name, known.iter().map(String::as_str)),
    });
}

fn limits(pool: &raw::Pool, problems: &mut Problems) {
    if pool.min > pool.max {
        problems.error(
            ["min".into()],
            format!(
                "min {} is greater than max {}: no number of machines satisfies both",
                pool.min, pool.max
            ),
        );
    }
    if pool.max == 0 {
        problems.warning(["max".into()], "max 0: this pool never has a machine");
    }
    if pool.keep_on_stale.is_some_and(|keep| keep > pool.max) {
        problems.error(
            ["keep_on_stale".into()],
            "keep_on_stale is greater than max",
        );
    }
}

fn scale_in(pool: &raw::Pool, rules: &BTreeMap<String, Rule>, problems: &mut Problems) -> ScaleIn {
    let mut chosen = None;
    for (index, name) in pool.rules.iter().enumerate() {
        let Some(Rule::ScaleIn(rule)) = rules.get(name) else {
            continue;
        };
        if chosen.replace(*rule).is_some() {
            let path = ["rules".into(), index.into()];
            problems.error(
                path,
                format!("`{name}` is a second scale-in rule of this pool"),
            );
        }
    }
    let minute = Duration::from_secs(60);
    chosen.map_or(
        ScaleIn {
            idle_for: IDLE_FOR,
            at_most: None,
            per: minute,
        },
        |rule| ScaleIn {
            idle_for: rule.idle_for.0,
            at_most: rule.at_most,
            per: rule.per.0,
        },
    )
}

fn make_pool(
    name: &PoolName,
    pool: raw::Pool,
    parts: &MachineParts,
    emitter: Option<&EmitterSettings>,
    scale_in: ScaleIn,
    problems: &mut Problems,
) -> PoolSettings {
    let every = emitter.map_or(Duration::ZERO, |emitter| emitter.every);
    let fresh_for = pool
        .fresh_for
        .map_or((every * FRESH_PROBES).max(FRESH_AT_LEAST), |span| span.0);
    if emitter.is_some() && fresh_for < every * 2 {
        problems.error(
            ["fresh_for".into()],
            "shorter than two probes of its emitter: one slow answer would hold the pool for ever",
        );
    }
    let executors = match emitter {
        None => ExecutorMode::None,
        Some(emitter) if emitter.facts.manages => ExecutorMode::Managed {
            settle: emitter.facts.settle,
        },
        Some(_) => ExecutorMode::ReadOnly,
    };
    let machine = &parts.machine;
    PoolSettings {
        policy: Policy {
            pool: name.clone(),
            emitter: pool.emitter,
            slots: machine.slots,
            min: pool.min,
            max: pool.max,
            boot: Boot {
                expect: machine.boot.expect.0,
                timeout: machine.boot.timeout.0,
            },
            executors,
            bootstrap: match machine.credential {
                raw::CredentialKind::PerMachine => Bootstrap::PerMachine,
                raw::CredentialKind::Shared => Bootstrap::Shared,
            },
            offers: parts
                .offers
                .iter()
                .map(|(policy, _)| policy.clone())
                .collect(),
            trust: WorkloadTrust {
                fresh_for,
                on_stale: pool.keep_on_stale.map_or(OnStale::Hold, OnStale::AtLeast),
            },
            scale_in,
        },
        serves: pool.serves,
        precedence: pool.precedence,
        offers: parts
            .offers
            .iter()
            .map(|(p, spec)| (p.id.clone(), spec.clone()))
            .collect(),
        bootstrap: parts.template.clone(),
    }
}

/// Two pools that claim the same jobs with the same precedence: nobody could tell which one gets them.
fn alike(pools: &BTreeMap<PoolName, PoolSettings>, problems: &mut Problems) {
    let all: Vec<_> = pools.iter().collect();
    for (index, (name, pool)) in all.iter().enumerate() {
        for (other_name, other) in &all[..index] {
            let same = pool.policy.emitter.is_some()
                && pool.policy.emitter == other.policy.emitter
                && pool.precedence == other.precedence
                && pool.serves == other.serves;
            if same {
                problems.warning(
                    ["pools".into(), Step::Key(name.to_string()), "serves".into()],
                    format!(
                        "pool `{other_name}` serves the same jobs with the same precedence, so this pool gets none; give one of them a greater `precedence`"
                    ),
                );
            }
        }
    }
}
