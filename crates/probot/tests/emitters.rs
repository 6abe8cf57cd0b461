//! Which CI servers are looked at.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use ports::Clock;
use probot::Probot;
use telemetry::SystemClock;

const FILE: &str = r#"
version: 1
fleet: acme
store: { kind: memory }
emitters: { ci: { kind: fake }, before: { kind: fake } }
providers: { cloud: { kind: fake } }
machines: { m: { credential: shared, offers: [{ provider: cloud }] } }
pools: { linux: { emitter: ci, serves: [{ tags: [linux] }], machine: m, max: 9 } }
"#;

/// The last pool of a CI server was removed: machines of it may run builds, and leave only while somebody looks there.
#[test]
fn a_ci_server_is_looked_at_though_no_pool_uses_it_any_more() {
    let registries = service::registries();
    let folder = std::path::Path::new(".");
    let checked = config::check_text(FILE, "test.yaml", folder, &registries);
    let (settings, _) = checked.unwrap_or_else(|error| panic!("{error}"));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let emitters = Probot::emitters(&settings, &registries, &clock).unwrap();
    let names = emitters.iter().map(|it| it.name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["before", "ci"]);
}
