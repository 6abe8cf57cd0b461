//! What editors are told by the schema that is checked in, held against the loader by a validator that is not ours.
//!
//! Both ways: every configuration that people are shown is valid, and what the loader refuses for its shape (a key, a kind, a
//! type, how a time is written) the schema refuses too. What only the whole file can tell (a name that refers to nothing, a
//! minimum above its maximum) no schema says.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::{Path, PathBuf};

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;
use support::{good, report};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The schema of config/parmanu.schema.json, for whole files and for excerpts of one.
struct Judge {
    schemas: Schemas,
    whole: SchemaIndex,
    part: SchemaIndex,
    /// The keys of a whole file.
    sections: Vec<String>,
}

impl Judge {
    fn new() -> Self {
        let text = std::fs::read_to_string(root().join("config/parmanu.schema.json")).unwrap();
        let whole: Value = serde_json::from_str(&text).unwrap();
        let sections = whole["properties"].as_object().unwrap().keys();
        let sections = sections.cloned().collect();
        let mut part = whole.clone();
        demand_nothing(&mut part);
        let mut schemas = Schemas::new();
        let mut compiler = Compiler::new();
        let mut compile = |name: &str, schema: Value| {
            compiler.add_resource(name, schema).unwrap();
            compiler.compile(name, &mut schemas).unwrap()
        };
        let whole = compile("file:///whole.json", whole);
        let part = compile("file:///part.json", part);
        Judge {
            schemas,
            whole,
            part,
            sections,
        }
    }

    /// Nothing, or what is wrong.
    fn whole(&self, document: &Value) -> Option<String> {
        self.judge(document, self.whole)
    }

    fn part(&self, document: &Value) -> Option<String> {
        self.judge(document, self.part)
    }

    fn judge(&self, document: &Value, schema: SchemaIndex) -> Option<String> {
        let judged = self.schemas.validate(document, schema);
        judged.err().map(|error| format!("{error:#}"))
    }
}

/// An excerpt leaves out what it does not speak of.
fn demand_nothing(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            // a list; a property of this name would be a schema
            if map.get("required").is_some_and(Value::is_array) {
                map.remove("required");
            }
            map.values_mut().for_each(demand_nothing);
        }
        Value::Array(list) => list.iter_mut().for_each(demand_nothing),
        _ => {}
    }
}

/// All files of the repository with this ending, those that are built left out.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

#[test]
fn every_configuration_of_the_repository_is_valid() {
    let judge = Judge::new();
    let mut judged = Vec::new();
    let mut wrong = Vec::new();
    for path in files(".yaml") {
        let text = std::fs::read_to_string(&path).unwrap();
        // manifests have several documents, templates of charts are none
        let Ok(document) = serde_yaml::from_str::<Value>(&text) else {
            continue;
        };
        if ["version", "fleet", "pools"]
            .iter()
            .all(|key| document.get(key).is_some())
        {
            judged.push(shown(&path));
            wrong.extend(
                judge
                    .whole(&document)
                    .map(|why| format!("{}: {why}", shown(&path))),
            );
        }
    }
    assert_eq!(wrong, [""; 0]);
    for known in [
        "config/full.yaml",
        "config/recipes/cost-cap.yaml",
        "deploy/demo/parmanu.yaml",
        "deploy/kubernetes/config/parmanu.yaml",
    ] {
        assert!(judged.iter().any(|it| it == known), "{known}: {judged:?}");
    }
}

/// The YAML of a document's code blocks, each with its line.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        match (open, line.trim_start()) {
            (false, "```yaml") => {
                open = true;
                found.push((number + 2, String::new()));
            }
            (true, "```") => open = false,
            (true, _) => {
                let (_, block) = found.last_mut().unwrap();
                block.push_str(line);
                block.push('\n');
            }
            (false, _) => {}
        }
    }
    found
}

