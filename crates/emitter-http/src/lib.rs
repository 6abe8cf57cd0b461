//! Any JSON API as a CI server, described in YAML: requests, pages, and expressions from answers to jobs and executors.
//!
//! It exists so that a new platform needs no Rust. It knows no platform; recipes for some are in `config/emitters`. It
//! looks and never touches: the port promises that a cordon carries the epoch's mark at the CI server, that another
//! epoch's mark is never lifted, and that *certainly idle* is the platform's own word. No table of expressions can promise
//! that for a server it does not know, and a promise that is only nearly kept kills a build. So there is no control half,
//! and its pools run in the read-only mode. A platform that needs more gets a plugin of its own.

#![forbid(unsafe_code)]

mod client;
mod config;
mod convert;
mod doubts;
mod emitter;
mod expression;
mod fetch;
mod matcher;
mod template;
mod value;

use std::sync::Arc;
use std::time::Duration;

use ports::strict::Problems;
use ports::{
    Emitter, EmitterContext, EmitterFacts, EmitterPlugin, ExecutorControl, Matcher, PluginError,
    Report,
};

pub use config::{
    Class, CompleteConfig, CursorPages, ExecutorWord, ExecutorsConfig, ForEachConfig, HttpConfig,
    JobsConfig, LoginConfig, NumberPages, PagesConfig, RequestConfig, Serves, TokenConfig,
};
pub use expression::Expression;
pub use matcher::HttpMatcher;

use crate::config::KIND;
use crate::emitter::HttpEmitter;
use crate::fetch::Fetcher;

/// The plugin of kind `http`.
#[derive(Debug)]
pub struct Http;

impl EmitterPlugin for Http {
    const KIND: &'static str = KIND;
    /// Where `memory_free` and `load` are given; where they are not, a rule says that nobody reports.
    const REPORTS: &'static [Report] = &[Report::Memory, Report::Load];
    type Config = HttpConfig;
    type Serves = Serves;

    fn facts(_: &HttpConfig) -> EmitterFacts {
        EmitterFacts {
            appears: false,
            // nothing is cordoned here, so nothing settles
            settle: Duration::ZERO,
            manages: false,
        }
    }

    fn check(config: &HttpConfig, problems: &mut Problems) {
        config.check(problems);
    }

    fn matcher(serves: Vec<Serves>) -> Box<dyn Matcher> {
        Box::new(HttpMatcher::new(serves))
    }

    fn emitter(
        config: HttpConfig,
        context: &EmitterContext,
    ) -> Result<Arc<dyn Emitter>, PluginError> {
        let fetcher = Fetcher::new(&config, &context.clock)?;
        Ok(Arc::new(HttpEmitter {
            name: context.name.clone(),
            fetcher,
            config,
            pools: context.pools.keys().cloned().collect(),
            clock: context.clock.clone(),
            probe_timeout: context.probe_timeout,
        }))
    }

    fn control(
        _: HttpConfig,
        _: &EmitterContext,
    ) -> Result<Option<Arc<dyn ExecutorControl>>, PluginError> {
        Ok(None)
    }
}
