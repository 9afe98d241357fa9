//! Where things are in this checkout, and what cargo says of it.
//!
//! It reads and never writes. The environment is read here and in `keyferry_testkit` only.

use std::path::{Path, PathBuf};

/// Returns the folder that holds the workspace's `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    // The manifest folder is fixed at build time, and xtask is always built in its checkout.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    folder.parent().unwrap_or(folder).to_path_buf()
}

/// Returns the cargo that runs this program, else the one in PATH.
#[expect(clippy::disallowed_methods, reason = "the one place in xtask that reads the environment")]
pub(crate) fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}
