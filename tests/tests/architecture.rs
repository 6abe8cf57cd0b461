//! The architecture, as tests: which crate may know which, and what no file may contain.
//!
//! They read the resolved graph, so a dependency that arrives by a feature or through another crate counts too. When one
//! of them fails, either the new edge is a mistake, or the picture has changed: then change the table here, and say in the
//! commit why.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand, PackageId};

/// For each crate the workspace crates it may depend on. What ends in `*` stands for all that begin so.
const NORMAL: &[(&str, &[&str])] = &[
    // The core: data, and decisions about data.
    ("model", &[]),
    ("engine", &["model"]),
    // Decisions in virtual time. It knows no port, so it can call nobody.
    ("simulator", &["model", "engine"]),
    ("config", &["model", "ports"]),
    ("ports", &["model"]),
    // One bounded HTTP exchange. It knows the border's kinds of error and no CI server.
    ("web", &["model", "ports"]),
    // Token buckets on the port's clock. It knows no cloud.
    ("pacer", &["ports"]),
    // Adapters know the border and nothing behind it, and never one another.
    ("emitter-*", &["model", "ports", "web"]),
    ("provider-*", &["model", "ports", "pacer"]),
    ("store-*", &["model", "ports"]),
    // Servers that play somebody else's product know nothing of ours, but the socket they share.
    ("fake-server", &[]),
    ("fake-*", &["fake-server"]),
    ("conformance", &["model", "ports"]),
    // The only crate that knows every emitter, provider and store.
    (
        "plugins",
        &["model", "ports", "emitter-*", "provider-*", "store-*"],
    ),
    ("telemetry", &["ports"]),
    // What their mains share: it knows no loop.
    (
        "service",
        &["model", "ports", "config", "plugins", "telemetry"],
    ),
    // The services. probot decides nothing, so it knows neither the engine nor a cloud.
    (
        "probot",
        &[
            "model",
            "ports",
            "config",
            "plugins",
            "telemetry",
            "service",
        ],
    ),
    (
        "scaler",
        &[
            "model",
            "ports",
            "engine",
            "config",
            "plugins",
            "telemetry",
            "service",
        ],
    ),
    (
        "sim",
        &[
            "model",
            "ports",
            "engine",
            "config",
            "plugins",
            "telemetry",
            "store-memory",
            "probot",
            "scaler",
            "fake-*",
            "emitter-*",
            "provider-*",
        ],
    ),
    (
        "parmanu",
        &[
            "model",
            "ports",
            "web",
            "engine",
            "config",
            "plugins",
            "telemetry",
            "service",
            "store-memory",
            "probot",
            "scaler",
            "sim",
            "simulator",
            "fake-*",
            "emitter-*",
            "provider-*",
        ],
    ),
    ("tests", &[]),
    ("xtask", &[]),
];

/// What tests may use beyond that.
const IN_TESTS: &[(&str, &[&str])] = &[
    ("config", &["plugins"]),
    ("emitter-*", &["conformance", "fake-*"]),
    ("provider-*", &["conformance", "fake-*"]),
    ("store-*", &["conformance"]),
    ("probot", &["store-memory", "emitter-fake", "fake-*"]),
    // Both loops in one process, on fakes; the servers among them stand where the real emitters expect a socket.
    (
        "scaler",
        &[
            "probot",
            "store-memory",
            "emitter-fake",
            "provider-fake",
            "fake-*",
            "web",
            "conformance",
        ],
    ),
    ("parmanu", &["conformance"]),
    ("simulator", &["conformance"]),
    ("sim", &["conformance"]),
    // The end-to-end runs stand above everything.
    ("tests", &["*"]),
];

