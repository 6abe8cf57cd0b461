//! A program that does everything wrong: each wrong ends as a typed error, in bounded time and memory, and leaves no process.
//!
//! Programs are lines of shell, see `shell`.

#[path = "shell/mod.rs"]
mod shell;
#[path = "world/mod.rs"]
mod world;

use std::time::Duration;

use model::Timestamp;
use ports::{Call, Outcome, ProviderError, ProviderErrorKind as Kind};
use serde_json::json;
use shell::{MARK, MINUTE, Shell};
use world::{fleet, until};

/// What a good program answers to an empty list.
const EMPTY: &str = r#"{"version":1,"machines":[]}"#;
/// What a good program answers to a creation that it refuses.
const FULL: &str = r#"{"version":1,"error":{"kind":"out_of_capacity","message":"full"}}"#;

fn unknown(outcome: Outcome<model::Instance>) -> ProviderError {
    match outcome {
        Outcome::Unknown(error) => error,
        other => panic!("{other:?}"),
    }
}

fn failed(outcome: Outcome<model::Instance>) -> ProviderError {
    match outcome {
        Outcome::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_that_hangs_is_ended_and_its_creation_unknown() {
    let shell = Shell::new("echo asking the host >&2; sleep 600 & wait");
    let call = shell.call();
    let error = unknown(shell.as_time_passes(shell.create(&call)).await);
    assert_eq!(error.kind, Kind::UnknownOutcome);
    assert!(error.message.contains("no reply within 55s"), "{error:?}");
    shell.nothing_is_left().await;
    let error = shell
        .as_time_passes(shell.list())
        .await
        .expect_err("no list");
    assert!(error.message.contains("no reply within 25s"), "{error:?}");
    shell.nothing_is_left().await;
}

#[tokio::test]
async fn one_that_is_cut_off_is_quoted() {
    let shell = Shell::new("echo '<4>host-3 does not answer' >&2; exec sleep 600");
    let asked = shell.list();
    let pass = async {
        // the words are heard once the shell has made way for what it calls
        until("the sleep", async || {
            let is_sleep = |id: &i32| {
                std::fs::read(format!("/proc/{id}/cmdline"))
                    .is_ok_and(|line| line.starts_with(b"sleep"))
            };
            shell.processes().iter().any(is_sleep).then_some(())
        })
        .await;
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        shell.pass(MINUTE);
        std::future::pending::<()>().await;
    };
    let listed = tokio::select! { listed = asked => listed, () = pass => unreachable!() };
    let error = listed.expect_err("no list");
    assert!(
        error
            .message
            .ends_with("it last said: host-3 does not answer"),
        "{error:?}"
    );
    shell.nothing_is_left().await;
}

#[tokio::test]
async fn one_that_outlives_the_right_to_act_is_ended() {
    let shell = Shell::new("exec sleep 600");
    let call = Call::within(shell.clock.clone(), Duration::from_secs(5));
    let asked = shell.create(&call);
    let pass = async {
        shell.runs().await;
        shell.pass(Duration::from_secs(6));
        std::future::pending::<()>().await;
    };
    let outcome = tokio::select! { outcome = asked => outcome, () = pass => unreachable!() };
    let error = unknown(outcome);
    assert!(error.message.contains("right to act ended"), "{error:?}");
    shell.nothing_is_left().await;
}

#[tokio::test]
async fn one_that_nobody_waits_for_any_more_is_ended() {
    let shell = Shell::new("sleep 600 & sleep 600 & wait");
    let call = shell.call();
    tokio::select! {
        _ = shell.create(&call) => unreachable!("it hangs"),
        () = shell.runs() => {}
    }
    shell.nothing_is_left().await;
}

#[tokio::test]
async fn one_that_floods_its_output_is_ended() {
    let shell = Shell::new("exec yes");
    let error = shell.list().await.expect_err("no list");
    assert_eq!(error.kind, Kind::BadAnswer);
    assert!(error.message.contains("larger than"), "{error:?}");
    let error = unknown(shell.create(&shell.call()).await);
    assert_eq!(error.kind, Kind::BadAnswer);
    shell.nothing_is_left().await;
}

#[tokio::test]
async fn one_that_floods_the_log_is_listened_to_and_ended_in_time() {
    let talkative = format!("yes | head -c 20000000 >&2; echo '{EMPTY}'");
    let listed = Shell::new(&talkative).list().await;
    assert!(listed.expect("a list").instances.is_empty());
    let endless = Shell::new("exec yes >&2");
    let error = endless.as_time_passes(endless.list()).await;
    assert_eq!(error.expect_err("no list").kind, Kind::Unavailable);
    endless.nothing_is_left().await;
}

#[tokio::test]
async fn one_that_answers_twice_has_not_answered() {
    let shell = Shell::new(&format!("echo '{EMPTY}'; echo '{EMPTY}'"));
    let error = shell.list().await.expect_err("no list");
    assert_eq!(error.kind, Kind::BadAnswer);
    let shell = Shell::new(&format!("cat >/dev/null; echo '{FULL}'; echo '{FULL}'"));
    assert_eq!(
        unknown(shell.create(&shell.call()).await).kind,
        Kind::BadAnswer
    );
    shell.nothing_is_left().await;
}

#[tokio::test]
async fn one_that_does_not_listen_is_heard_all_the_same() {
    for script in [
        format!("exec <&-; echo '{FULL}'"),
        format!("echo '{FULL}'"),
        format!("head -c 1 >/dev/null; echo '{FULL}'"),
    ] {
        let shell = Shell::new(&script);
        let error = failed(shell.create(&shell.call()).await);
        assert_eq!(error.kind, Kind::OutOfCapacity, "{script}");
        shell.nothing_is_left().await;
    }
}

#[tokio::test]
async fn what_it_leaves_in_the_background_is_ended_with_it() {
    let shell = Shell::new(&format!("sleep 600 & echo '{EMPTY}'"));
    assert!(shell.list().await.expect("a list").instances.is_empty());
    shell.nothing_is_left().await;
    // with its output closed it would not even be noticed, whichever ends first: the output or the program
    for rest in [
        "",
        "exec >/dev/null 2>&1; head -c 50000000 /dev/zero | wc -c",
    ] {
        let shell = Shell::new(&format!(
            "sleep 600 >/dev/null 2>&1 & echo '{EMPTY}'; {rest}"
        ));
        assert!(shell.list().await.expect("a list").instances.is_empty());
        shell.nothing_is_left().await;
    }
}

#[tokio::test]
async fn what_leaves_its_group_and_holds_its_output_open_is_waited_for_a_second() {
    let folder = tempfile::tempdir().expect("a folder");
    let left = folder.path().join("left");
    let left = left.display();
    // it has left before the program ends, or it would be ended with it
    let shell = Shell::new(&format!(
        "setsid sh -c 'touch {left}; exec sleep 600' & until [ -e {left} ]; do :; done; echo '{EMPTY}'"
    ));
    let pass = async {
        // slowly, so that it is the second after its end that is over and not all the time that it has
        until("its end", async || {
            shell.pass(Duration::from_millis(100));
            None::<()>
        })
        .await;
    };
    let listed = tokio::select! { listed = shell.list() => listed, () = pass => unreachable!() };
    let error = listed.expect_err("no list");
    assert_eq!(error.kind, Kind::BadAnswer);
    assert!(error.message.contains("holds its output open"), "{error:?}");
    // nobody can end what left the group, so the test does
    for id in shell.processes() {
        let id = rustix::process::Pid::from_raw(id).expect("a number");
        rustix::process::kill_process(id, rustix::process::Signal::KILL).expect("an end");
    }
    shell.nothing_is_left().await;
}

#[tokio::test]
async fn one_that_dies_is_not_believed() {
    for (end, words) in [
        ("kill -9 $$", "signal: 9"),
        ("echo 'no such host' >&2; exit 3", "exit status: 3"),
    ] {
        let shell = Shell::new(&format!("cat >/dev/null; echo '{FULL}'; {end}"));
        let error = unknown(shell.create(&shell.call()).await);
        assert_eq!(error.kind, Kind::Unavailable);
        assert!(error.message.contains(words), "{error:?}");
        let shell = Shell::new(&format!("echo '{EMPTY}'; {end}"));
        let error = shell.list().await.expect_err("no list");
        assert!(error.message.contains(words), "{error:?}");
        shell.nothing_is_left().await;
    }
}

#[tokio::test]
async fn one_that_says_nothing_has_done_nobody_knows_what() {
    let shell = Shell::new("true");
    let error = unknown(shell.create(&shell.call()).await);
    assert_eq!(error.kind, Kind::BadAnswer);
    assert!(error.message.contains("no reply"), "{error:?}");
    assert_eq!(
        shell.list().await.expect_err("no list").kind,
        Kind::BadAnswer
    );
}

#[tokio::test]
async fn one_of_another_version_is_refused() {
    let shell = Shell::new(r#"echo '{"version":2,"machines":[]}'"#);
    let error = shell.list().await.expect_err("no list");
    assert_eq!(error.kind, Kind::BadAnswer);
    assert!(error.message.contains("version 2"), "{error:?}");
}

/// A machine of the fleet, as if it had been listed.
fn listed() -> model::Instance {
    let name: model::InstanceName = "linux-7-1-0".parse().expect("a name");
    model::Instance {
        id: model::ProviderRef::new("4711"),
        scope: "dc2".to_owned(),
        state: model::InstanceState::Running,
        created_at: None,
        owner: model::Owner {
            fleet: fleet("acme"),
            installation: None,
        },
        executor: None,
        offer: None,
        notice: None,
        generation: None,
        expires: None,
        name,
    }
}

#[tokio::test]
async fn one_that_is_certain_that_a_machine_is_not_there_has_deleted_it() {
    let row = r#"{"name":"linux-7-1-0","outcome":"failed","error":{"kind":"not_found","message":"gone"}}"#;
    let shell = Shell::new(&format!(r#"echo '{{"version":1,"outcomes":[{row}]}}'"#));
    let deleted = shell.provider.delete(&[listed()], &shell.call()).await;
    assert!(matches!(deleted[..], [Outcome::Done(_)]), "{deleted:?}");
}

#[tokio::test]
async fn one_that_knows_no_optional_verb_is_asked_for_none() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let shell = Shell::new(&format!(
        r#"cat >>{}; echo '{{"version":1,"verbs":["describe","list"]}}'"#,
        file.path().display()
    ));
    for _ in 0..2 {
        let renewed = shell
            .provider
            .renew(&[listed()], Timestamp::UNIX_EPOCH, &shell.call())
            .await;
        assert!(matches!(renewed[..], [Outcome::Done(_)]), "{renewed:?}");
        let console = shell.provider.console(&listed(), &shell.call()).await;
        assert_eq!(console.expect("an answer"), None);
    }
    let asked = std::fs::read_to_string(file.path()).expect("a file");
    assert_eq!(asked.matches("\"verb\"").count(), 1, "{asked}");
    assert!(asked.contains("describe"), "{asked}");
}

/// The mark of a creation that nobody can renew is over while the machine is wanted.
#[tokio::test]
async fn the_mark_of_one_that_cannot_renew_it_does_not_count() {
    let machine = r#"{"name":"linux-7-1-0","id":"vm-1","state":"running","tags":{"parmanu-fleet":"acme",
        "parmanu-batch":"linux-7-1","parmanu-expires":"2026-11-24T17:34:34Z"}}"#;
    let list = format!(r#"{{"version":1,"machines":[{machine}]}}"#);
    let renews = r#"echo '{"version":1,"verbs":["renew"]}'"#;
    let none = r#"echo '{"version":1,"verbs":["list"]}'"#;
    for (describe, counts) in [(renews, true), (none, false), ("exit 1", false)] {
        let script = format!("case $(cat) in *describe*) {describe};; *) echo '{list}';; esac");
        let shell = Shell::new(&script);
        let listing = shell.provider.list(&fleet("acme")).await.expect("a list");
        let mark = listing.instances[0].expires;
        assert_eq!(mark.is_some(), counts, "{describe}: {mark:?}");
    }
}

#[tokio::test]
async fn one_that_does_not_say_what_it_knows_is_asked_again_the_next_time() {
    let shell = Shell::new("exit 1");
    let renewed = shell
        .provider
        .renew(&[listed()], Timestamp::UNIX_EPOCH, &shell.call())
        .await;
    // nothing can have happened: it was only asked what it can do
    assert!(matches!(renewed[..], [Outcome::Failed(_)]), "{renewed:?}");
    let console = shell.provider.console(&listed(), &shell.call()).await;
    assert_eq!(console.expect_err("an answer").kind, Kind::Unavailable);
}

#[tokio::test]
async fn one_that_cannot_be_started_has_done_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("not-executable");
    std::fs::write(&file, "#!/bin/sh\n").expect("a file");
    for program in [
        json!([file]),
        json!([folder.path().join("not-there")]),
        json!(["parmanu-no-such-program"]),
        json!([folder.path()]),
    ] {
        let shell = Shell::of(json!({ "program": program }));
        let error = failed(shell.create(&shell.call()).await);
        assert_eq!(error.kind, Kind::Unreachable, "{error:?}");
        assert!(error.message.contains("could not be started"), "{error:?}");
        let error = shell.list().await.expect_err("no list");
        assert_eq!(error.kind, Kind::Unreachable);
    }
}

#[tokio::test]
async fn a_secret_that_is_missing_is_an_operators_matter() {
    let shell = Shell::of(json!({
        "program": ["true"], "env": { "KEY": "${env:PARMANU_NO_SUCH_VARIABLE}" },
    }));
    let error = failed(shell.create(&shell.call()).await);
    assert_eq!(error.kind, Kind::Unauthorized);
    assert!(error.message.contains("env: KEY"), "{error:?}");
}

#[tokio::test]
async fn a_secret_that_it_tells_is_not_passed_on() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "not-a-secret-123\n").expect("a file");
    let secret = format!("${{file:{}}}", file.path().display());
    for script in [
        r#"echo "login with $KEY failed" >&2; exit 1"#,
        r#"echo "{\"version\":1,\"error\":{\"kind\":\"unauthorized\",\"message\":\"login with $KEY failed\"}}""#,
    ] {
        let shell = Shell::of(json!({ "program": ["sh", "-c", script], "env": { "KEY": secret } }));
        let error = shell.list().await.expect_err("no list");
        assert!(error.message.contains("login with *** failed"), "{error:?}");
    }
}

