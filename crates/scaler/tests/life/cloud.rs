//! The clouds: the fakes of EC2 and GCE, asked in their own words.
//!
//! The providers of the product speak through the SDKs, which take long to build; what they do on the wire is tested in
//! their crates. Here stands the least that a provider is, upon the same fakes, so that the fakes' tokens, lags, refusals
//! and lost answers meet the loops in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fake_ec2::Ec2;
use fake_gce::Gce;
use jiff::Timestamp;
use model::{
    BatchId, CreateBatch, FleetId, Generation, InstallationId, Instance, InstanceName,
    InstanceState, Listing, Owner, ProviderRef, age,
};
use ports::ProviderErrorKind;
use serde_json::{Value, json};

use crate::setup::{AWS_ZONE, GCP_ZONE};

/// How a call fared.
pub(crate) enum Fared<T> {
    Whole(T),
    Refused(ProviderErrorKind, String),
    /// No answer: it may have happened.
    Lost,
}

/// A machine in truth.
pub(crate) struct Truth {
    pub(crate) name: String,
    /// Whether it still costs money and can run anything.
    pub(crate) alive: bool,
    pub(crate) running: bool,
    pub(crate) script: String,
    pub(crate) fleet: String,
    /// What it was made from.
    pub(crate) image: String,
}

/// What can go wrong with the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It happens, and its answer is lost.
    After,
    /// It does not happen, and its answer is lost.
    Before,
    /// The account's rate is used up.
    Throttle,
    /// The service fails and does nothing.
    Fails,
}

/// The calls of a cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    List,
    Create,
    Delete,
}

/// Who knows what machines there are.
pub(crate) trait Books: Send {
    /// Everything that was ever made.
    fn truth(&self, now: Timestamp) -> Vec<Truth>;
}

pub(crate) trait Cloud: Books {
    fn list(&mut self, fleet: &FleetId, now: Timestamp) -> Fared<Listing>;
    fn create(&mut self, batch: &CreateBatch, now: Timestamp) -> Fared<Vec<Instance>>;
    fn delete(&mut self, instance: &Instance, now: Timestamp) -> Fared<()>;
    /// The cloud takes a machine back, at once.
    fn take_back(&mut self, name: &str, now: Timestamp);
    /// Somebody deletes a machine by hand.
    fn is_removed_by_hand(&mut self, name: &str, now: Timestamp);
    /// The cloud says that it will.
    fn announce(&mut self, name: &str, now: Timestamp);
    fn go_wrong(&mut self, verb: Verb, times: u32, wrong: Wrong);
    /// Part of the listing cannot be seen from now on, or can again.
    fn hide(&mut self, hidden: bool);
    fn all_is_well(&mut self);
}

const BATCH: &str = "parmanu-batch";
const FLEET: &str = "parmanu-fleet";
/// As the product's provider of EC2 calls them.
const REAL_BATCH: &str = "parmanu:batch";
const REAL_FLEET: &str = "parmanu:fleet";
const INSTALLATION: &str = "parmanu-installation";
const EXECUTOR: &str = "parmanu-executor";
const OFFER: &str = "parmanu-offer";
const GENERATION: &str = "parmanu-generation";
const NOTICE: &str = "parmanu-notice";
/// The fake of GCE tells of no disk what it was made from.
const IMAGE: &str = "image";

fn image_of(batch: &CreateBatch) -> String {
    let image = batch.spec["image"].as_str();
    image.expect("an offer with an image").to_owned()
}

/// The marks of a machine, as both clouds carry them.
fn marks(batch: &CreateBatch) -> BTreeMap<String, String> {
    let executor = batch.executor.as_ref().map(ToString::to_string);
    let all = [
        (BATCH, Some(batch.batch.to_string())),
        (FLEET, Some(batch.fleet.to_string())),
        (INSTALLATION, Some(batch.installation.to_string())),
        (OFFER, Some(batch.offer.to_string())),
        (GENERATION, Some(batch.generation.to_string())),
        (EXECUTOR, executor),
    ];
    all.into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
}

fn instance(
    marks: &BTreeMap<String, String>,
    name: InstanceName,
    (id, zone): (&str, &str),
    state: InstanceState,
    created_at: Timestamp,
) -> Instance {
    let mark = |key: &str| marks.get(key).map(String::as_str);
    Instance {
        name,
        id: ProviderRef::new(id),
        scope: zone.to_owned(),
        state,
        created_at: Some(created_at),
        owner: Owner {
            fleet: mark(FLEET).unwrap_or("?").parse().expect("a fleet"),
            installation: mark(INSTALLATION).map(InstallationId::new),
        },
        executor: mark(EXECUTOR).and_then(|text| text.parse().ok()),
        offer: mark(OFFER).and_then(|text| text.parse().ok()),
        generation: mark(GENERATION).map(Generation::new),
        notice: mark(NOTICE).map(str::to_owned),
        expires: None,
    }
}

