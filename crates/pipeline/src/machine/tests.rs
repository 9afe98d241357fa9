//! What runs after what, for hand-written and for random pipelines.

use std::fmt::Write as _;

use keyferry_domain::Timestamp;
use keyferry_domain::run::{JobState, RunState};
use proptest::prelude::*;

use super::{Change, RetryError, SkipReason, States, advance, retry, run_state};
use crate::plan::{RunInputs, RunPlan};
use crate::{Definition, JobKey};

const NOW: Timestamp = Timestamp::from_millis(1_764_153_000_000);

/// Makes a pipeline of stages, each with jobs `(id, needs, condition)`.
fn plan(stages: &[&[(&str, &str, &str)]]) -> RunPlan {
    let mut text = "stages:\n".to_owned();
    for (number, jobs) in stages.iter().enumerate() {
        writeln!(text, "  s{number}:\n    jobs:").unwrap();
        for (id, needs, condition) in *jobs {
            writeln!(
                text,
                "      {id}:\n        needs: [{needs}]\n        condition: '{condition}'\n        \
                 steps: {{a: {{step: Command, with: {{run: x}}}}}}"
            )
            .unwrap();
        }
    }
    Definition::parse(&text)
        .map_err(|all| crate::diagnostic::render_all(&all, "x"))
        .unwrap()
        .plan(&RunInputs::default())
        .unwrap()
}

fn key(text: &str) -> JobKey {
    let (stage, job) = text.split_once('.').unwrap();
    JobKey::new(stage, job)
}

fn apply(states: &mut States, changes: &[Change]) {
    for change in changes {
        if let Some(state) = change.new_state() {
            states.insert(change.job().clone(), state);
        }
    }
}

/// Runs to the end; the jobs named fail. Returns the jobs that ran, in rounds.
fn run(plan: &RunPlan, states: &mut States, failing: &[&str]) -> Vec<Vec<String>> {
    let mut rounds = Vec::new();
    loop {
        let changes = advance(plan, states, false, NOW);
        apply(states, &changes);
        let queued: Vec<JobKey> = states
            .iter()
            .filter(|(_, state)| **state == JobState::Queued)
            .map(|(key, _)| key.clone())
            .collect();
        if queued.is_empty() {
            return rounds;
        }
        for key in &queued {
            let has_failed = failing.contains(&key.as_str());
            let state = if has_failed { JobState::Failed } else { JobState::Succeeded };
            states.insert(key.clone(), state);
        }
        rounds.push(queued.iter().map(ToString::to_string).collect());
    }
}

#[test]
fn stages_run_in_order_and_jobs_side_by_side_or_by_needs() {
    let plan = plan(&[&[("a", "", ""), ("b", "", ""), ("c", "a, b", "")], &[("a", "", "")]]);
    let mut states = States::new();
    assert_eq!(run_state(&plan, &states, false), RunState::Queued);
    let rounds = run(&plan, &mut states, &[]);
    assert_eq!(rounds, [vec!["s0.a", "s0.b"], vec!["s0.c"], vec!["s1.a"]]);
    assert_eq!(run_state(&plan, &states, false), RunState::Succeeded);
}

#[test]
fn a_failure_skips_what_depends_on_it_and_later_stages() {
    let plan = plan(&[
        &[("a", "", ""), ("b", "a", ""), ("c", "", "")],
        &[("d", "", ""), ("e", "", "always()"), ("f", "", "failed()"), ("g", "", "1 == 1")],
    ]);
    let mut states = States::new();
    let rounds = run(&plan, &mut states, &["s0.a"]);
    assert_eq!(rounds, [vec!["s0.a", "s0.c"], vec!["s1.e", "s1.f"]]);
    for skipped in ["s0.b", "s1.d", "s1.g"] {
        assert_eq!(states[&key(skipped)], JobState::Skipped, "{skipped}");
    }
    assert_eq!(run_state(&plan, &states, false), RunState::Failed);
}

