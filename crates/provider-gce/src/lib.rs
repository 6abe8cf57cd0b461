//! The Google Compute Engine plugin: machines of one project in some zones.
//!
//! The typed configuration ([`Config`], [`Offer`]) and its checks compile without Google's SDK, so that `parmanu check`,
//! `plan` and `demo` never wait for it. The feature `sdk` brings the client; without it
//! [`Gce::provider`](ports::ProviderPlugin::provider) says so.
//!
//! Four manners of Compute Engine shape the crate:
//!
//! - *Accepted is not done.* A creation is answered with an operation, and whether there was room is known when the
//!   operation ends. So it is waited for, and a wait that is given up leaves the machine's fate unknown.
//! - *A name counts in one zone.* Names and request ids come from the batch, so the same call again makes nothing in its
//!   zone; but an offer has several zones, and before anything is made again the batch is looked up by its label.
//! - *Absence must be proven.* A zone that does not answer a listing is named there, or left out; either way it is unknown.
//! - *Quotas come back at the full minute*, so a refusal says to wait until then.
//!
//! What it does not do: it keeps no memory, knows no pool and no rule, and never touches a machine that lacks its fleet's
//! label. It does not [renew](ports::Provider::renew) anything: the dead man's switch here is `max_run_duration`, which
//! Google itself enforces; a label with a date would cost one call per machine and minute of a quota that creations need.
//! Where to read on: `convert` for names and states, `launch` for what a creation says, `error` for Google's codes.
#![forbid(unsafe_code)]

mod config;
mod convert;
mod error;
mod launch;

#[cfg(feature = "sdk")]
mod broken;
#[cfg(feature = "sdk")]
mod client;
#[cfg(feature = "sdk")]
mod connect;
#[cfg(feature = "sdk")]
mod create;
#[cfg(feature = "sdk")]
mod pace;
#[cfg(feature = "sdk")]
mod provider;
#[cfg(feature = "sdk")]
mod read;

use std::sync::Arc;
use std::time::Duration;

use ports::strict::Problems;
use ports::{PluginError, Provider, ProviderContext, ProviderFacts, ProviderPlugin};

pub use config::{Config, Credentials, Disk, Offer, ServiceAccount};

/// The plugin: `kind: gce`.
#[derive(Debug, Clone, Copy)]
pub struct Gce;

/// How long a listing may lag behind the answers, if the configuration does not say. A creation counts as done only when
/// its operation is, and the machine is listed from its beginning; Google promises neither, so this allows for an index
/// that is a minute late. Shorter, and a slow listing makes a machine count as never made; longer, and a lost creation
/// blocks its place for longer.
const LISTING_LAG: Duration = Duration::from_secs(60);

/// Machines per bulkInsert call, which takes 1000. What one call asks for is also what one unanswered call leaves in
/// doubt, and what is asked for by name, one by one, where a bulk was made in part.
const BATCH_LIMIT: u32 = 100;

/// Machines are billed by the second, a minute at least (Compute Engine, "VM instance pricing").
const LEAST_BILLED: Duration = Duration::from_secs(60);

impl ProviderPlugin for Gce {
    const KIND: &'static str = "gce";
    type Config = Config;
    type Offer = Offer;
    const PLACE: &'static [&'static str] = &["/project", "/zones", "/endpoint"];

    fn facts(config: &Config) -> ProviderFacts {
        ProviderFacts {
            listing_lag: config.listing_lag.map_or(LISTING_LAG, |span| span.0),
            batch_limit: BATCH_LIMIT,
            least_billed: LEAST_BILLED,
            asks_guests: false,
        }
    }

    fn check(config: &Config, problems: &mut Problems) {
        config.check(problems);
    }

    fn check_offer(config: &Config, offer: &Offer, problems: &mut Problems) {
        offer.check(config, problems);
    }

    fn serves_for(_: &Config, offer: &Offer) -> Option<Duration> {
        offer.serves_for()
    }

    #[cfg(feature = "sdk")]
    fn provider(
        config: Config,
        context: &ProviderContext,
    ) -> Result<Arc<dyn Provider>, PluginError> {
        Ok(Arc::new(provider::Project::new(config, context)))
    }

    #[cfg(not(feature = "sdk"))]
    fn provider(_: Config, context: &ProviderContext) -> Result<Arc<dyn Provider>, PluginError> {
        Err(PluginError {
            kind: Self::KIND,
            message: format!(
                "provider {} needs Compute Engine, but this program was built without Google's SDK; build it with the \
                 feature `sdk`",
                context.name
            ),
            source: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listing_lag_can_be_set_and_has_a_default() {
        let plain: Config =
            serde_json::from_str(r#"{"project": "p", "zones": ["us-east1-b"]}"#).unwrap();
        assert_eq!(Gce::facts(&plain).listing_lag, Duration::from_secs(60));
        let set: Config = serde_json::from_str(
            r#"{"project": "p", "zones": ["us-east1-b"], "listing_lag": "45s"}"#,
        )
        .unwrap();
        assert_eq!(Gce::facts(&set).listing_lag, Duration::from_secs(45));
    }
}
