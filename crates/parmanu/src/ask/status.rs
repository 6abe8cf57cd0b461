//! `parmanu status`: the fleet on one screen.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use model::words::counted;
use ports::units::Span;
use scaler::api::shapes::{
    Emitter, Emitters, FormerPool, FormerProvider, Override, Overrides, Pool, Pools, Replica,
};
use serde::Serialize;

use super::client::{Client, Found};
use super::{Asked, code};
use crate::output::{Output, print_json};
use crate::tables::{in_words, table};

/// What is shown, and how often.
#[derive(clap::Args)]
pub(crate) struct Status {
    #[command(flatten)]
    asked: Asked,
    /// Shows it again and again, until Ctrl-C.
    #[arg(long)]
    watch: bool,
    /// Time between two looks of --watch.
    #[arg(long, default_value = "2s", requires = "watch")]
    every: Span,
}

/// Everything that `status` prints; with `--output json` just this.
#[derive(Debug, Serialize)]
struct Seen {
    replica: Replica,
    pools: Vec<Pool>,
    former_pools: Vec<FormerPool>,
    former_providers: Vec<FormerProvider>,
    emitters: Vec<Emitter>,
    overrides: Vec<Override>,
    /// Overrides that cannot be read.
    unreadable: Vec<String>,
}

impl Status {
    /// Exit code 0 when nothing is doubtful, 3 when something is, 1 when nobody answers.
    pub(crate) async fn run(&self) -> anyhow::Result<ExitCode> {
        let client = Client::new(&self.asked)?;
        if !self.watch {
            let seen = Seen::ask(&client).await?;
            self.print(&seen)?;
            return Ok(code(seen.doubts()));
        }
        let clear = std::io::stdout().is_terminal() && self.asked.output == Output::Words;
        // faster, and the terminal shows nothing but its own flicker
        let every = self.every.0.max(Duration::from_millis(200));
        loop {
            let seen = Seen::ask(&client).await;
            if clear {
                print!("\x1b[2J\x1b[H");
            }
            match seen {
                Ok(seen) => self.print(&seen)?,
                // it may come back, and whoever watches wants to see that
                Err(error) => println!("{error:#}"),
            }
            std::io::stdout().flush()?;
            tokio::time::sleep(every).await;
        }
    }

    fn print(&self, seen: &Seen) -> anyhow::Result<()> {
        match (self.asked.output, self.watch) {
            (Output::Words, _) => print!("{}", words(seen)),
            (Output::Json, false) => print_json(seen)?,
            // one line for each look, for whoever reads along
            (Output::Json, true) => println!("{}", serde_json::to_string(seen)?),
        }
        Ok(())
    }
}

impl Seen {
    async fn ask(client: &Client) -> anyhow::Result<Self> {
        let Pools {
            replica,
            pools,
            former_pools,
            former_providers,
        } = whole(client.get(&["pools"]).await?)?;
        let Emitters { emitters, .. } = whole(client.get(&["emitters"]).await?)?;
        let overrides: Overrides = whole(client.get(&["overrides"]).await?)?;
        Ok(Seen {
            replica,
            pools,
            former_pools,
            former_providers,
            emitters,
            overrides: overrides.overrides,
            unreadable: overrides.unreadable,
        })
    }

    fn doubts(&self) -> usize {
        let pools: usize = self.pools.iter().map(|pool| pool.doubts.len()).sum();
        let failures = self.emitters.iter().filter(|it| it.failure.is_some());
        let stay = self.former_pools.iter().filter(|pool| pool.stays).count();
        let unseen = self.former_providers.iter().filter(|it| !it.listed);
        let former = stay + unseen.count();
        self.replica.doubts.len() + pools + former + failures.count() + self.unreadable.len()
    }
}

fn whole<T>(found: Found<T>) -> anyhow::Result<T> {
    match found {
        Found::Answer(answer) => Ok(answer),
        Found::Nothing(why) => anyhow::bail!(why),
    }
}

fn words(seen: &Seen) -> String {
    let mut text = String::new();
    say_replica(&mut text, &seen.replica);
    let mut pools = table([
        "pool",
        "want",
        "serve",
        "exist",
        "queued",
        "running",
        "oldest wait",
        "machines",
        "note",
    ]);
    for pool in &seen.pools {
        pools.add_row(row(pool));
    }
    let _ = writeln!(text, "{pools}");
    say_former(&mut text, &seen.former_pools, &seen.former_providers);
    for emitter in &seen.emitters {
        say_emitter(&mut text, emitter);
    }
    say_overrides(&mut text, &seen.overrides, &seen.unreadable);
    text
}

/// Who answers and what it cannot vouch for.
pub(super) fn say_replica(text: &mut String, replica: &Replica) {
    let stands = match (replica.active, &replica.active_holder) {
        (true, _) => "active".to_owned(),
        (false, Some(other)) => format!("standing by for {other}"),
        (false, None) => "standing by".to_owned(),
    };
    let looked = replica.looked_at.map_or_else(
        || "never looked".to_owned(),
        |at| format!("looked {} ago", in_words(model::age(at, now()))),
    );
    let _ = writeln!(
        text,
        "fleet {}: {} ({stands}), {looked}",
        replica.fleet, replica.holder
    );
    for doubt in &replica.doubts {
        let _ = writeln!(text, "  doubt: {doubt}");
    }
}