#[test]
fn a_condition_that_is_not_met_is_no_failure() {
    let plan =
        plan(&[&[("a", "", "1 == 2"), ("b", "a", ""), ("f", "a", "failed()")], &[("c", "", "")]]);
    let changes = advance(&plan, &States::new(), false, NOW);
    assert_eq!(
        changes,
        [
            Change::Skip(key("s0.a"), SkipReason::Condition),
            Change::Skip(key("s0.b"), SkipReason::Dependency),
            Change::Skip(key("s0.f"), SkipReason::Condition),
            Change::Queue(key("s1.c")),
        ]
    );
}

#[test]
fn conditions_see_variables_of_the_run_and_of_sources() {
    let text = "
sources: {app: {type: git, endpoint: 'https://git.example.com/app.git', branch: main}}
variables: [{key: TARGET, value: staging}]
stages:
  s0:
    jobs:
      a:
        condition: '\"${TARGET}\" == \"production\" && $CI_COMMIT_REF_NAME == release'
        steps: {a: {step: Command, with: {run: x}}}
";
    let definition = Definition::parse(text).unwrap();
    let decide = |inputs: &RunInputs| {
        let plan = definition.plan(inputs).unwrap();
        advance(&plan, &States::new(), false, NOW)
    };
    assert!(matches!(decide(&RunInputs::default())[..], [Change::Skip(..)]));
    let inputs = RunInputs {
        variables: [("TARGET".to_owned(), "production".to_owned())].into(),
        branches: [("app".to_owned(), "release".to_owned())].into(),
        ..RunInputs::default()
    };
    assert_eq!(decide(&inputs), [Change::Queue(key("s0.a"))]);
}

#[test]
fn a_cancel_ends_what_has_not_started_and_stops_what_runs() {
    let plan = plan(&[&[("a", "", ""), ("b", "", ""), ("c", "a", "always()"), ("d", "", "")]]);
    let mut states: States = [
        (key("s0.a"), JobState::Running),
        (key("s0.b"), JobState::Queued),
        (key("s0.d"), JobState::Succeeded),
    ]
    .into();
    let changes = advance(&plan, &states, true, NOW);
    assert_eq!(
        changes,
        [Change::Stop(key("s0.a")), Change::Cancel(key("s0.b")), Change::Cancel(key("s0.c"))]
    );
    apply(&mut states, &changes);
    assert_eq!(run_state(&plan, &states, true), RunState::Running);
    assert_eq!(advance(&plan, &states, true, NOW), [Change::Stop(key("s0.a"))]);
    states.insert(key("s0.a"), JobState::Canceled);
    assert_eq!(run_state(&plan, &states, true), RunState::Canceled);
}

#[test]
fn a_cancel_after_the_end_changes_nothing() {
    let plan = plan(&[&[("a", "", "")]]);
    let states: States = [(key("s0.a"), JobState::Succeeded)].into();
    assert_eq!(advance(&plan, &states, true, NOW), []);
    assert_eq!(run_state(&plan, &states, true), RunState::Succeeded);
}

#[test]
fn a_retry_runs_the_job_and_what_it_held_up() {
    let plan = plan(&[
        &[("a", "", ""), ("b", "a", ""), ("c", "", "")],
        &[("d", "", ""), ("e", "", "always()")],
    ]);
    let mut states = States::new();
    run(&plan, &mut states, &["s0.a"]);
    let changes = retry(&plan, &states, &key("s0.a")).unwrap();
    let reset: Vec<&str> = changes.iter().map(|change| change.job().as_str()).collect();
    assert_eq!(reset, ["s0.a", "s0.b", "s1.d"]);
    apply(&mut states, &changes);
    assert_eq!(run_state(&plan, &states, false), RunState::Running);
    assert_eq!(run(&plan, &mut states, &[]), [vec!["s0.a"], vec!["s0.b"], vec!["s1.d"]]);
    assert_eq!(run_state(&plan, &states, false), RunState::Succeeded);
}

