//! Repositories, branches and tags behind a connection.

use axum::Json;
use axum::extract::State;
use keyferry_api::List;
use keyferry_api::repositories::{
    BranchMerged, BranchQuery, BranchView, DeleteBranch, DeleteTag, MergeBranch, MergeStrategy,
    RepositoryQuery, RepositoryView,
};
use keyferry_broker::repositories as broker;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::OrganizationId;
use keyferry_domain::page::PageRequest;

use super::AppState;
use super::answer::{Answer, Done, answer, done, page};
use super::extract::{Body, Caller, Path, Query};
use super::problem::Failure;

/// Lists the repositories that a connection shows.
#[utoipa::path(
    get, path = "/connections/{connection}/repositories", operation_id = "list_repositories", tag = "repositories",
    params(
        ("connection" = String, Path, description = "The connection ID"),
        RepositoryQuery,
    ),
    responses((status = 200, body = List<RepositoryView>))
)]
pub(super) async fn list_repositories(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, connection)): Path<(OrganizationId, ConnectionId)>,
    Query(query): Query<RepositoryQuery>,
) -> Answer<Json<List<RepositoryView>>> {
    let request = PageRequest::new(query.limit, query.cursor)
        .map_err(|error| Failure::new(error, actor.request.clone()))?;
    let search = query.search.as_deref();
    let found =
        state.broker.list_repositories(&actor, &organization, &connection, search, &request).await;
    page(&actor, found, repository_view)
}

/// Lists the branches of a repository.
#[utoipa::path(
    get, path = "/connections/{connection}/branches", operation_id = "list_branches", tag = "repositories",
    params(
        ("connection" = String, Path, description = "The connection ID"),
        BranchQuery,
    ),
    responses((status = 200, body = List<BranchView>))
)]
pub(super) async fn list_branches(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, connection)): Path<(OrganizationId, ConnectionId)>,
    Query(query): Query<BranchQuery>,
) -> Answer<Json<List<BranchView>>> {
    let request = PageRequest::new(query.limit, query.cursor)
        .map_err(|error| Failure::new(error, actor.request.clone()))?;
    let (repository, search) = (&query.repository, query.search.as_deref());
    let found = state
        .broker
        .list_branches(&actor, &organization, &connection, repository, search, &request)
        .await;
    page(&actor, found, branch_view)
}

/// Deletes a branch; with an expected commit only as long as it points there.
#[utoipa::path(
    delete, path = "/connections/{connection}/branches", operation_id = "delete_branch", tag = "repositories",
    params(
        ("connection" = String, Path, description = "The connection ID"),
        DeleteBranch,
    ),
    responses((status = 204))
)]
pub(super) async fn delete_branch(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, connection)): Path<(OrganizationId, ConnectionId)>,
    Query(query): Query<DeleteBranch>,
) -> Answer<Done> {
    let (repository, branch) = (&query.repository, &query.branch);
    let expected = query.expected_commit.as_deref();
    let deleted = state
        .broker
        .delete_branch(&actor, &organization, &connection, repository, branch, expected)
        .await;
    done(&actor, deleted)
}

/// Merges one branch into another by the service's own call.
#[utoipa::path(
    post, path = "/connections/{connection}/merges", operation_id = "merge_branch", tag = "repositories",
    params(("connection" = String, Path, description = "The connection ID")),
    request_body = MergeBranch,
    responses((status = 200, body = BranchMerged))
)]
pub(super) async fn merge_branch(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, connection)): Path<(OrganizationId, ConnectionId)>,
    Body(body): Body<MergeBranch>,
) -> Answer<Json<BranchMerged>> {
    let (repository, request) = merge_request(body);
    let merged =
        state.broker.merge_branch(&actor, &organization, &connection, &repository, &request).await;
    answer(&actor, merged, merged_view)
}

/// Deletes a tag.
#[utoipa::path(
    delete, path = "/connections/{connection}/tags", operation_id = "delete_tag", tag = "repositories",
    params(
        ("connection" = String, Path, description = "The connection ID"),
        DeleteTag,
    ),
    responses((status = 204))
)]
pub(super) async fn delete_tag(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, connection)): Path<(OrganizationId, ConnectionId)>,
    Query(query): Query<DeleteTag>,
) -> Answer<Done> {
    let deleted = state
        .broker
        .delete_tag(&actor, &organization, &connection, &query.repository, &query.tag)
        .await;
    done(&actor, deleted)
}

fn merge_request(body: MergeBranch) -> (String, broker::MergeRequest) {
    let strategy = match body.strategy {
        None | Some(MergeStrategy::Merge) => broker::MergeStrategy::Merge,
        Some(MergeStrategy::FastForward) => broker::MergeStrategy::FastForward,
        Some(MergeStrategy::Squash) => broker::MergeStrategy::Squash,
    };
    let request = broker::MergeRequest {
        from: body.from,
        into: body.into,
        strategy,
        message: body.message,
        expected_commit: body.expected_commit,
    };
    (body.repository, request)
}

fn merged_view(merged: broker::Merged) -> BranchMerged {
    match merged {
        broker::Merged::Done { commit } => BranchMerged { commit: Some(commit) },
        broker::Merged::AlreadyUpToDate => BranchMerged { commit: None },
    }
}

fn repository_view(repository: broker::Repository) -> RepositoryView {
    RepositoryView {
        path: repository.path.to_string(),
        description: repository.description,
        default_branch: repository.default_branch,
        private: repository.is_private,
        archived: repository.is_archived,
        clone_url: repository.clone_url,
    }
}

fn branch_view(branch: broker::Branch) -> BranchView {
    BranchView {
        name: branch.name,
        commit: branch.commit,
        default: branch.is_default,
        protected: branch.is_protected,
    }
}
