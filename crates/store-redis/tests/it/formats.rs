//! What is written is a format: one golden file for each, for each version there ever was.
//!
//! Here what a live store writes is compared with the files; that every file can be read is tested beside the code that
//! reads, where no server is needed.

use std::time::Duration;

use jiff::Timestamp;
use model::{
    BatchId, Completeness, ConfigHash, Cordon, Demand, Directive, Epoch, Executor, ExecutorId,
    ExecutorRef, ExecutorState, FailedBoots, Generation, Histogram, HolderId, Intent, JobId,
    JobsRun, Learned, LeaveStep, Missing, Money, NamedJob, NamedState, NeededAgain, OfferId,
    OfferMemory, Order, PoolMemory, QuotaMemory, Recommendations, RiseRow, RiseWindow, Spend,
    Tokens, Unmatched, Unneeded, Wanted, Workload,
};
use ports::{Acquired, LeaseName, PoolCommit, Store, WorkloadWrite};

use crate::fleet_or_skip;

pub(crate) fn workload() -> Workload {
    Workload {
        version: Workload::VERSION,
        pool: "linux".parse().unwrap(),
        emitter: "gitlab".parse().unwrap(),
        config: ConfigHash::new("c0ffee"),
        demand: Demand {
            runnable: 3,
            running: 1,
            scheduled: 0,
            blocked: 2,
            unrunnable: 0,
            oldest_wait: Some(Duration::from_millis(1_500)),
            soon: Vec::new(),
        },
        executors: vec![Executor {
            id: ExecutorId::new("17"),
            name: "linux-1795531234567-1-0".into(),
            fleet: Some("acme".parse().unwrap()),
            labels: vec!["linux".into(), "docker".into()],
            run_untagged: true,
            protected_only: false,
            health: None,
            slots: 1,
            state: ExecutorState::Busy {
                jobs: vec![JobId::new("4711")],
            },
            cordon: Cordon::None,
        }],
        completeness: Completeness::Complete,
    }
}

pub(crate) fn unmatched() -> Unmatched {
    Unmatched {
        job: "mobile/app build #4712".into(),
        nearest: Some("linux".parse().unwrap()),
        missing: vec!["tag macos".into()],
    }
}

pub(crate) fn named() -> NamedJob {
    NamedJob {
        id: JobId::new("4713"),
        project: "acme/app".into(),
        name: "test".into(),
        pool: Some("linux".parse().unwrap()),
        state: NamedState::Unrunnable,
        why: Some("no compute minutes are left".into()),
        waited_s: Some(90),
    }
}

pub(crate) fn create(pool: &str) -> Intent {
    Intent::Create {
        batch: BatchId {
            pool: pool.parse().unwrap(),
            epoch: Epoch(1_795_531_234_567),
            sequence: 1,
        },
        count: 2,
        provider: "aws".parse().unwrap(),
        offer: OfferId {
            machine: "linux-m".parse().unwrap(),
            index: 0,
        },
        executor: None,
    }
}

fn leave() -> Intent {
    Intent::Leave {
        instance: "linux-1795531234567-1-0".parse().unwrap(),
        executor: Some(ExecutorRef {
            emitter: "gitlab".parse().unwrap(),
            id: ExecutorId::new("17"),
        }),
        epoch: Epoch(1_795_531_234_567),
        step: LeaveStep::Settling,
    }
}

pub(crate) fn pause() -> Order {
    Order {
        what: Directive::Pause {
            pool: "linux".parse().unwrap(),
        },
        who: "ann".to_owned(),
        why: "the release of 2.0".to_owned(),
    }
}

fn memory() -> PoolMemory {
    let at = Timestamp::from_second(1_795_531_234).unwrap();
    let mut memory = PoolMemory::default();
    memory
        .idle_since
        .insert("linux-1795531234567-1-0".parse().unwrap(), at);
    memory.missing.insert(
        "linux-1795531234567-2".parse().unwrap(),
        Missing {
            listings: 1,
            last: at,
        },
    );
    memory.departures.push(at);
    memory
        .ghosts
        .insert("linux-1795531234567-4-0".parse().unwrap(), at);
    memory
        .booting
        .insert("linux-1795531234567-5-0".parse().unwrap());
    remember_the_rest(&mut memory, at);
    memory
}

