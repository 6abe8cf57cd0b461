//! New agents: who is let in, how, and who is not for lack of a licence or a place.

mod support;

use std::time::Duration;

use fake_teamcity::{Fault, FaultKind, Rights, State};
use model::{Cordon, ExecutorState, JobClass};
use serde_json::json;
use support::{LINUX, TOKEN, World, instance, job, whole};

#[tokio::test]
async fn a_new_agent_is_let_in_with_a_token_and_without() {
    for makes_tokens in [true, false] {
        let world = World::start().await;
        world.lock().makes_tokens = makes_tokens;
        // the Default pool has work that would fit: it must not be taken on the way
        world.lock().add_type("Other_Build", "Other", &[]);
        world
            .lock()
            .projects
            .insert("Other".to_owned(), "Other".to_owned());
        world
            .lock()
            .pools
            .get_mut(&0)
            .unwrap()
            .projects
            .insert("Other".to_owned());
        let other = world.push("Other_Build");
        world.lock().hands_out = true;
        let machine = world.machine(0).await;
        let agent = world.agent_id(machine.executor.as_str());
        assert_eq!(world.lock().agents[&agent].authorized, makes_tokens);
        let look = whole(&world.emitter()).await;
        let executor = &look.executors[0];
        assert_eq!(executor.name, instance(0).to_string());
        assert_eq!(executor.id, machine.executor);
        assert_eq!(executor.fleet, Some("acme-ci".parse().unwrap()));
        assert!(
            matches!(executor.state, ExecutorState::Idle { .. }),
            "{executor:?}"
        );
        assert_eq!(executor.cordon, Cordon::None);
        let teamcity = world.lock();
        let agent = &teamcity.agents[&agent];
        assert!(agent.authorized && agent.enabled && agent.pool == world.pool);
        assert_eq!(agent.authorized_comment, "parmanu-fleet=acme-ci");
        assert_eq!(teamcity.builds[&other].state, State::Queued);
    }
}

/// An operator's look shows what there is and lets nobody in.
#[tokio::test]
async fn a_look_without_upkeep_lets_nobody_in() {
    let world = World::start().await;
    world.lock().makes_tokens = false;
    let machine = world.machine(0).await;
    let agent = world.agent_id(machine.executor.as_str());
    world.onlooker().probe().await.unwrap();
    assert!(!world.lock().agents[&agent].authorized);
    world.emitter().probe().await.unwrap();
    assert!(world.lock().agents[&agent].authorized);
}

#[tokio::test]
async fn whoever_is_interrupted_while_letting_an_agent_in_goes_on_where_he_was() {
    // the agent is disabled, authorised, and then the pool, the look or the last word fails
    for (path, skip) in [("authorizedInfo", 0), ("pool", 0), ("enabledInfo", 1)] {
        let world = World::start().await;
        world.lock().makes_tokens = false;
        let machine = world.machine(0).await;
        let agent = world.agent_id(machine.executor.as_str());
        let place = format!("/app/rest/agents/id:{agent}/{path}");
        let fault = Fault::on(&place, 1, FaultKind::Html(502)).method("PUT");
        world.lock().inject(fault.after(skip));
        let emitter = world.emitter();
        emitter.probe().await.unwrap();
        assert!(!world.lock().agents[&agent].enabled, "{path}");
        // another probot takes over
        let look = whole(&world.emitter()).await;
        let idle = matches!(look.executors[0].state, ExecutorState::Idle { .. });
        assert!(
            idle && look.executors[0].cordon == Cordon::None,
            "{path}: {look:?}"
        );
        assert_eq!(world.lock().agents[&agent].pool, world.pool);
    }
}

