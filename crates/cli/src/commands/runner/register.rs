//! `keyferry runner register`.

use keyferry_api::runners::CreateRunner;

use crate::context::Context;
use crate::error::CliError;

/// Register a runner; its token is printed once
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry runner register build-machine > runner-token
  KEYFERRY_RUNNER_TOKEN_FILE=runner-token keyferry runner start")]
pub(crate) struct Args {
    /// Name, 1 to 100 characters
    name: String,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let body = CreateRunner { name: args.name };
    let created = organization.client.create_runner(&organization.id, &body).await?;
    if context.printer.is_json() {
        return context.printer.json(&created);
    }
    context
        .printer
        .talk(&format!("{} signs in with this token; it is shown once:", created.view.id))?;
    context.printer.data(created.token.secret().expose())
}
