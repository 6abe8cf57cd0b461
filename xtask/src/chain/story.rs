//! The story as it happens: differences between two looks become lines, and facts for the verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::Value;

use super::alone::{self, Alone};
use super::faults::Faults;
use super::look::{self, Build, Look, Queue};
use super::nodes::{self, Nodes};
use super::orders::{self, Orders};
use super::stage::Stage;
use super::{BUILDERS, pools};
use crate::command::{interrupted, now, sleep};
use crate::image::Image;

/// Short against what is watched (a container starts in 150 ms, is deleted in 300 ms): no machine comes and goes unseen.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// When nothing at all has changed for this long nothing will any more. Longer than a lease, a boot deadline of the small
/// image and the rest of a worker name together.
const STANDSTILL: Duration = Duration::from_secs(100);

/// How long a build takes that nothing is done to.
const BUILD_SECONDS: u32 = 6;

/// How long one thing of a later part is waited for: a machine that boots, a build, some looks of the guest, a power-off.
const STEP: Duration = Duration::from_secs(120);

/// Longest line: what an engine says of a pool can be long, and a terminal wraps it.
const MAX_LINE: usize = 220;

/// What the verdict is given on.
pub(crate) struct Story {
    /// How it ended: empty, or why it was broken off.
    pub(crate) broken_off: Option<String>,
    pub(crate) queue: Queue,
    /// Most machines of each pool at one look.
    pub(crate) most: BTreeMap<String, usize>,
    /// Machines that were ever seen.
    pub(crate) ever: BTreeSet<String>,
    /// Machines that are left.
    pub(crate) left: BTreeSet<String>,
    /// Intents that are left in Redis.
    pub(crate) intents: Option<usize>,
    pub(crate) faults: Faults,
    /// How the machines fared when both services were gone.
    pub(crate) alone: Option<Alone>,
    /// What came of an operator's orders.
    pub(crate) orders: Option<Orders>,
    /// What came of his orders to a pool that joins no CI server.
    pub(crate) nodes: Option<Nodes>,
    /// How often the cloud without room was asked for machines.
    pub(crate) refused: usize,
    /// What `parmanu doctor` found at the end.
    pub(crate) unwell: Vec<String>,
    /// Lines of the services that must not be there.
    pub(crate) alarms: Vec<String>,
    /// Whether all services ended well when asked.
    pub(crate) ended_well: bool,
    pub(crate) took: Duration,
}

/// Plays it to its end, or until it stands still.
pub(crate) fn tell(stage: &mut Stage, image: Image) -> anyhow::Result<Story> {
    let mut teller = Teller::new();
    teller.say(
        "chain",
        "Redis, Buildbot and LXD run; no worker, no machine",
    );
    for builder in &BUILDERS {
        for _ in 0..builder.builds {
            look::force(builder.name, BUILD_SECONDS)?;
        }
    }
    stage.probot.start()?;
    for scaler in &mut stage.scalers {
        scaler.start()?;
    }
    teller.say("chain", "probot and two scalers start");
    let broken_off = acts(stage, &mut teller, image)?;
    let last = stage.operator.doctor()?;
    teller.unwell = last.ends_with("parmanu doctor", 0);
    teller.end(stage, broken_off)
}

/// One act after the other; why it was broken off, if it was. Each ends with a fleet that is empty again.
fn acts(stage: &mut Stage, teller: &mut Teller, image: Image) -> anyhow::Result<Option<String>> {
    if let Some(why) = play(stage, teller, image)? {
        return Ok(Some(why));
    }
    teller.alone = alone::play(stage, teller)?;
    if let Some(why) = play(stage, teller, image)? {
        return Ok(Some(why));
    }
    teller.orders = Some(orders::play(stage, teller, image)?);
    if let Some(why) = play(stage, teller, image)? {
        return Ok(Some(why));
    }
    teller.nodes = Some(nodes::play(stage, teller)?);
    play(stage, teller, image)
}

