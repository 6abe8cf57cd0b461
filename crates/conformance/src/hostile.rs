//! What an emitter must survive: a server that is broken, or means harm.
//!
//! A hostile CI server may make Parmanu blind for that emitter; it must not crash it, hold it up, fill its memory, get its
//! token sent elsewhere or make it delete a machine. The cases come in three kinds: a server that answers everything with
//! the same evil; a server in between that changes single values of good answers; and one that holds an answer back while
//! the queue moves on.
//!
//! Each case runs in a process of its own, which is asked at its end how much memory it ever had: the bound is on what is
//! resident, decompressed and parsed, whatever the plugin's own limits count. The server runs in that process too, and
//! keeps nothing.

mod distort;
mod evil;
mod moving;
mod poisoned;
mod server;
mod suffering;

use std::future::Future;
use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use model::ExecutorId;
use ports::{Clock, Emitter, EmitterContext, EmitterPlugin, EmitterRegistry, ExecutorControl};
use serde_json::Value;

pub use distort::{AnotherPage, Answer};
pub use moving::*;
pub use poisoned::*;
pub use suffering::*;

use crate::provider::Shown;

/// What the plugin is to be given for one look.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest time for one control verb: a few requests, each with a limit of its own.
const VERB_TIMEOUT: Duration = Duration::from_secs(180);

/// Most memory that is ever resident, the test itself included.
const MOST_RESIDENT_KIB: u64 = 64 << 10;

/// Set in the process that runs the case.
const ALONE: &str = "PARMANU_TEST_HOSTILE_CASE";

/// A plugin that was pointed at a server.
pub struct Plugin {
    /// The looking half, given [`PROBE_TIMEOUT`]. A budget of requests, if it has one, must be out of the way of some
    /// thousand looks.
    pub emitter: Arc<dyn Emitter>,
    /// The control half, if there is one.
    pub control: Option<Arc<dyn ExecutorControl>>,
    /// A well-formed id of an executor.
    pub executor: ExecutorId,
}

impl Plugin {
    /// The plugin with this configuration, which names the server. `context` is what its other tests give it, but for the
    /// clock and the time of a look.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    pub fn of<P: EmitterPlugin>(
        config: &Value,
        mut context: EmitterContext,
        clock: Arc<dyn Clock>,
        executor: ExecutorId,
    ) -> Self {
        context.clock = clock;
        context.probe_timeout = PROBE_TIMEOUT;
        let registry = EmitterRegistry::default().with::<P>();
        let entry = registry.get(P::KIND).expect("it was added just now");
        Plugin {
            emitter: (entry.emitter)(config, &context).expect("an emitter"),
            control: (entry.control)(config, &context).expect("a control half, or none"),
            executor,
        }
    }
}

