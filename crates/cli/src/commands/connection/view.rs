//! How a connection is shown.

use std::fmt::Write as _;

use keyferry_api::connections::{ConnectionView, HealthView};
use keyferry_domain::Scope;
use keyferry_domain::id::{GroupId, UserId};

use crate::context::Context;
use crate::error::CliError;
use crate::printer::{moment, moment_or};

/// Prints a connection.
pub(crate) fn show(context: &Context, one: &ConnectionView) -> Result<(), CliError> {
    context.printer.record(one, fields(one))
}

/// Returns what is shown of a connection.
pub(crate) fn fields(one: &ConnectionView) -> Vec<(&'static str, String)> {
    let settings: Vec<String> = one
        .settings
        .iter()
        .map(|(name, value)| match value.lines().count() {
            0 | 1 => format!("{name} = {value}"),
            lines => format!("{name} = ({lines} lines)"),
        })
        .collect();
    let names: Vec<&str> = one
        .users
        .iter()
        .map(UserId::as_str)
        .chain(one.groups.iter().map(GroupId::as_str))
        .collect();
    let scope = match one.scope {
        Scope::Custom => format!("custom\n{}", names.join("\n")),
        scope => scope.to_string(),
    };
    vec![
        ("ID", one.connection_id.to_string()),
        ("Name", one.name.clone()),
        ("Type", one.connection_type.clone()),
        ("Settings", settings.join("\n")),
        ("Credential", one.credential_id.to_string()),
        ("Owner", one.owner_id.to_string()),
        ("Scope", scope),
        ("Health", health(&one.health)),
        ("Checked", moment_or(one.health.checked_at, "")),
        ("Last used", moment_or(one.last_used_at, "never")),
        ("Created", moment(one.created_at)),
        ("Version", one.version.to_string()),
    ]
}

/// Returns a connection's health in a line.
pub(crate) fn health(health: &HealthView) -> String {
    let mut text = health.status.to_string();
    if let Some(field) = &health.field {
        let _ = write!(text, " in {field}");
    }
    if let Some(reason) = &health.reason {
        let _ = write!(text, ": {reason}");
    }
    text
}
