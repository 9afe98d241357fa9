//! A fresh store for each test, on each engine, with the people and things that most tests need.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyferry_domain::actor::ActorRef;
use keyferry_domain::audit::{AuditEvent, Outcome, Target};
use keyferry_domain::connection::{ConnectionId, Health};
use keyferry_domain::credential::CredentialKind;
use keyferry_domain::id::{
    BindingId, CredentialId, EventId, GroupId, JobId, LeaseId, OrganizationId, PipelineId,
    RequestId, RunId, RunnerId, SessionId, TokenId, UserId, WorkloadId,
};
use keyferry_domain::lease::{Holder, Lease, LeaseState, Narrowing};
use keyferry_domain::operation::{Access, Operation};
use keyferry_domain::page::PageRequest;
use keyferry_domain::run::{JobState, RunState};
use keyferry_domain::{Clock, FixedClock, Random, Role, Scope, Timestamp};
use keyferry_store::bindings::{BindingRecord, BindingState};
use keyferry_store::connections::ConnectionRecord;
use keyferry_store::credentials::{CredentialRecord, CredentialVersionRecord};
use keyferry_store::jobs::JobRecord;
use keyferry_store::members::MemberRecord;
use keyferry_store::organizations::OrganizationRecord;
use keyferry_store::pipelines::{PipelineRecord, RevisionRecord};
use keyferry_store::runs::RunRecord;
use keyferry_store::users::UserRecord;
use keyferry_store::{Store, StoreOptions, fold};
use sqlx::Connection as _;

/// Bytes that never repeat: a counter, spread.
struct Counting(AtomicU64);

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let next = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            chunk.copy_from_slice(&next[8 - chunk.len()..]);
        }
    }
}

/// Counts the databases made on the server.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A store and what is needed to fill it.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) url: String,
    pub(crate) clock: FixedClock,
    random: Counting,
    _folder: tempfile::TempDir,
}

/// The address of a PostgreSQL in which databases may be made.
#[expect(clippy::disallowed_methods, reason = "tests have no settings module")]
fn postgres() -> Option<String> {
    std::env::var("TEST_DATABASE_URL").ok().filter(|url| !url.is_empty())
}

/// Runs a test on SQLite, and on PostgreSQL when there is one.
pub(crate) async fn each(test: impl AsyncFn(&World)) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("store.db").display());
    let world = World::open(url, folder).await;
    test(&world).await;
    world.store.close().await;

    let Some(server) = postgres() else { return };
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("store_{}_{number}", std::process::id());
    let mut admin = sqlx::PgConnection::connect(&server).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut admin)
        .await
        .unwrap();
    let (base, _) = server.rsplit_once('/').unwrap();
    let world = World::open(format!("{base}/{name}"), tempfile::tempdir().unwrap()).await;
    test(&world).await;
    world.store.close().await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)")))
        .execute(&mut admin)
        .await
        .unwrap();
}

macro_rules! ids {
    ($($function:ident: $type:ident),*) => {$(
        pub(crate) fn $function(&self) -> $type {
            self.clock.advance(Duration::from_millis(1));
            $type::generate(&self.clock, &self.random)
        }
    )*};
}

impl World {
    async fn open(url: String, folder: tempfile::TempDir) -> Self {
        let store = Store::open(&url, StoreOptions::default()).await.unwrap();
        store.migrate().await.unwrap();
        Self {
            store,
            url,
            clock: FixedClock::at(Timestamp::from_millis(1_795_000_000_000)),
            random: Counting(AtomicU64::new(1)),
            _folder: folder,
        }
    }

    ids!(
        organization_id: OrganizationId, user_id: UserId, group_id: GroupId, token_id: TokenId,
        session_id: SessionId, credential_id: CredentialId, pipeline_id: PipelineId,
        binding_id: BindingId, run_id: RunId, job_id: JobId, workload_id: WorkloadId,
        runner_id: RunnerId, lease_id: LeaseId, event_id: EventId, request_id: RequestId
    );

    /// Runs a statement past the store.
    pub(crate) async fn raw(&self, sql: &'static str) {
        if let Some(path) = self.url.strip_prefix("sqlite://") {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
            let mut raw = sqlx::ConnectOptions::connect(&options).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut raw).await.unwrap();
        } else {
            let mut raw = sqlx::PgConnection::connect(&self.url).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut raw).await.unwrap();
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn after(&self, seconds: u64) -> Timestamp {
        self.now().plus(Duration::from_secs(seconds))
    }

    pub(crate) async fn organization(&self) -> OrganizationId {
        let id = self.organization_id();
        let record = OrganizationRecord {
            id: id.clone(),
            name: "Acme".to_owned(),
            created_at: self.now(),
            version: 1,
        };
        keyferry_store::organizations::create(&self.store, &record).await.unwrap();
        id
    }

