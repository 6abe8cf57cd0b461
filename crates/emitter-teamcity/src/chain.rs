//! Where each build of the queue stands in its chain. Pure.
//!
//! Dependents are in the queue from the start. What they wait for are the builds below them that still need an agent:
//! composite builds only hold others together, and are seen through; a build that goes on without its agent has an end
//! that nobody can reckon. Builds that are to "run on the same agent" are one machine: the first of a group asks for it, the
//! others wait for that agent.

use std::collections::{BTreeMap, BTreeSet};

use model::{JobClass, JobId};

use crate::error::line;
use crate::reason::{self, Waits};
use crate::wire::{Build, Need};

/// Build type → build types whose agent it stays on. Of a type that is not in it nobody knows.
pub(crate) type SameAgent = BTreeMap<String, BTreeSet<String>>;

/// One build of the queue that needs an agent.
#[derive(Debug)]
pub(crate) struct Placed<'a> {
    pub(crate) build: &'a Build,
    pub(crate) class: JobClass,
    /// Build types that its agent has to run: its own, and those of its group.
    pub(crate) types: BTreeSet<String>,
}

/// The queue, placed.
#[derive(Debug, Default)]
pub(crate) struct Chains<'a> {
    pub(crate) placed: Vec<Placed<'a>>,
    /// Agents that are free and to which a waiting build is bound: by the name of the agent. Without a build where none is
    /// known to be bound and one may be.
    pub(crate) bound: BTreeMap<String, Vec<JobId>>,
}

/// Places every build of the queue that needs an agent.
pub(crate) fn place<'a>(
    queued: &'a [Build],
    running: &'a [Build],
    same_agent: &SameAgent,
) -> Chains<'a> {
    let open: BTreeMap<u64, (&Build, bool)> = queued
        .iter()
        .map(|build| (build.id, (build, false)))
        // the newer word: it runs meanwhile
        .chain(running.iter().map(|build| (build.id, (build, true))))
        .collect();
    let mut chains = Chains::default();
    for build in queued {
        let is_open = matches!(open.get(&build.id), Some((_, false)));
        if build.composite || !is_open {
            continue;
        }
        chains.placed.push(Placed {
            build,
            class: class_of(build, &open),
            types: build.of_type().map(str::to_owned).into_iter().collect(),
        });
    }
    join_groups(&mut chains, &open, same_agent);
    hold_unknown(&mut chains, same_agent);
    chains
}

/// Holds the agents of ended builds for those builds of which nobody knows yet whether they go on with them. No build is
/// named: it would count as handed out, and would ask for no machine.
fn hold_unknown(chains: &mut Chains<'_>, same: &SameAgent) {
    let is_known = |build: &Build| build.of_type().is_some_and(|of| same.contains_key(of));
    let unknown = chains.placed.iter().map(|placed| placed.build);
    let needs = unknown
        .filter(|build| !is_known(build))
        .flat_map(|build| &build.needs.build);
    for need in needs.filter(|need| need.has_ended()) {
        let name = need.agent.as_ref().and_then(|agent| agent.name.clone());
        if let Some(name) = name {
            chains.bound.entry(name).or_default();
        }
    }
}

fn class_of(build: &Build, open: &BTreeMap<u64, (&Build, bool)>) -> JobClass {
    let blocked = |by: String| JobClass::Blocked {
        by,
        parents: Vec::new(),
    };
    if let Some(agent) = &build.agent {
        let name = agent.name.as_deref().unwrap_or("that was chosen");
        return blocked(format!("agent {}, which was chosen for it", line(name)));
    }
    let parents = parents(build, open);
    match (reason::read(build.wait_reason.as_deref()), parents) {
        (Waits::Other(by), _) => blocked(by),
        (Waits::Unknown(words), _) => blocked(format!("what TeamCity calls \"{words}\"")),
        (Waits::Chain | Waits::Agent, Some(parents)) if !parents.is_empty() => JobClass::Blocked {
            by: "builds of its chain".to_owned(),
            parents: parents
                .iter()
                .map(|id| JobId::new(id.to_string()))
                .collect(),
        },
        (Waits::Chain, _) => blocked("builds of its chain, which cannot all be told".to_owned()),
        (Waits::Agent, _) => JobClass::Runnable,
    }
}

