//! `keyferry connection create`.

use std::fmt;

use keyferry_api::connection_types::ConnectionTypeView;
use keyferry_api::connections::CreateConnection;
use keyferry_api::credentials::CredentialView;
use keyferry_domain::Scope;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::CredentialId;

use super::view;
use crate::context::{Context, Organization};
use crate::error::CliError;
use crate::form::{FieldArguments, Form, fill};
use crate::lookup::{self, parse};
use crate::prompts;

/// Create a connection
///
/// With a person at the terminal, what is not given is asked for. The credential is tried against
/// the service before anything is stored; a failed try stores nothing.
///
/// Each type has its own fields: `keyferry connection types TYPE` lists them. Secrets are never
/// written on the command line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry connection create
  keyferry connection create --type git --name \"Team repositories\" --id team-git \\
    --set url=https://git.example.com/team --set username=deploy \\
    --secret password=@password.txt --scope public
  keyferry connection create --type git --name Keys --set url=ssh://git@git.example.com \\
    --secret private_key=@id_ed25519 --set known_hosts=@known_hosts
  keyferry connection create --type generic --name Keys --secret API_KEY=env:API_KEY \\
    --file settings.json=@settings.json
  keyferry connection create --type gitea --name Forge --set base_url=https://forge.example.com \\
    --credential \"My forge token\"")]
pub(crate) struct Args {
    /// Connection type; see `keyferry connection types`
    #[arg(long = "type", value_name = "TYPE")]
    connection_type: Option<String>,
    /// Name, 1 to 100 characters
    #[arg(long)]
    name: Option<String>,
    /// What pipelines will write: 3 to 64 lower-case letters, digits and hyphens; generated when
    /// absent, and never changed afterwards
    #[arg(long, value_parser = parse::<ConnectionId>)]
    id: Option<ConnectionId>,
    /// An existing credential of yours, by id or name, in place of a new one
    #[arg(long, value_name = "CREDENTIAL")]
    credential: Option<String>,
    /// Who may use it: private (you), public (every member) or custom (`--user`, `--group`)
    #[arg(long, value_parser = parse::<Scope>)]
    scope: Option<Scope>,
    /// A user of the custom scope, by id or e-mail address; may be repeated
    #[arg(long, value_name = "USER")]
    user: Vec<String>,
    /// A group of the custom scope, by id or name; may be repeated
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,
    /// Store it without trying it; it is then marked unverified
    #[arg(long)]
    skip_verify: bool,
    #[command(flatten)]
    fields: FieldArguments,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    refuse_contradictions(&args)?;
    let organization = context.organization().await?;
    let types = organization.client.list_connection_types().await?.items;
    let kind = choose_type(context, &types, args.connection_type.clone())?;
    let name = context.require(args.name.clone(), "--name", || {
        prompts::text("Name", "for people; it can be changed at any time")
    })?;
    let id = match &args.id {
        Some(id) => Some(id.to_string()),
        None if context.is_interactive() => ask_id(context)?,
        None => None,
    };
    let existing = choose_credential(context, &organization, kind, &args).await?;
    let form = Form {
        settings: &kind.settings,
        credentials: if existing.is_some() { &[] } else { &kind.credentials },
        present: None,
        wants_credential: existing.is_none(),
    };
    let filled = fill(context, &form, &args.fields)?;
    let scope = choose_scope(context, &args)?;
    let body = CreateConnection {
        name,
        connection_type: kind.id.clone(),
        connection_id: id,
        settings: filled.settings,
        credential: filled.credential,
        credential_id: existing,
        scope,
        users: lookup::users(&organization, &args.user).await?,
        groups: lookup::group_ids(&organization, &args.group).await?,
        skip_verify: args.skip_verify,
    };
    let created = {
        let is_tried = kind.can_verify && !args.skip_verify;
        let text = if is_tried { "trying the credential at the service" } else { "storing" };
        let _progress = context.printer.progress(text);
        organization.client.create_connection(&organization.id, &body).await?
    };
    view::show(context, &created)?;
    context.printer.talk(&format!("pipelines name it by its ID: {}", created.connection_id))
}

