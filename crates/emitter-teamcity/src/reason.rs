//! What the words of `waitReason` mean for a machine that is not there yet.
//!
//! The list is open: the texts are English prose that public sources show. One that nobody knows asks for no machine, and
//! is passed on word for word, so that an operator sees what his builds wait for.

use std::collections::BTreeSet;

use crate::error::line;

/// What a build in the queue waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Waits {
    /// An agent, and nothing else.
    Agent,
    /// Builds of its chain.
    Chain,
    /// Something else, in words.
    Other(String),
    /// Something that this program does not know, word for word.
    Unknown(String),
}

/// Texts with their meanings; matched by their beginning. Sources: an answer recorded from 2026.2 (the second), constants
/// of a public exporter (first, third, fourth, fifth), statistic keys in JetBrains' own settings (first, third, sixth,
/// seventh).
const TEXTS: &[(&str, Option<&str>)] = &[
    ("There are no compatible agents", None),
    ("There are no idle compatible agents", None),
    (
        "Build dependencies have not been built yet",
        Some("builds of its chain"),
    ),
    (
        "The maximum number of running builds",
        Some("the limit of running builds of its configuration"),
    ),
    (
        "Build is waiting for the following resource",
        Some("a shared resource"),
    ),
    (
        "Waiting for starting agent",
        Some("an agent that a cloud profile of TeamCity starts"),
    ),
    (
        "All compatible agents are outdated",
        Some("an upgrade of the agents"),
    ),
];

/// Reads a wait reason. None yet means that the server has not looked at the build: it waits for an agent as far as anybody
/// knows.
pub(crate) fn read(text: Option<&str>) -> Waits {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
        return Waits::Agent;
    };
    match TEXTS.iter().find(|(begin, _)| text.starts_with(begin)) {
        Some((_, None)) => Waits::Agent,
        Some((begin, Some(_))) if begin.starts_with("Build dependencies") => Waits::Chain,
        Some((_, Some(words))) => Waits::Other((*words).to_owned()),
        None => Waits::Unknown(line(text)),
    }
}

/// Texts that are said in the log for one run of the program: some of them carry names, and a log is read by people.
const SAID: usize = 32;

/// The texts among these that nobody knows and that were not said before. If the server words one differently after an
/// upgrade, its builds wait for no machine, and somebody must hear of it.
pub(crate) fn news<'a>(
    texts: impl Iterator<Item = Option<&'a str>>,
    said: &mut BTreeSet<String>,
) -> Vec<String> {
    let unknown = texts.filter_map(|text| match read(text) {
        Waits::Unknown(words) => Some(words),
        Waits::Agent | Waits::Chain | Waits::Other(_) => None,
    });
    let mut new = Vec::new();
    for words in unknown {
        if said.len() < SAID && said.insert(words.clone()) {
            new.push(words);
        }
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_text_has_its_meaning() {
        let no_idle = "There are no idle compatible agents which can run this build";
        assert_eq!(read(Some(no_idle)), Waits::Agent);
        assert_eq!(
            read(Some(
                "There are no compatible agents which can run this build"
            )),
            Waits::Agent
        );
        assert_eq!(read(None), Waits::Agent);
        assert_eq!(
            read(Some("Build dependencies have not been built yet")),
            Waits::Chain
        );
        for (text, words) in [
            (
                "The maximum number of running builds for this configuration is reached",
                "limit",
            ),
            (
                "Build is waiting for the following resource to become available: db (locked)",
                "shared resource",
            ),
            ("Waiting for starting agent", "cloud profile"),
            (
                "All compatible agents are outdated - waiting for upgrade",
                "upgrade",
            ),
        ] {
            let Waits::Other(found) = read(Some(text)) else {
                panic!("{text}");
            };
            assert!(found.contains(words));
        }
    }

    #[test]
    fn an_unknown_text_is_said_once_and_not_without_end() {
        let mut said = BTreeSet::new();
        let texts = [
            None,
            Some("There are no compatible agents"),
            Some("Moon"),
            Some("Moon"),
        ];
        assert_eq!(news(texts.into_iter(), &mut said), ["Moon"]);
        assert!(news(texts.into_iter(), &mut said).is_empty());
        let many: Vec<String> = (0..100).map(|n| format!("Moon {n}")).collect();
        let new = news(many.iter().map(|text| Some(text.as_str())), &mut said);
        assert_eq!(new.len(), SAID - 1);
    }

    #[test]
    fn an_unknown_text_is_quoted_and_cut() {
        let text = format!("Moon is\nfull {}", "x".repeat(5000));
        let Waits::Unknown(quoted) = read(Some(&text)) else {
            panic!("it is not known");
        };
        assert!(quoted.starts_with("Moon is full x") && quoted.chars().count() == 201);
    }
}
