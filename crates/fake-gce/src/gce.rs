//! The project's state and the dispatch of methods.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::access::{self, Need};
use crate::faults::{Fault, Faults};
use crate::limits::Limits;
use crate::machine::{Machine, after};
use crate::operation::{self, Failure, Operation};
use crate::route::{Asked, Method, route};
use crate::settings::Settings;
use crate::show;
use crate::wire::{Delivery, Outcome, Refusal, Request, Response};
use crate::{body, change, identity, insert, list};

/// Calls kept for tests; older ones are forgotten, the counters stay. Enough to look back over any test, small enough
/// that a week of simulated polling does not grow.
const CALLS_KEPT: usize = 1000;

/// Longest time that a wait for an operation takes ("zoneOperations.wait": no more than 2 minutes).
const WAIT: Duration = Duration::from_secs(120);

/// How long operations, and with them request ids, are kept.
const KEPT: Duration = Duration::from_secs(14 * 24 * 3600);

/// One call as it came in, for tests that ask what was sent.
#[derive(Debug, Clone)]
pub struct Call {
    /// When.
    pub at: Timestamp,
    /// The method's name in Google's discovery document, such as `instances.insert`.
    pub method: String,
    /// The path.
    pub path: String,
    /// Its query parameters.
    pub query: BTreeMap<String, String>,
    /// Its body, null if it had none.
    pub body: Value,
    /// The IAM permissions that it needed.
    pub needs: BTreeSet<&'static str>,
    /// The reason it was refused with, `None` for success.
    pub reason: Option<String>,
}

/// One project.
#[derive(Debug)]
pub struct Gce {
    pub(crate) settings: Settings,
    /// By the service's id; names are free again once a machine is no more.
    pub(crate) machines: BTreeMap<u64, Machine>,
    pub(crate) operations: BTreeMap<String, Operation>,
    /// Room left on order of the test, by type and zone.
    pub(crate) capacity: BTreeMap<(String, String), u32>,
    /// Zones that do not answer listings, and say so.
    pub(crate) unreachable: BTreeSet<String>,
    /// Zones that listings leave out without a word.
    pub(crate) hidden: BTreeSet<String>,
    pub(crate) limits: Limits,
    pub(crate) faults: Faults,
    pub(crate) counts: BTreeMap<String, u64>,
    pub(crate) calls: Vec<Call>,
    serial: u64,
    /// Of the call being handled.
    caller: String,
    needs: BTreeSet<&'static str>,
    fault: Option<Fault>,
}

