//! What is done with the images, and what must be true meanwhile.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::Scene;
use super::engine::{Engine, get};
use crate::cell::Network;
use crate::command::{must, now, wait_until};

pub(crate) const PROGRAMS: [&str; 3] = ["probot", "scaler", "parmanu"];
/// What `docker-compose.yml` and the demo call the services.
const CONTAINERS: [&str; 4] = ["world", "redis", "probot", "scaler"];
/// Name of the image that holds the programs.
const BINARIES: &str = "parmanu-binaries";
/// The base images, as Dockerfile and Compose name them.
const RUNTIME: &str = "gcr.io/distroless/cc-debian12:nonroot";
pub(crate) const REDIS: &str = "redis:7.2";
/// What `deploy/demo/secrets` is made of: none of it may be logged.
const SECRETS: [&str; 3] = [
    "demo-token-of-nobody",
    "demo-password-of-nobody",
    "demo-secret-of-nobody",
];

/// Two cores that do something else too: every wait is for minutes, and ends as soon as it can.
const LIMIT: Duration = Duration::from_secs(240);
/// `stop_grace_period` of docker-compose.yml: who needs longer is killed.
const GRACE: Duration = Duration::from_secs(20);

/// Tells it, line by line; the last one is the summary.
pub(super) fn tell(scene: &Scene) -> anyhow::Result<()> {
    let start = now();
    let say = |words: &str| println!("{:4.0} s  {words}", start.elapsed().as_secs_f64());
    let engine = Engine::start(&scene.tools, &scene.repository, Network::Own)?;
    say("the engine runs");
    let sizes = build(&engine, scene)?;
    say(&format!("built: {sizes}"));
    for program in PROGRAMS {
        image_is_bare(&engine, program)?;
    }
    say("no image has a shell, and each runs as nobody with a read-only root");
    engine.compose(&["up", "--detach", "--no-build"])?;
    for container in CONTAINERS {
        is_healthy(&engine, container)?;
    }
    say("all four containers are healthy");
    let fares = jobs_end(&engine, 5)?;
    say(&format!("machines follow the jobs: {fares}"));
    for service in ["scaler", "probot"] {
        comes_back(&engine, service)?;
        let fares = jobs_end(&engine, 3)?;
        say(&format!("{service} was killed and came back: {fares}"));
    }
    link_is_cut_and_heals(&engine)?;
    let fares = jobs_end(&engine, 3)?;
    say(&format!("the link to Redis was cut and healed: {fares}"));
    let fares = wait_until("a machine that leaves", LIMIT, || {
        Ok(last_line(&engine)?.filter(|fares| fares.now < fares.ever))
    })?;
    say(&format!("idle machines leave: {}", fares.line));
    let slowest = all_end(&engine)?;
    say("all ended by themselves, with status 0");
    nothing_is_told(&engine)?;
    engine.compose(&["down", "--volumes"])?;
    println!(
        "{sizes}; {}; stopped within {:.1} s",
        fares.line,
        slowest.as_secs_f64()
    );
    Ok(())
}

/// What an image of ours is called.
pub(crate) fn image_of(program: &str) -> String {
    format!("parmanu/{program}")
}

/// Makes the images, or loads those that were made; says how large they are.
fn build(engine: &Engine<'_>, scene: &Scene) -> anyhow::Result<String> {
    stand_on(engine, &scene.bases)?;
    let kind = match &scene.images {
        Some(images) => {
            engine.docker([
                OsStr::new("load"),
                OsStr::new("--input"),
                images.as_os_str(),
            ])?;
            "as the Dockerfile compiles them"
        }
        None => {
            build_of_binaries(engine, scene)?;
            "debug builds, stripped"
        }
    };
    let mut sizes = Vec::new();
    for program in PROGRAMS {
        let size: u64 = engine.field(&image_of(program), ".Size")?.parse()?;
        sizes.push(format!("{program} {} MB", size / 1_000_000));
    }
    Ok(format!("{kind}: {}", sizes.join(", ")))
}

/// The final stages of the Dockerfile, around programs that were built outside of it.
fn build_of_binaries(engine: &Engine<'_>, scene: &Scene) -> anyhow::Result<()> {
    let out = scene.tools.folder.join("binaries/out");
    programs(&scene.binaries, &out)?;
    let archive = scene.tools.folder.join("binaries.tar");
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(out.with_file_name("")).arg("-cf");
    must(tar.arg(&archive).arg("out"))?;
    engine.import(&archive, BINARIES, &[])?;
    let binaries = format!("BINARIES={BINARIES}");
    for program in PROGRAMS {
        let image = image_of(program);
        let words = ["build", "--network", "none", "--build-arg", &binaries];
        let named = ["--target", program, "--tag", &image, "."];
        engine.docker(words.into_iter().chain(named))?;
    }
    Ok(())
}

/// Gives the engine the images that ours stand on.
pub(crate) fn stand_on(engine: &Engine<'_>, bases: &Path) -> anyhow::Result<()> {
    engine.import(&bases.join("runtime.tar"), RUNTIME, &[])?;
    engine.import(&bases.join("redis.tar"), REDIS, &[])
}

/// Copies the programs without what only a debugger reads.
pub(crate) fn programs(built: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for program in PROGRAMS {
        let from = built.join(program);
        std::fs::copy(&from, to.join(program))
            .with_context(|| format!("{} is not built", from.display()))?;
        must(Command::new("strip").arg(to.join(program)))?;
    }
    Ok(())
}

