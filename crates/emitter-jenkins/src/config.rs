//! What an operator writes: the keys of an emitter of kind `jenkins`, and one entry of `serves:`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use model::PoolName;
use ports::PluginError;
use ports::secret::SecretRef;
use ports::strict::Problems;
use ports::units::Span;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::label::is_plain;

/// The value of `kind:`.
pub(crate) const KIND: &str = "jenkins";

/// The longest time Jenkins may take to hand out an item it already chose a node for.
///
/// A pass of the scheduler works with the nodes it saw at its beginning, and a pass over some thousand items takes seconds
/// on a loaded controller. A shorter settle could call a node idle that is about to be given a build; a longer one only
/// delays the deletion of idle machines.
pub const DEFAULT_SETTLE: Duration = Duration::from_secs(30);

/// Below this a warning is given: the scheduler runs every 5 s at the latest.
const SHORTEST_SETTLE: Duration = Duration::from_secs(5);

/// The keys of an emitter of kind `jenkins`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JenkinsConfig {
    /// Address of the controller, such as `https://jenkins.example.com` or `https://ci.example.com/jenkins`.
    pub url: String,
    /// A file of certificates (PEM) to trust beside those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The user whose API token is used.
    pub user: String,
    /// His API token; a password would need crumbs.
    pub token: SecretRef,
    /// Lets Parmanu create, cordon and remove nodes. Without it Parmanu only looks.
    #[serde(default)]
    pub manage: Option<Manage>,
    /// Longest time Jenkins may take to hand out an item to a node that was cordoned meanwhile; 30s.
    #[serde(default)]
    pub settle: Option<Span>,
}

/// How nodes are made.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manage {
    /// Folder of the agent on its machine.
    #[serde(default = "default_work_dir")]
    pub work_dir: String,
    /// Keeps one offline node with the labels of each pool. Jenkins tells no label while no node is registered, and while
    /// one node alone has it only that node's name. Turn it off only if other permanent nodes have the same labels.
    #[serde(default = "yes")]
    pub placeholder: bool,
}

