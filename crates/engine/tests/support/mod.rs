//! Worlds in one line of text, so that tests are data.
//!
//! `policy | workload | machines | oddities`, for example
//! `min 0 max 4 | queued 9 running 1 | busy, idle 12m x2 | listing partial`.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test may panic, and shares helpers"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine::{
    FleetObservation, Observation, OfferNews, Plan, PoolPlan, PoolSeen, Record, Unavailable,
    invariants,
};
use jiff::{SignedDuration, Timestamp};
use model::rules::*;
use model::*;

pub const EPOCH: Epoch = Epoch(9);
pub const SETTLE: Duration = Duration::from_secs(60);

pub fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

pub fn ago(seconds: u64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds as i64)
}

pub fn span(text: &str) -> Duration {
    let span: SignedDuration = text
        .parse()
        .unwrap_or_else(|_| panic!("`{text}` is no time"));
    Duration::try_from(span).unwrap()
}

pub fn policy(pool: &str) -> Policy {
    Policy {
        pool: pool.parse().unwrap(),
        emitter: Some("ci".parse().unwrap()),
        slots: 1,
        min: 0,
        max: 10,
        boot: Boot {
            expect: span("1m"),
            timeout: span("10m"),
        },
        executors: ExecutorMode::Managed { settle: SETTLE },
        executors_appear: false,
        reuse: Reuse::default(),
        bootstrap: Bootstrap::PerMachine,
        offers: vec![offer(0, "aws")],
        trust: WorkloadTrust {
            fresh_for: span("60s"),
            on_stale: OnStale::Hold,
        },
        rules: vec![Rule::always(
            "scale-in",
            RuleKind::ScaleIn(ScaleIn::fixed(span("10m"))),
        )],
        standing: Standing::default(),
    }
}

fn read_only(leave: UncontrolledLeave) -> ExecutorMode {
    ExecutorMode::ReadOnly { leave }
}

fn prefix<'a>(text: &'a str, prefix: &str) -> (bool, &'a str) {
    let rest = text.strip_prefix(prefix);
    (rest.is_some(), rest.unwrap_or(text))
}

fn numbers(text: &str) -> [u32; 3] {
    let mut numbers = text.split(':').map(|n| n.parse().unwrap());
    [(); 3].map(|()| numbers.next().unwrap())
}

/// `value`, or `value@condition` with underscores for spaces: `4@Mon-Fri_08:00-19:00_UTC`, `4@queued>5`.
pub fn rule(key: &str, text: &str) -> Rule {
    let (value, when) = text.split_once('@').unwrap_or((text, ""));
    let (first, second) = value.split_once(':').unwrap_or((value, "0"));
    let kind = match key {
        "reserve" if first == "arrivals" => {
            let wait_to_idle = second.parse().unwrap();
            reserve(IdleSlots::Arrivals { wait_to_idle })
        }
        "reserve" if first.ends_with('%') => reserve(IdleSlots::ShareOfBusy {
            share: first.parse().unwrap(),
        }),
        "reserve" => reserve(IdleSlots::Fixed {
            slots: first.parse().unwrap(),
        }),
        "utilization" => RuleKind::Utilization(Utilization {
            target: first.parse().unwrap(),
        }),
        "break-even" => RuleKind::ScaleIn(ScaleIn {
            idle: IdleTime::BreakEven {
                wait_to_idle: first.parse().unwrap(),
                announced: Duration::from_secs(second.parse().unwrap()),
            },
            ..ScaleIn::fixed(Duration::ZERO)
        }),
        "create" => RuleKind::Pace(Pace {
            create: Some(Bucket {
                burst: first.parse().unwrap(),
                per: span(second),
            }),
            stabilise: Duration::ZERO,
        }),
        "stabilise" => RuleKind::Pace(Pace {
            create: None,
            stabilise: span(first),
        }),
        "limit" => {
            let (min, max) = first.split_once("..").unwrap();
            RuleKind::Limit(Limit {
                min: min.parse().ok(),
                max: max.parse().ok(),
            })
        }
        "memory" => RuleKind::Memory(MemoryRule {
            free_below: first.parse::<u64>().unwrap() << 20,
            grow: second.parse().unwrap(),
        }),
        "load" => RuleKind::Load(LoadRule {
            over_milli: first.parse().unwrap(),
            grow: second.parse().unwrap(),
        }),
        other => panic!("`{other}` is no rule"),
    };
    Rule {
        name: key.to_owned(),
        when: when_of(when),
        rule: kind,
    }
}

