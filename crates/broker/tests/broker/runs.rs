//! Runs: from the first job to the last, through failures, cancels, further tries and crashes.

use std::collections::BTreeMap;
use std::time::Duration;

use keyferry_broker::runs::{NewRun, RunFilter};
use keyferry_domain::id::{JobId, RunId};
use keyferry_domain::page::PageRequest;
use keyferry_domain::run::{JobState, RunState};
use keyferry_domain::{ErrorKind, Role};
use keyferry_store::{Store, StoreOptions, jobs};

use crate::fixture::{TestBroker, assert_code, user};
use crate::scenes::{
    TWO_STAGES, claim, claim_next, finish, job, pipeline, run, runner, start, states,
};

const BRANCHED: &str = "\
stages:
  build:
    jobs:
      one:
        steps: {do: {step: Command, with: {run: one}}}
      two:
        needs: one
        steps: {do: {step: Command, with: {run: two}}}
      report:
        needs: two
        condition: failed()
        steps: {do: {step: Command, with: {run: report}}}
  deploy:
    jobs:
      roll:
        steps: {do: {step: Command, with: {run: roll}}}
";

const WITH_SOURCE: &str = "\
sources:
  app: {type: git, endpoint: 'https://git.example.com/team/app.git', branch: main}
variables:
  - {key: TARGET, value: staging}
stages:
  build:
    jobs:
      compile:
        steps: {do: {step: Command, with: {run: make}}}
";

#[tokio::test]
async fn stages_follow_each_other_until_the_run_is_over() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await;
    assert_eq!(started.run.state, RunState::Queued);
    assert_eq!(started.run.number, 1);
    assert_eq!(started.run.started_by, user(&test.owner).to_string());
    assert_eq!(states(&started), ["build.compile queued", "deploy.roll waiting"]);

    let (claimed, compile) = claim_next(&test, &machine).await;
    assert_eq!(claimed.run, started.run.id);
    let now = run(&test, &started.run.id).await;
    assert_eq!((now.run.state, now.run.started_at.is_some()), (RunState::Running, true));
    assert!(claim(&test.broker, &machine).await.is_none(), "the next stage has to wait");
    finish(&test, &compile, JobState::Succeeded, None).await.unwrap();

    let (_, roll) = claim_next(&test, &machine).await;
    finish(&test, &roll, JobState::Succeeded, None).await.unwrap();
    let over = run(&test, &started.run.id).await;
    assert_eq!((over.run.state, over.run.reason.as_deref()), (RunState::Succeeded, None));
    assert_eq!(over.run.finished_at, Some(crate::fixture::START));
    for action in ["run.create", "run.finish"] {
        assert_eq!(test.events(action).await.len(), 1, "{action}");
    }
    for action in ["job.claim", "job.finish"] {
        assert_eq!(test.events(action).await.len(), 2, "{action}");
    }
    assert_eq!(start(&test, &test.owner, &id).await.run.number, 2);
}

