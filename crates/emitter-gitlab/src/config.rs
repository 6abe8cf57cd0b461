//! What an operator writes: the keys of an emitter of kind `gitlab`, and one entry of `serves:`.
//!
//! Only types and what can be said about them without a server. Whether a token has its rights is
//! learnt by probing.

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

use crate::budget::Budget;
use crate::convert::is_below;

/// The value of `kind:`.
pub(crate) const KIND: &str = "gitlab";

/// The longest time GitLab may take to hand out a job it already promised.
///
/// Workhorse holds a runner's job request for up to 50 s (`apiCiLongPollingDuration`, the default of
/// the GitLab charts and packages), and a runner asks every 3 s (`check_interval`). A request that
/// began before a pause can be answered with a job after it, so a shorter settle could call a
/// machine idle that is about to be given a build. Longer only delays the deletion of idle machines.
/// 60 s leaves a few seconds for the two answers themselves.
pub const DEFAULT_SETTLE: Duration = Duration::from_secs(60);

/// Longest time until a job is found that nothing announced, in a project that was quiet. A thousand
/// projects cost two hundred requests a minute at this; sooner costs more, later keeps builds of
/// schedules waiting.
const DEFAULT_RESCAN: Duration = Duration::from_secs(300);

/// Below this the shortlist would be none.
const SHORTEST_RESCAN: Duration = Duration::from_secs(30);

/// Below this a warning is given: 50 s of long poll and 3 s of `check_interval`.
const SHORTEST_SETTLE: Duration = Duration::from_secs(53);

/// The keys of an emitter of kind `gitlab`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GitLabConfig {
    /// Address of the server, such as `https://gitlab.example.com`.
    pub url: String,
    /// A file of certificates (PEM) to trust beside those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Token of scope read_api that may see the jobs of the scope: an administrator's for
    /// `instance`, a Reporter's (better: a Maintainer's, who sees runners too) for `groups` and `projects`.
    pub token: SecretRef,
    /// Token of scopes create_runner and manage_runner that lets Parmanu create, pause and remove
    /// runners. Without it Parmanu only looks.
    #[serde(default)]
    pub manage_token: Option<SecretRef>,
    /// Whose jobs are looked at.
    pub scope: Scope,
    /// Longest time GitLab may take to hand out a job to a runner that was paused meanwhile; 60s
    /// unless the long poll of Workhorse was changed.
    #[serde(default)]
    pub settle: Option<Span>,
    /// Longest time until a quiet project is looked at again, where there are more than twenty of them;
    /// 5m unless said. Projects with jobs or a push lately are looked at in every probe.
    #[serde(default)]
    pub rescan: Option<Span>,
    /// Most requests per probe and per minute.
    #[serde(default)]
    pub budget: Option<Budget>,
}

/// Whose jobs are looked at: exactly one key.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// All jobs of the instance; needs an administrator's token.
    #[serde(default)]
    pub instance: Option<bool>,
    /// The jobs of these projects, by full path (`group/project`).
    #[serde(default)]
    pub projects: Option<Vec<String>>,
    /// The jobs of all projects of these groups and of their subgroups, by full path of the group.
    #[serde(default)]
    pub groups: Option<Vec<String>>,
}

/// One entry of a pool's `serves:`. A pool's runners are registered with the tags of all its entries.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, try_from = "RawServes")]
pub struct Serves {
    /// Runner tags: a job is served when all of its tags are among these.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Whether jobs without tags are served too.
    #[serde(default)]
    pub run_untagged: bool,
    /// Whether only jobs of protected branches and tags are served.
    #[serde(default)]
    pub protected: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawServes {
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    run_untagged: bool,
    #[serde(default)]
    protected: bool,
}

impl TryFrom<RawServes> for Serves {
    type Error = String;

    fn try_from(raw: RawServes) -> Result<Self, String> {
        if raw.tags.is_empty() && !raw.run_untagged {
            return Err("it serves no job: give `tags`, or `run_untagged: true`".to_owned());
        }
        if let Some(bad) = raw.tags.iter().find(|tag| !is_tag(tag)) {
            return Err(format!(
                "`{bad}` is not a runner tag: GitLab divides tags by commas and trims them"
            ));
        }
        Ok(Self {
            tags: raw.tags,
            run_untagged: raw.run_untagged,
            protected: raw.protected,
        })
    }
}

fn is_tag(tag: &str) -> bool {
    !tag.is_empty() && tag.trim() == tag && !tag.contains(',')
}

/// The scope, after it was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    Instance,
    /// One or more full paths.
    Projects(Vec<String>),
    /// One or more full paths.
    Groups(Vec<String>),
}

