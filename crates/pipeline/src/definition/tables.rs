//! The keys of each mapping above the steps, and the reading of the topmost one.

use crate::definition::{Definition, sources, stages, unknown_reference, variables};
use crate::diagnostic::code;
use crate::keys::{Key, Shape, Table};
use crate::reader::{Fields, Reader};
use crate::yaml::{Node, Value};

/// The whole text.
pub(crate) static PIPELINE: Table = Table {
    what: "a pipeline",
    keys: &[
        Key::new("name", Shape::Text, "What people call the pipeline."),
        Key::new("sources", Shape::Each(&SOURCE), "Code that the jobs download, by id."),
        Key::new(
            "defaultWorkspace",
            Shape::Text,
            "The source that jobs start in; needed when there are several.",
        ),
        Key::new("variables", Shape::List(&VARIABLE), "Variables that every job sees."),
        Key::new("stages", Shape::Each(&STAGE), "Stages, which run one after another."),
        Key::not_run("variableGroups")
            .instead("write the values under `variables`; secrets belong into a connection of type `generic`"),
        Key::not_run("concurrencyConfig"),
        Key::not_run("cache")
            .instead("remove it; jobs start with an empty folder"),
        Key::not_run("mountDirs"),
        Key::not_run("plugins"),
        Key::not_run("triggers"),
        Key::not_run("settings"),
    ],
};

/// One entry of `sources`.
pub(crate) static SOURCE: Table = Table {
    what: "a source",
    keys: &[
        Key::new("type", Shape::OneOf(sources::RUN_TYPES), "What kind of service holds it."),
        Key::new("name", Shape::Text, "What people call it; `CI_SOURCE_NAME`."),
        Key::new("endpoint", Shape::Text, "The repository's address, without user or password."),
        Key::new("branch", Shape::Text, "The branch when a run names no other; `master`."),
        Key::new("branchesFilter", Shape::Text, "Has effect only on triggers.")
            .or(&["branchFilter"]),
        Key::new("pathFilter", Shape::Text, "Has effect only on triggers."),
        Key::new(
            "cloneDepth",
            Shape::Integer { minimum: 0, maximum: 1_000_000 },
            "How many commits of history; 0, the default, is all.",
        ),
        Key::new("submodule", Shape::Boolean, "Whether submodules are cloned too.")
            .or(&["submodules"]),
        Key::new("certificate", Shape::Map(&CERTIFICATE), "The connection that opens it."),
        Key::not_run("triggerEvents")
            .instead("no push starts a run yet: remove it, and start runs by the API or the command line; filters may stay"),
    ],
};

/// The `certificate` of a source or step.
pub(crate) static CERTIFICATE: Table = Table {
    what: "a certificate",
    keys: &[
        Key::new("type", Shape::OneOf(&["serviceConnection"]), "Always `serviceConnection`."),
        Key::new("serviceConnection", Shape::Text, "The connection's ID."),
        // Read so that the one message says what to do instead; see `sources::read_certificate`.
        Key::new("username", Shape::Text, "Refused: belongs into a credential."),
        Key::new("password", Shape::Text, "Refused: belongs into a credential."),
    ],
};

/// One entry of `variables`.
pub(crate) static VARIABLE: Table = Table {
    what: "a variable",
    keys: &[
        Key::new("key", Shape::Text, "Its name.").or(&["name"]),
        Key::new("type", Shape::OneOf(variables::TYPES), "How the value is written; `String`."),
        Key::new("value", Shape::Text, "Its value."),
        Key::new("description", Shape::Text, "What it is for; has no effect."),
        Key::new("isEncrypted", Shape::Boolean, "Refused when true: use a connection.")
            .or(&["encrypted", "isSecret"]),
    ],
};

/// One entry of `stages`.
pub(crate) static STAGE: Table = Table {
    what: "a stage",
    keys: &[
        Key::new("name", Shape::Text, "What people call it."),
        Key::new("driven", Shape::OneOf(&["auto"]), "How it is started; only `auto` is run."),
        Key::new("jobs", Shape::Each(&JOB), "Jobs, side by side unless ordered by `needs`."),
        Key::not_run("plugins"),
        Key::not_run("condition"),
    ],
};

