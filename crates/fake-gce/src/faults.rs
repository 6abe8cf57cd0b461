//! Faults on order: the next calls of a method fail in a chosen way.

use std::time::Duration;

use crate::wire::{Delivery, Refusal, Response};

/// What goes wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// `rateLimitExceeded`, 403, nothing executed.
    Throttle,
    /// `backendError`, 503, nothing executed.
    BackendError,
    /// Any other refusal, nothing executed.
    Refuse {
        /// HTTP status.
        status: u16,
        /// The reason in `errors`.
        reason: String,
    },
    /// The operation is accepted and ends with this error; nothing is made.
    Operation {
        /// The error's code.
        code: String,
    },
    /// A 502 with a web page instead of JSON, as a proxy answers; nothing executed.
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
    method: String,
    skip: u32,
    times: u32,
    fault: Fault,
}

/// The faults ordered and not yet delivered.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Order>);

impl Faults {
    pub(crate) fn order(&mut self, method: &str, skip: u32, times: u32, fault: Fault) {
        self.0.push(Order {
            method: method.to_owned(),
            skip,
            times,
            fault,
        });
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault of this call, if one is due.
    pub(crate) fn next(&mut self, method: &str) -> Option<Fault> {
        let mut orders = self.0.iter_mut();
        let order = orders.find(|order| order.method == method && order.times > 0)?;
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
    pub(crate) fn before(&self) -> Option<Response> {
        let refusal = match self {
            Self::Throttle => Refusal::rate_limited("Queries"),
            Self::BackendError => Refusal::new(
                503,
                "backendError",
                "Internal error. Please try again or contact Google Support.",
            ),
            Self::Refuse { status, reason } => {
                Refusal::new(*status, reason, "refused on order of the test")
            }
            Self::WebPage => {
                return Some(Response {
                    status: 502,
                    content_type: "text/html",
                    body: "<html><body>Bad Gateway</body></html>".to_owned(),
                    delivery: Delivery::Whole,
                });
            }
            Self::DropBefore => {
                let mut nothing = Response::json(500, &serde_json::Value::Null);
                nothing.delivery = Delivery::Dropped;
                return Some(nothing);
            }
            Self::DropAfter | Self::Delay(_) | Self::Truncate | Self::Operation { .. } => {
                return None;
            }
        };
        Some(refusal.response())
    }

    /// What the fault does to the answer of an executed call.
    pub(crate) fn after(&self, response: &mut Response) {
        response.delivery = match self {
            Self::DropAfter => Delivery::Dropped,
            Self::Delay(wait) => Delivery::After(*wait),
            Self::Truncate => Delivery::Cut(response.body.len() / 2),
            _ => return,
        };
    }

    /// The error with which the call's operation ends.
    pub(crate) fn operation(&self) -> Option<&str> {
        match self {
            Self::Operation { code } => Some(code),
            _ => None,
        }
    }
}