fn row(pool: &Pool) -> [String; 9] {
    let number = |n: Option<u32>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let phases = pool.phases.iter().map(|(phase, n)| format!("{n} {phase}"));
    let mut notes = pool.doubts.clone();
    if let Some(machines) = pool.pinned {
        notes.insert(0, format!("pinned at {machines}"));
    }
    if pool.paused {
        notes.insert(0, "paused".to_owned());
    }
    let wait = pool.oldest_wait_seconds.map(Duration::from_secs);
    [
        pool.name.clone(),
        number(pool.target),
        pool.serving.to_string(),
        format!("{} of {}", pool.costing, pool.max),
        number(pool.queued),
        number(pool.running),
        wait.map(in_words).unwrap_or_default(),
        phases.collect::<Vec<_>>().join(", "),
        notes.join("; "),
    ]
}

/// What is left of earlier configurations, and why.
fn say_former(text: &mut String, pools: &[FormerPool], providers: &[FormerProvider]) {
    for pool in pools {
        let FormerPool {
            name,
            machines,
            executors,
            what,
            ..
        } = pool;
        let _ = write!(
            text,
            "pool {name} is not configured, and has {}",
            counted(*machines, "machine")
        );
        if let (Some(executors), Some(emitter)) = (executors, &pool.emitter) {
            let executors = counted(*executors, "executor");
            let _ = write!(text, " and {executors} at {emitter}");
        }
        let _ = writeln!(text, ": {what}");
        for reason in &pool.reasons {
            let _ = writeln!(text, "  {}", reason.text);
        }
    }
    for provider in providers {
        let place = provider.place.as_ref();
        let place = place.map_or_else(String::new, |place| format!(" ({place})"));
        let _ = writeln!(
            text,
            "provider {}{place} has {}: {}",
            provider.was,
            counted(provider.machines, "machine"),
            provider.what
        );
    }
}

fn say_emitter(text: &mut String, emitter: &Emitter) {
    let heard = emitter.last_good_seconds.map(Duration::from_secs);
    let heard = heard.map_or_else(
        || "never heard".to_owned(),
        |ago| format!("heard {} ago", in_words(ago)),
    );
    let _ = write!(text, "{}: {heard}", emitter.name);
    if emitter.unmatched_total > 0 {
        let n = emitter.unmatched_total;
        let _ = write!(
            text,
            "; {} that no pool takes (`parmanu probe {}`)",
            counted(n, "job"),
            emitter.name
        );
    }
    if let Some(why) = &emitter.failure {
        let _ = write!(text, "; the last look failed: {why}");
    }
    let _ = writeln!(text);
}

/// Every order, and for how long it still holds.
pub(super) fn say_overrides(text: &mut String, overrides: &[Override], unreadable: &[String]) {
    for it in overrides {
        let left = in_words(model::age(now(), it.until));
        let _ = writeln!(
            text,
            "override {}: {} by {}, {left} left: {}",
            it.id, it.what, it.who, it.because
        );
    }
    for why in unreadable {
        let _ = writeln!(
            text,
            "override that cannot be read, so no machine leaves: {why}"
        );
    }
}

fn now() -> Timestamp {
    use ports::Clock as _;
    telemetry::SystemClock.now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_earlier_configurations_is_said_with_its_reasons() {
        let reason = scaler::api::shapes::Reason {
            code: "ghosts_online".to_owned(),
            text: "2 executors are online".to_owned(),
        };
        let pool = FormerPool {
            name: "mac".to_owned(),
            emitter: Some("gitlab".to_owned()),
            machines: 1,
            executors: Some(2),
            stays: true,
            what: "it stays".to_owned(),
            reasons: vec![reason],
        };
        let provider = FormerProvider {
            name: "old-earlier".to_owned(),
            was: "old".to_owned(),
            place: Some("eu-west-1".to_owned()),
            machines: 3,
            listed: false,
            what: "nobody lists it".to_owned(),
        };
        let mut seen = Seen {
            replica: Replica::default(),
            pools: Vec::new(),
            former_pools: vec![pool],
            former_providers: vec![provider],
            emitters: Vec::new(),
            overrides: Vec::new(),
            unreadable: Vec::new(),
        };
        let text = words(&seen);
        for line in [
            "pool mac is not configured, and has 1 machine and 2 executors at gitlab: it stays",
            "  2 executors are online",
            "provider old (eu-west-1) has 3 machines: nobody lists it",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}: {text}");
        }
        // what leaves by itself is nothing to look after
        assert_eq!(seen.doubts(), 2);
        seen.former_pools[0].stays = false;
        seen.former_providers[0].listed = true;
        assert_eq!(seen.doubts(), 0);
    }
}
