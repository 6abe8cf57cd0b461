//! `pools:`: references, limits, and what a pool is made of.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{
    Boot, Bootstrap, EmitterName, ExecutorMode, Generation, MachineName, Money, OfferPolicy,
    OnStale, Policy, PoolName, Ranking, Reuse, Rule, RuleKind, Standing, UncontrolledLeave,
    WorkloadTrust,
};
use ports::strict::{self, Problems};
use serde_json::{Value, json};

use super::Maker;
use super::boot_script::{self, Given};
use super::entries::{names, too_long, unknown};
use super::machines::MachineParts;
use super::{rules, slots};
use crate::raw;
use crate::settings::{EmitterSettings, PoolSettings};
use crate::template::Template;

/// A workload may be this many probes old and still let machines leave: one lost probe must not hold a pool.
const FRESH_PROBES: u32 = 4;
/// ... and at least this old, so that a fast probe does not make a pool nervous.
const FRESH_AT_LEAST: Duration = Duration::from_secs(60);

struct Known {
    groups: Vec<String>,
    emitters: Vec<String>,
    machines: Vec<String>,
    rules: Vec<String>,
}

impl Maker<'_> {
    /// A ceiling over prices needs prices, and one of them below it.
    fn prices(&self, pool: &raw::Pool, parts: &MachineParts, problems: &mut Problems) {
        let offers = parts.offers.iter().map(|(offer, _)| offer);
        let unpriced = offers.clone().find(|offer| offer.price.is_none());
        if let Some(offer) = unpriced.filter(|_| pool.choose == raw::OfferOrder::Price) {
            let message = format!(
                "an offer of machine `{}` has no price: it cannot be ranked by it{}",
                pool.machine,
                self.hint_at_price(&offer.id)
            );
            problems.error(["choose".into()], message);
        }
        if !(1..=1000).contains(&pool.weight) {
            problems.error(["weight".into()], "a weight is 1 to 1000");
        }
        let Some(written) = pool.max_price else {
            return;
        };
        let Some(max) = Money::from_decimal(written) else {
            problems.error(
                ["max_price".into()],
                "a price is zero or more, per machine and hour",
            );
            return;
        };
        if let Some(offer) = unpriced {
            let message = format!(
                "an offer of machine `{}` has no price: with a ceiling it would never be used{}",
                pool.machine,
                self.hint_at_price(&offer.id)
            );
            problems.error(["max_price".into()], message);
        } else if !offers.clone().any(|offer| offer.price <= Some(max)) {
            let message = "every offer costs more than this: the pool would never have a machine";
            problems.error(["max_price".into()], message);
        }
    }

    pub(super) fn pools(
        &mut self,
        document: &Value,
        emitters: &BTreeMap<EmitterName, EmitterSettings>,
        machines: &BTreeMap<MachineName, MachineParts>,
        rules: &BTreeMap<String, Rule>,
    ) -> BTreeMap<PoolName, PoolSettings> {
        let known = Known {
            groups: names(document, "groups"),
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
                let known_emitter = pool.emitter.as_ref().and_then(|name| emitters.get(name));
                let entry = known_emitter.and_then(|e| maker.registries.emitters.get(&e.kind));
                let reports = entry.map_or(&[][..], |entry| entry.reports);
                let rules = rules::of_pool(&pool, rules, reports, problems);
                if pool.emitter.is_none() {
                    without_emitter(&pool, &rules, problems);
                }
                let machine = machines.get(&pool.machine)?;
                maker.prices(&pool, machine, problems);
                let emitter = match &pool.emitter {
                    Some(emitter) => Some(emitters.get(emitter)?),
                    None => None,
                };
                maker.serves(&pool, machine, emitter, problems);
                maker.bootstrap(&pool, machine, emitter, problems);
                Some(make_pool(name, pool, machine, emitter, rules, problems))
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
        if let Some(group) = &pool.group {
            self.used.insert(("groups", group.to_string()));
            if !known.groups.iter().any(|name| name == group.as_str()) {
                let path = ["group".into()];
                unknown("group", group.as_str(), &known.groups, path, problems);
            }
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

    fn serves(
        &self,
        pool: &raw::Pool,
        parts: &MachineParts,
        emitter: Option<&EmitterSettings>,
        problems: &mut Problems,
    ) {
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
        // what is wrong with the slots themselves is reported where they are taken
        let slots = &mut Problems::default();
        let slots = slots::of_pool(pool, &pool.machine, &parts.machine, slots);
        let mut together = Problems::default();
        (entry.check_pool)(&pool.serves, slots, &mut together);
        problems.append(&["serves".into()], together);
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
            Some(emitter) if !emitter.facts.manages && pool.scale_in.is_none() => problems.warning(
                ["emitter".into()],
                "there is no right to control executors: this pool grows, but its machines leave only by themselves. Give the emitter that right, or say `scale_in`",
            ),
            Some(_) | None => {}
        }
        if let Some(template) = &machine.template {
            script(template, machine, emitter, problems);
        }
    }
}

/// Tries the boot script with what it is given in this very pool.
fn script(
    template: &Template,
    machine: &MachineParts,
    emitter: Option<&EmitterSettings>,
    problems: &mut Problems,
) {
    let shared = machine.machine.credential == raw::CredentialKind::Shared;
    let why = match emitter {
        None => "nothing is registered for a pool without an emitter",
        Some(emitter) if !emitter.facts.manages => {
            "nothing is registered, since the emitter has no right to it"
        }
        Some(_) if shared => {
            "with `credential: shared` one script may be for several machines, and nothing is registered"
        }
        Some(_) => {
            if !boot_script::uses_executor(template) {
                let message = format!(
                    "an executor is registered for each machine, but {} never uses `executor`: the machine cannot join as it. If its image joins by itself, write `credential: shared`",
                    template.name
                );
                problems.warning(["machine".into()], message);
            }
            return;
        }
    };
    if let Err(wrong) = boot_script::attempt(template, Given::NoMachine) {
        let message = format!(
            "{wrong} in this pool: {why}, so `machine` is not defined and `executor` is empty"
        );
        problems.error(["machine".into()], message);
    }
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
            "keep_on_stale is greater than max: so many machines are never kept",
        );
    }
}

