//! What `keyferry-server` can do: one file per command.

mod audit;
mod create_owner;
mod doctor;
mod migrate;
mod serve;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use keyferry_broker::{Broker, BrokerOptions, RootKeySource};
use keyferry_domain::secret::SecretString;
use tracing_subscriber::EnvFilter;

use crate::settings::{RootKeySettings, SettingArgs, Settings};

/// Keyferry's server: carries credentials from the people who own them to the pipelines that need
/// them.
#[derive(Parser)]
#[command(name = "keyferry-server", version, arg_required_else_help = true)]
pub struct Command {
    #[command(flatten)]
    settings: SettingArgs,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Serve the API, and run jobs too with --with-runner.
    ///
    /// Works without any setting: listens on 127.0.0.1:7420 and keeps its data in the user's data
    /// folder. The first start prints a one-time link to create the owner.
    Serve,
    /// Create the first owner without a browser.
    CreateOwner(create_owner::Args),
    /// Bring the database's schema up to date.
    Migrate,
    /// Check the audit record.
    #[command(subcommand)]
    Audit(audit::Action),
    /// Show what holds and whether everything is in reach; never a secret.
    Doctor,
}

/// Runs a command to its end and returns the program's exit code.
pub fn run(command: Command) -> ExitCode {
    let outcome = resolve(command.settings).and_then(|settings| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("start the runtime")?;
        runtime.block_on(async {
            match command.action {
                Action::Serve => serve::run(settings).await,
                Action::CreateOwner(args) => create_owner::run(settings, args).await,
                Action::Migrate => migrate::run(settings).await,
                Action::Audit(action) => audit::run(settings, action).await,
                Action::Doctor => doctor::run(settings).await,
            }
        })
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn say_error(error: &anyhow::Error) {
    let causes = error.chain().skip(1).map(|cause| format!("  caused by: {cause}\n"));
    let text: String = std::iter::once(format!("error: {error}\n")).chain(causes).collect();
    // Where stderr is closed there is nobody to tell.
    let _ignored = std::io::stderr().write_all(text.as_bytes());
}

/// Writes a line of data to stdout.
fn print(line: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("write to stdout")
}

#[expect(clippy::disallowed_methods, reason = "settings are read here, once")]
fn resolve(args: SettingArgs) -> Result<Settings> {
    let folder =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home =
        folder("XDG_DATA_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/share")));
    args.resolve(home.as_deref())
}

fn start_logging(settings: &Settings) -> Result<()> {
    let filter = EnvFilter::try_new(&settings.log).context("read --log")?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let outcome = if settings.is_log_json {
        builder.json().try_init()
    } else {
        builder.with_ansi(false).try_init()
    };
    outcome.map_err(|error| anyhow::anyhow!("start the log: {error}"))
}

/// Makes the data folder, readable by its owner only, and opens everything below the API.
async fn open(settings: &Settings) -> Result<Broker> {
    create_private_folder(&settings.data_dir)?;
    let root_key = match &settings.root_key {
        RootKeySettings::Text(text) => RootKeySource::Text(text.clone()),
        RootKeySettings::File(path) => RootKeySource::File(path.clone()),
        RootKeySettings::DefaultFile(path) => RootKeySource::FileOrNew(path.clone()),
    };
    let options = BrokerOptions {
        database_url: SecretString::clone(&settings.database.url),
        root_key,
        allow_addresses: settings.outbound.allow_addresses.clone(),
        check_interval: settings.checks.interval,
    };
    Broker::open(options).await.map_err(|error| {
        let hint = error.details().hint.clone();
        let error = anyhow::Error::new(error);
        match hint {
            Some(hint) => error.context(format!("open Keyferry's data ({hint})")),
            None => error.context("open Keyferry's data"),
        }
    })
}

fn create_private_folder(path: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("make the folder {}", path.display()))
}
