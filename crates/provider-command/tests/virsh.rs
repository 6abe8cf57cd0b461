//! The program for libvirt in deploy/command keeps the promises of every provider, on real virtual machines.
//!
//! `PARMANU_TEST_LIBVIRT_URI` is where a libvirt answers, `PARMANU_TEST_LIBVIRT_GUEST` a folder with the `kernel` and `initrd` of a
//! guest that runs the boot script of its seed, and `PARMANU_TEST_LIBVIRT_FOLDER` one for disks. `cargo xtask test --extended` sets them:
//! QEMU emulates the processor, so all of it takes minutes. Each test makes a storage pool and a fleet of its own.

#[path = "world/mod.rs"]
mod world;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use conformance::provider::{ProviderHarness, Refusal, Shown};
use model::{CreateBatch, FleetId, InstanceState, ProviderRef};
use ports::{Clock, Outcome, Provider, ProviderErrorKind};
use serde_json::{Value, json};
use world::{RealClock, call, create_one, fleet, made, until};

const URI: &str = "PARMANU_TEST_LIBVIRT_URI";
const GUEST: &str = "PARMANU_TEST_LIBVIRT_GUEST";
const FOLDER: &str = "PARMANU_TEST_LIBVIRT_FOLDER";
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/command/virsh.py");

/// One storage pool, and a fleet whose name nobody else has.
struct Pool {
    uri: String,
    folder: tempfile::TempDir,
    name: String,
    clock: Arc<RealClock>,
    provider: Arc<dyn Provider>,
}

async fn start() -> Result<Pool, String> {
    Pool::start()
}

impl Pool {
    fn start() -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let variable = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
        let (uri, guest, disks) = (variable(URI)?, variable(GUEST)?, variable(FOLDER)?);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let name = format!("t{}-{number}", std::process::id());
        let folder = tempfile::tempdir_in(disks).expect("a folder");
        std::fs::write(folder.path().join("domain.xml"), domain(Path::new(&guest)))
            .expect("a file");
        let clock = Arc::new(RealClock);
        let config = json!({
            "program": world::behind_a_wire(folder.path(), PROGRAM)?,
            "env": { "LIBVIRT_DEFAULT_URI": uri, "PARMANU_VIRSH_POOL": name },
        });
        let pool = Self {
            provider: world::provider(&config, clock.clone()),
            uri,
            folder,
            name,
            clock,
        };
        let images = pool.images();
        std::fs::create_dir(&images).expect("a folder");
        let images = images.display().to_string();
        pool.virsh(&["pool-create-as", &pool.name, "dir", "--target", &images]);
        pool.virsh(&[
            "vol-create-as",
            &pool.name,
            "guest.qcow2",
            "1048576",
            "--format",
            "qcow2",
        ]);
        Ok(pool)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("virsh");
        command
            .args(["--quiet", "--connect", &self.uri])
            .args(arguments);
        command.output().expect("virsh")
    }

    fn virsh(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        assert!(done.status.success(), "virsh {arguments:?}: {done:?}");
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// The domains of this test, whoever defined them.
    fn domains(&self) -> Vec<String> {
        let all = self.virsh(&["list", "--all", "--name"]);
        let ours = all.lines().filter(|name| name.starts_with(&self.name));
        ours.map(str::to_owned).collect()
    }

    fn images(&self) -> PathBuf {
        self.folder.path().join("images")
    }

    /// The volumes of the pool, but the image.
    fn volumes(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.images()).expect("a folder");
        let files = entries.map(|entry| entry.expect("a file").path());
        files
            .filter(|file| !file.ends_with("guest.qcow2"))
            .collect()
    }

    fn spec(&self) -> Value {
        json!({ "image": "guest.qcow2", "domain": self.folder.path().join("domain.xml") })
    }

    fn batch(&self, sequence: u32, spec: &Value) -> CreateBatch {
        let mut batch = world::batch(sequence, 1, spec);
        batch.fleet = self.fleet();
        batch
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for name in self.domains() {
            self.run(&["destroy", &name]);
            self.run(&["undefine", &name]);
        }
        self.run(&["pool-destroy", &self.name]);
    }
}

