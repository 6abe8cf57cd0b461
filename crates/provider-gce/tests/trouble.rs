//! What goes wrong on the way to Compute Engine, and what is concluded from it: refusals, silence, doubt, who we are.

#[path = "world/mod.rs"]
mod world;

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use fake_gce::{Fault, Rates};
use ports::{Call, Outcome, ProviderError, ProviderErrorKind};
use serde_json::json;
use world::{ACT_AS, CALLER, CANARY, HandClock, TYPE, World, ZONES, batch, fleet};

#[tokio::test]
async fn each_right_that_is_missing_is_named() {
    for right in world::role().chain([ACT_AS]) {
        let world = World::start(|settings| {
            let granted = settings.granted.as_mut().expect("the role");
            granted.remove(right);
        });
        let mut texts = Vec::new();
        let mut offers = [batch(0, 1), batch(1, 1), batch(2, 5)];
        offers[0].spec["external_ip"] = json!(true);
        offers[1].spec = json!({"template": "ci-linux-v12"});
        world.gce().set_capacity(TYPE, ZONES[0], Some(4));
        world.gce().set_capacity(TYPE, ZONES[1], Some(0));
        let mut made = Vec::new();
        for offer in &offers {
            for outcome in world.create(offer).await {
                match outcome {
                    Outcome::Done(machine) => made.push(machine),
                    Outcome::Failed(error) | Outcome::Unknown(error) => texts.push(error),
                }
            }
        }
        for machine in &made {
            texts.extend(world.provider.console(machine, &world.call()).await.err());
        }
        for outcome in world.provider.delete(&made, &world.call()).await {
            if let Outcome::Failed(error) | Outcome::Unknown(error) = outcome {
                texts.push(error);
            }
        }
        let told = |error: &&ProviderError| {
            error.kind == ProviderErrorKind::Unauthorized && error.message.contains(right)
        };
        assert!(texts.iter().any(|error| told(&error)), "{right}: {texts:?}");
    }
}

#[tokio::test]
async fn a_failure_is_found_in_the_operation_only() {
    let world = World::start(|settings| {
        settings.creation = Duration::from_secs(20);
        settings.cpu_quota = Some(3);
    });
    let error = world.error(&batch(0, 1)).await;
    assert_eq!(error.kind, ProviderErrorKind::QuotaExceeded);
    assert!(error.message.contains("Quota 'CPUS' exceeded"), "{error}");
    let call = world.sent("instances.insert");
    assert_eq!(call.reason, None, "it was accepted");
}

#[tokio::test]
async fn a_zone_that_cannot_be_seen_stops_a_creation_that_might_be_there() {
    let world = World::start(|_| {});
    world.gce().set_unreachable(ZONES[1], true);
    let error = world.error(&batch(0, 1)).await;
    assert_eq!(error.kind, ProviderErrorKind::Unavailable);
    assert!(error.message.contains(ZONES[1]), "{error}");
    assert_eq!(world.alive(), 0);
}

#[tokio::test]
async fn too_many_calls_are_over_at_the_full_minute() {
    let world = World::start(|settings| {
        settings.rates = Some(Rates {
            changes: 1,
            ..Rates::default()
        });
    });
    world.made(&batch(0, 1)).await;
    let error = world.error(&batch(1, 1)).await;
    let ProviderErrorKind::RateLimited { retry_after } = error.kind else {
        panic!("{error:?}");
    };
    // the world begins twenty seconds into a minute
    let wait = retry_after.expect("a time");
    let minute = Duration::from_secs(40)..Duration::from_secs(43);
    assert!(minute.contains(&wait), "{wait:?}");
    world.clock.pass(wait);
    world.made(&batch(1, 1)).await;
}

#[tokio::test]
async fn our_own_pace_keeps_below_the_quota() {
    let world = World::start_with(
        |settings| {
            settings.rates = Some(Rates {
                changes: 30,
                ..Rates::default()
            });
        },
        |account| account["calls_per_minute"] = json!(30),
    );
    let made = world.made(&batch(0, 40)).await;
    let call = world.call();
    let deletion = world.provider.delete(&made, &call);
    let outcomes = world.while_time_passes(deletion).await;
    let refused = world
        .gce()
        .log()
        .iter()
        .filter(|call| call.reason.is_some())
        .count();
    assert_eq!(refused, 0, "nothing was refused by Google");
    // who would have waited too long was told so, and is asked for again later
    let limited = |outcome: &Outcome<_>| match outcome {
        Outcome::Failed(error) => matches!(error.kind, ProviderErrorKind::RateLimited { .. }),
        Outcome::Done(_) => true,
        Outcome::Unknown(_) => false,
    };
    assert!(outcomes.iter().all(limited), "{outcomes:?}");
    assert!(
        outcomes
            .iter()
            .any(|outcome| matches!(outcome, Outcome::Done(_)))
    );
}

