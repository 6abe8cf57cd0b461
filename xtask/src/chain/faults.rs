//! What goes wrong on purpose, one thing after the other, each in the middle of something.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use super::look::{self, Look, Queue};
use super::stage::{SCALERS, Stage};
use super::takeover::TakeOver;
use crate::command::now;

/// So long a killed program stays away.
const AWAY: Duration = Duration::from_secs(2);

/// So long the standby has to take over before the other scaler is started again in any case: its lease and more.
const STANDBY: Duration = Duration::from_secs(15);

/// Ages at which a build of 6 s is certainly neither beginning nor ending. A worker that is lost at the very moment at which
/// the master hands it a build makes a build that hangs for ever, which is Buildbot's to mend and not what is shown here.
const MIDDLE: (Duration, Duration) = (Duration::from_millis(1500), Duration::from_millis(3500));

/// Between the end of one fault and the next.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// kill −9 of the active scaler while machines come up.
    Scaler,
    /// kill −9 of probot while builds run.
    Probot,
    /// kill −9 of the init of a machine in the middle of a build.
    Machine,
    /// SIGTERM of the active scaler while builds run.
    Stop,
    /// FLUSHALL while builds run.
    Flush,
    /// kill −9 of the LXD daemon while builds run.
    Lxd,
}

/// In this order: the later ones need machines that the earlier ones have survived.
const ORDER: [Fault; 6] = [
    Fault::Scaler,
    Fault::Probot,
    Fault::Stop,
    Fault::Machine,
    Fault::Flush,
    Fault::Lxd,
];

/// Which faults were played, and what is to be put right.
pub(crate) struct Faults {
    played: usize,
    /// What is away, and since when.
    away: Option<(Fault, Instant)>,
    last: Instant,
    /// When each running build was first seen.
    began: BTreeMap<u64, Instant>,
    /// The request whose machine was killed.
    pub(crate) lost: Option<u64>,
    /// Which scaler is away.
    scaler: usize,
    /// The standby's turns.
    pub(crate) takeovers: Vec<TakeOver>,
}

impl Faults {
    pub(crate) fn new() -> Self {
        Self {
            played: 0,
            away: None,
            last: now(),
            began: BTreeMap::new(),
            lost: None,
            scaler: 0,
            takeovers: Vec::new(),
        }
    }

    pub(crate) fn all_played(&self) -> bool {
        self.played == ORDER.len() && self.away.is_none()
    }

    /// The faults that never came about.
    pub(crate) fn missed(&self) -> &'static [Fault] {
        &ORDER[self.played..]
    }

    /// Plays the next fault when its moment has come; says what was done.
    pub(crate) fn next(
        &mut self,
        stage: &mut Stage,
        look: &Look,
        seen: &Look,
    ) -> anyhow::Result<Option<String>> {
        let Some(fault) = ORDER.get(self.played).copied() else {
            return Ok(None);
        };
        let (Some(queue), Some(machines)) = (&look.queue, &look.machines) else {
            return Ok(None);
        };
        self.watch(queue);
        if self.away.is_some() || self.last.elapsed() < PAUSE {
            return Ok(None);
        }
        let running = self.began.len();
        let done = queue
            .requests
            .values()
            .filter(|request| request.complete)
            .count();
        let words = match fault {
            Fault::Scaler if !machines.is_empty() => match self.lose_scaler(stage, false)? {
                Some(name) => format!("kill -9 of {name}, while machines come up"),
                None => return Ok(None),
            },
            Fault::Stop if running > 0 => match self.lose_scaler(stage, true)? {
                Some(name) => format!("{name} is asked to stop, while builds run"),
                None => return Ok(None),
            },
            Fault::Probot if running > 0 => {
                stage.probot.kill()?;
                "kill -9 of probot, while builds run".to_owned()
            }
            Fault::Machine => match self.kill_machine(queue, seen)? {
                Some((request, words)) => {
                    self.lost = Some(request);
                    words
                }
                None => return Ok(None),
            },
            Fault::Flush if running > 0 && done >= 3 => {
                look::redis(&["FLUSHALL"])?;
                "FLUSHALL, while builds run".to_owned()
            }
            Fault::Lxd if running > 0 && done >= 5 => {
                stage.lxd.kill()?;
                "kill -9 of the LXD daemon, while builds run".to_owned()
            }
            Fault::Scaler | Fault::Probot | Fault::Stop | Fault::Flush | Fault::Lxd => {
                return Ok(None);
            }
        };
        self.played += 1;
        self.last = now();
        if !matches!(fault, Fault::Machine | Fault::Flush) {
            self.away = Some((fault, now()));
        }
        Ok(Some(words))
    }

    /// Starts again what has been away for long enough; true when it did.
    pub(crate) fn recover(&mut self, stage: &mut Stage) -> anyhow::Result<bool> {
        let Some((fault, since)) = self.away else {
            return Ok(false);
        };
        let scaler = matches!(fault, Fault::Scaler | Fault::Stop);
        let (_, other) = SCALERS[1 - self.scaler];
        // one that comes back at once would try for the lease too, and the standby is what is looked at
        let waits = scaler && since.elapsed() < STANDBY && look::leads(other) != Some(true);
        if since.elapsed() < AWAY || waits {
            return Ok(false);
        }
        match fault {
            Fault::Scaler | Fault::Stop => stage.scalers[self.scaler].start()?,
            Fault::Probot => stage.probot.start()?,
            Fault::Lxd => stage.lxd.start()?,
            Fault::Machine | Fault::Flush => {}
        }
        self.away = None;
        self.last = now();
        Ok(true)
    }

    /// Ends the scaler that acts, if the other one stands by; its name.
    fn lose_scaler(
        &mut self,
        stage: &mut Stage,
        politely: bool,
    ) -> anyhow::Result<Option<&'static str>> {
        let leads = SCALERS.map(|(_, listen)| look::leads(listen));
        let active = match leads {
            [Some(true), Some(false)] => 0,
            [Some(false), Some(true)] => 1,
            _ => return Ok(None),
        };
        let standby = stage.scalers[1 - active].log().to_owned();
        let scaler = &mut stage.scalers[active];
        self.takeovers
            .push(TakeOver::of(scaler, &standby, politely)?);
        self.scaler = active;
        Ok(Some(scaler.name()))
    }

    /// Kills the machine of a build that is certainly in its middle.
    fn kill_machine(&self, queue: &Queue, seen: &Look) -> anyhow::Result<Option<(u64, String)>> {
        let in_its_middle = |(id, _): &(&u64, &Instant)| {
            let age = self.began[*id].elapsed();
            age >= MIDDLE.0 && age <= MIDDLE.1
        };
        let Some((id, _)) = self.began.iter().find(in_its_middle) else {
            return Ok(None);
        };
        let build = &queue.builds[id];
        let mut machines = seen.machines.iter().flatten();
        let Some((machine, _)) = machines.find(|(_, machine)| machine.worker == Some(build.worker))
        else {
            return Ok(None);
        };
        let pid = Pid::from_raw(look::init_of(machine)?).context("no process id")?;
        kill_process(pid, Signal::KILL)?;
        let request = build.request;
        let words = format!("machine {machine} is killed in the middle of request {request}");
        Ok(Some((request, words)))
    }

    /// Notes which builds run, and since when.
    fn watch(&mut self, queue: &Queue) {
        let running = |id: &u64| {
            queue
                .builds
                .get(id)
                .is_some_and(|build| build.results.is_none())
        };
        self.began.retain(|id, _| running(id));
        for id in queue.builds.keys().filter(|id| running(id)) {
            self.began.entry(*id).or_insert_with(now);
        }
    }
}
