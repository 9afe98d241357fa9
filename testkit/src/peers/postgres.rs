//! A PostgreSQL that lives as long as its owner and keeps nothing.
//!
//! Durability is off: it is for correctness tests, not for measuring. As root it runs as
//! [`crate::children::UNPRIVILEGED_USER`], since PostgreSQL refuses root.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;

use crate::Scratch;
use crate::children::{
    Child, Start, accepts, command, give_to_unprivileged, run, start_on_free_port,
    unprivileged_command,
};

/// What this peer needs on the machine.
pub const PROGRAMS: &[&str] = &["initdb", "pg_dump", "postgres", "psql", "setpriv"];

/// The superuser; everyone on loopback is trusted.
const USER: &str = "keyferry";

/// A PostgreSQL server.
pub struct Postgres {
    server: Child,
    port: u16,
    databases: AtomicU32,
    // Kept for its end: the data folder goes with it.
    _scratch: Scratch,
}

impl Postgres {
    /// Makes a fresh cluster and starts it.
    pub fn start() -> Result<Self> {
        start_on_free_port(|port| {
            let scratch = Scratch::new()?;
            give_to_unprivileged(scratch.path())?;
            let data = scratch.join("data");
            run(unprivileged_command("initdb")
                .arg("-D")
                .arg(&data)
                .args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "-U", USER])
                .current_dir(scratch.path()))?;
            // The log is opened by this process and written by another user's.
            let server = Start::new("postgres", scratch.path(), "server.log")
                .args(["-D"])
                .args([&data])
                .args(["-c", "listen_addresses=127.0.0.1", "-c"])
                .args([format!("port={port}")])
                .args(["-c"])
                .args([format!("unix_socket_directories={}", scratch.path().display())])
                .args(["-c", "fsync=off", "-c", "synchronous_commit=off"])
                .args(["-c", "full_page_writes=off", "-c", "max_connections=400"])
                .unprivileged()
                .spawn()?;
            let server = Self { server, port, databases: AtomicU32::new(0), _scratch: scratch };
            server.server.wait_ready(Duration::from_secs(30), || {
                Ok((accepts(port) && server.query("postgres", "select 1").is_ok()).then_some(()))
            })?;
            Ok(server)
        })
    }

    /// Makes an empty database and returns its URL, `postgres://…`.
    pub fn create_database(&self) -> Result<String> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.query("postgres", &format!("create database {name}"))?;
        Ok(format!("postgres://{USER}@127.0.0.1:{}/{name}", self.port))
    }

    /// Runs one statement in the database `name` and returns what `psql` prints, values only.
    pub fn query(&self, name: &str, statement: &str) -> Result<String> {
        let output = run(command("psql")
            .args(["--no-psqlrc", "--tuples-only", "--no-align", "-v", "ON_ERROR_STOP=1"])
            .args(["-h", "127.0.0.1", "-U", USER, "-p", &self.port.to_string(), "-c", statement])
            .arg(name))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Returns the whole of the database at `url` as SQL text, for a hunt after secrets.
    pub fn dump(url: &str) -> Result<Vec<u8>> {
        Ok(run(command("pg_dump").args(["--no-password", "--dbname"]).arg(url))?.stdout)
    }

    /// Stops it as a power cut would; connections break.
    pub fn kill(&self) -> Result<()> {
        self.server.signal(Signal::KILL)?;
        self.server.wait(Duration::from_secs(10)).map(drop)
    }

    /// Returns everything that the server wrote.
    pub fn log(&self) -> String {
        self.server.log()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A fast stop lets its children leave; killed in its group otherwise, when the field drops.
        if self.server.signal(Signal::INT).is_ok() {
            let _ = self.server.wait(Duration::from_secs(5));
        }
    }
}
