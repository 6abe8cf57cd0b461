//! What exists in the fake account and how slowly it shows its work.
//!
//! Strict by default: an id that is not listed here does not exist. Delays are zero by default, so
//! that a test asks for exactly the lag it is about.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One machine type on offer.
#[derive(Debug, Clone)]
pub struct InstanceType {
    /// Virtual CPUs, counted against [`Settings::vcpu_limit`].
    pub vcpus: u32,
    /// Zones that do not offer the type; asking there is `Unsupported`.
    pub not_in: BTreeSet<String>,
}

/// One machine image.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its name, which need not be unique.
    pub name: String,
    /// Whose it is: `self`, `amazon`, or an account's number.
    pub owner: String,
    /// When it was made, as the service writes it.
    pub created: String,
    /// Whether machines can be made from it.
    pub available: bool,
    /// Size in GiB of a second disk of its machines that is not deleted with them, as images have it that were made
    /// without a word on that.
    pub kept_disk: Option<u32>,
}

impl Image {
    /// An image of the account's own that can be used.
    #[must_use]
    pub fn own(name: &str, created: &str) -> Self {
        Self {
            name: name.to_owned(),
            owner: "self".to_owned(),
            created: created.to_owned(),
            available: true,
            kept_disk: None,
        }
    }
}

/// What a launch template says, as far as it is modelled. What the request says itself goes first.
#[derive(Debug, Clone, Default)]
pub struct LaunchTemplate {
    /// Its name.
    pub name: String,
    /// Its newest version; versions count from one, and all say the same here.
    pub latest: u32,
    /// The image.
    pub image: Option<String>,
    /// The machine type.
    pub instance_type: Option<String>,
    /// Whether it describes network interfaces, which then must not be asked for in another way.
    pub has_interfaces: bool,
}

/// The account, its region and its delays. Every value is valid; change what a test is about.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The region; a signature for another one is refused.
    pub region: String,
    /// Zones, in the order in which a call without zone or subnet tries them.
    pub zones: Vec<String>,
    /// Subnet id to zone.
    pub subnets: BTreeMap<String, String>,
    /// Images that exist, by id.
    pub images: BTreeMap<String, Image>,
    /// Parameters of the Systems Manager that `resolve:ssm:` can name, each with the image it holds.
    pub parameters: BTreeMap<String, String>,
    /// Machine types on offer.
    pub types: BTreeMap<String, InstanceType>,
    /// Security group ids that exist.
    pub security_groups: BTreeSet<String>,
    /// Key pair names that exist.
    pub key_names: BTreeSet<String>,
    /// Instance profile names that exist.
    pub instance_profiles: BTreeSet<String>,
    /// Launch templates that exist, by id.
    pub launch_templates: BTreeMap<String, LaunchTemplate>,
    /// Access key ids that exist.
    pub access_keys: BTreeSet<String>,
    /// Actions the policy denies: `UnauthorizedOperation`.
    pub denied: BTreeSet<String>,
    /// Refuse a request whose `X-Amz-Date` is further than this from now; `None` to accept any, as
    /// virtual time must.
    pub clock_skew: Option<Duration>,
    /// What a machine prints while it boots.
    pub console: String,
    /// How long before the end of a spot machine its interruption is known.
    pub spot_notice: Duration,
    /// How long a machine stays `pending`.
    pub boot: Duration,
    /// How long a machine stays `shutting-down`.
    pub shutdown: Duration,
    /// How long a new machine is missing from every answer but that of its creation.
    pub appears_after: Duration,
    /// How long a machine that was told to end is still shown as it was before.
    pub ends_unseen_for: Duration,
    /// How long a terminated machine stays visible; about one hour in the real service.
    pub terminated_visible: Duration,
    /// Most on-demand machines at once: `InstanceLimitExceeded`.
    pub instance_limit: Option<u32>,
    /// Most on-demand virtual CPUs at once: `VcpuLimitExceeded`.
    pub vcpu_limit: Option<u32>,
    /// Most spot machines at once: `MaxSpotInstanceCountExceeded`.
    pub spot_limit: Option<u32>,
    /// Enforce the documented request and resource buckets: `RequestLimitExceeded`.
    pub throttling: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let zone = |letter: &str| format!("eu-central-1{letter}");
        let image = |id: &str, name, created| (id.to_owned(), Image::own(name, created));
        let kind = |vcpus| InstanceType {
            vcpus,
            not_in: BTreeSet::new(),
        };
        Self {
            region: "eu-central-1".to_owned(),
            zones: vec![zone("a"), zone("b"), zone("c")],
            subnets: BTreeMap::from([
                ("subnet-0000000000000000a".to_owned(), zone("a")),
                ("subnet-0000000000000000b".to_owned(), zone("b")),
                ("subnet-0000000000000000c".to_owned(), zone("c")),
            ]),
            images: BTreeMap::from([
                image(
                    "ami-00000000000000001",
                    "ci-linux-1",
                    "2026-01-05T10:00:00.000Z",
                ),
                image(
                    "ami-00000000000000002",
                    "ci-linux-2",
                    "2026-02-05T10:00:00.000Z",
                ),
            ]),
            parameters: BTreeMap::from([(
                "/ci/linux".to_owned(),
                "ami-00000000000000002".to_owned(),
            )]),
            types: BTreeMap::from([
                ("m7i.large".to_owned(), kind(2)),
                ("m7i.xlarge".to_owned(), kind(4)),
                ("c7i.2xlarge".to_owned(), kind(8)),
            ]),
            security_groups: set(&["sg-00000000000000001", "sg-00000000000000002"]),
            key_names: set(&["ci"]),
            instance_profiles: set(&["ci-builder"]),
            launch_templates: BTreeMap::from([(
                "lt-00000000000000001".to_owned(),
                LaunchTemplate {
                    name: "ci".to_owned(),
                    latest: 3,
                    image: Some("ami-00000000000000001".to_owned()),
                    instance_type: Some("m7i.large".to_owned()),
                    has_interfaces: false,
                },
            )]),
            access_keys: set(&["AKIAFAKEFAKEFAKEFAKE"]),
            denied: BTreeSet::new(),
            clock_skew: None,
            console: "[    0.000000] Linux version 6.1\n".to_owned(),
            // the interruption notice comes two minutes ahead
            spot_notice: Duration::from_secs(120),
            boot: Duration::ZERO,
            shutdown: Duration::ZERO,
            appears_after: Duration::ZERO,
            ends_unseen_for: Duration::ZERO,
            // "about one hour"; long enough that a caller has to cope with machines that are no more
            terminated_visible: Duration::from_secs(3600),
            instance_limit: None,
            vcpu_limit: None,
            spot_limit: None,
            throttling: false,
        }
    }
}