#[tokio::test]
async fn what_a_run_is_given_is_checked_and_a_refused_start_leaves_nothing() {
    let test = TestBroker::start().await;
    let id = pipeline(&test, &test.owner, "Build", WITH_SOURCE).await.pipeline.id;
    let organization = &test.organization;
    let pairs = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    for (new, code, pointer) in [
        (
            NewRun { branches: pairs("ghost", "main"), ..NewRun::default() },
            "run_invalid",
            "/branches/ghost",
        ),
        (
            NewRun { branches: pairs("app", "a..b"), ..NewRun::default() },
            "run_invalid",
            "/branches/app",
        ),
        (
            NewRun { branches: pairs("app", "--upload-pack=x"), ..NewRun::default() },
            "run_invalid",
            "/branches/app",
        ),
        (
            NewRun { variables: pairs("BUILD_NUMBER", "7"), ..NewRun::default() },
            "run_invalid",
            "/variables/BUILD_NUMBER",
        ),
        (
            NewRun { variables: pairs("KEYFERRY_X", "7"), ..NewRun::default() },
            "run_invalid",
            "/variables/KEYFERRY_X",
        ),
        (
            NewRun { variables: pairs("A", "\0"), ..NewRun::default() },
            "run_invalid",
            "/variables/A",
        ),
        (
            NewRun { variables: pairs("A", &"x".repeat(70_000)), ..NewRun::default() },
            "run_invalid",
            "/variables",
        ),
        (
            NewRun { comment: Some("x".repeat(1_001)), ..NewRun::default() },
            "invalid_input",
            "/comment",
        ),
    ] {
        let made = test.broker.create_run(&test.owner, organization, &id, new).await;
        let error = assert_code(made, code);
        assert_eq!(error.details().fields[0].pointer, pointer, "{error:?}");
    }
    let page = PageRequest::default();
    let listed =
        test.broker.list_runs(&test.owner, organization, &RunFilter::default(), &page).await;
    assert!(listed.unwrap().items.is_empty());
    assert!(test.events("run.create").await.is_empty());

    let new = NewRun {
        variables: pairs("TARGET", "production"),
        branches: pairs("app", "feature/login"),
        comment: Some("now".to_owned()),
    };
    let made = test.broker.create_run(&test.owner, organization, &id, new).await.unwrap();
    assert_eq!(made.run.number, 1, "refused starts do not count");
    let plan = &made.jobs[0].0.plan;
    assert_eq!(plan["variables"]["TARGET"], "production");
    assert_eq!(plan["variables"]["PIPELINE_ID"], id.as_str());
    assert_eq!(plan["variables"]["BUILD_NUMBER"], "1");
    assert_eq!(plan["variables"]["BUILD_REMARK"], "now");
    assert_eq!(plan["variables"]["BUILD_EXECUTOR"], "Owner");
    assert_eq!(plan["sources"][0]["branch"], "feature/login");
}

#[tokio::test]
async fn after_a_failure_only_what_asks_for_it_runs() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let id = pipeline(&test, &test.owner, "Build", BRANCHED).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await.run.id;
    let (_, one) = claim_next(&test, &machine).await;
    finish(&test, &one, JobState::Failed, Some("exit status 2")).await.unwrap();
    let now = run(&test, &started).await;
    assert_eq!(
        states(&now),
        ["build.one failed", "build.two skipped", "build.report queued", "deploy.roll waiting"]
    );
    let (claimed, report) = claim_next(&test, &machine).await;
    assert_eq!(claimed.plan["id"], "build.report");
    finish(&test, &report, JobState::Succeeded, None).await.unwrap();
    let over = run(&test, &started).await;
    assert_eq!(over.run.state, RunState::Failed);
    assert_eq!(over.run.reason.as_deref(), Some("build.one: exit status 2"));
    let (skipped, steps) = job(&over, "deploy.roll");
    assert_eq!(skipped.state, JobState::Skipped);
    assert!(skipped.reason.as_deref().unwrap().contains("did not succeed"));
    assert_eq!(steps[0].state.as_str(), "skipped");
}

#[tokio::test]
async fn a_cancel_stops_what_waits_at_once_and_what_runs_by_its_runner() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let organization = &test.organization;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await.run.id;
    let (_, compile) = claim_next(&test, &machine).await;
    let alive = test.broker.heartbeat(&compile, BTreeMap::new()).await.unwrap();
    assert!(!alive.is_cancel_requested);

    let now = test.broker.cancel_run(&test.owner, organization, &started).await.unwrap();
    assert_eq!(states(&now), ["build.compile running", "deploy.roll canceled"]);
    assert_eq!(now.run.state, RunState::Running);
    let alive = test.broker.heartbeat(&compile, BTreeMap::new()).await.unwrap();
    assert!(alive.is_cancel_requested);
    // Again changes nothing.
    test.broker.cancel_run(&test.owner, organization, &started).await.unwrap();
    assert_eq!(test.events("run.cancel").await.len(), 1);

    finish(&test, &compile, JobState::Canceled, Some("canceled")).await.unwrap();
    let over = run(&test, &started).await;
    assert_eq!(over.run.state, RunState::Canceled);
    assert_eq!(test.events("run.finish").await[0].data["state"], "canceled");
    // One that is over stays as it is.
    let after = test.broker.cancel_run(&test.owner, organization, &started).await.unwrap();
    assert_eq!(after.run, over.run);

    let queued = start(&test, &test.owner, &id).await.run.id;
    let now = test.broker.cancel_run(&test.owner, organization, &queued).await.unwrap();
    assert_eq!(now.run.state, RunState::Canceled);
    assert!(claim(&test.broker, &machine).await.is_none());
}

