//! DescribeImages: by name, state and owner.

use crate::ec2::Ec2;
use crate::filter;
use crate::form::Form;
use crate::settings::Image;
use crate::wire::{Outcome, Refusal};
use crate::xml::{Node, list, text};

/// Executes one DescribeImages call.
pub(crate) fn images(ec2: &Ec2, form: &Form) -> Outcome<Vec<Node>> {
    form.only(&[
        "Action",
        "Version",
        "DryRun",
        "Filter",
        "ImageId",
        "IncludeDeprecated",
        "MaxResults",
        "NextToken",
        "Owner",
    ])?;
    let owners = form.list("Owner");
    if let Some(odd) = owners.iter().find(|owner| !is_owner(owner)) {
        return Err(Refusal::bad(
            "InvalidUserID.Malformed",
            format!("Invalid user id: \"{odd}\""),
        ));
    }
    let ids = form.list("ImageId");
    if let Some(missing) = ids.iter().find(|id| !ec2.settings.images.contains_key(*id)) {
        let message = format!("The image id '[{missing}]' does not exist");
        return Err(Refusal::bad("InvalidAMIID.NotFound", message));
    }
    let filters = filter::plain(form)?;
    let mut found = Vec::new();
    for (id, image) in &ec2.settings.images {
        let mut passes = (ids.is_empty() || ids.contains(id))
            && (owners.is_empty() || owners.contains(&image.owner));
        for filter in &filters {
            passes &= match filter.name.as_str() {
                "name" => filter.passes(&image.name),
                "state" => filter.passes(state(image)),
                "image-id" => filter.passes(id),
                _ => return Err(filter.invalid()),
            };
        }
        if passes {
            found.push(vec![
                text("imageId", id),
                text("name", &image.name),
                text("imageState", state(image)),
                text("creationDate", &image.created),
                text("imageOwnerAlias", &image.owner),
            ]);
        }
    }
    Ok(vec![list("imagesSet", found)])
}

fn state(image: &Image) -> &'static str {
    if image.available {
        "available"
    } else {
        "pending"
    }
}

/// `self`, an alias that the service knows, or the twelve digits of an account.
fn is_owner(owner: &str) -> bool {
    ["self", "amazon", "aws-marketplace", "aws-backup-vault"].contains(&owner)
        || (owner.len() == 12 && owner.bytes().all(|byte| byte.is_ascii_digit()))
}
