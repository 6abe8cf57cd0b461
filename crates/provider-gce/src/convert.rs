//! Between Google's words and ours: labels, names, states and places. Pure, and without the SDK's types.
//!
//! A machine's name is the instance's name. Labels take lowercase letters, digits, `-` and `_` only, so they carry what is
//! listed by and what a bill is split by; marks with other characters are metadata items, which are set in the same call,
//! come with every listing and can be read by the guest.
#![cfg_attr(
    not(feature = "sdk"),
    allow(dead_code, reason = "called by the client only")
)]

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::{
    CreateBatch, FleetId, Generation, InstallationId, Instance, InstanceName, InstanceState, Owner,
    ProviderRef,
};

use crate::config::{Config, Offer};

/// What all our labels and metadata keys begin with.
pub(crate) const OWN_PREFIX: &str = "parmanu-";

/// Label keys.
pub(crate) mod label {
    /// Whose machine it is; what we list by.
    pub(crate) const FLEET: &str = "parmanu-fleet";
    /// The creation it came from.
    pub(crate) const BATCH: &str = "parmanu-batch";
    /// The pool, for the bill; never read back.
    pub(crate) const POOL: &str = "parmanu-pool";
    /// That the machine is taken back soon: written by a guest that was told, or by an operator; only ever read here.
    pub(crate) const NOTICE: &str = "parmanu-notice";
}

/// Metadata keys.
pub(crate) mod item {
    /// Which installation made it: any text.
    pub(crate) const INSTALLATION: &str = "parmanu-installation";
    /// The offer it came from: has a slash.
    pub(crate) const OFFER: &str = "parmanu-offer";
    /// What it was made from, as a hash.
    pub(crate) const GENERATION: &str = "parmanu-generation";
    /// How many seconds the longest job takes that it runs: when its last one begins is reckoned from it.
    pub(crate) const LONGEST_JOB: &str = "parmanu-longest-job";
    /// The executor registered for it: has a colon, and whatever the CI server likes.
    pub(crate) const EXECUTOR: &str = "parmanu-executor";
}

/// How many labels Parmanu sets itself.
pub(crate) const OWN_LABELS: usize = 3;

/// Combinations of type and zone that one creation tries. Each that has no room costs half a minute of waiting for its
/// operation, and all of them share the time of one call.
pub(crate) const MAX_PLACEMENTS: usize = 6;

/// What lies between the notice of a machine whose time runs out and the last job that it may be given: a listing, a cordon,
/// what the CI server had promised before it, and clocks that do not agree. Shorter, and that job may be cut off; longer,
/// and every machine serves that much less.
pub(crate) const LAST_CALL: Duration = Duration::from_secs(600);

/// Longest boot script (Compute Engine guide, "About VM metadata": 256 KB for one value).
pub(crate) const MAX_USER_DATA: usize = 256 * 1024;

/// The labels of every machine and disk of a batch.
pub(crate) fn labels(batch: &CreateBatch, offer: &Offer) -> BTreeMap<String, String> {
    let mut labels = offer.labels.clone();
    let own = [
        (label::FLEET, batch.fleet.to_string()),
        (label::BATCH, batch.batch.to_string()),
        (label::POOL, batch.batch.pool.to_string()),
    ];
    labels.extend(own.map(|(key, value)| (key.to_owned(), value)));
    labels
}

/// The metadata of every machine of a batch; `inherited` are the template's items.
pub(crate) fn metadata(
    batch: &CreateBatch,
    offer: &Offer,
    inherited: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut items = inherited.clone();
    items.extend(offer.metadata.clone());
    let script = (!batch.user_data.0.is_empty()).then(|| batch.user_data.0.clone());
    let executor = batch.executor.as_ref().map(ToString::to_string);
    let longest_job = offer.longest_job.map(|span| span.0.as_secs().to_string());
    let own = [
        (offer.boot_key.as_str(), script),
        (item::INSTALLATION, Some(batch.installation.to_string())),
        (item::OFFER, Some(batch.offer.to_string())),
        (item::GENERATION, Some(batch.generation.to_string())),
        (item::EXECUTOR, executor),
        (item::LONGEST_JOB, longest_job),
    ];
    let own = own.into_iter();
    items.extend(own.filter_map(|(key, value)| Some((key.to_owned(), value?))));
    items
}

