//! The program `keyferry-server`.

use std::process::ExitCode;

use clap::Parser as _;
use keyferry_server::commands::{Command, run};

fn main() -> ExitCode {
    run(Command::parse())
}
