//! The manifests for Kubernetes: rendered from the chart by the real Helm, held against the schemas of Kubernetes.
//!
//! `deploy/kubernetes/parmanu.yaml` is what the chart renders to, kept in the repository for those who have no Helm. Helm
//! comes as a library for Python 3.12 or later, which not every machine has, so the file says which chart and values it was
//! rendered from, and a test that needs nothing compares that. No cluster is asked: nothing here shows that the pods run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use crate::parts;

const CHART: &str = "deploy/helm/parmanu";
const FOLDER: &str = "deploy/kubernetes";
const RENDERED: &str = "deploy/kubernetes/parmanu.yaml";
const VALUES: &str = "deploy/kubernetes/values.yaml";
/// The release and the namespace of the plain manifests.
const RELEASE: &str = "parmanu";

const HEADER: &str = "# Rendered from deploy/helm/parmanu with values.yaml of this folder by `cargo xtask manifests --write`: change those.\n# Chart and values: sha256:";

/// Validates the manifests that are in the repository; gives a line of words.
pub(crate) fn validate(root: &Path) -> anyhow::Result<String> {
    let tools = parts::kubernetes()?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let built = folder.path().join("kustomized.yaml");
    let output = Command::new(&tools.kubectl)
        .arg("kustomize")
        .arg(root.join(FOLDER))
        .output()
        .context("could not start kubectl")?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("kubectl kustomize {FOLDER}: {}", words.trim());
    }
    std::fs::write(&built, output.stdout)?;
    held_against_schemas(&tools, root, &[root.join(RENDERED), built])
}

/// Lints and renders the chart with each set of values, and validates what comes out. With `write` the file in the repository
/// becomes what was rendered, without it must be that.
pub(crate) fn render(root: &Path, write: bool) -> anyhow::Result<String> {
    let tools = parts::kubernetes()?;
    let helm = parts::helm()?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let sets = sets(root)?;
    let mut command = Command::new(helm);
    command
        .arg(root.join("xtask/deploy/render.py"))
        .arg(root.join(CHART))
        .args([RELEASE, RELEASE])
        .arg(folder.path())
        .args(
            sets.iter()
                .map(|(name, file)| format!("{name}={}", file.display())),
        );
    let words = output_of(&mut command)?;
    let plain = std::fs::read_to_string(folder.path().join("plain.yaml"))?;
    let rendered = format!("{HEADER}{}\n{}\n", fingerprint(root)?, plain.trim());
    if write {
        std::fs::write(root.join(RENDERED), &rendered)?;
    } else if std::fs::read_to_string(root.join(RENDERED))? != rendered {
        bail!("{RENDERED} is not what the chart renders to: `cargo xtask manifests --write`");
    }
    let mut files = std::fs::read_dir(folder.path())?
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    files.sort();
    let valid = held_against_schemas(&tools, root, &files)?;
    Ok(format!("{words}; {valid}"))
}

fn held_against_schemas(
    tools: &parts::Kubernetes,
    root: &Path,
    files: &[PathBuf],
) -> anyhow::Result<String> {
    let mut command = Command::new(&tools.python);
    output_of(
        command
            .arg(root.join("xtask/deploy/validate.py"))
            .args(files),
    )
}

/// The last line of what it says; all of it when it fails.
fn output_of(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().context("could not start Python")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let words = String::from_utf8_lossy(&output.stdout);
    Ok(words.lines().last().unwrap_or_default().to_owned())
}

/// The sets of values, by name. Those called `refused-…` Helm must refuse.
fn sets(root: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut sets = vec![("plain".to_owned(), root.join(VALUES))];
    let chart = root.join(CHART);
    for entry in std::fs::read_dir(chart.join("ci"))? {
        let file = entry?.path();
        let name = file
            .file_name()
            .context("a file has a name")?
            .to_string_lossy();
        let name = name
            .strip_suffix("-values.yaml")
            .context("not called …-values.yaml")?;
        // alert rules and dashboard are copies of files that may not be there yet
        if name != "monitoring" || chart.join("files").is_dir() {
            sets.push((name.to_owned(), file.clone()));
        }
    }
    sets.sort();
    Ok(sets)
}

/// One number for all that decides what is rendered.
fn fingerprint(root: &Path) -> anyhow::Result<String> {
    let chart = root.join(CHART);
    let mut files = vec![
        chart.join("Chart.yaml"),
        chart.join("values.yaml"),
        root.join(VALUES),
    ];
    for entry in std::fs::read_dir(chart.join("templates"))? {
        files.push(entry?.path());
    }
    files.sort();
    let mut digest = Sha256::new();
    for file in files {
        let name = file.strip_prefix(root)?.to_string_lossy().into_owned();
        let text = std::fs::read(&file).with_context(|| format!("could not read {file:?}"))?;
        digest.update(format!("{name} {}\n", text.len()));
        digest.update(text);
    }
    let bytes = digest.finalize();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Copies what others own into the chart, where Helm can see it.
pub(crate) fn copy_into_chart(root: &Path) -> anyhow::Result<()> {
    for (from, to) in COPIES {
        if root.join(from).exists() {
            std::fs::create_dir_all(root.join(CHART).join("files"))?;
            std::fs::copy(root.join(from), root.join(CHART).join(to))?;
        }
    }
    Ok(())
}

/// Helm reads no file outside of its chart.
const COPIES: [(&str, &str); 2] = [
    ("deploy/prometheus/alerts.yaml", "files/alerts.yaml"),
    ("deploy/grafana/parmanu.json", "files/parmanu.json"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn the_manifests_were_rendered_from_this_chart() {
        let text = std::fs::read_to_string(root().join(RENDERED)).unwrap();
        let said = text
            .strip_prefix(HEADER)
            .and_then(|rest| rest.lines().next());
        assert_eq!(
            said,
            Some(fingerprint(&root()).unwrap().as_str()),
            "the chart has changed: `cargo xtask manifests --write` (Python 3.12 or later)"
        );
    }

    #[test]
    fn what_the_chart_copies_is_what_there_is() {
        for (from, to) in COPIES {
            let [original, copy] =
                [root().join(from), root().join(CHART).join(to)].map(|it| std::fs::read(it).ok());
            assert!(original == copy, "cp {from} {CHART}/{to}");
        }
    }

    #[test]
    fn sets_of_values_are_found_with_those_to_refuse() {
        let sets = sets(&root()).unwrap();
        let names: Vec<_> = sets.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["everything", "own-redis", "plain", "refused"] {
            assert!(names.contains(&name), "{names:?}");
        }
    }
}
