//! The keys of a Google Cloud project and of an offer in it, and what can be wrong with them.
//!
//! Checked without a network: a name that is well formed and does not exist is found by the first call, and reported as
//! [`InvalidRequest`](ports::ProviderErrorKind::InvalidRequest).

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use model::MarketKind;
use ports::SecretRef;
use ports::strict::{Problems, Step};
use ports::units::Span;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::convert::{LAST_CALL, MAX_PLACEMENTS, OWN_LABELS, OWN_PREFIX};

/// One Google Cloud project and the zones to use in it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The project's id, such as `acme-ci`.
    pub project: String,
    /// Zones, such as `europe-west3-a`, of one region or several. Offers choose among them; a listing that says nothing
    /// of one of them is not complete.
    pub zones: Vec<String>,
    /// Who to be; the service account that the metadata server gives (a VM's, or a pod's on GKE) if absent.
    #[serde(default)]
    pub credentials: Option<Credentials>,
    /// Another endpoint than Google's own: a private one, or an emulator in a test.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// How long a listing may lag behind the answers of this project; 1m if absent.
    #[serde(default)]
    pub listing_lag: Option<Span>,
    /// Calls of one kind that may be made per minute and region; 1500 if absent, the quota of a new project. Lower it where
    /// others call too.
    #[serde(default)]
    pub calls_per_minute: Option<NonZeroU32>,
}

/// Who to be at Google. Files are read anew when they change.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Credentials {
    /// A service account's key, as the JSON file that Google gives.
    ServiceAccount(SecretRef),
    /// Workload identity federation: the JSON file of type `external_account`, which names where the token of another
    /// identity provider stands.
    WorkloadIdentity(SecretRef),
}

/// One way to get a machine from Compute Engine.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// An instance template of the project. What is said here beside it overrides it.
    #[serde(default)]
    pub template: Option<String>,
    /// The image: `debian-12-v1`, `family/debian-12`, or either with its project, such as
    /// `projects/debian-cloud/global/images/family/debian-12`. The template's if absent.
    #[serde(default)]
    pub image: Option<String>,
    /// Machine types in order of preference. A type without capacity gives way to the next. The template's if empty.
    #[serde(default)]
    pub types: Vec<String>,
    /// Zones of the provider, all of them if empty.
    #[serde(default)]
    pub zones: Vec<String>,
    /// How the machine is bought.
    #[serde(default)]
    pub market: MarketKind,
    /// The boot disk, always deleted with its machine; what image or template say, if absent.
    #[serde(default)]
    pub disk: Option<Disk>,
    /// The network; `default`, or the template's, if neither it nor a subnet is named.
    #[serde(default)]
    pub network: Option<String>,
    /// The subnet of each zone's region.
    #[serde(default)]
    pub subnet: Option<String>,
    /// Whether the machine gets an external address. Without one it reaches the internet through Cloud NAT only.
    #[serde(default)]
    pub external_ip: Option<bool>,
    /// Network tags, for firewall rules.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Who builds are at Google. Nobody, if absent: builds run foreign code.
    #[serde(default)]
    pub service_account: Option<ServiceAccount>,
    /// More labels for machines and disks, for the bill.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// More metadata, such as `enable-oslogin: "TRUE"`.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// The metadata key that carries the boot script: `startup-script` (the default), `user-data` for cloud-init, or
    /// `windows-startup-script-ps1`.
    #[serde(default = "startup_script")]
    pub boot_key: String,
    /// After this time Google deletes the machine, whoever still runs on it: the safety line for when Parmanu is gone
    /// for good. More than the machine's `reuse.max_age` and `longest_job` together; no line, if absent.
    #[serde(default)]
    pub max_run_duration: Option<Span>,
    /// The longest job that these machines run. So long before Google ends a machine, and ten minutes more, it takes no
    /// further job. Needed with `max_run_duration`.
    #[serde(default)]
    pub longest_job: Option<Span>,
}