fn refused<T>(code: &str, status: u16) -> Fared<T> {
    let kind = match code {
        "RequestLimitExceeded" | "rateLimitExceeded" => {
            ProviderErrorKind::RateLimited { retry_after: None }
        }
        "InsufficientInstanceCapacity" | "ZONE_RESOURCE_POOL_EXHAUSTED" => {
            ProviderErrorKind::OutOfCapacity
        }
        _ if status >= 500 => ProviderErrorKind::Unavailable,
        _ => ProviderErrorKind::InvalidRequest,
    };
    Fared::Refused(kind, code.to_owned())
}

/// What the fake of EC2 knows, whoever made it.
pub(crate) fn ec2_truth(ec2: &Ec2, boot: Duration, now: Timestamp) -> Vec<Truth> {
    let machines = ec2.instances().filter_map(|machine| {
        let ended = machine.ending.as_ref().filter(|ending| ending.at <= now);
        let fleet = [FLEET, REAL_FLEET]
            .iter()
            .find_map(|key| machine.tags.get(*key));
        Some(Truth {
            name: ec2_name(machine)?.to_string(),
            alive: ended.is_none(),
            running: ended.is_none() && age(machine.launched_at, now) >= boot,
            script: decoded(machine.user_data.as_deref()),
            fleet: fleet.cloned().unwrap_or_default(),
            image: machine.image.clone(),
        })
    });
    machines.collect()
}

/// What the fake of GCE knows.
pub(crate) fn gce_truth(gce: &Gce, boot: Duration, now: Timestamp) -> Vec<Truth> {
    let machines = gce.machines().map(|machine| {
        let ended = machine.end_at(now);
        Truth {
            name: machine.name.clone(),
            alive: ended.is_none_or(|ending| ending.stops),
            running: ended.is_none() && age(machine.created_at, now) >= boot,
            script: machine
                .metadata
                .get("startup-script")
                .cloned()
                .unwrap_or_default(),
            fleet: machine.labels.get(FLEET).cloned().unwrap_or_default(),
            image: machine.metadata.get(IMAGE).cloned().unwrap_or_default(),
        }
    });
    machines.collect()
}

/// One account of EC2, and how long its machines boot.
pub(crate) struct Ec2Cloud {
    pub(crate) ec2: Ec2,
    pub(crate) boot: Duration,
}

/// Any signature of the right form is let in.
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=AKIAFAKEFAKEFAKEFAKE/20261128/eu-central-1/ec2/aws4_request, \
    SignedHeaders=host;x-amz-date, Signature=0000000000000000000000000000000000000000000000000000000000000000";

impl Ec2Cloud {
    fn call(&mut self, asked: &[(&str, String)], now: Timestamp) -> Fared<String> {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("Version", "2016-11-15");
        form.extend_pairs(asked);
        let headers = [
            ("authorization", SIGNED),
            ("x-amz-date", "20261128T000000Z"),
        ];
        let request = fake_ec2::Request {
            method: "POST".to_owned(),
            path: "/".to_owned(),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            body: form.finish().into_bytes(),
        };
        let answer = self.ec2.handle(&request, now);
        match (answer.delivery, answer.status) {
            (fake_ec2::Delivery::Dropped, _) => Fared::Lost,
            (_, 200) => Fared::Whole(answer.body),
            (_, status) => refused(answer.code().unwrap_or("(no code)"), status),
        }
    }

    fn id_of(&self, name: &str) -> Option<String> {
        let of_name = |machine: &&fake_ec2::Machine| {
            ec2_name(machine).is_some_and(|known| known.to_string() == name)
        };
        let found = self.ec2.instances().find(of_name);
        found.map(|machine| machine.id.clone())
    }
}

fn ec2_name(machine: &fake_ec2::Machine) -> Option<InstanceName> {
    let batch = [BATCH, REAL_BATCH]
        .iter()
        .find_map(|key| machine.tags.get(*key));
    let batch: BatchId = batch?.parse().ok()?;
    Some(batch.instance(machine.launch_index))
}