/// Builds with agents that must end before this one; `None` when that cannot be told.
fn parents(build: &Build, open: &BTreeMap<u64, (&Build, bool)>) -> Option<BTreeSet<u64>> {
    let mut found = BTreeSet::new();
    let mut met = BTreeSet::new();
    let mut ahead: Vec<&Need> = build.needs.build.iter().collect();
    while let Some(need) = ahead.pop() {
        if !met.insert(need.id) {
            continue;
        }
        match open.get(&need.id) {
            Some((below, _)) if below.composite => ahead.extend(&below.needs.build),
            Some((below, _)) if below.detached_from_agent => return None,
            Some(_) => {
                found.insert(need.id);
            }
            None if need.has_ended() => {}
            // open, and not to be seen; or it left while we looked
            None => return None,
        }
    }
    Some(found)
}

/// Groups of the queue by their first build.
fn join_groups(chains: &mut Chains<'_>, open: &BTreeMap<u64, (&Build, bool)>, same: &SameAgent) {
    let places: BTreeMap<u64, usize> = chains
        .placed
        .iter()
        .enumerate()
        .map(|(at, p)| (p.build.id, at))
        .collect();
    let mut group: Vec<usize> = (0..chains.placed.len()).collect();
    // what holds an agent for a group already
    let mut held: Vec<(usize, Hold)> = Vec::new();
    for (at, placed) in chains.placed.iter().enumerate() {
        for need in bound_needs(placed.build, same) {
            match (places.get(&need.id), open.get(&need.id)) {
                (Some(other), _) => join(&mut group, at, *other),
                (None, Some((_, true))) => held.push((at, Hold::By(need.id))),
                (None, _) if need.has_ended() => {
                    if let Some(name) = need.agent.as_ref().and_then(|agent| agent.name.clone()) {
                        held.push((at, Hold::Agent(name)));
                    }
                }
                (None, _) => {}
            }
        }
    }
    let holds: BTreeMap<usize, Hold> = held
        .into_iter()
        .rev()
        .map(|(at, hold)| (root(&group, at), hold))
        .collect();
    let mut types: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    let mut first: BTreeMap<usize, u64> = BTreeMap::new();
    for (at, placed) in chains.placed.iter().enumerate() {
        types
            .entry(root(&group, at))
            .or_default()
            .extend(placed.types.iter().cloned());
    }
    for (at, placed) in chains.placed.iter_mut().enumerate() {
        let of = root(&group, at);
        placed.types = types.get(&of).cloned().unwrap_or_default();
        match &mut placed.class {
            JobClass::Runnable => {}
            // it goes on with an agent that is there then: no machine is to be ready for it
            JobClass::Blocked { parents, .. }
                if bound_needs(placed.build, same).next().is_some() =>
            {
                parents.clear();
                // and that agent must still be there when the others have ended
                if let Some(Hold::Agent(name)) = holds.get(&of) {
                    let waits = JobId::new(placed.build.id.to_string());
                    chains.bound.entry(name.clone()).or_default().push(waits);
                }
                continue;
            }
            _ => continue,
        }
        let by = match (holds.get(&of), first.get(&of)) {
            (Some(Hold::By(build)), _) => {
                format!("the agent of build {build}, on which its chain stays")
            }
            (Some(Hold::Agent(name)), _) => {
                let waits = JobId::new(placed.build.id.to_string());
                chains.bound.entry(name.clone()).or_default().push(waits);
                format!("agent {}, on which its chain stays", line(name))
            }
            (None, Some(build)) => {
                format!("the agent of build {build}, which is of the same group")
            }
            (None, None) => {
                first.insert(of, placed.build.id);
                continue;
            }
        };
        let parents = Vec::new();
        placed.class = JobClass::Blocked { by, parents };
    }
}

/// Who has the agent that a group stays on.
enum Hold {
    By(u64),
    Agent(String),
}

