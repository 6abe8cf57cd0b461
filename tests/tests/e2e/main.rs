//! End to end: a fake GitLab → the real `probot` → a real Redis → the real `scaler` → the real AWS SDK → moto.
//!
//! Real are both binaries, Redis and the EC2 API's wire format. Not real are GitLab (a stateful fake over HTTP), the
//! machines (the test plays them) and whatever moto cannot show: it knows no ClientToken idempotency, no capacity and no
//! throttling; those are shown by provider-ec2's own suite against fake-ec2.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test may panic and print, and its helpers are a module"
)]

mod metrics;
mod shop;

use fake_gitlab::{Fault, FaultKind, Scope};
use shop::{Shop, TOKEN, skip_without_parts};

/// 20 queued jobs with two tag sets become 20 machines with the right tags, once; the jobs run; the machines go.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_queued_jobs_become_the_right_machines_once_and_leave_when_idle() {
    let Some(parts) = skip_without_parts("e2e::twenty_queued_jobs") else {
        return;
    };
    let mut shop = Shop::open(parts, "twenty").await;
    shop.push(12, &["linux"]);
    shop.push(8, &["docker"]);
    shop.start_probot();
    shop.start_scaler();
    shop.until(60, "20 machines run", |seen| {
        seen.running("linux") == 12 && seen.running("docker") == 8
    })
    .await;
    for runner in shop.gitlab().runners() {
        let expected: &[&str] = match runner.description.starts_with("linux-") {
            true => &["linux", "parmanu-fleet:"],
            false => &["docker", "parmanu-fleet:", "privileged"],
        };
        let mut tags = runner.tags.clone();
        tags.sort();
        assert_eq!(tags.len(), expected.len(), "{tags:?}");
        assert!(
            tags.iter()
                .zip(expected)
                .all(|(tag, want)| tag.starts_with(want)),
            "{tags:?}"
        );
    }
    shop.let_jobs_run();
    shop.until(60, "every job is done", |seen| seen.done == 20)
        .await;
    shop.until(90, "every machine and every runner is gone", |seen| {
        seen.alive() == 0 && seen.runners == 0
    })
    .await;
    let seen = shop.look().await;
    assert_eq!(
        seen.ever.len(),
        20,
        "no machine was made twice: {:?}",
        seen.ever
    );
    shop.nothing_was_killed();
    assert!(
        shop.metric(shop.scaler_port(), "parmanu_action_total")
            .await
            > 0.0
    );
    shop.stop_gracefully().await;
}

/// The operator's questions at a running system, over the real Redis and the real listing: they are answered, and nothing
/// changes by them.
#[tokio::test(flavor = "multi_thread")]
async fn plan_and_probe_tell_what_there_is_and_change_nothing() {
    let Some(parts) = skip_without_parts("e2e::plan_and_probe") else {
        return;
    };
    let mut shop = Shop::open(parts, "ask").await;
    shop.hold_jobs_open();
    shop.push(4, &["linux"]);
    shop.push(1, &["nobody-has-this"]);
    shop.start_probot();
    shop.start_scaler();
    shop.until(60, "4 machines work", |seen| seen.working == 4)
        .await;
    // the look after the one in which the last job began is in the store
    let ticks = shop.ticks().await;
    shop.until_ticks(ticks + 4.0).await;
    let plan = shop.ask(&["plan"]);
    assert!(
        plan.contains("pool linux: 0 queued, 4 running; 4 serving of 4"),
        "{plan}"
    );
    assert!(plan.contains("in all: 0 to create"), "{plan}");
    let probe = shop.ask(&["probe", "gitlab"]);
    assert!(probe.contains("a whole look"), "{probe}");
    assert!(
        probe.contains("1 runnable, and no pool takes them"),
        "{probe}"
    );
    assert!(probe.contains("tag `nobody-has-this`"), "{probe}");
    let seen = shop.look().await;
    assert_eq!((seen.alive(), seen.ever.len(), seen.working), (4, 4, 4));
    shop.nothing_was_killed();
    shop.stop_gracefully().await;
}

/// kill −9 of the scaler at random moments, and a restart: none doubled, none lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_scaler_killed_at_random_moments_doubles_and_loses_nothing() {
    let Some(parts) = skip_without_parts("e2e::a_scaler_killed") else {
        return;
    };
    let mut shop = Shop::open(parts, "kill-scaler").await;
    shop.let_jobs_run();
    shop.push(12, &["linux"]);
    shop.push(8, &["docker"]);
    shop.start_probot();
    for _ in 0..4 {
        shop.start_scaler();
        let moment = shop.random_ms(200..2500);
        shop.pass(moment).await;
        shop.kill_scaler();
    }
    shop.start_scaler();
    shop.all_done_and_gone(20).await;
}

