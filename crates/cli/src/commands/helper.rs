//! `keyferry helper`: the credential helpers under a name that people can ask about.
//!
//! Calls from tools do not come here; see [`crate::helper`].

use std::io::Write as _;

use crate::context::Context;
use crate::error::CliError;
use crate::helper::{Invocation, Protocol, reply};

/// Answer a tool that asks for a credential
///
/// Tools call this by themselves, in jobs and under `keyferry exec`. It asks the job's socket
/// (`KEYFERRY_SOCKET`) and stores nothing. The same binary under the names
/// `git-credential-keyferry` and `docker-credential-keyferry` does the same.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  git config credential.helper '!keyferry helper git'
  printf 'protocol=https\\nhost=git.example.com\\n\\n' | keyferry helper git get
  echo registry.example.com | keyferry helper docker get")]
pub(crate) struct Args {
    /// The tool's protocol
    #[arg(value_enum)]
    protocol: Protocol,
    /// What the tool wants: get, store, erase and so on
    action: String,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<u8, CliError> {
    let invocation = Invocation { protocol: args.protocol, action: args.action };
    let reply = reply(&invocation, std::io::stdin().lock(), &context.environment);
    std::io::stderr().lock().write_all(reply.stderr.as_bytes())?;
    context.printer.raw(reply.stdout.expose())?;
    Ok(reply.exit_code)
}
