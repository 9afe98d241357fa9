//! `keyferry runner remove`.

use keyferry_domain::id::RunnerId;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::parse;

/// Remove a runner; its token stops working
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The runner's id, `runner_…`; see `keyferry runner list`
    #[arg(value_parser = parse::<RunnerId>)]
    runner: RunnerId,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    organization.client.delete_runner(&organization.id, &args.runner).await?;
    context.printer.talk(&format!("{} is removed", args.runner))
}
