//! Control verbs where TeamCity has traps of its own.

mod support;

use std::time::Duration;

use fake_teamcity::{Fault, FaultKind, Rights};
use jiff::SignedDuration;
use model::{Cordon, Epoch, ExecutorId, ExecutorState, Work};
use ports::{Credential, EmitterErrorKind, Register};
use support::{TOKEN, World, instance, secret, whole};

const EPOCH: Epoch = Epoch(1_795_531_234_567);
const HOUR: Duration = Duration::from_secs(3600);

fn is_idle(reading: &model::Reading) -> bool {
    matches!(reading.cordon, Cordon::Ours { .. }) && reading.work == Work::None
}

#[tokio::test]
async fn a_machine_gets_its_name_its_key_and_a_token_that_is_good_once() {
    let world = World::start().await;
    let control = world.control();
    let made = control.register(&Register::of(instance(0))).await.unwrap();
    assert_eq!(made.executor.as_str(), instance(0).to_string());
    let Credential::Plain(url) = &made.credentials["url"] else {
        panic!("an address is no secret");
    };
    assert_eq!(*url, world.server.url());
    assert!(secret(&made, "join").len() > 64);
    assert!(secret(&made, "token").starts_with("one-time-"));
    // nothing is left at the server, so it may be asked again
    let again = control.register(&Register::of(instance(0))).await.unwrap();
    assert_eq!(secret(&again, "join"), secret(&made, "join"));
    assert!(world.lock().agents.is_empty());
    // a server without tokens, and one that gives us none
    world.lock().makes_tokens = false;
    let plain = control.register(&Register::of(instance(1))).await.unwrap();
    assert_eq!(secret(&plain, "token"), "");
    world.join(&plain);
    let taken = control
        .register(&Register::of(instance(1)))
        .await
        .unwrap_err();
    assert_eq!(taken.kind, EmitterErrorKind::Conflict);
    let foreign = "mac-1795531234567-1-0".parse().unwrap();
    let error = control.register(&Register::of(foreign)).await.unwrap_err();
    assert_eq!(error.kind, EmitterErrorKind::Config);
}

/// TeamCity takes no token back, so one whose machine never used it has to end by itself.
#[tokio::test]
async fn a_token_of_a_machine_that_never_joined_lets_nobody_in_after_a_quarter_of_an_hour() {
    let quarter = Duration::from_secs(900);
    for (wait, is_good) in [(quarter - Duration::from_secs(1), true), (quarter, false)] {
        let world = World::start().await;
        let control = world.control();
        let made = control.register(&Register::of(instance(0))).await.unwrap();
        control.remove(&made.executor).await.unwrap();
        world.clock.pass(wait);
        world.join(&made);
        let agent = world.agent_id(made.executor.as_str());
        assert_eq!(world.lock().agents[&agent].authorized, is_good, "{wait:?}");
    }
}

#[tokio::test]
async fn a_cordon_ends_by_itself_is_renewed_and_is_not_trusted_near_its_end() {
    let world = World::start().await;
    let control = world.control();
    let executor = world.machine(0).await.executor;
    control.cordon(&executor, EPOCH).await.unwrap();
    let agent = world.agent_id(executor.as_str());
    let end = |world: &World| world.lock().agents[&agent].switch_at.unwrap();
    let first = world.now() + SignedDuration::from_hours(4);
    assert_eq!(end(&world), first);
    assert!(is_idle(&control.read(&executor).await.unwrap()));
    // long before its end it is left as it is
    world.clock.pass(HOUR);
    control.cordon(&executor, EPOCH).await.unwrap();
    assert_eq!(end(&world), first);
    // near its end no deletion rests on it
    world.clock.pass(HOUR * 3 - Duration::from_secs(300));
    let reading = control.read(&executor).await.unwrap();
    assert!(
        matches!(&reading.work, Work::Unknown { why } if why.contains("cordoned anew")),
        "{reading:?}"
    );
    // a later scaler renews it, under the first one's mark
    control.cordon(&executor, Epoch(EPOCH.0 + 9)).await.unwrap();
    assert_eq!(end(&world), world.now() + SignedDuration::from_hours(4));
    let reading = control.read(&executor).await.unwrap();
    assert_eq!(reading.cordon, Cordon::Ours { epoch: EPOCH });
    assert!(is_idle(&reading));
    // and when nobody comes back the agent works again
    world.clock.pass(HOUR * 5);
    let reading = control.read(&executor).await.unwrap();
    assert_eq!(reading.cordon, Cordon::None);
    let build = world.push("App_Build");
    whole(&world.emitter()).await;
    let now = world.now();
    world.lock().dispatch(now);
    assert_eq!(world.lock().builds[&build].agent, Some(agent));
}