/// What must not be reached from a crate, however many steps away.
const NEVER_REACHED: &[(&str, &[&str])] = &[
    ("model", &["tokio", "redis", "reqwest", "axum", "hyper"]),
    ("engine", &["tokio", "redis", "reqwest", "axum", "hyper"]),
    ("simulator", &["tokio", "redis", "reqwest", "axum", "hyper"]),
    // Whoever only checks a configuration compiles no client of anything.
    (
        "config",
        &[
            "redis",
            "reqwest",
            "axum",
            "hyper",
            "aws-*",
            "google-cloud-*",
        ],
    ),
    ("fake-*", &["model", "ports"]),
    // Asking is one thing, deciding another.
    ("probot", &["engine", "scaler"]),
];

/// Crates that only these may name.
const ONLY_HERE: &[(&str, &[&str])] = &[
    // not `aws-*`: aws-lc-rs is the cryptography below every TLS here, and no cloud
    ("aws-config", &["provider-ec2"]),
    ("aws-credential-types", &["provider-ec2"]),
    ("aws-sdk-*", &["provider-ec2"]),
    ("aws-smithy-*", &["provider-ec2"]),
    ("google-cloud-*", &["provider-gce"]),
    ("redis", &["store-redis", "tests"]),
];

fn metadata() -> &'static Metadata {
    static METADATA: std::sync::OnceLock<Metadata> = std::sync::OnceLock::new();
    METADATA.get_or_init(|| {
        MetadataCommand::new()
            .manifest_path(root().join("Cargo.toml"))
            .features(CargoOpt::AllFeatures)
            .other_options(["--locked", "--offline"].map(String::from))
            .exec()
            .expect("the resolved graph")
    })
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the workspace").to_owned()
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

fn rule<'a>(table: &'a [(&str, &'a [&'a str])], name: &str) -> Option<&'a [&'a str]> {
    let line = table.iter().find(|(pattern, _)| matches(pattern, name));
    line.map(|(_, allowed)| *allowed)
}

fn members() -> BTreeSet<&'static str> {
    let packages = metadata().workspace_packages();
    packages
        .iter()
        .map(|package| package.name.as_str())
        .collect()
}

/// The declared dependencies of a workspace crate, of these kinds.
fn declared(name: &str, kinds: &[DependencyKind]) -> BTreeSet<&'static str> {
    let packages = metadata().workspace_packages();
    let package = packages.into_iter().find(|package| package.name == name);
    let dependencies = &package.expect("a workspace crate").dependencies;
    let of_kind = dependencies
        .iter()
        .filter(|found| kinds.contains(&found.kind));
    of_kind.map(|found| found.name.as_str()).collect()
}

/// Everything a crate reaches over normal dependencies in the resolved graph, all features on.
fn reached(name: &str) -> BTreeSet<&'static str> {
    let resolve = metadata().resolve.as_ref().expect("a resolved graph");
    let nodes: BTreeMap<&PackageId, _> =
        resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let packages = metadata().packages.iter();
    let names: BTreeMap<&PackageId, &str> = packages
        .map(|package| (&package.id, package.name.as_str()))
        .collect();
    let packages = metadata().workspace_packages();
    let start = packages.into_iter().find(|package| package.name == name);
    let mut queue = VecDeque::from([&start.expect("a workspace crate").id]);
    let mut seen = BTreeSet::new();
    while let Some(id) = queue.pop_front() {
        for dependency in &nodes[id].deps {
            let mut kinds = dependency.dep_kinds.iter();
            let normal = kinds.any(|kind| kind.kind == DependencyKind::Normal);
            if normal && seen.insert(&dependency.pkg) {
                queue.push_back(&dependency.pkg);
            }
        }
    }
    seen.into_iter().map(|id| names[id]).collect()
}

/// Fails with all of them, if there are any.
fn none(what: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{what}:\n  {}", broken.join("\n  "));
}