impl Scope {
    pub(crate) fn reach(&self) -> Result<Reach, String> {
        match (self.instance, &self.projects, &self.groups) {
            (Some(true), None, None) => Ok(Reach::Instance),
            (Some(false) | None, None, None) => Err(
                "it is empty: write `instance: true`, or `groups:` or `projects:` with full paths"
                    .to_owned(),
            ),
            (None, Some(paths), None) if paths.is_empty() => {
                Err("`projects` lists no project".to_owned())
            }
            (None, Some(paths), None) => {
                match paths.iter().find(|path| !is_full_path(path, true)) {
                    Some(bad) => Err(format!(
                        "`{bad}` is not the full path of a project, such as `group/project`"
                    )),
                    None => Ok(Reach::Projects(paths.clone())),
                }
            }
            (None, None, Some(paths)) if paths.is_empty() => {
                Err("`groups` lists no group".to_owned())
            }
            (None, None, Some(paths)) => match paths.iter().find(|path| !is_full_path(path, false))
            {
                Some(bad) => Err(format!(
                    "`{bad}` is not the full path of a group, such as `group/subgroup`"
                )),
                None => Ok(Reach::Groups(outermost(paths))),
            },
            _ => Err(
                "`instance`, `groups` and `projects` exclude each other: keep one of them"
                    .to_owned(),
            ),
        }
    }
}

/// Without the groups that lie below another one of the list, whose projects it would list twice.
fn outermost(paths: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = paths
        .iter()
        .filter(|path| !paths.iter().any(|other| is_below(path, other)))
        .cloned()
        .collect();
    kept.sort();
    kept.dedup();
    kept
}

/// A project always lies in a group or with a user; a group need not lie in another.
fn is_full_path(path: &str, project: bool) -> bool {
    (path.contains('/') || !project)
        && path
            .split('/')
            .all(|part| !part.is_empty() && part.trim() == part)
}

impl GitLabConfig {
    pub(crate) fn rescan(&self) -> Duration {
        self.rescan.map_or(DEFAULT_RESCAN, |span| span.0)
    }

    pub(crate) fn settle(&self) -> Duration {
        self.settle.map_or(DEFAULT_SETTLE, |span| span.0)
    }