    pub(crate) fn user_record(&self, email: &str) -> UserRecord {
        UserRecord {
            id: self.user_id(),
            email: email.to_owned(),
            email_folded: fold(email),
            name: "Someone".to_owned(),
            password_hash: None,
            invited_to: None,
            created_at: self.now(),
            disabled_at: None,
            version: 1,
        }
    }

    /// A user who is a member.
    pub(crate) async fn member(&self, organization: &OrganizationId) -> UserId {
        let user = self.user_record(&format!("{}@example.com", self.user_id()));
        keyferry_store::users::create(&self.store, &user).await.unwrap();
        let record = MemberRecord {
            organization_id: organization.clone(),
            user_id: user.id.clone(),
            role: Role::Member,
            created_at: self.now(),
            version: 1,
        };
        keyferry_store::members::create(&self.store, &record).await.unwrap();
        user.id
    }

    pub(crate) fn version_record(
        &self,
        credential: &CredentialRecord,
        number: i64,
    ) -> CredentialVersionRecord {
        CredentialVersionRecord {
            organization_id: credential.organization_id.clone(),
            credential_id: credential.id.clone(),
            number,
            public_fields: BTreeMap::from([("username".to_owned(), "bot".to_owned())]),
            value_names: vec![],
            sealed: Some(format!("sealed-{number}")),
            root_key: Some("root-1".to_owned()),
            created_by: credential.owner_id.to_string(),
            created_at: self.now(),
            previous_until: None,
            retired_at: None,
        }
    }

    pub(crate) async fn credential(
        &self,
        organization: &OrganizationId,
        owner: &UserId,
    ) -> CredentialRecord {
        let record = CredentialRecord {
            organization_id: organization.clone(),
            id: self.credential_id(),
            name: "bot".to_owned(),
            kind: CredentialKind::UsernamePassword,
            owner_id: owner.clone(),
            current_number: 1,
            created_at: self.now(),
            updated_at: self.now(),
            deleted_at: None,
            version: 1,
        };
        let first = self.version_record(&record, 1);
        keyferry_store::credentials::create(&self.store, &record, &first).await.unwrap();
        record
    }

    pub(crate) fn connection_record(
        &self,
        credential: &CredentialRecord,
        id: &str,
    ) -> ConnectionRecord {
        let mut record = ConnectionRecord {
            organization_id: credential.organization_id.clone(),
            id: id.parse().unwrap(),
            name: format!("The {id}"),
            name_folded: fold(&format!("The {id}")),
            connection_type: "git".to_owned(),
            settings: BTreeMap::from([("url".to_owned(), "https://git.example.com".to_owned())]),
            credential_id: credential.id.clone(),
            owner_id: credential.owner_id.clone(),
            scope: Scope::Private,
            health_status: keyferry_domain::connection::HealthStatus::Healthy,
            health_reason: None,
            health_field: None,
            checked_at: None,
            next_check_at: None,
            last_used_at: None,
            created_at: self.now(),
            updated_at: self.now(),
            deleted_at: None,
            version: 1,
        };
        record.set_health(Health::UNVERIFIED);
        record
    }

    pub(crate) async fn connection(
        &self,
        credential: &CredentialRecord,
        id: &str,
    ) -> ConnectionRecord {
        let record = self.connection_record(credential, id);
        keyferry_store::connections::create(&self.store, &record).await.unwrap();
        record
    }

    pub(crate) fn revision_record(&self, pipeline: &PipelineRecord, number: i64) -> RevisionRecord {
        RevisionRecord {
            organization_id: pipeline.organization_id.clone(),
            pipeline_id: pipeline.id.clone(),
            number,
            yaml: format!("stages: {{}} # {number}"),
            summary: serde_json::json!({ "jobs": number }),
            author_id: pipeline.owner_id.clone(),
            created_at: self.now(),
        }
    }

    pub(crate) async fn pipeline(
        &self,
        organization: &OrganizationId,
        owner: &UserId,
        name: &str,
    ) -> PipelineRecord {
        let record = PipelineRecord {
            organization_id: organization.clone(),
            id: self.pipeline_id(),
            name: name.to_owned(),
            name_folded: fold(name),
            owner_id: owner.clone(),
            current_revision: 1,
            last_run_number: 0,
            created_at: self.now(),
            updated_at: self.now(),
            deleted_at: None,
            version: 1,
        };
        let first = self.revision_record(&record, 1);
        keyferry_store::pipelines::create(&self.store, &record, &first).await.unwrap();
        record
    }

