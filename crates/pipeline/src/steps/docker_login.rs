//! `DockerLogin`: lets the job's later image commands use a registry.

use serde::{Deserialize, Serialize};

use crate::diagnostic::code;
use crate::keys::{Key, Shape, Table};
use crate::reader::Reader;
use crate::steps::{StepConnection, StepKind, connection_of};
use crate::yaml::Node;

/// Lets the job use a registry through a connection, which the step names `serviceConnection`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerLogin {
    /// The registry's host and port; the connection's own registry when absent.
    pub docker_repository: Option<String>,
}

/// The keys of `with`.
pub(super) static WITH: Table = Table {
    what: "`with` of `DockerLogin`",
    keys: &[
        Key::new("dockerRepository", Shape::Text, "The registry's host and port.")
            .or(&["dockerRegistry"]),
        Key::new("serviceConnection", Shape::Text, "The connection's ID."),
    ],
};

pub(super) fn read(
    reader: &mut Reader<'_>,
    with: &Node,
) -> Option<(StepKind, Vec<StepConnection>)> {
    let fields = reader.fields(with, &WITH);
    let host = reader.text_of(&fields, "dockerRepository").filter(|text| !text.trim().is_empty());
    if let Some(text) = &host {
        let at = fields.place("dockerRepository");
        reader.inside("dockerRepository", |reader| {
            if reader.literal(text, at, "a registry's host") && !is_registry(text) {
                // Not repeated: people paste passwords into addresses.
                let message = "this is not a registry's host and port";
                let hint = Some("write it like `registry.example.com:5000`".to_owned());
                reader.note_with(at, code::WRONG_VALUE, message, hint);
            }
        });
    }
    let connection = connection_of(reader, &fields, "serviceConnection")?;
    let docker_repository = host.map(|text| registry_of(&text).to_owned());
    Some((StepKind::DockerLogin(DockerLogin { docker_repository }), vec![connection]))
}

/// Drops what people paste around the host: the scheme and a trailing slash.
fn registry_of(text: &str) -> &str {
    let text = text.trim();
    let text =
        text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    text.trim_end_matches('/')
}

fn is_registry(text: &str) -> bool {
    let text = registry_of(text);
    !text.is_empty()
        && text.len() <= 260
        && !text.starts_with('-')
        && text.chars().all(|one| one.is_ascii_alphanumeric() || "-.:/_[]".contains(one))
}
