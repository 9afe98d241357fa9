//! A product's database from outside, while the product has it open: to break it, and to compare it.
//!
//! Works by the address that the product was given, `sqlite:///path` or `postgres://…`, and knows
//! nothing of what is in it. A PostgreSQL to work on is in [`crate::peers::postgres`].

use anyhow::Result;

use crate::children::{command, run};
use crate::peers::postgres::Postgres;

/// What SQLite's databases need on the machine; PostgreSQL's are named by its peer.
pub const PROGRAMS: &[&str] = &["sqlite3"];

/// Runs statements in the database at `url`.
pub fn execute(url: &str, statements: &str) -> Result<()> {
    match url.strip_prefix("sqlite://") {
        // The product may be writing: wait for it.
        Some(path) => run(command("sqlite3")
            .args(["-batch", "-bail", "-cmd", ".timeout 10000", path])
            .arg(statements)),
        None => run(command("psql")
            .args(["--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1", "--dbname", url])
            .args(["-c", statements])),
    }
    .map(drop)
}

/// Returns everything in the database at `url` as SQL, the same for the same content.
pub fn dump(url: &str) -> Result<String> {
    let bytes = match url.strip_prefix("sqlite://") {
        Some(path) => run(command("sqlite3").args(["-batch", path, ".dump"]))?.stdout,
        None => Postgres::dump(url)?,
    };
    let text = String::from_utf8_lossy(&bytes);
    // `pg_dump` puts a word in that is another each time, against what is hidden in names.
    let is_same_each_time =
        |line: &&str| !line.starts_with("\\restrict ") && !line.starts_with("\\unrestrict ");
    Ok(text.lines().filter(is_same_each_time).collect::<Vec<_>>().join("\n"))
}
