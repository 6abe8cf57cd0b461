//! The account's state, the dispatch of actions, and what a test can arrange and read.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::faults::{Fault, Faults};
use crate::form::Form;
use crate::limits::Limits;
use crate::machine::{Ending, Machine, Market};
use crate::run::Launched;
use crate::settings::Settings;
use crate::wire::{Outcome, Refusal, Request, Response};
use crate::xml::{self, Node};
use crate::{access, console, describe, images, run, spot, tags, terminate, volumes};

/// The only API version this fake speaks.
const VERSION: &str = "2016-11-15";

/// Calls kept for tests; older ones are forgotten, the counters stay. Enough to look back over any
/// test, small enough that a week of simulated polling does not grow.
const CALLS_KEPT: usize = 1000;

/// One call as it came in, for tests that ask what was sent.
#[derive(Debug, Clone)]
pub struct Call {
    /// When.
    pub at: Timestamp,
    /// The action's name.
    pub action: String,
    /// Its parameters by name, without action and version.
    pub parameters: BTreeMap<String, String>,
    /// The error code it was answered with, `None` for success.
    pub code: Option<String>,
}

/// Room left on order of the test, by type, zone and market.
pub(crate) type Capacity = BTreeMap<(String, String, Market), u32>;

/// One account in one region.
#[derive(Debug)]
pub struct Ec2 {
    pub(crate) settings: Settings,
    pub(crate) machines: BTreeMap<String, Machine>,
    /// What each token made, by token and zone (no zone: a regional token).
    pub(crate) tokens: BTreeMap<(String, Option<String>), Launched>,
    pub(crate) capacity: Capacity,
    pub(crate) doomed: Vec<(String, String)>,
    pub(crate) limits: Limits,
    faults: Faults,
    counts: BTreeMap<String, u64>,
    calls: Vec<Call>,
    serial: u64,
}

