//! Creations: one machine or many, from a body or a template, accepted at once and decided in the operation.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::access::{self, Need};
use crate::body::{self, Wanted};
use crate::gce::Gce;
use crate::machine::Machine;
use crate::operation::{self, Bulk, Failure, Operation};
use crate::patch::merge;
use crate::route::Asked;
use crate::settings::Settings;
use crate::wire::{Outcome, Refusal};

/// Most machines of one bulk creation ("About bulk creation of VMs").
const BULK_LIMIT: i64 = 1000;

/// One machine.
pub(crate) fn one(
    gce: &mut Gce,
    asked: &Asked,
    zone: &str,
    sent: &Value,
    now: Timestamp,
) -> Outcome<Value> {
    let request_id = operation::request_id(asked.param("requestId"))?;
    if asked.param("sourceMachineImage").is_some() {
        let why = "Machine images are not modelled.";
        return Err(Refusal::field("sourceMachineImage", "", why));
    }
    let body = body::object(sent, "Instance", "resource")?;
    let name = body
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    body::check_name(&name, "resource.name")?;
    let template = asked.param("sourceInstanceTemplate");
    let mut merged = template_of(template, &gce.settings)?.unwrap_or_default();
    if template.is_some() {
        spell_out(&mut merged, zone);
    }
    merge(&mut merged, body);
    let wanted = body::read(&merged, zone, false, &gce.settings)?;
    let needs = needs(&gce.settings, zone, &wanted, template, Some(&name));
    gce.need(needs.clone());
    access::check(&needs, &gce.settings)?;
    if let Some(known) = gce.repeated(request_id.as_deref(), now) {
        return Ok(known);
    }
    let id = gce.id();
    let link = (id, name.clone());
    let taken = gce
        .standing(zone, &name, now)
        .map(|machine| machine.running_at);
    if taken.is_some_and(|running_at| now >= running_at) {
        return Err(Refusal::exists(&path(&gce.settings, zone, &name)));
    }
    let failure = if taken.is_some() {
        // still being made: whoever comes second is accepted too, and learns it from the operation
        let message = format!(
            "The resource '{}' already exists",
            path(&gce.settings, zone, &name)
        );
        Some(Failure::new(409, "RESOURCE_ALREADY_EXISTS", message))
    } else {
        gce.ordered_failure()
            .or_else(|| short_of(gce, zone, &wanted, 1, now).1)
    };
    let operation = gce.operation("insert", zone, Some(link), gce.settings.creation, now);
    let operation = Operation {
        failure,
        request_id,
        ..operation
    };
    if operation.failure.is_none() {
        let machine = machine(id, &name, zone, &wanted, &operation);
        gce.machines.insert(id, machine);
    }
    Ok(gce.accept(operation, now))
}

