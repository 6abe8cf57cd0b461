//! What exists in the fake project and how slowly it shows its work.
//!
//! Strict by default: a name that is not listed here does not exist. Delays are zero by default, so that a test asks
//! for exactly the lag it is about.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::limits::Rates;

/// One machine type.
#[derive(Debug, Clone)]
pub struct MachineType {
    /// Virtual CPUs, counted against [`Settings::cpu_quota`].
    pub cpus: u32,
    /// Zones that do not have it.
    pub not_in: BTreeSet<String>,
}

/// The project and its delays. Every value is valid; change what a test is about.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The project's id.
    pub project: String,
    /// Zones. The region is what stands before the last hyphen.
    pub zones: Vec<String>,
    /// Machine types.
    pub types: BTreeMap<String, MachineType>,
    /// Images and families, as `projects/P/global/images/NAME` or `projects/P/global/images/family/NAME`.
    pub images: BTreeSet<String>,
    /// Disk types.
    pub disk_types: BTreeSet<String>,
    /// Networks of the project.
    pub networks: BTreeSet<String>,
    /// Subnetworks as `REGION/NAME`.
    pub subnetworks: BTreeSet<String>,
    /// Service accounts that machines may be given.
    pub service_accounts: BTreeSet<String>,
    /// Instance templates by name: their `properties`.
    pub templates: BTreeMap<String, Value>,
    /// Who may call, by the e-mail address that signed the token.
    pub callers: BTreeSet<String>,
    /// Bearer tokens that are let in as they are.
    pub tokens: BTreeSet<String>,
    /// Tokens of another identity provider that are exchanged for one of Google's.
    pub subject_tokens: BTreeSet<String>,
    /// Whether the metadata server gives tokens.
    pub has_metadata_server: bool,
    /// Lets in calls without credentials too.
    pub anonymous: bool,
    /// Permissions of the callers; `None` is the owner's.
    pub granted: Option<BTreeSet<String>>,
    /// How long an operation is `PENDING`.
    pub queue: Duration,
    /// How long after its call a creation is done.
    pub creation: Duration,
    /// How long after its call any other operation is done, and how long a machine is `STOPPING`.
    pub shutdown: Duration,
    /// How long a new machine is missing from listings. A `get` by name does not lag.
    pub appears_after: Duration,
    /// How long a machine that ends is still listed as it was before.
    pub ends_unseen_for: Duration,
    /// Whether a wait for an operation answers at once instead of when it is done.
    pub impatient: bool,
    /// Most CPUs of standard machines in one region: `QUOTA_EXCEEDED`.
    pub cpu_quota: Option<u32>,
    /// Most CPUs of spot machines in one region: `QUOTA_EXCEEDED`.
    pub spot_cpu_quota: Option<u32>,
    /// Calls per minute; without them nothing is throttled.
    pub rates: Option<Rates>,
}

impl Default for Settings {
    fn default() -> Self {
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let kind = |cpus| MachineType {
            cpus,
            not_in: BTreeSet::new(),
        };
        let types = [
            ("e2-small", kind(2)),
            ("e2-standard-4", kind(4)),
            ("n2-standard-8", kind(8)),
        ];
        Self {
            project: "acme-ci".to_owned(),
            zones: listed(&["europe-west3-a", "europe-west3-b", "europe-west3-c"]),
            types: types
                .map(|(name, kind)| (name.to_owned(), kind))
                .into_iter()
                .collect(),
            images: set(&[
                "projects/acme-ci/global/images/ci-linux-v12",
                "projects/acme-ci/global/images/family/ci-linux",
                "projects/debian-cloud/global/images/family/debian-12",
            ]),
            disk_types: set(&["pd-balanced", "pd-ssd", "pd-standard"]),
            networks: set(&["default", "ci"]),
            subnetworks: set(&["europe-west3/builders"]),
            service_accounts: set(&["builder@acme-ci.iam.gserviceaccount.com"]),
            templates: BTreeMap::from([("ci-linux-v12".to_owned(), template())]),
            callers: set(&["parmanu@acme-ci.iam.gserviceaccount.com"]),
            tokens: BTreeSet::new(),
            subject_tokens: BTreeSet::new(),
            has_metadata_server: false,
            anonymous: false,
            granted: None,
            queue: Duration::ZERO,
            creation: Duration::ZERO,
            shutdown: Duration::ZERO,
            appears_after: Duration::ZERO,
            ends_unseen_for: Duration::ZERO,
            impatient: false,
            cpu_quota: None,
            spot_cpu_quota: None,
            rates: None,
        }
    }
}

impl Settings {
    /// The region of a zone.
    pub(crate) fn region<'a>(&self, zone: &'a str) -> &'a str {
        zone.rsplit_once('-').map_or(zone, |(region, _)| region)
    }
}

fn listed(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// The properties of a template, as its owner wrote them.
fn template() -> Value {
    json!({
        "machineType": "e2-standard-4",
        "disks": [{
            "boot": true,
            "autoDelete": true,
            "type": "PERSISTENT",
            "initializeParams": {
                "sourceImage": "projects/acme-ci/global/images/family/ci-linux",
                "diskSizeGb": "40",
                "diskType": "pd-balanced",
            },
        }],
        "networkInterfaces": [{"network": "projects/acme-ci/global/networks/default"}],
        "labels": {"cost-centre": "ci"},
        "metadata": {"items": [{"key": "enable-oslogin", "value": "TRUE"}]},
    })
}
