//! What is wrong with machines, and with the fleet as a whole. Pure.
//!
//! Absence proves something only in a whole listing and a whole look: where one is missing or partial it is said that it
//! was not seen, and nothing is called missing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{
    Cordon, EmitterName, Executor, ExecutorMode, ExecutorState, Instance, InstanceName,
    InstanceState, Intent, LeaveStep, Policy, ProviderName, Snapshot, StoredIntent, age,
};

use ports::Leftover;

use super::executors;
use super::former;
use super::look::Seen;
use super::report::{MachineRow, Problem, Report};
use crate::tables::in_words;

/// A deletion takes a cloud a minute or two; a spot request that is stuck takes for ever.
const STUCK_AFTER: Duration = Duration::from_secs(600);

/// Clocks that differ by less disturb nothing: ages are minutes.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

/// Where one was not told by the pool: machines join in minutes.
const LONGEST_BOOT: Duration = Duration::from_secs(900);

/// Says of everything that was seen why it is there and what is wrong with it.
pub(super) fn examine(seen: &Seen) -> Report {
    let fleet = Fleet::of(seen);
    let mut machines: Vec<MachineRow> = fleet
        .machines
        .iter()
        .map(|(provider, instance)| fleet.machine(provider, instance))
        .collect();
    machines.sort_by(|a, b| (&a.pool, &a.name).cmp(&(&b.pool, &b.name)));
    Report {
        fleet: seen.fleet.to_string(),
        at: seen.at,
        not_seen: fleet.not_seen(),
        machines,
        executors: executors::rows(&fleet),
        problems: fleet.problems(),
    }
}

/// What was seen, put together.
pub(super) struct Fleet<'a> {
    pub(super) seen: &'a Seen,
    /// Machines that are not gone.
    pub(super) machines: Vec<(&'a ProviderName, &'a Instance)>,
    /// How often each name is listed.
    listed: BTreeMap<&'a InstanceName, Vec<&'a ProviderName>>,
    intents: Vec<&'a StoredIntent>,
}

impl<'a> Fleet<'a> {
    fn of(seen: &'a Seen) -> Self {
        let mut machines = Vec::new();
        let mut listed: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (provider, listing) in &seen.listings {
            let instances = listing.iter().flat_map(|listing| &listing.instances);
            for instance in instances.filter(|it| !it.state.is_gone()) {
                machines.push((provider, instance));
                listed.entry(&instance.name).or_default().push(provider);
            }
        }
        let record = seen.record.iter().flatten();
        let intents = record.flat_map(|record| record.pools.values());
        Fleet {
            seen,
            machines,
            listed,
            intents: intents.flat_map(|pool| &pool.intents).collect(),
        }
    }

    pub(super) fn is_listed(&self, name: &InstanceName) -> bool {
        self.listed.contains_key(name)
    }