impl Default for Gce {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

impl Gce {
    /// An empty project.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            machines: BTreeMap::new(),
            operations: BTreeMap::new(),
            capacity: BTreeMap::new(),
            unreachable: BTreeSet::new(),
            hidden: BTreeSet::new(),
            limits: Limits::default(),
            faults: Faults::default(),
            counts: BTreeMap::new(),
            calls: Vec::new(),
            serial: 0,
            caller: String::new(),
            needs: BTreeSet::new(),
            fault: None,
        }
    }

    /// Answers one request. The answer says how it travels: see [`Delivery`].
    pub fn handle(&mut self, request: &Request, now: Timestamp) -> Response {
        self.respond(request, now, true)
    }

    /// Answers a request that was told [`Delivery::Again`], now that it is that time: with what there is, for a wait ends
    /// after two minutes whether or not its operation has.
    pub fn handle_again(&mut self, request: &Request, now: Timestamp) -> Response {
        self.respond(request, now, false)
    }

    fn respond(&mut self, request: &Request, now: Timestamp, patient: bool) -> Response {
        self.forget_old(now);
        self.needs.clear();
        if let Some(answer) = identity::answer(self, request) {
            return answer;
        }
        let asked = match route(request) {
            Ok(asked) => asked,
            Err(refusal) => return refusal.response(),
        };
        let method = asked.method.name();
        let body = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        if patient && let Some(again) = self.patience(&asked.method, now) {
            return again;
        }
        *self.counts.entry(method.to_owned()).or_default() += 1;
        self.fault = self.faults.next(method);
        let before = self.fault.as_ref().and_then(Fault::before);
        let response = before.unwrap_or_else(|| {
            let mut answered = match self.answer(request, &asked, &body, now) {
                Ok(document) => Response::json(200, &document),
                Err(refusal) => refusal.response(),
            };
            if let Some(fault) = &self.fault {
                fault.after(&mut answered);
            }
            answered
        });
        self.remember(request, &asked, body, &response, now);
        response
    }

    /// A wait for an operation that is not done: it is to be handled when it is, or when two minutes are over.
    fn patience(&self, method: &Method, now: Timestamp) -> Option<Response> {
        let Method::OperationWait { operation, .. } = method else {
            return None;
        };
        let operation = self.operations.get(operation)?;
        if self.settings.impatient || operation.is_done(now) {
            return None;
        }
        let mut again = Response::json(200, &Value::Null);
        again.delivery = Delivery::Again(operation.done_at.min(after(now, WAIT)));
        Some(again)
    }

    fn answer(
        &mut self,
        request: &Request,
        asked: &Asked,
        sent: &Value,
        now: Timestamp,
    ) -> Outcome<Value> {
        self.caller = access::caller(request, &self.settings)?;
        let project = format!("projects/{}", asked.project);
        if asked.project != self.settings.project {
            return Err(Refusal::not_found(&project));
        }
        if let Some(zone) = asked.method.zone()
            && !self.settings.zones.iter().any(|known| known == zone)
        {
            let message = format!("Unknown zone '{zone}'.");
            let why = if body::is_name(zone) {
                "Unknown zone."
            } else {
                &message
            };
            return Err(Refusal::field("zone", zone, why));
        }
        self.count(&asked.method, now)?;
        match &asked.method {
            Method::Insert { zone } => insert::one(self, asked, zone, sent, now),
            Method::BulkInsert { zone } => insert::many(self, asked, zone, sent, now),
            Method::Get { zone, instance } => change::get(self, zone, instance, now),
            Method::List { zone } => list::zonal(self, asked, zone, now),
            Method::AggregatedList => list::aggregated(self, asked, now),
            Method::Delete { zone, instance } => change::delete(self, asked, zone, instance, now),
            Method::SetLabels { zone, instance } => {
                change::set_labels(self, asked, zone, instance, sent, now)
            }
            Method::SerialPort { zone, instance } => {
                change::serial_port(self, asked, zone, instance, now)
            }
            Method::OperationGet { zone, operation }
            | Method::OperationWait { zone, operation } => {
                self.show_operation(zone, operation, now)
            }
            Method::OperationList { zone } => list::operations(self, asked, zone, now),
            Method::TemplateGet { template } => self.template(template),
        }
    }

    /// Takes the call from its quota.
    fn count(&mut self, method: &Method, now: Timestamp) -> Outcome<()> {
        let Some(rates) = self.settings.rates else {
            return Ok(());
        };
        let region = method
            .zone()
            .map(|zone| self.settings.region(zone).to_owned());
        let (metric, limit) = match method {
            Method::Insert { .. }
            | Method::BulkInsert { .. }
            | Method::Delete { .. }
            | Method::SetLabels { .. } => ("Queries", rates.changes),
            Method::Get { .. } | Method::SerialPort { .. } | Method::TemplateGet { .. } => {
                ("Read requests", rates.reads)
            }
            Method::List { .. } | Method::AggregatedList | Method::OperationList { .. } => {
                ("List requests", rates.lists)
            }
            Method::OperationGet { .. } | Method::OperationWait { .. } => {
                ("Operation read requests", rates.operation_reads)
            }
        };
        let region = region.unwrap_or_default();
        self.limits.take(metric, &region, 1, limit, now)
    }

    fn show_operation(&mut self, zone: &str, name: &str, now: Timestamp) -> Outcome<Value> {
        let path = format!(
            "projects/{}/zones/{zone}/operations/{name}",
            self.settings.project
        );
        let needs = [Need::new("compute.zoneOperations.get", &path)];
        self.need(needs.to_vec());
        access::check(&needs, &self.settings)?;
        let found = self.operations.get(name).filter(|op| op.zone == zone);
        let shown = found.map(|op| op.show(&self.settings, now));
        shown.ok_or_else(|| Refusal::not_found(&path))
    }

    fn template(&mut self, name: &str) -> Outcome<Value> {
        let path = format!(
            "projects/{}/global/instanceTemplates/{name}",
            self.settings.project
        );
        let needs = [Need::new("compute.instanceTemplates.get", &path)];
        self.need(needs.to_vec());
        access::check(&needs, &self.settings)?;
        let properties = self.settings.templates.get(name);
        let properties = properties.ok_or_else(|| Refusal::not_found(&path))?;
        let id = name.bytes().fold(7_u64, |id, byte| {
            id.wrapping_mul(31).wrapping_add(byte.into())
        });
        Ok(json!({
            "kind": "compute#instanceTemplate",
            "id": id.to_string(),
            "name": name,
            "creationTimestamp": "2026-01-02T03:04:05.678-08:00",
            "properties": properties,
            "selfLink": show::link(&self.settings, &format!("global/instanceTemplates/{name}")),
        }))
    }

    /// Notes what the call at hand needs.
    pub(crate) fn need(&mut self, needs: Vec<Need>) {
        self.needs
            .extend(needs.into_iter().map(|need| need.permission));
    }

    /// The machine of this name or id in this zone, if it is there.
    pub(crate) fn standing(&self, zone: &str, named: &str, now: Timestamp) -> Option<&Machine> {
        self.machines.values().find(|machine| {
            let called = machine.name == named || machine.id.to_string() == named;
            called && machine.zone == zone && machine.status(&self.settings, now).is_some()
        })
    }

    /// The answer to a request that was answered before.
    pub(crate) fn repeated(&self, request_id: Option<&str>, now: Timestamp) -> Option<Value> {
        let id = request_id?;
        let mut operations = self.operations.values();
        let found = operations.find(|op| op.request_id.as_deref() == Some(id))?;
        Some(found.show(&self.settings, now))
    }

    /// The error that a test ordered for the operation of the call at hand.
    pub(crate) fn ordered_failure(&self) -> Option<Failure> {
        let code = self.fault.as_ref().and_then(Fault::operation);
        code.map(change::ordered)
    }

    pub(crate) fn operation(
        &mut self,
        kind: &'static str,
        zone: &str,
        target: Option<(u64, String)>,
        length: Duration,
        now: Timestamp,
    ) -> Operation {
        let id = self.id();
        let (starts_at, done_at) = operation::times(&self.settings, length, now);
        Operation {
            id,
            name: format!(
                "operation-{}-{:013x}-{:08x}",
                now.as_millisecond(),
                id >> 12,
                id as u32
            ),
            zone: zone.to_owned(),
            kind,
            target,
            at: now,
            starts_at,
            done_at,
            failure: None,
            bulk: None,
            request_id: None,
            caller: self.caller.clone(),
        }
    }

    /// Takes an operation on, and answers with it.
    pub(crate) fn accept(&mut self, operation: Operation, now: Timestamp) -> Value {
        let answer = operation.accepted(&self.settings, now);
        self.operations.insert(operation.name.clone(), operation);
        answer
    }

    /// The next id: the same in every run, yet in no telling order.
    pub(crate) fn id(&mut self) -> u64 {
        self.serial += 1;
        // splitmix64 of a counter: distinct for each counter
        let mut x = self.serial.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// Machines are dropped a day after their end, operations after two weeks: nothing here may grow for ever.
    fn forget_old(&mut self, now: Timestamp) {
        const AFTERLIFE: Duration = Duration::from_secs(86_400);
        self.machines.retain(|_, machine| {
            let ended = machine.end_at(now).filter(|ending| !ending.stops);
            ended.is_none_or(|ending| now < after(ending.at, AFTERLIFE))
        });
        self.operations.retain(|_, op| now < after(op.at, KEPT));
    }

    fn remember(
        &mut self,
        request: &Request,
        asked: &Asked,
        body: Value,
        response: &Response,
        now: Timestamp,
    ) {
        if self.calls.len() == CALLS_KEPT {
            self.calls.remove(0);
        }
        let path = request.path.split('?').next().unwrap_or_default();
        self.calls.push(Call {
            at: now,
            method: asked.method.name().to_owned(),
            path: path.to_owned(),
            query: asked.query.clone(),
            body,
            needs: std::mem::take(&mut self.needs),
            reason: response.reason(),
        });
    }
}
