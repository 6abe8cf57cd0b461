//! The contract with a program, version 1: what is written to its standard input and read from its standard output.
//!
//! The JSON Schema of these types is checked in as `schema/v1.json`. Fields may be added within a version, so both sides ignore
//! what they do not know; a field that changes its meaning makes a new version.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::MarketKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The version of the contract.
pub(crate) const VERSION: u64 = 1;

/// What a program can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Describe,
    List,
    Create,
    Delete,
    Renew,
    Console,
}

impl Verb {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Verb::Describe => "describe",
            Verb::List => "list",
            Verb::Create => "create",
            Verb::Delete => "delete",
            Verb::Renew => "renew",
            Verb::Console => "console",
        }
    }
}

/// One request: the only thing on standard input.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Request {
    /// The version of the contract, 1.
    pub(crate) version: u64,
    /// How long the reply is waited for. Then the program is ended, with all that it started.
    pub(crate) seconds: u64,
    #[serde(flatten)]
    pub(crate) ask: Ask,
}

/// What is asked for. Never printed: a boot script may carry a credential.
#[derive(Clone, Serialize, JsonSchema)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub(crate) enum Ask {
    /// Which verbs are known. Answered by a `DescribeReply`.
    Describe {},
    /// All machines whose tag `parmanu-fleet` is this fleet, in any state. Answered by a `ListReply`.
    List {
        /// The fleet.
        fleet: String,
    },
    /// Creates machines. The same names again create nothing new: what is there already is `done`. Answered by a
    /// `ChangeReply` with each machine that was made or found.
    Create(Creation),
    /// Deletes machines. One that is gone already is `done`; one that does not carry this fleet's tag is left alone.
    /// Answered by a `ChangeReply`.
    Delete {
        /// The fleet.
        fleet: String,
        /// The machines as they were listed.
        machines: Vec<Target>,
    },
    /// Sets the tag `parmanu-expires` of machines. Optional. Answered by a `ChangeReply`.
    Renew {
        /// The fleet.
        fleet: String,
        /// The machines as they were listed.
        machines: Vec<Target>,
        /// Until when they are wanted: the new value of the tag.
        until: String,
    },
    /// What a machine printed while it booted. Optional. Answered by a `ConsoleReply`.
    Console {
        /// The fleet.
        fleet: String,
        /// The machine as it was listed.
        machine: Target,
    },
}

/// The machines to be created.
#[derive(Clone, Serialize, JsonSchema)]
pub(crate) struct Creation {
    /// The fleet.
    pub(crate) fleet: String,
    /// The names of the machines: lowercase letters, digits and hyphens, fit for a host name, never used before.
    pub(crate) names: Vec<String>,
    /// The offer's `spec` as it stands in the configuration.
    pub(crate) spec: Map<String, Value>,
    /// The offer's market.
    pub(crate) market: MarketKind,
    /// To be kept on each machine, in the same step that makes it, and given back as it is.
    pub(crate) tags: BTreeMap<String, String>,
    /// The boot script, for cloud-init or its like. It may carry a credential: to be handed on and never printed.
    pub(crate) user_data: String,
    /// Counts the earlier attempts at these names of which it is known that they failed.
    pub(crate) attempt: u32,
    /// The same for the same names and the same attempt, and no other: for an API with idempotency tokens. 64 hexadecimal
    /// digits.
    pub(crate) token: String,
}

/// A machine to be deleted, renewed or looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: String,
    /// The program's own id of it.
    pub(crate) id: String,
    /// Where it runs, in the program's own words.
    pub(crate) scope: String,
    /// Its state when it was listed. What was listed as `stopped` and runs now may have a job: leave it alone.
    pub(crate) state: String,
}

/// One machine.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct Machine {
    /// The name it was created with.
    pub(crate) name: String,
    /// The program's own id of it; never used for another machine.
    pub(crate) id: String,
    /// Where it runs, such as a host or a zone; the provider's name if absent.
    #[serde(default)]
    pub(crate) scope: Option<String>,
    /// `pending`, `running`, `stopping`, `stopped` or `gone`. Any other word is a state that Parmanu does not know: such a
    /// machine is counted and never acted on.
    pub(crate) state: String,
    /// When it was created (RFC 3339).
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(crate) created_at: Option<Timestamp>,
    /// The tags it was created with.
    pub(crate) tags: BTreeMap<String, String>,
    /// That it is going to be taken back soon, in words.
    #[serde(default)]
    pub(crate) notice: Option<String>,
    /// Why it is `gone`, where that is known.
    #[serde(default)]
    pub(crate) why: Option<String>,
}

/// The reply to `list`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ListReply {
    /// The machines, in any state.
    pub(crate) machines: Vec<Machine>,
    /// What could not be seen, in words, such as a host that does not answer. Absence is acted upon: what is left out of
    /// both lists counts as gone.
    #[serde(default)]
    pub(crate) unknown: Vec<String>,
}

