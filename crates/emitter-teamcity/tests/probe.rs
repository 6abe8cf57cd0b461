//! Looks at a server in the situations that mislead an autoscaler.

mod support;

use std::time::Duration;

use fake_teamcity::{Dependency, Fault, FaultKind, Rights, Sight};
use model::{ExecutorState, JobClass, JobId};
use serde_json::json;
use support::{LINUX, TOKEN, World, doubts, job, missing, whole};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn from_zero_one_build_brings_a_canary_and_its_answers_are_remembered() {
    let world = World::start().await;
    let emitter = world.emitter();
    let builds: Vec<u64> = (0..3).map(|_| world.push("App_Build")).collect();
    let gpu = world.push("App_Gpu");
    let look = whole(&emitter).await;
    assert_eq!(world.demand("linux", &look), [builds[0].to_string()]);
    let waits = missing(world.fit("linux", job(&look, gpu)));
    assert!(
        waits.contains("first agent of agent pool `Linux`"),
        "{waits}"
    );
    // asked again while the machine boots, it is the same one
    assert_eq!(
        world.demand("linux", &whole(&emitter).await),
        [builds[0].to_string()]
    );

    let canary = world.machine(0).await;
    let look = whole(&emitter).await;
    let asked: Vec<String> = builds.iter().map(u64::to_string).collect();
    assert_eq!(world.demand("linux", &look), asked);
    let refused = missing(world.fit("linux", job(&look, gpu)));
    assert!(refused.contains("compatible with App_Gpu"), "{refused}");

    // the canary leaves, and what was said about it counts on
    let agent = world.agent_id(canary.executor.as_str());
    world.lock().agents.remove(&agent);
    let look = whole(&emitter).await;
    assert_eq!(world.demand("linux", &look), asked);
    assert!(!world.fit("linux", job(&look, gpu)).is_yes());
    // a refusal is tried again after an hour, with one machine
    world.clock.pass(HOUR * 2);
    let mut again = asked.clone();
    again.push(gpu.to_string());
    assert_eq!(world.demand("linux", &whole(&emitter).await), again);

    // a probot that lost its memory is back at one canary
    let look = whole(&world.emitter()).await;
    assert_eq!(world.demand("linux", &look), [builds[0].to_string()]);
}

#[tokio::test]
async fn a_prototype_is_asked_instead_and_is_no_capacity() {
    let mut world = World::start().await;
    let serves = json!([{ "agent_pool": "Linux", "prototype": "sample" }]);
    world.serves.insert("linux", serves);
    let (pool, now) = (world.pool, world.now());
    let sample = world.lock().add_agent("sample", pool, LINUX, now);
    {
        let mut teamcity = world.lock();
        let sample = teamcity.agents.get_mut(&sample).unwrap();
        (sample.connected, sample.enabled) = (false, false);
    }
    let builds = [world.push("App_Build"), world.push("App_Build")];
    let gpu = world.push("App_Gpu");
    let look = whole(&world.emitter()).await;
    assert_eq!(
        world.demand("linux", &look),
        builds.map(|id| id.to_string())
    );
    assert!(!world.fit("linux", job(&look, gpu)).is_yes());
    assert_eq!(look.executors, []);
}

#[tokio::test]
async fn two_kinds_in_one_agent_pool_are_told_apart_by_their_prototypes() {
    let mut world = World::start().await;
    for (pool, sample, says) in [("linux", "sample-l", "os"), ("gpu", "sample-g", "gpu")] {
        let serves = json!([{ "agent_pool": "Linux", "prototype": sample }]);
        world.serves.insert(pool, serves);
        let value = if says == "os" { "linux" } else { "yes" };
        let (pool, now) = (world.pool, world.now());
        world.lock().add_agent(sample, pool, &[(says, value)], now);
    }
    let (build, gpu) = (world.push("App_Build"), world.push("App_Gpu"));
    let look = whole(&world.emitter()).await;
    assert_eq!(world.demand("linux", &look), [build.to_string()]);
    assert_eq!(world.demand("gpu", &look), [gpu.to_string()]);
}

