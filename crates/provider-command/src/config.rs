//! The keys of a program and of an offer, and what can be wrong with them.
//!
//! Checked without starting anything: a configuration is often checked on another machine than the one that has the
//! program. One that is not there is said by the first listing.

use std::collections::BTreeMap;
use std::time::Duration;

use model::MarketKind;
use ports::SecretRef;
use ports::strict::Problems;
use ports::units::Span;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::wire::Verb;

/// A program that lists, creates and deletes machines.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The program and its arguments: a full path, or a name that is found in the PATH. No shell stands in between.
    pub program: Vec<String>,
    /// More of its environment, such as addresses and credentials; the values may be secrets by reference. Of Parmanu's own
    /// environment it gets PATH, HOME, LANG, LC_ALL, TZ and TMPDIR, and nothing else.
    #[serde(default)]
    pub env: BTreeMap<String, SecretRef>,
    /// How long it may take, by verb; then it is ended, with all that it started.
    #[serde(default)]
    pub timeout: Timeouts,
    /// How many of its runs may change something at once; 4 if absent. Looking is never kept waiting by them.
    #[serde(default)]
    pub parallel: Option<u32>,
    /// Machines that one run may be asked to create or delete; 8 if absent.
    #[serde(default)]
    pub batch_limit: Option<u32>,
    /// How long a listing may lag behind what was done; 1m if absent. Too short makes machines twice.
    #[serde(default)]
    pub listing_lag: Option<Span>,
    /// The shortest time a machine is billed for; 0s if absent.
    #[serde(default)]
    pub least_billed: Option<Span>,
}

/// How long the program may take, by verb.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// 25s if absent. After 30s the scaler gives a listing up in any case.
    #[serde(default)]
    pub list: Option<Span>,
    /// 55s if absent. After 60s the scaler gives a creation up in any case.
    #[serde(default)]
    pub create: Option<Span>,
    /// 55s if absent. After 60s the scaler gives a deletion up in any case.
    #[serde(default)]
    pub delete: Option<Span>,
    /// 15s if absent. After 20s the scaler gives a round of renewals up in any case.
    #[serde(default)]
    pub renew: Option<Span>,
    /// 15s if absent.
    #[serde(default)]
    pub console: Option<Span>,
}

/// The scaler waits no longer for one creation or deletion.
const SCALER_WAITS: Duration = Duration::from_secs(60);
/// The scaler waits no longer for one listing.
const SCALER_LISTS: Duration = Duration::from_secs(30);
/// Below this a program that was asked in time is cut off before it could say what it knows.
const CHANGE: Span = Span::seconds(55);
/// Sooner than the scaler gives a listing up, so that what the program said last is not lost.
const LOOK: Span = Span::seconds(25);
/// Nobody waits long for what is done beside: the scaler gives a round of renewals up soon after this, and the machine that
/// a console belongs to is about to go.
const ASIDE: Span = Span::seconds(15);
/// A program says what it can do at once, or has something wrong with it.
const DESCRIBE: Duration = Duration::from_secs(10);

impl Timeouts {
    /// How long a run for this verb may take.
    pub(crate) fn of(&self, verb: Verb) -> Duration {
        match verb {
            Verb::List => self.list.unwrap_or(LOOK).0,
            Verb::Create => self.create.unwrap_or(CHANGE).0,
            Verb::Delete => self.delete.unwrap_or(CHANGE).0,
            Verb::Renew => self.renew.unwrap_or(ASIDE).0,
            Verb::Console => self.console.unwrap_or(ASIDE).0,
            Verb::Describe => DESCRIBE,
        }
    }

    fn check(&self, problems: &mut Problems) {
        for (key, span) in [
            ("list", self.list),
            ("create", self.create),
            ("delete", self.delete),
            ("renew", self.renew),
            ("console", self.console),
        ] {
            let Some(Span(time)) = span else { continue };
            let path = ["timeout".into(), key.into()];
            if time < Duration::from_secs(1) {
                problems.error(path, "give it a second at least");
            } else if time > SCALER_WAITS && matches!(key, "create" | "delete") {
                let message = "the scaler waits a minute for it and then ends it: write 60s or less, and let the \
                               program answer before the machine has booted";
                problems.warning(path, message);
            } else if time > SCALER_LISTS && key == "list" {
                let message = "the scaler waits half a minute for a listing and then ends the program, and without a \
                               listing nothing is created or deleted: write 30s or less";
                problems.warning(path, message);
            }
        }
    }
}

/// More processes than this at once are a mistake, not a wish.
const MOST_PARALLEL: u32 = 64;
/// More machines than this in one run would be cut off by any time-out there may be.
const LARGEST_BATCH: u32 = 1000;
/// What is likely to be a secret in the name of a variable.
const SECRETIVE: [&str; 5] = ["PASSWORD", "SECRET", "TOKEN", "CREDENTIAL", "PRIVATE"];

