//! What the demo says at its end: waits, machine-hours, and what a fixed fleet would have cost.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use model::age;
use model::words::counted;

use super::world::World;

/// The demo in numbers, all of virtual time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Summary {
    length: Duration,
    jobs: usize,
    finished: usize,
    waiting: usize,
    pub(crate) killed: usize,
    waits: Vec<Duration>,
    machines: usize,
    machines_now: usize,
    machine_time: Duration,
    busy_time: Duration,
    fixed_machines: usize,
    boot: Duration,
}

impl Summary {
    pub(crate) fn of(world: &World, now: Timestamp) -> Self {
        let (began, ended) = world.span();
        let ended = ended.min(now);
        let jobs = world.jobs();
        let mut waits: Vec<Duration> = Vec::new();
        let (mut finished, mut waiting) = (0, 0);
        let mut busy_time = Duration::ZERO;
        for job in &jobs {
            finished += usize::from(job.ended.is_some());
            waiting += usize::from(job.started.is_none());
            waits.push(age(job.queued, job.started.unwrap_or(ended)));
            if let Some(started) = job.started {
                busy_time += age(started, job.ended.unwrap_or(ended));
            }
        }
        waits.sort();
        let ever = world.cloud.ever(now);
        Summary {
            length: age(began, ended),
            jobs: jobs.len(),
            finished,
            waiting,
            killed: world.ci().killed(),
            waits,
            machines: ever.len(),
            machines_now: world.cloud.guests(now).len(),
            machine_time: ever.iter().sum(),
            busy_time,
            fixed_machines: world.most_busy(),
            boot: world.cloud.boot(),
        }
    }

    /// How the jobs fare, in one line.
    pub(crate) fn line(&self) -> String {
        let running = self.jobs - self.finished - self.waiting;
        format!(
            "jobs: {} pushed, {} waiting, {running} running, {} finished, {} killed; {} now, {} ever",
            self.jobs,
            self.waiting,
            self.finished,
            self.killed,
            counted(self.machines_now, "machine"),
            self.machines
        )
    }

    fn wait(&self, share: f64) -> u64 {
        let last = self.waits.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.waits.get(at).map_or(0, Duration::as_secs)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = |time: Duration| time.as_secs_f64() / 3600.0;
        let mean =
            self.waits.iter().sum::<Duration>().as_secs_f64() / self.waits.len().max(1) as f64;
        let fixed = self.length.mul_f64(self.fixed_machines as f64);
        let saved = 1.0 - hours(self.machine_time) / hours(fixed).max(f64::EPSILON);
        // -0 is no number to show anybody
        let saved = if saved.abs() < 0.005 { 0.0 } else { saved };
        let busy = hours(self.busy_time) / hours(self.machine_time).max(f64::EPSILON);
        writeln!(f)?;
        writeln!(
            f,
            "In {} minutes of virtual time:",
            self.length.as_secs() / 60
        )?;
        writeln!(
            f,
            "  jobs      {} queued, {} finished, {} still waiting, {} killed",
            self.jobs, self.finished, self.waiting, self.killed
        )?;
        writeln!(
            f,
            "  waits     mean {mean:.0} s, median {} s, 95th {} s, longest {} s (a machine boots in {} s)",
            self.wait(0.5),
            self.wait(0.95),
            self.wait(1.0),
            self.boot.as_secs()
        )?;
        writeln!(
            f,
            "  machines  {} created, {:.1} machine-hours, {:.0} % of them at work",
            self.machines,
            hours(self.machine_time),
            busy * 100.0
        )?;
        write!(
            f,
            "  a fixed fleet for each pool's busiest moment ({}) would have cost {:.1} machine-hours: {:.0} % saved",
            counted(self.fixed_machines, "machine"),
            hours(fixed),
            saved * 100.0
        )
    }
}
