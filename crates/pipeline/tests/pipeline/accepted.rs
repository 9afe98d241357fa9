//! Files in the shapes that Flow's users write.

use keyferry_pipeline::Definition;
use keyferry_pipeline::diagnostic::render_all;
use keyferry_pipeline::steps::{MergeStrategy, StepKind};

fn read(text: &str) -> Definition {
    Definition::parse(text).map_err(|all| render_all(&all, "pipeline.yaml")).unwrap()
}

pub(crate) const MINIMAL: &str = include_str!("../fixtures/minimal.yaml");
pub(crate) const ONE_SOURCE: &str = include_str!("../fixtures/one-source.yaml");
pub(crate) const SEVERAL_SOURCES: &str = include_str!("../fixtures/several-sources.yaml");
pub(crate) const GIT_AND_IMAGES: &str = include_str!("../fixtures/git-and-images.yaml");

#[test]
fn every_fixture_is_read_and_used_here() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        read(&std::fs::read_to_string(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert_eq!(count, 4);
}

#[test]
fn the_least_pipeline_has_its_defaults() {
    let definition = read(MINIMAL);
    let (key, stage, job) = definition.jobs().next().unwrap();
    assert_eq!(
        (key.as_str(), stage.name.as_str(), job.name.as_str()),
        ("build.hello", "build", "hello")
    );
    assert_eq!(job.timeout_minutes, 240);
    assert!(job.sources.is_empty() && job.workspace.is_none() && job.condition.is_none());
}

#[test]
fn scalars_are_read_as_they_are_meant() {
    let definition = read(ONE_SOURCE);
    let source = &definition.sources[0];
    assert_eq!((source.clone_depth, source.submodules), (0, true));
    assert_eq!(source.branch, "main");
    assert_eq!(source.connection.as_ref().unwrap().text, "lhjkwns3zhj879ic");
    let values: Vec<&str> = definition.variables.iter().map(|one| one.value.as_str()).collect();
    assert_eq!(values, ["staging", "3", "1.10"]);
    let job = &definition.stages[0].jobs[0];
    assert_eq!(job.timeout_minutes, 30);
    let StepKind::Command(command) = &job.steps[0].kind else { panic!() };
    assert!(command.run.contains("${TARGET:-none}") && command.run.contains("{{.Names}}"));
}

#[test]
fn anchors_letter_case_and_other_languages_are_read() {
    let definition = read(SEVERAL_SOURCES);
    assert_eq!(definition.name.as_deref(), Some("多仓库流水线"));
    let kinds: Vec<&str> = definition.sources.iter().map(|one| one.kind.as_str()).collect();
    assert_eq!(kinds, ["gitlab", "githubApp", "gitee"]);
    assert_eq!(definition.sources[0].endpoint, "ssh://git@gitlab.example.com/team/one.git");
    assert_eq!(definition.sources[2].branch, "master");
    let jobs: Vec<_> = definition.jobs().collect();
    assert_eq!(jobs[0].2.timeout_minutes, 20);
    assert_eq!(jobs[0].2.runs_on.as_deref(), Some("private/abc123"));
    assert_eq!(jobs[0].2.sources, ["repo_1"]);
    assert!(jobs[1].2.sources.is_empty());
    assert_eq!(jobs[1].2.needs[0].as_str(), "check.lint");
    // The same id in two stages: the nearer one is not meant by its full name.
    assert_eq!(jobs[2].2.needs[0].as_str(), "check.lint");
    assert_eq!(jobs[2].2.sources.len(), 3);
    assert_eq!(jobs[2].2.workspace.as_deref(), Some("repo_1"));
    assert_eq!(jobs[2].2.steps[0].workspace.as_deref(), Some("repo_2"));
}

#[test]
fn a_job_that_needs_its_own_id_means_the_one_of_an_earlier_stage() {
    let text = SEVERAL_SOURCES.replace("needs: [check.lint]", "needs: lint");
    let definition = read(&text);
    assert_eq!(definition.stages[1].jobs[0].needs[0].as_str(), "check.lint");
}

#[test]
fn the_steps_of_git_and_images_are_read() {
    let definition = read(GIT_AND_IMAGES);
    let steps = &definition.stages[0].jobs[0].steps;
    let StepKind::MergeBranch(merge) = &steps[0].kind else { panic!() };
    assert_eq!((merge.source.as_str(), merge.strategy), ("app", MergeStrategy::Squash));
    assert!(merge.delete_source);
    let StepKind::AddGitTag(tag) = &steps[1].kind else { panic!() };
    // A job without downloads still knows the pipeline's workspace.
    assert_eq!(tag.source, "app");
    let StepKind::DockerLogin(login) = &definition.stages[1].jobs[0].steps[0].kind else {
        panic!()
    };
    assert_eq!(login.docker_repository.as_deref(), Some("registry.example.com:5000"));
}