#[tokio::test]
async fn a_name_without_its_key_is_not_let_in() {
    let world = World::start().await;
    world.lock().makes_tokens = false;
    let made = world
        .control()
        .register(&ports::Register::of(instance(0)))
        .await
        .unwrap();
    let other = ports::Register::of(instance(1));
    let other = world.control().register(&other).await.unwrap();
    // the key of another machine under this name
    let stolen = support::secret(&other, "join");
    let says = [("system.parmanu.join", stolen.as_str()), ("os", "linux")];
    let now = world.now();
    let name = made.executor.as_str().to_owned();
    let agent = world.lock().join(&name, &says, None, now);
    let emitter = world.emitter();
    let look = whole(&emitter).await;
    assert_eq!(look.executors, []);
    assert!(!world.lock().agents[&agent].authorized);
    let asked = world.lock().requests.len();
    whole(&emitter).await;
    // it is not asked for its key in every look
    let place = format!("GET /app/rest/agents/id:{agent}");
    assert!(!world.lock().requests[asked..].contains(&place));
}

#[tokio::test]
async fn where_names_are_trusted_the_name_of_a_machine_is_enough_and_no_other() {
    let mut world = World::start().await;
    world.config["manage"] = json!({ "trust_names": true });
    let now = world.now();
    let name = instance(0).to_string();
    let ours = world.lock().join(&name, LINUX, None, now);
    let other = world.lock().join("mac-1795531234567-1-0", LINUX, None, now);
    let look = whole(&world.emitter()).await;
    assert_eq!(look.executors.len(), 1);
    let teamcity = world.lock();
    assert!(teamcity.agents[&ours].authorized && !teamcity.agents[&other].authorized);
}

#[tokio::test]
async fn without_manage_nothing_is_changed() {
    let mut world = World::start().await;
    world.machine(0).await;
    world.config["manage"] = json!(null);
    let before = world.lock().requests.len();
    whole(&world.emitter()).await;
    let teamcity = world.lock();
    assert!(
        teamcity.requests[before..]
            .iter()
            .all(|request| request.starts_with("GET "))
    );
}

#[tokio::test]
async fn what_no_licence_is_left_for_says_so_and_asks_for_no_machine() {
    for visible in [true, false] {
        let world = World::start().await;
        let rights = Rights {
            licences: visible,
            ..Rights::manager()
        };
        world.lock().grant(TOKEN, rights);
        world.lock().licences = Some(1);
        world.machine(0).await;
        let emitter = world.emitter();
        let builds: Vec<u64> = (0..3).map(|_| world.push("App_Build")).collect();
        let look = whole(&emitter).await;
        if visible {
            // one agent is free, and no further one may be authorised
            assert_eq!(world.demand("linux", &look), [builds[0].to_string()]);
        }
        // a machine that came all the same is not let in, and waits
        world.machine(1).await;
        let look = whole(&emitter).await;
        let late = look
            .executors
            .iter()
            .find(|e| e.name == instance(1).to_string());
        assert!(late.is_none_or(|late| late.state == ExecutorState::NeverJoined));
        let JobClass::Unrunnable { why } = &job(&look, builds[2]).class else {
            panic!("{:?}", job(&look, builds[2]));
        };
        let words = if visible {
            "no agent licence is left: TeamCity has 1"
        } else {
            "number of agent licenses"
        };
        assert!(why.contains(words), "{why}");
        assert_eq!(world.demand("linux", &look), [builds[0].to_string()]);
        // a licence is bought
        world.lock().licences = None;
        assert_eq!(world.demand("linux", &whole(&emitter).await).len(), 3);
    }
}

#[tokio::test]
async fn a_full_agent_pool_says_so() {
    let world = World::start().await;
    world.lock().pools.get_mut(&world.pool).unwrap().max_agents = Some(1);
    world.machine(0).await;
    let emitter = world.emitter();
    let builds = [world.push("App_Build"), world.push("App_Build")];
    let look = whole(&emitter).await;
    assert_eq!(world.demand("linux", &look), [builds[0].to_string()]);
    let JobClass::Unrunnable { why } = &job(&look, builds[1]).class else {
        panic!("the pool is full");
    };
    assert!(why.contains("`Linux` holds 1 agents at most"), "{why}");
}

