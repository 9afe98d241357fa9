//! What the tests of pipelines, bindings, runs and jobs have in common: connections that are never
//! called, pipelines that use them, and runners that claim.

use std::collections::BTreeMap;
use std::time::Duration;

use keyferry_broker::Broker;
use keyferry_broker::connections::NewConnection;
use keyferry_broker::jobs::ClaimedJob;
use keyferry_broker::pipelines::{BindingRecord, PipelineDetails};
use keyferry_broker::runs::{JobRecord, NewRun, RunDetails, StepRecord};
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{PipelineId, RunId};
use keyferry_domain::run::{Isolation, JobState};
use keyferry_domain::{Actor, Error, Scope};

use crate::fixture::{TestBroker, password};

/// Two stages of one job each, without connections.
pub(crate) const TWO_STAGES: &str = "\
stages:
  build:
    jobs:
      compile:
        steps:
          prepare: {step: Command, with: {run: echo prepare}}
          compile: {step: Command, with: {run: echo compile}}
  deploy:
    jobs:
      roll:
        steps:
          roll: {step: Command, with: {run: echo roll}}
";

/// One job that clones through a connection and uses it in a script.
pub(crate) fn with_connection(id: &str, script: &str) -> String {
    format!(
        "\
sources:
  app:
    type: git
    endpoint: https://git.example.com/team/app.git
    branch: main
    certificate: {{type: serviceConnection, serviceConnection: {id}}}
stages:
  build:
    jobs:
      compile:
        steps:
          compile: {{step: Command, with: {{connections: {{forge: {id}}}, run: {script}}}}}
"
    )
}

/// A Git connection of somebody; nothing listens at its address.
pub(crate) async fn git(test: &TestBroker, actor: &Actor, id: &str, scope: Scope) -> ConnectionId {
    let new = NewConnection {
        name: format!("The {id}"),
        connection_type: "git".to_owned(),
        id: Some(id.to_owned()),
        settings: BTreeMap::from([("url".to_owned(), "https://git.example.com".to_owned())]),
        credential: Some(password("hunter2-hunter2")),
        credential_id: None,
        scope,
        users: Vec::new(),
        groups: Vec::new(),
        skip_verify: true,
    };
    test.connect_as(actor, new).await
}

/// Creates a pipeline.
pub(crate) async fn pipeline(
    test: &TestBroker,
    actor: &Actor,
    name: &str,
    yaml: &str,
) -> PipelineDetails {
    test.broker.create_pipeline(actor, &test.organization, name, yaml).await.unwrap()
}

/// Saves another text of a pipeline as somebody.
pub(crate) async fn save(
    test: &TestBroker,
    actor: &Actor,
    pipeline: &PipelineId,
    yaml: &str,
) -> PipelineDetails {
    let organization = &test.organization;
    let now = test.broker.get_pipeline(&test.owner, organization, pipeline).await.unwrap();
    let version = now.pipeline.version;
    test.broker
        .update_pipeline(actor, organization, pipeline, None, Some(yaml), version)
        .await
        .unwrap()
}

/// Starts a run without inputs.
pub(crate) async fn start(test: &TestBroker, actor: &Actor, pipeline: &PipelineId) -> RunDetails {
    let new = NewRun::default();
    test.broker.create_run(actor, &test.organization, pipeline, new).await.unwrap()
}

/// Reads a run as the owner sees it.
pub(crate) async fn run(test: &TestBroker, id: &RunId) -> RunDetails {
    test.broker.get_run(&test.owner, &test.organization, id).await.unwrap()
}

/// Registers a runner.
pub(crate) async fn runner(test: &TestBroker, name: &str) -> Actor {
    let made = test.broker.create_runner(&test.owner, &test.organization, name).await.unwrap();
    test.authenticate(&made.token).await
}

/// Claims a job without waiting.
pub(crate) async fn claim(broker: &Broker, runner: &Actor) -> Option<ClaimedJob> {
    broker.claim_job(runner, Isolation::Process, Duration::ZERO).await.unwrap()
}

/// Claims the one job that is ready; returns it, and the actor that it is.
pub(crate) async fn claim_next(test: &TestBroker, runner: &Actor) -> (ClaimedJob, Actor) {
    let claimed = claim(&test.broker, runner).await.unwrap();
    let actor = test.authenticate(&claimed.token).await;
    (claimed, actor)
}

/// Ends the calling job.
pub(crate) async fn finish(
    test: &TestBroker,
    job: &Actor,
    state: JobState,
    reason: Option<&str>,
) -> Result<(), Error> {
    test.broker.finish_job(job, state, reason, BTreeMap::new()).await
}

/// The states of a run's jobs, `key state` in order.
pub(crate) fn states(run: &RunDetails) -> Vec<String> {
    run.jobs.iter().map(|(job, _)| format!("{} {}", job.key, job.state)).collect()
}

/// Finds a job of a run by its key.
pub(crate) fn job<'r>(run: &'r RunDetails, key: &str) -> &'r (JobRecord, Vec<StepRecord>) {
    run.jobs.iter().find(|(job, _)| job.key == key).unwrap()
}

/// The states of bindings, `place state` in order.
pub(crate) fn rights(bindings: &[BindingRecord]) -> Vec<String> {
    bindings.iter().map(|one| format!("{} {}", one.place, one.state.as_str())).collect()
}
