//! A trace of jobs: what was submitted when, for how long, to which pool, and after which other jobs.
//!
//! The CSV has a header and one row per job, sorted by submission:
//!
//! | column | meaning |
//! | --- | --- |
//! | `submitted_at_s` | seconds since the start of the trace, which is a Monday, 00:00 UTC |
//! | `duration_s` | seconds for which the job holds one slot, 1 or more |
//! | `pool` | whose executors can run it |
//! | `parents` | `;`-joined numbers of the data rows (from 0) that must finish first; empty if none |
//!
//! A job can run from the later of its submission and the end of its last parent. Rows are read one by one and the
//! first bad one ends the reading, with its line: a trace with a hole in it would simulate another company.

use std::collections::BTreeMap;
use std::io::Read;

use serde::Deserialize;

use crate::Ms;

/// Rows read at most: ten times the largest trace anybody has tried, and less than 2 GB.
pub const MAX_JOBS: usize = 20_000_000;

/// A job may hold its slot for a year at most; more is a unit mistaken.
const MAX_DURATION_S: u64 = 366 * 24 * 3600;

/// A trace may be ten years long; more is a date where seconds were meant.
const MAX_SUBMITTED_S: u64 = 10 * 366 * 24 * 3600;

/// One job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// When it was submitted.
    pub submitted: Ms,
    /// How long it holds a slot.
    pub duration: Ms,
    /// Its pool, as an index into [`Trace::pools`].
    pub pool: u32,
    /// Jobs that must end first, as indices into [`Trace::jobs`]; each smaller than its own.
    pub parents: Vec<u32>,
}

/// Jobs sorted by submission, and the pools they name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Names of the pools, in the order in which they are first named.
    pub pools: Vec<String>,
}

/// A trace that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file is no CSV, or a row has the wrong columns or no numbers in them.
    #[error(
        "{line}: a row has the columns submitted_at_s,duration_s,pool,parents, the first two whole seconds"
    )]
    Row {
        /// `line 7`, or where else the reading ended.
        line: String,
        /// What the reader says.
        #[source]
        source: csv::Error,
    },
    /// A row says something impossible.
    #[error("line {line}: {what}")]
    Value {
        /// The line in the file, from 1.
        line: u64,
        /// What is wrong and what to do about it.
        what: String,
    },
    /// There is no row.
    #[error("the trace has no job: a header and one row per job are expected")]
    Empty,
}

#[derive(Deserialize)]
struct Row {
    submitted_at_s: u64,
    duration_s: u64,
    pool: String,
    #[serde(default)]
    parents: Option<String>,
}

impl Trace {
    /// Reads a CSV.
    pub fn read(from: impl Read) -> Result<Trace, TraceError> {
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_reader(from);
        let headers = reader.headers().map_err(no_row)?.clone();
        let mut trace = Trace::default();
        let mut pools = BTreeMap::new();
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(no_row)? {
            let line = record.position().map_or(0, csv::Position::line);
            let row: Row = record.deserialize(Some(&headers)).map_err(no_row)?;
            trace
                .add(row, &mut pools)
                .map_err(|what| TraceError::Value { line, what })?;
        }
        if trace.jobs.is_empty() {
            return Err(TraceError::Empty);
        }
        Ok(trace)
    }

    fn add(&mut self, row: Row, pools: &mut BTreeMap<String, u32>) -> Result<(), String> {
        if self.jobs.len() >= MAX_JOBS {
            return Err(format!("more than {MAX_JOBS} jobs: split the trace"));
        }
        if row.duration_s == 0 {
            return Err("duration_s is 0: a job holds its slot for 1 second at least; leave out jobs that never ran".into());
        }
        if row.duration_s > MAX_DURATION_S {
            return Err(format!(
                "duration_s is {}, more than a year: are these milliseconds?",
                row.duration_s
            ));
        }
        if row.submitted_at_s > MAX_SUBMITTED_S {
            return Err(format!(
                "submitted_at_s is {}, more than ten years: count from the start of the trace, which is 0",
                row.submitted_at_s
            ));
        }
        let submitted = row.submitted_at_s * 1000;
        if let Some(last) = self.jobs.last().filter(|last| last.submitted > submitted) {
            return Err(format!(
                "submitted_at_s is {}, earlier than {} in the row before: sort the rows by submitted_at_s (and renumber parents)",
                row.submitted_at_s,
                last.submitted / 1000
            ));
        }
        if row.pool.is_empty() {
            return Err("pool is empty: every job names its pool".into());
        }
        let parents = self.parents(row.parents.as_deref().unwrap_or_default())?;
        let known = u32::try_from(self.pools.len()).unwrap_or(u32::MAX);
        let pool = *pools.entry(row.pool).or_insert_with_key(|name| {
            self.pools.push(name.clone());
            known
        });
        self.jobs.push(Job {
            submitted,
            duration: row.duration_s * 1000,
            pool,
            parents,
        });
        Ok(())
    }

