//! From the pages of an answer to jobs and executors. Pure.
//!
//! Whatever cannot be read is said: an item without an id, a word that is not in the table, a field of another type. What
//! is left of it counts in the way that neither starts a machine for nothing nor lets one go.

mod executors;
mod jobs;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jmespath::{Rcvar, Variable};
use model::{Executor, ExecutorId, Job, JobClass, JobId, PoolName};

use crate::config::HttpConfig;
use crate::doubts::Doubts;
use crate::expression::Expression;
use crate::fetch::Answers;
use crate::value::{self, Odd};

/// Jobs, or executors, of one look. More than any one CI server holds, and a bound on the memory of a hostile one.
const MOST: usize = 100_000;

/// The jobs of all entries, each id once. One that is listed as waiting and as running runs.
pub(crate) fn jobs(config: &HttpConfig, answers: &Answers, doubts: &mut Doubts) -> Vec<Job> {
    let mut found = BTreeMap::new();
    for (index, entry) in config.jobs.iter().enumerate() {
        let pages = answers.of(&entry.from);
        jobs::read(entry, Place::of("jobs", index, doubts), pages, &mut found);
    }
    found.into_values().collect()
}

/// The executors of all entries, each id once, when these jobs were seen. `pools` are those that the emitter serves.
pub(crate) fn executors(
    config: &HttpConfig,
    pools: &BTreeSet<PoolName>,
    answers: &Answers,
    jobs: &[Job],
    now: Timestamp,
    doubts: &mut Doubts,
) -> Vec<Executor> {
    let mut held: BTreeMap<ExecutorId, Vec<JobId>> = BTreeMap::new();
    for job in jobs {
        if let JobClass::Running { executor: Some(on) } = &job.class {
            held.entry(on.clone()).or_default().push(job.id.clone());
        }
    }
    let seen = executors::Seen {
        pools,
        held,
        all_jobs: doubts.is_empty(),
        now,
    };
    let mut found = BTreeMap::new();
    for (index, entry) in config.executors.iter().enumerate() {
        let pages = answers.of(&entry.from);
        let place = Place::of("executors", index, doubts);
        executors::read(entry, place, pages, &seen, &mut found);
    }
    found.into_values().collect()
}

/// One entry of the configuration, and where its doubts go.
struct Place<'a> {
    name: String,
    doubts: &'a mut Doubts,
}

impl<'a> Place<'a> {
    fn of(list: &str, index: usize, doubts: &'a mut Doubts) -> Self {
        Self {
            name: format!("{list}[{index}]"),
            doubts,
        }
    }

    fn doubt(&mut self, words: &str) {
        self.doubts.add(format!("{}: {words}", self.name));
    }

    /// The items of all pages.
    fn items(&mut self, items: Option<&Expression>, pages: &[Rcvar]) -> Vec<Rcvar> {
        let whole = Expression::identity();
        let items = items.unwrap_or(&whole);
        let mut found = Vec::new();
        for page in pages {
            match items.of(page).and_then(|list| value::items(&list)) {
                Ok(list) => found.extend(list),
                Err(odd) => self.doubt(&format!("`items` {odd}")),
            }
        }
        if found.len() > MOST {
            self.doubt(&format!("{} items, of which {MOST} are read", found.len()));
            found.truncate(MOST);
        }
        found
    }

    /// What an expression gives, if there is one and it gives something fit.
    fn read<T>(
        &mut self,
        key: &str,
        expression: Option<&Expression>,
        item: &Rcvar,
        reader: impl Fn(&Variable) -> Result<T, Odd>,
    ) -> Option<T> {
        let found = expression?.of(item).and_then(|found| reader(&found));
        match found {
            Ok(found) => Some(found),
            Err(odd) => {
                self.doubt(&format!("`{key}` {odd}"));
                None
            }
        }
    }

    /// As [`Place::read`], for what may be null.
    fn maybe<T>(
        &mut self,
        key: &str,
        expression: Option<&Expression>,
        item: &Rcvar,
        reader: impl Fn(&Variable) -> Result<Option<T>, Odd>,
    ) -> Option<T> {
        self.read(key, expression, item, reader).flatten()
    }

    /// The server's word for a state, which is said when the table does not have it.
    fn word<T: Copy>(
        &mut self,
        state: Option<&Expression>,
        states: &BTreeMap<String, T>,
        item: &Rcvar,
    ) -> Result<T, String> {
        let Some(word) = self.maybe("state", state, item, value::text) else {
            self.doubt("an item has no state");
            return Err("the server gives no state".to_owned());
        };
        states.get(&word).copied().ok_or_else(|| {
            let words = format!("the state `{}` is not in `states`", web::quote(&word, ""));
            self.doubt(&words);
            words
        })
    }

