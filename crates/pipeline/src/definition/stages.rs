//! Stages: run one after another.

use crate::definition::tables::STAGE;
use crate::definition::{Definition, Job, JobKey, Stage, jobs, needs};
use crate::diagnostic::code;
use crate::reader::{Fields, Reader};
use crate::yaml::Node;

/// The most jobs a pipeline may have, over all stages.
const MAXIMUM_JOBS: usize = 256;

/// Reads `stages`. `definition` has everything above them already.
pub(super) fn read(
    reader: &mut Reader<'_>,
    node: Option<&Node>,
    definition: &Definition,
) -> Vec<Stage> {
    let Some(node) = node else { return Vec::new() };
    let mut stages: Vec<Stage> = Vec::new();
    for (name, node) in reader.entries(node, "stages by id") {
        reader.id(name, "a stage");
        let stage = reader
            .inside(&name.text, |reader| read_one(reader, &name.text, node, definition, &stages));
        stages.push(stage);
    }
    if stages.iter().map(|stage| stage.jobs.len()).sum::<usize>() > MAXIMUM_JOBS {
        let message = format!("a pipeline has at most {MAXIMUM_JOBS} jobs");
        reader.note(node.at, code::TOO_LARGE, message);
    }
    stages
}

fn read_one(
    reader: &mut Reader<'_>,
    id: &str,
    node: &Node,
    definition: &Definition,
    earlier: &[Stage],
) -> Stage {
    let fields = reader.fields(node, &STAGE);
    read_driven(reader, &fields, "a stage");
    if fields.get("jobs").is_none_or(Node::is_empty) {
        let message = "`jobs` is missing: a stage has at least one job";
        reader.note(fields.place("jobs"), code::MISSING_KEY, message);
    }
    let name = reader.text_of(&fields, "name").unwrap_or_else(|| id.to_owned());
    let jobs = reader.inside("jobs", |reader| read_jobs(reader, &fields, id, definition, earlier));
    Stage { id: id.to_owned(), name, jobs }
}

fn read_jobs(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    stage: &str,
    definition: &Definition,
    earlier: &[Stage],
) -> Vec<Job> {
    let Some(node) = fields.get("jobs") else { return Vec::new() };
    let entries = reader.entries(node, "jobs by id");
    let mut jobs = Vec::new();
    let mut written_needs = Vec::new();
    for (name, node) in &entries {
        reader.id(name, "a job");
        let (job, needs) =
            reader.inside(&name.text, |reader| jobs::read(reader, &name.text, node, definition));
        jobs.push(job);
        written_needs.push(needs);
    }
    needs::resolve(reader, stage, earlier, &mut jobs, &written_needs);
    needs::refuse_cycles(reader, stage, &jobs, &entries);
    jobs
}

/// Reads `driven`: a stage or job that waits for a person is not run yet.
pub(super) fn read_driven(reader: &mut Reader<'_>, fields: &Fields<'_>, what: &str) {
    let driven = reader.choice_of(fields, "driven", &["auto", "manual"]);
    if driven == Some("manual") {
        let at = fields.place("driven");
        let what = format!("{what} that waits for a person (`driven: manual`)");
        reader.inside("driven", |reader| reader.not_run(at, &what, None));
    }
}

impl Stage {
    /// Returns the keys of its jobs.
    pub(crate) fn keys(&self) -> impl Iterator<Item = JobKey> {
        self.jobs.iter().map(|job| JobKey::new(&self.id, &job.id))
    }
}