/// What Google says of one machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) name: String,
    /// The short name.
    pub(crate) zone: String,
    pub(crate) status: Option<String>,
    /// What is said of the status, in words.
    pub(crate) status_message: Option<String>,
    /// RFC 3339.
    pub(crate) created_at: Option<String>,
    pub(crate) spot: bool,
    /// When maintenance of its host begins that it does not survive.
    pub(crate) maintenance: Option<String>,
    /// When Google ends it, whatever it runs, as Google reckons it.
    pub(crate) ends_at: Option<String>,
    /// Seconds that it may run.
    pub(crate) may_run: Option<i64>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Our own items only.
    pub(crate) items: BTreeMap<String, String>,
}

impl Seen {
    fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    fn item(&self, key: &str) -> Option<&str> {
        self.items.get(key).map(String::as_str)
    }
}

impl Seen {
    fn made_at(&self) -> Option<Timestamp> {
        self.created_at.as_deref().and_then(|at| at.parse().ok())
    }

    /// When Google ends it. Until it runs nobody says, and it is reckoned from its creation: that is no later.
    fn ends_at(&self) -> Option<Timestamp> {
        let told = self.ends_at.as_deref().and_then(|at| at.parse().ok());
        let may_run = || self.may_run.map(SignedDuration::from_secs);
        told.or_else(|| self.made_at()?.checked_add(may_run()?).ok())
    }

    /// From when on a job that it is given might not end before Google ends the machine. Where nobody said how long a job
    /// takes (a template has its own limit, or the machine is older than the key) it is given half of its time.
    fn last_call(&self) -> Option<Timestamp> {
        let ends = self.ends_at()?;
        let longest = self.item(item::LONGEST_JOB);
        let longest = longest.and_then(|seconds| seconds.parse().ok());
        let longest = longest.map(SignedDuration::from_secs);
        let half = || self.made_at().map(|made| ends.duration_since(made) / 2);
        let before = longest.or_else(half)?.checked_add(last_call())?;
        ends.checked_sub(before).ok()
    }
}

fn last_call() -> SignedDuration {
    SignedDuration::try_from(LAST_CALL).unwrap_or(SignedDuration::ZERO)
}

/// Reads a machine of our fleet back; says what is odd about one that cannot be read.
pub(crate) fn instance(seen: &Seen, fleet: &FleetId, now: Timestamp) -> Result<Instance, String> {
    if seen.label(label::FLEET) != Some(fleet.as_str()) {
        return Err("its fleet label is not the one asked for".to_owned());
    }
    let name: InstanceName = seen
        .name
        .parse()
        .map_err(|error| format!("its name: {error}"))?;
    if seen.label(label::BATCH) != Some(name.batch.to_string().as_str()) {
        return Err("its name and its batch label do not agree".to_owned());
    }
    Ok(Instance {
        name,
        id: ProviderRef::new(&seen.name),
        scope: seen.zone.clone(),
        state: state(seen),
        created_at: seen.made_at(),
        owner: Owner {
            fleet: fleet.clone(),
            installation: seen.item(item::INSTALLATION).map(InstallationId::new),
        },
        executor: seen.item(item::EXECUTOR).and_then(|text| text.parse().ok()),
        offer: seen.item(item::OFFER).and_then(|text| text.parse().ok()),
        generation: seen.item(item::GENERATION).map(Generation::new),
        notice: notice(seen, now),
        // there is no such mark here: `max_run_duration` ends a forgotten machine
        expires: None,
    })
}

/// Google's statuses ("VM instance lifecycle").
fn state(seen: &Seen) -> InstanceState {
    match seen.status.as_deref() {
        Some("PENDING" | "PROVISIONING" | "STAGING") => InstanceState::Pending,
        Some("RUNNING") => InstanceState::Running,
        Some("PENDING_STOP" | "STOPPING" | "DEPROVISIONING") => InstanceState::Stopping,
        // `TERMINATED` is only stopped: it is there, and its disk is paid for
        Some("STOPPED" | "TERMINATED") => InstanceState::Stopped,
        // suspended or being repaired, a machine may go on with its build: nothing to act on
        other => InstanceState::Unknown {
            what: other.unwrap_or("no status at all").to_owned(),
        },
    }
}

/// What says that a machine is taken back: a label, maintenance of its host, its time running out, or Google's comment on a
/// spot machine that stops already. A deletion of ours it does not comment.
fn notice(seen: &Seen, now: Timestamp) -> Option<String> {
    if let Some(text) = seen.label(label::NOTICE) {
        return Some(text.to_owned());
    }
    if let Some(begins) = &seen.maintenance {
        return Some(format!("its host is maintained from {begins} on"));
    }
    if let (Some(last), Some(ends)) = (seen.last_call(), seen.ends_at())
        && last <= now
    {
        return Some(format!("its max_run_duration is over at {ends:.0}"));
    }
    let ends = matches!(
        state(seen),
        InstanceState::Stopping | InstanceState::Stopped
    );
    (seen.spot && ends)
        .then(|| seen.status_message.clone())
        .flatten()
        .filter(|message| !message.is_empty())
}

