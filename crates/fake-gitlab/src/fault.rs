//! Faults a test can order, and a rate limit.
//!
//! A fault is matched by method and path prefix and used up; what is not listed here never fails.

use std::time::Duration;

use fake_server::{Request, Response, Transport};
use jiff::{SignedDuration, Timestamp};

use crate::answer;

/// One ordered fault.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Only requests with this method, or any.
    pub method: Option<String>,
    /// Only paths that start with this.
    pub path_prefix: String,
    /// Lets this many matching requests pass first.
    pub skip: u32,
    /// Then applies to this many.
    pub times: u32,
    /// What goes wrong.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum FaultKind {
    /// This status with an HTML page, as a proxy in front of GitLab sends it. Nothing is carried out.
    Html(u16),
    /// The request is carried out; half of the answer arrives, then the connection closes.
    CutBody,
    /// The request is carried out and the answer is lost.
    LostAnswer,
    /// The answer comes after this long.
    Delay(Duration),
    /// 200 with this body as JSON, whatever was asked. Nothing is carried out.
    Body(String),
    /// The right answer with this many blanks behind it, to pass a size limit.
    Padding(usize),
    /// A redirect with this status to this address. Nothing is carried out.
    Redirect(u16, String),
    /// 429 with the headers of a throttled answer and this `Retry-After`, in seconds.
    Throttled(u32),
}

impl Fault {
    /// The next `times` requests to paths that start with `path_prefix`.
    pub fn on(path_prefix: &str, times: u32, kind: FaultKind) -> Self {
        Self {
            method: None,
            path_prefix: path_prefix.to_owned(),
            skip: 0,
            times,
            kind,
        }
    }

    /// The same fault after `skip` matching requests have passed.
    #[must_use]
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// The same fault for one method only.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    fn matches(&self, request: &Request) -> bool {
        let method = self
            .method
            .as_ref()
            .is_none_or(|method| *method == request.method);
        method && request.path.starts_with(&self.path_prefix)
    }
}

impl FaultKind {
    /// The answer that stands in for the real one, when nothing is carried out.
    pub(crate) fn instead(&self) -> Option<Response> {
        Some(match self {
            Self::Html(status) => answer::html(*status, "Whoops, something went wrong on our end."),
            Self::Body(body) => Response::of(200, "application/json", body.clone()),
            Self::Redirect(status, to) => Response::empty(*status).with_header("location", to),
            Self::Throttled(seconds) => throttled(600, 601, *seconds),
            Self::CutBody | Self::LostAnswer | Self::Delay(_) | Self::Padding(_) => return None,
        })
    }

    /// Spoils the real answer.
    pub(crate) fn spoil(&self, response: &mut Response) {
        match self {
            Self::CutBody => response.transport = Transport::Cut,
            Self::LostAnswer => response.transport = Transport::Lost,
            Self::Delay(time) => response.transport = Transport::Late(*time),
            Self::Padding(blanks) => response.body.extend(std::iter::repeat_n(b' ', *blanks)),
            Self::Html(_) | Self::Body(_) | Self::Redirect(..) | Self::Throttled(_) => {}
        }
    }
}

/// Takes the first fault that applies to this request and uses it up once.
pub(crate) fn next(faults: &mut Vec<Fault>, request: &Request) -> Option<FaultKind> {
    let place = faults.iter().position(|fault| fault.matches(request))?;
    let fault = &mut faults[place];
    if fault.skip > 0 {
        fault.skip -= 1;
        return None;
    }
    fault.times = fault.times.saturating_sub(1);
    let kind = fault.kind.clone();
    if fault.times == 0 {
        faults.remove(place);
    }
    Some(kind)
}

/// A limit on all requests together, in fixed windows.
#[derive(Debug, Clone)]
pub struct RateLimit {
    /// Requests per window.
    pub limit: u32,
    /// The length of a window.
    pub window: SignedDuration,
    seen: u32,
    began: Option<Timestamp>,
}

impl RateLimit {
    /// A limit that has seen no request yet.
    pub fn new(limit: u32, window: SignedDuration) -> Self {
        Self {
            limit,
            window,
            seen: 0,
            began: None,
        }
    }

    /// Counts a request. The error is the answer when it is one too many; else the headers that tell
    /// the caller how many are left.
    pub(crate) fn admit(&mut self, now: Timestamp) -> Result<[(String, String); 2], Box<Response>> {
        let began = match self.began {
            Some(began) if now.duration_since(began) < self.window => began,
            _ => {
                self.seen = 0;
                now
            }
        };
        self.began = Some(began);
        self.seen += 1;
        let rest = (self.window - now.duration_since(began)).as_secs().max(1);
        if self.seen > self.limit {
            let rest = u32::try_from(rest).unwrap_or(u32::MAX);
            return Err(Box::new(throttled(self.limit, self.seen, rest)));
        }
        let left = (self.limit - self.seen).to_string();
        let reset = (now.as_second() + rest).to_string();
        Ok([
            ("ratelimit-remaining".to_owned(), left),
            ("ratelimit-reset".to_owned(), reset),
        ])
    }
}

fn throttled(limit: u32, observed: u32, retry_after: u32) -> Response {
    Response::of(429, "text/plain", "Retry later\n")
        .with_header("retry-after", retry_after.to_string())
        .with_header("ratelimit-name", "throttle_authenticated_api")
        .with_header("ratelimit-limit", limit.to_string())
        .with_header("ratelimit-observed", observed.to_string())
        .with_header("ratelimit-remaining", "0")
}