#[tokio::test]
async fn a_job_that_succeeded_before_it_heard_of_the_cancel_has_succeeded() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await.run.id;
    let (_, compile) = claim_next(&test, &machine).await;
    test.broker.cancel_run(&test.owner, &test.organization, &started).await.unwrap();
    finish(&test, &compile, JobState::Succeeded, None).await.unwrap();
    let over = run(&test, &started).await;
    assert_eq!(states(&over), ["build.compile succeeded", "deploy.roll canceled"]);
    assert_eq!(over.run.state, RunState::Canceled);
}

#[tokio::test]
async fn a_failed_job_is_tried_again_with_what_comes_after_it() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let organization = &test.organization;
    let id = pipeline(&test, &test.owner, "Build", BRANCHED).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await.run.id;
    let (_, one) = claim_next(&test, &machine).await;
    let retry =
        async |job: &JobId| test.broker.retry_job(&test.owner, organization, &started, job).await;
    let first = run(&test, &started).await;
    assert_code(retry(&first.jobs[0].0.id).await, "run_not_over");
    finish(&test, &one, JobState::Succeeded, None).await.unwrap();
    let (two, actor) = claim_next(&test, &machine).await;
    finish(&test, &actor, JobState::Failed, Some("no")).await.unwrap();
    let (_, report) = claim_next(&test, &machine).await;
    finish(&test, &report, JobState::Succeeded, None).await.unwrap();
    let failed = run(&test, &started).await;
    assert_eq!(failed.run.state, RunState::Failed);

    assert_code(retry(&job(&failed, "build.one").0.id).await, "job_not_failed");
    assert_code(retry(&job(&failed, "deploy.roll").0.id).await, "job_not_failed");
    let none: JobId = "job_00000000000000000000000000".parse().unwrap();
    assert_code(retry(&none).await, "not_found");

    let again = retry(&two.job).await.unwrap();
    assert_eq!(again.run.state, RunState::Running);
    assert_eq!((again.run.finished_at, again.run.reason.as_deref()), (None, None));
    assert_eq!(
        states(&again),
        [
            "build.one succeeded",
            "build.two queued",
            "build.report succeeded",
            "deploy.roll waiting"
        ]
    );
    assert_eq!(job(&again, "build.two").0.attempt, 2);
    assert_eq!(job(&again, "build.one").0.attempt, 1);
    assert_code(retry(&two.job).await, "run_not_over");
    let (claimed, actor) = claim_next(&test, &machine).await;
    assert_eq!(claimed.attempt, 2);
    assert_ne!(claimed.job, two.job);
    finish(&test, &actor, JobState::Succeeded, None).await.unwrap();
    let (_, roll) = claim_next(&test, &machine).await;
    finish(&test, &roll, JobState::Succeeded, None).await.unwrap();
    assert_eq!(run(&test, &started).await.run.state, RunState::Succeeded);
    // What whoever lost a race may find: the run is over, and the job is not its latest attempt.
    assert_code(retry(&two.job).await, "job_tried_again");
    assert_eq!(test.events("job.retry").await.len(), 1);
}

#[tokio::test]
async fn of_two_retries_at_once_one_wins() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await.run.id;
    let (claimed, compile) = claim_next(&test, &machine).await;
    finish(&test, &compile, JobState::Failed, None).await.unwrap();
    let other = test.open_again().await;
    let (one, two) = tokio::join!(
        test.broker.retry_job(&test.owner, &test.organization, &started, &claimed.job),
        other.retry_job(&test.owner, &test.organization, &started, &claimed.job),
    );
    let lost = match (one, two) {
        (Ok(_), Err(error)) | (Err(error), Ok(_)) => error,
        both => panic!("{both:?}"),
    };
    assert_eq!(lost.kind(), ErrorKind::Conflict);
    assert!(claim(&test.broker, &machine).await.is_some());
    assert!(claim(&test.broker, &machine).await.is_none());
}

