//! Each mistake in the keys is told at once, with its place.

mod support;

use serde_json::Value;
use support::problems;

fn of(yaml: &str) -> Vec<String> {
    let config: Value = serde_yaml::from_str(yaml).expect("YAML");
    problems(&config)
}

const GOOD: &str = r"
url: https://ci.example.com/api
token: { secret: '${env:CI_TOKEN}' }
requests: { jobs: { path: /jobs }, hosts: { path: /hosts } }
jobs: [{ from: jobs, id: id, is: runnable, executor: host }]
executors: [{ from: hosts, id: id, busy_from_jobs: true }]
";

#[test]
fn a_good_configuration_has_no_problem() {
    assert_eq!(of(GOOD), Vec::<String>::new());
}

#[test]
fn every_bad_expression_is_told_at_once_with_its_place() {
    let found = of(r"
url: https://ci.example.com
requests:
  jobs: { path: /jobs, expect: 'a[', complete: [{ items: list, total: 'size(list)' }], pages: { next: '??' } }
jobs:
  - { from: jobs, id: 'id', is: runnable, labels: 'join(' }
  - { from: jobs, id: '}', is: runnable }
executors: [{ from: jobs, id: id, state: 'a ||', states: { up: idle } }]
");
    let places: Vec<&str> = found
        .iter()
        .filter_map(|line| line.split_once(": ").map(|(place, _)| place))
        .collect();
    for place in [
        "requests.jobs.expect",
        "requests.jobs.complete.0.total",
        "requests.jobs.pages.next",
        "jobs.0.labels",
        "jobs.1.id",
        "executors.0.state",
    ] {
        assert!(places.contains(&place), "{place} is not in {found:#?}");
    }
    let unknown = found.iter().find(|line| line.contains("`size`"));
    assert!(
        unknown.is_some_and(|line| line.contains("which JMESPath does not have")),
        "{found:#?}"
    );
}

#[test]
fn each_other_mistake_is_told() {
    for (old, new, words) in [
        (
            "https://ci.example.com/api",
            "ci.example.com",
            "url: that is not an address",
        ),
        (
            "https://ci",
            "https://u:secret@ci",
            "url: that is not an address",
        ),
        (
            "'${env:CI_TOKEN}'",
            "abcdef",
            "token.secret: a secret stands in the file",
        ),
        (
            "token:",
            "login: { user: a, password: '${env:P}' }\ntoken:",
            "login: give `token` or `login`",
        ),
        (
            "token:",
            "headers: { Authorization: x }\ntoken:",
            "headers.Authorization: secrets do not belong here",
        ),
        (
            "token:",
            "headers: { X-Key: '${env:P}' }\ntoken:",
            "headers.X-Key: secrets do not belong here",
        ),
        (
            "token:",
            "headers: { 'a b': x }\ntoken:",
            "headers.a b: that is no name",
        ),
        (
            "token:",
            "request_timeout: 0s\ntoken:",
            "request_timeout: shorter than 1s",
        ),
        (
            "from: jobs",
            "from: jbos",
            "jobs.0.from: there is no request `jbos`",
        ),
        (
            "is: runnable",
            "name: x",
            "jobs.0: say where the jobs stand",
        ),
        (
            "is: runnable",
            "is: scheduled",
            "jobs.0: scheduled jobs need `starts_at`",
        ),
        (
            "is: runnable",
            "is: waiting",
            "jobs.0.is: `waiting` is not known here",
        ),
        ("is: runnable", "state: s", "jobs.0: `state` needs `states`"),
        (
            "is: runnable",
            "is: runnable, states: { a: running }",
            "jobs.0.states: has no effect without `state`",
        ),
        (
            ", executor: host",
            "",
            "executors.0.busy_from_jobs: no entry of `jobs` says by `executor`",
        ),
        (
            ", busy_from_jobs: true",
            "",
            "executors.0: say what they do",
        ),
        (
            "busy_from_jobs: true",
            "busy_from_jobs: true, offline_after: 1m",
            "executors.0.offline_after: has no effect",
        ),
        (
            "path: /jobs",
            "path: '/jobs?a=b'",
            "requests.jobs.path: a query goes into `query`",
        ),
        (
            "path: /jobs",
            "path: '/jobs/{run}'",
            "requests.jobs.path: `{run}` is not among",
        ),
        (
            "path: /jobs",
            "path: '/jobs/{run'",
            "requests.jobs.path: `/jobs/{run` has a bracket",
        ),
        (
            "path: /jobs",
            "path: /jobs, pages: {}",
            "requests.jobs.pages: give exactly one",
        ),
        (
            "path: /jobs",
            "path: /jobs, pages: { link: true, next: a }",
            "requests.jobs.pages: give exactly one",
        ),
        (
            "path: /jobs",
            "path: /jobs, pages: { next: a }",
            "requests.jobs.pages: when the server renames",
        ),
        (
            "path: /jobs",
            "path: /jobs, pages: { number: { parameter: p, size: 5 } }",
            "requests.jobs.pages.number: a server that gives fewer",
        ),
        (
            "path: /jobs",
            "path: /jobs, url: nowhere",
            "requests.jobs.url: that is not an address",
        ),
        (
            "path: /jobs",
            "path: /jobs, for_each: { of: [hosts, x], items: a, with: {} }",
            "requests.jobs.for_each.of.1: there is no request `x`",
        ),
        (
            "path: /jobs",
            "path: /jobs, for_each: { of: [], items: a, with: {} }",
            "requests.jobs.for_each.of: names no request",
        ),
        (
            "path: /jobs",
            "path: /jobs, for_each: { of: [jobs], items: a, with: {} }",
            "two steps are the most",
        ),
        (
            "path: /hosts }",
            "path: /hosts }, more: { path: /more }",
            "requests.more: nothing takes its answer",
        ),
    ] {
        assert!(GOOD.contains(old), "{old}");
        let found = of(&GOOD.replacen(old, new, 1));
        assert!(
            found
                .iter()
                .any(|line| line.starts_with(words) || line.contains(words)),
            "{new} gives {found:#?}"
        );
    }
    let (without, _) = GOOD.split_once("executors:").expect("executors");
    let found = of(without);
    assert!(
        found
            .iter()
            .any(|line| line.contains("no machine is ever seen to join")),
        "{found:#?}"
    );
}

#[test]
fn no_problem_repeats_an_address_with_a_password() {
    let found = of(&GOOD.replace("https://ci", "https://u:never-print-me@ci"));
    assert!(
        !found.is_empty() && !found.join("\n").contains("never-print-me"),
        "{found:?}"
    );
}
