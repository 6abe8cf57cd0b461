//! What a test arranges in the project, and what it reads of the truth.

use std::time::Duration;

use jiff::Timestamp;

use crate::faults::Fault;
use crate::gce::{Call, Gce};
use crate::insert;
use crate::machine::{Ending, Machine, Why, after};
use crate::settings::Settings;

/// What a test arranges and reads.
impl Gce {
    /// The settings; delays and limits may be changed at any time.
    pub fn settings(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// At most this many machines may run at once of this type in this zone; `None` lifts it.
    pub fn set_capacity(&mut self, machine_type: &str, zone: &str, room: Option<u32>) {
        let key = (machine_type.to_owned(), zone.to_owned());
        match room {
            Some(room) => self.capacity.insert(key, room),
            None => self.capacity.remove(&key),
        };
    }

    /// The zone does not answer listings: that of all zones says so, its own fails.
    pub fn set_unreachable(&mut self, zone: &str, unreachable: bool) {
        if unreachable {
            self.unreachable.insert(zone.to_owned());
        } else {
            self.unreachable.remove(zone);
        }
    }

    /// Listings of all zones leave this one out without a word.
    pub fn hide(&mut self, zone: &str) {
        self.hidden.insert(zone.to_owned());
    }

    /// The service takes a spot machine back. False if there is no such spot machine.
    pub fn preempt(&mut self, name: &str, now: Timestamp) -> bool {
        self.end(name, Why::Preempted, now)
    }

    /// The guest powers itself off: its machine stays, stopped. False if there is none.
    pub fn power_off(&mut self, name: &str, now: Timestamp) -> bool {
        self.end(name, Why::PoweredOff, now)
    }

    fn end(&mut self, name: &str, why: Why, now: Timestamp) -> bool {
        let Some(machine) = self.by_name(name, now) else {
            return false;
        };
        if why == Why::Preempted && !machine.spot {
            return false;
        }
        let stops = why == Why::PoweredOff || !machine.deletes_itself;
        if machine.end_at(now).is_none() {
            machine.ending = Some(Ending {
                at: now,
                why,
                stops,
            });
        }
        true
    }

    fn by_name(&mut self, name: &str, now: Timestamp) -> Option<&mut Machine> {
        let settings = &self.settings;
        let mut machines = self.machines.values_mut();
        machines.find(|machine| machine.name == name && machine.status(settings, now).is_some())
    }

    /// Turns protection against deletion on. False if there is no such machine.
    pub fn protect(&mut self, name: &str, now: Timestamp) -> bool {
        let machine = self.by_name(name, now);
        machine.map(|machine| machine.protected = true).is_some()
    }

    /// The service announces that it will maintain the machine's host in a minute. False if there is no such machine.
    pub fn announce_maintenance(&mut self, name: &str, now: Timestamp) -> bool {
        let begins = after(now, Duration::from_secs(60));
        let machine = self.by_name(name, now);
        machine
            .map(|machine| machine.maintenance = Some(begins))
            .is_some()
    }

    /// Somebody changes a label in the console. False if there is no such machine.
    pub fn relabel(&mut self, name: &str, key: &str, value: &str, now: Timestamp) -> bool {
        let Some(machine) = self.by_name(name, now) else {
            return false;
        };
        machine.labels.insert(key.to_owned(), value.to_owned());
        machine.label_changes += 1;
        true
    }

    /// The guest writes to its first serial port. False if there is no such machine.
    pub fn print(&mut self, name: &str, text: &str, now: Timestamp) -> bool {
        let machine = self.by_name(name, now);
        machine
            .map(|machine| machine.console.push_str(text))
            .is_some()
    }

    /// Every machine that was ever made and not yet forgotten (a day after its end): the truth, without any lag.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.values()
    }

    /// How many machines are there now, stopped ones included.
    #[must_use]
    pub fn alive(&self, now: Timestamp) -> usize {
        self.machines()
            .filter(|machine| machine.status(&self.settings, now).is_some())
            .count()
    }

    /// Disks that outlived their machines, and are paid for.
    #[must_use]
    pub fn left_disks(&self, now: Timestamp) -> usize {
        insert::left_disks(&self.machines, &self.settings, now)
    }

    /// How often a method was called, refusals and faults included.
    #[must_use]
    pub fn calls(&self, method: &str) -> u64 {
        self.counts.get(method).copied().unwrap_or_default()
    }

    /// The last calls, oldest first.
    #[must_use]
    pub fn log(&self) -> &[Call] {
        &self.calls
    }

    /// The next `times` calls of a method fail like this.
    pub fn fault(&mut self, method: &str, times: u32, fault: Fault) {
        self.faults.order(method, 0, times, fault);
    }

    /// After `skip` more calls of a method, `times` calls fail like this: the third page, say.
    pub fn fault_after(&mut self, method: &str, skip: u32, times: u32, fault: Fault) {
        self.faults.order(method, skip, times, fault);
    }

    /// Takes back all faults not yet delivered.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }
}
