//! What an operator writes: the keys of an emitter of kind `buildbot`, and one entry of `serves:`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use model::PoolName;
use ports::strict::Problems;
use ports::units::Span;
use ports::{PluginError, SecretRef};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

/// The value of `kind:`.
pub(crate) const KIND: &str = "buildbot";

/// The longest time Buildbot may take to hand out a build it already promised, if the configuration does not say.
///
/// The master decides and starts a build in one go, without a poll of the worker; between the two the request is
/// claimed and has no build yet, which the strong read looks for by itself. What is left is the time that a pause
/// takes to reach the master's own books. Shorter than some seconds saves nothing; longer delays deletions.
pub const DEFAULT_SETTLE: Duration = Duration::from_secs(5);

/// The longest time one request may take, if the configuration does not say. A master answers in milliseconds; about
/// one request in four hundred was seen to be never answered under load, and the next one is.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// The keys of an emitter of kind `buildbot`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BuildbotConfig {
    /// Address of the master's web server, such as `http://buildbot:8010`.
    pub url: String,
    /// A file of certificates (PEM) to trust beside those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Lets Parmanu hand out worker names, pause workers and let them go. Without it Parmanu only looks.
    #[serde(default)]
    pub manage: Option<Manage>,
    /// Longest time the master may take to hand out a build it already promised; 5s if absent.
    #[serde(default)]
    pub settle: Option<Span>,
    /// Longest time one request may take; 3s if absent.
    #[serde(default)]
    pub request_timeout: Option<Span>,
}

/// What a machine needs to join.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manage {
    /// Where workers connect to the master, such as `buildbot:9989`.
    pub master: String,
    /// The password that all worker names of the pools have in common. Better: `passwords`.
    #[serde(default)]
    pub password: Option<SecretRef>,
    /// A folder with one file per worker name, which holds its password: then a machine's credential serves that
    /// machine only.
    #[serde(default)]
    pub passwords: Option<PathBuf>,
}

/// One entry of a pool's `serves:`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, try_from = "RawServes")]
pub struct Serves {
    /// Names of builders.
    pub builders: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawServes {
    builders: Vec<String>,
}

impl TryFrom<RawServes> for Serves {
    type Error = String;

    fn try_from(raw: RawServes) -> Result<Self, String> {
        if raw.builders.is_empty() || raw.builders.iter().any(String::is_empty) {
            return Err("it serves no builder: name at least one".to_owned());
        }
        Ok(Self {
            builders: raw.builders,
        })
    }
}

impl BuildbotConfig {
    /// Longest time the master may take to hand out a build it already promised.
    pub(crate) fn settle(&self) -> Duration {
        self.settle.map_or(DEFAULT_SETTLE, |span| span.0)
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        self.request_timeout.map_or(REQUEST_TIMEOUT, |span| span.0)
    }

    /// The address, with a path that ends in a slash.
    pub(crate) fn base(&self) -> Result<Url, String> {
        let url = Url::parse(&self.url).ok();
        let url =
            url.filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
        let mut url = url.ok_or_else(|| {
            format!(
                "`{}` is not an address such as http://buildbot:8010",
                self.url
            )
        })?;
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        url.set_query(None);
        url.set_fragment(None);
        Ok(url)
    }

    /// Finds what is wrong beyond the types.
    pub(crate) fn check(&self, problems: &mut Problems) {
        if let Err(message) = self.base() {
            problems.error(["url".into()], message);
        }
        if self.settle() < Duration::from_secs(1) {
            let message = "shorter than 1s: a pause must have reached the master's books before a worker is read as idle";
            problems.warning(["settle".into()], message);
        }
        let Some(manage) = &self.manage else { return };
        let port = manage.master.rsplit_once(':');
        if !port.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
            let message = format!(
                "`{}` is not host:port, such as buildbot:9989",
                manage.master
            );
            problems.error(["manage".into(), "master".into()], message);
        }
        match (&manage.password, &manage.passwords) {
            (None, None) => problems.error(
                ["manage".into()],
                "a worker needs its password: give `passwords`, a folder with a file per name, or `password`",
            ),
            (Some(_), Some(_)) => problems.error(
                ["manage".into(), "password".into()],
                "give `password` or `passwords`, not both",
            ),
            (Some(secret), None) if secret.is_literal() => problems.warning(
                ["manage".into(), "password".into()],
                "a secret stands in the file; write ${env:NAME} or ${file:/path} instead",
            ),
            _ => {}
        }
    }
}

/// Reads the `serves:` entries of all pools.
pub(crate) fn read_serves(
    pools: &BTreeMap<PoolName, Vec<Value>>,
) -> Result<BTreeMap<PoolName, Vec<Serves>>, PluginError> {
    let entries = |(pool, values): (&PoolName, &Vec<Value>)| {
        let entries: Result<Vec<_>, _> = values.iter().map(Serves::deserialize).collect();
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

    fn problems(config: &Value) -> String {
        let mut problems = Problems::default();
        if let Some(config) = ports::strict::read::<BuildbotConfig>(config, &mut problems) {
            config.check(&mut problems);
        }
        let messages: Vec<_> = problems.0.into_iter().map(|found| found.message).collect();
        messages.join("\n")
    }

    #[test]
    fn a_good_configuration_has_no_problem() {
        let config = json!({
            "url": "https://ci.example.com/buildbot",
            "manage": { "master": "ci.example.com:9989", "passwords": "/run/secrets/workers" },
        });
        assert_eq!(problems(&config), "");
    }

    #[test]
    fn each_mistake_is_named() {
        let url = "http://b:8010";
        for (config, words) in [
            (json!({ "url": "b:8010" }), "not an address"),
            (json!({ "url": url, "settle": "0s" }), "shorter than 1s"),
            (
                json!({ "url": url, "manage": { "master": "b", "password": "${env:P}" } }),
                "host:port",
            ),
            (
                json!({ "url": url, "manage": { "master": "b:9989" } }),
                "needs its password",
            ),
            (
                json!({ "url": url, "manage": { "master": "b:9989", "password": "pw" } }),
                "a secret stands in the file",
            ),
            (json!({ "url": url, "mange": {} }), "unknown key"),
        ] {
            let found = problems(&config);
            assert!(found.contains(words), "{config} gives {found}");
        }
        assert!(Serves::deserialize(&json!({ "builders": [] })).is_err());
        assert!(Serves::deserialize(&json!({ "builder": ["a"] })).is_err());
    }
}
