//! `keyferry pipeline members`.

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{members, pipeline};

/// List who takes part in a pipeline
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The pipeline, by id or name
    pipeline: String,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let id = pipeline(&organization, &args.pipeline).await?;
    let listed = organization.client.list_pipeline_members(&organization.id, &id).await?;
    let people = members(&organization).await?;
    let header = ["ID", "E-MAIL", "ROLE"];
    context.printer.list(&listed.items, &header, "no members", |one| {
        let person = people.iter().find(|person| person.user_id == one.user_id);
        let email = person.map_or("has left", |person| person.email.as_str());
        vec![one.user_id.to_string(), email.to_owned(), one.role.to_string()]
    })
}
