//! Disks that outlived their machines: their image or launch template says `DeleteOnTermination: false`.
//!
//! They carry the tags of the call that launched their machine, so they are found by the fleet's. They are told of and
//! never deleted: whoever made the image may have wanted to keep them.

use std::time::Duration;

use aws_sdk_ec2::types as sdk;
use jiff::Timestamp;
use model::FleetId;
use ports::{Leftover, MAX_LEFTOVERS};

use crate::convert::{by_tag, tag};
use crate::error::Failure;
use crate::provider::Account;

/// Longest time for the whole look.
const LOOK_LIMIT: Duration = Duration::from_secs(60);

/// A volume as EC2 lists it.
pub(crate) struct Disk {
    pub(crate) id: String,
    size_gib: Option<i32>,
    zone: String,
    batch: Option<String>,
    created_at: Option<Timestamp>,
}

/// Reads one volume; none without an id.
pub(crate) fn disk(volume: &sdk::Volume) -> Option<Disk> {
    let tags = volume.tags().iter();
    let mut batches = tags.filter(|found| found.key() == Some(tag::BATCH));
    let created_at = volume.create_time();
    Some(Disk {
        id: volume.volume_id()?.to_owned(),
        size_gib: volume.size(),
        zone: volume.availability_zone().unwrap_or_default().to_owned(),
        batch: batches
            .next()
            .and_then(|found| found.value())
            .map(str::to_owned),
        created_at: created_at.and_then(|at| Timestamp::from_second(at.secs()).ok()),
    })
}

impl Account {
    /// The disks of the fleet that no machine holds.
    pub(crate) async fn disks_left(&self, fleet: &FleetId) -> Result<Vec<Leftover>, Failure> {
        let of_fleet = by_tag(tag::FLEET);
        let wanted = [
            (of_fleet.as_str(), &[fleet.as_str()][..]),
            ("status", &["available"]),
        ];
        let until = self.clock.boottime().saturating_add(LOOK_LIMIT);
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let left = until.saturating_sub(self.clock.boottime());
            let page = self.client.disks(&wanted, token, left).await?;
            found.extend(page.rows);
            token = page.next;
            if token.is_none() || found.len() >= MAX_LEFTOVERS {
                break;
            }
        }
        found.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        found.truncate(MAX_LEFTOVERS);
        let region = self.client.region();
        Ok(found
            .into_iter()
            .map(|disk| leftover(disk, region))
            .collect())
    }
}

fn leftover(disk: Disk, region: &str) -> Leftover {
    let Disk {
        id,
        size_gib,
        zone,
        batch,
        created_at,
    } = disk;
    let size = size_gib.map_or("a disk".to_owned(), |size| format!("a disk of {size} GiB"));
    let batch = batch.map_or_else(String::new, |batch| format!(", of a machine of {batch}"));
    Leftover {
        what: format!("{size} in {zone}{batch}"),
        remove: format!("aws ec2 delete-volume --region {region} --volume-id {id}"),
        id,
        created_at,
    }
}
