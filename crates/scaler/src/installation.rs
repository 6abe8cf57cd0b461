//! Which installation this is: what all replicas with one store have in common, and nobody with another.
//!
//! Its id is random and stands in the store. One made from the store's address would be the same for two compose files that
//! both say `redis:6379`. Who finds none puts one there, so that a store that was wiped has another id; what was signed
//! with the earlier one is older than the new one, and no sign of anybody ([`engine::Signature::since`]). The id is asked for
//! again before it is written on machines, since it may have changed meanwhile.
//!
//! Nothing here decides what a sign of another installation means.

use std::sync::{Arc, Mutex, PoisonError};

use engine::Signature;
use jiff::Timestamp;
use model::{HolderId, InstallationId};
use ports::{Clock, Store};
use sha2::{Digest, Sha256};
use telemetry::chain;
use tracing::debug;

/// The installation, as far as its store has told.
pub(crate) struct Installation {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    holder: HolderId,
    known: Mutex<Option<Signature>>,
}

impl Installation {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, holder: HolderId) -> Self {
        Installation {
            store,
            clock,
            holder,
            known: Mutex::default(),
        }
    }

    /// What the store said last.
    pub(crate) fn known(&self) -> Option<Signature> {
        // replaced as a whole, so a panic of another thread left nothing half done
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the store says now; while it is away, what it said last.
    pub(crate) async fn ask(&self) -> Option<Signature> {
        match self.store.installation(&self.proposed()).await {
            Ok(id) => {
                let signature = Some(signature(&id));
                *self.known.lock().unwrap_or_else(PoisonError::into_inner) = signature;
            }
            // whoever reads the store for more than this says that it is away
            Err(error) => debug!(error = %chain(&error), "the installation's id was not read"),
        }
        self.known()
    }

    /// An id that nobody else proposes: a process has its own name, and says this at this moment once.
    fn proposed(&self) -> InstallationId {
        let now = self.clock.now();
        let digest = Sha256::digest(format!("{} {}", self.holder, now.as_nanosecond()));
        let random: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
        InstallationId::new(format!("{}-{random}", now.as_second()))
    }
}

/// The signature that belongs to an id, which begins with the second in which it was made.
fn signature(id: &InstallationId) -> Signature {
    let second = id.as_str().split('-').next().and_then(|it| it.parse().ok());
    let since = second.and_then(|second| Timestamp::from_second(second).ok());
    let digest = Sha256::digest(id.as_str().as_bytes());
    let number = digest
        .iter()
        .take(4)
        .fold(0, |sum, byte| sum << 8 | i64::from(*byte));
    let (high, low) = (number / 999 % 1000, number % 999 + 1);
    Signature {
        since: since.unwrap_or(Timestamp::MIN),
        micros: i32::try_from(high * 1000 + low).unwrap_or(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_a_fraction_of_a_second_whose_last_digits_are_not_zero() {
        let mut all = std::collections::BTreeSet::new();
        for number in 0..1000 {
            let id = InstallationId::new(format!("1795531234-{number:016x}"));
            let Signature { since, micros } = signature(&id);
            assert_eq!(since.as_second(), 1_795_531_234);
            assert!(
                (1..1_000_000).contains(&micros) && micros % 1000 != 0,
                "{micros}"
            );
            all.insert(micros);
        }
        assert!(all.len() > 990, "{}", all.len());
    }
}
