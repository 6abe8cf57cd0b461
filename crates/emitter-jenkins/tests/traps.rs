//! What Jenkins does and other CI servers do not, end to end over the wire; and bodies no Jenkins sends.

mod support;

use std::time::Duration;

use fake_jenkins::{Fault, FaultKind, Sight, Task};
use model::{Cordon, Epoch, ExecutorState, Fit, Job, JobClass, Work};
use ports::{Clock as _, EmitterErrorKind, EmitterPlugin as _};
use serde_json::json;
use support::{Still, TOKEN, World, instance, job};

const EPOCH: Epoch = Epoch(1_795_531_234_567);

/// What stands between a job and the pool `linux`; nothing when it goes there.
fn missing(job: &Job) -> Vec<String> {
    let serves = serde_json::from_value(json!({ "labels": ["linux", "docker"] }));
    let serves = serves.expect("an entry of `serves`");
    match emitter_jenkins::Jenkins::matcher(vec![serves]).fit(job) {
        Fit::Yes => Vec::new(),
        Fit::No { missing } => missing,
    }
}

/// An operator's look makes no node, and says what it cannot tell without one.
#[tokio::test]
async fn a_look_without_upkeep_makes_no_placeholder() {
    let world = World::start().await;
    let before = world.lock().nodes.len();
    let id = world.step(Some("linux&&docker"));
    let look = world.onlooker().probe().await.unwrap();
    assert!(missing(job(&look, id))[0].contains("no node is registered"));
    assert_eq!(world.lock().nodes.len(), before);
    world.emitter().probe().await.unwrap();
    assert_eq!(world.lock().nodes.len(), before + 1);
}

#[tokio::test]
async fn a_placeholder_node_is_kept_so_that_labels_are_told() {
    let world = World::start().await;
    let emitter = world.emitter();
    let id = world.step(Some("linux&&docker"));
    let first = emitter.probe().await.unwrap();
    assert!(missing(job(&first, id))[0].contains("no node is registered"));
    assert!(first.completeness.doubts()[0].contains("placeholder nodes were made"));
    let second = emitter.probe().await.unwrap();
    assert!(
        second.completeness.is_complete(),
        "{:?}",
        second.completeness
    );
    assert_eq!(missing(job(&second, id)), [""; 0]);
    assert_eq!(second.executors, []);
    let placeholder = &world.lock().nodes["parmanu-placeholder-acme-ci-linux"];
    assert!(placeholder.exclusive);
    assert_eq!(placeholder.labels, ["docker", "linux"]);
}

#[tokio::test]
async fn without_the_right_to_a_placeholder_the_job_is_unmatched_and_the_look_partial() {
    let mut world = World::start().await;
    world.only_looks();
    let id = world.step(Some("linux"));
    let plain = world.push("linux");
    for _ in 0..2 {
        let look = world.emitter().probe().await.unwrap();
        let step = job(&look, id);
        assert_eq!(step.class, JobClass::Runnable);
        assert_eq!(
            (step.project.as_str(), step.name.as_str()),
            ("team/sub", "pipe")
        );
        assert!(missing(step)[0].contains("no node is registered"));
        assert_eq!(missing(job(&look, plain)), [""; 0]);
        assert!(look.completeness.doubts()[0].contains("keep one permanent node"));
    }
    assert!(world.lock().nodes.is_empty());
}

#[tokio::test]
async fn a_label_once_told_is_remembered_while_the_texts_change() {
    let world = World::start().await;
    let emitter = world.emitter();
    emitter.probe().await.unwrap();
    let id = world.step(Some("linux&&!windows"));
    let told = emitter.probe().await.unwrap();
    assert_eq!(missing(job(&told, id)), [""; 0]);
    world.machine(0).await;
    for _ in 0..2 {
        let look = emitter.probe().await.unwrap();
        let asked = job(&look, id).requirement.expression.clone();
        assert_eq!(asked.as_deref(), Some("linux&&!windows"));
        world.lock().nodes.clear();
    }
    // another process has no memory, and the node that is named stands in
    world.machine(1).await;
    let look = world.emitter().probe().await.unwrap();
    assert_eq!(job(&look, id).requirement.expression, None);
    assert_eq!(missing(job(&look, id)), [""; 0]);
}

