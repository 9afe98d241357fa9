//! A server in this process: the real service over a real broker, with a fresh SQLite file and a
//! clock that stands still. Requests go in without a network.
//!
//! People are made on demand, since every password costs tens of milliseconds: [`TestServer::add`]
//! gives somebody with a role and an API token, [`TestServer::outsider`] somebody with an
//! organization of their own. What everyone else is answered is checked by [`TestServer::only`]:
//! use it once per operation. Services that connections reach may listen on 127.0.0.1.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use keyferry_broker::{Broker, BrokerOptions, RootKeySource};
use keyferry_domain::actor::{Identity, Via};
use keyferry_domain::clock::FixedClock;
use keyferry_domain::id::{OrganizationId, SessionId, UserId};
use keyferry_domain::{Actor, Clock as _, Role, Timestamp};
use keyferry_server::http::{Api, AppState};
use keyferry_server::throttle::Throttle;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The password of everyone who has one.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// When every test begins: 2026-01-01T00:00:00Z.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// An organization's id that no organization has.
pub(crate) const NO_ORGANIZATION: &str = "org_00000000000000000000000000";

/// A server with one organization and its owner.
pub(crate) struct TestServer {
    /// The use cases, for what has no route: `server.broker.sweep_leases(…)`.
    pub(crate) broker: Arc<Broker>,
    /// The time, which stands still until a test moves it.
    pub(crate) clock: Arc<FixedClock>,
    /// The organization.
    pub(crate) organization: OrganizationId,
    /// Its owner, signed in with a password.
    pub(crate) owner: Person,
    api: Api,
    people: AtomicU32,
    folder: TempDir,
}

/// Somebody with a token.
#[derive(Clone)]
pub(crate) struct Person {
    /// Their id.
    pub(crate) user: UserId,
    /// What they sign in with.
    pub(crate) email: String,
    /// A session's or an API token.
    pub(crate) token: String,
    /// Where the token works, or whose owner they are.
    pub(crate) organization: OrganizationId,
}

impl Person {
    /// Returns the id as text.
    pub(crate) fn id(&self) -> &str {
        self.user.as_str()
    }
}

impl TestServer {
    /// Starts a server with an organization named `Example` and an owner.
    pub(crate) async fn start() -> Self {
        let mut server = Self::empty().await;
        let system = server.broker.system_actor();
        let setup = server.broker.first_start_token(&system).await.unwrap().unwrap();
        let anonymous = Actor { identity: Identity::Anonymous, ..system };
        let email = "owner@example.com";
        let session = server
            .broker
            .set_up_server(&anonymous, &setup, email, "Owner", &PASSWORD.into(), "Example")
            .await
            .unwrap();
        server.organization = session.user.memberships[0].0.id.clone();
        server.owner = Person {
            user: session.user.user.id,
            email: email.to_owned(),
            token: session.token.expose().clone(),
            organization: server.organization.clone(),
        };
        server
    }

    /// Starts a server on which nobody has an account: neither the organization nor its owner
    /// exists.
    pub(crate) async fn empty() -> Self {
        // A second test of the same process finds it installed already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(FixedClock::at(START));
        let broker = open(&folder, &clock).await;
        let organization: OrganizationId = NO_ORGANIZATION.parse().unwrap();
        let owner = Person {
            user: "user_00000000000000000000000000".parse().unwrap(),
            email: String::new(),
            token: String::new(),
            organization: organization.clone(),
        };
        let time = Arc::clone(&clock);
        let throttle = Throttle::with_clock(move || time.now().since(Timestamp::default()));
        let api = Api::new(AppState::with_throttle(Arc::clone(&broker), throttle));
        Self { broker, clock, organization, owner, api, people: AtomicU32::new(0), folder }
    }

