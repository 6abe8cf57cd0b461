//! The one way into the crate for tests: text in, report in words out.

#![expect(dead_code, reason = "each test file uses its own part of this")]

use std::path::Path;

use config::{LoadError, Registries, Report, Settings, check_text, load};
use expect_test::Expect;

pub(crate) fn registries() -> Registries {
    Registries {
        emitters: plugins::emitters(),
        providers: plugins::providers(),
    }
}

/// A file without a mistake, to make mistakes in. Its last section is `rules`.
pub(crate) fn good() -> String {
    r#"version: 1
fleet: acme
emitters:
  gitlab:
    kind: gitlab
    url: https://gitlab.example.com
    token: "${env:GITLAB_TOKEN}"
    manage_token: "${env:GITLAB_TOKEN}"
    scope: { instance: true }
providers:
  aws: { kind: ec2, region: eu-central-1 }
machines:
  linux-m:
    slots: 1
    bootstrap: runner.j2
    offers:
      - { provider: aws, image: ami-0123456789abcdef0, types: [m7i.large] }
pools:
  linux:
    emitter: gitlab
    serves: [{ tags: [linux, docker], run_untagged: true }]
    machine: linux-m
    max: 3
    rules: [gentle]
rules:
  gentle: { kind: scale-in, idle_for: 10m }
"#
    .to_owned()
}

/// The report of a text that stands beside a good boot script.
pub(crate) fn report(text: &str) -> String {
    report_with(
        text,
        "runner.j2",
        "#!/bin/sh\nrun {{ executor.token }} {{ machine }}\n",
    )
}

/// The report of a text that stands beside this boot script.
pub(crate) fn report_with(text: &str, script: &str, template: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(script), template).expect("a file");
    in_words(check_text(
        text,
        "parmanu.yaml",
        folder.path(),
        &registries(),
    ))
}

/// The report of a file or directory, without the directory's own name.
pub(crate) fn report_of(path: &Path) -> String {
    let folder = if path.is_dir() {
        path
    } else {
        path.parent().expect("a folder")
    };
    in_words(load(path, &registries())).replace(&format!("{}/", folder.display()), "")
}

fn in_words(result: Result<(Settings, Report), LoadError>) -> String {
    match result {
        Ok((_, report)) if report.0.is_empty() => "good\n".to_owned(),
        Ok((_, report)) => format!("{report}usable\n"),
        Err(LoadError::Invalid { report }) => report.to_string(),
        Err(error) => {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error}: {}\n", source.unwrap_or_default())
        }
    }
}

pub(crate) fn check(text: &str, expected: Expect) {
    expected.assert_eq(&report(text.trim_start()));
}

/// Checks the good file after these replacements.
pub(crate) fn check_after(changes: &[(&str, &str)], expected: Expect) {
    let mut text = good();
    for (from, to) in changes {
        assert!(text.contains(from), "nothing to replace: {from}");
        text = text.replacen(from, to, 1);
    }
    expected.assert_eq(&report(&text));
}