/// A machine as small as may be, with an emulated processor.
fn domain(guest: &Path) -> String {
    let guest = guest.display();
    format!(
        "<domain type='qemu'>
           <name>of-somebody-else</name>
           <uuid>c0ffee00-0000-4000-8000-000000000000</uuid>
           <memory unit='MiB'>96</memory>
           <vcpu>1</vcpu>
           <os>
             <type arch='x86_64' machine='pc'>hvm</type>
             <kernel>{guest}/kernel</kernel>
             <initrd>{guest}/initrd</initrd>
             <cmdline>console=ttyS0 quiet panic=1 mitigations=off nokaslr no_timer_check</cmdline>
           </os>
           <features><acpi/></features>
           <cpu mode='maximum'/>
           <on_poweroff>destroy</on_poweroff>
           <on_crash>destroy</on_crash>
           <devices>
             <disk type='file' device='disk'>
               <source file='/of-somebody-else.qcow2'/>
               <target dev='vda' bus='virtio'/>
             </disk>
             <serial type='file'><source path='console.log'/><target port='0'/></serial>
             <memballoon model='none'/>
           </devices>
         </domain>"
    )
}

#[async_trait]
impl ProviderHarness for Pool {
    fn provider(&self) -> &dyn Provider {
        self.provider.as_ref()
    }
    fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }
    fn offer(&self) -> Value {
        json!({ "spec": self.spec() })
    }
    fn fleet(&self) -> FleetId {
        fleet(&self.name)
    }
    fn nobody(&self) -> ProviderRef {
        ProviderRef::new("5eed0000-0000-4000-8000-000000000000")
    }
    fn largest_batch(&self) -> u32 {
        5
    }
    async fn settle(&self) {
        // a run is over when libvirt is
    }
    async fn alive(&self) -> Shown<usize> {
        Ok(self.domains().len())
    }
    async fn foreign(&self) -> Shown<ProviderRef> {
        // in the name of the fleet, and without its mark
        let name = format!("{}.database", self.name);
        let xml = domain(Path::new("/nowhere"))
            .replace("of-somebody-else</name>", &format!("{name}</name>"))
            .replace("<uuid>c0ffee00-0000-4000-8000-000000000000</uuid>", "");
        let file = self.folder.path().join("database.xml");
        std::fs::write(&file, xml).expect("a file");
        self.virsh(&["define", &file.display().to_string()]);
        Ok(ProviderRef::new(self.virsh(&["domuuid", &name]).trim()))
    }
    async fn lose_reply(&self) -> Shown {
        world::tell(self.folder.path(), "lose");
        Ok(())
    }
    async fn room(&self, _: u32) -> Shown {
        Err("a host is full when its memory is, which no test fills; see below")
    }
    async fn blind(&self) -> Shown {
        world::tell(self.folder.path(), "blind");
        Ok(())
    }
    async fn refuse(&self, _: Refusal) -> Shown {
        Err("a daemon on a socket throttles nobody and knows everybody; see below")
    }
}

conformance::provider_suite!(start, extended);

fn pool(test: &str) -> Option<Pool> {
    Pool::start()
        .inspect_err(|why| {
            conformance::provider::left_out(&format!("provider-command::virsh::{test}"), why);
        })
        .ok()
}

/// From the first instruction to the last line of its boot script, as an operator would see it.
#[tokio::test]
async fn a_machine_boots_and_its_boot_script_is_heard_on_the_console() {
    let Some(pool) = pool("boots") else { return };
    let mut batch = pool.batch(1, &pool.spec());
    batch.user_data.0 = "#!/bin/sh\necho boot script of $(hostname)\n".to_owned();
    let machine = made(&*pool.provider, &batch).await;
    assert_eq!(machine.state, InstanceState::Running);
    let printed = until("the end of the boot script", async || {
        let console = pool.provider.console(&machine, &call()).await;
        let console = console.expect("a console")?;
        console
            .contains("boot script ended with 0")
            .then_some(console)
    })
    .await;
    let said = format!("boot script of {}", machine.name);
    assert!(printed.contains(&said), "{printed}");
}

