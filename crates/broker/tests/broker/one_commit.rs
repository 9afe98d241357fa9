//! A change and its audit event are one commit: while the record takes nothing, each use case
//! fails and leaves the whole database as it was; when the record listens again, the same call
//! succeeds. On SQLite, and on a real PostgreSQL.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use keyferry_broker::connections::{ConnectionChanges, Reconfiguration};
use keyferry_broker::leases::LeaseFilter;
use keyferry_broker::runs::NewRun;
use keyferry_domain::actor::Identity;
use keyferry_domain::audit::AuditEvent;
use keyferry_domain::clock::FixedClock;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::LeaseId;
use keyferry_domain::lease::{EndReason, Lease, LeaseState};
use keyferry_domain::operation::{Access, Operation};
use keyferry_domain::page::PageRequest;
use keyferry_domain::run::{Isolation, JobState};
use keyferry_domain::{Actor, Error, Role, Scope};
use keyferry_testkit::databases::{dump, execute};

use crate::fixture::{START, TestBroker, each, each_url, new_connection, open, password, user};
use crate::gitea::Gitea;
use crate::scenes::{TWO_STAGES, claim, claim_next, git, runner, start, with_connection};

/// Makes the record refuse every event.
fn deafen(url: &str) {
    let statements = if url.starts_with("sqlite:") {
        "CREATE TRIGGER deaf BEFORE INSERT ON audit_events \
         BEGIN SELECT RAISE(ABORT, 'the record takes nothing'); END;"
    } else {
        "CREATE FUNCTION deaf() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'the record takes nothing'; END $$; \
         CREATE TRIGGER deaf BEFORE INSERT ON audit_events \
         FOR EACH ROW EXECUTE FUNCTION deaf();"
    };
    execute(url, statements).unwrap();
}

/// Makes the record listen again.
fn listen(url: &str) {
    let statements = if url.starts_with("sqlite:") {
        "DROP TRIGGER deaf;"
    } else {
        "DROP TRIGGER deaf ON audit_events; DROP FUNCTION deaf();"
    };
    execute(url, statements).unwrap();
}

/// Asserts that nothing happens without the record, and that the same call succeeds with it.
async fn whole<T: Debug>(url: &str, what: &str, call: impl AsyncFn() -> Result<T, Error>) -> T {
    let before = dump(url).unwrap();
    deafen(url);
    let refused = call().await;
    listen(url);
    let after = dump(url).unwrap();
    assert!(refused.is_err(), "{what}: an answer without a record: {refused:?}");
    if let Some((line, _)) =
        after.lines().zip(before.lines()).find(|(after, before)| after != before)
    {
        panic!("{what}: a change without a record: {line}");
    }
    assert_eq!(before.lines().count(), after.lines().count(), "{what}");
    // So it was the record that was in the way.
    call().await.unwrap_or_else(|error| panic!("{what}: {error:?}"))
}

fn read() -> Operation {
    Operation::Git { repository: Some("team/app".parse().unwrap()), access: Access::Read }
}

