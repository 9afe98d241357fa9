//! Real servers on loopback: each starts in its own folder on its own port, and ends with its owner.
//!
//! Each file has `PROGRAMS` (for [`crate::require`]) and one type with `start()`. They run as the
//! user who runs the tests, root included; PostgreSQL alone refuses root and gets another user.

use std::path::Path;

use anyhow::Result;

use crate::children::{command, run_with_input};

pub mod git_backend;
pub mod git_http;
pub mod git_ssh;
pub mod gitea;
pub mod postgres;
pub mod registry;

/// Writes a password file for HTTP Basic (bcrypt), in place, so that no reader sees half of it.
fn write_password_file(path: &Path, users: &[(&str, &str)]) -> Result<()> {
    let mut text = Vec::new();
    for (user, password) in users {
        // The password comes by standard input: an argument would be in the process list.
        let line = run_with_input(
            command("htpasswd").args(["-n", "-i", "-B", "-C", "4", user]),
            password.as_bytes(),
        )?;
        text.extend(line.stdout.trim_ascii());
        text.push(b'\n');
    }
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, text)?;
    std::fs::rename(&unfinished, path)?;
    Ok(())
}
