//! What came back.

use std::time::Duration;

use ports::EmitterErrorKind;
use reqwest::header::{self, HeaderMap};
use serde_json::Value;
use url::Url;

use crate::failure::{Advice, Failure, of_status};
use crate::link;

/// Most memory that a document may take once it is parsed, beside its texts, which its bytes bound. A body of 16 MiB that
/// is nothing but empty objects would take a gigabyte. This is some 15,000 queued items of Jenkins or 2,300 of its
/// nodes with four executors in one answer; half of it would refuse large servers, twice as much would not fit into a small container.
const LARGEST_DOCUMENT: usize = 32 << 20;

/// One answer whose status was looked at by nobody yet. Its body is bounded and unpacked.
pub struct Answer {
    /// `GET /api/v4/runners/7`, for messages.
    pub endpoint: String,
    /// As HTTP counts them.
    pub status: u16,
    /// The wait that a refusal asks for.
    pub retry_after: Option<Duration>,
    /// Where it came from, after redirects.
    pub url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) advice: Advice,
}

impl Answer {
    /// Whether the server carried out what was asked.
    pub fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The failure that the status means.
    pub fn failure(&self) -> Failure {
        of_status(&self.endpoint, self.status, self.retry_after, self.advice)
    }

    /// The body of a good answer, as JSON.
    ///
    /// # Errors
    ///
    /// Fails with the meaning of another status, with what is not JSON or is nested deeper than serde_json follows (128
    /// levels), which bounds the stack, and with what would be too large once it is parsed.
    pub fn json(&self) -> Result<Value, Failure> {
        self.good()?;
        self.any_json()
    }

    /// The body as JSON, whatever the status.
    ///
    /// # Errors
    ///
    /// As [`Answer::json`], without a look at the status.
    pub fn any_json(&self) -> Result<Value, Failure> {
        if weight(&self.body) > LARGEST_DOCUMENT {
            let message = format!(
                "{} answered JSON of more values than {LARGEST_DOCUMENT} bytes hold",
                self.endpoint
            );
            return Err(Failure::new(EmitterErrorKind::TooLarge, message));
        }
        // not the parser's error: it may quote the body
        serde_json::from_slice(&self.body).map_err(|_| {
            Failure::bad_answer(format!(
                "{} answered {} with {} that is not JSON: is a proxy or a login page in between?",
                self.endpoint,
                self.status,
                self.content_type(),
            ))
        })
    }

    /// The body of a good answer as text.
    ///
    /// # Errors
    ///
    /// Fails with the meaning of another status, and with what is not UTF-8.
    pub fn text(&self) -> Result<&str, Failure> {
        self.good()?;
        std::str::from_utf8(&self.body)
            .map_err(|_| Failure::bad_answer(format!("{} answered no text", self.endpoint)))
    }

    /// Whether the body contains this word, as a refused parameter is often named; the body itself goes no further.
    pub fn mentions(&self, word: &str) -> bool {
        String::from_utf8_lossy(&self.body).contains(word)
    }

    /// A header that is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Where the `rel="next"` of the `Link` headers leads, as written. Not checked: before a token goes there, see
    /// [`crate::Client::here`].
    pub fn next_link(&self) -> Option<&str> {
        let mut links = self.headers.get_all(header::LINK).into_iter();
        links.find_map(|value| link::next(value.to_str().ok()?))
    }

    fn good(&self) -> Result<(), Failure> {
        if self.is_good() {
            Ok(())
        } else {
            Err(self.failure())
        }
    }

    /// Only the type itself, and only if it looks like one: a header is the server's word, too.
    fn content_type(&self) -> &str {
        let text = self.header(header::CONTENT_TYPE.as_str());
        let kind = text.and_then(|text| text.split(';').next()).map(str::trim);
        let plain = |kind: &&str| {
            (1..=64).contains(&kind.len())
                && kind
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"/+-.".contains(&byte))
        };
        kind.filter(plain).unwrap_or("something")
    }
}

/// About the memory that the values of a document take when they are parsed, counted without parsing them. A value has 32
/// bytes and a list grows by doubling; an object has a tree whose smallest node holds eleven members.
fn weight(body: &[u8]) -> usize {
    const ELEMENT: usize = 64;
    const OBJECT: usize = 640;
    let (mut weight, mut quoted, mut escaped) = (0, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' => weight += OBJECT,
            b'[' | b',' => weight += ELEMENT,
            _ => {}
        }
    }
    weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_weighs_nothing_and_an_object_much() {
        for (body, expected) in [
            ("7", 0),
            (r#"["a,b","[{\"{",2]"#, 3 * 64),
            (r#"{"a":{},"b":"\\"}"#, 2 * 640 + 64),
        ] {
            assert_eq!(weight(body.as_bytes()), expected, "{body}");
        }
    }
}
