//! One job, from what the server handed over to what it is told at the end.
//!
//! Whatever happens, in this order: the job's processes are dead, its folders are wiped, its log has
//! arrived, and only then the server hears that it is over (which ends its leases and its token).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keyferry_api::client::{Client, ClientError};
use keyferry_api::runner::{ClaimedJob, FinishJob, Heartbeat, UpdateStep};
use keyferry_delivery::address::Address;
use keyferry_domain::id::OrganizationId;
use keyferry_domain::operation::Access;
use keyferry_domain::run::{Isolation, JobState, StepState};
use keyferry_domain::secret::SecretString;
use keyferry_pipeline::JobPlan;
use keyferry_pipeline::plan::{CheckedOut, SourcePlan, StepPlan, source_variables};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::git::{self, GitAccess};
use crate::isolation::Confinement;
use crate::job_socket::{Connection, Desk, Listener, refusal_line};
use crate::leases::Leases;
use crate::log::JobLog;
use crate::process::Processes;
use crate::secrets::{Secrets, mask_text};
use crate::settings::Settings;
use crate::steps::{self, StepError};
use crate::trust::Trust;
use crate::workspace::{Workspace, text};

/// How long the first sign of life is tried: about as long as the server waits for it.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(30);

/// Everything that the parts of a job share.
pub(crate) struct JobContext {
    pub(crate) client: Client,
    pub(crate) organization: OrganizationId,
    pub(crate) plan: JobPlan,
    pub(crate) connections: Vec<keyferry_api::runner::JobConnection>,
    pub(crate) workspace: Arc<Workspace>,
    pub(crate) processes: Arc<Processes>,
    pub(crate) log: JobLog,
    pub(crate) desk: Arc<Desk>,
    pub(crate) access: tokio::sync::Mutex<GitAccess>,
    base: BTreeMap<String, SecretString>,
    variables: Mutex<BTreeMap<String, String>>,
    pub(crate) checked_out: Mutex<Vec<CheckedOut>>,
}

impl JobContext {
    /// Returns the environment of the job's processes: what we set, and the job's variables.
    pub(crate) fn environment(&self) -> BTreeMap<String, SecretString> {
        let mut environment = self.base.clone();
        let variables = self.variables.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, value) in variables.iter() {
            environment.insert(name.clone(), value.clone().into());
        }
        environment
    }

    /// Adds what leads Git to the job's keys.
    pub(crate) async fn git_environment(&self, environment: &mut BTreeMap<String, SecretString>) {
        self.access.lock().await.extend(environment);
    }

    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.variables.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Replaces `${NAME}` in a step's field.
    pub(crate) fn substitute(&self, text: &str) -> Result<String, StepError> {
        keyferry_pipeline::substitute(text, |name| self.variable(name))
            .map_err(|error| StepError::Failed(format!("failed to {error}")))
    }

    /// Returns a source of the job, downloaded or only changed.
    pub(crate) fn source(&self, id: &str) -> Result<&SourcePlan, StepError> {
        self.plan
            .changed_sources
            .iter()
            .chain(&self.plan.sources)
            .find(|source| source.id == id)
            .ok_or_else(|| StepError::Failed(format!("the job has no source `{id}`")))
    }

    /// Returns the folder that a step starts in.
    pub(crate) fn folder(&self, step: &StepPlan) -> PathBuf {
        let id = step.workspace.as_ref().or(self.plan.workspace.as_ref());
        match id.map(|id| self.workspace.source(id)).filter(|path| path.is_dir()) {
            Some(path) => path,
            None => self.workspace.sources(),
        }
    }

    pub(crate) fn mask(&self, text: &str) -> String {
        mask_text(self.log.secrets(), text)
    }
}

/// Why a job was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StopReason {
    Canceled,
    TimedOut,
    /// The server gave it up, or does not answer any more.
    Lost,
    ShutDown,
}

/// Tells every part of a job to stop; the first reason counts.
#[derive(Clone)]
struct Stop {
    token: CancellationToken,
    reason: Arc<Mutex<Option<StopReason>>>,
}

impl Stop {
    fn stop(&self, reason: StopReason) {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
        self.token.cancel();
    }

    fn reason(&self) -> Option<StopReason> {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all jobs of a runner share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) client: Client,
    pub(crate) confinement: Arc<Confinement>,
    pub(crate) leaked_descriptors: Arc<[i32]>,
}

/// How a job ended.
struct Outcome {
    state: JobState,
    reason: Option<String>,
}