#[test]
fn dependencies_point_one_way() {
    let members = members();
    let mut broken = vec![];
    for name in &members {
        let Some(allowed) = rule(NORMAL, name) else {
            broken.push(format!("{name} has no line in the table"));
            continue;
        };
        let more = rule(IN_TESTS, name).unwrap_or_default();
        let kinds = [DependencyKind::Normal, DependencyKind::Build];
        for found in declared(name, &kinds).intersection(&members) {
            if !allowed.iter().any(|pattern| matches(pattern, found)) {
                broken.push(format!("{name} -> {found}"));
            }
        }
        for found in declared(name, &[DependencyKind::Development]).intersection(&members) {
            if !allowed
                .iter()
                .chain(more)
                .any(|pattern| matches(pattern, found))
            {
                broken.push(format!("{name} -> {found}, in its tests"));
            }
        }
    }
    none("edges that are not in the table", &broken);
}

#[test]
fn the_suites_are_only_ever_used_in_tests() {
    let users = members()
        .into_iter()
        .filter(|name| reached(name).contains("conformance"));
    none(
        "conformance is reached from",
        &users.map(String::from).collect::<Vec<_>>(),
    );
}

#[test]
fn the_core_reaches_no_network_and_no_runtime() {
    let mut broken = vec![];
    for (pattern, never) in NEVER_REACHED {
        for name in members().into_iter().filter(|name| matches(pattern, name)) {
            for found in reached(name) {
                if never.iter().any(|pattern| matches(pattern, found)) {
                    broken.push(format!("{name} reaches {found}"));
                }
            }
        }
    }
    none("what must not be reached", &broken);
}

#[test]
fn each_outside_world_has_one_door() {
    let every = [
        DependencyKind::Normal,
        DependencyKind::Development,
        DependencyKind::Build,
    ];
    let mut broken = vec![];
    for name in members() {
        for found in declared(name, &every) {
            for (pattern, owners) in ONLY_HERE {
                if matches(pattern, found) && !owners.contains(&name) {
                    broken.push(format!("{name} names {found}"));
                }
            }
        }
    }
    none("crates with another owner", &broken);
}

#[test]
fn folders_are_called_like_their_crates() {
    let mut broken = vec![];
    for package in metadata().workspace_packages() {
        let folder = package
            .manifest_path
            .parent()
            .and_then(|folder| folder.file_name());
        if folder != Some(package.name.as_str()) {
            broken.push(format!("{} in {folder:?}", package.name));
        }
    }
    none("crates in a folder of another name", &broken);
}

#[test]
fn every_crate_forbids_unsafe_code_and_takes_the_common_lints() {
    let mut broken = vec![];
    for package in metadata().workspace_packages() {
        let manifest = read(package.manifest_path.as_std_path());
        if !manifest
            .replace(' ', "")
            .contains("[lints]\nworkspace=true")
        {
            broken.push(format!("{}: no `[lints] workspace = true`", package.name));
        }
        for target in &package.targets {
            let root = target.src_path.as_std_path();
            let shipped = target.is_lib() || target.is_bin();
            if shipped && !read(root).contains("#![forbid(unsafe_code)]") {
                broken.push(format!("{}: no `#![forbid(unsafe_code)]`", shown(root)));
            }
        }
    }
    none("crates without the common rules", &broken);
}

#[test]
fn the_repository_stands_alone() {
    // Written in parts, so that this file does not contain them.
    let forbidden = [
        concat!("..", "/shared"),
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
    ];
    let mut broken = vec![];
    for file in files(&root()) {
        let Ok(bytes) = std::fs::read(&file) else {
            continue;
        };
        let text = String::from_utf8_lossy(&bytes);
        for (number, line) in text.lines().enumerate() {
            for word in forbidden.iter().filter(|word| line.contains(**word)) {
                broken.push(format!("{}:{}: {word}", shown(&file), number + 1));
            }
        }
    }
    none("paths of somebody's machine", &broken);
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// Every file of the repository that is ours: no build output, nothing of git's.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut found = vec![];
    for entry in entries {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_symlink() || ["target", ".git", ".venv"].contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}
