//! The in-process CI server as a plugin: `kind: fake`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{Executor, Fit, Job};
use ports::strict::Problems;
use ports::units::Span;
use ports::{
    Emitter, EmitterContext, EmitterFacts, EmitterPlugin, ExecutorControl, Matcher, PluginError,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::FakeCi;

/// `emitters: { ci: { kind: fake } }`: an empty CI server that exists in this process only.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How long it may take to hand out a job it promised. Default 1s.
    #[serde(default)]
    pub settle: Option<Span>,
}

/// Which jobs a pool serves.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Serves {
    /// Tags the pool's machines offer; a job fits when all of its tags are among them.
    pub tags: Vec<String>,
}

/// The tag rule.
pub struct TagMatcher(Vec<Serves>);

impl Matcher for TagMatcher {
    fn fit(&self, job: &Job) -> Fit {
        let missing = |serves: &Serves| -> Vec<String> {
            let wanted = job.requirement.labels.iter();
            wanted
                .filter(|tag| !serves.tags.contains(tag))
                .map(|t| format!("tag `{t}`"))
                .collect()
        };
        match self.0.iter().map(missing).min_by_key(Vec::len) {
            Some(missing) if missing.is_empty() => Fit::Yes,
            Some(missing) => Fit::No { missing },
            None => Fit::No {
                missing: vec!["the pool serves nothing".to_owned()],
            },
        }
    }

    fn is_served_by(&self, executor: &Executor) -> bool {
        self.0
            .iter()
            .any(|serves| serves.tags.iter().all(|tag| executor.labels.contains(tag)))
    }
}

/// The plugin.
pub struct FakeEmitter;

fn server(config: &Config, context: &EmitterContext) -> FakeCi {
    let tags = |serves: &Vec<serde_json::Value>| -> Vec<String> {
        let entries = serves
            .iter()
            .filter_map(|value| Serves::deserialize(value).ok());
        entries.flat_map(|serves| serves.tags).collect()
    };
    let pools: BTreeMap<_, _> = context
        .pools
        .iter()
        .map(|(pool, serves)| (pool.clone(), tags(serves)))
        .collect();
    let settle = FakeEmitter::facts(config).settle;
    FakeCi::new(
        context.name.clone(),
        context.fleet.clone(),
        context.clock.clone(),
        settle,
        pools,
    )
}

impl EmitterPlugin for FakeEmitter {
    const KIND: &'static str = "fake";
    type Config = Config;
    type Serves = Serves;

    fn facts(config: &Config) -> EmitterFacts {
        let settle = config.settle.map_or(Duration::from_secs(1), |span| span.0);
        EmitterFacts {
            appears: false,
            settle,
            manages: true,
        }
    }
    fn check(_: &Config, _: &mut Problems) {}
    fn matcher(serves: Vec<Serves>) -> Box<dyn Matcher> {
        Box::new(TagMatcher(serves))
    }
    fn emitter(config: Config, context: &EmitterContext) -> Result<Arc<dyn Emitter>, PluginError> {
        Ok(Arc::new(server(&config, context)))
    }
    fn control(
        config: Config,
        context: &EmitterContext,
    ) -> Result<Option<Arc<dyn ExecutorControl>>, PluginError> {
        Ok(Some(Arc::new(server(&config, context))))
    }
}