    /// Closes the server; returns the path of its database, which is one file then.
    pub(crate) async fn close(&self) -> PathBuf {
        self.broker.close().await;
        let log = self.folder.path().join("keyferry.db-wal");
        let deadline = Instant::now() + Duration::from_secs(10);
        // SQLite takes the log away with the last connection, which ends a little later.
        while log.exists() {
            assert!(Instant::now() < deadline, "the database was not closed in time");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.folder.path().join("keyferry.db")
    }

    /// Opens the database again, as the next start of the server does.
    pub(crate) async fn open_again(&self) -> Arc<Broker> {
        open(&self.folder, &self.clock).await
    }

    /// Adds somebody to the organization, with an API token. They have no password.
    pub(crate) async fn add(&self, role: Role) -> Person {
        let number = self.people.fetch_add(1, Ordering::SeqCst) + 1;
        let email = format!("{role}-{number}@example.com");
        let name = format!("{role} {number}");
        let owner = self.actor(&self.owner.user);
        let made = self
            .broker
            .create_member(&owner, &self.organization, &email, &name, role)
            .await
            .unwrap();
        let user = made.member.user.id;
        let token = self
            .broker
            .create_token(&self.actor(&user), &self.organization, "test", None)
            .await
            .unwrap()
            .text;
        Person {
            user,
            email,
            token: token.expose().clone(),
            organization: self.organization.clone(),
        }
    }

    /// Makes somebody who owns another organization of this server, is signed in, and is nothing
    /// in the first one.
    pub(crate) async fn outsider(&self) -> Person {
        let number = self.people.fetch_add(1, Ordering::SeqCst) + 1;
        let email = format!("outsider-{number}@example.com");
        let owner = self.actor(&self.owner.user);
        let other = self.broker.create_organization(&owner, "Other").await.unwrap();
        let invitation = self
            .broker
            .create_member(&owner, &other.id, &email, "Outsider", Role::Owner)
            .await
            .unwrap()
            .invitation;
        let anonymous = Actor { identity: Identity::Anonymous, ..self.broker.system_actor() };
        let session =
            self.broker.accept_invitation(&anonymous, &invitation, &PASSWORD.into()).await.unwrap();
        Person {
            user: session.user.user.id,
            email,
            token: session.token.expose().clone(),
            organization: other.id,
        }
    }

    /// Adds somebody to the organization who has a password, and signs them in.
    pub(crate) async fn sign_in(&self, role: Role) -> Person {
        let number = self.people.fetch_add(1, Ordering::SeqCst) + 1;
        let email = format!("{role}-{number}@example.com");
        let owner = self.actor(&self.owner.user);
        let invitation = self
            .broker
            .create_member(&owner, &self.organization, &email, "Signed in", role)
            .await
            .unwrap()
            .invitation;
        let body = json!({"invitation_token": invitation.expose(), "password": PASSWORD});
        let session = self.accept(body).await.created();
        Person {
            user: session["user"]["id"].as_str().unwrap().parse().unwrap(),
            email,
            token: session["token"].as_str().unwrap().to_owned(),
            organization: self.organization.clone(),
        }
    }

    /// Returns the folder that holds everything that the server has written.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes an API token of somebody who is signed in.
    pub(crate) async fn token_of(&self, person: &Person) -> Person {
        let path = format!("/api/v1/organizations/{}/tokens", person.organization);
        let made = self.post(person, &path, json!({"name": "another"})).await.created();
        Person { token: made["token"].as_str().unwrap().to_owned(), ..person.clone() }
    }

    /// Accepts an invitation.
    pub(crate) async fn accept(&self, body: Value) -> Answer {
        self.call(None, Method::POST, "/api/v1/invitations/accept", Some(&body)).await
    }

    /// Signs in with an address and a password.
    pub(crate) async fn sign_in_as(&self, email: &str, password: &str) -> Answer {
        let body = json!({"email": email, "password": password});
        self.call(None, Method::POST, "/api/v1/sessions", Some(&body)).await
    }

    /// Makes the actor that a signed-in person is, for calls of the broker itself.
    pub(crate) fn actor(&self, user: &UserId) -> Actor {
        let session: SessionId = "sess_00000000000000000000000000".parse().unwrap();
        let identity = Identity::User { user: user.clone(), via: Via::Session(session) };
        Actor { identity, ..self.broker.system_actor() }
    }

    /// Moves the time forward.
    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Returns the path of something in the organization: `/api/v1/organizations/<id>` and `rest`.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/api/v1/organizations/{}{rest}", self.organization)
    }

