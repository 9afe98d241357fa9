//! Leases: written down before anything is minted, minted once, taken back in any case.

use futures::future::join_all;
use keyferry_broker::leases::LeaseFilter;
use keyferry_broker::repositories::{MergeRequest, MergeStrategy};
use keyferry_domain::credential::CredentialKind;
use keyferry_domain::lease::{EndReason, Lease, LeaseState, Narrowing};
use keyferry_domain::material::Material;
use keyferry_domain::operation::{Access, Operation};
use keyferry_domain::page::PageRequest;
use keyferry_domain::{Actor, Role, Scope};
use keyferry_testkit::Canary;

use crate::fixture::{TestBroker, assert_code, eventually, new_connection, secrets};
use crate::gitea::Gitea;

fn git(repository: &str, access: Access) -> Operation {
    Operation::Git { repository: Some(repository.parse().unwrap()), access }
}

fn read() -> Operation {
    git("team/app", Access::Read)
}

async fn leases(test: &TestBroker) -> Vec<Lease> {
    let page = PageRequest { limit: 50, cursor: None };
    let found = test
        .broker
        .list_leases(&test.owner, &test.organization, &LeaseFilter::default(), &page)
        .await
        .unwrap();
    found.items
}

async fn sweep(test: &TestBroker) {
    test.broker.sweep_leases(&test.broker.system_actor()).await.unwrap();
}

/// A pipeline with the source `team/app`, a job, and what its one step is.
fn pipeline(url: &str, step: &str) -> String {
    format!(
        "name: Build\nsources:\n  app:\n    type: gitea\n    endpoint: {url}/team/app.git\n    \
         branch: main\n    certificate: {{type: serviceConnection, serviceConnection: forge}}\n\
         stages:\n  build:\n    jobs:\n      build:\n        steps:\n          one: {step}\n"
    )
}

