//! The keys of an EC2 account and of an EC2 offer, and what can be wrong with them.
//!
//! Checked without a network: an id that is well formed and does not exist is found by the first call, and
//! reported as [`InvalidRequest`](ports::ProviderErrorKind::InvalidRequest).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::MarketKind;
use ports::SecretRef;
use ports::strict::{Problems, Step};
use ports::units::Span;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::convert::{MAX_PLACEMENTS, OWN_TAGS};

/// One AWS account in one region.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The region, such as `eu-central-1`. One provider per region; offers name the provider.
    pub region: String,
    /// Who to be; the default chain of the AWS SDK (environment, profile, web identity, instance role) if
    /// absent.
    #[serde(default)]
    pub credentials: Option<Credentials>,
    /// Another endpoint than the region's own: a private one, or an emulator in a test.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// How long a listing may lag behind the answers of this account; 2m if absent.
    #[serde(default)]
    pub listing_lag: Option<Span>,
}

/// Who to be at AWS.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Credentials {
    /// A named profile of the AWS configuration files.
    Profile(String),
    /// Keys, by reference.
    Keys(Keys),
}

/// Access keys by reference, read anew as they rotate.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// The access key id.
    pub id: SecretRef,
    /// The secret access key.
    pub secret: SecretRef,
    /// The session token of temporary keys.
    #[serde(default)]
    pub session: Option<SecretRef>,
}

/// One way to get a machine from EC2.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// The image: an AMI id of this region.
    pub image: String,
    /// Machine types in order of preference. A type without capacity gives way to the next.
    pub types: Vec<String>,
    /// How the machine is bought.
    #[serde(default)]
    pub market: MarketKind,
    /// Subnets to launch in, which imply their zones. With neither subnets nor zones EC2 chooses a zone of the
    /// default network.
    #[serde(default)]
    pub subnets: Vec<String>,
    /// Zones to launch in, in the default network.
    #[serde(default)]
    pub zones: Vec<String>,
    /// Security group ids.
    #[serde(default)]
    pub security_groups: Vec<String>,
    /// Name of the instance profile, if builds need AWS rights of their own.
    #[serde(default)]
    pub instance_profile: Option<String>,
    /// Name of the key pair for logging in.
    #[serde(default)]
    pub key_name: Option<String>,
    /// Whether the machine gets a public address; what the subnet says, if absent.
    #[serde(default)]
    pub public_address: Option<bool>,
    /// The root volume; what the image says, if absent.
    #[serde(default)]
    pub volume: Option<Volume>,
    /// More tags for machines and volumes, for the bill.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// The root volume; always deleted with its machine.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Its device name in the image, such as `/dev/xvda`; another name adds a second, unused volume.
    pub device: String,
    /// Size in GiB.
    pub size_gib: u32,
    /// Volume type, such as `gp3`.
    #[serde(default = "gp3", rename = "type")]
    pub kind: String,
    /// Encrypted with the account's default key.
    #[serde(default)]
    pub encrypted: bool,
}

fn gp3() -> String {
    "gp3".to_owned()
}

impl Config {
    /// Finds what is wrong beyond the types.
    pub(crate) fn check(&self, problems: &mut Problems) {
        // a dash and a digit keep out zones (`eu-central-1a`) and names of the console ("Frankfurt")
        let parts: Vec<&str> = self.region.split('-').collect();
        let region = parts.len() >= 3
            && parts
                .last()
                .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
            && self
                .region
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !region {
            let message = format!(
                "`{}` is not an AWS region such as eu-central-1",
                self.region
            );
            problems.error(["region".into()], message);
        }
        let web = |url: &&String| !url.starts_with("https://") && !url.starts_with("http://");
        if let Some(url) = self.endpoint.as_ref().filter(web) {
            problems.error(
                ["endpoint".into()],
                format!("`{url}` is not an http or https URL"),
            );
        }
        // a listing that lags more than this makes created machines look like never made
        let least = Duration::from_secs(10);
        if let Some(lag) = self.listing_lag.filter(|lag| lag.0 < least) {
            let seconds = lag.0.as_secs();
            let message = format!(
                "EC2 may need longer than {seconds}s to list a new machine; a lag that is too short lets a machine be \
                 created twice"
            );
            problems.warning(["listing_lag".into()], message);
        }
        if let Some(Credentials::Keys(keys)) = &self.credentials {
            let given = [
                ("id", Some(&keys.id)),
                ("secret", Some(&keys.secret)),
                ("session", keys.session.as_ref()),
            ];
            for (key, _) in given
                .iter()
                .skip(1)
                .filter(|(_, secret)| secret.is_some_and(SecretRef::is_literal))
            {
                let message =
                    "a secret stands in the file; write ${env:NAME} or ${file:/path} instead";
                problems.warning(
                    ["credentials".into(), "keys".into(), (*key).into()],
                    message,
                );
            }
        }
    }
}