    /// Whether two items of one entry are told apart by their ids.
    fn tell_apart(&mut self, ids: &mut BTreeMap<String, Rcvar>, id: &str, item: &Rcvar) {
        match ids.get(id) {
            None => {
                ids.insert(id.to_owned(), item.clone());
            }
            // a list that moves while it is read gives an item twice
            Some(other) if other == item => {}
            Some(_) => self.doubt("two different items have the same id"),
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{ExecutorState, JobClass};
    use proptest::prelude::*;
    use proptest::strategy::ValueTree as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::value::tests::value;

    /// Every key there is, on fields that the rows below have now and then.
    fn config() -> HttpConfig {
        let job = json!({
            "from": "page", "items": "list", "id": "id", "state": "state", "count": "not_null(count, `1`)",
            "states": { "ready": "runnable", "on": "running", "timer": "scheduled", "held": "blocked", "never": "unrunnable", "over": "done" },
            "name": "name", "project": "a", "paused": "paused", "labels": "labels", "queued_at": "at", "started_at": "at",
            "starts_at": "at", "expected": "count", "executor": "id", "reason": "name", "parents": "labels", "cpu": "count",
            "memory": "count",
        });
        let executor = json!({
            "from": "page", "items": "list", "id": "id", "name": "name", "labels": "labels", "slots": "not_null(slots, `1`)", "state": "state",
            "states": { "ready": "idle", "on": "busy", "held": "offline", "over": "offline", "never": "never-joined" }, "jobs": "labels",
            "since": "at", "last_contact": "at", "paused": "paused", "unlabelled": "paused", "memory_free": "count",
            "load": "count",
        });
        let config = json!({
            "url": "https://ci.example.com", "requests": { "page": { "path": "/" } }, "jobs": [job], "executors": [executor],
        });
        serde_json::from_value(config).unwrap()
    }

    /// What a row's fields may hold: what they should, or anything.
    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            (0..5_u32).prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
            prop::sample::select(vec![
                "ready",
                "on",
                "timer",
                "held",
                "never",
                "over",
                "dreaming",
                "2026-09-01T10:00:00Z"
            ])
            .prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(field(), inner, 0..6)
                    .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    fn field() -> impl Strategy<Value = String> {
        let fields = [
            "id", "state", "count", "name", "labels", "at", "paused", "slots",
        ];
        prop::sample::select(fields.map(str::to_owned).to_vec())
    }

    fn row() -> impl Strategy<Value = Value> {
        let state = prop::sample::select(vec!["ready", "on", "over", "held"]);
        let whole = (
            0..1000_u32,
            state,
            prop::collection::btree_map(field(), anything(), 0..3),
        );
        let whole = whole.prop_map(|(id, state, more)| {
            let mut row = json!({ "id": id, "state": state, "at": 1_788_256_800 });
            more.into_iter().for_each(|(key, value)| row[key] = value);
            row
        });
        prop_oneof![3 => whole, 1 => anything()]
    }

    fn page() -> impl Strategy<Value = Value> {
        let rows = prop::collection::vec(row(), 0..6);
        let whole = (rows, any::<bool>());
        let whole = whole.prop_map(|(rows, paused)| json!({ "list": rows, "paused": paused }));
        prop_oneof![4 => whole, 1 => anything()]
    }

    fn converted(page: &Value) -> (Vec<Job>, Vec<Executor>, bool) {
        let config = config();
        let answers = Answers::made_of("page", value(page));
        let mut doubts = Doubts::default();
        let jobs = jobs(&config, &answers, &mut doubts);
        let now = "2026-09-01T10:00:00Z".parse().unwrap();
        let executors = executors(&config, &BTreeSet::new(), &answers, &jobs, now, &mut doubts);
        (jobs, executors, doubts.is_empty())
    }

    fn rows(page: &Value) -> &[Value] {
        page["list"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The ids of the rows that `keep` keeps.
    fn ids(page: &Value, keep: impl Fn(&Value) -> bool) -> BTreeSet<String> {
        let kept = rows(page).iter().filter(|row| keep(row));
        let id = |row: &Value| {
            row["id"]
                .as_str()
                .map_or_else(|| row["id"].to_string(), str::to_owned)
        };
        kept.map(id).collect()
    }

    /// The id of the row that a job was counted from.
    fn row_of(job: &Job) -> String {
        let (id, _) = job.id.as_str().rsplit_once('#').unwrap();
        id.to_owned()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_answer_panics_and_no_item_is_lost_without_a_doubt(page in page()) {
            let (jobs, executors, complete) = converted(&page);
            prop_assert!(jobs.len() <= MOST);
            if complete {
                let counted = ids(&page, |row| row["state"] != "over" && row["count"] != json!(0));
                let seen: BTreeSet<String> = jobs.iter().map(row_of).collect();
                prop_assert_eq!(seen, counted);
                let seen: BTreeSet<String> = executors.iter().map(|seen| seen.id.to_string()).collect();
                prop_assert_eq!(seen, ids(&page, |_| true));
            }
        }

        #[test]
        fn nobody_is_idle_and_nothing_is_demand_unless_the_server_says_so(page in page()) {
            let (jobs, executors, _) = converted(&page);
            let ready = ids(&page, |row| row["state"] == "ready");
            for executor in executors.iter().filter(|seen| matches!(seen.state, ExecutorState::Idle { .. })) {
                prop_assert!(ready.contains(executor.id.as_str()), "{executor:?}");
            }
            for job in jobs.iter().filter(|job| job.class == JobClass::Runnable) {
                prop_assert!(ready.contains(&row_of(job)) && page["paused"] != true, "{job:?}");
            }
        }
    }

    #[test]
    fn the_property_is_about_something() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let mut whole = 0;
        for _ in 0..500 {
            let page = page().new_tree(&mut runner).unwrap().current();
            let (jobs, _, complete) = converted(&page);
            whole += u32::from(complete && !jobs.is_empty());
        }
        assert!(
            whole > 25,
            "only {whole} of 500 pages are whole and have jobs"
        );
    }
}
