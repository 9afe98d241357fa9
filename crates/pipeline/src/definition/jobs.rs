//! Jobs: steps in one workspace.

use crate::condition;
use crate::definition::tables::{JOB, RUNS_ON};
use crate::definition::{DEFAULT_TIMEOUT_MINUTES, Definition, Job, stages, unknown_reference};
use crate::diagnostic::{Position, code};
use crate::reader::{Fields, Reader};
use crate::steps;
use crate::yaml::{Node, Value};

/// Reads one job. What it needs is returned as written, since jobs may name later ones.
pub(super) fn read(
    reader: &mut Reader<'_>,
    id: &str,
    node: &Node,
    definition: &Definition,
) -> (Job, Vec<(String, Position)>) {
    let fields = reader.fields(node, &JOB);
    stages::read_driven(reader, &fields, "a job");
    let sources = read_source_option(reader, &fields, definition);
    let workspace = definition
        .default_workspace
        .clone()
        .filter(|workspace| sources.contains(workspace))
        .or_else(|| sources.first().cloned());
    let is_component = node_has(node, "component");
    if fields.get("steps").is_none_or(Node::is_empty) && !is_component {
        let message = "`steps` is missing: a job has at least one step";
        reader.note(fields.place("steps"), code::MISSING_KEY, message);
    }
    let context = steps::Context { definition, sources: &sources, workspace: workspace.as_deref() };
    let steps = reader.inside("steps", |reader| steps::read(reader, fields.get("steps"), &context));
    let needs = reader.texts_of(&fields, "needs").unwrap_or_default();
    let job = Job {
        id: id.to_owned(),
        name: reader.text_of(&fields, "name").unwrap_or_else(|| id.to_owned()),
        needs: Vec::new(),
        condition: read_condition(reader, &fields),
        timeout_minutes: reader
            .integer_of(&fields, "timeoutMinutes", 1..=10_080)
            .unwrap_or(DEFAULT_TIMEOUT_MINUTES),
        runs_on: read_runs_on(reader, &fields),
        sources,
        workspace,
        steps,
    };
    (job, needs)
}

fn node_has(node: &Node, key: &str) -> bool {
    matches!(&node.value, Value::Map(entries) if entries.iter().any(|(name, _)| name.text == key))
}

/// Reads `runsOn`, a text or a mapping. Returns the group that it names.
fn read_runs_on(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<String> {
    let node = fields.get("runsOn")?;
    if matches!(node.value, Value::Map(_)) {
        return reader.inside("runsOn", |reader| {
            let fields = reader.fields(node, &RUNS_ON);
            reader.text_of(&fields, "instanceType");
            if reader.boolean_of(&fields, "vm") == Some(false) {
                // A container without an image is what Flow calls its default environment.
                let at = fields.place("vm");
                reader.not_run(at, "a job in a container (`vm: false`)", None);
            }
            reader.text_of(&fields, "group")
        });
    }
    reader.text_of(fields, "runsOn")
}

/// Reads `sourceOption`: absent is every source, an empty list is none.
fn read_source_option(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    definition: &Definition,
) -> Vec<String> {
    let all = || definition.sources.iter().map(|source| source.id.as_str());
    let Some(chosen) = reader.texts_of(fields, "sourceOption") else {
        return all().map(str::to_owned).collect();
    };
    reader.inside("sourceOption", |reader| {
        for (text, at) in &chosen {
            if !all().any(|id| id == text) {
                unknown_reference(reader, *at, "source", text, all());
            }
        }
    });
    // In the order of the sources, which numbers the `CI_…` variables.
    all().filter(|id| chosen.iter().any(|(text, _)| text == id)).map(str::to_owned).collect()
}

fn read_condition(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<String> {
    let text = reader.text_of(fields, "condition").filter(|text| !text.trim().is_empty())?;
    let at = fields.place("condition");
    if let Err(error) = condition::Condition::parse(&text) {
        let hint = error.hint();
        reader.inside("condition", |reader| {
            reader.note_with(at, code::CONDITION, error.to_string(), hint);
        });
    }
    Some(text)
}