#[tokio::test]
async fn a_canceled_run_can_be_taken_up_again() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let organization = &test.organization;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await.run.id;
    let canceled = test.broker.cancel_run(&test.owner, organization, &started).await.unwrap();
    let first = &canceled.jobs[0].0.id;
    let again = test.broker.retry_job(&test.owner, organization, &started, first).await.unwrap();
    assert_eq!(states(&again), ["build.compile queued", "deploy.roll waiting"]);
    let (_, compile) = claim_next(&test, &machine).await;
    assert!(!test.broker.heartbeat(&compile, BTreeMap::new()).await.unwrap().is_cancel_requested);
}

#[tokio::test]
async fn who_has_no_part_in_the_pipeline_is_told_the_same_as_about_no_run() {
    let test = TestBroker::start().await;
    let member = test.add(Role::Member).await;
    let organization = &test.organization;
    let id = pipeline(&test, &member, "Mine", TWO_STAGES).await.pipeline.id;
    let mine = start(&test, &member, &id).await;
    let none: RunId = "run_00000000000000000000000000".parse().unwrap();
    let job = &mine.jobs[0].0.id;
    let (outsider, other) = test.outsider().await;
    for who in [test.add(Role::Member).await, outsider.clone()] {
        let mut texts = Vec::new();
        for wanted in [&mine.run.id, &none] {
            let broker = &test.broker;
            let all = [
                broker.get_run(&who, organization, wanted).await.unwrap_err(),
                broker.cancel_run(&who, organization, wanted).await.unwrap_err(),
                broker.retry_job(&who, organization, wanted, job).await.unwrap_err(),
                broker
                    .read_job_log(&who, organization, wanted, job, 0, Duration::ZERO)
                    .await
                    .unwrap_err(),
            ];
            assert!(all.iter().all(|error| error.kind() == ErrorKind::NotFound), "{all:?}");
            texts.push(all.map(|error| format!("{error:?}").replace(wanted.as_str(), "ID")));
        }
        assert_eq!(texts[0], texts[1]);
    }
    let filter = RunFilter::default();
    let page = PageRequest::default();
    let stranger = test.add(Role::Member).await;
    let listed = test.broker.list_runs(&stranger, organization, &filter, &page).await.unwrap();
    assert!(listed.items.is_empty());
    assert_code(test.broker.list_runs(&outsider, organization, &filter, &page).await, "not_found");
    assert_code(test.broker.get_run(&outsider, &other, &mine.run.id).await, "not_found");
    let auditor = test.add(Role::Auditor).await;
    assert!(test.broker.get_run(&auditor, organization, &mine.run.id).await.is_ok());
    assert_code(test.broker.cancel_run(&auditor, organization, &mine.run.id).await, "denied");
    assert_code(test.broker.retry_job(&auditor, organization, &mine.run.id, job).await, "denied");
    let new = NewRun::default();
    assert_code(test.broker.create_run(&auditor, organization, &id, new).await, "denied");
    assert_eq!(run(&test, &mine.run.id).await.run.state, RunState::Queued);
}

#[tokio::test]
async fn runs_are_listed_newest_first_by_pipeline_and_state() {
    let test = TestBroker::start().await;
    let organization = &test.organization;
    let one = pipeline(&test, &test.owner, "One", TWO_STAGES).await.pipeline.id;
    let two = pipeline(&test, &test.owner, "Two", TWO_STAGES).await.pipeline.id;
    let mut ids = Vec::new();
    for id in [&one, &two, &one] {
        ids.push(start(&test, &test.owner, id).await.run.id);
        test.advance(1);
    }
    test.broker.cancel_run(&test.owner, organization, &ids[2]).await.unwrap();
    let list = async |filter: RunFilter| {
        let page = PageRequest::default();
        let found = test.broker.list_runs(&test.owner, organization, &filter, &page).await.unwrap();
        found.items.into_iter().map(|one| one.run.id).collect::<Vec<_>>()
    };
    assert_eq!(list(RunFilter::default()).await, [&ids[2], &ids[1], &ids[0]].map(Clone::clone));
    assert_eq!(
        list(RunFilter { pipeline: Some(one.clone()), state: None }).await,
        [&ids[2], &ids[0]].map(Clone::clone)
    );
    assert_eq!(
        list(RunFilter { pipeline: Some(one), state: Some(RunState::Queued) }).await,
        [ids[0].clone()]
    );
}