/// Many alike: as many as there is room for, or none if that is less than the least.
pub(crate) fn many(
    gce: &mut Gce,
    asked: &Asked,
    zone: &str,
    sent: &Value,
    now: Timestamp,
) -> Outcome<Value> {
    let request_id = operation::request_id(asked.param("requestId"))?;
    let body = body::object(sent, "BulkInsertInstanceResource", "resource")?;
    if body.contains_key("locationPolicy") {
        let why = "A zonal request chooses no location.";
        return Err(Refusal::field("resource.locationPolicy", "", why));
    }
    let names = bulk_names(body)?;
    let count = names.len();
    let least = number(body, "minCount")?.unwrap_or(i64::try_from(count).unwrap_or(i64::MAX));
    let least = usize::try_from(least)
        .ok()
        .filter(|least| (1..=count).contains(least));
    let least = least
        .ok_or_else(|| Refusal::field("resource.minCount", "", "Must be between 1 and count."))?;
    let template = body.get("sourceInstanceTemplate").and_then(Value::as_str);
    let mut merged = template_of(template, &gce.settings)?.unwrap_or_default();
    if let Some(properties) = body.get("instanceProperties") {
        let path = "resource.instanceProperties";
        merge(
            &mut merged,
            body::object(properties, "InstanceProperties", path)?,
        );
    } else if template.is_none() {
        let why = "Instance properties or a source instance template are required.";
        return Err(Refusal::field("resource.instanceProperties", "", why));
    }
    let wanted = body::read(&merged, zone, true, &gce.settings)?;
    let needs = needs(&gce.settings, zone, &wanted, template, None);
    gce.need(needs.clone());
    access::check(&needs, &gce.settings)?;
    if let Some(known) = gce.repeated(request_id.as_deref(), now) {
        return Ok(known);
    }
    let (free, taken): (Vec<_>, Vec<_>) = names
        .into_iter()
        .partition(|name| gce.standing(zone, name, now).is_none());
    let (room, short) = short_of(gce, zone, &wanted, free.len(), now);
    let taken = taken.first().map(|name| {
        let message = format!(
            "The resource '{}' already exists",
            path(&gce.settings, zone, name)
        );
        Failure::new(409, "RESOURCE_ALREADY_EXISTS", message)
    });
    let ordered = gce.ordered_failure();
    let makes = if ordered.is_some() || room < least {
        0
    } else {
        room
    };
    let failure = ordered.or_else(|| (makes == 0).then(|| short.or(taken)).flatten());
    let operation = Operation {
        failure,
        request_id,
        bulk: Some(Bulk {
            target: u32::try_from(count).unwrap_or(u32::MAX),
            created: u32::try_from(makes).unwrap_or(u32::MAX),
            failed: u32::try_from(count - makes).unwrap_or(u32::MAX),
        }),
        ..gce.operation("bulkInsert", zone, None, gce.settings.creation, now)
    };
    for name in free.iter().take(makes) {
        let id = gce.id();
        let machine = machine(id, name, zone, &wanted, &operation);
        gce.machines.insert(id, machine);
    }
    Ok(gce.accept(operation, now))
}

/// The names that a bulk creation gives.
fn bulk_names(body: &Map<String, Value>) -> Outcome<Vec<String>> {
    let count = number(body, "count")?.unwrap_or_default();
    if !(1..=BULK_LIMIT).contains(&count) {
        let why = "Must be between 1 and 1000.";
        return Err(Refusal::field("resource.count", &count.to_string(), why));
    }
    let per_instance = body.get("perInstanceProperties").and_then(Value::as_object);
    let names: Vec<String> = match (
        per_instance,
        body.get("namePattern").and_then(Value::as_str),
    ) {
        (Some(named), None) => {
            if named.len() != usize::try_from(count).unwrap_or_default() {
                let why = "The number of names must be the count.";
                return Err(Refusal::field("resource.perInstanceProperties", "", why));
            }
            named.keys().cloned().collect()
        }
        (None, Some(pattern)) => by_pattern(pattern, count)?,
        _ => {
            let why = "Either a name pattern or per instance properties must be set.";
            return Err(Refusal::field("resource.namePattern", "", why));
        }
    };
    for name in &names {
        body::check_name(name, "resource.perInstanceProperties")?;
    }
    Ok(names)
}

/// `vm-##` is `vm-01`, `vm-02` and so on.
fn by_pattern(pattern: &str, count: i64) -> Outcome<Vec<String>> {
    let bad = || {
        Refusal::field(
            "resource.namePattern",
            pattern,
            "Must contain one sequence of #.",
        )
    };
    let start = pattern.find('#').ok_or_else(bad)?;
    let width = pattern[start..].chars().take_while(|&c| c == '#').count();
    let (before, after) = (&pattern[..start], &pattern[start + width..]);
    if after.contains('#') {
        return Err(bad());
    }
    Ok((1..=count)
        .map(|number| format!("{before}{number:0width$}{after}"))
        .collect())
}

/// An int64, which JSON carries as text.
fn number(body: &Map<String, Value>, field: &str) -> Outcome<Option<i64>> {
    let Some(value) = body.get(field) else {
        return Ok(None);
    };
    let number = value.as_str().and_then(|text| text.parse().ok());
    let number = number.or_else(|| value.as_i64());
    let bad = || {
        Refusal::field(
            &format!("resource.{field}"),
            &value.to_string(),
            "Must be a whole number.",
        )
    };
    number.ok_or_else(bad).map(Some)
}

fn path(settings: &Settings, zone: &str, name: &str) -> String {
    format!(
        "projects/{}/zones/{zone}/instances/{name}",
        settings.project
    )
}