impl Offer {
    /// Finds what is wrong beyond the types.
    pub(crate) fn check(&self, config: &Config, problems: &mut Problems) {
        if !well_formed(&self.image, "ami-") {
            let message = format!(
                "`{}` is not an AMI id such as ami-0123456789abcdef0",
                self.image
            );
            problems.error(["image".into()], message);
        }
        self.check_types(problems);
        self.check_places(config, problems);
        check_ids("security_groups", &self.security_groups, "sg-", problems);
        self.check_tags(problems);
        if let Some(volume) = &self.volume {
            if volume.size_gib == 0 {
                problems.error(
                    ["volume".into(), "size_gib".into()],
                    "a volume of 0 GiB cannot be made",
                );
            }
            if !volume.device.starts_with("/dev/") && !volume.device.starts_with("xvd") {
                let message = format!("`{}` is not a device name such as /dev/xvda", volume.device);
                problems.error(["volume".into(), "device".into()], message);
            }
        }
    }

    fn check_types(&self, problems: &mut Problems) {
        if self.types.is_empty() {
            problems.error(
                ["types".into()],
                "name at least one machine type, such as m7i.xlarge",
            );
        }
        for (index, name) in self.types.iter().enumerate() {
            let halves = name.split_once('.');
            if !halves.is_some_and(|(family, size)| !family.is_empty() && !size.is_empty()) {
                let message = format!("`{name}` is not a machine type such as m7i.xlarge");
                problems.error(["types".into(), index.into()], message);
            }
        }
        repeated("types", &self.types, problems);
        let places = self.subnets.len().max(self.zones.len()).max(1);
        let tried = self.types.len().saturating_mul(places);
        if tried > MAX_PLACEMENTS {
            let message = format!(
                "{tried} combinations of type and place; one creation tries the first {MAX_PLACEMENTS} of them. Split \
                 them over several offers"
            );
            problems.warning(["types".into()], message);
        }
    }

    fn check_places(&self, config: &Config, problems: &mut Problems) {
        if !self.subnets.is_empty() && !self.zones.is_empty() {
            let message = "a subnet implies its zone: name subnets or zones, not both";
            problems.error(["zones".into()], message);
        }
        check_ids("subnets", &self.subnets, "subnet-", problems);
        repeated("zones", &self.zones, problems);
        for (index, zone) in self.zones.iter().enumerate() {
            if zone.len() <= config.region.len() || !zone.starts_with(&config.region) {
                let message = format!("`{zone}` is not a zone of {}", config.region);
                problems.error(["zones".into(), index.into()], message);
            }
        }
    }

    fn check_tags(&self, problems: &mut Problems) {
        // EC2 allows 50 tags per resource; ours come on top of these
        if self.tags.len() > 50 - OWN_TAGS {
            let message = format!(
                "at most {} tags, as EC2 allows 50 and Parmanu sets its own",
                50 - OWN_TAGS
            );
            problems.error(["tags".into()], message);
        }
        for (key, value) in &self.tags {
            let path = || [Step::from("tags"), Step::from(key.as_str())];
            if key.starts_with("aws:") || key.starts_with("parmanu:") || key == "Name" {
                problems.error(path(), format!("the tag `{key}` is not free to be chosen"));
            }
            // readable from inside the machine, which allows neither blanks nor slashes in keys
            let odd = |c: char| c.is_whitespace() || c == '/';
            if key.is_empty() || key.chars().count() > 128 || key.contains(odd) {
                let message = "a tag key has 1 to 128 characters, neither blanks nor slashes";
                problems.error(path(), message);
            }
            if value.chars().count() > 256 {
                problems.error(path(), "a tag value has at most 256 characters");
            }
        }
    }
}

fn check_ids(key: &str, ids: &[String], prefix: &str, problems: &mut Problems) {
    for (index, id) in ids.iter().enumerate() {
        if !well_formed(id, prefix) {
            let message = format!("`{id}` is not an id such as {prefix}0123456789abcdef0");
            problems.error([key.into(), index.into()], message);
        }
    }
    repeated(key, ids, problems);
}

fn repeated(key: &str, values: &[String], problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for (index, value) in values.iter().enumerate() {
        if !seen.insert(value) {
            problems.error(
                [key.into(), index.into()],
                format!("`{value}` stands here twice"),
            );
        }
    }
}

