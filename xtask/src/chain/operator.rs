//! What an operator does at a terminal while the story goes on: the verbs of `parmanu`, what they say and how they end.
//!
//! Each verb is a process of its own with the configuration of the services, as it would be on any host: nothing here knows
//! more than its exit code and its JSON. That these are true is seen by other eyes (`look.rs`).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use serde_json::Value;

use super::stage::{CONFIG, TOKEN};

/// Who gives the orders.
pub(crate) const WHO: &str = "ann";

/// The exit code of `doctor` when something is wrong, and of `reap` when something stayed (docs/doctor.md, docs/reap.md).
pub(crate) const WRONG: i32 = 3;

/// The command, and where it is written down what it said.
#[derive(Clone)]
pub(crate) struct Operator {
    command: PathBuf,
    log: PathBuf,
}

/// How a verb ended.
#[derive(Debug)]
pub(crate) struct Said {
    /// Its exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// Its JSON; null when it printed none.
    pub(crate) answer: Value,
}

impl Operator {
    pub(crate) fn new(binaries: &Path, log: &Path) -> Self {
        Self {
            command: binaries.join("parmanu"),
            log: log.to_owned(),
        }
    }

    /// Everything of the fleet, and what is wrong with it.
    pub(crate) fn doctor(&self) -> anyhow::Result<Said> {
        self.run(&["doctor"])
    }

    /// One run of the reaper, with the grace that it has when nobody says another.
    pub(crate) fn reap(&self) -> anyhow::Result<Said> {
        self.run(&["reap", "--fleet", "chain"])
    }

    /// Gives an order, such as `pin docs 1`, to the scaler that listens there.
    pub(crate) fn order(
        &self,
        scaler: &str,
        what: &[&str],
        lasts: &str,
        because: &str,
    ) -> anyhow::Result<Said> {
        let how = ["--for", lasts, "--because", because];
        self.tell(scaler, &[what, &how].concat())
    }

    /// Has a verb speak with the scaler that listens there.
    pub(crate) fn tell(&self, scaler: &str, what: &[&str]) -> anyhow::Result<Said> {
        let url = format!("http://{scaler}");
        self.run(&[what, &["--scaler", &url]].concat())
    }

    /// The orders in force, as the scaler that listens there has them.
    pub(crate) fn overrides(&self, scaler: &str) -> anyhow::Result<Said> {
        self.tell(scaler, &["overrides"])
    }

    /// Runs a verb to its end; each of them has limits of its own for whom it asks.
    fn run(&self, arguments: &[&str]) -> anyhow::Result<Said> {
        let mut log = self.open_log()?;
        writeln!(log, "$ parmanu {}", arguments.join(" "))?;
        let output = Command::new(&self.command)
            .args(arguments)
            .args(["--output", "json"])
            .env("PARMANU_CONFIG", CONFIG)
            .env("PARMANU_TOKEN_FILE", TOKEN)
            .env("PARMANU_WHO", WHO)
            .stdin(Stdio::null())
            .stderr(log.try_clone()?)
            .output()
            .context("could not start parmanu")?;
        log.write_all(&output.stdout)?;
        writeln!(log, "{}", output.status)?;
        Ok(Said {
            code: output.status.code(),
            answer: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
        })
    }

    fn open_log(&self) -> anyhow::Result<File> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        Ok(log)
    }
}

impl Said {
    /// What breaks the promise that it ends with this code.
    pub(crate) fn ends_with(&self, verb: &str, code: i32) -> Vec<String> {
        if self.code == Some(code) {
            return Vec::new();
        }
        let Said {
            code: ended,
            answer,
        } = self;
        vec![format!("`{verb}` ended with {ended:?}: {answer}")]
    }

    /// What `doctor` calls wrong, each as `name: code`; what is wrong with no single thing has the name `fleet`.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let of = |name: &Value, problems: &Value| {
            let name = name.as_str().unwrap_or("fleet").to_owned();
            let problems = problems.as_array().cloned().unwrap_or_default();
            let code = move |problem: Value| {
                let code = problem["code"].as_str().unwrap_or("?").to_owned();
                format!("{name}: {code}")
            };
            problems.into_iter().map(code)
        };
        let rows = [&self.answer["machines"], &self.answer["executors"]];
        let rows = rows.into_iter().filter_map(Value::as_array).flatten();
        let rows = rows.flat_map(|row| of(&row["name"], &row["problems"]));
        rows.chain(of(&Value::Null, &self.answer["problems"]))
            .collect()
    }

    /// The orders that a list of them has; `None` when it is no list.
    pub(crate) fn orders(&self) -> Option<&[Value]> {
        self.answer["overrides"].as_array().map(Vec::as_slice)
    }

    /// What `reap` did, each as `machine: fate`.
    pub(crate) fn fates(&self) -> Vec<String> {
        let rows = self.answer["machines"].as_array();
        let rows = rows.into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        rows.map(|row| format!("{}: {}", text(&row["machine"]), text(&row["fate"])))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_found_wherever_it_stands() {
        let answer = json!({
            "machines": [
                { "name": "linux-1", "problems": [{ "code": "expired" }] },
                { "name": "linux-2", "problems": [] },
            ],
            "executors": [{ "name": "docs-1", "problems": [{ "code": "left" }] }],
            "problems": [{ "code": "leftover" }],
        });
        let said = Said {
            code: Some(WRONG),
            answer,
        };
        let wrong = ["linux-1: expired", "docs-1: left", "fleet: leftover"];
        assert_eq!(said.wrong(), wrong);
        assert_eq!(said.ends_with("doctor", 0).len(), 1);
        assert!(said.ends_with("doctor", WRONG).is_empty());
    }

    #[test]
    fn no_answer_is_neither_well_nor_a_fate() {
        let said = Said {
            code: None,
            answer: Value::Null,
        };
        assert!(said.fates().is_empty());
        assert_eq!(said.ends_with("reap", 0).len(), 1);
    }
}
