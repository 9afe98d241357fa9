//! A broker over a fresh database, a SQLite file unless the test brings one, with a clock that
//! stands still, a real vault and the real policies. Services that connections reach may listen on
//! 127.0.0.1.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use keyferry_broker::audit::AuditFilter;
use keyferry_broker::connections::NewConnection;
use keyferry_broker::credentials::NewSecrets;
use keyferry_broker::{Broker, BrokerOptions, RootKeySource};
use keyferry_domain::actor::{Identity, Via};
use keyferry_domain::audit::AuditEvent;
use keyferry_domain::clock::FixedClock;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::credential::CredentialKind;
use keyferry_domain::id::{OrganizationId, SessionId, UserId};
use keyferry_domain::page::PageRequest;
use keyferry_domain::run::Isolation;
use keyferry_domain::secret::SecretString;
use keyferry_domain::{Actor, Error, Role, Scope, Timestamp};
use keyferry_testkit::peers::postgres::{self, Postgres};
use keyferry_testkit::{databases, require};
use tempfile::TempDir;

/// When every test begins: 2026-01-01T00:00:00Z.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// A broker with one organization and its owner.
pub(crate) struct TestBroker {
    pub(crate) broker: Arc<Broker>,
    /// The time, which stands still until a test moves it.
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) organization: OrganizationId,
    /// The owner, signed in.
    pub(crate) owner: Actor,
    /// The database's address.
    pub(crate) url: String,
    people: AtomicU32,
    folder: TempDir,
}

/// How often connections are checked.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_hours(2);

/// Opens a broker whose root key is in `folder`.
pub(crate) async fn open(
    url: &str,
    folder: &Path,
    clock: &Arc<FixedClock>,
    check_interval: Option<Duration>,
) -> Arc<Broker> {
    let options = BrokerOptions {
        database_url: url.into(),
        root_key: RootKeySource::FileOrNew(folder.join("root.key")),
        allow_addresses: vec!["127.0.0.1".to_owned()],
        check_interval,
    };
    Arc::new(Broker::open_at(options, clock.clone()).await.unwrap())
}

impl TestBroker {
    /// Starts a broker with an organization and an owner.
    pub(crate) async fn start() -> Self {
        Self::start_with(Some(CHECK_INTERVAL)).await
    }

    /// The same, with checks of connections turned off.
    pub(crate) async fn start_without_checks() -> Self {
        Self::start_with(None).await
    }

    async fn start_with(check_interval: Option<Duration>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("keyferry.db").display());
        Self::start_at(url, folder, check_interval).await
    }

    /// Starts with an empty database of the caller's.
    pub(crate) async fn start_at(
        url: String,
        folder: TempDir,
        check_interval: Option<Duration>,
    ) -> Self {
        let clock = Arc::new(FixedClock::at(START));
        let broker = open(&url, folder.path(), &clock, check_interval).await;
        let password = "correct horse battery".into();
        let system = broker.system_actor();
        let organization = broker
            .create_first_owner(&system, "owner@example.com", "Owner", &password, "Example")
            .await
            .unwrap();
        let anonymous = Actor { identity: Identity::Anonymous, ..system };
        let session =
            broker.create_session(&anonymous, "owner@example.com", &password).await.unwrap();
        let owner = signed_in(&broker, &session.user.user.id);
        Self { broker, clock, organization, owner, url, people: AtomicU32::new(0), folder }
    }

    /// Opens the same database again, as another server or the next start would.
    pub(crate) async fn open_again(&self) -> Arc<Broker> {
        open(&self.url, self.folder.path(), &self.clock, Some(CHECK_INTERVAL)).await
    }

    /// The folder that holds everything that was written.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Adds somebody with a role, signed in.
    pub(crate) async fn add(&self, role: Role) -> Actor {
        let number = self.people.fetch_add(1, Ordering::SeqCst);
        let email = format!("{role}-{number}@example.com");
        let made = self
            .broker
            .create_member(&self.owner, &self.organization, &email, &email, role)
            .await
            .unwrap();
        signed_in(&self.broker, &made.member.user.id)
    }

    /// Makes somebody who owns another organization and is nothing in this one.
    pub(crate) async fn outsider(&self) -> (Actor, OrganizationId) {
        let other = self.broker.create_organization(&self.owner, "Other").await.unwrap().id;
        let number = self.people.fetch_add(1, Ordering::SeqCst);
        let email = format!("outsider-{number}@example.com");
        let made = self
            .broker
            .create_member(&self.owner, &other, &email, "Outsider", Role::Owner)
            .await
            .unwrap();
        (signed_in(&self.broker, &made.member.user.id), other)
    }

    /// Moves the time forward.
    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Makes a connection of the owner to a Gitea, with alice's password.
    pub(crate) async fn connect(&self, id: &str, url: &str, password: &str) -> ConnectionId {
        self.connect_as(&self.owner, new_connection(id, url, password)).await
    }

    /// Makes a connection of somebody.
    pub(crate) async fn connect_as(&self, actor: &Actor, new: NewConnection) -> ConnectionId {
        let made = self.broker.create_connection(actor, &self.organization, &new).await.unwrap();
        made.connection.id
    }

    /// Starts a workload of somebody; returns it as the actor that asks for leases.
    pub(crate) async fn workload(&self, actor: &Actor, connections: &[ConnectionId]) -> Actor {
        let made = self
            .broker
            .create_workload(actor, &self.organization, connections, None, "test")
            .await
            .unwrap();
        self.authenticate(&made.token).await
    }

    /// Starts the one job of a pipeline and claims it; returns it as the actor that it is.
    pub(crate) async fn job(&self, actor: &Actor, name: &str, yaml: &str) -> Actor {
        let organization = &self.organization;
        let pipeline =
            self.broker.create_pipeline(actor, organization, name, yaml).await.unwrap().pipeline;
        let new = keyferry_broker::runs::NewRun::default();
        self.broker.create_run(actor, organization, &pipeline.id, new).await.unwrap();
        let runner =
            self.broker.create_runner(&self.owner, organization, name).await.unwrap().token;
        let runner = self.authenticate(&runner).await;
        let claimed = self
            .broker
            .claim_job(&runner, Isolation::Process, Duration::ZERO)
            .await
            .unwrap()
            .unwrap();
        self.authenticate(&claimed.token).await
    }

    /// Returns who a token stands for.
    pub(crate) async fn authenticate(&self, token: &SecretString) -> Actor {
        let request = self.broker.new_request_id();
        self.broker.authenticate(token.expose(), request, None).await.unwrap()
    }

    /// Lists the events of an action, oldest first.
    pub(crate) async fn events(&self, action: &str) -> Vec<AuditEvent> {
        self.events_by(&AuditFilter { action: Some(action.to_owned()), ..AuditFilter::default() })
            .await
    }

    /// Lists events, oldest first.
    pub(crate) async fn events_by(&self, filter: &AuditFilter) -> Vec<AuditEvent> {
        let page = PageRequest { limit: 200, cursor: None };
        let found = self
            .broker
            .list_audit_events(&self.owner, &self.organization, filter, &page)
            .await
            .unwrap();
        let mut events: Vec<AuditEvent> =
            found.items.into_iter().map(|record| record.event).collect();
        events.reverse();
        events
    }
}