/// A prefix followed by 8 or 17 hexadecimal digits, as all EC2 ids are.
fn well_formed(id: &str, prefix: &str) -> bool {
    id.strip_prefix(prefix).is_some_and(|rest| {
        (rest.len() == 8 || rest.len() == 17) && rest.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use ports::strict;
    use serde_json::{Value, json};

    use super::*;

    fn account(value: &Value) -> Vec<String> {
        let mut problems = Problems::default();
        if let Some(config) = strict::read::<Config>(value, &mut problems) {
            config.check(&mut problems);
        }
        words(&problems)
    }

    fn offer(value: &Value) -> Vec<String> {
        let config: Config = serde_json::from_value(json!({"region": "eu-central-1"})).unwrap();
        let mut problems = Problems::default();
        if let Some(offer) = strict::read::<Offer>(value, &mut problems) {
            offer.check(&config, &mut problems);
        }
        words(&problems)
    }

    fn words(problems: &Problems) -> Vec<String> {
        let path = |steps: &[Step]| {
            let steps = steps.iter().map(|step| match step {
                Step::Key(key) => key.clone(),
                Step::Index(index) => index.to_string(),
            });
            steps.collect::<Vec<_>>().join(".")
        };
        problems
            .0
            .iter()
            .map(|p| format!("{}: {}", path(&p.path), p.message))
            .collect()
    }

    #[test]
    fn good_accounts_have_no_problem() {
        for good in [
            json!({"region": "ap-south-1"}),
            json!({"region": "us-gov-west-1", "credentials": {"profile": "ci"}}),
            json!({"region": "eu-central-1", "listing_lag": "1m", "endpoint": "http://127.0.0.1:1",
                   "credentials": {"keys": {"id": "AKIA", "secret": "${env:SECRET}"}}}),
        ] {
            assert_eq!(account(&good), Vec::<String>::new(), "{good}");
        }
    }

    #[test]
    fn bad_accounts_are_told_where() {
        for (bad, path) in [
            (json!({"region": "eu-central-1a"}), "region: "),
            (json!({"region": "Frankfurt"}), "region: "),
            (
                json!({"region": "eu-central-1", "endpoint": "localhost"}),
                "endpoint: ",
            ),
            (
                json!({"region": "eu-central-1", "listing_lag": "1s"}),
                "listing_lag: ",
            ),
            (
                json!({"region": "eu-central-1", "regoin": "x"}),
                "regoin: unknown key",
            ),
            (
                json!({"region": "eu-central-1", "credentials": {"keys": {"id": "a", "secret": "hunter2"}}}),
                "credentials.keys.secret: ",
            ),
        ] {
            let found = account(&bad);
            assert_eq!(found.len(), 1, "{bad}: {found:?}");
            assert!(found[0].starts_with(path), "{found:?}");
            assert!(!found[0].contains("hunter2"), "a secret in a message");
        }
    }

    #[test]
    fn a_good_offer_has_no_problem() {
        let good = json!({
            "image": "ami-0123456789abcdef0", "types": ["m7i.xlarge", "m6i.xlarge"], "market": "spot",
            "subnets": ["subnet-0123456789abcdef0"], "security_groups": ["sg-12345678"],
            "volume": {"device": "/dev/xvda", "size_gib": 100}, "tags": {"cost-centre": "ci"},
        });
        assert_eq!(offer(&good), Vec::<String>::new());
    }

    #[test]
    fn bad_offers_are_told_where() {
        let with = |key: &str, value: Value| {
            let mut base = json!({"image": "ami-0123456789abcdef0", "types": ["m7i.xlarge"]});
            base[key] = value;
            base
        };
        for (bad, path) in [
            (with("image", json!("debian")), "image: "),
            (with("types", json!([])), "types: "),
            (with("types", json!(["large"])), "types.0: "),
            (with("types", json!(["a.b", "a.b"])), "types.1: "),
            (with("market", json!("auction")), "market: "),
            (with("zones", json!(["us-east-1a"])), "zones.0: "),
            (with("zones", json!(["eu-central-1"])), "zones.0: "),
            (with("subnets", json!(["vpc-12345678"])), "subnets.0: "),
            (
                with("security_groups", json!(["default"])),
                "security_groups.0: ",
            ),
            (
                with("tags", json!({"parmanu:fleet": "x"})),
                "tags.parmanu:fleet: ",
            ),
            (with("tags", json!({"a b": "x"})), "tags.a b: "),
            (
                with("volume", json!({"device": "/dev/xvda", "size_gib": 0})),
                "volume.size_gib: ",
            ),
            (
                with("volume", json!({"device": "root", "size_gib": 9})),
                "volume.device: ",
            ),
            (with("price", json!(1)), "price: unknown key"),
        ] {
            let found = offer(&bad);
            assert_eq!(found.len(), 1, "{bad}: {found:?}");
            assert!(found[0].starts_with(path), "{found:?} {path}");
        }
        let both = json!({"image": "ami-12345678", "types": ["a.b"], "zones": ["eu-central-1a"],
                          "subnets": ["subnet-12345678"]});
        assert!(offer(&both)[0].starts_with("zones: a subnet implies its zone"));
    }
}
