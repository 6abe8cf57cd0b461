//! Which projects are looked at in this probe, where there are too many to ask all of them each time.
//!
//! GitLab lists the jobs of one project at a time below the instance, so a group of a thousand
//! projects would cost a thousand requests in every probe. Asked each time are the projects that had
//! jobs lately and those that were pushed to lately; the others take turns, so that each is looked at
//! within [`Roster::rescan`]. That is how long a job stays unseen that no push announced (a schedule,
//! the API) in a project that was quiet. Pure; knows no request.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{Timestamp, age};

use crate::convert::is_below;

/// As many projects as this are simply all asked each time.
const FEW: usize = 20;
/// A project stays on the shortlist for this long after it had a job: the next stage of a pipeline,
/// or the next push, is likelier there than elsewhere.
const WARM: Duration = Duration::from_secs(600);
/// GitLab moves `last_activity_at` at most once an hour (`RESET_PROJECT_ACTIVITY_INTERVAL`), so a push
/// in that hour is not announced. A few minutes more for clocks that differ.
const ACTIVE: Duration = Duration::from_secs(65 * 60);

/// What is known of one project.
#[derive(Debug, Clone, Default)]
struct Known {
    active_at: Option<Timestamp>,
    looked_at: Option<Duration>,
    jobs_at: Option<Duration>,
    has_jobs: bool,
}

/// All projects of the scope, with the moments (of boot time) they were looked at.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    projects: BTreeMap<String, Known>,
    /// When each group was listed to the end.
    listed_at: BTreeMap<String, Duration>,
    last_look: Option<Duration>,
}

/// A row of a list of projects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedProject {
    pub(crate) path: String,
    pub(crate) active_at: Option<Timestamp>,
}

impl Roster {
    /// Whether a group's list of projects is older than `rescan`, or was never read.
    pub(crate) fn is_due(&self, group: &str, now: Duration, rescan: Duration) -> bool {
        let listed = self.listed_at.get(group);
        listed.is_none_or(|at| now.saturating_sub(*at) >= rescan)
    }

    /// Adds projects, or what is new of known ones.
    pub(crate) fn add(&mut self, projects: Vec<ListedProject>) {
        for project in projects {
            let known = self.projects.entry(project.path).or_default();
            known.active_at = known.active_at.max(project.active_at);
        }
    }

    /// The whole list of a group: what lies below it and is not in the list is gone.
    pub(crate) fn replace(&mut self, group: &str, projects: Vec<ListedProject>, now: Duration) {
        let present: BTreeSet<&String> = projects.iter().map(|project| &project.path).collect();
        self.projects
            .retain(|path, _| !is_below(path, group) || present.contains(path));
        self.add(projects);
        self.listed_at.insert(group.to_owned(), now);
    }

    /// The projects to ask in this probe, at most `room` of them where they are many.
    pub(crate) fn pick(
        &mut self,
        now: Duration,
        wall: Timestamp,
        rescan: Duration,
        room: usize,
    ) -> Vec<String> {
        let since = self.last_look.map(|at| now.saturating_sub(at));
        self.last_look = Some(now);
        if self.projects.len() <= FEW {
            return self.projects.keys().cloned().collect();
        }
        let mut projects: Vec<(&String, &Known)> = self.projects.iter().collect();
        // whoever waits longest comes first, whatever its kind
        projects.sort_by_key(|(_, known)| known.looked_at);
        let (hot, cold): (Vec<_>, Vec<_>) = projects
            .into_iter()
            .partition(|(_, known)| known.is_hot(now, wall));
        let owed = share(cold.len(), since, rescan);
        let overdue = |known: &Known| known.is_overdue(now, rescan);
        // the turn of the quiet ones comes first, up to half of the room: a busy group must not put
        // it off for ever
        let turn = cold
            .iter()
            .enumerate()
            .filter(|(place, (_, known))| *place < owed || overdue(known))
            .take((room / 2).max(room.saturating_sub(hot.len())).max(1))
            .map(|(_, (path, _))| (*path).clone());
        let mut picked: Vec<String> = turn.collect();
        let rest = room.saturating_sub(picked.len());
        picked.extend(hot.into_iter().take(rest).map(|(path, _)| path.clone()));
        picked
    }

    /// Keeps that a project was read to the end, and whether it had jobs.
    pub(crate) fn looked(&mut self, path: &str, has_jobs: bool, now: Duration) {
        if let Some(known) = self.projects.get_mut(path) {
            known.looked_at = Some(now);
            known.has_jobs = has_jobs;
            if has_jobs {
                known.jobs_at = Some(now);
            }
        }
    }

    /// Puts a project on the shortlist, because a job of it was seen on a runner.
    pub(crate) fn wake(&mut self, path: &str, now: Duration) {
        if let Some(known) = self.projects.get_mut(path) {
            known.jobs_at = Some(now);
        }
    }

