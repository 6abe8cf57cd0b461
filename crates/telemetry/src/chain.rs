//! Errors printed with their causes.
//!
//! An error's own text never repeats its source, so whoever logs one must print the whole chain, or
//! the operator reads "could not list" and not "connection refused".

use std::error::Error;
use std::fmt;

/// Longer chains are a loop or a joke; what matters stands in the first few causes.
const MOST_CAUSES: usize = 16;

/// An error and its causes on one line; see [`chain`].
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(&'a (dyn Error + 'static));

/// Prints `error` and everything that caused it: `could not list: connection refused`.
///
/// ```
/// let number = "x".parse::<u32>().unwrap_err();
/// assert_eq!(telemetry::chain(&number).to_string(), "invalid digit found in string");
/// ```
#[must_use]
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> Chain<'a> {
    Chain(error)
}

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        f.write_str(&last)?;
        let causes = std::iter::successors(self.0.source(), |&error| error.source());
        for cause in causes.take(MOST_CAUSES) {
            let text = cause.to_string();
            // Other people's errors do repeat their source; once is enough.
            if !last.ends_with(&text) {
                write!(f, ": {text}")?;
                last = text;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Step(&'static str, Option<Box<Step>>);

    impl fmt::Display for Step {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Step {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|step| step as _)
        }
    }

    fn steps(texts: &[&'static str]) -> Step {
        let source = (texts.len() > 1).then(|| Box::new(steps(&texts[1..])));
        Step(texts[0], source)
    }

    #[test]
    fn every_cause_is_printed_once() {
        let error = steps(&[
            "could not list",
            "request failed: refused",
            "refused",
            "errno 111",
        ]);
        assert_eq!(
            chain(&error).to_string(),
            "could not list: request failed: refused: errno 111"
        );
    }

    #[test]
    fn an_endless_chain_ends() {
        let error = steps(&["a", "b"].repeat(100));
        assert_eq!(
            chain(&error).to_string().len(),
            "a".len() + MOST_CAUSES * ": b".len()
        );
    }
}
