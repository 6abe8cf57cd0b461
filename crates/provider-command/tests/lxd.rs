//! The program for LXD in deploy/command keeps the promises of every provider, on a real LXD.
//!
//! The daemon is named by `PARMANU_TEST_LXD_SOCKET`, its image by `PARMANU_TEST_LXD_IMAGE` (an alias; `small` if absent) and its
//! storage pool by `PARMANU_TEST_LXD_POOL` (`default` if absent). Each test makes a project and takes it away again.

#[path = "world/mod.rs"]
mod world;

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use conformance::provider::{ProviderHarness, Refusal, Shown};
use model::{FleetId, InstanceState, ProviderRef};
use ports::{Clock, Outcome, Provider, ProviderErrorKind};
use serde_json::{Value, json};
use world::{RealClock, batch, call, create_one, fleet, made, until};

const SOCKET: &str = "PARMANU_TEST_LXD_SOCKET";
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/command/lxd.py");

/// One project of the daemon.
struct Project {
    socket: PathBuf,
    folder: tempfile::TempDir,
    name: String,
    clock: Arc<RealClock>,
    provider: Arc<dyn Provider>,
}

async fn start() -> Result<Project, String> {
    Project::start()
}

impl Project {
    fn start() -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let socket = std::env::var_os(SOCKET).ok_or_else(|| format!("{SOCKET} is not set"))?;
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let name = format!("c{}-{number}", std::process::id());
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(RealClock);
        let config = json!({
            "program": world::behind_a_wire(folder.path(), PROGRAM)?,
            "env": {
                "LXD_SOCKET": socket.to_str(), "LXD_CONF": folder.path(), "PARMANU_LXD_PROJECT": name,
            },
            "listing_lag": "10s",
        });
        let project = Self {
            provider: world::provider(&config, clock.clone()),
            socket: socket.into(),
            folder,
            name,
            clock,
        };
        let features = [
            "-c",
            "features.images=false",
            "-c",
            "features.profiles=false",
        ];
        project.lxc(&[&["project", "create", &project.name][..], &features].concat());
        Ok(project)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("lxc");
        command.args(arguments).env("LXD_SOCKET", &self.socket);
        command.env("LXD_CONF", self.folder.path());
        command.output().expect("the client of LXD")
    }

    fn lxc(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        assert!(done.status.success(), "lxc {arguments:?}: {done:?}");
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// The same within the project.
    fn within(&self, arguments: &[&str]) -> String {
        self.lxc(&[arguments, &["--project", &self.name]].concat())
    }

    fn names(&self) -> Vec<String> {
        let listed = self.within(&["list", "--format", "csv", "--columns", "n"]);
        listed.lines().map(str::to_owned).collect()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        for name in self.names() {
            self.run(&["delete", "--force", &name, "--project", &self.name]);
        }
        self.run(&["project", "delete", &self.name]);
    }
}

fn spec() -> Value {
    let variable = |name, otherwise: &str| std::env::var(name).unwrap_or(otherwise.to_owned());
    json!({
        "image": variable("PARMANU_TEST_LXD_IMAGE", "small"),
        "profiles": [],
        "config": { "security.privileged": "true" },
        "devices": { "root": {
            "type": "disk", "path": "/", "pool": variable("PARMANU_TEST_LXD_POOL", "default"),
        } },
    })
}

#[async_trait]
impl ProviderHarness for Project {
    fn provider(&self) -> &dyn Provider {
        self.provider.as_ref()
    }
    fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }
    fn offer(&self) -> Value {
        json!({ "spec": spec() })
    }
    fn fleet(&self) -> FleetId {
        fleet("acme")
    }
    fn nobody(&self) -> ProviderRef {
        ProviderRef::new("nobody-1-1-1")
    }
    fn largest_batch(&self) -> u32 {
        8
    }
    async fn settle(&self) {
        // a run is over when its operations are
    }
    async fn alive(&self) -> Shown<usize> {
        Ok(self.names().len())
    }
    async fn foreign(&self) -> Shown<ProviderRef> {
        let pool = spec()["devices"]["root"]["pool"].clone();
        let image = spec()["image"].clone();
        let (Some(image), Some(pool)) = (image.as_str(), pool.as_str()) else {
            return Err("it has no image");
        };
        self.within(&[
            "init",
            image,
            "database",
            "--no-profiles",
            "--storage",
            pool,
        ]);
        assert_eq!(self.names(), ["database"]);
        Ok(ProviderRef::new("database"))
    }
    async fn lose_reply(&self) -> Shown {
        world::tell(self.folder.path(), "lose");
        Ok(())
    }
    async fn room(&self, _: u32) -> Shown {
        Err("what LXD can be short of in a test is a quota, which is another kind; see below")
    }
    async fn blind(&self) -> Shown {
        world::tell(self.folder.path(), "blind");
        Ok(())
    }
    async fn refuse(&self, _: Refusal) -> Shown {
        Err("a daemon on a socket throttles nobody and knows everybody")
    }
    fn left_out(&self, case: &str) -> Option<&'static str> {
        (case == "two_fleets_stand_side_by_side").then_some(
            "a name exists once in a project of LXD, so an equally named batch of another fleet is refused; see below",
        )
    }
}

conformance::provider_suite!(start);

fn project(test: &str) -> Option<Project> {
    Project::start()
        .inspect_err(|why| {
            conformance::provider::missing(&format!("provider-command::lxd::{test}"), why);
        })
        .ok()
}

