//! Merging by a pull request that lives for the moment of the merge.
//!
//! Gitea has no call to merge two branches, so a pull request is opened, merged, and closed again
//! when the merge fails. One that people have opened for the same two branches is used, and never
//! closed. What can be told without it (nothing to merge, no fast-forward, a branch that moved)
//! is told before one exists.

use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::client::{Answer, Client, RepositoryName};
use super::repositories::{get_branch, is_ahead};
use crate::error::ProviderError;
use crate::provider::{MergeRequest, MergeStrategy, Merged};

/// How long the first "please try again later" is waited for; doubled each time up to
/// [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// See [`FIRST_WAIT`].
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How long 405 may still mean "being computed". 0.3 to 2.2 s were seen.
const COMPUTING: Duration = Duration::from_secs(12);

/// The same for a pull request that was not mergeable when it was made: then it is most likely a
/// conflict, since Gitea computes that before it answers.
const DOUBTING: Duration = Duration::from_secs(4);

/// A pull request as Gitea tells it; other fields are of no interest.
#[derive(Debug, Deserialize)]
struct PullRequest {
    number: u64,
    #[serde(default)]
    mergeable: bool,
    #[serde(default)]
    merged: bool,
    merge_commit_sha: Option<String>,
}

/// Merges one branch into another.
pub(super) async fn merge(
    client: &Client<'_>,
    repository: &RepositoryName<'_>,
    request: &MergeRequest,
    timeout: Duration,
) -> Result<Merged, ProviderError> {
    if request.from == request.into {
        return Err(ProviderError::Misconfigured {
            field: "from".to_owned(),
            reason: format!("`{}` cannot be merged into itself", request.into),
        });
    }
    let from = get_branch(client, repository, "from", &request.from).await?.commit.id;
    if let Some(expected) = &request.expected_commit
        && !from.eq_ignore_ascii_case(expected)
    {
        return Err(ProviderError::Moved { name: request.from.clone(), actual: from });
    }
    let into = get_branch(client, repository, "into", &request.into).await?.commit.id;
    if !is_ahead(client, repository, &from, &into).await? {
        return Ok(Merged::AlreadyUpToDate);
    }
    if request.strategy == MergeStrategy::FastForward
        && is_ahead(client, repository, &into, &from).await?
    {
        return Err(ProviderError::Refused {
            reason: format!(
                "`{}` has commits that `{}` does not have, so it cannot be fast-forwarded",
                request.into, request.from
            ),
        });
    }
    let (pull, is_ours) = open(client, repository, request).await?;
    // Half of the call's time at most: the rest is for the requests themselves.
    let patience = if is_ours && !pull.mergeable { DOUBTING } else { COMPUTING }.min(timeout / 2);
    let result = merge_pull(client, repository, request, &pull, &from, patience).await;
    if result.is_err() && is_ours {
        close(client, repository, pull.number).await;
    }
    result
}

/// Opens a pull request, or finds the one that is there; tells whether it is ours.
async fn open(
    client: &Client<'_>,
    repository: &RepositoryName<'_>,
    request: &MergeRequest,
) -> Result<(PullRequest, bool), ProviderError> {
    let MergeRequest { from, into, .. } = request;
    let body = json!({
        "head": from,
        "base": into,
        "title": format!("Merge `{from}` into `{into}`"),
        "body": "Opened by Keyferry for the moment of a merge.",
    });
    let answer = client.call(Method::POST, &repository.path(&["pulls"]), &[], Some(&body)).await?;
    match answer.status {
        201 => Ok((answer.json()?, true)),
        409 => {
            // Branch names are two parameters in a row here, so their slashes are encoded.
            let path = repository.path(&["pulls", into, from]);
            let found = client.call(Method::GET, &path, &[], None).await?;
            match found.status {
                200 => Ok((found.json()?, false)),
                _ => Err(answer.refusal(&repository.describe())),
            }
        }
        // Both branches were there a moment ago.
        404 => Err(ProviderError::Unsupported {
            reason: format!(
                "{repository} has its pull requests switched off, and Gitea merges by them only"
            ),
        }),
        _ => Err(answer.refusal(&repository.describe())),
    }
}

