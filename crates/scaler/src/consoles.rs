//! What machines that never joined printed last, told before they go: the next morning somebody wants to know why.
//!
//! It is told once for each machine, as one warning with the end of its console, and kept for whoever asks over the API, as
//! long as this process lives and for a few machines. A console is printed by a guest that has
//! secrets, so whatever looks like one is cut short. Nothing waits for it for long, and one that cannot be had is no failure.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::words::visible;
use model::{Instance, InstanceName, ProviderName};
use ports::Call;
use telemetry::chain;
use tracing::{debug, warn};

use crate::run::Fleet;

/// Longest time a console may take: the machine waits for its deletion meanwhile, and costs.
const LIMIT: Duration = Duration::from_secs(5);
/// Names remembered at most; the breaker lets few machines of a broken image be made.
const MOST: usize = 64;
/// The end of a console that is told: what a boot script prints when it fails is on its last lines.
const KEPT: usize = 4 * 1024;
/// Longest line of it that is kept.
const LINE: usize = 500;
/// A word of letters and digits that is so long is taken for a secret. Tokens of GitLab have 20 characters behind their
/// prefix, secrets of Jenkins 64.
const SECRET: usize = 20;
/// What is shown of it: the prefix tells what it is.
const SHOWN: usize = 5;

/// The machines whose consoles were told, the newest last, with what they printed, where that came. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told(Arc<Mutex<VecDeque<(InstanceName, Option<String>)>>>);

impl Told {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(InstanceName, Option<String>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a machine's console is told now; false if it was before.
    fn first(&self, name: &InstanceName) -> bool {
        let mut told = self.lock();
        if told.iter().any(|(known, _)| known == name) {
            return false;
        }
        if told.len() >= MOST {
            told.pop_front();
        }
        told.push_back((name.clone(), None));
        true
    }

    /// Keeps what it printed, harmless for a terminal.
    fn keep(&self, name: &InstanceName, console: &str) {
        let lines = console.lines().map(|line| visible(line, LINE));
        let lines: Vec<String> = lines.collect();
        let mut told = self.lock();
        if let Some((_, kept)) = told.iter_mut().find(|(known, _)| known == name) {
            *kept = Some(lines.join("\n"));
        }
    }

    /// The end of what a machine printed that never joined; none of one that was not asked for, or long ago.
    pub(crate) fn of(&self, name: &InstanceName) -> Option<String> {
        let told = self.lock();
        let found = told.iter().find(|(known, _)| known == name);
        found.and_then(|(_, console)| console.clone())
    }
}

/// Asks for the console of a machine that never joined, and tells it. Once for each machine.
pub(crate) async fn tell(fleet: &Fleet, provider: &ProviderName, machine: &Instance, call: &Call) {
    let Some(cloud) = fleet.provider(provider) else {
        return;
    };
    if !fleet.told.first(&machine.name) {
        return;
    }
    let (instance, pool) = (&machine.name, machine.pool());
    match call.run(LIMIT, cloud.console(machine, call)).await {
        Some(Ok(Some(text))) => {
            let console = without_secrets(end_of(&text));
            fleet.told.keep(instance, &console);
            warn!(%pool, %instance, %provider, console, "never joined; the end of its console");
        }
        Some(Ok(None)) => {
            warn!(%pool, %instance, %provider, "never joined, and the provider keeps no console of it");
        }
        Some(Err(error)) => {
            warn!(%pool, %instance, %provider, error = %chain(&error), "never joined; its console cannot be had");
        }
        None => debug!(%pool, %instance, %provider, "its console did not come in time"),
    }
}

/// The last lines, whole ones.
fn end_of(text: &str) -> &str {
    let text = text.trim_end();
    let mut start = text.len().saturating_sub(KEPT);
    if start == 0 {
        return text;
    }
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let end = &text[start..];
    end.split_once('\n').map_or(end, |(_, lines)| lines)
}

/// The text with long words of letters and digits cut short.
fn without_secrets(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || "-_+=".contains(c);
        let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
        let mixed = word.contains(|c: char| c.is_ascii_digit())
            && word.contains(|c: char| c.is_ascii_alphabetic());
        if word.len() >= SECRET && mixed {
            clean.push_str(&word[..SHOWN]);
            clean.push('…');
        } else {
            clean.push_str(word);
        }
        rest = &rest[word.len()..];
        let between = &rest[..rest.find(is_word).unwrap_or(rest.len())];
        clean.push_str(between);
        rest = &rest[between.len()..];
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_console_is_whole_lines_and_shows_no_secret() {
        let secret = format!("glrt-{}", "a1B2".repeat(5));
        let hex = "0f3c5a".repeat(11);
        let text = format!(
            "{}\ncloud-init: curl: (6) could not resolve mirror.example.com\nregister {secret} at url\nsecret={hex}\n[ 12.3] Linux version 6.1.0-18-amd64\n\n",
            "x".repeat(KEPT)
        );
        let told = without_secrets(end_of(&text));
        assert!(
            !told.contains("a1B2a1B2") && !told.contains("0f3c5a0f3c5a"),
            "{told}"
        );
        assert!(!told.contains("xxx"), "{told}");
        for kept in [
            "could not resolve mirror.example.com",
            "glrt-…",
            "6.1.0-18-amd64",
        ] {
            assert!(told.contains(kept), "{kept}: {told}");
        }
        assert!(!told.ends_with('\n'));
    }

    #[test]
    fn any_text_is_taken() {
        for text in [
            "",
            "\n",
            "ä".repeat(5000).as_str(),
            "no line at all",
            "…1a…",
        ] {
            let told = without_secrets(end_of(text));
            assert!(told.len() <= KEPT);
        }
    }

    #[test]
    fn a_machine_is_told_once() {
        let told = Told::default();
        let name = |n: usize| -> InstanceName { format!("linux-7-{n}-0").parse().unwrap() };
        for n in 0..MOST + 3 {
            assert!(told.first(&name(n)));
            assert!(!told.first(&name(n)));
        }
        assert!(told.first(&name(0)), "what was long ago is forgotten");
        told.keep(&name(0), "no route\u{1b}[2J to host\nend");
        let kept = told.of(&name(0));
        assert_eq!(kept.as_deref(), Some("no route·[2J to host\nend"));
        assert_eq!(told.of(&name(1)), None);
    }
}
