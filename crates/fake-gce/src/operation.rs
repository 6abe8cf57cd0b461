//! Operations: what a change is answered with, and the only place where most failures appear.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::machine::after;
use crate::settings::Settings;
use crate::show;
use crate::wire::{Outcome, Refusal};

/// How an operation fails.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) status: u16,
    /// `errorDetails`.
    pub(crate) details: Vec<Value>,
}

impl Failure {
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            status,
            details: Vec::new(),
        }
    }

    fn phrase(&self) -> &'static str {
        match self.status {
            400 => "BAD REQUEST",
            403 => "FORBIDDEN",
            404 => "NOT FOUND",
            409 => "CONFLICT",
            503 => "SERVICE UNAVAILABLE",
            _ => "INTERNAL ERROR",
        }
    }
}

/// How many machines a bulk creation made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bulk {
    pub(crate) target: u32,
    pub(crate) created: u32,
    pub(crate) failed: u32,
}

/// One operation.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) zone: String,
    pub(crate) kind: &'static str,
    /// The machine it is about; a bulk creation is about none.
    pub(crate) target: Option<(u64, String)>,
    pub(crate) at: Timestamp,
    pub(crate) starts_at: Timestamp,
    pub(crate) done_at: Timestamp,
    pub(crate) failure: Option<Failure>,
    pub(crate) bulk: Option<Bulk>,
    pub(crate) request_id: Option<String>,
    pub(crate) caller: String,
}

impl Operation {
    pub(crate) fn is_done(&self, now: Timestamp) -> bool {
        now >= self.done_at
    }

    fn status(&self, now: Timestamp) -> &'static str {
        if self.is_done(now) {
            "DONE"
        } else if now >= self.starts_at {
            "RUNNING"
        } else {
            "PENDING"
        }
    }

    /// As `get`, `wait` and `list` show it.
    pub(crate) fn show(&self, settings: &Settings, now: Timestamp) -> Value {
        self.document(settings, self.status(now), now)
    }

    /// As the answer to the call itself shows it: never done, however quick it is.
    pub(crate) fn accepted(&self, settings: &Settings, now: Timestamp) -> Value {
        let status = if self.starts_at > self.at {
            "PENDING"
        } else {
            "RUNNING"
        };
        self.document(settings, status, now)
    }

    fn document(&self, settings: &Settings, status: &str, now: Timestamp) -> Value {
        let zone = show::link(settings, &format!("zones/{}", self.zone));
        let done = status == "DONE";
        let mut document = json!({
            "kind": "compute#operation",
            "id": self.id.to_string(),
            "name": self.name,
            "zone": zone,
            "operationType": self.kind,
            "status": status,
            "user": self.caller,
            "progress": if done { 100 } else { 0 },
            "insertTime": show::time(self.at),
            "selfLink": format!("{zone}/operations/{}", self.name),
        });
        if let Some((id, name)) = &self.target {
            document["targetId"] = json!(id.to_string());
            document["targetLink"] = json!(format!("{zone}/instances/{name}"));
        }
        if let Some(id) = &self.request_id {
            document["clientOperationId"] = json!(id);
        }
        if now >= self.starts_at {
            document["startTime"] = json!(show::time(self.starts_at));
        }
        if done {
            document["endTime"] = json!(show::time(self.done_at));
            if let Some(failure) = &self.failure {
                let mut error = json!({"code": failure.code, "message": failure.message});
                if !failure.details.is_empty() {
                    error["errorDetails"] = json!(failure.details);
                }
                document["error"] = json!({"errors": [error]});
                document["httpErrorStatusCode"] = json!(failure.status);
                document["httpErrorMessage"] = json!(failure.phrase());
            }
        }
        if let Some(bulk) = self.bulk {
            let counted = if done {
                bulk
            } else {
                Bulk {
                    created: 0,
                    failed: 0,
                    ..bulk
                }
            };
            document["operationGroupId"] = json!(format!("{:016x}", self.id));
            document["instancesBulkInsertOperationMetadata"] = json!({
                "perLocationStatus": {
                    format!("zones/{}", self.zone): {
                        "targetVmCount": counted.target,
                        "createdVmCount": counted.created,
                        "failedToCreateVmCount": counted.failed,
                        "deletedVmCount": 0,
                        "status": if done { "DONE" } else { "CREATING" },
                    },
                },
            });
        }
        document
    }
}

/// When an operation of this length that begins now starts and ends.
pub(crate) fn times(
    settings: &Settings,
    length: std::time::Duration,
    now: Timestamp,
) -> (Timestamp, Timestamp) {
    let starts = after(now, settings.queue.min(length));
    (starts, after(now, length))
}

/// A request id must be a UUID and must not be all zeros.
pub(crate) fn request_id(text: Option<&str>) -> Outcome<Option<String>> {
    let Some(text) = text else { return Ok(None) };
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    let digits = |b: u8| b == b'-' || b.is_ascii_hexdigit();
    let is_uuid = lengths == [8, 4, 4, 4, 12] && text.bytes().all(digits);
    if !is_uuid {
        return Err(Refusal::field("requestId", text, "Must be a valid UUID."));
    }
    if text.bytes().all(|b| b == b'-' || b == b'0') {
        let why = "Zero UUID is not supported.";
        return Err(Refusal::field("requestId", text, why));
    }
    Ok(Some(text.to_ascii_lowercase()))
}
