//! `keyferry connection types`.

use keyferry_api::connection_types::{ConnectionTypeView, FieldView};

use super::create::find_type;
use crate::context::Context;
use crate::error::CliError;

/// List the types of connections, or the fields of one
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry connection types
  keyferry connection types git")]
pub(crate) struct Args {
    /// Show this type's fields
    #[arg(value_name = "TYPE")]
    connection_type: Option<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let types = context.client_without_token()?.list_connection_types().await;
    // A server may want to know who asks.
    let types = match types {
        Err(error) if error.problem().is_some_and(|problem| problem.status == 401) => {
            context.client()?.list_connection_types().await?
        }
        types => types?,
    };
    if let Some(name) = &args.connection_type {
        return show(context, find_type(&types.items, name)?);
    }
    let header = ["TYPE", "TITLE", "CREDENTIALS", "SUMMARY"];
    context.printer.list(&types.items, &header, "no types", |one| {
        let kinds: Vec<&str> = one.credentials.iter().map(|form| form.kind.as_str()).collect();
        vec![one.id.clone(), one.title.clone(), kinds.join(", "), one.summary.clone()]
    })
}

fn show(context: &Context, one: &ConnectionTypeView) -> Result<(), CliError> {
    if context.printer.is_json() {
        return context.printer.json(one);
    }
    context.printer.record(
        one,
        vec![
            ("Type", one.id.clone()),
            ("Title", one.title.clone()),
            ("Summary", one.summary.clone()),
            ("Also read as", one.aliases.join(", ")),
            ("Can", one.capabilities.join(", ")),
            ("Tried at the service", if one.can_verify { "yes" } else { "no" }.to_owned()),
        ],
    )?;
    if !one.settings.is_empty() {
        context.printer.data("\nSettings")?;
        fields(context, &one.settings)?;
    }
    for form in &one.credentials {
        context.printer.data(&format!("\nCredential `{}`: {}", form.kind, form.title))?;
        if form.fields.is_empty() {
            context.printer.data("  any names: --secret NAME=@PATH, --file NAME=@PATH")?;
        } else {
            fields(context, &form.fields)?;
        }
    }
    Ok(())
}

fn fields(context: &Context, fields: &[FieldView]) -> Result<(), CliError> {
    context.printer.list(fields, &["  OPTION", "", "HELP"], "", |one| {
        let option = if one.secret { "--secret" } else { "--set" };
        let need = match (&one.default, one.required) {
            (Some(default), _) => format!("default {default}"),
            (None, true) => "required".to_owned(),
            (None, false) => "optional".to_owned(),
        };
        let value = if one.multiline || one.secret { "@PATH" } else { "…" };
        vec![format!("  {option} {}={value}", one.name), need, one.help.clone()]
    })
}
