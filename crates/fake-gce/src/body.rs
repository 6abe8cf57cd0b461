//! What a creation says, checked field by field: unknown fields, names, references, limits.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::settings::Settings;
use crate::wire::{Outcome, Refusal};

/// Longest value of a metadata item ("About VM metadata": 256 KB), and of all of them (512 KB).
const METADATA_VALUE: usize = 256 * 1024;
const METADATA_ALL: usize = 512 * 1024;
/// The shortest and the longest time that a machine's run may be limited to: half a minute, 120 days.
const RUN_SECONDS: std::ops::RangeInclusive<u64> = 30..=120 * 24 * 3600;

/// A machine as it was asked for, all of it understood.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) machine_type: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) spot: bool,
    pub(crate) deletes_itself: bool,
    pub(crate) max_run: Option<Duration>,
    pub(crate) protected: bool,
    /// All fields, for the resource as it is shown.
    pub(crate) body: Map<String, Value>,
}

/// The fields that are modelled, by the schema they stand in. Google's document knows more; a test that sends another one
/// had better not believe that it had an effect.
fn known(schema: &str) -> &'static [&'static str] {
    match schema {
        "Instance" => &[
            "name",
            "description",
            "machineType",
            "zone",
            "disks",
            "networkInterfaces",
            "labels",
            "metadata",
            "tags",
            "scheduling",
            "serviceAccounts",
            "deletionProtection",
            "shieldedInstanceConfig",
        ],
        "InstanceProperties" => &[
            "description",
            "machineType",
            "disks",
            "networkInterfaces",
            "labels",
            "metadata",
            "tags",
            "scheduling",
            "serviceAccounts",
            "shieldedInstanceConfig",
        ],
        "AttachedDisk" => &[
            "autoDelete",
            "boot",
            "deviceName",
            "initializeParams",
            "mode",
            "type",
        ],
        "AttachedDiskInitializeParams" => &[
            "diskName",
            "diskSizeGb",
            "diskType",
            "labels",
            "sourceImage",
        ],
        "NetworkInterface" => &["accessConfigs", "name", "network", "nicType", "subnetwork"],
        "AccessConfig" => &["name", "natIP", "networkTier", "type"],
        "Metadata" => &["items"],
        "Tags" => &["items"],
        "ServiceAccount" => &["email", "scopes"],
        "Scheduling" => &[
            "automaticRestart",
            "instanceTerminationAction",
            "maxRunDuration",
            "onHostMaintenance",
            "preemptible",
            "provisioningModel",
        ],
        "BulkInsertInstanceResource" => &[
            "count",
            "minCount",
            "namePattern",
            "perInstanceProperties",
            "instanceProperties",
            "sourceInstanceTemplate",
            "locationPolicy",
        ],
        _ => &[],
    }
}

/// The object that a value is, with no field that its schema does not have.
pub(crate) fn object<'a>(
    value: &'a Value,
    schema: &str,
    path: &str,
) -> Outcome<&'a Map<String, Value>> {
    let Value::Object(object) = value else {
        let message = format!("Invalid value at '{path}' (type.googleapis.com/{schema})");
        return Err(Refusal::new(400, "invalid", message));
    };
    let known = known(schema);
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(object),
        Some(key) => {
            let message = format!(
                "Invalid JSON payload received. Unknown name \"{key}\" at '{path}': Cannot find field."
            );
            Err(Refusal::new(400, "invalid", message))
        }
    }
}

/// `[a-z]([-a-z0-9]{0,61}[a-z0-9])?`
pub(crate) fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes[0].is_ascii_lowercase()
        && bytes[bytes.len() - 1] != b'-'
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

pub(crate) fn check_name(text: &str, field: &str) -> Outcome<()> {
    if is_name(text) {
        return Ok(());
    }
    let why = "Must be a match of regex '(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)'";
    Err(Refusal::field(field, text, why))
}