#[test]
fn every_excerpt_in_the_documents_is_valid() {
    let judge = Judge::new();
    let mut judged = 0;
    let mut others = Vec::new();
    let mut wrong = Vec::new();
    for path in files(".md") {
        let text = std::fs::read_to_string(&path).unwrap();
        for (line, block) in blocks(&text) {
            let place = format!("{}:{line}", shown(&path));
            let block = block.replace(", …", "");
            let document: Value = match serde_yaml::from_str(&block) {
                Ok(document) => document,
                Err(error) => {
                    wrong.push(format!("{place}: {error}"));
                    continue;
                }
            };
            let keys = document.as_object().into_iter().flat_map(|map| map.keys());
            let keys: Vec<&String> = keys.collect();
            if !keys.is_empty() && keys.iter().all(|key| judge.sections.contains(key)) {
                judged += 1;
                wrong.extend(judge.part(&document).map(|why| format!("{place}: {why}")));
            } else {
                others.push(shown(&path));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert!(judged >= 15, "only {judged} excerpts were found");
    // parts of an entry, and a world for `parmanu plan`
    others.dedup();
    assert_eq!(others, ["docs/adding-an-emitter.md", "docs/plan.md"]);
}

/// What is done to a good file, and the loader and the schema both refuse it.
const REFUSED: &[(&str, &str)] = &[
    // keys
    ("fleet: acme", "flet: acme"),
    ("version: 1\n", ""),
    ("version: 1", "version: 2"),
    ("version: 1", "version: 1\nstores: { kind: memory }"),
    (
        "scope: { instance: true }",
        "scope: { instance: true }\n    scop: 1",
    ),
    ("scope: { instance: true }", "scope: { instances: true }"),
    (
        "scope: { instance: true }",
        "scope: { instance: true }\n    probe: { evry: 5s }",
    ),
    ("    token: \"${env:GITLAB_TOKEN}\"\n", ""),
    ("    url: https://gitlab.example.com\n", ""),
    ("region: eu-central-1", "regoin: eu-central-1"),
    (
        "region: eu-central-1",
        "region: eu-central-1, max_machine: 3",
    ),
    ("slots: 1", "slot: 1"),
    ("slots: 1", "boot: { expected: 45s }"),
    ("slots: 1", "reuse: { max_job: 1 }"),
    ("types: [m7i.large]", "type: [m7i.large]"),
    ("types: [m7i.large]", "types: [m7i.large], prize: 1"),
    ("provider: aws, image", "image"),
    ("run_untagged: true", "run_untaged: true"),
    ("max: 3", "maxx: 3"),
    ("max: 3", "max: 3\n    job: { cpus: 1..2 }"),
    ("    machine: linux-m\n", ""),
    ("idle_for: 10m", "idle_form: 10m"),
    ("idle_for: 10m", "idle_for: 10m, when: { queue_over: 1 }"),
    (
        "idle_for: 10m",
        "idle_for: 10m, when: { any: [{ any: [] }] }",
    ),
    ("version: 1", "version: 1\nlimits: { max_machine: 3 }"),
    ("version: 1", "version: 1\nstore: { kind: redis, uri: x }"),
    ("version: 1", "version: 1\nstore: { kind: memory, url: x }"),
    ("version: 1", "version: 1\napi: { tokn: x }"),
    // kinds
    ("kind: gitlab", "kind: gitlabb"),
    ("    kind: gitlab\n", ""),
    ("kind: ec2", "kind: ec3"),
    ("kind: scale-in", "kind: scale_in"),
    ("kind: scale-in, ", ""),
    ("version: 1", "version: 1\nstore: { kind: etcd }"),
    // types
    ("max: 3", "max: three"),
    ("max: 3", "max: -1"),
    ("max: 3", "max: 1.5"),
    ("max: 3", "max: [3]"),
    ("max: 3", "max: 3\n    min: \"1\""),
    ("slots: 1", "slots: -2"),
    ("run_untagged: true", "run_untagged: perhaps"),
    ("tags: [linux, docker]", "tags: linux"),
    ("types: [m7i.large]", "types: m7i.large"),
    ("types: [m7i.large]", "types: [m7i.large], price: cheap"),
    ("types: [m7i.large]", "types: [m7i.large], market: black"),
    (
        "url: https://gitlab.example.com",
        "url: { host: gitlab.example.com }",
    ),
    ("scope: { instance: true }", "scope: everything"),
    ("serves: [{ tags", "serves: { entry: [{ tags"),
    ("rules: [gentle]", "rules: gentle"),
    ("  gentle: { kind: scale-in, idle_for: 10m }", "  - gentle"),
    ("fleet: acme", "fleet: 7"),
    // how values are written
    ("idle_for: 10m", "idle_for: 10"),
    ("idle_for: 10m", "idle_for: ten minutes"),
    ("idle_for: 10m", "idle_for: 10m, at_most: 5, per: 5 parsecs"),
    (
        "idle_for: 10m",
        "idle_for: 10m, when: { utilization_over: 80 }",
    ),
    (
        "idle_for: 10m",
        "idle_for: 10m, when: { utilization_over: 80 percent }",
    ),
    (
        "kind: scale-in, idle_for: 10m",
        "kind: utilization, target: 0.8",
    ),
    ("kind: scale-in, idle_for: 10m", "kind: reserve, idle: some"),
    ("slots: 1", "boot: { expect: 45 }"),
    ("slots: 1", "memory: 16"),
    ("slots: 1", "memory: 16 gigs"),
    ("slots: 1", "reuse: { max_jobs: forever }"),
    ("slots: 1", "reuse: { when_changed: never }"),
    ("max: 3", "max: 3\n    job: { cpu: one }"),
    ("max: 3", "max: 3\n    profile: fast"),
    ("max: 3", "max: 3\n    on_stale: panic"),
    ("max: 3", "max: 3\n    scale_in: perhaps"),
    ("max: 3", "max: 3\n    job: { cpu: -1 }"),
    ("max: 3", "max: 3\n    job: { memory: 2..8 }"),
    ("max: 3", "max: 3\n    job: { memory: 2GiB..much }"),
    ("slots: 1", "cpu: -4"),
    ("slots: 1", "cpu: four"),
    // names
    ("fleet: acme", "fleet: Acme CI"),
    ("  linux-m:\n", "  Linux_M:\n"),
    ("pools:\n  linux:\n", "pools:\n  -linux:\n"),
    ("  gentle: {", "  gentle_in: {"),
];

#[test]
fn the_good_file_of_these_tests_is_good_to_both() {
    assert_eq!(report(&good()), "good\n");
    let document = serde_yaml::from_str(&good()).unwrap();
    assert_eq!(Judge::new().whole(&document), None);
}

#[test]
fn what_the_loader_refuses_by_its_shape_the_schema_refuses_too() {
    let judge = Judge::new();
    let mut wrong = Vec::new();
    for (from, to) in REFUSED {
        let text = good();
        assert!(text.contains(from), "nothing to replace: {from}");
        let mut text = text.replacen(from, to, 1);
        if to.contains("entry: [{") {
            text = text.replacen("run_untagged: true }]", "run_untagged: true }] }", 1);
        }
        let document: Value = serde_yaml::from_str(&text).expect(to);
        let change = format!("{:?} for {:?}", to, from);
        if !report(&text).contains("error: ") {
            wrong.push(format!("the loader takes {change}"));
        }
        if judge.whole(&document).is_none() {
            wrong.push(format!("the schema takes {change}"));
        }
    }
    assert_eq!(wrong, [""; 0]);
}

/// What the loader takes that is written in an unusual way is not underlined by an editor either.
#[test]
fn what_the_loader_takes_the_schema_takes_too() {
    let judge = Judge::new();
    let mut wrong = Vec::new();
    for (from, to) in [
        ("idle_for: 10m", "idle_for: 1h 30m"),
        ("idle_for: 10m", "idle_for: 1h30m10s"),
        ("idle_for: 10m", "idle_for: 10 minutes"),
        ("idle_for: 10m", "idle_for: 1.5h"),
        ("idle_for: 10m", "idle_for: \"1 hour, 5 mins\""),
        ("idle_for: 10m", "idle_for: 0s"),
        ("idle_for: 10m", "idle_for: break-even"),
        (
            "idle_for: 10m",
            "idle_for: 10m, at_most: 5, per: 90 seconds",
        ),
        (
            "kind: scale-in, idle_for: 10m",
            "kind: reserve, idle: \"4\"",
        ),
        (
            "kind: scale-in, idle_for: 10m",
            "kind: reserve, idle: 12.5%",
        ),
        (
            "kind: scale-in, idle_for: 10m",
            "kind: reserve, idle: arrivals",
        ),
        ("max: 3", "max: 3\n    job: { cpu: 0.5..2 }"),
        ("max: 3", "max: 3\n    job: { cpu: 1 .. 4 }"),
        (
            "max: 3",
            "max: 3\n    job: { cpu: 2, memory: 512 MiB..2GiB }",
        ),
        ("slots: 1", "slots: 1\n    cpu: \"0.5\"\n    memory: 16 GiB"),
    ] {
        let text = good().replacen(from, to, 1);
        let told = report(&text);
        if told.contains("error: ") {
            wrong.push(format!("the loader refuses {to:?}: {told}"));
        }
        let document: Value = serde_yaml::from_str(&text).expect(to);
        wrong.extend(
            judge
                .whole(&document)
                .map(|why| format!("the schema refuses {to:?}: {why}")),
        );
    }
    assert_eq!(wrong, [""; 0]);
}
