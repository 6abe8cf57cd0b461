//! What is more than a run of the test runner: each a line of the table of its own, and each a task of its own too.

use std::path::{Path, PathBuf};

use super::{Places, Run};
use crate::command::{catch_interrupts, interrupted, now};
use crate::image::Image;
use crate::judge::Judge;
use crate::report::Outcome;
use crate::{alerts, chain, containers, manifests, parts, quick_start as page, units};

/// Validates the manifests, and lets Helm render them where there is one; with `write` it must be there.
pub(crate) fn manifests(write: bool) -> anyhow::Result<bool> {
    catch_interrupts()?;
    let mut run = Run::new()?;
    if write {
        manifests::copy_into_chart(&run.places.root)?;
        manifests::render(&run.places.root, true)?;
    }
    run.manifests();
    run.units();
    run.chart();
    Ok(run.finish())
}

/// Builds and runs the images, and starts the units, of these programs or of those that are built first; true when all is as it should be.
pub(crate) fn containers(binaries: Option<&Path>) -> anyhow::Result<bool> {
    catch_interrupts()?;
    let mut run = Run::new()?;
    if binaries.is_some() || run.build() {
        run.containers(binaries, None);
        run.started_units(binaries);
    }
    Ok(run.finish())
}

/// The same with images that the Dockerfile compiled; its engine's files stay in `keep`.
pub(crate) fn compiled_containers(keep: Option<&Path>) -> anyhow::Result<bool> {
    catch_interrupts()?;
    let mut run = Run::new()?;
    let mut made = None;
    let set_up = |places: &Places| containers::compile::set_up(places, keep);
    run.trial("compiling stage", set_up, |set| {
        let (words, compiled) = containers::compile::play(set)?;
        made = Some(compiled);
        Ok(words)
    });
    if let Some(compiled) = made {
        let programs = compiled.programs();
        run.containers(Some(&programs), Some(compiled.images()));
        run.started_units(Some(&programs));
    }
    Ok(run.finish())
}

/// Follows the quick start with these programs, or with those that are built first; true when it keeps its word.
pub(crate) fn quick_start(binaries: Option<&Path>) -> anyhow::Result<bool> {
    catch_interrupts()?;
    let mut run = Run::new()?;
    if binaries.is_some() || run.build() {
        run.quick_start(binaries);
    }
    Ok(run.finish())
}

/// Lets these judges work, or all of them; true when none found anything.
pub(crate) fn judges(judges: &[Judge]) -> anyhow::Result<bool> {
    catch_interrupts()?;
    let mut run = Run::new()?;
    let all = judges.is_empty().then_some(Judge::ALL);
    for judge in all.iter().flatten().chain(judges) {
        run.judge(*judge);
    }
    Ok(run.finish())
}

impl Run {
    /// Both services between a real CI server and real machines.
    pub(super) fn chain(&mut self, image: Image) {
        let name = format!("chain, {} image", image.name());
        self.trial(&name, |places| chain::set_up(places, image), chain::play);
    }

    /// Somebody else's client judges a fake of ours.
    fn judge(&mut self, judge: Judge) {
        let hear = |court: crate::judge::Court| court.hear();
        self.trial(judge.name(), |places| judge.set_up(places), hear);
    }

    /// The manifests of the repository against the schemas of Kubernetes.
    pub(super) fn manifests(&mut self) {
        let tools = |places: &Places| parts::kubernetes().map(|_| places.root.clone());
        self.trial("manifests", tools, |root| manifests::validate(&root));
    }

    /// The units of systemd before its own critic.
    pub(super) fn units(&mut self) {
        let critic = |places: &Places| Ok((units::critic()?, places.root.clone()));
        let judge = |(critic, root): (PathBuf, PathBuf)| units::judge(&critic, &root);
        self.trial("units", critic, judge);
    }

    /// The units started by a real systemd.
    pub(super) fn started_units(&mut self, binaries: Option<&Path>) {
        let bench = |places: &Places| {
            let built = places.binaries();
            units::bench(&places.root, binaries.unwrap_or(&built))
        };
        self.trial("units, started", bench, |bench| units::start(&bench));
    }

    /// Alert rules and dashboard in the hands of Prometheus.
    pub(super) fn alerts(&mut self) {
        let tool = |places: &Places| Ok((parts::promtool()?, places.root.clone()));
        self.trial("alerts", tool, |(tool, root)| alerts::check(&tool, &root));
    }

    /// The chart in the hands of the real Helm.
    pub(super) fn chart(&mut self) {
        let tools = |places: &Places| parts::helm().map(|_| places.root.clone());
        self.trial("chart", tools, |root| manifests::render(&root, false));
    }

    /// The images and the demo in a real container engine.
    pub(super) fn containers(&mut self, binaries: Option<&Path>, images: Option<PathBuf>) {
        let set_up = |places: &Places| containers::set_up(places, binaries, images);
        self.trial("containers", set_up, containers::play);
    }

    /// The quick start, word for word.
    pub(super) fn quick_start(&mut self, binaries: Option<&Path>) {
        let set_up = |places: &Places| page::set_up(places, binaries);
        self.trial("quick start", set_up, page::play);
    }

    /// What is more than a run of the test runner. What it lacks makes it a missing part, what it shows a failure.
    fn trial<T>(
        &mut self,
        name: &str,
        set_up: impl FnOnce(&Places) -> anyhow::Result<T>,
        play: impl FnOnce(T) -> anyhow::Result<String>,
    ) {
        eprintln!("\n== {name}");
        let start = now();
        let (outcome, detail) = match set_up(&self.places) {
            _ if interrupted() => (Outcome::Missing, "interrupted".to_owned()),
            Err(error) => (Outcome::Missing, format!("{error:#}")),
            Ok(scene) => match play(scene) {
                Ok(words) => (Outcome::Passed, words),
                Err(error) => (Outcome::Failed, format!("{error:#}")),
            },
        };
        self.report
            .add(name, outcome, Some(start.elapsed()), detail);
    }

    /// Each of them.
    pub(super) fn all_judges(&mut self) {
        for judge in Judge::ALL {
            self.judge(judge);
        }
    }
}