fn reserve(idle: IdleSlots) -> RuleKind {
    RuleKind::Reserve(Reserve {
        idle,
        at_most: None,
    })
}

fn when_of(text: &str) -> When {
    if text.is_empty() {
        return When::default();
    }
    let one = |text: &str| {
        if let Some((what, value)) = text.split_once('>') {
            return match what {
                "queued" => Condition::QueuedOver {
                    jobs: value.parse().unwrap(),
                },
                "wait" => Condition::OldestWaitOver { time: span(value) },
                "use" => Condition::UtilizationOver {
                    share: value.parse().unwrap(),
                },
                other => panic!("`{other}` is no condition"),
            };
        }
        if let Some((what, value)) = text.split_once('<') {
            return match what {
                "queued" => Condition::QueuedUnder {
                    jobs: value.parse().unwrap(),
                },
                "use" => Condition::UtilizationUnder {
                    share: value.parse().unwrap(),
                },
                "free" => Condition::MemoryBelow {
                    bytes: value.parse::<u64>().unwrap() << 20,
                },
                other => panic!("`{other}` is no condition"),
            };
        }
        let spaced = text.replace('_', " ");
        let (schedule, zone) = spaced.rsplit_once(' ').unwrap();
        Condition::Schedule(Schedule::parse(schedule, zone).unwrap())
    };
    let all: Vec<Condition> = match text.split_once("~") {
        Some((a, b)) => vec![Condition::Any {
            any: vec![When { all: vec![one(a)] }, When { all: vec![one(b)] }],
        }],
        None => text.split('&').map(one).collect(),
    };
    When { all }
}

/// What is remembered of a provider that listed these machines last.
pub fn stood_at(
    provider: &str,
    machines: impl IntoIterator<Item = InstanceName>,
) -> (ProviderName, LastListed) {
    let last = LastListed {
        place: String::new(),
        machines: machines.into_iter().collect(),
    };
    (provider.parse().unwrap(), last)
}

pub fn offer(index: u32, provider: &str) -> OfferPolicy {
    OfferPolicy {
        id: OfferId {
            machine: "linux-m".parse().unwrap(),
            index,
        },
        provider: provider.parse().unwrap(),
        generation: Generation::new("now"),
        price: None,
        listing_lag: span("30s"),
        batch_limit: 1000,
        least_billed: span("60s"),
    }
}

pub fn fleet() -> FleetId {
    "acme".parse().unwrap()
}

/// A machine of an earlier epoch, created half an hour ago.
pub fn instance(pool: &str, number: u32) -> Instance {
    let name: InstanceName = format!("{pool}-7-{number}-0").parse().unwrap();
    Instance {
        id: ProviderRef::new(format!("i-{number}")),
        executor: Some(executor_ref(&name)),
        name,
        scope: "zone-a".into(),
        state: InstanceState::Running,
        created_at: Some(ago(1800)),
        owner: Owner {
            fleet: fleet(),
            installation: None,
        },
        offer: None,
        notice: None,
        generation: Some(Generation::new("now")),
        expires: None,
    }
}

pub fn executor_ref(name: &InstanceName) -> ExecutorRef {
    ExecutorRef {
        emitter: "ci".parse().unwrap(),
        id: ExecutorId::new(format!("x-{name}")),
    }
}