#[tokio::test]
async fn what_a_person_took_away_is_not_given_back() {
    let world = World::start().await;
    let machine = world.machine(0).await;
    let emitter = world.emitter();
    whole(&emitter).await;
    let agent = world.agent_id(machine.executor.as_str());
    {
        let mut teamcity = world.lock();
        let agent = teamcity.agents.get_mut(&agent).unwrap();
        (agent.authorized, agent.authorized_by_user) = (false, true);
        agent.authorized_comment = "under repair".to_owned();
    }
    let look = whole(&emitter).await;
    assert!(!world.lock().agents[&agent].authorized);
    let kept = &look.executors[0];
    assert_eq!(
        (kept.cordon, &kept.id),
        (Cordon::Foreign, &machine.executor)
    );
    assert_eq!(kept.fleet, Some("acme-ci".parse().unwrap()));
    let control = world.control();
    let epoch = model::Epoch(1_795_531_234_567);
    let refused = control.cordon(&machine.executor, epoch).await.unwrap_err();
    assert_eq!(refused.kind, ports::EmitterErrorKind::Conflict);
    let reading = control.read(&machine.executor).await.unwrap();
    assert_eq!(reading.cordon, Cordon::Foreign);
}

#[tokio::test]
async fn a_build_cannot_bring_up_an_agent_under_the_name_of_its_machine_later() {
    let world = World::start().await;
    let machine = world.machine(0).await;
    let emitter = world.emitter();
    whole(&emitter).await;
    let agent = world.agent_id(machine.executor.as_str());
    let says = world.lock().agents[&agent].parameters.clone();
    world.lock().agents.remove(&agent);
    world.clock.pass(Duration::from_secs(3600));
    let says: Vec<(&str, &str)> = says.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let now = world.now();
    let rogue = world
        .lock()
        .join(machine.executor.as_str(), &says, None, now);
    whole(&emitter).await;
    assert!(!world.lock().agents[&rogue].authorized);
}

#[tokio::test]
async fn an_agent_that_a_token_let_in_while_probot_was_away_is_ours_all_the_same() {
    let world = World::start().await;
    let machine = world.machine(0).await;
    world.clock.pass(Duration::from_secs(24 * 3600));
    let epoch = model::Epoch(1_795_531_234_567);
    let control = world.control();
    control.cordon(&machine.executor, epoch).await.unwrap();
    control.uncordon(&machine.executor, epoch).await.unwrap();
    let look = whole(&world.emitter()).await;
    assert_eq!(look.executors[0].fleet, Some("acme-ci".parse().unwrap()));
}

#[tokio::test]
async fn an_agent_of_another_fleet_is_left_to_it_though_names_are_trusted() {
    let mut world = World::start().await;
    world.config["manage"] = json!({ "trust_names": true });
    let name = instance(0).to_string();
    let now = world.now();
    let agent = world.lock().join(&name, LINUX, None, now);
    let mark = |authorized: bool, of: &str, enabled: bool, words: &str| {
        let mut teamcity = world.lock();
        let agent = teamcity.agents.get_mut(&agent).unwrap();
        (agent.authorized, agent.enabled) = (authorized, enabled);
        agent.authorized_comment = of.to_owned();
        agent.enabled_comment = words.to_owned();
    };
    let epoch = model::Epoch(1_795_531_234_567);
    let (emitter, control) = (world.emitter(), world.control());
    let id = model::ExecutorId::new(&*name);
    for (authorized, of, enabled, words) in [
        (true, "parmanu-fleet=other", true, ""),
        (
            true,
            "parmanu-fleet=other",
            false,
            "parmanu-cordon fleet=other epoch=7",
        ),
        (false, "parmanu-removed fleet=other", false, ""),
        // it is being let in there
        (false, "", false, "parmanu-joining fleet=other"),
    ] {
        mark(authorized, of, enabled, words);
        whole(&emitter).await;
        let refused = control.cordon(&id, epoch).await.unwrap_err();
        assert_eq!(
            refused.kind,
            ports::EmitterErrorKind::Conflict,
            "{of} {words}"
        );
        let teamcity = world.lock();
        let left = &teamcity.agents[&agent];
        let is = (left.authorized, left.authorized_comment.as_str());
        assert_eq!(is, (authorized, of), "{words}");
        assert_eq!(
            (left.enabled, left.enabled_comment.as_str()),
            (enabled, words)
        );
    }
}