#[tokio::test]
async fn a_chain_names_its_parents_and_composites_and_agentless_builds_are_no_jobs() {
    let world = World::start().await;
    {
        let mut teamcity = world.lock();
        for (id, on) in [
            ("App_Test", "App_Build"),
            ("App_All", "App_Test"),
            ("App_Ship", "App_All"),
        ] {
            let made = teamcity.add_type(id, "App", &[("os", "linux")]);
            made.composite = id == "App_All";
            let same_agent = false;
            let on = on.to_owned();
            made.needs.push(Dependency { on, same_agent });
        }
    }
    let machine = world.machine(0).await;
    let ship = world.push("App_Ship");
    let (all, test, build) = {
        let teamcity = world.lock();
        let all = teamcity.builds[&ship].needs[0];
        let test = teamcity.builds[&all].needs[0];
        (all, test, teamcity.builds[&test].needs[0])
    };
    let emitter = world.emitter();
    whole(&emitter).await;
    let agent = world.agent_id(machine.executor.as_str());
    let now = world.now();
    world.lock().start(build, agent, now);
    world.lock().builds.get_mut(&build).unwrap().estimate = Some(90);
    let look = whole(&emitter).await;
    assert!(
        look.jobs
            .iter()
            .all(|job| job.id != JobId::new(all.to_string()))
    );
    let waits_for = |id: u64| match &job(&look, id).class {
        JobClass::Blocked { parents, .. } => parents.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    };
    let of_test: Vec<String> = waits_for(test);
    let of_ship: Vec<String> = waits_for(ship);
    assert_eq!(
        (of_test, of_ship),
        (vec![build.to_string()], vec![test.to_string()])
    );
    // its pool is known, so that a machine can be ready for it
    assert!(world.fit("linux", job(&look, test)).is_yes());
    assert_eq!(job(&look, build).expected, Some(Duration::from_secs(90)));
    // the build lets its agent go and goes on: no demand, and nobody can tell when its child may start
    world.lock().builds.get_mut(&build).unwrap().detached = true;
    let look = whole(&emitter).await;
    assert!(
        look.jobs
            .iter()
            .all(|job| job.id != JobId::new(build.to_string()))
    );
    let JobClass::Blocked { parents, .. } = &job(&look, test).class else {
        panic!("it waits");
    };
    assert_eq!(parents, &[]);
}

#[tokio::test]
async fn a_same_agent_group_is_one_machine_and_must_fit_it_whole() {
    let world = World::start().await;
    {
        let mut teamcity = world.lock();
        for (id, on, requires) in [
            ("App_Test", "App_Build", ("os", "linux")),
            ("App_Bench", "App_Build", ("gpu", "yes")),
        ] {
            let made = teamcity.add_type(id, "App", &[requires]);
            let on = on.to_owned();
            let same_agent = true;
            made.needs.push(Dependency { on, same_agent });
        }
    }
    let machine = world.machine(0).await;
    let test = world.push("App_Test");
    let build = world.lock().builds[&test].needs[0];
    let emitter = world.emitter();
    let look = whole(&emitter).await;
    assert_eq!(world.demand("linux", &look), [build.to_string()]);
    // its second half could not run there
    let bench = world.push("App_Bench");
    let first = world.lock().builds[&bench].needs[0];
    let look = whole(&emitter).await;
    assert!(!world.fit("linux", job(&look, first)).is_yes());

    // the first half is done: its agent is kept for the second, which asks for no machine
    let agent = world.agent_id(machine.executor.as_str());
    let now = world.now();
    world.lock().start(build, agent, now);
    world.lock().finish(build);
    let look = whole(&emitter).await;
    assert!(!world.demand("linux", &look).contains(&test.to_string()));
    let executor = &look.executors[0];
    let jobs = vec![JobId::new(test.to_string())];
    assert_eq!(executor.state, ExecutorState::Busy { jobs });
}

#[tokio::test]
async fn words_that_nobody_knows_are_quoted_and_ask_for_no_machine() {
    let world = World::start().await;
    world.machine(0).await;
    let odd = world.push("App_Build");
    let reason = format!("Waiting for {}", "the moon ".repeat(100));
    world.lock().builds.get_mut(&odd).unwrap().wait_reason = Some(reason);
    let look = whole(&world.emitter()).await;
    let JobClass::Blocked { by, parents } = &job(&look, odd).class else {
        panic!("it is counted as waiting");
    };
    assert!(
        by.contains("Waiting for the moon") && by.len() < 260,
        "{by}"
    );
    assert_eq!(parents, &[]);
}

#[tokio::test]
async fn a_project_without_a_link_to_the_agent_pool_is_named_and_brings_no_canary() {
    let world = World::start().await;
    world.lock().add_type("Web_Build", "Web", &[]);
    let build = world.push("Web_Build");
    let look = whole(&world.emitter()).await;
    let lack = missing(world.fit("linux", job(&look, build)));
    assert_eq!(
        lack,
        "a link of project Web to agent pool `Linux` in TeamCity"
    );
}

