//! LXD's words as the port's kinds, and whether a call that failed may still have happened.
//!
//! LXD's status codes tell little: a used-up quota is a 500, an image that is not there a 404, a machine that is
//! busy a 400, and an operation that failed is a 400 whatever the reason. So the words decide. They were read
//! from LXD 5.0; words that are not known fall back to the status.

pub(crate) use ports::Fate;
use ports::{BoxError, ProviderErrorKind};

/// What code of ours can do about the words of LXD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// An instance of this name is there already.
    Exists,
    /// The instance is not there.
    Gone,
    /// Another operation holds it: ask again in a moment.
    Busy,
    /// It is in the wanted state already.
    Already,
    /// It runs, and only a stopped one can be deleted.
    Runs,
    /// Anything else.
    Other,
}

/// A call that failed, in our terms.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: ProviderErrorKind,
    pub(crate) fate: Fate,
    pub(crate) meaning: Meaning,
    /// For the operator.
    pub(crate) message: String,
    pub(crate) source: Option<BoxError>,
}

impl Failure {
    pub(crate) fn new(kind: ProviderErrorKind, fate: Fate, message: impl Into<String>) -> Self {
        Self {
            kind,
            fate,
            meaning: Meaning::Other,
            message: message.into(),
            source: None,
        }
    }

    pub(crate) fn because(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What LXD itself answered: a refusal, or the end of an operation. Then nothing is in doubt.
    pub(crate) fn said(status: u16, words: &str) -> Self {
        Self {
            kind: kind_of(status, words),
            fate: Fate::NotDone,
            meaning: meaning_of(status, words),
            message: shortened(words),
            source: None,
        }
    }
}

fn meaning_of(status: u16, words: &str) -> Meaning {
    if words.contains("already exists") {
        Meaning::Exists
    } else if words == "Instance not found" || words == "Container not found" {
        Meaning::Gone
    } else if words.contains("is busy") {
        Meaning::Busy
    } else if words.contains("is already running") || words.contains("is already stopped") {
        Meaning::Already
    } else if status == 400 && words == "Instance is running" {
        Meaning::Runs
    } else {
        Meaning::Other
    }
}

fn kind_of(status: u16, words: &str) -> ProviderErrorKind {
    use ProviderErrorKind as Kind;
    let low = words.to_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| low.contains(part));
    if says(&["reached maximum"]) {
        return Kind::QuotaExceeded;
    }
    if says(&[
        "no space left",
        "not enough space",
        "cannot allocate memory",
        "quota exceeded",
        "no cluster member",
        "no suitable cluster member",
    ]) {
        return Kind::OutOfCapacity;
    }
    match status {
        401 | 403 => Kind::Unauthorized,
        429 => Kind::RateLimited { retry_after: None },
        404 if meaning_of(status, words) == Meaning::Gone => Kind::NotFound,
        400..=499 => Kind::InvalidRequest,
        _ => Kind::Unavailable,
    }
}

/// Words of the daemon, fit for a log line: one line, and short. They name instances, images and devices; a boot
/// script never stands in them.
fn shortened(words: &str) -> String {
    const LONGEST: usize = 300;
    let line = words
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter });
    let mut short: String = line.take(LONGEST).collect();
    if words.chars().count() > LONGEST {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_decide_and_not_the_status() {
        use ProviderErrorKind as Kind;
        for (status, words, kind) in [
            (
                500,
                "Reached maximum number of instances in project \"q\"",
                Kind::QuotaExceeded,
            ),
            (404, "Image alias not found", Kind::InvalidRequest),
            (404, "Instance not found", Kind::NotFound),
            (
                400,
                "Invalid instance name: Name must not start with a number",
                Kind::InvalidRequest,
            ),
            (403, "not authorized", Kind::Unauthorized),
            (
                400,
                "Failed to run: tar: write error: No space left on device",
                Kind::OutOfCapacity,
            ),
            (500, "database is locked", Kind::Unavailable),
        ] {
            assert_eq!(Failure::said(status, words).kind, kind, "{words}");
        }
    }

    #[test]
    fn what_code_can_answer_is_known_by_its_words() {
        let duplicate = "Failed creating instance record: Add instance info to the database: \
                         This \"instances\" entry already exists";
        for (status, words, meaning) in [
            (400, duplicate, Meaning::Exists),
            (404, "Instance not found", Meaning::Gone),
            (
                400,
                "Instance is busy running a \"stop\" operation",
                Meaning::Busy,
            ),
            (
                400,
                "Failed creating instance record: Instance is busy running a \"create\" operation",
                Meaning::Busy,
            ),
            (400, "The instance is already stopped", Meaning::Already),
            (400, "The instance is already running", Meaning::Already),
            (400, "Instance is running", Meaning::Runs),
            (404, "Image alias not found", Meaning::Other),
        ] {
            assert_eq!(Failure::said(status, words).meaning, meaning, "{words}");
        }
    }
}
