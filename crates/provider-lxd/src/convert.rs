//! Between LXD's words and ours: marks, states and the body of a creation. Pure.
//!
//! A machine's name is the instance's name. Whose it is stands in `user.parmanu-*` keys of its configuration,
//! which are set in the call that creates it.

use std::time::Duration;

use jiff::Timestamp;
use model::{
    CreateBatch, FleetId, Generation, InstallationId, Instance, InstanceName, InstanceState, Owner,
    ProviderRef, age,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::config::Offer;

/// What the keys of our marks begin with.
pub(crate) const MARK: &str = "user.parmanu-";
/// The key that says until when the machine is wanted.
pub(crate) const EXPIRES: &str = "user.parmanu-expires";
/// Asks the guest to end its agent and power off (docs/guest.md).
pub(crate) const DRAIN: &str = "user.parmanu-drain";
/// How long a new machine is wanted without anybody saying so again: long enough for its first renewal.
const WANTED_FOR: Duration = Duration::from_secs(3600);
/// The key of the boot script: cloud-init's LXD data source reads it from inside the machine.
pub(crate) const USER_DATA: &str = "user.user-data";

/// How long a machine that was never started counts as being created. Between its creation and its first start it
/// is listed as stopped, and a stopped machine may be deleted. A machine whose creator died stands in the way of the next one
/// for as long; its start is asked for as soon as the creation has ended, which takes a second. A slow disk may need
/// longer to unpack an image, and nothing is lost then: LXD refuses to delete what it is creating, and what has been
/// started since it was listed is not deleted for having been stopped.
const UNSTARTED: Duration = Duration::from_secs(10);

/// One instance as LXD lists it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Seen {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) created_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) last_used_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) location: String,
    #[serde(default)]
    pub(crate) config: Map<String, Value>,
}

impl Seen {
    pub(crate) fn mark(&self, key: &str) -> Option<&str> {
        self.config.get(&format!("{MARK}{key}"))?.as_str()
    }

    /// Whether it is a machine of this fleet.
    pub(crate) fn is_of(&self, fleet: &FleetId) -> bool {
        self.mark("fleet") == Some(fleet.as_str())
    }

    /// Whether it was started at least once: LXD writes the year 1970 until then.
    pub(crate) fn was_started(&self) -> bool {
        self.last_used_at.is_some_and(|at| at.as_second() > 0)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.status == "Stopped"
    }
}

/// Reads a machine of our fleet back; says what is odd about one that cannot be read.
pub(crate) fn instance(seen: &Seen, fleet: &FleetId, now: Timestamp) -> Result<Instance, String> {
    if !seen.is_of(fleet) {
        return Err("its fleet mark is not the one asked for".to_owned());
    }
    let name: InstanceName = seen
        .name
        .parse()
        .map_err(|error| format!("its name: {error}"))?;
    if seen.mark("batch") != Some(name.batch.to_string().as_str()) {
        return Err("its name and its batch mark do not agree".to_owned());
    }
    Ok(Instance {
        id: ProviderRef::new(&seen.name),
        scope: scope(&seen.location),
        state: state(seen, now),
        created_at: seen.created_at,
        owner: Owner {
            fleet: fleet.clone(),
            installation: seen.mark("installation").map(InstallationId::new),
        },
        executor: seen.mark("executor").and_then(|text| text.parse().ok()),
        offer: seen.mark("offer").and_then(|text| text.parse().ok()),
        generation: seen.mark("generation").map(Generation::new),
        notice: seen.mark("notice").map(str::to_owned),
        expires: seen.mark("expires").and_then(|text| text.parse().ok()),
        name,
    })
}

/// The member of the cluster; a daemon of its own calls itself `none`.
fn scope(location: &str) -> String {
    match location {
        "" | "none" => "lxd".to_owned(),
        member => member.to_owned(),
    }
}