    /// The address without a slash at its end.
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
                problems.warning(["url".into()], "the tokens travel unencrypted: use https");
            }
            Ok(_) => {}
        }
        match self.scope.reach() {
            Err(message) => problems.error(["scope".into()], message),
            Ok(Reach::Projects(paths)) if self.manage_token.is_some() && paths.len() > 1 => {
                problems.error(
                    ["manage_token".into()],
                    "a runner can be made for one project or for the instance, not for several \
                     projects: list one project, or use `instance: true`",
                );
            }
            Ok(Reach::Groups(paths)) if self.manage_token.is_some() && paths.len() > 1 => {
                problems.error(
                    ["manage_token".into()],
                    "a runner can be made for one group or for the instance, not for several groups: \
                     list one group (one above them all), or use `instance: true`",
                );
            }
            Ok(_) => {}
        }
        if self.rescan() < SHORTEST_RESCAN {
            problems.error(
                ["rescan".into()],
                "shorter than 30s: every project would be looked at nearly every time; list a few \
                 `projects` if that is wanted",
            );
        }
        for (key, token) in [
            ("token", Some(&self.token)),
            ("manage_token", self.manage_token.as_ref()),
        ] {
            if token.is_some_and(SecretRef::is_literal) {
                problems.warning(
                    [key.into()],
                    "the token stands in the configuration itself: use ${env:NAME} or ${file:/path}",
                );
            }
        }
        if self.settle() < SHORTEST_SETTLE {
            problems.warning(
                ["settle".into()],
                "shorter than 53s: GitLab's long poll (50s) and a runner's check_interval (3s) may \
                 hand out a job after the runner was read as idle; lower it only if you lowered them",
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

/// Finds entries of one pool that no one runner can serve.
pub(crate) fn check_serves(serves: &[Serves], problems: &mut Problems) {
    let first = serves.first().map(|entry| entry.protected);
    let other = serves
        .iter()
        .position(|entry| Some(entry.protected) != first);
    if let Some(index) = other {
        problems.error(
            [index.into(), "protected".into()],
            "it differs from the first entry, and a machine has one runner for all of them: make two pools",
        );
    }
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

    fn problems(config: &Value) -> Vec<String> {
        let mut problems = Problems::default();
        if let Some(config) = ports::strict::read::<GitLabConfig>(config, &mut problems) {
            config.check(&mut problems);
        }
        let line = |problem: &ports::strict::Problem| {
            format!(
                "{:?} {:?} {}",
                problem.severity, problem.path, problem.message
            )
        };
        problems.0.iter().map(line).collect()
    }

    fn with(key: &str, value: Value) -> Value {
        let mut config = json!({
            "url": "https://gitlab.example.com/",
            "token": "${env:T}",
            "scope": { "instance": true },
        });
        config[key] = value;
        config
    }

    #[test]
    fn a_good_configuration_has_no_problem() {
        assert_eq!(
            problems(&with("manage_token", json!("${file:/run/t}"))),
            [""; 0]
        );
        let one = with("scope", json!({ "projects": ["acme/app"] }));
        assert_eq!(problems(&one), [""; 0]);
    }

    #[test]
    fn each_mistake_is_named() {
        for (key, value, words) in [
            ("scope", json!({ "groups": [] }), "lists no group"),
            ("scope", json!({ "groups": ["/acme"] }), "path of a group"),
            (
                "scope",
                json!({ "groups": ["acme"], "projects": ["a/b"] }),
                "exclude",
            ),
            ("rescan", json!("5s"), "shorter than 30s"),
            ("budget", json!({ "per_probe": 0 }), "per_probe"),
            (
                "scope",
                json!({ "groups": null, "instance": false }),
                "it is empty",
            ),
            ("scope", json!({}), "it is empty"),
            ("scope", json!({ "projects": [] }), "lists no project"),
            ("scope", json!({ "projects": ["app"] }), "full path"),
            (
                "scope",
                json!({ "projects": ["a/b"], "instance": true }),
                "exclude",
            ),
            ("scope", json!({ "project": ["a/b"] }), "unknown key"),
            ("url", json!("gitlab.example.com"), "not an address"),
            ("url", json!("ftp://gitlab"), "https://"),
            ("url", json!("https://me:secret@gitlab"), "use `token`"),
            ("url", json!("http://gitlab.example.com"), "unencrypted"),
            ("token", json!("glpat-xyz"), "use ${env:NAME}"),
            ("settle", json!("10s"), "53s"),
            ("settle", json!(10), "unit"),
            ("tokn", json!("x"), "unknown key"),
        ] {
            let found = problems(&with(key, value.clone())).join("\n");
            assert!(found.contains(words), "{key}: {value} gives {found}");
            assert!(!found.contains("glpat-xyz"), "{found}");
        }
    }

    #[test]
    fn managing_several_projects_is_refused() {
        let mut config = with("scope", json!({ "projects": ["a/b", "a/c"] }));
        config["manage_token"] = json!("${env:T}");
        assert!(problems(&config)[0].contains("not for several"));
    }

    #[test]
    fn managing_several_groups_is_refused_and_one_below_another_is_the_same_group() {
        let mut config = with("scope", json!({ "groups": ["acme", "other"] }));
        config["manage_token"] = json!("${env:T}");
        assert!(problems(&config)[0].contains("not for several groups"));
        config["scope"] = json!({ "groups": ["acme", "acme/mobile", "acme"] });
        assert_eq!(problems(&config), [""; 0]);
    }

    #[test]
    fn entries_that_no_one_runner_can_serve_are_refused() {
        let entry = |tag: &str, protected| Serves {
            tags: vec![tag.to_owned()],
            protected,
            ..Serves::default()
        };
        let found = |serves: &[Serves]| {
            let mut problems = Problems::default();
            check_serves(serves, &mut problems);
            problems.0
        };
        let mixed = found(&[entry("a", true), entry("b", true), entry("c", false)]);
        assert_eq!(mixed[0].path, [2.into(), "protected".into()]);
        assert!(mixed[0].message.contains("make two pools"));
        for good in [&[][..], &[entry("a", true), entry("b", true)]] {
            assert!(found(good).is_empty());
        }
    }

    #[test]
    fn an_entry_that_serves_nothing_is_refused() {
        for (entry, words) in [
            (json!({}), "serves no job"),
            (json!({ "tags": ["a,b"] }), "not a runner tag"),
            (json!({ "tags": ["a"], "protect": true }), "unknown field"),
        ] {
            let error = Serves::deserialize(&entry).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(Serves::deserialize(&json!({ "run_untagged": true })).is_ok());
    }
}