#[tokio::test]
async fn hidden_items_another_language_and_quiet_down_are_said() {
    let world = World::start().await;
    let emitter = world.emitter();
    emitter.probe().await.unwrap();
    let seen = world.step(Some("linux"));
    let hidden = world.push("linux");
    world.lock().item_mut(hidden).unwrap().sight = Sight::Discoverable;
    world.lock().german = true;
    let look = world.emitter().probe().await.unwrap();
    assert!(look.completeness.doubts()[0].contains("1 items of the queue show only their names"));
    assert!(missing(job(&look, seen))[0].contains("another language"));
    world.lock().german = false;
    world.lock().quieting = true;
    let look = emitter.probe().await.unwrap();
    assert!(matches!(job(&look, seen).class, JobClass::Blocked { .. }));
}

#[tokio::test]
async fn a_pipeline_itself_is_no_demand_and_a_flyweight_executor_no_capacity_but_work() {
    let world = World::start().await;
    let task = Task::Pipeline {
        name: "team/pipe".to_owned(),
    };
    let id = world.lock().push(task, Still.now());
    let made = world.machine(0).await;
    let name = made.executor.as_str();
    world.lock().nodes.get_mut(name).unwrap().one_offs = 1;
    let look = world.emitter().probe().await.unwrap();
    assert!(matches!(job(&look, id).class, JobClass::Blocked { .. }));
    assert_eq!(look.executors[0].slots, 1);
    assert_eq!(
        look.executors[0].state,
        ExecutorState::Busy { jobs: vec![] }
    );
    let reading = world.control().read(&made.executor).await.unwrap();
    assert_eq!(reading.work, Work::Jobs { count: 1 });
}

#[tokio::test]
async fn a_restart_lifts_the_cordon_and_nothing_counts_as_never_joined() {
    let world = World::start().await;
    let control = world.control();
    let made = world.machine(0).await;
    control.cordon(&made.executor, EPOCH).await.unwrap();
    world.lock().restart();
    let reading = control.read(&made.executor).await.unwrap();
    assert_eq!(reading.cordon, Cordon::None);
    let look = world.emitter().probe().await.unwrap();
    assert_eq!(
        look.executors[0].state,
        ExecutorState::Offline { since: None }
    );
    world.join(&made);
    let reading = control.read(&made.executor).await.unwrap();
    assert_eq!(reading.cordon, Cordon::Ours { epoch: EPOCH });
}

#[tokio::test]
async fn a_node_that_a_pipeline_waits_for_by_name_is_never_certainly_idle() {
    let world = World::start().await;
    let control = world.control();
    let made = world.machine(0).await;
    world.machine(1).await;
    control.cordon(&made.executor, EPOCH).await.unwrap();
    assert_eq!(control.read(&made.executor).await.unwrap().work, Work::None);
    // after a restart a resumed pipeline asks for its old node by name
    let id = world.step(Some(made.executor.as_str()));
    let work = control.read(&made.executor).await.unwrap().work;
    assert!(matches!(work, Work::Unknown { .. }), "{work:?}");
    world.lock().items.retain(|item| item.id != id);
    assert_eq!(control.read(&made.executor).await.unwrap().work, Work::None);
}

#[tokio::test]
async fn a_queue_that_is_not_read_to_its_end_makes_no_node_idle() {
    let world = World::start().await;
    let control = world.control();
    let made = world.machine(0).await;
    control.cordon(&made.executor, EPOCH).await.unwrap();
    world.step(Some(made.executor.as_str()));
    for _ in 0..10_000 {
        world.push("other");
    }
    // the list is newest first and its end is cut, where a resumed pipeline may stand
    let work = control.read(&made.executor).await.unwrap().work;
    assert!(matches!(work, Work::Unknown { .. }), "{work:?}");
    let look = world.emitter().probe().await.unwrap();
    assert!(!look.completeness.is_complete());
}

/// With `max: 1` and one machine on its way out: a new step could otherwise neither run there, nor let the machine go,
/// and no other machine may be made before it is gone.
#[tokio::test]
async fn a_new_step_does_not_hold_the_only_machine_of_its_pool_that_leaves() {
    let world = World::start().await;
    let (emitter, control) = (world.emitter(), world.control());
    emitter.probe().await.unwrap();
    let made = world.machine(0).await;
    control.cordon(&made.executor, EPOCH).await.unwrap();
    let id = world.step(Some("linux && !windows"));
    let reading = control.read(&made.executor).await.unwrap();
    assert_eq!(reading.work, Work::None);
    let look = emitter.probe().await.unwrap();
    assert_eq!(missing(job(&look, id)), [""; 0]);

    // without its placeholder Jenkins names the machine, and that is how a pipeline looks that was resumed
    let placeholder = "parmanu-placeholder-acme-ci-linux";
    assert!(world.lock().nodes.remove(placeholder).is_some());
    let reading = control.read(&made.executor).await.unwrap();
    assert!(matches!(reading.work, Work::Unknown { .. }), "{reading:?}");
}

