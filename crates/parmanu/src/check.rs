//! `parmanu check FILE`: what is wrong with a configuration, all at once.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use config::{LoadError, Report, Settings};
use model::Policy;
use model::rules::PRECEDENCE;

/// Checks files, each a configuration of its own, and prints what is wrong with them.
pub(crate) fn run(files: &[PathBuf], strict: bool) -> anyhow::Result<ExitCode> {
    let mut good = true;
    for file in files {
        good &= one(file, strict)?;
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether a file can be used.
fn one(file: &Path, strict: bool) -> anyhow::Result<bool> {
    match config::load(file, &service::registries()) {
        Ok((settings, report)) => {
            print!("{report}");
            print_summary(&settings, &report);
            Ok(!strict || report.0.is_empty())
        }
        Err(LoadError::Invalid { report }) => {
            print!("{report}");
            let (errors, warnings) = report.counts();
            println!(
                "{}: {}, {}",
                file.display(),
                count(errors, "error"),
                count(warnings, "warning")
            );
            Ok(false)
        }
        Err(error @ LoadError::Io { .. }) => Err(error.into()),
    }
}

fn print_summary(settings: &Settings, report: &Report) {
    let (_, warnings) = report.counts();
    println!(
        "fleet {}: {}, {}, {}; {}",
        settings.fleet,
        count(settings.emitters.len(), "emitter"),
        count(settings.providers.len(), "provider"),
        count(settings.pools.len(), "pool"),
        count(warnings, "warning"),
    );
    let steps = PRECEDENCE.map(|(step, _)| step).join(" > ");
    println!("  rules act in this order: {steps}");
    for (name, pool) in &settings.pools {
        let policy = &pool.policy;
        let emitter = policy
            .emitter
            .as_ref()
            .map_or("no emitter".to_owned(), ToString::to_string);
        println!(
            "  pool {name}: {emitter}, {} to {} machines of {}; rules {}",
            policy.min,
            policy.max,
            count(policy.slots as usize, "slot"),
            rules(policy)
        );
    }
}

/// The rules in the order in which they are looked through: of each kind the first whose conditions hold is in force.
fn rules(policy: &Policy) -> String {
    let words = policy.rules.iter().map(|rule| match rule.when.is_always() {
        true => rule.name.clone(),
        false => format!("{} ({})", rule.name, rule.when),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// `1 error`, `2 errors`.
fn count(n: usize, noun: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {noun}{plural}")
}