async fn merge_pull(
    client: &Client<'_>,
    repository: &RepositoryName<'_>,
    request: &MergeRequest,
    pull: &PullRequest,
    from_commit: &str,
    patience: Duration,
) -> Result<Merged, ProviderError> {
    let number = pull.number.to_string();
    let path = repository.path(&["pulls", &number, "merge"]);
    let mut body = json!({
        "Do": match request.strategy {
            MergeStrategy::Merge => "merge",
            MergeStrategy::FastForward => "fast-forward-only",
            MergeStrategy::Squash => "squash",
        },
        // A push in between is refused instead of merged unseen.
        "head_commit_id": from_commit,
    });
    if let Some(message) = &request.message {
        let (title, rest) = message.split_once('\n').unwrap_or((message.as_str(), ""));
        body["MergeTitleField"] = title.trim().into();
        body["MergeMessageField"] = rest.trim_matches('\n').into();
    }
    let mut waited = Duration::ZERO;
    let mut wait = FIRST_WAIT;
    loop {
        let answer = match client.call(Method::POST, &path, &[], Some(&body)).await {
            Ok(answer) => answer,
            Err(error) => return merged_anyway(client, repository, request, &number, error).await,
        };
        match answer.status {
            200 => return commit_of(client, repository, request, &number).await,
            405 if is_undecided(&answer) => {
                if waited >= patience {
                    return Err(ProviderError::MergeConflict { paths: Vec::new() });
                }
                tokio::time::sleep(wait).await;
                waited += wait;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            405 if answer.words().contains("already merged") => {
                return commit_of(client, repository, request, &number).await;
            }
            409 if answer.words().contains("out of date") => {
                let actual = match get_branch(client, repository, "from", &request.from).await {
                    Ok(branch) => branch.commit.id,
                    Err(_) => "gone".to_owned(),
                };
                return Err(ProviderError::Moved { name: request.from.clone(), actual });
            }
            409 => return Err(ProviderError::MergeConflict { paths: Vec::new() }),
            500.. => {
                let error = answer.refusal(&repository.describe());
                return merged_anyway(client, repository, request, &number, error).await;
            }
            _ => return Err(answer.refusal(&repository.describe())),
        }
    }
}

/// Tells "still being computed, or a conflict" from the other meanings of 405.
fn is_undecided(answer: &Answer) -> bool {
    answer.words().to_ascii_lowercase().contains("try again later")
}

/// Looks after a failure whether the merge was made nevertheless: the answer may have been lost.
async fn merged_anyway(
    client: &Client<'_>,
    repository: &RepositoryName<'_>,
    request: &MergeRequest,
    number: &str,
    error: ProviderError,
) -> Result<Merged, ProviderError> {
    let Ok(client) = client.renewed() else { return Err(error) };
    commit_of(&client, repository, request, number).await.map_err(|_| error)
}

/// Returns the commit that a merged pull request made.
async fn commit_of(
    client: &Client<'_>,
    repository: &RepositoryName<'_>,
    request: &MergeRequest,
    number: &str,
) -> Result<Merged, ProviderError> {
    let answer = client.call(Method::GET, &repository.path(&["pulls", number]), &[], None).await?;
    if answer.status != 200 {
        return Err(answer.refusal("the pull request"));
    }
    let pull: PullRequest = answer.json()?;
    if !pull.merged {
        return Err(ProviderError::Unexpected {
            reason: "the pull request is not merged".to_owned(),
        });
    }
    let commit = match pull.merge_commit_sha.filter(|commit| !commit.is_empty()) {
        Some(commit) => commit,
        None => get_branch(client, repository, "into", &request.into).await?.commit.id,
    };
    Ok(Merged::Done { commit })
}

/// Closes a pull request that we have opened. Its failure must not hide why the merge failed.
async fn close(client: &Client<'_>, repository: &RepositoryName<'_>, number: u64) {
    let number = number.to_string();
    let path = repository.path(&["pulls", &number]);
    let body = json!({"state": "closed"});
    let answer = match client.renewed() {
        Ok(client) => client.call(Method::PATCH, &path, &[], Some(&body)).await,
        Err(error) => Err(error),
    };
    let error = match answer {
        Ok(answer) if matches!(answer.status, 200 | 201) => return,
        Ok(answer) => answer.refusal("the pull request"),
        Err(error) => error,
    };
    tracing::warn!(%repository, number, %error, "a pull request of a failed merge stays open");
}
