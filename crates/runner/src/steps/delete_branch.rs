//! `DeleteBranch`: deletes a branch at the server, only if it stands where it should.

use keyferry_api::repositories as wire;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::operation::Access;
use keyferry_pipeline::plan::SourcePlan;
use keyferry_pipeline::steps::DeleteBranch;

use super::{StepError, abilities, check_name, forge, open_source, repository_of};
use crate::git::Pushed;
use crate::job::JobContext;

pub(super) async fn run(job: &JobContext, fields: &DeleteBranch) -> Result<(), StepError> {
    let source = job.source(&fields.source)?;
    let branch = job.substitute(&fields.branch)?;
    let expected =
        fields.expected_commit.as_deref().map(|text| job.substitute(text)).transpose()?;
    check_name("branch", &branch)?;
    if let Some(commit) = &expected {
        check_commit(commit)?;
    }
    delete(job, source, &branch, expected.as_deref()).await
}

/// Checks a commit: an abbreviation would be compared with nothing, or with the wrong thing.
pub(super) fn check_commit(text: &str) -> Result<(), StepError> {
    if matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(())
    } else {
        let shown: String = text.chars().take(80).collect();
        Err(StepError::Failed(format!("`{shown}` is no commit; write all 40 characters of it")))
    }
}

/// Deletes a branch; with `expected`, only while it points at that commit.
pub(super) async fn delete(
    job: &JobContext,
    source: &SourcePlan,
    branch: &str,
    expected: Option<&str>,
) -> Result<(), StepError> {
    let by_server = source
        .connection
        .as_ref()
        .and_then(|id| abilities(job, id))
        .is_some_and(|one| one.can_delete_branches);
    if by_server && let Some((connection, repository)) = repository_of(job, source) {
        let query = wire::DeleteBranch {
            repository,
            branch: branch.to_owned(),
            expected_commit: expected.map(str::to_owned),
        };
        delete_at_service(job, &connection, &query).await?;
    } else {
        delete_by_git(job, source, branch, expected).await?;
    }
    job.log.line(&format!("deleted the branch {branch}")).await;
    Ok(())
}

/// Deletes by the service's call.
async fn delete_at_service(
    job: &JobContext,
    connection: &ConnectionId,
    query: &wire::DeleteBranch,
) -> Result<(), StepError> {
    let client = forge::client(job);
    let mut was_lost = false;
    for calls in 1.. {
        let call = client.delete_branch(&job.organization, connection, query);
        let Err(error) = forge::unless_stopped(job, call).await? else { break };
        let is_missing = error
            .problem()
            .is_some_and(|problem| problem.status == 404 && problem.code == "not_found_at_service");
        if was_lost && is_missing {
            // The call before has done it, and only its answer got lost.
            break;
        }
        if calls >= forge::CALLS || !forge::can_repeat(&error) {
            let reason = forge::reason(&error);
            return Err(StepError::Failed(format!("`{}` was not deleted: {reason}", query.branch)));
        }
        was_lost |= forge::is_lost(&error);
        forge::pause(job, calls).await?;
    }
    Ok(())
}

async fn delete_by_git(
    job: &JobContext,
    source: &SourcePlan,
    branch: &str,
    expected: Option<&str>,
) -> Result<(), StepError> {
    let bare = open_source(job, source, Access::Write).await?;
    let reference = format!("refs/heads/{branch}");
    let found = bare.output(&["ls-remote", "--", "origin", &reference]).await?;
    let Some((tip, _)) = found.split_once('\t') else {
        return Err(StepError::Failed(format!(
            "there is no branch `{branch}` in `{}`",
            source.endpoint
        )));
    };
    let moved = |now: &str| {
        StepError::Failed(format!(
            "`{branch}` is at {now}, not at the expected commit; it was not deleted"
        ))
    };
    if expected.is_some_and(|expected| !expected.eq_ignore_ascii_case(tip)) {
        return Err(moved(tip));
    }
    // With a lease also when nothing was expected: what is deleted is what was seen.
    let lease = format!("--force-with-lease={reference}:{tip}");
    match bare.push(&[&lease, "--", "origin", &format!(":{reference}")]).await? {
        Pushed::Done => Ok(()),
        Pushed::LostRace => Err(moved("another commit by now")),
    }
}
