//! The LXD plugin: machines of one LXD daemon or cluster, in one project.
//!
//! Speaks LXD's REST API, which Incus inherited, over the daemon's unix socket or over HTTPS with a client
//! certificate. Three manners of LXD shape the crate:
//!
//! - *Accepted is not done.* Creating, starting, stopping and deleting are operations: the call is answered at
//!   once, and what became of it is read from the operation. A duplicate name is accepted first and fails then.
//! - *A status tells little.* A used-up quota is a 500, an unknown image a 404, a busy machine a 400: the words
//!   decide, see `error`.
//! - *A failed creation leaves things behind.* A machine that was created and cannot be started is deleted
//!   again, or reported as unknown.
//!
//! What it does not do: it keeps no memory, knows no pool and no rule, and never touches a machine that lacks its
//! fleet's mark. Where to read on: `convert` for marks and states, `provider` for the order of the calls.
#![forbid(unsafe_code)]

mod client;
mod config;
mod convert;
mod error;
mod provider;

use std::sync::Arc;
use std::time::Duration;

use ports::strict::Problems;
use ports::{PluginError, Provider, ProviderContext, ProviderFacts, ProviderPlugin};

pub use config::{Config, Kind, Offer};

/// The plugin: `kind: lxd`.
#[derive(Debug, Clone, Copy)]
pub struct Lxd;

/// How long LXD's list may lag behind its answers, if the configuration does not say. The record of a machine is
/// written when its creation begins, so the list itself does not lag; but a daemon that was asked and then killed
/// may be away for some seconds. Shorter, and such a creation counts as never made too early; longer, and a lost
/// one blocks its place for longer.
const LISTING_LAG: Duration = Duration::from_secs(10);

/// Machines of one batch. Each is a call of its own at LXD, a few at a time, within the minute that the scaler
/// gives one creation; a slow storage pool takes ten seconds for one.
const BATCH_LIMIT: u32 = 8;

impl ProviderPlugin for Lxd {
    const KIND: &'static str = "lxd";
    type Config = Config;
    type Offer = Offer;
    const PLACE: &'static [&'static str] = &["/url", "/project"];

    fn facts(config: &Config) -> ProviderFacts {
        ProviderFacts {
            listing_lag: config.listing_lag.map_or(LISTING_LAG, |span| span.0),
            batch_limit: BATCH_LIMIT,
            least_billed: Duration::ZERO,
            asks_guests: true,
        }
    }

    fn check(config: &Config, problems: &mut Problems) {
        config.check(problems);
    }

    fn check_offer(_: &Config, offer: &Offer, problems: &mut Problems) {
        offer.check(problems);
    }

    fn provider(
        config: Config,
        context: &ProviderContext,
    ) -> Result<Arc<dyn Provider>, PluginError> {
        Ok(Arc::new(provider::Daemon::new(&config, context)?))
    }
}
