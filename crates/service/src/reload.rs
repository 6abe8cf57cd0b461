//! The configuration read again: when its files hold something else, and on SIGHUP.
//!
//! Whole or not at all. A new configuration is read, checked and made into plugins beside the one in force; only then do the
//! loops get it, each between two of its turns. One that cannot be used changes nothing: the last good one stays in force, and
//! the log, the metrics and whoever the loops tell say so until the files are mended. The service stays ready meanwhile, since
//! it does its work.
//!
//! The files are looked at every few seconds and compared by content ([`config::Trace`] says why). Notifications of the file
//! system would need that look all the same, for mounts that send none, and news of a configuration is not urgent: Kubernetes
//! takes up to a minute to bring it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use config::{LoadError, Registries, Settings, StoreSettings, Trace};
use ports::Clock;
use telemetry::metrics::Reloaded;
use telemetry::{Metrics, chain};
use tokio::signal::unix::Signal;
use tokio::sync::oneshot::{self, error::RecvError};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::Service;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A change is read when it has stood still for so long: a file may be half written.
const SETTLED: Duration = Duration::from_millis(500);

/// When files that do not answer are said to be late.
const LATE: Duration = Duration::from_secs(10);

/// Longest text of a failure that is passed on to be shown; the log has it whole.
const SHOWN: usize = 2000;

/// What takes a new configuration: the loops of one process, or two of them together. In two steps, so that nothing is handed
/// over when any of it cannot be made.
pub trait Configured: Send {
    /// What the loops need.
    type Made;

    /// Makes what the loops need.
    ///
    /// # Errors
    ///
    /// When a plugin refuses its keys; the last good configuration stays in force.
    fn made(
        &self,
        settings: &Settings,
        registries: &Registries,
    ) -> Result<Self::Made, ports::PluginError>;

    /// Hands it to the loops.
    fn take(&mut self, settings: &Settings, made: Self::Made);

    /// Is told why the files are not what is in force, and `None` when they are again.
    fn stale(&mut self, why: Option<&str>) {
        let _ = why;
    }
}

impl<A: Configured, B: Configured> Configured for (A, B) {
    type Made = (A::Made, B::Made);

    fn made(
        &self,
        settings: &Settings,
        registries: &Registries,
    ) -> Result<Self::Made, ports::PluginError> {
        let first = self.0.made(settings, registries)?;
        Ok((first, self.1.made(settings, registries)?))
    }

    fn take(&mut self, settings: &Settings, (first, second): Self::Made) {
        self.0.take(settings, first);
        self.1.take(settings, second);
    }

    fn stale(&mut self, why: Option<&str>) {
        self.0.stale(why);
        self.1.stale(why);
    }
}

/// What a running process cannot change: it is said, and nothing of the new configuration is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NeedsRestart {
    /// It would own other machines.
    #[error("`fleet` changed: start the services again to act for another fleet")]
    Fleet,
    /// Its leases are in the old one.
    #[error("`store` changed: start probot and scaler again so that they meet at the new one")]
    Store,
}

impl NeedsRestart {
    /// What of a change a running process cannot take, if anything.
    #[must_use]
    pub fn of(before: &Settings, after: &Settings) -> Option<Self> {
        if before.fleet != after.fleet {
            return Some(NeedsRestart::Fleet);
        }
        (!same_store(&before.store, &after.store)).then_some(NeedsRestart::Store)
    }
}

fn same_store(before: &StoreSettings, after: &StoreSettings) -> bool {
    match (before, after) {
        (StoreSettings::Memory, StoreSettings::Memory) => true,
        (StoreSettings::Redis(one), StoreSettings::Redis(other)) => one == other,
        (StoreSettings::Memory | StoreSettings::Redis { .. }, _) => false,
    }
}

/// Reads the configuration of one process again.
#[derive(Debug)]
pub struct Reloads {
    path: PathBuf,
    hangup: Signal,
}

impl Reloads {
    pub(crate) fn new(path: PathBuf, hangup: Signal) -> Self {
        Reloads { path, hangup }
    }
}

impl Service {
    /// Reads the configuration again until the service stops, each time that its files change or a SIGHUP comes.
    pub async fn reload_into(&mut self, loops: impl Configured) {
        let mut reloader = Reloader {
            path: self.reloads.path.clone(),
            in_force: Arc::new(self.settings.clone()),
            registries: Arc::new(crate::registries()),
            metrics: self.metrics.clone(),
            said: None,
            loops,
        };
        let stop = self.stop.clone();
        let hangup = &mut self.reloads.hangup;
        reloader.run(hangup, &*self.clock, &stop).await;
    }
}

