//! What a run is judged by. Each number is defined in docs/simulate.md; the field says it in one line.

use serde::Serialize;

use crate::Ms;
use crate::optimum::Optimum;
use crate::world::{Machine, PoolSpec};

/// Supply and demand are compared for the instability once a minute: shorter than a boot, longer than one decision.
const STEP: Ms = 60_000;

const HOUR_MS: f64 = 3_600_000.0;

/// Collects during the run what cannot be told afterwards.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    slots: u32,
    waits: Vec<Ms>,
    for_boot: usize,
    now: Ms,
    /// Since when supply and demand are as they are.
    since: Ms,
    demand: u32,
    supply: u32,
    peak_demand: u32,
    under: f64,
    over: f64,
    under_share: f64,
    over_share: f64,
    demand_time: f64,
    under_time: f64,
    over_time: f64,
    ready: f64,
    changes: [u64; 2],
    step: (u32, u32),
    unstable_steps: u64,
    steps: u64,
    price: Option<f64>,
    max: u32,
    machine_time: Ms,
    creates: usize,
    useless: usize,
    peak: u32,
    work: Ms,
}

impl Meter {
    pub(crate) fn new(spec: &PoolSpec) -> Self {
        Meter {
            slots: spec.slots.max(1),
            waits: Vec::new(),
            for_boot: 0,
            now: 0,
            since: 0,
            demand: 0,
            supply: 0,
            peak_demand: 0,
            under: 0.0,
            over: 0.0,
            under_share: 0.0,
            over_share: 0.0,
            demand_time: 0.0,
            under_time: 0.0,
            over_time: 0.0,
            ready: 0.0,
            changes: [0; 2],
            step: (0, 0),
            unstable_steps: 0,
            steps: 0,
            price: spec.price,
            max: spec.max,
            machine_time: 0,
            creates: 0,
            useless: 0,
            peak: 0,
            work: 0,
        }
    }

    pub(crate) fn now(&self) -> Ms {
        self.now
    }

    /// A job started after this wait, on a machine that came online during it or before.
    pub(crate) fn started(&mut self, wait: Ms, on_new_machine: bool) {
        self.waits.push(wait);
        self.for_boot += usize::from(wait > 0 && on_new_machine);
    }

    /// Time passes with supply and demand as they were.
    pub(crate) fn pass_to(&mut self, now: Ms) {
        if now <= self.now {
            return;
        }
        while (self.steps + 1) * STEP <= now {
            self.steps += 1;
            let sign = |old: u32, new: u32| (new > old) as i8 - (new < old) as i8;
            let (demand, supply) = self.step;
            if sign(demand, self.demand) != sign(supply, self.supply) {
                self.unstable_steps += 1;
            }
            self.step = (self.demand, self.supply);
        }
        self.now = now;
    }

    /// Adds up the time since supply or demand last changed. Not at every moment that somebody looks: sums of floating
    /// point numbers depend on how they are cut.
    fn add_up(&mut self) {
        let time = (self.now - self.since) as f64;
        self.since = self.now;
        let (demand, supply) = (f64::from(self.demand), f64::from(self.supply));
        self.ready += supply * time;
        self.under += (demand - supply).max(0.0) * time;
        self.over += (supply - demand).max(0.0) * time;
        if self.demand > 0 {
            self.demand_time += time;
            self.under_share += (demand - supply).max(0.0) / demand * time;
            self.over_share += (supply - demand).max(0.0) / demand * time;
        }
        self.under_time += if demand > supply { time } else { 0.0 };
        self.over_time += if supply > demand { time } else { 0.0 };
    }

    /// Supply and demand are these from now on, in slots.
    pub(crate) fn look(&mut self, queued: usize, running: u32, ready: u32) {
        let demand = u32::try_from(queued)
            .unwrap_or(u32::MAX)
            .saturating_add(running);
        if (demand, ready) != (self.demand, self.supply) {
            self.add_up();
        }
        self.changes[0] += u64::from(demand != self.demand);
        self.changes[1] += u64::from(ready != self.supply);
        self.peak_demand = self.peak_demand.max(demand);
        self.demand = demand;
        self.supply = ready;
    }