#[tokio::test]
async fn a_lease_that_ends_while_a_call_waits_for_its_turn_leaves_nothing_in_doubt() {
    // five calls at once, and then one every six seconds
    let world = World::start_with(|_| {}, |account| account["calls_per_minute"] = json!(15));
    for sequence in 0..5 {
        world.made(&batch(sequence, 1)).await;
    }
    let call = Call::within(world.clock.clone(), Duration::from_secs(3));
    let mut batch = batch(5, 1);
    // so that there is nothing to ask first
    batch.spec["zones"] = json!([ZONES[0]]);
    let create = world.provider.create(&batch, &call);
    let outcomes = world.while_time_passes(create).await;
    match &outcomes[..] {
        [Outcome::Failed(error)] => assert_eq!(error.kind, ProviderErrorKind::LeaseOver),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.gce().calls("instances.insert"), 5);
}

#[tokio::test]
async fn a_wait_that_is_answered_early_is_asked_again() {
    let world = World::start(|settings| {
        settings.creation = Duration::from_secs(5);
        settings.impatient = true;
    });
    let batch = batch(0, 1);
    let outcomes = world.while_time_passes(world.create(&batch)).await;
    assert_eq!(outcomes[0].as_str(), "done");
    let waits = world.gce().calls("zoneOperations.wait");
    assert!(
        (2..=8).contains(&waits),
        "a second between two of them: {waits}"
    );
}

#[tokio::test]
async fn an_operation_that_outlasts_the_lease_is_unknown() {
    let world = World::start(|settings| settings.creation = Duration::from_secs(90));
    let call = Call::within(world.clock.clone(), Duration::from_secs(60));
    let outcomes = world.provider.create(&batch(0, 1), &call).await;
    match &outcomes[..] {
        [Outcome::Unknown(error)] => assert_eq!(error.kind, ProviderErrorKind::UnknownOutcome),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.alive(), 1);
}

#[tokio::test]
async fn an_answer_after_the_lease_is_unknown() {
    let world = World::start(|_| {});
    let late = Fault::Delay(Duration::from_secs(300));
    world.gce().fault("instances.insert", 1, late);
    let call = Call::within(world.clock.clone(), Duration::from_secs(5));
    let batch = batch(0, 1);
    let create = world.provider.create(&batch, &call);
    let time_passes = async {
        while world.gce().calls("instances.insert") == 0 {
            tokio::task::yield_now().await;
        }
        world.clock.pass(Duration::from_secs(5));
    };
    let (outcomes, ()) = tokio::join!(create, time_passes);
    assert_eq!(outcomes[0].as_str(), "unknown");
    assert_eq!(world.alive(), 1);
}

