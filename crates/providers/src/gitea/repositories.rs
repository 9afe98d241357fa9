//! Repositories, branches and tags: listed, and deleted.
//!
//! Source: `/user/repos`, `/repos/search` and `/repos/{owner}/{repo}` of the API. Merging is in
//! `merge`.

use keyferry_domain::operation::RepositoryPath;
use reqwest::Method;
use serde::Deserialize;

use super::client::{Answer, Client, RepositoryName, ref_segments};
use super::cursor::Cursor;
use crate::error::ProviderError;
use crate::provider::{Branch, Repository, ServicePage};

/// Pages of branches that one call looks through for a search; the caller goes on from there.
const MAX_SEARCH_PAGES: u32 = 20;

/// A repository as Gitea tells it; other fields are of no interest.
#[derive(Debug, Deserialize)]
pub(super) struct RepositoryAnswer {
    full_name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    pub(super) default_branch: String,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    archived: bool,
    #[serde(default)]
    empty: bool,
    clone_url: Option<String>,
    pub(super) ssh_url: Option<String>,
}

#[derive(Deserialize)]
struct SearchAnswer {
    data: Option<Vec<RepositoryAnswer>>,
}

/// A branch as Gitea tells it; other fields are of no interest.
#[derive(Debug, Deserialize)]
pub(super) struct BranchAnswer {
    name: String,
    #[serde(default)]
    protected: bool,
    pub(super) commit: CommitAnswer,
}

#[derive(Debug, Deserialize)]
pub(super) struct CommitAnswer {
    pub(super) id: String,
}

impl RepositoryAnswer {
    fn into_repository(self) -> Result<Repository, ProviderError> {
        let path: RepositoryPath = self.full_name.parse().map_err(|_| {
            ProviderError::Unexpected { reason: "a repository's name is not a path".to_owned() }
        })?;
        let present = |text: String| Some(text).filter(|text| !text.is_empty());
        Ok(Repository {
            path,
            description: present(self.description),
            // An empty repository has a name for its first branch, but no branch.
            default_branch: present(self.default_branch).filter(|_| !self.empty),
            is_private: self.private,
            is_archived: self.archived,
            clone_url: self.clone_url.and_then(present),
        })
    }
}

/// Returns one repository.
pub(super) async fn get(
    client: &Client<'_>,
    repository: &RepositoryName<'_>,
) -> Result<RepositoryAnswer, ProviderError> {
    let answer = client.call(Method::GET, &repository.path(&[]), &[], None).await?;
    match answer.status {
        200 => answer.json(),
        _ => Err(answer.refusal(&repository.describe())),
    }
}

/// Lists the repositories that the user owns or works on. A token that may not tell whose it is
/// cannot be asked for those, so it lists all that it sees.
pub(super) async fn list(
    client: &Client<'_>,
    search: Option<&str>,
    cursor: Cursor,
) -> Result<ServicePage<Repository>, ProviderError> {
    let search = search.map(str::trim).filter(|search| !search.is_empty());
    let mut cursor = cursor;
    if cursor.page == 1 && cursor.user.is_none() {
        cursor.user = client.user().await?.map(|user| user.id);
    }
    // By id, so that a repository made meanwhile comes last and shifts no page.
    let mut query = vec![
        ("sort", "id".to_owned()),
        ("order", "asc".to_owned()),
        ("page", cursor.page.to_string()),
        ("limit", cursor.size.to_string()),
    ];
    if let Some(user) = cursor.user {
        query.push(("uid", user.to_string()));
    }
    if let Some(search) = search {
        query.push(("q", search.to_owned()));
    }
    let answer = client.call(Method::GET, &["repos", "search"], &query, None).await?;
    if answer.status != 200 {
        return Err(answer.refusal("the list of repositories"));
    }
    let found: SearchAnswer = answer.json()?;
    let found = found.data.unwrap_or_default();
    let next = next_page(&answer, cursor, found.is_empty());
    let items =
        found.into_iter().map(RepositoryAnswer::into_repository).collect::<Result<_, _>>()?;
    Ok(ServicePage { items, next: next.map(Cursor::render) })
}

fn next_page(answer: &Answer, cursor: Cursor, is_empty: bool) -> Option<Cursor> {
    // A server that promises pages for ever and fills none of them would never end.
    (!is_empty && answer.has_next_page(cursor.page, cursor.size)).then(|| cursor.next())
}

