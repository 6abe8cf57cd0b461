//! How long a server asks to wait.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// A server that asks for a longer wait is asked again after this, since its answer may have been a mistake and an
/// operator should not have to restart us.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// `RateLimit-Reset` above this is a moment in epoch seconds, below it a number of seconds: nobody asks for thirty years.
const EPOCH: i64 = 1_000_000_000;

/// The wait that an answer asks for, if any: `Retry-After` of a refusal, in seconds or, from a proxy, as a date; else the
/// rest of a window that is used up. `now` is in epoch seconds.
pub(crate) fn asked(status: u16, headers: &HeaderMap, now: i64) -> Option<Duration> {
    let wait = if matches!(status, 429 | 503) {
        retry_after(headers, now).or_else(|| reset(headers, now))
    } else {
        // the last permitted request of the window: do not spend another one on a refusal
        let used_up = number(headers, "remaining") == Some(0);
        used_up.then(|| reset(headers, now)).flatten()
    };
    wait.map(|wait| wait.min(LONGEST))
}

fn retry_after(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let date = || {
        let at = jiff::fmt::rfc2822::DateTimeParser::new()
            .parse_timestamp(text)
            .ok()?;
        u64::try_from(at.as_second().checked_sub(now)?).ok()
    };
    let seconds = text.parse().ok().or_else(date)?;
    Some(Duration::from_secs(seconds))
}

/// Time until the window ends: GitLab and GitHub name the moment, the draft of the IETF and Buildkite the seconds left.
fn reset(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let reset = number(headers, "reset")?;
    let left = if reset > EPOCH {
        reset.checked_sub(now)?
    } else {
        reset
    };
    u64::try_from(left).ok().map(Duration::from_secs)
}

/// `RateLimit-<name>`, with or without the `X-` of older servers.
fn number(headers: &HeaderMap, name: &str) -> Option<i64> {
    let plain = headers.get(format!("ratelimit-{name}"));
    let found = plain.or_else(|| headers.get(format!("x-ratelimit-{name}")))?;
    found.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        of.iter().map(pair).collect()
    }

    fn wait(status: u16, of: &[(&'static str, &'static str)]) -> Option<u64> {
        asked(status, &headers(of), NOW).map(|wait| wait.as_secs())
    }

    #[test]
    fn a_refusal_names_its_wait_in_one_of_three_ways() {
        let seconds = ("retry-after", "5");
        let reset = ("ratelimit-reset", "1700000030");
        assert_eq!(wait(429, &[seconds, reset]), Some(5));
        assert_eq!(wait(503, &[seconds]), Some(5));
        assert_eq!(
            wait(429, &[("retry-after", "Tue, 14 Nov 2023 22:13:40 GMT")]),
            Some(20)
        );
        assert_eq!(wait(429, &[reset]), Some(30));
        assert_eq!(wait(429, &[("x-ratelimit-reset", "40")]), Some(40));
        // what makes no sense is not a wait
        assert_eq!(wait(429, &[("retry-after", "-5"), reset]), Some(30));
        assert_eq!(wait(429, &[("retry-after", "soon")]), None);
        assert_eq!(wait(429, &[("ratelimit-reset", "1600000000")]), None);
        assert_eq!(wait(429, &[]), None);
    }

    #[test]
    fn a_wait_is_never_longer_than_a_mistake_may_cost() {
        assert_eq!(wait(429, &[("retry-after", "86400")]), Some(15 * 60));
    }

    #[test]
    fn a_used_up_window_closes_with_its_last_answer() {
        let reset = ("ratelimit-reset", "7");
        assert_eq!(wait(200, &[("ratelimit-remaining", "0"), reset]), Some(7));
        assert_eq!(wait(200, &[("ratelimit-remaining", "1"), reset]), None);
        assert_eq!(wait(200, &[("retry-after", "5")]), None);
    }
}
