//! The simulated world: jobs that become runnable, executors that take them, machines that boot and cost money.
//!
//! It decides nothing: a [`Controller`] says when machines are made and when they leave. Time is a number of
//! milliseconds. At one moment jobs end first, then machines come online, then jobs are submitted, then free executors
//! take jobs in the order in which these became runnable, and last the controllers decide; so a world is the same every
//! time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::measure::Meter;
use crate::trace::Job;
use crate::{Ms, Trace};

/// Which free executor a CI server gives the next job to. They differ, and it decides how long machines stay empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dispatch {
    /// The fullest machine with a free slot, else the one that became empty last: the others stay empty and can leave.
    #[default]
    LastEmptyFirst,
    /// Any of them, by the seed.
    Random,
    /// The one that has been empty longest: the hardest one for every rule that waits for empty machines.
    LongestIdle,
}

impl Dispatch {
    /// All of them.
    pub const ALL: [Dispatch; 3] = [
        Dispatch::LastEmptyFirst,
        Dispatch::Random,
        Dispatch::LongestIdle,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Dispatch::LastEmptyFirst => "last-empty-first",
            Dispatch::Random => "random",
            Dispatch::LongestIdle => "longest-idle",
        }
    }
}

/// How long machines take from the creation call to the executor online.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootTime {
    /// The shortest.
    pub least: Ms,
    /// The longest; between the two all are equally likely.
    pub most: Ms,
}

impl BootTime {
    /// Always the same.
    pub fn always(time: Ms) -> Self {
        BootTime {
            least: time,
            most: time,
        }
    }
}

/// What one pool is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolSpec {
    /// Its name in the trace.
    pub name: String,
    /// Jobs one machine runs at a time.
    pub slots: u32,
    /// Machines that may exist at once.
    pub max: u32,
    /// The boot time.
    pub boot: BootTime,
    /// Jobs one machine runs in all; `None` is unlimited.
    pub max_jobs: Option<u32>,
    /// Who gets the next job.
    pub dispatch: Dispatch,
    /// Price of a machine-hour, if it is known.
    pub price: Option<f64>,
}

/// One machine, from its creation call on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// When it was asked for: billed from here.
    pub created: Ms,
    /// When its executor came online, once it has.
    pub online: Option<Ms>,
    /// When it was deleted, once it was: billed until here.
    pub deleted: Option<Ms>,
    /// Jobs on it now.
    pub jobs: u32,
    /// Jobs it has begun in all.
    pub served: u32,
    /// Takes no job.
    pub cordoned: bool,
    /// Since when it has had no job; the moment it came online if it never had one.
    pub empty_since: Ms,
}

/// One pool's part of the world.
pub struct Pool {
    /// What it is made of.
    pub spec: PoolSpec,
    /// Every machine that ever was.
    pub machines: Vec<Machine>,
    /// Jobs that can run and wait, and since when, in the order in which they became runnable.
    pub queue: VecDeque<(u32, Ms)>,
    /// Jobs that run.
    pub running: u32,
    /// Jobs that were submitted and wait for parents.
    pub blocked: u32,
    /// Machines not deleted.
    pub alive: u32,
    /// Machines not online yet.
    pub booting: u32,
    /// Machines changed since a controller last took this list; may name one twice.
    pub changed: Vec<usize>,
    pub(crate) meter: Meter,
    /// Machines online, not cordoned, with a free slot: the one that became empty last stands last.
    open: VecDeque<usize>,
    /// Every job that ran, in the order in which they started.
    pub ran: Vec<Ran>,
    boots: Vec<(Ms, usize)>,
    starts: Vec<(usize, u32)>,
    rng: Rng,
}

/// One job that ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ran {
    /// The job, as an index into the trace.
    pub job: u32,
    /// When it could run.
    pub runnable: Ms,
    /// When it started.
    pub started: Ms,
    /// On which machine of its pool.
    pub machine: usize,
}

/// Who makes machines and lets them leave.
pub trait Controller {
    /// Something happened in the pool, or the moment that [`Controller::wakes`] named has come.
    fn decide(&mut self, pool: &mut Pool, now: Ms);

    /// Whether it decides at every moment at which something happens, or only at those that [`Controller::wakes`] names.
    fn follows_events(&self) -> bool;

    /// The next moment at which it wants to decide although nothing happens.
    fn wakes(&self, pool: &Pool) -> Option<Ms>;

    /// What it did that it must never do, in words.
    fn violations(&self) -> &[String] {
        &[]
    }
}