#[tokio::test]
async fn a_run_whose_server_died_between_two_writes_goes_on_after_the_restart() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await.run.id;
    let (claimed, _) = claim_next(&test, &machine).await;
    // The end of the job was written, and then the server died.
    let url = format!("sqlite://{}", test.folder().join("keyferry.db").display());
    let store = Store::open(&url, StoreOptions::default()).await.unwrap();
    let mut record = jobs::find(&store, &test.organization, &claimed.job).await.unwrap().unwrap();
    record.state = JobState::Succeeded;
    jobs::update(&store, &record).await.unwrap();
    let again = test.open_again().await;
    again.sweep_runs(&again.system_actor()).await.unwrap();
    let now = run(&test, &started).await;
    assert_eq!(states(&now), ["build.compile succeeded", "deploy.roll queued"]);
    // Sweeping again, or from two servers at once, changes nothing more.
    let version = now.run.version;
    let system = again.system_actor();
    let (one, two) = tokio::join!(again.sweep_runs(&system), test.broker.sweep_runs(&system));
    one.and(two).unwrap();
    let now = run(&test, &started).await;
    assert_eq!(
        (now.run.version, states(&now)),
        (version, vec!["build.compile succeeded".to_owned(), "deploy.roll queued".to_owned(),])
    );
    again.close().await;
}

#[tokio::test]
async fn a_run_that_cannot_go_on_does_not_keep_the_others() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    let broken = start(&test, &test.owner, &id).await;
    test.advance(1);
    let whole = start(&test, &test.owner, &id).await.run.id;
    let url = format!("sqlite://{}", test.folder().join("keyferry.db").display());
    let store = Store::open(&url, StoreOptions::default()).await.unwrap();
    let mut record = broken.jobs[0].0.clone();
    record.plan = serde_json::json!({ "not": "a plan" });
    record.state = JobState::Waiting;
    jobs::update(&store, &record).await.unwrap();
    let (claimed, _) = claim_next(&test, &machine).await;
    let mut record = jobs::find(&store, &test.organization, &claimed.job).await.unwrap().unwrap();
    record.state = JobState::Succeeded;
    jobs::update(&store, &record).await.unwrap();
    test.broker.sweep_runs(&test.broker.system_actor()).await.unwrap();
    assert_eq!(
        states(&run(&test, &whole).await),
        ["build.compile succeeded", "deploy.roll queued"]
    );
}

#[tokio::test]
async fn other_variables_or_branches_take_the_right_to_use_the_connections() {
    let test = TestBroker::start().await;
    let member = test.add(Role::Member).await;
    let admin = test.add(Role::Admin).await;
    crate::scenes::git(&test, &member, "forge", keyferry_domain::Scope::Private).await;
    let yaml = crate::scenes::with_connection("forge", "make");
    let id = pipeline(&test, &member, "Build", &yaml).await.pipeline.id;
    let start_with = async |who: &keyferry_domain::Actor, variables: &[&str], branches: &[&str]| {
        let pairs = |names: &[&str]| {
            names.iter().map(|name| ((*name).to_owned(), "other".to_owned())).collect()
        };
        let new = NewRun { variables: pairs(variables), branches: pairs(branches), comment: None };
        test.broker.create_run(who, &test.organization, &id, new).await
    };
    assert_code(start_with(&admin, &["BASH_ENV"], &[]).await, "run_inputs_need_use");
    assert_code(start_with(&admin, &[], &["app"]).await, "run_inputs_need_use");
    assert!(start_with(&admin, &[], &[]).await.is_ok());
    assert!(start_with(&member, &["TARGET"], &["app"]).await.is_ok());
    assert_eq!(test.events("run.create").await.len(), 4);
}
