//! The files under `config/` are what people copy: they are good, complete, and known to editors.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use expect_test::expect_file;
use serde_json::Value;
use support::{registries, report_of};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config")
}

/// All configurations in `config/` and below.
fn shipped() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // worlds for `parmanu plan` are no configurations
                folders.extend((!path.ends_with("worlds")).then_some(path));
            } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
                found.push(path);
            }
        }
    }
    assert!(found.len() >= 2, "{found:?}");
    found
}

#[test]
fn every_shipped_file_is_good_and_has_no_warning() {
    for file in shipped() {
        let report = report_of(&file);
        // an emitter that only looks cannot be used without this one, or `scale_in`
        let only_looks = "warning: there is no right to control executors";
        let is_alone = report.matches("warning: ").count() == 1 && report.ends_with("usable\n");
        let is_emitter = file
            .parent()
            .is_some_and(|folder| folder.ends_with("emitters"));
        let text = std::fs::read_to_string(&file).unwrap();
        if is_emitter && !text.contains("scale_in:") {
            assert!(report.starts_with(only_looks) && is_alone, "{report}");
        } else {
            assert_eq!(report, "good\n", "{}", file.display());
        }
    }
}

#[test]
fn the_minimal_file_has_ten_lines() {
    let text = std::fs::read_to_string(folder().join("minimal.yaml")).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    assert!(lines.count() <= 10, "{text}");
    assert!(
        text.contains("kind: gitlab") && text.contains("kind: ec2"),
        "{text}"
    );
}

#[test]
fn the_readme_shows_the_minimal_file_as_it_is() {
    let readme = std::fs::read_to_string(folder().join("../README.md")).unwrap();
    let text = std::fs::read_to_string(folder().join("minimal.yaml")).unwrap();
    let (_, shown) = text.split_once('\n').unwrap();
    assert!(
        readme.contains(shown),
        "README.md shows another file than config/minimal.yaml"
    );
}

/// Boot scripts by file name: all but the parts of others.
fn boot_scripts() -> Vec<(String, config::Template)> {
    let bootstrap = folder().join("bootstrap");
    let files = std::fs::read_dir(&bootstrap).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let names = names.filter(|name| name != "guest.sh.j2");
    let scripts = names.map(|name| {
        let text = std::fs::read_to_string(bootstrap.join(&name)).unwrap();
        let guest = std::fs::read_to_string(bootstrap.join("guest.sh.j2")).unwrap();
        let parts = [("guest.sh.j2".to_owned(), guest)].into();
        let template = config::Template {
            name: name.clone(),
            text,
            parts,
        };
        (name, template)
    });
    scripts.collect()
}

fn made(template: &config::Template) -> String {
    let executor = minijinja::context! {
        url => "https://ci.example.com", token => "not-a-token", name => "linux-1-1-0", secret => "not-a-secret",
        work_dir => "/var/lib/agent", join => "not-a-key", master => "ci.example.com:9989", password => "not-a-password",
    };
    let values = minijinja::context! {
        machine => "linux-1-1-0", pool => "linux", fleet => "acme", batch => "linux-1-1", executor => executor,
    };
    let environment = template.environment().unwrap();
    let script = environment.get_template(&template.name).unwrap();
    script.render(values).unwrap()
}

/// Not that they work: the chain of `cargo xtask chain` runs the one of Buildbot.
#[test]
fn every_boot_script_is_a_script_when_it_is_made() {
    let scripts = boot_scripts();
    assert_eq!(scripts.len(), 6, "{scripts:?}");
    for (name, template) in scripts {
        let script = made(&template);
        for left in ["{{", "{%", "{#"] {
            assert!(!script.contains(left), "{name}: {script}");
        }
        // EC2 takes no more, and it is not the only thing that goes along
        assert!(script.len() < 15_000, "{name}: {} bytes", script.len());
        if name.ends_with(".sh.j2") {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), script).unwrap();
            let judged = std::process::Command::new("bash")
                .arg("-n")
                .arg(file.path())
                .output()
                .unwrap();
            assert!(judged.status.success(), "{name}: {judged:?}");
        }
    }
}

