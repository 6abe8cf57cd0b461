//! How long it takes until the scaler that stands by acts, once the other one is gone.
//!
//! Seen from outside: the moment at which its log says so. A thread of its own looks for it, since a look at everything else
//! takes longer than what is measured.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::stage::Process;
use crate::command::{interrupted, now, sleep};

/// What a scaler says that has the lease.
const ACTS: &str = "this scaler is active";

/// Far beyond all that is promised: the verdict tells, and not the watch.
const LIMIT: Duration = Duration::from_secs(30);

/// Fine against the 200 ms that a planned take-over may take.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// What is promised on an idle machine, and what a verdict allows on one that does other things too: a killed scaler's lease
/// runs out within 5 s; one that stops gives it back, and the standby is told. The promise itself is held in virtual time
/// (crates/scaler/tests/loops.rs: 5.3 s); here two scalers, two probots, a CI server and machines share two cores, and a process that is not
/// scheduled for seconds is no defect of the lease. A lease twice as long is still seen.
const AFTER_KILL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(8));
const AFTER_STOP: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));

/// One turn of the standby.
pub(crate) struct TakeOver {
    who: &'static str,
    politely: bool,
    /// When the other one was gone.
    gone: Instant,
    /// How long it took to end.
    ended_in: Duration,
    watch: JoinHandle<Option<Instant>>,
}

impl TakeOver {
    /// Ends the scaler that acts, and has an eye on the log of the other.
    pub(crate) fn of(active: &mut Process, log: &Path, politely: bool) -> anyhow::Result<Self> {
        let from = File::open(log)?.metadata()?.len();
        let log = log.to_owned();
        let watch = std::thread::spawn(move || acts(&log, from));
        let asked = now();
        if politely {
            active.stop()?;
        } else {
            active.kill()?;
        }
        Ok(Self {
            who: active.name(),
            politely,
            gone: now(),
            ended_in: asked.elapsed(),
            watch,
        })
    }

    /// What was measured, and whether that is too long.
    pub(crate) fn measured(self) -> (String, bool) {
        let Self {
            who,
            politely,
            gone,
            ended_in,
            watch,
        } = self;
        let how = if politely { "SIGTERM" } else { "kill -9" };
        let (promised, allowed) = if politely { AFTER_STOP } else { AFTER_KILL };
        let Some(acts) = watch.join().ok().flatten() else {
            let limit = LIMIT.as_secs();
            return (
                format!("nobody took over from {who} within {limit} s"),
                true,
            );
        };
        let took = acts.saturating_duration_since(gone);
        let (took_ms, ended_ms) = (took.as_millis(), ended_in.as_millis());
        let promised = promised.as_millis();
        let words = if politely {
            format!(
                "{took_ms} ms after {who} had ended ({how}, which took {ended_ms} ms; promised {promised} ms)"
            )
        } else {
            format!("{took_ms} ms after {how} of {who} (promised {promised} ms)")
        };
        (words, took > allowed)
    }
}

/// When the log says behind this place that its scaler acts.
fn acts(log: &PathBuf, from: u64) -> Option<Instant> {
    let start = now();
    while start.elapsed() < LIMIT && !interrupted() {
        let mut text = Vec::new();
        let read = File::open(log).and_then(|mut file| {
            file.seek(SeekFrom::Start(from))?;
            file.read_to_end(&mut text)
        });
        if read.is_ok() && String::from_utf8_lossy(&text).contains(ACTS) {
            return Some(now());
        }
        sleep(BETWEEN_LOOKS);
    }
    None
}