impl Outcome {
    fn failed(reason: impl Into<String>) -> Self {
        Self { state: JobState::Failed, reason: Some(reason.into()) }
    }
}

/// Runs a job to its end and tells the server.
pub(crate) async fn run(shared: Arc<Shared>, claimed: ClaimedJob, shutdown: CancellationToken) {
    let job = claimed.job_id.clone();
    let token = claimed.job_token.clone().into_secret();
    let once = shared.client.with_token(token.clone());
    if !has_arrived(&once, &claimed, &shutdown).await {
        return;
    }
    info!(%job, run = %claimed.run_id, "job started");
    let client = once.with_retries(shared.settings.server_away_limit);
    let secrets = Arc::new(Secrets::new());
    secrets.add(token.expose().as_bytes());
    let stop = Stop { token: CancellationToken::new(), reason: Arc::default() };
    let log_gone = CancellationToken::new();
    let (log, log_task) = JobLog::start(client.clone(), Arc::clone(&secrets), log_gone.clone());
    let leases = Arc::new(Leases::new(
        &once,
        claimed.organization_id.clone(),
        Arc::clone(&secrets),
        stop.token.clone(),
    ));
    let watch = tokio::spawn(watch(
        once,
        Arc::clone(&leases),
        Duration::from_secs(u64::from(claimed.heartbeat_seconds)),
        stop.clone(),
        log_gone,
        shutdown,
    ));
    let outcome = execute(&shared, &claimed, &client, &leases, log, &stop).await;
    let _ = log_task.await;
    watch.abort();
    info!(%job, state = %outcome.state, "job ended");
    if stop.reason() == Some(StopReason::Lost) {
        return;
    }
    let body = FinishJob {
        state: outcome.state,
        reason: outcome.reason.map(|reason| mask_text(&secrets, &reason)),
        uses: leases.uses(),
    };
    match client.finish_job(&body).await {
        Ok(()) => {}
        // The call before was taken and its answer got lost, or the server ended the job itself.
        Err(error) if is_over(&error) => info!(%job, "the server knows that the job is over"),
        Err(error) => warn!(%job, %error, "the server could not be told that the job is over"),
    }
}

/// Says that the job has arrived, and tells whether the server has taken that. A claim that it
/// hears nothing of it gives to another runner, so nothing of a job may run before.
async fn has_arrived(client: &Client, claimed: &ClaimedJob, shutdown: &CancellationToken) -> bool {
    let client = client.with_retries(ARRIVAL_LIMIT);
    let first = Heartbeat::default();
    let said = tokio::select! {
        () = shutdown.cancelled() => return false,
        said = client.send_heartbeat(&first) => said,
    };
    match said {
        Ok(_) => true,
        Err(error) => {
            warn!(job = %claimed.job_id, %error, "a claimed job is left to another runner");
            false
        }
    }
}

/// Tells whether the server takes nothing more from this job: its token ended with it.
fn is_over(error: &ClientError) -> bool {
    matches!(error.problem().map(|problem| problem.status), Some(401 | 403 | 404 | 409 | 410))
}

/// Tells the server that the job is alive, and the job when it has to stop.
async fn watch(
    client: Client,
    leases: Arc<Leases>,
    limit: Duration,
    stop: Stop,
    log_gone: CancellationToken,
    shutdown: CancellationToken,
) {
    // Three tries within the limit.
    let pause = (limit / 3).max(Duration::from_millis(200));
    loop {
        tokio::select! {
            () = shutdown.cancelled(), if !stop.token.is_cancelled() => stop.stop(StopReason::ShutDown),
            () = log_gone.cancelled(), if !stop.token.is_cancelled() => stop.stop(StopReason::Lost),
            () = tokio::time::sleep(pause) => {
                let beat = Heartbeat { uses: leases.uses() };
                // A server that hangs must not keep a stop from being seen.
                let answer = tokio::time::timeout(pause * 2, client.send_heartbeat(&beat)).await;
                match answer {
                    Err(_) => warn!("no answer to a sign of life"),
                    Ok(Ok(answer)) if answer.cancel_requested => stop.stop(StopReason::Canceled),
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) if is_over(&error) => {
                        info!("the server has given the job up");
                        stop.stop(StopReason::Lost);
                    }
                    // Away for a while is different: the job goes on, and the server decides when it
                    // is back.
                    Ok(Err(error)) => warn!(%error, "a sign of life was not taken"),
                }
            }
        }
    }
}

