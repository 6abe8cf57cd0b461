//! RunInstances: what is asked for, checked in form and against what exists.
//!
//! Pure reading. Tokens, quotas and capacity are `run`'s business.

use std::collections::BTreeMap;

use base64::Engine;

use crate::form::Form;
use crate::machine::Market;
use crate::settings::{LaunchTemplate, Settings};
use crate::tags;
use crate::wire::{Outcome, Refusal};

/// Every parameter a RunInstances call may carry here.
const KNOWN: &[&str] = &[
    "Action",
    "Version",
    "BlockDeviceMapping",
    "ClientToken",
    "CreditSpecification",
    "DisableApiTermination",
    "DryRun",
    "EbsOptimized",
    "IamInstanceProfile",
    "ImageId",
    "InstanceInitiatedShutdownBehavior",
    "InstanceMarketOptions",
    "InstanceType",
    "KeyName",
    "LaunchTemplate",
    "MaxCount",
    "MetadataOptions",
    "MinCount",
    "Monitoring",
    "NetworkInterface",
    "Placement",
    "SecurityGroupId",
    "SubnetId",
    "TagSpecification",
    "UserData",
];

/// User data before base64 (RunInstances reference: 16 KB).
const USER_DATA_MAX: usize = 16 * 1024;

/// One checked launch.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) token: Option<String>,
    pub(crate) zone: Option<String>,
    pub(crate) subnet: Option<String>,
    pub(crate) image: String,
    pub(crate) instance_type: String,
    pub(crate) market: Market,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) volume_tags: BTreeMap<String, String>,
    pub(crate) spot_tags: BTreeMap<String, String>,
    pub(crate) security_groups: Vec<String>,
    pub(crate) key_name: Option<String>,
    pub(crate) instance_profile: Option<String>,
    pub(crate) user_data: Option<String>,
    pub(crate) http_tokens: String,
    pub(crate) hop_limit: u32,
    pub(crate) on_shutdown: String,
    pub(crate) protected: bool,
    pub(crate) dry_run: bool,
}

/// Reads and checks the parameters.
pub(crate) fn read(form: &Form, settings: &Settings) -> Outcome<Launch> {
    form.only(KNOWN)?;
    let (min, max) = counts(form)?;
    let template = template(form, settings)?;
    let (zone, subnet) = place(form, settings)?;
    let tagged = tags::at_launch(form)?;
    let metadata = form.group("MetadataOptions");
    let on_shutdown = form
        .get("InstanceInitiatedShutdownBehavior")
        .unwrap_or("stop");
    if !["stop", "terminate"].contains(&on_shutdown) {
        return Err(Refusal::value(
            on_shutdown,
            "InstanceInitiatedShutdownBehavior",
        ));
    }
    let launch = Launch {
        min,
        max,
        token: token(form)?,
        image: image(form, settings, template)?,
        instance_type: instance_type(form, settings, zone.as_deref(), template)?,
        zone,
        subnet,
        market: market(form)?,
        tags: tagged.instance,
        volume_tags: tagged.volume,
        spot_tags: tagged.spot,
        security_groups: security_groups(form, settings, template)?,
        key_name: key_name(form, settings)?,
        instance_profile: instance_profile(form, settings)?,
        user_data: user_data(form)?,
        http_tokens: metadata.get("HttpTokens").unwrap_or("optional").to_owned(),
        hop_limit: metadata.number("HttpPutResponseHopLimit")?.unwrap_or(1),
        on_shutdown: on_shutdown.to_owned(),
        protected: form.flag("DisableApiTermination")?,
        dry_run: form.flag("DryRun")?,
    };
    if launch.market == Market::Spot && launch.protected {
        let message = "Termination protection is not supported for Spot Instances.";
        return Err(Refusal::bad("InvalidParameterCombination", message));
    }
    Ok(launch)
}

fn counts(form: &Form) -> Outcome<(u32, u32)> {
    form.need("MinCount")?;
    form.need("MaxCount")?;
    let min = form.number("MinCount")?.unwrap_or_default();
    let max = form.number("MaxCount")?.unwrap_or_default();
    if min == 0 || min > max {
        return Err(Refusal::value(&min.to_string(), "MinCount"));
    }
    Ok((min, max))
}