fn decoded(script: Option<&str>) -> String {
    let bytes = STANDARD.decode(script.unwrap_or_default());
    String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
}

impl Books for Ec2Cloud {
    fn truth(&self, now: Timestamp) -> Vec<Truth> {
        ec2_truth(&self.ec2, self.boot, now)
    }
}

impl Cloud for Ec2Cloud {
    fn list(&mut self, fleet: &FleetId, now: Timestamp) -> Fared<Listing> {
        let asked = [
            ("Action", "DescribeInstances".to_owned()),
            ("MaxResults", "1000".to_owned()),
            ("Filter.1.Name", format!("tag:{FLEET}")),
            ("Filter.1.Value.1", fleet.to_string()),
        ];
        let shown = match self.call(&asked, now) {
            Fared::Whole(body) => body,
            Fared::Refused(kind, why) => return Fared::Refused(kind, why),
            Fared::Lost => return Fared::Lost,
        };
        let instances = shown.split("<instanceId>").skip(1).map(|row| {
            let id = row.split('<').next().expect("an id");
            let (_, state) = row.split_once("<instanceState>").expect("a state");
            let (_, state) = state.split_once("<name>").expect("its name");
            let machine = self.ec2.instances().find(|machine| machine.id == id);
            let machine = machine.expect("a machine that is listed");
            let name = ec2_name(machine).expect("a machine of ours");
            let state = match state.split('<').next() {
                Some("pending") => InstanceState::Pending,
                Some("running") => InstanceState::Running,
                Some("shutting-down" | "stopping") => InstanceState::Stopping,
                Some("stopped") => InstanceState::Stopped,
                _ => InstanceState::Gone { why: None },
            };
            instance(
                &machine.tags,
                name,
                (id, AWS_ZONE),
                state,
                machine.launched_at,
            )
        });
        Fared::Whole(Listing {
            instances: instances.collect(),
            unknown: Vec::new(),
        })
    }

    fn create(&mut self, batch: &CreateBatch, now: Timestamp) -> Fared<Vec<Instance>> {
        let mut asked = vec![
            ("Action", "RunInstances".to_owned()),
            ("ClientToken", batch.token("simulated")),
            ("MinCount", "1".to_owned()),
            ("MaxCount", batch.count.to_string()),
            ("ImageId", image_of(batch)),
            ("InstanceType", "m7i.large".to_owned()),
            ("Placement.AvailabilityZone", AWS_ZONE.to_owned()),
            ("InstanceInitiatedShutdownBehavior", "terminate".to_owned()),
            ("UserData", STANDARD.encode(&batch.user_data.0)),
            ("TagSpecification.1.ResourceType", "instance".to_owned()),
        ];
        let marks = marks(batch);
        let keys: Vec<(String, String)> = (1..)
            .zip(&marks)
            .flat_map(|(number, (key, value))| {
                let tag = |what| format!("TagSpecification.1.Tag.{number}.{what}");
                [(tag("Key"), key.clone()), (tag("Value"), value.clone())]
            })
            .collect();
        asked.extend(
            keys.iter()
                .map(|(key, value)| (key.as_str(), value.clone())),
        );
        match self.call(&asked, now) {
            Fared::Refused(kind, why) => Fared::Refused(kind, why),
            Fared::Lost => Fared::Lost,
            Fared::Whole(_) => {
                let text = batch.batch.to_string();
                let made = self.ec2.instances();
                let made = made.filter(|machine| machine.tags.get(BATCH) == Some(&text));
                let made = made.filter_map(|machine| {
                    let (id, at) = (&machine.id, machine.launched_at);
                    let name = ec2_name(machine)?;
                    Some(instance(
                        &machine.tags,
                        name,
                        (id, AWS_ZONE),
                        InstanceState::Pending,
                        at,
                    ))
                });
                Fared::Whole(made.collect())
            }
        }
    }

    fn delete(&mut self, instance: &Instance, now: Timestamp) -> Fared<()> {
        let asked = [
            ("Action", "TerminateInstances".to_owned()),
            ("InstanceId.1", instance.id.to_string()),
        ];
        match self.call(&asked, now) {
            Fared::Whole(_) => Fared::Whole(()),
            Fared::Refused(kind, why) => Fared::Refused(kind, why),
            Fared::Lost => Fared::Lost,
        }
    }

    fn take_back(&mut self, name: &str, now: Timestamp) {
        if let Some(id) = self.id_of(name) {
            // its guest is switched off under it, as by a host that fails
            self.ec2.power_off(&id, now);
        }
    }

