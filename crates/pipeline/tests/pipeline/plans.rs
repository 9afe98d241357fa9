//! What a run does, given a definition and what it is started with.

use std::collections::BTreeMap;

use keyferry_domain::Timestamp;
use keyferry_pipeline::places::Purpose;
use keyferry_pipeline::plan::{CheckedOut, PlanError, source_variables};
use keyferry_pipeline::steps::StepKind;
use keyferry_pipeline::{Definition, RunInputs, RunPlan};

use crate::accepted::{GIT_AND_IMAGES, MINIMAL, ONE_SOURCE, SEVERAL_SOURCES};

fn inputs() -> RunInputs {
    RunInputs {
        pipeline_id: "pipe_1".to_owned(),
        pipeline_name: "Build".to_owned(),
        build_number: 7,
        remark: "try".to_owned(),
        executor: "alice".to_owned(),
        started_at: Timestamp::from_millis(1_767_225_600_123),
        ..RunInputs::default()
    }
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn plans_are_read_back_from_json() {
    for text in [MINIMAL, ONE_SOURCE, SEVERAL_SOURCES, GIT_AND_IMAGES] {
        let plan = Definition::parse(text).unwrap().plan(&inputs()).unwrap();
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<RunPlan>(&json).unwrap(), plan);
    }
}

#[test]
fn built_in_variables_are_set() {
    let plan = Definition::parse(MINIMAL).unwrap().plan(&inputs()).unwrap();
    let expected = map(&[
        ("BUILD_EXECUTOR", "alice"),
        ("BUILD_MESSAGE", "try"),
        ("BUILD_NUMBER", "7"),
        ("BUILD_REMARK", "try"),
        ("DATETIME", "2026-01-01-00-00-00"),
        ("PIPELINE_ID", "pipe_1"),
        ("PIPELINE_NAME", "Build"),
        ("TIMESTAMP", "1767225600"),
    ]);
    assert_eq!(plan.jobs[0].variables, expected);
    let inputs = RunInputs { remark: "a\0b".to_owned(), ..inputs() };
    let plan = Definition::parse(MINIMAL).unwrap().plan(&inputs).unwrap();
    assert_eq!(plan.jobs[0].variables["BUILD_REMARK"], "a b");
}

#[test]
fn variables_of_the_run_are_stronger_than_those_of_text_and_step() {
    let inputs = RunInputs { variables: map(&[("TARGET", "2.0"), ("MODE", "slow")]), ..inputs() };
    let plan = Definition::parse(SEVERAL_SOURCES).unwrap().plan(&inputs).unwrap();
    assert_eq!(plan.jobs[1].variables["TARGET"], "2.0");
    let StepKind::Command(command) = &plan.jobs[1].steps[0].kind else { panic!() };
    assert!(command.variables.is_empty());
    assert_eq!(plan.jobs[1].variables["MODE"], "slow");
    // Branches follow variables.
    assert_eq!(plan.jobs[2].sources[1].branch, "release/2.0");
}

#[test]
fn a_job_gets_the_connections_of_its_sources_and_steps() {
    let plan = Definition::parse(GIT_AND_IMAGES).unwrap().plan(&inputs()).unwrap();
    let shown = |index: usize| -> Vec<String> {
        let job = &plan.jobs[index];
        job.connections
            .iter()
            .map(|one| format!("{} {} {:?}", one.name, one.id, one.purpose))
            .collect()
    };
    assert_eq!(shown(0), ["app forge ChangeRepository"]);
    assert_eq!(
        plan.jobs[0].changed_sources[0].endpoint,
        "https://forge.example.com/git/team/app.git"
    );
    assert!(plan.jobs[0].sources.is_empty());
    assert_eq!(
        shown(1),
        [
            "app forge Clone",
            "serviceConnection images RegistryLogin",
            "api release-api Command",
            "images images Command",
        ]
    );
    assert_eq!(plan.jobs[1].connections[0].purpose, Purpose::Clone);
    assert_eq!(shown(2), ["app forge Clone"]);
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let definition = Definition::parse(ONE_SOURCE).unwrap();
    let refuse = |inputs: RunInputs| definition.plan(&inputs).unwrap_err().to_string();
    let branches =
        |id: &str, branch: &str| RunInputs { branches: map(&[(id, branch)]), ..inputs() };
    assert_eq!(
        refuse(branches("nope", "main")),
        "use a branch for the source `nope`; the pipeline has no such source"
    );
    for branch in
        ["--upload-pack=x", "a b", "a..b", "", "a\n", "x@{1}", "a:b", "refs/heads/*", "a.lock"]
    {
        assert!(refuse(branches("app", branch)).starts_with("use `"), "{branch:?}");
    }
    for name in ["BUILD_NUMBER", "PROJECT_DIR", "KEYFERRY_SOCKET", "version", "a-b", "1a", "", "ü"]
    {
        let inputs = RunInputs { variables: map(&[(name, "x")]), ..inputs() };
        assert!(
            matches!(definition.plan(&inputs), Err(PlanError::InvalidVariable { .. })),
            "{name}"
        );
    }
    let inputs = RunInputs { variables: map(&[("X", &"x".repeat(70_000))]), ..inputs() };
    assert_eq!(definition.plan(&inputs), Err(PlanError::TooLarge));
}

#[test]
fn a_branch_with_an_unknown_variable_is_refused() {
    let text = ONE_SOURCE.replace("branch: main", "branch: release/${NOPE}");
    let error = Definition::parse(&text).unwrap().plan(&inputs()).unwrap_err();
    assert!(matches!(error, PlanError::UnknownVariable { .. }), "{error}");
}

#[test]
fn an_id_that_cannot_be_one_is_refused() {
    let text = ONE_SOURCE.replace("lhjkwns3zhj879ic", "UIuvaR8vFrIjY4lj");
    let error = Definition::parse(&text).unwrap().plan(&inputs()).unwrap_err();
    assert_eq!(error.to_string(), "use `UIuvaR8vFrIjY4lj` as a connection's ID");
}

fn checked_out(id: &str) -> CheckedOut {
    CheckedOut {
        id: id.to_owned(),
        name: format!("{id} source"),
        branch: "main".to_owned(),
        commit: format!("{id}0123456789abcdef"),
        title: "first".to_owned(),
    }
}

#[test]
fn one_source_has_variables_without_suffix() {
    let variables = source_variables(&[checked_out("a")], Some("a"));
    assert_eq!(variables.len(), 5);
    assert_eq!(variables["CI_COMMIT_ID"], "a0123456");
    assert_eq!(variables["CI_COMMIT_SHA"], "a0123456789abcdef");
}

#[test]
fn several_sources_are_numbered_and_those_without_suffix_are_the_workspace() {
    let sources = [checked_out("a"), checked_out("b")];
    let variables = source_variables(&sources, Some("b"));
    assert_eq!(variables.len(), 15);
    assert_eq!(variables["CI_SOURCE_NAME"], "b source");
    assert_eq!(variables["CI_SOURCE_NAME_1"], "a source");
    assert_eq!(variables["CI_SOURCE_NAME_2"], "b source");
    assert!(source_variables(&[], None).is_empty());
}