#[tokio::test]
async fn an_agent_of_somebody_else_counts_where_it_runs_all_that_ours_run() {
    let world = World::start().await;
    world.machine(0).await;
    let (pool, now) = (world.pool, world.now());
    world.lock().add_agent("static", pool, LINUX, now);
    world.lock().add_agent("poor", pool, &[], now);
    world.push("App_Build");
    let look = whole(&world.emitter()).await;
    let served = |name: &str| {
        let mut executors = look.executors.iter();
        world.serves("linux", executors.find(|e| e.name == name).unwrap())
    };
    assert!(served("static") && !served("poor"));
}

#[tokio::test]
async fn what_may_not_be_seen_makes_the_look_partial() {
    let world = World::start().await;
    let machine = world.machine(0).await;
    let emitter = world.emitter();
    whole(&emitter).await;
    let build = world.push("App_Build");
    let agent = world.agent_id(machine.executor.as_str());
    let now = world.now();
    world.lock().start(build, agent, now);
    let look = async |rights: Rights| {
        world.lock().grant(TOKEN, rights);
        doubts(&emitter).await
    };
    let no_details = Rights {
        view_agents: false,
        ..Rights::manager()
    };
    assert!(look(no_details).await.contains("View agent details"));
    let other = Rights {
        projects: Sight::Projects(["Web".to_owned()].into()),
        ..Rights::manager()
    };
    let words = look(other).await;
    assert!(
        words.contains("may not see") && words.contains("not a single project"),
        "{words}"
    );
    world
        .lock()
        .projects
        .insert("Web".to_owned(), "Web".to_owned());
    let other = Rights {
        projects: Sight::Projects(["Web".to_owned()].into()),
        ..Rights::manager()
    };
    let words = look(other).await;
    assert!(
        words.contains("may not see") && !words.contains("not a single"),
        "{words}"
    );
    world.lock().pools.remove(&world.pool);
    assert!(
        look(Rights::manager())
            .await
            .contains("agent pool `Linux` of pool linux")
    );
}

#[tokio::test]
async fn rows_that_move_between_pages_are_missed_and_said_to_be() {
    let world = World::start().await;
    world.machine(0).await;
    let emitter = world.emitter();
    let first = world.push("App_Build");
    for _ in 0..750 {
        world.push("App_Build");
    }
    let look = whole(&emitter).await;
    assert_eq!(look.jobs.len(), 751);
    // one is cancelled after the first page was read: the second begins one row too late
    let target = "/app/rest/buildQueue?locator=count:500";
    let page = {
        let mut teamcity = world.lock();
        let request = fake_teamcity::Request::new("GET", target)
            .with_header("accept", "application/json")
            .with_bearer(TOKEN);
        let page = teamcity.handle(&request, look.taken_at).json_body();
        teamcity.builds.remove(&first);
        page
    };
    let fault = FaultKind::Body(page.to_string());
    world
        .lock()
        .inject(Fault::on("/app/rest/buildQueue", 1, fault));
    let look = emitter.probe().await.unwrap();
    assert_eq!(
        look.jobs.len(),
        750,
        "the cancelled one, and not the one that moved"
    );
    let words = look.completeness.doubts().join("; ");
    assert!(
        words.contains("moved while their pages were read"),
        "{words}"
    );
}

#[tokio::test]
async fn a_next_page_elsewhere_is_asked_for_here() {
    let world = World::start().await;
    let page = json!({
        "count": 1, "nextHref": "http://evil.example.com/app/rest/buildQueue?locator=count:1000,start:1000",
        "build": [{ "id": 1, "buildTypeId": "App_Build" }],
    });
    let fault = Fault::on("/app/rest/buildQueue", 1, FaultKind::Body(page.to_string()));
    world.lock().inject(fault);
    let words = doubts(&world.emitter()).await;
    // the row is gone when the first page is read again, and nothing was asked of anybody else
    assert!(words.contains("moved"), "{words}");
}

#[tokio::test]
async fn a_row_of_another_shape_names_its_field_and_the_others_count() {
    let world = World::start().await;
    let page = json!({ "count": 2, "build": [
        { "id": 1, "buildTypeId": "App_Build", "buildType": { "id": "App_Build", "projectId": "App" } },
        { "id": 2, "buildTypeId": 7, "waitReason": "secret words" },
    ]});
    let fault = Fault::on("/app/rest/buildQueue", 1, FaultKind::Body(page.to_string()));
    world.lock().inject(fault);
    let look = world.emitter().probe().await.unwrap();
    assert_eq!(look.jobs.len(), 1);
    let words = look.completeness.doubts().join("; ");
    assert!(
        words.contains("1 rows of builds of the queue") && words.contains("`buildTypeId`"),
        "{words}"
    );
    assert!(!words.contains("secret words"));
}

