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