/// Runs a test on each engine.
pub(crate) async fn each(test: impl AsyncFn(&TestBroker)) {
    each_url(async |url| {
        let broker = TestBroker::start_at(url, tempfile::tempdir().unwrap(), None).await;
        test(&broker).await;
        broker.broker.close().await;
    })
    .await;
}

/// Runs a test with an empty database of each engine.
pub(crate) async fn each_url(test: impl AsyncFn(String)) {
    if require(databases::PROGRAMS) {
        let folder = tempfile::tempdir().unwrap();
        test(format!("sqlite://{}", folder.path().join("keyferry.db").display())).await;
    }
    if require(postgres::PROGRAMS) {
        let server = Postgres::start().unwrap();
        test(server.create_database().unwrap()).await;
    }
}

/// Returns a person as the actor that they are in a session.
pub(crate) fn signed_in(broker: &Broker, user: &UserId) -> Actor {
    let session: SessionId = "sess_00000000000000000000000000".parse().unwrap();
    let identity = Identity::User { user: user.clone(), via: Via::Session(session) };
    Actor { identity, ..broker.system_actor() }
}

/// Alice's password as a credential.
pub(crate) fn password(text: &str) -> NewSecrets {
    secrets(CredentialKind::UsernamePassword, &[("username", "alice"), ("password", text)])
}

/// A credential of declared fields.
pub(crate) fn secrets(kind: CredentialKind, fields: &[(&str, &str)]) -> NewSecrets {
    NewSecrets {
        kind,
        fields: fields.iter().map(|(name, text)| ((*name).to_owned(), (*text).into())).collect(),
        files: BTreeMap::new(),
    }
}

/// A private connection to a Gitea with alice's password.
pub(crate) fn new_connection(id: &str, url: &str, text: &str) -> NewConnection {
    NewConnection {
        name: format!("The {id}"),
        connection_type: "gitea".to_owned(),
        id: Some(id.to_owned()),
        settings: base_url(url),
        credential: Some(password(text)),
        credential_id: None,
        scope: Scope::Private,
        users: Vec::new(),
        groups: Vec::new(),
        skip_verify: false,
    }
}

/// The settings of a Gitea.
pub(crate) fn base_url(url: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("base_url".to_owned(), url.to_owned())])
}

/// Returns the person's id.
pub(crate) fn user(actor: &Actor) -> UserId {
    actor.user().unwrap().clone()
}

/// Asserts the code of a refusal.
#[track_caller]
pub(crate) fn assert_code<T: std::fmt::Debug>(outcome: Result<T, Error>, code: &str) -> Error {
    let error = outcome.unwrap_err();
    assert_eq!(error.code(), code, "{error:?}");
    error
}

/// Returns when something has happened, and fails the test when it does not within ten seconds.
pub(crate) async fn eventually(what: &str, mut has_happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !has_happened() {
        assert!(Instant::now() < deadline, "{what} has not happened");
        tokio::task::yield_now().await;
    }
}
