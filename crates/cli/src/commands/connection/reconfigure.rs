//! `keyferry connection reconfigure`.

use keyferry_api::connections::{ConnectionReconfigured, ReconfigureConnection};
use keyferry_domain::connection::ConnectionId;

use super::create::find_type;
use super::view;
use crate::context::Context;
use crate::error::CliError;
use crate::form::{FieldArguments, Form, fill};
use crate::lookup::{self, parse};
use crate::printer::moment;

/// Replace the credential inside a connection, or change its settings
///
/// The new credential is tried before it becomes current; when that fails, nothing changes. The
/// one before stays usable for the overlap, so that running jobs finish, and can be brought back
/// with `keyferry connection rollback` until then. No pipeline has to be edited.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry connection reconfigure team-git
  keyferry connection reconfigure team-git --set username=deploy --secret password=-
  keyferry connection reconfigure team-git --credential \"Deploy key 2\" --overlap-seconds 0
  keyferry connection reconfigure team-git --set url=https://git2.example.com/team")]
pub(crate) struct Args {
    /// The connection's ID
    #[arg(value_parser = parse::<ConnectionId>)]
    connection: ConnectionId,
    /// Another existing credential of yours, by id or name
    #[arg(long, value_name = "CREDENTIAL")]
    credential: Option<String>,
    /// Take a setting away, by its name; may be repeated
    #[arg(long, value_name = "NAME")]
    unset: Vec<String>,
    /// How long the version before stays usable, 0 to 86400 [default: 900]
    #[arg(long, value_name = "SECONDS")]
    overlap_seconds: Option<u32>,
    /// Make it current without trying it; the connection is then marked unverified
    #[arg(long)]
    skip_verify: bool,
    #[command(flatten)]
    fields: FieldArguments,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    if args.credential.is_some() && args.fields.has_secrets() {
        return Err(CliError::invalid(
            "an existing credential and fields of a new one are both given",
        )
        .hint("use `--credential`, or `--secret` and `--file`, not both"));
    }
    let is_bare = args.fields.is_empty() && args.credential.is_none() && args.unset.is_empty();
    if is_bare && !context.is_interactive() {
        return Err(CliError::invalid("nothing is given that should change").hint(
            "`--secret` for a new credential, `--credential` for another, `--set` for settings",
        ));
    }
    let organization = context.organization().await?;
    let (client, id) = (&organization.client, &organization.id);
    let present = client.get_connection(id, &args.connection).await?;
    let types = client.list_connection_types().await?.items;
    let kind = find_type(&types, &present.connection_type)?;
    let credential_id = match &args.credential {
        Some(given) => Some(lookup::credential(&organization, given).await?.id),
        None => None,
    };
    let form = Form {
        settings: &kind.settings,
        credentials: if credential_id.is_some() { &[] } else { &kind.credentials },
        present: Some(&present.settings),
        wants_credential: is_bare,
    };
    let filled = fill(context, &form, &args.fields)?;
    let mut settings = filled.settings;
    for name in &args.unset {
        if settings.remove(name).is_none() {
            return Err(CliError::not_found(format!("setting `{name}` in this connection")));
        }
    }
    let has_new_settings = filled.has_new_settings || !args.unset.is_empty();
    let body = ReconfigureConnection {
        credential: filled.credential,
        credential_id,
        settings: has_new_settings.then_some(settings),
        overlap_seconds: args.overlap_seconds,
        skip_verify: args.skip_verify,
        version: present.version,
    };
    let done = {
        let _progress = context.printer.progress("trying it at the service");
        client.reconfigure_connection(id, &args.connection, &body).await?
    };
    show(context, &done)
}

/// Prints what a change of the credential means for pipelines.
pub(crate) fn show(context: &Context, done: &ConnectionReconfigured) -> Result<(), CliError> {
    let mut fields = view::fields(&done.connection);
    fields.push(("Used by", done.used_by.join("\n")));
    context.printer.record(done, fields)?;
    context.printer.talk(&format!("{} pipelines edited", done.pipelines_edited))?;
    match done.overlap_until {
        Some(until) => context.printer.talk(&format!(
            "the version before stays usable until {}; `keyferry connection rollback {}` brings \
             it back",
            moment(until),
            done.connection.connection_id
        )),
        None => Ok(()),
    }
}