pub fn executor(name: &InstanceName, state: ExecutorState) -> Executor {
    Executor {
        id: executor_ref(name).id,
        name: name.to_string(),
        fleet: Some(fleet()),
        labels: vec![],
        run_untagged: false,
        protected_only: false,
        health: None,
        slots: 1,
        state,
        cordon: Cordon::None,
    }
}

pub fn workload(pool: &str) -> Workload {
    Workload {
        version: Workload::VERSION,
        pool: pool.parse().unwrap(),
        emitter: "ci".parse().unwrap(),
        config: ConfigHash::new("c"),
        demand: Demand::default(),
        executors: vec![],
        completeness: Completeness::Complete,
    }
}

/// A world of one pool.
#[derive(Debug, Clone)]
pub struct World {
    pub pool: String,
    pub policy: Policy,
    pub workload: Workload,
    pub workload_age: u64,
    pub heard: bool,
    pub instances: Vec<Instance>,
    pub intents: Vec<StoredIntent>,
    pub memory: PoolMemory,
    pub listing: &'static str,
    pub lost_at: Option<Timestamp>,
    pub unavailable: BTreeMap<OfferId, Unavailable>,
    pub overrides: Overrides,
    pub held: Option<String>,
    pub refused: Option<String>,
    /// Machines whose own executors may not be cordoned: the first, with `odd why`.
    pub odd: BTreeMap<InstanceName, String>,
    /// Machines of which it could not be proven that they have no executor, and why.
    pub join_doubts: BTreeMap<InstanceName, String>,
    pub news: Vec<OfferNews>,
    pub next_sequence: u32,
    /// Whether there is a policy for it.
    pub configured: bool,
}

impl World {
    pub fn empty(pool: &str) -> Self {
        World {
            pool: pool.to_owned(),
            policy: policy(pool),
            workload: workload(pool),
            workload_age: 2,
            heard: true,
            instances: vec![],
            intents: vec![],
            memory: PoolMemory::default(),
            listing: "complete",
            lost_at: None,
            unavailable: BTreeMap::new(),
            overrides: Overrides::default(),
            held: None,
            refused: None,
            odd: BTreeMap::new(),
            join_doubts: BTreeMap::new(),
            news: vec![],
            next_sequence: 1,
            configured: true,
        }
    }

    /// A world of the pool `linux`.
    pub fn parse(text: &str) -> Self {
        World::named("linux", text)
    }

    pub fn named(pool: &str, text: &str) -> Self {
        let mut world = World::empty(pool);
        let mut parts = text.split('|').map(str::trim);
        world.read_policy(parts.next().unwrap_or_default());
        world.read_workload(parts.next().unwrap_or_default());
        let mut number = 0;
        for entry in parts.next().unwrap_or_default().split(',').map(str::trim) {
            if entry.is_empty() || entry == "no instances" {
                continue;
            }
            let (what, times) = match entry.rsplit_once(" x") {
                Some((what, times)) => (what, times.parse().unwrap()),
                None => (entry, 1),
            };
            for _ in 0..times {
                number += 1;
                world.add_machine(what, number);
            }
        }
        world.read_oddities(parts.next().unwrap_or_default());
        world.learn_at_rest();
        world
    }

    /// The scale-in rule that every world begins with.
    pub fn scale_in(&mut self) -> &mut ScaleIn {
        let rules = self.policy.rules.iter_mut();
        let found = rules.filter_map(|rule| match &mut rule.rule {
            RuleKind::ScaleIn(scale_in) => Some(scale_in),
            _ => None,
        });
        found.last().unwrap()
    }

