//! The words of one RunInstances call.
//!
//! Everything a machine of ours always is, wherever it runs, is said here: tagged in the call that makes it, hard to
//! rob, and gone when it powers off.

use std::collections::BTreeMap;

use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::types as sdk;
use model::MarketKind;

use crate::config::{LaunchTemplate, Offer};
use crate::convert::{Place, Placement};

/// One launch.
pub(crate) struct Launch<'a> {
    pub(crate) offer: &'a Offer,
    pub(crate) placement: Placement<'a>,
    /// The image; none if the launch template has it.
    pub(crate) image: Option<&'a str>,
    pub(crate) count: u32,
    pub(crate) token: String,
    pub(crate) tags: BTreeMap<String, String>,
    /// In base64, none if empty.
    pub(crate) user_data: Option<String>,
}

/// Fills in a RunInstances call.
pub(crate) fn request(
    request: RunInstancesFluentBuilder,
    launch: Launch<'_>,
) -> RunInstancesFluentBuilder {
    let offer = launch.offer;
    let count = i32::try_from(launch.count).unwrap_or(i32::MAX);
    let spot = offer.market == MarketKind::Spot;
    let mut request = request
        .client_token(launch.token)
        // one at least: what there is room for is made and answered, the rest is the caller's to place
        .min_count(1)
        .max_count(count)
        .set_image_id(launch.image.map(str::to_owned))
        .set_launch_template(offer.launch_template.as_ref().map(template))
        .instance_type(sdk::InstanceType::from(launch.placement.instance_type))
        // a machine that powers itself off is gone, and not a stopped one that nobody pays attention to
        .instance_initiated_shutdown_behavior(sdk::ShutdownBehavior::Terminate)
        .metadata_options(metadata())
        .set_key_name(offer.key_name.clone())
        .set_user_data(launch.user_data)
        .set_tag_specifications(Some(tag_specifications(&launch.tags, spot)))
        .set_block_device_mappings(root_volume(offer));
    if let Some(name) = &offer.instance_profile {
        let profile = sdk::IamInstanceProfileSpecification::builder().name(name);
        request = request.iam_instance_profile(profile.build());
    }
    if spot {
        request = request.instance_market_options(spot_options());
    }
    if let Place::Zone(zone) = launch.placement.place {
        request = request.placement(sdk::Placement::builder().availability_zone(zone).build());
    }
    network(request, offer, launch.placement.place)
}

fn template(template: &LaunchTemplate) -> sdk::LaunchTemplateSpecification {
    let builder = sdk::LaunchTemplateSpecification::builder();
    let builder = if template.is_id() {
        builder.launch_template_id(&template.template)
    } else {
        builder.launch_template_name(&template.template)
    };
    builder.set_version(template.version.clone()).build()
}

/// Subnet, security groups and public address. The address can only be asked for on a network interface, and
/// then the other two have to stand there too.
fn network(
    request: RunInstancesFluentBuilder,
    offer: &Offer,
    place: Place<'_>,
) -> RunInstancesFluentBuilder {
    let subnet = match place {
        Place::Subnet(id) => Some(id.to_owned()),
        Place::Zone(_) | Place::Anywhere => None,
    };
    let groups = (!offer.security_groups.is_empty()).then(|| offer.security_groups.clone());
    match offer.public_address {
        None => request.set_subnet_id(subnet).set_security_group_ids(groups),
        Some(public) => request.network_interfaces(
            sdk::InstanceNetworkInterfaceSpecification::builder()
                .device_index(0)
                .delete_on_termination(true)
                .associate_public_ip_address(public)
                .set_subnet_id(subnet)
                .set_groups(groups)
                .build(),
        ),
    }
}

/// IMDSv2 only, one hop: a build in a container cannot read the machine's credentials by a mere GET. Tags are
/// readable from inside, so that a guest learns its batch and its expiry without AWS rights.
fn metadata() -> sdk::InstanceMetadataOptionsRequest {
    sdk::InstanceMetadataOptionsRequest::builder()
        .http_tokens(sdk::HttpTokensState::Required)
        .http_put_response_hop_limit(1)
        .http_endpoint(sdk::InstanceMetadataEndpointState::Enabled)
        .instance_metadata_tags(sdk::InstanceMetadataTagsState::Enabled)
        .build()
}

fn spot_options() -> sdk::InstanceMarketOptionsRequest {
    let spot = sdk::SpotMarketOptions::builder()
        .spot_instance_type(sdk::SpotInstanceType::OneTime)
        .instance_interruption_behavior(sdk::InstanceInterruptionBehavior::Terminate);
    sdk::InstanceMarketOptionsRequest::builder()
        .market_type(sdk::MarketType::Spot)
        .spot_options(spot.build())
        .build()
}

/// Tags in the very call that creates: a machine without them would be nobody's, and cost for ever.
fn tag_specifications(tags: &BTreeMap<String, String>, spot: bool) -> Vec<sdk::TagSpecification> {
    let tags: Vec<sdk::Tag> = tags
        .iter()
        .map(|(key, value)| sdk::Tag::builder().key(key).value(value).build())
        .collect();
    let mut kinds = vec![sdk::ResourceType::Instance, sdk::ResourceType::Volume];
    if spot {
        kinds.push(sdk::ResourceType::SpotInstancesRequest);
    }
    kinds
        .into_iter()
        .map(|kind| {
            sdk::TagSpecification::builder()
                .resource_type(kind)
                .set_tags(Some(tags.clone()))
                .build()
        })
        .collect()
}

fn root_volume(offer: &Offer) -> Option<Vec<sdk::BlockDeviceMapping>> {
    let volume = offer.volume.as_ref()?;
    let ebs = sdk::EbsBlockDevice::builder()
        .volume_size(i32::try_from(volume.size_gib).unwrap_or(i32::MAX))
        .volume_type(sdk::VolumeType::from(volume.kind.as_str()))
        // absent, not false: an account that encrypts by default refuses an explicit "no"
        .set_encrypted(volume.encrypted.then_some(true))
        .delete_on_termination(true)
        .build();
    Some(vec![
        sdk::BlockDeviceMapping::builder()
            .device_name(&volume.device)
            .ebs(ebs)
            .build(),
    ])
}
