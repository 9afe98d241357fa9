//! Bindings: no credential moves for a place that nobody who may use the connection has agreed to.

use keyferry_broker::pipelines::BindingRecord;
use keyferry_domain::id::BindingId;
use keyferry_domain::run::{JobState, RunState};
use keyferry_domain::{Actor, ErrorKind, Role, Scope};

use crate::fixture::{TestBroker, assert_code, user};
use crate::scenes::{
    claim, job, pipeline, rights, run, runner, save, start, states, with_connection,
};

/// A connection of `owner`, and a pipeline of `author` that names it and waits for approval.
struct Waiting {
    test: TestBroker,
    owner: Actor,
    author: Actor,
    pipeline: keyferry_domain::id::PipelineId,
    bindings: Vec<BindingRecord>,
}

async fn waiting() -> Waiting {
    let test = TestBroker::start().await;
    let (owner, author) = (test.add(Role::Member).await, test.add(Role::Member).await);
    crate::scenes::git(&test, &owner, "forge", Scope::Private).await;
    let made = pipeline(&test, &author, "Build", &with_connection("forge", "make")).await;
    Waiting { test, owner, author, pipeline: made.pipeline.id, bindings: made.bindings }
}

impl Waiting {
    async fn approve(&self, who: &Actor, revision: i64) -> keyferry_domain::Result<Vec<String>> {
        for binding in &self.bindings {
            let organization = &self.test.organization;
            self.test.broker.approve_binding(who, organization, &binding.id, revision).await?;
        }
        let now = self
            .test
            .broker
            .get_pipeline(&self.test.owner, &self.test.organization, &self.pipeline)
            .await?;
        Ok(rights(&now.bindings))
    }
}

#[tokio::test]
async fn a_run_that_reaches_a_waiting_place_fails_before_anything_runs_and_says_who_can_help() {
    let scene = waiting().await;
    let test = &scene.test;
    let machine = runner(test, "machine").await;
    let started = start(test, &scene.author, &scene.pipeline).await;
    assert_eq!(started.run.state, RunState::Failed);
    let (failed, steps) = job(&started, "build.compile");
    assert_eq!(failed.state, JobState::Failed);
    let reason = failed.reason.as_deref().unwrap();
    assert!(reason.contains("needs approval") && reason.contains("forge"), "{reason}");
    assert!(reason.contains("owner") && reason.contains("approve"), "{reason}");
    assert!(started.run.reason.as_deref().unwrap().contains("needs approval"));
    assert_eq!(steps[0].state.as_str(), "skipped");
    assert!(failed.started_at.is_none());
    assert!(claim(&test.broker, &machine).await.is_none());
    assert!(test.events("lease.issue").await.is_empty());
    assert_eq!(test.events("job.queue").await.len(), 1, "the refusal is on record");

    assert!(
        scene.approve(&scene.owner, 1).await.unwrap().iter().all(|one| one.ends_with(" approved"))
    );
    let started = start(test, &scene.author, &scene.pipeline).await;
    assert_eq!(states(&started), ["build.compile queued"]);
    let events = test.events("binding.approve").await;
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].data["connection"], "forge");
    assert_eq!(events[0].actor.id.as_deref(), Some(user(&scene.owner).as_str()));
}

#[tokio::test]
async fn only_those_who_may_use_the_connection_approve() {
    let scene = waiting().await;
    let test = &scene.test;
    let organization = &test.organization;
    let id = &scene.bindings[0].id;
    let none: BindingId = "bind_00000000000000000000000000".parse().unwrap();

    // Whoever sees the pipeline is told why, and who could.
    let error = test.broker.approve_binding(&scene.author, organization, id, 1).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Denied, "denied"));
    assert!(error.details().hint.as_deref().unwrap().contains("owner"));
    for role in [Role::Admin, Role::Auditor] {
        let who = test.add(role).await;
        let approved = test.broker.approve_binding(&who, organization, id, 1).await;
        assert_eq!(approved.unwrap_err().kind(), ErrorKind::Denied, "{role}");
    }
    let approved = test.broker.approve_binding(&test.owner, organization, id, 1).await;
    assert_eq!(approved.unwrap_err().kind(), ErrorKind::Denied);

    // Whoever sees neither is told the same as about none.
    let (outsider, other) = test.outsider().await;
    for who in [test.add(Role::Member).await, outsider.clone()] {
        let mut texts = Vec::new();
        for wanted in [id, &none] {
            let approved = test.broker.approve_binding(&who, organization, wanted, 1).await;
            let revoked = test.broker.revoke_binding(&who, organization, wanted).await;
            let told = [approved.unwrap_err(), revoked.unwrap_err()]
                .map(|error| format!("{error:?} {:?}", error.details()));
            texts.push(told.map(|text| text.replace(wanted.as_str(), "ID")));
        }
        assert_eq!(texts[0], texts[1]);
        assert!(texts[0][0].contains("NotFound"), "{texts:?}");
    }
    assert_code(test.broker.approve_binding(&outsider, &other, id, 1).await, "not_found");
    let job =
        Actor { identity: keyferry_domain::actor::Identity::System, ..test.broker.system_actor() };
    assert_code(test.broker.approve_binding(&job, organization, id, 1).await, "denied");

    let now = test.broker.get_pipeline(&test.owner, organization, &scene.pipeline).await.unwrap();
    assert!(rights(&now.bindings).iter().all(|one| one.ends_with("needs_approval")));
}

