//! Setting up the log: one line per event on standard error, as JSON or for people.
//!
//! Standard output stays free for what a command prints. What may be logged is not decided here;
//! no secret, token or raw body is, at any level.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing::Level;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// The variable that overrides the configured filter, in `tracing-subscriber`'s directive syntax,
/// for example `info,store_redis=debug`.
pub const FILTER_VARIABLE: &str = "PARMANU_LOG";

/// What is logged when nobody says otherwise: our own events, and of libraries only trouble. At
/// `info` everywhere the HTTP libraries would drown one line per changed plan.
const DEFAULT_FILTER: &str = "info,hyper=warn,hyper_util=warn,reqwest=warn,h2=warn,rustls=warn,\
                              tower=warn,aws_config=warn,aws_smithy_runtime=warn,\
                              aws_smithy_runtime_api=warn,aws_sdk_ec2=warn";

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line, for machines.
    #[default]
    Json,
    /// For people; in colours only when a terminal reads it.
    Human,
}

impl FromStr for LogFormat {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        match text {
            "json" => Ok(Self::Json),
            "human" => Ok(Self::Human),
            other => Err(LogError::UnknownFormat {
                found: other.to_owned(),
            }),
        }
    }
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The format is neither `json` nor `human`.
    #[error("unknown log format {found:?}, expected json or human")]
    UnknownFormat {
        /// What was read.
        found: String,
    },
    /// A filter that is not understood would hide what somebody wanted to see, so it is an error.
    #[error("the log filter {filter:?} is not understood")]
    Filter {
        /// What was read.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something in this process has set up a log already.
    #[error("the log is set up already")]
    AlreadySetUp(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Sets up the log of this process; once, from `main`.
///
/// The filter is that of [`FILTER_VARIABLE`], else `filter`, else a default that shows our own
/// `info` events.
///
/// # Errors
///
/// When the filter is not understood or a log was set up before.
pub fn init(format: LogFormat, filter: Option<&str>) -> Result<(), LogError> {
    let variable = std::env::var(FILTER_VARIABLE).ok();
    let filter = parse_filter(choose_filter(variable.as_deref(), filter))?;
    let filter = filter.and(filter_fn(|metadata| {
        may_be_logged(metadata.target(), *metadata.level())
    }));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry();
    let done = match format {
        LogFormat::Json => {
            let layer = layer.json().flatten_event(true).with_span_list(false);
            registry.with(layer.with_filter(filter)).try_init()
        }
        LogFormat::Human => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let layer = layer.with_ansi(colours).with_target(false);
            registry.with(layer.with_filter(filter)).try_init()
        }
    };
    done.map_err(|error| LogError::AlreadySetUp(Box::new(error)))
}

/// Libraries that print what is on the wire when they are asked for more than `info`: request bodies with boot scripts,
/// headers with tokens. No filter of an operator turns that on; I12 holds at every level.
const SEES_THE_WIRE: [&str; 8] = [
    "aws_",
    "hyper",
    "h2",
    "reqwest",
    "rustls",
    "redis",
    "tower_http",
    "tungstenite",
];

fn may_be_logged(target: &str, level: Level) -> bool {
    level <= Level::INFO
        || !SEES_THE_WIRE
            .iter()
            .any(|prefix| target.starts_with(prefix))
}

fn choose_filter<'a>(variable: Option<&'a str>, configured: Option<&'a str>) -> &'a str {
    let set = |text: &&str| !text.trim().is_empty();
    variable
        .filter(set)
        .or(configured.filter(set))
        .unwrap_or(DEFAULT_FILTER)
}

fn parse_filter(text: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .parse(text)
        .map_err(|source| LogError::Filter {
            filter: text.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_filter_is_understood() {
        assert!(parse_filter(DEFAULT_FILTER).is_ok());
    }

    #[test]
    fn the_variable_beats_the_configuration_and_an_empty_one_does_not() {
        assert_eq!(choose_filter(Some("debug"), Some("warn")), "debug");
        assert_eq!(choose_filter(Some(" "), Some("warn")), "warn");
        assert_eq!(choose_filter(None, None), DEFAULT_FILTER);
    }

    #[test]
    fn a_filter_that_is_not_understood_is_an_error() {
        let error = parse_filter("scaler=loud").unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"the log filter "scaler=loud" is not understood"#
        );
    }

    #[test]
    fn no_filter_turns_on_what_prints_the_wire() {
        assert!(!may_be_logged(
            "aws_smithy_runtime::client::http",
            Level::DEBUG
        ));
        assert!(!may_be_logged("h2::codec::framed_read", Level::TRACE));
        assert!(may_be_logged("aws_config::profile", Level::WARN));
        assert!(may_be_logged("scaler::act", Level::TRACE));
    }

    #[test]
    fn a_format_is_json_or_human() {
        assert_eq!("human".parse::<LogFormat>().unwrap(), LogFormat::Human);
        let error = "xml".parse::<LogFormat>().unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"unknown log format "xml", expected json or human"#
        );
    }
}