/// The boot disk.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Size in GiB.
    pub size_gib: u32,
    /// Disk type, such as `pd-ssd`.
    #[serde(default = "balanced", rename = "type")]
    pub kind: String,
}

/// A service account for builds.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceAccount {
    /// Its e-mail address.
    pub email: String,
    /// What its tokens are good for, beside its roles; everything its roles allow, if empty.
    #[serde(default)]
    pub scopes: Vec<String>,
}

fn balanced() -> String {
    "pd-balanced".to_owned()
}

fn startup_script() -> String {
    "startup-script".to_owned()
}

impl Config {
    /// Finds what is wrong beyond the types.
    pub(crate) fn check(&self, problems: &mut Problems) {
        if !is_project(&self.project) {
            let message = format!("`{}` is not a project id such as acme-ci", self.project);
            problems.error(["project".into()], message);
        }
        if self.zones.is_empty() {
            problems.error(
                ["zones".into()],
                "name at least one zone, such as europe-west3-a",
            );
        }
        for (index, zone) in self.zones.iter().enumerate() {
            if !is_zone(zone) {
                let message = format!("`{zone}` is not a zone such as europe-west3-a");
                problems.error(["zones".into(), index.into()], message);
            }
        }
        repeated("zones", &self.zones, problems);
        let web = |url: &&String| !url.starts_with("https://") && !url.starts_with("http://");
        if let Some(url) = self.endpoint.as_ref().filter(web) {
            let message = format!("`{url}` is not an http or https URL");
            problems.error(["endpoint".into()], message);
        }
        let least = Duration::from_secs(10);
        if let Some(lag) = self.listing_lag.filter(|lag| lag.0 < least) {
            let seconds = lag.0.as_secs();
            let message = format!(
                "Compute Engine may need longer than {seconds}s to list a new machine; a lag that is too short lets a machine \
                 be created twice"
            );
            problems.warning(["listing_lag".into()], message);
        }
        let (key, secret) = match &self.credentials {
            None => return,
            Some(Credentials::ServiceAccount(secret)) => ("service_account", secret),
            // names where a secret stands and is none itself, yet nobody wants its JSON in YAML
            Some(Credentials::WorkloadIdentity(secret)) => ("workload_identity", secret),
        };
        if secret.is_literal() {
            let message = "credentials stand in the file; write ${file:/path} instead";
            problems.warning(["credentials".into(), key.into()], message);
        }
    }
}

impl Offer {
    /// The zones to try, before their order is turned.
    pub(crate) fn zones<'a>(&'a self, config: &'a Config) -> &'a [String] {
        if self.zones.is_empty() {
            &config.zones
        } else {
            &self.zones
        }
    }

    /// Finds what is wrong beyond the types.
    pub(crate) fn check(&self, config: &Config, problems: &mut Problems) {
        self.check_what(problems);
        self.check_places(config, problems);
        self.check_network(problems);
        self.check_labels(problems);
        self.check_metadata(problems);
        self.check_end(problems);
    }

    /// For how long a machine takes jobs, where Google ends it.
    pub(crate) fn serves_for(&self) -> Option<Duration> {
        let before = self.longest_job?.0.saturating_add(LAST_CALL);
        Some(self.max_run_duration?.0.saturating_sub(before))
    }

