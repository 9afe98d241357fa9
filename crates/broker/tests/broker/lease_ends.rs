//! Leases that end at an awkward moment: before they are minted, while they are, when nobody knows
//! whether they were, and when the service or the connection is not where it was. Nothing of them
//! stays alive, and nothing is taken for gone that is not.

use std::sync::Arc;

use futures::future::join_all;
use keyferry_broker::Broker;
use keyferry_broker::connections::Reconfiguration;
use keyferry_broker::leases::LeaseFilter;
use keyferry_domain::actor::{Identity, Via};
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{LeaseId, TokenId, WorkloadId};
use keyferry_domain::lease::{EndReason, Lease, LeaseState};
use keyferry_domain::operation::{Access, Operation};
use keyferry_domain::page::PageRequest;
use keyferry_domain::{Actor, Result, Role};
use tokio::task::JoinHandle;

use crate::fixture::{
    TestBroker, assert_code, base_url, eventually, new_connection, password, user,
};
use crate::gitea::Gitea;

/// How the stand-in names a request to take back what was minted for a lease.
const REVOCATION: &str = "DELETE token keyferry-lease";

fn git(access: Access) -> Operation {
    Operation::Git { repository: Some("team/app".parse().unwrap()), access }
}

fn workload_of(holder: &Actor) -> &WorkloadId {
    let Identity::Workload { workload, .. } = &holder.identity else { panic!("{holder:?}") };
    workload
}

async fn leases(test: &TestBroker) -> Vec<Lease> {
    let page = PageRequest { limit: 50, cursor: None };
    let all = LeaseFilter::default();
    let found = test.broker.list_leases(&test.owner, &test.organization, &all, &page).await;
    found.unwrap().items
}

async fn sweep(broker: &Broker) {
    broker.sweep_leases(&broker.system_actor()).await.unwrap();
}

/// Asks in the background.
fn ask(test: &TestBroker, holder: &Actor, forge: &ConnectionId) -> JoinHandle<Result<()>> {
    let (broker, organization) = (Arc::clone(&test.broker), test.organization.clone());
    let (holder, forge) = (holder.clone(), forge.clone());
    tokio::spawn(async move {
        broker.issue_lease(&holder, &organization, &forge, &git(Access::Read)).await.map(drop)
    })
}

