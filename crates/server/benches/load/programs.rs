//! A stopwatch for programs: from the start to the end of their answer.

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Starts a program so many times with standard input's text on its own, and returns the sorted
/// times from start to end.
#[expect(clippy::disallowed_methods, reason = "starting programs is what is measured")]
pub(crate) fn start(times: usize, program: &str, arguments: &[&str]) -> Result<Vec<Duration>> {
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    let mut waits = Vec::with_capacity(times);
    for _ in 0..times {
        let started = Instant::now();
        let mut child = std::process::Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that reads nothing, like /bin/true, may be gone already.
            let _unread = stdin.write_all(&input);
        }
        let output = child.wait_with_output()?;
        waits.push(started.elapsed());
        if !output.status.success() {
            bail!("{program} ended with {}", output.status);
        }
    }
    waits.sort_unstable();
    Ok(waits)
}
