//! What the steps do; a file each, as in the pipeline room, where their fields are.

mod add_git_tag;
mod command;
mod delete_branch;
mod docker_login;
mod forge;
mod merge_branch;

use std::collections::BTreeMap;
use std::error::Error;

use keyferry_delivery::address::Address;
use keyferry_delivery::socket::Refusal;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::operation::{Access, Operation};
use keyferry_pipeline::plan::{SourcePlan, StepPlan};
use keyferry_pipeline::steps::StepKind;

use crate::git::{Bare, GitError};
use crate::job::JobContext;
use crate::process::ProcessError;

/// A step did not succeed.
#[derive(Debug)]
pub(crate) enum StepError {
    /// It failed; the reason is for people.
    Failed(String),
    /// The job is being stopped.
    Stopped,
}

impl From<GitError> for StepError {
    fn from(error: GitError) -> Self {
        if error.is_stop() { Self::Stopped } else { Self::Failed(explain(&error)) }
    }
}

impl From<ProcessError> for StepError {
    fn from(error: ProcessError) -> Self {
        match error {
            ProcessError::Stopped => Self::Stopped,
            error => Self::Failed(explain(&error)),
        }
    }
}

impl From<Refusal> for StepError {
    fn from(refusal: Refusal) -> Self {
        Self::Failed(refused(&refusal))
    }
}

/// Runs one step. Its connections may be written with while it runs, and only then.
pub(crate) async fn run(job: &JobContext, number: usize, step: &StepPlan) -> Result<(), StepError> {
    let mut names = step.connections.clone();
    if let Some(id) = step.kind.changed_source()
        && let Some(connection) = job.source(id)?.connection.clone()
    {
        names.insert(id.to_owned(), connection);
    }
    job.desk.name(names);
    let before = {
        let mut access = job.access.lock().await;
        // What a tool needs it asks for itself and gets anew; a key lies there as it is.
        for refusal in access.refresh(&job.workspace, &job.desk).await {
            job.log.line(&crate::job_socket::refusal_line(&refusal)).await;
        }
        access.snapshot()
    };
    let outcome = match &step.kind {
        StepKind::Command(fields) => command::run(job, number, step, fields).await,
        StepKind::MergeBranch(fields) => merge_branch::run(job, fields).await,
        StepKind::DeleteBranch(fields) => delete_branch::run(job, fields).await,
        StepKind::AddGitTag(fields) => add_git_tag::run(job, fields).await,
        StepKind::DockerLogin(fields) => docker_login::run(job, step, fields).await,
    };
    job.desk.name(BTreeMap::new());
    let restored = job.access.lock().await.restore(&job.workspace, before);
    let cleared = job.workspace.clear_bindings();
    outcome?;
    restored
        .and(cleared)
        .map_err(|error| StepError::Failed(format!("a secret file could not be removed: {error}")))
}

/// Returns an error with everything behind it, for people.
pub(crate) fn explain(error: &dyn Error) -> String {
    let mut text = format!("failed to {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Returns a refusal for people.
pub(crate) fn refused(refusal: &Refusal) -> String {
    match &refusal.hint {
        Some(hint) => format!("{} ({}; {hint})", refusal.message, refusal.code),
        None => format!("{} ({})", refusal.message, refusal.code),
    }
}

/// Opens a source and returns a bare repository for it.
async fn open_source<'a>(
    job: &'a JobContext,
    source: &SourcePlan,
    access: Access,
) -> Result<Bare<'a>, StepError> {
    if let Some(connection) = &source.connection {
        let mut keys = job.access.lock().await;
        keys.open(&job.workspace, &job.desk, connection, &source.endpoint, access).await?;
    }
    Ok(Bare::create(job, &source.endpoint).await?)
}

/// Returns the repository's path at its service, as the server's own calls take it.
fn repository_of(job: &JobContext, source: &SourcePlan) -> Option<(ConnectionId, String)> {
    let id = source.connection.clone()?;
    let known = job.desk.connections().iter().find(|one| one.id == id)?;
    let asked = Address::parse(&source.endpoint).ok()?;
    match known.git_operation(&asked, Access::Write) {
        Operation::Git { repository: Some(path), .. } => Some((id, path.as_str().to_owned())),
        _ => None,
    }
}

/// Returns what the server can do through a connection.
fn abilities<'a>(
    job: &'a JobContext,
    connection: &ConnectionId,
) -> Option<&'a keyferry_api::runner::JobConnection> {
    job.connections.iter().find(|one| one.connection_id == *connection)
}

/// Checks a branch or tag after its variables were replaced.
fn check_name(what: &str, name: &str) -> Result<(), StepError> {
    if keyferry_pipeline::is_branch_name(name) {
        Ok(())
    } else {
        let shown: String = name.chars().take(80).collect();
        Err(StepError::Failed(format!("`{}` is no name for a {what}", shown.escape_debug())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_git_would_read_as_something_else_are_refused() {
        for name in [
            "", "-d", "--force", "a b", "a..b", "a:b", "a^", "a~1", "x@{1}", "a\nb", "/a",
            "a.lock", ".hidden", "a/.b", "@", "a b", "a[1]",
        ] {
            assert!(check_name("branch", name).is_err(), "{name:?}");
        }
        assert!(check_name("branch", "feature/login-2.0_ü").is_ok());
    }
}
