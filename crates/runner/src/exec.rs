//! `keyferry exec`: one command outside pipelines, with the same socket that jobs have.
//!
//! The command gets a workload token's worth of access for as long as it runs, and not the token
//! itself: its tools ask on the socket. It keeps its own standard streams, its folder and its
//! environment, and is not confined: it is the caller's own command on the caller's own machine.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use keyferry_api::client::{Client, ClientError};
use keyferry_api::workloads::CreateWorkload;
use keyferry_delivery::address::Address;
use keyferry_delivery::environment::{self, EnvironmentError, Template};
use keyferry_delivery::service_binding::{self, InvalidBinding};
use keyferry_delivery::socket::Refusal;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::OrganizationId;
use keyferry_domain::operation::Operation;
use keyferry_domain::secret::SecretString;

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::beneath;
use crate::family::{descends_from, forget, start};
use crate::git::{GitAccess, base_environment};
use crate::isolation::protect_this_process;
use crate::job_socket::{Connection, Desk, Listener, has_images, registry_names};
use crate::leases::Leases;
use crate::private;
use crate::process::plain_command;
use crate::secrets::Secrets;
use crate::settings::Settings;
use crate::trust::Trust;
use crate::workspace::Workspace;

/// What the caller speaks with; the command is to have its connections and nothing else.
const TOKEN_VARIABLES: &[&str] = &[
    "KEYFERRY_TOKEN",
    "KEYFERRY_TOKEN_FILE",
    "KEYFERRY_RUNNER_TOKEN",
    "KEYFERRY_RUNNER_TOKEN_FILE",
];

/// What Git trusts at every address, above all that is said for a single one.
const GIT_CA_BUNDLE: &str = "GIT_SSL_CAINFO";

/// A command to run with connections within reach.
#[derive(Debug)]
pub struct Exec {
    /// The program and its arguments; at least one.
    pub command: Vec<OsString>,
    /// Names for connections, and their IDs. The command's tools may use each, for writing too.
    pub connections: BTreeMap<String, ConnectionId>,
    /// Variables made of connections, `${name.field}`, for tools without a helper.
    pub env: BTreeMap<String, String>,
    /// How long it may take at most; the server's default when absent.
    pub lifetime_seconds: Option<u32>,
    /// The `keyferry` binary, which the command finds under the names of the helpers.
    pub helper_binary: PathBuf,
    /// The `PATH` that the command would have had.
    pub path: Option<OsString>,
    /// What the caller's Git trusts instead of the system's certificates: `GIT_SSL_CAINFO`.
    pub git_ca_bundle: Option<PathBuf>,
    /// Where private folders may be made when the machine has no memory file system for it.
    pub work_folder: PathBuf,
}