/// A machine of a batch as its creation's answer shows it.
pub(crate) fn created(
    batch: &CreateBatch,
    name: InstanceName,
    zone: &str,
    at: Option<Timestamp>,
) -> Instance {
    Instance {
        id: ProviderRef::new(name.to_string()),
        name,
        scope: zone.to_owned(),
        // the operation is done when the machine is started, and the listing will tell
        state: InstanceState::Pending,
        created_at: at,
        owner: Owner {
            fleet: batch.fleet.clone(),
            installation: Some(batch.installation.clone()),
        },
        executor: batch.executor.clone(),
        offer: Some(batch.offer.clone()),
        generation: Some(batch.generation.clone()),
        notice: None,
        expires: None,
    }
}

/// One try of a creation: a type in a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placement<'a> {
    /// The template's, if none.
    pub(crate) machine_type: Option<&'a str>,
    pub(crate) zone: &'a str,
}

impl Placement<'_> {
    /// What distinguishes this try in the idempotency token: the answer to a request id is that to its first use.
    pub(crate) fn scope(&self) -> String {
        format!("{}@{}", self.machine_type.unwrap_or("template"), self.zone)
    }
}

/// The tries of a creation, in order: every zone for the first type, then for the next. Batches take turns in where they
/// begin, so that a pool spreads over its zones.
pub(crate) fn placements<'a>(
    offer: &'a Offer,
    config: &'a Config,
    sequence: u32,
) -> Vec<Placement<'a>> {
    let mut zones: Vec<&str> = offer.zones(config).iter().map(String::as_str).collect();
    if zones.is_empty() {
        return Vec::new();
    }
    let first = sequence as usize % zones.len();
    zones.rotate_left(first);
    let mut types: Vec<Option<&str>> = offer.types.iter().map(|kind| Some(kind.as_str())).collect();
    if types.is_empty() {
        types.push(None);
    }
    let all = types.into_iter().flat_map(|machine_type| {
        zones
            .iter()
            .map(move |&zone| Placement { machine_type, zone })
    });
    all.take(MAX_PLACEMENTS).collect()
}

/// A request id from an idempotency token: the first 128 bits, marked as a UUID of our own making (version 8), which is
/// never all zeros.
pub(crate) fn request_id(token: &str) -> String {
    let digit = |index: usize| token.as_bytes().get(index).copied().unwrap_or(b'0') as char;
    let part = |from: usize, to: usize| (from..to).map(digit).collect::<String>();
    // the variant bits of RFC 9562 are 10
    let variant = match digit(16).to_digit(16).unwrap_or_default() % 4 {
        0 => '8',
        1 => '9',
        2 => 'a',
        _ => 'b',
    };
    format!(
        "{}-{}-8{}-{variant}{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32),
    )
}

#[cfg(test)]
mod tests {
    use model::{BatchId, Epoch, ExecutorId, ExecutorRef, OfferId, UserData};
    use serde_json::json;

    use super::*;
    use crate::config::{is_label, is_name};

    fn config() -> Config {
        serde_json::from_value(json!({"project": "acme-ci", "zones": ["r1-a", "r1-b", "r1-c"]}))
            .unwrap()
    }

    fn offer(types: &[&str]) -> Offer {
        serde_json::from_value(json!({
            "image": "family/debian-12", "types": types, "labels": {"cost-centre": "ci"},
            "metadata": {"enable-oslogin": "TRUE"},
        }))
        .unwrap()
    }

    fn batch() -> CreateBatch {
        CreateBatch {
            fleet: "acme".parse().unwrap(),
            installation: InstallationId::new("Here: 1"),
            batch: BatchId {
                pool: "linux-x86".parse().unwrap(),
                epoch: Epoch(1_795_531_234_567),
                sequence: 3,
            },
            count: 1,
            offer: OfferId {
                machine: "linux-m".parse().unwrap(),
                index: 1,
            },
            spec: json!({}),
            generation: model::Generation::new("0f3c5a"),
            attempt: 0,
            executor: Some(ExecutorRef {
                emitter: "gitlab".parse().unwrap(),
                id: ExecutorId::new("42:Odd"),
            }),
            user_data: UserData("#!/bin/sh".to_owned()),
        }
    }

    fn seen(status: &str) -> Seen {
        let batch = batch();
        Seen {
            name: batch.batch.instance(0).to_string(),
            zone: "r1-a".to_owned(),
            status: Some(status.to_owned()),
            created_at: Some("2026-01-02T03:04:05.678-08:00".to_owned()),
            labels: labels(&batch, &offer(&[])),
            items: metadata(&batch, &offer(&[]), &BTreeMap::new()),
            ..Seen::default()
        }
    }

