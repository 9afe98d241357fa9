//! A stand-in for the server: the runner's endpoints, leases as a test gives them, and what arrived.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Json, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, post, put};
use keyferry_api::client::Client;
use keyferry_api::leases::{IssueLease, LeaseIssued, LeaseMaterial};
use keyferry_api::problem::Problem;
use keyferry_api::repositories::{DeleteBranch, MergeBranch};
use keyferry_api::runner::{
    AppendLog, ClaimedJob, FinishJob, HeartbeatAnswer, JobConnection, UpdateStep,
};
use keyferry_api::workloads::{CreateWorkload, WorkloadConnection, WorkloadCreated};
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::lease::Narrowing;
use keyferry_domain::operation::Operation;
use keyferry_domain::run::JobState;
use keyferry_domain::secret::SecretString;
use keyferry_domain::{Clock as _, SystemClock};
use keyferry_pipeline::{Definition, RunInputs};
use keyferry_runner::{Runner, RunnerError, Settings};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// What the job's token is in every test; it must never be in a log.
pub(crate) const JOB_TOKEN: &str = "kf_job_thetokenofthejobitself";

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) log: BTreeMap<i64, String>,
    pub(crate) steps: Vec<(String, String, Option<String>)>,
    pub(crate) finished: Option<FinishJob>,
    pub(crate) leases: Vec<Operation>,
}

#[derive(Default)]
struct Inner {
    jobs: Mutex<VecDeque<ClaimedJob>>,
    jobs_seen: Mutex<BTreeMap<String, Seen>>,
    materials: Mutex<BTreeMap<String, LeaseMaterial>>,
    is_away: AtomicBool,
    cancel: AtomicBool,
    gone: AtomicBool,
    turned_away: AtomicUsize,
    claims: AtomicUsize,
    workloads_ended: AtomicUsize,
    lease_seconds: AtomicU64,
    places: Mutex<BTreeMap<String, (String, String)>>,
    authorities: Mutex<BTreeMap<String, String>>,
    merge: Mutex<Option<Handler<MergeBranch>>>,
    deletion: Mutex<Option<Handler<DeleteBranch>>>,
    loses_finish: AtomicBool,
    finish_calls: AtomicUsize,
}

type Handler<T> = Box<dyn FnMut(T) -> Response + Send>;

