//! The SDK's types in our own terms.

use std::collections::BTreeMap;

use google_cloud_compute::model as sdk;

use crate::convert::{OWN_PREFIX, Seen};

/// What an operation says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) name: String,
    pub(crate) done: bool,
    /// RFC 3339.
    pub(crate) inserted_at: Option<String>,
    /// Code and words of what it failed of.
    pub(crate) error: Option<(String, String)>,
    /// Machines that a bulk creation made and did not take back.
    pub(crate) made: Option<u32>,
}

impl Operation {
    pub(crate) fn of(operation: &sdk::Operation) -> Self {
        let status = operation.status.as_ref().map(ToString::to_string);
        let errors = operation.error.as_ref().map(|error| &error.errors);
        let error = errors.and_then(|errors| errors.first()).map(|error| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            (text(&error.code), text(&error.message))
        });
        // an error without a word is one too
        let failed = operation
            .http_error_status_code
            .is_some_and(|status| status >= 400);
        let nameless = || (String::from("(no code)"), String::new());
        let bulk = operation.instances_bulk_insert_operation_metadata.as_ref();
        Self {
            name: operation.name.clone().unwrap_or_default(),
            done: status.as_deref() == Some("DONE"),
            inserted_at: operation.insert_time.clone(),
            error: error.or_else(|| failed.then(nameless)),
            made: bulk.map(|bulk| bulk.per_location_status.values().map(stays).sum()),
        }
    }
}

fn stays(status: &sdk::BulkInsertOperationStatus) -> u32 {
    let count = |count: Option<i32>| u32::try_from(count.unwrap_or_default()).unwrap_or_default();
    count(status.created_vm_count).saturating_sub(count(status.deleted_vm_count))
}

/// What a listing or a get says of one machine.
pub(crate) fn machine(machine: &sdk::Instance) -> Seen {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let scheduling = machine.scheduling.as_ref();
    let model = scheduling.and_then(|scheduling| scheduling.provisioning_model.as_ref());
    let preemptible = scheduling.and_then(|scheduling| scheduling.preemptible);
    let stays = scheduling.and_then(|scheduling| scheduling.on_host_maintenance.as_ref());
    let stays = stays.is_some_and(|what| what.to_string() == "MIGRATE");
    let status = machine.resource_status.as_ref();
    let upcoming = status.and_then(|status| status.upcoming_maintenance.as_ref());
    let begins = upcoming.map(|upcoming| text(&upcoming.window_start_time));
    let ends = status.and_then(|status| status.scheduling.as_ref());
    let ends = ends.and_then(|scheduling| scheduling.termination_timestamp.clone());
    let set = scheduling.and_then(|scheduling| scheduling.termination_time.clone());
    let may_run = scheduling.and_then(|scheduling| scheduling.max_run_duration.as_ref());
    let mut items = items(machine.metadata.as_ref());
    items.retain(|key, _| key.starts_with(OWN_PREFIX));
    Seen {
        name: text(&machine.name),
        zone: text(&machine.zone)
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned(),
        status: machine.status.as_ref().map(ToString::to_string),
        status_message: machine.status_message.clone(),
        created_at: machine.creation_timestamp.clone(),
        spot: preemptible == Some(true) || model.is_some_and(|model| model.to_string() == "SPOT"),
        // a machine that moves to another host while it runs loses nothing
        maintenance: begins.filter(|_| !stays),
        ends_at: ends.or(set),
        may_run: may_run.and_then(|span| span.seconds),
        labels: machine.labels.clone().into_iter().collect(),
        items,
    }
}

/// Metadata items by key.
pub(crate) fn items(metadata: Option<&sdk::Metadata>) -> BTreeMap<String, String> {
    let items = metadata
        .map(|metadata| metadata.items.iter())
        .into_iter()
        .flatten();
    items
        .filter_map(|item| Some((item.key.clone()?, item.value.clone().unwrap_or_default())))
        .collect()
}

/// One page of a listing over all zones.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) machines: Vec<Seen>,
    /// Zones that were heard of.
    pub(crate) heard: Vec<String>,
    /// Zones or whole pages that say they are not complete, and why.
    pub(crate) warned: Vec<String>,
    pub(crate) next: Option<String>,
}

impl Page {
    pub(crate) fn of(answer: &sdk::InstanceAggregatedList) -> Self {
        let mut page = Self {
            next: answer
                .next_page_token
                .clone()
                .filter(|token| !token.is_empty()),
            ..Self::default()
        };
        if let Some(warning) = &answer.warning {
            let code = warning.code.as_ref().map(ToString::to_string);
            page.warn("the listing", code, warning.message.as_deref());
        }
        for scope in &answer.unreachables {
            page.warned.push(format!("{scope}: it does not answer"));
        }
        for (scope, list) in &answer.items {
            let zone = scope.rsplit('/').next().unwrap_or_default();
            page.machines.extend(list.instances.iter().map(machine));
            let code = list
                .warning
                .as_ref()
                .and_then(|warning| warning.code.as_ref());
            let code = code.map(ToString::to_string);
            match &list.warning {
                // said of every zone that has nothing on this page
                Some(_) if code.as_deref() == Some("NO_RESULTS_ON_PAGE") => {}
                None => {}
                Some(warning) => {
                    page.warn(scope, code, warning.message.as_deref());
                    continue;
                }
            }
            page.heard.push(zone.to_owned());
        }
        page
    }

    fn warn(&mut self, what: &str, code: Option<String>, message: Option<&str>) {
        let code = code.unwrap_or_else(|| "a warning without a code".to_owned());
        let message = message.unwrap_or("no more is said");
        self.warned.push(format!("{what}: {code}: {message}"));
    }
}