pub(crate) fn check_labels(labels: &Value, path: &str) -> Outcome<BTreeMap<String, String>> {
    let Value::Object(labels) = labels else {
        return Ok(BTreeMap::new());
    };
    if labels.len() > 64 {
        let why = "The number of labels must not exceed 64.";
        return Err(Refusal::field(path, &labels.len().to_string(), why));
    }
    let fits = |text: &str| {
        text.len() <= 63
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-')
    };
    let mut read = BTreeMap::new();
    for (key, value) in labels {
        let value = value.as_str().unwrap_or("\u{0}");
        if !fits(key) || !key.starts_with(|c: char| c.is_ascii_lowercase()) {
            let why = "Label keys must match [a-z][a-z0-9_-]{0,62}.";
            return Err(Refusal::field(&format!("{path}.key"), key, why));
        }
        if !fits(value) {
            let why = "Label values must match [a-z0-9_-]{0,63}.";
            return Err(Refusal::field(&format!("{path}.value"), value, why));
        }
        read.insert(key.clone(), value.to_owned());
    }
    Ok(read)
}

/// Reads the body of a machine. `properties` tells which of the two notations it is: that of a template and of a bulk
/// creation, where types are plain names, or that of a single machine, where they are paths.
pub(crate) fn read(
    body: &Map<String, Value>,
    zone: &str,
    properties: bool,
    settings: &Settings,
) -> Outcome<Wanted> {
    let null = Value::Null;
    let field = |name: &str| body.get(name).unwrap_or(&null);
    let wanted_type = field("machineType").as_str().unwrap_or_default();
    let machine_type = short(wanted_type, "machineTypes", zone, properties)
        .filter(|name| {
            settings
                .types
                .get(*name)
                .is_some_and(|kind| !kind.not_in.contains(zone))
        })
        .ok_or_else(|| {
            let why = "The referenced resource cannot be found.";
            Refusal::field("resource.machineType", wanted_type, why)
        })?;
    check_disks(field("disks"), zone, properties, settings)?;
    check_networks(field("networkInterfaces"), zone, settings)?;
    check_accounts(field("serviceAccounts"), settings)?;
    check_tags(field("tags"))?;
    let scheduling = Scheduling::read(field("scheduling"))?;
    Ok(Wanted {
        machine_type: machine_type.to_owned(),
        labels: check_labels(field("labels"), "resource.labels")?,
        metadata: read_metadata(field("metadata"))?,
        spot: scheduling.spot,
        deletes_itself: scheduling.deletes,
        max_run: scheduling.max_run,
        protected: field("deletionProtection").as_bool().unwrap_or_default(),
        body: body.clone(),
    })
}

/// The last part of a path such as `zones/Z/machineTypes/T`, or the plain name where that is the notation.
fn short<'a>(text: &'a str, kind: &str, zone: &str, plain: bool) -> Option<&'a str> {
    if plain {
        return (!text.contains('/')).then_some(text);
    }
    let (place, name) = text.rsplit_once(&format!("/{kind}/"))?;
    let there = place == format!("zones/{zone}") || place.ends_with(&format!("/zones/{zone}"));
    there.then_some(name)
}

/// A reference below `projects/`, whatever way it was written in.
pub(crate) fn reference(text: &str, project: &str) -> String {
    let bases = [
        "https://www.googleapis.com/compute/v1/",
        "https://compute.googleapis.com/compute/v1/",
    ];
    let bare = bases
        .iter()
        .find_map(|base| text.strip_prefix(base))
        .unwrap_or(text);
    if bare.starts_with("projects/") {
        bare.to_owned()
    } else {
        format!("projects/{project}/{bare}")
    }
}

fn list<'a>(value: &'a Value, path: &str) -> Outcome<&'a [Value]> {
    match value {
        Value::Null => Ok(&[]),
        Value::Array(list) => Ok(list),
        other => Err(Refusal::field(path, &other.to_string(), "Must be a list.")),
    }
}