/// The stand-in. Each job has its own token, `<JOB_TOKEN><number>`.
#[derive(Clone)]
pub(crate) struct Server {
    inner: Arc<Inner>,
    address: String,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let inner = Arc::new(Inner { lease_seconds: 3_600.into(), ..Inner::default() });
        let app = axum::Router::new()
            .route("/api/v1/runner/claim", post(claim))
            .route("/api/v1/runner/job/heartbeat", post(heartbeat))
            .route("/api/v1/runner/job/log", post(log))
            .route("/api/v1/runner/job/step", put(step))
            .route("/api/v1/runner/job/finish", post(finish))
            .route("/api/v1/organizations/{organization}/leases", post(issue))
            .route("/api/v1/organizations/{organization}/workloads", post(start_workload))
            .route(
                "/api/v1/organizations/{organization}/connections/{connection}/merges",
                post(merge),
            )
            .route(
                "/api/v1/organizations/{organization}/connections/{connection}/branches",
                delete(delete_branch),
            )
            .route(
                "/api/v1/organizations/{organization}/workloads/{workload}",
                delete(end_workload),
            )
            .layer(middleware::from_fn_with_state(Arc::clone(&inner), away))
            .with_state(Arc::clone(&inner));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { inner, address }
    }

    /// What the connection hands over; without it, leases are refused.
    pub(crate) fn give(&self, connection: &str, username: &str, password: &str) {
        let material = LeaseMaterial::Password {
            username: username.to_owned(),
            password: SecretString::from(password).into(),
        };
        self.give_material(connection, material);
    }

    pub(crate) fn give_material(&self, connection: &str, material: LeaseMaterial) {
        self.inner.materials.lock().unwrap().insert(connection.to_owned(), material);
    }

    /// How long leases live from now on.
    pub(crate) fn set_lease_seconds(&self, seconds: u64) {
        self.inner.lease_seconds.store(seconds, Ordering::SeqCst);
    }

    /// What a workload's connection is, and where.
    pub(crate) fn place(&self, connection: &str, kind: &str, address: &str) {
        let place = (kind.to_owned(), address.to_owned());
        self.inner.places.lock().unwrap().insert(connection.to_owned(), place);
    }

    /// The certificate authority that a connection carries, from its file.
    pub(crate) fn trust(&self, connection: &str, certificate: &Path) {
        let pem = std::fs::read_to_string(certificate).unwrap();
        self.inner.authorities.lock().unwrap().insert(connection.to_owned(), pem);
    }

    pub(crate) fn on_merge(&self, handler: impl FnMut(MergeBranch) -> Response + Send + 'static) {
        *self.inner.merge.lock().unwrap() = Some(Box::new(handler));
    }

    pub(crate) fn on_deletion(
        &self,
        handler: impl FnMut(DeleteBranch) -> Response + Send + 'static,
    ) {
        *self.inner.deletion.lock().unwrap() = Some(Box::new(handler));
    }

    /// Ends the next job, but the answer to that does not arrive.
    pub(crate) fn lose_finish(&self) {
        self.inner.loses_finish.store(true, Ordering::SeqCst);
    }

    pub(crate) fn finish_calls(&self) -> usize {
        self.inner.finish_calls.load(Ordering::SeqCst)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn set_away(&self, is_away: bool) {
        self.inner.is_away.store(is_away, Ordering::SeqCst);
    }

    pub(crate) fn cancel_jobs(&self) {
        self.inner.cancel.store(true, Ordering::SeqCst);
    }

    /// Does not know the jobs any more.
    pub(crate) fn give_up(&self) {
        self.inner.gone.store(true, Ordering::SeqCst);
    }

    /// Waits until a job was told that it is not known; knows those that come now.
    pub(crate) async fn turn_one_away(&self) {
        let until = Instant::now() + Duration::from_mins(1);
        while self.inner.turned_away.load(Ordering::SeqCst) == 0 {
            assert!(Instant::now() < until, "no job came");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.inner.gone.store(false, Ordering::SeqCst);
    }

    /// Queues the first job of a pipeline; returns its number.
    pub(crate) fn queue(&self, yaml: &str, connections: &[(&str, &str, &str)]) -> String {
        let definition = Definition::parse(yaml).expect("a pipeline that can be read");
        let inputs =
            RunInputs { executor: "alice".to_owned(), build_number: 7, ..RunInputs::default() };
        let plan = definition.plan(&inputs).unwrap();
        let mut jobs = self.inner.jobs.lock().unwrap();
        let number = format!("{:02}", self.inner.claims.fetch_add(1, Ordering::SeqCst) + 1);
        jobs.push_back(ClaimedJob {
            job_id: format!("job_01arz3ndektsv4rrffq69g5f{number}").parse().unwrap(),
            run_id: "run_01arz3ndektsv4rrffq69g5fav".parse().unwrap(),
            organization_id: "org_01arz3ndektsv4rrffq69g5fav".parse().unwrap(),
            attempt: 1,
            job_token: SecretString::from(format!("{JOB_TOKEN}{number}")).into(),
            heartbeat_seconds: 1,
            plan: serde_json::to_value(&plan.jobs[0]).unwrap(),
            connections: connections
                .iter()
                .map(|(id, kind, address)| JobConnection {
                    connection_id: id.parse::<ConnectionId>().unwrap(),
                    connection_type: (*kind).to_owned(),
                    address: (!address.is_empty()).then(|| (*address).to_owned()),
                    ca_certificate: self.inner.authorities.lock().unwrap().get(*id).cloned(),
                    can_merge: *kind == "gitea",
                    can_delete_branches: *kind == "gitea",
                })
                .collect(),
        });
        number
    }

    /// Returns a client with a person's token.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.address, Some(SecretString::from("kf_pat_x")), &[]).unwrap()
    }

    pub(crate) fn workloads_ended(&self) -> usize {
        self.inner.workloads_ended.load(Ordering::SeqCst)
    }

    pub(crate) fn seen<T>(&self, job: &str, look: impl FnOnce(&Seen) -> T) -> T {
        let mut seen = self.inner.jobs_seen.lock().unwrap();
        look(seen.entry(job.to_owned()).or_default())
    }

    pub(crate) fn log(&self, job: &str) -> String {
        self.seen(job, |seen| seen.log.values().cloned().collect())
    }

    /// Waits until a look at a job gives something.
    pub(crate) async fn wait<T>(&self, job: &str, look: impl Fn(&Seen) -> Option<T>) -> T {
        let until = Instant::now() + Duration::from_mins(1);
        loop {
            if let Some(found) = self.seen(job, &look) {
                return found;
            }
            assert!(Instant::now() < until, "nothing came; the log is:\n{}", self.log(job));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for a text in a job's log.
    pub(crate) async fn wait_for_log(&self, job: &str, text: &str) {
        self.wait(job, |seen| {
            let log: String = seen.log.values().cloned().collect();
            log.contains(text).then_some(())
        })
        .await;
    }

    pub(crate) async fn wait_for_end(&self, job: &str) -> FinishJob {
        self.wait(job, |seen| seen.finished.clone()).await
    }
}

/// A runner of this stand-in, in a folder of its own.
pub(crate) struct Running {
    pub(crate) folder: PathBuf,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), RunnerError>>,
    _temporary: tempfile::TempDir,
}

impl Running {
    pub(crate) fn start(server: &Server, adjust: impl FnOnce(&mut Settings)) -> Self {
        let temporary = tempfile::Builder::new().prefix("kf").tempdir().unwrap();
        let folder = temporary.path().join("work");
        let mut settings = Settings::new(folder.clone(), helper_binary());
        settings.stop_grace = Duration::from_secs(2);
        settings.hidden_paths = vec![temporary.path().join("data")];
        std::fs::create_dir(temporary.path().join("data")).unwrap();
        std::fs::write(temporary.path().join("data/root.key"), "CANARY-ROOT-KEY").unwrap();
        adjust(&mut settings);
        let token = SecretString::from("kf_runner_x");
        let client = Client::new(&server.address, Some(token), &[]).unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(Runner::new(settings, client).run(shutdown.clone()));
        Self { folder, shutdown, task, _temporary: temporary }
    }

    pub(crate) fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// Waits for the runner's end.
    pub(crate) async fn ended(self) -> Result<(), RunnerError> {
        tokio::time::timeout(Duration::from_secs(30), self.task).await.unwrap().unwrap()
    }

    /// Returns what is left in the runner's folder.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        std::fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

/// Runs one pipeline to its end.
pub(crate) async fn run_one(
    server: &Server,
    yaml: &str,
    connections: &[(&str, &str, &str)],
) -> (FinishJob, String) {
    let job = server.queue(yaml, connections);
    let runner = Running::start(server, |_| ());
    let finished = server.wait_for_end(&job).await;
    assert!(runner.leftovers().is_empty(), "left: {:?}", runner.leftovers());
    let log = server.log(&job);
    assert!(!log.contains(JOB_TOKEN), "the job's token is in its log");
    (finished, log)
}

/// Returns a pipeline with one script.
pub(crate) fn script(run: &str) -> String {
    let indented = run.lines().collect::<Vec<_>>().join("\n                ");
    format!(
        "stages:\n  s:\n    jobs:\n      j:\n        steps:\n          one:\n            step: Command\n            with:\n              run: |\n                {indented}\n"
    )
}

pub(crate) fn assert_succeeded(finished: &FinishJob, log: &str) {
    assert_eq!(finished.state, JobState::Succeeded, "{:?}\n{log}", finished.reason);
}

/// Where cargo puts this room's example, which stands in for the `keyferry` binary.
pub(crate) fn helper_binary() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(Path::parent).unwrap().join("examples/helper");
    assert!(path.exists(), "build the example first: cargo build -p keyferry-runner --examples");
    path
}

type Shared = State<Arc<Inner>>;

pub(crate) fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    let body = Problem {
        kind: format!("/docs/errors#{code}"),
        title: "x".to_owned(),
        status: status.as_u16(),
        code: code.to_owned(),
        detail: detail.to_owned(),
        hint: Some("ask bob".to_owned()),
        request_id: "req_x".to_owned(),
        errors: Vec::new(),
        current_version: None,
        used_by: Vec::new(),
        retry_after_seconds: None,
    };
    (status, Json(body)).into_response()
}

