//! `Command`: a shell script, with connections for the tools it calls.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::definition::variables::VARIABLE_NAME_HINT;
use crate::definition::{is_variable_name, unknown_reference, variables};
use crate::diagnostic::{code, quote};
use crate::keys::{Key, Shape, Table};
use crate::reader::{Fields, Reader};
use crate::steps::{StepConnection, StepKind, connection_at};
use crate::yaml::Node;

/// A shell script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The script as written. The shell replaces its variables, not Keyferry.
    pub run: String,
    /// Variables of this step only; values take `${NAME}`.
    pub variables: BTreeMap<String, String>,
    /// Names by which the script's tools may ask for connections.
    pub connections: Vec<String>,
    /// Environment made of a connection's fields, for tools that have no credential helper.
    pub env: BTreeMap<String, Vec<EnvironmentPart>>,
}

/// A piece of an environment variable's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentPart {
    /// Text; takes `${NAME}`.
    Text(String),
    /// One field of a connection's material.
    Field {
        /// The name under `connections`.
        connection: String,
        /// `password`, `user`, `token`, or a key of a `generic` connection.
        field: String,
    },
}

/// The keys of `with`.
pub(super) static WITH: Table = Table {
    what: "`with` of `Command`",
    keys: &[
        Key::new("run", Shape::Text, "The script."),
        Key::new(
            "variables",
            Shape::List(&crate::definition::VARIABLE),
            "Variables of this step only.",
        ),
        Key::new("connections", Shape::TextMap, "Names to connection IDs, for the script's tools."),
        Key::new("env", Shape::TextMap, "Variables made of connections: `${name.field}`."),
        Key::new("ifGivenShell", Shape::Boolean, "Only `false` is run."),
        Key::new("givenExecShell", Shape::Text, "Has effect only with `ifGivenShell`."),
        Key::not_run("executeUser"),
        Key::not_run("artifacts"),
    ],
};

pub(super) fn read(
    reader: &mut Reader<'_>,
    with: &Node,
) -> Option<(StepKind, Vec<StepConnection>)> {
    let fields = reader.fields(with, &WITH);
    reader.text_of(&fields, "givenExecShell");
    if reader.boolean_of(&fields, "ifGivenShell") == Some(true) {
        let at = fields.place("ifGivenShell");
        reader.inside("ifGivenShell", |reader| reader.not_run(at, "another shell", None));
    }
    let connections = read_connections(reader, &fields);
    let env = read_env(reader, &fields, &connections);
    let variables = reader
        .inside("variables", |reader| variables::read(reader, fields.get("variables")))
        .into_iter()
        .map(|variable| (variable.key, variable.value))
        .collect();
    let run = reader.required(&fields, "run")?;
    if run.contains('\0') {
        reader.note(fields.place("run"), code::WRONG_VALUE, "a script cannot hold a NUL");
    }
    let names = connections.iter().map(|one| one.name.clone()).collect();
    Some((StepKind::Command(Command { run, variables, connections: names, env }), connections))
}

fn read_connections(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Vec<StepConnection> {
    let Some(node) = fields.get("connections") else { return Vec::new() };
    reader.inside("connections", |reader| {
        let entries = reader.entries(node, "names to connection IDs");
        entries
            .into_iter()
            .filter_map(|(name, node)| {
                reader.id(name, "a connection's name in this step");
                let text = reader.inside(&name.text, |reader| reader.text(node));
                let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
                    if !node.is_empty() {
                        return None;
                    }
                    let message = format!("the ID of {} is missing", quote(&name.text));
                    reader.note(name.at, code::MISSING_KEY, message);
                    return None;
                };
                connection_at(reader, &name.text, &name.text, &text, node.at)
            })
            .collect()
    })
}

fn read_env(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    connections: &[StepConnection],
) -> BTreeMap<String, Vec<EnvironmentPart>> {
    let Some(node) = fields.get("env") else { return BTreeMap::new() };
    reader.inside("env", |reader| {
        let mut env = BTreeMap::new();
        for (name, node) in reader.entries(node, "variables by name") {
            if !is_variable_name(&name.text) || name.text.starts_with("KEYFERRY_") {
                let message = format!("{} cannot be a variable's name", quote(&name.text));
                let hint = Some(VARIABLE_NAME_HINT.to_owned());
                reader.note_with(name.at, code::WRONG_VALUE, message, hint);
            }
            let parts = reader.inside(&name.text, |reader| {
                let parts = split(&reader.text(node).unwrap_or_default());
                for part in &parts {
                    let EnvironmentPart::Field { connection, .. } = part else { continue };
                    if !connections.iter().any(|one| one.name == *connection) {
                        let names = connections.iter().map(|one| one.name.as_str());
                        let what = "name under `connections` of this step called";
                        unknown_reference(reader, node.at, what, connection, names);
                    }
                }
                parts
            });
            env.insert(name.text.clone(), parts);
        }
        env
    })
}

/// Splits `Bearer ${api.token}` into text and fields. `${NAME}` without a dot stays text.
fn split(text: &str) -> Vec<EnvironmentPart> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, reference) = rest.split_at(start);
        plain.push_str(before);
        let field = reference[2..].split_once('}').and_then(|(inner, after)| {
            let (connection, field) = inner.split_once('.')?;
            let is_name = |text: &str| {
                !text.is_empty()
                    && text.chars().all(|one| one.is_ascii_alphanumeric() || "_-.".contains(one))
            };
            (is_name(connection) && is_name(field)).then_some((connection, field, after))
        });
        if let Some((connection, field, after)) = field {
            if !plain.is_empty() {
                parts.push(EnvironmentPart::Text(std::mem::take(&mut plain)));
            }
            let (connection, field) = (connection.to_owned(), field.to_owned());
            parts.push(EnvironmentPart::Field { connection, field });
            rest = after;
        } else {
            plain.push_str("${");
            rest = &reference[2..];
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() || parts.is_empty() {
        parts.push(EnvironmentPart::Text(plain));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> EnvironmentPart {
        EnvironmentPart::Text(text.to_owned())
    }

    fn field(connection: &str, field: &str) -> EnvironmentPart {
        EnvironmentPart::Field { connection: connection.to_owned(), field: field.to_owned() }
    }

    #[test]
    fn only_a_name_with_a_dot_is_a_field() {
        assert_eq!(
            split("Bearer ${api.token}!"),
            [text("Bearer "), field("api", "token"), text("!")]
        );
        assert_eq!(split("${a.b}${c.d.e}"), [field("a", "b"), field("c", "d.e")]);
        for plain in ["", "${NAME}", "${X:-y.z}", "${a.}", "${.b}", "${a.b", "$a.b", "${a b.c}"] {
            assert_eq!(split(plain), [text(plain)], "{plain}");
        }
        assert_eq!(split("${A}${b.c}"), [text("${A}"), field("b", "c")]);
    }
}