fn state(seen: &Seen, now: Timestamp) -> InstanceState {
    match seen.status.as_str() {
        "Running" => InstanceState::Running,
        "Starting" => InstanceState::Pending,
        "Stopping" | "Aborting" => InstanceState::Stopping,
        "Stopped" => {
            let fresh = seen.created_at.is_some_and(|at| age(at, now) < UNSTARTED);
            if fresh && !seen.was_started() {
                InstanceState::Pending
            } else {
                InstanceState::Stopped
            }
        }
        // frozen by somebody, in error, or a word of a later version
        other => InstanceState::Unknown {
            what: other.to_owned(),
        },
    }
}

/// The body of the call that creates one machine of a batch.
pub(crate) fn body(
    batch: &CreateBatch,
    name: &InstanceName,
    offer: &Offer,
    now: Timestamp,
) -> Value {
    let mut config: Map<String, Value> = offer
        .config
        .iter()
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    let marks = [
        ("fleet", Some(batch.fleet.to_string())),
        ("installation", Some(batch.installation.to_string())),
        ("pool", Some(batch.batch.pool.to_string())),
        ("batch", Some(batch.batch.to_string())),
        ("index", Some(name.index.to_string())),
        ("epoch", Some(batch.batch.epoch.to_string())),
        ("offer", Some(batch.offer.to_string())),
        ("generation", Some(batch.generation.to_string())),
        ("executor", batch.executor.as_ref().map(ToString::to_string)),
    ];
    for (key, value) in marks {
        if let Some(value) = value {
            config.insert(format!("{MARK}{key}"), json!(value));
        }
    }
    let expires = now.checked_add(WANTED_FOR).unwrap_or(now);
    config.insert(EXPIRES.to_owned(), json!(expires.to_string()));
    if !batch.user_data.0.is_empty() {
        config.insert(USER_DATA.to_owned(), json!(batch.user_data.0));
    }
    let source = if offer.is_fingerprint() {
        json!({ "type": "image", "fingerprint": offer.image })
    } else {
        json!({ "type": "image", "alias": offer.image })
    };
    let mut body = json!({
        "name": name.to_string(),
        "type": offer.kind,
        "source": source,
        "config": config,
        "devices": offer.devices,
    });
    if let Some(profiles) = &offer.profiles {
        body["profiles"] = json!(profiles);
    }
    body
}

#[cfg(test)]
mod tests {
    use model::{ExecutorRef, UserData};

    use super::*;