    /// Sends a request of the organization as somebody: `rest` is the path below it, a path that
    /// starts with `/api/` is taken as it is.
    pub(crate) async fn call(
        &self,
        token: Option<&str>,
        method: Method,
        rest: &str,
        body: Option<&Value>,
    ) -> Answer {
        let path = if rest.starts_with("/api/") { rest.to_owned() } else { self.path(rest) };
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Body::from(serde_json::to_vec(body).unwrap())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).unwrap()).await
    }

    /// Sends any request.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let what = format!("{} {}", request.method(), request.uri());
        let response = self.api.answer(request).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            what,
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    /// Sends `GET`.
    pub(crate) async fn get(&self, who: &Person, rest: &str) -> Answer {
        self.call(Some(&who.token), Method::GET, rest, None).await
    }

    /// Sends `POST` with a JSON body.
    pub(crate) async fn post(&self, who: &Person, rest: &str, body: Value) -> Answer {
        self.call(Some(&who.token), Method::POST, rest, Some(&body)).await
    }

    /// Sends `PATCH` with a JSON body.
    pub(crate) async fn patch(&self, who: &Person, rest: &str, body: Value) -> Answer {
        self.call(Some(&who.token), Method::PATCH, rest, Some(&body)).await
    }

    /// Sends `PUT` with a JSON body.
    pub(crate) async fn put(&self, who: &Person, rest: &str, body: Value) -> Answer {
        self.call(Some(&who.token), Method::PUT, rest, Some(&body)).await
    }

    /// Sends `DELETE`.
    pub(crate) async fn delete(&self, who: &Person, rest: &str) -> Answer {
        self.call(Some(&who.token), Method::DELETE, rest, None).await
    }

    /// Checks that an operation below the organization is refused to everyone but these roles: to
    /// nobody without a token (401), to other members (403, or 404 where they may not see the
    /// thing), to outsiders, who are told what somebody is told who asks for an organization that
    /// does not exist (404).
    ///
    /// The request should be one that would succeed. It is not sent as anyone who may do it.
    pub(crate) async fn only(
        &self,
        roles: &[Role],
        method: Method,
        rest: &str,
        body: Option<Value>,
    ) {
        let body = body.as_ref();
        self.call(None, method.clone(), rest, body).await.refused(401, "unauthenticated");
        for role in Role::ALL.iter().filter(|role| !roles.contains(role)) {
            let person = self.add(*role).await;
            let answer = self.call(Some(&person.token), method.clone(), rest, body).await;
            let problem = answer.problem();
            assert!(
                matches!(problem["status"].as_u64(), Some(403 | 404)),
                "{role} is answered {problem} to {method} {rest}"
            );
        }
        let outsider = self.outsider().await;
        let hidden = self.call(Some(&outsider.token), method.clone(), rest, body).await;
        hidden.refused(404, "not_found");
        let nowhere = self.path(rest).replace(self.organization.as_str(), NO_ORGANIZATION);
        let missing = self.call(Some(&outsider.token), method.clone(), &nowhere, body).await;
        missing.refused(404, "not_found");
        let same = |answer: &Answer| {
            let mut problem = answer.problem();
            problem["request_id"] = Value::Null;
            problem.to_string().replace(self.organization.as_str(), NO_ORGANIZATION)
        };
        assert_eq!(same(&hidden), same(&missing), "{method} {rest} tells outsiders what exists");
    }

    /// Lists the audit events of an action as `<outcome> <target kind> <target id>`, oldest first.
    pub(crate) async fn audited(&self, action: &str) -> Vec<String> {
        let path = format!("/audit-events?limit=200&action={action}");
        let list = self.get(&self.owner, &path).await.ok();
        // The clock stands still, so that only the place in the chain tells what came first.
        let mut events = list["items"].as_array().unwrap().clone();
        events.sort_by_key(|event| event["sequence"].as_i64());
        let line = |event: &Value| {
            let text = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
            format!("{} {} {}", text("outcome"), text("target_kind"), text("target_id"))
        };
        events.iter().map(line).collect()
    }
}

