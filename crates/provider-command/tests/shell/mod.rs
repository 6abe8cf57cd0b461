//! A line of shell as a provider, in virtual time, and what is left of its processes.
//!
//! A limit of a minute is over when the test says so, which it does once it has seen the process. Every process that a program
//! starts carries a mark in its environment, by which what is left is found.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use model::{Listing, Timestamp};
use ports::{Call, Clock, Outcome, Provider, ProviderError};
use serde_json::{Value, json};

use crate::world::{self, batch, fleet, until};

/// The variable that marks processes.
pub(crate) const MARK: &str = "PARMANU_TEST_MARK";
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
/// Time that stands still until a test moves it.
pub(crate) struct Virtual(tokio::sync::watch::Sender<Duration>);

#[async_trait]
impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
    fn boottime(&self) -> Duration {
        *self.0.borrow()
    }
    async fn sleep(&self, duration: Duration) {
        let until = self.boottime() + duration;
        let mut time = self.0.subscribe();
        let _ = time.wait_for(|now| *now >= until).await;
    }
}

/// A line of shell as a provider, and the mark of its processes.
pub(crate) struct Shell {
    pub(crate) clock: Arc<Virtual>,
    pub(crate) provider: Arc<dyn Provider>,
    mark: String,
}

impl Shell {
    pub(crate) fn new(script: &str) -> Self {
        Self::of(json!({ "program": ["sh", "-c", script] }))
    }

    pub(crate) fn of(mut config: Value) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let mark = format!("{}-{number}", std::process::id());
        config["env"][MARK] = json!(mark);
        let clock = Arc::new(Virtual(tokio::sync::watch::Sender::new(Duration::ZERO)));
        Self {
            provider: world::provider(&config, clock.clone()),
            clock,
            mark,
        }
    }

    pub(crate) fn call(&self) -> Call {
        Call::within(self.clock.clone(), 10 * MINUTE)
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.clock.0.send_modify(|now| *now += time);
    }

    pub(crate) async fn list(&self) -> Result<Listing, ProviderError> {
        self.provider.list(&fleet("acme")).await
    }

    /// Creates one machine with a boot script that no pipe holds.
    pub(crate) async fn create(&self, call: &Call) -> Outcome<model::Instance> {
        let mut batch = batch(1, 1, &json!({}));
        batch.user_data.0 = "#".repeat(1 << 20);
        let outcomes = self.provider.create(&batch, call).await;
        outcomes.into_iter().next().expect("one outcome")
    }

    /// The processes that carry the mark.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let wanted = format!("{MARK}={}", self.mark).into_bytes();
        let carries = |id: &i32| {
            let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|one| one == wanted)
        };
        numbers().filter(carries).collect()
    }

    pub(crate) async fn runs(&self) {
        until("the program", async || {
            (!self.processes().is_empty()).then_some(())
        })
        .await;
    }

    /// Nothing of it is left, not even a child of ours that nobody buried.
    pub(crate) async fn nothing_is_left(&self) {
        until("the end of all it started", async || {
            (self.processes().is_empty() && unburied().is_empty()).then_some(())
        })
        .await;
    }

    /// The result of `asked`, while a minute at a time passes once the program runs.
    pub(crate) async fn as_time_passes<T>(&self, asked: impl Future<Output = T>) -> T {
        let pass = async {
            self.runs().await;
            loop {
                self.pass(MINUTE);
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            value = asked => value,
            () = pass => unreachable!("it has no end"),
        }
    }
}

fn numbers() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Children of this process that have ended and were not buried.
fn unburied() -> Vec<i32> {
    let ours = format!("Z {}", std::process::id());
    let is_ours = |id: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        rest.starts_with(&ours) && rest[ours.len()..].starts_with(' ')
    };
    numbers().filter(is_ours).collect()
}
