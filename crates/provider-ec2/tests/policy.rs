//! The published policy is what is called: nothing is missing, nothing superfluous, and nothing reaches beyond our fleet.
//!
//! The calls are those of the whole suite, through the real SDK, each case in an account of its own.

#[path = "world/mod.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};

use conformance::provider::{ProviderHarness, Shown};
use serde_json::Value;
use world::{ACTIONS, LAG, World};

const POLICY: &str = include_str!("../../../deploy/aws/parmanu-policy.json");

fn statements() -> Vec<Value> {
    let policy: Value = serde_json::from_str(POLICY).expect("the policy is JSON");
    policy["Statement"].as_array().expect("statements").clone()
}

fn actions(statement: &Value) -> Vec<String> {
    let one_or_many = match &statement["Action"] {
        Value::Array(many) => many.clone(),
        one => vec![one.clone()],
    };
    let text = |action: Value| action.as_str().expect("an action").to_owned();
    one_or_many.into_iter().map(text).collect()
}

/// Rights that EC2 asks for in the caller's name, without a call of their own: to tag in the call that launches (beside
/// our own calls of it), to give a machine its profile, to look up a parameter that holds an image.
const WITHOUT_A_CALL: [&str; 2] = ["iam:PassRole", "ssm:GetParameters"];

#[tokio::test]
async fn the_published_policy_is_what_the_suite_calls() {
    let mut called: BTreeMap<String, usize> = BTreeMap::new();
    macro_rules! run {
        ($($group:ident :: $case:ident),* $(,)?) => {
            $(
                let world = World::start(|settings| settings.appears_after = LAG);
                let harness: &dyn ProviderHarness = &world;
                let shown: Shown = conformance::provider::$group::$case(harness).await;
                shown.expect(stringify!($case));
                for action in ACTIONS {
                    let calls = usize::try_from(world.ec2().calls(action)).expect("a number");
                    *called.entry(format!("ec2:{action}")).or_default() += calls;
                }
                let known: u64 = ACTIONS.iter().map(|action| world.ec2().calls(action)).sum();
                assert_eq!(known, world.ec2().all_calls(), "an action that is not counted here");
            )*
        };
    }
    conformance::every_provider_case! { run, }
    // what the suite for every provider cannot ask for
    let world = World::start(|_| {});
    world.newest_image_on_the_spot_market().await;
    for action in ACTIONS {
        let calls = usize::try_from(world.ec2().calls(action)).expect("a number");
        *called.entry(format!("ec2:{action}")).or_default() += calls;
    }
    let called: BTreeSet<String> = called
        .into_iter()
        .filter(|(_, calls)| *calls > 0)
        .map(|(action, _)| action)
        .collect();
    let mut allowed: BTreeSet<String> = statements().iter().flat_map(actions).collect();
    for right in WITHOUT_A_CALL {
        assert!(allowed.remove(right), "{right}");
    }
    assert_eq!(allowed, called);
}

/// What changes a machine is bound to our fleet: to the tag it is launched with, or to the tag it has.
#[test]
fn whatever_changes_a_machine_is_bound_to_the_fleet() {
    let launched = [
        "image",
        "subnet",
        "security-group",
        "network-interface",
        "key-pair",
        "launch-template",
    ];
    for statement in statements() {
        let condition = statement["Condition"].to_string();
        for action in actions(&statement) {
            let bound = match action.as_str() {
                "ec2:TerminateInstances" | "ec2:GetConsoleOutput" => {
                    condition.contains("ec2:ResourceTag/parmanu:fleet")
                }
                "ec2:CreateTags" => {
                    condition.contains("ec2:ResourceTag/parmanu:fleet")
                        || condition.contains("ec2:CreateAction")
                }
                "ec2:RunInstances" => {
                    let resources = statement["Resource"].as_array().expect("resources");
                    condition.contains("aws:RequestTag/parmanu:fleet")
                        || resources.iter().all(|resource| {
                            let text = resource.as_str().unwrap_or_default();
                            launched
                                .iter()
                                .any(|kind| text.contains(&format!(":{kind}/")))
                        })
                }
                "iam:PassRole" => condition.contains("iam:PassedToService"),
                reading => reading.starts_with("ec2:Describe") || reading == "ssm:GetParameters",
            };
            assert!(bound, "{action} reaches beyond the fleet: {statement}");
        }
    }
}
