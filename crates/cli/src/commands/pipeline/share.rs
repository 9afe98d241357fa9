//! `keyferry pipeline share`.

use keyferry_api::pipeline_members::SetPipelineMember;
use keyferry_domain::PipelineRole;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{member, parse, pipeline};

/// Give a member a role in a pipeline, or another one
///
/// A viewer sees it and its runs, a runner starts and cancels runs too, an admin and an owner
/// change, share and delete it. It gives nobody the use of a connection.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry pipeline share build jane@example.com runner")]
pub(crate) struct Args {
    /// The pipeline, by id or name
    pipeline: String,
    /// The member, by id or e-mail address
    member: String,
    /// owner, admin, runner or viewer
    #[arg(value_parser = parse::<PipelineRole>)]
    role: PipelineRole,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let id = pipeline(&organization, &args.pipeline).await?;
    let person = member(&organization, &args.member).await?;
    let listed = organization.client.list_pipeline_members(&organization.id, &id).await?;
    let present = listed.items.iter().find(|one| one.user_id == person.user_id);
    let body = SetPipelineMember { role: args.role, version: present.map(|one| one.version) };
    let set = organization
        .client
        .set_pipeline_member(&organization.id, &id, &person.user_id, &body)
        .await?;
    let text = format!("{} is {} of pipeline {} now", person.email, set.role, args.pipeline);
    context.printer.text_or_json(&set, &text)
}
