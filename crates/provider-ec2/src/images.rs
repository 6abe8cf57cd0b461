//! The newest image of a name, remembered for a while.
//!
//! A cache, not a memory: losing it costs one question. It exists because every creation would ask otherwise.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ports::ProviderErrorKind;

use crate::config::ImageName;
use crate::error::{Failure, Fate};

/// How long an answer is good for: a new image is used this soon.
const FRESH: Duration = Duration::from_secs(600);

/// One image as EC2 lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) id: String,
    /// As EC2 writes it: sorts by time.
    pub(crate) created: String,
}

/// What was found lately.
#[derive(Debug, Default)]
pub(crate) struct Images(Mutex<BTreeMap<ImageName, (Duration, String)>>);

impl Images {
    /// What was found within the last ten minutes.
    pub(crate) fn known(&self, name: &ImageName, now: Duration) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, id) = known.get(name)?;
        (now.saturating_sub(*at) < FRESH).then(|| id.clone())
    }

    /// What was found is not there any more: it is asked for again.
    pub(crate) fn forget(&self, name: &ImageName) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(name);
    }

    /// The newest of what EC2 listed; remembered.
    pub(crate) fn newest(
        &self,
        name: &ImageName,
        found: Vec<Found>,
        now: Duration,
    ) -> Result<String, Failure> {
        // of two of one moment the same one each time
        let newest = found
            .into_iter()
            .max_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
        let Some(newest) = newest else {
            let message = format!(
                "no image of {} is called `{}` and can be used: check name, owner and region",
                name.owner, name.name
            );
            let kind = ProviderErrorKind::InvalidRequest;
            return Err(Failure::new(kind, Fate::NotDone, message));
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (at, _)| now.saturating_sub(*at) < FRESH);
        known.insert(name.clone(), (now, newest.id.clone()));
        Ok(newest.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> ImageName {
        ImageName {
            name: "ci-*".to_owned(),
            owner: "self".to_owned(),
        }
    }

    fn found(id: &str, created: &str) -> Found {
        Found {
            id: id.to_owned(),
            created: created.to_owned(),
        }
    }

    #[test]
    fn the_newest_is_taken_and_remembered_for_ten_minutes() {
        let images = Images::default();
        let listed = vec![
            found("ami-2", "2026-02-01T00:00:00.000Z"),
            found("ami-3", "2026-03-01T00:00:00.000Z"),
            found("ami-1", "2026-01-01T00:00:00.000Z"),
        ];
        let now = Duration::from_secs(7);
        assert_eq!(images.newest(&name(), listed, now).unwrap(), "ami-3");
        let soon = now + FRESH - Duration::from_secs(1);
        assert_eq!(images.known(&name(), soon).as_deref(), Some("ami-3"));
        assert_eq!(images.known(&name(), now + FRESH), None);
        images.forget(&name());
        assert_eq!(images.known(&name(), soon), None);
    }

    #[test]
    fn a_name_that_fits_nothing_is_the_operators_to_mend() {
        let failure = Images::default()
            .newest(&name(), Vec::new(), Duration::ZERO)
            .unwrap_err();
        assert_eq!(failure.kind, ProviderErrorKind::InvalidRequest);
        assert!(failure.message.contains("`ci-*`"), "{}", failure.message);
    }
}
