//! Where data is kept.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use keyferry_domain::secret::SecretString;
use serde::{Deserialize, Serialize};

/// The section as typed.
#[derive(Default, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct DatabaseArgs {
    /// Database: `sqlite:///path/file.db` or `postgres://…` [default: a SQLite file in --data-dir].
    #[arg(
        long,
        env = "KEYFERRY_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true,
        global = true
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    database_url: Option<String>,

    /// File with the database's address, for addresses that hold a password.
    #[arg(long, env = "KEYFERRY_DATABASE_URL_FILE", value_name = "FILE", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    database_url_file: Option<PathBuf>,
}

/// The section as it holds.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// The database's address; may hold a password.
    pub url: SecretString,
}

impl DatabaseArgs {
    pub(super) fn resolve(self, data_dir: &Path) -> Result<DatabaseSettings> {
        let given = super::secret_or_file(
            "the database's address",
            self.database_url,
            self.database_url_file.as_deref(),
        )?;
        let url = given.unwrap_or_else(|| {
            SecretString::from(format!("sqlite://{}", data_dir.join("keyferry.db").display()))
        });
        Ok(DatabaseSettings { url })
    }
}