fn is_ended(lease: &Lease, reason: EndReason) -> bool {
    matches!(lease.state, LeaseState::Ended { reason: why, .. } if why == reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_on_another_server_is_not_minted_from_memory() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let other = test.open_again().await;
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;

    let holder = test.workload(&test.owner, &[forge.clone()]).await;
    broker.issue_lease(&holder, organization, &forge, &git(Access::Read)).await.unwrap();
    other.end_workload(&test.owner, organization, workload_of(&holder)).await.unwrap();
    let late = broker.issue_lease(&holder, organization, &forge, &git(Access::Write)).await;
    late.unwrap_err();

    let holder = test.workload(&test.owner, &[forge.clone()]).await;
    broker.issue_lease(&holder, organization, &forge, &git(Access::Read)).await.unwrap();
    other.delete_connection(&test.owner, organization, &forge, true).await.unwrap();
    let late = broker.issue_lease(&holder, organization, &forge, &git(Access::Write)).await;
    assert_code(late, "connection_deleted");

    assert_eq!(gitea.minted(), 2);
    sweep(broker).await;
    assert_eq!(gitea.live_tokens(), Vec::<String>::new());
    for lease in leases(&test).await {
        assert!(matches!(lease.state, LeaseState::Ended { .. }), "{lease:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_replaced_on_another_server_is_minted_with_the_new_credential() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let other = test.open_again().await;
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let holder = test.workload(&test.owner, &[forge.clone()]).await;
    broker.issue_lease(&holder, organization, &forge, &git(Access::Read)).await.unwrap();
    gitea.set_password("alice", "secret-2");
    let new = replacement("secret-2", None);
    other.reconfigure_connection(&test.owner, organization, &forge, &new).await.unwrap();
    // At the first try, although this server remembers the credential before.
    broker.issue_lease(&holder, organization, &forge, &git(Access::Write)).await.unwrap();
    let versions = leases(&test).await.into_iter().map(|lease| {
        (lease.credential_version, lease.handed_over_at.is_some(), lease.state.as_str())
    });
    let mut versions: Vec<_> = versions.collect();
    versions.sort_unstable();
    let (given, refused) = ((1, true, "active"), (1, false, "ended"));
    assert!(versions.iter().all(|lease| [given, refused, (2, true, "active")].contains(lease)));
    assert!(versions.contains(&(2, true, "active")), "{versions:?}");
    assert_eq!(gitea.minted(), 2, "for the old one nothing more was minted");
}

fn replacement(secret: &str, url: Option<&str>) -> Reconfiguration {
    Reconfiguration {
        credential: Some(password(secret)),
        credential_id: None,
        settings: url.map(base_url),
        overlap_seconds: Some(0),
        skip_verify: false,
        version: 1,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_ends_while_it_asks_keeps_nothing() {
    let test = TestBroker::start().await;
    let organization = &test.organization;
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    for _ in 0..8 {
        let holder = test.workload(&test.owner, &[forge.clone()]).await;
        let asking: Vec<_> = (0..4).map(|_| ask(&test, &holder, &forge)).collect();
        test.broker.end_workload(&test.owner, organization, workload_of(&holder)).await.unwrap();
        // Given or refused: both are right, as long as nothing stays.
        for asked in join_all(asking).await {
            let _given = asked.unwrap();
        }
    }
    test.advance(61);
    sweep(&test.broker).await;
    assert_eq!(gitea.live_tokens(), Vec::<String>::new());
    for lease in leases(&test).await {
        assert!(is_ended(&lease, EndReason::HolderEnded), "{lease:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_mint_and_one_after_it_leave_nothing_alive() {
    for is_after in [false, true] {
        let test = TestBroker::start().await;
        let gitea = Gitea::start("secret-1").await;
        let forge = test.connect("forge", gitea.url(), "secret-1").await;
        let holder = test.workload(&test.owner, &[forge.clone()]).await;
        if is_after {
            gitea.hold_answers(true);
        } else {
            gitea.hold_mints(true);
        }
        let asking = ask(&test, &holder, &forge);
        eventually("the question", || gitea.calls_of("POST token") == 1).await;
        eventually("the mint", || gitea.minted() == usize::from(is_after)).await;
        assert_eq!(leases(&test).await[0].state, LeaseState::Pending);
        asking.abort();
        assert!(asking.await.unwrap_err().is_cancelled());
        gitea.hold_answers(false);
        gitea.hold_mints(false);

        // The holder goes on, and ends, with the server's next start.
        let next_start = test.open_again().await;
        let workload = workload_of(&holder);
        next_start.end_workload(&test.owner, &test.organization, workload).await.unwrap();
        sweep(&next_start).await;
        test.advance(60);
        sweep(&next_start).await;
        assert_eq!(gitea.live_tokens(), Vec::<String>::new(), "{is_after}");
        let lease = &leases(&test).await[0];
        assert!(is_ended(lease, EndReason::HolderEnded), "{lease:?}");
        assert_eq!(test.events("lease.end").await.len(), 1);
        assert_eq!(test.events("lease.revoke").await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_comes_to_life_after_an_unclear_answer_is_taken_back() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let holder = test.workload(&test.owner, &[forge.clone()]).await;
    gitea.set_late(true);
    let asked = broker.issue_lease(&holder, organization, &forge, &git(Access::Read)).await;
    assert_code(asked, "service_unavailable");
    sweep(broker).await;
    assert_eq!(gitea.calls_of(REVOCATION), 1, "looked for at once");
    gitea.make_late_tokens();
    assert_eq!(gitea.live_tokens().len(), 1);
    sweep(broker).await;
    assert!(matches!(leases(&test).await[0].state, LeaseState::Ending { .. }));
    assert_eq!(gitea.calls_of(REVOCATION), 1, "and not all the time");
    test.advance(60);
    sweep(broker).await;
    assert_eq!(gitea.live_tokens(), Vec::<String>::new());
    assert!(is_ended(&leases(&test).await[0], EndReason::MintFailed));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_refused_to_make_is_over_at_once_and_not_looked_for() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let holder = test.workload(&test.owner, &[forge.clone()]).await;
    gitea.set_password("alice", "secret-2");
    let asked = broker.issue_lease(&holder, organization, &forge, &git(Access::Read)).await;
    assert_code(asked, "credential_rejected");
    assert!(is_ended(&leases(&test).await[0], EndReason::MintFailed));
    assert_eq!(test.events("lease.mint").await.len(), 1);
    sweep(broker).await;
    test.advance(3_600);
    sweep(broker).await;
    assert_eq!(gitea.calls_of(REVOCATION), 0);
    assert_eq!(test.events("lease.revoke").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_user_is_not_taken_for_gone() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    gitea.set_password("robot", "secret-2");
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let holder = test.workload(&test.owner, &[forge.clone()]).await;
    broker.issue_lease(&holder, organization, &forge, &git(Access::Read)).await.unwrap();
    let mut robot = replacement("secret-2", None);
    let given = robot.credential.as_mut().unwrap();
    given.fields.insert("username".to_owned(), "robot".into());
    broker.reconfigure_connection(&test.owner, organization, &forge, &robot).await.unwrap();
    // The password that minted it does not work for a while, and the robot knows nothing of it.
    gitea.set_password("alice", "elsewhere");
    broker.end_workload(&test.owner, organization, workload_of(&holder)).await.unwrap();
    sweep(broker).await;
    let waiting = &leases(&test).await[0];
    assert!(matches!(waiting.state, LeaseState::Ending { .. }), "{waiting:?}");
    assert!(waiting.last_error.is_some());
    gitea.set_password("alice", "secret-1");
    test.advance(60);
    // The version's overlap is long over, and it is kept all the same.
    broker.sweep_credentials(&broker.system_actor()).await.unwrap();
    sweep(broker).await;
    assert_eq!(gitea.live_tokens(), Vec::<String>::new());
    broker.sweep_credentials(&broker.system_actor()).await.unwrap();
    assert_eq!(test.events("credential.wipe").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_minted_at_an_address_is_taken_back_there_after_a_move() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let [old, new] = [Gitea::start("secret-1").await, Gitea::start("secret-2").await];
    let forge = test.connect("forge", old.url(), "secret-1").await;
    let holder = test.workload(&test.owner, &[forge.clone()]).await;
    broker.issue_lease(&holder, organization, &forge, &git(Access::Read)).await.unwrap();
    old.set_down(true);
    let moved = replacement("secret-2", Some(new.url()));
    broker.reconfigure_connection(&test.owner, organization, &forge, &moved).await.unwrap();
    let calls = new.calls();
    sweep(broker).await;
    assert_eq!((new.calls(), old.live_tokens().len()), (calls, 1), "not looked for elsewhere");
    broker.sweep_credentials(&broker.system_actor()).await.unwrap();
    old.set_down(false);
    test.advance(60);
    sweep(broker).await;
    assert_eq!(old.live_tokens(), Vec::<String>::new());
    assert!(!old.has_seen("secret-2"), "the new secret is for the new address only");
    broker.issue_lease(&holder, organization, &forge, &git(Access::Read)).await.unwrap();
    assert_eq!(new.live_tokens().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_does_not_answer_keeps_no_other_waiting() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let [slow, quick] = [Gitea::start("secret-1").await, Gitea::start("secret-1").await];
    let first = test.connect("first", slow.url(), "secret-1").await;
    let second = test.connect("second", quick.url(), "secret-1").await;
    for (connection, count) in [(&first, 20), (&second, 5)] {
        for _ in 0..count {
            let holder = test.workload(&test.owner, &[connection.clone()]).await;
            let read = git(Access::Read);
            broker.issue_lease(&holder, organization, connection, &read).await.unwrap();
            broker.end_workload(&test.owner, organization, workload_of(&holder)).await.unwrap();
        }
    }
    slow.hold_deletions(true);
    let sweeping = {
        let broker = Arc::clone(broker);
        tokio::spawn(async move { broker.sweep_leases(&broker.system_actor()).await })
    };
    eventually("the other service's revocations", || quick.live_tokens().is_empty()).await;
    assert_eq!(slow.calls_of(REVOCATION), 2, "only so many wait at the slow one");
    slow.hold_deletions(false);
    assert_eq!(sweeping.await.unwrap().unwrap(), 25);
    assert_eq!(slow.live_tokens(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_is_recorded_once() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let holder = test.workload(&test.owner, &[forge.clone()]).await;
    let issued =
        broker.issue_lease(&holder, organization, &forge, &git(Access::Read)).await.unwrap();
    let ends = (0..12).map(|_| broker.end_lease(&test.owner, organization, &issued.id));
    for ended in join_all(ends).await {
        ended.unwrap();
    }
    assert_eq!(test.events("lease.end").await.len(), 1);
    // And it is not handed out again.
    let again =
        broker.issue_lease(&holder, organization, &forge, &git(Access::Read)).await.unwrap();
    assert_ne!(again.id, issued.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_while_it_is_minted_is_not_kept() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let holder = test.workload(&test.owner, &[forge.clone()]).await;
    gitea.hold_answers(true);
    let asking = ask(&test, &holder, &forge);
    eventually("the mint", || gitea.minted() == 1).await;
    let pending = leases(&test).await[0].id.clone();
    broker.end_lease(&test.owner, organization, &pending).await.unwrap();
    gitea.hold_answers(false);
    asking.await.unwrap().unwrap_err();
    let issued =
        broker.issue_lease(&holder, organization, &forge, &git(Access::Read)).await.unwrap();
    assert_ne!(issued.id, pending);
    test.advance(60);
    sweep(broker).await;
    assert_eq!(gitea.live_tokens().len(), 1, "the second one's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_others_and_none_look_the_same() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let alice = test.add(Role::Member).await;
    let forge = test.connect_as(&alice, new_connection("forge", gitea.url(), "secret-1")).await;
    let holder = test.workload(&alice, &[forge.clone()]).await;
    let issued =
        broker.issue_lease(&holder, organization, &forge, &git(Access::Read)).await.unwrap();
    let missing: LeaseId = "lease_00000000000000000000000000".parse().unwrap();
    let bob = test.add(Role::Member).await;
    let (outsider, _) = test.outsider().await;
    let machine = test.workload(&alice, &[forge.clone()]).await;
    for actor in [&bob, &outsider, &machine] {
        let mut said = Vec::new();
        for id in [&issued.id, &missing] {
            for outcome in [
                broker.end_lease(actor, organization, id).await,
                broker.report_rejection(actor, organization, id).await.map(drop),
            ] {
                let error = assert_code(outcome, "not_found");
                let message = error.message().replace(id.as_str(), "x");
                said.push((message, error.details().hint.clone()));
            }
        }
        said.dedup();
        assert_eq!(said.len(), 1, "{said:?}");
    }
    let live = leases(&test).await;
    assert_eq!(live[0].state, LeaseState::Active, "nothing was ended");
    broker.end_lease(&holder, organization, &issued.id).await.unwrap();

    // Of a deleted connection, too.
    let issued =
        broker.issue_lease(&machine, organization, &forge, &git(Access::Read)).await.unwrap();
    broker.delete_connection(&alice, organization, &forge, true).await.unwrap();
    let hidden = broker.report_rejection(&bob, organization, &issued.id).await;
    assert!(assert_code(hidden, "not_found").message().contains(issued.id.as_str()));
    let known = broker.report_rejection(&machine, organization, &issued.id).await;
    assert!(assert_code(known, "not_found").message().contains("connection"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_takes_its_workloads_with_it() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let mut tokens: Vec<(TokenId, Actor)> = Vec::new();
    for name in ["first", "second"] {
        let made = broker.create_token(&test.owner, organization, name, None).await.unwrap();
        tokens.push((made.token.id, test.authenticate(&made.text).await));
    }
    let via =
        |actor: &Actor| matches!(&actor.identity, Identity::User { via: Via::Token { .. }, .. });
    assert!(tokens.iter().all(|(_, actor)| via(actor)));
    let mut holders = Vec::new();
    for actor in [&tokens[0].1, &tokens[1].1, &test.owner] {
        let holder = test.workload(actor, &[forge.clone()]).await;
        broker.issue_lease(&holder, organization, &forge, &git(Access::Read)).await.unwrap();
        holders.push(holder);
    }
    broker.delete_token(&test.owner, organization, &tokens[0].0).await.unwrap();
    let refused = broker.issue_lease(&holders[0], organization, &forge, &git(Access::Read)).await;
    assert_code(refused, "workload_over");
    for holder in &holders[1..] {
        broker.issue_lease(holder, organization, &forge, &git(Access::Read)).await.unwrap();
    }
    sweep(broker).await;
    assert_eq!(gitea.live_tokens().len(), 2);
    let events = test.events("token.revoke").await;
    assert_eq!(events[0].data["workloads_ended"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_removed_leaves_no_lease_behind() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let alice = test.add(Role::Member).await;
    let forge = test.connect_as(&alice, new_connection("forge", gitea.url(), "secret-1")).await;
    let holder = test.workload(&alice, &[forge.clone()]).await;
    broker.issue_lease(&holder, organization, &forge, &git(Access::Read)).await.unwrap();
    broker.delete_member(&test.owner, organization, &user(&alice)).await.unwrap();
    let refused = broker.issue_lease(&holder, organization, &forge, &git(Access::Read)).await;
    assert_code(refused, "workload_over");
    sweep(broker).await;
    assert_eq!(gitea.live_tokens(), Vec::<String>::new());
    assert!(is_ended(&leases(&test).await[0], EndReason::HolderEnded));
    assert_eq!(test.events("lease.end").await.len(), 1);
}
