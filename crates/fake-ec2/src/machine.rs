//! One machine and its life, as a function of time.
//!
//! Nothing ticks: a machine stores when it started and when and why it ended, and its state is
//! computed for any moment. So virtual time may jump, and there is no order of updates to get wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::settings::Settings;

/// A machine's state in the service's own terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Accepted, not yet started.
    Pending,
    /// Started.
    Running,
    /// Told to end.
    ShuttingDown,
    /// Stopped from inside, keeping its volume: the default when a guest powers off.
    Stopped,
    /// Gone, shown for about an hour.
    Terminated,
}

impl State {
    /// The name in filters and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Stopped => "stopped",
            Self::Terminated => "terminated",
        }
    }

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopped => 80,
        }
    }
}

/// How a machine is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Market {
    /// At the listed price, until told to end.
    OnDemand,
    /// Cheaper, and taken back when the service wants it.
    Spot,
}

/// Why and when a machine ends.
#[derive(Debug, Clone)]
pub struct Ending {
    /// When it was told to end.
    pub at: Timestamp,
    /// `StateReason.Code`, for example `Client.UserInitiatedShutdown`.
    pub code: String,
    /// `StateReason.Message` after the code.
    pub message: String,
    /// Ends as stopped, not terminated.
    pub stops: bool,
    /// Ends without a `shutting-down` state in between, as a failed launch does.
    pub at_once: bool,
}

/// One machine as the service knows it.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names are those of the EC2 API")]
pub struct Machine {
    pub id: String,
    pub reservation: String,
    pub launch_index: u32,
    pub image: String,
    pub instance_type: String,
    pub zone: String,
    pub subnet: Option<String>,
    pub market: Market,
    pub client_token: Option<String>,
    pub tags: BTreeMap<String, String>,
    pub volume_tags: BTreeMap<String, String>,
    pub spot_tags: BTreeMap<String, String>,
    pub security_groups: Vec<String>,
    pub key_name: Option<String>,
    pub instance_profile: Option<String>,
    /// As sent: base64.
    pub user_data: Option<String>,
    /// `required` or `optional`.
    pub http_tokens: String,
    pub hop_limit: u32,
    /// What a power-off from inside does: `stop` or `terminate`.
    pub on_shutdown: String,
    pub protected: bool,
    pub launched_at: Timestamp,
    pub ending: Option<Ending>,
}

impl Machine {
    /// The true state at a moment.
    #[must_use]
    pub fn state(&self, settings: &Settings, now: Timestamp) -> State {
        match &self.ending {
            Some(ending) if now >= ending.at => {
                if ending.stops {
                    State::Stopped
                } else if ending.at_once || now >= after(ending.at, settings.shutdown) {
                    State::Terminated
                } else {
                    State::ShuttingDown
                }
            }
            _ => self.state_without_end(settings, now),
        }
    }

    fn state_without_end(&self, settings: &Settings, now: Timestamp) -> State {
        if now >= after(self.launched_at, settings.boot) {
            State::Running
        } else {
            State::Pending
        }
    }

    /// The state the service shows, which lags behind; `None` while or once it shows nothing.
    pub(crate) fn shown(&self, settings: &Settings, now: Timestamp) -> Option<State> {
        if now < after(self.launched_at, settings.appears_after) {
            return None;
        }
        let Some(ending) = &self.ending else {
            return Some(self.state(settings, now));
        };
        let terminated_at = after(ending.at, settings.shutdown);
        if !ending.stops && now >= after(terminated_at, settings.terminated_visible) {
            return None;
        }
        if now < after(ending.at, settings.ends_unseen_for) {
            return Some(self.state_without_end(settings, now));
        }
        Some(self.state(settings, now))
    }

    /// Tells the machine to end now; a machine that is already ending keeps its first reason. A stopped
    /// one can still be terminated.
    pub(crate) fn end(&mut self, ending: Ending, now: Timestamp) {
        let ended = self
            .ending
            .as_ref()
            .is_some_and(|old| !old.stops && old.at <= now);
        if !ended {
            self.ending = Some(ending);
        }
    }

    /// Whether the machine takes up capacity: until it is terminated.
    pub(crate) fn occupies(&self, settings: &Settings, now: Timestamp) -> bool {
        self.state(settings, now) != State::Terminated
    }
}

/// `at + wait`, or the end of time where that does not exist.
pub(crate) fn after(at: Timestamp, wait: Duration) -> Timestamp {
    at.checked_add(wait).unwrap_or(Timestamp::MAX)
}