    fn read_policy(&mut self, text: &str) {
        let words: Vec<&str> = text.split_whitespace().collect();
        for pair in words.chunks(2) {
            let &[key, value] = pair else {
                panic!("`{text}` is no list of pairs")
            };
            match key {
                "min" => self.policy.min = value.parse().unwrap(),
                "max" => self.policy.max = value.parse().unwrap(),
                "slots" => self.policy.slots = value.parse().unwrap(),
                "idle" => {
                    self.scale_in().idle = IdleTime::Fixed {
                        idle_for: span(value),
                    }
                }
                "pace" => self.scale_in().at_most = Some(value.parse().unwrap()),
                "bootstrap" => self.policy.bootstrap = Bootstrap::Shared,
                "batch" => self.policy.offers[0].batch_limit = value.parse().unwrap(),
                "offers" => {
                    let count: u32 = value.parse().unwrap();
                    self.policy.offers = (0..count).map(|i| offer(i, "aws")).collect();
                }
                "executors" => {
                    self.policy.executors = match value {
                        "read-only" => read_only(UncontrolledLeave::ByThemselves),
                        "ask-guest" => read_only(UncontrolledLeave::AskGuest),
                        "best-effort" => read_only(UncontrolledLeave::BestEffort),
                        "none" => ExecutorMode::None,
                        other => panic!("`{other}` is no way to control executors"),
                    };
                    if value == "none" {
                        self.policy.emitter = None;
                    }
                }
                "group" => self.policy.standing.group = Some(value.parse().unwrap()),
                "priority" => self.policy.standing.priority = value.parse().unwrap(),
                "weight" => self.policy.standing.weight = value.parse().unwrap(),
                "share" => self.scale_in().at_most_share = Some(value.parse().unwrap()),
                "reserve" | "utilization" | "break-even" | "create" | "stabilise" | "limit"
                | "memory" | "load" => {
                    let place = self.policy.rules.len() - 1;
                    self.policy.rules.insert(place, rule(key, value));
                }
                "profile" => {
                    let profile = Profile::ALL.into_iter().find(|p| p.name() == value);
                    self.policy.rules = profile.unwrap().rules();
                }
                "jobs" => self.policy.reuse.max_jobs = Some(value.parse().unwrap()),
                "max-age" => self.policy.reuse.max_age = Some(span(value)),
                "replace" => {
                    self.policy.reuse.replace_changed = true;
                    self.policy.reuse.at_once = value.parse().unwrap();
                }
                "keep" => self.policy.trust.on_stale = OnStale::AtLeast(value.parse().unwrap()),
                other => panic!("`{other}` is no key of a policy"),
            }
        }
    }

    fn read_workload(&mut self, text: &str) {
        let words: Vec<&str> = text.split_whitespace().collect();
        for pair in words.chunks(2) {
            match pair {
                ["queued", n] => self.workload.demand.runnable = n.parse().unwrap(),
                ["running", n] => self.workload.demand.running = n.parse().unwrap(),
                ["oldest", time] => self.workload.demand.oldest_wait = Some(span(time)),
                ["soon", jobs] => {
                    let (jobs, time) = jobs.split_once(':').unwrap();
                    self.workload.demand.soon.push(Soon {
                        ready_in: span(time),
                        jobs: jobs.parse().unwrap(),
                    });
                }
                ["age", n] => self.workload_age = span(n).as_secs(),
                ["partial", why] => self.workload.completeness.doubt(why.replace('_', " ")),
                ["config", hash] => self.workload.config = ConfigHash::new(*hash),
                ["static", n] => {
                    for i in 0..n.parse::<u32>().unwrap() {
                        let name = instance(&self.pool, 900 + i).name;
                        let mut other = executor(&name, ExecutorState::Idle { since: None });
                        (other.name, other.fleet) = (format!("mini-{i}"), None);
                        self.workload.executors.push(other);
                    }
                }
                ["never"] | ["never", _] => self.heard = false,
                other => panic!("`{other:?}` is nothing of a workload"),
            }
        }
    }

    /// Every executor says this of its machine.
    fn report(&mut self, say: impl Fn(&mut Health)) {
        for executor in &mut self.workload.executors {
            say(executor.health.get_or_insert_default());
        }
    }

