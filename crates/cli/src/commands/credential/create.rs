//! `keyferry credential create`.

use keyferry_api::connection_types::CredentialFormView;
use keyferry_api::credentials::CreateCredential;

use super::get::fields;
use crate::context::Context;
use crate::error::CliError;
use crate::form::{FieldArguments, Form, fill};
use crate::prompts;

/// Create a credential that connections can stand on
///
/// Several connections can share it. It is tried when a connection is created with it, since only
/// a connection says at which service.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry credential create --name \"Deploy user\" --kind username_password \\
    --set username=deploy --secret password=@password.txt
  keyferry credential create --name \"Deploy key\" --secret private_key=@id_ed25519")]
pub(crate) struct Args {
    /// Name, 1 to 100 characters
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    fields: FieldArguments,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let types = organization.client.list_connection_types().await?.items;
    let mut forms: Vec<CredentialFormView> = Vec::new();
    for form in types.into_iter().flat_map(|one| one.credentials) {
        if !forms.iter().any(|known| known.kind == form.kind) {
            forms.push(form);
        }
    }
    let name = context.require(args.name, "--name", || prompts::text("Name", "for people"))?;
    let form = Form { settings: &[], credentials: &forms, present: None, wants_credential: true };
    let credential = fill(context, &form, &args.fields)?
        .credential
        .ok_or_else(|| CliError::invalid("the server knows no kind of credential"))?;
    let body = CreateCredential { name, credential };
    let created = organization.client.create_credential(&organization.id, &body).await?;
    context.printer.record(&created, fields(&created))
}
