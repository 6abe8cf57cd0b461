//! The plugin against a real Buildbot master.
//!
//! `PARMANU_TEST_BUILDBOT_URL` names a master of this run only, with a builder `linux` that has at least two workers
//! which are not connected, and no other builder that has all of them. Without it the test is skipped by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use emitter_buildbot::{Buildbot, BuildbotConfig};
use model::{Cordon, Epoch, ExecutorId, ExecutorState, Timestamp, Work};
use ports::{
    Clock, EmitterContext, EmitterErrorKind, EmitterPlugin as _, ExecutorControl, Register,
};
use serde_json::json;

const URL: &str = "PARMANU_TEST_BUILDBOT_URL";

struct RealClock;

#[async_trait]
impl Clock for RealClock {
    #[expect(clippy::disallowed_methods, reason = "the master lives in real time")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
    fn boottime(&self) -> Duration {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        #[expect(clippy::disallowed_methods, reason = "the master lives in real time")]
        START.get_or_init(std::time::Instant::now).elapsed()
    }
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

fn config(url: &str) -> BuildbotConfig {
    let config = json!({
        "url": url,
        "manage": { "master": "127.0.0.1:9989", "password": "pw" },
        "request_timeout": "10s",
    });
    serde_json::from_value(config).expect("a configuration")
}

fn context() -> EmitterContext {
    let linux = vec![json!({ "builders": ["linux"] })];
    EmitterContext {
        name: "buildbot".parse().expect("a name"),
        fleet: "acme".parse().expect("a fleet"),
        pools: BTreeMap::from([("linux".parse().expect("a pool"), linux)]),
        probe_timeout: Duration::from_secs(30),
        clock: Arc::new(RealClock),
    }
}

fn control(url: &str) -> Arc<dyn ExecutorControl> {
    let control = Buildbot::control(config(url), &context()).expect("a control half");
    control.expect("the right to control")
}

fn register(sequence: u32, taken: &[&ExecutorId]) -> Register {
    let name = format!("linux-7-{sequence}-0");
    let mut request = Register::of(name.parse().expect("a name"));
    request.taken = taken
        .iter()
        .map(|id| (*id).clone())
        .collect::<BTreeSet<_>>();
    request
}

#[tokio::test]
async fn a_name_is_leased_paused_read_and_given_back() {
    let Ok(url) = std::env::var(URL) else {
        conformance::store::skip(
            "extended/emitter-buildbot::master",
            &format!("{URL} is not set"),
        );
        return;
    };
    let emitter = Buildbot::emitter(config(&url), &context()).expect("an emitter");
    let look = emitter.probe().await.expect("a look");
    assert!(look.completeness.is_complete(), "{:?}", look.completeness);

    let first = control(&url);
    let one = first.register(&register(1, &[])).await.expect("a name");
    let two = first.register(&register(2, &[])).await.expect("a name");
    assert_ne!(one.executor, two.executor);
    // a scaler that was started anew knows by tags and intents who has what
    let second = control(&url);
    let taken = [&one.executor, &two.executor];
    if let Ok(three) = second.register(&register(3, &taken)).await {
        assert!(!taken.contains(&&three.executor));
    }
    let mut unsettled = register(4, &taken);
    unsettled.unsettled = vec!["linux-6-1-0".parse().expect("a name")];
    let refused = second.register(&unsettled).await.expect_err("a doubt");
    assert_eq!(refused.kind, EmitterErrorKind::Conflict);

    let worker = &one.executor;
    let seen = look.executors.iter().find(|seen| seen.id == *worker);
    let seen = seen.expect("the worker");
    assert_eq!(seen.state, ExecutorState::NeverJoined);
    assert_eq!(
        (seen.labels.as_slice(), &seen.fleet),
        (&["linux".to_owned()][..], &None)
    );

    let epoch = Epoch(7);
    first.cordon(worker, epoch).await.expect("a pause");
    first.cordon(worker, Epoch(8)).await.expect("asked twice");
    let reading = first.read(worker).await.expect("a reading");
    assert_eq!(reading.cordon, Cordon::Ours { epoch });
    assert_eq!(reading.work, Work::None);
    let refused = first.uncordon(worker, Epoch(8)).await.expect_err("one-way");
    assert_eq!(refused.kind, EmitterErrorKind::Conflict);
    first.remove(worker).await.expect("given back");
    first.remove(worker).await.expect("given back again");
    let reading = first.read(worker).await.expect("a reading");
    assert_eq!(reading.cordon, Cordon::None);

    let nobody = ExecutorId::new("99999");
    first.remove(&nobody).await.expect("gone is success");
    let reading = first.read(&nobody).await.expect("a reading");
    assert!(matches!(reading.work, Work::Unknown { .. }));
    first.remove(&two.executor).await.expect("given back");
}