impl Config {
    /// Finds what is wrong beyond the types.
    pub(crate) fn check(&self, problems: &mut Problems) {
        match self.program.first() {
            None => problems.error(["program".into()], "name the program"),
            Some(program) if program.is_empty() => {
                problems.error(["program".into(), 0.into()], "name the program");
            }
            Some(program) if program.contains('/') && !program.starts_with('/') => {
                let message = format!(
                    "`{program}` depends on where Parmanu was started: write the full path, or a name in the PATH"
                );
                problems.error(["program".into(), 0.into()], message);
            }
            Some(_) => {}
        }
        for (name, value) in &self.env {
            let path = ["env".into(), name.as_str().into()];
            if name.is_empty() || name.contains(['=', '\0']) {
                problems.error(path, "that is not the name of a variable");
            } else if value.is_literal() && is_secretive(name) {
                let message =
                    "a secret stands in the file; write ${env:NAME} or ${file:/path} instead";
                problems.warning(path, message);
            }
        }
        for (key, value, most) in [
            ("parallel", self.parallel, MOST_PARALLEL),
            ("batch_limit", self.batch_limit, LARGEST_BATCH),
        ] {
            if value.is_some_and(|value| value == 0 || value > most) {
                problems.error([key.into()], format!("write a number from 1 to {most}"));
            }
        }
        self.timeout.check(problems);
    }
}

fn is_secretive(name: &str) -> bool {
    let name = name.to_uppercase();
    SECRETIVE.iter().any(|word| name.contains(word))
}

/// One way to get a machine from the program.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// Handed to the program as it stands; what may stand in it is in the program's own documentation.
    pub spec: Map<String, Value>,
    /// `on-demand` if absent; also handed to the program.
    #[serde(default)]
    pub market: MarketKind,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(config: &Value) -> Vec<String> {
        let mut problems = Problems::default();
        if let Some(config) = ports::strict::read::<Config>(config, &mut problems) {
            config.check(&mut problems);
        }
        problems.0.into_iter().map(|found| found.message).collect()
    }

    #[test]
    fn good_accounts_have_no_problem() {
        for config in [
            json!({ "program": ["/etc/parmanu/command/virsh.py"] }),
            json!({ "program": ["dc2-vm", "--site", "north"], "parallel": 1 }),
            json!({
                "program": ["govc.py"],
                "env": { "GOVC_URL": "vcenter.example.com", "GOVC_PASSWORD": "${file:/run/secrets/vcenter}" },
                "timeout": { "create": "60s", "list": "30s" },
            }),
        ] {
            assert_eq!(found(&config), [""; 0], "{config}");
        }
    }

    #[test]
    fn each_mistake_of_an_account_is_named() {
        for (config, words) in [
            (json!({ "program": [] }), "name the program"),
            (json!({ "program": [""] }), "name the program"),
            (json!({ "program": ["./dc2-vm"] }), "full path"),
            (json!({ "program": "virsh" }), "expected a sequence"),
            (json!({ "program": ["p"], "parallel": 0 }), "from 1 to 64"),
            (json!({ "program": ["p"], "batch_limit": 0 }), "from 1 to"),
            (
                json!({ "program": ["p"], "env": { "A=B": "x" } }),
                "not the name",
            ),
            (
                json!({ "program": ["p"], "env": { "GOVC_PASSWORD": "not-a-secret" } }),
                "a secret stands in the file",
            ),
            (
                json!({ "program": ["p"], "timeout": { "list": "0s" } }),
                "a second at least",
            ),
            (
                json!({ "program": ["p"], "timeout": { "create": "5m" } }),
                "60s or less",
            ),
            (
                json!({ "program": ["p"], "timeout": { "list": "2m" } }),
                "30s or less",
            ),
            (json!({ "program": ["p"], "progam": 1 }), "unknown key"),
        ] {
            let found = found(&config).join("\n");
            assert!(found.contains(words), "{config} gives {found}");
        }
    }

    #[test]
    fn an_offer_is_an_object_for_the_program() {
        let read = |value: &Value| {
            let mut problems = Problems::default();
            ports::strict::read::<Offer>(value, &mut problems);
            let messages = problems.0.into_iter().map(|found| found.message);
            messages.collect::<Vec<_>>().join("\n")
        };
        assert_eq!(read(&json!({ "spec": {}, "market": "spot" })), "");
        assert!(read(&json!({ "spec": "large" })).contains("expected a map"));
        assert!(read(&json!({ "image": "debian" })).contains("unknown key"));
    }
}