/// Makes a test of every case. `$plugin` makes a [`Plugin`] for an address and a clock; `$start` is what
/// [`emitter_suite!`](crate::emitter_suite) takes, and the two share their secrets and pools.
#[macro_export]
macro_rules! hostile_suite {
    ($plugin:path, $start:path) => {
        $crate::hostile_suite! { @evil $plugin;
            real a_body_of_a_gibibyte_is_cut,
            real a_queue_of_a_thousand_million_jobs_is_cut,
            real a_gzip_bomb_is_cut,
            real a_document_of_empty_lists_is_refused,
            real a_document_of_brackets_is_refused,
            real a_refusal_without_end_is_a_refusal,
            real headers_without_end_are_cut,
            real a_redirect_to_itself_is_not_followed_for_ever,
            real redirects_onward_are_not_followed_for_ever,
            real a_redirect_to_another_host_is_never_followed,
            real a_connection_that_is_closed_is_an_error,
            real another_protocol_is_an_error,
            real a_login_page_is_an_error,
            real json_of_another_kind_is_no_complete_look,
            paused headers_that_dribble_end_in_time,
            paused a_body_that_dribbles_ends_in_time,
            paused an_answer_that_never_comes_ends_in_time,
        }
        $crate::hostile_suite! { @poison $plugin, $start;
            a_value_of_another_type_makes_no_look_smaller,
            a_value_that_is_missing_makes_no_look_smaller,
            a_value_of_another_type_makes_no_read_idle,
            a_value_that_is_missing_makes_no_read_idle,
            a_value_of_another_type_hides_no_executor,
            a_value_that_is_missing_hides_no_executor,
            negative_numbers_make_no_look_smaller,
            huge_numbers_are_believed_within_bounds,
            rows_that_come_twice_are_seen_once,
            half_an_answer_is_no_complete_look,
            pages_without_end_are_no_complete_look,
            a_page_that_names_itself_is_no_complete_look,
            a_job_that_starts_during_a_look_is_not_lost,
            jobs_that_leave_during_a_look_hide_no_others,
        }
    };
    (@evil $plugin:path; $($time:ident $case:ident),* $(,)?) => {
        $(
            #[test]
            fn $case() {
                let name = concat!(module_path!(), "::", stringify!($case));
                let case = || async {
                    $crate::hostile::$case(&$plugin).await;
                    Ok(Ok(()))
                };
                $crate::hostile::alone(name, stringify!($time) == "paused", case);
            }
        )*
    };
    (@poison $plugin:path, $start:path; $($case:ident),* $(,)?) => {
        $(
            #[test]
            fn $case() {
                let name = concat!(module_path!(), "::", stringify!($case));
                let case = || async {
                    let harness = $start().await?;
                    let harness: &dyn $crate::emitter::EmitterHarness = &harness;
                    if let Some(why) = harness.left_out(stringify!($case)) {
                        return Ok(Err(why));
                    }
                    Ok($crate::hostile::$case(harness, &$plugin).await)
                };
                $crate::hostile::alone(name, false, case);
            }
        )*
    };
}

/// Runs a case, which says why if it could not be shown, in a process of its own and bounds its memory. In `paused` time the clock jumps to the next timer whenever
/// nothing else is to do, so that a server that dribbles costs no time.
pub fn alone<C, F>(name: &str, paused: bool, case: C)
where
    C: FnOnce() -> F,
    F: Future<Output = Result<Shown, String>>,
{
    if std::env::var(ALONE).is_ok_and(|case| case == name) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(paused)
            .build();
        let shown = runtime.expect("a runtime").block_on(case());
        match shown {
            Ok(Ok(())) => {}
            Ok(Err(why)) => crate::provider::left_out(name, why),
            Err(why) => crate::store::skip(name, &why),
        }
        match most_resident() {
            Some(most) => assert!(
                most <= MOST_RESIDENT_KIB,
                "{most} KiB were resident, and {MOST_RESIDENT_KIB} are allowed"
            ),
            None => crate::provider::left_out(name, "memory: there is no /proc/self/status"),
        }
        return;
    }
    let test = name.split_once("::").map_or(name, |(_, test)| test);
    let program = std::env::current_exe().expect("the program of this test");
    let run = Command::new(program)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE, name)
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("the same program once more");
    let said = String::from_utf8_lossy(&run.stdout);
    let failed = String::from_utf8_lossy(&run.stderr);
    assert!(said.contains("1 passed"), "{said}\n{failed}");
    // what was skipped
    let _ = std::io::stderr().write_all(&run.stderr);
}

/// In KiB, since the beginning of the process.
fn most_resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// The runtime's own time, which a test can pause.
struct RuntimeClock(tokio::time::Instant);

impl RuntimeClock {
    fn start() -> Arc<dyn Clock> {
        Arc::new(Self(instant()))
    }
}

#[expect(clippy::disallowed_methods, reason = "this is a clock of a test")]
fn instant() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

#[async_trait]
impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        let began: Timestamp = "2026-09-01T10:00:00Z".parse().expect("a moment");
        began + SignedDuration::try_from(self.boottime()).expect("a short time")
    }

    fn boottime(&self) -> Duration {
        instant().duration_since(self.0)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