const MAKE: &str = "{step: Command, with: {run: make}}";
const TIDY: &str = "{step: DeleteBranch, with: {source: app, branch: feature/login}}";

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_written_down_before_it_is_minted_and_dies_with_its_holder() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let holder = test.workload(&test.owner, &[forge.clone()]).await;

    gitea.hold_answers(true);
    let asking = {
        let (broker, organization) = (broker.clone(), organization.clone());
        let (holder, forge) = (holder.clone(), forge.clone());
        tokio::spawn(
            async move { broker.issue_lease(&holder, &organization, &forge, &read()).await },
        )
    };
    eventually("the mint", || gitea.minted() == 1).await;
    let pending = leases(&test).await;
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0].state, LeaseState::Pending);
    let handle = pending[0].handle.clone().unwrap();
    assert!(handle.ends_with(&gitea.live_tokens()[0]), "{handle}");
    assert_eq!(test.events("lease.issue").await.len(), 1);
    gitea.hold_answers(false);
    let issued = asking.await.unwrap().unwrap();

    assert_eq!(gitea.live_scopes(), ["read:repository"]);
    let Material::Password { username, password } = &*issued.material else { panic!() };
    assert_eq!(username, "alice");
    assert!(password.expose().starts_with("minted-"));
    let scopes = vec!["read:repository".to_owned()];
    assert_eq!(issued.narrowing, Narrowing::ScopedToken { scopes });
    // Asking again is free, and written down.
    let again = broker.issue_lease(&holder, organization, &forge, &read()).await.unwrap();
    assert_eq!((again.id, gitea.minted()), (issued.id, 1));
    assert_eq!(test.events("lease.issue").await.len(), 2);

    let keyferry_domain::actor::Identity::Workload { workload, .. } = &holder.identity else {
        panic!()
    };
    broker.end_workload(&test.owner, organization, workload).await.unwrap();
    sweep(&test).await;
    assert_eq!(gitea.live_tokens(), Vec::<String>::new());
    let ended = &leases(&test).await[0];
    assert!(
        matches!(ended.state, LeaseState::Ended { reason: EndReason::HolderEnded, .. }),
        "{ended:?}"
    );
    let late = broker.issue_lease(&holder, organization, &forge, &read()).await;
    assert_code(late, "workload_over");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_at_once_get_one_token_and_an_event_each() {
    let test = TestBroker::start().await;
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let holder = test.workload(&test.owner, &[forge.clone()]).await;
    let operation = read();
    let asks =
        (0..24).map(|_| test.broker.issue_lease(&holder, &test.organization, &forge, &operation));
    let ids: std::collections::BTreeSet<_> =
        join_all(asks).await.into_iter().map(|issued| issued.unwrap().id).collect();
    assert_eq!((ids.len(), gitea.minted()), (1, 1));
    assert_eq!(test.events("lease.issue").await.len(), 24);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_holder_gets_a_token_of_its_own() {
    let test = TestBroker::start().await;
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    for count in 1..=2 {
        let holder = test.workload(&test.owner, &[forge.clone()]).await;
        test.broker.issue_lease(&holder, &test.organization, &forge, &read()).await.unwrap();
        assert_eq!(gitea.live_tokens().len(), count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_between_mint_and_answer_is_taken_back() {
    let test = TestBroker::start().await;
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let holder = test.workload(&test.owner, &[forge.clone()]).await;
    gitea.hold_answers(true);
    let (broker, organization) = (test.broker.clone(), test.organization.clone());
    let asking = tokio::spawn(async move {
        broker.issue_lease(&holder, &organization, &forge, &read()).await.map(drop)
    });
    eventually("the mint", || gitea.minted() == 1).await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    gitea.hold_answers(false);
    assert_eq!(gitea.live_tokens().len(), 1, "a token that nobody has");

    let next_start = test.open_again().await;
    next_start.sweep_leases(&next_start.system_actor()).await.unwrap();
    assert_eq!(gitea.live_tokens().len(), 1, "it may be on its way still");
    test.advance(61);
    next_start.sweep_leases(&next_start.system_actor()).await.unwrap();
    assert_eq!(gitea.live_tokens(), Vec::<String>::new());
    let ended = &leases(&test).await[0];
    assert!(matches!(ended.state, LeaseState::Ended { reason: EndReason::MintFailed, .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_write_it_down_mints_nothing() {
    let test = TestBroker::start().await;
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let holder = test.workload(&test.owner, &[forge.clone()]).await;
    test.broker.close().await;
    test.broker.issue_lease(&holder, &test.organization, &forge, &read()).await.unwrap_err();
    assert_eq!(gitea.minted(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_away_is_asked_again_until_the_token_is_gone() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let holder = test.workload(&test.owner, &[forge.clone()]).await;
    let issued = broker.issue_lease(&holder, organization, &forge, &read()).await.unwrap();
    gitea.set_down(true);
    broker.end_lease(&test.owner, organization, &issued.id).await.unwrap();
    sweep(&test).await;
    let waiting = &leases(&test).await[0];
    assert!(matches!(waiting.state, LeaseState::Ending { .. }));
    assert!(waiting.last_error.is_some() && waiting.attempts == 1);
    gitea.set_down(false);
    sweep(&test).await;
    assert_eq!(gitea.live_tokens().len(), 1, "not before it is due");
    test.advance(3);
    sweep(&test).await;
    assert_eq!(gitea.live_tokens(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends_by_itself_and_a_new_one_is_minted() {
    let test = TestBroker::start().await;
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let made = test
        .broker
        .create_workload(&test.owner, &test.organization, &[forge.clone()], Some(86_400), "long")
        .await
        .unwrap();
    let holder = test.authenticate(&made.token).await;
    let first =
        test.broker.issue_lease(&holder, &test.organization, &forge, &read()).await.unwrap();
    // Nothing that is handed over has less than a minute to live.
    test.advance(59 * 60 + 30);
    let second =
        test.broker.issue_lease(&holder, &test.organization, &forge, &read()).await.unwrap();
    assert_ne!(first.id, second.id);
    test.advance(60);
    sweep(&test).await;
    assert_eq!(gitea.live_tokens().len(), 1);
    test.advance(86_400);
    let expired = test.broker.issue_lease(&holder, &test.organization, &forge, &read()).await;
    assert_code(expired, "workload_over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_gets_only_what_its_user_may_still_use() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let mut new = new_connection("forge", gitea.url(), "secret-1");
    new.scope = Scope::Public;
    let forge = test.connect_as(&test.owner, new).await;
    let other = test.connect("other", gitea.url(), "secret-1").await;
    let bob = test.add(Role::Member).await;
    let refused = broker.create_workload(&bob, organization, &[other.clone()], None, "x").await;
    assert_code(refused, "not_found");
    let holder = test.workload(&bob, &[forge.clone()]).await;
    let unbound = broker.issue_lease(&holder, organization, &other, &read()).await;
    assert_code(unbound, "connection_not_bound");
    let nowhere = "nowhere".parse().unwrap();
    let missing = broker.issue_lease(&holder, organization, &nowhere, &read()).await;
    assert_code(missing, "connection_not_bound");
    broker.issue_lease(&holder, organization, &forge, &read()).await.unwrap();

    let private = keyferry_broker::connections::ConnectionChanges {
        scope: Some(Scope::Private),
        ..Default::default()
    };
    broker.update_connection(&test.owner, organization, &forge, &private, 1).await.unwrap();
    let refused = broker.issue_lease(&holder, organization, &forge, &read()).await;
    assert_code(refused, "connection_out_of_scope");
    let (_, elsewhere) = test.outsider().await;
    let refused = broker.issue_lease(&holder, &elsewhere, &forge, &read()).await;
    assert_code(refused, "not_found");
    // People are given nothing, not even owners.
    let refused = broker.issue_lease(&test.owner, organization, &forge, &read()).await;
    assert_code(refused, "not_a_holder");
    let refused: Vec<_> = test.events("lease.issue").await;
    assert!(refused.iter().filter(|event| event.outcome.to_string() == "refused").count() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_gets_its_own_repository_and_nothing_beside_it() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let other = test.connect("other", gitea.url(), "secret-1").await;
    let job = test.job(&test.owner, "Build", &pipeline(gitea.url(), MAKE)).await;
    broker.issue_lease(&job, organization, &forge, &read()).await.unwrap();
    for operation in [
        git("team/app", Access::Write),
        git("team/other", Access::Read),
        Operation::Git { repository: None, access: Access::Read },
        Operation::Registry { repository: None, access: Access::Read },
        Operation::Material,
    ] {
        let refused = broker.issue_lease(&job, organization, &forge, &operation).await;
        assert_code(refused, "operation_not_bound");
    }
    let refused = broker.issue_lease(&job, organization, &other, &read()).await;
    assert_code(refused, "connection_not_bound");
    assert_eq!(gitea.minted(), 1);
    // Nor may it do through the API what it may not do by Git.
    let delete =
        broker.delete_branch(&job, organization, &forge, "team/app", "feature/login", None).await;
    assert_code(delete, "operation_not_bound");
    let page = PageRequest { limit: 50, cursor: None };
    let browse = broker.list_branches(&job, organization, &forge, "team/app", None, &page).await;
    browse.unwrap_err();
    assert_eq!(gitea.branches().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_tidies_changes_only_the_repository_of_its_source() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let job = test.job(&test.owner, "Tidy", &pipeline(gitea.url(), TIDY)).await;
    let delete = |repository, branch| {
        broker.delete_branch(&job, organization, &forge, repository, branch, None)
    };
    assert_code(delete("team/other", "feature/login").await, "operation_not_bound");
    assert_code(delete("../team/app", "feature/login").await, "invalid_input");
    assert_code(delete("team/app", "../../tokens").await, "invalid_input");
    delete("team/app", "feature/login").await.unwrap();
    assert_eq!(gitea.branches(), ["main"]);
    let events = test.events("branch.delete").await;
    let done = events.iter().find(|event| event.outcome.to_string() == "allowed").unwrap();
    assert_eq!(done.actor.kind, "job");
    assert_eq!(done.data["branch"], "feature/login");
    assert_code(delete("team/app", "gone").await, "not_found_at_service");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_from_a_pipeline_is_taken_from_its_running_jobs() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;

    let job = test.job(&test.owner, "Revoked", &pipeline(gitea.url(), MAKE)).await;
    let usage = broker.get_connection_usage(&test.owner, organization, &forge).await.unwrap();
    let binding = &usage.bindings[0].0;
    broker.revoke_binding(&test.owner, organization, &binding.id).await.unwrap();
    let refused = broker.issue_lease(&job, organization, &forge, &read()).await;
    assert_code(refused, "binding_revoked");

    let job = test.job(&test.owner, "Changed", &pipeline(gitea.url(), MAKE)).await;
    let page = PageRequest { limit: 50, cursor: None };
    let changed = broker
        .list_pipelines(&test.owner, organization, Some("Changed"), &page)
        .await
        .unwrap()
        .items
        .remove(0);
    let moved = pipeline(gitea.url(), MAKE).replace("branch: main", "branch: feature/login");
    broker
        .update_pipeline(
            &test.owner,
            organization,
            &changed.id,
            None,
            Some(&moved),
            changed.version,
        )
        .await
        .unwrap();
    let refused = broker.issue_lease(&job, organization, &forge, &read()).await;
    assert_code(refused, "binding_changed");

    let job = test.job(&test.owner, "Deleted", &pipeline(gitea.url(), MAKE)).await;
    broker.issue_lease(&job, organization, &forge, &read()).await.unwrap();
    broker.delete_connection(&test.owner, organization, &forge, true).await.unwrap();
    let refused = broker.issue_lease(&job, organization, &forge, &read()).await;
    assert_code(refused, "binding_broken");
    sweep(&test).await;
    assert_eq!(gitea.live_tokens(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_nobody_approved_moves_no_credential() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let bob = test.add(Role::Member).await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let calls = gitea.calls();
    let made =
        broker.create_pipeline(&bob, organization, "Sly", &pipeline(gitea.url(), MAKE)).await;
    // Whether it is refused at once or waits for approval: nothing is given.
    if let Ok(made) = made {
        assert!(made.bindings.iter().all(|binding| binding.state.as_str() == "needs_approval"));
        let new = keyferry_broker::runs::NewRun::default();
        let run = broker.create_run(&bob, organization, &made.pipeline.id, new).await;
        let runner = broker.create_runner(&test.owner, organization, "r").await.unwrap().token;
        let runner = test.authenticate(&runner).await;
        let claimed = broker
            .claim_job(&runner, keyferry_domain::run::Isolation::Process, std::time::Duration::ZERO)
            .await
            .unwrap();
        assert!(claimed.is_none(), "{run:?}");
    }
    assert_eq!(gitea.calls(), calls);
    assert!(leases(&test).await.is_empty());
    assert_eq!(forge.as_str(), "forge");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_browse_and_change_what_is_in_their_scope_only() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let alice = test.add(Role::Member).await;
    let forge = test.connect_as(&alice, new_connection("forge", gitea.url(), "secret-1")).await;
    let page = PageRequest { limit: 50, cursor: None };
    let found = broker.list_repositories(&alice, organization, &forge, None, &page).await.unwrap();
    assert_eq!(found.items[0].path.to_string(), "team/app");
    let found =
        broker.list_branches(&alice, organization, &forge, "team/app", None, &page).await.unwrap();
    assert_eq!(found.items.len(), 2);
    let calls = gitea.calls();
    // An admin looks after it and does not use it.
    let admin = test.add(Role::Admin).await;
    let denied = broker.list_repositories(&admin, organization, &forge, None, &page).await;
    assert_code(denied, "denied");
    let bob = test.add(Role::Member).await;
    let request = MergeRequest {
        from: "feature/login".to_owned(),
        into: "main".to_owned(),
        strategy: MergeStrategy::Merge,
        message: None,
        expected_commit: None,
    };
    for (actor, code) in [(&admin, "denied"), (&bob, "not_found")] {
        let merged = broker.merge_branch(actor, organization, &forge, "team/app", &request).await;
        assert_code(merged, code);
        let deleted =
            broker.delete_branch(actor, organization, &forge, "team/app", "main", None).await;
        assert_code(deleted, code);
        let deleted = broker.delete_tag(actor, organization, &forge, "team/app", "v1").await;
        assert_code(deleted, code);
    }
    assert_eq!(gitea.calls(), calls, "the service was asked for nobody");
    let bad = MergeRequest { expected_commit: Some("abc".to_owned()), ..request };
    let merged = broker.merge_branch(&alice, organization, &forge, "team/app", &bad).await;
    assert_code(merged, "invalid_input");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_have_no_repositories_and_are_shown_as_residue() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let canary = Canary::awkward("values").unwrap();
    let mut new = new_connection("values", "", "");
    new.connection_type = "generic".to_owned();
    new.settings.clear();
    new.credential = Some(secrets(CredentialKind::Values, &[("key", canary.value())]));
    let values = test.connect_as(&test.owner, new).await;
    let page = PageRequest { limit: 50, cursor: None };
    let listed = broker.list_repositories(&test.owner, organization, &values, None, &page).await;
    assert_code(listed, "unsupported");
    let holder: Actor = test.workload(&test.owner, &[values.clone()]).await;
    let refused = broker.issue_lease(&holder, organization, &values, &read()).await;
    refused.unwrap_err();
    let issued =
        broker.issue_lease(&holder, organization, &values, &Operation::Material).await.unwrap();
    let Material::Values { values: given, .. } = &*issued.material else { panic!() };
    assert_eq!(given["key"].expose(), canary.value());
    let listed = leases(&test).await;
    assert!(listed.iter().any(|lease| lease.residue.is_some()));
    let events = test.events_by(&keyferry_broker::audit::AuditFilter::default()).await;
    canary.assert_absent_in("what is shown", format!("{issued:?}{listed:?}{events:?}"));
    canary.assert_absent_in_files(test.folder());
}
