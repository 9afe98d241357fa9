//! `keyferry pipeline unshare`.

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{pipeline, users};

/// Take a member out of a pipeline
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The pipeline, by id or name
    pipeline: String,
    /// The member, by id or e-mail address
    member: String,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let id = pipeline(&organization, &args.pipeline).await?;
    // By id also somebody who has left the organization.
    for user in users(&organization, std::slice::from_ref(&args.member)).await? {
        organization.client.delete_pipeline_member(&organization.id, &id, &user).await?;
    }
    context.printer.talk(&format!("{} takes no part in {} any more", args.member, args.pipeline))
}
