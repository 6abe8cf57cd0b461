//! The programs in deploy/command, and what they share.

#[path = "world/mod.rs"]
mod world;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use ports::{Outcome, ProviderErrorKind};
use serde_json::{Value, json};
use world::{RealClock, batch, call, fleet};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/command")
}

/// Runs a program with one request, in a process group as Parmanu would.
fn ask(python: &str, program: &Path, request: &Value) -> Output {
    use std::os::unix::process::CommandExt as _;
    let mut child = Command::new(python)
        .args(["-B", &program.display().to_string()])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a program");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin
        .write_all(request.to_string().as_bytes())
        .expect("a request");
    drop(stdin);
    child.wait_with_output().expect("an end")
}

fn python(test: &str) -> Option<&'static str> {
    world::python()
        .inspect_err(|why| {
            conformance::provider::missing(&format!("provider-command::programs::{test}"), why);
        })
        .ok()
}

#[test]
fn every_program_that_ships_describes_itself() {
    let Some(python) = python("describe") else {
        return;
    };
    let mut seen = 0;
    for entry in std::fs::read_dir(folder()).expect("a folder") {
        let file = entry.expect("a file").path();
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if !name.ends_with(".py") || name == "parmanu_command.py" {
            continue;
        }
        let request = json!({ "version": 1, "seconds": 10, "verb": "describe" });
        let said = ask(python, &file, &request);
        let reply: Value = serde_json::from_slice(&said.stdout).expect(name);
        let verbs = reply["verbs"].as_array().expect("verbs");
        for needed in ["describe", "list", "create", "delete"] {
            assert!(verbs.contains(&json!(needed)), "{name}: {reply}");
        }
        let other = ask(python, &file, &json!({ "version": 2, "verb": "describe" }));
        assert!(!other.status.success(), "{name} speaks version 2");
        seen += 1;
    }
    assert_eq!(seen, 3, "virsh.py, lxd.py and govc.py");
}

/// A program of a few lines, as somebody would begin one.
const PROGRAM: &str = r#"
from parmanu_command import Failure, Refused, run, serve

def create(request, name):
    number = int(name.rsplit("-", 1)[1])
    if number == 1:
        raise Failure("out_of_capacity", "no room for " + name)
    if number == 2:
        run("sh", "-c", "echo the link broke >&2; exit 1")
    if number == 3:
        raise ValueError("a mistake in the program")
    return {"name": name, "id": "id-" + name, "state": "pending", "tags": request["tags"]}

def delete(request, machine):
    run("sleep", "600")

serve(list=lambda request: ([], []), create=create, delete=delete)
"#;

/// The program of a few lines, beside a copy of what it needs.
fn written() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    let shared = "parmanu_command.py";
    std::fs::copy(folder().join(shared), place.path().join(shared)).expect("a copy");
    std::fs::write(place.path().join("program.py"), PROGRAM).expect("a file");
    place
}

#[tokio::test]
async fn what_a_function_does_not_say_to_have_failed_is_unknown() {
    let Some(python) = python("outcomes") else {
        return;
    };
    let place = written();
    let config = json!({ "program": [python, "-B", place.path().join("program.py")] });
    let provider = world::provider(&config, Arc::new(RealClock));
    let outcomes = provider.create(&batch(1, 4, &json!({})), &call()).await;
    match &outcomes[..] {
        [
            Outcome::Done(made),
            Outcome::Failed(full),
            Outcome::Unknown(broken),
            Outcome::Unknown(mistaken),
        ] => {
            assert!(made.id.as_str().starts_with("id-"), "{made:?}");
            assert_eq!(full.kind, ProviderErrorKind::OutOfCapacity);
            assert!(broken.message.contains("the link broke"), "{broken:?}");
            assert!(mistaken.message.contains("a mistake"), "{mistaken:?}");
        }
        other => panic!("{other:?}"),
    }
    let listed = provider.list(&fleet("acme")).await.expect("a list");
    assert!(listed.instances.is_empty());
}

/// If Parmanu itself was killed nobody else ends what it started.
#[test]
fn a_program_ends_itself_and_all_that_it_started_when_its_time_is_over() {
    let Some(python) = python("alarm") else {
        return;
    };
    let place = written();
    let machine = json!({ "name": "linux-1-1-0", "id": "1", "scope": "", "state": "running" });
    let request = json!({
        "version": 1, "seconds": 1, "verb": "delete", "fleet": "acme", "machines": [machine],
    });
    let said = ask(python, &place.path().join("program.py"), &request);
    // the output ends when the last of them has
    assert!(!said.status.success(), "{said:?}");
    assert!(said.stdout.is_empty(), "{said:?}");
}

/// A `virsh` whose connection breaks whenever a domain is looked up: it words that like a domain that is not there.
const BREAKING_VIRSH: &str = r#"#!/bin/sh
case "$*" in
"--quiet list --all") echo " 7    acme.linux-1-1-0   running" ;;
"--quiet list --all --name --uuid") echo "c7a5fdbd-edaf-9455-926a-d65c16db1809 acme.linux-1-1-0" ;;
"--quiet vol-delete"*) echo "error: failed to get vol; error: Cannot recv data: Connection reset by peer" >&2; exit 1 ;;
*) echo "error: failed to get domain" >&2; exit 1 ;;
esac
"#;

/// Prevents: a machine whose look-up failed is left out of a list that counts as whole, and made again; or its disk is deleted
/// while it runs.
#[test]
fn a_domain_that_virsh_could_not_look_up_is_not_gone() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(python) = python("virsh") else {
        return;
    };
    let place = tempfile::tempdir().expect("a folder");
    let virsh = place.path().join("virsh");
    std::fs::write(&virsh, BREAKING_VIRSH).expect("a file");
    std::fs::set_permissions(&virsh, std::fs::Permissions::from_mode(0o755)).expect("a program");
    let path = std::env::var("PATH").unwrap_or_default();
    let run = format!(
        "PATH='{}:{path}' exec {python} -B \"$0\"",
        place.path().display()
    );
    let say = |request: &Value| -> Value {
        let mut child = Command::new("sh")
            .args(["-c", &run, &folder().join("virsh.py").display().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a program");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin
            .write_all(request.to_string().as_bytes())
            .expect("a request");
        drop(stdin);
        let said = child.wait_with_output().expect("an end");
        serde_json::from_slice(&said.stdout).expect("a reply")
    };
    let listed = say(&json!({ "version": 1, "seconds": 20, "verb": "list", "fleet": "acme" }));
    assert_eq!(
        listed["unknown"].as_array().map(Vec::len),
        Some(1),
        "{listed}"
    );
    let machine = json!({
        "name": "linux-1-1-0", "id": "c7a5fdbd-edaf-9455-926a-d65c16db1809", "scope": "", "state": "running",
    });
    let deleted = say(&json!({
        "version": 1, "seconds": 20, "verb": "delete", "fleet": "acme", "machines": [machine],
    }));
    assert_eq!(
        deleted["outcomes"][0]["outcome"],
        json!("unknown"),
        "{deleted}"
    );
}