    /// Demand has stood where it is for a while, so that only what the text says is news.
    fn learn_at_rest(&mut self) {
        let demand = &self.workload.demand;
        let needed = demand.running + demand.runnable;
        let learned = &mut self.memory.learned;
        learned.demand = needed;
        if !learned.rises.is_empty() {
            learned.window = Some(RiseWindow {
                since: ago(10),
                base: needed,
                peak: needed,
                activity: [0; 2],
                active: [0; 2],
                touched: ago(10),
            });
        }
        if let Some(wanted) = &mut self.memory.wanted {
            wanted.now = needed;
        }
    }

    fn leave(&mut self, name: &InstanceName, epoch: Epoch, step: LeaveStep, age: Duration) {
        let executor = Some(executor_ref(name));
        let intent = Intent::Leave {
            instance: name.clone(),
            executor,
            epoch,
            step,
        };
        self.intents.push(StoredIntent { intent, age });
    }

    /// `state [time]`; the time is how long it has been in that state.
    pub fn add_machine(&mut self, text: &str, number: u32) {
        let (state, time) = text.split_once(' ').unwrap_or((text, "0s"));
        let time = span(time);
        let mut instance = instance(&self.pool, number);
        // `changed-` was made from what is not configured any more, `worn-` has run three jobs
        let (changed, state) = prefix(state, "changed-");
        let (worn, state) = prefix(state, "worn-");
        if changed {
            instance.generation = Some(Generation::new("before"));
        }
        if worn {
            let last = vec![JobId::new("earlier")];
            let jobs = JobsRun { count: 3, last };
            self.memory.jobs.insert(instance.name.clone(), jobs);
        }
        let name = instance.name.clone();
        let mut seen = executor(&name, ExecutorState::Idle { since: None });
        seen.slots = self.policy.slots;
        let mut registered = true;
        let job = |n: u32| JobId::new(format!("{n}"));
        match state {
            "requested" => {
                let intent = Intent::Create {
                    batch: name.batch.clone(),
                    count: 1,
                    provider: "aws".parse().unwrap(),
                    offer: offer(0, "aws").id,
                    executor: None,
                };
                self.intents.push(StoredIntent { intent, age: time });
                seen.state = ExecutorState::NeverJoined;
                self.workload.executors.push(seen);
                return;
            }
            "pending" | "booting" => {
                instance.created_at = Some(ago(time.as_secs()));
                if state == "pending" {
                    instance.state = InstanceState::Pending;
                }
                seen.state = ExecutorState::NeverJoined;
            }
            "idle" => {
                self.memory
                    .idle_since
                    .insert(name.clone(), ago(time.as_secs()));
            }
            "busy" => {
                seen.state = ExecutorState::Busy {
                    jobs: vec![job(number)],
                }
            }
            "taken" => instance.notice = Some("spot interruption".into()),
            "taken-busy" => {
                instance.notice = Some("spot interruption".into());
                seen.state = ExecutorState::Busy {
                    jobs: vec![job(number)],
                };
            }
            "unreadable" => seen.state = ExecutorState::Unknown { why: "503".into() },
            "stuck" => seen.state = ExecutorState::NeverJoined,
            "lost" => seen.state = ExecutorState::Offline { since: None },
            "stopped" => instance.state = InstanceState::Stopped,
            "stopping" => instance.state = InstanceState::Stopping,
            "odd" => {
                instance.state = InstanceState::Unknown {
                    what: "rebooting".into(),
                }
            }
            "absent" => registered = false,
            "unregistered" => {
                registered = false;
                instance.executor = None;
            }
            "paused" => seen.cordon = Cordon::Foreign,
            "cordoning" => self.leave(&name, EPOCH, LeaveStep::Cordoning, time),
            "settling" | "settling-busy" | "proven" | "deleting" => {
                seen.cordon = Cordon::Ours { epoch: EPOCH };
                if state == "settling-busy" {
                    seen.state = ExecutorState::Busy {
                        jobs: vec![job(number)],
                    };
                }
                let step = match state {
                    "proven" => LeaveStep::ProvenOnce,
                    "deleting" => LeaveStep::Deleting,
                    _ => LeaveStep::Settling,
                };
                self.leave(&name, EPOCH, step, time);
            }
            "asked" => self.leave(&name, EPOCH, LeaveStep::Asked, time),
            "asked-before" => self.leave(&name, Epoch(7), LeaveStep::Asked, time),
            "asked-off" => {
                instance.state = InstanceState::Stopped;
                seen.state = ExecutorState::Offline { since: None };
                self.leave(&name, EPOCH, LeaveStep::Asked, time);
            }
            "deleted" => self.leave(&name, EPOCH, LeaveStep::Deleting, time),
            "deleted-busy" => {
                seen.state = ExecutorState::Busy {
                    jobs: vec![job(number)],
                };
                self.leave(&name, EPOCH, LeaveStep::Deleting, time);
            }
            "lifted" => self.leave(&name, EPOCH, LeaveStep::Settling, time),
            "old-cordon" => seen.cordon = Cordon::Ours { epoch: Epoch(7) },
            "old-settling" => {
                seen.cordon = Cordon::Ours { epoch: Epoch(7) };
                self.leave(&name, Epoch(7), LeaveStep::Settling, time);
            }
            "gone" => {
                instance.state = InstanceState::Gone { why: None };
                seen.cordon = Cordon::Ours { epoch: EPOCH };
                self.leave(&name, EPOCH, LeaveStep::Deleting, time);
            }
            "vanished" => {
                self.leave(&name, EPOCH, LeaveStep::Deleting, time);
                return;
            }
            "ghost" => {
                seen.state = ExecutorState::NeverJoined;
                self.memory.ghosts.insert(name, ago(time.as_secs()));
                self.workload.executors.push(seen);
                return;
            }
            "foreign" => {
                instance.owner.fleet = "other".parse().unwrap();
                seen.fleet = Some("other".parse().unwrap());
            }
            other => panic!("`{other}` is no state of a machine"),
        }
        if registered {
            self.workload.executors.push(seen);
        }
        self.instances.push(instance);
    }