#[tokio::test]
async fn its_environment_is_what_was_configured() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let script = format!("env >{}; pwd >&2; echo '{EMPTY}'", file.path().display());
    let shell = Shell::new(&script);
    shell.list().await.expect("a list");
    let text = std::fs::read_to_string(file.path()).expect("a file");
    let names: Vec<_> = text
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    assert!(names.contains(&"PATH") && names.contains(&MARK), "{text}");
    // the shell sets the last three itself
    let known = [
        "PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", MARK, "PWD", "_", "SHLVL",
    ];
    for name in names {
        assert!(known.contains(&name), "{name} was inherited");
    }
}

#[tokio::test]
async fn one_whose_turn_comes_when_the_right_to_act_is_over_is_not_started() {
    let shell = Shell::of(json!({ "program": ["sleep", "600"], "parallel": 1 }));
    let long = shell.call();
    let short = Call::within(shell.clock.clone(), Duration::from_secs(5));
    let mut busy = Box::pin(shell.create(&long));
    tokio::select! {
        _ = &mut busy => unreachable!("it hangs"),
        () = shell.runs() => {}
    }
    let mut waits = std::pin::pin!(shell.create(&short));
    assert!(futures::poll!(&mut waits).is_pending());
    shell.pass(Duration::from_secs(6));
    drop(busy);
    assert_eq!(failed(waits.await).kind, Kind::LeaseOver);
    shell.nothing_is_left().await;
}