fn check_disks(disks: &Value, zone: &str, properties: bool, settings: &Settings) -> Outcome<()> {
    let disks = list(disks, "resource.disks")?;
    let boots = |disk: &&Value| disk["boot"] == true;
    if disks.iter().filter(boots).count() != 1 {
        let why = "Exactly one boot disk must be specified.";
        return Err(Refusal::field("resource.disks", "", why));
    }
    for disk in disks {
        let disk = object(disk, "AttachedDisk", "resource.disks")?;
        let Some(params) = disk.get("initializeParams") else {
            let why = "Attaching existing disks is not modelled.";
            return Err(Refusal::field("resource.disks", "", why));
        };
        let path = "resource.disks.initializeParams";
        let params = object(params, "AttachedDiskInitializeParams", path)?;
        let text = |name: &str| params.get(name).and_then(Value::as_str);
        let image = text("sourceImage").unwrap_or_default();
        let image = reference(image, &settings.project);
        if !settings.images.contains(&image) {
            return Err(Refusal::not_found(&image));
        }
        if let Some(kind) = text("diskType") {
            let found = short(kind, "diskTypes", zone, properties);
            if !found.is_some_and(|name| settings.disk_types.contains(name)) {
                let why = "The referenced resource cannot be found.";
                return Err(Refusal::field(&format!("{path}.diskType"), kind, why));
            }
        }
        if let Some(size) = params.get("diskSizeGb") {
            let gib = size.as_str().and_then(|text| text.parse::<u64>().ok());
            if !gib.is_some_and(|gib| (10..=65_536).contains(&gib)) {
                let why = "Disk size must be between 10 GB and 65536 GB.";
                let field = format!("{path}.diskSizeGb");
                return Err(Refusal::field(&field, &size.to_string(), why));
            }
        }
        check_labels(
            params.get("labels").unwrap_or(&Value::Null),
            &format!("{path}.labels"),
        )?;
    }
    Ok(())
}

fn check_networks(interfaces: &Value, zone: &str, settings: &Settings) -> Outcome<()> {
    let interfaces = list(interfaces, "resource.networkInterfaces")?;
    if interfaces.is_empty() {
        let why = "At least one network interface is required.";
        return Err(Refusal::field("resource.networkInterfaces", "", why));
    }
    let project = &settings.project;
    for interface in interfaces {
        let interface = object(interface, "NetworkInterface", "resource.networkInterfaces")?;
        let text = |name: &str| interface.get(name).and_then(Value::as_str);
        if let Some(network) = text("network") {
            let full = reference(network, project);
            let name = full.strip_prefix(&format!("projects/{project}/global/networks/"));
            if !name.is_some_and(|name| settings.networks.contains(name)) {
                return Err(Refusal::not_found(&full));
            }
        }
        if let Some(subnet) = text("subnetwork") {
            let full = reference(subnet, project);
            let region = settings.region(zone);
            let base = format!("projects/{project}/regions/{region}/subnetworks/");
            let name = full.strip_prefix(&base);
            if !name.is_some_and(|name| settings.subnetworks.contains(&format!("{region}/{name}")))
            {
                return Err(Refusal::not_found(&full));
            }
        }
        let configs = interface.get("accessConfigs").unwrap_or(&Value::Null);
        for config in list(configs, "resource.networkInterfaces.accessConfigs")? {
            object(
                config,
                "AccessConfig",
                "resource.networkInterfaces.accessConfigs",
            )?;
        }
    }
    Ok(())
}

fn check_accounts(accounts: &Value, settings: &Settings) -> Outcome<()> {
    let accounts = list(accounts, "resource.serviceAccounts")?;
    if accounts.len() > 1 {
        let why = "Only one service account is allowed.";
        return Err(Refusal::field("resource.serviceAccounts", "", why));
    }
    for account in accounts {
        let account = object(account, "ServiceAccount", "resource.serviceAccounts")?;
        let email = account
            .get("email")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if email != "default" && !settings.service_accounts.contains(email) {
            let why = "The specified service account does not exist.";
            return Err(Refusal::field(
                "resource.serviceAccounts[0].email",
                email,
                why,
            ));
        }
        let scopes = account.get("scopes").unwrap_or(&Value::Null);
        if list(scopes, "resource.serviceAccounts[0].scopes")?.is_empty() {
            let why = "At least one scope is required.";
            return Err(Refusal::field(
                "resource.serviceAccounts[0].scopes",
                "",
                why,
            ));
        }
    }
    Ok(())
}

fn check_tags(tags: &Value) -> Outcome<()> {
    if tags.is_null() {
        return Ok(());
    }
    let tags = object(tags, "Tags", "resource.tags")?;
    let items = tags.get("items").unwrap_or(&Value::Null);
    for tag in list(items, "resource.tags.items")? {
        check_name(tag.as_str().unwrap_or_default(), "resource.tags.items")?;
    }
    Ok(())
}