    fn read_oddities(&mut self, text: &str) {
        for entry in text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
        {
            match entry.split_once(' ').unwrap_or((entry, "")) {
                ("listing", "partial") => self.listing = "partial",
                ("listing", "never") => self.listing = "never",
                ("listing", "old") => self.listing = "old",
                ("lost", time) => self.lost_at = Some(ago(span(time).as_secs())),
                ("aside", index) => {
                    let why = "no capacity in zone-a".to_owned();
                    let entry = Unavailable {
                        why,
                        remaining: span("2m"),
                    };
                    self.unavailable
                        .insert(offer(index.parse().unwrap(), "aws").id, entry);
                }
                ("held", why) => self.held = Some(why.to_owned()),
                ("refused", why) => self.refused = Some(why.to_owned()),
                ("odd", why) => {
                    let name = self.instances[0].name.clone();
                    self.odd.insert(name, why.to_owned());
                }
                ("paused", "") => {
                    let pool = self.policy.pool.clone();
                    self.order(Directive::Pause { pool });
                }
                ("pinned", machines) => {
                    let (pool, machines) = (self.policy.pool.clone(), machines.parse().unwrap());
                    self.order(Directive::Pin { pool, machines });
                }
                ("drained", "offer") => {
                    let image = "ami-1".to_owned();
                    self.order(Directive::DrainImage { image });
                    let first = self.policy.offers[0].id.clone();
                    let last = self.overrides.in_force.last_mut().unwrap();
                    last.offers.insert(first);
                }
                ("drained", "zone") => {
                    let zone = "zone-a".to_owned();
                    self.order(Directive::DrainZone { zone });
                }
                ("drained", machine) => {
                    let instance = machine.parse().unwrap();
                    self.order(Directive::DrainMachine { instance });
                }
                ("override", "unreadable") => {
                    self.overrides.unreadable.push("pause:linux".to_owned());
                }
                ("failed-boots", count) => {
                    let failed = (0..count.parse::<u32>().unwrap()).map(|i| {
                        format!("{}-6-{i}-0", self.pool)
                            .parse::<InstanceName>()
                            .unwrap()
                    });
                    let failed = FailedBoots {
                        machines: failed.collect(),
                        last: ago(300),
                    };
                    self.memory.broken = [(Generation::new("now"), failed)].into();
                }
                ("wanted", entry) => {
                    let (machines, time) = entry.split_once(':').unwrap();
                    let (machines, until) = (machines.parse().unwrap(), ago(span(time).as_secs()));
                    let wanted = self.memory.wanted.get_or_insert_default();
                    wanted.earlier.push(Wanted { machines, until });
                }
                ("tokens", entry) => {
                    let (left, time) = entry.split_once(':').unwrap();
                    self.memory.tokens = Some(Tokens {
                        milli: left.parse::<u64>().unwrap() * 1000,
                        at: ago(span(time).as_secs()),
                    });
                }
                // how many windows at rest, in how many of them demand rose, and into which bucket
                ("rises", entry) => {
                    let [windows, rises, bucket] = numbers(entry);
                    let mut counts = vec![0; bucket as usize + 1];
                    counts[bucket as usize] = rises;
                    let rises = Histogram { counts };
                    self.memory.learned.rises = vec![vec![RiseRow { windows, rises }]; 2];
                }
                // how many gaps, and in which bucket
                ("gaps", entry) => {
                    let [gaps, bucket, _] = numbers(&format!("{entry}:0"));
                    let mut counts = vec![0; bucket as usize + 1];
                    counts[bucket as usize] = gaps;
                    self.memory.learned.gaps = Histogram { counts };
                }
                ("boots", times) => {
                    self.memory.learned.boots =
                        times.split('+').map(|t| t.parse().unwrap()).collect();
                }
                ("free", mib) => {
                    let free = mib.parse::<u64>().unwrap() << 20;
                    self.report(|health| health.memory_free = Some(free));
                }
                ("load", milli) => {
                    let load = milli.parse().unwrap();
                    self.report(|health| health.load_milli = Some(load));
                }
                ("left", count) => {
                    let count: usize = count.parse().unwrap();
                    self.memory.departures = vec![ago(30); count];
                }
                (other, _) => panic!("`{other}` is no oddity"),
            }
        }
    }