    /// The run is over: machines that are left are paid until now.
    pub(crate) fn finish(&mut self, machines: &[Machine], end: Ms) {
        self.pass_to(end);
        self.add_up();
        let mut ends: Vec<(Ms, i32)> = Vec::with_capacity(machines.len() * 2);
        for machine in machines {
            let until = machine.deleted.unwrap_or(end);
            self.machine_time += until - machine.created;
            ends.push((machine.created, 1));
            ends.push((until, -1));
        }
        ends.sort_unstable();
        let mut alive = 0;
        for (_, change) in ends {
            alive += change;
            self.peak = self.peak.max(u32::try_from(alive).unwrap_or(0));
        }
        self.creates = machines.len();
        self.useless = machines
            .iter()
            .filter(|machine| machine.served == 0)
            .count();
    }

    /// Sum of the durations of its jobs.
    pub(crate) fn set_work(&mut self, work: Ms) {
        self.work = work;
    }

    /// The numbers of one pool.
    pub(crate) fn measures(&self, jobs: usize, optimum: Optimum) -> Measures {
        let time = (self.now as f64).max(1.0);
        let all = time * f64::from(self.max.max(1)) * f64::from(self.slots);
        let machine_hours = self.machine_time as f64 / HOUR_MS;
        Measures {
            jobs,
            unfinished: jobs - self.waits.len(),
            wait: Waits::of(self.waits.clone()),
            waited: share(self.waits.iter().filter(|wait| **wait > 0).count(), jobs),
            waited_for_boot: share(self.for_boot, jobs),
            machine_hours,
            work_hours: self.work as f64 / HOUR_MS,
            idle: ratio(
                self.machine_time as f64 * f64::from(self.slots) - self.work as f64,
                self.machine_time as f64 * f64::from(self.slots),
            ),
            utilization: ratio(self.work as f64, self.ready),
            cost: self.price.map(|price| price * machine_hours),
            creates: self.creates,
            useless: self.useless,
            peak_machines: self.peak,
            optimum_hours: optimum.cost as f64 / HOUR_MS,
            to_optimum: ratio(self.machine_time as f64, optimum.cost as f64),
            elasticity: Elasticity {
                accuracy_under: self.under / all,
                accuracy_over: self.over / all,
                normalised_under: ratio(self.under_share, self.demand_time),
                normalised_over: ratio(self.over_share, self.demand_time),
                timeshare_under: self.under_time / time,
                timeshare_over: self.over_time / time,
                instability: share(self.unstable_steps as usize, self.steps as usize),
                jitter_per_hour: (self.changes[1] as f64 - self.changes[0] as f64) / time * HOUR_MS,
            },
        }
    }

    pub(crate) fn waits(&self) -> &[Ms] {
        &self.waits
    }

    pub(crate) fn for_boot(&self) -> usize {
        self.for_boot
    }
}

/// How long jobs waited from the moment they could run, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Waits {
    /// Half of them waited no longer.
    pub p50: f64,
    /// 95 of 100 waited no longer.
    pub p95: f64,
    /// 99 of 100 waited no longer.
    pub p99: f64,
    /// The mean.
    pub mean: f64,
    /// The longest.
    pub max: f64,
}

impl Waits {
    fn of(mut waits: Vec<Ms>) -> Self {
        waits.sort_unstable();
        let Some(max) = waits.last() else {
            return Waits::default();
        };
        let seconds = |wait: Ms| wait as f64 / 1000.0;
        // nearest rank: a wait that some job really had
        let at = |percent: usize| seconds(waits[(waits.len() * percent).div_ceil(100).max(1) - 1]);
        Waits {
            p50: at(50),
            p95: at(95),
            p99: at(99),
            mean: seconds(waits.iter().sum()) / waits.len() as f64,
            max: seconds(*max),
        }
    }
}

/// How well supply follows demand, by the measures of the elasticity literature. Demand is jobs that run or could run,
/// supply is slots of machines that are online.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Elasticity {
    /// Mean shortage, as a share of all slots that the pool may have.
    pub accuracy_under: f64,
    /// Mean surplus, as a share of all slots that the pool may have.
    pub accuracy_over: f64,
    /// Mean of shortage / demand, while there is demand.
    pub normalised_under: f64,
    /// Mean of surplus / demand, while there is demand.
    pub normalised_over: f64,
    /// Share of the time with a shortage.
    pub timeshare_under: f64,
    /// Share of the time with a surplus.
    pub timeshare_over: f64,
    /// Share of the minutes in which supply and demand did not move in the same direction.
    pub instability: f64,
    /// Changes of supply less changes of demand, per hour.
    pub jitter_per_hour: f64,
}

