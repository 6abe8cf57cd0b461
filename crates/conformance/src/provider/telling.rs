//! What is told to machines and read of them, beside their lives.

use std::time::Duration;

use jiff::Timestamp;
use model::InstanceName;
use ports::{MAX_CONSOLE, Outcome, ProviderErrorKind};

use super::{ProviderHarness, Shown, call, machines, never_made, standing, standing_names};

/// Without it one machine that vanished lets the time of a hundred others run out.
pub async fn a_renewal_reaches_every_machine_but_those_that_are_not_there(
    harness: &dyn ProviderHarness,
) -> Shown {
    let mut told = machines(harness, 3).await;
    harness.settle().await;
    let standing = standing_names(harness).await;
    told.insert(1, never_made(harness, &told[0]));
    let until = harness.clock().now() + Duration::from_secs(3600);
    let outcomes = harness.provider().renew(&told, until, &call(harness)).await;
    assert_eq!(outcomes.len(), told.len(), "one outcome for each");
    for (machine, outcome) in told.iter().zip(&outcomes) {
        let is_there = standing.contains(&machine.name);
        match outcome {
            Outcome::Done(name) => assert_eq!(*name, machine.name, "in order"),
            Outcome::Failed(error) => {
                assert!(!is_there, "{}: {error:?}", machine.name);
                assert_eq!(error.kind, ProviderErrorKind::NotFound, "{error:?}");
            }
            Outcome::Unknown(error) => panic!("{}: {error:?}", machine.name),
        }
    }
    let left: Vec<InstanceName> = standing_names(harness).await;
    assert_eq!(left, standing, "and nothing came or went");
    Ok(())
}

/// Without it two installations with one fleet id do not know of each other: who renewed a machine stands in the fraction of a
/// second of its mark. A provider that labels one machine per call may leave most of them without.
pub async fn a_renewal_is_listed_to_the_microsecond(harness: &dyn ProviderHarness) -> Shown {
    let made = machines(harness, 3).await;
    harness.settle().await;
    for micros in [123_456, 654_321] {
        let second = harness.clock().now().as_second() + 3600;
        let until = Timestamp::new(second, micros * 1000).expect("a time of these days");
        harness.provider().renew(&made, until, &call(harness)).await;
        harness.settle().await;
        let listed = standing(harness).await.into_values();
        let marks: Vec<Timestamp> = listed.filter_map(|it| it.expires).collect();
        assert!(
            !marks.is_empty() && marks.iter().all(|mark| *mark == until),
            "told {until}, listed {marks:?}"
        );
    }
    Ok(())
}

/// Without it a broken image is replaced by the same broken image, and nobody knows why it does not boot.
pub async fn a_console_is_read_or_said_to_be_none(harness: &dyn ProviderHarness) -> Shown {
    let made = machines(harness, 1).await;
    harness.settle().await;
    let console = harness.provider().console(&made[0], &call(harness)).await;
    let console = console.unwrap_or_else(|error| panic!("not read: {error:?}"));
    if let Some(text) = console {
        assert!(
            !text.is_empty() && text.len() <= MAX_CONSOLE,
            "{} bytes",
            text.len()
        );
    }
    let ghost = never_made(harness, &made[0]);
    match harness.provider().console(&ghost, &call(harness)).await {
        Ok(console) => assert_eq!(console, None, "of a machine that never was"),
        Err(error) => assert_eq!(error.kind, ProviderErrorKind::NotFound, "{error:?}"),
    }
    Ok(())
}