#[tokio::test]
async fn whatever_leaves_the_outcome_open_is_unknown_and_whatever_does_not_is_failed() {
    use ProviderErrorKind::{InvalidRequest, Unauthorized, Unavailable, UnknownOutcome};
    let known = |status, reason: &str| Fault::Refuse {
        status,
        reason: reason.to_owned(),
    };
    let ends = |code: &str| Fault::Operation {
        code: code.to_owned(),
    };
    for (fault, word, kind) in [
        (Fault::DropBefore, "unknown", UnknownOutcome),
        (Fault::DropAfter, "unknown", UnknownOutcome),
        (Fault::Truncate, "unknown", UnknownOutcome),
        (Fault::BackendError, "unknown", Unavailable),
        (Fault::WebPage, "unknown", Unavailable),
        (ends("INTERNAL_ERROR"), "unknown", Unavailable),
        (ends("INVALID_USAGE"), "failed", InvalidRequest),
        (known(404, "notFound"), "failed", InvalidRequest),
        (known(401, "authError"), "failed", Unauthorized),
    ] {
        for (count, method) in [(1, "instances.insert"), (2, "instances.bulkInsert")] {
            let world = World::start(|_| {});
            world.gce().fault(method, 1, fault.clone());
            let outcomes = world.create(&batch(0, count)).await;
            assert_eq!(world.gce().calls(method), 1, "{fault:?}: no retry here");
            for outcome in outcomes {
                assert_eq!(outcome.as_str(), word, "{fault:?}");
                let (Outcome::Failed(error) | Outcome::Unknown(error)) = outcome else {
                    continue;
                };
                assert_eq!(error.kind, kind, "{fault:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_wait_that_breaks_leaves_the_outcome_open() {
    for fault in [
        Fault::DropBefore,
        Fault::BackendError,
        Fault::Throttle,
        Fault::WebPage,
    ] {
        let world = World::start(|_| {});
        world.gce().fault("zoneOperations.wait", 1, fault.clone());
        assert_eq!(world.words(&batch(0, 1)).await, ["unknown"], "{fault:?}");
        assert_eq!(world.alive(), 1);
    }
}

#[tokio::test]
async fn a_listing_pages_on_and_says_when_a_page_is_lost() {
    let world = World::start(|_| {});
    for sequence in 0..6 {
        world.made(&batch(sequence, 100)).await;
    }
    assert_eq!(world.listed().await.len(), 600);
    let sent = world.sent("instances.aggregatedList");
    assert_eq!(sent.query["maxResults"], "500");
    assert_eq!(sent.query["filter"], "(labels.parmanu-fleet=acme)");
    for fault in [
        Fault::Throttle,
        Fault::DropBefore,
        Fault::Truncate,
        Fault::WebPage,
    ] {
        world.clock.pass(Duration::from_secs(120));
        world
            .gce()
            .fault_after("instances.aggregatedList", 1, 1, fault.clone());
        let listing = world.provider.list(&fleet()).await.expect("the first page");
        assert_eq!(
            listing.instances.len(),
            500,
            "{fault:?}: the first page was read"
        );
        assert_eq!(listing.unknown.len(), 1, "{fault:?}: {:?}", listing.unknown);
        assert!(
            listing.unknown[0].starts_with("project acme-ci: "),
            "{:?}",
            listing.unknown
        );
    }
}

#[tokio::test]
async fn a_zone_that_warns_or_is_left_out_is_unknown_and_an_empty_one_is_not() {
    let world = World::start(|_| {});
    let made = world.made(&batch(0, 2)).await;
    assert_eq!(
        world.listed().await.len(),
        made.len(),
        "the second zone is empty and says so"
    );
    world.gce().set_unreachable(ZONES[1], true);
    let told = world.unseen().await;
    assert!(told.iter().any(|what| what.contains(ZONES[1])), "{told:?}");
    world.gce().set_unreachable(ZONES[1], false);
    world.gce().hide(ZONES[1]);
    let told = world.unseen().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(ZONES[1]), "{told:?}");
}

#[tokio::test]
async fn nobody_listening_is_unreachable_and_nothing_was_sent() {
    let clock = HandClock::new();
    let world = World::start(|_| {});
    let url = world.server.url();
    world.server.stop().await;
    let provider = world::provider(&world::account(&url), clock.clone());
    let call = Call::within(clock, Duration::from_secs(600));
    let mut batch = batch(0, 1);
    batch.spec["zones"] = json!([ZONES[0]]);
    match &provider.create(&batch, &call).await[..] {
        [Outcome::Failed(error)] => {
            assert_eq!(error.kind, ProviderErrorKind::Unreachable, "{error:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_rotated_key_counts_from_the_next_call_on() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let write = |text: &str| std::fs::write(file.path(), text).expect("written");
    write(&world::key_file("retired@acme-ci.iam.gserviceaccount.com"));
    let reference = format!("${{file:{}}}", file.path().display());
    let world = World::start_with(
        |_| {},
        |account| account["credentials"] = json!({"service_account": reference}),
    );
    let error = world
        .provider
        .list(&fleet())
        .await
        .expect_err("nobody knows it");
    assert_eq!(error.kind, ProviderErrorKind::Unauthorized, "{error:?}");
    write(&world::key_file(CALLER));
    assert!(world.listed().await.is_empty(), "without a restart");
    for (broken, words) in [("", "empty"), ("{}", "client_email"), ("not JSON", "JSON")] {
        write(broken);
        let error = world.provider.list(&fleet()).await.expect_err("no key");
        assert_eq!(error.kind, ProviderErrorKind::Unauthorized, "{error:?}");
        assert!(error.message.contains(words), "{broken}: {error}");
    }
}

#[tokio::test]
async fn a_federated_identity_is_exchanged_and_its_file_read_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let (token, federation) = (folder.path().join("token"), folder.path().join("wif.json"));
    std::fs::write(&token, "canary-subject-token").expect("written");
    let reference = format!("${{file:{}}}", federation.display());
    let world = World::start_with(
        |settings| settings.subject_tokens = ["canary-subject-token".to_owned()].into(),
        |account| account["credentials"] = json!({"workload_identity": reference}),
    );
    let document = |token: &std::path::Path| {
        json!({
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/ci/providers/ci",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": format!("{}/v1/token", world.server.url()),
            "credential_source": {"file": token},
        })
    };
    std::fs::write(
        &federation,
        document(&folder.path().join("elsewhere")).to_string(),
    )
    .expect("written");
    let error = world.provider.list(&fleet()).await.expect_err("no token");
    assert_eq!(error.kind, ProviderErrorKind::Unauthorized, "{error:?}");
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    std::fs::write(&federation, document(&token).to_string()).expect("written");
    assert!(world.listed().await.is_empty(), "without a restart");
    let made = world.made(&batch(0, 1)).await;
    assert_eq!(made.len(), 1);
}

/// The part of the next test that runs where the metadata server is another one.
#[tokio::test]
#[ignore = "run by the test below, in a process of its own"]
async fn inside_the_metadata_server_says_who_we_are() {
    let url = std::env::var("PARMANU_TEST_FAKE_GCE").expect("started by the test below");
    let clock = HandClock::new();
    let mut config = world::account(&url);
    config.as_object_mut().expect("keys").remove("credentials");
    let provider = world::provider(&config, clock.clone());
    let made = provider
        .create(&batch(0, 1), &Call::within(clock, Duration::from_secs(600)))
        .await;
    assert_eq!(made[0].as_str(), "done", "{made:?}");
}

#[tokio::test]
async fn without_credentials_the_metadata_server_says_who_we_are() {
    let world = World::start(|settings| settings.has_metadata_server = true);
    let mut inside = tokio::process::Command::new(std::env::current_exe().expect("this program"));
    inside
        .args([
            "--ignored",
            "--exact",
            "inside_the_metadata_server_says_who_we_are",
        ])
        .env("PARMANU_TEST_FAKE_GCE", world.server.url())
        // where Google's libraries look for it, and only in a process of its own can a test say so
        .env("GCE_METADATA_HOST", world.server.address().to_string());
    let done = inside.output().await.expect("it was started");
    let words = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && words.contains("1 passed"),
        "{words}"
    );
    assert_eq!(world.alive(), 1);
}

/// Every error that a fault can cause, in every form in which it may be printed.
#[tokio::test]
async fn no_error_prints_a_credential_or_a_boot_script() {
    let refused = Fault::Refuse {
        status: 400,
        reason: "invalid".to_owned(),
    };
    let mut printed = BTreeSet::new();
    for fault in [
        Fault::Throttle,
        Fault::BackendError,
        Fault::WebPage,
        Fault::DropBefore,
        Fault::DropAfter,
        Fault::Truncate,
        refused,
    ] {
        let world = World::start(|_| {});
        world.gce().fault("instances.insert", 1, fault);
        for outcome in world.create(&batch(0, 1)).await {
            let (Outcome::Failed(error) | Outcome::Unknown(error)) = outcome else {
                continue;
            };
            let mut text = format!("{error} {error:?}");
            let mut source = error.source();
            while let Some(error) = source {
                text.push_str(&format!(" {error} {error:?}"));
                source = error.source();
            }
            printed.insert(text);
        }
    }
    assert!(
        printed.len() >= 6,
        "the faults did cause errors: {printed:?}"
    );
    for text in &printed {
        for secret in [CANARY, "canary-key", "PRIVATE KEY", "Bearer ", "ey"] {
            let found = match secret {
                // how every JSON Web Token begins
                "ey" => text.split_whitespace().any(|word| word.starts_with("eyJ")),
                secret => text.contains(secret),
            };
            assert!(!found, "{secret} in {text}");
        }
    }
}
