//! A changed configuration on its way to the loop that runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::{Registries, Settings};
use ports::{Clock, PluginError};
use service::Configured;
use tokio::sync::watch;

use crate::api::Api;
use crate::run::{Parts, Scaler};

/// Makes the parts of each new configuration and hands them to [`Scaler::run_reloadable`].
pub struct Reconfigure {
    settings: Settings,
    before: Arc<Parts>,
    clock: Arc<dyn Clock>,
    api: Option<Api>,
    changes: watch::Sender<Option<Arc<Parts>>>,
}

impl Scaler {
    /// What brings changes of the configuration to this loop, which was made from `settings`, and what to run it with.
    #[must_use]
    pub fn reconfigure(
        &self,
        settings: &Settings,
        api: Option<Api>,
    ) -> (Reconfigure, watch::Receiver<Option<Arc<Parts>>>) {
        let (changes, changed) = watch::channel(None);
        let before = Parts {
            config: self.config.clone(),
            pools: self.pools.clone(),
            limits: self.limits.clone(),
            providers: self.providers.clone(),
            places: self.places.clone(),
            controls: self.controls.clone(),
            settles: self.settles.clone(),
        };
        let reconfigure = Reconfigure {
            settings: settings.clone(),
            before: Arc::new(before),
            clock: self.clock.clone(),
            api,
            changes,
        };
        (reconfigure, changed)
    }
}

impl Configured for Reconfigure {
    type Made = Arc<Parts>;

    /// The parts of a new configuration. A plugin whose keys are what they were is the one that runs: it keeps its connections,
    /// its pace and what it remembers.
    fn made(
        &self,
        settings: &Settings,
        registries: &Registries,
    ) -> Result<Self::Made, PluginError> {
        let mut providers = Scaler::providers(settings, registries, &self.clock)?;
        keep(&mut providers, &self.before.providers, |name| {
            self.settings.has_same_provider(settings, name)
        });
        let mut controls = Scaler::controls(settings, registries, &self.clock)?;
        keep(&mut controls, &self.before.controls, |name| {
            self.settings.has_same_emitter(settings, name)
        });
        Ok(Arc::new(Parts {
            config: settings.hash.clone(),
            pools: Scaler::pools(settings),
            limits: settings.limits.clone(),
            providers,
            places: Scaler::places(settings),
            controls,
            settles: Scaler::settles(settings),
        }))
    }

    fn take(&mut self, settings: &Settings, made: Self::Made) {
        if let Some(api) = &self.api {
            api.configure(settings);
        }
        self.settings = settings.clone();
        self.before = made.clone();
        // nobody listens: then the loop has ended
        let _ = self.changes.send(Some(made));
    }

    /// Whoever asks over the API is told.
    fn stale(&mut self, why: Option<&str>) {
        if let Some(api) = &self.api {
            api.config_stale(why);
        }
    }
}

/// Puts what runs in the place of what was made alike.
fn keep<N: Ord, P: Clone>(
    made: &mut BTreeMap<N, P>,
    runs: &BTreeMap<N, P>,
    is_same: impl Fn(&N) -> bool,
) {
    for (name, plugin) in made {
        if let Some(runs) = runs.get(name).filter(|_| is_same(name)) {
            *plugin = runs.clone();
        }
    }
}