/// Lists branches, or those whose names contain `search` without regard to case. Gitea cannot
/// search branches, so a search looks through pages until it has `size` of them, and may return
/// fewer with a position to go on from.
pub(super) async fn list_branches(
    client: &Client<'_>,
    repository: &RepositoryName<'_>,
    search: Option<&str>,
    cursor: Cursor,
) -> Result<ServicePage<Branch>, ProviderError> {
    let wanted = cursor.size as usize;
    let search = search.map(str::to_lowercase).filter(|search| !search.is_empty());
    let found = get(client, repository).await?;
    let mut cursor = cursor;
    let mut items = Vec::new();
    for _ in 0..MAX_SEARCH_PAGES {
        let query = [("page", cursor.page.to_string()), ("limit", cursor.size.to_string())];
        let path = repository.path(&["branches"]);
        let answer = client.call(Method::GET, &path, &query, None).await?;
        if answer.status != 200 {
            return Err(answer.refusal(&repository.describe()));
        }
        // An empty repository answers `null`.
        let page: Option<Vec<BranchAnswer>> = answer.json()?;
        let page = page.unwrap_or_default();
        let next = next_page(&answer, cursor, page.is_empty());
        let matching: Vec<Branch> = page
            .into_iter()
            .filter(|branch| match &search {
                Some(search) => branch.name.to_lowercase().contains(search),
                None => true,
            })
            .map(|branch| Branch {
                is_default: Some(branch.name == found.default_branch),
                name: branch.name,
                commit: branch.commit.id,
                is_protected: Some(branch.protected),
            })
            .collect();
        if !items.is_empty() && items.len() + matching.len() > wanted {
            return Ok(ServicePage { items, next: Some(cursor.render()) });
        }
        items.extend(matching);
        match next {
            None => return Ok(ServicePage { items, next: None }),
            Some(next) => cursor = next,
        }
        if items.len() >= wanted {
            break;
        }
    }
    Ok(ServicePage { items, next: Some(cursor.render()) })
}

/// Returns one branch.
pub(super) async fn get_branch(
    client: &Client<'_>,
    repository: &RepositoryName<'_>,
    field: &'static str,
    branch: &str,
) -> Result<BranchAnswer, ProviderError> {
    let mut path = repository.path(&["branches"]);
    path.extend(ref_segments(field, branch)?);
    let answer = client.call(Method::GET, &path, &[], None).await?;
    match answer.status {
        200 => answer.json(),
        404 => Err(absent(client, repository, format!("branch `{branch}` in {repository}")).await),
        _ => Err(answer.refusal(&repository.describe())),
    }
}

/// Says which of the two is missing: 404 does not tell.
async fn absent(
    client: &Client<'_>,
    repository: &RepositoryName<'_>,
    what: String,
) -> ProviderError {
    match get(client, repository).await {
        Ok(_) => ProviderError::NotFound { what },
        Err(error) => error,
    }
}

/// Deletes a branch wherever it is. With a condition on its commit, see [`super::provider`].
pub(super) async fn delete_branch(
    client: &Client<'_>,
    repository: &RepositoryName<'_>,
    branch: &str,
) -> Result<(), ProviderError> {
    let mut path = repository.path(&["branches"]);
    path.extend(ref_segments("branch", branch)?);
    let answer = client.call(Method::DELETE, &path, &[], None).await?;
    match answer.status {
        204 => Ok(()),
        404 => Err(absent(client, repository, format!("branch `{branch}` in {repository}")).await),
        _ => Err(answer.refusal(&repository.describe())),
    }
}

/// Deletes a tag.
pub(super) async fn delete_tag(
    client: &Client<'_>,
    repository: &RepositoryName<'_>,
    tag: &str,
) -> Result<(), ProviderError> {
    let mut path = repository.path(&["tags"]);
    path.extend(ref_segments("tag", tag)?);
    let answer = client.call(Method::DELETE, &path, &[], None).await?;
    match answer.status {
        204 => Ok(()),
        404 => Err(absent(client, repository, format!("tag `{tag}` in {repository}")).await),
        409 => Err(ProviderError::Refused {
            reason: format!("tag `{tag}` belongs to a release; delete the release first"),
        }),
        _ => Err(answer.refusal(&repository.describe())),
    }
}

/// Tells whether `commit` has something that `base` does not.
pub(super) async fn is_ahead(
    client: &Client<'_>,
    repository: &RepositoryName<'_>,
    commit: &str,
    base: &str,
) -> Result<bool, ProviderError> {
    // The four switches keep the answer small: without them each commit lists its files.
    let mut query = vec![("sha", commit.to_owned()), ("not", base.to_owned())];
    query.push(("limit", "1".to_owned()));
    for name in ["stat", "verification", "files"] {
        query.push((name, "false".to_owned()));
    }
    let answer = client.call(Method::GET, &repository.path(&["commits"]), &query, None).await?;
    if answer.status != 200 {
        return Err(answer.refusal(&repository.describe()));
    }
    let commits: Option<Vec<serde_json::Value>> = answer.json()?;
    Ok(!commits.unwrap_or_default().is_empty())
}