async fn open(folder: &TempDir, clock: &Arc<FixedClock>) -> Arc<Broker> {
    let database = folder.path().join("keyferry.db");
    let options = BrokerOptions {
        database_url: format!("sqlite://{}", database.display()).into(),
        root_key: RootKeySource::FileOrNew(folder.path().join("root.key")),
        allow_addresses: vec!["127.0.0.1".to_owned()],
        check_interval: None,
    };
    Arc::new(Broker::open_at(options, clock.clone()).await.unwrap())
}

/// Writes a text, a cursor for instance, as a value of a query.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        let _ = write!(encoded, "%{byte:02X}");
    }
    encoded
}

/// What came back.
pub(crate) struct Answer {
    /// Method and path of the request, for messages.
    pub(crate) what: String,
    /// The status code.
    pub(crate) status: StatusCode,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) text: String,
}

impl Answer {
    /// Returns the body of a 200.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        self.expect(StatusCode::OK)
    }

    /// Returns the body of a 201.
    #[track_caller]
    pub(crate) fn created(&self) -> Value {
        self.expect(StatusCode::CREATED)
    }

    /// Checks for a 204 without a body.
    #[track_caller]
    pub(crate) fn done(&self) {
        assert_eq!(self.status, StatusCode::NO_CONTENT, "{}: {}", self.what, self.text);
        assert_eq!(self.text, "", "{}", self.what);
    }

    /// Returns the JSON body of an answer with this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: StatusCode) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.what, self.text);
        assert_eq!(self.headers[CONTENT_TYPE], "application/json", "{}", self.what);
        serde_json::from_str(&self.text).unwrap()
    }

    /// Checks for a refusal with this status and code; returns the problem.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> Value {
        let problem = self.problem();
        assert_eq!(
            (self.status.as_u16(), problem["code"].as_str()),
            (status, Some(code)),
            "{}: {}",
            self.what,
            self.text
        );
        problem
    }

    /// Checks for a refused field: 400, `invalid_input`, and this JSON pointer among `errors`.
    #[track_caller]
    pub(crate) fn invalid(&self, pointer: &str) -> Value {
        let problem = self.refused(400, "invalid_input");
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        assert!(
            errors.iter().any(|error| error["pointer"] == pointer),
            "{}: no error at {pointer}: {problem}",
            self.what
        );
        problem
    }

    /// Checks for a stale version: 409, and which version there is now.
    #[track_caller]
    pub(crate) fn stale(&self, current_version: i64) {
        let problem = self.refused(409, "stale_version");
        assert_eq!(problem["current_version"], json!(current_version), "{}", self.what);
    }

    /// Returns the body, which must be a problem as RFC 9457 has it, of this very request.
    #[track_caller]
    pub(crate) fn problem(&self) -> Value {
        assert!(
            self.status.is_client_error() || self.status.is_server_error(),
            "{} is not refused: {} {}",
            self.what,
            self.status,
            self.text
        );
        assert_eq!(
            self.headers[CONTENT_TYPE], "application/problem+json",
            "{}: {}",
            self.what, self.text
        );
        let problem: Value = serde_json::from_str(&self.text).unwrap();
        assert_eq!(problem["status"], self.status.as_u16(), "{}", self.what);
        assert_eq!(problem["request_id"], self.headers["x-request-id"].to_str().unwrap());
        problem
    }
}