/// Looks on until all is done; why it was broken off, if it was.
fn play(stage: &mut Stage, teller: &mut Teller, image: Image) -> anyhow::Result<Option<String>> {
    let start = now();
    let limit = match image {
        Image::Small => Duration::from_secs(300),
        Image::CloudInit => Duration::from_secs(600),
    };
    loop {
        let look = teller.look(stage)?;
        if let Some(what) = teller.faults.next(stage, &look, &teller.seen)? {
            teller.say("FAULT", &what);
        }
        if teller.faults.recover(stage)? {
            teller.say("chain", "it is started again");
        }
        if teller.is_over(&look) {
            return Ok(None);
        }
        if teller.last_news.elapsed() > STANDSTILL {
            let seconds = STANDSTILL.as_secs();
            return Ok(Some(format!("nothing has changed for {seconds} s")));
        }
        if start.elapsed() > limit {
            let seconds = limit.as_secs();
            return Ok(Some(format!("it was not over after {seconds} s")));
        }
        sleep(BETWEEN_LOOKS);
    }
}

pub(crate) struct Teller {
    start: Instant,
    last_news: Instant,
    /// The newest of each part that was seen.
    pub(crate) seen: Look,
    lxd_away: bool,
    most: BTreeMap<String, usize>,
    ever: BTreeSet<String>,
    faults: Faults,
    alone: Option<Alone>,
    orders: Option<Orders>,
    nodes: Option<Nodes>,
    unwell: Vec<String>,
    alarms: Vec<String>,
    probot: Tail,
    scalers: [Tail; 2],
}

impl Teller {
    fn new() -> Self {
        Self {
            start: now(),
            last_news: now(),
            seen: Look::default(),
            lxd_away: false,
            most: BTreeMap::new(),
            ever: BTreeSet::new(),
            faults: Faults::new(),
            alone: None,
            orders: None,
            nodes: None,
            unwell: Vec::new(),
            alarms: Vec::new(),
            probot: Tail::default(),
            scalers: Default::default(),
        }
    }

    /// One look at everything, told.
    pub(crate) fn look(&mut self, stage: &mut Stage) -> anyhow::Result<Look> {
        if interrupted() {
            bail!("interrupted");
        }
        let [first, second] = &mut stage.scalers;
        for process in [
            &mut stage.redis,
            &mut stage.buildbot,
            &mut stage.lxd,
            &mut stage.probot,
            first,
            second,
        ] {
            process.alive()?;
        }
        let look = Look::now();
        self.see(&look);
        self.hear(stage);
        Ok(look)
    }

    /// The first look of which this holds, if it comes in time.
    pub(crate) fn until(
        &mut self,
        stage: &mut Stage,
        holds: impl Fn(&Look) -> bool,
    ) -> anyhow::Result<Option<Look>> {
        let start = now();
        while start.elapsed() < STEP {
            let look = self.look(stage)?;
            if look.queue.is_some() && look.machines.is_some() && holds(&look) {
                return Ok(Some(look));
            }
            sleep(BETWEEN_LOOKS);
        }
        Ok(None)
    }

    pub(crate) fn say(&mut self, who: &str, what: &str) {
        let what: String = what.chars().take(MAX_LINE).collect();
        println!(
            "{:7.1} s  {who:<9} {what}",
            self.start.elapsed().as_secs_f64()
        );
        self.last_news = now();
    }

    fn see(&mut self, look: &Look) {
        if let Some(queue) = &look.queue {
            let before = self.seen.queue.take();
            self.see_queue(before.as_ref(), queue);
            self.seen.queue = Some(queue.clone());
        }
        for (pool, workload) in &look.workloads {
            if self.seen.workloads.get(pool) != Some(workload) {
                self.say("redis", &format!("workload of {pool}: {workload}"));
            }
        }
        self.seen.workloads.clone_from(&look.workloads);
        self.see_machines(look);
    }

