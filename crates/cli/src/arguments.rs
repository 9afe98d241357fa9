//! The command line as a whole: options that every command takes, and the help around the commands.
//!
//! The commands themselves are in `crate::commands`.

use std::path::PathBuf;

use clap::{Args, Parser};

use crate::commands::Command;
use crate::printer::OutputFormat;

/// Carries credentials from the people who own them to the pipelines that need them
///
/// Connections hold credentials; pipelines name connections. `keyferry` looks after both, runs
/// commands with access through connections, and is the credential helper of git and docker.
#[derive(Debug, Parser)]
#[command(
    name = "keyferry",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    after_help = "Start here:
  keyferry login                         sign in to a server
  keyferry connection create             answer a few questions, get a connection
  keyferry pipeline check pipeline.yaml  look for mistakes, without a server
  keyferry exec -c my-git -- git clone https://git.example.com/team/app.git

A secret is never written on the command line: it is asked for, or read from `@PATH`, `-`
(standard input) or `env:NAME`."
)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) options: GlobalOptions,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalOptions {
    /// Address of the server [default: `KEYFERRY_URL`, else the one logged in to, else
    /// `http://127.0.0.1:7420`]
    #[arg(long, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// Organization to work in, by id or name [default: `KEYFERRY_ORGANIZATION`, else the one
    /// logged in to, else your only one]
    #[arg(long, global = true, value_name = "ORGANIZATION")]
    pub organization: Option<String>,
    /// PEM file of certificates to trust beside the system's [default: `KEYFERRY_CA_FILE`]
    #[arg(long, global = true, value_name = "PATH")]
    pub ca_file: Option<PathBuf>,
    /// Form of the data on standard output
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: OutputFormat,
    /// Never ask; what is missing is an error
    #[arg(long, global = true)]
    pub no_input: bool,
}
