//! A connection's life: tried before it is stored, replaced without a pipeline being edited, and
//! never a way to somebody else's secret.

use keyferry_broker::connections::{
    ConnectionChanges, ConnectionQuery, NewConnection, Reconfiguration,
};
use keyferry_domain::connection::{ConnectionId, HealthStatus};
use keyferry_domain::credential::{CredentialKind, VersionState};
use keyferry_domain::operation::{Access, Operation};
use keyferry_domain::page::PageRequest;
use keyferry_domain::{Actor, ErrorKind, Role, Scope};

use crate::fixture::{TestBroker, assert_code, base_url, new_connection, password, secrets, user};
use crate::gitea::Gitea;

fn page() -> PageRequest {
    PageRequest { limit: 50, cursor: None }
}

fn id(text: &str) -> ConnectionId {
    text.parse().unwrap()
}

fn git() -> Operation {
    Operation::Git { repository: Some("team/app".parse().unwrap()), access: Access::Read }
}

/// New secrets, everything else as it is.
fn replace(secret: &str, version: i64) -> Reconfiguration {
    Reconfiguration {
        credential: Some(password(secret)),
        credential_id: None,
        settings: None,
        overlap_seconds: None,
        skip_verify: false,
        version,
    }
}

/// New settings, the stored credential as it is.
fn move_to(url: &str, version: i64) -> Reconfiguration {
    Reconfiguration { credential: None, settings: Some(base_url(url)), ..replace("", version) }
}

fn scope(scope: Scope) -> ConnectionChanges {
    ConnectionChanges { scope: Some(scope), ..ConnectionChanges::default() }
}

async fn ids_seen_by(test: &TestBroker, actor: &Actor) -> Vec<String> {
    let query = ConnectionQuery::default();
    let found =
        test.broker.list_connections(actor, &test.organization, &query, &page()).await.unwrap();
    found.items.iter().map(|details| details.connection.id.to_string()).collect()
}