    /// Gives an order that holds for an hour more.
    pub fn order(&mut self, what: Directive) {
        let (who, why) = ("ann".to_owned(), "the release".to_owned());
        self.overrides.in_force.push(Override {
            order: Order { what, who, why },
            since: ago(60),
            until: now() + SignedDuration::from_hours(1),
            offers: BTreeSet::new(),
        });
    }

    pub fn seen(&self) -> PoolSeen {
        let at = ago(self.workload_age);
        let value = self.workload.clone();
        let workload = match (self.heard, value.completeness.doubts().to_vec()) {
            (false, _) => Seen::Never { why: None },
            (true, why) if why.is_empty() => Seen::Complete { value, at },
            (true, why) => Seen::Partial { value, at, why },
        };
        PoolSeen {
            workload,
            intents: self.intents.clone(),
            memory: self.memory.clone(),
            next_sequence: self.next_sequence,
            creation_held: self.held.clone(),
            control_refused: self.refused.clone(),
            cordon_refused: self.odd.clone(),
            join_doubts: self.join_doubts.clone(),
            offer_news: self.news.clone(),
        }
    }

    pub fn fleet(&self) -> FleetObservation {
        World::together(std::slice::from_ref(self))
    }

    /// Several pools that share one provider; the oddities of the first one hold for it.
    pub fn together(worlds: &[World]) -> FleetObservation {
        let first = &worlds[0];
        let value: Vec<Instance> = worlds.iter().flat_map(|w| w.instances.clone()).collect();
        let why = vec!["zone-b does not answer".to_owned()];
        let listing = match first.listing {
            "never" => Seen::Never {
                why: Some("connection refused".to_owned()),
            },
            "partial" => Seen::Partial {
                value,
                at: ago(1),
                why,
            },
            "old" => Seen::Complete {
                value,
                at: ago(120),
            },
            _ => Seen::Complete { value, at: ago(1) },
        };
        // one of each, as in a store
        let orders = worlds.iter().flat_map(|w| w.overrides.in_force.clone());
        let orders: BTreeMap<String, Override> =
            orders.map(|it| (it.order.what.id(), it)).collect();
        let (value, at) = (vec![], ago(1));
        let nothing = Seen::Complete { value, at };
        FleetObservation {
            fleet: fleet(),
            config: ConfigHash::new("c"),
            epoch: EPOCH,
            listings: [
                ("aws".parse().unwrap(), listing),
                ("gcp".parse().unwrap(), nothing),
            ]
            .into(),
            pools: worlds
                .iter()
                .map(|w| (w.policy.pool.clone(), w.seen()))
                .collect(),
            intents_lost_at: first.lost_at,
            unavailable: first.unavailable.clone(),
            rival: None,
            overrides: Overrides {
                in_force: orders.into_values().collect(),
                unreadable: first.overrides.unreadable.clone(),
            },
        }
    }