#[tokio::test]
async fn only_the_revision_that_was_looked_at_is_approved() {
    let scene = waiting().await;
    let test = &scene.test;
    save(test, &scene.author, &scene.pipeline, &with_connection("forge", "./steal")).await;
    for revision in [0, 1, 3] {
        let error = scene.approve(&scene.owner, revision).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "stale_revision"));
    }
    assert!(scene.approve(&scene.owner, 2).await.is_ok());
    // What was approved is what was looked at: the next edit asks again.
    let saved = save(test, &scene.author, &scene.pipeline, &with_connection("forge", "make")).await;
    assert_eq!(
        rights(&saved.bindings),
        ["sources.app needs_approval", "stages.build.jobs.compile needs_approval"]
    );
}

#[tokio::test]
async fn a_run_of_an_older_revision_does_not_profit_from_an_approval_of_a_newer_one() {
    let scene = waiting().await;
    let test = &scene.test;
    assert!(scene.approve(&scene.owner, 1).await.is_ok());
    let started = start(test, &scene.author, &scene.pipeline).await;
    assert_eq!(states(&started), ["build.compile queued"]);
    // The text is changed and approved in its new form while the old run waits for a runner.
    save(test, &scene.author, &scene.pipeline, &with_connection("forge", "make all")).await;
    assert!(scene.approve(&scene.owner, 2).await.is_ok());
    let machine = runner(test, "machine").await;
    assert!(claim(&test.broker, &machine).await.is_none());
    let after = run(test, &started.run.id).await;
    assert_eq!(after.run.state, RunState::Failed);
    assert!(after.run.reason.unwrap().contains("start a new run"));
}

#[tokio::test]
async fn a_right_is_taken_back_by_whoever_looks_after_either_end() {
    let scene = waiting().await;
    let test = &scene.test;
    let organization = &test.organization;
    let admin = test.add(Role::Admin).await;
    let auditor = test.add(Role::Auditor).await;
    let id = &scene.bindings[1].id;
    for (round, who) in [&scene.owner, &scene.author, &admin].into_iter().enumerate() {
        assert!(scene.approve(&scene.owner, 1).await.is_ok());
        assert_code(test.broker.revoke_binding(&auditor, organization, id).await, "denied");
        test.broker.revoke_binding(who, organization, id).await.unwrap();
        let started = start(test, &scene.author, &scene.pipeline).await;
        assert_eq!(started.run.state, RunState::Failed);
        assert!(started.run.reason.unwrap().contains("revoked"));
        assert_eq!(test.events("binding.revoke").await.len(), (round + 1) * 2);
    }
    // An author who may not use the connection does not get it back by saving.
    let saved = save(test, &scene.author, &scene.pipeline, &with_connection("forge", "make")).await;
    assert_eq!(rights(&saved.bindings)[1], "stages.build.jobs.compile needs_approval");
}

#[tokio::test]
async fn a_right_that_is_taken_back_while_the_job_waits_stops_it_at_the_claim() {
    let scene = waiting().await;
    let test = &scene.test;
    assert!(scene.approve(&scene.owner, 1).await.is_ok());
    let first = start(test, &scene.author, &scene.pipeline).await.run.id;
    let free = pipeline(test, &scene.author, "Free", crate::scenes::TWO_STAGES).await.pipeline.id;
    test.advance(1);
    start(test, &scene.author, &free).await;
    test.broker
        .revoke_binding(&scene.owner, &test.organization, &scene.bindings[1].id)
        .await
        .unwrap();
    let machine = runner(test, "machine").await;
    // The runner gets the next job instead.
    let claimed = claim(&test.broker, &machine).await.unwrap();
    assert_ne!(claimed.run, first);
    let after = run(test, &first).await;
    assert_eq!(after.run.state, RunState::Failed);
    let (failed, steps) = job(&after, "build.compile");
    assert!(failed.reason.as_deref().unwrap().contains("revoked"));
    assert!(failed.token_hash.is_none());
    assert_eq!(steps[0].state.as_str(), "skipped");
    let claims = test.events("job.claim").await;
    // The first was taken, and taken back; all are of the same moment, so their order says nothing.
    assert_eq!(claims.len(), 3);
    let refused: Vec<_> = claims.iter().filter_map(|event| event.reason.as_deref()).collect();
    assert!(refused.len() == 1 && refused[0].contains("revoked"), "{refused:?}");
}

#[tokio::test]
async fn the_right_to_a_deleted_connection_cannot_be_approved() {
    let scene = waiting().await;
    let test = &scene.test;
    let organization = &test.organization;
    let connection = "forge".parse().unwrap();
    test.broker.delete_connection(&scene.owner, organization, &connection, true).await.unwrap();
    let id = &scene.bindings[0].id;
    let approved = test.broker.approve_binding(&scene.author, organization, id, 1).await;
    assert_code(approved, "binding_broken");
    let started = start(test, &scene.author, &scene.pipeline).await;
    assert_eq!(started.run.state, RunState::Failed);
    assert!(started.run.reason.unwrap().contains("forge"));
    test.broker.revoke_binding(&scene.author, organization, id).await.unwrap();
}