fn template<'a>(form: &Form, settings: &'a Settings) -> Outcome<Option<&'a LaunchTemplate>> {
    let given = form.group("LaunchTemplate");
    let (id, name) = (
        given.get("LaunchTemplateId"),
        given.get("LaunchTemplateName"),
    );
    let template = match (id, name) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            let message = "Either the launch template ID or its name is to be given, not both.";
            return Err(Refusal::bad("InvalidParameterCombination", message));
        }
        (Some(id), None) => settings.launch_templates.get(id).ok_or_else(|| {
            let message =
                format!("The specified launch template, with template ID {id}, does not exist.");
            Refusal::bad("InvalidLaunchTemplateId.NotFound", message)
        })?,
        (None, Some(name)) => {
            let mut templates = settings.launch_templates.values();
            templates
                .find(|template| template.name == name)
                .ok_or_else(|| {
                    let message = format!("The launch template {name} does not exist.");
                    Refusal::bad("InvalidLaunchTemplateName.NotFoundException", message)
                })?
        }
    };
    version(&given, template)?;
    Ok(Some(template))
}

fn version(given: &Form, template: &LaunchTemplate) -> Outcome<()> {
    let version = given.get("Version").unwrap_or("$Default");
    if ["$Default", "$Latest"].contains(&version) {
        return Ok(());
    }
    let exists = |number: u32| (1..=template.latest).contains(&number);
    if version.parse().is_ok_and(exists) {
        return Ok(());
    }
    let message = format!("Could not find launch template version '{version}'.");
    Err(Refusal::bad(
        "InvalidLaunchTemplateId.VersionNotFound",
        message,
    ))
}

fn image(form: &Form, settings: &Settings, template: Option<&LaunchTemplate>) -> Outcome<String> {
    let from_template = template.and_then(|template| template.image.as_deref());
    let Some(id) = form.get("ImageId").or(from_template) else {
        let message = "The request must contain the parameter ImageId";
        return Err(Refusal::bad("MissingParameter", message));
    };
    if let Some(name) = id.strip_prefix("resolve:ssm:") {
        return settings.parameters.get(name).cloned().ok_or_else(|| {
            let message = format!("Invalid Systems Manager parameter: {name}");
            Refusal::bad("InvalidParameterValue", message)
        });
    }
    if !well_formed(id, "ami-") {
        return Err(Refusal::bad(
            "InvalidAMIID.Malformed",
            format!("Invalid id: \"{id}\""),
        ));
    }
    if !settings.images.get(id).is_some_and(|image| image.available) {
        let message = format!("The image id '[{id}]' does not exist");
        return Err(Refusal::bad("InvalidAMIID.NotFound", message));
    }
    Ok(id.to_owned())
}

fn instance_type(
    form: &Form,
    settings: &Settings,
    zone: Option<&str>,
    template: Option<&LaunchTemplate>,
) -> Outcome<String> {
    let from_template = template.and_then(|template| template.instance_type.as_deref());
    let name = match form.get("InstanceType").or(from_template) {
        Some(name) => name,
        None => form.need("InstanceType")?,
    };
    let Some(kind) = settings.types.get(name) else {
        let message = format!("Invalid value '{name}' for InstanceType.");
        return Err(Refusal::bad("InvalidParameterValue", message));
    };
    if let Some(zone) = zone.filter(|&zone| kind.not_in.contains(zone)) {
        let message = format!(
            "Your requested instance type ({name}) is not supported in your requested Availability Zone ({zone})."
        );
        return Err(Refusal::bad("Unsupported", message));
    }
    Ok(name.to_owned())
}