struct Reloader<L> {
    path: PathBuf,
    in_force: Arc<Settings>,
    registries: Arc<Registries>,
    metrics: Arc<Metrics>,
    /// Why the files are not what is in force, as it was said last.
    said: Option<String>,
    loops: L,
}

impl<L: Configured> Reloader<L> {
    async fn run(&mut self, hangup: &mut Signal, clock: &dyn Clock, stop: &CancellationToken) {
        // nothing yet: the files may have changed since they were read at the start
        let mut seen = None;
        loop {
            let asked = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(()) = hangup.recv() => true,
                () = clock.sleep(LOOK_EVERY) => false,
            };
            let Some(found) = self.trace(clock, stop).await else {
                continue;
            };
            let found = Some(found);
            // of a configuration that cannot be used it is not known which files it needs: it is read until it can
            if !asked && found == seen && self.said.is_none() {
                continue;
            }
            if !asked && found != seen {
                clock.sleep(SETTLED).await;
                if self.trace(clock, stop).await != found {
                    continue;
                }
            }
            if asked {
                info!(config = %self.path.display(), "SIGHUP: the configuration is read again");
            }
            let (path, registries) = (self.path.clone(), self.registries.clone());
            let load = move || config::load(&path, &registries);
            let Some(loaded) = self.aside(clock, stop, load).await else {
                continue;
            };
            let before = self.in_force.hash.clone();
            self.reload(loaded, asked || (seen.is_some() && found != seen));
            // as they were before they were read: what was written since is another change. A new configuration may need other
            // files, and of those nothing was seen
            seen = found.filter(|_| self.in_force.hash == before);
        }
    }

    async fn trace(&mut self, clock: &dyn Clock, stop: &CancellationToken) -> Option<Trace> {
        let (path, in_force) = (self.path.clone(), self.in_force.clone());
        self.aside(clock, stop, move || Trace::of(&path, &in_force))
            .await
    }

    /// Reads files on a thread of its own, since a mount that hangs would hold a worker of the runtime, and SIGTERM with it.
    /// Not one of the runtime's own for such work: at its end the runtime waits for those. Whatever is late is waited for, so
    /// that there is never more than one; `None` when the service stops first, or when nothing could be read at all.
    async fn aside<T: Send + 'static>(
        &mut self,
        clock: &dyn Clock,
        stop: &CancellationToken,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, mut answered) = oneshot::channel();
        let reads = move || {
            // nobody waits any more: the service stops
            let _ = answer.send(read());
        };
        let thread = std::thread::Builder::new().name("configuration".to_owned());
        if let Err(error) = thread.spawn(reads) {
            error!(%error, "no thread to read the configuration with: it is tried again");
            return None;
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            answer = &mut answered => return self.answered(answer),
            () = clock.sleep(LATE) => {}
        }
        let path = self.path.display();
        let why = format!("{path} has not answered for {LATE:?}: see whether its mount hangs");
        error!(config = %path, in_force = %self.in_force.hash, "the files of the configuration do not answer: the last good one stays in force; see whether their mount hangs");
        self.loops.stale(Some(&why));
        let answer = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            answer = answered => answer,
        };
        info!(config = %self.path.display(), "the files of the configuration answer again");
        self.loops.stale(self.said.as_deref().map(shown));
        self.answered(answer)
    }

    fn answered<T>(&self, answer: Result<T, RecvError>) -> Option<T> {
        let path = self.path.display();
        answer
            .inspect_err(|_| error!(config = %path, "READING THE CONFIGURATION BROKE: the last good one stays in force; please report this"))
            .ok()
    }

    /// `is_news` when the files changed or somebody asked, and not when a file that failed is only tried again.
    fn reload(&mut self, loaded: Result<(Settings, config::Report), LoadError>, is_news: bool) {
        let outcome = match loaded {
            Ok((settings, warnings)) => self.take(settings, &warnings),
            Err(error) => Err((Reloaded::Invalid, words(&error))),
        };
        match outcome {
            Ok(outcome) => {
                if is_news || self.said.is_some() || outcome == Reloaded::Applied {
                    self.metrics.reloaded(outcome);
                }
                if is_news && outcome == Reloaded::Unchanged {
                    let config = &self.in_force.hash;
                    info!(%config, "the configuration means what it meant: nothing changes");
                }
                if self.said.take().is_some() {
                    self.loops.stale(None);
                    info!(config = %self.in_force.hash, "the files are what is in force again");
                }
            }
            Err((outcome, why)) => {
                let same = self.said.as_ref() == Some(&why);
                if is_news || !same {
                    self.metrics.reloaded(outcome);
                    error!(
                        config = %self.path.display(),
                        in_force = %self.in_force.hash,
                        error = why,
                        "THE CONFIGURATION IS NOT TAKEN: the last good one stays in force; mend the files (`parmanu check` says the same)"
                    );
                    self.loops.stale(Some(shown(&why)));
                }
                self.said = Some(why);
            }
        }
    }

    fn take(
        &mut self,
        settings: Settings,
        warnings: &config::Report,
    ) -> Result<Reloaded, (Reloaded, String)> {
        if settings.hash == self.in_force.hash {
            return Ok(Reloaded::Unchanged);
        }
        if let Some(why) = NeedsRestart::of(&self.in_force, &settings) {
            return Err((Reloaded::NeedsRestart, why.to_string()));
        }
        let made = self.loops.made(&settings, &self.registries);
        let made = made.map_err(|error| (Reloaded::Invalid, chain(&error).to_string()))?;
        self.loops.take(&settings, made);
        for warning in &warnings.0 {
            warn!(warning = %warning.message, file = %warning.file, "configuration");
        }
        info!(before = %self.in_force.hash, config = %settings.hash, "a new configuration is in force");
        self.in_force = Arc::new(settings);
        Ok(Reloaded::Applied)
    }
}

