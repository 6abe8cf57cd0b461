//! The keys of an EC2 account and of an EC2 offer, and what can be wrong with them.
//!
//! Checked without a network: an id that is well formed and does not exist is found by the first call, and
//! reported as [`InvalidRequest`](ports::ProviderErrorKind::InvalidRequest).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
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
    /// Another endpoint of the Security Token Service, which roles are assumed at.
    #[serde(default)]
    pub sts_endpoint: Option<String>,
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
    /// A role, for whoever the default chain (environment, profile, web identity, instance role) says we are, or for
    /// these keys.
    AssumeRole(AssumeRole),
    /// A role, for a token in a file, as Kubernetes and CI services issue them.
    WebIdentity(WebIdentity),
}

/// A role of this account or of another, assumed for an hour at a time.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssumeRole {
    /// The role's ARN.
    pub role: String,
    /// The external id that the role's trust policy asks for, if any.
    #[serde(default)]
    pub external_id: Option<SecretRef>,
    /// Who assumes it, if not whoever the default chain says we are.
    #[serde(default)]
    pub keys: Option<Keys>,
}

/// A role for a token in a file, which is read anew each time the role is assumed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebIdentity {
    /// The role's ARN.
    pub role: String,
    /// The file with the token.
    pub token_file: PathBuf,
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
    /// The image: an AMI id of this region, or `resolve:ssm:` and the name of a parameter that holds one, which EC2 looks
    /// up itself at each launch. May be left to `newest_image` or to the launch template.
    #[serde(default)]
    pub image: Option<String>,
    /// The newest image of a name, looked up again every ten minutes.
    #[serde(default)]
    pub newest_image: Option<ImageName>,
    /// A launch template, for what stands in no key here. What is said here goes first.
    #[serde(default)]
    pub launch_template: Option<LaunchTemplate>,
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

/// Images by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageName {
    /// The name; `*` stands for any text, `?` for one character.
    pub name: String,
    /// Whose images: `self`, `amazon`, or the number of an account. Without an owner anybody's image of that name would
    /// do, so there is no default.
    pub owner: String,
}

/// A launch template.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LaunchTemplate {
    /// Its id, such as `lt-0123456789abcdef0`, or its name.
    pub template: String,
    /// The version, `$Latest` or `$Default`; the default one if absent.
    #[serde(default)]
    pub version: Option<String>,
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

/// How EC2 is told that the image stands in a parameter of the Systems Manager.
const SSM: &str = "resolve:ssm:";

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
        let endpoints = [
            ("endpoint", &self.endpoint),
            ("sts_endpoint", &self.sts_endpoint),
        ];
        for (key, endpoint) in endpoints {
            if let Some(url) = endpoint.as_ref().filter(web) {
                problems.error([key.into()], format!("`{url}` is not an http or https URL"));
            }
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
        match &self.credentials {
            Some(Credentials::Keys(keys)) => keys.check(&["credentials", "keys"], problems),
            Some(Credentials::AssumeRole(role)) => role.check(problems),
            Some(Credentials::WebIdentity(role)) => check_arn(&role.role, "web_identity", problems),
            Some(Credentials::Profile(_)) | None => {}
        }
    }
}

impl Keys {
    fn check(&self, at: &[&str], problems: &mut Problems) {
        let secrets = [
            ("secret", Some(&self.secret)),
            ("session", self.session.as_ref()),
        ];
        for (key, secret) in secrets {
            if secret.is_some_and(SecretRef::is_literal) {
                let path = at.iter().copied().chain([key]).map(Step::from);
                problems.warning(path, LITERAL);
            }
        }
    }
}

impl AssumeRole {
    fn check(&self, problems: &mut Problems) {
        check_arn(&self.role, "assume_role", problems);
        if let Some(keys) = &self.keys {
            keys.check(&["credentials", "assume_role", "keys"], problems);
        }
    }
}

const LITERAL: &str = "a secret stands in the file; write ${env:NAME} or ${file:/path} instead";

fn check_arn(role: &str, key: &str, problems: &mut Problems) {
    let parts: Vec<&str> = role.splitn(6, ':').collect();
    let named =
        matches!(parts.as_slice(), ["arn", _, "iam", _, _, name] if name.starts_with("role/"));
    if !named {
        let message =
            format!("`{role}` is not a role such as arn:aws:iam::123456789012:role/parmanu");
        problems.error(["credentials".into(), key.into(), "role".into()], message);
    }
}

