//! `keyferry pipeline approve`.

use keyferry_api::bindings::ApproveBinding;
use keyferry_domain::id::BindingId;

use super::get::show;
use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{parse, pipeline};

/// Approve a pipeline's use of a connection, as the pipeline is now
///
/// You vouch for what these places do with the connection: read them first, with `keyferry
/// pipeline get PIPELINE --yaml`. An approval ends when the place is changed by someone who may not
/// use the connection.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry pipeline approve nightly            every place that waits for approval
  keyferry pipeline approve nightly bind_01…   only these")]
pub(crate) struct Args {
    /// The pipeline, by id or name
    pipeline: String,
    /// The places' bindings, `bind_…`; every one that waits when absent
    #[arg(value_parser = parse::<BindingId>)]
    bindings: Vec<BindingId>,
    /// The revision that you read; refused when a newer one exists [default: the present one]
    #[arg(long, value_name = "NUMBER")]
    revision: Option<i64>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let (client, id) = (&organization.client, &organization.id);
    let pipeline = pipeline(&organization, &args.pipeline).await?;
    let found = client.get_pipeline(id, &pipeline).await?;
    for asked in &args.bindings {
        if !found.bindings.iter().any(|binding| binding.id == *asked) {
            return Err(CliError::not_found(format!("binding `{asked}` of this pipeline")));
        }
    }
    let chosen: Vec<_> = found
        .bindings
        .iter()
        .filter(|binding| {
            if args.bindings.is_empty() {
                binding.state == "needs_approval"
            } else {
                args.bindings.contains(&binding.id)
            }
        })
        .collect();
    if chosen.is_empty() {
        return context.printer.talk("no place waits for approval");
    }
    for binding in &chosen {
        context.printer.talk(&format!("{} uses {}", binding.place, binding.connection_id))?;
    }
    let revision = args.revision.unwrap_or(found.revision.number);
    context.confirm(args.yes, &format!("Approve, as in revision {revision}?"))?;
    for binding in &chosen {
        client.approve_binding(id, &binding.id, &ApproveBinding { revision }).await?;
    }
    show(context, &client.get_pipeline(id, &pipeline).await?)
}
