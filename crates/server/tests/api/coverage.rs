//! Every operation is under a policy: which action of docs/reference/permissions.md each one asks
//! for first. An operation without a line here fails, and so does an action that nothing asks for.

use std::collections::{BTreeMap, BTreeSet};

use crate::fixture::TestServer;
use crate::routes::operations;

/// What each operation asks the policy for before it does anything.
const ACTIONS: &[(&str, &str)] = &[
    ("approve_binding", "binding.approve"),
    ("cancel_run", "run.cancel"),
    ("check_pipeline", "pipeline.list"),
    ("claim_job", "runner.claim"),
    ("create_connection", "connection.create"),
    ("create_credential", "credential.create"),
    ("create_group", "group.create"),
    ("create_member", "member.create"),
    ("create_pipeline", "pipeline.create"),
    ("create_run", "run.start"),
    ("create_runner", "runner.register"),
    ("create_token", "token.create"),
    ("create_workload", "workload.create"),
    ("delete_branch", "branch.delete"),
    ("delete_connection", "connection.delete"),
    ("delete_credential", "credential.delete"),
    ("delete_group", "group.delete"),
    ("delete_member", "member.delete"),
    ("delete_pipeline", "pipeline.delete"),
    ("delete_pipeline_member", "pipeline.share"),
    ("delete_runner", "runner.delete"),
    ("delete_tag", "tag.delete"),
    ("delete_token", "token.delete"),
    ("end_lease", "lease.end"),
    ("end_workload", "workload.end"),
    ("explain_connection", "connection.explain"),
    ("get_connection", "connection.read"),
    ("get_connection_usage", "connection.explain"),
    ("get_credential", "credential.read"),
    ("get_lease", "lease.list"),
    ("get_organization", "organization.read"),
    ("get_pipeline", "pipeline.read"),
    ("get_revision", "pipeline.read"),
    ("get_run", "run.read"),
    ("issue_lease", "lease.issue"),
    ("list_audit_events", "audit.read"),
    ("list_branches", "connection.browse"),
    ("list_connections", "connection.list"),
    ("list_credentials", "credential.list"),
    ("list_groups", "group.list"),
    ("list_leases", "lease.list"),
    ("list_members", "member.list"),
    ("list_pipeline_members", "pipeline.read"),
    ("list_pipelines", "pipeline.list"),
    ("list_repositories", "connection.browse"),
    ("list_runners", "runner.list"),
    ("list_runs", "run.list"),
    ("list_tokens", "token.list"),
    ("merge_branch", "branch.merge"),
    ("read_job_log", "run.read"),
    ("reconfigure_connection", "connection.reconfigure"),
    ("report_rejection", "lease.end"),
    ("retry_job", "run.retry"),
    ("revoke_binding", "binding.revoke"),
    ("roll_back_connection", "connection.reconfigure"),
    ("set_pipeline_member", "pipeline.share"),
    ("transfer_connection", "connection.transfer"),
    ("update_connection", "connection.update"),
    ("update_credential", "credential.update"),
    ("update_group", "group.update"),
    ("update_member", "member.update"),
    ("update_organization", "organization.update"),
    ("update_pipeline", "pipeline.update"),
    ("verify_connection", "connection.verify"),
];

/// Operations that ask no policy, and what guards them instead. This list may only shrink.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("accept_invitation", "the one-time link"),
    ("append_log", "the job's own token: it reports about itself only"),
    ("change_password", "one's own session and the present password"),
    ("create_organization", "a session, and owning another organization of this server"),
    ("create_session", "the password"),
    ("delete_session", "one's own session"),
    ("finish_job", "the job's own token: it reports about itself only"),
    ("get_current_user", "shows only oneself"),
    ("list_connection_types", "a person's token: holds nothing of any organization"),
    ("list_organizations", "shows only one's own"),
    ("send_heartbeat", "the job's own token: it reports about itself only"),
    ("set_up_server", "the one-time link"),
    ("update_step", "the job's own token: it reports about itself only"),
];

