//! A changed configuration on its way to the loops that run.

use std::sync::Arc;

use config::{Registries, Settings};
use ports::{Clock, PluginError};
use service::Configured;
use tokio::sync::watch;

use crate::hooks::Hooks;
use crate::poll::Polled;
use crate::run::Probot;

/// Makes the emitters of each new configuration and hands them to [`Probot::run_with`].
pub struct Reconfigure {
    settings: Settings,
    emitters: Vec<Arc<Polled>>,
    clock: Arc<dyn Clock>,
    hooks: Option<Hooks>,
    changes: watch::Sender<Vec<Arc<Polled>>>,
}

impl Probot {
    /// What brings changes of the configuration to these loops, which were made from `settings`, and what to run them with.
    #[must_use]
    pub fn reconfigure(
        &self,
        settings: &Settings,
    ) -> (Reconfigure, watch::Receiver<Vec<Arc<Polled>>>) {
        let (changes, changed) = watch::channel(self.emitters.clone());
        let reconfigure = Reconfigure {
            settings: settings.clone(),
            emitters: self.emitters.clone(),
            clock: self.clock.clone(),
            hooks: self.hooks.clone(),
            changes,
        };
        (reconfigure, changed)
    }
}

impl Configured for Reconfigure {
    type Made = Vec<Arc<Polled>>;

    /// The emitters of a new configuration. One whose keys are what they were is the one that runs: it keeps its connections,
    /// its pace and what it has read before.
    fn made(
        &self,
        settings: &Settings,
        registries: &Registries,
    ) -> Result<Self::Made, PluginError> {
        let made = Probot::emitters(settings, registries, &self.clock)?;
        let kept = made.into_iter().map(|polled| {
            let before = self
                .emitters
                .iter()
                .find(|before| before.name == polled.name);
            match (before, Arc::try_unwrap(polled)) {
                (Some(before), Ok(polled))
                    if self.settings.has_same_emitter(settings, &polled.name) =>
                {
                    Arc::new(Polled {
                        emitter: before.emitter.clone(),
                        ..polled
                    })
                }
                (_, Ok(polled)) => Arc::new(polled),
                (_, Err(shared)) => shared,
            }
        });
        Ok(kept.collect())
    }

    fn take(&mut self, settings: &Settings, made: Self::Made) {
        if let Some(hooks) = &self.hooks {
            hooks.configure(settings);
        }
        self.settings = settings.clone();
        self.emitters.clone_from(&made);
        // nobody listens: then the loops have ended
        let _ = self.changes.send(made);
    }
}