#[tokio::test]
async fn one_that_renews_is_not_kept_waiting_and_keeps_nobody_waiting() {
    let done = r#"{"version":1,"outcomes":[{"name":"linux-7-1-0","outcome":"done"}]}"#;
    let verbs = r#"{"version":1,"verbs":["describe","renew"]}"#;
    let script = format!(
        "case $(cat) in *describe*) echo '{verbs}';; *renew*) echo '{done}';; *) exec sleep 600;; esac"
    );
    let shell = Shell::of(json!({ "program": ["sh", "-c", script], "parallel": 1 }));
    let call = shell.call();
    let mut busy = std::pin::pin!(shell.create(&call));
    tokio::select! {
        _ = &mut busy => unreachable!("it hangs"),
        () = shell.runs() => {}
    }
    let machines = [listed()];
    let renewed = shell
        .provider
        .renew(&machines, Timestamp::UNIX_EPOCH, &call);
    tokio::select! {
        _ = &mut busy => unreachable!("it hangs"),
        renewed = renewed => assert!(matches!(renewed[..], [Outcome::Done(_)]), "{renewed:?}"),
        () = until("the renewal", async || None::<()>) => unreachable!(),
    }
}

#[tokio::test]
async fn one_that_gets_no_turn_has_done_nothing_and_looking_is_not_kept_waiting() {
    let script = format!("case $(cat) in *list*) echo '{EMPTY}';; *) exec sleep 600;; esac");
    let shell = Shell::of(json!({
        "program": ["sh", "-c", script], "parallel": 1, "timeout": { "create": "10s" },
    }));
    let call = shell.call();
    let busy = shell.create(&call);
    let mut busy = std::pin::pin!(busy);
    tokio::select! {
        _ = &mut busy => unreachable!("it hangs"),
        () = shell.runs() => {}
    }
    shell.pass(Duration::from_secs(5));
    let listed = tokio::select! {
        _ = &mut busy => unreachable!("it hangs"),
        listed = shell.list() => listed,
    };
    assert!(listed.expect("a list").unknown.is_empty());
    // the first run keeps its turn to the end: held here, and not polled while the second one waits in vain
    let waits = shell.create(&call);
    let pass = async {
        tokio::task::yield_now().await;
        shell.pass(MINUTE);
        std::future::pending::<()>().await;
    };
    let outcome = tokio::select! { outcome = waits => outcome, () = pass => unreachable!() };
    let error = failed(outcome);
    assert!(error.message.contains("no turn came"), "{error:?}");
    unknown(busy.await);
    shell.nothing_is_left().await;
}