/// Actions that no operation asks for first.
const INNER: &[(&str, &str)] = &[
    ("binding.read", "asked for each binding that is shown with a pipeline or a connection"),
    ("connection.use", "asked when a connection is named by a pipeline or a workload"),
    ("credential.transfer", "asked with `connection.transfer`"),
    ("credential.use", "asked when a credential is put behind a connection"),
    ("group.read", "decides whether a refusal may say that a group exists"),
    ("lease.read", "asked for each lease that is shown"),
    ("member.read", "decides whether a refusal may say that a member exists"),
    ("organization.create", "no policy allows it; see `create_organization` above"),
    ("pipeline.run", "`run.start` is what starting asks for"),
    ("runner.read", "decides whether a refusal may say that a runner exists"),
    ("token.read", "decides whose tokens a list shows"),
    ("workload.list", "workloads cannot be listed over the API yet"),
    ("workload.read", "decides whether a refusal may say that a workload exists"),
];

fn names(list: &[(&str, &str)]) -> BTreeSet<String> {
    let names: BTreeSet<String> = list.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names.len(), list.len(), "a name is listed twice");
    names
}

/// Reads the actions that the reviewed table of permissions decides.
fn reviewed() -> BTreeSet<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/permissions.md");
    let text = std::fs::read_to_string(path).unwrap();
    let actions: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect();
    assert!(actions.len() > 60, "only {} actions are found in {path}", actions.len());
    actions
}

#[test]
fn every_operation_is_under_a_policy_or_says_what_guards_it() {
    let routed: BTreeSet<String> = operations().into_iter().map(|operation| operation.id).collect();
    let (decided, excepted) = (names(ACTIONS), names(EXCEPTIONS));
    let both: Vec<&String> = decided.intersection(&excepted).collect();
    assert!(both.is_empty(), "{both:?}");
    let listed: BTreeSet<String> = decided.union(&excepted).cloned().collect();
    let missing: Vec<&String> = routed.difference(&listed).collect();
    assert!(missing.is_empty(), "say in coverage.rs what guards {missing:?}");
    let gone: Vec<&String> = listed.difference(&routed).collect();
    assert!(gone.is_empty(), "no such operation: {gone:?}");
}

#[test]
fn every_action_is_reviewed_and_asked_for() {
    let reviewed = reviewed();
    let asked: BTreeSet<String> =
        ACTIONS.iter().map(|(_, action)| (*action).to_owned()).chain(names(INNER)).collect();
    let unreviewed: Vec<&String> = asked.difference(&reviewed).collect();
    assert!(unreviewed.is_empty(), "not in docs/reference/permissions.md: {unreviewed:?}");
    let idle: Vec<&String> = reviewed.difference(&asked).collect();
    assert!(idle.is_empty(), "nothing asks for {idle:?}");
}

/// The lines above are what is asked: a refusal is written down under the action that was refused.
#[tokio::test]
async fn refusals_are_written_down_under_the_listed_action() {
    let server = TestServer::start().await;
    let outsider = server.outsider().await;
    let actions: BTreeMap<&str, &str> = ACTIONS.iter().copied().collect();
    let mut seen = Vec::new();
    for operation in operations() {
        let Some(answer) = operation.ask(&server, &outsider.token).await else { continue };
        let request = answer.headers["x-request-id"].to_str().unwrap();
        let events = server.get(&server.owner, "/audit-events?limit=200&outcome=refused").await;
        let events = events.ok();
        let event = events["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|event| event["request_id"] == request)
            .cloned();
        // What has to be found first was not there, so nothing was asked.
        let Some(event) = event else { continue };
        // Some ask for the list that a thing is in before they look for it.
        let action = event["action"].as_str().unwrap();
        let listed = actions[operation.id.as_str()];
        let is_list = action.split_once('.').is_some_and(|(_, verb)| verb == "list");
        assert!(action == listed || is_list, "{}: {action}", operation.id);
        seen.push(operation.id);
    }
    assert!(seen.len() >= 12, "only {seen:?} have asked");
}