#[tokio::test]
async fn a_placeholder_follows_the_labels_of_its_pool_and_an_operators_node_is_left_alone() {
    let world = World::start().await;
    let emitter = world.emitter();
    emitter.probe().await.unwrap();
    let name = "parmanu-placeholder-acme-ci-linux";
    let labels = |world: &World| world.lock().nodes[name].labels.clone();
    world.lock().nodes.get_mut(name).unwrap().labels = vec!["other".to_owned()];
    emitter.probe().await.unwrap();
    assert!(!world.lock().nodes.contains_key(name));
    emitter.probe().await.unwrap();
    assert_eq!(labels(&world), ["docker", "linux"]);

    let node = |change: fn(&mut fake_jenkins::Node)| {
        let mut jenkins = world.lock();
        let node = jenkins.nodes.get_mut(name).unwrap();
        node.labels = vec!["other".to_owned()];
        change(node);
    };
    for change in [
        (|node| node.connected = true) as fn(&mut fake_jenkins::Node),
        |node| node.description = "mine".to_owned(),
    ] {
        node(change);
        for _ in 0..2 {
            emitter.probe().await.unwrap();
            assert_eq!(labels(&world), ["other"]);
        }
        world.lock().nodes.get_mut(name).unwrap().connected = false;
    }
}

#[tokio::test]
async fn free_memory_is_asked_for_and_told() {
    let world = World::start().await;
    let made = world.machine(0).await;
    let name = made.executor.as_str();
    let look = world.emitter().probe().await.unwrap();
    assert_eq!(look.executors[0].health, None);
    world.lock().nodes.get_mut(name).unwrap().memory_free = Some(1 << 30);
    let look = world.emitter().probe().await.unwrap();
    let health = look.executors[0].health.unwrap();
    assert_eq!(
        (health.memory_free, health.load_milli),
        (Some(1 << 30), None)
    );
}

#[tokio::test]
async fn a_connected_busy_node_is_not_removed_and_a_ghost_is_gone() {
    let world = World::start().await;
    let control = world.control();
    let made = world.machine(0).await;
    let id = world.push("linux");
    world.lock().dispatch(Still.now());
    assert_eq!(world.lock().items, []);
    let refused = control.remove(&made.executor).await.unwrap_err();
    assert_eq!(refused.kind, EmitterErrorKind::Conflict);
    assert_eq!(world.lock().ended, []);
    // the machine vanishes: the connection breaks, and what ran there is lost already
    world.lock().disconnect(made.executor.as_str(), Still.now());
    for _ in 0..2 {
        control.remove(&made.executor).await.unwrap();
    }
    assert_eq!(world.lock().ended[0].item, id);
    let look = world.emitter().probe().await.unwrap();
    assert_eq!((look.jobs, look.executors), (vec![], vec![]));
}

#[tokio::test]
async fn a_name_that_was_joined_is_never_given_out_again() {
    let world = World::start().await;
    world.machine(0).await;
    let request = ports::Register::of(instance(0));
    let refused = world.control().register(&request).await.unwrap_err();
    assert_eq!(refused.kind, EmitterErrorKind::Conflict);
}

#[tokio::test]
async fn a_lost_answer_of_a_write_is_found_by_asking_again() {
    let world = World::start().await;
    let control = world.control();
    let request = ports::Register::of(instance(0));
    let lost = |path: &str| Fault::on(path, 1, FaultKind::LostAnswer);
    world.lock().inject(lost("/computer/doCreateItem"));
    let error = control.register(&request).await.unwrap_err();
    assert_eq!(error.kind, EmitterErrorKind::TimedOut);
    let made = control.register(&request).await.unwrap();
    world.join(&made);
    let path = format!("/computer/{}/changeOfflineCause", made.executor);
    world.lock().inject(lost(&path));
    assert!(control.cordon(&made.executor, EPOCH).await.is_err());
    control.cordon(&made.executor, EPOCH).await.unwrap();
    let path = format!("/computer/{}/toggleOffline", made.executor);
    world.lock().inject(lost(&path));
    assert!(control.uncordon(&made.executor, EPOCH).await.is_err());
    // toggled once more it would be offline again
    control.uncordon(&made.executor, EPOCH).await.unwrap();
    assert_eq!(
        control.read(&made.executor).await.unwrap().cordon,
        Cordon::None
    );
}