    fn see_queue(&mut self, before: Option<&Queue>, queue: &Queue) {
        let Some(before) = before else {
            let waiting = queue.requests.len();
            let connected = queue
                .workers
                .values()
                .filter(|worker| worker.connected)
                .count();
            let names = queue.workers.len();
            let words = format!(
                "{waiting} requests wait; {connected} of {names} configured workers are connected"
            );
            return self.say("buildbot", &words);
        };
        for (id, worker) in &queue.workers {
            let Some(old) = before.workers.get(id) else {
                continue;
            };
            let name = &worker.name;
            let words = match (old, worker) {
                (old, new) if !old.connected && new.connected => {
                    let machine = self.machine_of(*id);
                    format!("worker {name} joins, from machine {machine}")
                }
                (old, new) if old.connected && !new.connected => {
                    format!("worker {name} is disconnected")
                }
                (old, new) if !old.paused && new.paused => {
                    format!("worker {name} is cordoned: paused, no new build")
                }
                (old, new) if old.paused && !new.paused => {
                    format!("worker {name} may take builds again")
                }
                (old, new) if !old.stopping && new.stopping => {
                    format!("worker {name} is asked to stop gracefully")
                }
                _ => continue,
            };
            self.say("buildbot", &words);
        }
        for (id, build) in &queue.builds {
            let words = match (before.builds.get(id), build.results) {
                (None, _) => self.build_in_words(queue, build, "builds on"),
                (Some(Build { results: None, .. }), Some(0)) => {
                    self.build_in_words(queue, build, "succeeded on")
                }
                (Some(Build { results: None, .. }), Some(5)) => {
                    self.build_in_words(queue, build, "waits again: it lost")
                }
                (Some(Build { results: None, .. }), Some(_)) => {
                    self.build_in_words(queue, build, "FAILED on")
                }
                _ => continue,
            };
            self.say("buildbot", &words);
        }
    }

    fn build_in_words(&self, queue: &Queue, build: &Build, verb: &str) -> String {
        let builder = queue
            .requests
            .get(&build.request)
            .map_or("?", |request| &request.builder);
        let worker = queue
            .workers
            .get(&build.worker)
            .map_or("?", |worker| &worker.name);
        let done = queue
            .requests
            .values()
            .filter(|request| request.complete)
            .count();
        let all = queue.requests.len();
        format!(
            "request {} of {builder} {verb} {worker} ({done} of {all} done)",
            build.request
        )
    }

    fn machine_of(&self, worker: u64) -> String {
        let machines = self.seen.machines.iter().flatten();
        let mut of_worker = machines.filter(|(_, machine)| machine.worker == Some(worker));
        of_worker
            .next()
            .map_or_else(|| "?".to_owned(), |(name, _)| name.clone())
    }

    fn see_machines(&mut self, look: &Look) {
        let Some(machines) = &look.machines else {
            if !self.lxd_away {
                self.lxd_away = true;
                self.say("lxd", "does not answer: its machines are unknown, not gone");
            }
            return;
        };
        if self.lxd_away {
            self.lxd_away = false;
            self.say(
                "lxd",
                &format!("answers again, with {} machines", machines.len()),
            );
        }
        let before = self
            .seen
            .machines
            .replace(machines.clone())
            .unwrap_or_default();
        for (name, machine) in machines {
            let status = &machine.status;
            match before.get(name) {
                None => self.say("lxd", &format!("machine {name} is there: {status}")),
                Some(old) if old.status != *status => {
                    self.say("lxd", &format!("machine {name}: {status}"));
                }
                Some(_) => {}
            }
        }
        let gone: Vec<_> = before
            .keys()
            .filter(|name| !machines.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            self.say("lxd", &format!("machine {name} is gone"));
        }
        self.ever.extend(machines.keys().cloned());
        for (pool, _) in pools() {
            let of_pool = machines.values().filter(|machine| machine.pool == pool);
            let count = of_pool.count();
            let most = self.most.entry(pool.to_owned()).or_default();
            *most = count.max(*most);
        }
    }