#[tokio::test]
async fn trouble_is_named_and_the_token_is_in_no_message() {
    let world = World::start().await;
    let login = "/login.html".to_owned();
    for (kind, words) in [
        (FaultKind::Html(503), "starting"),
        (FaultKind::Html(502), "trouble"),
        (FaultKind::Throttled(7), "asks to wait"),
        (FaultKind::Redirect(login), "redirect"),
        (FaultKind::Body("<html>".to_owned()), "not JSON"),
        (FaultKind::Body("{}".to_owned()), "no list"),
        (FaultKind::CutBody, "broke"),
        (FaultKind::Padding(17 << 20), "more than"),
    ] {
        world
            .lock()
            .inject(Fault::on("/app/rest/buildQueue", 1, kind));
        let error = world.emitter().probe().await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(!format!("{error:?}").contains(TOKEN), "{error:?}");
    }
    world.lock().grant("another", Rights::viewer());
    let mut stranger = World::start().await;
    stranger.config["token"] = json!("11never-known");
    let error = stranger.emitter().probe().await.unwrap_err();
    assert!(error.to_string().contains("make a new one"), "{error}");
    assert!(!format!("{error:?}").contains("11never-known"));
}

#[tokio::test]
async fn what_fails_beside_the_queue_makes_the_look_partial() {
    for (path, skip) in [
        ("/app/rest/builds", 0),
        ("/app/rest/agentPools", 0),
        ("/app/rest/agents", 0),
        ("/app/rest/projects", 0),
        // the question who can run the build
        ("/app/rest/agents", 1),
    ] {
        let world = World::start().await;
        let machine = world.machine(0).await;
        whole(&world.emitter()).await;
        world.push("App_Build");
        let fault = Fault::on(path, 1, FaultKind::Html(500)).after(skip);
        world.lock().inject(fault);
        let look = world.emitter().probe().await.unwrap();
        assert!(!look.completeness.is_complete(), "{path} {machine:?}");
        assert_eq!(look.jobs.len(), 1);
    }
}

#[tokio::test]
async fn a_look_costs_six_requests_when_nothing_is_new() {
    let world = World::start().await;
    world.machine(0).await;
    for _ in 0..50 {
        world.push("App_Build");
    }
    let emitter = world.emitter();
    whole(&emitter).await;
    assert_eq!(whole(&emitter).await.cost.requests, 6);
    // one more for each build type, every five minutes
    world.clock.pass(Duration::from_secs(301));
    assert_eq!(whole(&emitter).await.cost.requests, 7);
}

#[tokio::test]
async fn many_new_build_types_are_asked_about_over_some_looks() {
    let world = World::start().await;
    world.machine(0).await;
    for n in 0..40 {
        let name = format!("App_T{n}");
        world.lock().add_type(&name, "App", &[("os", "linux")]);
        world.push(&name);
    }
    let emitter = world.emitter();
    let words = doubts(&emitter).await;
    assert!(words.contains("who can run 8 build types"), "{words}");
    let look = whole(&emitter).await;
    assert_eq!(world.demand("linux", &look).len(), 40);
}

#[tokio::test]
async fn an_empty_page_that_names_a_next_one_is_no_end() {
    let world = World::start().await;
    let next = "/app/rest/buildQueue?locator=count:500,start:500";
    let page = json!({ "count": 0, "build": [], "nextHref": next }).to_string();
    let fault = Fault::on("/app/rest/buildQueue", 1, FaultKind::Body(page));
    world.lock().inject(fault);
    let words = doubts(&world.emitter()).await;
    assert!(
        words.contains("an empty page that names a next one"),
        "{words}"
    );
}

/// One that was removed and came again is in both pages when it moved between them; the name tells nobody which one it is.
#[tokio::test]
async fn two_agents_of_one_name_are_not_idle() {
    let world = World::start().await;
    let name = world.machine(0).await.executor;
    whole(&world.emitter()).await;
    let row = |id: u64| {
        json!({
            "id": id, "name": name.as_str(), "connected": true, "authorized": true,
            "idleSinceTime": "20260901T100000+0000", "enabledInfo": { "status": true },
            "authorizedInfo": { "status": true, "comment": { "text": "parmanu-fleet=acme-ci" } },
        })
    };
    let list = json!({ "count": 2, "agent": [row(7), row(8)] });
    let list = FaultKind::Body(list.to_string());
    world.lock().inject(Fault::on("/app/rest/agents", 1, list));
    let look = world.emitter().probe().await.unwrap();
    assert_eq!(look.executors.len(), 2);
    for executor in look.executors {
        assert!(
            matches!(executor.state, ExecutorState::Unknown { .. }),
            "{executor:?}"
        );
    }
}