async fn away(State(inner): Shared, request: Request, next: Next) -> Response {
    if inner.is_away.load(Ordering::SeqCst) {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "away");
    }
    if inner.gone.load(Ordering::SeqCst) && !request.uri().path().ends_with("claim") {
        inner.turned_away.fetch_add(1, Ordering::SeqCst);
        return problem(StatusCode::UNAUTHORIZED, "unauthenticated", "the job is over");
    }
    next.run(request).await
}

fn with_job<T>(inner: &Inner, headers: &HeaderMap, change: impl FnOnce(&mut Seen) -> T) -> T {
    let token = headers["authorization"].to_str().unwrap();
    let job = token.strip_prefix("Bearer ").unwrap().strip_prefix(JOB_TOKEN).unwrap();
    change(inner.jobs_seen.lock().unwrap().entry(job.to_owned()).or_default())
}

async fn claim(State(inner): Shared) -> Response {
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        if let Some(job) = inner.jobs.lock().unwrap().pop_front() {
            return Json(job).into_response();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    StatusCode::NO_CONTENT.into_response()
}

async fn heartbeat(State(inner): Shared) -> Json<HeartbeatAnswer> {
    Json(HeartbeatAnswer {
        cancel_requested: inner.cancel.load(Ordering::SeqCst),
        due_at: SystemClock.now().plus(Duration::from_secs(1)),
    })
}

async fn log(State(inner): Shared, headers: HeaderMap, Json(body): Json<AppendLog>) -> StatusCode {
    with_job(&inner, &headers, |seen| {
        assert!(body.text.len() <= 256 * 1024);
        assert!(body.sequence <= i64::try_from(seen.log.len()).unwrap() + 1, "a part is missing");
        seen.log.entry(body.sequence).or_insert(body.text);
    });
    StatusCode::NO_CONTENT
}

async fn step(
    State(inner): Shared,
    headers: HeaderMap,
    Json(body): Json<UpdateStep>,
) -> StatusCode {
    with_job(&inner, &headers, |seen| {
        seen.steps.push((body.key, body.state.to_string(), body.reason));
    });
    StatusCode::NO_CONTENT
}

async fn finish(State(inner): Shared, headers: HeaderMap, Json(body): Json<FinishJob>) -> Response {
    inner.finish_calls.fetch_add(1, Ordering::SeqCst);
    let is_lost = inner.loses_finish.load(Ordering::SeqCst);
    let is_over = with_job(&inner, &headers, |seen| seen.finished.is_some());
    if is_over {
        assert!(is_lost, "a job ends once");
        return problem(StatusCode::UNAUTHORIZED, "unauthenticated", "the job is over");
    }
    with_job(&inner, &headers, |seen| seen.finished = Some(body));
    if is_lost { lost() } else { StatusCode::NO_CONTENT.into_response() }
}

/// What a proxy says when the server behind it goes away in the middle of a call.
pub(crate) fn lost() -> Response {
    (StatusCode::BAD_GATEWAY, "bad gateway").into_response()
}

async fn merge(State(inner): Shared, Json(body): Json<MergeBranch>) -> Response {
    let mut handler = inner.merge.lock().unwrap();
    handler.as_mut().expect("a merge that was not expected")(body)
}

async fn delete_branch(State(inner): Shared, Query(query): Query<DeleteBranch>) -> Response {
    let mut handler = inner.deletion.lock().unwrap();
    handler.as_mut().expect("a deletion that was not expected")(query)
}

/// Starts a workload, whose token is that of job 99; each connection that was not given a place is a
/// registry at `<id>.example.com`.
async fn start_workload(
    State(inner): Shared,
    Json(body): Json<CreateWorkload>,
) -> Json<WorkloadCreated> {
    let connections = body
        .connections
        .into_iter()
        .map(|id| {
            let place = inner.places.lock().unwrap().get(id.as_str()).cloned();
            let (kind, address) = place.unwrap_or_else(|| {
                ("private_docker_registry".to_owned(), format!("{id}.example.com"))
            });
            WorkloadConnection {
                address: Some(address),
                connection_type: kind,
                ca_certificate: inner.authorities.lock().unwrap().get(id.as_str()).cloned(),
                connection_id: id,
            }
        })
        .collect();
    Json(WorkloadCreated {
        id: "work_01arz3ndektsv4rrffq69g5fav".parse().unwrap(),
        token: SecretString::from(format!("{JOB_TOKEN}99")).into(),
        expires_at: SystemClock.now().plus(Duration::from_hours(1)),
        connections,
    })
}

async fn end_workload(State(inner): Shared) -> StatusCode {
    inner.workloads_ended.fetch_add(1, Ordering::SeqCst);
    StatusCode::NO_CONTENT
}

async fn issue(State(inner): Shared, headers: HeaderMap, Json(body): Json<IssueLease>) -> Response {
    // Long enough for a second ask to come while the first is under way.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let material = inner.materials.lock().unwrap().get(body.connection_id.as_str()).cloned();
    let Some(material) = material else {
        return problem(StatusCode::FORBIDDEN, "connection_not_bound", "nobody approved this");
    };
    with_job(&inner, &headers, |seen| seen.leases.push(body.operation));
    Json(LeaseIssued {
        lease_id: "lease_01arz3ndektsv4rrffq69g5fav".parse().unwrap(),
        connection_id: body.connection_id,
        connection_type: "git".to_owned(),
        narrowing: serde_json::from_value::<Narrowing>(json!({"kind": "stored"})).unwrap(),
        expires_at: SystemClock
            .now()
            .plus(Duration::from_secs(inner.lease_seconds.load(Ordering::SeqCst))),
        material,
    })
    .into_response()
}
