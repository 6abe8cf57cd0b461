//! What an operator writes: the keys of an emitter of kind `teamcity`, and one entry of `serves:`.

use std::collections::{BTreeMap, BTreeSet};
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

/// The value of `kind:`.
pub(crate) const KIND: &str = "teamcity";

/// The longest time TeamCity may take to hand out a build to an agent that it chose before the agent was disabled.
///
/// The server distributes builds in rounds and sends the chosen one to the agent, which asks for commands every few
/// seconds; a loaded server takes longer for a round. No source names the bound, so this is a multiple of what such a round
/// takes. A shorter settle could call an agent idle that is about to be given a build; a longer one only delays the
/// deletion of idle machines.
pub const DEFAULT_SETTLE: Duration = Duration::from_secs(60);

/// Below this a warning is given: one round and one question of the agent.
const SHORTEST_SETTLE: Duration = Duration::from_secs(15);

/// How long a cordon lasts if nobody renews it. Whoever is gone for good must not leave agents disabled for ever; a
/// departure of an idle machine takes some minutes, and each later cordon renews it.
pub const DEFAULT_CORDON: Duration = Duration::from_secs(4 * 3600);

/// A strong read trusts no cordon that ends sooner than this: a deletion may still be on its way, and clocks differ.
pub(crate) const CORDON_MARGIN: Duration = Duration::from_secs(10 * 60);

/// Below this a cordon would be over before a departure is.
const SHORTEST_CORDON: Duration = Duration::from_secs(30 * 60);

/// The keys of an emitter of kind `teamcity`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TeamCityConfig {
    /// Address of the server, such as `https://teamcity.example.com`.
    pub url: String,
    /// A file of certificates (PEM) to trust beside those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Access token that may view the projects of the pools, and the details of agents.
    pub token: SecretRef,
    /// Lets Parmanu authorise, cordon and remove agents. Without it Parmanu only looks.
    #[serde(default)]
    pub manage: Option<Manage>,
    /// Longest time TeamCity may take to hand out a build to an agent that was disabled meanwhile; 60s.
    #[serde(default)]
    pub settle: Option<Span>,
}

/// How agents are managed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manage {
    /// Access token of an agent manager; `token` if absent. probot needs it too: it authorises agents as they come up.
    #[serde(default)]
    pub token: Option<SecretRef>,
    /// How long an agent stays disabled if Parmanu does not come back to it; 4h.
    #[serde(default)]
    pub cordon_for: Option<Span>,
    /// Lets an agent in by its name alone, for images that join by themselves (`credential: shared`). Whoever can reach the
    /// server could then take the name of a machine; without it the machine also shows a key that only it was given.
    #[serde(default)]
    pub trust_names: bool,
}

/// The one entry of a pool's `serves:`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, try_from = "RawServes")]
pub struct Serves {
    /// Name of the TeamCity agent pool that the machines join. Its projects are linked to it in TeamCity.
    pub agent_pool: String,
    /// Name of an agent that is kept as a sample of these machines, authorised and perhaps disconnected: TeamCity is asked
    /// what it could run. It takes one agent licence. Without it the first machine of the pool is the sample.
    #[serde(default)]
    pub prototype: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawServes {
    /// Name of the TeamCity agent pool that the machines join.
    agent_pool: String,
    /// Name of an agent that is kept as a sample of these machines.
    #[serde(default)]
    prototype: Option<String>,
}

impl TryFrom<RawServes> for Serves {
    type Error = String;

    fn try_from(raw: RawServes) -> Result<Self, String> {
        for (name, text) in [
            ("agent_pool", Some(&raw.agent_pool)),
            ("prototype", raw.prototype.as_ref()),
        ] {
            if text.is_some_and(|text| text.trim().is_empty()) {
                return Err(format!(
                    "`{name}` is empty: give a name as TeamCity shows it"
                ));
            }
        }
        Ok(Self {
            agent_pool: raw.agent_pool,
            prototype: raw.prototype,
        })
    }
}

impl Serves {
    /// What stands for these machines in a look: the matcher knows its own entry by it.
    pub(crate) fn key(&self) -> String {
        match &self.prototype {
            Some(prototype) => format!("{} / {prototype}", self.agent_pool),
            None => self.agent_pool.clone(),
        }
    }
}

impl TeamCityConfig {
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
            return Err("the address carries a name or password: use `token`".to_owned());
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
        let literal =
            "the token stands in the configuration itself: use ${env:NAME} or ${file:/path}";
        if self.token.is_literal() {
            problems.warning(["token".into()], literal);
        }
        if self.settle() < SHORTEST_SETTLE {
            problems.warning(
                ["settle".into()],
                "shorter than 15s: a round of TeamCity's distribution may hand out a build after the agent was read as idle",
            );
        }
        let Some(manage) = &self.manage else { return };
        if manage.trust_names
            && self
                .base()
                .is_ok_and(|url| url.scheme() == "http" && !is_loopback(&url))
        {
            problems.error(
                ["manage".into(), "trust_names".into()],
                "on an unencrypted server anybody on the way could take the name of a machine: use https",
            );
        }
        if manage.token.as_ref().is_some_and(SecretRef::is_literal) {
            problems.warning(["manage".into(), "token".into()], literal);
        }
        if manage.cordon_for() < SHORTEST_CORDON + self.settle() * 2 {
            problems.error(
                ["manage".into(), "cordon_for".into()],
                "shorter than 30m and twice `settle`: the cordon could end while the machine is leaving",
            );
        }
    }
}

