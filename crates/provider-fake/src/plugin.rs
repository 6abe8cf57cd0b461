//! The simulated cloud as a plugin: `kind: fake`.

use std::sync::Arc;
use std::time::Duration;

use ports::strict::Problems;
use ports::units::Span;
use ports::{PluginError, Provider, ProviderContext, ProviderFacts, ProviderPlugin};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{FakeCloud, Options};

/// Machines one call may ask for, as EC2's RunInstances allows.
const BATCH_LIMIT: u32 = 1000;

/// `providers: { sim: { kind: fake, … } }`: a cloud that exists in this process only.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Time from the creation call to a running machine. Default 30s.
    #[serde(default = "boot")]
    pub boot: Span,
    /// How long its listing lags behind. Default 0s.
    #[serde(default)]
    pub lag: Option<Span>,
    /// Machines that may exist at once. Without it there is no limit.
    #[serde(default)]
    pub capacity: Option<u32>,
}

fn boot() -> Span {
    Span::seconds(30)
}

/// An offer of the simulated cloud has no keys of its own.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Offer {}

/// The plugin.
pub struct FakeProvider;

impl Config {
    fn lag(&self) -> std::time::Duration {
        self.lag.map_or(std::time::Duration::ZERO, |span| span.0)
    }
}

impl ProviderPlugin for FakeProvider {
    const KIND: &'static str = "fake";
    type Config = Config;
    type Offer = Offer;

    fn facts(config: &Config) -> ProviderFacts {
        ProviderFacts {
            listing_lag: config.lag(),
            batch_limit: BATCH_LIMIT,
            least_billed: Duration::ZERO,
            asks_guests: true,
        }
    }
    fn check(_: &Config, _: &mut Problems) {}
    fn check_offer(_: &Config, _: &Offer, _: &mut Problems) {}

    fn provider(
        config: Config,
        context: &ProviderContext,
    ) -> Result<Arc<dyn Provider>, PluginError> {
        let options = Options {
            boot: config.boot.0,
            lag: config.lag(),
            capacity: config.capacity.unwrap_or(u32::MAX),
        };
        Ok(Arc::new(FakeCloud::new(
            context.name.clone(),
            context.clock.clone(),
            options,
        )))
    }
}
