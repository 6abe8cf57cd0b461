//! `parmanu check FILE`: what is wrong with a configuration, all at once.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use config::{Diagnostic, LoadError, Report, Settings};
use model::Policy;
use model::rules::PRECEDENCE;
use model::words::counted as count;
use ports::strict::Severity;
use serde::Serialize;

use crate::output::{Output, print_json};

/// What `--output json` prints. Its keys stay what they are; new ones may come.
#[derive(Serialize)]
struct Checked {
    version: u32,
    usable: bool,
    errors: usize,
    warnings: usize,
    findings: Vec<Finding>,
}

/// One thing that is wrong.
#[derive(Serialize)]
struct Finding {
    severity: &'static str,
    file: String,
    line: Option<usize>,
    column: Option<usize>,
    end_column: Option<usize>,
    message: String,
    suggestion: Option<String>,
}

impl Finding {
    fn of(diagnostic: &Diagnostic) -> Self {
        let (line, column) = diagnostic.place.unzip();
        Finding {
            severity: diagnostic.severity.as_str(),
            file: diagnostic.file.clone(),
            line,
            column,
            end_column: diagnostic.end,
            message: diagnostic.message.clone(),
            suggestion: diagnostic.suggestion.clone(),
        }
    }

    /// A file that is not there: for a program that reads findings it is one of them.
    fn unreadable(path: &Path, source: &std::io::Error) -> Self {
        Finding {
            severity: Severity::Error.as_str(),
            file: path.display().to_string(),
            line: None,
            column: None,
            end_column: None,
            message: format!("it cannot be read: {source}"),
            suggestion: None,
        }
    }
}

/// Checks files, each a configuration of its own, and prints what is wrong with them. Exit code 1 when any cannot be used.
pub(crate) fn run(files: &[PathBuf], strict: bool, output: Output) -> anyhow::Result<ExitCode> {
    let good = match output {
        Output::Words => {
            let mut good = true;
            for file in files {
                good &= one(file, strict)?;
            }
            good
        }
        Output::Json => {
            let checked = all(files, strict);
            print_json(&checked)?;
            checked.usable
        }
    };
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn all(files: &[PathBuf], strict: bool) -> Checked {
    let mut findings = vec![];
    for file in files {
        match config::load(file, &service::registries()) {
            Ok((_, report)) | Err(LoadError::Invalid { report }) => {
                findings.extend(report.0.iter().map(Finding::of));
            }
            Err(LoadError::Io { path, source }) => {
                findings.push(Finding::unreadable(&path, &source));
            }
        }
    }
    let is_error = |finding: &&Finding| finding.severity == Severity::Error.as_str();
    let errors = findings.iter().filter(is_error).count();
    let warnings = findings.len() - errors;
    Checked {
        version: 1,
        usable: errors == 0 && !(strict && warnings > 0),
        errors,
        warnings,
        findings,
    }
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