fn refuse_contradictions(args: &Args) -> Result<(), CliError> {
    if args.credential.is_some() && args.fields.has_secrets() {
        return Err(CliError::invalid(
            "an existing credential and fields of a new one are both given",
        )
        .hint("use `--credential`, or `--secret` and `--file`, not both"));
    }
    let has_names = !args.user.is_empty() || !args.group.is_empty();
    if has_names && args.scope.is_some_and(|scope| scope != Scope::Custom) {
        return Err(CliError::invalid("`--user` and `--group` are for the custom scope only")
            .hint("use `--scope custom`"));
    }
    Ok(())
}

fn choose_type<'a>(
    context: &Context,
    types: &'a [ConnectionTypeView],
    given: Option<String>,
) -> Result<&'a ConnectionTypeView, CliError> {
    struct Choice<'a>(&'a ConnectionTypeView);
    impl fmt::Display for Choice<'_> {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "{}: {}", self.0.title, self.0.summary)
        }
    }
    let Some(given) = given else {
        if !context.is_interactive() {
            return Err(CliError::invalid("--type is missing").hint(known(types)));
        }
        let choices = types.iter().map(Choice).collect();
        return prompts::select("Type:", choices).map(|choice| choice.0);
    };
    find_type(types, &given)
}

/// Returns the type with this name or alias; letter case does not matter.
pub(crate) fn find_type<'a>(
    types: &'a [ConnectionTypeView],
    name: &str,
) -> Result<&'a ConnectionTypeView, CliError> {
    types
        .iter()
        .find(|one| {
            one.id.eq_ignore_ascii_case(name)
                || one.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
        })
        .ok_or_else(|| CliError::not_found(format!("connection type `{name}`")).hint(known(types)))
}

fn known(types: &[ConnectionTypeView]) -> String {
    let names: Vec<String> = types.iter().map(|one| format!("`{}`", one.id)).collect();
    format!("types: {}", names.join(", "))
}

fn ask_id(context: &Context) -> Result<Option<String>, CliError> {
    loop {
        let help = "what pipelines will write; empty to have one made; never changed afterwards";
        match prompts::optional_text("Connection ID (optional)", help, None)? {
            None => return Ok(None),
            Some(text) => match text.parse::<ConnectionId>() {
                Ok(id) => return Ok(Some(id.to_string())),
                Err(error) => context.printer.talk(&format!("failed to {error}"))?,
            },
        }
    }
}

async fn choose_credential(
    context: &Context,
    organization: &Organization,
    kind: &ConnectionTypeView,
    args: &Args,
) -> Result<Option<CredentialId>, CliError> {
    if let Some(given) = &args.credential {
        return Ok(Some(lookup::credential(organization, given).await?.id));
    }
    if args.fields.has_secrets() || !context.is_interactive() {
        return Ok(None);
    }
    let fitting = lookup::credentials(organization)
        .await?
        .into_iter()
        .filter(|one| kind.credentials.iter().any(|form| form.kind == one.kind.as_str()));
    choose_from(fitting.collect())
}

/// Lets the person choose an existing credential, or a new one.
pub(crate) fn choose_from(
    credentials: Vec<CredentialView>,
) -> Result<Option<CredentialId>, CliError> {
    struct Choice(Option<CredentialView>);
    impl fmt::Display for Choice {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            match &self.0 {
                None => formatter.write_str("a new one"),
                Some(one) => write!(formatter, "{} ({}, {})", one.name, one.kind, one.id),
            }
        }
    }
    if credentials.is_empty() {
        return Ok(None);
    }
    let mut choices = vec![Choice(None)];
    choices.extend(credentials.into_iter().map(|one| Choice(Some(one))));
    Ok(prompts::select("Credential:", choices)?.0.map(|one| one.id))
}

fn choose_scope(context: &Context, args: &Args) -> Result<Scope, CliError> {
    if let Some(scope) = args.scope {
        return Ok(scope);
    }
    if !args.user.is_empty() || !args.group.is_empty() {
        return Ok(Scope::Custom);
    }
    if !context.is_interactive() {
        return Ok(Scope::Private);
    }
    let choices = vec!["private: only you", "public: every member of the organization"];
    let choice = prompts::select("Who may use it (`--user` and `--group` for others):", choices)?;
    Ok(if choice.starts_with("public") { Scope::Public } else { Scope::Private })
}