#[tokio::test]
async fn an_old_controller_has_another_name_for_the_agent_file() {
    let world = World::start().await;
    world.lock().old = true;
    world.machine(0).await;
    world.step(Some("linux"));
    let look = world.emitter().probe().await.unwrap();
    assert_eq!(missing(&look.jobs[0]), [""; 0]);
}

#[tokio::test]
async fn hostile_answers_are_typed_errors() {
    use EmitterErrorKind as Kind;
    let deep = "[".repeat(100_000);
    for (fault, kind) in [
        (FaultKind::Html(503), Kind::Unavailable),
        (FaultKind::Html(401), Kind::Unauthorized),
        (FaultKind::Html(403), Kind::Forbidden),
        (FaultKind::Html(200), Kind::BadAnswer),
        (
            FaultKind::Redirect("https://login.example.com/".to_owned()),
            Kind::BadAnswer,
        ),
        (
            FaultKind::Redirect("/queue/api/json".to_owned()),
            Kind::BadAnswer,
        ),
        (
            FaultKind::Body("{\"items\": {}}".to_owned()),
            Kind::BadAnswer,
        ),
        (FaultKind::Body("[]".to_owned()), Kind::BadAnswer),
        (FaultKind::Body(deep), Kind::BadAnswer),
        (FaultKind::Padding(17 << 20), Kind::TooLarge),
        (FaultKind::CutBody, Kind::Unreachable),
    ] {
        let world = World::start().await;
        let words = format!("{fault:.60?}");
        world.lock().inject(Fault::on("/queue", 1, fault));
        let error = world.emitter().probe().await.unwrap_err();
        assert_eq!(error.kind, kind, "{words}");
        assert!(!format!("{error:?}").contains(TOKEN));
    }
}

#[tokio::test]
async fn rows_of_another_shape_and_lists_that_fail_make_the_look_partial() {
    let rows =
        json!({ "items": [{ "id": 1, "why": 7 }, { "id": -3 }, "x"], "discoverableItems": [] });
    let nodes = json!({ "computer": [{ "displayName": "vm", "numExecutors": -1 }] });
    for (path, fault, words) in [
        (
            "/queue",
            FaultKind::Body(rows.to_string()),
            "3 items of the queue",
        ),
        (
            "/computer",
            FaultKind::Body(nodes.to_string()),
            "1 computers",
        ),
        (
            "/computer",
            FaultKind::Html(502),
            "nodes: GET /computer/api/json",
        ),
        ("/api", FaultKind::Html(403), "rights: "),
        ("/api", FaultKind::Body("{}".to_owned()), "not a single job"),
    ] {
        let world = World::start().await;
        world.push("linux");
        world.lock().inject(Fault::on(path, 1, fault));
        let look = world.emitter().probe().await.unwrap();
        let doubts = look.completeness.doubts();
        assert!(
            doubts.iter().any(|doubt| doubt.contains(words)),
            "{doubts:?}"
        );
    }
}

#[tokio::test]
async fn a_read_in_which_anything_is_odd_is_unknown() {
    let world = World::start().await;
    let control = world.control();
    let made = world.machine(0).await;
    control.cordon(&made.executor, EPOCH).await.unwrap();
    let node = format!("/computer/{}", made.executor);
    for (path, fault) in [
        (node.as_str(), FaultKind::Html(200)),
        (node.as_str(), FaultKind::Body("{}".to_owned())),
        (node.as_str(), FaultKind::CutBody),
        ("/queue", FaultKind::Body("{\"items\": [7]}".to_owned())),
        ("/queue", FaultKind::Html(503)),
    ] {
        world.lock().inject(Fault::on(path, 1, fault));
        let work = control.read(&made.executor).await.unwrap().work;
        assert!(matches!(work, Work::Unknown { .. }), "{path}: {work:?}");
    }
    assert_eq!(control.read(&made.executor).await.unwrap().work, Work::None);
    let late = FaultKind::Delay(Duration::from_millis(20));
    world.lock().inject(Fault::on(&node, 1, late));
    assert_eq!(control.read(&made.executor).await.unwrap().work, Work::None);
}
