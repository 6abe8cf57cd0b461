//! What the world sees of a cloud: its machines and what their boot scripts say.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use fake_ec2::{Ec2, Machine, Settings, State};
use jiff::Timestamp;
use model::InstanceName;
use provider_fake::FakeCloud;

/// A machine that exists, as far as who plays it asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guest {
    pub(crate) name: InstanceName,
    /// It has booted.
    pub(crate) running: bool,
    /// Its boot script.
    pub(crate) user_data: String,
}

/// The cloud from within.
pub(crate) trait Cloud: Send + Sync {
    /// All machines that exist now.
    fn guests(&self, now: Timestamp) -> Vec<Guest>;
    /// For every machine there ever was, how long it cost money until now.
    fn ever(&self, now: Timestamp) -> Vec<Duration>;
    /// How long a machine boots.
    fn boot(&self) -> Duration;
}

impl Cloud for FakeCloud {
    fn guests(&self, _: Timestamp) -> Vec<Guest> {
        let guest = |machine: provider_fake::FakeMachine| Guest {
            running: machine.instance.state == model::InstanceState::Running,
            name: machine.instance.name,
            user_data: machine.user_data.0,
        };
        self.machines().into_iter().map(guest).collect()
    }

    fn ever(&self, _: Timestamp) -> Vec<Duration> {
        FakeCloud::ever(self)
            .into_iter()
            .map(|(_, time)| time)
            .collect()
    }

    fn boot(&self) -> Duration {
        super::BOOT
    }
}

/// The account behind its API; the settings are those it was made with.
pub(super) struct Region {
    pub(super) ec2: std::sync::Arc<Mutex<Ec2>>,
    pub(super) settings: Settings,
}

impl Region {
    fn of<T>(&self, pick: impl Fn(&Machine) -> Option<T>) -> Vec<T> {
        let ec2 = self.ec2.lock().unwrap_or_else(PoisonError::into_inner);
        ec2.instances().filter_map(pick).collect()
    }
}

impl Cloud for Region {
    fn guests(&self, now: Timestamp) -> Vec<Guest> {
        self.of(|machine| {
            let running = match machine.state(&self.settings, now) {
                State::Pending => false,
                State::Running => true,
                // what is told to end runs nothing any more
                State::ShuttingDown | State::Stopped | State::Terminated => return None,
            };
            Some(Guest {
                name: machine.tags.get("Name")?.parse().ok()?,
                running,
                user_data: text(machine.user_data.as_deref().unwrap_or_default()),
            })
        })
    }

    fn ever(&self, now: Timestamp) -> Vec<Duration> {
        self.of(|machine| {
            let end = machine.ending.as_ref().map_or(now, |ending| ending.at);
            Some(model::age(machine.launched_at, end.min(now)))
        })
    }

    fn boot(&self) -> Duration {
        self.settings.boot
    }
}

/// User data as a guest reads it; none where it is not text.
fn text(base64: &str) -> String {
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64);
    let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.unwrap_or_default()
}
