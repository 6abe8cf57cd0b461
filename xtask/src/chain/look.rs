//! One look at all that can be seen from outside: the CI server, the machines, the notice-board between the services.
//!
//! Nothing of Parmanu is used to look. Requests are HTTP/1.0 by hand, one for each connection, which both servers
//! understand and which needs no client with an opinion.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::BUILDERS;
use super::stage::{BUILDBOT, LXD_SOCKET};

/// Buildbot leaves about one request in four hundred without an answer; the next one is answered in milliseconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// Larger than any answer of the chain by far.
const MAX_ANSWER: u64 = 4 << 20;

/// A request for a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) builder: String,
    pub(crate) complete: bool,
    /// Buildbot's result; 0 is success.
    pub(crate) results: i64,
}

/// One attempt at a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Build {
    pub(crate) request: u64,
    pub(crate) worker: u64,
    /// Buildbot's result once it is complete; 0 is success, 5 means that the worker was lost.
    pub(crate) results: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Worker {
    pub(crate) name: String,
    pub(crate) connected: bool,
    pub(crate) paused: bool,
    pub(crate) stopping: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) pool: String,
    pub(crate) status: String,
    /// The worker it was made for.
    pub(crate) worker: Option<u64>,
}

/// Everything at one moment. What did not answer is `None`: unknown, not empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    pub(crate) queue: Option<Queue>,
    pub(crate) machines: Option<BTreeMap<String, Machine>>,
    /// The workload of each pool as it stands in Redis.
    pub(crate) workloads: BTreeMap<String, String>,
}

/// What Buildbot says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    pub(crate) requests: BTreeMap<u64, Request>,
    pub(crate) builds: BTreeMap<u64, Build>,
    pub(crate) workers: BTreeMap<u64, Worker>,
}

impl Look {
    pub(crate) fn now() -> Look {
        Look {
            queue: queue().ok(),
            machines: machines().ok(),
            workloads: BUILDERS
                .iter()
                .filter_map(|builder| Some((builder.name.to_owned(), workload(builder.name)?)))
                .collect(),
        }
    }
}

/// Asks for one build of a builder that takes so many seconds, as a person does at the web page.
pub(crate) fn force(builder: &str, seconds: u32) -> anyhow::Result<()> {
    let ids = buildbot("builders?field=builderid&field=name", "builders")?;
    let id = ids.iter().find(|row| row["name"] == builder);
    let id =
        id.with_context(|| format!("the master has no builder {builder}"))?["builderid"].clone();
    let body = json!({ "id": 1, "jsonrpc": "2.0", "method": "force", "params": {
        "builderid": id.to_string(), "username": "chain@example.invalid", "reason": "the chain",
        "seconds": seconds.to_string() } });
    let path = format!("/api/v2/forceschedulers/force-{builder}");
    let answer = ask(TcpStream::connect(BUILDBOT)?, "POST", &path, Some(&body))?;
    if !answer["error"].is_null() {
        bail!("Buildbot refused to build: {}", answer["error"]);
    }
    Ok(())
}

/// The process of a machine's init, as this pid namespace numbers it.
pub(crate) fn init_of(machine: &str) -> anyhow::Result<i32> {
    let state = lxd(&format!("/1.0/instances/{machine}/state"))?;
    let pid = state["pid"].as_i64().filter(|pid| *pid > 1);
    let pid = pid.with_context(|| format!("machine {machine} has no process"))?;
    Ok(i32::try_from(pid)?)
}

/// Whether the scaler at this address says that it is the active one; `None` when it does not answer.
pub(crate) fn leads(address: &str) -> Option<bool> {
    let stream = TcpStream::connect_timeout(&address.parse().ok()?, ANSWER_LIMIT).ok()?;
    stream.set_read_timeout(Some(ANSWER_LIMIT)).ok()?;
    let answer = exchange(stream, "GET", "/metrics", None).ok()?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let line = text
        .lines()
        .find(|line| line.starts_with("parmanu_leader"))?;
    Some(line.ends_with(" 1"))
}

/// Writes another mark on a machine.
pub(crate) fn mark(machine: &str, name: &str, value: &str) -> anyhow::Result<()> {
    let stream = UnixStream::connect(Path::new(LXD_SOCKET))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    let config = json!({ "config": { format!("user.parmanu-{name}"): value } });
    let path = format!("/1.0/instances/{machine}");
    let answer = ask(stream, "PATCH", &path, Some(&config))?;
    if answer["error_code"].as_i64().is_some_and(|code| code != 0) {
        bail!("LXD did not mark {machine}: {answer}");
    }
    Ok(())
}

