//! The key that protects every credential.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use keyferry_domain::secret::SecretString;
use serde::{Deserialize, Serialize};

/// The section as typed.
#[derive(Default, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RootKeyArgs {
    /// File with the root keys, mode 0600 [default: root.key in --data-dir, made on first start].
    #[arg(long, env = "KEYFERRY_ROOT_KEY_FILE", value_name = "FILE", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    root_key_file: Option<PathBuf>,
}

/// The section as it holds.
#[derive(Debug, Clone)]
pub enum RootKeySettings {
    /// Given in the environment.
    Text(SecretString),
    /// A file that must exist.
    File(PathBuf),
    /// A file that is made on first start.
    DefaultFile(PathBuf),
}

impl RootKeyArgs {
    #[expect(clippy::disallowed_methods, reason = "settings are read here, once")]
    pub(super) fn resolve(self, data_dir: &Path) -> Result<RootKeySettings> {
        // The key itself is no flag, since flags can be seen in the process list.
        let text = std::env::var("KEYFERRY_ROOT_KEY").ok();
        match (text, self.root_key_file) {
            (Some(_), Some(_)) => {
                anyhow::bail!("read the root key: it is given both as text and as a file; use one")
            }
            (Some(text), None) => Ok(RootKeySettings::Text(SecretString::from(text))),
            (None, Some(path)) => Ok(RootKeySettings::File(path)),
            (None, None) => Ok(RootKeySettings::DefaultFile(data_dir.join("root.key"))),
        }
    }
}