#[tokio::test]
async fn what_libvirt_refuses_is_said_in_its_words_and_leaves_nothing() {
    let Some(pool) = pool("refusals") else { return };
    let with = |key: &str, value: Value| {
        let mut spec = pool.spec();
        spec[key] = value;
        spec
    };
    use ProviderErrorKind::{InvalidRequest, OutOfCapacity};
    for (sequence, (spec, kind, words)) in (1..).zip([
        // refused before, while and after it is defined
        (
            with("domain", json!("/nowhere.xml")),
            InvalidRequest,
            "/nowhere.xml",
        ),
        (with("memory", json!(96)), InvalidRequest, "`memory`"),
        (with("cpus", json!(1000)), InvalidRequest, "CPUs"),
        (
            with("image", json!("no-such-image")),
            InvalidRequest,
            "no-such-image",
        ),
        (
            with("memory_mib", json!(90_000_000)),
            OutOfCapacity,
            "allocate memory",
        ),
    ]) {
        match create_one(&*pool.provider, &pool.batch(sequence, &spec)).await {
            Outcome::Failed(error) => {
                assert_eq!(error.kind, kind, "{error:?}");
                assert!(error.message.contains(words), "{error:?}");
            }
            other => panic!("{spec} became {other:?}"),
        }
    }
    assert_eq!(pool.domains(), [""; 0]);
    assert_eq!(pool.volumes(), [""; 0].map(PathBuf::from));
}

/// A program that was killed between the definition and the start leaves a domain without disks. It is listed, so it
/// is not forgotten, and the same batch again makes it whole.
#[tokio::test]
async fn what_an_attempt_that_died_half_way_left_is_listed_and_made_whole() {
    let Some(pool) = pool("leftovers") else {
        return;
    };
    let batch = pool.batch(1, &pool.spec());
    let whole = made(&*pool.provider, &batch).await;
    let name = format!("{}.{}", pool.name, whole.name);
    pool.virsh(&["destroy", &name]);
    pool.virsh(&["vol-delete", "--pool", &pool.name, &format!("{name}.qcow2")]);
    let listed = pool.provider.list(&pool.fleet()).await.expect("a list");
    assert_eq!(listed.instances[0].state, InstanceState::Pending);
    let again = made(&*pool.provider, &batch).await;
    assert_eq!(
        (&again.id, again.state),
        (&whole.id, InstanceState::Running)
    );
}

/// Not after a number of polls as in the suite, but when there is something to be left behind.
#[tokio::test]
async fn a_creation_that_is_cut_off_anywhere_is_one_machine_when_asked_for_again() {
    let Some(pool) = pool("cut off") else { return };
    let mut machines = Vec::new();
    for (sequence, left) in (1..).zip(["defined", ".qcow2", ".console.log", ".seed.iso"]) {
        let batch = pool.batch(sequence, &pool.spec());
        let name = format!("{}.{}", pool.name, batch.batch.instance(0));
        let is_there = async || {
            let there = match left {
                "defined" => pool.domains().contains(&name),
                kind => pool.images().join(format!("{name}{kind}")).exists(),
            };
            there.then_some(())
        };
        let right = call();
        tokio::select! {
            outcomes = pool.provider.create(&batch, &right) => {
                // it was faster than we could look
                assert!(matches!(outcomes[..], [Outcome::Done(_)]), "{outcomes:?}");
            }
            () = until(left, is_there) => {}
        }
        let machine = made(&*pool.provider, &batch).await;
        assert_eq!(
            machine.state,
            InstanceState::Running,
            "cut off when {left} was there"
        );
        machines.push(machine);
    }
    assert_eq!(pool.domains().len(), machines.len());
    let deleted = pool.provider.delete(&machines, &call()).await;
    assert!(
        deleted
            .iter()
            .all(|outcome| matches!(outcome, Outcome::Done(_))),
        "{deleted:?}"
    );
    assert_eq!(pool.volumes(), [""; 0].map(PathBuf::from));
}