/// Nothing but our program can be started, and it needs neither root nor a file it may write.
fn image_is_bare(engine: &Engine<'_>, program: &str) -> anyhow::Result<()> {
    let image = image_of(program);
    let user = engine.field(&image, ".Config.User")?;
    ensure!(user == "65532:65532", "{image} runs as {user:?}");
    let flags = [
        "run",
        "--rm",
        "--read-only",
        "--network",
        "none",
        "--cap-drop",
        "ALL",
    ];
    let version = engine.docker(flags.into_iter().chain([image.as_str(), "--version"]))?;
    ensure!(version.starts_with(program), "{image} --version: {version}");
    for shell in ["/bin/sh", "/bin/bash", "/bin/busybox", "/usr/bin/env"] {
        let started = engine.docker(flags.into_iter().chain(["--entrypoint", shell, &image]));
        let error = started
            .err()
            .with_context(|| format!("{image} has {shell}"))?;
        let words = format!("{error:#}");
        ensure!(words.contains("no such file"), "{image}: {words}");
    }
    Ok(())
}

fn container(service: &str) -> String {
    format!("parmanu-demo-{service}-1")
}

fn is_healthy(engine: &Engine<'_>, service: &str) -> anyhow::Result<()> {
    wait_until(&format!("a healthy {service}"), LIMIT, || {
        let health = engine.field(&container(service), ".State.Health.Status")?;
        Ok((health == "healthy").then_some(()))
    })
}

/// How the jobs of the world fare.
struct Fares {
    line: String,
    finished: u64,
    killed: u64,
    now: u64,
    ever: u64,
}

/// The last line that the world said of its jobs; none before the first.
fn last_line(engine: &Engine<'_>) -> anyhow::Result<Option<Fares>> {
    let log = engine.docker(["logs", "--tail", "3", &container("world")])?;
    let Some(line) = log.lines().rfind(|line| line.starts_with("jobs: ")) else {
        return Ok(None);
    };
    let number = |what: &str| {
        let before = line.split(what).next()?;
        before.rsplit(' ').next()?.parse().ok()
    };
    let fares = || {
        Some(Fares {
            line: line.to_owned(),
            finished: number(" finished")?,
            killed: number(" killed")?,
            now: number(" machines now")?,
            ever: number(" ever")?,
        })
    };
    let fares = fares().with_context(|| format!("not understood: {line}"))?;
    ensure!(fares.killed == 0, "a build was killed: {line}");
    Ok(Some(fares))
}

/// Waits until so many more jobs have ended.
fn jobs_end(engine: &Engine<'_>, more: u64) -> anyhow::Result<String> {
    let before = last_line(engine)?.map_or(0, |fares| fares.finished);
    let fares = wait_until(&format!("{more} more jobs that end"), LIMIT, || {
        Ok(last_line(engine)?.filter(|fares| fares.finished >= before + more))
    })?;
    Ok(fares.line)
}

/// Kills the process, as the kernel does when memory is short, and waits for the next one.
fn comes_back(engine: &Engine<'_>, service: &str) -> anyhow::Result<()> {
    let name = container(service);
    let process = engine.field(&name, ".State.Pid")?;
    // by its process, since Docker does not start again what Docker was told to kill
    must(Command::new("kill").args(["-KILL", &process]))?;
    wait_until(&format!("{service} once more"), LIMIT, || {
        let again = engine.field(&name, ".State.Pid")?;
        Ok((again != process && again != "0").then_some(()))
    })?;
    let restarts = engine.field(&name, ".RestartCount")?;
    ensure!(
        restarts == "1",
        "{service} was started again {restarts} times"
    );
    is_healthy(engine, service)
}

/// A scaler that cannot reach Redis says so, lives, and goes on afterwards.
fn link_is_cut_and_heals(engine: &Engine<'_>) -> anyhow::Result<()> {
    let (network, scaler) = ("parmanu-demo_store", container("scaler"));
    engine.docker(["network", "disconnect", network, &scaler])?;
    wait_until("a scaler that misses Redis", LIMIT, || {
        let answer = get(9642, "/readyz")?;
        Ok(answer.starts_with("HTTP/1.0 503").then_some(()))
    })?;
    let lives = get(9642, "/healthz")?;
    ensure!(lives.starts_with("HTTP/1.0 200"), "/healthz: {lives}");
    engine.docker(["network", "connect", network, &scaler])?;
    wait_until("a scaler that is ready again", LIMIT, || {
        let answer = get(9642, "/readyz")?;
        Ok(answer.starts_with("HTTP/1.0 200").then_some(()))
    })
}

/// Stops everything; gives how long the slowest took.
fn all_end(engine: &Engine<'_>) -> anyhow::Result<Duration> {
    let mut slowest = Duration::ZERO;
    for service in CONTAINERS.into_iter().rev() {
        let start = now();
        engine.compose(&["stop", service])?;
        slowest = slowest.max(start.elapsed());
        let status = engine.field(&container(service), ".State.ExitCode")?;
        ensure!(status == "0", "{service} ended with {status}");
    }
    if slowest > GRACE {
        bail!("one needed {slowest:?} to stop");
    }
    Ok(slowest)
}

fn nothing_is_told(engine: &Engine<'_>) -> anyhow::Result<()> {
    let logs = engine.compose(&["logs", "--no-color"])?;
    ensure!(logs.lines().count() > 20, "the logs are missing");
    for secret in SECRETS {
        ensure!(!logs.contains(secret), "{secret} is in the logs");
    }
    Ok(())
}
