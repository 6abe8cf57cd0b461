//! From a merged document to settings: the types first, then what they mean together.
//!
//! One module per section of the file. Nothing here knows where in the text a key stands: problems carry a path.

mod accounts;
mod boot_script;
mod entries;
mod limits;
mod machines;
mod pools;
mod references;
mod rules;
mod slots;
mod when;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use model::{ConfigHash, FleetId};
use ports::StoreAddress;
use ports::strict::{self, Problem, Problems, Severity, Step, nearest};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::load::Registries;
use crate::raw;
use crate::settings::{Settings, StoreSettings};
use entries::take_kind;

/// Makes settings of a document; `None` when a part that everything needs cannot be read. Problems are added either way.
pub(crate) fn settings(
    document: &Value,
    registries: &Registries,
    base: &Path,
    problems: &mut Problems,
) -> Option<Settings> {
    top_level(document, problems);
    let fleet = fleet(document, problems);
    let store = store(document, problems);
    let api_token = api(document, problems);
    let mut maker = Maker {
        registries,
        base,
        problems,
        used: BTreeSet::new(),
        price_hints: BTreeMap::new(),
    };
    let emitters = maker.emitters(document);
    let providers = maker.providers(document);
    let machines = maker.machines(document, &providers);
    let rules = maker.rules(document);
    let pools = maker.pools(document, &emitters, &machines, &rules.of_pools);
    let limits = maker.limits(document, &rules, &providers, &pools);
    references::check(document, &mut Vec::new(), maker.problems);
    maker.unused(document);
    whole::alike(&pools, problems);
    references::explain(document, problems);
    // what is wrong anyway needs no advice
    let wrong: BTreeSet<Vec<Step>> = problems
        .0
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .map(|problem| problem.path.clone())
        .collect();
    problems
        .0
        .retain(|problem| problem.severity == Severity::Error || !wrong.contains(&problem.path));
    Some(Settings {
        fleet: fleet?,
        hash: ConfigHash::new(short_hash(document)),
        store: store?,
        api_token,
        emitters,
        providers,
        pools,
        limits,
    })
}

/// Eight bytes of a hash, in hexadecimal digits. The keys of a mapping are in one order wherever they stood.
fn short_hash(document: &Value) -> String {
    let digest = Sha256::digest(document.to_string().as_bytes());
    let bytes = digest.iter().take(8);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

fn top_level(document: &Value, problems: &mut Problems) {
    for key in document.as_object().into_iter().flat_map(Map::keys) {
        if !raw::SECTIONS.contains(&key.as_str()) {
            problems.0.push(Problem {
                severity: Severity::Error,
                path: vec![Step::Key(key.clone())],
                at_key: true,
                message: format!(
                    "unknown key `{key}`; known are {}",
                    raw::SECTIONS.join(", ")
                ),
                suggestion: nearest(key, raw::SECTIONS),
            });
        }
    }
    match document.get("version") {
        Some(version) if version.as_u64() == Some(1) => {}
        Some(other) => problems.error(
            ["version".into()],
            format!("this program reads version 1, not {other}: write `version: 1`"),
        ),
        None => problems.error([], "missing the key `version`; write `version: 1`"),
    }
}

fn fleet(document: &Value, problems: &mut Problems) -> Option<FleetId> {
    let Some(value) = document.get("fleet") else {
        let message =
            "missing the key `fleet`: the owner id on every machine, such as `fleet: acme-ci`";
        problems.error([], message);
        return None;
    };
    let mut inner = Problems::default();
    let read = strict::read(value, &mut inner);
    problems.append(&["fleet".into()], inner);
    read
}

/// A literal address is fine as long as nobody needs to hide it.
fn password(store: &Value, problems: &mut Problems) {
    let url = store.get("url").and_then(Value::as_str).unwrap_or_default();
    if !url.starts_with("${") && url.contains('@') {
        problems.warning(
            ["url".into()],
            "a password stands in the configuration itself: use ${env:NAME} or ${file:/path}",
        );
    }
}

fn store(document: &Value, problems: &mut Problems) -> Option<StoreSettings> {
    let Some(value) = document.get("store") else {
        // the address that compose and Kubernetes give both services
        return Some(StoreSettings::Redis(StoreAddress {
            url: ports::SecretRef::Env("REDIS_URL".into()),
            ca_file: None,
            identity: None,
        }));
    };
    let mut inner = Problems::default();
    let (kind, rest) = take_kind(value, ["memory", "redis"], &mut inner);
    let store = match kind.as_deref() {
        Some("redis") => strict::read::<raw::RedisStore>(&rest, &mut inner).map(|redis| {
            password(&rest, &mut inner);
            let identity = match (redis.client_cert_file, redis.client_key_file) {
                (Some(certificate), Some(key)) => Some((certificate, key)),
                (None, None) => None,
                (Some(_), None) => {
                    inner.error(
                        ["client_cert_file".into()],
                        "its key is missing: `client_key_file`",
                    );
                    None
                }
                (None, Some(_)) => {
                    let message = "its certificate is missing: `client_cert_file`";
                    inner.error(["client_key_file".into()], message);
                    None
                }
            };
            StoreSettings::Redis(StoreAddress {
                url: redis.url,
                ca_file: redis.ca_file,
                identity,
            })
        }),
        Some("memory") => {
            strict::read::<raw::MemoryStore>(&rest, &mut inner).map(|_| StoreSettings::Memory)
        }
        _ => None,
    };
    problems.append(&["store".into()], inner);
    store
}

fn api(document: &Value, problems: &mut Problems) -> Option<ports::SecretRef> {
    let value = document.get("api")?;
    let mut inner = Problems::default();
    let token = strict::read::<raw::Api>(value, &mut inner).map(|api| api.token);
    if token.as_ref().is_some_and(ports::SecretRef::is_literal) {
        inner.warning(
            ["token".into()],
            "the token stands in the configuration itself: use ${env:NAME} or ${file:/path}",
        );
    }
    problems.append(&["api".into()], inner);
    token
}

struct Maker<'a> {
    registries: &'a Registries,
    base: &'a Path,
    problems: &'a mut Problems,
    /// Entries that something refers to, as (section, name).
    used: BTreeSet<(&'static str, String)>,
    /// What offers without a price may cost, for the messages that ask for it.
    price_hints: BTreeMap<model::OfferId, String>,
}