fn pipeline(id: &str, url: &str) -> String {
    format!(
        "name: Build\nsources:\n  app:\n    type: gitea\n    endpoint: {url}/team/app.git\n    \
         branch: main\n    certificate: {{type: serviceConnection, serviceConnection: {id}}}\n\
         stages:\n  build:\n    jobs:\n      build:\n        steps:\n          \
         run: {{step: Command, with: {{run: make}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_stored_only_when_the_service_says_yes() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;

    let wrong = new_connection("forge", gitea.url(), "wrong-secret");
    let refused = broker.create_connection(&test.owner, organization, &wrong).await;
    let error = assert_code(refused, "credential_rejected");
    assert_eq!(error.kind(), ErrorKind::Upstream);
    assert!(!format!("{error:?}").contains("wrong-secret"));
    gitea.set_down(true);
    let new = new_connection("forge", gitea.url(), "secret-1");
    let refused = broker.create_connection(&test.owner, organization, &new).await;
    assert_code(refused, "service_unavailable");
    gitea.set_down(false);
    let mut elsewhere = new.clone();
    elsewhere.settings = base_url("http://10.11.12.13");
    let refused = broker.create_connection(&test.owner, organization, &elsewhere).await;
    refused.unwrap_err();

    assert!(ids_seen_by(&test, &test.owner).await.is_empty());
    let credentials = broker.list_credentials(&test.owner, organization, &page()).await.unwrap();
    assert!(credentials.items.is_empty(), "nothing is half-written");
    let events = test.events("connection.create").await;
    let outcomes: Vec<String> = events.iter().map(|event| event.outcome.to_string()).collect();
    assert_eq!(outcomes, ["failed", "failed", "failed"]);

    let made = broker.create_connection(&test.owner, organization, &new).await.unwrap();
    assert_eq!(made.connection.health_status, HealthStatus::Healthy);
    assert!(made.connection.health_reason.unwrap().contains("alice"));
    assert_eq!(gitea.minted(), 0, "a try leaves nothing behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_tried_is_unverified() {
    let test = TestBroker::start().await;
    let gitea = Gitea::start("secret-1").await;
    let mut new = new_connection("forge", gitea.url(), "wrong");
    new.skip_verify = true;
    let made = test.broker.create_connection(&test.owner, &test.organization, &new).await.unwrap();
    assert_eq!(made.connection.health_status, HealthStatus::Unverified);
    assert_eq!(gitea.calls(), 0);
    // There is nobody to ask about values.
    let mut values = new_connection("values", gitea.url(), "");
    values.connection_type = "generic".to_owned();
    values.settings.clear();
    values.credential = Some(secrets(CredentialKind::Values, &[("key", "secret-2")]));
    let made =
        test.broker.create_connection(&test.owner, &test.organization, &values).await.unwrap();
    assert_eq!(made.connection.health_status, HealthStatus::Unverified);

    let tried =
        test.broker.verify_connection(&test.owner, &test.organization, &id("forge")).await.unwrap();
    assert_eq!(tried.connection.health_status, HealthStatus::Rejected);
    assert_eq!(tried.connection.version, 1, "health is no change of the connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_before_anybody_is_asked() {
    let test = TestBroker::start().await;
    let gitea = Gitea::start("secret-1").await;
    let good = || new_connection("forge", gitea.url(), "secret-1");
    let changed = |change: &dyn Fn(&mut NewConnection)| {
        let mut new = good();
        change(&mut new);
        new
    };
    let bob = test.add(Role::Member).await;
    for (new, pointer) in [
        (changed(&|new| new.name = String::new()), "/name"),
        (changed(&|new| new.connection_type = "gitee".to_owned()), "/type"),
        (changed(&|new| new.connection_type = "\u{202e}x\n".repeat(99)), "/type"),
        (changed(&|new| new.id = Some("Not an ID".to_owned())), "/connection_id"),
        (changed(&|new| new.id = Some("ab".to_owned())), "/connection_id"),
        (changed(&|new| new.settings.clear()), "/settings/base_url"),
        (changed(&|new| new.settings = base_url("http://u:hunter2@h")), "/settings/base_url"),
        (changed(&|new| new.settings = base_url("file:///etc/passwd")), "/settings/base_url"),
        (
            changed(&|new| {
                new.settings.insert("base_ulr".to_owned(), "x".to_owned());
            }),
            "/settings/base_ulr",
        ),
        (changed(&|new| new.credential = None), "/credential"),
        (
            changed(&|new| new.credential_id = "cred_00000000000000000000000000".parse().ok()),
            "/credential_id",
        ),
        (
            changed(&|new| new.credential = Some(secrets(CredentialKind::Values, &[("a", "b")]))),
            "/credential/kind",
        ),
        (changed(&|new| new.users = vec![user(&bob)]), "/users"),
        (changed(&|new| new.scope = Scope::Custom), "/users"),
        (
            changed(&|new| {
                new.scope = Scope::Custom;
                new.users = vec!["user_00000000000000000000000000".parse().unwrap()];
            }),
            "/users/0",
        ),
        (
            changed(&|new| {
                new.scope = Scope::Custom;
                new.groups = vec!["group_00000000000000000000000000".parse().unwrap()];
            }),
            "/groups/0",
        ),
    ] {
        let refused = test.broker.create_connection(&test.owner, &test.organization, &new).await;
        let error = assert_code(refused, "invalid_input");
        let fields = &error.details().fields;
        assert!(fields.iter().any(|field| field.pointer == pointer), "{pointer}: {fields:?}");
        assert!(!format!("{error:?}{fields:?}").contains("hunter2"));
    }
    let several = changed(&|new| {
        new.name = String::new();
        new.id = Some("-".to_owned());
        new.settings.clear();
    });
    let refused = test.broker.create_connection(&test.owner, &test.organization, &several).await;
    assert_eq!(assert_code(refused, "invalid_input").details().fields.len(), 3, "all at once");
    assert_eq!(gitea.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_never_used_twice() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let bob = test.add(Role::Member).await;
    let again = new_connection("forge", gitea.url(), "secret-1");
    let refused = broker.create_connection(&bob, organization, &again).await;
    assert_code(refused, "connection_id_taken");
    broker.delete_connection(&test.owner, organization, &forge, false).await.unwrap();
    let refused = broker.create_connection(&test.owner, organization, &again).await;
    assert_code(refused, "connection_id_taken");

    let mut generated = again;
    generated.id = None;
    generated.connection_type = "GITEA".to_owned();
    let made = broker.create_connection(&test.owner, organization, &generated).await.unwrap();
    assert_eq!(made.connection.id.as_str().len(), 16);
    assert_eq!(made.connection.connection_type, "gitea");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_choose_the_same_id_at_once_get_one_connection() {
    let test = TestBroker::start().await;
    let gitea = Gitea::start("secret-1").await;
    let new = new_connection("forge", gitea.url(), "secret-1");
    let create = || test.broker.create_connection(&test.owner, &test.organization, &new);
    let (one, two) = tokio::join!(create(), create());
    assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1, "{one:?} {two:?}");
    let credentials =
        test.broker.list_credentials(&test.owner, &test.organization, &page()).await.unwrap();
    assert_eq!(credentials.items.len(), 1, "the loser leaves no credential behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_credential_cannot_be_put_behind_a_connection() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let alice = test.add(Role::Member).await;
    let credential = broker
        .create_credential(&alice, organization, "Alice's", &password("secret-1"))
        .await
        .unwrap()
        .credential
        .id;
    let mut new = new_connection("forge", gitea.url(), "");
    new.credential = None;
    new.credential_id = Some(credential.clone());
    let bob = test.add(Role::Member).await;
    let refused = broker.create_connection(&bob, organization, &new).await;
    assert_code(refused, "not_found");
    // An admin sees it, and may not use it all the same. Nor may its id be put in later.
    let refused = broker.create_connection(&test.owner, organization, &new).await;
    assert_code(refused, "denied");
    let own = test.connect("own", gitea.url(), "secret-1").await;
    let swap =
        Reconfiguration { credential: None, credential_id: Some(credential), ..replace("", 1) };
    let refused = broker.reconfigure_connection(&test.owner, organization, &own, &swap).await;
    assert_code(refused, "denied");
    let made = broker.create_connection(&alice, organization, &new).await.unwrap();
    assert_eq!(made.connection.owner_id, user(&alice));
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_what_is_in_their_scope_and_nothing_else() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let [alice, bob, carol] =
        [test.add(Role::Member).await, test.add(Role::Member).await, test.add(Role::Member).await];
    let (outsider, _) = test.outsider().await;
    test.connect_as(&alice, new_connection("a-private", gitea.url(), "secret-1")).await;
    let mut public = new_connection("b-public", gitea.url(), "secret-1");
    public.scope = Scope::Public;
    test.connect_as(&alice, public).await;
    let mut custom = new_connection("c-custom", gitea.url(), "secret-1");
    custom.scope = Scope::Custom;
    custom.users = vec![user(&bob), user(&bob)];
    test.connect_as(&alice, custom).await;

    assert_eq!(ids_seen_by(&test, &alice).await, ["a-private", "b-public", "c-custom"]);
    assert_eq!(ids_seen_by(&test, &bob).await, ["b-public", "c-custom"]);
    assert_eq!(ids_seen_by(&test, &carol).await, ["b-public"]);
    let auditor = test.add(Role::Auditor).await;
    assert_eq!(ids_seen_by(&test, &auditor).await.len(), 3);
    for actor in [&bob, &carol, &outsider] {
        let hidden = broker.get_connection(actor, organization, &id("a-private")).await;
        let absent = broker.get_connection(actor, organization, &id("a-missing")).await;
        let (hidden, absent) = (hidden.unwrap_err(), absent.unwrap_err());
        assert_eq!(hidden.message().replace("a-private", "a-missing"), absent.message());
        assert_eq!(hidden.code(), "not_found");
    }
    // Who may use it may not change it, nor see what else uses it.
    let denied = broker.delete_connection(&bob, organization, &id("b-public"), false).await;
    assert_code(denied, "denied");
    assert_code(broker.verify_connection(&bob, organization, &id("b-public")).await, "denied");
    assert_code(broker.get_connection_usage(&bob, organization, &id("b-public")).await, "denied");
    let query =
        ConnectionQuery { connection_type: Some("gittea".to_owned()), ..Default::default() };
    let refused = broker.list_connections(&bob, organization, &query, &page()).await;
    assert!(assert_code(refused, "invalid_input").message().contains("did you mean `gitea`?"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_after_a_connection_cannot_let_themselves_in() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let alice = test.add(Role::Member).await;
    let admin = test.add(Role::Admin).await;
    let forge = test.connect_as(&alice, new_connection("forge", gitea.url(), "secret-1")).await;
    let custom = ConnectionChanges { users: Some(vec![user(&admin)]), ..scope(Scope::Custom) };
    for changes in [&scope(Scope::Public), &custom] {
        let refused = broker.update_connection(&admin, organization, &forge, changes, 1).await;
        assert_code(refused, "denied");
    }
    let to_admin = user(&admin);
    let refused = broker.transfer_connection(&admin, organization, &forge, &to_admin, 1).await;
    assert_code(refused, "owner_is_member");
    let started = broker.create_workload(&admin, organization, &[forge.clone()], None, "x").await;
    assert_code(started, "denied");

    // A name is no scope, and to say what is so already is no change.
    let named = ConnectionChanges { name: Some("Forge".to_owned()), ..scope(Scope::Private) };
    let renamed = broker.update_connection(&admin, organization, &forge, &named, 1).await.unwrap();
    assert_eq!(renamed.connection.version, 2);
    let stale =
        broker.update_connection(&alice, organization, &forge, &scope(Scope::Public), 1).await;
    assert_eq!(assert_code(stale, "stale_version").details().current_version, Some(2));
    let opened =
        broker.update_connection(&alice, organization, &forge, &scope(Scope::Public), 2).await;
    assert_eq!(opened.unwrap().connection.scope, Scope::Public);
    broker.create_workload(&admin, organization, &[forge], None, "x").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_is_told_and_its_replacement_edits_no_pipeline() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    broker
        .create_pipeline(&test.owner, organization, "Build", &pipeline("forge", gitea.url()))
        .await
        .unwrap();
    gitea.set_password("alice", "secret-2");
    let holder = test.workload(&test.owner, &[forge.clone()]).await;
    let refused = broker.issue_lease(&holder, organization, &forge, &git()).await;
    let error = assert_code(refused, "credential_rejected");
    assert!(error.details().hint.as_deref().unwrap().contains("reconfigure"));
    let repositories =
        broker.list_repositories(&test.owner, organization, &forge, None, &page()).await;
    assert_code(repositories, "credential_rejected");
    let seen = broker.get_connection(&test.owner, organization, &forge).await.unwrap();
    assert_eq!(seen.connection.health_status, HealthStatus::Rejected);

    let wrong = replace("secret-3", seen.connection.version);
    let refused = broker.reconfigure_connection(&test.owner, organization, &forge, &wrong).await;
    assert_code(refused, "credential_rejected");
    // The user name is not secret and stays.
    let mut right = replace("", seen.connection.version);
    right.credential = Some(secrets(CredentialKind::UsernamePassword, &[("password", "secret-2")]));
    let done =
        broker.reconfigure_connection(&test.owner, organization, &forge, &right).await.unwrap();
    assert_eq!(done.used_by, ["Build"]);
    assert_eq!(done.details.connection.health_status, HealthStatus::Healthy);
    assert_eq!(
        done.overlap_until,
        Some(crate::fixture::START.plus(std::time::Duration::from_mins(15)))
    );
    let issued = broker.issue_lease(&holder, organization, &forge, &git()).await.unwrap();
    assert_eq!(issued.connection, forge);
    let stale = broker.reconfigure_connection(&test.owner, organization, &forge, &right).await;
    assert_code(stale, "stale_version");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_before_can_come_back_until_it_is_wiped() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let nothing = broker.roll_back_connection(&test.owner, organization, &forge, 1).await;
    assert_code(nothing, "no_previous_version");
    gitea.set_password("alice", "secret-2");
    let done = broker
        .reconfigure_connection(&test.owner, organization, &forge, &replace("secret-2", 1))
        .await
        .unwrap();
    assert_eq!(done.details.connection.version, 2);
    let stale = broker.roll_back_connection(&test.owner, organization, &forge, 1).await;
    assert_code(stale, "stale_version");
    let bob = test.add(Role::Member).await;
    let hidden = broker.roll_back_connection(&bob, organization, &forge, 2).await;
    assert_code(hidden, "not_found");
    gitea.set_password("alice", "secret-1");
    let back = broker.roll_back_connection(&test.owner, organization, &forge, 2).await.unwrap();
    assert_eq!(back.details.connection.health_status, HealthStatus::Healthy);

    // And forth again; then the overlap passes, and the first one is gone for good.
    let forth = broker.roll_back_connection(&test.owner, organization, &forge, 3).await.unwrap();
    assert_eq!(forth.details.connection.health_status, HealthStatus::Rejected);
    test.advance(15 * 60);
    broker.sweep_credentials(&broker.system_actor()).await.unwrap();
    let late = broker.roll_back_connection(&test.owner, organization, &forge, 4).await;
    assert_code(late, "no_previous_version");
    let credential = &forth.details.connection.credential_id;
    let found = broker.get_credential(&test.owner, organization, credential).await.unwrap();
    assert!(matches!(found.versions[0].state, VersionState::Current));
    assert!(matches!(found.versions[1].state, VersionState::Retired { .. }));
    assert_eq!(test.events("credential.wipe").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replacements_at_once_one_is_told_that_it_lost() {
    let test = TestBroker::start().await;
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let new = replace("secret-1", 1);
    let change =
        || test.broker.reconfigure_connection(&test.owner, &test.organization, &forge, &new);
    let (one, two) = tokio::join!(change(), change());
    let lost = match (one, two) {
        (Ok(_), Err(lost)) | (Err(lost), Ok(_)) => lost,
        both => panic!("{both:?}"),
    };
    assert_eq!((lost.code(), lost.details().current_version), ("stale_version", Some(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sends_another_persons_secret_to_an_address_of_their_choice() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let [gitea, evil] = [Gitea::start("secret-1").await, Gitea::start("of-the-admin").await];
    let alice = test.add(Role::Member).await;
    let admin = test.add(Role::Admin).await;
    let forge = test.connect_as(&alice, new_connection("forge", gitea.url(), "secret-1")).await;
    let holder = test.workload(&alice, &[forge.clone()]).await;
    broker.issue_lease(&holder, organization, &forge, &git()).await.unwrap();
    assert_eq!(gitea.live_tokens().len(), 1);

    let mut untried = move_to(evil.url(), 1);
    untried.skip_verify = true;
    let same = broker.get_connection(&admin, organization, &forge).await.unwrap().connection;
    let mut named = move_to(evil.url(), 1);
    named.credential_id = Some(same.credential_id.clone());
    for attempt in [&move_to(evil.url(), 1), &untried, &named] {
        let refused = broker.reconfigure_connection(&admin, organization, &forge, attempt).await;
        let error = assert_code(refused, "denied");
        assert!(error.details().hint.as_deref().unwrap().contains("send a credential together"));
    }
    assert_eq!(evil.calls(), 0);

    // With a credential of their own they may, and then it is one of their own: nothing of
    // alice's is behind the connection any more, and what was minted is taken back first.
    let mut own = replace("of-the-admin", 1);
    own.settings = Some(base_url(evil.url()));
    let moved = broker.reconfigure_connection(&admin, organization, &forge, &own).await.unwrap();
    let connection = &moved.details.connection;
    assert_ne!(connection.credential_id, same.credential_id);
    broker.sweep_leases(&broker.system_actor()).await.unwrap();
    assert!(gitea.live_tokens().is_empty(), "taken back at the old address");
    assert!(!gitea.has_seen("of-the-admin"), "the admin's password went to the old address");
    let nothing =
        broker.roll_back_connection(&admin, organization, &forge, connection.version).await;
    assert_code(nothing, "no_previous_version");
    broker.verify_connection(&admin, organization, &forge).await.unwrap();
    test.advance(24 * 60 * 60);
    broker.sweep_leases(&broker.system_actor()).await.unwrap();
    assert!(!evil.has_seen("secret-1"), "alice's password went to another address");
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_that_cannot_be_taken_back_do_not_carry_the_secret_elsewhere() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let [gitea, evil] = [Gitea::start("secret-1").await, Gitea::start("of-the-admin").await];
    let alice = test.add(Role::Member).await;
    let admin = test.add(Role::Admin).await;
    let forge = test.connect_as(&alice, new_connection("forge", gitea.url(), "secret-1")).await;
    let holder = test.workload(&alice, &[forge.clone()]).await;
    broker.issue_lease(&holder, organization, &forge, &git()).await.unwrap();
    gitea.set_down(true);
    let mut own = replace("of-the-admin", 1);
    own.settings = Some(base_url(evil.url()));
    broker.reconfigure_connection(&admin, organization, &forge, &own).await.unwrap();
    let (asked, elsewhere) = (gitea.calls(), evil.calls());
    // The overlap passes, and alice's password is kept as long as it is needed.
    for _ in 0..12 {
        test.advance(20 * 60);
        broker.sweep_credentials(&broker.system_actor()).await.unwrap();
        broker.sweep_leases(&broker.system_actor()).await.unwrap();
    }
    assert!(gitea.calls() > asked + 3, "the sweeper has tried");
    gitea.set_down(false);
    test.advance(20 * 60);
    broker.sweep_leases(&broker.system_actor()).await.unwrap();
    assert_eq!(gitea.live_tokens(), Vec::<String>::new());
    assert_eq!(evil.calls(), elsewhere, "nothing was to be taken back there");
    assert!(!evil.has_seen("secret-1"), "alice's password went to another address");
    assert!(!gitea.has_seen("of-the-admin"), "the admin's password went to the old address");
    broker.sweep_credentials(&broker.system_actor()).await.unwrap();
    assert_eq!(test.events("credential.wipe").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_may_move_a_connection_and_its_credential() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let [old, new] = [Gitea::start("secret-1").await, Gitea::start("secret-1").await];
    let alice = test.add(Role::Member).await;
    let forge = test.connect_as(&alice, new_connection("forge", old.url(), "secret-1")).await;
    let moved = broker
        .reconfigure_connection(&alice, organization, &forge, &move_to(new.url(), 1))
        .await
        .unwrap();
    assert_eq!(moved.details.connection.settings["base_url"], new.url());
    assert_eq!(moved.overlap_until, None);
    let bad = broker
        .reconfigure_connection(&alice, organization, &forge, &move_to("http://u:p@h", 2))
        .await;
    assert_code(bad, "invalid_input");
    let bob = test.add(Role::Member).await;
    let hidden =
        broker.reconfigure_connection(&bob, organization, &forge, &move_to(new.url(), 2)).await;
    assert_code(hidden, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchanged_credential_still_takes_back_what_it_has_minted() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    gitea.set_password("robot", "secret-2");
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let holder = test.workload(&test.owner, &[forge.clone()]).await;
    broker.issue_lease(&holder, organization, &forge, &git()).await.unwrap();
    let robot = secrets(
        CredentialKind::UsernamePassword,
        &[("username", "robot"), ("password", "secret-2")],
    );
    let other = broker
        .create_credential(&test.owner, organization, "Robot", &robot)
        .await
        .unwrap()
        .credential
        .id;
    let swap = Reconfiguration { credential: None, credential_id: Some(other), ..replace("", 1) };
    broker.reconfigure_connection(&test.owner, organization, &forge, &swap).await.unwrap();
    // A new question is answered with the new one, although both are at version 1.
    let issued = broker.issue_lease(&holder, organization, &forge, &git()).await.unwrap();
    assert!(format!("{:?}", issued.material).contains("robot"), "{:?}", issued.material);
    assert_eq!(gitea.live_tokens().len(), 2);
    test.advance(2 * 60 * 60);
    broker.sweep_workloads(&broker.system_actor()).await.unwrap();
    broker.sweep_leases(&broker.system_actor()).await.unwrap();
    assert_eq!(gitea.live_tokens(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_of_another_kind_takes_the_place_of_the_one_before() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let before = broker.get_connection(&test.owner, organization, &forge).await.unwrap();
    let mut new = replace("", 1);
    new.credential = Some(secrets(CredentialKind::Token, &[("token", "a-token")]));
    new.skip_verify = true;
    new.overlap_seconds = Some(60);
    let done =
        broker.reconfigure_connection(&test.owner, organization, &forge, &new).await.unwrap();
    let id = &before.connection.credential_id;
    assert_ne!(done.details.connection.credential_id, *id);
    assert!(done.overlap_until.is_some());
    assert_code(broker.get_credential(&test.owner, organization, id).await, "not_found");
    test.advance(60);
    broker.sweep_credentials(&broker.system_actor()).await.unwrap();
    assert_eq!(test.events("credential.wipe").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leavers_connection_goes_to_another_with_its_credential() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let [alice, bob] = [test.add(Role::Member).await, test.add(Role::Member).await];
    let admin = test.add(Role::Admin).await;
    let (outsider, _) = test.outsider().await;
    let forge = test.connect_as(&alice, new_connection("forge", gitea.url(), "secret-1")).await;
    broker.delete_member(&test.owner, organization, &user(&alice)).await.unwrap();
    assert_code(broker.get_connection(&alice, organization, &forge).await, "not_found");
    // An orphan is not the admin's to use or to open.
    let refused =
        broker.update_connection(&admin, organization, &forge, &scope(Scope::Public), 1).await;
    assert_code(refused, "denied");
    let give = |to: &Actor, version| {
        let to = user(to);
        let (admin, forge) = (&admin, &forge);
        async move { broker.transfer_connection(admin, organization, forge, &to, version).await }
    };
    assert_code(give(&outsider, 1).await, "invalid_input");
    assert_code(give(&bob, 9).await, "stale_version");
    let hidden = broker.transfer_connection(&bob, organization, &forge, &user(&bob), 1).await;
    assert_code(hidden, "not_found");
    let given = give(&bob, 1).await.unwrap();
    assert_eq!(given.connection.owner_id, user(&bob));
    let credential = &given.connection.credential_id;
    let seen = broker.get_credential(&bob, organization, credential).await.unwrap();
    assert_eq!(seen.credential.owner_id, user(&bob));
    let holder = test.workload(&bob, &[forge.clone()]).await;
    broker.issue_lease(&holder, organization, &forge, &git()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_connection_is_deleted_by_force_only_and_then_all_of_it_ends() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let made = broker
        .create_pipeline(&test.owner, organization, "Build", &pipeline("forge", gitea.url()))
        .await
        .unwrap();
    let holder = test.workload(&test.owner, &[forge.clone()]).await;
    broker.issue_lease(&holder, organization, &forge, &git()).await.unwrap();
    let usage = broker.get_connection_usage(&test.owner, organization, &forge).await.unwrap();
    assert_eq!((usage.bindings.len(), usage.live_leases.len()), (1, 1));
    assert_eq!(usage.bindings[0].1, "Build");

    let refused = broker.delete_connection(&test.owner, organization, &forge, false).await;
    assert_eq!(assert_code(refused, "connection_in_use").details().used_by, ["Build"]);
    let auditor = test.add(Role::Auditor).await;
    let denied = broker.delete_connection(&auditor, organization, &forge, true).await;
    assert_code(denied, "denied");
    broker.delete_connection(&test.owner, organization, &forge, true).await.unwrap();
    let seen = broker.get_pipeline(&test.owner, organization, &made.pipeline.id).await.unwrap();
    let binding = &seen.bindings[0];
    assert_eq!(binding.state.as_str(), "broken");
    assert!(binding.reason.as_deref().unwrap().contains("forge"), "{:?}", binding.reason);
    let gone = broker.delete_connection(&test.owner, organization, &forge, true).await;
    assert_code(gone, "not_found");
    let refused = broker.issue_lease(&holder, organization, &forge, &git()).await;
    assert_code(refused, "connection_deleted");

    // What was minted is taken back with a secret that is wiped only afterwards.
    broker.sweep_credentials(&broker.system_actor()).await.unwrap();
    broker.sweep_leases(&broker.system_actor()).await.unwrap();
    assert_eq!(gitea.live_tokens(), Vec::<String>::new());
    assert!(test.events("credential.wipe").await.is_empty());
    broker.sweep_credentials(&broker.system_actor()).await.unwrap();
    assert_eq!(test.events("credential.wipe").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_the_same_as_the_decision() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let alice = test.add(Role::Member).await;
    let forge = test.connect_as(&alice, new_connection("forge", gitea.url(), "secret-1")).await;
    let ask = |about| broker.explain_connection(&test.owner, organization, &forge, about);
    let alice_id = user(&alice);
    let yes = ask(Some(&alice_id)).await.unwrap();
    assert!(yes.is_allowed);
    assert_eq!(yes.reasons, ["own-connections"]);
    let no = ask(None).await.unwrap();
    assert!(!no.is_allowed && !no.reasons.is_empty());
    assert_eq!(no.who_can, ["the connection's owner"]);
    let nobody = "user_00000000000000000000000000".parse().unwrap();
    assert!(!ask(Some(&nobody)).await.unwrap().is_allowed);
    let bob = test.add(Role::Member).await;
    let hidden = broker.explain_connection(&bob, organization, &forge, None).await;
    assert_code(hidden, "not_found");
}