    /// What this look did not see, in words: projects that had jobs and were not asked again, and
    /// projects whose turn is overdue.
    pub(crate) fn doubts(&self, now: Duration, rescan: Duration) -> Vec<String> {
        // asked in this look: `looked_at` is its beginning
        let unasked = |known: &&Known| known.looked_at != Some(now);
        let unseen = self.projects.values().filter(unasked);
        let (busy, quiet): (Vec<_>, Vec<_>) = unseen.partition(|known| known.has_jobs);
        let late = quiet
            .iter()
            .filter(|known| known.is_overdue(now, rescan + rescan / 10))
            .count();
        let mut doubts = Vec::new();
        if !busy.is_empty() {
            let count = busy.len();
            doubts.push(format!(
                "{count} projects that had jobs were not asked again: raise `budget`, or probe less often"
            ));
        }
        if late > 0 {
            doubts.push(format!(
                "{late} projects were not looked at within {rescan:?} (`rescan`): raise `budget` or `rescan`"
            ));
        }
        doubts
    }

    /// Whether some projects are not asked in each probe.
    pub(crate) fn takes_turns(&self) -> bool {
        self.projects.len() > FEW
    }
}

impl Known {
    fn is_hot(&self, now: Duration, wall: Timestamp) -> bool {
        let warm = self.jobs_at.is_some_and(|at| now.saturating_sub(at) < WARM);
        let active = self.active_at.is_some_and(|at| age(at, wall) < ACTIVE);
        self.has_jobs || warm || active
    }

    fn is_overdue(&self, now: Duration, rescan: Duration) -> bool {
        self.looked_at
            .is_none_or(|at| now.saturating_sub(at) >= rescan)
    }
}

/// How many quiet projects are due after this time, so that all had their turn within `rescan`.
fn share(cold: usize, since: Option<Duration>, rescan: Duration) -> usize {
    let Some(since) = since.filter(|since| *since < rescan) else {
        return cold;
    };
    let owed = (cold as u128 * since.as_millis()).div_ceil(rescan.as_millis().max(1));
    usize::try_from(owed).unwrap_or(cold)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESCAN: Duration = Duration::from_secs(300);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn wall(now: Duration) -> Timestamp {
        Timestamp::UNIX_EPOCH + jiff::SignedDuration::try_from(now).unwrap()
    }

    fn many(count: usize) -> Roster {
        let mut roster = Roster::default();
        let project = |number| ListedProject {
            path: format!("acme/p{number:04}"),
            active_at: None,
        };
        roster.replace("acme", (0..count).map(project).collect(), seconds(0));
        roster
    }

    /// One look; all that was picked is read, and `busy` have jobs.
    fn look(roster: &mut Roster, at: u64, room: usize, busy: &[&str]) -> Vec<String> {
        let now = seconds(at);
        // far from the epoch, so that no activity is no activity
        let picked = roster.pick(now, wall(now), RESCAN, room);
        for path in &picked {
            roster.looked(path, busy.contains(&path.as_str()), now);
        }
        picked
    }

    #[test]
    fn few_projects_are_all_asked_each_time() {
        let mut roster = many(FEW);
        for at in [0, 5, 10] {
            assert_eq!(look(&mut roster, at, 3, &[]).len(), FEW);
            assert_eq!(roster.doubts(seconds(at), RESCAN), [""; 0]);
        }
    }

    #[test]
    fn quiet_projects_take_turns_and_each_has_its_turn_within_the_rescan_time() {
        let mut roster = many(1000);
        assert_eq!(look(&mut roster, 10_000, 1000, &[]).len(), 1000);
        let mut seen = BTreeSet::new();
        for step in 1..=60 {
            let at = 10_000 + step * 5;
            let picked = look(&mut roster, at, 100, &[]);
            assert!(picked.len() <= 18, "{}", picked.len());
            seen.extend(picked);
            assert_eq!(roster.doubts(seconds(at), RESCAN), [""; 0]);
        }
        assert_eq!(seen.len(), 1000);
    }

    #[test]
    fn a_project_with_jobs_or_a_push_is_asked_each_time() {
        let mut roster = many(1000);
        look(&mut roster, 10_000, 1000, &["acme/p0007"]);
        roster.add(vec![ListedProject {
            path: "acme/p0500".to_owned(),
            active_at: Some(wall(seconds(10_000))),
        }]);
        roster.wake("acme/p0900", seconds(10_000));
        for step in 1..10 {
            let picked = look(&mut roster, 10_000 + step * 5, 100, &[]);
            for path in ["acme/p0007", "acme/p0500", "acme/p0900"] {
                assert!(picked.contains(&path.to_owned()), "{path}");
            }
        }
    }

    #[test]
    fn what_could_not_be_asked_is_said() {
        let mut roster = many(100);
        look(&mut roster, 10_000, 30, &[]);
        let doubts = roster.doubts(seconds(10_000), RESCAN);
        assert!(
            doubts[0].starts_with("70 projects were not looked at"),
            "{doubts:?}"
        );
        let all: Vec<String> = (0..100)
            .map(|number| format!("acme/p{number:04}"))
            .collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        look(&mut roster, 10_005, 100, &all);
        look(&mut roster, 10_010, 30, &all);
        let doubts = roster.doubts(seconds(10_010), RESCAN);
        assert!(
            doubts[0].contains("that had jobs were not asked again"),
            "{doubts:?}"
        );
    }

    #[test]
    fn a_project_that_left_the_group_is_forgotten() {
        let mut roster = many(30);
        roster.replace("acme", Vec::new(), seconds(1));
        assert_eq!(look(&mut roster, 2, 10, &[]), [""; 0]);
        assert!(!roster.is_due("acme", seconds(300), RESCAN));
        assert!(roster.is_due("acme", seconds(301), RESCAN));
    }
}
