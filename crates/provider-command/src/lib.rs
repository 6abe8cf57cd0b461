//! The command plugin: machines of anything that a program can drive, such as `virsh`, `govc` or a script of one's own.
//!
//! Each call starts the program once, writes one JSON request to its standard input and reads one JSON reply from its
//! standard output. The contract is versioned: its types stand in `wire`, its JSON Schema in `schema/v1.json`, and what an
//! author of a program needs in docs/providers/command.md. Three thoughts shape the crate:
//!
//! - *A program is somebody's first draft.* It may hang, flood, die half-way or say nonsense. Whatever it does ends as a typed
//!   outcome within bounded time and memory, and leaves no process behind.
//! - *A program that began may have acted.* Once it was started, only its own words say that nothing happened. A change
//!   that was cut off, or whose reply cannot be read, is unknown; a listing that cannot be read is an error, never a
//!   short one.
//! - *Marks are tags.* What Parmanu must find again on a machine is one flat map of strings, which a program keeps and gives back
//!   without understanding it. What comes back with another fleet's mark, or none, is dropped.
//!
//! What it does not do: it limits processes at once but no calls per second, for only the program knows what the API behind it
//! bears, and says `rate_limited`. It keeps nothing about machines between calls. Where to read on: `program` for the
//! process, `convert` for replies, `provider` for the verbs.
#![forbid(unsafe_code)]

mod config;
mod convert;
mod error;
mod listen;
mod program;
mod provider;
mod wire;
mod words;

use std::sync::Arc;
use std::time::Duration;

use ports::strict::Problems;
use ports::{PluginError, Provider, ProviderContext, ProviderFacts, ProviderPlugin};

pub use config::{Config, Offer, Timeouts};

/// The plugin: `kind: command`.
#[derive(Debug, Clone, Copy)]
pub struct Command;

/// How long a listing may lag, if the configuration does not say. Nobody knows what is behind a program; a hypervisor's own
/// list does not lag, and the slowest public cloud that we know takes two minutes at its worst. Too short, and a machine
/// is made twice; too long, and a creation that came to nothing blocks its place, and a start on an empty store waits, for
/// as long.
const LISTING_LAG: Duration = Duration::from_secs(60);

/// Machines of one creation, if the configuration does not say: the call has to end within the minute that the scaler gives
/// it, and a program that makes one machine after the other at six seconds each still does.
const BATCH_LIMIT: u32 = 8;

impl ProviderPlugin for Command {
    const KIND: &'static str = "command";
    type Config = Config;
    type Offer = Offer;

    fn facts(config: &Config) -> ProviderFacts {
        ProviderFacts {
            listing_lag: config.listing_lag.map_or(LISTING_LAG, |span| span.0),
            batch_limit: config.batch_limit.unwrap_or(BATCH_LIMIT),
            least_billed: config.least_billed.map_or(Duration::ZERO, |span| span.0),
            asks_guests: false,
        }
    }

    fn check(config: &Config, problems: &mut Problems) {
        config.check(problems);
    }

    fn check_offer(_: &Config, _: &Offer, _: &mut Problems) {
        // what stands in `spec` is between the operator and the program
    }

    fn provider(
        config: Config,
        context: &ProviderContext,
    ) -> Result<Arc<dyn Provider>, PluginError> {
        Ok(Arc::new(provider::Driver::new(config, context)))
    }
}