impl Offer {
    /// Finds what is wrong beyond the types.
    pub(crate) fn check(&self, config: &Config, problems: &mut Problems) {
        self.check_image(problems);
        if let Some(template) = &self.launch_template {
            template.check(problems);
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

    fn check_image(&self, problems: &mut Problems) {
        match (&self.image, &self.newest_image) {
            (None, None) if self.launch_template.is_none() => {
                let message = "name an image, a `newest_image`, or a launch template that has one";
                problems.error(["image".into()], message);
            }
            (Some(_), Some(_)) => {
                let message = "name an image or the newest of a name, not both";
                problems.error(["newest_image".into()], message);
            }
            (_, Some(newest)) => newest.check(problems),
            (Some(id), None) => {
                let parameter = id.strip_prefix(SSM).is_some_and(|name| !name.is_empty());
                if !parameter && !well_formed(id, "ami-") {
                    let message = format!(
                        "`{id}` is neither an AMI id such as ami-0123456789abcdef0 nor resolve:ssm: and the name of a \
                         parameter; an image by its name is written `newest_image: {{ name: {id}, owner: self }}`"
                    );
                    problems.error(["image".into()], message);
                }
            }
            (None, None) => {}
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

impl ImageName {
    fn check(&self, problems: &mut Problems) {
        if self.name.is_empty() {
            problems.error(
                ["newest_image".into(), "name".into()],
                "an empty name fits no image",
            );
        }
        let number = self.owner.len() == 12 && self.owner.bytes().all(|byte| byte.is_ascii_digit());
        if !number && !["self", "amazon", "aws-marketplace"].contains(&self.owner.as_str()) {
            let message = format!(
                "`{}` is no owner of images: `self`, `amazon`, or the twelve digits of an account",
                self.owner
            );
            problems.error(["newest_image".into(), "owner".into()], message);
        }
    }
}

impl LaunchTemplate {
    /// Whether it is named by its id.
    #[cfg(feature = "sdk")]
    pub(crate) fn is_id(&self) -> bool {
        well_formed(&self.template, "lt-")
    }

    fn check(&self, problems: &mut Problems) {
        if self.template.is_empty() {
            let path = ["launch_template".into(), "template".into()];
            problems.error(path, "name the launch template, or give its id");
        }
        let Some(version) = &self.version else {
            return;
        };
        let known = ["$Latest", "$Default"].contains(&version.as_str());
        if !known && version.parse::<u32>().is_err() {
            let path = ["launch_template".into(), "version".into()];
            let message = format!("`{version}` is neither a number nor $Latest or $Default");
            problems.error(path, message);
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
            json!({"region": "eu-central-1", "credentials": {"assume_role":
                   {"role": "arn:aws:iam::123456789012:role/ci/parmanu", "external_id": "${env:EXTERNAL_ID}"}}}),
            json!({"region": "eu-central-1", "credentials": {"web_identity":
                   {"role": "arn:aws:iam::123456789012:role/parmanu", "token_file": "/var/run/token"}}}),
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
                json!({"region": "eu-central-1", "credentials": {"assume_role": {"role": "parmanu"}}}),
                "credentials.assume_role.role: ",
            ),
            (
                json!({"region": "eu-central-1", "credentials": {"assume_role": {
                    "role": "arn:aws:iam::123456789012:role/parmanu", "keys": {"id": "a", "secret": "hunter2"}}}}),
                "credentials.assume_role.keys.secret: ",
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
    fn an_image_may_be_named_in_four_ways() {
        for good in [
            json!({"image": "ami-0123456789abcdef0"}),
            json!({"image": "resolve:ssm:/ci/linux"}),
            json!({"newest_image": {"name": "ci-linux-*", "owner": "123456789012"}}),
            json!({"launch_template": {"template": "ci", "version": "$Latest"}}),
            json!({"launch_template": {"template": "lt-0123456789abcdef0"}, "image": "ami-12345678"}),
        ] {
            let mut good = good;
            good["types"] = json!(["m7i.xlarge"]);
            assert_eq!(offer(&good), Vec::<String>::new(), "{good}");
        }
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
            (with("image", json!("resolve:ssm:")), "image: "),
            (with("image", json!(null)), "image: "),
            (
                with("newest_image", json!({"name": "ci-*", "owner": "self"})),
                "newest_image: ",
            ),
            (
                json!({"newest_image": {"name": "ci-*", "owner": "me"}, "types": ["a.b"]}),
                "newest_image.owner: ",
            ),
            (
                with(
                    "launch_template",
                    json!({"template": "ci", "version": "newest"}),
                ),
                "launch_template.version: ",
            ),
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