    /// Google ends a machine whatever it runs, so no job may begin there that could not end in time.
    fn check_end(&self, problems: &mut Problems) {
        let range = Duration::from_secs(30)..=Duration::from_secs(120 * 24 * 3600);
        match (self.max_run_duration, self.longest_job) {
            (Some(span), _) if !range.contains(&span.0) => {
                let seconds = span.0.as_secs();
                let message = format!("Google takes 30s to 120d, and this is {seconds}s");
                problems.error(["max_run_duration".into()], message);
            }
            (Some(span), None) => {
                let message = format!(
                    "Google deletes a machine after {span}, busy or not: say with `longest_job` (such as 6h) how long a job may take there, so that none begins which could not end"
                );
                problems.error(["max_run_duration".into()], message);
            }
            (Some(span), Some(job)) => {
                let before = job.0.saturating_add(LAST_CALL);
                if span.0 <= before {
                    let message = format!(
                        "a machine takes no job in the last {} before Google ends it (longest_job and {}), and it lives for {span}: write more than `reuse.max_age` and that together",
                        Span(before),
                        Span(LAST_CALL)
                    );
                    problems.error(["max_run_duration".into()], message);
                }
            }
            (None, Some(_)) if self.template.is_none() => {
                let message = "it changes nothing without `max_run_duration`";
                problems.warning(["longest_job".into()], message);
            }
            (None, _) if self.template.is_none() => problems.warning(
                [],
                "nothing ends a machine of this offer when Parmanu is gone for good: write `longest_job` (such as 6h) and `max_run_duration`, more than `reuse.max_age` and that together (such as 48h)",
            ),
            // the template may have it
            (None, _) => {}
        }
    }

    /// Image, types and disk, or a template that has them.
    fn check_what(&self, problems: &mut Problems) {
        let bare = self.template.is_none();
        if bare && self.image.is_none() {
            problems.error(
                ["image".into()],
                "name an image, or a template that has one",
            );
        }
        if let Some(template) = self.template.as_ref().filter(|name| !is_name(name)) {
            let message =
                format!("`{template}` is not the name of an instance template of the project");
            problems.error(["template".into()], message);
        }
        if let Some(image) = self.image.as_ref().filter(|image| !is_image(image)) {
            let message = format!(
                "`{image}` is not an image such as family/debian-12 or projects/debian-cloud/global/images/family/debian-12"
            );
            problems.error(["image".into()], message);
        }
        if bare && self.types.is_empty() {
            let message =
                "name at least one machine type, such as e2-standard-4, or a template that has one";
            problems.error(["types".into()], message);
        }
        check_names(
            "types",
            &self.types,
            "a machine type such as e2-standard-4",
            problems,
        );
        let Some(disk) = &self.disk else { return };
        if self.image.is_none() {
            let message =
                "a disk of its own needs its image here too, for it replaces the template's disks";
            problems.error(["disk".into()], message);
        }
        if !(10..=65_536).contains(&disk.size_gib) {
            let message = format!(
                "Google takes 10 to 65536 GiB, and this is {}",
                disk.size_gib
            );
            problems.error(["disk".into(), "size_gib".into()], message);
        }
        if !is_name(&disk.kind) {
            let message = format!("`{}` is not a disk type such as pd-ssd", disk.kind);
            problems.error(["disk".into(), "type".into()], message);
        }
    }

    fn check_places(&self, config: &Config, problems: &mut Problems) {
        for (index, zone) in self.zones.iter().enumerate() {
            if !config.zones.contains(zone) {
                let message = format!("`{zone}` is not among the provider's zones");
                problems.error(["zones".into(), index.into()], message);
            }
        }
        repeated("zones", &self.zones, problems);
        let tried = self.types.len().max(1) * self.zones(config).len();
        if tried > MAX_PLACEMENTS {
            let message = format!(
                "{tried} combinations of type and zone; one creation tries the first {MAX_PLACEMENTS} of them. Split them \
                 over several offers"
            );
            problems.warning(["types".into()], message);
        }
    }

    fn check_network(&self, problems: &mut Problems) {
        for (key, name) in [("network", &self.network), ("subnet", &self.subnet)] {
            let path = |name: &&String| !name.starts_with("projects/") && !is_name(name);
            if let Some(name) = name.as_ref().filter(path) {
                let message =
                    format!("`{name}` is neither a name nor a path that begins with projects/");
                problems.error([key.into()], message);
            }
        }
        check_names(
            "tags",
            &self.tags,
            "a network tag such as ci-builder",
            problems,
        );
        if let Some(account) = &self.service_account
            && !account.email.contains('@')
        {
            let message = format!(
                "`{}` is not the e-mail address of a service account; the project's default one is meant to be named too",
                account.email
            );
            problems.error(["service_account".into(), "email".into()], message);
        }
    }

