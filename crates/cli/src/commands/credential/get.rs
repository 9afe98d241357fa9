//! `keyferry credential get`.

use keyferry_api::credentials::CredentialView;
use keyferry_domain::credential::VersionState;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::credential;
use crate::printer::moment;

/// Show a credential; its secrets are never shown
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The credential, by id or name
    credential: String,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let found = credential(&organization, &args.credential).await?;
    context.printer.record(&found, fields(&found))
}

/// Returns what is shown of a credential.
pub(crate) fn fields(one: &CredentialView) -> Vec<(&'static str, String)> {
    let public: Vec<String> =
        one.public_fields.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let versions: Vec<String> = one
        .versions
        .iter()
        .map(|version| {
            let state = match version.state {
                VersionState::Current => "current".to_owned(),
                VersionState::Previous { until } => format!("usable until {}", moment(until)),
                VersionState::Retired { at } => format!("wiped at {}", moment(at)),
            };
            format!("{}: {state}", version.number)
        })
        .collect();
    vec![
        ("ID", one.id.to_string()),
        ("Name", one.name.clone()),
        ("Kind", one.kind.to_string()),
        ("Owner", one.owner_id.to_string()),
        ("Fields", public.join("\n")),
        ("Values and files", one.value_names.join("\n")),
        ("Versions", versions.join("\n")),
        ("Connections", one.connections.join("\n")),
        ("Created", moment(one.created_at)),
    ]
}
