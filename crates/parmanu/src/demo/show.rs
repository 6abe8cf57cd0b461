//! The live table, or plain lines where there is no terminal.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use ports::Clock;
use scaler::{FleetView, PoolView};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::world::World;

/// Decisions kept on the screen.
const DECISIONS: usize = 12;
/// Time between two pictures, of the demo's clock: four pictures a second at its usual speed.
const FRAME: Duration = Duration::from_secs(7);
/// Home, and clear what is below.
const CLEAR: &str = "\x1b[H\x1b[J";

/// How it is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// A table that is drawn again and again, or plain lines.
    pub(crate) live: bool,
    /// The CI server's name.
    pub(crate) title: &'static str,
}

struct Screen {
    style: Style,
    decisions: VecDeque<String>,
    last: Vec<(String, Vec<String>)>,
}

/// Shows the fleet until it is stopped.
pub(crate) async fn run(
    mut shown: watch::Receiver<FleetView>,
    world: World,
    clock: Arc<dyn Clock>,
    style: Style,
    stop: CancellationToken,
) {
    let mut screen = Screen {
        style,
        decisions: VecDeque::new(),
        last: Vec::new(),
    };
    let (began, _) = world.span();
    if !style.live {
        println!("time is virtual; one line for each decision");
    }
    let mut drawn = None;
    loop {
        let view = shown.borrow_and_update().clone();
        let time = in_words(model::age(began, clock.now()));
        // every decision is taken down, but pictures come at their own pace
        screen.note(&view, &time);
        let now = clock.boottime();
        if style.live && drawn.is_none_or(|last| now.saturating_sub(last) >= FRAME) {
            screen.draw(&view, &time);
            drawn = Some(now);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            Ok(()) = shown.changed() => {}
            () = clock.sleep(FRAME) => {}
        }
    }
}

impl Screen {
    /// Takes down what was decided since the last look.
    fn note(&mut self, view: &FleetView, time: &str) {
        let decided: Vec<(String, Vec<String>)> = view
            .pools
            .iter()
            .map(|pool| (pool.name.to_string(), pool.actions.clone()))
            .collect();
        for (pool, (name, actions)) in view.pools.iter().zip(&decided) {
            let before = self
                .last
                .iter()
                .find(|(last, _)| last == name)
                .map(|(_, a)| a);
            if actions.is_empty() || before == Some(actions) {
                continue;
            }
            let line = format!("{time:>7}  {name:<7} {}  ({})", shorten(actions), why(pool));
            if !self.style.live {
                println!("{line}");
            }
            self.decisions.push_back(line);
            if self.decisions.len() > DECISIONS {
                self.decisions.pop_front();
            }
        }
        self.last = decided;
    }

    fn draw(&self, view: &FleetView, time: &str) {
        let mut table = Table::new();
        table
            .load_preset(presets::UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header([
                "pool", "queued", "running", "want", "booting", "idle", "busy", "leaving",
            ]);
        for pool in &view.pools {
            table.add_row(row(pool));
        }
        let known = comfy_table::Table::new().width().filter(|width| *width > 0);
        let width = known.map_or(120, usize::from);
        let cut = |line: &String| line.chars().take(width).collect::<String>();
        let decisions: Vec<String> = self.decisions.iter().map(cut).collect();
        // a terminal that went away is no reason to stop
        let _ = write!(
            std::io::stdout(),
            "{CLEAR}Parmanu demo: fake {}, simulated cloud, real plugin and loops. {time} of virtual time.\n{table}\n{}\n",
            self.style.title,
            decisions.join("\n")
        );
        let _ = std::io::stdout().flush();
    }
}

fn row(pool: &PoolView) -> Vec<Cell> {
    let booting = pool.count("requested") + pool.count("provisioning") + pool.count("booting");
    let leaving = pool.count("cordoned") + pool.count("deleting");
    let coloured = |n: usize, colour: Color| {
        let cell = Cell::new(n);
        if n == 0 { cell } else { cell.fg(colour) }
    };
    vec![
        Cell::new(&pool.name),
        coloured(pool.summary.queued as usize, Color::Yellow),
        Cell::new(pool.summary.running),
        Cell::new(pool.summary.target),
        coloured(booting, Color::Cyan),
        Cell::new(pool.count("idle")),
        coloured(pool.count("busy"), Color::Green),
        coloured(leaving, Color::Magenta),
    ]
}

/// `create 3 machines` instead of three lines.
fn shorten(actions: &[String]) -> String {
    let verbs: Vec<&str> = actions
        .iter()
        .filter_map(|a| a.split_whitespace().next())
        .collect();
    let mut counted: Vec<(&str, usize)> = Vec::new();
    for verb in verbs {
        match counted.iter_mut().find(|(known, _)| *known == verb) {
            Some((_, n)) => *n += 1,
            None => counted.push((verb, 1)),
        }
    }
    let words: Vec<String> = counted
        .iter()
        .map(|(verb, n)| format!("{verb} {n}"))
        .collect();
    words.join(", ")
}

/// The first reasons that are about this decision.
fn why(pool: &PoolView) -> String {
    let telling = pool
        .reasons
        .iter()
        .filter(|reason| !reason.contains("is leaving:"));
    telling.take(2).cloned().collect::<Vec<_>>().join("; ")
}

fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}m{:02}s", seconds / 60, seconds % 60)
}
