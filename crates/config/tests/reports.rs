//! What an operator reads about a wrong file: whole reports, in words.
//!
//! `UPDATE_EXPECT=1 cargo test -p config --test reports -- --test-threads=1` writes them anew; read what changed.

mod support;

use expect_test::expect;
use support::{check, check_after, good};

#[test]
fn many_errors_are_told_at_once() {
    check(
        r#"
version: 1
fleet: Acme CI
emiters: {}
emitters:
  gitlab:
    kind: gitlab
    url: gitlab.example.com
    tokn: "${env:GITLAB_TOKEN}"
    scope: { instance: yes please }
    probe: { every: 5, timout: 10s }
providers:
  aws: { kind: ec2, region: eu-central-1a }
machines:
  linux-m:
    slots: 0
    boot: { expect: 10m, timeout: 5m }
    offers:
      - { provider: asw, image: ami-0123456789abcdef0, types: [m7i.xlarge] }
      - { provider: aws, image: ubuntu, types: [] }
pools:
  linux:
    emitter: gitlap
    serves: [{ tags: linux }]
    machine: linux-s
    min: 5
    max: 3
    rules: [gentle]
rules:
  slow: { kind: scale-out, idle_for: 10m }
"#,
        expect![[r#"
            error: `Acme CI` is not a name: use 1 to 30 lowercase letters, digits and hyphens, starting with a letter and not ending with a hyphen
             --> parmanu.yaml:2:8
              |
            2 | fleet: Acme CI
              |        ^^^^

            error: unknown key `emiters`; known are version, fleet, store, api, emitters, providers, machines, pools, groups, limits, rules
             --> parmanu.yaml:3:1
              |
            3 | emiters: {}
              | ^^^^^^^
              = did you mean `emitters`?

            error: missing the key `token`
             --> parmanu.yaml:6:5
              |
            6 |     kind: gitlab
              |     ^^^^

            error: unknown key `tokn`; known are url, ca_file, token, manage_token, scope, settle, rescan, budget
             --> parmanu.yaml:8:5
              |
            8 |     tokn: "${env:GITLAB_TOKEN}"
              |     ^^^^
              = did you mean `token`?

            error: expected true or false, found text
             --> parmanu.yaml:9:24
              |
            9 |     scope: { instance: yes please }
              |                        ^^^

            error: expected a time with its unit, such as 5s, 10m or 1h 30m, found a number
              --> parmanu.yaml:10:21
               |
            10 |     probe: { every: 5, timout: 10s }
               |                     ^

            error: unknown key `timout`; known are every, timeout
              --> parmanu.yaml:10:24
               |
            10 |     probe: { every: 5, timout: 10s }
               |                        ^^^^^^
              = did you mean `timeout`?

            error: `eu-central-1a` is not an AWS region such as eu-central-1
              --> parmanu.yaml:12:29
               |
            12 |   aws: { kind: ec2, region: eu-central-1a }
               |                             ^^^^^^^^^^^^^

            error: slots is 1 to 1000: the jobs that one machine runs at a time
              --> parmanu.yaml:15:12
               |
            15 |     slots: 0
               |            ^

            error: boot.timeout (300s) must be longer than boot.expect (600s), or every machine is given up while it boots
              --> parmanu.yaml:16:11
               |
            16 |     boot: { expect: 10m, timeout: 5m }
               |           ^

            error: there is no provider `asw`; known are aws
              --> parmanu.yaml:18:21
               |
            18 |       - { provider: asw, image: ami-0123456789abcdef0, types: [m7i.xlarge] }
               |                     ^^^
              = did you mean `aws`?

            error: `ubuntu` is neither an AMI id such as ami-0123456789abcdef0 nor resolve:ssm: and the name of a parameter; an image by its name is written `newest_image: { name: ubuntu, owner: self }`
              --> parmanu.yaml:19:33
               |
            19 |       - { provider: aws, image: ubuntu, types: [] }
               |                                 ^^^^^^

            error: name at least one machine type, such as m7i.xlarge
              --> parmanu.yaml:19:48
               |
            19 |       - { provider: aws, image: ubuntu, types: [] }
               |                                                ^

            error: there is no emitter `gitlap`; known are gitlab
              --> parmanu.yaml:22:14
               |
            22 |     emitter: gitlap
               |              ^^^^^^
              = did you mean `gitlab`?

            error: there is no machine `linux-s`; known are linux-m
              --> parmanu.yaml:24:14
               |
            24 |     machine: linux-s
               |              ^^^^^^^
              = did you mean `linux-m`?

            error: min 5 is greater than max 3: no number of machines satisfies both
              --> parmanu.yaml:25:10
               |
            25 |     min: 5
               |          ^

            error: there is no rule `gentle`; known are slow
              --> parmanu.yaml:27:13
               |
            27 |     rules: [gentle]
               |             ^^^^^^

            error: `scale-out` is not a kind known here; known are utilization, reserve, memory, load, scale-in, pace, limit, budget
              --> parmanu.yaml:29:17
               |
            29 |   slow: { kind: scale-out, idle_for: 10m }
               |                 ^^^^^^^^^
              = did you mean `scale-in`?

        "#]],
    );
}

#[test]
fn an_unknown_key_is_told_at_each_level() {
    check_after(
        &[
            ("fleet:", "flete: acme\nfleet:"),
            (
                "    kind: gitlab",
                "    kind: gitlab\n    tokn: x\n    probe: { evry: 5s }",
            ),
            ("region:", "regoin: x, region:"),
            ("    slots: 1", "    slot: 2\n    boot: { expct: 3s }"),
            ("types:", "typs: [x], types:"),
            ("    max: 3", "    max: 3\n    maxx: 4"),
            ("run_untagged: true", "run_untaged: true"),
            ("idle_for: 10m", "idle_fro: 1m, idle_for: 10m"),
        ],
        expect![[r#"
            error: unknown key `flete`; known are version, fleet, store, api, emitters, providers, machines, pools, groups, limits, rules
             --> parmanu.yaml:2:1
              |
            2 | flete: acme
              | ^^^^^
              = did you mean `fleet`?

            error: unknown key `tokn`; known are url, ca_file, token, manage_token, scope, settle, rescan, budget
             --> parmanu.yaml:7:5
              |
            7 |     tokn: …
              |     ^^^^
              = did you mean `token`?

            error: unknown key `evry`; known are every, timeout
             --> parmanu.yaml:8:14
              |
            8 |     probe: { evry: 5s }
              |              ^^^^
              = did you mean `every`?

            error: unknown key `regoin`; known are region, credentials, endpoint, sts_endpoint, listing_lag
              --> parmanu.yaml:14:21
               |
            14 |   aws: { kind: ec2, regoin: x, region: eu-central-1 }
               |                     ^^^^^^
              = did you mean `region`?

            error: unknown key `slot`; known are slots, cpu, memory, boot, bootstrap, credential, reuse, executor, offers
              --> parmanu.yaml:17:5
               |
            17 |     slot: 2
               |     ^^^^
              = did you mean `slots`?

            error: unknown key `expct`; known are expect, timeout
              --> parmanu.yaml:18:13
               |
            18 |     boot: { expct: 3s }
               |             ^^^^^
              = did you mean `expect`?

            error: unknown key `maxx`; known are emitter, serves, job, machine, min, max, precedence, profile, rules, group, priority, weight, max_price, choose, fresh_for, keep_on_stale, scale_in
              --> parmanu.yaml:28:5
               |
            28 |     maxx: 4
               |     ^^^^
              = did you mean `max`?

            error: unknown key `idle_fro`; known are idle_for, wait_to_idle, announced, at_most, at_most_share, per, when
              --> parmanu.yaml:31:29
               |
            31 |   gentle: { kind: scale-in, idle_fro: 1m, idle_for: 10m }
               |                             ^^^^^^^^
              = did you mean `idle_for`?

        "#]],
    );
}

#[test]
fn an_unknown_kind_is_told_with_the_known_ones() {
    check_after(
        &[
            ("kind: gitlab", "kind: gitlob"),
            ("kind: ec2", "kind: ec3"),
            ("kind: scale-in", "kind: scalein"),
            (
                "fleet: acme",
                "fleet: acme\nstore: { kind: reddis, url: \"${env:R}\" }",
            ),
        ],
        expect![[r#"
            error: `reddis` is not a kind known here; known are memory, redis
             --> parmanu.yaml:3:16
              |
            3 | store: { kind: reddis, url: "${env:R}" }
              |                ^^^^^^
              = did you mean `redis`?

            error: `gitlob` is not a kind known here; known are buildbot, fake, gitlab, http, jenkins, teamcity
             --> parmanu.yaml:6:11
              |
            6 |     kind: gitlob
              |           ^^^^^^
              = did you mean `gitlab`?

            error: `ec3` is not a kind known here; known are command, ec2, fake, gce, lxd
              --> parmanu.yaml:12:16
               |
            12 |   aws: { kind: ec3, region: eu-central-1 }
               |                ^^^
              = did you mean `ec2`?

            error: `scalein` is not a kind known here; known are utilization, reserve, memory, load, scale-in, pace, limit, budget
              --> parmanu.yaml:27:19
               |
            27 |   gentle: { kind: scalein, idle_for: 10m }
               |                   ^^^^^^^
              = did you mean `scale-in`?

        "#]],
    );
}

#[test]
fn an_entry_without_a_kind_is_told() {
    check_after(
        &[("    kind: gitlab\n", ""), ("kind: ec2, ", "")],
        expect![[r#"
            error: missing the key `kind`; known are buildbot, fake, gitlab, http, jenkins, teamcity
             --> parmanu.yaml:5:5
              |
            5 |     url: https://gitlab.example.com
              |     ^^^

            error: missing the key `kind`; known are command, ec2, fake, gce, lxd
              --> parmanu.yaml:10:8
               |
            10 |   aws: { region: eu-central-1 }
               |        ^

        "#]],
    );
}

/// A machine that its provider ends by itself is kept from jobs in time; that all of them are at once is avoidable.
#[test]
fn a_machine_that_its_provider_ends_before_it_is_replaced_is_told() {
    let gcp = "  aws: { kind: ec2, region: eu-central-1 }\n  gcp: { kind: gce, project: acme-ci, zones: [europe-west3-a] }\n";
    let offer = "      - { provider: gcp, image: ci, types: [e2-small], max_run_duration: 48h, longest_job: 6h }\n";
    let machine = |reuse: &str| {
        let from = "    offers:\n";
        (from.to_owned(), format!("{reuse}{from}{offer}"))
    };
    let (from, without) = machine("");
    let (_, too_old) = machine("    reuse: { max_age: 41h 45m }\n");
    let (_, in_time) = machine("    reuse: { max_age: 41h 40m }\n");
    let (_, single) = machine("    reuse: { max_jobs: 1 }\n");
    let aws = "  aws: { kind: ec2, region: eu-central-1 }\n";
    check_after(
        &[(aws, gcp), (&from, &without)],
        expect![[r#"
        warning: a machine of this offer takes no job after 41h 50m, since its provider ends it soon after that, and its machine has no `reuse.max_age`: machines that were made together stop serving together. Write a `max_age` of at most 41h 40m, so that they are replaced a few at a time, or let the provider end them later
          --> parmanu.yaml:18:9
           |
        18 |       - { provider: gcp, image: ci, types: [e2-small], max_run_duration: 48h, longest_job: 6h }
           |         ^

        usable
    "#]],
    );
    check_after(
        &[(aws, gcp), (&from, &too_old)],
        expect![[r#"
        warning: a machine of this offer takes no job after 41h 50m, since its provider ends it soon after that, and its machine has `reuse.max_age: 41h 45m`: machines that were made together stop serving together. Write a `max_age` of at most 41h 40m, so that they are replaced a few at a time, or let the provider end them later
          --> parmanu.yaml:19:9
           |
        19 |       - { provider: gcp, image: ci, types: [e2-small], max_run_duration: 48h, longest_job: 6h }
           |         ^

        usable
    "#]],
    );
    check_after(
        &[(aws, gcp), (&from, &in_time)],
        expect![[r#"
        good
    "#]],
    );
    check_after(
        &[(aws, gcp), (&from, &single)],
        expect![[r#"
        good
    "#]],
    );
}

#[test]
fn an_unknown_name_is_told_with_a_suggestion() {
    check_after(
        &[
            ("emitter: gitlab", "emitter: gitlap"),
            ("machine: linux-m", "machine: linux"),
            ("provider: aws", "provider: aw"),
            ("rules: [gentle]", "rules: [gentle, gentel]"),
        ],
        expect![[r#"
            error: there is no provider `aw`; known are aws
              --> parmanu.yaml:17:21
               |
            17 |       - { provider: aw, image: ami-0123456789abcdef0, types: [m7i.large] }
               |                     ^^
              = did you mean `aws`?

            error: there is no emitter `gitlap`; known are gitlab
              --> parmanu.yaml:20:14
               |
            20 |     emitter: gitlap
               |              ^^^^^^
              = did you mean `gitlab`?

            error: there is no machine `linux`; known are linux-m
              --> parmanu.yaml:22:14
               |
            22 |     machine: linux
               |              ^^^^^
              = did you mean `linux-m`?

            error: there is no rule `gentel`; known are gentle
              --> parmanu.yaml:24:21
               |
            24 |     rules: [gentle, gentel]
               |                     ^^^^^^
              = did you mean `gentle`?

        "#]],
    );
}

#[test]
fn a_file_without_its_three_first_keys_says_so() {
    check(
        "rules: {}\n",
        expect![[r#"
            error: missing the key `version`; write `version: 1`
             --> parmanu.yaml:1:1
              |
            1 | rules: {}
              | ^^^^^

            error: missing the key `fleet`: the owner id on every machine, such as `fleet: acme-ci`
             --> parmanu.yaml:1:1
              |
            1 | rules: {}
              | ^^^^^

            error: there is no pool: without `pools:` there is nothing to scale
             --> parmanu.yaml:1:1
              |
            1 | rules: {}
              | ^^^^^

        "#]],
    );
}

#[test]
fn impossible_numbers_are_told() {
    check_after(
        &[
            ("    max: 3", "    min: 4\n    max: 3\n    keep_on_stale: 9"),
            ("    slots: 1", "    slots: -1"),
            ("idle_for: 10m", "idle_for: 10m, at_most: 0, per: 0s"),
            ("scope:", "probe: { every: 1ms, timeout: 0s }\n    scope:"),
            ("types: [m7i.large]", "types: [m7i.large], price: -1"),
        ],
        expect![[r#"
            error: a look every 100ms is the fastest: the server has other users too
             --> parmanu.yaml:9:21
              |
            9 |     probe: { every: 1ms, timeout: 0s }
              |                     ^^^

            error: no look ends in no time: 30s is usual
             --> parmanu.yaml:9:35
              |
            9 |     probe: { every: 1ms, timeout: 0s }
              |                                   ^^

            error: expected a whole number, 0 or more
              --> parmanu.yaml:15:12
               |
            15 |     slots: -1
               |            ^^

            error: min 4 is greater than max 3: no number of machines satisfies both
              --> parmanu.yaml:24:10
               |
            24 |     min: 4
               |          ^

            error: keep_on_stale is greater than max: so many machines are never kept
              --> parmanu.yaml:26:20
               |
            26 |     keep_on_stale: 9
               |                    ^

            error: at_most 0: no machine could ever leave; without the key there is no limit
              --> parmanu.yaml:29:53
               |
            29 |   gentle: { kind: scale-in, idle_for: 10m, at_most: 0, per: 0s }
               |                                                     ^

            error: a window of no time counts nothing: 1m is usual
              --> parmanu.yaml:29:61
               |
            29 |   gentle: { kind: scale-in, idle_for: 10m, at_most: 0, per: 0s }
               |                                                             ^^

        "#]],
    );
}

#[test]
fn a_time_needs_a_unit_and_a_length() {
    check_after(
        &[
            (
                "scope:",
                "probe: { every: 5, timeout: soon }\n    settle: 90000000000000h\n    scope:",
            ),
            (
                "    slots: 1",
                "    boot: { expect: -5s, timeout: 9000000000000000h }",
            ),
            ("    max: 3", "    max: 3\n    fresh_for: 5s"),
            ("idle_for: 10m", "idle_for: 400d"),
        ],
        expect![[r#"
            error: expected a time with its unit, such as 5s, 10m or 1h 30m, found a number
             --> parmanu.yaml:9:21
              |
            9 |     probe: { every: 5, timeout: soon }
              |                     ^

            error: `soon` is not a length of time; write a time with its unit, such as 5s, 10m or 1h 30m
             --> parmanu.yaml:9:33
              |
            9 |     probe: { every: 5, timeout: soon }
              |                                 ^^^^

            error: longer than a year: leave the key out, or write what is meant
              --> parmanu.yaml:10:13
               |
            10 |     settle: 90000000000000h
               |             ^^^^^^^^^^^^^^^

            error: `-5s` is negative; write a time with its unit, such as 5s, 10m or 1h 30m
              --> parmanu.yaml:16:21
               |
            16 |     boot: { expect: -5s, timeout: 9000000000000000h }
               |                     ^^^

            error: `9000000000000000h` is not a length of time; write a time with its unit, such as 5s, 10m or 1h 30m
              --> parmanu.yaml:16:35
               |
            16 |     boot: { expect: -5s, timeout: 9000000000000000h }
               |                                   ^^^^^^^^^^^^^^^^^

            error: `400d` is not a length of time; write a time with its unit, such as 5s, 10m or 1h 30m; or `break-even`, which is learned
              --> parmanu.yaml:29:39
               |
            29 |   gentle: { kind: scale-in, idle_for: 400d }
               |                                       ^^^^

        "#]],
    );
}

#[test]
fn the_longest_times_do_not_overflow() {
    check_after(
        &[(
            "scope:",
            "probe: { every: 2000000000000000h, timeout: 2000000000000000h }\n    scope:",
        )],
        expect![[r#"
            error: longer than a year: leave the key out, or write what is meant
             --> parmanu.yaml:9:21
              |
            9 |     probe: { every: 2000000000000000h, timeout: 2000000000000000h }
              |                     ^^^^^^^^^^^^^^^^^

            error: longer than a year: leave the key out, or write what is meant
             --> parmanu.yaml:9:49
              |
            9 |     probe: { every: 2000000000000000h, timeout: 2000000000000000h }
              |                                                 ^^^^^^^^^^^^^^^^^

        "#]],
    );
}

#[test]
fn a_wrong_type_is_told_without_its_value() {
    check_after(
        &[
            ("    max: 3", "    max: lots\n    min: -3"),
            ("[{ tags: [linux, docker], run_untagged: true }]", "linux"),
            ("    slots: 1", "    slots: [1]"),
            ("    scope: { instance: true }", "    scope: [instance]"),
            ("fleet: acme", "fleet: 7\nstore: redis"),
        ],
        expect![[r#"
            error: expected text, found a number
             --> parmanu.yaml:2:8
              |
            2 | fleet: 7
              |        ^

            error: expected a mapping of keys with a `kind`; known are memory, redis
             --> parmanu.yaml:3:8
              |
            3 | store: redis
              |        ^^^^^

            error: expected true or false, found text
              --> parmanu.yaml:10:13
               |
            10 |     scope: [instance]
               |             ^^^^^^^^

            error: expected a whole number, 0 or more, found a list
              --> parmanu.yaml:15:12
               |
            15 |     slots: [1]
               |            ^^

            error: expected a list, such as [a, b], found text
              --> parmanu.yaml:22:13
               |
            22 |     serves: linux
               |             ^^^^^

            error: expected a whole number, 0 or more, found text
              --> parmanu.yaml:24:10
               |
            24 |     max: lots
               |          ^^^^

            error: expected a whole number, 0 or more
              --> parmanu.yaml:25:10
               |
            25 |     min: -3
               |          ^^

        "#]],
    );
}

#[test]
fn sections_that_are_no_mappings_are_told() {
    check(
        "version: \"1\"\nfleet: acme\nemitters: gitlab\nproviders: [aws]\npools:\n  Linux Big: {}\n",
        expect![[r#"
            error: this program reads version 1, not "1": write `version: 1`
             --> parmanu.yaml:1:10
              |
            1 | version: "1"
              |          ^^^

            error: expected a mapping under `emitters`: a name, and what it is
             --> parmanu.yaml:3:11
              |
            3 | emitters: gitlab
              |           ^^^^^^

            error: expected a mapping under `providers`: a name, and what it is
             --> parmanu.yaml:4:12
              |
            4 | providers: [aws]
              |            ^^^^

            error: `Linux Big` is not a name: use 1 to 30 lowercase letters, digits and hyphens, starting with a letter and not ending with a hyphen
             --> parmanu.yaml:6:3
              |
            6 |   Linux Big: {}
              |   ^^^^^

        "#]],
    );
}

#[test]
fn two_pools_that_serve_the_same_jobs_are_told() {
    check_after(
        &[(
            "  linux:\n    emitter",
            "  again: { emitter: gitlab, serves: [{ run_untagged: true, tags: [docker, linux] }], machine: linux-m, max: 1 }\n  linux:\n    emitter",
        )],
        expect![[r#"
            warning: pool `again` serves the same jobs with the same precedence, so this pool gets none; give one of them a greater `precedence`
              --> parmanu.yaml:22:13
               |
            22 |     serves: [{ tags: [linux, docker], run_untagged: true }]
               |             ^^

            usable
        "#]],
    );
}

#[test]
fn what_nothing_uses_is_told() {
    check_after(
        &[
            (
                "  linux-m:\n",
                "  spare: { offers: [{ provider: aws, image: ami-0123456789abcdef0, types: [m7i.large] }] }\n  linux-m:\n",
            ),
            ("rules: [gentle]", "rules: []"),
        ],
        expect![[r#"
            warning: nothing uses `spare`: remove it, or name it where it is needed
              --> parmanu.yaml:13:3
               |
            13 |   spare: { offers: [{ provider: aws, image: ami-0123456789abcdef0, types: [m7i.large] }] }
               |   ^^^^^

            warning: nothing uses `gentle`: remove it, or name it where it is needed
              --> parmanu.yaml:27:3
               |
            27 |   gentle: { kind: scale-in, idle_for: 10m }
               |   ^^^^^^

            usable
        "#]],
    );
}

#[test]
fn a_literal_secret_is_a_warning_and_stays_hidden() {
    check_after(
        &[
            (
                "    token: \"${env:GITLAB_TOKEN}\"",
                "    token: glpat-hunter2hunter2",
            ),
            (
                "fleet: acme",
                "fleet: acme\nstore: { kind: redis, url: \"redis://:hunter2@redis:6379/\" }",
            ),
            (
                "region: eu-central-1",
                "region: eu-central-1, credentials: { keys: { id: AKIA, secret: hunter2hunter2 } }",
            ),
        ],
        expect![[r#"
            warning: a password stands in the configuration itself: use ${env:NAME} or ${file:/path}
             --> parmanu.yaml:3:28
              |
            3 | store: { kind: redis, url: "redis://…@redis:6379/" }
              |                            ^^^^^^^^^^^^^^^^^^^^^^^

            warning: the token stands in the configuration itself: use ${env:NAME} or ${file:/path}
             --> parmanu.yaml:8:12
              |
            8 |     token: …
              |            ^

            warning: a secret stands in the file; write ${env:NAME} or ${file:/path} instead
              --> parmanu.yaml:12:84
               |
            12 |   aws: { kind: ec2, region: eu-central-1, credentials: { keys: { id: …, secret: …} } }
               |                                                                                 ^

            usable
        "#]],
    );
}

#[test]
fn a_literal_token_of_the_api_is_a_warning_and_stays_hidden() {
    check_after(
        &[(
            "fleet: acme",
            "fleet: acme\napi: { token: hunter2hunter2hunter2 }",
        )],
        expect![[r#"
            warning: the token stands in the configuration itself: use ${env:NAME} or ${file:/path}
             --> parmanu.yaml:3:15
              |
            3 | api: { token: …}
              |               ^

            usable
        "#]],
    );
    check_after(
        &[("fleet: acme", "fleet: acme\napi: { tokn: \"${env:T}\" }")],
        expect![[r#"
            error: missing the key `token`
             --> parmanu.yaml:3:6
              |
            3 | api: { tokn: "${env:T}" }
              |      ^

            error: unknown key `tokn`; known are token
             --> parmanu.yaml:3:8
              |
            3 | api: { tokn: "${env:T}" }
              |        ^^^^
              = did you mean `token`?

        "#]],
    );
}

#[test]
fn what_only_looks_like_a_reference_is_told() {
    check_after(
        &[
            (
                "    token: \"${env:GITLAB_TOKEN}\"",
                "    token: \"${evn:GITLAB_TOKEN}\"",
            ),
            (
                "    manage_token: \"${env:GITLAB_TOKEN}\"",
                "    manage_token: \"${file:token}\"",
            ),
            (
                "fleet: acme",
                "fleet: \"${env:FLEET}\"\nstore: { kind: redis, url: \"redis://:${env:PASSWORD}@redis/\" }",
            ),
            (
                "region: eu-central-1",
                "region: eu-central-1, credentials: { keys: { id: \"${env:}\", secret: \"${file:}\" } }",
            ),
        ],
        expect![[r#"
            error: `${env:FLEET}` is not a name: use 1 to 30 lowercase letters, digits and hyphens, starting with a letter and not ending with a hyphen; a reference is read only where a secret is expected
             --> parmanu.yaml:2:8
              |
            2 | fleet: "${env:FLEET}"
              |        ^^^^^^^^^^^^^^

            error: a reference must be the whole value: put the whole text into the variable or the file
             --> parmanu.yaml:3:28
              |
            3 | store: { kind: redis, url: "redis://…@redis/" }
              |                            ^^^^^^^^^^^^^^^^^^

            error: this is not a reference: write ${env:NAME} or ${file:/path}
             --> parmanu.yaml:8:12
              |
            8 |     token: "${evn:GITLAB_TOKEN}"
              |            ^^^^^^^^^^^^^^^^^^^^^
              = did you mean `${env:GITLAB_TOKEN}`?

            warning: a relative path: it is looked for where the service was started, not beside this file
             --> parmanu.yaml:9:19
              |
            9 |     manage_token: "${file:token}"
              |                   ^^^^^^^^^^^^^^^

            error: `` is not the name of an environment variable: write ${env:NAME}
              --> parmanu.yaml:12:70
               |
            12 |   aws: { kind: ec2, region: eu-central-1, credentials: { keys: { id: "${env:}", secret: "${file:}" } } }
               |                                                                      ^^^^^^^^^

            error: the reference names no file: write ${file:/path}
              --> parmanu.yaml:12:89
               |
            12 |   aws: { kind: ec2, region: eu-central-1, credentials: { keys: { id: "${env:}", secret: "${file:}" } } }
               |                                                                                         ^^^^^^^^^^

        "#]],
    );
}

#[test]
fn a_boot_script_that_is_missing_or_broken_is_told() {
    for (file, text) in [
        ("broken.j2", "#!/bin/sh\n{% if machine %}\n"),
        (
            "typo.j2",
            "#!/bin/sh\necho {{ machin }}\n{{ executor.token }}\n",
        ),
        ("filter.j2", "{{ executor.token | shell }}\n"),
        (
            "guarded.j2",
            "{% if mahcine is defined %}x{% endif %}{{ executor.token }}\n",
        ),
        (
            "part.j2",
            "{{ executor.token }}\n{% if false %}{% include 'nowhere.j2' %}{% endif %}\n",
        ),
    ] {
        let report = support::report_with(
            &good().replace("bootstrap: runner.j2", &format!("bootstrap: {file}")),
            file,
            text,
        );
        let expected = match file {
            "broken.j2" => expect![[r#"
                error: broken.j2, line 2: syntax error: unexpected end of input, expected end of block
                  --> parmanu.yaml:15:16
                   |
                15 |     bootstrap: broken.j2
                   |                ^^^^^^^^^

            "#]],
            "typo.j2" => expect![[r#"
                error: typo.j2, line 2: `machin` is not defined
                  --> parmanu.yaml:15:16
                   |
                15 |     bootstrap: typo.j2
                   |                ^^^^^^^
                  = did you mean `machine`?

            "#]],
            "filter.j2" => expect![[r#"
                error: filter.j2, line 1: unknown filter: filter shell is unknown
                  --> parmanu.yaml:15:16
                   |
                15 |     bootstrap: filter.j2
                   |                ^^^^^^^^^

            "#]],
            "part.j2" => expect![[r#"
                error: part.j2 includes nowhere.j2, which cannot be read (it must lie in the same folder): No such file or directory (os error 2)
                  --> parmanu.yaml:15:16
                   |
                15 |     bootstrap: part.j2
                   |                ^^^^^^^

            "#]],
            _ => expect![[r#"
                warning: guarded.j2 speaks of mahcine, which no boot script is given; known are fleet, pool, batch, machine, executor
                  --> parmanu.yaml:15:16
                   |
                15 |     bootstrap: guarded.j2
                   |                ^^^^^^^^^^
                  = did you mean `machine`?

                usable
            "#]],
        };
        expected.assert_eq(&report);
    }
    check_after(
        &[("runner.j2", "../nowhere.j2")],
        expect![[r#"
        error: ../nowhere.j2 cannot be read (the path is relative to this file): No such file or directory (os error 2)
          --> parmanu.yaml:15:16
           |
        15 |     bootstrap: ../nowhere.j2
           |                ^^^^^^^^^^^^^

    "#]],
    );
}

#[test]
fn a_boot_script_that_asks_for_what_its_pool_has_not_is_told() {
    check_after(
        &[("    slots: 1", "    credential: shared")],
        expect![[r#"
            error: runner.j2, line 2: `executor.token` is not defined in this pool: with `credential: shared` one script may be for several machines, and nothing is registered, so `machine` is not defined and `executor` is empty
              --> parmanu.yaml:22:14
               |
            22 |     machine: linux-m
               |              ^^^^^^^

        "#]],
    );
    check_after(
        &[("    manage_token: \"${env:GITLAB_TOKEN}\"\n", "")],
        expect![[r#"
            warning: there is no right to control executors: this pool grows, but its machines leave only by themselves. Give the emitter that right, or say `scale_in`
              --> parmanu.yaml:19:14
               |
            19 |     emitter: gitlab
               |              ^^^^^^

            error: runner.j2, line 2: `executor.token` is not defined in this pool: nothing is registered, since the emitter has no right to it, so `machine` is not defined and `executor` is empty
              --> parmanu.yaml:21:14
               |
            21 |     machine: linux-m
               |              ^^^^^^^

        "#]],
    );
    let unused = support::report_with(&good(), "runner.j2", "#!/bin/sh\necho {{ machine }}\n");
    expect![[r#"
        warning: an executor is registered for each machine, but runner.j2 never uses `executor`: the machine cannot join as it. If its image joins by itself, write `credential: shared`
          --> parmanu.yaml:22:14
           |
        22 |     machine: linux-m
           |              ^^^^^^^

        usable
    "#]].assert_eq(&unused);
}

#[test]
fn nodes_without_a_ci_server_are_judged_by_their_own_rules() {
    check(
        r#"
version: 1
fleet: acme
providers:
  aws: { kind: ec2, region: eu-central-1 }
machines:
  node:
    executor: none
    offers: [{ provider: aws, image: ami-0123456789abcdef0, types: [m7i.large] }]
pools:
  good: { machine: node, min: 2, max: 2, rules: [night, either] }
  idle: { machine: node, max: 2, serves: [{ tags: [a] }], precedence: 3, keep_on_stale: 1 }
  hopes: { machine: node, max: 2, rules: [ready, queue] }
rules:
  night: { kind: limit, min: 2, when: { schedule: "Mon-Sun 01:00-05:00", zone: UTC } }
  either: { kind: limit, max: 2, when: { any: [{ queued_over: 3 }, { schedule: "Sat-Sun 00:00-24:00", zone: UTC }] } }
  ready: { kind: reserve, idle: 2 }
  queue: { kind: limit, min: 2, when: { queued_over: 3 } }
"#,
        expect![[r#"
            warning: a pool without an emitter keeps `min` machines, and min is 0: it never has one
              --> parmanu.yaml:11:9
               |
            11 |   idle: { machine: node, max: 2, serves: [{ tags: [a] }], precedence: 3, keep_on_stale: 1 }
               |         ^

            error: a pool without an emitter serves no jobs
              --> parmanu.yaml:11:42
               |
            11 |   idle: { machine: node, max: 2, serves: [{ tags: [a] }], precedence: 3, keep_on_stale: 1 }
               |                                          ^^

            warning: it changes nothing in a pool without an emitter
              --> parmanu.yaml:11:71
               |
            11 |   idle: { machine: node, max: 2, serves: [{ tags: [a] }], precedence: 3, keep_on_stale: 1 }
               |                                                                       ^

            warning: it changes nothing in a pool without an emitter
              --> parmanu.yaml:11:89
               |
            11 |   idle: { machine: node, max: 2, serves: [{ tags: [a] }], precedence: 3, keep_on_stale: 1 }
               |                                                                                         ^

            error: `ready` goes by jobs, and a pool without an emitter has none: it would never act. Size the pool by `min`, or by rules of the kind `limit` with a `schedule`
              --> parmanu.yaml:12:43
               |
            12 |   hopes: { machine: node, max: 2, rules: [ready, queue] }
               |                                           ^^^^^

            error: `queue` goes by jobs, and a pool without an emitter has none: it would never act. Size the pool by `min`, or by rules of the kind `limit` with a `schedule`
              --> parmanu.yaml:12:50
               |
            12 |   hopes: { machine: node, max: 2, rules: [ready, queue] }
               |                                                  ^^^^^

        "#]],
    );
    check_after(
        &[("    slots: 1", "    executor: none")],
        expect![[r#"
        error: machine `linux-m` joins no CI server (executor: none), but the pool has an emitter
          --> parmanu.yaml:22:14
           |
        22 |     machine: linux-m
           |              ^^^^^^^

    "#]],
    );
    check_after(
        &[(
            "    emitter: gitlab\n    serves: [{ tags: [linux, docker], run_untagged: true }]\n",
            "",
        )],
        expect![[r#"
            error: missing the key `emitter`; or say `executor: none` in machine `linux-m` for nodes that join no CI server
              --> parmanu.yaml:20:5
               |
            20 |     machine: linux-m
               |     ^^^^^^^

            error: runner.j2, line 2: `executor.token` is not defined in this pool: nothing is registered for a pool without an emitter, so `machine` is not defined and `executor` is empty
              --> parmanu.yaml:20:14
               |
            20 |     machine: linux-m
               |              ^^^^^^^

        "#]],
    );
}

#[test]
fn the_same_offer_twice_and_a_slow_probe_are_told() {
    check_after(
        &[
            (
                "    offers:\n",
                "    offers:\n      - { provider: aws, image: ami-0123456789abcdef0, types: [m7i.large] }\n",
            ),
            ("scope:", "probe: { every: 15m, timeout: 2h }\n    scope:"),
        ],
        expect![[r#"
            warning: a job may wait 900s before it is seen at all
             --> parmanu.yaml:9:21
              |
            9 |     probe: { every: 15m, timeout: 2h }
              |                     ^^^

            warning: the same as offer 1 of this list: it is tried again in vain
              --> parmanu.yaml:19:9
               |
            19 |       - { provider: aws, image: ami-0123456789abcdef0, types: [m7i.large] }
               |         ^

            warning: a look may take 7200s (probe.timeout) and is trusted for 3600s from its start: after a slow one no machine leaves. Shorten the one, or give the pool a longer `fresh_for`
              --> parmanu.yaml:22:14
               |
            22 |     emitter: gitlab
               |              ^^^^^^

            usable
        "#]],
    );
}

#[test]
fn what_is_not_yaml_is_told_where() {
    for (text, expected) in [
        (
            "version: 1\nfleet: acme\nfleet: other\n",
            expect![[r#"
            error: the key `fleet` stands twice in this mapping: remove one of them
             --> parmanu.yaml:3:1
              |
            3 | fleet: other
              | ^^^^^

        "#]],
        ),
        (
            "version: 1\npools:\n\tlinux: {}\n",
            expect![[r#"
                error: this is not YAML: found character that cannot start any token (a tab? YAML is indented with spaces; a text that begins with @, ` or % needs quotes)
                 --> parmanu.yaml:3:1
                  |
                3 |  linux: {}
                  | ^

            "#]],
        ),
        (
            "fleet: acme: ci\n",
            expect![[r#"
            error: this is not YAML: mapping values are not allowed in this context (a text with `: ` in it needs quotes; or a line is indented too far)
             --> parmanu.yaml:1:12
              |
            1 | fleet: acme: ci
              |            ^

        "#]],
        ),
        (
            "fleet: [a\n",
            expect![[r#"
                error: this is not YAML: did not find expected ',' or ']' (a bracket or quote that is not closed, or a line that is indented otherwise than its neighbours)
                 --> parmanu.yaml

            "#]],
        ),
        (
            "- a\n- b\n",
            expect![[r#"
            error: expected a mapping of keys, such as `version: 1`
             --> parmanu.yaml:1:1
              |
            1 | - a
              | ^

        "#]],
        ),
        (
            "# nothing\n",
            expect![[r#"
            error: the file is empty: a first one needs `version`, `fleet` and `pools`
             --> parmanu.yaml

        "#]],
        ),
        (
            "just words\n",
            expect![[r#"
            error: expected a mapping of keys, such as `version: 1`
             --> parmanu.yaml:1:1
              |
            1 | just words
              | ^^^^

        "#]],
        ),
        (
            "version: 1\n---\nversion: 1\n",
            expect![[r#"
            error: this is not YAML: deserializing from YAML containing more than one document is not supported (remove the line `---` between them)
             --> parmanu.yaml

        "#]],
        ),
        (
            "version: 1\n1: 2\n",
            expect![[r#"
            error: a key is a text: write it in quotes
             --> parmanu.yaml:2:1
              |
            2 | 1: 2
              | ^

        "#]],
        ),
        (
            "pools:\n  a: &x { max: 1 }\n  b: { <<: *x }\n",
            expect![[r#"
                error: merge keys (`<<`) are not read: write the keys out, or alias whole values
                 --> parmanu.yaml:3:8
                  |
                3 |   b: { <<: *x }
                  |        ^^

            "#]],
        ),
        (
            "version: !one 1\n",
            expect![[r#"
            error: tags (`!name`) mean nothing here: put the text in quotes
             --> parmanu.yaml:1:10
              |
            1 | version: !one 1
              |          ^^^^

        "#]],
        ),
        (
            "version: .inf\n",
            expect![[r#"
            error: this is not a finite number; what has no limit is written by leaving the key out
             --> parmanu.yaml:1:10
              |
            1 | version: .inf
              |          ^^^^

        "#]],
        ),
        (
            "fleet: *nobody\n",
            expect![[r#"
            error: this is not YAML: unknown anchor
             --> parmanu.yaml:1:8
              |
            1 | fleet: *nobody
              |        ^^^^^^^

        "#]],
        ),
    ] {
        expected.assert_eq(&support::report(text));
    }
}

#[test]
fn entries_of_a_pool_that_no_one_executor_can_be_are_refused() {
    check_after(
        &[(
            "serves: [{ tags: [linux, docker], run_untagged: true }]",
            "serves: [{ tags: [linux] }, { tags: [deploy], protected: true }]",
        )],
        expect![[r#"
            error: it differs from the first entry, and a machine has one runner for all of them: make two pools
              --> parmanu.yaml:21:62
               |
            21 |     serves: [{ tags: [linux] }, { tags: [deploy], protected: true }]
               |                                                              ^^^^

        "#]],
    );
    check_after(
        &[
            ("kind: gitlab", "kind: jenkins"),
            ("    scope: { instance: true }\n", "    user: parmanu\n"),
            (
                "    manage_token: \"${env:GITLAB_TOKEN}\"\n",
                "    manage: {}\n",
            ),
            ("slots: 1", "slots: 4"),
            (
                "serves: [{ tags: [linux, docker], run_untagged: true }]",
                "serves: [{ labels: [linux], executors: 2 }]",
            ),
        ],
        expect![[r#"
            error: 2 executors, and a machine of this pool has 4 slots: write `executors: 4`, or change the machine's `slots`
              --> parmanu.yaml:21:44
               |
            21 |     serves: [{ labels: [linux], executors: 2 }]
               |                                            ^

        "#]],
    );
}

#[test]
fn a_long_line_is_cut_around_the_mistake() {
    let many: Vec<String> = (0..80).map(|n| format!("tag-{n}")).collect();
    check_after(
        &[(
            "tags: [linux, docker]",
            &format!("tags: [{}], protectd: true", many.join(", ")),
        )],
        expect![[r#"
            error: unknown key `protectd`; known are tags, run_untagged, protected
              --> parmanu.yaml:21:654
               |
            21 | …2, tag-73, tag-74, tag-75, tag-76, tag-77, tag-78, tag-79], protectd: true, run_untagged: true }]…
               |                                                              ^^^^^^^^
              = did you mean `protected`?

        "#]],
    );
}

#[test]
fn signs_that_change_a_terminal_are_not_passed_on() {
    let report = support::report("version: 1\nfleet: \"\\e[2J\u{202e}evil\"\n");
    assert!(!report.contains(['\u{1b}', '\u{202e}']), "{report:?}");
}

#[test]
fn a_thousand_mistakes_are_not_a_thousand_screens() {
    let mut text = good();
    for n in 0..1000 {
        text.push_str(&format!("  x{n}: {{ kind: scale-inn }}\n"));
    }
    let report = support::report(&text);
    assert!(
        report.contains("900 more problems are not shown"),
        "{report}"
    );
    assert!(report.len() < 40_000, "{}", report.len());
}

/// Caps, groups, money: what cannot be meant.
#[test]
fn limits_that_cannot_be_kept_are_told_at_once() {
    check(
        r#"
version: 1
fleet: acme
emitters:
  gitlab: { kind: gitlab, url: "https://gitlab.example.com", token: "${env:T}", manage_token: "${env:T}", scope: { instance: true } }
providers:
  aws: { kind: ec2, region: eu-central-1, max_machines: many }
machines:
  plain: { credential: shared, offers: [{ provider: aws, image: ami-0123456789abcdef0, types: [m7i.xlarge] }] }
  dear: { credential: shared, offers: [{ provider: aws, image: ami-0123456789abcdef0, types: [m7i.metal-24xl], price: 5 }] }
pools:
  a: { emitter: gitlab, serves: [{ tags: [a] }], machine: plain, min: 3, max: 5, group: bilders, rules: [monthly] }
  b: { emitter: gitlab, serves: [{ tags: [b] }], machine: dear, min: 3, max: 5, group: builders, max_price: 1, weight: 0 }
  c: { emitter: gitlab, serves: [{ tags: [c] }], machine: plain, max: 5, choose: price, max_price: -1 }
groups:
  builders: { max: 2, rules: [daily, slow, nightly] }
  nobody: { max: 2 }
limits: { max: 5, patience: 0s, rules: [daily], patients: 5m }
rules:
  slow: { kind: scale-in, idle_for: 20m }
  monthly: { kind: budget, limit: 0, per: month, currency: dollars, zone: Berlin }
  daily: { kind: budget, limit: 10, per: week, currency: USD, warn_at: 80 }
  nightly: { kind: budget, limit: 10, per: day, currency: USD, warn_at: 99%, cheapest_at: 150%, machine_life: 5s }
"#,
        expect![[r#"
            error: expected a whole number, 0 or more, found text
             --> parmanu.yaml:6:57
              |
            6 |   aws: { kind: ec2, region: eu-central-1, max_machines: many }
              |                                                         ^^^^

            warning: machine `plain` has no bootstrap: its image must join the CI server under the machine's name by itself
              --> parmanu.yaml:11:59
               |
            11 |   a: { emitter: gitlab, serves: [{ tags: [a] }], machine: plain, min: 3, max: 5, group: bilders, rules: [monthly] }
               |                                                           ^^^^^

            error: there is no group `bilders`; known are builders, nobody
              --> parmanu.yaml:11:89
               |
            11 |   a: { emitter: gitlab, serves: [{ tags: [a] }], machine: plain, min: 3, max: 5, group: bilders, rules: [monthly] }
               |                                                                                         ^^^^^^^
              = did you mean `builders`?

            warning: machine `dear` has no bootstrap: its image must join the CI server under the machine's name by itself
              --> parmanu.yaml:12:59
               |
            12 |   b: { emitter: gitlab, serves: [{ tags: [b] }], machine: dear, min: 3, max: 5, group: builders, max_price: 1, weight: 0 }
               |                                                           ^^^^

            error: every offer costs more than this: the pool would never have a machine
              --> parmanu.yaml:12:109
               |
            12 |   b: { emitter: gitlab, serves: [{ tags: [b] }], machine: dear, min: 3, max: 5, group: builders, max_price: 1, weight: 0 }
               |                                                                                                             ^

            error: a weight is 1 to 1000
              --> parmanu.yaml:12:120
               |
            12 |   b: { emitter: gitlab, serves: [{ tags: [b] }], machine: dear, min: 3, max: 5, group: builders, max_price: 1, weight: 0 }
               |                                                                                                                        ^

            warning: machine `plain` has no bootstrap: its image must join the CI server under the machine's name by itself
              --> parmanu.yaml:13:59
               |
            13 |   c: { emitter: gitlab, serves: [{ tags: [c] }], machine: plain, max: 5, choose: price, max_price: -1 }
               |                                                           ^^^^^

            error: an offer of machine `plain` has no price: it cannot be ranked by it. An estimate: m7i.xlarge cost 0.2016 USD on demand in us-east-1, January 2025; write `price:` as it is in your region and contract
              --> parmanu.yaml:13:82
               |
            13 |   c: { emitter: gitlab, serves: [{ tags: [c] }], machine: plain, max: 5, choose: price, max_price: -1 }
               |                                                                                  ^^^^^

            error: a price is zero or more, per machine and hour
              --> parmanu.yaml:13:100
               |
            13 |   c: { emitter: gitlab, serves: [{ tags: [c] }], machine: plain, max: 5, choose: price, max_price: -1 }
               |                                                                                                    ^^

            error: max 2 is less than the 3 machines that the pools of group `builders` keep as their minimum
              --> parmanu.yaml:15:20
               |
            15 |   builders: { max: 2, rules: [daily, slow, nightly] }
               |                    ^

            error: `slow` is no budget: other rules are taken by pools only
              --> parmanu.yaml:15:38
               |
            15 |   builders: { max: 2, rules: [daily, slow, nightly] }
               |                                      ^^^^

            error: unknown key `patients`; known are max, patience, rules
              --> parmanu.yaml:17:49
               |
            17 | limits: { max: 5, patience: 0s, rules: [daily], patients: 5m }
               |                                                 ^^^^^^^^
              = did you mean `patience`?

            error: a limit is more than nothing; for a pool that may never grow write `max: 0`
              --> parmanu.yaml:20:35
               |
            20 |   monthly: { kind: budget, limit: 0, per: month, currency: dollars, zone: Berlin }
               |                                   ^

            error: `dollars` is no currency: write its three letters, such as USD
              --> parmanu.yaml:20:60
               |
            20 |   monthly: { kind: budget, limit: 0, per: month, currency: dollars, zone: Berlin }
               |                                                            ^^^^^^^

            error: `Berlin` is no time zone of the IANA database
              --> parmanu.yaml:20:75
               |
            20 |   monthly: { kind: budget, limit: 0, per: month, currency: dollars, zone: Berlin }
               |                                                                           ^^^^^^

            error: `week` is not known here; known are hour, day, month
              --> parmanu.yaml:21:42
               |
            21 |   daily: { kind: budget, limit: 10, per: week, currency: USD, warn_at: 80 }
               |                                          ^^^^

            error: expected a share such as 80% or 99.5%, found something else
              --> parmanu.yaml:21:72
               |
            21 |   daily: { kind: budget, limit: 10, per: week, currency: USD, warn_at: 80 }
               |                                                                        ^^

            error: a share of the limit is 100% at most
              --> parmanu.yaml:22:91
               |
            22 |   nightly: { kind: budget, limit: 10, per: day, currency: USD, warn_at: 99%, cheapest_at: 150%, machine_life: 5s }
               |                                                                                           ^^^^

            error: a machine costs a minute at least: 1h is usual
              --> parmanu.yaml:22:111
               |
            22 |   nightly: { kind: budget, limit: 10, per: day, currency: USD, warn_at: 99%, cheapest_at: 150%, machine_life: 5s }
               |                                                                                                               ^^

        "#]],
    );
}

#[test]
fn a_budget_counts_prices_in_one_currency() {
    check(
        r#"
version: 1
fleet: acme
emitters:
  gitlab: { kind: gitlab, url: "https://gitlab.example.com", token: "${env:T}", manage_token: "${env:T}", scope: { instance: true } }
providers:
  aws: { kind: ec2, region: eu-central-1 }
machines:
  plain: { credential: shared, offers: [{ provider: aws, image: ami-0123456789abcdef0, types: [m7i.xlarge], price: 0.2 }, { provider: aws, image: ami-0123456789abcdef0, types: [m6i.xlarge] }] }
pools:
  a: { emitter: gitlab, serves: [{ tags: [a] }], machine: plain, max: 5, rules: [monthly] }
limits: { rules: [daily] }
rules:
  monthly: { kind: budget, limit: 100, per: month, currency: EUR }
  daily: { kind: budget, limit: 10, per: day, currency: USD, warn_at: 95% }
"#,
        expect![[r#"
            warning: machine `plain` has no bootstrap: its image must join the CI server under the machine's name by itself
              --> parmanu.yaml:10:59
               |
            10 |   a: { emitter: gitlab, serves: [{ tags: [a] }], machine: plain, max: 5, rules: [monthly] }
               |                                                           ^^^^^

            error: budget `monthly` is in EUR and `daily` in USD: prices are in one currency
              --> parmanu.yaml:10:82
               |
            10 |   a: { emitter: gitlab, serves: [{ tags: [a] }], machine: plain, max: 5, rules: [monthly] }
               |                                                                                  ^^^^^^^

            error: budget `monthly` counts pool `a`, but offer 2 of machine `plain` has no price: what it costs could not be counted. An estimate: m6i.xlarge cost 0.192 USD on demand in us-east-1, January 2025; write `price:` as it is in your region and contract
              --> parmanu.yaml:10:82
               |
            10 |   a: { emitter: gitlab, serves: [{ tags: [a] }], machine: plain, max: 5, rules: [monthly] }
               |                                                                                  ^^^^^^^

            error: budget `daily` counts pool `a`, but offer 2 of machine `plain` has no price: what it costs could not be counted. An estimate: m6i.xlarge cost 0.192 USD on demand in us-east-1, January 2025; write `price:` as it is in your region and contract
              --> parmanu.yaml:11:19
               |
            11 | limits: { rules: [daily] }
               |                   ^^^^^

            warning: it warns later than it uses the cheapest offers only: state the smaller share here
              --> parmanu.yaml:14:71
               |
            14 |   daily: { kind: budget, limit: 10, per: day, currency: USD, warn_at: 95% }
               |                                                                       ^^^

        "#]],
    );
}

/// A way to shrink without control is an operator's own choice: where there is control it is refused, and what it costs is said.
#[test]
fn how_machines_leave_without_control_is_refused_where_it_cannot_be_and_warned_of_where_it_kills() {
    let read_only = ("    manage_token: \"${env:GITLAB_TOKEN}\"\n", "");
    let own_script = ("    bootstrap: runner.j2\n", "    credential: shared\n");
    check_after(
        &[("max: 3", "max: 3\n    scale_in: ask-guest")],
        expect![[r#"
            error: its emitter may control executors, so its machines leave by cordon and proof: leave this key out
              --> parmanu.yaml:24:15
               |
            24 |     scale_in: ask-guest
               |               ^^^^^^^^^

        "#]],
    );
    check_after(
        &[
            read_only,
            own_script,
            ("max: 3", "max: 3\n    scale_in: ask-guest"),
        ],
        expect![[r#"
            good
        "#]],
    );
    check_after(
        &[
            read_only,
            own_script,
            ("max: 3", "max: 3\n    scale_in: best-effort"),
        ],
        expect![[r#"
            warning: best-effort: that a running build is never killed is NOT promised for this pool. A machine is deleted on a look up to ten seconds old, and a job that it was given since dies
              --> parmanu.yaml:23:15
               |
            23 |     scale_in: best-effort
               |               ^^^^^^^^^^^

            usable
        "#]],
    );
    check_after(
        &[
            read_only,
            own_script,
            (
                "aws: { kind: ec2, region: eu-central-1 }",
                "aws: { kind: command, program: [/bin/true] }",
            ),
            ("max: 3", "max: 3\n    scale_in: ask-guest"),
        ],
        expect![[r#"
            error: missing the key `spec`
              --> parmanu.yaml:16:9
               |
            16 |       - { provider: aws, image: ami-0123456789abcdef0, types: [m7i.large] }
               |         ^

            error: unknown key `image`; known are spec, market
              --> parmanu.yaml:16:26
               |
            16 |       - { provider: aws, image: ami-0123456789abcdef0, types: [m7i.large] }
               |                          ^^^^^

            error: unknown key `types`; known are spec, market
              --> parmanu.yaml:16:56
               |
            16 |       - { provider: aws, image: ami-0123456789abcdef0, types: [m7i.large] }
               |                                                        ^^^^^

            error: ask-guest: provider `aws` can write no mark that a machine reads of itself
              --> parmanu.yaml:23:15
               |
            23 |     scale_in: ask-guest
               |               ^^^^^^^^^

        "#]],
    );
}