/// The guest part is of no use without the agent's two functions, and what follows it may fail.
#[test]
fn every_shell_script_says_how_its_agent_ends_before_anything_can_fail() {
    for (name, template) in boot_scripts() {
        if name.ends_with(".sh.j2") {
            let (before, after) = template.text.split_once("{% include").unwrap();
            for function in ["agent_stop()", "agent_gone()"] {
                assert!(before.contains(function), "{name}");
            }
            for risk in ["apt-get", "curl --fail"] {
                assert!(!before.contains(risk), "{name}");
            }
            // what joins no CI server starts nothing
            assert!(after.len() > 200 || name == "node.sh.j2", "{name}");
        }
    }
}

/// `UPDATE_EXPECT=1 cargo test -p config --test shipped -- --test-threads=1` writes it anew.
#[test]
fn the_schema_that_is_checked_in_is_the_one_of_these_types() {
    let schema = serde_json::to_string_pretty(&config::schema(&registries())).unwrap();
    expect_file!["../../../config/parmanu.schema.json"].assert_eq(&format!("{schema}\n"));
}

#[test]
fn every_shipped_file_tells_editors_where_its_schema_is() {
    for file in shipped() {
        let text = std::fs::read_to_string(&file).unwrap();
        let first = text.lines().next().unwrap();
        let schema = first.strip_prefix("# yaml-language-server: $schema=");
        let schema = file.parent().unwrap().join(schema.expect(first));
        assert!(schema.exists(), "{} is not there", schema.display());
    }
}

#[test]
fn the_schema_and_the_shipped_files_know_the_same_keys() {
    let schema = config::schema(&registries());
    let mut known = BTreeSet::new();
    properties(&schema, &mut known);
    let mut used = BTreeSet::new();
    for file in shipped() {
        let text = std::fs::read_to_string(&file).unwrap();
        keys(&serde_yaml::from_str(&text).unwrap(), 0, &mut used);
    }
    let unknown: Vec<_> = used.difference(&known).collect();
    assert_eq!(
        unknown,
        Vec::<&String>::new(),
        "in the files and not in the schema"
    );
    // the keys of the plugins that exist for tests only
    let fake = ["lag", "capacity"].map(str::to_owned).into();
    let known: BTreeSet<String> = known.difference(&fake).cloned().collect();
    let unused: Vec<_> = known.difference(&used).collect();
    assert_eq!(
        unused,
        Vec::<&String>::new(),
        "in the schema and explained in no file"
    );
}

fn properties(schema: &Value, into: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                into.extend(properties.keys().cloned());
            }
            map.values().for_each(|value| properties(value, into));
        }
        Value::Array(list) => list.iter().for_each(|value| properties(value, into)),
        _ => {}
    }
}

/// Under these everybody chooses the names: of requests, of another product's headers, parameters and words.
const CHOSEN: [&str; 5] = ["requests", "headers", "query", "with", "states"];

/// All keys but the names of entries, of tags and of what is handed on, which everybody chooses.
fn keys(value: &Value, depth: usize, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if depth != 1 {
                    into.insert(key.clone());
                }
                // what stands under these is another product's own
                if CHOSEN.contains(&key.as_str()) {
                    let chosen = value
                        .as_object()
                        .into_iter()
                        .flat_map(|names| names.values());
                    chosen.for_each(|value| keys(value, depth + 2, into));
                } else if ![
                    "tags", "config", "devices", "env", "spec", "labels", "metadata",
                ]
                .contains(&key.as_str())
                {
                    let entry = depth > 0 || !["store", "limits"].contains(&key.as_str());
                    keys(value, if entry { depth + 1 } else { depth + 2 }, into);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| keys(value, depth + 1, into)),
        _ => {}
    }
}
