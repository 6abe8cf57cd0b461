//! What a program says, made fit for logs: one line, short, and without the secrets that it was given.

use ports::SecretRef;
use secrecy::{ExposeSecret as _, SecretString};

/// Longest text of a program that is shown, in characters.
const LONGEST: usize = 300;
/// A shorter secret would blank out ordinary words.
const SHORTEST_SECRET: usize = 4;
const HIDDEN: &str = "***";

/// Knows the secrets of one run.
#[derive(Default)]
pub(crate) struct Words {
    secrets: Vec<SecretString>,
}

impl Words {
    /// From now on the value of this reference is not shown. What stands in the configuration itself is no secret: an address
    /// that was blanked out would help nobody.
    pub(crate) fn hide(&mut self, reference: &SecretRef, value: &SecretString) {
        if !reference.is_literal() && value.expose_secret().len() >= SHORTEST_SECRET {
            self.secrets.push(value.clone());
        }
    }

    /// The text as it may be shown.
    pub(crate) fn fit(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = text.replace(secret.expose_secret(), HIDDEN);
        }
        let line = text
            .trim()
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter });
        let mut short: String = line.take(LONGEST).collect();
        if text.trim().chars().nth(LONGEST).is_some() {
            short.push('…');
        }
        short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown_and_a_literal_is() {
        let mut words = Words::default();
        words.hide(
            &SecretRef::parse("${file:/run/secrets/vcenter}"),
            &"hunter2".into(),
        );
        words.hide(&SecretRef::parse("vcenter"), &"vcenter".into());
        words.hide(&SecretRef::parse("${env:SHORT}"), &"in".into());
        assert_eq!(
            words.fit("login in vcenter with hunter2 failed"),
            "login in vcenter with *** failed"
        );
    }

    #[test]
    fn words_are_one_short_line() {
        let words = Words::default();
        assert_eq!(words.fit(" two\nlines\x1b[31m\n"), "two lines [31m");
        let long = words.fit(&"ä".repeat(1000));
        assert_eq!(long.chars().count(), LONGEST + 1);
    }
}
