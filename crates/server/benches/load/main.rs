//! Load for `make bench`: a bare route to compare with, a client that is the same for both, and a
//! stopwatch for starting programs.
//!
//! `cargo xtask bench` starts it and puts the figures together; each mode prints one line of JSON.

mod bare;
mod client;
mod programs;

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

fn main() -> Result<()> {
    // Cargo itself adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match words.as_slice() {
        // `cargo bench` and `cargo test --benches` without arguments have nothing to load.
        [] => Ok(()),
        ["bare"] => runtime.block_on(bare::serve()),
        ["peak", url, connections, seconds] => {
            let target = client::Target::from_stdin(url)?;
            let seconds = Duration::from_secs(seconds.parse()?);
            let (total, waits) =
                runtime.block_on(client::peak(&target, connections.parse()?, seconds))?;
            print(&json!({
                "requests_per_second": total / seconds.as_secs_f64(),
                "p50_ms": percentile(&waits, 50.0),
                "p99_ms": percentile(&waits, 99.0),
            }))
        }
        ["steady", url, rate, seconds] => {
            let target = client::Target::from_stdin(url)?;
            let seconds = Duration::from_secs(seconds.parse()?);
            let waits = runtime.block_on(client::steady(&target, rate.parse()?, seconds))?;
            print(&json!({
                "requests": waits.len(),
                "p50_ms": percentile(&waits, 50.0),
                "p99_ms": percentile(&waits, 99.0),
            }))
        }
        ["start", times, program, arguments @ ..] => {
            let waits = programs::start(times.parse()?, program, arguments)?;
            print(&json!({
                "median_ms": percentile(&waits, 50.0),
                "p99_ms": percentile(&waits, 99.0),
            }))
        }
        _ => bail!(
            "use: bare | peak URL CONNECTIONS SECONDS | steady URL RATE SECONDS | start TIMES PROGRAM …"
        ),
    }
}

#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
#[expect(clippy::unnecessary_wraps, reason = "the last line of every mode")]
fn print(figures: &Value) -> Result<()> {
    println!("{figures}");
    Ok(())
}

/// Returns a percentile of sorted durations, in milliseconds.
fn percentile(sorted: &[Duration], percent: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into a list in memory"
    )]
    let index = ((sorted.len() as f64 * percent / 100.0).ceil() as usize).saturating_sub(1);
    sorted.get(index).map_or(f64::NAN, |wait| wait.as_secs_f64() * 1_000.0)
}