async fn only_event(test: &TestBroker, action: &str) -> AuditEvent {
    let mut events = test.events(action).await;
    assert_eq!(events.len(), 1, "{action}");
    events.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn people_and_their_places() {
    each(async |test| {
        let (broker, organization, owner) = (&test.broker, &test.organization, &test.owner);
        let url = &test.url;
        let anonymous = Actor { identity: Identity::Anonymous, ..broker.system_actor() };
        let secret = "correct horse battery".into();
        whole(url, "sign in", async || {
            broker.create_session(&anonymous, "owner@example.com", &secret).await
        })
        .await;
        let session =
            broker.create_session(&anonymous, "owner@example.com", &secret).await.unwrap();
        let signed_in = test.authenticate(&session.token).await;
        whole(url, "sign out", async || broker.delete_session(&signed_in).await).await;
        let new_secret = "battery horse correct".into();
        whole(url, "change a password", async || {
            broker.change_password(owner, &secret, &new_secret).await
        })
        .await;

        let other = whole(url, "create an organization", async || {
            broker.create_organization(owner, "Other").await
        })
        .await;
        whole(url, "rename an organization", async || {
            broker.update_organization(owner, &other.id, "Another", other.version).await
        })
        .await;

        let invited = whole(url, "create a member", async || {
            broker.create_member(owner, organization, "new@example.com", "New", Role::Member).await
        })
        .await;
        let invitation = invited.invitation;
        whole(url, "accept an invitation", async || {
            broker.accept_invitation(&anonymous, &invitation, &secret).await
        })
        .await;
        let accepted = only_event(test, "invitation.accept").await;
        assert_eq!(accepted.organization.as_ref(), Some(organization));
        let invited_again = broker
            .create_member(owner, &other.id, "new@example.com", "New", Role::Owner)
            .await
            .unwrap();
        whole(url, "accept an invitation with an account", async || {
            broker.accept_invitation(&anonymous, &invited_again.invitation, &secret).await
        })
        .await;
        let member = invited.member.member;
        whole(url, "change a role", async || {
            broker
                .update_member(owner, organization, &member.user_id, Role::Admin, member.version)
                .await
        })
        .await;

        let group = whole(url, "create a group", async || {
            broker.create_group(owner, organization, "Builders", &[user(owner)]).await
        })
        .await
        .group;
        whole(url, "change a group", async || {
            broker.update_group(owner, organization, &group.id, "Makers", &[], group.version).await
        })
        .await;
        whole(url, "delete a group", async || {
            broker.delete_group(owner, organization, &group.id).await
        })
        .await;

        whole(url, "register a runner", async || {
            broker.create_runner(owner, organization, "machine").await
        })
        .await;
        let system = broker.system_actor();
        whole(url, "start the runner inside", async || broker.start_embedded_runner(&system).await)
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start() {
    each_url(async |url| {
        let folder = tempfile::tempdir().unwrap();
        let clock = std::sync::Arc::new(FixedClock::at(START));
        let broker = open(&url, folder.path(), &clock, None).await;
        let system = broker.system_actor();
        let anonymous = Actor { identity: Identity::Anonymous, ..broker.system_actor() };
        let token =
            whole(&url, "offer a first start", async || broker.first_start_token(&system).await)
                .await
                .unwrap();
        let secret = "correct horse battery".into();
        whole(&url, "set up", async || {
            broker.set_up_server(&anonymous, &token, "a@example.com", "A", &secret, "Example").await
        })
        .await;
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_and_their_credentials() {
    each(async |test| {
        let (broker, organization, owner) = (&test.broker, &test.organization, &test.owner);
        let url = &test.url;
        let gitea = Gitea::start("secret-1").await;
        let credential = whole(url, "create a credential", async || {
            broker.create_credential(owner, organization, "alice", &password("secret-1")).await
        })
        .await
        .credential;
        whole(url, "rename a credential", async || {
            broker
                .update_credential(owner, organization, &credential.id, "Alice", credential.version)
                .await
        })
        .await;
        whole(url, "delete a credential", async || {
            broker.delete_credential(owner, organization, &credential.id).await
        })
        .await;
        let system = broker.system_actor();
        whole(url, "wipe credentials", async || broker.sweep_credentials(&system).await).await;
        assert_eq!(only_event(test, "credential.wipe").await.data["number"], "1");

        let new = new_connection("forge", gitea.url(), "secret-1");
        let forge = whole(url, "create a connection", async || {
            broker.create_connection(owner, organization, &new).await
        })
        .await
        .connection;
        let id = &forge.id;
        let changes =
            ConnectionChanges { scope: Some(Scope::Public), ..ConnectionChanges::default() };
        let updated = whole(url, "change a connection", async || {
            broker.update_connection(owner, organization, id, &changes, forge.version).await
        })
        .await
        .connection;
        test.advance(1);
        whole(url, "try a connection", async || {
            broker.verify_connection(owner, organization, id).await
        })
        .await;
        let new = Reconfiguration {
            credential: Some(password("secret-2")),
            credential_id: None,
            settings: None,
            overlap_seconds: None,
            skip_verify: true,
            version: updated.version,
        };
        let replaced = whole(url, "reconfigure a connection", async || {
            broker.reconfigure_connection(owner, organization, id, &new).await
        })
        .await;
        let version = replaced.details.connection.version;
        let back = whole(url, "roll a connection back", async || {
            broker.roll_back_connection(owner, organization, id, version).await
        })
        .await;
        let admin = test.add(Role::Admin).await;
        let version = back.details.connection.version;
        let given = whole(url, "transfer a connection", async || {
            broker.transfer_connection(owner, organization, id, &user(&admin), version).await
        })
        .await
        .connection;
        assert_eq!(given.owner_id, user(&admin));

        // What is found by the way is written down too: the password was changed at the service.
        gitea.set_password("alice", "secret-9");
        test.advance(1);
        let holder = test.workload(owner, &[id.clone()]).await;
        let verified = test.events("connection.verify").await.len();
        broker.issue_lease(&holder, organization, id, &read()).await.unwrap_err();
        assert_eq!(test.events("connection.verify").await.len(), verified + 1);
        gitea.set_password("alice", "secret-1");
        let issued = broker.issue_lease(&holder, organization, id, &read()).await.unwrap();
        whole(url, "delete a connection", async || {
            broker.delete_connection(&admin, organization, id, false).await
        })
        .await;
        let ended = only_event(test, "lease.end").await;
        assert_eq!(ended.target.unwrap().id, issued.id.as_str());
        // It is claimed before the service is asked, and that alone is no event.
        deafen(url);
        broker.sweep_leases(&system).await.unwrap();
        listen(url);
        assert_eq!(gitea.live_tokens(), Vec::<String>::new());
        assert!(matches!(lease(test, &issued.id).await.state, LeaseState::Ending { .. }));
        test.advance(61);
        broker.sweep_leases(&system).await.unwrap();
        assert!(matches!(lease(test, &issued.id).await.state, LeaseState::Ended { .. }));
        assert_eq!(test.events("lease.revoke").await.len(), 1);
    })
    .await;
}

async fn lease(test: &TestBroker, id: &LeaseId) -> Lease {
    let page = PageRequest { limit: 50, cursor: None };
    let all = LeaseFilter::default();
    let found = test.broker.list_leases(&test.owner, &test.organization, &all, &page).await;
    found.unwrap().items.into_iter().find(|lease| lease.id == *id).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_and_their_leases() {
    each(async |test| {
        let (broker, organization, owner) = (&test.broker, &test.organization, &test.owner);
        let url = &test.url;
        let gitea = Gitea::start("secret-1").await;
        let id = &test.connect("forge", gitea.url(), "secret-1").await;
        let system = broker.system_actor();
        let chosen = &[id.clone()];
        let lend = async || {
            let holder = test.workload(owner, chosen).await;
            let issued = broker.issue_lease(&holder, organization, id, &read()).await.unwrap();
            (holder, issued.id)
        };
        let was_ended = async |lease: &LeaseId, why: EndReason| {
            let told = test.events("lease.end").await;
            let about = |event: &&AuditEvent| {
                event.target.as_ref().is_some_and(|target| target.id == lease.as_str())
            };
            let reasons: Vec<_> =
                told.iter().filter(about).map(|event| event.data["reason"].as_str()).collect();
            assert_eq!(reasons, [why.as_str()]);
        };

        whole(url, "start a workload", async || {
            broker.create_workload(owner, organization, chosen, None, "test").await
        })
        .await;
        let (holder, _) = lend().await;
        broker.issue_lease(&holder, organization, id, &read()).await.unwrap();
        let minted = gitea.minted();
        let write =
            Operation::Git { repository: Some("team/app".parse().unwrap()), access: Access::Write };
        let before = dump(url).unwrap();
        deafen(url);
        broker.issue_lease(&holder, organization, id, &read()).await.unwrap_err();
        broker.issue_lease(&holder, organization, id, &write).await.unwrap_err();
        listen(url);
        assert_eq!((dump(url).unwrap(), gitea.minted()), (before, minted), "no record, no lease");

        let (holder, lent) = lend().await;
        whole(url, "end a lease", async || broker.end_lease(owner, organization, &lent).await)
            .await;
        was_ended(&lent, EndReason::Revoked).await;
        let again = broker.issue_lease(&holder, organization, id, &read()).await.unwrap();
        assert_ne!(again.id, lent, "what has ended is not handed over again");
        whole(url, "report a refused lease", async || {
            broker.report_rejection(&holder, organization, &again.id).await
        })
        .await;
        was_ended(&again.id, EndReason::Rejected).await;

        let (holder, lent) = lend().await;
        let Identity::Workload { workload, .. } = &holder.identity else { panic!("{holder:?}") };
        whole(url, "end a workload", async || {
            broker.end_workload(owner, organization, workload).await
        })
        .await;
        was_ended(&lent, EndReason::HolderEnded).await;

        let token = whole(url, "make a token", async || {
            broker.create_token(owner, organization, "ci", None).await
        })
        .await;
        let by_token = test.authenticate(&token.text).await;
        let holder = test.workload(&by_token, chosen).await;
        let lent = broker.issue_lease(&holder, organization, id, &read()).await.unwrap().id;
        whole(url, "revoke a token", async || {
            broker.delete_token(owner, organization, &token.token.id).await
        })
        .await;
        was_ended(&lent, EndReason::HolderEnded).await;

        let leaver = test.add(Role::Member).await;
        let changes =
            ConnectionChanges { scope: Some(Scope::Public), ..ConnectionChanges::default() };
        let forge = broker.get_connection(owner, organization, id).await.unwrap().connection;
        broker.update_connection(owner, organization, id, &changes, forge.version).await.unwrap();
        let holder = test.workload(&leaver, chosen).await;
        let lent = broker.issue_lease(&holder, organization, id, &read()).await.unwrap().id;
        whole(url, "remove a member", async || {
            broker.delete_member(owner, organization, &user(&leaver)).await
        })
        .await;
        was_ended(&lent, EndReason::HolderEnded).await;

        lend().await;
        test.advance(3_601);
        whole(url, "end workloads whose time is up", async || {
            broker.sweep_workloads(&system).await
        })
        .await;
        let week = Some(86_400);
        let made = broker.create_workload(owner, organization, chosen, week, "long").await.unwrap();
        let holder = test.authenticate(&made.token).await;
        let lent = broker.issue_lease(&holder, organization, id, &read()).await.unwrap().id;
        test.advance(3_601);
        whole(url, "end leases whose time is up", async || broker.sweep_leases(&system).await)
            .await;
        was_ended(&lent, EndReason::Expired).await;
        assert_eq!(gitea.live_tokens(), Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_and_their_runs() {
    each(async |test| {
        let (broker, organization, owner) = (&test.broker, &test.organization, &test.owner);
        let url = &test.url;
        let author = test.add(Role::Member).await;
        let forge: ConnectionId = git(test, owner, "forge", Scope::Private).await;
        let yaml = with_connection(forge.as_str(), "make");
        let made = whole(url, "create a pipeline", async || {
            broker.create_pipeline(&author, organization, "Build", &yaml).await
        })
        .await;
        let (id, version) = (&made.pipeline.id, made.pipeline.version);
        let binding = &made.bindings[0].id;
        whole(url, "approve a binding", async || {
            broker.approve_binding(owner, organization, binding, 1).await
        })
        .await;
        whole(url, "revoke a binding", async || {
            broker.revoke_binding(owner, organization, binding).await
        })
        .await;
        let renamed = whole(url, "rename a pipeline", async || {
            broker.update_pipeline(&author, organization, id, Some("Make"), None, version).await
        })
        .await;
        let version = renamed.pipeline.version;
        whole(url, "save a revision", async || {
            broker.update_pipeline(&author, organization, id, None, Some(TWO_STAGES), version).await
        })
        .await;

        let machine = runner(test, "machine").await;
        // Its sign of life is no event, and of the same moment it is the same.
        assert!(claim(broker, &machine).await.is_none());
        let run = whole(url, "start a run", async || {
            broker.create_run(&author, organization, id, NewRun::default()).await
        })
        .await
        .run;
        let claimed = whole(url, "claim a job", async || {
            broker.claim_job(&machine, Isolation::Process, Duration::ZERO).await
        })
        .await
        .unwrap();
        assert_eq!(claimed.run, run.id);
        let job = test.authenticate(&claimed.token).await;
        whole(url, "finish a job", async || {
            broker.finish_job(&job, JobState::Canceled, None, BTreeMap::new()).await
        })
        .await;
        assert_eq!(only_event(test, "run.finish").await.data["state"], "canceled");
        whole(url, "try a job again", async || {
            broker.retry_job(&author, organization, &run.id, &claimed.job).await
        })
        .await;
        whole(url, "cancel a run", async || {
            broker.cancel_run(&author, organization, &run.id).await
        })
        .await;

        start(test, &author, id).await;
        claim_next(test, &machine).await;
        whole(url, "delete a runner", async || {
            let Identity::Runner { runner, .. } = &machine.identity else { panic!("{machine:?}") };
            broker.delete_runner(owner, organization, runner).await
        })
        .await;
        let finished = test.events("job.finish").await;
        assert!(finished.iter().any(|event| event.data["state"] == "failed"), "{finished:?}");
        whole(url, "delete a pipeline", async || {
            broker.delete_pipeline(&author, organization, id).await
        })
        .await;
    })
    .await;
}
