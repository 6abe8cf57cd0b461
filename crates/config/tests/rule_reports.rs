//! What an operator reads about wrong rules: whole reports, in words.
//!
//! `UPDATE_EXPECT=1 cargo test -p config --test rule_reports -- --test-threads=1` writes them anew; read what changed.

mod support;

use expect_test::{Expect, expect};
use support::check_after;

/// The good file with these rules, taken by its pool in this order.
fn check_rules(taken: &str, rules: &str, expected: Expect) {
    check_after(
        &[
            ("rules: [gentle]", &format!("rules: [{taken}]")),
            ("  gentle: { kind: scale-in, idle_for: 10m }\n", rules),
        ],
        expected,
    );
}

#[test]
fn every_kind_is_read() {
    check_rules(
        "a, b, c, d, e, f, g",
        r#"  a: { kind: utilization, target: 80% }
  b: { kind: reserve, idle: arrivals, wait_to_idle: 20, at_most: 9, when: { queued_over: 1 } }
  c: { kind: reserve, idle: 10% }
  d: { kind: scale-in, idle_for: break-even, wait_to_idle: 2, announced: 10s, at_most: 5, per: 2m }
  e: { kind: pace, create: 60, stabilise: 5m }
  f: { kind: limit, min: 1, when: { schedule: "Mon-Fri 22:00-06:00", zone: Europe/Berlin } }
  g: { kind: limit, max: 2, when: { any: [{ utilization_over: 95.5% }, { oldest_wait_over: 5m }] } }
"#,
        expect![[r#"
            good
        "#]],
    );
}

#[test]
fn kinds_that_are_not_there_yet_say_what_to_use_meanwhile() {
    check_rules(
        "a, b, c",
        r#"  a: { kind: forecast }
  b: { kind: wait, within: 1m }
  c: { kind: recycle }
"#,
        expect![[r#"
            error: rules of the kind `forecast` are not there yet; `reserve` with `when: { schedule: … }` starts machines ahead
              --> parmanu.yaml:26:14
               |
            26 |   a: { kind: forecast }
               |              ^^^^^^^^

            error: rules of the kind `wait` are not there yet; `reserve` with `idle: arrivals` and a greater `wait_to_idle` shortens waits
              --> parmanu.yaml:27:14
               |
            27 |   b: { kind: wait, within: 1m }
               |              ^^^^

            error: rules of the kind `recycle` are not there yet; `reuse: { max_age, max_jobs }` of the machine replaces machines
              --> parmanu.yaml:28:14
               |
            28 |   c: { kind: recycle }
               |              ^^^^^^^

        "#]],
    );
}

#[test]
fn wrong_conditions_are_told_where_they_stand() {
    check_rules(
        "a, b, c, d, e, f",
        r#"  a: { kind: reserve, idle: 1, when: { schedule: "Mon-Fri 8-19", zone: Europe/Berlin } }
  b: { kind: reserve, idle: 1, when: { schedule: "Mon-Fri 08:00-19:00", zone: Europe/Berln } }
  c: { kind: reserve, idle: 1, when: { schedule: "Mon-Fri 08:00-19:00" } }
  d: { kind: reserve, idle: 1, when: { zone: UTC, queued_ovr: 3 } }
  e: { kind: reserve, idle: 1, when: { any: [{ queued_over: many }, {}, { any: [{ queued_over: 1 }] }] } }
  f: { kind: reserve, idle: 1, when: { oldest_wait_over: 30, utilization_over: 0.9 } }
"#,
        expect![[r#"
            error: `Mon-Fri 8-19` is not a time of the week: times are 00:00 to 24:00; write such as `Mon-Fri 08:00-19:00; Sat 10:00-14:00`
              --> parmanu.yaml:26:50
               |
            26 |   a: { kind: reserve, idle: 1, when: { schedule: "Mon-Fri 8-19", zone: Europe/Berlin } }
               |                                                  ^^^^^^^^^^^^^^

            error: `Europe/Berln` is no time zone of the IANA database
              --> parmanu.yaml:27:79
               |
            27 |   b: { kind: reserve, idle: 1, when: { schedule: "Mon-Fri 08:00-19:00", zone: Europe/Berln } }
               |                                                                               ^^^^^^^^^^^^
              = did you mean `Europe/Berlin`?

            error: missing the key `zone`: in which time zone, such as Europe/Berlin or UTC?
              --> parmanu.yaml:28:38
               |
            28 |   c: { kind: reserve, idle: 1, when: { schedule: "Mon-Fri 08:00-19:00" } }
               |                                      ^

            error: unknown key `queued_ovr`; known are schedule, zone, queued_over, queued_under, oldest_wait_over, oldest_wait_under, utilization_over, utilization_under, spend_over, spend_under, memory_below, memory_above, load_over, load_under, any
              --> parmanu.yaml:29:51
               |
            29 |   d: { kind: reserve, idle: 1, when: { zone: UTC, queued_ovr: 3 } }
               |                                                   ^^^^^^^^^^
              = did you mean `queued_over`?

            error: expected a whole number, 0 or more, found text
              --> parmanu.yaml:30:61
               |
            30 |   e: { kind: reserve, idle: 1, when: { any: [{ queued_over: many }, {}, { any: [{ queued_over: 1 }] }] } }
               |                                                             ^^^^

            error: it asks nothing, so that it always holds
              --> parmanu.yaml:30:69
               |
            30 |   e: { kind: reserve, idle: 1, when: { any: [{ queued_over: many }, {}, { any: [{ queued_over: 1 }] }] } }
               |                                                                     ^

            error: it asks nothing, so that it always holds
              --> parmanu.yaml:30:73
               |
            30 |   e: { kind: reserve, idle: 1, when: { any: [{ queued_over: many }, {}, { any: [{ queued_over: 1 }] }] } }
               |                                                                         ^

            error: `any` stands in no other `any`
              --> parmanu.yaml:30:80
               |
            30 |   e: { kind: reserve, idle: 1, when: { any: [{ queued_over: many }, {}, { any: [{ queued_over: 1 }] }] } }
               |                                                                                ^^

            error: expected a time with its unit, such as 5s, 10m or 1h 30m, found a number
              --> parmanu.yaml:31:58
               |
            31 |   f: { kind: reserve, idle: 1, when: { oldest_wait_over: 30, utilization_over: 0.9 } }
               |                                                          ^^

            error: expected a share such as 80% or 99.5%, found something else
              --> parmanu.yaml:31:80
               |
            31 |   f: { kind: reserve, idle: 1, when: { oldest_wait_over: 30, utilization_over: 0.9 } }
               |                                                                                ^^^

        "#]],
    );
}

#[test]
fn impossible_numbers_of_rules_are_told() {
    check_rules(
        "a, b, c, d, e, f, g, h",
        r#"  a: { kind: utilization, target: 120% }
  b: { kind: utilization, target: 0.8 }
  c: { kind: reserve, idle: 4, wait_to_idle: 3 }
  d: { kind: reserve, idle: some }
  e: { kind: scale-in, idle_for: 10m, announced: 1m, at_most: 0, per: 0s }
  f: { kind: pace, create: 0 }
  g: { kind: pace }
  h: { kind: limit, min: 5, max: 2 }
"#,
        expect![[r#"
            warning: `g` is never in force: `f` stands before it, is a pace rule too, and always holds
              --> parmanu.yaml:24:31
               |
            24 |     rules: [a, b, c, d, e, f, g, h]
               |                               ^

            error: `h` asks for a min above the max of this pool, 2
              --> parmanu.yaml:24:34
               |
            24 |     rules: [a, b, c, d, e, f, g, h]
               |                                  ^

            error: a target is more than 0% and at most 100%, not 120%: a rule makes room and never takes it away
              --> parmanu.yaml:26:35
               |
            26 |   a: { kind: utilization, target: 120% }
               |                                   ^^^^

            error: expected a share such as 80% or 99.5%, found something else
              --> parmanu.yaml:27:35
               |
            27 |   b: { kind: utilization, target: 0.8 }
               |                                   ^^^

            error: it only changes `idle: arrivals`
              --> parmanu.yaml:28:46
               |
            28 |   c: { kind: reserve, idle: 4, wait_to_idle: 3 }
               |                                              ^

            error: `some` is not a number of slots, a share of the busy ones such as 10%, or `arrivals`
              --> parmanu.yaml:29:29
               |
            29 |   d: { kind: reserve, idle: some }
               |                             ^^^^

            error: it only changes `idle_for: break-even`
              --> parmanu.yaml:30:50
               |
            30 |   e: { kind: scale-in, idle_for: 10m, announced: 1m, at_most: 0, per: 0s }
               |                                                  ^^

            error: at_most 0: no machine could ever leave; without the key there is no limit
              --> parmanu.yaml:30:63
               |
            30 |   e: { kind: scale-in, idle_for: 10m, announced: 1m, at_most: 0, per: 0s }
               |                                                               ^

            error: a window of no time counts nothing: 1m is usual
              --> parmanu.yaml:30:71
               |
            30 |   e: { kind: scale-in, idle_for: 10m, announced: 1m, at_most: 0, per: 0s }
               |                                                                       ^^

            error: create 0: no machine could ever be made; without the key there is no limit
              --> parmanu.yaml:31:28
               |
            31 |   f: { kind: pace, create: 0 }
               |                            ^

            error: it needs `create`, `stabilise` or both: else it says nothing
              --> parmanu.yaml:32:6
               |
            32 |   g: { kind: pace }
               |      ^

            error: min 5 is greater than max 2: no number of machines satisfies both
              --> parmanu.yaml:33:26
               |
            33 |   h: { kind: limit, min: 5, max: 2 }
               |                          ^

        "#]],
    );
}

#[test]
fn a_limit_beyond_the_pool_and_one_that_says_nothing_are_told() {
    check_rules(
        "a, b",
        r#"  a: { kind: limit, min: 9, when: { queued_over: 5 } }
  b: { kind: limit, when: { queued_over: 1 } }
"#,
        expect![[r#"
            error: `a` asks for a min above the max of this pool, 3
              --> parmanu.yaml:24:13
               |
            24 |     rules: [a, b]
               |             ^

            error: it needs `min`, `max` or both: else it says nothing
              --> parmanu.yaml:27:6
               |
            27 |   b: { kind: limit, when: { queued_over: 1 } }
               |      ^

        "#]],
    );
}

#[test]
fn jenkins_reports_the_free_memory_and_no_load() {
    let jenkins = [
        ("kind: gitlab", "kind: jenkins"),
        ("    scope: { instance: true }\n", "    user: parmanu\n"),
        (
            "    manage_token: \"${env:GITLAB_TOKEN}\"\n",
            "    manage: {}\n",
        ),
        (
            "serves: [{ tags: [linux, docker], run_untagged: true }]",
            "serves: [{ labels: [linux] }]",
        ),
    ];
    let with = |rule| [&jenkins[..], &[("kind: scale-in, idle_for: 10m", rule)]].concat();
    check_after(
        &with("kind: memory, free_below: 2GiB"),
        expect![[r#"
        good
    "#]],
    );
    check_after(
        &with("kind: load, over: 1.5"),
        expect![[r#"
        error: `gentle` asks for the load of the machines, which this pool's emitter does not report: it would never hold
          --> parmanu.yaml:24:13
           |
        24 |     rules: [gentle]
           |             ^^^^^^

    "#]],
    );
}

#[test]
fn what_no_machine_reports_is_refused() {
    check_rules(
        "a, b, c",
        r#"  a: { kind: memory, free_below: 2GiB }
  b: { kind: load, over: 1.5, grow: 2 }
  c: { kind: reserve, idle: 1, when: { any: [{ queued_over: 1 }, { memory_below: 512MiB }] } }
"#,
        expect![[r#"
            error: `a` asks for the free memory of the machines, which this pool's emitter does not report: it would never hold
              --> parmanu.yaml:24:13
               |
            24 |     rules: [a, b, c]
               |             ^

            error: `b` asks for the load of the machines, which this pool's emitter does not report: it would never hold
              --> parmanu.yaml:24:16
               |
            24 |     rules: [a, b, c]
               |                ^

            error: `c` asks for the free memory of the machines, which this pool's emitter does not report: it would never hold
              --> parmanu.yaml:24:19
               |
            24 |     rules: [a, b, c]
               |                   ^

        "#]],
    );
}

#[test]
fn two_rules_of_a_kind_that_hold_at_once_are_told_with_the_winner() {
    check_rules(
        "day, evening, always, never",
        r#"  day: { kind: reserve, idle: 4, when: { schedule: "Mon-Fri 08:00-19:00", zone: Asia/Kolkata } }
  evening: { kind: reserve, idle: 2, when: { schedule: "Fri 18:00-22:00", zone: Asia/Kolkata } }
  always: { kind: reserve, idle: 1 }
  never: { kind: reserve, idle: 3, when: { queued_over: 5 } }
"#,
        expect![[r#"
            warning: `day` and `evening` are both reserve rules and both hold on Fri 18:00: there `day` wins, since it stands first
              --> parmanu.yaml:24:18
               |
            24 |     rules: [day, evening, always, never]
               |                  ^^^^^^^

            warning: `never` is never in force: `always` stands before it, is a reserve rule too, and always holds
              --> parmanu.yaml:24:35
               |
            24 |     rules: [day, evening, always, never]
               |                                   ^^^^^

            usable
        "#]],
    );
}

#[test]
fn a_hole_of_some_minutes_between_two_schedules_is_told() {
    check_rules(
        "day, night",
        r#"  day: { kind: reserve, idle: 4, when: { schedule: "Mon-Sun 08:00-18:59", zone: UTC } }
  night: { kind: reserve, idle: 1, when: { schedule: "Mon-Sun 19:00-08:00", zone: UTC } }
"#,
        expect![[r#"
            warning: from Mon 18:59 to Mon 19:00 none of this pool's reserve rules holds, and `balanced.reserve` does: is that meant?
              --> parmanu.yaml:24:18
               |
            24 |     rules: [day, night]
               |                  ^^^^^

            usable
        "#]],
    );
}

#[test]
fn a_free_weekend_is_no_hole() {
    check_rules(
        "day, night",
        r#"  day: { kind: reserve, idle: 4, when: { schedule: "Mon-Fri 08:00-19:00", zone: UTC } }
  night: { kind: reserve, idle: 1, when: { schedule: "Mon-Thu 19:00-08:00", zone: UTC } }
"#,
        expect![[r#"
            good
        "#]],
    );
}

#[test]
fn a_profile_that_does_not_exist_is_told() {
    check_after(
        &[("max: 3", "max: 3\n    profile: cheap")],
        expect![[r#"
        error: `cheap` is not known here; known are economy, balanced, latency
          --> parmanu.yaml:24:14
           |
        24 |     profile: cheap
           |              ^^^^^

    "#]],
    );
}

#[test]
fn a_range_that_ends_before_it_begins_is_told() {
    check_after(
        &[(
            "max: 3",
            "max: 3\n    job: { cpu: 4..1, memory: 8GiB..2GiB }",
        )],
        expect![[r#"
            error: `4..1` ends before it begins
              --> parmanu.yaml:24:17
               |
            24 |     job: { cpu: 4..1, memory: 8GiB..2GiB }
               |                 ^^^^

            error: `8GiB..2GiB` ends before it begins
              --> parmanu.yaml:24:31
               |
            24 |     job: { cpu: 4..1, memory: 8GiB..2GiB }
               |                               ^^^^^^^^^^

        "#]],
    );
}

#[test]
fn jobs_that_fit_on_no_machine_are_told() {
    check_after(
        &[
            ("    slots: 1\n", "    cpu: 4\n    memory: 16GiB\n"),
            (
                "max: 3",
                "max: 3\n    job: { cpu: 1..8, memory: 2GiB..20GiB }",
            ),
        ],
        expect![[r#"
            error: a job may need 8, but machine `linux-m` has 4
              --> parmanu.yaml:25:17
               |
            25 |     job: { cpu: 1..8, memory: 2GiB..20GiB }
               |                 ^^^^

            error: a job may need 20GiB, but machine `linux-m` has 16GiB
              --> parmanu.yaml:25:31
               |
            25 |     job: { cpu: 1..8, memory: 2GiB..20GiB }
               |                               ^^^^^^^^^^^

        "#]],
    );
    check_after(
        &[
            ("    slots: 1\n", ""),
            ("max: 3", "max: 3\n    job: { cpu: 1..2 }"),
        ],
        expect![[r#"
            error: machine `linux-m` states no `cpu`, so nobody can tell how many jobs fit: state it, or `slots`
              --> parmanu.yaml:23:17
               |
            23 |     job: { cpu: 1..2 }
               |                 ^^^^

        "#]],
    );
    check_after(
        &[
            ("    slots: 1\n", "    slots: 4\n    memory: 16GiB\n"),
            ("max: 3", "max: 3\n    job: { memory: 1GiB..6GiB }"),
        ],
        expect![[r#"
            warning: 4 slots of 6GiB each are more than the 16GiB of machine `linux-m`
              --> parmanu.yaml:25:20
               |
            25 |     job: { memory: 1GiB..6GiB }
               |                    ^^^^^^^^^^

            usable
        "#]],
    );
}

/// 4 processors and 16 GiB; a job takes at most 1 processor and 6 GiB: two fit.
#[test]
fn the_most_that_a_job_may_need_sizes_the_slots() {
    let text = support::good()
        .replacen("    slots: 1\n", "    cpu: 4\n    memory: 16GiB\n", 1)
        .replacen(
            "max: 3",
            "max: 3\n    job: { cpu: 0.5..1, memory: 2GiB..6GiB }",
            1,
        );
    let folder = tempfile::tempdir().expect("a folder");
    let script = "run {{ executor.token }} {{ machine }}\n";
    std::fs::write(folder.path().join("runner.j2"), script).expect("a file");
    let read = config::check_text(&text, "parmanu.yaml", folder.path(), &support::registries());
    let (settings, report) = read.expect("a good file");
    assert!(report.0.is_empty(), "{report}");
    let pool = settings.pools.values().next().expect("a pool");
    assert_eq!(pool.policy.slots, 2);
    assert_eq!(pool.job.cpu_milli, Some((500, 1000)));
}

/// A pool's own rules go before those of its profile, which stand behind all of them.
#[test]
fn a_pool_has_its_own_rules_and_then_its_profiles() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "run {{ executor.token }} {{ machine }}\n";
    std::fs::write(folder.path().join("runner.j2"), script).expect("a file");
    let text = support::good();
    let read = config::check_text(&text, "parmanu.yaml", folder.path(), &support::registries());
    let (settings, _) = read.expect("a good file");
    let pool = settings.pools.values().next().expect("a pool");
    let names: Vec<&str> = pool
        .policy
        .rules
        .iter()
        .map(|rule| rule.name.as_str())
        .collect();
    expect!["gentle, balanced.reserve, balanced.scale-in"].assert_eq(&names.join(", "));
}

/// Without a budget there is no share of it: the rule would be silently dead.
#[test]
fn a_share_of_no_budget_is_told() {
    check_rules(
        "a, b",
        r#"  a: { kind: reserve, idle: 0, when: { spend_over: 80% } }
  b: { kind: reserve, idle: 1, when: { any: [{ queued_over: 3 }, { spend_under: 50% }] } }
"#,
        expect![[r#"
            warning: `a` asks how much of a budget is spent, and no budget counts this pool: that condition never holds
              --> parmanu.yaml:24:12
               |
            24 |     rules: [a, b]
               |            ^^

            warning: `b` asks how much of a budget is spent, and no budget counts this pool: that condition never holds
              --> parmanu.yaml:24:12
               |
            24 |     rules: [a, b]
               |            ^^

            usable
        "#]],
    );
}
