//! The executors of one look, taken one by one by the machines that they belong to.

use std::cell::{LazyCell, OnceCell};
use std::collections::HashMap;

use model::{
    Cordon, EmitterName, Executor, ExecutorId, ExecutorRef, ExecutorState, FleetId, Instance,
    Intent, NameParts, Seen, Workload,
};

use super::Ghost;
use crate::Observation;

/// Whether the CI server itself says that the executor is ours: by the fleet's mark, or by our cordon. One that is ours
/// only because a machine's tag or an intent names it stops being ours with them, and is no ghost.
fn is_marked(executor: &Executor, fleet: &FleetId) -> bool {
    executor.fleet.as_ref() == Some(fleet) || matches!(executor.cordon, Cordon::Ours { .. })
}

/// The machine of each executor that a tag or an intent names. Where the CI server fixes the names of its executors
/// this is the only thing that joins the two.
fn references<'a>(
    seen: &'a Observation,
    emitter: &EmitterName,
) -> HashMap<&'a ExecutorId, NameParts<'a>> {
    let mut found = HashMap::new();
    let mut add = |reference: Option<&'a ExecutorRef>, name: NameParts<'a>| {
        if let Some(reference) = reference.filter(|reference| reference.emitter == *emitter) {
            found.entry(&reference.id).or_insert(name);
        }
    };
    // machines first: they are there, and an intent may be about one that is not
    let listed = seen.listings.values().filter_map(Seen::any).flatten();
    for instance in listed.filter(|instance| !instance.state.is_gone()) {
        add(instance.executor.as_ref(), instance.name.parts());
    }
    for stored in &seen.seen.intents {
        match &stored.intent {
            Intent::Create {
                batch, executor, ..
            } => add(executor.as_ref(), batch.instance_parts(0)),
            Intent::Leave {
                instance, executor, ..
            } => add(executor.as_ref(), instance.parts()),
        }
    }
    found
}

/// The executors of one look: ours by name or by reference, and the others.
pub(super) struct Executors<'a> {
    /// Sorted by name, each name once; `None` once a machine or a creation has taken it.
    ours: Vec<(NameParts<'a>, Option<&'a Executor>)>,
    /// Places in `ours` by the CI server's id, made when first asked for; of two with one id the first by name.
    by_id: OnceCell<HashMap<&'a ExecutorId, usize>>,
    pub(super) foreign: Vec<&'a Executor>,
}

impl<'a> Executors<'a> {
    pub(super) fn of(seen: &'a Observation, workload: Option<&'a Workload>) -> Self {
        let executors = workload.map_or(&[][..], |workload| &workload.executors);
        let mut ours = Vec::with_capacity(executors.len());
        let mut foreign = Vec::new();
        // most executors carry their machine's name, and then nobody asks for these
        let named = LazyCell::new(|| workload.map(|workload| references(seen, &workload.emitter)));
        for executor in executors {
            let marked = executor.fleet.as_ref() == Some(&seen.fleet);
            let by_name = marked.then(|| NameParts::of(&executor.name)).flatten();
            let by_reference = || named.as_ref()?.get(&executor.id).copied();
            match by_name.or_else(by_reference) {
                Some(name) => ours.push((name, Some(executor))),
                None => foreign.push(executor),
            }
        }
        ours.sort_by_key(|(name, _)| *name);
        // of two executors with one name keep the busier, so that neither job is overlooked
        ours.dedup_by(|(later, candidate), (name, kept)| {
            let same = later == name;
            if same && candidate.map(may_hold_a_job) > kept.map(may_hold_a_job) {
                *kept = *candidate;
            }
            same
        });
        Executors {
            ours,
            by_id: OnceCell::new(),
            foreign,
        }
    }

    /// The executor of an instance: by the reference in its tags, else by name.
    pub(super) fn take(&mut self, instance: &Instance) -> Option<&'a Executor> {
        let name = instance.name.parts();
        let Some(reference) = instance.executor.as_ref().map(|reference| &reference.id) else {
            return self.remove(name);
        };
        // almost always they are one
        let is_it = |found: &Option<&Executor>| found.is_some_and(|e| e.id == *reference);
        let same = self.place(name).filter(|at| is_it(&self.ours[*at].1));
        let by_reference = || {
            let at = self
                .by_id
                .get_or_init(|| by_id(&self.ours))
                .get(reference)?;
            self.ours[*at].1.is_some().then_some(*at)
        };
        let at = same.or_else(by_reference).or_else(|| self.place(name))?;
        self.ours[at].1.take()
    }

    pub(super) fn remove(&mut self, name: NameParts<'_>) -> Option<&'a Executor> {
        let at = self.place(name)?;
        self.ours[at].1.take()
    }

    fn place(&self, name: NameParts<'_>) -> Option<usize> {
        let at = self.ours.binary_search_by(|(known, _)| known.cmp(&name));
        at.ok()
    }

    /// Those that nothing took, and that are ours by the CI server's own word.
    pub(super) fn left(&self, fleet: &FleetId) -> Vec<Ghost> {
        let left = self.ours.iter();
        let left = left.filter_map(|(name, executor)| Some((name, (*executor)?)));
        let left = left.filter(|(_, executor)| is_marked(executor, fleet));
        let ghost = |(name, executor): (&NameParts<'_>, &Executor)| {
            Some(Ghost {
                instance: name.to_name()?,
                executor: executor.id.clone(),
                busy: may_hold_a_job(executor) > 0,
                online: matches!(
                    executor.state,
                    ExecutorState::Idle { .. } | ExecutorState::Busy { .. }
                ),
            })
        };
        left.filter_map(ghost).collect()
    }
}

fn by_id<'a>(ours: &[(NameParts<'a>, Option<&'a Executor>)]) -> HashMap<&'a ExecutorId, usize> {
    let mut places = HashMap::new();
    for (at, (_, executor)) in ours.iter().enumerate() {
        if let Some(executor) = executor {
            places.entry(&executor.id).or_insert(at);
        }
    }
    places
}

/// How sure it is that an executor holds a job: 0 for not at all. Unknown is busy.
fn may_hold_a_job(executor: &Executor) -> u8 {
    match executor.state {
        ExecutorState::Busy { .. } => 2,
        ExecutorState::Unknown { .. } => 1,
        ExecutorState::Idle { .. } | ExecutorState::NeverJoined | ExecutorState::Offline { .. } => {
            0
        }
    }
}
