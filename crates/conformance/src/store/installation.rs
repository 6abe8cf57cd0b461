//! The id of the installation that the store belongs to.

use model::InstallationId;

use super::StoreHarness;

async fn proposed(harness: &dyn StoreHarness, id: &str) -> String {
    let kept = harness.store().installation(&InstallationId::new(id)).await;
    kept.expect("the store keeps an id").to_string()
}

/// Without it two replicas of one installation take each other for strangers.
pub async fn the_first_id_that_is_proposed_is_kept(harness: &dyn StoreHarness) {
    assert_eq!(proposed(harness, "1795531234-one").await, "1795531234-one");
    assert_eq!(proposed(harness, "1795531235-two").await, "1795531234-one");
    assert_eq!(proposed(harness, "1795531234-one").await, "1795531234-one");
}

/// Without it a copy of a store that was emptied on purpose would pass for the one it was copied from.
pub async fn a_wipe_makes_room_for_another_id(harness: &dyn StoreHarness) {
    proposed(harness, "1795531234-one").await;
    harness.wipe().await;
    assert_eq!(proposed(harness, "1795531235-two").await, "1795531235-two");
}