fn words(error: &LoadError) -> String {
    match error {
        LoadError::Invalid { report } => report.to_string(),
        LoadError::Io { .. } => chain(error).to_string(),
    }
}

/// The beginning of a long text, cut between two characters.
fn shown(why: &str) -> &str {
    let end = (0..=SHOWN.min(why.len())).rev();
    let end = end.into_iter().find(|end| why.is_char_boundary(*end));
    &why[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::sync::Mutex;

    use ports::PluginError;
    use telemetry::metrics::Service as Half;
    use tempfile::TempDir;

    use super::*;

    const FILE: &str = include_str!("../../config/tests/data/small.yaml");

    /// Notes what loops are told.
    #[derive(Clone, Default)]
    struct Told {
        said: Arc<Mutex<Vec<String>>>,
        /// What somebody writes at the very moment in which they are handed a configuration.
        then: Arc<Mutex<Option<(PathBuf, String)>>>,
    }

    impl Told {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut *self.said.lock().unwrap())
        }
    }

    impl Configured for Told {
        type Made = u32;

        fn made(&self, settings: &Settings, _: &Registries) -> Result<u32, PluginError> {
            let pools = settings.pools.values();
            Ok(pools.map(|pool| pool.policy.max).sum())
        }

        fn take(&mut self, _: &Settings, max: u32) {
            self.said.lock().unwrap().push(format!("max {max}"));
            if let Some((path, text)) = self.then.lock().unwrap().take() {
                std::fs::write(path, text).unwrap();
            }
        }

        fn stale(&mut self, why: Option<&str>) {
            let why = why.map_or("in force again", |why| why.lines().next().unwrap_or(why));
            self.said.lock().unwrap().push(why.to_owned());
        }
    }

    struct Case {
        folder: TempDir,
        told: Told,
        reloader: Reloader<Told>,
    }

    impl Case {
        fn new() -> Self {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("parmanu.yaml");
            std::fs::write(&path, FILE).unwrap();
            let registries = crate::registries();
            let told = Told::default();
            let reloader = Reloader {
                in_force: Arc::new(config::load(&path, &registries).unwrap().0),
                path,
                registries: Arc::new(registries),
                metrics: Arc::new(Metrics::new(Half::Scaler)),
                said: None,
                loops: told.clone(),
            };
            Case {
                folder,
                told,
                reloader,
            }
        }

        fn writes(&mut self, text: &str) -> Vec<String> {
            std::fs::write(self.folder.path().join("parmanu.yaml"), text).unwrap();
            self.reload(true);
            self.told.take()
        }

        fn reload(&mut self, is_news: bool) {
            let reloader = &mut self.reloader;
            let loaded = config::load(&reloader.path, &reloader.registries);
            reloader.reload(loaded, is_news);
        }

        fn counted(&self, series: &str) -> bool {
            let text = self.reloader.metrics.exposition();
            text.lines().any(|line| line == format!("parmanu_{series}"))
        }
    }

    /// All time passes at once; only nothing is ever late, unless that is said.
    struct NoTime {
        late: bool,
    }

    #[async_trait::async_trait]
    impl Clock for NoTime {
        fn now(&self) -> jiff::Timestamp {
            jiff::Timestamp::UNIX_EPOCH
        }
        fn boottime(&self) -> Duration {
            Duration::ZERO
        }
        async fn sleep(&self, time: Duration) {
            if time == LATE && !self.late {
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Runs the reloader until the loops were told so many things, then stops it. Gives what they were told.
    fn told(mut case: Case, clock: NoTime, many: usize) -> Vec<String> {
        let (told, stop) = (case.told.clone(), CancellationToken::new());
        let (ended, end) = std::sync::mpsc::channel();
        let stopped = stop.clone();
        std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(async {
                let mut hangup =
                    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).unwrap();
                let run = case.reloader.run(&mut hangup, &clock, &stopped);
                let enough = async {
                    while told.said.lock().unwrap().len() < many && !stopped.is_cancelled() {
                        tokio::task::yield_now().await;
                    }
                    stopped.cancel();
                };
                tokio::join!(run, enough);
            });
            drop(runtime);
            ended.send(told.take()).unwrap();
        });
        let said = end.recv_timeout(Duration::from_secs(30));
        stop.cancel();
        said.or_else(|_| end.recv_timeout(Duration::from_secs(30)))
            .expect("it stops")
    }

    #[test]
    fn files_that_do_not_answer_are_said_once_and_keep_nobody_from_stopping() {
        let case = Case::new();
        // to open a pipe that nobody writes to takes for ever, as on a mount that hangs
        std::fs::remove_file(&case.reloader.path).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(&case.reloader.path)
            .status();
        assert!(made.unwrap().success());
        let said = told(case, NoTime { late: true }, 1);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("see whether its mount hangs"), "{said:?}");
    }

    /// The files were noted as seen after the configuration had been read from them: what was written in between was taken for
    /// what is in force, for ever.
    #[test]
    fn what_is_written_while_a_configuration_is_taken_is_seen() {
        let case = Case::new();
        let path = case.reloader.path.clone();
        std::fs::write(&path, FILE.replace("max: 10", "max: 11")).unwrap();
        let next = FILE.replace("max: 10", "max: 12");
        *case.told.then.lock().unwrap() = Some((path, next));
        let said = told(case, NoTime { late: false }, 2);
        assert_eq!(said, ["max 11", "max 12"]);
    }

    #[test]
    fn a_good_one_is_in_force() {
        let mut case = Case::new();
        assert_eq!(case.writes(&FILE.replace("max: 10", "max: 11")), ["max 11"]);
        assert!(case.counted("config_reloads_total{outcome=\"applied\"} 1"));
        assert!(case.counted("config_stale 0"));
    }

    #[test]
    fn one_that_means_the_same_is_not_handed_over() {
        let mut case = Case::new();
        assert_eq!(case.writes(&format!("# why\n{FILE}")), [""; 0]);
        assert!(case.counted("config_reloads_total{outcome=\"unchanged\"} 1"));
    }

    #[test]
    fn an_invalid_one_leaves_the_last_good_one_and_is_said_once_until_it_is_mended() {
        let mut case = Case::new();
        let said = case.writes(&FILE.replace("max: 10", "maxx: 10"));
        assert_eq!(said, ["error: missing the key `max`"]);
        assert!(case.counted("config_stale 1"));
        case.reload(false);
        assert_eq!(case.told.take(), [""; 0], "it is tried again in silence");
        assert!(case.counted("config_reloads_total{outcome=\"invalid\"} 1"));
        assert_eq!(case.writes(FILE), ["in force again"]);
        assert!(case.counted("config_stale 0"));
    }

    #[test]
    fn of_another_fleet_or_store_nothing_is_taken() {
        let mut case = Case::new();
        for (changed, said) in [
            (
                FILE.replace("fleet: acme", "fleet: other"),
                NeedsRestart::Fleet,
            ),
            (
                FILE.replace("kind: memory", "kind: redis, url: \"${env:R}\""),
                NeedsRestart::Store,
            ),
        ] {
            let changed = changed.replace("max: 10", "max: 11");
            assert_eq!(case.writes(&changed), [said.to_string()]);
        }
        assert!(case.counted("config_reloads_total{outcome=\"needs_restart\"} 2"));
        assert_eq!(case.writes(FILE), ["in force again"]);
    }

    #[test]
    fn a_long_failure_is_cut_between_characters() {
        let why = "ß".repeat(SHOWN);
        assert_eq!(shown(&why).len(), SHOWN);
        assert_eq!(shown("x"), "x");
    }
}
