//! `AddGitTag`: puts a tag on a commit at the server. An existing tag is never moved.

use std::sync::PoisonError;

use keyferry_domain::operation::Access;
use keyferry_pipeline::steps::AddGitTag;

use super::delete_branch::check_commit;
use super::{StepError, check_name, open_source};
use crate::git::Pushed;
use crate::job::JobContext;

pub(super) async fn run(job: &JobContext, fields: &AddGitTag) -> Result<(), StepError> {
    let source = job.source(&fields.source)?;
    let tag = job.substitute(&fields.tag)?;
    check_name("tag", &tag)?;
    let commit = fields.commit.as_deref().map(|text| job.substitute(text)).transpose()?;
    let message = fields.message.as_deref().map(|text| job.substitute(text)).transpose()?;
    // The commit that this run works on, rather than where the branch is by now.
    let commit = commit.or_else(|| {
        let checked_out = job.checked_out.lock().unwrap_or_else(PoisonError::into_inner);
        checked_out.iter().find(|one| one.id == source.id).map(|one| one.commit.clone())
    });
    let bare = open_source(job, source, Access::Write).await?;
    let wanted = match &commit {
        Some(commit) => {
            check_commit(commit)?;
            commit.clone()
        }
        None if source.branch.is_empty() => "HEAD".to_owned(),
        None => source.branch.clone(),
    };
    // The commit alone, without its history and its files.
    bare.output(&[
        "fetch",
        "--quiet",
        "--no-tags",
        "--depth=1",
        "--filter=tree:0",
        "--",
        "origin",
        &wanted,
    ])
    .await?;
    let commit = bare.output(&["rev-parse", "--verify", "FETCH_HEAD^{commit}"]).await?;
    let reference = format!("refs/tags/{tag}");
    let object = match message.filter(|text| !text.trim().is_empty()) {
        None => commit.clone(),
        Some(message) => {
            bare.output(&["tag", "--annotate", "--message", &message, "--", &tag, &commit]).await?;
            bare.output(&["rev-parse", "--verify", &reference]).await?
        }
    };
    // An empty expectation: the tag must not be there yet.
    let lease = format!("--force-with-lease={reference}:");
    match bare.push(&[&lease, "--", "origin", &format!("{object}:{reference}")]).await? {
        Pushed::Done => {
            job.log.line(&format!("tagged {commit} as {tag}")).await;
            Ok(())
        }
        Pushed::LostRace => Err(StepError::Failed(format!("the tag `{tag}` is there already"))),
    }
}