impl Pool {
    fn new(spec: PoolSpec, seed: u64) -> Self {
        Pool {
            meter: Meter::new(&spec),
            spec,
            machines: Vec::new(),
            queue: VecDeque::new(),
            running: 0,
            blocked: 0,
            alive: 0,
            booting: 0,
            changed: Vec::new(),
            open: VecDeque::new(),
            ran: Vec::new(),
            boots: Vec::new(),
            starts: Vec::new(),
            rng: Rng::with_seed(seed),
        }
    }

    /// The time.
    pub fn now(&self) -> Ms {
        self.meter.now()
    }

    /// How long the job at the head of the queue has waited.
    pub fn oldest_wait(&self, now: Ms) -> Option<Ms> {
        self.queue.front().map(|(_, since)| now - since)
    }

    /// Asks the cloud for a machine; returns its number.
    pub fn create(&mut self, now: Ms) -> usize {
        let number = self.machines.len();
        self.machines.push(Machine {
            created: now,
            online: None,
            deleted: None,
            jobs: 0,
            served: 0,
            cordoned: false,
            empty_since: now,
        });
        self.alive += 1;
        self.booting += 1;
        let BootTime { least, most } = self.spec.boot;
        let boot = if least < most {
            self.rng.u64(least..=most)
        } else {
            least
        };
        self.boots.push((now + boot, number));
        self.changed.push(number);
        number
    }

    /// Deletes a machine. One that runs a job is left alone, and the answer is `false`.
    pub fn delete(&mut self, number: usize, now: Ms) -> bool {
        let machine = &mut self.machines[number];
        if machine.jobs > 0 || machine.deleted.is_some() {
            return false;
        }
        if machine.online.is_none() {
            self.booting -= 1;
        }
        machine.deleted = Some(now);
        self.alive -= 1;
        self.close(number);
        self.changed.push(number);
        true
    }

    /// Keeps a machine from new jobs, or lets it take them again.
    pub fn cordon(&mut self, number: usize, cordoned: bool) {
        self.machines[number].cordoned = cordoned;
        self.close(number);
        self.reopen(number);
        self.changed.push(number);
    }

    /// The machine that has been empty and ready for jobs the longest.
    pub fn longest_idle(&self) -> Option<(usize, Ms)> {
        let idle = self
            .open
            .iter()
            .find(|number| self.machines[**number].jobs == 0)?;
        Some((*idle, self.machines[*idle].empty_since))
    }

    fn close(&mut self, number: usize) {
        if let Some(at) = self.open.iter().rposition(|open| *open == number) {
            self.open.remove(at);
        }
    }

    /// Puts a machine among those that take jobs, if it is one: sorted by when it became empty.
    fn reopen(&mut self, number: usize) {
        let machine = &self.machines[number];
        let takes = machine.online.is_some()
            && machine.deleted.is_none()
            && !machine.cordoned
            && machine.jobs < self.spec.slots
            && self.spec.max_jobs.is_none_or(|max| machine.served < max);
        if takes {
            let since = machine.empty_since;
            let earlier = |open: &usize| self.machines[*open].empty_since <= since;
            let at = self.open.iter().rposition(earlier).map_or(0, |at| at + 1);
            self.open.insert(at, number);
        }
    }

    fn come_online(&mut self, number: usize, now: Ms) {
        if self.machines[number].deleted.is_some() {
            return;
        }
        self.booting -= 1;
        let machine = &mut self.machines[number];
        machine.online = Some(now);
        machine.empty_since = now;
        self.reopen(number);
        self.changed.push(number);
    }

    fn end_job(&mut self, number: usize, now: Ms) {
        self.running -= 1;
        let machine = &mut self.machines[number];
        machine.jobs -= 1;
        if machine.jobs == 0 {
            machine.empty_since = now;
        }
        self.close(number);
        self.reopen(number);
        self.changed.push(number);
    }

    /// The place in `open` of the machine that gets the next job.
    fn choose(&mut self) -> Option<usize> {
        let last = self.open.len().checked_sub(1)?;
        let machines = &self.machines;
        match self.spec.dispatch {
            Dispatch::Random => Some(self.rng.usize(0..=last)),
            Dispatch::LastEmptyFirst if self.spec.slots == 1 => Some(last),
            Dispatch::LongestIdle if self.spec.slots == 1 => Some(0),
            Dispatch::LastEmptyFirst => {
                let fullest = self
                    .open
                    .iter()
                    .enumerate()
                    .filter(|(_, n)| machines[**n].jobs > 0);
                let fullest = fullest.max_by_key(|(_, n)| (machines[**n].jobs, Reverse(**n)));
                Some(fullest.map_or(last, |(at, _)| at))
            }
            Dispatch::LongestIdle => {
                let emptiest = self.open.iter().enumerate();
                emptiest
                    .min_by_key(|(at, n)| (machines[**n].jobs, *at))
                    .map(|(at, _)| at)
            }
        }
    }