fn default_work_dir() -> String {
    "/var/lib/jenkins-agent".to_owned()
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

/// One entry of a pool's `serves:`. A pool's nodes carry the labels of all its entries.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, try_from = "RawServes")]
pub struct Serves {
    /// Labels of the nodes: a job is served when they satisfy its label expression.
    pub labels: Vec<String>,
    /// Executors of a node, which are the machine's `slots`; 1.
    #[serde(default = "one")]
    pub executors: u32,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawServes {
    /// Labels of the nodes: a job is served when they satisfy its label expression.
    labels: Vec<String>,
    /// Executors of a node, which are the machine's `slots`; 1.
    #[serde(default = "one")]
    executors: u32,
}

impl TryFrom<RawServes> for Serves {
    type Error = String;

    fn try_from(raw: RawServes) -> Result<Self, String> {
        if raw.labels.is_empty() {
            return Err("it serves no job: give `labels`".to_owned());
        }
        if let Some(bad) = raw.labels.iter().find(|label| !is_plain(label)) {
            return Err(format!(
                "`{bad}` is not one label: leave out blanks, quotes, brackets and the signs & | ! < >"
            ));
        }
        if raw.executors == 0 {
            return Err("`executors` is 0: such a node runs nothing".to_owned());
        }
        Ok(Self {
            labels: raw.labels,
            executors: raw.executors,
        })
    }
}

impl JenkinsConfig {
    pub(crate) fn settle(&self) -> Duration {
        self.settle.map_or(DEFAULT_SETTLE, |span| span.0)
    }

    /// The address.
    pub(crate) fn base(&self) -> Result<Url, String> {
        let url = Url::parse(self.url.trim_end_matches('/'))
            .map_err(|error| format!("`{}` is not an address: {error}", self.url))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(format!(
                "`{}` does not begin with https:// and a host",
                self.url
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "the address carries a name or password: use `user` and `token`".to_owned(),
            );
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("`{}` has more than a host and a path", self.url));
        }
        Ok(url)
    }

    /// Finds what is wrong beyond the types.
    pub(crate) fn check(&self, problems: &mut Problems) {
        match self.base() {
            Err(message) => problems.error(["url".into()], message),
            Ok(url) if url.scheme() == "http" && !is_loopback(&url) => {
                problems.warning(["url".into()], "the token travels unencrypted: use https");
            }
            Ok(_) => {}
        }
        if self.user.is_empty() || self.user.contains(':') {
            problems.error(["user".into()], "it is empty or has a colon");
        }
        if self.token.is_literal() {
            problems.warning(
                ["token".into()],
                "the token stands in the configuration itself: use ${env:NAME} or ${file:/path}",
            );
        }
        if self.settle() < SHORTEST_SETTLE {
            problems.warning(
                ["settle".into()],
                "shorter than 5s: a pass of Jenkins' scheduler may hand out a job after the node was read as idle",
            );
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Finds entries whose `executors` are not the pool's slots: Jenkins would run more jobs on a machine than it was sized
/// for, or leave places empty that are counted as room.
pub(crate) fn check_serves(serves: &[Serves], slots: u32, problems: &mut Problems) {
    for (index, entry) in serves.iter().enumerate() {
        if entry.executors != slots {
            let message = format!(
                "{} executors, and a machine of this pool has {slots} slots: write `executors: {slots}`, or change \
                 the machine's `slots`",
                entry.executors
            );
            problems.error([index.into(), "executors".into()], message);
        }
    }
}

/// The labels of a pool's nodes: those of all its entries, each once.
pub(crate) fn labels(entries: &[Serves]) -> Vec<&str> {
    let labels = entries.iter().flat_map(|entry| &entry.labels);
    let mut labels: Vec<&str> = labels.map(String::as_str).collect();
    labels.sort_unstable();
    labels.dedup();
    labels
}

/// Reads the `serves:` entries of all pools.
pub(crate) fn read_serves(
    pools: &BTreeMap<PoolName, Vec<Value>>,
) -> Result<BTreeMap<PoolName, Vec<Serves>>, PluginError> {
    let entries = |(pool, values): (&PoolName, &Vec<Value>)| {
        let entries = values
            .iter()
            .map(Serves::deserialize)
            .collect::<Result<Vec<_>, _>>();
        let entries = entries.map_err(|error| PluginError {
            kind: KIND,
            message: format!("the `serves` of pool {pool} cannot be read"),
            source: Some(Box::new(error)),
        })?;
        Ok((pool.clone(), entries))
    };
    pools.iter().map(entries).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(key: &str, value: Value) -> String {
        let mut config = json!({
            "url": "https://ci.example.com/jenkins/", "user": "parmanu", "token": "${env:T}", "manage": {},
        });
        config[key] = value;
        let mut problems = Problems::default();
        if let Some(config) = ports::strict::read::<JenkinsConfig>(&config, &mut problems) {
            config.check(&mut problems);
        }
        let lines = problems.0.iter().map(|problem| problem.message.clone());
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_mistake_is_named() {
        assert_eq!(problems("settle", json!("20s")), "");
        for (key, value, words) in [
            ("url", json!("jenkins"), "not an address"),
            ("url", json!("ftp://jenkins"), "https://"),
            ("url", json!("https://me:secret@jenkins"), "use `user`"),
            ("url", json!("http://jenkins"), "unencrypted"),
            ("user", json!("a:b"), "colon"),
            ("token", json!("11abc"), "use ${env:NAME}"),
            ("settle", json!("1s"), "5s"),
            ("manage", json!({ "workdir": "/x" }), "unknown key"),
        ] {
            let found = problems(key, value);
            assert!(found.contains(words), "{key} gives {found}");
            assert!(!found.contains("11abc"), "{found}");
        }
    }

    #[test]
    fn an_entry_that_serves_nothing_is_refused() {
        for (entry, words) in [
            (json!({ "labels": [] }), "serves no job"),
            (json!({ "labels": ["linux docker"] }), "not one label"),
            (json!({ "labels": ["a||b"] }), "not one label"),
            (json!({ "labels": ["a"], "executors": 0 }), "runs nothing"),
            (json!({ "label": ["a"] }), "unknown field"),
        ] {
            let error = Serves::deserialize(&entry).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn executors_that_are_not_the_slots_are_refused() {
        let entry = |executors| Serves {
            labels: vec!["linux".to_owned()],
            executors,
        };
        let mut problems = Problems::default();
        check_serves(&[entry(2), entry(1)], 2, &mut problems);
        assert_eq!(problems.0.len(), 1);
        assert_eq!(problems.0[0].path, [1.into(), "executors".into()]);
        assert!(problems.0[0].message.contains("write `executors: 2`"));
    }
}
