//! Settings: read once at start into plain structs, a file per section.
//!
//! A flag wins over its `KEYFERRY_…` environment variable, that over the TOML file, that over the
//! default. Each secret setting can also be given as the path of a file (`…_FILE`); both is an
//! error. `keyferry-server doctor` prints what holds, and never a secret.

mod checks;
mod database;
mod listen;
mod outbound;
pub mod reference;
mod root_key;
mod runner;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use figment::Figment;
use figment::providers::{Format as _, Serialized, Toml};
use keyferry_domain::secret::SecretString;
use serde::{Deserialize, Serialize};

pub use self::checks::CheckSettings;
pub use self::database::DatabaseSettings;
pub use self::listen::{ListenSettings, TlsFiles};
pub use self::outbound::OutboundSettings;
pub use self::root_key::RootKeySettings;
pub use self::runner::RunnerSettings;

/// Everything that can be set, as typed by the operator.
#[derive(Default, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct SettingArgs {
    /// TOML file with settings, named like the long flags with underscores.
    #[arg(long, env = "KEYFERRY_CONFIG_FILE", value_name = "FILE", global = true)]
    #[serde(skip)]
    pub config_file: Option<PathBuf>,

    /// Folder for the database and the root key [default: keyferry in the user's data folder].
    #[arg(long, env = "KEYFERRY_DATA_DIR", value_name = "FOLDER", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,

    /// Log as text or as JSON lines [default: text].
    #[arg(long, env = "KEYFERRY_LOG_FORMAT", value_name = "text|json", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<String>,

    /// What to log, in the form of tracing's filters [default: info].
    #[arg(long, env = "KEYFERRY_LOG", value_name = "FILTER", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,

    #[command(flatten)]
    #[serde(flatten)]
    database: database::DatabaseArgs,
    #[command(flatten)]
    #[serde(flatten)]
    root_key: root_key::RootKeyArgs,
    #[command(flatten)]
    #[serde(flatten)]
    outbound: outbound::OutboundArgs,
    #[command(flatten)]
    #[serde(flatten)]
    listen: listen::ListenArgs,
    #[command(flatten)]
    #[serde(flatten)]
    runner: runner::RunnerArgs,
    #[command(flatten)]
    #[serde(flatten)]
    checks: checks::CheckArgs,
}

/// Everything that holds, checked.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each section says it")]
pub struct Settings {
    pub data_dir: PathBuf,
    pub is_log_json: bool,
    pub log: String,
    pub database: DatabaseSettings,
    pub root_key: RootKeySettings,
    pub outbound: OutboundSettings,
    pub listen: ListenSettings,
    pub runner: RunnerSettings,
    pub checks: CheckSettings,
}

impl SettingArgs {
    /// Adds the file and the defaults, and checks everything. `home` is the user's data folder.
    pub fn resolve(self, home: Option<&Path>) -> Result<Settings> {
        let mut figment = Figment::new();
        if let Some(path) = &self.config_file {
            if !path.is_file() {
                bail!("read the settings file {}: it does not exist", path.display());
            }
            figment = figment.merge(Toml::file_exact(path));
            refuse_unknown(&figment, path)?;
        }
        // Flags and environment come last, and only those that were given.
        let merged: Self = figment
            .merge(Serialized::defaults(&self))
            .extract()
            .map_err(|error| anyhow::anyhow!("read the settings: {error}"))?;
        let data_dir = match merged.data_dir {
            Some(folder) => folder,
            None => home
                .context("find the user's data folder; give one with --data-dir")?
                .join("keyferry"),
        };
        Ok(Settings {
            is_log_json: match merged.log_format.as_deref() {
                None | Some("text") => false,
                Some("json") => true,
                Some(_) => bail!("read --log-format; it is `text` or `json`"),
            },
            log: merged.log.unwrap_or_else(|| "info".to_owned()),
            database: merged.database.resolve(&data_dir)?,
            root_key: merged.root_key.resolve(&data_dir)?,
            outbound: merged.outbound.resolve()?,
            listen: merged.listen.resolve()?,
            runner: merged.runner.resolve(&data_dir),
            checks: merged.checks.resolve()?,
            data_dir,
        })
    }
}

/// Refuses keys of the settings file that are no settings.
fn refuse_unknown(figment: &Figment, path: &Path) -> Result<()> {
    // A settings file is a table; its values are looked at later.
    let given: BTreeMap<String, figment::value::Value> =
        figment.extract().map_err(|error| anyhow::anyhow!("read the settings file: {error}"))?;
    let command = SettingArgs::augment_args(clap::Command::new("settings"));
    let known: Vec<&str> = command
        .get_arguments()
        .map(|argument| argument.get_id().as_str())
        .filter(|name| *name != "config_file")
        .collect();
    match given.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => bail!(
            "read `{key}` in {}: there is no such setting; there are {}",
            path.display(),
            known.join(", ")
        ),
    }
}

/// Reads a secret that is given either as text or as the path of a file.
fn secret_or_file(
    name: &str,
    text: Option<String>,
    file: Option<&Path>,
) -> Result<Option<SecretString>> {
    match (text, file) {
        (Some(_), Some(_)) => bail!("read {name}: it is given both as text and as a file; use one"),
        (Some(text), None) => Ok(Some(SecretString::from(text))),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("read {name} from {}", path.display()))?;
            Ok(Some(SecretString::from(text.trim_end_matches(['\r', '\n']))))
        }
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests;
