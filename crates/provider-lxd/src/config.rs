//! The keys of an LXD daemon and of an LXD offer, and what can be wrong with them.
//!
//! Checked without a network: an image or a profile that does not exist is found by the first creation.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ports::SecretRef;
use ports::strict::Problems;
use ports::units::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::convert::{MARK, USER_DATA};

/// One LXD daemon, or a cluster of them, and one project in it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `unix:/var/lib/lxd/unix.socket`, or `https://rack:8443`.
    pub url: String,
    /// The client certificate that the daemon trusts, in PEM; for `https` only.
    #[serde(default)]
    pub client_certificate: Option<SecretRef>,
    /// Its key, in PEM.
    #[serde(default)]
    pub client_key: Option<SecretRef>,
    /// The daemon's own certificate, in PEM (`server.crt` of its folder), which then is the only one believed;
    /// the system's authorities if absent.
    #[serde(default)]
    pub server_certificate: Option<SecretRef>,
    /// The project the machines live in; `default` if absent. One with limits keeps them from taking the whole host.
    #[serde(default)]
    pub project: Option<String>,
    /// How long a listing may lag behind the daemon's answers; 10s if absent.
    #[serde(default)]
    pub listing_lag: Option<Span>,
}

/// Where the daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Unix(PathBuf),
    Https(url::Url),
}

impl Config {
    pub(crate) fn address(&self) -> Result<Address, String> {
        if let Some(path) = self.url.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.starts_with('/') {
                return Err(format!(
                    "`{}` is not the full path of a socket, such as unix:/var/lib/lxd/unix.socket",
                    self.url
                ));
            }
            return Ok(Address::Unix(path.into()));
        }
        let url = url::Url::parse(&self.url).ok();
        let url = url.filter(|url| url.scheme() == "https" && url.host().is_some());
        url.map(Address::Https).ok_or_else(|| {
            format!(
                "`{}` is not an address: write unix:/var/lib/lxd/unix.socket or https://host:8443",
                self.url
            )
        })
    }

    /// Finds what is wrong beyond the types.
    pub(crate) fn check(&self, problems: &mut Problems) {
        let certificates = [
            ("client_certificate", &self.client_certificate),
            ("client_key", &self.client_key),
            ("server_certificate", &self.server_certificate),
        ];
        match self.address() {
            Err(message) => problems.error(["url".into()], message),
            Ok(Address::Unix(_)) => {
                for (key, _) in certificates.iter().filter(|(_, value)| value.is_some()) {
                    let message = "a unix socket needs no certificate: leave it out";
                    problems.error([(*key).into()], message);
                }
            }
            Ok(Address::Https(_)) => {
                for (key, _) in certificates[..2].iter().filter(|(_, v)| v.is_none()) {
                    let message =
                        format!("over https LXD knows us by a client certificate: give `{key}`");
                    problems.error(["url".into()], message);
                }
            }
        }
        if self.client_key.as_ref().is_some_and(SecretRef::is_literal) {
            let message = "a secret stands in the file; write ${env:NAME} or ${file:/path} instead";
            problems.warning(["client_key".into()], message);
        }
        if let Some(project) = self.project.as_ref().filter(|name| !is_name(name)) {
            problems.error(
                ["project".into()],
                format!("`{project}` is not the name of a project"),
            );
        }
    }
}

/// What kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A system container: starts in a second, shares the host's kernel.
    #[default]
    Container,
    /// A virtual machine.
    VirtualMachine,
}

/// One way to get a machine from LXD.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// Alias or fingerprint of an image that the daemon has.
    pub image: String,
    /// Container, if absent.
    #[serde(default, rename = "type")]
    pub kind: Kind,
    /// Profiles, in order; LXD's own `default` profile, if absent.
    #[serde(default)]
    pub profiles: Option<Vec<String>>,
    /// More configuration keys, such as `limits.cpu`; their values are texts.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// Devices by name, each with its keys; what the profiles say, if absent.
    #[serde(default)]
    pub devices: BTreeMap<String, BTreeMap<String, String>>,
    /// The member of a cluster to create on, or `@group`; LXD chooses, if absent.
    #[serde(default)]
    pub target: Option<String>,
}

