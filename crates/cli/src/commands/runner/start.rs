//! `keyferry runner start`: this process executes jobs. What happens is in `keyferry-runner`.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use keyferry_runner::{Runner, RunnerError, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::context::Context;
use crate::error::{CliError, Kind};
use crate::secret_source::SecretSource;

/// Execute jobs on this machine, until stopped
///
/// The runner's token is read from `--token-from`, `KEYFERRY_RUNNER_TOKEN` or
/// `KEYFERRY_RUNNER_TOKEN_FILE`; `keyferry runner register` makes one. Jobs are kept apart by
/// bubblewrap where it is installed; without it the runner says so. Stop it with an interrupt or
/// TERM: jobs at hand are stopped and reported.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry runner start --server https://keyferry.example.com --token-from @runner-token
  keyferry runner start --require-isolation --parallel-jobs 4")]
pub(crate) struct Args {
    /// Where the runner's token is: `-`, `@PATH` or `env:NAME`
    #[arg(long, value_name = "SOURCE")]
    token_from: Option<String>,
    /// Jobs at once
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel_jobs: u16,
    /// Refuse to run jobs that cannot be kept apart by namespaces
    #[arg(long)]
    require_isolation: bool,
    /// Folder for jobs; it is wiped at start [default: `~/.local/state/keyferry/runner`]
    #[arg(long, value_name = "PATH")]
    work_folder: Option<PathBuf>,
    /// A folder or file that jobs see beside the system's own, read-only; may be repeated
    #[arg(long, value_name = "PATH")]
    visible: Vec<PathBuf>,
    /// A folder or file that no job may see; may be repeated
    #[arg(long, value_name = "PATH")]
    hidden: Vec<PathBuf>,
    /// PEM file of certificates that the tools in jobs trust in place of the system's
    #[arg(long, value_name = "PATH")]
    job_ca_bundle: Option<PathBuf>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let token = match &args.token_from {
        Some(source) => {
            let source = SecretSource::parse("--token-from", source)?;
            context.secrets().text("--token-from", &source, false)?
        }
        None => context.environment.secret("KEYFERRY_RUNNER_TOKEN")?.ok_or_else(|| {
            CliError::new(Kind::Unauthenticated, "there is no token for the runner")
                .hint("make one with `keyferry runner register NAME`")
                .hint("give it by `--token-from`, KEYFERRY_RUNNER_TOKEN or KEYFERRY_RUNNER_TOKEN_FILE")
        })?,
    };
    let client = context.client_of(&context.server()?, Some(token))?;
    start_logging(context)?;
    let runner = Runner::new(settings(context, args)?, client);
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let listen = |kind| {
        signal(kind).map_err(|error| {
            CliError::new(Kind::Internal, "failed to listen for signals").because(error)
        })
    };
    let mut interrupted = listen(SignalKind::interrupt())?;
    let mut terminated = listen(SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
        stop.cancel();
    });
    runner.run(shutdown).await.map_err(failed)
}

fn settings(context: &Context, args: Args) -> Result<Settings, CliError> {
    let helper_binary = std::env::current_exe().map_err(|error| {
        CliError::new(Kind::Internal, "failed to find the `keyferry` binary").because(error)
    })?;
    let work_folder = match args.work_folder {
        Some(folder) => folder,
        None => context.environment.state_folder()?.join("runner"),
    };
    let mut settings = Settings::new(work_folder, helper_binary);
    settings.parallel_jobs = usize::from(args.parallel_jobs);
    settings.require_isolation = args.require_isolation;
    settings.visible_paths = args.visible;
    settings.hidden_paths = args.hidden;
    // The runner's own secrets, wherever they lie.
    settings.hidden_paths.extend(context.environment.config_path());
    settings.hidden_paths.extend(context.environment.path("KEYFERRY_RUNNER_TOKEN_FILE"));
    if let Some(Ok(SecretSource::File(path))) =
        args.token_from.as_deref().map(|source| SecretSource::parse("--token-from", source))
    {
        settings.hidden_paths.push(context.environment.expand(&path));
    }
    settings.ca_bundle = args.job_ca_bundle;
    Ok(settings)
}

fn start_logging(context: &Context) -> Result<(), CliError> {
    let filter = context.environment.text("KEYFERRY_LOG")?;
    let filter = EnvFilter::try_new(filter.as_deref().unwrap_or("info")).map_err(|error| {
        CliError::invalid("failed to read KEYFERRY_LOG")
            .because(error)
            .hint("write it like `info` or `keyferry_runner=debug`")
    })?;
    let is_colored = context.environment.allows_color() && std::io::stderr().is_terminal();
    // A second call in one process would find a logger; that one then logs.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(is_colored)
        .with_writer(std::io::stderr)
        .try_init();
    Ok(())
}

fn failed(error: RunnerError) -> CliError {
    let message = format!("failed to {error}");
    match error {
        RunnerError::Refused(source) => source.into(),
        RunnerError::NotIsolated { .. } => CliError::invalid(message)
            .hint("install bubblewrap, and allow unprivileged user namespaces"),
        RunnerError::WorkFolder { source, .. } => CliError::invalid(message).because(source),
        RunnerError::Helper { .. } => CliError::invalid(message),
        RunnerError::Protect(source) => CliError::new(Kind::Internal, message).because(source),
    }
}