    pub(crate) fn binding_record(
        &self,
        pipeline: &PipelineRecord,
        connection: &ConnectionId,
        place: &str,
    ) -> BindingRecord {
        BindingRecord {
            organization_id: pipeline.organization_id.clone(),
            id: self.binding_id(),
            pipeline_id: pipeline.id.clone(),
            connection_id: connection.clone(),
            place: place.to_owned(),
            fingerprint: "f1".to_owned(),
            revision: 1,
            state: BindingState::NeedsApproval,
            reason: None,
            approved_by: None,
            approved_at: None,
            created_at: self.now(),
            updated_at: self.now(),
            version: 1,
        }
    }

    pub(crate) fn run_record(&self, pipeline: &PipelineRecord) -> RunRecord {
        RunRecord {
            organization_id: pipeline.organization_id.clone(),
            id: self.run_id(),
            pipeline_id: pipeline.id.clone(),
            revision: 1,
            number: 0,
            state: RunState::Queued,
            reason: None,
            run_trigger: "manual".to_owned(),
            started_by: pipeline.owner_id.to_string(),
            inputs: serde_json::json!({ "variables": { "A": "1" } }),
            comment: None,
            cancel_requested_at: None,
            cancel_requested_by: None,
            created_at: self.now(),
            started_at: None,
            finished_at: None,
            version: 1,
        }
    }

    pub(crate) async fn run(&self, pipeline: &PipelineRecord) -> RunRecord {
        let mut record = self.run_record(pipeline);
        record.number = keyferry_store::runs::create(&self.store, &record).await.unwrap();
        record
    }

    pub(crate) fn job_record(&self, run: &RunRecord, position: i64) -> JobRecord {
        JobRecord {
            organization_id: run.organization_id.clone(),
            id: self.job_id(),
            run_id: run.id.clone(),
            position,
            key: format!("job{position}"),
            name: format!("Job {position}"),
            stage: "build".to_owned(),
            attempt: 1,
            plan: serde_json::json!({ "steps": [] }),
            state: JobState::Queued,
            reason: None,
            isolation: None,
            runner_id: None,
            token_hash: None,
            heartbeat_due_at: None,
            heard_at: None,
            lost_claims: 0,
            uses: BTreeMap::new(),
            created_at: self.now(),
            queued_at: Some(self.now()),
            started_at: None,
            finished_at: None,
            version: 1,
        }
    }

    /// A queued job with everything around it.
    pub(crate) async fn queued_jobs(&self, count: i64) -> Vec<JobRecord> {
        let organization = self.organization().await;
        let owner = self.member(&organization).await;
        let pipeline = self.pipeline(&organization, &owner, "build").await;
        let run = self.run(&pipeline).await;
        let mut jobs = Vec::new();
        for position in 0..count {
            let job = self.job_record(&run, position);
            keyferry_store::jobs::create(&self.store, &job).await.unwrap();
            jobs.push(job);
        }
        jobs
    }

    pub(crate) fn lease(&self, organization: &OrganizationId, handle: Option<&str>) -> Lease {
        Lease {
            id: self.lease_id(),
            organization: organization.clone(),
            connection: "staging".parse().unwrap(),
            credential: self.credential_id(),
            credential_version: 1,
            holder: Holder::Workload { workload: self.workload_id() },
            operation: Operation::Git {
                repository: Some("team/app".parse().unwrap()),
                access: Access::Write,
            },
            narrowing: Narrowing::ScopedToken { scopes: vec!["write:repository".to_owned()] },
            handle: handle.map(str::to_owned),
            settings: BTreeMap::from([("base_url".to_owned(), "https://h".to_owned())]),
            issued_at: self.now(),
            expires_at: self.after(3600),
            handed_over_at: None,
            state: LeaseState::Pending,
            residue: None,
            attempts: 0,
            last_error: None,
        }
    }

    pub(crate) fn event(&self, organization: Option<&OrganizationId>, action: &str) -> AuditEvent {
        AuditEvent {
            id: self.event_id(),
            organization: organization.cloned(),
            at: self.now(),
            actor: ActorRef {
                kind: "user".to_owned(),
                id: Some(self.user_id().to_string()),
                via: None,
            },
            address: Some("127.0.0.1".to_owned()),
            request: self.request_id(),
            action: action.to_owned(),
            target: Some(Target::new("connection", "staging")),
            outcome: Outcome::Allowed,
            reason: None,
            data: BTreeMap::from([("isolation".to_owned(), "namespaces".to_owned())]),
        }
    }
}

/// A page of this many.
pub(crate) fn page_of(limit: u32) -> PageRequest {
    PageRequest { limit, cursor: None }
}

/// The page after the cursor.
pub(crate) fn page_after(limit: u32, cursor: Option<String>) -> PageRequest {
    PageRequest { limit, cursor }
}