impl Offer {
    /// Finds what is wrong beyond the types.
    pub(crate) fn check(&self, problems: &mut Problems) {
        if self.image.trim().is_empty() {
            problems.error(["image".into()], "name an image, by alias or fingerprint");
        }
        for key in self.config.keys() {
            let message = if key == USER_DATA {
                "the boot script comes from the machine's `bootstrap`"
            } else if key.starts_with(MARK) {
                "Parmanu's own marks cannot be set"
            } else if key.starts_with("volatile.") {
                "LXD's own notes cannot be set"
            } else {
                continue;
            };
            problems.error(["config".into(), key.as_str().into()], message);
        }
        for (name, device) in &self.devices {
            if !device.contains_key("type") {
                let message = "a device needs a `type`, such as disk, nic or proxy";
                problems.error(["devices".into(), name.as_str().into()], message);
            }
        }
    }

    /// Whether the image is named by its fingerprint (at least the 12 digits that LXD prints).
    pub(crate) fn is_fingerprint(&self) -> bool {
        self.image.len() >= 12 && self.image.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn account(config: &Value) -> Vec<String> {
        let mut problems = Problems::default();
        if let Some(config) = ports::strict::read::<Config>(config, &mut problems) {
            config.check(&mut problems);
        }
        problems.0.into_iter().map(|found| found.message).collect()
    }

    fn offer(offer: &Value) -> Vec<String> {
        let mut problems = Problems::default();
        if let Some(offer) = ports::strict::read::<Offer>(offer, &mut problems) {
            offer.check(&mut problems);
        }
        problems.0.into_iter().map(|found| found.message).collect()
    }

    #[test]
    fn good_accounts_have_no_problem() {
        for url in [
            "unix:/var/lib/lxd/unix.socket",
            "unix:///var/lib/lxd/unix.socket",
        ] {
            assert_eq!(account(&json!({ "url": url })), [""; 0]);
        }
        let https = json!({
            "url": "https://rack:8443", "project": "ci",
            "client_certificate": "${file:/run/c}", "client_key": "${file:/run/k}",
        });
        assert_eq!(account(&https), [""; 0]);
    }

    #[test]
    fn each_mistake_of_an_account_is_named() {
        for (config, words) in [
            (
                json!({ "url": "/var/lib/lxd/unix.socket" }),
                "not an address",
            ),
            (json!({ "url": "unix:unix.socket" }), "full path"),
            (json!({ "url": "http://rack:8443" }), "not an address"),
            (json!({ "url": "https://rack:8443" }), "client_certificate"),
            (
                json!({ "url": "unix:/s", "client_key": "${env:K}" }),
                "needs no certificate",
            ),
            (
                json!({ "url": "unix:/s", "project": "a/b" }),
                "not the name",
            ),
            (json!({ "url": "unix:/s", "projct": "a" }), "unknown key"),
        ] {
            let found = account(&config).join("\n");
            assert!(found.contains(words), "{config} gives {found}");
        }
    }

    #[test]
    fn each_mistake_of_an_offer_is_named() {
        assert_eq!(offer(&json!({ "image": "debian" })), [""; 0]);
        for (config, words) in [
            (json!({ "image": "" }), "name an image"),
            (
                json!({ "image": "d", "config": { "user.user-data": "x" } }),
                "bootstrap",
            ),
            (
                json!({ "image": "d", "config": { "user.parmanu-fleet": "x" } }),
                "own marks",
            ),
            (
                json!({ "image": "d", "devices": { "eth0": {} } }),
                "needs a `type`",
            ),
            (json!({ "image": "d", "imag": "x" }), "unknown key"),
        ] {
            let found = offer(&config).join("\n");
            assert!(found.contains(words), "{config} gives {found}");
        }
    }
}