/// The properties of a template of the project.
fn template_of(template: Option<&str>, settings: &Settings) -> Outcome<Option<Map<String, Value>>> {
    let Some(text) = template else {
        return Ok(None);
    };
    let full = body::reference(text, &settings.project);
    let base = format!("projects/{}/global/instanceTemplates/", settings.project);
    let properties = full
        .strip_prefix(&base)
        .and_then(|name| settings.templates.get(name))
        .and_then(Value::as_object);
    match properties {
        Some(properties) => Ok(Some(properties.clone())),
        None => Err(Refusal::not_found(&full)),
    }
}

/// A template's plain names as the paths of a single machine's body.
fn spell_out(properties: &mut Map<String, Value>, zone: &str) {
    let path = |value: &mut Value, kind: &str| {
        if let Some(name) = value.as_str() {
            *value = json!(format!("zones/{zone}/{kind}/{name}"));
        }
    };
    if let Some(kind) = properties.get_mut("machineType") {
        path(kind, "machineTypes");
    }
    let disks = properties.get_mut("disks").and_then(Value::as_array_mut);
    for disk in disks.into_iter().flatten() {
        if let Some(kind) = disk.pointer_mut("/initializeParams/diskType") {
            path(kind, "diskTypes");
        }
    }
}

/// What a creation needs, as the reference of instances.insert and "Compute Engine IAM roles and permissions" name it.
fn needs(
    settings: &Settings,
    zone: &str,
    wanted: &Wanted,
    template: Option<&str>,
    name: Option<&str>,
) -> Vec<Need> {
    let project = format!("projects/{}", settings.project);
    let machine = name.map_or_else(
        || format!("{project}/zones/{zone}/instances/*"),
        |name| path(settings, zone, name),
    );
    let mut needs = vec![Need::new("compute.instances.create", &machine)];
    let disk = format!("{project}/zones/{zone}/disks/*");
    needs.push(Need::new("compute.disks.create", &disk));
    for disk_asked in wanted.body["disks"].as_array().into_iter().flatten() {
        let params = &disk_asked["initializeParams"];
        if params["labels"]
            .as_object()
            .is_some_and(|labels| !labels.is_empty())
        {
            needs.push(Need::new("compute.disks.setLabels", &disk));
        }
        let image = body::reference(
            params["sourceImage"].as_str().unwrap_or_default(),
            &settings.project,
        );
        // images of other projects are shared there, not here
        if image.starts_with(&format!("{project}/")) {
            needs.push(Need::new("compute.images.useReadOnly", image));
        }
    }
    for interface in wanted.body["networkInterfaces"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let region = settings.region(zone);
        let named = interface["subnetwork"].as_str();
        let subnet = named.map_or_else(
            || format!("{project}/regions/{region}/subnetworks/default"),
            |named| body::reference(named, &settings.project),
        );
        needs.push(Need::new("compute.subnetworks.use", &subnet));
        let configs = interface["accessConfigs"].as_array();
        if configs.is_some_and(|configs| !configs.is_empty()) {
            needs.push(Need::new("compute.subnetworks.useExternalIp", subnet));
        }
    }
    if !wanted.labels.is_empty() {
        needs.push(Need::new("compute.instances.setLabels", &machine));
    }
    if !wanted.metadata.is_empty() {
        needs.push(Need::new("compute.instances.setMetadata", &machine));
    }
    if wanted.body.contains_key("tags") {
        needs.push(Need::new("compute.instances.setTags", &machine));
    }
    if let Some(account) = wanted
        .body
        .get("serviceAccounts")
        .and_then(|list| list.get(0))
    {
        needs.push(Need::new("compute.instances.setServiceAccount", &machine));
        let email = account["email"].as_str().unwrap_or_default();
        needs.push(Need::new(
            "iam.serviceAccounts.actAs",
            format!("{project}/serviceAccounts/{email}"),
        ));
    }
    if let Some(template) = template {
        let template = body::reference(template, &settings.project);
        needs.push(Need::new("compute.instanceTemplates.useReadOnly", template));
    }
    needs
}