/// Makes the job's place, runs its steps, and takes everything away again.
async fn execute(
    shared: &Shared,
    claimed: &ClaimedJob,
    client: &Client,
    leases: &Arc<Leases>,
    log: JobLog,
    stop: &Stop,
) -> Outcome {
    let plan: JobPlan = match serde_json::from_value(claimed.plan.clone()) {
        Ok(plan) => plan,
        Err(error) => return Outcome::failed(format!("the job's plan cannot be read: {error}")),
    };
    let name = format!("{}-{}", claimed.job_id, claimed.attempt);
    let isolation = shared.confinement.isolation();
    let workspace = match Workspace::create(&shared.settings, &name, isolation) {
        Ok(workspace) => Arc::new(workspace),
        Err(error) => return Outcome::failed(format!("the job's folder cannot be made: {error}")),
    };
    let processes = Arc::new(Processes::new(
        Arc::clone(&shared.confinement),
        &workspace,
        stop.token.clone(),
        shared.settings.stop_grace,
        Arc::clone(&shared.leaked_descriptors),
    ));
    let planned = Duration::from_mins(u64::from(plan.timeout_minutes.max(1)));
    let timeout = shared.settings.job_time_limit.map_or(planned, |limit| limit.min(planned));
    let timer = tokio::spawn({
        let stop = stop.clone();
        async move {
            tokio::time::sleep(timeout).await;
            stop.stop(StopReason::TimedOut);
        }
    });
    let outcome =
        run_steps(shared, claimed, client, leases, log, plan, &workspace, &processes).await;
    timer.abort();
    processes.kill_rest(None).await;
    drop(processes);
    // Files of a big checkout take a while; other jobs must not wait for that.
    let _ = tokio::task::spawn_blocking(move || drop(workspace)).await;
    match stop.reason() {
        None => outcome,
        Some(StopReason::Canceled) => {
            Outcome { state: JobState::Canceled, reason: Some("canceled".to_owned()) }
        }
        Some(StopReason::TimedOut) => {
            Outcome::failed(format!("it took longer than {}", written(timeout)))
        }
        Some(StopReason::ShutDown) => Outcome::failed("its runner was stopped"),
        Some(StopReason::Lost) => Outcome::failed("the server has given it up"),
    }
}

/// Returns a time limit for people.
fn written(limit: Duration) -> String {
    match limit.as_secs() {
        60 => "1 minute".to_owned(),
        seconds if seconds.is_multiple_of(60) => format!("{} minutes", seconds / 60),
        seconds => format!("{seconds} seconds"),
    }
}

#[expect(clippy::too_many_arguments, reason = "one caller; a struct would only repeat the names")]
async fn run_steps(
    shared: &Shared,
    claimed: &ClaimedJob,
    client: &Client,
    leases: &Arc<Leases>,
    log: JobLog,
    plan: JobPlan,
    workspace: &Arc<Workspace>,
    processes: &Arc<Processes>,
) -> Outcome {
    let connections = claimed
        .connections
        .iter()
        .map(|one| Connection {
            id: one.connection_id.clone(),
            kind: one.connection_type.clone(),
            address: one.address.as_deref().and_then(|text| Address::parse(text).ok()),
            ca_certificate: one.ca_certificate.clone(),
        })
        .collect();
    let desk = Arc::new(Desk::new(Arc::clone(leases), connections));
    let opened = open_socket(workspace, &desk, processes, &log).and_then(|listener| {
        let registries: Vec<String> = desk
            .connections()
            .iter()
            .filter(|one| crate::job_socket::has_images(&one.kind))
            .flat_map(crate::job_socket::registry_names)
            .collect();
        workspace.write_docker_configuration(&registries)?;
        let trust = Trust::write(workspace, desk.connections(), workspace.ca_bundle())?;
        Ok((listener, GitAccess::start(workspace)?, trust))
    });
    let (_listener, access, trust) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            return Outcome::failed(format!("the job's socket cannot be opened: {error}"));
        }
    };
    if shared.confinement.isolation() == Isolation::Process {
        let why = shared.confinement.weakness().unwrap_or("not tried");
        log.line(&format!("keyferry: this job is not in namespaces of its own ({why})")).await;
    }
    for place in trust.unclear() {
        log.line(&format!("keyferry: {place}")).await;
    }
    let helper = text(&workspace.helper_path("git-credential-keyferry"));
    let mut base = workspace.environment();
    base.extend(git::base_environment(workspace, &helper, &trust));
    base.insert("KEYFERRY_JOB_ID".to_owned(), claimed.job_id.to_string().into());
    base.insert("KEYFERRY_RUN_ID".to_owned(), claimed.run_id.to_string().into());
    let project =
        plan.workspace.as_ref().map_or_else(|| workspace.sources(), |id| workspace.source(id));
    base.insert("PROJECT_DIR".to_owned(), text(&project).into());
    let job = JobContext {
        client: client.clone(),
        organization: claimed.organization_id.clone(),
        variables: Mutex::new(plan.variables.clone()),
        plan,
        connections: claimed.connections.clone(),
        workspace: Arc::clone(workspace),
        processes: Arc::clone(processes),
        log,
        desk,
        access: tokio::sync::Mutex::new(access),
        base,
        checked_out: Mutex::default(),
    };
    let mut failure = check_out_sources(&job).await.err();
    for (number, step) in job.plan.steps.iter().enumerate() {
        if failure.is_some() {
            report(&job, step, StepState::Skipped, None).await;
            continue;
        }
        report(&job, step, StepState::Running, None).await;
        job.log.line(&format!("==> {}", step.name)).await;
        match steps::run(&job, number, step).await {
            Ok(()) => report(&job, step, StepState::Succeeded, None).await,
            // Whatever failed while the job was being stopped, failed because of that.
            Err(_) if job.processes.stop.is_cancelled() => {
                report(&job, step, StepState::Canceled, None).await;
                failure = Some(StepError::Stopped);
            }
            Err(StepError::Stopped) => {
                report(&job, step, StepState::Canceled, None).await;
                failure = Some(StepError::Stopped);
            }
            Err(StepError::Failed(reason)) => {
                let reason = job.mask(&reason);
                job.log.line(&format!("keyferry: {}: {reason}", step.id)).await;
                report(&job, step, StepState::Failed, Some(reason.clone())).await;
                failure = Some(StepError::Failed(format!("step `{}`: {reason}", step.id)));
            }
        }
    }
    match failure {
        None => Outcome { state: JobState::Succeeded, reason: None },
        Some(StepError::Failed(reason)) => Outcome::failed(reason),
        Some(StepError::Stopped) => Outcome::failed("stopped"),
    }
}