fn read_metadata(metadata: &Value) -> Outcome<BTreeMap<String, String>> {
    let mut read = BTreeMap::new();
    if metadata.is_null() {
        return Ok(read);
    }
    let metadata = object(metadata, "Metadata", "resource.metadata")?;
    let items = metadata.get("items").unwrap_or(&Value::Null);
    let mut size = 0;
    for item in list(items, "resource.metadata.items")? {
        let (key, value) = (item["key"].as_str(), item["value"].as_str());
        let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let path = "resource.metadata.items";
        if !(1..=128).contains(&key.len()) || !key.chars().all(fits) {
            let why = "Must be a match of regex '[a-zA-Z0-9-_]{1,128}'";
            return Err(Refusal::field(&format!("{path}.key"), key, why));
        }
        size += key.len() + value.len();
        if value.len() > METADATA_VALUE || size > METADATA_ALL {
            let message =
                format!("Value for field '{path}' is too large: maximum size 262144 character(s)");
            return Err(Refusal::new(413, "uploadTooLarge", message));
        }
        if read.insert(key.to_owned(), value.to_owned()).is_some() {
            let message = format!("Metadata has duplicate keys: {key}");
            return Err(Refusal::new(400, "invalid", message));
        }
    }
    Ok(read)
}

struct Scheduling {
    spot: bool,
    deletes: bool,
    max_run: Option<Duration>,
}

impl Scheduling {
    fn read(value: &Value) -> Outcome<Self> {
        if value.is_null() {
            return Ok(Self {
                spot: false,
                deletes: false,
                max_run: None,
            });
        }
        let fields = object(value, "Scheduling", "resource.scheduling")?;
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        let path = |name: &str| format!("resource.scheduling.{name}");
        let spot = match text("provisioningModel") {
            None | Some("STANDARD") => fields.get("preemptible") == Some(&Value::Bool(true)),
            Some("SPOT") => true,
            Some(other) => {
                let why = "This provisioning model is not modelled.";
                return Err(Refusal::field(&path("provisioningModel"), other, why));
            }
        };
        if spot && fields.get("automaticRestart") == Some(&Value::Bool(true)) {
            let why = "Scheduling must have automaticRestart be false when the provisioning model is SPOT.";
            return Err(Refusal::field(&path("automaticRestart"), "true", why));
        }
        if spot && text("onHostMaintenance") == Some("MIGRATE") {
            let why = "Scheduling must have onHostMaintenance be TERMINATE when the provisioning model is SPOT.";
            return Err(Refusal::field(&path("onHostMaintenance"), "MIGRATE", why));
        }
        let max_run = fields.get("maxRunDuration").map(run_seconds).transpose()?;
        let action = text("instanceTerminationAction");
        if !matches!(action, None | Some("DELETE" | "STOP")) {
            let why = "Unknown termination action.";
            let action = action.unwrap_or_default();
            return Err(Refusal::field(
                &path("instanceTerminationAction"),
                action,
                why,
            ));
        }
        if max_run.is_some() && action.is_none() {
            let why = "A termination action is required when the run time is limited.";
            return Err(Refusal::field(&path("instanceTerminationAction"), "", why));
        }
        if action.is_some() && !spot && max_run.is_none() {
            let message = "You cannot specify a termination action for a VM instance that has the standard provisioning \
                           model (default). To use instance termination action, the VM instance must use the Spot \
                           provisioning model.";
            return Err(Refusal::new(400, "badRequest", message));
        }
        Ok(Self {
            spot,
            deletes: action == Some("DELETE"),
            max_run,
        })
    }
}

fn run_seconds(value: &Value) -> Outcome<Duration> {
    let seconds = value["seconds"].as_str().and_then(|text| text.parse().ok());
    let seconds = seconds.filter(|seconds| RUN_SECONDS.contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| {
        let why = "Must be between 30 seconds and 120 days.";
        let field = "resource.scheduling.maxRunDuration";
        Refusal::field(field, &value.to_string(), why)
    })
}
