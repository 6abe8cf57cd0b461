//! Runs over a simulated cloud and a CI server whose truth can be asked for, in virtual time.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use emitter_fake::FakeCi;
use jiff::Timestamp;
use model::{
    BatchId, Boot, Bootstrap, Cordon, CreateBatch, Epoch, ExecutorId, ExecutorMode, ExecutorRef,
    InstallationId, InstanceName, OnStale, Policy, Standing, UserData, WorkloadTrust,
};
use ports::{Call, Clock, ExecutorControl, Provider, Register};
use provider_fake::{FakeCloud, Fault, Options};

use super::due::Order;
use super::reaper::Reaper;
use super::report::{Fate, Report};
use super::server::Server;
use super::words;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const SETTLE: Duration = Duration::from_secs(10);

/// Tokio's paused time, which jumps to the next moment somebody waits for.
struct Paused(tokio::time::Instant);

#[async_trait]
impl Clock for Paused {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_795_531_234).unwrap() + self.boottime()
    }
    fn boottime(&self) -> Duration {
        self.0.elapsed()
    }
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

fn policy() -> Policy {
    Policy {
        executors_appear: false,
        reuse: model::Reuse::default(),
        pool: "linux".parse().unwrap(),
        emitter: "ci".parse().ok(),
        slots: 1,
        min: 0,
        max: 9,
        boot: Boot {
            expect: SECOND,
            timeout: HOUR,
        },
        executors: ExecutorMode::Managed { settle: SETTLE },
        bootstrap: Bootstrap::PerMachine,
        offers: Vec::new(),
        trust: WorkloadTrust {
            fresh_for: SECOND,
            on_stale: OnStale::Hold,
        },
        rules: Vec::new(),
        standing: Standing::default(),
    }
}

struct Bench {
    clock: Arc<dyn Clock>,
    cloud: FakeCloud,
    ci: FakeCi,
}

/// What a machine has at the CI server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Joined {
    /// An executor that its tag names.
    ByTag,
    /// An executor of its name.
    ByName,
    /// Nothing.
    Not,
}

impl Bench {
    fn new() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the virtual clock of these tests"
        )]
        let clock: Arc<dyn Clock> = Arc::new(Paused(tokio::time::Instant::now()));
        let name = "sim".parse().unwrap();
        let tags = [("linux".parse().unwrap(), vec!["linux".to_owned()])].into();
        let (ci, fleet) = ("ci".parse().unwrap(), "acme".parse().unwrap());
        Bench {
            cloud: FakeCloud::new(name, clock.clone(), Options::default()),
            ci: FakeCi::new(ci, fleet, clock.clone(), SETTLE, tags),
            clock,
        }
    }

    /// A machine of this fleet that is up.
    async fn made(&self, fleet: &str, sequence: u32, joined: Joined) -> InstanceName {
        let batch = BatchId {
            pool: "linux".parse().unwrap(),
            epoch: Epoch(7),
            sequence,
        };
        let name = batch.instance(0);
        let mut executor = None;
        if joined != Joined::Not {
            let made = self.ci.register(&Register::of(name.clone())).await.unwrap();
            self.ci.join(&name);
            executor = (joined == Joined::ByTag).then(|| ExecutorRef {
                emitter: "ci".parse().unwrap(),
                id: made.executor,
            });
        }
        let batch = CreateBatch {
            fleet: fleet.parse().unwrap(),
            installation: InstallationId::new("i"),
            batch,
            count: 1,
            offer: "m/0".parse().unwrap(),
            spec: serde_json::json!({}),
            generation: model::Generation::new("0f3c5a"),
            attempt: 0,
            executor,
            user_data: UserData::default(),
        };
        let call = Call::within(self.clock.clone(), HOUR);
        let outcomes = self.cloud.create(&batch, &call).await;
        assert_eq!(outcomes[0].as_str(), "done");
        name
    }

    /// A machine past its time by two hours.
    async fn forgotten(&self, sequence: u32, joined: Joined) -> InstanceName {
        let name = self.made("acme", sequence, joined).await;
        self.mark(&name, -2);
        name
    }

    /// Somebody wants the machine until so many hours from now.
    fn mark(&self, name: &InstanceName, hours: i32) {
        let now = self.clock.now();
        let until = now + jiff::SignedDuration::from_hours(hours.into());
        self.cloud.mark(name, Some(until));
    }

    fn reaper(&self) -> Reaper {
        self.reaper_for(|_| {})
    }

    fn reaper_for(&self, change: impl FnOnce(&mut Order)) -> Reaper {
        let mut order = Order {
            fleet: "acme".parse().unwrap(),
            grace: HOUR,
            unmarked: None,
            even_if_busy: false,
            dry_run: false,
        };
        change(&mut order);
        let provider: Arc<dyn Provider> = Arc::new(self.cloud.clone());
        let server = Server {
            emitter: Arc::new(self.ci.clone()),
            control: Some(Arc::new(self.ci.clone())),
            settle: SETTLE,
            timeout: HOUR / 60,
            clock: self.clock.clone(),
        };
        let now = u64::try_from(self.clock.now().as_millisecond()).unwrap();
        Reaper {
            order,
            providers: [("sim".parse().unwrap(), provider)].into(),
            servers: [("ci".parse().unwrap(), server)].into(),
            pools: [("linux".parse().unwrap(), policy())].into(),
            epoch: Epoch(now),
            clock: self.clock.clone(),
        }
    }

    fn executor(&self, name: &InstanceName) -> ExecutorId {
        let all = self.ci.executors();
        let found = all.iter().find(|e| e.name == name.to_string());
        found.expect("an executor").id.clone()
    }

    /// A job that runs on the machine.
    fn job_on(&self, name: &InstanceName) -> u64 {
        let job = self.ci.push(&["linux"]);
        self.ci.start(job, &self.executor(name));
        job
    }

    fn cordon(&self, name: &InstanceName) -> Cordon {
        let all = self.ci.executors();
        let found = all.iter().find(|e| e.name == name.to_string());
        found.expect("an executor").cordon
    }

    fn alive(&self) -> usize {
        self.cloud.machines().len()
    }
}