/// Keys that say nothing where there are no jobs.
fn without_emitter(pool: &raw::Pool, rules: &[Rule], problems: &mut Problems) {
    let given = [
        ("precedence", pool.precedence != 0),
        ("fresh_for", pool.fresh_for.is_some()),
        ("keep_on_stale", pool.keep_on_stale.is_some()),
    ];
    for (key, _) in given.into_iter().filter(|(_, given)| *given) {
        problems.warning(
            [key.into()],
            "it changes nothing in a pool without an emitter",
        );
    }
    let raises = |rule: &Rule| matches!(&rule.rule, RuleKind::Limit(limit) if limit.min > Some(0));
    if pool.min == 0 && !rules.iter().any(raises) {
        problems.warning(
            [],
            "a pool without an emitter keeps `min` machines, and min is 0: it never has one",
        );
    }
}

fn make_pool(
    name: &PoolName,
    pool: raw::Pool,
    parts: &MachineParts,
    emitter: Option<&EmitterSettings>,
    rules: Vec<Rule>,
    problems: &mut Problems,
) -> PoolSettings {
    let every = emitter.map_or(Duration::ZERO, |emitter| emitter.every);
    let fresh_for = pool.fresh_for.map_or(
        every.saturating_mul(FRESH_PROBES).max(FRESH_AT_LEAST),
        |span| span.0,
    );
    if emitter.is_some() && fresh_for < every.saturating_mul(2) {
        problems.error(
            ["fresh_for".into()],
            format!(
                "{fresh_for:?} is shorter than two probes of its emitter ({every:?} each): one slow answer would hold the pool for ever"
            ),
        );
    }
    if pool.fresh_for.is_some() {
        too_long("fresh_for", fresh_for, problems);
    }
    let patience = emitter.map_or(Duration::ZERO, |emitter| emitter.timeout);
    if emitter.is_some() && patience > fresh_for {
        problems.warning(
            ["emitter".into()],
            format!(
                "a look may take {patience:?} (probe.timeout) and is trusted for {fresh_for:?} from its start: after a slow one no machine leaves. Shorten the one, or give the pool a longer `fresh_for`"
            ),
        );
    }
    let executors = match emitter {
        None => ExecutorMode::None,
        Some(emitter) if emitter.facts.manages => ExecutorMode::Managed {
            settle: emitter.facts.settle,
        },
        Some(_) => ExecutorMode::ReadOnly {
            leave: match pool.scale_in {
                None => UncontrolledLeave::ByThemselves,
                Some(raw::ScaleInWithoutControl::AskGuest) => UncontrolledLeave::AskGuest,
                Some(raw::ScaleInWithoutControl::BestEffort) => UncontrolledLeave::BestEffort,
            },
        },
    };
    scale_in(&pool, emitter, parts, problems);
    let machine = &parts.machine;
    let slots = slots::of_pool(&pool, &pool.machine, machine, problems);
    let job = slots::range(&pool);
    let made_from = |offer: &OfferPolicy, spec: &Value| generation(&pool, parts, offer, spec);
    let offers: Vec<OfferPolicy> = (parts.offers.iter())
        .map(|(offer, spec)| OfferPolicy {
            generation: made_from(offer, spec),
            ..offer.clone()
        })
        .collect();
    let reuse = &machine.reuse;
    if let Some(jobs) = reuse.max_jobs.filter(|jobs| *jobs < slots) {
        problems.error(
            ["machine".into()],
            format!(
                "a machine with {slots} slots may take {slots} jobs at once, and its reuse.max_jobs says {jobs}; write `slots: {jobs}` there"
            ),
        );
    }
    PoolSettings {
        policy: Policy {
            pool: name.clone(),
            emitter: pool.emitter,
            slots,
            min: pool.min,
            max: pool.max,
            boot: Boot {
                expect: machine.boot.expect.0,
                timeout: machine.boot.timeout.0,
            },
            executors,
            executors_appear: emitter.is_some_and(|emitter| emitter.facts.appears),
            reuse: Reuse {
                max_jobs: reuse.max_jobs,
                max_age: reuse.max_age.map(|age| age.0),
                replace_changed: match reuse.when_changed {
                    Some(when) => when == raw::WhenChanged::Replace,
                    None => machine.executor == raw::ExecutorKind::Joins,
                },
                at_once: reuse.at_once.0,
            },
            bootstrap: match machine.credential {
                raw::CredentialKind::PerMachine => Bootstrap::PerMachine,
                raw::CredentialKind::Shared => Bootstrap::Shared,
            },
            offers,
            trust: WorkloadTrust {
                fresh_for,
                on_stale: pool.keep_on_stale.map_or(OnStale::Hold, OnStale::AtLeast),
            },
            rules,
            standing: Standing {
                group: pool.group,
                priority: pool.priority,
                weight: pool.weight,
                max_price: pool.max_price.and_then(Money::from_decimal),
                ranking: match pool.choose {
                    raw::OfferOrder::Listed => Ranking::Listed,
                    raw::OfferOrder::Price => Ranking::Price,
                },
            },
        },
        serves: pool.serves,
        precedence: pool.precedence,
        job,
        offers: parts
            .offers
            .iter()
            .map(|(p, spec)| (p.id.clone(), spec.clone()))
            .collect(),
        bootstrap: parts.template.clone(),
    }
}