/// How many of so many machines the quota and the zone have room for, and what stands in the way of the others.
fn short_of(
    gce: &Gce,
    zone: &str,
    wanted: &Wanted,
    count: usize,
    now: Timestamp,
) -> (usize, Option<Failure>) {
    let (allowed, quota) = within_quota(gce, zone, wanted, now);
    let room = room(gce, zone, wanted, now);
    if allowed < count && allowed <= room {
        (allowed, Some(quota))
    } else if room < count {
        (
            room,
            Some(exhausted(&gce.settings.project, &wanted.machine_type, zone)),
        )
    } else {
        (count, None)
    }
}

fn within_quota(gce: &Gce, zone: &str, wanted: &Wanted, now: Timestamp) -> (usize, Failure) {
    let settings = &gce.settings;
    let (metric, limit) = if wanted.spot {
        ("PREEMPTIBLE_CPUS", settings.spot_cpu_quota)
    } else {
        ("CPUS", settings.cpu_quota)
    };
    let cpus = |kind: &str| settings.types.get(kind).map_or(1, |kind| kind.cpus);
    let region = settings.region(zone);
    let used: u32 = gce
        .machines
        .values()
        .filter(|machine| settings.region(&machine.zone) == region && machine.spot == wanted.spot)
        .filter(|machine| machine.occupies(settings, now))
        .map(|machine| cpus(&machine.machine_type))
        .sum();
    let limit = limit.unwrap_or(u32::MAX);
    let allowed = limit.saturating_sub(used) / cpus(&wanted.machine_type).max(1);
    let message = format!("Quota '{metric}' exceeded.  Limit: {limit}.0 in region {region}.");
    let mut failure = Failure::new(403, "QUOTA_EXCEEDED", message);
    failure.details = vec![json!({"quotaInfo": {
        "metricName": "compute.googleapis.com/cpus",
        "limitName": format!("{metric}-per-project-region"),
        "dimensions": {"region": region},
        "limit": f64::from(limit),
    }})];
    (usize::try_from(allowed).unwrap_or(usize::MAX), failure)
}

fn room(gce: &Gce, zone: &str, wanted: &Wanted, now: Timestamp) -> usize {
    let key = (wanted.machine_type.clone(), zone.to_owned());
    let Some(&total) = gce.capacity.get(&key) else {
        return usize::MAX;
    };
    let used = gce
        .machines
        .values()
        .filter(|machine| machine.machine_type == key.0 && machine.zone == key.1)
        .filter(|machine| machine.occupies(&gce.settings, now))
        .count();
    usize::try_from(total)
        .unwrap_or(usize::MAX)
        .saturating_sub(used)
}

fn exhausted(project: &str, machine_type: &str, zone: &str) -> Failure {
    let message = format!(
        "The zone 'projects/{project}/zones/{zone}' does not have enough resources available to fulfill the request.  \
         '(resource type:compute)'."
    );
    let mut failure = Failure::new(503, "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", message);
    failure.details = vec![json!({"errorInfo": {
        "reason": "resource_availability",
        "domain": "compute.googleapis.com",
        "metadatas": {"vmType": machine_type, "zone": zone, "attachment": "", "zonesAvailable": ""},
    }})];
    failure
}

fn machine(id: u64, name: &str, zone: &str, wanted: &Wanted, operation: &Operation) -> Machine {
    Machine {
        id,
        name: name.to_owned(),
        zone: zone.to_owned(),
        machine_type: wanted.machine_type.clone(),
        labels: wanted.labels.clone(),
        metadata: wanted.metadata.clone(),
        spot: wanted.spot,
        deletes_itself: wanted.deletes_itself,
        max_run: wanted.max_run,
        created_at: operation.at,
        running_at: operation.done_at,
        ending: None,
        protected: wanted.protected,
        maintenance: None,
        console: format!("SeaBIOS (version 1.8.2-google)\r\n{name} login: "),
        body: wanted.body.clone(),
        label_changes: 0,
    }
}

/// What machines that are no more left behind: their disks that do not go with them.
pub(crate) fn left_disks(
    machines: &BTreeMap<u64, Machine>,
    settings: &Settings,
    now: Timestamp,
) -> usize {
    let gone = machines
        .values()
        .filter(|machine| machine.status(settings, now).is_none());
    gone.flat_map(|machine| machine.body["disks"].as_array().into_iter().flatten())
        .filter(|disk| disk["autoDelete"] != true)
        .count()
}
