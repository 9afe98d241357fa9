//! Only the runner starts processes: the server never does, and a helper must not.
//!
//! `clippy.toml` forbids the calls too; this rule also sees an exception made for one of them.

use super::sources::{self, Source};

/// Whose code may start programs: the runner, and the stopwatch that measures how they start.
const MAY: &[&str] = &["crates/runner/", "crates/server/benches/"];

const WAYS: &[&str] = &["process::Command", "process::{Command", "libc::fork", "execve"];

fn violation(source: &Source) -> Option<String> {
    if MAY.iter().any(|start| source.path.starts_with(start)) {
        return None;
    }
    let way = WAYS.iter().find(|way| source.product_text().contains(*way))?;
    Some(format!("{}: `{way}`, but only the runner starts processes", source.path))
}

#[test]
fn only_the_runner_starts_processes() {
    let found: Vec<String> = sources::rust().iter().filter_map(violation).collect();
    super::assert_none("only the runner starts processes", &found);
}

#[test]
fn a_process_started_elsewhere_is_found() {
    let text = "use std::process::Command;\n";
    assert!(violation(&Source::new("crates/server/src/http/runs.rs", text)).is_some());
    assert!(
        violation(&Source::new("crates/cli/src/exec.rs", "tokio::process::Command::new")).is_some()
    );
    assert_eq!(violation(&Source::new("crates/runner/src/steps/command.rs", text)), None);
    assert_eq!(violation(&Source::new("crates/providers/tests/providers/peers.rs", text)), None);
    assert_eq!(violation(&Source::new("xtask/src/steps.rs", text)), None);
}
