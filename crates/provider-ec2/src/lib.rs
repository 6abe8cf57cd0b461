//! The EC2 plugin: machines of one AWS account in one region.
//!
//! The typed configuration ([`Config`], [`Offer`]) and its checks compile without the AWS SDK, so that
//! `parmanu check`, `plan` and `demo` never wait for half a gigabyte of generated code. The feature
//! `sdk` brings the client; without it [`Ec2::provider`](ports::ProviderPlugin::provider) says so.
//!
//! Three promises shape the crate, all about money:
//!
//! - *One batch, one set.* Each creation call carries the batch's token, and an offer with several
//!   places looks the batch up by its tag before it launches, because EC2's token counts in one zone only.
//! - *No answer is not "no".* A broken link or a bare 5xx is [`Outcome::Unknown`](ports::Outcome), so the
//!   SDK's own retries, which would hide it, are off.
//! - *Absence must be proven.* A listing that lost a page says so.
//!
//! What it does not do: it keeps no memory, knows no pool and no rule, and never touches a machine that
//! lacks its fleet's tag. Where to read on: `convert` for names and states, `error` for EC2's codes.
#![forbid(unsafe_code)]

mod config;
mod convert;
mod error;
mod prices;

#[cfg(feature = "sdk")]
mod broken;
#[cfg(feature = "sdk")]
mod budget;
#[cfg(feature = "sdk")]
mod client;
#[cfg(feature = "sdk")]
mod connect;
#[cfg(feature = "sdk")]
mod create;
#[cfg(feature = "sdk")]
mod each;
#[cfg(feature = "sdk")]
mod images;
#[cfg(feature = "sdk")]
mod launch;
#[cfg(feature = "sdk")]
mod leftovers;
#[cfg(feature = "sdk")]
mod provider;
#[cfg(all(test, feature = "sdk"))]
mod wave;
#[cfg(feature = "sdk")]
mod whole;

use std::sync::Arc;
use std::time::Duration;

use ports::strict::Problems;
use ports::{PluginError, Provider, ProviderContext, ProviderFacts, ProviderPlugin};

pub use config::{
    AssumeRole, Config, Credentials, ImageName, Keys, LaunchTemplate, Offer, Volume, WebIdentity,
};

/// The plugin: `kind: ec2`.
#[derive(Debug, Clone, Copy)]
pub struct Ec2;

/// How long EC2's listing may lag behind its answers, if the configuration does not say. AWS names no bound
/// and advises to wait "from a couple of seconds to several minutes"; two minutes is what other autoscalers
/// allow. Shorter, and a slow listing makes a machine count as never made; longer, and a lost creation
/// blocks its place for longer.
const LISTING_LAG: Duration = Duration::from_secs(120);

/// Machines per RunInstances call: five calls may be made at once, and a thousand machines started at once, so this is
/// what lets one wave use both. The RunInstances reference advises several smaller calls instead of one of 500; and what
/// one call asks for is also what one unanswered call leaves in doubt.
const BATCH_LIMIT: u32 = 200;
/// Instances are billed by the second, a minute at least (AWS, "EC2 On-Demand pricing").
const LEAST_BILLED: Duration = Duration::from_secs(60);

impl ProviderPlugin for Ec2 {
    const KIND: &'static str = "ec2";
    type Config = Config;
    type Offer = Offer;
    const PLACE: &'static [&'static str] = &[
        "/region",
        "/endpoint",
        "/credentials/profile",
        "/credentials/assume_role/role",
        "/credentials/web_identity/role",
    ];

    fn facts(config: &Config) -> ProviderFacts {
        ProviderFacts {
            listing_lag: config.listing_lag.map_or(LISTING_LAG, |span| span.0),
            batch_limit: BATCH_LIMIT,
            least_billed: LEAST_BILLED,
            asks_guests: true,
        }
    }

    fn check(config: &Config, problems: &mut Problems) {
        config.check(problems);
    }

    fn check_offer(config: &Config, offer: &Offer, problems: &mut Problems) {
        offer.check(config, problems);
    }

    fn price_hint(_: &Config, offer: &Offer) -> Option<String> {
        prices::hint(offer.types.first()?)
    }

    #[cfg(feature = "sdk")]
    fn provider(
        config: Config,
        context: &ProviderContext,
    ) -> Result<Arc<dyn Provider>, PluginError> {
        Ok(Arc::new(provider::Account::new(config, context)))
    }

    #[cfg(not(feature = "sdk"))]
    fn provider(_: Config, context: &ProviderContext) -> Result<Arc<dyn Provider>, PluginError> {
        Err(PluginError {
            kind: Self::KIND,
            message: format!(
                "provider {} needs EC2, but this program was built without the AWS SDK; build it with the feature `sdk`",
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
        let plain: Config = serde_json::from_str(r#"{"region": "eu-central-1"}"#).unwrap();
        assert_eq!(Ec2::facts(&plain).listing_lag, Duration::from_secs(120));
        let set: Config =
            serde_json::from_str(r#"{"region": "eu-central-1", "listing_lag": "45s"}"#).unwrap();
        assert_eq!(Ec2::facts(&set).listing_lag, Duration::from_secs(45));
    }
}