    fn check_labels(&self, problems: &mut Problems) {
        // Google allows 64 labels per machine; ours come on top of these
        if self.labels.len() > 64 - OWN_LABELS {
            let message = format!(
                "at most {} labels, as Google allows 64 and Parmanu sets its own",
                64 - OWN_LABELS
            );
            problems.error(["labels".into()], message);
        }
        for (key, value) in &self.labels {
            let path = || [Step::from("labels"), Step::from(key.as_str())];
            if key.starts_with(OWN_PREFIX) {
                problems.error(
                    path(),
                    format!("the label `{key}` is not free to be chosen"),
                );
            }
            if !is_label(key) || !key.starts_with(|c: char| c.is_ascii_lowercase()) {
                let message = "a label key has 1 to 63 lowercase letters, digits, _ and -, and begins with a letter";
                problems.error(path(), message);
            }
            if !is_label(value) {
                let message = "a label value has at most 63 lowercase letters, digits, _ and -";
                problems.error(path(), message);
            }
        }
    }

    fn check_metadata(&self, problems: &mut Problems) {
        let odd = |key: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            !(1..=128).contains(&key.len()) || !key.chars().all(fits)
        };
        if odd(&self.boot_key) || self.boot_key.starts_with(OWN_PREFIX) {
            let message = format!(
                "`{}` is not a metadata key such as user-data",
                self.boot_key
            );
            problems.error(["boot_key".into()], message);
        }
        for key in self.metadata.keys() {
            let path = || [Step::from("metadata"), Step::from(key.as_str())];
            if key.starts_with(OWN_PREFIX) || *key == self.boot_key {
                let message = format!("the metadata key `{key}` is not free to be chosen");
                problems.error(path(), message);
            }
            if odd(key) {
                let message = "a metadata key has 1 to 128 letters, digits, _ and -";
                problems.error(path(), message);
            }
        }
    }
}

fn check_names(key: &str, names: &[String], what: &str, problems: &mut Problems) {
    for (index, name) in names.iter().enumerate() {
        if !is_name(name) {
            let message = format!("`{name}` is not {what}");
            problems.error([key.into(), index.into()], message);
        }
    }
    repeated(key, names, problems);
}

fn repeated(key: &str, values: &[String], problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for (index, value) in values.iter().enumerate() {
        if !seen.insert(value) {
            let message = format!("`{value}` stands here twice");
            problems.error([key.into(), index.into()], message);
        }
    }
}

/// Google's grammar of most names: `[a-z]([-a-z0-9]{0,61}[a-z0-9])?`.
pub(crate) fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes[0].is_ascii_lowercase()
        && bytes[bytes.len() - 1] != b'-'
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

/// A label's value, and its key but for the first letter: `[a-z0-9_-]{0,63}`.
pub(crate) fn is_label(text: &str) -> bool {
    text.len() <= 63
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

/// A project's id, with the domain that old ones have: `example.com:ci`.
fn is_project(text: &str) -> bool {
    let id = text.rsplit_once(':').map_or(text, |(_, id)| id);
    is_name(id)
}

/// `europe-west3-a`: a region with a number, and one letter.
fn is_zone(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [_, region, letter] = parts[..] else {
        return false;
    };
    is_name(text) && region.ends_with(|c: char| c.is_ascii_digit()) && letter.len() == 1
}

/// A name or `family/` and a name, in this project or with the path of another.
fn is_image(text: &str) -> bool {
    let name = match text.strip_prefix("projects/") {
        None => Some(text),
        Some(rest) => rest
            .split_once("/global/images/")
            .filter(|(project, _)| is_project(project))
            .map(|(_, name)| name),
    };
    name.is_some_and(|name| is_name(name.strip_prefix("family/").unwrap_or(name)))
}

#[cfg(test)]
mod tests;
