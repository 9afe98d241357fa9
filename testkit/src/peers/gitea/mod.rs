//! A real forge: Gitea, with its own git over HTTP and SSH, image registry and API.
//!
//! The binary is built by `cargo xtask peers`, once per version, into the cache. A server starts
//! from a copy of a data folder that was migrated before, which saves a second each; the first
//! start on a machine makes it. [`Gitea`] is the server, [`User`] someone on it; what is not here
//! (merging, protecting) is one [`Gitea::call`] away.

use std::path::PathBuf;

use crate::environment::{cache_folder, report_missing};

mod people;
mod server;

pub use people::{Repository, User};
pub use server::{Gitea, LIBRARIAN, Options, REPOSITORIES};

/// The version that is built; another one is another folder in the cache.
pub const VERSION: &str = "1.26.0";

/// What this peer needs on the machine, beside its own binary.
pub const PROGRAMS: &[&str] = &["curl", "git", "setpriv", "ssh-keygen"];

/// Returns the folder in the cache for this version, built or not.
pub fn folder() -> PathBuf {
    cache_folder().join("peers").join(format!("gitea-{VERSION}"))
}

/// Returns the binary, if it has been built.
pub fn installed() -> Option<PathBuf> {
    let binary = folder().join("gitea");
    (binary.is_file() && folder().join("static/templates").is_dir()).then_some(binary)
}

/// Says whether Gitea can be started here; if not, says so loudly, and in CI panics.
pub fn require() -> bool {
    crate::require(PROGRAMS)
        && report_missing(if installed().is_some() {
            ""
        } else {
            "Gitea (built by `cargo xtask peers`, which needs Go)"
        })
}