/// What is wrong with, or dangerous about, the way in which machines leave whose executors cannot be controlled.
fn scale_in(
    pool: &raw::Pool,
    emitter: Option<&EmitterSettings>,
    parts: &MachineParts,
    problems: &mut Problems,
) {
    let Some(way) = pool.scale_in else { return };
    let path = || ["scale_in".into()];
    match emitter {
        None => {
            let message =
                "machines that join no CI server have no builds: they are deleted without it";
            return problems.error(path(), message);
        }
        Some(emitter) if emitter.facts.manages => {
            let message = "its emitter may control executors, so its machines leave by cordon and proof: leave this key out";
            return problems.error(path(), message);
        }
        Some(_) => {}
    }
    match way {
        raw::ScaleInWithoutControl::BestEffort => problems.warning(
            path(),
            "best-effort: that a running build is never killed is NOT promised for this pool. A machine is deleted on a look up to ten seconds old, and a job that it was given since dies",
        ),
        raw::ScaleInWithoutControl::AskGuest => {
            if let Some(provider) = parts.deaf.first() {
                let message = format!(
                    "ask-guest: provider `{provider}` can write no mark that a machine reads of itself"
                );
                problems.error(path(), message);
            }
        }
    }
}

/// What a machine of this pool and offer is made from, as a hash: what was registered for it, its boot script, and the
/// offer as the provider reads it. Prices and times are no part of it. A change of what is hashed here replaces every
/// machine of every fleet at the next upgrade.
fn generation(
    pool: &raw::Pool,
    parts: &MachineParts,
    offer: &OfferPolicy,
    spec: &Value,
) -> Generation {
    let template = parts.template.as_ref();
    let made_from = json!({
        "emitter": pool.emitter,
        "serves": pool.serves,
        "bootstrap": template.map(|template| json!([template.text, template.parts])),
        "provider": offer.provider,
        "offer": spec,
    });
    Generation::new(super::short_hash(&made_from))
}