    fn is_removed_by_hand(&mut self, name: &str, now: Timestamp) {
        // its machines end with their guests
        self.take_back(name, now);
    }

    fn announce(&mut self, name: &str, _: Timestamp) {
        if let Some(id) = self.id_of(name) {
            self.ec2.retag(&id, NOTICE, "marked-for-termination");
        }
    }

    fn go_wrong(&mut self, verb: Verb, times: u32, wrong: Wrong) {
        let action = match verb {
            Verb::List => "DescribeInstances",
            Verb::Create => "RunInstances",
            Verb::Delete => "TerminateInstances",
        };
        let fault = match wrong {
            Wrong::After => fake_ec2::Fault::DropAfter,
            Wrong::Before => fake_ec2::Fault::DropBefore,
            Wrong::Throttle => fake_ec2::Fault::Throttle,
            Wrong::Fails => fake_ec2::Fault::Unavailable,
        };
        self.ec2.fault(action, times, fault);
    }

    fn hide(&mut self, hidden: bool) {
        // a region is seen or not
        let times = if hidden { 20 } else { 0 };
        self.ec2
            .fault("DescribeInstances", times, fake_ec2::Fault::WebPage);
    }

    fn all_is_well(&mut self) {
        self.ec2.clear_faults();
    }
}

/// One project of GCE, and how long its machines boot.
pub(crate) struct GceCloud {
    pub(crate) gce: Gce,
    pub(crate) boot: Duration,
}

impl GceCloud {
    fn call(&mut self, method: &str, path: &str, body: &Value, now: Timestamp) -> Fared<Value> {
        let request = fake_gce::Request {
            method: method.to_owned(),
            path: format!("/compute/v1/projects/acme-ci/{path}"),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: if body.is_null() {
                Vec::new()
            } else {
                body.to_string().into_bytes()
            },
        };
        let answer = self.gce.handle(&request, now);
        match (answer.delivery, answer.status) {
            (fake_gce::Delivery::Dropped, _) => Fared::Lost,
            (_, 200) => {
                Fared::Whole(serde_json::from_str(&answer.body).expect("an answer of JSON"))
            }
            (_, status) => refused(&answer.reason().unwrap_or_default(), status),
        }
    }

    fn insert(
        &mut self,
        batch: &CreateBatch,
        name: InstanceName,
        now: Timestamp,
    ) -> Fared<Instance> {
        let (labels, items): (BTreeMap<_, _>, BTreeMap<_, _>) =
            marks(batch).into_iter().partition(|(key, _)| key == FLEET);
        let mut items: Vec<Value> = items
            .into_iter()
            .map(|(key, value)| json!({ "key": key, "value": value }))
            .collect();
        items.push(json!({ "key": "startup-script", "value": batch.user_data.0 }));
        items.push(json!({ "key": IMAGE, "value": image_of(batch) }));
        let body = json!({
            "name": name.to_string(),
            "machineType": format!("zones/{GCP_ZONE}/machineTypes/e2-small"),
            "disks": [{ "boot": true, "autoDelete": true, "initializeParams": {
                "sourceImage": image_of(batch) } }],
            "networkInterfaces": [{ "network": "global/networks/default" }],
            "labels": labels,
            "metadata": { "items": items },
        });
        let path = format!("zones/{GCP_ZONE}/instances");
        match self.call("POST", &path, &body, now) {
            Fared::Whole(_) => {}
            // a name is used once, so what stands there is this very machine
            Fared::Refused(_, why) if why == "alreadyExists" => {}
            Fared::Refused(kind, why) => return Fared::Refused(kind, why),
            Fared::Lost => return Fared::Lost,
        }
        let (id, state) = (name.to_string(), InstanceState::Pending);
        let place = (id.as_str(), GCP_ZONE);
        Fared::Whole(instance(&marks(batch), name, place, state, now))
    }

    fn machine(&self, name: &str) -> Option<&fake_gce::Machine> {
        let mut machines = self.gce.machines();
        machines.find(|machine| machine.name == name)
    }
}

