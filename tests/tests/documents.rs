//! The documents against what is there: every page is found from another, and what SECURITY.md says is tested is. That links
//! lead somewhere is for a test of the crate `config`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};

use regex::Regex;

/// Folders that are not ours to read.
const ELSEWHERE: [&str; 3] = ["target", ".git", "node_modules"];

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    here.canonicalize().unwrap()
}

/// Every file below the root that ends so.
fn files(ending: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !ELSEWHERE.contains(&name.as_str()) {
                folders.push(path);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A page that no other names is read by nobody.
#[test]
fn every_page_of_the_documentation_is_linked() {
    let pages = files(".md");
    let texts: Vec<(PathBuf, String)> = pages
        .iter()
        .map(|page| (page.clone(), std::fs::read_to_string(page).unwrap()))
        .collect();
    for page in pages
        .iter()
        .filter(|page| page.starts_with(root().join("docs")))
    {
        let name = page.file_name().unwrap().to_string_lossy();
        let named = texts
            .iter()
            .any(|(other, text)| other != page && text.contains(&*name));
        assert!(named, "{name}");
    }
}

#[test]
fn every_threat_has_tests_that_exist() {
    let text = std::fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let sources: Vec<String> = files(".rs")
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    let rows = text
        .lines()
        .filter(|line| line.starts_with("| ") && line.matches(" | ").count() == 2);
    let name = Regex::new(r"`([a-z0-9_]{12,})`").unwrap();
    let mut threats = 0;
    for row in rows.skip(1) {
        let tests = row.rsplit(" | ").next().unwrap();
        let tests: Vec<&str> = name
            .captures_iter(tests)
            .map(|found| found.get(1).unwrap().as_str())
            .collect();
        assert!(!tests.is_empty(), "{row}");
        for test in tests {
            let declared = format!("fn {test}(");
            assert!(
                sources.iter().any(|source| source.contains(&declared)),
                "{test}"
            );
        }
        threats += 1;
    }
    assert!(threats > 12, "{threats}");
}
