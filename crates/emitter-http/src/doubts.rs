//! What a look did not see, as sentences for the operator: each once, and not more of them than anybody reads.

use std::collections::BTreeMap;

use model::Completeness;
use secrecy::{ExposeSecret as _, SecretString};

/// Most different sentences: a server with a thousand broken items has one fault, not a thousand. The last that a look keeps
/// says how many more there are.
const MOST: usize = Completeness::MOST - 1;

/// Sentences and how often each was found.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    found: BTreeMap<String, u32>,
    more: u32,
}

impl Doubts {
    pub(crate) fn add(&mut self, sentence: impl Into<String>) {
        let sentence = sentence.into();
        if self.found.len() >= MOST && !self.found.contains_key(&sentence) {
            self.more += 1;
        } else {
            *self.found.entry(sentence).or_default() += 1;
        }
    }

    pub(crate) fn extend(&mut self, sentences: Vec<String>) {
        sentences
            .into_iter()
            .for_each(|sentence| self.add(sentence));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The completeness of the look. No sentence repeats one of the `secrets`, which a server could have sent back.
    pub(crate) fn completeness(self, secrets: &[SecretString]) -> Completeness {
        let mut completeness = Completeness::Complete;
        for (sentence, times) in self.found {
            let quotes = secrets.iter().any(|secret| {
                let secret = secret.expose_secret();
                !secret.is_empty() && sentence.contains(secret)
            });
            match (quotes, times) {
                (true, _) => completeness.doubt("the server repeats the secret in an answer"),
                (_, 1) => completeness.doubt(sentence),
                _ => completeness.doubt(format!("{sentence} ({times} times)")),
            }
        }
        if self.more > 0 {
            completeness.doubt(format!("and {} more", self.more));
        }
        completeness
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_doubts_are_few_sentences() {
        let mut doubts = Doubts::default();
        (0..5).for_each(|_| doubts.add("no id"));
        (0..50).for_each(|n| doubts.add(format!("job {n:02}")));
        doubts.add("no id");
        let completeness = doubts.completeness(&[]);
        let said = completeness.doubts();
        assert_eq!(said.len(), MOST + 1);
        assert!(
            said.contains(&"no id (6 times)".to_owned())
                && said.contains(&"and 32 more".to_owned())
        );
    }

    #[test]
    fn no_sentence_repeats_the_secret() {
        let mut doubts = Doubts::default();
        doubts.add("state `never-print-me` is not known");
        let completeness = doubts.completeness(&["never-print-me".into()]);
        assert!(!completeness.is_complete());
        assert!(!completeness.doubts()[0].contains("never-print-me"));
    }
}