#[tokio::test]
async fn a_build_that_a_person_chose_the_agent_for_is_work_though_it_is_disabled() {
    let world = World::start().await;
    let control = world.control();
    let executor = world.machine(0).await.executor;
    whole(&world.emitter()).await;
    control.cordon(&executor, EPOCH).await.unwrap();
    let build = world.push("App_Build");
    let agent = world.agent_id(executor.as_str());
    world.lock().builds.get_mut(&build).unwrap().only_on = Some(agent);
    let reading = control.read(&executor).await.unwrap();
    assert_eq!(reading.work, Work::Jobs { count: 1 });
    let now = world.now();
    world.lock().dispatch(now);
    assert_eq!(world.lock().builds[&build].agent, Some(agent));
    assert_eq!(
        control.read(&executor).await.unwrap().work,
        Work::Jobs { count: 1 }
    );
}

/// After a restart of the server agents come back one by one, and their builds go on all the while.
#[tokio::test]
async fn an_agent_that_is_not_connected_and_shows_no_build_may_have_one_all_the_same() {
    let world = World::start().await;
    let control = world.control();
    let executor = world.machine(0).await.executor;
    whole(&world.emitter()).await;
    let build = world.push("App_Build");
    let now = world.now();
    world.lock().dispatch(now);
    control.cordon(&executor, EPOCH).await.unwrap();
    let agent = world.agent_id(executor.as_str());
    let row = |connected: bool, authorized: bool| {
        serde_json::json!({
            "id": agent, "name": executor.as_str(), "connected": connected, "authorized": authorized,
            "enabledInfo": { "status": false, "comment": { "text": format!("parmanu-cordon fleet=acme-ci epoch={EPOCH}") } },
            "authorizedInfo": { "status": authorized, "comment": { "text": "parmanu-fleet=acme-ci" } },
        })
    };
    let place = format!("/app/rest/agents/name:{executor}");
    // nor does one tell its build whose authorisation was withdrawn under it
    for row in [row(false, true), row(true, false)] {
        let body = FaultKind::Body(row.to_string());
        world.lock().inject(Fault::on(&place, 1, body));
        let reading = control.read(&executor).await.unwrap();
        assert_eq!(reading.work, Work::Jobs { count: 1 }, "{row}");
    }
    // what that list does not answer whole is no proof either
    world.lock().agents.get_mut(&agent).unwrap().connected = false;
    assert!(world.lock().finish(build));
    let list = Fault::on("/app/rest/builds", 1, FaultKind::Body("{}".to_owned()));
    world.lock().inject(list);
    assert!(!is_idle(&control.read(&executor).await.unwrap()));
    assert!(is_idle(&control.read(&executor).await.unwrap()));
}

#[tokio::test]
async fn details_that_are_hidden_are_never_an_idle_agent() {
    let world = World::start().await;
    let control = world.control();
    let executor = world.machine(0).await.executor;
    whole(&world.emitter()).await;
    control.cordon(&executor, EPOCH).await.unwrap();
    let rights = Rights {
        view_agents: false,
        ..Rights::manager()
    };
    world.lock().grant(TOKEN, rights);
    let reading = control.read(&executor).await.unwrap();
    assert!(matches!(reading.work, Work::Unknown { .. }), "{reading:?}");
    world.lock().grant(TOKEN, Rights::manager());
    let agent = world.agent_id(executor.as_str());
    let place = format!("/app/rest/agents/name:{executor}");
    for body in [
        "{}",
        "[]",
        "{\"id\":1}",
        "{\"id\":7,\"name\":\"other\",\"connected\":true,\"authorized\":true}",
    ] {
        world
            .lock()
            .inject(Fault::on(&place, 1, FaultKind::Body(body.to_owned())));
        let reading = control.read(&executor).await.unwrap();
        assert!(!is_idle(&reading), "{agent} {body}: {reading:?}");
    }
    let queue = "/app/rest/buildQueue";
    for body in [
        "{}",
        "{\"build\":{}}",
        "{\"count\":1}",
        "{\"count\":1,\"build\":[]}",
    ] {
        world
            .lock()
            .inject(Fault::on(queue, 1, FaultKind::Body(body.to_owned())));
        let reading = control.read(&executor).await.unwrap();
        assert!(!is_idle(&reading), "{body}: {reading:?}");
    }
}

