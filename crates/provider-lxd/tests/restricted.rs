//! The project that is offered for copying: a real LXD takes it, and machines live in it.

#[path = "world/mod.rs"]
mod world;

use std::time::Duration;

use model::{CreateBatch, InstallationId, UserData};
use ports::{Call, Outcome};
use serde_json::{Value, json};
use world::World;

const PROJECT: &str = include_str!("../../../deploy/lxd/project.yaml");

fn batch(sequence: u32, spec: Value) -> CreateBatch {
    CreateBatch {
        fleet: "acme".parse().expect("the name of a fleet"),
        installation: InstallationId::new("here"),
        batch: format!("linux-7-{sequence}")
            .parse()
            .expect("the name of a batch"),
        count: 1,
        offer: "small/0".parse().expect("the name of an offer"),
        spec,
        generation: model::Generation::new("0f3c5a"),
        attempt: 0,
        executor: None,
        user_data: UserData::default(),
    }
}

#[tokio::test]
async fn machines_live_in_the_project_that_is_offered_for_copying() {
    let project: Value = serde_yaml::from_str(PROJECT).expect("the file is YAML");
    let mut config = project["config"].clone();
    let root = &world::offer()["devices"]["root"]["pool"];
    assert!(root.is_string(), "a disk of a pool, as the project demands");
    // where machines are nested in machines an unprivileged one does not start
    config["restricted.containers.privilege"] = json!("allow");
    let world = match World::start_in(&config).await {
        Ok(world) => world,
        Err(why) => {
            let name = "provider-lxd::restricted::machines_live_in_the_project_that_is_offered_for_copying";
            return conformance::provider::missing(name, &why);
        }
    };
    let call = Call::within(world.clock.clone(), Duration::from_secs(120));
    let mut spec = world::offer();
    spec["config"]["limits.memory"] = json!("256MiB");
    let made = world.provider.create(&batch(1, spec.clone()), &call).await;
    assert!(matches!(made[0], Outcome::Done(_)), "{made:?}");
    // what reaches for the host is refused, and leaves nothing behind
    spec["devices"]["host"] = json!({"type": "disk", "source": "/etc", "path": "/mnt"});
    let refused = world.provider.create(&batch(2, spec), &call).await;
    assert!(matches!(refused[0], Outcome::Failed(_)), "{refused:?}");
    assert_eq!(world.names().await, ["linux-7-1-0"]);
}