/// Whether the daemon answers.
pub(crate) fn lxd_answers() -> bool {
    lxd("/1.0").is_ok()
}

/// Whether the master answers.
pub(crate) fn buildbot_answers() -> bool {
    buildbot("masters", "masters").is_ok()
}

/// The lines `redis-cli` prints for a command.
pub(crate) fn redis(arguments: &[&str]) -> anyhow::Result<Vec<String>> {
    let output = Command::new("redis-cli").args(arguments).output()?;
    if !output.status.success() {
        bail!("redis-cli ended with {}", output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .map(str::to_owned)
        .filter(|line| !line.is_empty())
        .collect())
}

fn queue() -> anyhow::Result<Queue> {
    // requests first: what completes meanwhile is then a build that is known
    let builders = buildbot("builders?field=builderid&field=name", "builders")?;
    let requests =
        "buildrequests?field=buildrequestid&field=builderid&field=complete&field=results";
    let requests = buildbot(requests, "buildrequests")?;
    let builds =
        "builds?field=buildid&field=buildrequestid&field=workerid&field=complete&field=results";
    let builds = buildbot(builds, "builds")?;
    let workers =
        "workers?field=workerid&field=name&field=connected_to&field=paused&field=graceful";
    let workers = buildbot(workers, "workers")?;
    let name_of = |id: &Value| {
        let row = builders.iter().find(|row| row["builderid"] == *id);
        row.and_then(|row| row["name"].as_str())
            .unwrap_or("?")
            .to_owned()
    };
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    Ok(Queue {
        requests: requests
            .iter()
            .map(|row| {
                let request = Request {
                    builder: name_of(&row["builderid"]),
                    complete: row["complete"] == true,
                    results: row["results"].as_i64().unwrap_or(-1),
                };
                (number(&row["buildrequestid"]), request)
            })
            .collect(),
        builds: builds
            .iter()
            .map(|row| {
                let build = Build {
                    request: number(&row["buildrequestid"]),
                    worker: number(&row["workerid"]),
                    results: (row["complete"] == true)
                        .then(|| row["results"].as_i64().unwrap_or(-1)),
                };
                (number(&row["buildid"]), build)
            })
            .collect(),
        workers: workers
            .iter()
            .map(|row| {
                let connected = row["connected_to"]
                    .as_array()
                    .is_some_and(|to| !to.is_empty());
                let worker = Worker {
                    name: row["name"].as_str().unwrap_or("?").to_owned(),
                    connected,
                    paused: row["paused"] == true,
                    // the word stays behind after the worker has gone
                    stopping: connected && row["graceful"] == true,
                };
                (number(&row["workerid"]), worker)
            })
            .collect(),
    })
}

fn machines() -> anyhow::Result<BTreeMap<String, Machine>> {
    let rows = lxd("/1.0/instances?recursion=1")?;
    let rows = rows.as_array().context("LXD answered no list")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let machine = |row: &Value| {
        let executor = text(&row["config"]["user.parmanu-executor"]);
        let machine = Machine {
            pool: text(&row["config"]["user.parmanu-pool"]),
            status: text(&row["status"]),
            worker: executor.rsplit(':').next().and_then(|id| id.parse().ok()),
        };
        (text(&row["name"]), machine)
    };
    Ok(rows.iter().map(machine).collect())
}

fn workload(pool: &str) -> Option<String> {
    let values = redis(&["HVALS", &format!("parmanu:v1:chain:{pool}:workload")]).ok()?;
    let values: Value = serde_json::from_str(values.first()?).ok()?;
    let demand = values
        .get("demand")
        .or_else(|| values["workload"].get("demand"))?;
    Some(format!(
        "{} runnable, {} running",
        demand["runnable"], demand["running"]
    ))
}

fn buildbot(path: &str, key: &str) -> anyhow::Result<Vec<Value>> {
    let address = BUILDBOT.parse()?;
    let stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    let mut answer = ask(stream, "GET", &format!("/api/v2/{path}"), None)?;
    match answer[key].take() {
        Value::Array(rows) => Ok(rows),
        _ => bail!("Buildbot answered no {key}"),
    }
}

fn lxd(path: &str) -> anyhow::Result<Value> {
    let stream = UnixStream::connect(Path::new(LXD_SOCKET))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    let mut answer = ask(stream, "GET", path, None)?;
    if answer["type"] != "sync" {
        bail!("LXD answered {answer}");
    }
    Ok(answer["metadata"].take())
}

fn ask(
    stream: impl Read + Write,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&exchange(
        stream, method, path, body,
    )?)?)
}

/// The body of the answer.
fn exchange(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Vec<u8>> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.context("no whole answer")?;
    Ok(answer.split_off(end + 4))
}