/// The only machine's reason to stay.
fn stays(report: &Report) -> &str {
    assert!(!report.is_done());
    match &report.machines[..] {
        [row] => match &row.fate {
            Fate::Stayed(why) => why,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_machine_past_its_time_goes_with_its_executor_and_a_second_run_changes_nothing() {
    for joined in [Joined::ByTag, Joined::ByName, Joined::Not] {
        let bench = Bench::new();
        bench.forgotten(1, joined).await;
        let began = bench.clock.boottime();
        let report = bench.reaper().run().await;
        assert!(report.is_done(), "{report:?}");
        assert!(matches!(report.machines[0].fate, Fate::Deleted(_)));
        assert!(bench.clock.boottime() - began >= SETTLE * 2);
        assert_eq!((bench.alive(), bench.ci.executors().len()), (0, 0));
        let again = bench.reaper().run().await;
        assert!(again.is_done() && again.machines.is_empty(), "{again:?}");
        assert_eq!(bench.cloud.deletions().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_machine_stays_cordoned_and_goes_when_its_job_is_done() {
    for joined in [Joined::ByTag, Joined::ByName] {
        let bench = Bench::new();
        let name = bench.forgotten(1, joined).await;
        let job = bench.job_on(&name);
        let report = bench.reaper().run().await;
        assert!(stays(&report).contains("1 jobs"), "{report:?}");
        assert!(matches!(bench.cordon(&name), Cordon::Ours { .. }));
        bench.ci.finish(job);
        assert!(bench.reaper().run().await.is_done());
        assert_eq!(bench.alive(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_promised_before_the_cordon_is_left_to_run() {
    for after in [SETTLE / 2, SETTLE - Duration::from_millis(1)] {
        let bench = Bench::new();
        let name = bench.forgotten(1, Joined::ByTag).await;
        bench.ci.push(&["linux"]);
        bench.ci.request(&bench.executor(&name));
        let reaper = bench.reaper();
        let (report, ()) = tokio::join!(reaper.run(), async {
            bench.clock.sleep(after).await;
            bench.ci.hand_out();
        });
        assert!(stays(&report).contains("1 jobs"), "{report:?}");
        assert_eq!(bench.alive(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn idle_is_what_was_idle_twice() {
    let bench = Bench::new();
    let name = bench.forgotten(1, Joined::ByTag).await;
    let job = bench.job_on(&name);
    let reaper = bench.reaper();
    let (report, ()) = tokio::join!(reaper.run(), async {
        bench.clock.sleep(SETTLE + SECOND).await;
        bench.ci.finish(job);
    });
    assert!(stays(&report).contains("1 jobs"), "{report:?}");
    assert_eq!(bench.alive(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cordon_that_somebody_lifted_proves_nothing() {
    for after in [SETTLE / 2, SETTLE + SECOND] {
        let bench = Bench::new();
        let name = bench.forgotten(1, Joined::ByTag).await;
        let reaper = bench.reaper();
        let (report, ()) = tokio::join!(reaper.run(), async {
            bench.clock.sleep(after).await;
            bench.ci.pause(&name.to_string(), false);
        });
        assert!(stays(&report).contains("cordon is gone"), "{report:?}");
        assert_eq!(bench.alive(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_go_and_gets_a_job_keeps_its_machine() {
    let bench = Bench::new();
    bench.forgotten(1, Joined::ByTag).await;
    bench.ci.keep(&["linux"]);
    let report = bench.reaper().run().await;
    assert!(stays(&report).contains("1 jobs"), "{report:?}");
    assert_eq!(bench.alive(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_stays_and_is_named() {
    for joined in [Joined::ByTag, Joined::ByName, Joined::Not] {
        let bench = Bench::new();
        bench.forgotten(1, joined).await;
        bench.ci.fail(Some("the CI server is away"));
        let report = bench.reaper().run().await;
        assert!(stays(&report).contains("is away"), "{report:?}");
        assert_eq!(bench.alive(), 1);
        // silent from the first reading on
        bench.ci.fail(None);
        let reaper = bench.reaper();
        let (report, ()) = tokio::join!(reaper.run(), async {
            bench.clock.sleep(SETTLE / 2).await;
            bench.ci.fail(Some("the CI server is away"));
        });
        assert!(stays(&report).contains("is away"), "{report:?}");
        assert_eq!(bench.alive(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_executor_that_is_not_there_is_not_idle() {
    let bench = Bench::new();
    let name = bench.forgotten(1, Joined::ByTag).await;
    bench.ci.remove(&bench.executor(&name)).await.unwrap();
    let report = bench.reaper().run().await;
    assert!(stays(&report).contains("no executor"), "{report:?}");
    assert_eq!(bench.alive(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_partial_look_is_no_proof_that_nothing_registered() {
    let bench = Bench::new();
    bench.forgotten(1, Joined::Not).await;
    bench.ci.blind(Some("the token sees no runners"));
    let report = bench.reaper().run().await;
    assert!(stays(&report).contains("sees no runners"), "{report:?}");
    assert_eq!(bench.alive(), 1);
}

/// An emitter looks for what its pools can be served by.
#[tokio::test(start_paused = true)]
async fn of_a_pool_that_the_configuration_lacks_no_look_proves_anything() {
    let bench = Bench::new();
    bench.forgotten(1, Joined::Not).await;
    let mut reaper = bench.reaper();
    reaper.pools.clear();
    let report = reaper.run().await;
    assert!(stays(&report).contains("proves nothing"), "{report:?}");
    assert_eq!(bench.alive(), 1);
    // what is found is as good as ever
    bench.cloud.kill(&report.machines[0].machine);
    bench.forgotten(2, Joined::ByName).await;
    let mut reaper = bench.reaper();
    reaper.pools.clear();
    assert!(reaper.run().await.is_done());
    assert_eq!(bench.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn of_a_pool_without_executors_nobody_is_asked() {
    let bench = Bench::new();
    bench.forgotten(1, Joined::Not).await;
    bench.ci.fail(Some("the CI server is away"));
    let mut reaper = bench.reaper();
    for policy in reaper.pools.values_mut() {
        (policy.emitter, policy.executors) = (None, ExecutorMode::None);
    }
    assert!(reaper.run().await.is_done());
    assert_eq!(bench.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_registers_meanwhile_stays() {
    let bench = Bench::new();
    let name = bench.forgotten(1, Joined::Not).await;
    let reaper = bench.reaper();
    let (report, ()) = tokio::join!(reaper.run(), async {
        bench.clock.sleep(SETTLE).await;
        bench.ci.register(&Register::of(name)).await.unwrap();
    });
    assert!(
        stays(&report).contains("registered meanwhile"),
        "{report:?}"
    );
    assert_eq!(bench.alive(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_renewed_meanwhile_stays_and_takes_jobs_again() {
    for after in [SECOND, SETTLE * 2 - SECOND] {
        let bench = Bench::new();
        let name = bench.forgotten(1, Joined::ByTag).await;
        let reaper = bench.reaper();
        let (report, ()) = tokio::join!(reaper.run(), async {
            bench.clock.sleep(after).await;
            bench.mark(&name, 1);
        });
        assert!(report.is_done(), "{report:?}");
        assert_eq!(report.machines[0].fate, Fate::Wanted);
        assert_eq!(bench.cordon(&name), Cordon::None);
        assert_eq!(bench.alive(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_fails_before_the_deletion_deletes_nothing() {
    let hidden = Fault::HideScope("zone-a".to_owned());
    for (fault, word) in [(Fault::FailList, "out of order"), (hidden, "zone-a")] {
        let bench = Bench::new();
        bench.forgotten(1, Joined::ByTag).await;
        let reaper = bench.reaper();
        let (report, ()) = tokio::join!(reaper.run(), async {
            bench.clock.sleep(SETTLE).await;
            bench.cloud.listings(Some(fault));
        });
        assert!(stays(&report).contains(word), "{report:?}");
        assert_eq!(bench.alive(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_is_over_for_less_than_the_grace_counts() {
    let bench = Bench::new();
    let name = bench.made("acme", 1, Joined::ByTag).await;
    bench.mark(&name, -1);
    let report = bench.reaper().run().await;
    assert!(report.is_done() && report.machines.is_empty());
    assert_eq!((report.wanted, bench.alive()), (1, 1));
    bench.clock.sleep(SECOND).await;
    assert!(bench.reaper().run().await.is_done());
    assert_eq!(bench.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_mark_a_machine_stays_unless_that_is_asked_for_and_no_scaler_lives() {
    let bench = Bench::new();
    bench.made("acme", 1, Joined::ByTag).await;
    bench.clock.sleep(HOUR * 25).await;
    let report = bench.reaper().run().await;
    assert!(report.is_done());
    assert_eq!((report.unmarked, bench.alive()), (1, 1));
    let older = |hours| bench.reaper_for(move |order| order.unmarked = Some(HOUR * hours));
    assert_eq!(older(26).run().await.unmarked, 1);
    // another machine shows that a scaler lives
    let wanted = bench.made("acme", 2, Joined::ByTag).await;
    bench.mark(&wanted, 1);
    assert_eq!(older(24).run().await.unmarked, 1);
    bench.mark(&wanted, -2);
    let report = older(24).run().await;
    assert!(report.is_done(), "{report:?}");
    assert_eq!(bench.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn another_fleet_is_not_touched() {
    let bench = Bench::new();
    let theirs = bench.made("other", 1, Joined::Not).await;
    bench.mark(&theirs, -100);
    let even = bench.reaper_for(|order| order.even_if_busy = true);
    for reaper in [bench.reaper(), even] {
        let report = reaper.run().await;
        assert!(report.is_done() && report.machines.is_empty());
    }
    assert_eq!(bench.alive(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_operators_pause_is_his() {
    let bench = Bench::new();
    let name = bench.forgotten(1, Joined::ByTag).await;
    bench.ci.pause(&name.to_string(), true);
    let report = bench.reaper().run().await;
    assert!(stays(&report).contains("somebody else"), "{report:?}");
    assert_eq!((bench.alive(), bench.cordon(&name)), (1, Cordon::Foreign));
}

#[tokio::test(start_paused = true)]
async fn even_if_busy_asks_nobody_and_says_so() {
    let bench = Bench::new();
    let busy = bench.forgotten(1, Joined::ByTag).await;
    bench.job_on(&busy);
    let renewed = bench.made("acme", 2, Joined::ByTag).await;
    bench.mark(&renewed, 1);
    let reaper = bench.reaper_for(|order| order.even_if_busy = true);
    let report = reaper.run().await;
    assert_eq!(bench.cloud.deletions(), [busy]);
    // the CI server still takes its build for running, and no executor is removed from under a build
    assert!(!report.is_done(), "{report:?}");
    let said = words::of(&report);
    assert!(said.contains("holds a job"), "{said}");
    assert!(said.contains("builds that run there are killed"), "{said}");
    assert!(said.contains("nobody asked whether it was busy"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_changes_nothing() {
    let bench = Bench::new();
    let idle = bench.forgotten(1, Joined::ByTag).await;
    let busy = bench.forgotten(2, Joined::ByTag).await;
    bench.job_on(&busy);
    let before = (bench.cloud.machines(), bench.ci.executors());
    for even_if_busy in [false, true] {
        let reaper = bench.reaper_for(|order| {
            (order.dry_run, order.even_if_busy) = (true, even_if_busy);
        });
        let report = reaper.run().await;
        assert!(!report.is_done());
        let fate = |name| {
            &report
                .machines
                .iter()
                .find(|row| row.machine == name)
                .unwrap()
                .fate
        };
        assert!(matches!(fate(idle.clone()), Fate::WouldGo(_)));
        let stays = matches!(fate(busy.clone()), Fate::Stayed(_));
        assert_eq!(stays, !even_if_busy);
    }
    assert_eq!((bench.cloud.machines(), bench.ci.executors()), before);
}

#[tokio::test(start_paused = true)]
async fn two_runs_at_once_delete_once() {
    for later in [Duration::ZERO, SECOND, SETTLE] {
        let bench = Bench::new();
        bench.forgotten(1, Joined::ByTag).await;
        bench.cloud.slow(SECOND);
        bench.ci.slow(SECOND);
        let first = bench.reaper();
        let (first, second) = tokio::join!(first.run(), async {
            bench.clock.sleep(later).await;
            bench.reaper().run().await
        });
        assert!(first.is_done() && second.is_done(), "{first:?} {second:?}");
        assert_eq!(bench.cloud.deletions().len(), 1);
        assert!(bench.ci.executors().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn two_machines_that_name_one_executor_both_stay() {
    let bench = Bench::new();
    let name = bench.forgotten(1, Joined::ByTag).await;
    let first = bench.cloud.machines().remove(0).instance;
    let twin = CreateBatch {
        fleet: "acme".parse().unwrap(),
        installation: InstallationId::new("i"),
        batch: "linux-8-1".parse().unwrap(),
        count: 1,
        offer: "m/0".parse().unwrap(),
        spec: serde_json::json!({}),
        generation: model::Generation::new("0f3c5a"),
        attempt: 0,
        executor: first.executor,
        user_data: UserData::default(),
    };
    let call = Call::within(bench.clock.clone(), HOUR);
    bench.cloud.create(&twin, &call).await;
    let report = bench.reaper().run().await;
    assert!(stays(&report).contains("another machine"), "{report:?}");
    assert_eq!((bench.alive(), bench.cordon(&name)), (2, Cordon::None));
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_listed_is_a_doubt_and_no_listing_at_all_is_a_failure() {
    let bench = Bench::new();
    bench.forgotten(1, Joined::ByTag).await;
    bench.cloud.fault(Fault::HideScope("zone-a".to_owned()));
    let report = bench.reaper().run().await;
    assert!(!report.is_done() && !report.saw_nothing());
    assert!(words::of(&report).contains("not seen: sim: zone-a"));
    bench.cloud.fault(Fault::FailList);
    assert!(bench.reaper().run().await.saw_nothing());
}

#[tokio::test(start_paused = true)]
async fn a_deletion_of_unknown_fate_is_said_to_stay_until_it_is_seen_gone() {
    let bench = Bench::new();
    bench.forgotten(1, Joined::ByTag).await;
    bench.cloud.fault(Fault::DropDelete);
    let report = bench.reaper().run().await;
    assert!(stays(&report).contains("nobody knows"), "{report:?}");
    bench.cloud.fault(Fault::LoseDeleteReply);
    let report = bench.reaper().run().await;
    assert_eq!(report.machines[0].fate, Fate::Gone);
    assert_eq!(bench.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn more_machines_than_a_wave_all_go() {
    let bench = Bench::new();
    for sequence in 0..60 {
        bench.forgotten(sequence, Joined::ByTag).await;
    }
    let report = bench.reaper().run().await;
    assert!(report.is_done());
    assert_eq!((bench.alive(), bench.cloud.deletions().len()), (0, 60));
}