/// Zone and subnet. A subnet may stand at the top or in the first network interface, and implies
/// its zone.
fn place(form: &Form, settings: &Settings) -> Outcome<(Option<String>, Option<String>)> {
    let zone = form.get("Placement.AvailabilityZone");
    if let Some(zone) = zone.filter(|&zone| !settings.zones.iter().any(|known| known == zone)) {
        let message = format!("Invalid availability zone: [{zone}]");
        return Err(Refusal::bad("InvalidParameterValue", message));
    }
    let interfaces = form.groups("NetworkInterface");
    let inner = interfaces
        .first()
        .and_then(|interface| interface.get("SubnetId"));
    let Some(subnet) = form.get("SubnetId").or(inner) else {
        return Ok((zone.map(str::to_owned), None));
    };
    let Some(home) = settings.subnets.get(subnet) else {
        let message = format!("The subnet ID '{subnet}' does not exist");
        return Err(Refusal::bad("InvalidSubnetID.NotFound", message));
    };
    if zone.is_some_and(|zone| zone != home) {
        let message = format!("The subnet {subnet} is not in the requested availability zone");
        return Err(Refusal::bad("InvalidParameterValue", message));
    }
    Ok((Some(home.clone()), Some(subnet.to_owned())))
}

fn security_groups(
    form: &Form,
    settings: &Settings,
    template: Option<&LaunchTemplate>,
) -> Outcome<Vec<String>> {
    let mut groups = form.list("SecurityGroupId");
    let interfaces = form.groups("NetworkInterface");
    let top = form.get("SubnetId").is_some() || !groups.is_empty();
    let in_template = template.is_some_and(|template| template.has_interfaces);
    if top && (in_template || !interfaces.is_empty()) {
        let message = "Network interfaces and an instance-level subnet ID or security groups may not \
                       be specified on the same request";
        return Err(Refusal::bad("InvalidParameterCombination", message));
    }
    groups.extend(
        interfaces
            .iter()
            .flat_map(|interface| interface.list("SecurityGroupId")),
    );
    for group in &groups {
        if !settings.security_groups.contains(group) {
            let message = format!("The security group '{group}' does not exist");
            return Err(Refusal::bad("InvalidGroup.NotFound", message));
        }
    }
    Ok(groups)
}

fn key_name(form: &Form, settings: &Settings) -> Outcome<Option<String>> {
    let Some(name) = form.get("KeyName") else {
        return Ok(None);
    };
    if !settings.key_names.contains(name) {
        let message = format!("The key pair '{name}' does not exist");
        return Err(Refusal::bad("InvalidKeyPair.NotFound", message));
    }
    Ok(Some(name.to_owned()))
}

fn instance_profile(form: &Form, settings: &Settings) -> Outcome<Option<String>> {
    let profile = form.group("IamInstanceProfile");
    let arn = profile.get("Arn").and_then(|arn| arn.rsplit('/').next());
    let Some(name) = profile.get("Name").or(arn) else {
        return Ok(None);
    };
    if !settings.instance_profiles.contains(name) {
        let message = format!("Invalid IAM Instance Profile name ({name})");
        return Err(Refusal::bad("InvalidParameterValue", message));
    }
    Ok(Some(name.to_owned()))
}

fn user_data(form: &Form) -> Outcome<Option<String>> {
    let Some(encoded) = form.get("UserData") else {
        return Ok(None);
    };
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .map_err(|_| {
            Refusal::bad(
                "InvalidUserData.Malformed",
                "Invalid BASE64 encoding of user data.",
            )
        })?;
    if decoded.len() > USER_DATA_MAX {
        let message = format!("User data is limited to {USER_DATA_MAX} bytes");
        return Err(Refusal::bad("InvalidParameterValue", message));
    }
    Ok(Some(encoded.to_owned()))
}

fn market(form: &Form) -> Outcome<Market> {
    let options = form.group("InstanceMarketOptions");
    match options.get("MarketType") {
        None => Ok(Market::OnDemand),
        Some("spot") => Ok(Market::Spot),
        Some(other) => Err(Refusal::value(other, "MarketType")),
    }
}

fn token(form: &Form) -> Outcome<Option<String>> {
    let Some(token) = form.get("ClientToken") else {
        return Ok(None);
    };
    if token.len() > 64 || !token.is_ascii() {
        let message = "Client token must be at most 64 ASCII characters";
        return Err(Refusal::bad("InvalidParameterValue", message));
    }
    Ok(Some(token.to_owned()))
}

/// A prefix followed by 8 or 17 hexadecimal digits.
pub(crate) fn well_formed(id: &str, prefix: &str) -> bool {
    id.strip_prefix(prefix).is_some_and(|rest| {
        (rest.len() == 8 || rest.len() == 17) && rest.bytes().all(|b| b.is_ascii_hexdigit())
    })
}