/// One entry of `jobs`.
pub(crate) static JOB: Table = Table {
    what: "a job",
    keys: &[
        Key::new("name", Shape::Text, "What people call it."),
        Key::new("runsOn", Shape::Any, "The machine group; any runner takes the job."),
        Key::new(
            "timeoutMinutes",
            Shape::Integer { minimum: 1, maximum: 10_080 },
            "How long it may run; 240.",
        ),
        Key::new("driven", Shape::OneOf(&["auto"]), "How it is started; only `auto` is run."),
        Key::new("needs", Shape::Texts, "Jobs that must succeed before."),
        Key::new("condition", Shape::Text, "When it runs: `\"${NAME}\" == \"value\"`."),
        Key::new("sourceOption", Shape::Texts, "Sources to download; all when absent."),
        Key::new("steps", Shape::Each(&crate::steps::STEP), "Steps, one after another."),
        Key::not_run("component")
            .instead("write `steps` instead"),
        Key::not_run("with"),
        Key::not_run("plugins"),
        Key::not_run("cache"),
        Key::not_run("container")
            .instead("the job runs on the machine of its runner: remove it, and install what the job needs there"),
        Key::not_run("strategy"),
    ],
};

/// A `runsOn` that is a mapping.
pub(crate) static RUNS_ON: Table = Table {
    what: "`runsOn`",
    keys: &[
        Key::new("group", Shape::Text, "The machine group; any runner takes the job."),
        // The local executor is what Flow calls a VM environment.
        Key::new("vm", Shape::Boolean, "Whether the job runs outside a container; always so."),
        Key::new("instanceType", Shape::OneOf(INSTANCE_TYPES), "The machine's size; no effect."),
        Key::not_run("container")
            .instead("the job runs on the machine of its runner: remove it, and install what the job needs there"),
        Key::not_run("labels")
            .instead("remove it; any runner takes the job"),
        Key::not_run("os"),
        Key::not_run("arch"),
    ],
};

const INSTANCE_TYPES: &[&str] =
    &["SMALL_1C2G", "MEDIUM_2C4G", "LARGE_4C8G", "XLARGE_8C16G", "XXLARGE_16C32G"];

/// Reads the topmost mapping. The result is used only when nothing was noted.
pub(super) fn read_pipeline(reader: &mut Reader<'_>, node: &Node, text: &str) -> Definition {
    let fields = pipeline_fields(reader, node);
    let name = reader.text_of(&fields, "name");
    let variables =
        reader.inside("variables", |reader| variables::read(reader, fields.get("variables")));
    let sources = reader.inside("sources", |reader| sources::read(reader, fields.get("sources")));
    let default_workspace = read_default_workspace(reader, &fields, &sources);
    let mut definition = Definition {
        name,
        sources,
        default_workspace,
        variables,
        stages: Vec::new(),
        text: text.to_owned(),
    };
    let is_mapping = matches!(node.value, Value::Map(_) | Value::Null);
    if is_mapping && fields.get("stages").is_none_or(Node::is_empty) {
        let message = "`stages` is missing: a pipeline has at least one stage";
        reader.note(fields.place("stages"), code::MISSING_KEY, message);
    }
    definition.stages =
        reader.inside("stages", |reader| stages::read(reader, fields.get("stages"), &definition));
    definition
}

/// Reads the topmost keys without `x-…`, which hold anchors and mean nothing by themselves.
fn pipeline_fields<'n>(reader: &mut Reader<'_>, node: &'n Node) -> Fields<'n> {
    let Value::Map(entries) = &node.value else {
        return reader.fields(node, &PIPELINE);
    };
    let is_extension = |text: &str| text.starts_with("x-") || text.starts_with('.');
    reader.fields_of(
        node.at,
        entries.iter().filter(|(name, _)| !is_extension(&name.text)),
        &PIPELINE,
    )
}

fn read_default_workspace(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    sources: &[super::Source],
) -> Option<String> {
    let ids = sources.iter().map(|source| source.id.as_str());
    let chosen = reader.text_of(fields, "defaultWorkspace").filter(|text| !text.is_empty());
    match chosen {
        Some(chosen) => {
            if !sources.iter().any(|source| source.id == chosen) {
                let at = fields.place("defaultWorkspace");
                reader.inside("defaultWorkspace", |reader| {
                    unknown_reference(reader, at, "source", &chosen, ids);
                });
            }
            Some(chosen)
        }
        None if sources.len() > 1 => {
            let message = "`defaultWorkspace` is missing: with several sources it says which one \
                           jobs start in";
            reader.note(fields.place("sources"), code::MISSING_KEY, message);
            None
        }
        None => sources.first().map(|source| source.id.clone()),
    }
}
