//! What a machine does by itself: it connects its agent, and leaves when it is asked to (docs/guest.md). And what the judge
//! excuses where nobody may keep an agent from jobs.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use model::InstanceName;

use super::{BEAT, World};
use crate::ci::{Ci, Credentials, Job};
use crate::joining::Join;

/// Two looks of the guest: at its mark, and at its agent. Each is believed when it was seen at both.
const LOOKS: Duration = Duration::from_secs(2);

/// What `scale_in: best-effort` may not have seen: a look of ten seconds may be acted on, and its deletion may be sent as long as
/// the lease lasts (docs/machines.md; the lease is `Timing`'s). A job that ran longer when the deletion was sent was to be seen.
const UNSEEN: Duration = Duration::from_secs(10 + 5);

/// What a machine reads in its boot script.
fn credentials(script: &str) -> Credentials {
    let lines = script.lines().filter_map(|line| line.split_once('='));
    lines
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// The agent of a machine connects, as its boot script says. False when it is not let in.
pub(super) fn connects(ci: &mut dyn Ci, name: &str, script: &str, now: Timestamp) -> bool {
    let told = credentials(script);
    if told.is_empty() {
        ci.join_by_itself(name, now)
    } else {
        ci.join(name, &told, now)
    }
}

impl World {
    /// The mark `drain` is written on a machine. It cannot be taken back.
    pub(crate) fn asks_to_leave(&mut self, name: &InstanceName) {
        let at = self.clock.boottime();
        self.asked_to_leave.entry(name.to_string()).or_insert(at);
    }

    /// The agents of machines that are asked to leave take no more jobs, and those that have none any more power off.
    pub(super) fn guests_leave(&mut self) {
        let (now, at) = (self.now(), self.clock.boottime());
        let mut off = Vec::new();
        for (name, since) in &self.asked_to_leave {
            let Some(guest) = self.guests.get_mut(name) else {
                continue;
            };
            if at < *since + LOOKS || at < guest.up + LOOKS {
                continue;
            }
            let leaves = *guest.leaves.get_or_insert(at);
            // a question that is on its way is answered, and what comes of it is run to its end
            let is_done = guest.ticket.is_none() && !self.ci.has_a_job(name, now);
            if is_done && at >= leaves + LOOKS {
                off.push(name.clone());
            }
        }
        for name in off {
            self.guests.remove(&name);
            for cloud in self.clouds.values_mut() {
                cloud.take_back(&name, now);
            }
            let lost = self.ci.gone(&name, now);
            if !lost.is_empty() {
                self.wrong(format!("{name} powered off with {lost:?} on it"));
            }
        }
    }

    /// Jobs of all machines that were given too short a time before a deletion was sent for it to know of them, where it goes by
    /// a look alone. Anywhere else there are none.
    pub(super) fn given_too_late_to_be_seen(&self, sent: Duration) -> BTreeSet<Job> {
        if self.join != Join::BestEffort {
            return BTreeSet::new();
        }
        let (now, at) = (self.now(), self.clock.boottime());
        let unseen = at.saturating_sub(sent) + UNSEEN;
        let running = self.ci.running().into_iter();
        let young = running.filter(|(_, since)| model::age(*since, now) <= unseen);
        young.map(|(job, _)| job).collect()
    }

    /// There is a job, and this machine has it now. False if its agent takes none any more, or it is gone.
    pub(crate) fn has_a_job_at_once(&mut self, name: &str) -> bool {
        let now = self.now();
        let Some(guest) = self
            .guests
            .get_mut(name)
            .filter(|guest| guest.leaves.is_none())
        else {
            return false;
        };
        let Some(ticket) = self.ci.ask(name, now) else {
            return false;
        };
        guest.ticket = None;
        self.push(BEAT * 40);
        self.ci.hand_out(name, ticket, now);
        true
    }

    /// A deletion that no scaler asked for, sent and carried out at once.
    pub(crate) fn is_deleted_at_last(&mut self, name: &str) {
        let (now, at) = (self.now(), self.clock.boottime());
        for cloud in self.clouds.values_mut() {
            cloud.take_back(name, now);
        }
        self.deleted(name, at);
    }

    /// Somebody clears up by hand what Parmanu leaves alone and names: machines of pools of which nobody knows any more how they
    /// leave, and, where an agent that does not answer may run a build, those without an agent.
    pub(crate) fn operator_removes_what_is_left_alone(&mut self) {
        let mut names: Vec<String> = self.alive();
        names.retain(|name| {
            let there = self.guests.get(name).is_some_and(|guest| guest.joined);
            let is_doubted = self.join == Join::BestEffort && !there && !super::is_bed(name);
            is_doubted || self.limit(&super::pool_of(name)) == 0
        });
        let now = self.now();
        for name in &names {
            for cloud in self.clouds.values_mut() {
                cloud.is_removed_by_hand(name, now);
            }
            self.vanish(name);
        }
    }
}