    /// The machine whose tag names this executor, or that has its name.
    pub(super) fn machine_of(
        &self,
        emitter: &EmitterName,
        executor: &Executor,
    ) -> Option<&'a Instance> {
        let is_it = |instance: &Instance| match &instance.executor {
            Some(reference) => reference.emitter == *emitter && reference.id == executor.id,
            None => executor.name == instance.name.to_string(),
        };
        let by_tag = self.machines.iter().find(|(_, instance)| is_it(instance));
        by_tag.map(|(_, instance)| *instance)
    }

    /// Whether every provider was listed as a whole.
    pub(super) fn all_listed(&self) -> bool {
        let mut listings = self.seen.listings.values();
        listings.all(|listing| listing.as_ref().is_ok_and(|it| it.unknown.is_empty()))
    }

    pub(super) fn policy(&self, instance: &InstanceName) -> Option<&'a Policy> {
        self.seen.pools.get(instance.pool())
    }

    pub(super) fn creates(&self, name: &InstanceName) -> bool {
        self.intents.iter().any(|stored| {
            matches!(&stored.intent, Intent::Create { batch, count, .. }
                if (0..*count).any(|index| batch.instance(index) == *name))
        })
    }

    fn leaves(&self, name: &InstanceName) -> Option<(LeaveStep, Duration)> {
        self.intents.iter().find_map(|stored| match &stored.intent {
            Intent::Leave { instance, step, .. } if instance == name => Some((*step, stored.age)),
            Intent::Leave { .. } | Intent::Create { .. } => None,
        })
    }

    /// The look at the CI server of a machine's pool, and its executor there if it has one.
    fn executor(&self, instance: &Instance) -> (Option<&'a Snapshot>, Option<&'a Executor>) {
        let reference = instance.executor.as_ref();
        let by_pool = self
            .policy(&instance.name)
            .and_then(|policy| policy.emitter.as_ref());
        let emitter = reference.map(|it| &it.emitter).or(by_pool);
        let look = emitter.and_then(|emitter| self.seen.looks.get(emitter)?.as_ref().ok());
        let name = instance.name.to_string();
        let found = look.and_then(|look| {
            let mut executors = look.executors.iter();
            executors.find(|it| reference.is_some_and(|r| r.id == it.id) || it.name == name)
        });
        (look, found)
    }

    fn machine(&self, provider: &ProviderName, instance: &Instance) -> MachineRow {
        let (look, executor) = self.executor(instance);
        let reference = instance.executor.as_ref().map(ToString::to_string);
        let does = executor.map(executors::state);
        let shown = match (reference, does) {
            (Some(reference), Some(does)) => Some(format!("{reference}, {does}")),
            (None, Some(does)) => Some(does),
            (reference, None) => reference,
        };
        MachineRow {
            name: instance.name.to_string(),
            pool: instance.pool().to_string(),
            provider: provider.to_string(),
            zone: instance.scope.clone(),
            id: instance.id.to_string(),
            state: state(&instance.state),
            created_at: instance.created_at,
            executor: shown,
            why: self.why(instance, executor),
            problems: self.wrong(instance, look, executor),
        }
    }

    /// Why it is there.
    fn why(&self, instance: &Instance, executor: Option<&Executor>) -> String {
        let term = instance.name.batch.epoch;
        let made = match instance.created_at {
            Some(at) => format!(
                "made {} ago in term {term}",
                in_words(age(at, self.seen.at))
            ),
            None => format!("made in term {term}"),
        };
        let now = match (self.leaves(&instance.name), executor.map(|it| &it.state)) {
            (_, Some(ExecutorState::Busy { jobs })) if !jobs.is_empty() => {
                let jobs: Vec<String> = jobs.iter().map(ToString::to_string).collect();
                format!("runs {}", jobs.join(", "))
            }
            (_, Some(ExecutorState::Busy { .. })) => "runs a job".to_owned(),
            (Some((step, time)), _) => format!("leaves: {step:?} for {}", in_words(time)),
            (None, Some(ExecutorState::Idle { .. })) => "idle".to_owned(),
            (None, Some(ExecutorState::Unknown { why })) => format!("counts as busy: {why}"),
            (None, _) => "coming up, or see its problems".to_owned(),
        };
        format!("{made}; {now}")
    }

    fn wrong(
        &self,
        instance: &Instance,
        look: Option<&Snapshot>,
        executor: Option<&Executor>,
    ) -> Vec<Problem> {
        let mut found = Vec::new();
        self.ownership(instance, &mut found);
        self.times(instance, &mut found);
        self.departure(instance, executor, &mut found);
        let joins = self.policy(&instance.name).is_some_and(|policy| {
            policy.emitter.is_some() && policy.executors != ExecutorMode::None
        });
        if joins && instance.state == InstanceState::Running {
            self.joined(instance, look, executor, &mut found);
        }
        found
    }

    fn ownership(&self, instance: &Instance, found: &mut Vec<Problem>) {
        let name = &instance.name;
        let places = self.listed.get(name).map_or(&[][..], Vec::as_slice);
        if places.len() > 1 {
            let places: Vec<String> = places.iter().map(ToString::to_string).collect();
            found.push(Problem::new(
                "duplicate",
                format!("this name is listed {} times: {}", places.len(), places.join(", ")),
                "two machines answer to one executor: find out which has the job, then delete the other at its cloud",
            ));
        }
        match self.policy(name) {
            None => found.push(Problem::new(
                "orphan",
                format!("no pool `{}` is configured", name.pool()),
                "an active scaler lets it leave once it is idle (docs/machines.md); without one, `parmanu reap` does",
            )),
            Some(policy) if policy.offers.iter().any(|offer| Some(&offer.generation) == instance.generation.as_ref()) => {}
            Some(_) if instance.generation.is_some() => found.push(Problem::new(
                "old_image",
                "its image, boot script or registration is not what is configured now",
                "`reuse: { replace_changed: true }` replaces such machines; `parmanu drain machine` replaces this one",
            )),
            Some(_) => {}
        }
    }

    fn times(&self, instance: &Instance, found: &mut Vec<Problem>) {
        let now = self.seen.at;
        if let Some(until) = instance.expires.filter(|until| *until < now) {
            found.push(Problem::new(
                "expired",
                format!("no scaler has said for {} that it is wanted", in_words(age(until, now))),
                "is a scaler active, and may it write marks (its log)? `parmanu reap` deletes it once it is idle",
            ));
        }
        let ahead = instance.created_at.map(|at| age(now, at));
        if let Some(ahead) = ahead.filter(|ahead| *ahead > CLOCKS_DIFFER) {
            found.push(Problem::new(
                "clock",
                format!("it was created {} from now", in_words(ahead)),
                "the clock of this host, or the cloud's, is wrong: look at NTP, here and where scaler runs",
            ));
        }
    }

    fn departure(
        &self,
        instance: &Instance,
        executor: Option<&Executor>,
        found: &mut Vec<Problem>,
    ) {
        let leaves = self.leaves(&instance.name);
        if let Some((LeaveStep::Deleting, time)) = leaves.filter(|(_, time)| *time > STUCK_AFTER) {
            found.push(Problem::new(
                "stuck_deletion",
                format!("its deletion was asked for {} ago and it is still there", in_words(time)),
                "scaler's log says what the cloud answers; a protection against deletion is a usual cause",
            ));
        }
        match &instance.state {
            InstanceState::Stopped => found.push(Problem::new(
                "stopped",
                "it is powered off and may be billed all the same",
                "an active scaler deletes it; without one, `parmanu reap` does",
            )),
            InstanceState::Unknown { what } => found.push(Problem::new(
                "unknown_state",
                format!("the cloud says `{what}` of it, which is no state known here"),
                "it is counted and never touched: look at it at the cloud, and report the word",
            )),
            InstanceState::Pending
            | InstanceState::Running
            | InstanceState::Stopping
            | InstanceState::Gone { .. } => {}
        }
        let cordon = executor.map(|executor| executor.cordon);
        if cordon == Some(Cordon::Foreign) {
            found.push(Problem::new(
                "foreign_cordon",
                "somebody else keeps it from taking jobs",
                "it is counted against max and never touched: let it take jobs again at the CI server, or delete it by hand",
            ));
        }
        let is_read = matches!(self.seen.record, Some(Ok(_)));
        if matches!(cordon, Some(Cordon::Ours { .. })) && leaves.is_none() && is_read {
            found.push(Problem::new(
                "forgotten_cordon",
                "a scaler of ours keeps it from jobs, and no departure is recorded",
                "an active scaler takes the departure over within a minute; without one nothing happens",
            ));
        }
    }

    fn joined(
        &self,
        instance: &Instance,
        look: Option<&Snapshot>,
        executor: Option<&Executor>,
        found: &mut Vec<Problem>,
    ) {
        let boot = self
            .policy(&instance.name)
            .map_or(LONGEST_BOOT, |policy| policy.boot.timeout);
        let old = instance.created_at.map(|at| age(at, self.seen.at));
        let old = old.filter(|old| *old > boot);
        let whole = look.is_some_and(|look| look.completeness.is_complete());
        match (executor.map(|it| &it.state), old) {
            (None, Some(old)) if whole => found.push(Problem::new(
                "no_executor",
                format!("it has run for {} and no executor stands for it", in_words(old)),
                "it never joined: read its console and its boot script; scaler gives it up after boot.timeout",
            )),
            (Some(ExecutorState::NeverJoined), Some(old)) => found.push(Problem::new(
                "never_joined",
                format!("its executor is registered and never came, for {}", in_words(old)),
                "read its console: the boot script, the network to the CI server, or the credential; scaler gives it up after boot.timeout",
            )),
            (Some(ExecutorState::Offline { since }), _) => {
                let time = since.map(|at| format!(" since {at}")).unwrap_or_default();
                found.push(Problem::new(
                    "executor_offline",
                    format!("it runs, and its executor is offline{time}"),
                    "a crashed agent or a lost network; scaler replaces it unless most of the pool is offline at once",
                ));
            }
            _ => {}
        }
    }

    /// What is wrong with no single machine.
    fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let owners = self
            .machines
            .iter()
            .filter_map(|(_, it)| it.owner.installation.as_ref());
        let owners: BTreeSet<_> = owners.collect();
        if owners.len() > 1 {
            found.push(Problem::new(
                "two_installations",
                format!("machines of {} installations carry the fleet id {}", owners.len(), self.seen.fleet),
                "two installations with one fleet id delete each other's machines: give one of them another id, or it is what an earlier store left",
            ));
        }
        for stored in &self.intents {
            let Intent::Create {
                batch,
                count,
                provider,
                ..
            } = &stored.intent
            else {
                continue;
            };
            let absent = (0..*count).filter(|index| !self.is_listed(&batch.instance(*index)));
            let absent = absent.count();
            let whole = self
                .seen
                .listings
                .get(provider)
                .is_some_and(|it| it.as_ref().is_ok_and(|it| it.unknown.is_empty()));
            if absent > 0 && stored.age > STUCK_AFTER && whole {
                found.push(Problem::new(
                    "lost_creation",
                    format!("{absent} of {count} machines of {batch} were asked for {} ago and {provider} lists none of them", in_words(stored.age)),
                    "they count against max until an active scaler has proven that they were never made; without one nothing happens",
                ));
            }
        }
        found.extend(self.leftovers());
        found.extend(former::pools(self));
        found.extend(former::providers(self));
        let record = self.seen.record.iter().flatten();
        for record in record {
            let pools = record
                .pools
                .values()
                .filter_map(|pool| pool.unreadable.as_ref());
            for why in pools.chain(&record.orders.unreadable) {
                found.push(Problem::new(
                    "unreadable",
                    why.clone(),
                    "delete the value: that is always safe (docs/redis.md)",
                ));
            }
        }
        found
    }

    /// What outlived its machine. A young one may still be on its way to or from it.
    fn leftovers(&self) -> impl Iterator<Item = Problem> {
        let is_old = |left: &&Leftover| {
            let old = left.created_at.map(|at| age(at, self.seen.at));
            old.is_none_or(|old| old > STUCK_AFTER)
        };
        let all = self.seen.leftovers.iter();
        let all =
            all.flat_map(|(provider, left)| left.iter().flatten().map(move |it| (provider, it)));
        let old = all.filter(move |(_, left)| is_old(left));
        old.map(|(provider, left)| {
            let since = left.created_at.map(|at| format!(", made {at}"));
            let since = since.unwrap_or_default();
            Problem::new(
                "leftover",
                format!("{provider}: {} ({}){since}: no machine holds it, and it costs", left.what, left.id),
                format!("`{}`, if nobody wants it; let the image or template delete it with its machine", left.remove),
            )
        })
    }

    fn not_seen(&self) -> Vec<String> {
        let mut said = Vec::new();
        for (provider, listing) in &self.seen.listings {
            match listing {
                Ok(listing) => said.extend(
                    listing
                        .unknown
                        .iter()
                        .map(|why| format!("{provider}: {why}")),
                ),
                Err(why) => said.push(format!("no machine of {provider}: {why}")),
            }
        }
        for (provider, left) in &self.seen.leftovers {
            let why = left.as_ref().err();
            said.extend(why.map(|why| format!("what machines of {provider} left behind: {why}")));
        }
        for (emitter, look) in &self.seen.looks {
            match look {
                Ok(look) => said.extend(
                    look.completeness
                        .doubts()
                        .iter()
                        .map(|why| format!("{emitter}: {why}")),
                ),
                Err(why) => said.push(format!("no executor of {emitter}: {why}")),
            }
        }
        if let Some(Err(why)) = &self.seen.record {
            said.push(format!("what was begun (the store): {why}"));
        }
        said
    }
}

fn state(state: &InstanceState) -> String {
    match state {
        InstanceState::Pending => "pending".to_owned(),
        InstanceState::Running => "running".to_owned(),
        InstanceState::Stopping => "stopping".to_owned(),
        InstanceState::Stopped => "stopped".to_owned(),
        InstanceState::Gone { .. } => "gone".to_owned(),
        InstanceState::Unknown { what } => format!("unknown: {what}"),
    }
}