fn open_socket(
    workspace: &Workspace,
    desk: &Arc<Desk>,
    processes: &Arc<Processes>,
    log: &JobLog,
) -> std::io::Result<Listener> {
    let processes = Arc::clone(processes);
    let log = log.clone();
    Listener::open(
        &workspace.socket(),
        Arc::clone(desk),
        Arc::new(move |process| processes.owns(process)),
        Arc::new(move |refusal| {
            let line = refusal_line(&refusal);
            if refusal.code == "not_in_job" {
                warn!("a process that is not of the job asked on its socket");
                return;
            }
            // Tools like Docker throw the reason away, so the log has it.
            let log = log.clone();
            tokio::spawn(async move { log.line(&line).await });
        }),
    )
}

async fn check_out_sources(job: &JobContext) -> Result<(), StepError> {
    for source in &job.plan.sources {
        let failed = |reason: String| {
            StepError::Failed(format!("source `{}`: {}", source.id, job.mask(&reason)))
        };
        let outcome = async {
            if let Some(connection) = &source.connection {
                let mut access = job.access.lock().await;
                access
                    .open(&job.workspace, &job.desk, connection, &source.endpoint, Access::Read)
                    .await
                    .map_err(|refusal| failed(steps::refused(&refusal)))?;
            }
            git::check_out(job, source).await.map_err(|error| match error {
                error if error.is_stop() => StepError::Stopped,
                error => failed(steps::explain(&error)),
            })
        };
        match outcome.await {
            Ok(one) => job.checked_out.lock().unwrap_or_else(PoisonError::into_inner).push(one),
            Err(error) => {
                if let StepError::Failed(reason) = &error {
                    job.log.line(&format!("keyferry: {reason}")).await;
                }
                return Err(error);
            }
        }
    }
    let checked_out = job.checked_out.lock().unwrap_or_else(PoisonError::into_inner);
    let variables = source_variables(&checked_out, job.plan.workspace.as_deref());
    job.variables.lock().unwrap_or_else(PoisonError::into_inner).extend(variables);
    Ok(())
}

async fn report(job: &JobContext, step: &StepPlan, state: StepState, reason: Option<String>) {
    let body = UpdateStep { key: step.id.clone(), state, reason };
    match job.client.update_step(&body).await {
        Ok(()) => {}
        // The next sign of life tells, and stops the job.
        Err(error) if is_over(&error) => info!(step = step.id, "the server has given the job up"),
        Err(error) => warn!(%error, step = step.id, "the server does not take a step's state"),
    }
}
