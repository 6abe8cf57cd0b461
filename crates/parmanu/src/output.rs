//! How a verb prints its answer: for people, or for scripts.

use clap::ValueEnum;
use serde::Serialize;

/// The values of `--output`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Words,
    Json,
}

pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}
