//! The verbs that speak with a running scaler: `status`, `why`, `pause`, `resume`, `pin`, `drain`, `confirm`, `overrides`.
//!
//! They know nothing but its API (docs/api/openapi.json), so they need neither the configuration nor a cloud's credentials.
//! Where no scaler answers they say what was tried and which verbs look by themselves.
//!
//! - `client.rs` asks; `status.rs` and `why.rs` put answers into words; `orders.rs` gives orders.

mod client;
mod orders;
mod status;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use ports::SecretRef;
use secrecy::SecretString;
use url::Url;

pub(crate) use orders::{Confirm, Drain, Overrides, Pause, Pin, Resume};
pub(crate) use status::Status;
pub(crate) use why::Why;

use crate::output::Output;

/// The answer is there, and the scaler says that it is not the whole truth.
const DOUBTFUL: u8 = 3;
/// There is no such pool, machine, job or override.
const NOT_FOUND: u8 = 4;

/// Which scaler is asked, and how its answer is printed.
#[derive(clap::Args)]
pub(crate) struct Asked {
    /// Where scaler answers.
    #[arg(
        long,
        env = "PARMANU_SCALER",
        default_value = "http://127.0.0.1:9642",
        global = true
    )]
    scaler: Url,
    /// Tables for people, or JSON for scripts.
    #[arg(long, default_value = "words", global = true)]
    output: Output,
}

/// Who gives an order, with which right.
#[derive(clap::Args)]
pub(crate) struct Author {
    /// The token of `api:` in a file. Without it the variable PARMANU_TOKEN is read; a token on the command line would stand
    /// in every list of processes.
    #[arg(long, env = "PARMANU_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Who says so, for the audit; without it the name of the user at the terminal.
    #[arg(long, env = "PARMANU_WHO")]
    who: Option<String>,
}

impl Author {
    fn token(&self) -> anyhow::Result<SecretString> {
        let place = match &self.token_file {
            Some(file) => SecretRef::File(file.clone()),
            None => SecretRef::Env("PARMANU_TOKEN".to_owned()),
        };
        match (place.read(), &self.token_file) {
            (Ok(token), _) => Ok(token),
            (Err(error), Some(_)) => Err(error.into()),
            (Err(_), None) => bail!(
                "an order needs the token of `api: {{ token: … }}`: set PARMANU_TOKEN, or name its file by --token-file"
            ),
        }
    }

    fn who(&self) -> anyhow::Result<String> {
        let user = ["USER", "LOGNAME"]
            .iter()
            .find_map(|name| std::env::var(name).ok());
        match self
            .who
            .clone()
            .or(user)
            .filter(|who| !who.trim().is_empty())
        {
            Some(who) => Ok(who),
            None => bail!("nobody knows who gives this order: say it by --who"),
        }
    }
}

/// The exit code of an answer that says these doubts.
fn code(doubts: usize) -> ExitCode {
    match doubts {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(DOUBTFUL),
    }
}