impl Default for Ec2 {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

impl Ec2 {
    /// An empty account.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            machines: BTreeMap::new(),
            tokens: BTreeMap::new(),
            capacity: Capacity::new(),
            doomed: Vec::new(),
            limits: Limits::default(),
            faults: Faults::default(),
            counts: BTreeMap::new(),
            calls: Vec::new(),
            serial: 0,
        }
    }

    /// Answers one request. The answer says how it travels: see [`crate::Delivery`].
    pub fn handle(&mut self, request: &Request, now: Timestamp) -> Response {
        self.forget_old(now);
        let request_id = self.request_id();
        let form = parameters(request);
        let action = form.get("Action").unwrap_or("(none)").to_owned();
        *self.counts.entry(action.clone()).or_default() += 1;

        let fault = self.faults.next(&action);
        let response = match fault.as_ref().and_then(|fault| fault.before(&request_id)) {
            Some(refused) => refused,
            None => {
                let mut answered = match self.answer(request, &action, &form, now) {
                    Ok(children) => {
                        Response::xml(200, xml::answer(&action, &request_id, &children))
                    }
                    Err(refusal) => refusal.response(&request_id),
                };
                if let Some(fault) = &fault {
                    fault.after(&mut answered);
                }
                answered
            }
        };
        self.remember(action, &form, &response, now);
        response
    }

    fn answer(
        &mut self,
        request: &Request,
        action: &str,
        form: &Form,
        now: Timestamp,
    ) -> Outcome<Vec<Node>> {
        access::check(request, &self.settings, now)?;
        if form.need("Version")? != VERSION {
            return Err(Refusal::bad(
                "NoSuchVersion",
                "The requested version is not supported.",
            ));
        }
        if self.settings.throttling {
            let paged = form.get("MaxResults").is_some() || !form.group("Filter").is_empty();
            self.limits.call(action, paged, now)?;
        }
        access::allowed(action, &self.settings)?;
        match action {
            "RunInstances" => run::run(self, form, now),
            "DescribeInstances" => describe::instances(self, form, now),
            "TerminateInstances" => terminate::terminate(self, form, now),
            "DescribeImages" => images::images(self, form),
            "DescribeSpotInstanceRequests" => spot::requests(self, form, now),
            "DescribeVolumes" => volumes::volumes(self, form, now),
            "GetConsoleOutput" => console::output(self, form, now),
            "CreateTags" => tags::create(self, form, now),
            other => {
                let message = format!("The action {other} is not valid for this web service.");
                Err(Refusal::bad("InvalidAction", message))
            }
        }
    }

    /// Machines and tokens are dropped a day after the end: the service keeps a token "at least 24
    /// hours" after its machines are gone, and nothing here may grow for ever.
    fn forget_old(&mut self, now: Timestamp) {
        const KEPT: std::time::Duration = std::time::Duration::from_secs(86_400);
        self.machines.retain(|_, machine| {
            let ended = machine.ending.as_ref().filter(|ending| !ending.stops);
            ended.is_none_or(|ending| now < crate::machine::after(ending.at, KEPT))
        });
        let machines = &self.machines;
        self.tokens
            .retain(|_, launched| launched.ids.iter().any(|id| machines.contains_key(id)));
    }

    fn remember(&mut self, action: String, form: &Form, response: &Response, now: Timestamp) {
        let own = |name: &str| name == "Action" || name == "Version";
        let parameters = form
            .pairs()
            .filter(|(name, _)| !own(name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let code = response.code().map(str::to_owned);
        if self.calls.len() == CALLS_KEPT {
            self.calls.remove(0);
        }
        self.calls.push(Call {
            at: now,
            action,
            parameters,
            code,
        });
    }

    /// The next id of a kind, for example `i-0…`: the same in every run, yet in no telling order.
    pub(crate) fn id(&mut self, prefix: &str) -> String {
        format!("{prefix}-0{:016x}", self.scramble())
    }

    fn request_id(&mut self) -> String {
        let bits = self.scramble();
        format!(
            "{:08x}-{:04x}-4000-8000-{:012x}",
            bits >> 32,
            bits & 0xffff,
            bits >> 16
        )
    }

    /// splitmix64 of a counter: distinct for each counter, and ids do not sort by age, which the
    /// service's do not either.
    fn scramble(&mut self) -> u64 {
        self.serial += 1;
        let mut x = self.serial.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

/// What a test arranges and reads.
impl Ec2 {
    /// The settings; delays and limits may be changed at any time.
    pub fn settings(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// At most this many machines may exist at once of this type in this zone; `None` lifts it.
    pub fn set_capacity(
        &mut self,
        instance_type: &str,
        zone: &str,
        market: Market,
        room: Option<u32>,
    ) {
        let key = (instance_type.to_owned(), zone.to_owned(), market);
        match room {
            Some(room) => self.capacity.insert(key, room),
            None => self.capacity.remove(&key),
        };
    }

    /// The service takes a spot machine back: it ends with `Server.SpotInstanceTermination`. False if
    /// there is no such spot machine.
    pub fn interrupt_spot(&mut self, id: &str, now: Timestamp) -> bool {
        let spot = |machine: &&mut Machine| machine.market == Market::Spot;
        let Some(machine) = self.machines.get_mut(id).filter(spot) else {
            return false;
        };
        let code = "Server.SpotInstanceTermination";
        machine.end(ending(code, "Spot instance termination", now), now);
        true
    }

    /// The service says that it takes a spot machine back, and does so after [`Settings::spot_notice`]. False if there
    /// is no such spot machine.
    pub fn notify_spot(&mut self, id: &str, now: Timestamp) -> bool {
        let at = crate::machine::after(now, self.settings.spot_notice);
        self.interrupt_spot(id, at)
    }

    /// The next `count` machines to be launched are accepted, then end while still pending, with this
    /// state reason, for example `Server.InsufficientInstanceCapacity` or `Client.VolumeLimitExceeded`.
    pub fn fail_launch(&mut self, count: usize, code: &str, message: &str) {
        let reason = (code.to_owned(), message.to_owned());
        self.doomed.extend(std::iter::repeat_n(reason, count));
    }

    /// The guest powers itself off: it stops or terminates, as its launch asked. False if unknown.
    pub fn power_off(&mut self, id: &str, now: Timestamp) -> bool {
        let Some(machine) = self.machines.get_mut(id) else {
            return false;
        };
        let mut end = ending(
            "Client.InstanceInitiatedShutdown",
            "Instance initiated shutdown",
            now,
        );
        end.stops = machine.on_shutdown == "stop";
        machine.end(end, now);
        true
    }

    /// Turns termination protection on. False if there is no such machine.
    pub fn protect(&mut self, id: &str) -> bool {
        let machine = self.machines.get_mut(id);
        machine.map(|machine| machine.protected = true).is_some()
    }

    /// Somebody changes a tag in the console. False if there is no such machine.
    pub fn retag(&mut self, id: &str, key: &str, value: &str) -> bool {
        let Some(machine) = self.machines.get_mut(id) else {
            return false;
        };
        machine.tags.insert(key.to_owned(), value.to_owned());
        true
    }

    /// Every machine that was ever launched and not yet forgotten (a day after its end), by id: the
    /// truth, without any lag.
    pub fn instances(&self) -> impl Iterator<Item = &Machine> {
        self.machines.values()
    }

    /// How many machines exist now: not terminated.
    #[must_use]
    pub fn alive(&self, now: Timestamp) -> usize {
        self.instances()
            .filter(|machine| machine.occupies(&self.settings, now))
            .count()
    }

    /// How often an action was called, refusals and faults included.
    #[must_use]
    pub fn calls(&self, action: &str) -> u64 {
        self.counts.get(action).copied().unwrap_or_default()
    }

    /// How often any action was called.
    #[must_use]
    pub fn all_calls(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The last calls, oldest first.
    #[must_use]
    pub fn log(&self) -> &[Call] {
        &self.calls
    }

    /// The next `times` calls of an action fail like this.
    pub fn fault(&mut self, action: &str, times: u32, fault: Fault) {
        self.faults.order(action, 0, times, fault);
    }

    /// After `skip` more calls of an action, `times` calls fail like this: the third page, say.
    pub fn fault_after(&mut self, action: &str, skip: u32, times: u32, fault: Fault) {
        self.faults.order(action, skip, times, fault);
    }

    /// Takes back all faults not yet delivered.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }
}

fn ending(code: &str, message: &str, at: Timestamp) -> Ending {
    Ending {
        at,
        code: code.to_owned(),
        message: message.to_owned(),
        stops: false,
        at_once: false,
    }
}

fn parameters(request: &Request) -> Form {
    let query = request.path.split_once('?').map_or("", |(_, query)| query);
    if request.method == "GET" {
        Form::parse(query.as_bytes())
    } else {
        Form::parse(&request.body)
    }
}