#[test]
fn only_jobs_that_failed_or_were_canceled_are_tried_again() {
    let plan = plan(&[&[("a", "", "")]]);
    for state in [
        JobState::Waiting,
        JobState::Queued,
        JobState::Running,
        JobState::Succeeded,
        JobState::Skipped,
    ] {
        let states: States = [(key("s0.a"), state)].into();
        assert_eq!(
            retry(&plan, &states, &key("s0.a")),
            Err(RetryError::NotOver { job: key("s0.a"), state })
        );
    }
    let error = retry(&plan, &States::new(), &key("s0.x")).unwrap_err();
    assert_eq!(error.to_string(), "find the job `s0.x` in this run");
}

fn random_plan() -> impl Strategy<Value = RunPlan> {
    let condition = prop_oneof![
        Just(""),
        Just("always()"),
        Just("failed()"),
        Just("succeed()"),
        Just("1 == 2"),
        Just("!failed() || 1 == 1"),
    ];
    let job = (prop::collection::vec(any::<prop::sample::Index>(), 0..3), condition);
    prop::collection::vec(prop::collection::vec(job, 1..5), 1..4).prop_map(|stages| {
        let mut text = "stages:\n".to_owned();
        for (number, jobs) in stages.iter().enumerate() {
            writeln!(text, "  s{number}:\n    jobs:").unwrap();
            for (index, (needs, condition)) in jobs.iter().enumerate() {
                // Earlier jobs of this stage only, so that there is no circle.
                let needs: Vec<String> = needs
                    .iter()
                    .filter(|_| index > 0)
                    .map(|need| format!("j{}", need.index(index.max(1))))
                    .collect();
                writeln!(
                    text,
                    "      j{index}: {{needs: [{}], condition: '{condition}', steps: {{a: {{step: \
                     Command, with: {{run: x}}}}}}}}",
                    needs.join(", ")
                )
                .unwrap();
            }
        }
        Definition::parse(&text).unwrap().plan(&RunInputs::default()).unwrap()
    })
}

proptest! {
    #[test]
    fn every_run_ends_and_no_job_starts_before_its_turn(
        plan in random_plan(),
        outcomes in prop::collection::vec(0_u8..3, 20),
        cancel_at in prop::option::of(0_usize..12),
    ) {
        let mut states = States::new();
        let mut started = 0;
        for round in 0..100 {
            let is_canceled = cancel_at.is_some_and(|at| round >= at);
            let changes = advance(&plan, &states, is_canceled, NOW);
            for change in &changes {
                let before = states.get(change.job()).copied().unwrap_or(JobState::Waiting);
                prop_assert!(!before.is_over(), "{change:?} of a job that is over");
                if let Change::Queue(job) = change {
                    prop_assert!(!is_canceled);
                    let awaited = super::awaited(&plan, plan.find_job(job).unwrap());
                    // Skips of the same round come before what waits for them.
                    let mut known = states.clone();
                    apply(&mut known, &changes);
                    prop_assert!(awaited.iter().all(|key| known[key].is_over()));
                }
            }
            apply(&mut states, &changes);
            // A runner takes one job a round, and ends one.
            let running = states.iter().find(|(_, state)| **state == JobState::Running).map(|(key, _)| key.clone());
            let queued = states.iter().find(|(_, state)| **state == JobState::Queued).map(|(key, _)| key.clone());
            if let Some(key) = running {
                let outcome = match outcomes[started % outcomes.len()] {
                    0 => JobState::Failed,
                    1 if is_canceled => JobState::Canceled,
                    _ => JobState::Succeeded,
                };
                states.insert(key, outcome);
            } else if let Some(key) = queued {
                started += 1;
                states.insert(key, JobState::Running);
            }
            if run_state(&plan, &states, is_canceled).is_over() {
                prop_assert_eq!(advance(&plan, &states, is_canceled, NOW), vec![]);
                return Ok(());
            }
        }
        prop_assert!(false, "the run did not end: {states:?}");
    }
}