    fn seen(change: impl Fn(&mut Value)) -> Seen {
        let mut value = json!({
            "name": "linux-1795531234567-1-0",
            "status": "Running",
            "created_at": "2026-11-24T16:34:34.350188053Z",
            "last_used_at": "2026-11-24T16:34:35.148164641Z",
            "location": "none",
            "type": "container",
            "config": {
                "user.parmanu-fleet": "acme",
                "user.parmanu-batch": "linux-1795531234567-1",
                "user.parmanu-installation": "i-1",
                "user.parmanu-offer": "small/0",
                "user.parmanu-executor": "buildbot:7",
                "image.os": "debian",
            },
        });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn fleet() -> FleetId {
        "acme".parse().unwrap()
    }

    const SOON: &str = "2026-11-24T16:34:40Z";
    const LATER: &str = "2026-11-24T16:40:00Z";

    #[test]
    fn a_machine_is_read_back_from_its_marks() {
        let machine = instance(&seen(|_| {}), &fleet(), at(SOON)).unwrap();
        assert_eq!(machine.name.to_string(), "linux-1795531234567-1-0");
        assert_eq!(machine.id.as_str(), "linux-1795531234567-1-0");
        assert_eq!(machine.scope, "lxd");
        assert_eq!(machine.state, InstanceState::Running);
        assert_eq!(machine.owner.installation, Some(InstallationId::new("i-1")));
        assert_eq!(machine.executor, "buildbot:7".parse().ok());
        assert_eq!(machine.expires, None, "nobody said so");
    }

    #[test]
    fn until_when_it_is_wanted_is_read_and_what_is_no_time_is_no_mark() {
        let marked = |text: &str| {
            let seen = seen(|value| value["config"][EXPIRES] = json!(text));
            instance(&seen, &fleet(), at(SOON)).unwrap().expires
        };
        assert_eq!(marked(LATER), Some(at(LATER)));
        assert_eq!(marked("tomorrow"), None);
    }

    #[test]
    fn what_is_not_ours_or_odd_is_not_read() {
        let other = "other".parse().unwrap();
        assert!(instance(&seen(|_| {}), &other, at(SOON)).is_err());
        let renamed = seen(|value| value["name"] = json!("linux-1795531234567-2-0"));
        assert!(instance(&renamed, &fleet(), at(SOON)).is_err());
        let unnamed = seen(|value| value["name"] = json!("web"));
        assert!(instance(&unnamed, &fleet(), at(SOON)).is_err());
    }

    #[test]
    fn a_machine_between_creation_and_first_start_is_pending_for_a_while() {
        let state_at = |started: bool, now| {
            let seen = seen(|value| {
                value["status"] = json!("Stopped");
                if !started {
                    value["last_used_at"] = json!("1970-01-01T00:00:00Z");
                }
            });
            state(&seen, at(now))
        };
        assert_eq!(state_at(false, SOON), InstanceState::Pending);
        assert_eq!(state_at(false, LATER), InstanceState::Stopped);
        assert_eq!(state_at(true, SOON), InstanceState::Stopped);
    }

    #[test]
    fn a_state_that_we_do_not_know_is_said_as_it_is() {
        let frozen = seen(|value| value["status"] = json!("Frozen"));
        let what = "Frozen".to_owned();
        assert_eq!(state(&frozen, at(SOON)), InstanceState::Unknown { what });
        let stopping = seen(|value| value["status"] = json!("Stopping"));
        assert_eq!(state(&stopping, at(SOON)), InstanceState::Stopping);
    }

    #[test]
    fn the_body_carries_marks_boot_script_and_the_offer() {
        let batch = CreateBatch {
            fleet: fleet(),
            installation: InstallationId::new("i-1"),
            batch: "linux-7-1".parse().unwrap(),
            count: 1,
            offer: "small/0".parse().unwrap(),
            spec: Value::Null,
            generation: model::Generation::new("0f3c5a"),
            attempt: 0,
            executor: Some("buildbot:7".parse::<ExecutorRef>().unwrap()),
            user_data: UserData("#!/bin/sh\n".to_owned()),
        };
        let offer: Offer = serde_json::from_value(json!({
            "image": "small", "profiles": [],
            "config": { "limits.cpu": "2" },
            "devices": { "root": { "type": "disk", "path": "/", "pool": "default" } },
        }))
        .unwrap();
        let body = body(&batch, &batch.batch.instance(0), &offer, at(SOON));
        assert_eq!(
            body,
            json!({
                "name": "linux-7-1-0",
                "type": "container",
                "source": { "type": "image", "alias": "small" },
                "profiles": [],
                "devices": { "root": { "type": "disk", "path": "/", "pool": "default" } },
                "config": {
                    "limits.cpu": "2",
                    "user.user-data": "#!/bin/sh\n",
                    "user.parmanu-fleet": "acme",
                    "user.parmanu-installation": "i-1",
                    "user.parmanu-pool": "linux",
                    "user.parmanu-batch": "linux-7-1",
                    "user.parmanu-index": "0",
                    "user.parmanu-epoch": "7",
                    "user.parmanu-expires": "2026-11-24T17:34:40Z",
                    "user.parmanu-offer": "small/0",
                    "user.parmanu-generation": "0f3c5a",
                    "user.parmanu-executor": "buildbot:7",
                },
            })
        );
    }
}