impl Manage {
    pub(crate) fn cordon_for(&self) -> Duration {
        self.cordon_for.map_or(DEFAULT_CORDON, |span| span.0)
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

/// An agent is in one agent pool and runs one build at a time.
pub(crate) fn check_serves(serves: &[Serves], slots: u32, problems: &mut Problems) {
    if serves.len() != 1 {
        let message = format!(
            "{} entries: write one, since an agent is in one agent pool",
            serves.len()
        );
        problems.error([], message);
    }
    if slots != 1 {
        problems.error(
            [],
            format!("a TeamCity agent runs one build at a time, and a machine of this pool has {slots} slots: write `slots: 1`"),
        );
    }
}

/// Reads the `serves:` entries of all pools: one each, and no two alike.
pub(crate) fn read_serves(
    pools: &BTreeMap<PoolName, Vec<Value>>,
) -> Result<BTreeMap<PoolName, Serves>, PluginError> {
    let refused = |message: String| PluginError {
        kind: KIND,
        message,
        source: None,
    };
    let mut found = BTreeMap::new();
    let mut keys = BTreeSet::new();
    for (pool, values) in pools {
        let [value] = values.as_slice() else {
            return Err(refused(format!(
                "pool {pool} has {} `serves` entries: write one, since an agent is in one agent pool",
                values.len()
            )));
        };
        let entry = Serves::deserialize(value).map_err(|error| PluginError {
            source: Some(Box::new(error)),
            ..refused(format!("the `serves` of pool {pool} cannot be read"))
        })?;
        if !keys.insert(entry.key()) {
            return Err(refused(format!(
                "pool {pool} serves what another pool serves: give each an agent pool of its own, or a `prototype` each"
            )));
        }
        found.insert(pool.clone(), entry);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(key: &str, value: Value) -> String {
        let mut config = json!({
            "url": "https://ci.example.com/teamcity/", "token": "${env:T}", "manage": {},
        });
        config[key] = value;
        let mut problems = Problems::default();
        if let Some(config) = ports::strict::read::<TeamCityConfig>(&config, &mut problems) {
            config.check(&mut problems);
        }
        let lines = problems.0.iter().map(|problem| problem.message.clone());
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_mistake_is_named() {
        assert_eq!(problems("settle", json!("20s")), "");
        for (key, value, words) in [
            ("url", json!("teamcity"), "not an address"),
            ("url", json!("ftp://teamcity"), "https://"),
            ("url", json!("https://me:secret@teamcity"), "use `token`"),
            ("url", json!("http://teamcity"), "unencrypted"),
            ("token", json!("11abc"), "use ${env:NAME}"),
            ("settle", json!("1s"), "15s"),
            ("manage", json!({ "token": "11abc" }), "use ${env:NAME}"),
            (
                "manage",
                json!({ "cordon_for": "20m" }),
                "while the machine is leaving",
            ),
            ("manage", json!({ "cordon": "2h" }), "unknown key"),
        ] {
            let found = problems(key, value);
            assert!(found.contains(words), "{key} gives {found}");
            assert!(!found.contains("11abc"), "{found}");
        }
    }

    #[test]
    fn names_are_trusted_on_an_encrypted_server_only() {
        let check = |url: &str| {
            let config =
                json!({ "url": url, "token": "${env:T}", "manage": { "trust_names": true } });
            let config = TeamCityConfig::deserialize(&config).unwrap();
            let mut problems = Problems::default();
            config.check(&mut problems);
            let mut found = problems.0.iter();
            found.any(|problem| problem.message.contains("take the name"))
        };
        assert!(
            check("http://teamcity")
                && !check("https://teamcity")
                && !check("http://localhost:8111")
        );
    }

    #[test]
    fn a_pool_serves_one_agent_pool_and_no_two_the_same() {
        let read = |a: Value, b: Value| {
            let pools = [
                ("a".parse().unwrap(), serde_json::from_value(a).unwrap()),
                ("b".parse().unwrap(), serde_json::from_value(b).unwrap()),
            ];
            read_serves(&pools.into()).map_err(|error| error.message)
        };
        let linux = json!([{ "agent_pool": "Linux" }]);
        let other = json!([{ "agent_pool": "Linux", "prototype": "sample-b" }]);
        assert!(read(linux.clone(), other).is_ok());
        for (bad, words) in [
            (linux.clone(), "another pool"),
            (json!([]), "write one"),
            (json!([{ "agent_pool": " " }]), "cannot be read"),
            (json!([{ "agent_pools": "Linux" }]), "cannot be read"),
        ] {
            let error = read(linux.clone(), bad).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
