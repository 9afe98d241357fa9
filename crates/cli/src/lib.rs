//! The command line: what people and scripts ask a Keyferry server for.
//!
//! Everything goes through the public API by its typed client; nothing here decides who may do
//! what. Start with [`arguments`] for the shape, `commands` for what each command does, and
//! [`helper`] for the credential helpers, which take a shorter way through `main`.

pub mod arguments;
mod commands;
mod config;
pub mod context;
pub mod environment;
pub mod error;
mod form;
pub mod helper;
mod lookup;
pub mod printer;
mod prompts;
pub mod reference;
mod secret_source;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::Cli;
use crate::context::Context;
use crate::environment::Environment;
use crate::error::{CliError, Kind};

/// Runs one command line; the answer is the process's exit code.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors for clap too; they go to standard output and end with 0.
            let is_wrong = error.use_stderr();
            let is_shown = error.print().is_ok();
            return ExitCode::from(if is_wrong && is_shown { 2 } else { 0 });
        }
    };
    let context = Context::new(Environment::of_this_process(), cli.options);
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CliError::new(Kind::Internal, "failed to start").because(error))
        .and_then(|runtime| runtime.block_on(cli.command.run(&context)));
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            if error.kind() != Kind::BrokenPipe {
                context.printer.error(&error);
            }
            ExitCode::from(error.kind().exit_code())
        }
    }
}
