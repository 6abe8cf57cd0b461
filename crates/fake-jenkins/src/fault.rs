//! Faults a test can order. One is matched by the beginning of the path and used up; what is not ordered never fails.

use std::time::Duration;

use fake_server::{Request, Response, Transport};

use crate::answer;

/// One ordered fault.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Only paths that start with this.
    pub path: String,
    /// Applies to this many requests.
    pub times: u32,
    /// What goes wrong.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum FaultKind {
    /// This status with an HTML page, as Jenkins at start-up or a proxy sends it. Nothing is carried out.
    Html(u16),
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
            path: path.to_owned(),
            times,
            kind,
        }
    }
}

impl FaultKind {
    /// The answer that stands in for the real one, when nothing is carried out.
    pub(crate) fn instead(&self) -> Option<Response> {
        Some(match self {
            Self::Html(status) => answer::html(*status, "Starting Jenkins"),
            Self::Body(body) => Response::of(200, "application/json;charset=utf-8", body.clone()),
            Self::Redirect(to) => answer::found(to),
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
            Self::Html(_) | Self::Body(_) | Self::Redirect(_) => {}
        }
    }
}

/// Takes the first fault that applies to this request and uses it up once.
pub(crate) fn next(faults: &mut Vec<Fault>, request: &Request) -> Option<FaultKind> {
    let place = faults
        .iter()
        .position(|fault| request.path.starts_with(&fault.path))?;
    let fault = &mut faults[place];
    fault.times = fault.times.saturating_sub(1);
    let kind = fault.kind.clone();
    if fault.times == 0 {
        faults.remove(place);
    }
    Some(kind)
}