/// Between the list of agents and the first change a scaler may have cordoned one of them.
#[tokio::test]
async fn a_cordon_that_came_after_the_list_is_not_lifted_by_letting_the_agent_in() {
    let world = World::start().await;
    world.lock().makes_tokens = false;
    let name = world.machine(0).await.executor;
    let agent = world.agent_id(name.as_str());
    let control = world.control();
    let epoch = model::Epoch(1_795_531_234_567);
    control.cordon(&name, epoch).await.unwrap();
    let before = json!({ "count": 1, "agent": [{
        "id": agent, "name": name.as_str(), "connected": true, "authorized": false, "pool": { "id": 0 },
        "idleSinceTime": "20260901T100000+0000", "enabledInfo": { "status": true }, "authorizedInfo": { "status": false },
    }]});
    let list = FaultKind::Body(before.to_string());
    world.lock().inject(Fault::on("/app/rest/agents", 1, list));
    world.emitter().probe().await.unwrap();
    let reading = control.read(&name).await.unwrap();
    assert_eq!(reading.cordon, Cordon::Ours { epoch });
    assert!(!world.lock().agents[&agent].enabled);
}

#[tokio::test]
async fn an_answer_without_parameters_is_no_proof_that_a_machine_has_no_key() {
    let world = World::start().await;
    world.lock().makes_tokens = false;
    let name = world.machine(0).await.executor;
    let agent = world.agent_id(name.as_str());
    let emitter = world.emitter();
    let nothing = FaultKind::Body(format!("{{\"id\":{agent}}}"));
    let place = format!("/app/rest/agents/id:{agent}");
    world.lock().inject(Fault::on(&place, 1, nothing));
    emitter.probe().await.unwrap();
    assert!(!world.lock().agents[&agent].authorized);
    emitter.probe().await.unwrap();
    assert!(world.lock().agents[&agent].authorized);
}

/// A machine that a token let in and that was gone before anybody marked its agent: the agent stays authorised, which takes a
/// licence, and whoever removes what is left of machines has to know that it is ours.
#[tokio::test]
async fn an_agent_that_a_token_let_in_and_that_is_gone_again_is_ours_all_the_same() {
    let world = World::start().await;
    let machine = world.machine(0).await;
    let id = world.agent_id(machine.executor.as_str());
    if let Some(agent) = world.lock().agents.get_mut(&id) {
        agent.connected = false;
    }
    let look = whole(&world.emitter()).await;
    assert_eq!(look.executors[0].fleet, Some("acme-ci".parse().unwrap()));
}

/// A machine whose pool was taken out of the configuration before anybody let its agent in.
async fn orphaned() -> (World, model::ExecutorId, u64) {
    let mut world = World::start().await;
    world.lock().makes_tokens = false;
    let executor = world.machine(0).await.executor;
    let agent = world.agent_id(executor.as_str());
    world.serves = [("mac", json!([{ "agent_pool": "Linux" }]))].into();
    (world, executor, agent)
}

const EPOCH: model::Epoch = model::Epoch(1_795_531_234_567);

