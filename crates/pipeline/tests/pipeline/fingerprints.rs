//! What an approval of a place covers: everything that the job would execute, see or download, and
//! nothing else. The approval of a source covers every job that downloads it.

use std::collections::BTreeMap;

use keyferry_pipeline::Definition;
use proptest::prelude::*;

use crate::accepted::GIT_AND_IMAGES;

fn canonicals(text: &str) -> BTreeMap<String, String> {
    let definition = Definition::parse(text)
        .map_err(|all| keyferry_pipeline::diagnostic::render_all(&all, "pipeline.yaml"))
        .unwrap();
    definition.places().into_iter().map(|place| (place.path, place.canonical)).collect()
}

/// Returns the places whose canonical text differs.
fn changed(old: &str, new: &str) -> Vec<String> {
    let (old, new) = (canonicals(old), canonicals(new));
    old.iter()
        .filter(|(path, text)| new.get(*path) != Some(text))
        .map(|(path, _)| path.clone())
        .collect()
}

const SOURCE: &str = "sources.app";
const MERGE: &str = "stages.merge.jobs.merge";
const PUSH: &str = "stages.publish.jobs.push";

#[test]
fn what_a_job_executes_sees_or_downloads_changes_its_canonical_text() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("feature/login", "feature/other", &[MERGE]),
        ("strategy: squash", "strategy: merge", &[MERGE]),
        ("deleteSource: true", "deleteSource: false", &[MERGE]),
        ("Login for", "Logout for", &[MERGE]),
        ("v${BUILD_NUMBER}", "w${BUILD_NUMBER}", &[MERGE]),
        ("feature/old", "feature/new", &[MERGE]),
        ("sourceOption: []", "sourceOption: [app]", &[SOURCE, MERGE]),
        // It names no connection, but its script reads what was downloaded.
        ("./tell.sh", "./other.sh", &[SOURCE]),
        ("docker push", "docker pull", &[SOURCE, PUSH]),
        ("Bearer ${api.token}", "Bearer ${images.token}", &[SOURCE, PUSH]),
        ("api: release-api", "api: other-api", &[SOURCE, PUSH]),
        ("serviceConnection: images", "serviceConnection: others", &[SOURCE, PUSH]),
        ("dockerRepository: \"registry", "dockerRepository: \"elsewhere", &[SOURCE, PUSH]),
        ("condition: failed()", "condition: always()", &[SOURCE]),
        // The source is downloaded by one job and changed by the other.
        ("forge.example.com", "evil.example.com", &[SOURCE, MERGE, PUSH]),
        ("branch: main", "branch: other", &[SOURCE, MERGE, PUSH]),
        ("serviceConnection: forge", "serviceConnection: other", &[SOURCE, MERGE, PUSH]),
        ("name: Release\n", "variables: [{key: LD_LATER, value: x}]\n", &[SOURCE, MERGE, PUSH]),
        (
            "      push:\n        steps",
            "      push:\n        condition: always()\n        steps",
            &[SOURCE, PUSH],
        ),
        (
            "      push:\n        steps",
            "      push:\n        timeoutMinutes: 1\n        steps",
            &[SOURCE, PUSH],
        ),
        (
            "      push:\n        steps",
            "      push:\n        sourceOption: []\n        steps",
            &[SOURCE, PUSH],
        ),
    ];
    for (from, to, expected) in cases {
        assert!(GIT_AND_IMAGES.contains(from), "{from}");
        let text = GIT_AND_IMAGES.replace(from, to);
        assert_eq!(changed(GIT_AND_IMAGES, &text), *expected, "{from} → {to}");
    }
}

#[test]
fn what_does_not_concern_a_job_leaves_its_canonical_text_alone() {
    for (from, to) in [
        ("name: Release", "name: Renamed"),
        ("# ", "# more "),
        ("      merge:\n        source", "      merge:\n        name: Renamed\n        source"),
        ("stages:\n  merge", "\n\nstages:\n\n  merge"),
        ("strategy: squash", "strategy: 'SQUASH'"),
        ("from: feature/login, into: main", "into: main, from: feature/login"),
    ] {
        let text = GIT_AND_IMAGES.replace(from, to);
        assert_eq!(changed(GIT_AND_IMAGES, &text), [""; 0], "{from} → {to}");
    }
}

#[test]
fn the_order_of_steps_is_covered_and_the_order_of_variables_is_not() {
    let text = |steps: &str, variables: &str| {
        format!(
            "variables: [{variables}]\nstages: {{s: {{jobs: {{j: {{steps: {{{steps}}}}}}}}}}}\n"
        )
    };
    let one = "a: {step: Command, with: {run: x, connections: {c: conn}}}";
    let two = "b: {step: Command, with: {run: y}}";
    let (v, w) = ("{key: V, value: 1}", "{key: W, value: 2}");
    let base = text(&format!("{one}, {two}"), &format!("{v}, {w}"));
    let path = "stages.s.jobs.j";
    assert_eq!(changed(&base, &text(&format!("{two}, {one}"), &format!("{v}, {w}"))), [path]);
    assert_eq!(changed(&base, &text(&format!("{one}, {two}"), &format!("{w}, {v}"))), [""; 0]);
    assert_eq!(changed(&base, &text(&format!("{one}, {two}"), "{key: V, value: 1}")), [path]);
}

/// A pipeline of two jobs: each script is given, and both see one variable.
fn two_jobs(first: &str, second: &str, variable: &str) -> String {
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    let job = |run: &str| {
        format!(
            "{{steps: {{a: {{step: Command, with: {{run: {}, connections: {{c: conn}}}}}}}}}}",
            quoted(run)
        )
    };
    format!(
        "variables: [{{key: V, value: {}}}]\nstages: {{s: {{jobs: {{one: {}, two: {}}}}}}}\n",
        quoted(variable),
        job(first),
        job(second)
    )
}

proptest! {
    #[test]
    fn a_change_of_one_job_changes_its_canonical_text_and_no_other(
        first in "\\PC{1,40}", other in "\\PC{1,40}", second in "\\PC{1,40}", variable in "\\PC{0,20}",
    ) {
        prop_assume!(!first.trim().is_empty() && !other.trim().is_empty() && !second.trim().is_empty());
        let differences = changed(&two_jobs(&first, &second, &variable), &two_jobs(&other, &second, &variable));
        if first == other {
            prop_assert!(differences.is_empty());
        } else {
            prop_assert_eq!(differences, vec!["stages.s.jobs.one".to_owned()]);
        }
    }

    #[test]
    fn a_change_of_a_variable_changes_every_job_that_sees_it(
        script in "[a-z]{1,9}", one in "\\PC{0,20}", other in "\\PC{0,20}",
    ) {
        let count = changed(&two_jobs(&script, &script, &one), &two_jobs(&script, &script, &other)).len();
        prop_assert_eq!(count, if one == other { 0 } else { 2 });
    }
}
