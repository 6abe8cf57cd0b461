//! What looks at a TeamCity mean for the pools: a canary from zero, and a machine in time for a chain.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fake_teamcity::{Dependency, Rights, Server, TeamCity};
use jiff::Timestamp;
use model::{ConfigHash, JobRange, Snapshot, Workload};
use ports::{Clock, Emitter, EmitterContext};
use probot::ahead::Durations;
use probot::mapping::{Mapped, Mapper, PoolRule};
use serde_json::{Value, json};

/// A clock that a test moves.
#[derive(Clone, Default)]
struct Hand(Arc<Mutex<Duration>>);

#[async_trait]
impl Clock for Hand {
    fn now(&self) -> Timestamp {
        let start: Timestamp = "2026-09-01T10:00:00Z".parse().unwrap();
        start + self.boottime()
    }

    fn boottime(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    async fn sleep(&self, _: Duration) {
        std::future::pending::<()>().await;
    }
}

struct World {
    teamcity: Arc<Mutex<TeamCity>>,
    _server: Server,
    clock: Hand,
    emitter: Arc<dyn Emitter>,
    mapper: Mapper,
    durations: Durations,
    agent: Option<u64>,
    pool: u64,
}

impl World {
    async fn start() -> Self {
        let mut teamcity = TeamCity::new();
        teamcity.grant("t", Rights::viewer());
        let pool = teamcity.add_pool("Linux", &["App"]);
        teamcity.add_type("App_Build", "App", &[("os", "linux")]);
        let test = teamcity.add_type("App_Test", "App", &[("os", "linux")]);
        test.needs.push(Dependency {
            on: "App_Build".to_owned(),
            same_agent: false,
        });
        let teamcity = Arc::new(Mutex::new(teamcity));
        let clock = Hand::default();
        let now = clock.clone();
        let server = Server::start(teamcity.clone(), move || now.now())
            .await
            .unwrap();
        let registry = plugins::emitters();
        let plugin = registry.get("teamcity").unwrap();
        let serves: Vec<Value> = vec![json!({ "agent_pool": "Linux" })];
        let context = EmitterContext {
            upkeep: true,
            name: "teamcity".parse().unwrap(),
            fleet: "acme-ci".parse().unwrap(),
            pools: [("linux".parse().unwrap(), serves.clone())].into(),
            probe_timeout: Duration::from_secs(20),
            clock: Arc::new(clock.clone()),
        };
        let config = json!({ "url": server.url(), "token": "t" });
        let rule = PoolRule {
            name: "linux".parse().unwrap(),
            precedence: 0,
            job: JobRange::default(),
            matcher: (plugin.matcher)(&serves).unwrap(),
        };
        let (name, fleet) = (context.name.clone(), context.fleet.clone());
        Self {
            emitter: (plugin.emitter)(&config, &context).unwrap(),
            mapper: Mapper::new(name, fleet, ConfigHash::new("c"), vec![rule]),
            teamcity,
            _server: server,
            clock,
            durations: Durations::default(),
            agent: None,
            pool,
        }
    }

    fn push(&self, of_type: &str) -> u64 {
        let now = self.clock.now();
        self.teamcity.lock().unwrap().push(of_type, now)
    }

    /// A machine of the pool, as an agent that was let in.
    fn machine(&mut self) {
        let now = self.clock.now();
        let mut teamcity = self.teamcity.lock().unwrap();
        let name = "linux-1795531234567-1-0";
        let agent = teamcity.add_agent(name, self.pool, &[("os", "linux")], now);
        let known = teamcity.agents.get_mut(&agent).unwrap();
        known.authorized_comment = "parmanu-fleet=acme-ci".to_owned();
        self.agent = Some(agent);
    }

    fn begin(&self, build: u64) {
        let now = self.clock.now();
        let mut teamcity = self.teamcity.lock().unwrap();
        assert!(teamcity.start(build, self.agent.unwrap(), now));
    }

    fn pass(&self, seconds: u64) {
        *self.clock.0.lock().unwrap() += Duration::from_secs(seconds);
    }

    async fn look(&mut self) -> Mapped {
        let snapshot: Snapshot = self.emitter.probe().await.unwrap();
        assert!(snapshot.completeness.is_complete(), "{snapshot:?}");
        self.durations.observe(&snapshot);
        self.mapper
            .map(&snapshot, &self.durations, self.clock.now())
    }

    async fn workload(&mut self) -> Workload {
        self.look().await.workloads.remove(0)
    }
}

#[tokio::test]
async fn from_zero_one_machine_is_wanted_and_the_others_are_explained() {
    let mut world = World::start().await;
    for _ in 0..3 {
        world.push("App_Build");
    }
    let mapped = world.look().await;
    assert_eq!(mapped.workloads[0].demand.runnable, 1);
    assert_eq!(mapped.unmatched_total, 2);
    let missing = &mapped.unmatched[0].missing[0];
    assert!(missing.contains("started for another build"), "{missing}");
    world.machine();
    let mapped = world.look().await;
    assert_eq!(
        (mapped.workloads[0].demand.runnable, mapped.unmatched_total),
        (3, 0)
    );
    assert_eq!(mapped.workloads[0].executors.len(), 1);
}

#[tokio::test]
async fn a_chain_is_seen_coming_by_what_its_builds_took_before() {
    let mut world = World::start().await;
    world.machine();
    for _ in 0..3 {
        let build = world.push("App_Build");
        world.begin(build);
        world.look().await;
        world.pass(100);
        world.teamcity.lock().unwrap().finish(build);
        world.look().await;
    }
    let test = world.push("App_Test");
    let build = world.teamcity.lock().unwrap().builds[&test].needs[0];
    let waiting = world.workload().await.demand;
    assert_eq!(
        (waiting.runnable, waiting.blocked, waiting.soon.len()),
        (1, 1, 0)
    );
    world.begin(build);
    world.look().await;
    world.pass(40);
    let ahead = world.workload().await.demand;
    assert_eq!((ahead.runnable, ahead.running, ahead.blocked), (0, 1, 1));
    let soon: Vec<(u64, u32)> = ahead
        .soon
        .iter()
        .map(|soon| (soon.ready_in.as_secs(), soon.jobs))
        .collect();
    assert_eq!(soon, [(60, 1)]);
}
