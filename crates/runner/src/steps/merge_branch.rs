//! `MergeBranch`: merges at the server, without a checkout.
//!
//! By the service's own call where it has one. Else a fetch of both branches without their files, a
//! merge in memory (`git merge-tree --write-tree`, Git 2.38 or newer), and a push that is refused
//! when the branch moved; then it starts again on the new tip. A conflict changes nothing.

use std::collections::BTreeMap;

use keyferry_api::repositories as wire;
use keyferry_domain::operation::Access;
use keyferry_pipeline::plan::SourcePlan;
use keyferry_pipeline::steps::{MergeBranch, MergeStrategy};

use super::{StepError, abilities, check_name, delete_branch, forge, open_source, repository_of};
use crate::git::{Bare, GitError, Pushed, last_line};
use crate::job::JobContext;

/// How often a merge is tried anew when others push in the meantime.
const TRIES: usize = 5;

/// How many conflicting paths are listed.
const LISTED_PATHS: usize = 50;

struct Merge<'a> {
    from: &'a str,
    into: &'a str,
    strategy: MergeStrategy,
    message: Option<String>,
}

pub(super) async fn run(job: &JobContext, fields: &MergeBranch) -> Result<(), StepError> {
    let source = job.source(&fields.source)?;
    let (from, into) = (job.substitute(&fields.from)?, job.substitute(&fields.into)?);
    check_name("branch", &from)?;
    check_name("branch", &into)?;
    if from == into {
        return Err(StepError::Failed(format!("`{from}` cannot be merged into itself")));
    }
    let message = fields.message.as_deref().map(|text| job.substitute(text)).transpose()?;
    let merge = Merge { from: &from, into: &into, strategy: fields.strategy, message };
    let by_server = match &source.connection {
        Some(id) => abilities(job, id).is_some_and(|one| one.can_merge),
        None => false,
    };
    let merged = if by_server {
        // The service makes the change: Git has only to look, and gets a lease for no more.
        let names = job.desk.name(BTreeMap::new());
        let merged = merge_at_service(job, source, &merge).await;
        job.desk.name(names);
        merged?
    } else {
        None
    };
    let tip = match merged {
        Some(tip) => tip,
        None => merge_by_git(job, source, &merge).await?,
    };
    if fields.delete_source {
        delete_branch::delete(job, source, &from, Some(&tip)).await?;
    }
    Ok(())
}

/// Merges by the service's call. Returns the commit that `from` was at; `None` when this has to be
/// done with Git after all.
async fn merge_at_service(
    job: &JobContext,
    source: &SourcePlan,
    merge: &Merge<'_>,
) -> Result<Option<String>, StepError> {
    let Some((connection, repository)) = repository_of(job, source) else { return Ok(None) };
    let bare = open_source(job, source, Access::Read).await?;
    let client = forge::client(job);
    let mut was_lost = false;
    for calls in 1.. {
        // What is merged is what we looked at: the service refuses when the branch moved.
        let tip = tip_of(&bare, merge.from).await?;
        if was_lost && let Some(commit) = merged_before(&bare, merge).await? {
            job.log.line(&merged_line(merge, &commit)).await;
            return Ok(Some(tip));
        }
        let body = request(merge, &repository, &tip);
        let call = client.merge_branch(&job.organization, &connection, &body);
        let error = match forge::unless_stopped(job, call).await? {
            Ok(answer) => {
                let line = match answer.commit {
                    Some(commit) => merged_line(merge, &commit),
                    None => nothing_to_do(merge),
                };
                job.log.line(&line).await;
                return Ok(Some(tip));
            }
            Err(error) => error,
        };
        let code = error.problem().map(|problem| problem.code.as_str());
        if code == Some("merge_conflict") {
            // The service may not say where; Git does. Without it, it is a conflict all the same.
            match find_conflict(&bare, merge).await {
                Ok(Some(told)) => return Err(StepError::Failed(told)),
                Ok(None) => {}
                Err(StepError::Stopped) => return Err(StepError::Stopped),
                Err(StepError::Failed(reason)) => {
                    let line = format!("keyferry: the paths in conflict are not known: {reason}");
                    job.log.line(&line).await;
                }
            }
        }
        let has_moved = code == Some("branch_moved");
        if calls >= forge::CALLS || !(has_moved || forge::can_repeat(&error)) {
            return Err(StepError::Failed(format!(
                "`{}` was not merged into `{}`: {}",
                merge.from,
                merge.into,
                forge::reason(&error)
            )));
        }
        was_lost |= forge::is_lost(&error);
        forge::pause(job, calls).await?;
    }
    Ok(None)
}