    /// Gives waiting jobs to free executors, the first come the first served.
    fn dispatch(&mut self, now: Ms) {
        while let Some((job, since)) = self.queue.front().copied() {
            let Some(at) = self.choose() else { break };
            self.queue.pop_front();
            let number = self.open[at];
            let machine = &mut self.machines[number];
            machine.jobs += 1;
            machine.served += 1;
            let used_up = self.spec.max_jobs.is_some_and(|max| machine.served >= max);
            if machine.jobs >= self.spec.slots || used_up {
                self.open.remove(at);
            }
            self.running += 1;
            let booted = machine.online.is_some_and(|online| online > since);
            self.meter.started(now - since, booted);
            self.ran.push(Ran {
                job,
                runnable: since,
                started: now,
                machine: number,
            });
            self.starts.push((number, job));
            self.changed.push(number);
        }
    }

    /// Slots of machines that are online, whether cordoned or not.
    fn ready_slots(&self) -> u32 {
        (self.alive - self.booting) * self.spec.slots
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    JobEnds { machine: usize, job: u32 },
    ComesOnline { machine: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    at: Ms,
    /// Jobs end before machines come online.
    rank: u8,
    /// In the order in which they were begun.
    order: u64,
    pool: usize,
    what: What,
}

/// After this long without an event a world whose jobs are not done is given up: its pools may have no machine.
const GIVEN_UP_AFTER: Ms = 7 * 24 * 3600 * 1000;

/// How long after its last job a world is watched while machines are left, so that what a policy keeps is paid for.
pub const WATCHED_AFTER: Ms = 2 * 3600 * 1000;

/// Pools, their jobs, and the time.
pub(crate) struct World<'a> {
    jobs: &'a [Job],
    /// Jobs of this world, as indices into `jobs`, by submission.
    mine: Vec<u32>,
    next: usize,
    pub(crate) pools: Vec<Pool>,
    /// The pool of each pool of the trace in this world.
    place: Vec<usize>,
    children: Vec<Vec<u32>>,
    waits_for: Vec<u32>,
    submitted: Vec<bool>,
    events: BinaryHeap<Reverse<Event>>,
    order: u64,
    unfinished: usize,
    last_end: Ms,
    /// When something last happened that was not a decision.
    happened: Ms,
}

impl<'a> World<'a> {
    /// A world of some of the trace's pools; jobs of the others are left out, and must not be parents of these.
    pub(crate) fn new(trace: &'a Trace, pools: Vec<(u32, PoolSpec)>, seed: u64) -> Self {
        let mut place = vec![usize::MAX; trace.pools.len()];
        for (at, (pool, _)) in pools.iter().enumerate() {
            place[*pool as usize] = at;
        }
        let is_mine = |job: &Job| place[job.pool as usize] != usize::MAX;
        let numbers = 0u32..;
        let mine: Vec<u32> = numbers
            .zip(&trace.jobs)
            .filter(|(_, job)| is_mine(job))
            .map(|(number, _)| number)
            .collect();
        let mut children = vec![Vec::new(); trace.jobs.len()];
        let mut waits_for = vec![0; trace.jobs.len()];
        for number in &mine {
            for parent in &trace.jobs[*number as usize].parents {
                children[*parent as usize].push(*number);
                waits_for[*number as usize] += 1;
            }
        }
        World {
            unfinished: mine.len(),
            jobs: &trace.jobs,
            mine,
            next: 0,
            pools: pools
                .into_iter()
                .map(|(number, spec)| Pool::new(spec, seed.wrapping_add(u64::from(number))))
                .collect(),
            place,
            children,
            waits_for,
            submitted: vec![false; trace.jobs.len()],
            events: BinaryHeap::new(),
            order: 0,
            last_end: 0,
            happened: 0,
        }
    }