/// The numbers of one pool, or of all together.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Measures {
    /// Jobs of the trace.
    pub jobs: usize,
    /// Of these never started: the pool may have no machine.
    pub unfinished: usize,
    /// Waits, in seconds.
    pub wait: Waits,
    /// Share of the jobs that waited at all.
    pub waited: f64,
    /// Share of the jobs that waited and then ran on a machine which came online meanwhile.
    pub waited_for_boot: f64,
    /// Machine time from creation to deletion.
    pub machine_hours: f64,
    /// Sum of the jobs' durations.
    pub work_hours: f64,
    /// Share of the paid slot time in which no job ran, boots included.
    pub idle: f64,
    /// Share of the slot time of machines that were online in which a job ran.
    pub utilization: f64,
    /// Machine-hours times the price of the pool's first offer, where one is stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// Machines created.
    pub creates: usize,
    /// Machines that never ran a job.
    pub useless: usize,
    /// Most machines at once.
    pub peak_machines: u32,
    /// Machine-hours of the clairvoyant optimum at zero wait.
    pub optimum_hours: f64,
    /// Machine-hours over those.
    pub to_optimum: f64,
    /// How well supply follows demand.
    pub elasticity: Elasticity,
}

impl Measures {
    /// All pools together: waits of all jobs, sums of hours; the elasticity measures are means over the pools.
    pub(crate) fn together(pools: &[(&Measures, &Meter)]) -> Measures {
        let sum = |of: fn(&Measures) -> f64| pools.iter().map(|(m, _)| of(m)).sum::<f64>();
        let count = |of: fn(&Measures) -> usize| pools.iter().map(|(m, _)| of(m)).sum::<usize>();
        let mean = |of: fn(&Elasticity) -> f64| {
            ratio(
                pools.iter().map(|(m, _)| of(&m.elasticity)).sum(),
                pools.len() as f64,
            )
        };
        let waits: Vec<Ms> = pools
            .iter()
            .flat_map(|(_, meter)| meter.waits())
            .copied()
            .collect();
        let jobs = count(|m| m.jobs);
        let paid_slots: f64 = pools
            .iter()
            .map(|(m, meter)| m.machine_hours * f64::from(meter.slots))
            .sum();
        let ready: f64 = pools.iter().map(|(_, meter)| meter.ready / HOUR_MS).sum();
        let priced = pools.iter().all(|(m, _)| m.cost.is_some());
        Measures {
            jobs,
            unfinished: count(|m| m.unfinished),
            waited: share(waits.iter().filter(|wait| **wait > 0).count(), jobs),
            waited_for_boot: share(pools.iter().map(|(_, meter)| meter.for_boot()).sum(), jobs),
            wait: Waits::of(waits),
            machine_hours: sum(|m| m.machine_hours),
            work_hours: sum(|m| m.work_hours),
            idle: ratio(paid_slots - sum(|m| m.work_hours), paid_slots),
            utilization: ratio(sum(|m| m.work_hours), ready),
            cost: priced.then(|| sum(|m| m.cost.unwrap_or_default())),
            creates: count(|m| m.creates),
            useless: count(|m| m.useless),
            peak_machines: pools.iter().map(|(m, _)| m.peak_machines).sum(),
            optimum_hours: sum(|m| m.optimum_hours),
            to_optimum: ratio(sum(|m| m.machine_hours), sum(|m| m.optimum_hours)),
            elasticity: Elasticity {
                accuracy_under: mean(|e| e.accuracy_under),
                accuracy_over: mean(|e| e.accuracy_over),
                normalised_under: mean(|e| e.normalised_under),
                normalised_over: mean(|e| e.normalised_over),
                timeshare_under: mean(|e| e.timeshare_under),
                timeshare_over: mean(|e| e.timeshare_over),
                instability: mean(|e| e.instability),
                jitter_per_hour: mean(|e| e.jitter_per_hour),
            },
        }
    }
}

fn share(part: usize, of: usize) -> f64 {
    ratio(part as f64, of as f64)
}

/// 0 where there is nothing to divide by.
fn ratio(part: f64, of: f64) -> f64 {
    if of > 0.0 { part / of } else { 0.0 }
}