/// It is let into nothing, and it is known by its key; so its machine leaves by a cordon, which holds whoever lets it in then.
#[tokio::test]
async fn an_agent_whose_pool_was_removed_before_it_was_let_in_leaves_by_a_cordon() {
    let (world, executor, agent) = orphaned().await;
    let emitter = world.emitter();
    let look = whole(&emitter).await;
    let [told] = &look.executors[..] else {
        panic!("{look:?}")
    };
    assert_eq!(
        (&told.id, &told.state),
        (&executor, &ExecutorState::NeverJoined)
    );
    assert_eq!(told.fleet, Some("acme-ci".parse().unwrap()));
    let asked = world.lock().requests.len();
    whole(&emitter).await;
    let place = format!("GET /app/rest/agents/id:{agent}");
    assert!(
        !world.lock().requests[asked..].contains(&place),
        "it is not asked for its key in every look"
    );
    // the key is good for that for ever, and for nothing else
    world.clock.pass(Duration::from_secs(24 * 3600));
    let control = world.control();
    control.cordon(&executor, EPOCH).await.unwrap();
    whole(&emitter).await;
    assert!(!world.lock().agents[&agent].authorized);
    let idle = (Cordon::Ours { epoch: EPOCH }, model::Work::None);
    let reading = control.read(&executor).await.unwrap();
    assert_eq!((reading.cordon, reading.work), idle);
    {
        let mut teamcity = world.lock();
        let agent = teamcity.agents.get_mut(&agent).unwrap();
        (agent.authorized, agent.authorized_by_user) = (true, true);
        agent.pool = world.pool;
    }
    let build = world.push("App_Build");
    let now = world.now();
    world.lock().dispatch(now);
    let reading = control.read(&executor).await.unwrap();
    assert_eq!((reading.cordon, reading.work), idle);
    assert_eq!(world.lock().builds[&build].state, State::Queued);
    if let Some(agent) = world.lock().agents.get_mut(&agent) {
        agent.connected = false;
    }
    control.remove(&executor).await.unwrap();
    assert!(!world.lock().agents.contains_key(&agent));
}

/// Whoever is let in by hand may have a build by then.
#[tokio::test]
async fn an_agent_of_a_removed_pool_that_somebody_let_in_by_hand_keeps_its_build() {
    let (world, executor, agent) = orphaned().await;
    let build = world.push("App_Build");
    {
        let mut teamcity = world.lock();
        let agent = teamcity.agents.get_mut(&agent).unwrap();
        (agent.authorized, agent.authorized_by_user) = (true, true);
        agent.pool = world.pool;
    }
    let now = world.now();
    world.lock().dispatch(now);
    assert_eq!(world.lock().builds[&build].state, State::Running);
    let look = whole(&world.emitter()).await;
    assert!(
        matches!(look.executors[0].state, ExecutorState::Busy { .. }),
        "{look:?}"
    );
    assert_eq!(look.executors[0].fleet, Some("acme-ci".parse().unwrap()));
    let control = world.control();
    control.cordon(&executor, EPOCH).await.unwrap();
    let reading = control.read(&executor).await.unwrap();
    assert_eq!(reading.work, model::Work::Jobs { count: 1 });
    // unauthorised while it runs, it still runs
    if let Some(agent) = world.lock().agents.get_mut(&agent) {
        (agent.authorized, agent.authorized_by_user) = (false, false);
    }
    let reading = control.read(&executor).await.unwrap();
    assert_eq!(reading.work, model::Work::Jobs { count: 1 });
}

/// The name of a machine is not enough where no pool of ours has it, even where names are trusted.
#[tokio::test]
async fn an_agent_of_a_removed_pool_without_its_key_is_nobody_of_ours() {
    for trusted in [false, true] {
        let mut world = World::start().await;
        world.config["manage"] = json!({ "trust_names": trusted });
        let now = world.now();
        let name = "mac-1795531234567-1-0";
        let agent = world.lock().join(name, LINUX, None, now);
        assert_eq!(whole(&world.emitter()).await.executors, []);
        let (control, id) = (world.control(), model::ExecutorId::new(name));
        let refused = control.cordon(&id, EPOCH).await.unwrap_err();
        assert_eq!(refused.kind, ports::EmitterErrorKind::Conflict);
        assert!(world.lock().agents[&agent].enabled);
    }
}

/// Its agent pool is not known any more, and whoever may not see that is answered 404 as well.
#[tokio::test]
async fn of_a_removed_pool_no_agent_is_certainly_absent() {
    let (world, executor, _) = orphaned().await;
    let control = world.control();
    let found = control.find(&instance(0), None).await.unwrap();
    let contact = ports::Contact::Live;
    assert_eq!(found, ports::Found::There { executor, contact });
    let found = control.find(&instance(7), None).await.unwrap();
    assert!(matches!(found, ports::Found::Unknown { .. }), "{found:?}");
}