fn text(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// The marks of a machine as it is shown: what a label cannot hold stands in its metadata.
fn gce_marks(shown: &Value) -> BTreeMap<String, String> {
    let mut marks = text(&shown["labels"]);
    let items = shown["metadata"]["items"].as_array().into_iter().flatten();
    marks.extend(items.filter_map(|item| {
        let (key, value) = (item["key"].as_str()?, item["value"].as_str()?);
        Some((key.to_owned(), value.to_owned()))
    }));
    marks
}

fn gce_instance(shown: &Value) -> Option<Instance> {
    let name: InstanceName = shown["name"].as_str()?.parse().ok()?;
    let created = shown["creationTimestamp"].as_str()?.parse().ok()?;
    let state = match shown["status"].as_str()? {
        "PROVISIONING" | "STAGING" => InstanceState::Pending,
        "RUNNING" => InstanceState::Running,
        "STOPPING" => InstanceState::Stopping,
        "TERMINATED" => InstanceState::Stopped,
        other => InstanceState::Unknown {
            what: other.to_owned(),
        },
    };
    let id = name.to_string();
    Some(instance(
        &gce_marks(shown),
        name,
        (&id, GCP_ZONE),
        state,
        created,
    ))
}

impl Books for GceCloud {
    fn truth(&self, now: Timestamp) -> Vec<Truth> {
        gce_truth(&self.gce, self.boot, now)
    }
}

impl Cloud for GceCloud {
    fn list(&mut self, fleet: &FleetId, now: Timestamp) -> Fared<Listing> {
        let filter = format!("(labels.{FLEET}={fleet})");
        let filter: String = url::form_urlencoded::byte_serialize(filter.as_bytes()).collect();
        let path = format!("aggregated/instances?maxResults=500&filter={filter}");
        let shown = match self.call("GET", &path, &Value::Null, now) {
            Fared::Whole(shown) => shown,
            Fared::Refused(kind, why) => return Fared::Refused(kind, why),
            Fared::Lost => return Fared::Lost,
        };
        let scopes = shown["items"].as_object().into_iter().flatten();
        let instances =
            scopes.flat_map(|(_, scope)| scope["instances"].as_array().into_iter().flatten());
        let silent = shown["unreachables"].as_array().into_iter().flatten();
        Fared::Whole(Listing {
            instances: instances.filter_map(gce_instance).collect(),
            unknown: silent.map(ToString::to_string).collect(),
        })
    }

    fn create(&mut self, batch: &CreateBatch, now: Timestamp) -> Fared<Vec<Instance>> {
        let mut made = Vec::new();
        for index in 0..batch.count {
            match self.insert(batch, batch.batch.instance(index), now) {
                Fared::Whole(machine) => made.push(machine),
                // of the others nothing is said that a listing will not say
                _ if index > 0 => return Fared::Lost,
                Fared::Refused(kind, why) => return Fared::Refused(kind, why),
                Fared::Lost => return Fared::Lost,
            }
        }
        Fared::Whole(made)
    }

    fn delete(&mut self, instance: &Instance, now: Timestamp) -> Fared<()> {
        let path = format!("zones/{GCP_ZONE}/instances/{}", instance.name);
        match self.call("DELETE", &path, &Value::Null, now) {
            Fared::Whole(_) => Fared::Whole(()),
            Fared::Refused(_, why) if why == "notFound" => Fared::Whole(()),
            Fared::Refused(kind, why) => Fared::Refused(kind, why),
            Fared::Lost => Fared::Lost,
        }
    }

    fn take_back(&mut self, name: &str, now: Timestamp) {
        // the guest is off, and its machine stays and costs
        self.gce.power_off(name, now);
    }

    fn is_removed_by_hand(&mut self, name: &str, now: Timestamp) {
        if self.machine(name).is_some() {
            let path = format!("zones/{GCP_ZONE}/instances/{name}");
            self.call("DELETE", &path, &Value::Null, now);
        }
    }

    fn announce(&mut self, name: &str, now: Timestamp) {
        if self.machine(name).is_some() {
            self.gce.relabel(name, NOTICE, "to-be-maintained", now);
        }
    }

    fn go_wrong(&mut self, verb: Verb, times: u32, wrong: Wrong) {
        let method = match verb {
            Verb::List => "instances.aggregatedList",
            Verb::Create => "instances.insert",
            Verb::Delete => "instances.delete",
        };
        let fault = match wrong {
            Wrong::After => fake_gce::Fault::DropAfter,
            Wrong::Before => fake_gce::Fault::DropBefore,
            Wrong::Throttle => fake_gce::Fault::Throttle,
            Wrong::Fails => fake_gce::Fault::BackendError,
        };
        self.gce.fault(method, times, fault);
    }

    fn hide(&mut self, hidden: bool) {
        self.gce.set_unreachable(GCP_ZONE, hidden);
    }

    fn all_is_well(&mut self) {
        self.gce.clear_faults();
        self.gce.set_unreachable(GCP_ZONE, false);
    }
}
