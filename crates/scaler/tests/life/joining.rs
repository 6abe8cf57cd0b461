//! How machines join the CI server, and what follows from it for how they leave.

use fake_server::Request;
use serde_json::json;

use crate::ci::TOKEN;
use crate::world::FLEET;

/// How machines join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Join {
    /// As an executor that was registered for each, and that is cordoned before it leaves.
    Registered,
    /// By themselves (`credential: shared`): what never joined has no executor that could be cordoned.
    ByThemselves,
    /// By themselves, at a CI server that may only be read: their guests are asked to leave.
    AskGuest,
    /// The same, and what a look shows idle is deleted.
    BestEffort,
}

impl Join {
    /// Whether executors may be controlled.
    pub(crate) fn is_controlled(self) -> bool {
        matches!(self, Join::Registered | Join::ByThemselves)
    }

    /// What the machine's description says.
    pub(crate) fn machine(self) -> &'static str {
        match self {
            Join::Registered => "bootstrap: boot.j2",
            _ => "bootstrap: boot-by-itself.j2, credential: shared",
        }
    }

    /// What the pool says.
    pub(crate) fn scale_in(self) -> &'static str {
        match self {
            Join::Registered | Join::ByThemselves => "",
            Join::AskGuest => ", scale_in: ask-guest",
            Join::BestEffort => ", scale_in: best-effort",
        }
    }
}

/// How a runner registers itself from its image, by a token that all machines know, under its machine's name and with the
/// fleet's mark (docs/machines.md).
pub(crate) fn gitlab_runner(name: &str) -> Request {
    let body = json!({
        "runner_type": "instance_type", "description": name, "run_untagged": false,
        "tag_list": format!("linux,parmanu-fleet:{FLEET}"),
    });
    let headers = [
        ("content-type", "application/json"),
        ("private-token", TOKEN),
    ];
    Request {
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        body: body.to_string().into_bytes(),
        ..Request::new("POST", "/api/v4/user/runners")
    }
}

/// The mark on a node that made itself, and on an agent that somebody let in.
pub(crate) fn mark() -> String {
    format!("parmanu-fleet={FLEET}")
}
