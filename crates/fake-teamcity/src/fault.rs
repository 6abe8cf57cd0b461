//! Faults a test can order. One is matched by method and the beginning of the path and used up; what is not ordered never
//! fails.

use std::time::Duration;

use fake_server::{Request, Response, Transport};

use crate::answer;

/// One ordered fault.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Only requests with this method, or any.
    pub method: Option<&'static str>,
    /// Only paths that start with this.
    pub path: String,
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
    /// This status with an HTML page, as a proxy or a server at start-up sends it. Nothing is carried out.
    Html(u16),
    /// 429 with `Retry-After` in seconds, as a proxy in front sends it; TeamCity itself has no documented limit.
    Throttled(u32),
    /// 200 with this body as JSON. Nothing is carried out.
    Body(String),
    /// The right answer with this many blanks behind it, to pass a size limit.
    Padding(usize),
    /// A redirect to this address, such as a login page. Nothing is carried out.
    Redirect(String),
    /// The request is carried out; half of the answer arrives.
    CutBody,
    /// The request is carried out and the answer is lost.
    LostAnswer,
    /// The answer comes after this long.
    Delay(Duration),
}

impl Fault {
    /// The next `times` requests to paths that start with `path`.
    pub fn on(path: &str, times: u32, kind: FaultKind) -> Self {
        Self {
            method: None,
            path: path.to_owned(),
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
    pub fn method(mut self, method: &'static str) -> Self {
        self.method = Some(method);
        self
    }

    fn matches(&self, request: &Request) -> bool {
        self.method.is_none_or(|method| method == request.method)
            && request.path.starts_with(&self.path)
    }
}

impl FaultKind {
    /// The answer that stands in for the real one, when nothing is carried out.
    pub(crate) fn instead(&self) -> Option<Response> {
        Some(match self {
            Self::Html(status) => answer::html(*status, "TeamCity is starting"),
            Self::Throttled(seconds) => answer::html(429, "Too Many Requests")
                .with_header("retry-after", seconds.to_string()),
            Self::Body(body) => Response::of(200, "application/json", body.clone()),
            Self::Redirect(to) => Response::empty(302).with_header("location", to.as_str()),
            Self::Padding(_) | Self::CutBody | Self::LostAnswer | Self::Delay(_) => return None,
        })
    }

    /// Spoils the real answer.
    pub(crate) fn spoil(&self, response: &mut Response) {
        match self {
            Self::CutBody => response.transport = Transport::Cut,
            Self::LostAnswer => response.transport = Transport::Lost,
            Self::Delay(time) => response.transport = Transport::Late(*time),
            Self::Padding(blanks) => response.body.extend(std::iter::repeat_n(b' ', *blanks)),
            Self::Html(_) | Self::Throttled(_) | Self::Body(_) | Self::Redirect(_) => {}
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
