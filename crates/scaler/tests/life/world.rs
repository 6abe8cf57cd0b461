//! The world outside: one CI server, the clouds, and the machines between them. It plays the machines, and judges by what
//! the fakes say, never by what Parmanu believes.

mod guest;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use model::{CreateBatch, Instance, InstanceName, ProviderName};
use ports::Clock;

use fake_server::{Request, Response};

use crate::ci::{Ci, Job, Ticket};
use crate::cloud::{Books, Cloud, Fared, Truth};
use crate::joining::Join;
use crate::setup::Setup;

/// How often the world moves.
pub(crate) const BEAT: Duration = Duration::from_millis(500);

/// Longest time between the two halves of a hand-out; with the beats on which they fall it stays below the settle time of
/// the configuration.
const PROMISE: Duration = Duration::from_millis(2_400);

/// After a CI server fell silent a scaler may still act on the look before for so long.
const MAY_STILL_ACT: Duration = Duration::from_secs(14);

pub(crate) const FLEET: &str = "acme";

/// The pool of machines that join no CI server.
pub(crate) const BEDS: &str = "beds";

/// A creation that was begun under a configuration may arrive so long after the next one: a registration, a call and their
/// ways in the worst weather.
const STILL_BEGUN: Duration = Duration::from_secs(90);

/// One machine that is up.
#[derive(Default)]
struct Guest {
    up: Duration,
    script: String,
    joined: bool,
    /// A request for a job, and when it is answered.
    ticket: Option<(Duration, Ticket)>,
    /// Its agent asks for no more jobs, since then.
    leaves: Option<Duration>,
}

/// A machine that was deleted while its question for a job was open: what was promised to it comes all the same.
struct Dying {
    due: Duration,
    ticket: Ticket,
    /// When we deleted it, if it was we.
    deleted: Option<Moment>,
}

/// When something happened, and what a scaler could know by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) at: Duration,
    /// Requests of scalers to the CI server up to then.
    pub(crate) asked: u64,
}

/// How the way to the CI server and to the clouds is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    /// Longest time of one call, there and back.
    pub(crate) latency: Duration,
    /// Of a thousand answers of the CI server so many are lost.
    pub(crate) lost: u32,
}

pub(crate) struct World {
    clock: Arc<dyn Clock>,
    pub(crate) rng: fastrand::Rng,
    pub(crate) ci: Box<dyn Ci>,
    pub(crate) clouds: BTreeMap<ProviderName, Box<dyn Cloud>>,
    /// Clouds that others speak to: what becomes of their machines is seen at the next beat.
    pub(crate) elsewhere: Vec<Box<dyn Books>>,
    guests: BTreeMap<String, Guest>,
    lengths: BTreeMap<Job, Duration>,
    pub(crate) weather: Weather,
    /// The CI server answers 503.
    pub(crate) down: bool,
    down_since: Option<Duration>,
    /// New machines never join.
    pub(crate) broken: bool,
    never_join: BTreeSet<String>,
    /// Machines that come back after a restart of the CI server, and when.
    back: BTreeMap<String, Duration>,
    dying: BTreeMap<String, Dying>,
    /// Jobs that died with a machine that the cloud took, or as nobody could know.
    excused: BTreeSet<Job>,
    /// A promise from just before the next cordon is kept after so long.
    pub(crate) promise: Option<Duration>,
    /// The last two of them: one question may take so many.
    pub(crate) asked_last: [String; 2],
    /// Requests of scalers that the CI server has answered.
    pub(crate) asked: u64,
    /// Deletions that were sent.
    pub(crate) deletions_asked: usize,
    /// How long a deletion is on its way.
    pub(crate) deletion_takes: Duration,
    /// When machines were deleted by us with jobs on them.
    pub(crate) kills: Vec<Moment>,
    /// So many jobs more come right when a machine that was cordoned meanwhile is answered.
    pub(crate) races: u32,
    /// What each pool may have, and since when; the last one holds.
    limits: BTreeMap<String, Vec<(Duration, usize)>>,
    /// Machines without an agent that stay when nothing is to do.
    beds: usize,
    /// How machines join.
    join: Join,
    /// Machines whose guests are asked to end the agent, and since when.
    asked_to_leave: BTreeMap<String, Duration>,
    /// What every machine is made from when all is at rest; whatever, if nothing is said.
    images: Vec<&'static str>,
    /// Machines that the cloud said it takes back, and when it does.
    noticed: BTreeMap<String, Duration>,
    /// Creations that were sent and have not arrived, by their batches.
    pub(crate) on_the_way: BTreeSet<String>,
    /// Those of them that were on the way when a new term may have begun, which cannot know of them. Their machines may be
    /// too many, until they leave.
    strays: BTreeSet<String>,
    moves_at: Duration,
    pub(crate) deletions: usize,
    pub(crate) wrong: Vec<String>,
}