/// What is left out while there is nothing to say of it.
fn remember_the_rest(memory: &mut PoolMemory, at: Timestamp) {
    let offer = OfferId {
        machine: "linux-m".parse().unwrap(),
        index: 1,
    };
    let counts = vec![0, 3, 1];
    let gaps = Histogram { counts };
    let machine = || "linux-1795531234567-3-0".parse().unwrap();
    memory.launched = [machine()].into();
    let failed = FailedBoots {
        machines: [machine()].into(),
        last: at,
    };
    memory.broken = [(Generation::new("0f3c5a"), failed)].into();
    let jobs = JobsRun {
        count: 2,
        last: vec![JobId::new("41")],
    };
    memory.jobs = [(machine(), jobs)].into();
    memory.intents_lost_at = Some(at);
    memory.cliff = Some(at);
    memory.anomaly_since = Some(at);
    memory.believed_work = 7;
    memory.wanted = Some(Recommendations {
        now: 3,
        earlier: vec![Wanted {
            machines: 5,
            until: at,
        }],
    });
    memory.tokens = Some(Tokens { milli: 2500, at });
    memory.learned = Learned {
        demand: 4,
        unneeded: vec![Unneeded {
            levels: 2,
            since: at,
        }],
        needed_again: vec![NeededAgain {
            levels: 1,
            since: at,
            at,
        }],
        gaps: gaps.clone(),
        gaps_by_hour: vec![gaps.clone()],
        rises: vec![vec![RiseRow {
            windows: 9,
            rises: gaps,
        }]],
        window: Some(RiseWindow {
            since: at,
            base: 1,
            peak: 4,
            activity: [256, 512],
            active: [768, 768],
            touched: at,
        }),
        boots: vec![45, 50],
    };
    let why = "no capacity in zone-a".to_owned();
    memory.offers.insert(
        offer,
        OfferMemory {
            made_from: None,
            until: Some(at),
            why: why.clone(),
            refusals: 2,
            made: 8,
            failed: 1,
            boot_ms: 45_000,
        },
    );
    memory.quotas.insert(
        "aws".parse().unwrap(),
        QuotaMemory {
            cap: 32,
            until: at,
            refusals: 1,
            why,
        },
    );
    memory.spend.insert(
        "monthly of the fleet".to_owned(),
        Spend {
            period: at,
            amount: Money::from_micros(1_250_000),
            rest: 17,
            at,
            assumed: Money::from_micros(250_000),
        },
    );
}

/// The text with its first moment, which is the server's, replaced by the one in the files, and an end an hour later.
fn dated_like_the_file(text: &str) -> String {
    let text = &match text.split_once(",\"until_ms\":") {
        Some((head, rest)) => {
            let rest = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
            format!("{head},\"until_ms\":1795534834567{rest}")
        }
        None => text.to_owned(),
    };
    let (head, rest) = text.split_once("_at_ms\":").unwrap_or(("", text));
    match rest.find(',') {
        Some(end) if !head.is_empty() => format!("{head}_at_ms\":1795531234567{}", &rest[end..]),
        _ => text.to_owned(),
    }
}

#[tokio::test]
async fn what_is_written_today_is_in_the_golden_files() {
    let fleet = fleet_or_skip!("what_is_written_today_is_in_the_golden_files");
    let (me, long) = (HolderId::new("me"), Duration::from_secs(600));
    let mut epochs = vec![];
    for lease in [
        LeaseName::Emitter("gitlab".parse().unwrap()),
        LeaseName::Scaler,
    ] {
        match fleet
            .store
            .acquire(&lease, &me, long, Epoch(0))
            .await
            .unwrap()
        {
            Acquired::Held(lease) => epochs.push(lease.epoch),
            Acquired::By { holder, .. } => panic!("held by {holder}"),
        }
    }
    let write = WorkloadWrite {
        emitter: "gitlab".parse().unwrap(),
        epoch: epochs[0],
        elapsed: Duration::from_millis(250),
        workloads: vec![workload()],
        unmatched: vec![unmatched()],
        unmatched_total: 1,
        named: vec![named()],
        left_over: ["mac".parse().unwrap()].into(),
    };
    fleet.store.put_workloads(&write).await.unwrap();
    let why = "GET /api/v4/runners answered 502";
    fleet
        .store
        .put_failure(&write.emitter, epochs[0], why)
        .await
        .unwrap();
    let commit = PoolCommit {
        pool: "linux".parse().unwrap(),
        memory: Some(memory()),
        put: vec![create("linux"), leave()],
        end: vec![],
        decision: None,
    };
    fleet.store.commit(epochs[1], &[commit]).await.unwrap();

    let order = pause();
    let hour = Duration::from_secs(3600);
    fleet.store.put_order(&order, hour).await.unwrap();

    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1");
    for (file, command) in [
        (
            "workload.json",
            ["HGET", "linux:workload", "gitlab"].as_slice(),
        ),
        (
            "status-good.json",
            &["HGET", "emitter:gitlab:status", "good"],
        ),
        (
            "status-failure.json",
            &["HGET", "emitter:gitlab:status", "failure"],
        ),
        (
            "intent-create.json",
            &["HGET", "linux:intents", "create:linux-1795531234567-1"],
        ),
        (
            "intent-leave.json",
            &["HGET", "linux:intents", "leave:linux-1795531234567-1-0"],
        ),
        ("memory.json", &["GET", "linux:memory"]),
        ("override.json", &["HGET", "overrides", "pause:linux"]),
    ] {
        let mut words = command.to_vec();
        let key = fleet.key(words[1]);
        words[1] = &key;
        let written = dated_like_the_file(&fleet.run::<String>(&words).await);
        let path = format!("{folder}/{file}");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, format!("{written}\n")).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            written,
            golden.trim_end(),
            "{path}: a changed format is a new version of it"
        );
    }
}
