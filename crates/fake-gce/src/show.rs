//! Resources as they are shown.

use base64::Engine as _;
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use serde_json::{Value, json};

use crate::machine::{Machine, Why};
use crate::settings::Settings;

/// The full address of something in the project.
pub(crate) fn link(settings: &Settings, below: &str) -> String {
    format!(
        "https://www.googleapis.com/compute/v1/projects/{}/{below}",
        settings.project
    )
}

/// Times carry Mountain View's offset, which a reader must not take for none.
pub(crate) fn time(at: Timestamp) -> String {
    let zone = TimeZone::fixed(Offset::constant(-8));
    at.to_zoned(zone)
        .strftime("%Y-%m-%dT%H:%M:%S.%3f%:z")
        .to_string()
}

/// Changes with every change of the labels.
pub(crate) fn label_fingerprint(machine: &Machine) -> String {
    fingerprint(machine.id ^ machine.label_changes.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

pub(crate) fn fingerprint(bits: u64) -> String {
    base64::engine::general_purpose::URL_SAFE.encode(bits.to_be_bytes())
}

pub(crate) fn machine(
    machine: &Machine,
    status: &str,
    settings: &Settings,
    now: Timestamp,
) -> Value {
    let zone = link(settings, &format!("zones/{}", machine.zone));
    let mut shown = machine.body.clone();
    let mut set = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
    set("kind", json!("compute#instance"));
    set("id", json!(machine.id.to_string()));
    set("name", json!(machine.name));
    set("zone", json!(zone));
    set(
        "machineType",
        json!(format!("{zone}/machineTypes/{}", machine.machine_type)),
    );
    set("status", json!(status));
    set("creationTimestamp", json!(time(machine.created_at)));
    set(
        "selfLink",
        json!(format!("{zone}/instances/{}", machine.name)),
    );
    set("labelFingerprint", json!(label_fingerprint(machine)));
    if now >= machine.running_at {
        set("lastStartTimestamp", json!(time(machine.running_at)));
    }
    if machine.labels.is_empty() {
        shown.remove("labels");
    } else {
        shown.insert("labels".to_owned(), json!(machine.labels));
    }
    let items: Vec<Value> = machine
        .metadata
        .iter()
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect();
    let mut metadata = json!({"kind": "compute#metadata", "fingerprint": fingerprint(machine.id)});
    if !items.is_empty() {
        metadata["items"] = json!(items);
    }
    shown.insert("metadata".to_owned(), metadata);
    shown.insert("disks".to_owned(), disks(machine, &zone));
    shown.insert(
        "networkInterfaces".to_owned(),
        interfaces(machine, settings),
    );
    shown.insert("scheduling".to_owned(), scheduling(machine));
    let resource = resource_status(machine, now);
    if resource.as_object().is_some_and(|it| !it.is_empty()) {
        shown.insert("resourceStatus".to_owned(), resource);
    }
    let ending = machine.end_at(now);
    if ending.is_some_and(|ending| ending.why == Why::Preempted) {
        shown.insert("statusMessage".to_owned(), json!("Instance was preempted."));
    }
    Value::Object(shown)
}

/// What the service says of a machine beside what was asked for. When its time is over is told once it runs.
fn resource_status(machine: &Machine, now: Timestamp) -> Value {
    let mut status = json!({});
    if let Some(begins) = machine.maintenance {
        status["upcomingMaintenance"] = json!({
            "type": "SCHEDULED",
            "maintenanceStatus": "PENDING",
            "canReschedule": false,
            "windowStartTime": time(begins),
        });
    }
    if let Some(over_at) = machine.time_is_over_at()
        && now >= machine.running_at
    {
        status["scheduling"] = json!({ "terminationTimestamp": time(over_at) });
    }
    status
}

/// What was asked for as it is attached: the parameters are gone, the disk has a name.
fn disks(machine: &Machine, zone: &str) -> Value {
    let asked = machine.body["disks"].as_array().into_iter().flatten();
    let shown = asked.enumerate().map(|(index, disk)| {
        let name = disk.pointer("/initializeParams/diskName");
        let name = name.and_then(Value::as_str).unwrap_or(&machine.name);
        let size = disk.pointer("/initializeParams/diskSizeGb");
        json!({
            "kind": "compute#attachedDisk",
            "type": "PERSISTENT",
            "mode": "READ_WRITE",
            "source": format!("{zone}/disks/{name}"),
            "deviceName": format!("persistent-disk-{index}"),
            "index": index,
            "boot": disk["boot"] == true,
            "autoDelete": disk["autoDelete"] == true,
            "diskSizeGb": size.cloned().unwrap_or_else(|| json!("10")),
        })
    });
    shown.collect()
}

fn interfaces(machine: &Machine, settings: &Settings) -> Value {
    let asked = machine.body["networkInterfaces"]
        .as_array()
        .into_iter()
        .flatten();
    let full = |text: &str| {
        let bare = crate::body::reference(text, &settings.project);
        format!("https://www.googleapis.com/compute/v1/{bare}")
    };
    let shown = asked.enumerate().map(|(index, interface)| {
        let network = interface["network"]
            .as_str()
            .unwrap_or("global/networks/default");
        let [.., high, low] = machine.id.to_be_bytes();
        let mut shown = json!({
            "kind": "compute#networkInterface",
            "name": format!("nic{index}"),
            "network": full(network),
            "networkIP": format!("10.128.{high}.{low}"),
            "fingerprint": fingerprint(machine.id),
        });
        if let Some(subnet) = interface["subnetwork"].as_str() {
            shown["subnetwork"] = json!(full(subnet));
        }
        if let Some(configs) = interface["accessConfigs"]
            .as_array()
            .filter(|list| !list.is_empty())
        {
            let named = configs.iter().map(|config| {
                let mut config = config.clone();
                config["kind"] = json!("compute#accessConfig");
                config
            });
            shown["accessConfigs"] = named.collect();
        }
        shown
    });
    shown.collect()
}

fn scheduling(machine: &Machine) -> Value {
    let mut shown = json!({
        "automaticRestart": !machine.spot,
        "onHostMaintenance": if machine.spot { "TERMINATE" } else { "MIGRATE" },
        "preemptible": machine.spot,
        "provisioningModel": if machine.spot { "SPOT" } else { "STANDARD" },
    });
    if let Some(asked) = machine.body.get("scheduling").and_then(Value::as_object) {
        for (key, value) in asked {
            shown[key.as_str()] = value.clone();
        }
    }
    shown
}
