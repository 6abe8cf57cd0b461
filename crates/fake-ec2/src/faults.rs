//! Faults on order: the next calls of an action fail in a chosen way.

use std::time::Duration;

use crate::wire::{Delivery, Refusal, Response};

/// What goes wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// `RequestLimitExceeded`, 503, nothing executed.
    Throttle,
    /// `InternalError`, 500, nothing executed.
    InternalError,
    /// `Unavailable`, 503, nothing executed.
    Unavailable,
    /// Any other refusal, nothing executed.
    Refuse {
        /// HTTP status.
        status: u16,
        /// EC2 error code.
        code: String,
    },
    /// A 502 with a web page instead of XML, as a proxy answers; nothing executed.
    WebPage,
    /// The connection closes, nothing executed.
    DropBefore,
    /// Executed, then the connection closes: to the caller the same as [`Fault::DropBefore`].
    DropAfter,
    /// Executed, the answer comes this much later.
    Delay(Duration),
    /// Executed, the answer breaks off in the middle of the document.
    Truncate,
}

#[derive(Debug)]
struct Order {
    action: String,
    skip: u32,
    times: u32,
    fault: Fault,
}

/// The faults ordered and not yet delivered.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Order>);

impl Faults {
    pub(crate) fn order(&mut self, action: &str, skip: u32, times: u32, fault: Fault) {
        self.0.push(Order {
            action: action.to_owned(),
            skip,
            times,
            fault,
        });
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault of this call, if one is due.
    pub(crate) fn next(&mut self, action: &str) -> Option<Fault> {
        let order = self
            .0
            .iter_mut()
            .find(|order| order.action == action && order.times > 0)?;
        if order.skip > 0 {
            order.skip -= 1;
            return None;
        }
        order.times -= 1;
        let fault = order.fault.clone();
        self.0.retain(|order| order.times > 0);
        Some(fault)
    }
}

impl Fault {
    /// The answer when the fault strikes before anything is executed.
    pub(crate) fn before(&self, request_id: &str) -> Option<Response> {
        let refusal = match self {
            Self::Throttle => Refusal::throttled(),
            Self::InternalError => {
                Refusal::new(500, "InternalError", "An internal error has occurred")
            }
            Self::Unavailable => Refusal::new(
                503,
                "Unavailable",
                "The server is overloaded and can't handle the request.",
            ),
            Self::Refuse { status, code } => {
                Refusal::new(*status, code, "refused on order of the test")
            }
            Self::WebPage => {
                let mut page =
                    Response::xml(502, "<html><body>Bad Gateway</body></html>".to_owned());
                page.headers = vec![("Content-Type".to_owned(), "text/html".to_owned())];
                return Some(page);
            }
            Self::DropBefore => {
                let mut nothing = Response::xml(500, String::new());
                nothing.delivery = Delivery::Dropped;
                return Some(nothing);
            }
            Self::DropAfter | Self::Delay(_) | Self::Truncate => return None,
        };
        Some(refusal.response(request_id))
    }

    /// What the fault does to the answer of an executed call.
    pub(crate) fn after(&self, response: &mut Response) {
        response.delivery = match self {
            Self::DropAfter => Delivery::Dropped,
            Self::Delay(wait) => Delivery::After(*wait),
            Self::Truncate => Delivery::Cut(response.body.len() / 2),
            Self::Throttle
            | Self::InternalError
            | Self::Unavailable
            | Self::Refuse { .. }
            | Self::WebPage
            | Self::DropBefore => return,
        };
    }
}