/// The command was not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// No command.
    #[error("run nothing; give a command after `--`")]
    NoCommand,
    /// The server does not give access.
    #[error("start a workload")]
    Workload(#[source] ClientError),
    /// A connection is refused.
    #[error("use a connection")]
    Refused(#[source] Refusal),
    /// A variable cannot be made.
    #[error("make the variable `{name}`")]
    Environment {
        /// The variable.
        name: String,
        /// Why.
        #[source]
        source: EnvironmentError,
    },
    /// A connection's values do not make a folder.
    #[error("make the service binding `{name}`")]
    Binding {
        /// The connection's name.
        name: String,
        /// Why.
        #[source]
        source: InvalidBinding,
    },
    /// A private folder, or the socket in it, cannot be made.
    #[error("prepare a private folder")]
    Folder(#[source] std::io::Error),
    /// The program does not start.
    #[error("start `{program}`")]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Runs a command and returns its exit code; 128 plus the number when a signal ended it.
///
/// `client` speaks with the caller's own token. `on_refusal` is told why a tool got nothing, since
/// some tools throw the reason away.
pub async fn exec(
    client: &Client,
    organization: &OrganizationId,
    request: Exec,
    on_refusal: impl Fn(&Refusal) + Send + Sync + 'static,
) -> Result<i32, ExecError> {
    let label = match request.command.first() {
        Some(program) => {
            let program = PathBuf::from(program);
            program.file_name().unwrap_or_default().to_string_lossy().chars().take(100).collect()
        }
        None => return Err(ExecError::NoCommand),
    };
    // Material is in this process's memory from here on.
    protect_this_process().map_err(ExecError::Folder)?;
    let body = CreateWorkload {
        connections: request.connections.values().cloned().collect(),
        lifetime_seconds: request.lifetime_seconds,
        label,
    };
    let workload =
        client.create_workload(organization, &body).await.map_err(ExecError::Workload)?;
    let holder = client.with_token(workload.token.clone().into_secret());
    let leases = Arc::new(Leases::new(
        &holder,
        organization.clone(),
        Arc::new(Secrets::new()),
        CancellationToken::new(),
    ));
    let connections = workload
        .connections
        .iter()
        .map(|one| Connection {
            id: one.connection_id.clone(),
            kind: one.connection_type.clone(),
            address: one.address.as_deref().and_then(|text| Address::parse(text).ok()),
            ca_certificate: one.ca_certificate.clone(),
        })
        .collect();
    let desk = Arc::new(Desk::new(leases, connections));
    desk.name(request.connections.clone());
    let outcome = run(&desk, &request, workload.id.as_str(), Arc::new(on_refusal)).await;
    // Also after a failure: what was minted ends now and not at its own time.
    if let Err(error) = client.end_workload(organization, &workload.id).await {
        tracing::warn!(%error, "the workload could not be ended; its leases end with its lifetime");
    }
    outcome
}

async fn run(
    desk: &Arc<Desk>,
    request: &Exec,
    name: &str,
    on_refusal: Arc<dyn Fn(&Refusal) + Send + Sync>,
) -> Result<i32, ExecError> {
    let settings = Settings::new(request.work_folder.clone(), request.helper_binary.clone());
    private::sweep(&request.work_folder);
    let workspace = Workspace::create(&settings, name, keyferry_domain::run::Isolation::Process)
        .map_err(ExecError::Folder)?;
    let registries: Vec<String> = desk
        .connections()
        .iter()
        .filter(|one| has_images(&one.kind))
        .flat_map(registry_names)
        .collect();
    workspace.write_docker_configuration(&registries).map_err(ExecError::Folder)?;
    let mut access = GitAccess::start(&workspace).map_err(ExecError::Folder)?;
    for connection in request.connections.values() {
        access.open_place(&workspace, desk, connection).await.map_err(ExecError::Refused)?;
    }
    let trust = trust(desk, request, &workspace).map_err(ExecError::Folder)?;
    let environment = environment(desk, request, &workspace, &access, &trust).await?;
    // Everything that this process starts is the command: nothing else is started here.
    let own = std::collections::BTreeSet::from([std::process::id()]);
    let _listener = Listener::open(
        &workspace.socket(),
        Arc::clone(desk),
        Arc::new(move |process| process != std::process::id() && descends_from(process, &own)),
        Arc::new(move |refusal| on_refusal(&refusal)),
    )
    .map_err(ExecError::Folder)?;
    let program = request.command.first().cloned().unwrap_or_default();
    let failed =
        |source| ExecError::Start { program: program.to_string_lossy().into_owned(), source };
    let mut command = plain_command(&program);
    command.args(request.command.iter().skip(1)).kill_on_drop(true);
    for name in TOKEN_VARIABLES {
        command.env_remove(name);
    }
    if !trust.git_configuration().is_empty() {
        command.env_remove(GIT_CA_BUNDLE);
    }
    for (name, value) in &environment {
        // A caller's empty token is no token, and need not be there at all.
        if !(value.expose().is_empty() && TOKEN_VARIABLES.contains(&name.as_str())) {
            command.env(name, value.expose());
        }
    }
    let mut interrupted = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hung_up = signal(SignalKind::hangup()).map_err(failed)?;
    let mut child = start(&mut command, &[], None).map_err(failed)?;
    let process = child.id();
    let status = loop {
        // This process has to outlive the command, to end its leases. A terminal sends an interrupt
        // to both; what is sent to this process alone is passed on.
        tokio::select! {
            status = child.wait() => break status.map_err(failed)?,
            _ = interrupted.recv() => {}
            _ = terminated.recv() => pass_on(&child),
            _ = hung_up.recv() => pass_on(&child),
        }
    };
    if let Some(process) = process {
        forget(process);
    }
    let signal = std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or(0);
    Ok(status.code().unwrap_or(128 + signal))
}

fn pass_on(child: &tokio::process::Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // Gone already is as good.
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// Writes whom the command's Git trusts at the connections' addresses. What the caller has set up
/// for all addresses would be stronger, so it is said anew in the same place; it is left alone where
/// no connection has an authority of its own.
fn trust(desk: &Desk, request: &Exec, workspace: &Workspace) -> std::io::Result<Trust> {
    let connections = desk.connections();
    let has_authority = connections.iter().any(|one| one.ca_certificate.is_some());
    let bundle = request.git_ca_bundle.as_deref().filter(|_| has_authority);
    let trust = Trust::write(workspace, connections, bundle)?;
    for place in trust.unclear() {
        tracing::warn!("{place}");
    }
    Ok(trust)
}

/// Returns what is added to the command's environment.
async fn environment(
    desk: &Desk,
    request: &Exec,
    workspace: &Workspace,
    access: &GitAccess,
    trust: &Trust,
) -> Result<BTreeMap<String, SecretString>, ExecError> {
    let helper = workspace.helper_path("git-credential-keyferry");
    let mut all = base_environment(workspace, &helper.to_string_lossy(), trust);
    // The caller's own set-up stays, except for who answers for credentials: the machine may need
    // its proxies and certificates.
    all.remove("GIT_CONFIG_NOSYSTEM");
    if access.is_empty() {
        all.remove("GIT_SSH_COMMAND");
        all.remove("SSH_ASKPASS");
    } else {
        access.extend(&mut all);
    }
    let job = workspace.environment();
    for name in ["DOCKER_CONFIG", "KEYFERRY_SOCKET", "REGISTRY_AUTH_FILE", "SERVICE_BINDING_ROOT"] {
        if let Some(value) = job.get(name) {
            all.insert(name.to_owned(), value.clone());
        }
    }
    let mut path = OsString::from(helper.parent().unwrap_or(&workspace.sources()));
    if let Some(rest) = &request.path {
        path.push(":");
        path.push(rest);
    }
    all.insert("PATH".to_owned(), path.to_string_lossy().into_owned().into());
    for (name, id) in &request.connections {
        let known = desk.connections().iter().find(|one| one.id == *id);
        if let Some(known) = known.filter(|one| one.kind == "generic" || one.kind == "certificate")
        {
            let held =
                desk.leases().get(id, &Operation::Material).await.map_err(ExecError::Refused)?;
            let binding = service_binding::layout(name, &known.kind, &held.material)
                .map_err(|source| ExecError::Binding { name: name.clone(), source })?;
            workspace.write_binding(&binding).map_err(ExecError::Folder)?;
        }
    }
    let names: Vec<&str> = request.connections.keys().map(String::as_str).collect();
    for (variable, text) in &request.env {
        let failed = |source| ExecError::Environment { name: variable.clone(), source };
        environment::check_name(variable).map_err(failed)?;
        let template = Template::parse(text);
        let mut held = BTreeMap::new();
        for name in template.connections() {
            if let Some(id) = request.connections.get(name) {
                let lease = desk
                    .leases()
                    .get(id, &Operation::Material)
                    .await
                    .map_err(ExecError::Refused)?;
                held.insert(name, lease);
            }
        }
        let value = template
            .render(&names, |name| held.get(name).map(|lease| &lease.material))
            .map_err(failed)?;
        all.insert(variable.clone(), value);
    }
    beneath::make_folder(&workspace.temporary()).map_err(ExecError::Folder)?;
    Ok(all)
}