fn request(merge: &Merge<'_>, repository: &str, tip: &str) -> wire::MergeBranch {
    wire::MergeBranch {
        repository: repository.to_owned(),
        from: merge.from.to_owned(),
        into: merge.into.to_owned(),
        strategy: Some(match merge.strategy {
            MergeStrategy::Merge => wire::MergeStrategy::Merge,
            MergeStrategy::FastForward => wire::MergeStrategy::FastForward,
            MergeStrategy::Squash => wire::MergeStrategy::Squash,
        }),
        message: merge.message.clone(),
        expected_commit: Some(tip.to_owned()),
    }
}

fn merged_line(merge: &Merge<'_>, commit: &str) -> String {
    format!("merged {} into {} at {commit}", merge.from, merge.into)
}

/// Returns where `into` is when it has everything of `from`: as a commit, or by a squash.
async fn merged_before(bare: &Bare<'_>, merge: &Merge<'_>) -> Result<Option<String>, StepError> {
    let (from, into) = fetch_both(bare, merge).await?;
    let mut is_merged = is_ancestor(bare, &from, &into).await?;
    if !is_merged && merge.strategy == MergeStrategy::Squash {
        let merged =
            bare.run(&["merge-tree", "--write-tree", "--no-messages", &into, &from]).await?;
        let tree = bare.output(&["rev-parse", "--verify", &format!("{into}^{{tree}}")]).await?;
        is_merged = merged.code == 0 && String::from_utf8_lossy(&merged.stdout).trim() == tree;
    }
    Ok(is_merged.then_some(into))
}

async fn merge_by_git(
    job: &JobContext,
    source: &SourcePlan,
    merge: &Merge<'_>,
) -> Result<String, StepError> {
    let bare = open_source(job, source, Access::Write).await?;
    for _ in 0..TRIES {
        match try_merge(&bare, merge).await? {
            Tried::Merged { commit, tip } => {
                job.log.line(&merged_line(merge, &commit)).await;
                return Ok(tip);
            }
            Tried::Nothing { tip } => {
                job.log.line(&nothing_to_do(merge)).await;
                return Ok(tip);
            }
            Tried::LostRace => {
                job.log.line(&format!("{} moved in the meantime; again", merge.into)).await;
            }
        }
    }
    Err(StepError::Failed(format!(
        "`{}` moved {TRIES} times while it was merged into; nothing was changed",
        merge.into
    )))
}

fn nothing_to_do(merge: &Merge<'_>) -> String {
    format!("{} is in {} already", merge.from, merge.into)
}

enum Tried {
    Merged { commit: String, tip: String },
    Nothing { tip: String },
    LostRace,
}

async fn tip_of(bare: &Bare<'_>, branch: &str) -> Result<String, StepError> {
    let reference = format!("refs/heads/{branch}");
    let found = bare.output(&["ls-remote", "--", "origin", &reference]).await?;
    match found.split_once('\t') {
        Some((commit, _)) => Ok(commit.to_owned()),
        None => Err(no_branch(bare, branch)),
    }
}

fn no_branch(bare: &Bare<'_>, branch: &str) -> StepError {
    StepError::Failed(format!("there is no branch `{branch}` in `{}`", bare.endpoint))
}

/// Fetches both branches without their files; returns the commits that they are at.
async fn fetch_both(bare: &Bare<'_>, merge: &Merge<'_>) -> Result<(String, String), StepError> {
    let fetch_from = format!("+refs/heads/{}:refs/keyferry/from", merge.from);
    let fetch_into = format!("+refs/heads/{}:refs/keyferry/into", merge.into);
    let fetched = bare
        .output(&[
            "fetch",
            "--quiet",
            "--no-tags",
            "--filter=blob:none",
            "--",
            "origin",
            &fetch_from,
            &fetch_into,
        ])
        .await;
    if let Err(GitError::Failed { reason, .. }) = &fetched
        && reason.contains("couldn't find remote ref")
    {
        let is_from = reason.contains(&format!("refs/heads/{}", merge.from))
            && !reason.contains(&format!("refs/heads/{}", merge.into));
        return Err(no_branch(bare, if is_from { merge.from } else { merge.into }));
    }
    fetched?;
    let from = bare.output(&["rev-parse", "--verify", "refs/keyferry/from^{commit}"]).await?;
    let into = bare.output(&["rev-parse", "--verify", "refs/keyferry/into^{commit}"]).await?;
    Ok((from, into))
}

