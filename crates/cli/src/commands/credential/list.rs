//! `keyferry credential list`.

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::credentials;
use crate::printer::moment;

/// List the credentials that you may see
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(context: &Context, _: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let credentials = credentials(&organization).await?;
    let header = ["ID", "NAME", "KIND", "CONNECTIONS", "CREATED"];
    context.printer.list(&credentials, &header, "no credentials yet", |one| {
        vec![
            one.id.to_string(),
            one.name.clone(),
            one.kind.to_string(),
            one.connections.join(", "),
            moment(one.created_at),
        ]
    })
}
