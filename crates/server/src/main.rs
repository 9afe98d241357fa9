//! The program `keyferry-server`.

use std::process::ExitCode;

use clap::Parser as _;
use keyferry_server::commands::{Command, run};

/// Every request makes many small things on one thread and drops them on another, which is what
/// the C library's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    run(Command::parse())
}