    /// What the services write into their logs.
    fn hear(&mut self, stage: &Stage) {
        for (number, scaler) in stage.scalers.iter().enumerate() {
            for line in self.scalers[number].read(scaler.log()) {
                self.hear_line(scaler.name(), &line);
            }
        }
        for line in self.probot.read(stage.probot.log()) {
            self.hear_line("probot", &line);
        }
    }

    fn hear_line(&mut self, who: &'static str, line: &str) {
        let Ok(line) = serde_json::from_str::<Value>(line) else {
            // a panic is not JSON
            self.alarms.push(format!("{who}: {line}"));
            return self.say(who, line);
        };
        let field = |name: &str| {
            let inner = line["fields"].get(name).or_else(|| line.get(name));
            inner.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let message = field("message");
        if line["level"] == "ERROR" {
            self.alarms.push(format!("{who}: {message}"));
            self.say(who, &format!("ERROR {message} {}", field("error")));
        } else if message == "this scaler is active" {
            self.say(
                who,
                &format!("acts from now on, in term {}", field("epoch")),
            );
        } else if message == "plan changed"
            && !field("actions").is_empty()
            && field("actions") != "nothing to do"
        {
            let (pool, actions, reasons) = (field("pool"), field("actions"), field("reasons"));
            self.say(who, &format!("{pool}: {actions}, because {reasons}"));
        }
    }

    /// Every fault has been played, every build is done, and nobody is left.
    fn is_over(&self, look: &Look) -> bool {
        let (Some(queue), Some(machines)) = (&look.queue, &look.machines) else {
            return false;
        };
        self.faults.all_played()
            && queue.requests.values().all(|request| request.complete)
            && machines.is_empty()
            && queue
                .workers
                .values()
                .all(|worker| !worker.connected && !worker.paused)
            && intents() == Some(0)
    }

    fn end(mut self, stage: &mut Stage, broken_off: Option<String>) -> anyhow::Result<Story> {
        let [first, second] = &mut stage.scalers;
        let ended_well = first.stop()? & second.stop()? & stage.probot.stop()?;
        self.say("chain", "probot and the scalers were asked to stop");
        self.hear(stage);
        let last = Look::now();
        self.see(&last);
        Ok(Story {
            broken_off,
            queue: self.seen.queue.unwrap_or_default(),
            most: self.most,
            ever: self.ever,
            left: self.seen.machines.unwrap_or_default().into_keys().collect(),
            intents: intents(),
            faults: self.faults,
            alone: self.alone,
            orders: self.orders,
            nodes: self.nodes,
            refused: refused(),
            unwell: self.unwell,
            alarms: self.alarms,
            ended_well,
            took: self.start.elapsed(),
        })
    }
}

/// Creations and departures that Redis still has written down.
fn intents() -> Option<usize> {
    let count = |(pool, _)| {
        let answer = look::redis(&["HLEN", &format!("parmanu:v1:chain:{pool}:intents")]);
        answer.ok()?.first()?.parse::<usize>().ok()
    };
    pools().map(count).sum()
}

/// How often the cloud without room was asked for machines, as it wrote down.
fn refused() -> usize {
    let asked = std::fs::read_to_string("/run/chain/full.asked");
    asked.map_or(0, |asked| asked.lines().count())
}

/// The whole lines of a log that were not read yet.
#[derive(Default)]
struct Tail {
    read: u64,
}

impl Tail {
    fn read(&mut self, log: &Path) -> Vec<String> {
        let mut lines = Vec::new();
        let Ok(mut file) = std::fs::File::open(log) else {
            return lines;
        };
        if file.seek(SeekFrom::Start(self.read)).is_err() {
            return lines;
        }
        let mut reader = BufReader::new(file);
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|length| length > 0) && line.ends_with('\n') {
            self.read += line.len() as u64;
            lines.push(line.trim_end().to_owned());
            line.clear();
        }
        lines
    }
}
