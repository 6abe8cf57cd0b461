//! The jobs below the instance: which projects there are, which of them are asked now, and their jobs.
//!
//! A group is asked for its most recently pushed projects in each look and for all of them now and
//! then ([`crate::roster`] says who is asked when). What is hidden is told apart from what is not
//! there: GitLab leaves projects that a token may not see out of the list and says nothing, so the
//! token's user is proven to be a member of the group itself.

use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use model::Timestamp;
use ports::EmitterErrorKind;

use crate::client::{Meter, next_query};
use crate::config::Reach;
use crate::convert::{self, Page};
use crate::emitter::{GitLabEmitter, MOST_PAGES, few_at_a_time};
use crate::error::Failure;
use crate::roster::{ListedProject, Roster};
use crate::sight::Sight;

/// GitLab's number of the Reporter's role, the least that may read jobs.
const REPORTER: u64 = 20;

impl GitLabEmitter {
    /// The jobs of the projects whose turn it is. `groups` is empty where the projects are listed in
    /// the configuration. An error only if nothing could be read.
    pub(crate) async fn scanned(
        &self,
        sight: &mut Sight,
        groups: &[String],
        wall: Timestamp,
        meter: &Meter,
    ) -> Result<(), Failure> {
        let now = self.clock.boottime();
        let mut proven = BTreeSet::new();
        let mut first = None;
        for group in groups {
            match self.list(group, meter).await {
                Ok(true) => drop(proven.insert(group.as_str())),
                Ok(false) => sight.doubt(format!(
                    "the token's user is no member of group {group} with the role of a Reporter, and \
                     GitLab leaves out the projects that it hides from him: add him to the group"
                )),
                Err(failure) => {
                    sight.doubt(format!("projects of group {group}: {}", failure.message));
                    first.get_or_insert(failure);
                }
            }
        }
        if let Reach::Projects(paths) = &self.reach {
            let rows = paths.iter().map(|path| ListedProject {
                path: path.clone(),
                active_at: None,
            });
            self.roster().add(rows.collect());
        }
        let room = self.client.room();
        let picked = self.roster().pick(now, wall, self.rescan, room);
        if picked.is_empty()
            && let Some(failure) = first
        {
            return Err(failure);
        }
        self.projects(sight, &picked, &proven, now, wall, meter)
            .await?;
        let doubts = self.roster().doubts(now, self.rescan);
        doubts.into_iter().for_each(|doubt| sight.doubt(doubt));
        Ok(())
    }

    pub(crate) fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is new in a group: all of its projects if that is due, else those with the latest
    /// push. Gives whether the token's user is a member who sees all of them.
    async fn list(&self, group: &str, meter: &Meter) -> Result<bool, Failure> {
        let now = self.clock.boottime();
        if !self.roster().is_due(group, now, self.rescan) {
            let query = "include_subgroups=true&archived=false&simple=true&per_page=100\
                         &order_by=last_activity_at&sort=desc";
            let (rows, _) = self.listed(group, query, meter).await?;
            self.roster().add(rows);
            let members = self.member_of.lock();
            let members = members.unwrap_or_else(PoisonError::into_inner);
            return Ok(members.contains(group));
        }
        // by number, upwards: a project that is made meanwhile comes last and moves no other
        let mut query =
            "include_subgroups=true&archived=false&simple=true&per_page=100&order_by=id&sort=asc"
                .to_owned();
        let mut all = Vec::new();
        for page in 1.. {
            if page > MOST_PAGES {
                let words = format!("more than {MOST_PAGES} pages; the rest was not read");
                return Err(Failure::new(EmitterErrorKind::TooLarge, words));
            }
            let (rows, next) = self.listed(group, &query, meter).await?;
            all.extend(rows);
            match next {
                None => break,
                Some(next) if next == query => {
                    return Err(Failure::bad_answer("GitLab gave the same page again"));
                }
                Some(next) => query = next,
            }
        }
        let member = self.is_member(group, meter).await?;
        let mut members = self
            .member_of
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if member {
            members.insert(group.to_owned());
        } else {
            members.remove(group);
        }
        self.roster().replace(group, all, now);
        Ok(member)
    }

    async fn listed(
        &self,
        group: &str,
        query: &str,
        meter: &Meter,
    ) -> Result<(Vec<ListedProject>, Option<String>), Failure> {
        let place = format!("/groups/{}/projects", encoded(group));
        let answer = self.client.get(&place, query, meter).await?;
        let rows = convert::project_list(&answer.json()?).ok_or_else(|| {
            Failure::bad_answer(format!("{} answered no list of projects", answer.endpoint))
        })?;
        Ok((rows, next_query(&answer)))
    }

    /// Whether the token's user sees every project below a group: as a member with a role that reads
    /// jobs, which everything below inherits, or as an administrator.
    async fn is_member(&self, group: &str, meter: &Meter) -> Result<bool, Failure> {
        let user = self.client.get("/user", "", meter).await?.json()?;
        if user["is_admin"].as_bool() == Some(true) {
            return Ok(true);
        }
        let id = user["id"]
            .as_u64()
            .ok_or_else(|| Failure::bad_answer("GET /api/v4/user gave no id"))?;
        let place = format!("/groups/{}/members/all/{id}", encoded(group));
        let answer = self.client.get(&place, "", meter).await?;
        match answer.status {
            404 => Ok(false),
            _ => Ok(answer.json()?["access_level"]
                .as_u64()
                .is_some_and(|level| level >= REPORTER)),
        }
    }

    /// The jobs of these projects. An error only if none of them could be read. A project of a group
    /// in `proven` that refuses its jobs has CI switched off: its member may read all that there is. `now` is the look's
    /// beginning on the clock's boot time, by which the roster knows whom this look has asked.
    async fn projects(
        &self,
        sight: &mut Sight,
        paths: &[String],
        proven: &BTreeSet<&str>,
        now: Duration,
        wall: Timestamp,
        meter: &Meter,
    ) -> Result<(), Failure> {
        let looks = paths.iter().map(|path| {
            async move {
                let mut own = Vec::new();
                let ended = self.project(path, wall, meter, &mut own).await;
                (path, own, ended)
            }
            .boxed()
        });
        let looks = few_at_a_time(looks.collect()).await;
        let mut first = None;
        let mut seen = false;
        for (path, pages, ended) in looks {
            seen |= !pages.is_empty();
            let has_jobs = pages.iter().any(|page: &Page| !page.jobs.is_empty());
            pages.into_iter().for_each(|page| sight.add_page(page));
            match ended {
                Ok(()) => self.roster().looked(path, has_jobs, now),
                Err(failure)
                    if failure.kind == EmitterErrorKind::Forbidden
                        && proven.iter().any(|group| convert::is_below(path, group)) =>
                {
                    tracing::debug!(emitter = %self.name, project = path, "a project has no CI");
                    seen = true;
                    self.roster().looked(path, false, now);
                }
                Err(failure) => {
                    sight.doubt(format!("jobs of project {path}: {}", failure.message));
                    first.get_or_insert(failure);
                }
            }
        }
        match first {
            Some(failure) if !seen => Err(failure),
            _ => Ok(()),
        }
    }
}

/// A full path as one part of an address.
pub(crate) fn encoded(path: &str) -> String {
    url::form_urlencoded::byte_serialize(path.as_bytes()).collect()
}
