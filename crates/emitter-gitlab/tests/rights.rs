//! A token that may not do what it is for: nothing breaks, and an operator is told what is missing.

mod support;

use fake_gitlab::{Access, Scope};
use model::Epoch;
use ports::EmitterErrorKind as Kind;
use support::{MANAGE, TOKEN, World, register};

#[tokio::test]
async fn a_managing_token_of_too_few_scopes_looks_on_and_is_told_which_are_missing() {
    let world = World::project().await;
    let (executor, runner, _) = world.machine(0).await;
    world
        .lock()
        .add_token(world.admin, MANAGE, &[Scope::ReadApi]);
    let control = world.control();
    let made = control.register(&register(1)).await;
    let cordoned = control.cordon(&executor, Epoch(7)).await;
    let removed = control.remove(&executor).await;
    for refused in [made.map(drop), cordoned, removed] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind, Kind::Forbidden);
        let words = "`manage_token` lacks the scope create_runner and manage_runner";
        assert!(error.message.contains(words), "{error}");
        assert!(error.message.contains("Parmanu only looks"), "{error}");
        assert!(!error.to_string().contains(MANAGE));
    }
    assert!(world.lock().runner(runner).is_some());
    let snapshot = world.emitter().probe().await.unwrap();
    assert!(snapshot.completeness.is_complete());
}

#[tokio::test]
async fn a_user_of_too_small_a_role_is_told_which_he_needs() {
    for (world, role) in [
        (World::instance().await, "must be an administrator's"),
        (World::group().await, "must be an Owner of the group"),
        (
            World::project().await,
            "must be a Maintainer of the project",
        ),
    ] {
        world.lock().revoke(world.admin);
        let project = world.project;
        world.lock().grant(world.admin, project, Access::Reporter);
        let made = world.control().register(&register(1)).await;
        let error = made.unwrap_err();
        assert!(error.message.contains(role), "{error}");
    }
}

#[tokio::test]
async fn a_looking_token_without_its_scope_is_told_so() {
    let world = World::project().await;
    world
        .lock()
        .add_token(world.admin, TOKEN, &[Scope::CreateRunner]);
    let error = world.emitter().probe().await.unwrap_err();
    assert_eq!(error.kind, Kind::Forbidden);
    let words = "`token` lacks the scope read_api";
    assert!(error.message.contains(words), "{error}");
    // an unknown token cannot ask about itself
    world.lock().revoke_token(TOKEN);
    let error = world.emitter().probe().await.unwrap_err();
    assert_eq!(error.kind, Kind::Unauthorized);
}