/// The reply to `create`, `delete` and `renew`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ChangeReply {
    /// One for each machine of the request, by name.
    pub(crate) outcomes: Vec<Row>,
}

/// How one machine fared.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct Row {
    /// The machine of the request.
    pub(crate) name: String,
    /// How it fared.
    pub(crate) outcome: Fared,
    /// The machine, if it was created or found. Only for `create`.
    #[serde(default)]
    pub(crate) machine: Option<Machine>,
    /// Why, if it is not `done`.
    #[serde(default)]
    pub(crate) error: Option<Refusal>,
}

/// How a machine fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fared {
    /// It was done.
    Done,
    /// It was not done, certainly, and nothing is left of the attempt.
    Failed,
    /// It may have been done: it counts as existing until a listing says otherwise.
    Unknown,
}

/// The reply to `console`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ConsoleReply {
    /// The end of what it printed; nothing if nothing is kept.
    #[serde(default)]
    pub(crate) console: Option<String>,
}

/// The reply to `describe`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct DescribeReply {
    /// The verbs it knows. Those that are optional are asked for only if they stand here.
    pub(crate) verbs: Vec<String>,
}

/// The reply of a program that refuses a request as a whole: nothing happened.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ErrorReply {
    /// Why.
    pub(crate) error: Refusal,
}

/// Why something was not done.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct Refusal {
    /// What Parmanu can do about it.
    pub(crate) kind: Kind,
    /// For the operator: what, where, and what to do. It is logged.
    pub(crate) message: String,
    /// With `rate_limited`: when to ask again.
    #[serde(default)]
    pub(crate) retry_after_seconds: Option<u64>,
}

/// What can be done about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Asked too often: the same again later.
    RateLimited,
    /// No machine of this offer is to be had now: the next offer is tried, this one again in some minutes.
    OutOfCapacity,
    /// The account's quota is used up: growth stops, and an operator is told.
    QuotaExceeded,
    /// Credentials or rights: an operator has to act.
    Unauthorized,
    /// The offer or the request is wrong: an operator has to act.
    InvalidRequest,
    /// The machine is certainly not there. For `delete` that is as good as `done`.
    NotFound,
    /// What is behind the program could not be reached, and nothing was sent.
    Unreachable,
    /// What is behind the program answers with an error of its own.
    Unavailable,
    /// It may have happened.
    UnknownOutcome,
    /// The time of the request was over before anything was sent.
    LeaseOver,
    /// What is behind the program answered something that cannot be understood.
    BadAnswer,
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;
    use schemars::{Schema, SchemaGenerator};

    use super::*;

    /// The JSON Schema of the contract.
    ///
    /// Each reply carries `version` beside what its type says; it is read before the rest.
    fn schema() -> Value {
        let mut generator = SchemaGenerator::default();
        let request = generator.subschema_for::<Request>();
        let replies = [
            generator.subschema_for::<DescribeReply>(),
            generator.subschema_for::<ListReply>(),
            generator.subschema_for::<ChangeReply>(),
            generator.subschema_for::<ConsoleReply>(),
            generator.subschema_for::<ErrorReply>(),
        ];
        let mut definitions = generator.take_definitions(true);
        for reply in [
            "DescribeReply",
            "ListReply",
            "ChangeReply",
            "ConsoleReply",
            "ErrorReply",
        ] {
            with_version(&mut definitions, reply);
        }
        let mut any: Vec<Schema> = vec![request];
        any.extend(replies);
        serde_json::json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "Parmanu's contract with a program (`kind: command`), version 1",
            "description": "A request is written to the program's standard input, a reply read from its standard output.",
            "anyOf": any,
            "$defs": definitions,
        })
    }

    fn with_version(definitions: &mut Map<String, Value>, reply: &str) {
        let Some(schema) = definitions.get_mut(reply) else {
            return;
        };
        schema["properties"]["version"] = serde_json::json!({
            "description": "The version of the contract, 1.",
            "type": "integer",
            "const": VERSION,
        });
        if let Some(required) = schema["required"].as_array_mut() {
            required.insert(0, "version".into());
        } else {
            schema["required"] = serde_json::json!(["version"]);
        }
    }

    /// `UPDATE_EXPECT=1 cargo test -p provider-command` writes it anew. A change that takes something away, or gives a field
    /// another meaning, is a new version with a file of its own.
    #[test]
    fn the_schema_that_is_checked_in_is_the_one_of_these_types() {
        let schema = serde_json::to_string_pretty(&schema()).unwrap();
        expect_file!["../schema/v1.json"].assert_eq(&format!("{schema}\n"));
    }
}