/// kill −9 of probot at random moments, and a restart: none doubled, none lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_probot_killed_at_random_moments_doubles_and_loses_nothing() {
    let Some(parts) = skip_without_parts("e2e::a_probot_killed") else {
        return;
    };
    let mut shop = Shop::open(parts, "kill-probot").await;
    shop.let_jobs_run();
    shop.push(12, &["linux"]);
    shop.push(8, &["docker"]);
    shop.start_scaler();
    for _ in 0..4 {
        shop.start_probot();
        let moment = shop.random_ms(200..1500);
        shop.pass(moment).await;
        shop.kill_probot();
    }
    shop.start_probot();
    shop.all_done_and_gone(20).await;
}

/// FLUSHALL while machines work: nothing is deleted, nothing is doubled, and afterwards everything goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_redis_deletes_and_doubles_nothing() {
    let Some(parts) = skip_without_parts("e2e::a_wiped_redis") else {
        return;
    };
    let mut shop = Shop::open(parts, "flush").await;
    shop.hold_jobs_open();
    shop.push(10, &["linux"]);
    shop.start_probot();
    shop.start_scaler();
    shop.until(60, "10 machines work", |seen| seen.working == 10)
        .await;
    for _ in 0..3 {
        shop.flush_all();
        let ticks = shop.ticks().await;
        shop.until_ticks(ticks + 6.0).await;
        let seen = shop.look().await;
        assert_eq!((seen.alive(), seen.ever.len()), (10, 10), "{:?}", seen.ever);
    }
    shop.push(2, &["linux"]);
    shop.until(60, "2 more machines for 2 more jobs", |seen| {
        seen.working == 12
    })
    .await;
    assert_eq!(shop.look().await.ever.len(), 12);
    assert!(
        shop.scaler_log().contains("was wiped"),
        "the log says what happened"
    );
    shop.let_jobs_run();
    shop.all_done_and_gone(12).await;
}

/// While GitLab is in trouble a pool does not shrink, and the log says why.
async fn no_shrink_while(
    name: &str,
    trouble: impl Fn(&Shop),
    cure: impl Fn(&Shop),
    words: &[&str],
) {
    let Some(parts) = skip_without_parts(&format!("e2e::no_shrink_while_{name}")) else {
        return;
    };
    let mut shop = Shop::open(parts, name).await;
    shop.hold_jobs_open();
    shop.push(3, &["linux"]);
    shop.start_probot();
    shop.start_scaler();
    shop.until(60, "3 machines work", |seen| seen.working == 3)
        .await;
    trouble(&shop);
    shop.let_jobs_run();
    shop.until(30, "every job is done", |seen| seen.done == 3)
        .await;
    shop.until_logged(60, "no machine may leave").await;
    // longer than the idle time of the rule and until the last good workload is stale as well
    shop.until_logged(60, "the workload is older than 10s")
        .await;
    let ticks = shop.ticks().await;
    shop.until_ticks(ticks + 2.0).await;
    let seen = shop.look().await;
    assert_eq!(
        (seen.alive(), seen.paused),
        (3, 0),
        "no machine left, none was cordoned"
    );
    let logs = shop.scaler_log() + &shop.probot_log();
    for word in words {
        assert!(logs.contains(word), "the logs do not say `{word}`:\n{logs}");
    }
    cure(&shop);
    shop.all_done_and_gone(3).await;
}

fn faulty(kind: FaultKind) -> impl Fn(&Shop) {
    move |shop| shop.gitlab().inject(Fault::on("/", u32::MAX, kind.clone()))
}

fn healthy(shop: &Shop) {
    shop.gitlab().clear_faults();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_shrink_while_gitlab_answers_500() {
    no_shrink_while("error-500", faulty(FaultKind::Html(500)), healthy, &["500"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_shrink_while_gitlab_answers_html() {
    no_shrink_while("html", faulty(FaultKind::Html(200)), healthy, &["JSON"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_shrink_while_gitlab_cuts_its_pages() {
    no_shrink_while("cut", faulty(FaultKind::CutBody), healthy, &["look failed"]).await;
}

/// A token that lost its rights is answered an empty list with status 200: that is not an empty queue.
#[tokio::test(flavor = "multi_thread")]
async fn no_shrink_while_an_empty_list_is_for_lack_of_rights() {
    let lose = |shop: &Shop| shop.gitlab().revoke(1);
    let regain = |shop: &Shop| {
        let mut gitlab = shop.gitlab();
        let user = gitlab.add_user("again", true);
        gitlab.add_token(user, TOKEN, &[Scope::Api]);
    };
    no_shrink_while("no-rights", lose, regain, &["administrator"]).await;
}