impl World {
    pub(crate) fn new(clock: Arc<dyn Clock>, seed: u64, ci: Box<dyn Ci>) -> Self {
        World {
            clock,
            rng: fastrand::Rng::with_seed(seed),
            ci,
            clouds: BTreeMap::new(),
            elsewhere: Vec::new(),
            guests: BTreeMap::new(),
            lengths: BTreeMap::new(),
            weather: Weather::default(),
            down: false,
            down_since: None,
            broken: false,
            never_join: BTreeSet::new(),
            back: BTreeMap::new(),
            dying: BTreeMap::new(),
            excused: BTreeSet::new(),
            promise: None,
            asked: 0,
            asked_last: Default::default(),
            deletions_asked: 0,
            deletion_takes: Duration::ZERO,
            kills: Vec::new(),
            races: 0,
            limits: BTreeMap::new(),
            beds: 0,
            join: Join::Registered,
            asked_to_leave: BTreeMap::new(),
            images: Vec::new(),
            noticed: BTreeMap::new(),
            on_the_way: BTreeSet::new(),
            strays: BTreeSet::new(),
            moves_at: Duration::ZERO,
            deletions: 0,
            wrong: Vec::new(),
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Another configuration is in force: what the judge must know of it.
    pub(crate) fn is_configured(&mut self, setup: &Setup) {
        let now = self.clock.boottime();
        self.limits
            .values_mut()
            .for_each(|limits| limits.push((now, 0)));
        for (pool, max) in setup.pools() {
            let limits = self.limits.entry(pool.to_owned()).or_default();
            limits.push((now, max as usize));
        }
        (_, self.beds) = setup.at_rest();
        self.join = setup.join;
        self.images = setup.images().to_vec();
    }

    /// Machines that a creation of now may make of a pool.
    fn limit(&self, pool: &str) -> usize {
        let begun = self.clock.boottime().saturating_sub(STILL_BEGUN);
        let limits = self.limits.get(pool).into_iter().flatten();
        let (before, since): (Vec<_>, Vec<_>) = limits.partition(|(at, _)| *at < begun);
        let in_force = before.last().into_iter().chain(&since);
        in_force.map(|(_, max)| *max).max().unwrap_or(0)
    }

    pub(crate) fn push(&mut self, length: Duration) {
        let job = self.ci.push(self.now());
        self.lengths.insert(job, length);
    }

    fn wrong(&mut self, what: String) {
        let at = self.clock.boottime();
        self.wrong.push(format!("at {at:?}: {what}"));
    }

    /// Everything that was ever made.
    fn truth(&self) -> Vec<Truth> {
        let now = self.now();
        let clouds = self.clouds.values().flat_map(|cloud| cloud.truth(now));
        let elsewhere = self.elsewhere.iter().flat_map(|books| books.truth(now));
        clouds.chain(elsewhere).collect()
    }

    /// All machines of ours that cost money.
    pub(crate) fn alive(&self) -> Vec<String> {
        let all = self.truth().into_iter();
        let ours = all.filter(|truth| truth.alive && truth.fleet == FLEET);
        ours.map(|truth| truth.name).collect()
    }

    /// Machines of ours that were ever made; no name twice.
    pub(crate) fn ever(&self) -> usize {
        let all = self.truth().into_iter();
        all.filter(|truth| truth.fleet == FLEET).count()
    }

    /// How long all open jobs take one after the other, at most.
    pub(crate) fn work_left(&self) -> Duration {
        let open = self.lengths.values().rev().take(self.ci.open());
        open.max().copied().unwrap_or_default() * u32::try_from(self.ci.open()).unwrap_or(1)
    }

    /// Nothing is left but the minimum of machines, and their executors, and none is of an image from before.
    pub(crate) fn settled(&self, min: usize) -> bool {
        let alive: BTreeSet<String> = self.alive().into_iter().collect();
        let (beds, alive): (BTreeSet<_>, BTreeSet<_>) =
            alive.into_iter().partition(|name| is_bed(name));
        // one that never joined has an executor too, and does not stay
        let joined = |name: &String| self.guests.get(name).is_some_and(|guest| guest.joined);
        self.ci.open() == 0
            && alive.len() == min
            && beds.len() == self.beds
            && alive.iter().all(joined)
            && self.executors_that_count(&alive) == alive
            && self.all_of_one_image()
    }

    /// Whether there are executors of a pool that is not configured now.
    pub(crate) fn has_former_executors(&self) -> bool {
        let max = |name: &String| self.limits.get(&pool_of(name)).and_then(|all| all.last());
        let executors = self.ci.executors();
        let mut limits = executors.iter().map(max);
        limits.any(|limit| limit.is_none_or(|(_, max)| *max == 0))
    }

    /// All of them; nobody may remove those without a machine from a CI server that only lets itself be read.
    fn executors_that_count(&self, alive: &BTreeSet<String>) -> BTreeSet<String> {
        let mut executors = self.ci.executors();
        executors.retain(|name| self.join.is_controlled() || alive.contains(name));
        executors
    }

    fn all_of_one_image(&self) -> bool {
        let ours = |truth: &Truth| truth.alive && truth.fleet == FLEET;
        let mut ours = self.truth().into_iter().filter(ours);
        !self.elsewhere.is_empty()
            || ours.all(|truth| self.images.iter().any(|image| *image == truth.image))
    }

    pub(crate) fn create(
        &mut self,
        provider: &ProviderName,
        batch: &CreateBatch,
    ) -> Fared<Vec<Instance>> {
        let now = self.now();
        let Some(cloud) = self.clouds.get_mut(provider) else {
            panic!("no cloud {provider}");
        };
        let fared = cloud.create(batch, now);
        self.judge_numbers(|pool| pool == batch.batch.pool.as_str());
        fared
    }

    /// A deletion arrives that was sent at that time.
    pub(crate) fn delete(
        &mut self,
        provider: &ProviderName,
        instance: &Instance,
        sent: Duration,
    ) -> Fared<()> {
        let now = self.now();
        let Some(cloud) = self.clouds.get_mut(provider) else {
            panic!("no cloud {provider}");
        };
        let fared = cloud.delete(instance, now);
        let name = instance.name.to_string();
        let truth = cloud.truth(now);
        let gone = truth.iter().all(|truth| truth.name != name || !truth.alive);
        if gone {
            self.deleted(&name, sent);
        }
        fared
    }

    /// A machine goes by our hand, at this very moment.
    fn deleted(&mut self, name: &str, sent: Duration) {
        let now = self.now();
        self.deletions += 1;
        let Some(guest) = self.guests.remove(name) else {
            return;
        };
        match guest.ticket {
            Some((due, ticket)) => {
                let deleted = Some(self.moment());
                let dying = Dying {
                    due,
                    ticket,
                    deleted,
                };
                self.dying.insert(name.to_owned(), dying);
            }
            None => {
                let unseen = self.given_too_late_to_be_seen(sent);
                let lost = self.ci.gone(name, now).into_iter();
                let (excused, killed): (Vec<Job>, Vec<Job>) =
                    lost.partition(|job| unseen.contains(job));
                self.excused.extend(excused);
                let deleted = self.moment();
                self.killed(name, deleted, &killed);
            }
        }
        let down = self.down_since.map(|since| self.clock.boottime() - since);
        if guest.joined && down.is_some_and(|down| down > MAY_STILL_ACT) {
            self.wrong(format!("I6: {name} is deleted while the CI server is down"));
        }
    }

    fn killed(&mut self, name: &str, deleted: Moment, jobs: &[Job]) {
        if jobs.is_empty() {
            return;
        }
        self.kills.push(deleted);
        self.wrong(format!("I1: {name} is deleted with {jobs:?} on it"));
    }

    /// Calls on the way may still arrive in the next term.
    pub(crate) fn another_may_act(&mut self) {
        self.strays.extend(self.on_the_way.iter().cloned());
    }

    /// I2 of these pools, and I5 by the names.
    fn judge_numbers(&mut self, of: impl Fn(&str) -> bool) {
        let mut pools: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in self.alive() {
            pools.entry(pool_of(&name)).or_default().push(name);
        }
        for (pool, alive) in pools.into_iter().filter(|(pool, _)| of(pool)) {
            let limit = self.limit(&pool);
            let is_stray = |name: &&String| {
                let batch = name.rsplit_once('-').map(|(batch, _)| batch);
                batch.is_some_and(|batch| self.strays.contains(batch))
            };
            let strays = alive.iter().filter(is_stray).count();
            if alive.len() > limit + strays {
                let machines = alive.len();
                self.wrong(format!(
                    "I2: {machines} machines of {pool}, which may have {limit}: {alive:?}"
                ));
            }
        }
        let all = self.truth().into_iter();
        let mut names = BTreeSet::new();
        let twice: Vec<String> = all
            .map(|truth| truth.name)
            .filter(|name| !names.insert(name.clone()))
            .collect();
        if !twice.is_empty() {
            self.wrong(format!("I5: {twice:?} was made twice"));
        }
    }

    /// The cloud takes a machine away, and what runs on it dies without our doing.
    pub(crate) fn take_back(&mut self, name: &str) {
        let now = self.now();
        for cloud in self.clouds.values_mut() {
            cloud.take_back(name, now);
        }
        self.vanish(name);
    }

    /// The cloud says that it takes a machine back, and mostly does so a while later.
    pub(crate) fn announce(&mut self, name: &str) {
        let now = self.now();
        if self.rng.u32(0..4) > 0 {
            let due = Duration::from_secs(self.rng.u64(20..150));
            self.noticed
                .insert(name.to_owned(), self.clock.boottime() + due);
        }
        for cloud in self.clouds.values_mut() {
            cloud.announce(name, now);
        }
    }

    /// At TeamCity the agent comes into being as it joins. Of a machine without one nobody but the store knows whether it ever
    /// had one; if the store was wiped meanwhile (`is_wiped`) it is left alone and named, and somebody has to look. So it is with
    /// one whose pool is not configured any more: nobody knows in which agent pool its agent would be, and whoever may not see
    /// that is answered that there is none.
    pub(crate) fn operator_removes_what_never_joined(&mut self, is_wiped: bool) {
        let known = |name: &String| !is_wiped && self.limit(&pool_of(name)) > 0;
        let absent =
            |(name, guest): &(&String, &Guest)| !guest.joined && !is_bed(name) && !known(name);
        let guests = self.guests.iter().filter(absent);
        let names: Vec<String> = guests.map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.take_back(name));
    }

    fn vanish(&mut self, name: &str) {
        let now = self.now();
        match self.guests.remove(name).and_then(|guest| guest.ticket) {
            Some((due, ticket)) => {
                let dying = Dying {
                    due,
                    ticket,
                    deleted: None,
                };
                self.dying.insert(name.to_owned(), dying);
            }
            None if self.dying.contains_key(name) => {}
            None => self.excused.extend(self.ci.gone(name, now)),
        }
    }

    /// What was promised to machines that are gone comes, and dies there.
    fn promises_to_the_dead(&mut self) {
        let (now, at) = (self.now(), self.clock.boottime());
        let due = self.dying.extract_if(.., |_, dying| dying.due <= at);
        for (name, dying) in due.collect::<Vec<_>>() {
            self.ci.hand_out(&name, dying.ticket, now);
            let lost = self.ci.gone(&name, now);
            match dying.deleted {
                // it was given after the look on which the machine went
                Some(_) if self.join == Join::BestEffort => self.excused.extend(lost),
                Some(deleted) => self.killed(&name, deleted, &lost),
                None => self.excused.extend(lost),
            }
        }
    }

    /// The CI server is down from now on, or up again.
    pub(crate) fn set_down(&mut self, down: bool) {
        self.down = down;
        let now = self.clock.boottime();
        self.down_since = down.then(|| self.down_since.unwrap_or(now));
    }

    /// What is to be known when it is not as it should be.
    pub(crate) fn tell(&self) -> String {
        let joined = self.guests.iter().filter(|(_, guest)| guest.joined);
        let joined: Vec<&String> = joined.map(|(name, _)| name).collect();
        format!(
            "machines: {:?}\njoined: {joined:?}\nexecutors: {:?}\nopen jobs: {}\nwrong: {:?}",
            self.alive(),
            self.ci.executors(),
            self.ci.open(),
            self.wrong,
        )
    }

    pub(crate) fn moment(&self) -> Moment {
        let (at, asked) = (self.clock.boottime(), self.asked);
        Moment { at, asked }
    }

    /// A request of a scaler arrives.
    pub(crate) fn answer_scaler(&mut self, request: &Request) -> Response {
        let now = self.now();
        self.asked += 1;
        let body = String::from_utf8_lossy(&request.body);
        let asked = format!("{}?{} {body}", request.path, request.query);
        let [_, before] = std::mem::take(&mut self.asked_last);
        self.asked_last = [before, asked];
        let Some(kept_after) = self.promise else {
            return self.ci.answer(request, now);
        };
        let free = self.guests.keys().filter(|name| !self.ci.is_cordoned(name));
        let free: Vec<String> = free.cloned().collect();
        let asked = free.into_iter().filter_map(|name| {
            let ticket = self.ci.ask(&name, now)?;
            Some((name, ticket))
        });
        let asked: Vec<(String, Ticket)> = asked.collect();
        let answer = self.ci.answer(request, now);
        let cordoned = asked
            .into_iter()
            .find(|(name, _)| self.ci.is_cordoned(name));
        if let Some((name, ticket)) = cordoned {
            self.promise = None;
            self.push(BEAT * 40);
            let guest = self.guests.get_mut(&name).expect("a guest that asked");
            guest.ticket = Some((self.clock.boottime() + kept_after, ticket));
        }
        answer
    }

    /// Somebody lets a machine take jobs again, and there is one: it has it now, or asked for it now and has it after
    /// `wait`.
    pub(crate) fn free_with_a_job(&mut self, name: &str, wait: Duration) {
        let (now, at) = (self.now(), self.clock.boottime());
        let Some(guest) = self.guests.get_mut(name) else {
            return;
        };
        self.ci.free(name);
        let Some(ticket) = self.ci.ask(name, now) else {
            return;
        };
        let job = self.ci.push(now);
        self.lengths.insert(job, BEAT * 40);
        if wait.is_zero() {
            guest.ticket = None;
            self.ci.hand_out(name, ticket, now);
        } else {
            guest.ticket = Some((at + wait, ticket));
        }
    }

    /// A machine that never joined does so after all, and has a job at once. False when it is gone.
    pub(crate) fn joins_late(&mut self, name: &str) -> bool {
        let now = self.now();
        let Some(guest) = self.guests.get_mut(name) else {
            return false;
        };
        self.never_join.remove(name);
        guest.joined = guest::connects(&mut *self.ci, name, &guest.script, now);
        let ticket = self.ci.ask(name, now);
        let job = self.ci.push(now);
        self.lengths.insert(job, BEAT * 40);
        let has_job = ticket.is_some();
        if let Some(ticket) = ticket {
            self.ci.hand_out(name, ticket, now);
        }
        assert!(has_job, "{name} joined and takes no job");
        true
    }

    /// What died by our hand is not held against us.
    pub(crate) fn excuse(&mut self) {
        self.excused.extend(self.ci.killed());
        self.wrong.retain(|wrong| !wrong.contains("I1: "));
    }

    pub(crate) fn lift_cordons(&mut self) {
        let now = self.now();
        for name in self.ci.lift_cordons(now) {
            let wait = Duration::from_millis(self.rng.u64(500..8_000));
            self.back.insert(name, self.clock.boottime() + wait);
        }
    }

    /// Moves what is due. Nothing else runs meanwhile.
    pub(crate) fn beat(&mut self) {
        let at = self.clock.boottime();
        if at < self.moves_at {
            return;
        }
        self.moves_at = at + BEAT;
        self.what_was_announced_comes();
        self.come_and_go();
        self.jobs_end();
        self.promises_to_the_dead();
        self.guests_leave();
        self.jobs_start();
    }

    fn what_was_announced_comes(&mut self) {
        let at = self.clock.boottime();
        let due = self.noticed.extract_if(.., |_, due| *due <= at);
        for (name, _) in due.collect::<Vec<_>>() {
            if self.alive().contains(&name) {
                self.take_back(&name);
            }
        }
    }

    fn come_and_go(&mut self) {
        let (now, at) = (self.now(), self.clock.boottime());
        let truth = self.truth();
        let mut up = BTreeSet::new();
        for truth in truth.into_iter().filter(|t| t.running && t.fleet == FLEET) {
            up.insert(truth.name.clone());
            let script = truth.script;
            let guest = self.guests.entry(truth.name.clone());
            let guest = guest.or_insert_with(|| Guest {
                up: at,
                script,
                ..Guest::default()
            });
            if self.broken && !guest.joined {
                self.never_join.insert(truth.name.clone());
            }
            let due = at - guest.up >= BEAT * 2 && !self.never_join.contains(&truth.name);
            let due = due && !is_bed(&truth.name);
            if due && !guest.joined && !self.down {
                guest.joined = guest::connects(&mut *self.ci, &truth.name, &guest.script, now);
            }
        }
        let gone: Vec<String> = self.guests.keys().cloned().collect();
        for name in gone.into_iter().filter(|name| !up.contains(name)) {
            if self.elsewhere.is_empty() {
                self.vanish(&name);
            } else {
                // nothing takes machines there but we
                self.deleted(&name, at);
            }
        }
        if !self.elsewhere.is_empty() {
            self.judge_numbers(|_| true);
        }
        let back: Vec<String> = self
            .back
            .iter()
            .filter(|(_, due)| **due <= at)
            .map(|(n, _)| n.clone())
            .collect();
        for name in back {
            self.back.remove(&name);
            if let Some(guest) = self.guests.get(&name) {
                guest::connects(&mut *self.ci, &name, &guest.script, now);
            }
        }
    }

    fn jobs_end(&mut self) {
        let now = self.now();
        for (job, since) in self.ci.running() {
            let length = self.lengths.get(&job).copied().unwrap_or_default();
            if model::age(since, now) >= length {
                self.ci.finish(job, now);
            }
        }
    }

    /// Machines ask for work all the time, and are answered a little later, whatever happened to them meanwhile.
    fn jobs_start(&mut self) {
        let (now, at) = (self.now(), self.clock.boottime());
        for (name, guest) in &mut self.guests {
            if !guest.joined {
                continue;
            }
            match guest.ticket.take() {
                Some((due, ticket)) if due <= at => {
                    if self.races > 0 && self.ci.is_cordoned(name) {
                        self.races -= 1;
                        let job = self.ci.push(now);
                        self.lengths.insert(job, BEAT * 40);
                    }
                    self.ci.hand_out(name, ticket, now);
                }
                Some(later) => guest.ticket = Some(later),
                None if guest.leaves.is_some() => {}
                None if self.rng.u32(0..4) > 0 => {
                    let most = u64::try_from(PROMISE.as_millis()).expect("a short time");
                    let due = at + Duration::from_millis(self.rng.u64(0..=most));
                    guest.ticket = self.ci.ask(name, now).map(|ticket| (due, ticket));
                }
                None => {}
            }
        }
    }

    /// What is wrong by now, with what only the end shows.
    pub(crate) fn verdict(&mut self) -> Vec<String> {
        let killed: Vec<Job> = self
            .ci
            .killed()
            .difference(&self.excused)
            .copied()
            .collect();
        if !killed.is_empty() {
            self.wrong(format!("I1: {killed:?} died by our hand"));
        }
        let repeated: Vec<Job> = self
            .ci
            .repeated()
            .difference(&self.excused)
            .copied()
            .collect();
        if !repeated.is_empty() {
            self.wrong(format!("{repeated:?} ran more than once"));
        }
        std::mem::take(&mut self.wrong)
    }
}

fn pool_of(name: &str) -> String {
    let name: InstanceName = name.parse().expect("a name of ours");
    name.pool().to_string()
}

fn is_bed(name: &str) -> bool {
    pool_of(name) == BEDS
}