    fn parents(&self, text: &str) -> Result<Vec<u32>, String> {
        let mut parents = Vec::new();
        for part in text
            .split(';')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let number: u32 = part.parse().map_err(|_| {
                format!("parents has `{part}`: numbers of earlier data rows, from 0, joined by `;`")
            })?;
            if number as usize >= self.jobs.len() {
                return Err(format!(
                    "parents has {number}, but this is row {}: a parent stands before its child",
                    self.jobs.len()
                ));
            }
            parents.push(number);
        }
        parents.sort_unstable();
        parents.dedup();
        Ok(parents)
    }

    /// Gives the pools other names, such as those of a configuration. Two pools may become one.
    pub fn rename(&mut self, new_name: impl Fn(&str) -> String) {
        let mut names: Vec<String> = Vec::new();
        let moved: Vec<u32> = self
            .pools
            .iter()
            .map(|old| {
                let new = new_name(old);
                let at = names.iter().position(|name| *name == new);
                let at = at.unwrap_or_else(|| {
                    names.push(new);
                    names.len() - 1
                });
                u32::try_from(at).unwrap_or(u32::MAX)
            })
            .collect();
        self.pools = names;
        for job in &mut self.jobs {
            job.pool = moved[job.pool as usize];
        }
    }

    /// Sum of all durations.
    pub fn work(&self) -> Ms {
        self.jobs.iter().map(|job| job.duration).sum()
    }
}

fn no_row(source: csv::Error) -> TraceError {
    let line = source
        .position()
        .map_or("the file".to_owned(), |at| format!("line {}", at.line()));
    TraceError::Row { line, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rows: &str) -> Result<Trace, TraceError> {
        let text = format!("submitted_at_s,duration_s,pool,parents\n{rows}");
        Trace::read(text.as_bytes())
    }

    fn wrong(rows: &str) -> String {
        read(rows).expect_err("a bad trace").to_string()
    }

    #[test]
    fn rows_become_jobs() {
        let trace = read("0,60,a,\n5,30,b,0\n5,30,a,0;1\n").expect("a trace");
        assert_eq!(trace.pools, ["a", "b"]);
        assert_eq!(trace.work(), 120_000);
        assert_eq!(trace.jobs[2].parents, [0, 1]);
        assert_eq!(trace.jobs[1].pool, 1);
    }

    #[test]
    fn the_column_of_parents_may_be_left_out() {
        let trace = Trace::read("submitted_at_s,duration_s,pool\n1,2,a\n".as_bytes());
        assert_eq!(trace.expect("a trace").jobs.len(), 1);
    }

    #[test]
    fn a_bad_row_is_named_by_its_line_with_what_to_do() {
        assert!(wrong("0,60,a,\nx,60,a,\n").starts_with("line 3: a row has the columns"));
        assert!(wrong("0,60,a,\n1,60\n").starts_with("line 3: a row has the columns"));
        assert!(wrong("0,0,a,\n").starts_with("line 2: duration_s is 0"));
        assert!(wrong("9,1,a,\n8,1,a,\n").contains("sort the rows"));
        assert!(wrong("0,1,a,0\n").contains("a parent stands before its child"));
        assert!(wrong("0,1,a,x\n").contains("numbers of earlier data rows"));
        assert!(wrong("0,1,,\n").contains("names its pool"));
        assert!(wrong("1700000000,1,a,\n").contains("count from the start"));
        assert!(wrong("0,99999999,a,\n").contains("milliseconds"));
        assert!(wrong("").contains("no job"));
    }

    #[test]
    fn two_pools_may_be_mapped_to_one() {
        let mut trace = read("0,60,a,\n5,30,b,\n6,1,c,\n").expect("a trace");
        trace.rename(|name| {
            if name == "c" {
                "c".into()
            } else {
                "linux".into()
            }
        });
        assert_eq!(trace.pools, ["linux", "c"]);
        let pools: Vec<u32> = trace.jobs.iter().map(|job| job.pool).collect();
        assert_eq!(pools, [0, 0, 1]);
    }
}