    /// Runs until the jobs are done and the machines gone, or have been watched for a while longer.
    pub(crate) fn run(&mut self, controllers: &mut [Box<dyn Controller + '_>]) {
        let mut dirty = vec![false; self.pools.len()];
        while let Some(now) = self.next_moment(controllers) {
            self.pass_to(now);
            self.happen(now, &mut dirty);
            for (at, pool) in self.pools.iter_mut().enumerate() {
                let due = controllers[at]
                    .wakes(pool)
                    .is_some_and(|wakes| wakes <= now);
                if due || (dirty[at] && controllers[at].follows_events()) {
                    controllers[at].decide(pool, now);
                    // a machine that was called back may take a job at once
                    pool.dispatch(now);
                }
                dirty[at] = false;
                pool.meter
                    .look(pool.queue.len(), pool.running, pool.ready_slots());
            }
            self.begin_what_was_begun(now);
        }
        // not the last look, whose moment depends on who looked when
        let alive = self.pools.iter().any(|pool| pool.alive > 0);
        let end = match (self.unfinished, alive) {
            (0, true) => self.last_end + WATCHED_AFTER,
            (0, false) => self.pools.iter().map(Pool::now).max().unwrap_or(0),
            _ => self.happened + GIVEN_UP_AFTER,
        };
        for pool in &mut self.pools {
            pool.meter.finish(&pool.machines, end);
        }
    }

    fn next_moment(&self, controllers: &[Box<dyn Controller + '_>]) -> Option<Ms> {
        let submission = self
            .mine
            .get(self.next)
            .map(|job| self.jobs[*job as usize].submitted);
        let event = self.events.peek().map(|Reverse(event)| event.at);
        let wakes = self.pools.iter().zip(controllers);
        let wakes = wakes.filter_map(|(pool, controller)| controller.wakes(pool));
        let moments = submission.into_iter().chain(event).chain(wakes);
        let next = moments.min()?;
        if submission.is_none() && event.is_none() && next > self.happened + GIVEN_UP_AFTER {
            return None;
        }
        if self.unfinished == 0 {
            let alive = self.pools.iter().any(|pool| pool.alive > 0);
            if !alive || next > self.last_end + WATCHED_AFTER {
                return None;
            }
        }
        Some(next)
    }

    fn pass_to(&mut self, now: Ms) {
        for pool in &mut self.pools {
            pool.meter.pass_to(now);
        }
    }

    /// All that happens at this moment, but for decisions.
    fn happen(&mut self, now: Ms, dirty: &mut [bool]) {
        while self
            .events
            .peek()
            .is_some_and(|Reverse(event)| event.at <= now)
        {
            let Some(Reverse(event)) = self.events.pop() else {
                break;
            };
            dirty[event.pool] = true;
            self.happened = now;
            match event.what {
                What::ComesOnline { machine } => self.pools[event.pool].come_online(machine, now),
                What::JobEnds { machine, job } => {
                    self.pools[event.pool].end_job(machine, now);
                    self.unfinished -= 1;
                    self.last_end = now;
                    self.release_children(job, now, dirty);
                }
            }
        }
        while let Some(job) = self.mine.get(self.next).copied() {
            if self.jobs[job as usize].submitted > now {
                break;
            }
            self.next += 1;
            self.happened = now;
            self.submitted[job as usize] = true;
            let at = self.place[self.jobs[job as usize].pool as usize];
            dirty[at] = true;
            if self.waits_for[job as usize] == 0 {
                self.becomes_runnable(job, now);
            } else {
                self.pools[at].blocked += 1;
            }
        }
        for (pool, dirty) in self.pools.iter_mut().zip(dirty) {
            if *dirty {
                pool.dispatch(now);
            }
        }
    }

    fn release_children(&mut self, job: u32, now: Ms, dirty: &mut [bool]) {
        for child in std::mem::take(&mut self.children[job as usize]) {
            self.waits_for[child as usize] -= 1;
            if self.waits_for[child as usize] == 0 && self.submitted[child as usize] {
                let at = self.place[self.jobs[child as usize].pool as usize];
                self.pools[at].blocked -= 1;
                dirty[at] = true;
                self.becomes_runnable(child, now);
            }
        }
    }

    fn becomes_runnable(&mut self, job: u32, now: Ms) {
        let at = self.place[self.jobs[job as usize].pool as usize];
        self.pools[at].queue.push_back((job, now));
    }

    /// Makes events of the jobs and the boots that began at this moment.
    fn begin_what_was_begun(&mut self, now: Ms) {
        for (at, pool) in self.pools.iter_mut().enumerate() {
            for (machine, job) in pool.starts.drain(..) {
                self.order += 1;
                self.events.push(Reverse(Event {
                    at: now + self.jobs[job as usize].duration,
                    rank: 0,
                    order: self.order,
                    pool: at,
                    what: What::JobEnds { machine, job },
                }));
            }
            for (online, machine) in pool.boots.drain(..) {
                self.order += 1;
                self.events.push(Reverse(Event {
                    at: online,
                    rank: 1,
                    order: self.order,
                    pool: at,
                    what: What::ComesOnline { machine },
                }));
            }
        }
    }
}