#[tokio::test]
async fn what_lxd_refuses_is_said_in_its_words_and_leaves_nothing() {
    let Some(project) = project("refusals") else {
        return;
    };
    let with = |key: &str, value: Value| {
        let mut spec = spec();
        spec[key] = value;
        spec
    };
    let nowhere = json!({ "type": "nic", "nictype": "macvlan", "parent": "nowhere" });
    let mut unstartable = spec();
    unstartable["devices"]["eth0"] = nowhere;
    for (sequence, (spec, words)) in (1..).zip([
        (with("image", json!("no-such-image")), "not found"),
        (with("imag", json!("small")), "`imag`"),
        (with("devices", json!([])), "`devices`"),
        (unstartable, "did not start"),
    ]) {
        let batch = batch(sequence, 1, &spec);
        match create_one(&*project.provider, &batch).await {
            Outcome::Failed(error) => {
                assert_eq!(error.kind, ProviderErrorKind::InvalidRequest, "{error:?}");
                assert!(error.message.contains(words), "{error:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    project.lxc(&["project", "set", &project.name, "limits.instances", "0"]);
    match create_one(&*project.provider, &batch(9, 1, &spec())).await {
        Outcome::Failed(error) => assert_eq!(error.kind, ProviderErrorKind::QuotaExceeded),
        other => panic!("{other:?}"),
    }
    assert_eq!(project.names(), [""; 0]);
}

#[tokio::test]
async fn a_name_that_somebody_else_has_is_refused_and_left_alone() {
    let Some(project) = project("names") else {
        return;
    };
    let ours = batch(1, 1, &spec());
    let mut theirs = ours.clone();
    theirs.fleet = fleet("other");
    let machine = made(&*project.provider, &theirs).await;
    match create_one(&*project.provider, &ours).await {
        Outcome::Failed(error) => assert_eq!(error.kind, ProviderErrorKind::InvalidRequest),
        other => panic!("{other:?}"),
    }
    let mut claimed = machine.clone();
    claimed.owner.fleet = fleet("acme");
    let deleted = project.provider.delete(&[claimed], &call()).await;
    assert!(matches!(deleted[..], [Outcome::Failed(_)]), "{deleted:?}");
    assert_eq!(project.names(), [machine.name.to_string()]);
}

/// Not after a number of polls as in the suite, but when there is something to be left behind.
#[tokio::test]
async fn a_creation_that_is_cut_off_anywhere_is_one_machine_when_asked_for_again() {
    let Some(project) = project("cut off") else {
        return;
    };
    for (sequence, status) in (1..).zip(["STOPPED", "RUNNING"]) {
        let batch = batch(sequence, 1, &spec());
        let name = batch.batch.instance(0).to_string();
        let wanted = format!("{name},{status}");
        let is_there = async || {
            let listed = project.within(&["list", "--format", "csv", "--columns", "ns"]);
            listed.lines().any(|line| line == wanted).then_some(())
        };
        let right = call();
        tokio::select! {
            outcomes = project.provider.create(&batch, &right) => {
                // it was faster than we could look
                assert!(matches!(outcomes[..], [Outcome::Done(_)]), "{outcomes:?}");
            }
            () = until(status, is_there) => {}
        }
        let machine = made(&*project.provider, &batch).await;
        assert_eq!(
            machine.state,
            InstanceState::Running,
            "cut off when {status}"
        );
        assert_eq!(project.names().len(), sequence as usize);
    }
}

#[tokio::test]
async fn a_machine_is_renewed_and_one_that_runs_is_not_deleted_as_stopped() {
    let Some(project) = project("renewed") else {
        return;
    };
    let mut machine = made(&*project.provider, &batch(1, 1, &spec())).await;
    assert_eq!(machine.state, InstanceState::Running);
    let until = "2030-01-01T00:00:00Z".parse().expect("a time");
    let renewed = project
        .provider
        .renew(std::slice::from_ref(&machine), until, &call())
        .await;
    assert!(matches!(renewed[..], [Outcome::Done(_)]), "{renewed:?}");
    let name = machine.name.to_string();
    let kept = project.within(&["config", "get", &name, "user.parmanu-expires"]);
    assert_eq!(kept.trim(), "2030-01-01T00:00:00Z");
    let script = project.within(&["config", "get", &name, "user.user-data"]);
    assert_eq!(script.trim(), "#!/bin/sh");
    machine.state = InstanceState::Stopped;
    let deleted = project.provider.delete(&[machine], &call()).await;
    assert!(matches!(deleted[..], [Outcome::Failed(_)]), "{deleted:?}");
    assert_eq!(project.names(), [name]);
}

#[tokio::test]
async fn a_daemon_that_is_away_is_an_error_and_never_an_empty_list() {
    let Some(project) = project("away") else {
        return;
    };
    let nobody = project.folder.path().join("nobody");
    let config = json!({
        "program": world::behind_a_wire(project.folder.path(), PROGRAM).expect("python"),
        "env": { "LXD_SOCKET": nobody, "LXD_CONF": project.folder.path() },
    });
    let provider = world::provider(&config, project.clock.clone());
    let error = provider.list(&fleet("acme")).await.expect_err("no daemon");
    assert_eq!(error.kind, ProviderErrorKind::Unreachable, "{error:?}");
    match create_one(&*provider, &batch(1, 1, &spec())).await {
        Outcome::Failed(error) => assert_eq!(error.kind, ProviderErrorKind::Unreachable),
        other => panic!("{other:?}"),
    }
}
