//! Checks of connections that are due: what they change, what they leave alone, and how rarely a
//! refused credential is tried.

use keyferry_domain::audit::Outcome;
use keyferry_domain::connection::{ConnectionId, HealthStatus};

use crate::fixture::{CHECK_INTERVAL, TestBroker, assert_code, new_connection, password};
use crate::gitea::Gitea;

const INTERVAL: u64 = CHECK_INTERVAL.as_secs();
const DAY: u64 = 86_400;

async fn health(test: &TestBroker, id: &ConnectionId) -> HealthStatus {
    let found = test.broker.get_connection(&test.owner, &test.organization, id).await.unwrap();
    found.connection.health_status
}

/// Lets time pass and does what is due then; returns how many connections were due.
async fn later(test: &TestBroker, seconds: u64) -> usize {
    test.advance(seconds);
    test.broker.check_due_connections(&test.broker.system_actor()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_was_revoked_is_noticed_and_recorded_as_the_systems_doing() {
    let test = TestBroker::start().await;
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let calls = gitea.calls();
    assert_eq!(later(&test, INTERVAL / 2).await, 0, "it is not due yet");
    assert_eq!(gitea.calls(), calls);
    assert_eq!(later(&test, INTERVAL).await, 1);
    assert!(gitea.calls() > calls);
    assert_eq!(test.events("connection.verify").await, [], "nothing has changed");

    gitea.set_password("alice", "secret-2");
    assert_eq!(later(&test, INTERVAL * 2).await, 1);
    assert_eq!(health(&test, &forge).await, HealthStatus::Rejected);
    let events = test.events("connection.verify").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].actor.kind, "system");
    assert_eq!(events[0].outcome, Outcome::Allowed);
    assert_eq!(events[0].target.as_ref().unwrap().id, "forge");
    assert_eq!(
        (&*events[0].data["health"], &*events[0].data["health_before"]),
        ("rejected", "healthy")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_credential_is_tried_rarely_so_that_no_account_is_locked() {
    let test = TestBroker::start().await;
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    gitea.set_password("alice", "secret-2");
    assert_eq!(later(&test, INTERVAL * 2).await, 1);
    let calls = gitea.calls();
    for _ in 0..40 {
        assert_eq!(later(&test, DAY / 50).await, 0);
    }
    assert_eq!(gitea.calls(), calls, "the account is left alone for most of a day");
    // A service that is down does not make it forget the refusal, nor try sooner.
    gitea.set_down(true);
    assert_eq!(later(&test, DAY).await, 1);
    assert_eq!(health(&test, &forge).await, HealthStatus::Rejected);
    assert_eq!(later(&test, DAY / 2).await, 0);
    // The password is right again: found at the next check, and from then on at the usual pace.
    gitea.set_down(false);
    gitea.set_password("alice", "secret-1");
    assert_eq!(later(&test, 8 * DAY).await, 1);
    assert_eq!(health(&test, &forge).await, HealthStatus::Healthy);
    assert_eq!(later(&test, INTERVAL * 2).await, 1);
    assert_eq!(test.events("connection.verify").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_credential_is_checked_at_the_usual_pace_again() {
    let test = TestBroker::start().await;
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    gitea.set_password("alice", "secret-2");
    assert_eq!(later(&test, INTERVAL * 2).await, 1);
    let found = test.broker.get_connection(&test.owner, &test.organization, &forge).await.unwrap();
    let new = keyferry_broker::connections::Reconfiguration {
        credential: Some(password("secret-2")),
        credential_id: None,
        settings: None,
        overlap_seconds: None,
        skip_verify: false,
        version: found.connection.version,
    };
    let broker = &test.broker;
    broker.reconfigure_connection(&test.owner, &test.organization, &forge, &new).await.unwrap();
    assert_eq!(later(&test, INTERVAL * 2).await, 1);
    assert_eq!(health(&test, &forge).await, HealthStatus::Healthy);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_service_is_not_a_refusal_and_is_tried_less_and_less() {
    let test = TestBroker::start().await;
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    gitea.set_down(true);
    assert_eq!(later(&test, INTERVAL * 2).await, 1);
    assert_eq!(health(&test, &forge).await, HealthStatus::Unreachable);
    // Five minutes, then ten, with a tenth of play.
    assert_eq!(later(&test, 240).await, 0);
    assert_eq!(later(&test, 100).await, 1);
    assert_eq!(later(&test, 500).await, 0);
    assert_eq!(later(&test, 300).await, 1);
    assert_eq!(test.events("connection.verify").await.len(), 1, "one change, one event");
    gitea.set_down(false);
    assert_eq!(later(&test, INTERVAL * 2).await, 1);
    assert_eq!(health(&test, &forge).await, HealthStatus::Healthy);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_share_what_is_due() {
    let test = TestBroker::start().await;
    let gitea = Gitea::start("secret-1").await;
    for number in 0..20 {
        test.connect(&format!("forge-{number}"), gitea.url(), "secret-1").await;
    }
    let other = test.open_again().await;
    test.advance(INTERVAL * 2);
    let (one, two) = (test.broker.system_actor(), other.system_actor());
    let mut checked = 0;
    for _ in 0..2 {
        let (one, two) = tokio::join!(
            test.broker.check_due_connections(&one),
            other.check_due_connections(&two)
        );
        checked += one.unwrap() + two.unwrap();
    }
    assert_eq!(checked, 20, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_deleted_or_cannot_be_tried_is_never_due() {
    let test = TestBroker::start().await;
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let mut values = new_connection("values", gitea.url(), "");
    values.connection_type = "generic".to_owned();
    values.settings.clear();
    let kind = keyferry_domain::credential::CredentialKind::Values;
    values.credential = Some(crate::fixture::secrets(kind, &[("key", "secret-2")]));
    test.connect_as(&test.owner, values).await;
    let broker = &test.broker;
    broker.delete_connection(&test.owner, &test.organization, &forge, false).await.unwrap();
    broker.schedule_checks(&broker.system_actor()).await.unwrap();
    assert_eq!(later(&test, INTERVAL * 10).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_checks_are_off_nobody_is_asked_and_they_can_be_turned_on_later() {
    let test = TestBroker::start_without_checks().await;
    let gitea = Gitea::start("secret-1").await;
    test.connect("forge", gitea.url(), "secret-1").await;
    let calls = gitea.calls();
    test.broker.schedule_checks(&test.broker.system_actor()).await.unwrap();
    assert_eq!(later(&test, INTERVAL * 100).await, 0);
    assert_eq!(gitea.calls(), calls);
    let on = test.open_again().await;
    on.schedule_checks(&on.system_actor()).await.unwrap();
    test.advance(INTERVAL + 1);
    assert_eq!(on.check_due_connections(&on.system_actor()).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_system_starts_checks() {
    let test = TestBroker::start().await;
    assert_code(test.broker.check_due_connections(&test.owner).await, "system_only");
    assert_code(test.broker.schedule_checks(&test.owner).await, "system_only");
}
