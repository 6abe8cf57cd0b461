//! What a look costs.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use model::SnapshotCost;

/// Requests and bytes of one look, counted by whoever shares it.
#[derive(Debug, Default)]
pub struct Meter {
    requests: AtomicU32,
    bytes: AtomicU64,
}

impl Meter {
    /// What was counted so far. Bytes are those of unpacked bodies: they are what memory and time are spent on.
    pub fn cost(&self) -> SnapshotCost {
        SnapshotCost {
            requests: self.requests.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn bytes(&self, read: usize) {
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
    }
}
