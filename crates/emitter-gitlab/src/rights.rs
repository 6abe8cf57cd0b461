//! What a refused token lacks.
//!
//! GitLab refuses with a bare 401 or 403. A token of a user, a project or a group may ask about itself, and then an
//! operator can be told whether a scope or a role is missing. Asked only after a refusal: a token that works is not asked
//! about, and its rights can be taken away at any time.

use ports::EmitterErrorKind as Kind;
use serde_json::Value;

use crate::client::{Client, Meter};
use crate::config::Reach;
use crate::error::Failure;

/// What one token is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Its key in the configuration.
    pub(crate) key: &'static str,
    /// The scopes it needs; `api` stands for each.
    pub(crate) scopes: &'static [&'static str],
    /// The role its user needs.
    pub(crate) role: &'static str,
}

impl Wanted {
    /// Of the token that looks.
    pub(crate) fn to_look(reach: &Reach) -> Self {
        Wanted {
            key: "token",
            scopes: &["read_api"],
            role: match reach {
                Reach::Instance => "an administrator's (with admin_mode where it is enforced)",
                Reach::Groups(_) => {
                    "at least a Reporter of the group, better a Maintainer, who sees its runners too"
                }
                Reach::Projects(_) => {
                    "at least a Reporter of the project, better a Maintainer, who sees its runners too"
                }
            },
        }
    }

    /// Of the token that manages runners.
    pub(crate) fn to_manage(reach: &Reach) -> Self {
        Wanted {
            key: "manage_token",
            scopes: &["create_runner", "manage_runner"],
            role: match reach {
                Reach::Instance => "an administrator's",
                Reach::Groups(_) => "an Owner of the group",
                Reach::Projects(_) => "a Maintainer of the project",
            },
        }
    }
}

/// The failure in more words, if it is a refusal and the token tells about itself.
pub(crate) async fn explained(client: &Client, wanted: Wanted, failure: Failure) -> Failure {
    if !matches!(failure.kind, Kind::Forbidden | Kind::Unauthorized) {
        return failure;
    }
    let asked = client
        .get("/personal_access_tokens/self", "", &Meter::default())
        .await;
    let told = asked.and_then(|answer| answer.json());
    match told.ok().as_ref().and_then(scopes) {
        Some(scopes) => Failure {
            kind: Kind::Forbidden,
            message: format!("{}; {}", failure.message, lacks(wanted, &scopes)),
            source: failure.source,
        },
        None => failure,
    }
}

fn scopes(token: &Value) -> Option<Vec<&str>> {
    let scopes = token.get("scopes")?.as_array()?;
    scopes.iter().map(Value::as_str).collect()
}

fn lacks(wanted: Wanted, scopes: &[&str]) -> String {
    let Wanted { key, role, .. } = wanted;
    let has = |scope: &&str| scopes.contains(scope) || scopes.contains(&"api");
    let missing: Vec<&str> = wanted
        .scopes
        .iter()
        .copied()
        .filter(|scope| !has(scope))
        .collect();
    let only_looks = if key == "manage_token" {
        "; until then Parmanu only looks: no machine is made, and none is removed"
    } else {
        ""
    };
    if missing.is_empty() {
        format!("`{key}` has its scopes, so its user lacks the role: it must be {role}{only_looks}")
    } else {
        let missing = missing.join(" and ");
        format!("`{key}` lacks the scope {missing}: make one that has it{only_looks}")
    }
}