fn bound_needs<'a>(build: &'a Build, same: &'a SameAgent) -> impl Iterator<Item = &'a Need> {
    let types = build.of_type().and_then(|of| same.get(of));
    build.needs.build.iter().filter(move |need| {
        let on = need.build_type_id.as_ref();
        on.zip(types).is_some_and(|(on, types)| types.contains(on))
    })
}

fn root(group: &[usize], mut at: usize) -> usize {
    while group[at] != at {
        at = group[at];
    }
    at
}

fn join(group: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(group, a), root(group, b));
    group[a.max(b)] = a.min(b);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const WAITS: &str = "Build dependencies have not been built yet";

    /// A build type that the server was not asked about yet.
    const UNASKED: &str = "Unasked";

    /// A build of type `T<id>` with its dependencies, all of which are open unless named in `ended`.
    fn build(id: u64, needs: &[u64], ended: &[u64]) -> Value {
        let needs: Vec<Value> = needs
            .iter()
            .map(|need| {
                let state = if ended.contains(need) { "finished" } else { "queued" };
                json!({ "id": need, "buildTypeId": format!("T{need}"), "state": state, "agent": { "id": 1, "name": "a" } })
            })
            .collect();
        json!({ "id": id, "buildTypeId": format!("T{id}"), "snapshot-dependencies": { "build": needs } })
    }

    fn composite(id: u64, needs: &[u64]) -> Value {
        let mut build = build(id, needs, &[]);
        build["composite"] = json!(true);
        build
    }

    fn read(builds: Vec<Value>) -> Vec<Build> {
        builds
            .into_iter()
            .map(|build| serde_json::from_value(build).unwrap())
            .collect()
    }

    /// Each queued build with its class in short: `R`, or what it waits for.
    fn check(queued: Vec<Value>, running: Vec<Value>, same: &[(u64, u64)]) -> String {
        let (queued, running) = (read(queued), read(running));
        let asked = queued.iter().filter_map(|build| build.of_type());
        let mut edges: SameAgent = asked
            .filter(|of| *of != UNASKED)
            .map(|of| (of.to_owned(), BTreeSet::new()))
            .collect();
        for (of, on) in same {
            edges
                .entry(format!("T{of}"))
                .or_default()
                .insert(format!("T{on}"));
        }
        let chains = place(&queued, &running, &edges);
        let mut words: Vec<String> = chains
            .placed
            .iter()
            .map(|placed| match &placed.class {
                JobClass::Runnable => format!("{} R", placed.build.id),
                JobClass::Blocked { parents, by } => {
                    format!("{} {by} {parents:?}", placed.build.id)
                }
                other => format!("{other:?}"),
            })
            .collect();
        words.extend(
            chains
                .bound
                .iter()
                .map(|(agent, jobs)| format!("{agent} waits for {jobs:?}")),
        );
        words.join("; ").replace("JobId", "")
    }

    #[test]
    fn a_dependent_names_the_builds_that_must_end_before_it() {
        let mut three = build(3, &[1, 2], &[]);
        three["waitReason"] = json!(WAITS);
        assert_eq!(
            check(
                vec![build(2, &[], &[]), three.clone()],
                vec![build(1, &[], &[])],
                &[]
            ),
            r#"2 R; 3 builds of its chain ["1", "2"]"#
        );
        // those that ended are no obstacle, whatever the words still say
        let done = build(3, &[1, 2], &[1, 2]);
        assert_eq!(check(vec![done], vec![], &[]), "3 R");
    }

    #[test]
    fn a_composite_build_is_no_job_and_is_seen_through() {
        let queued = vec![build(1, &[], &[]), composite(2, &[1]), build(3, &[2], &[])];
        assert_eq!(
            check(queued, vec![], &[]),
            r#"1 R; 3 builds of its chain ["1"]"#
        );
        let queued = vec![build(1, &[], &[]), build(3, &[2], &[])];
        assert_eq!(
            check(queued, vec![composite(2, &[1])], &[]),
            r#"1 R; 3 builds of its chain ["1"]"#
        );
    }

    #[test]
    fn a_dependency_without_an_agent_or_out_of_sight_has_no_known_end() {
        let mut away = build(1, &[], &[]);
        away["detachedFromAgent"] = json!(true);
        let mut two = build(2, &[1], &[]);
        two["waitReason"] = json!(WAITS);
        let cannot = "2 builds of its chain, which cannot all be told []";
        assert_eq!(check(vec![two.clone()], vec![away], &[]), cannot);
        assert_eq!(check(vec![two], vec![], &[]), cannot);
    }

    #[test]
    fn a_circle_ends() {
        let queued = vec![composite(1, &[2]), composite(2, &[1]), build(3, &[1], &[])];
        assert_eq!(check(queued, vec![], &[]), "3 R");
    }

    #[test]
    fn a_same_agent_group_asks_for_one_machine() {
        // 1 and 2 are free to start, and 3 needs both on its agent
        let queued = vec![
            build(1, &[], &[]),
            build(2, &[], &[]),
            build(3, &[1, 2], &[]),
        ];
        assert_eq!(
            check(queued.clone(), vec![], &[(3, 1), (3, 2)]),
            "1 R; 2 the agent of build 1, which is of the same group []; 3 builds of its chain []"
        );
        // one of them runs: the other waits for its agent
        assert_eq!(
            check(
                queued[1..].to_vec(),
                vec![queued[0].clone()],
                &[(3, 1), (3, 2)]
            ),
            "2 the agent of build 1, on which its chain stays []; 3 builds of its chain []"
        );
        // what is not of the group is a machine of its own
        assert_eq!(
            check(queued, vec![], &[(3, 1)]),
            "1 R; 2 R; 3 builds of its chain []"
        );
    }

    #[test]
    fn a_member_of_a_group_that_began_holds_its_agent() {
        assert_eq!(
            check(vec![build(2, &[1], &[1])], vec![], &[(2, 1)]),
            r#"2 agent a, on which its chain stays []; a waits for [("2")]"#
                .replace("(\"2\")", "\"2\"")
        );
    }

    #[test]
    fn an_agent_is_held_for_a_build_of_its_group_that_waits_for_others_too() {
        let mut two = build(2, &[1, 3], &[1]);
        two["waitReason"] = json!(WAITS);
        assert_eq!(
            check(vec![two], vec![build(3, &[], &[])], &[(2, 1)]),
            r#"2 builds of its chain []; a waits for ["2"]"#
        );
    }

    /// Just after a start of probot, or when the question fails.
    #[test]
    fn until_it_is_known_what_stays_on_an_agent_no_agent_of_the_chain_is_free() {
        let mut two = build(2, &[1], &[1]);
        two["buildTypeId"] = json!(UNASKED);
        assert_eq!(check(vec![two], vec![], &[]), "2 R; a waits for []");
    }

    #[test]
    fn the_agent_of_a_group_must_run_all_of_it() {
        let queued = read(vec![
            build(1, &[], &[]),
            build(2, &[1], &[]),
            build(3, &[], &[]),
        ]);
        let same = [("T2".to_owned(), ["T1".to_owned()].into())].into();
        let chains = place(&queued, &[], &same);
        let types: Vec<Vec<&str>> = chains
            .placed
            .iter()
            .map(|placed| placed.types.iter().map(String::as_str).collect())
            .collect();
        assert_eq!(types, [vec!["T1", "T2"], vec!["T1", "T2"], vec!["T3"]]);
    }

    #[test]
    fn a_build_for_a_chosen_agent_or_with_words_nobody_knows_asks_for_no_machine() {
        let mut chosen = build(1, &[], &[]);
        chosen["agent"] = json!({ "id": 4, "name": "mac-mini" });
        let mut odd = build(2, &[], &[]);
        odd["waitReason"] = json!("The moon is full");
        assert_eq!(
            check(vec![chosen, odd], vec![], &[]),
            r#"1 agent mac-mini, which was chosen for it []; 2 what TeamCity calls "The moon is full" []"#
        );
    }
}
