//! A loop that panics is begun again: one bug of a plugin, met once, must not leave a CI server or a cloud unseen until somebody
//! starts the service again.
//!
//! Not a way to live with a bug: each time it is said at the level `error`, what the loop watches is not ready, and the pause
//! before the next try grows.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;

/// The first pause.
const FIRST: Duration = Duration::from_secs(5);
/// The longest pause; a loop that ran for longer has got over it.
const LONGEST: Duration = Duration::from_secs(300);

/// Runs a loop to its end.
///
/// What it holds by reference may be in the middle of a change when it panics: it must be whole after each step, as anything is
/// that a future may be dropped over.
///
/// # Errors
///
/// The words of its panic.
pub async fn caught<T>(run: impl Future<Output = T>) -> Result<T, String> {
    let ended = AssertUnwindSafe(run).catch_unwind().await;
    ended.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        text.unwrap_or_else(|| "a panic without words".to_owned())
    })
}

/// How long to wait before a loop that broke is begun again.
#[derive(Debug, Default)]
pub struct Pauses(Option<Duration>);

impl Pauses {
    /// The pause after a run of this length.
    pub fn after(&mut self, ran: Duration) -> Duration {
        let before = self.0.filter(|_| ran < LONGEST);
        let pause = before.map_or(FIRST, |before| LONGEST.min(before * 2));
        self.0 = Some(pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_begin_anew_after_a_long_run() {
        let mut pauses = Pauses::default();
        let took: Vec<u64> = (0..8)
            .map(|_| pauses.after(Duration::ZERO).as_secs())
            .collect();
        assert_eq!(took, [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(pauses.after(LONGEST), FIRST);
    }
}