    /// When the machines of these tests were made.
    fn made() -> Timestamp {
        "2026-01-02T11:04:05.678Z".parse().unwrap()
    }

    #[test]
    fn a_machine_is_read_back_as_it_was_asked_for() {
        let batch = batch();
        let machine = instance(&seen("RUNNING"), &batch.fleet, made()).unwrap();
        assert_eq!(machine.name, batch.batch.instance(0));
        assert_eq!(machine.executor, batch.executor);
        assert_eq!(machine.offer, Some(batch.offer.clone()));
        assert_eq!(machine.generation, Some(batch.generation.clone()));
        assert_eq!(machine.owner.installation, Some(batch.installation.clone()));
        assert_eq!(machine.scope, "r1-a");
        let at = "2026-01-02T11:04:05.678Z".parse().unwrap();
        assert_eq!(machine.created_at, Some(at), "an offset is not dropped");
        let made = created(&batch, batch.batch.instance(0), "r1-a", Some(at));
        assert_eq!(
            Instance {
                state: InstanceState::Running,
                ..made
            },
            machine
        );
    }

    #[test]
    fn labels_are_what_google_takes_and_metadata_carries_the_rest() {
        let (batch, offer) = (batch(), offer(&[]));
        for (key, value) in labels(&batch, &offer) {
            assert!(is_label(&key) && is_label(&value), "{key}={value}");
        }
        assert_eq!(labels(&batch, &offer).len(), OWN_LABELS + 1);
        let inherited = [("enable-oslogin", "FALSE"), ("of-template", "1")];
        let inherited = inherited.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let items = metadata(&batch, &offer, &inherited.into());
        assert_eq!(items["startup-script"], "#!/bin/sh");
        assert_eq!(items["of-template"], "1");
        assert_eq!(
            items["enable-oslogin"], "TRUE",
            "the offer's word counts more"
        );
        assert_eq!(items[item::EXECUTOR], "gitlab:42:Odd");
    }

    #[test]
    fn the_longest_names_fit() {
        let mut batch = batch();
        batch.batch.pool = "a23456789012345678901234567890".parse().unwrap();
        batch.batch.epoch = Epoch(9_999_999_999_999);
        batch.batch.sequence = 99_999_999;
        assert!(is_name(&batch.batch.instance(9_999).to_string()));
        batch.batch.epoch = Epoch(u64::MAX);
        assert!(is_label(&labels(&batch, &offer(&[]))[label::BATCH]));
    }

    #[test]
    fn a_machine_that_cannot_be_read_says_why() {
        let fleet = batch().fleet;
        let spoil = |change: &dyn Fn(&mut Seen)| {
            let mut spoilt = seen("RUNNING");
            change(&mut spoilt);
            instance(&spoilt, &fleet, made()).unwrap_err()
        };
        assert!(spoil(&|s| drop(s.labels.remove(label::FLEET))).contains("fleet"));
        assert!(
            spoil(&|s| drop(s.labels.insert(label::FLEET.into(), "other".into())))
                .contains("fleet")
        );
        assert!(spoil(&|s| drop(s.labels.remove(label::BATCH))).contains("batch"));
        assert!(spoil(&|s| s.name = "web-1".to_owned()).contains("name"));
    }

    #[test]
    fn every_status_has_its_state_and_a_new_one_is_not_guessed() {
        let unknown = |what: &str| InstanceState::Unknown {
            what: what.to_owned(),
        };
        for (status, state) in [
            ("PENDING", InstanceState::Pending),
            ("PROVISIONING", InstanceState::Pending),
            ("STAGING", InstanceState::Pending),
            ("RUNNING", InstanceState::Running),
            ("PENDING_STOP", InstanceState::Stopping),
            ("STOPPING", InstanceState::Stopping),
            ("DEPROVISIONING", InstanceState::Stopping),
            ("STOPPED", InstanceState::Stopped),
            ("TERMINATED", InstanceState::Stopped),
            ("SUSPENDING", unknown("SUSPENDING")),
            ("SUSPENDED", unknown("SUSPENDED")),
            ("REPAIRING", unknown("REPAIRING")),
            ("LEVITATING", unknown("LEVITATING")),
        ] {
            let machine = instance(&seen(status), &batch().fleet, made()).unwrap();
            assert_eq!(machine.state, state);
        }
    }

