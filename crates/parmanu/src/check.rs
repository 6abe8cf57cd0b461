//! `parmanu check FILE`: what is wrong with a configuration, all at once.

use std::path::Path;
use std::process::ExitCode;

use config::{LoadError, Report, Settings};

/// Checks a file and prints what is wrong with it.
pub(crate) fn run(file: &Path, strict: bool) -> anyhow::Result<ExitCode> {
    match config::load(file, &service::registries()) {
        Ok((settings, report)) => {
            print!("{report}");
            print_summary(&settings, &report);
            let refused = strict && !report.0.is_empty();
            Ok(if refused {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            })
        }
        Err(LoadError::Invalid { report }) => {
            print!("{report}");
            let (errors, warnings) = report.counts();
            println!("{}: {errors} errors, {warnings} warnings", file.display());
            Ok(ExitCode::FAILURE)
        }
        Err(error @ LoadError::Io { .. }) => Err(error.into()),
    }
}

fn print_summary(settings: &Settings, report: &Report) {
    let (_, warnings) = report.counts();
    println!(
        "fleet {}: {} emitters, {} providers, {} pools; {warnings} warnings",
        settings.fleet,
        settings.emitters.len(),
        settings.providers.len(),
        settings.pools.len(),
    );
    for (name, pool) in &settings.pools {
        let policy = &pool.policy;
        let emitter = policy
            .emitter
            .as_ref()
            .map_or("no emitter".to_owned(), ToString::to_string);
        println!(
            "  pool {name}: {emitter}, {} to {} machines of {} slots, idle machines leave after {:?}",
            policy.min, policy.max, policy.slots, policy.scale_in.idle_for
        );
    }
}
