//! Repositories, branches and tags behind a connection: seen by people who pick a source, changed
//! by people and by the jobs of pipelines.
//!
//! A person may what the policies say. A job may change a repository where its pipeline's binding
//! would give it a lease to push to it. What is done is done by the service's own calls, with the
//! stored credential, and written down under the one who asked.

use keyferry_domain::actor::Identity;
use keyferry_domain::audit::Target;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::OrganizationId;
use keyferry_domain::operation::RepositoryPath;
use keyferry_domain::page::{Page, PageRequest};
use keyferry_domain::{Actor, Error, Result};
use keyferry_policy::{Action, Facts};
use keyferry_providers::ProviderError;
use keyferry_providers::provider::{Repositories, ServicePage};

pub use keyferry_providers::provider::{Branch, MergeRequest, MergeStrategy, Merged, Repository};

use crate::Broker;
use crate::audit::Event;
use crate::failure::provider_failed;
use crate::opened::Opened;

/// Bytes of a branch's or tag's name at most; file systems take no more.
const LONGEST_NAME: usize = 250;

/// Bytes of a commit message at most.
const LONGEST_MESSAGE: usize = 64 * 1024;

impl Broker {
    /// Lists the repositories that a connection shows.
    pub async fn list_repositories(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &ConnectionId,
        search: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<Repository>> {
        let opened = self.open_to_browse(actor, organization, id).await?;
        let listed = repositories(&opened)?
            .list_repositories(
                &self.outside,
                opened.target(),
                search,
                page.cursor.as_deref(),
                page.limit,
            )
            .await;
        self.answered(actor, &opened, listed).await.map(to_page)
    }

    /// Lists the branches of a repository.
    pub async fn list_branches(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &ConnectionId,
        repository: &str,
        search: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<Branch>> {
        let opened = self.open_to_browse(actor, organization, id).await?;
        let repository = parse_repository(repository)?;
        let listed = repositories(&opened)?
            .list_branches(
                &self.outside,
                opened.target(),
                &repository,
                search,
                page.cursor.as_deref(),
                page.limit,
            )
            .await;
        self.answered(actor, &opened, listed).await.map(to_page)
    }

    /// Deletes a branch; with an expected commit only as long as it points there.
    pub async fn delete_branch(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &ConnectionId,
        repository: &str,
        branch: &str,
        expected_commit: Option<&str>,
    ) -> Result<()> {
        let action = Action::BranchDelete;
        let (opened, repository) =
            self.open_to_change(actor, organization, id, action, repository).await?;
        check_ref_name("/branch", branch)?;
        check_commit("/expected_commit", expected_commit)?;
        let deleted = repositories(&opened)?
            .delete_branch(&self.outside, opened.target(), &repository, branch, expected_commit)
            .await;
        let mut facts = vec![("repository", repository.to_string()), ("branch", branch.to_owned())];
        facts.extend(expected_commit.map(|commit| ("expected_commit", commit.to_owned())));
        self.changed(actor, &opened, action, facts, deleted).await
    }

    /// Merges one branch into another.
    pub async fn merge_branch(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &ConnectionId,
        repository: &str,
        request: &MergeRequest,
    ) -> Result<Merged> {
        let action = Action::BranchMerge;
        let (opened, repository) =
            self.open_to_change(actor, organization, id, action, repository).await?;
        check_ref_name("/from", &request.from)?;
        check_ref_name("/into", &request.into)?;
        check_commit("/expected_commit", request.expected_commit.as_deref())?;
        let is_bad = |message: &str| message.len() > LONGEST_MESSAGE || message.contains('\0');
        if request.message.as_deref().is_some_and(is_bad) {
            return Err(Error::invalid_field("/message", "is too long or holds a NUL character"));
        }
        let merged = repositories(&opened)?
            .merge(&self.outside, opened.target(), &repository, request)
            .await;
        let mut facts = vec![
            ("repository", repository.to_string()),
            ("from", request.from.clone()),
            ("into", request.into.clone()),
        ];
        match &merged {
            Ok(Merged::Done { commit }) => facts.push(("commit", commit.clone())),
            Ok(Merged::AlreadyUpToDate) => facts.push(("commit", "none".to_owned())),
            Err(_) => {}
        }
        self.changed(actor, &opened, action, facts, merged).await
    }

    /// Deletes a tag.
    pub async fn delete_tag(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &ConnectionId,
        repository: &str,
        tag: &str,
    ) -> Result<()> {
        let action = Action::TagDelete;
        let (opened, repository) =
            self.open_to_change(actor, organization, id, action, repository).await?;
        check_ref_name("/tag", tag)?;
        let deleted = repositories(&opened)?
            .delete_tag(&self.outside, opened.target(), &repository, tag)
            .await;
        let facts = vec![("repository", repository.to_string()), ("tag", tag.to_owned())];
        self.changed(actor, &opened, action, facts, deleted).await
    }

    async fn open_to_browse(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &ConnectionId,
    ) -> Result<Opened> {
        let connection =
            self.allowed_connection(actor, organization, id, Action::ConnectionBrowse).await?;
        self.open_current(connection).await
    }

    /// Asks the policies for a person, and the bindings for a job.
    async fn open_to_change(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &ConnectionId,
        action: Action,
        repository: &str,
    ) -> Result<(Opened, RepositoryPath)> {
        let (connection, repository) = if matches!(actor.identity, Identity::Job { .. }) {
            let repository = parse_repository(repository)?;
            self.check_job_may_change(actor, organization, id, action, &repository).await?;
            let connection = self.find_connection(organization, id).await?;
            // The policies still have their say: a job that is over, another organization.
            let subject = self.connection_subject(&connection).await?;
            let facts = Facts { is_bound: true, ..Facts::default() };
            self.allow_with(actor, organization, Action::LeaseIssue, &subject, facts).await?;
            (connection, repository)
        } else {
            let connection = self.allowed_connection(actor, organization, id, action).await?;
            (connection, parse_repository(repository)?)
        };
        Ok((self.open_current(connection).await?, repository))
    }

    /// Turns what the service said into the caller's answer.
    async fn answered<T>(
        &self,
        actor: &Actor,
        opened: &Opened,
        outcome: Result<T, ProviderError>,
    ) -> Result<T> {
        match outcome {
            Ok(value) => Ok(value),
            Err(error) => {
                self.note_rejection(actor, opened, &error).await;
                Err(provider_failed(error))
            }
        }
    }

    /// Writes a change down, or the try, and turns what the service said into the answer.
    async fn changed<T>(
        &self,
        actor: &Actor,
        opened: &Opened,
        action: Action,
        facts: Vec<(&'static str, String)>,
        outcome: Result<T, ProviderError>,
    ) -> Result<T> {
        let connection = &opened.connection;
        let target = Target::new("connection", &connection.id);
        let mut event = match &outcome {
            Ok(_) => Event::done(action.as_str(), target),
            Err(error) => Event::failed(action.as_str(), target, &error.to_string()),
        };
        for (name, value) in facts {
            event = event.with(name, value);
        }
        self.record(actor, Some(&connection.organization_id), event).await?;
        self.answered(actor, opened, outcome).await
    }
}

/// Returns the repository side of a connection's type.
fn repositories(opened: &Opened) -> Result<&'static dyn Repositories> {
    opened.provider.repositories().ok_or_else(|| {
        let name = opened.provider.kind().id;
        Error::invalid("unsupported", format!("a `{name}` connection has no repositories"))
            .hint("choose a connection to a Git server or a forge")
    })
}

fn parse_repository(text: &str) -> Result<RepositoryPath> {
    text.parse().map_err(|_| {
        Error::invalid_field(
            "/repository",
            "is not the path of a repository; write it like `team/app`",
        )
    })
}

/// Refuses what Git itself would refuse as the name of a branch or tag (git-check-ref-format(1)),
/// and what a tool could take for an option.
fn check_ref_name(pointer: &str, name: &str) -> Result<()> {
    let has_bad_part = name.split('/').any(|part| {
        part.is_empty() || part.starts_with('.') || part.strip_suffix(".lock").is_some()
    });
    let has_bad_character = name.chars().any(|character| {
        character.is_control()
            || matches!(character, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\')
    });
    let is_bad = name.len() > LONGEST_NAME
        || name == "@"
        || name.starts_with('-')
        || name.ends_with('.')
        || name.contains("..")
        || name.contains("@{")
        || has_bad_part
        || has_bad_character;
    if is_bad { Err(Error::invalid_field(pointer, "is not a name that Git takes")) } else { Ok(()) }
}

/// Commits are named in full: 40 hexadecimal digits (SHA-1) or 64 (SHA-256).
fn check_commit(pointer: &str, commit: Option<&str>) -> Result<()> {
    let is_good = commit.is_none_or(|commit| {
        matches!(commit.len(), 40 | 64) && commit.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    if is_good {
        Ok(())
    } else {
        Err(Error::invalid_field(pointer, "is not a commit; give all of its 40 or 64 digits"))
    }
}

fn to_page<T>(page: ServicePage<T>) -> Page<T> {
    Page { items: page.items, next_cursor: page.next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_git_refuses_are_refused_before_anybody_is_asked() {
        for name in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            ".a",
            "a/.b",
            "a.lock",
            "a/b.lock/c",
            "a..b",
            "a.",
            "-a",
            "@",
            "a@{1}",
            "a b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[",
            "a\\b",
            "a\nb",
            "a\0b",
            &"a".repeat(251),
        ] {
            assert!(check_ref_name("/branch", name).is_err(), "{name:?}");
        }
        for name in ["main", "feature/login", "v1.2.3", "a@b", "größe", &"a".repeat(250)] {
            assert!(check_ref_name("/branch", name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn commits_are_named_in_full() {
        for commit in
            ["", "abc", &"g".repeat(40), &"a".repeat(41), &format!("{}\n", "a".repeat(39))]
        {
            assert!(check_commit("/expected_commit", Some(commit)).is_err(), "{commit:?}");
        }
        for commit in [None, Some(&*"a".repeat(40)), Some(&*"0".repeat(64))] {
            assert!(check_commit("/expected_commit", commit).is_ok());
        }
    }
}