    #[test]
    fn only_a_spot_machine_that_stops_is_being_taken_back() {
        let read = |status: &str, spot: bool| {
            let mut seen = seen(status);
            seen.spot = spot;
            seen.status_message = Some("Instance was preempted.".to_owned());
            instance(&seen, &batch().fleet, made()).unwrap().notice
        };
        assert_eq!(
            read("STOPPING", true).as_deref(),
            Some("Instance was preempted.")
        );
        assert!(read("TERMINATED", true).is_some());
        assert_eq!(read("RUNNING", true), None);
        assert_eq!(read("STOPPING", false), None);
    }

    #[test]
    fn a_label_and_maintenance_are_notices_too() {
        let mut seen = seen("RUNNING");
        let fleet = batch().fleet;
        seen.maintenance = Some("2026-01-02T03:04:05Z".to_owned());
        let told = |seen: &Seen| instance(seen, &fleet, made()).unwrap().notice.unwrap();
        assert!(told(&seen).contains("2026-01-02"));
        seen.labels
            .insert(label::NOTICE.to_owned(), "preempted".to_owned());
        assert_eq!(told(&seen), "preempted");
    }

    /// Whether a machine so many minutes old has a notice.
    fn is_told(seen: &Seen, minutes: i64) -> bool {
        let now = made() + SignedDuration::from_mins(minutes);
        instance(seen, &batch().fleet, now)
            .unwrap()
            .notice
            .is_some()
    }

    #[test]
    fn the_end_of_its_time_is_told_the_longest_job_and_ten_minutes_ahead() {
        let mut seen = seen("RUNNING");
        seen.may_run = Some(48 * 3600);
        let six_hours = (6 * 3600).to_string();
        seen.items.insert(item::LONGEST_JOB.to_owned(), six_hours);
        let last = (48 - 6) * 60 - 10;
        assert!(!is_told(&seen, last - 1) && is_told(&seen, last));
        // what Google reckons counts more: a machine runs later than it was made
        seen.ends_at = Some("2026-01-04T12:04:05.678+01:00".to_owned());
        assert!(is_told(&seen, last));
        seen.ends_at = Some("2026-01-04T03:34:05.678-08:00".to_owned());
        assert!(!is_told(&seen, last + 29) && is_told(&seen, last + 30));
        seen.may_run = None;
        assert!(is_told(&seen, last + 30), "an end that a template sets");
        seen.ends_at = None;
        assert!(!is_told(&seen, 365 * 24 * 60), "without an end");
    }

    #[test]
    fn of_a_machine_that_does_not_say_how_long_a_job_takes_half_its_time_is_for_the_last() {
        let mut seen = seen("RUNNING");
        seen.may_run = Some(48 * 3600);
        let last = 24 * 60 - 10;
        assert!(!is_told(&seen, last - 1) && is_told(&seen, last));
        // half an hour is no time for anything
        seen.may_run = Some(900);
        assert!(is_told(&seen, 0));
    }

    #[test]
    fn batches_take_turns_in_where_they_begin() {
        let (offer, config) = (
            offer(&["e2-standard-4", "n2-standard-4", "n2d-standard-4"]),
            config(),
        );
        let scopes = |sequence| -> Vec<String> {
            let placements = placements(&offer, &config, sequence);
            placements.iter().map(Placement::scope).collect()
        };
        assert_eq!(
            scopes(0)[..3],
            [
                "e2-standard-4@r1-a",
                "e2-standard-4@r1-b",
                "e2-standard-4@r1-c"
            ]
        );
        assert_eq!(scopes(1)[..2], ["e2-standard-4@r1-b", "e2-standard-4@r1-c"]);
        assert_eq!(scopes(0)[3], "n2-standard-4@r1-a");
        assert_eq!(scopes(u32::MAX).len(), MAX_PLACEMENTS);
    }

    #[test]
    fn a_templates_type_is_tried_once_in_each_zone() {
        let offer: Offer =
            serde_json::from_value(json!({"template": "t", "zones": ["r1-b"]})).unwrap();
        let config = config();
        let placements = placements(&offer, &config, 7);
        assert_eq!(placements.len(), 1);
        assert_eq!(placements[0].scope(), "template@r1-b");
    }

    #[test]
    fn a_request_id_is_a_uuid_that_is_never_all_zeros() {
        assert_eq!(
            request_id(&"0".repeat(64)),
            "00000000-0000-8000-8000-000000000000"
        );
        let token = batch().token("e2@r1-a");
        let id = request_id(&token);
        assert_eq!(id.len(), 36);
        assert!(
            id.starts_with(&token[..8]) && id.ends_with(&token[20..32]),
            "{id} {token}"
        );
        assert_ne!(id, request_id(&batch().token("e2@r1-b")));
    }
}