#[tokio::test]
async fn nothing_of_a_deleted_machine_is_left_whoever_deleted_the_domain() {
    let Some(pool) = pool("deleted") else { return };
    let machines = [
        made(&*pool.provider, &pool.batch(1, &pool.spec())).await,
        made(&*pool.provider, &pool.batch(2, &pool.spec())).await,
    ];
    assert_eq!(pool.volumes().len(), 6, "a disk, a seed and a console each");
    let by_hand = format!("{}.{}", pool.name, machines[1].name);
    pool.virsh(&["destroy", &by_hand]);
    pool.virsh(&["undefine", &by_hand]);
    let deleted = pool.provider.delete(&machines, &call()).await;
    assert!(
        matches!(deleted[..], [Outcome::Done(_), Outcome::Done(_)]),
        "{deleted:?}"
    );
    assert_eq!(pool.domains(), [""; 0]);
    assert_eq!(pool.volumes(), [""; 0].map(PathBuf::from));
}

#[tokio::test]
async fn a_machine_is_renewed_and_one_that_runs_is_not_deleted_as_stopped() {
    let Some(pool) = pool("renewed") else { return };
    let mut machine = made(&*pool.provider, &pool.batch(1, &pool.spec())).await;
    let until = "2030-01-01T00:00:00Z".parse().expect("a time");
    let renewed = pool
        .provider
        .renew(std::slice::from_ref(&machine), until, &call())
        .await;
    assert!(matches!(renewed[..], [Outcome::Done(_)]), "{renewed:?}");
    for which in [
        &["dumpxml", machine.id.as_str()][..],
        &["dumpxml", "--inactive", machine.id.as_str()],
    ] {
        assert!(
            pool.virsh(which).contains("2030-01-01T00:00:00Z"),
            "{which:?}"
        );
    }
    let listed = pool.provider.list(&pool.fleet()).await.expect("a list");
    machine.expires = Some(until);
    assert_eq!(
        listed.instances[0], machine,
        "and all other marks are as they were"
    );
    machine.state = InstanceState::Stopped;
    let deleted = pool.provider.delete(&[machine], &call()).await;
    assert!(matches!(deleted[..], [Outcome::Failed(_)]), "{deleted:?}");
    assert_eq!(pool.domains().len(), 1);
}

#[tokio::test]
async fn a_machine_that_was_powered_off_is_stopped_and_not_started_again() {
    let Some(pool) = pool("killed") else { return };
    let batch = pool.batch(1, &pool.spec());
    let machine = made(&*pool.provider, &batch).await;
    // old enough that it is not taken for one that is just being made
    let old = pool.virsh(&["dumpxml", "--inactive", machine.id.as_str()]);
    let (before, rest) = old.split_once("name=\"created\">").expect("a time");
    let (_, after) = rest.split_once('<').expect("its end");
    let file = pool.folder.path().join("old.xml");
    std::fs::write(
        &file,
        format!("{before}name=\"created\">2026-01-01T00:00:00Z<{after}"),
    )
    .expect("a file");
    pool.virsh(&["define", &file.display().to_string()]);
    pool.virsh(&["destroy", machine.id.as_str()]);
    let listed = pool.provider.list(&pool.fleet()).await.expect("a list");
    assert_eq!(listed.instances[0].state, InstanceState::Stopped);
    assert_eq!(
        made(&*pool.provider, &batch).await.state,
        InstanceState::Stopped
    );
}

#[tokio::test]
async fn a_daemon_that_is_away_is_an_error_and_never_an_empty_list() {
    let Some(pool) = pool("away") else { return };
    let config = json!({
        "program": world::behind_a_wire(pool.folder.path(), PROGRAM).expect("python"),
        "env": { "LIBVIRT_DEFAULT_URI": "qemu+unix:///system?socket=/nowhere", "PARMANU_VIRSH_POOL": pool.name },
    });
    let provider = world::provider(&config, pool.clock.clone());
    let error = provider.list(&pool.fleet()).await.expect_err("no daemon");
    assert_eq!(error.kind, ProviderErrorKind::Unreachable, "{error:?}");
}
