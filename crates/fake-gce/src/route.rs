//! Which method a request is, with its parameters; refuses paths and parameters that the real service does not know.

use std::collections::BTreeMap;

use crate::wire::{Outcome, Refusal, Request};

/// A method of the API with the parts of its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Method {
    Insert { zone: String },
    BulkInsert { zone: String },
    Get { zone: String, instance: String },
    List { zone: String },
    AggregatedList,
    Delete { zone: String, instance: String },
    SetLabels { zone: String, instance: String },
    SerialPort { zone: String, instance: String },
    OperationGet { zone: String, operation: String },
    OperationWait { zone: String, operation: String },
    OperationList { zone: String },
    TemplateGet { template: String },
}

impl Method {
    /// The method's name in the discovery document.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Insert { .. } => "instances.insert",
            Self::BulkInsert { .. } => "instances.bulkInsert",
            Self::Get { .. } => "instances.get",
            Self::List { .. } => "instances.list",
            Self::AggregatedList => "instances.aggregatedList",
            Self::Delete { .. } => "instances.delete",
            Self::SetLabels { .. } => "instances.setLabels",
            Self::SerialPort { .. } => "instances.getSerialPortOutput",
            Self::OperationGet { .. } => "zoneOperations.get",
            Self::OperationWait { .. } => "zoneOperations.wait",
            Self::OperationList { .. } => "zoneOperations.list",
            Self::TemplateGet { .. } => "instanceTemplates.get",
        }
    }

    pub(crate) fn zone(&self) -> Option<&str> {
        match self {
            Self::Insert { zone }
            | Self::BulkInsert { zone }
            | Self::Get { zone, .. }
            | Self::List { zone }
            | Self::Delete { zone, .. }
            | Self::SetLabels { zone, .. }
            | Self::SerialPort { zone, .. }
            | Self::OperationGet { zone, .. }
            | Self::OperationWait { zone, .. }
            | Self::OperationList { zone } => Some(zone),
            Self::AggregatedList | Self::TemplateGet { .. } => None,
        }
    }

    /// The parameters it takes.
    fn parameters(&self) -> &'static [&'static str] {
        const LIST: &[&str] = &["filter", "maxResults", "orderBy", "pageToken"];
        match self {
            Self::Insert { .. } => &["requestId", "sourceInstanceTemplate", "sourceMachineImage"],
            Self::BulkInsert { .. } | Self::SetLabels { .. } => &["requestId"],
            Self::Delete { .. } => &["requestId", "noGracefulShutdown"],
            Self::List { .. } | Self::OperationList { .. } => LIST,
            Self::AggregatedList => &[
                "filter",
                "includeAllScopes",
                "maxResults",
                "orderBy",
                "pageToken",
                "serviceProjectNumber",
            ],
            Self::SerialPort { .. } => &["port", "start"],
            Self::Get { .. }
            | Self::TemplateGet { .. }
            | Self::OperationGet { .. }
            | Self::OperationWait { .. } => &[],
        }
    }
}

/// A request taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) project: String,
    pub(crate) query: BTreeMap<String, String>,
}

impl Asked {
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        let value = self.query.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// A parameter that is a whole number.
    pub(crate) fn number<N: std::str::FromStr>(&self, name: &str) -> Outcome<Option<N>> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                let message = format!("Invalid value at '{name}' (TYPE_INT64), \"{text}\"");
                Refusal::new(400, "invalid", message)
            })
        };
        self.param(name).map(parse).transpose()
    }
}

/// Parameters of every Google API: how to answer, not what about. Answers are JSON here, whatever `alt` says beyond it.
fn is_of_the_platform(name: &str) -> bool {
    let plain = [
        "alt",
        "key",
        "prettyPrint",
        "quotaUser",
        "userIp",
        "uploadType",
        "upload_protocol",
    ];
    plain.contains(&name) || ["$alt", "$apiVersion", "$prettyPrint", "$.xgafv"].contains(&name)
}

pub(crate) fn route(request: &Request) -> Outcome<Asked> {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let unknown = || {
        let message = format!("The requested URL {path} was not found on this server.");
        Refusal::new(404, "notFound", message)
    };
    let ["compute", "v1", "projects", project, rest @ ..] = &parts[..] else {
        return Err(unknown());
    };
    let own = |text: &&str| (*text).to_owned();
    let method = match (request.method.as_str(), rest) {
        ("GET", ["aggregated", "instances"]) => Method::AggregatedList,
        ("GET", ["global", "instanceTemplates", template]) => Method::TemplateGet {
            template: own(template),
        },
        (verb, ["zones", zone, rest @ ..]) => zonal(verb, own(zone), rest).ok_or_else(unknown)?,
        _ => return Err(unknown()),
    };
    let query: BTreeMap<String, String> = url::form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let known = method.parameters();
    for name in query.keys() {
        if !known.contains(&name.as_str()) && !is_of_the_platform(name) {
            let message = format!(
                "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter. Field '{name}' \
                 could not be found in request message."
            );
            return Err(Refusal::new(400, "invalid", message));
        }
    }
    Ok(Asked {
        method,
        project: own(project),
        query,
    })
}

fn zonal(verb: &str, zone: String, rest: &[&str]) -> Option<Method> {
    let own = |text: &&str| (*text).to_owned();
    Some(match (verb, rest) {
        ("POST", ["instances"]) => Method::Insert { zone },
        ("GET", ["instances"]) => Method::List { zone },
        ("POST", ["instances", "bulkInsert"]) => Method::BulkInsert { zone },
        ("GET", ["instances", name]) => Method::Get {
            zone,
            instance: own(name),
        },
        ("DELETE", ["instances", name]) => Method::Delete {
            zone,
            instance: own(name),
        },
        ("POST", ["instances", name, "setLabels"]) => Method::SetLabels {
            zone,
            instance: own(name),
        },
        ("GET", ["instances", name, "serialPort"]) => Method::SerialPort {
            zone,
            instance: own(name),
        },
        ("GET", ["operations"]) => Method::OperationList { zone },
        ("GET", ["operations", name]) => Method::OperationGet {
            zone,
            operation: own(name),
        },
        ("POST", ["operations", name, "wait"]) => Method::OperationWait {
            zone,
            operation: own(name),
        },
        _ => return None,
    })
}
