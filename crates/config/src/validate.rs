//! From a merged document to settings: the types first, then what they mean together.
//!
//! One module per section of the file. Nothing here knows where in the text a key stands: problems carry a path.

mod accounts;
mod entries;
mod machines;
mod pools;
mod rules;
mod whole;

use std::collections::BTreeSet;
use std::path::Path;

use model::{ConfigHash, FleetId};
use ports::strict::{self, Problem, Problems, Severity, Step, nearest};
use serde::de::DeserializeOwned;
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
    let fleet = section::<FleetId>(document, "fleet", problems);
    let store = store(document, problems);
    let mut maker = Maker {
        registries,
        base,
        problems,
        used: BTreeSet::new(),
    };
    let emitters = maker.emitters(document);
    let providers = maker.providers(document);
    let machines = maker.machines(document, &providers);
    let rules = maker.rules(document);
    let pools = maker.pools(document, &emitters, &machines, &rules);
    maker.unused(document);
    whole::alike(&pools, problems);
    Some(Settings {
        fleet: fleet?,
        hash: hash(document),
        store: store?,
        emitters,
        providers,
        pools,
    })
}

fn hash(document: &Value) -> ConfigHash {
    let digest = Sha256::digest(document.to_string().as_bytes());
    ConfigHash::new(
        digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>(),
    )
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
            format!("this program reads version 1, not {other}"),
        ),
        None => problems.error([], "missing the key `version`; write `version: 1`"),
    }
}

fn section<T: DeserializeOwned>(document: &Value, key: &str, problems: &mut Problems) -> Option<T> {
    let Some(value) = document.get(key) else {
        problems.error([], format!("missing the key `{key}`"));
        return None;
    };
    let mut inner = Problems::default();
    let read = strict::read(value, &mut inner);
    problems.append(&[key.into()], inner);
    read
}

fn store(document: &Value, problems: &mut Problems) -> Option<StoreSettings> {
    let Some(value) = document.get("store") else {
        // the address that compose and Kubernetes give both services
        return Some(StoreSettings::Redis {
            url: ports::SecretRef::Env("REDIS_URL".into()),
        });
    };
    let mut inner = Problems::default();
    let (kind, rest) = take_kind(value, ["memory", "redis"], &mut inner);
    let store = match kind.as_deref() {
        Some("redis") => strict::read::<raw::RedisStore>(&rest, &mut inner)
            .map(|redis| StoreSettings::Redis { url: redis.url }),
        Some("memory") => {
            strict::read::<raw::MemoryStore>(&rest, &mut inner).map(|_| StoreSettings::Memory)
        }
        _ => None,
    };
    problems.append(&["store".into()], inner);
    store
}

struct Maker<'a> {
    registries: &'a Registries,
    base: &'a Path,
    problems: &'a mut Problems,
    /// Entries that something refers to, as (section, name).
    used: BTreeSet<(&'static str, String)>,
}