    pub fn observation(&self) -> Observation {
        self.fleet().pool(&self.policy.pool).unwrap()
    }

    pub fn plan(&self) -> Plan {
        engine::plan(&self.observation(), &self.policy, now())
    }
}

/// Plans several pools together, checks every invariant on the way, and that the record of each plan gives it again.
pub fn plan_fleet(worlds: &[World], policy: &FleetPolicy) -> Vec<PoolPlan> {
    let configured = worlds.iter().filter(|world| world.configured);
    let policies: Vec<&Policy> = configured.map(|world| &world.policy).collect();
    let mut split = World::together(worlds).split();
    let known = |pool: &PoolName| policies.iter().any(|policy| policy.pool == *pool);
    let strays: Vec<PoolName> = split.pools.keys().filter(|p| !known(p)).cloned().collect();
    for pool in strays {
        // as where the pool is not in the configuration: nobody asked the store for it
        let seen = split.pools.remove(&pool).unwrap();
        let machines = seen.listings.values().filter_map(Seen::any).flatten();
        *split.strays.entry("aws".parse().unwrap()).or_default() += machines.count() as u32;
    }
    let plans = engine::plan_fleet(split, policies.iter().copied(), policy, now());
    let of = |pool: &PoolName| policies.iter().copied().find(|policy| policy.pool == *pool);
    let violations = invariants::check_fleet(&plans, of, policy, now());
    assert!(violations.is_empty(), "{violations:?}");
    for planned in &plans {
        let own = of(&planned.plan.pool).unwrap();
        let violations = invariants::check(&planned.seen, own, &planned.plan, now());
        assert!(violations.is_empty(), "{violations:?}\n{}", planned.plan);
        let record = Record {
            now: now(),
            seen: planned.seen.clone(),
            policy: own.clone(),
            grant: planned.grant.clone(),
        };
        let text = serde_json::to_string(&record).unwrap();
        let read: Record = serde_json::from_str(&text).unwrap();
        assert_eq!(
            serde_json::to_string(&read.replay()).unwrap(),
            serde_json::to_string(&planned.plan).unwrap()
        );
    }
    plans
}

/// Plans a world, checks every invariant on the way, and compares the plan in words.
pub fn check(text: &str, expected: expect_test::Expect) {
    let world = World::parse(text);
    let seen = world.observation();
    let plan = engine::plan(&seen, &world.policy, now());
    let violations = invariants::check(&seen, &world.policy, &plan, now());
    assert!(violations.is_empty(), "{text}: {violations:?}\n{plan}");
    expected.assert_eq(&plan.to_string());
}