#[tokio::test]
async fn a_lost_answer_is_found_out_by_asking_again() {
    let world = World::start().await;
    let control = world.control();
    let executor = world.machine(0).await.executor;
    let agent = world.agent_id(executor.as_str());
    let place = format!("/app/rest/agents/id:{agent}/enabledInfo");
    world
        .lock()
        .inject(Fault::on(&place, 1, FaultKind::LostAnswer));
    let lost = control.cordon(&executor, EPOCH).await.unwrap_err();
    assert_eq!(lost.kind, EmitterErrorKind::TimedOut);
    control.cordon(&executor, EPOCH).await.unwrap();
    assert!(is_idle(&control.read(&executor).await.unwrap()));
    // what the server only says it did is not believed
    let body = FaultKind::Body("{\"status\":true}".to_owned());
    world.lock().inject(Fault::on(&place, 1, body));
    let untrue = control.uncordon(&executor, EPOCH).await.unwrap_err();
    assert_eq!(untrue.kind, EmitterErrorKind::BadAnswer);
}

#[tokio::test]
async fn an_agent_that_is_still_connected_gives_its_licence_back_and_is_removed_later() {
    let world = World::start().await;
    world.lock().licences = Some(1);
    let control = world.control();
    let executor = world.machine(0).await.executor;
    let emitter = world.emitter();
    whole(&emitter).await;
    let agent = world.agent_id(executor.as_str());
    // not cordoned: it may be given a build this moment, so it keeps its licence
    let early = control.remove(&executor).await.unwrap_err();
    assert_eq!(early.kind, EmitterErrorKind::Conflict);
    assert!(world.lock().agents[&agent].authorized);
    control.cordon(&executor, EPOCH).await.unwrap();
    let early = control.remove(&executor).await.unwrap_err();
    assert_eq!(early.kind, EmitterErrorKind::Conflict);
    assert!(world.lock().licence_left());
    // it is still ours, is no capacity, and is not let in again
    let look = whole(&emitter).await;
    assert!(matches!(
        look.executors[0].state,
        ExecutorState::Offline { .. }
    ));
    assert_eq!(look.executors[0].fleet, Some("acme-ci".parse().unwrap()));
    assert!(!world.lock().agents[&agent].authorized);
    world.lock().kill(agent);
    for _ in 0..2 {
        control.remove(&executor).await.unwrap();
    }
    assert!(world.lock().agents.is_empty());
    world.nobody_was_killed();
}

#[tokio::test]
async fn a_removed_agent_is_seen_no_more() {
    let world = World::start().await;
    let control = world.control();
    let gone = world.machine(0).await.executor;
    world.machine(1).await;
    let emitter = world.emitter();
    assert_eq!(whole(&emitter).await.executors.len(), 2);
    let agent = world.agent_id(gone.as_str());
    world.lock().kill(agent);
    control.remove(&gone).await.unwrap();
    let left: Vec<String> = whole(&emitter)
        .await
        .executors
        .into_iter()
        .map(|e| e.name)
        .collect();
    assert_eq!(left, [instance(1).to_string()]);
}

#[tokio::test]
async fn a_busy_agent_is_not_removed() {
    let world = World::start().await;
    let control = world.control();
    let executor = world.machine(0).await.executor;
    whole(&world.emitter()).await;
    let build = world.push("App_Build");
    let now = world.now();
    world.lock().dispatch(now);
    control.cordon(&executor, EPOCH).await.unwrap();
    let error = control.remove(&executor).await.unwrap_err();
    assert_eq!(error.kind, EmitterErrorKind::Conflict);
    let agent = world.agent_id(executor.as_str());
    assert!(world.lock().agents[&agent].authorized);
    assert!(world.lock().finish(build));
}

#[tokio::test]
async fn names_of_any_letters_reach_the_server_as_they_are() {
    let world = World::start().await;
    let control = world.control();
    let now = world.now();
    for name in [
        "Mac mini (2), old",
        "a:b",
        "../server",
        "agent/1",
        "$locator",
    ] {
        let pool = world.pool;
        world.lock().add_agent(name, pool, &[], now);
        let executor = ExecutorId::new(name);
        let error = control.cordon(&executor, EPOCH).await.unwrap_err();
        // found, and not ours
        assert_eq!(error.kind, EmitterErrorKind::Conflict, "{error}");
        let reading = control.read(&executor).await.unwrap();
        assert_eq!(
            (reading.cordon, reading.work),
            (Cordon::None, Work::None),
            "{name}"
        );
    }
}

#[tokio::test]
async fn without_the_right_the_server_refuses_and_says_so() {
    let world = World::start().await;
    let control = world.control();
    let executor = world.machine(0).await.executor;
    world.lock().grant(TOKEN, Rights::viewer());
    let error = control.cordon(&executor, EPOCH).await.unwrap_err();
    assert_eq!(error.kind, EmitterErrorKind::Forbidden);
    let words = error.to_string();
    assert!(
        words.contains("deploy/teamcity") && words.contains("enough permissions"),
        "{words}"
    );
    assert!(!words.contains(TOKEN));
}