/// One try: fetch, merge in memory, push.
async fn try_merge(bare: &Bare<'_>, merge: &Merge<'_>) -> Result<Tried, StepError> {
    let (from, into) = fetch_both(bare, merge).await?;
    if is_ancestor(bare, &from, &into).await? {
        return Ok(Tried::Nothing { tip: from });
    }
    let commit = match merge.strategy {
        MergeStrategy::FastForward => {
            if !is_ancestor(bare, &into, &from).await? {
                return Err(StepError::Failed(format!(
                    "`{}` cannot be moved forward to `{}`: it has commits of its own",
                    merge.into, merge.from
                )));
            }
            from.clone()
        }
        MergeStrategy::Merge | MergeStrategy::Squash => {
            commit_merge(bare, merge, &from, &into).await?
        }
    };
    let lease = format!("--force-with-lease=refs/heads/{}:{into}", merge.into);
    let update = format!("{commit}:refs/heads/{}", merge.into);
    match bare.push(&[&lease, "--", "origin", &update]).await? {
        Pushed::Done => Ok(Tried::Merged { commit, tip: from }),
        Pushed::LostRace => Ok(Tried::LostRace),
    }
}

async fn is_ancestor(bare: &Bare<'_>, older: &str, newer: &str) -> Result<bool, StepError> {
    let arguments = ["merge-base", "--is-ancestor", older, newer];
    let ended = bare.run(&arguments).await?;
    match ended.code {
        0 => Ok(true),
        1 => Ok(false),
        _ => Err(bare.failed(&arguments, &ended).into()),
    }
}

/// A merge in memory.
enum Combined {
    /// The tree that comes of it.
    Tree(String),
    /// Why nothing comes of it, for people.
    Conflict(String),
}

/// Tells where the branches conflict, without changing anything; `None` when Git merges them.
async fn find_conflict(bare: &Bare<'_>, merge: &Merge<'_>) -> Result<Option<String>, StepError> {
    let (from, into) = fetch_both(bare, merge).await?;
    Ok(match combine(bare, merge, &from, &into).await? {
        Combined::Tree(_) => None,
        Combined::Conflict(told) => Some(told),
    })
}

async fn combine(
    bare: &Bare<'_>,
    merge: &Merge<'_>,
    from: &str,
    into: &str,
) -> Result<Combined, StepError> {
    let arguments =
        ["merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", into, from];
    let ended = bare.run(&arguments).await?;
    let stdout = String::from_utf8_lossy(&ended.stdout).into_owned();
    let mut parts = stdout.split('\0').filter(|part| !part.is_empty());
    let tree = parts.next().unwrap_or_default().trim().to_owned();
    match ended.code {
        0 => Ok(Combined::Tree(tree)),
        1 => {
            let mut paths: Vec<String> =
                parts.map(|path| format!("`{}`", path.escape_debug())).collect();
            paths.dedup();
            let count = paths.len();
            paths.truncate(LISTED_PATHS);
            let more = if count > LISTED_PATHS { ", …" } else { "" };
            Ok(Combined::Conflict(format!(
                "`{}` conflicts with `{}` in {count} {}: {}{more}; nothing was changed",
                merge.from,
                merge.into,
                if count == 1 { "path" } else { "paths" },
                paths.join(", ")
            )))
        }
        _ => {
            let text = String::from_utf8_lossy(&ended.stderr).into_owned();
            if text.contains("usage: git merge-tree") || text.contains("unknown option") {
                return Err(StepError::Failed(format!(
                    "merging needs Git 2.38 or newer ({})",
                    last_line(&bare.output(&["version"]).await?)
                )));
            }
            Err(bare.failed(&arguments, &ended).into())
        }
    }
}

async fn commit_merge(
    bare: &Bare<'_>,
    merge: &Merge<'_>,
    from: &str,
    into: &str,
) -> Result<String, StepError> {
    let tree = match combine(bare, merge, from, into).await? {
        Combined::Tree(tree) => tree,
        Combined::Conflict(told) => return Err(StepError::Failed(told)),
    };
    let message = merge
        .message
        .clone()
        .filter(|text| !text.trim().is_empty())
        .unwrap_or_else(|| format!("Merge branch '{}' into {}", merge.from, merge.into));
    let mut arguments = vec!["commit-tree", &tree, "-p", into];
    if merge.strategy == MergeStrategy::Merge {
        arguments.extend(["-p", from]);
    }
    arguments.extend(["-m", &message]);
    Ok(bare.output(&arguments).await?)
}
