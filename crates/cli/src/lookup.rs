//! From what people write to what the API takes: names and e-mail addresses to ids, and lists that
//! are longer than a page.

use std::future::Future;

use keyferry_api::client::ClientError;
use keyferry_api::credentials::CredentialView;
use keyferry_api::groups::GroupView;
use keyferry_api::members::MemberView;
use keyferry_api::pipelines::{PipelineQuery, PipelineSummary};
use keyferry_api::{List, PageQuery};
use keyferry_domain::id::{CredentialId, GroupId, PipelineId, UserId};
use serde::Serialize;

use crate::context::Organization;
use crate::error::CliError;
use crate::printer::Printer;

/// Entries on a page at most, as the API has it.
const PAGE: u32 = 200;

type Result<T> = std::result::Result<T, CliError>;

/// How many entries of a list are wanted.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Limit {
    /// Entries at most; all of them when absent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

/// Reads pages until the end, or until there are enough, and prints each as soon as it is there.
/// When there is more, the person is told.
pub(crate) async fn show<T, F, A>(
    printer: Printer,
    limit: Limit,
    fetch: F,
    header: &[&str],
    when_empty: &str,
    row: impl Fn(&T) -> Vec<String>,
) -> Result<()>
where
    T: Serialize,
    F: FnMut(Option<u32>, Option<String>) -> A,
    A: Future<Output = std::result::Result<List<T>, ClientError>>,
{
    let mut listing = printer.listing(header);
    let is_cut = read_pages(limit.limit, fetch, |items| listing.add(&items, &row)).await?;
    let count = listing.finish(when_empty)?;
    if is_cut {
        printer.talk(&format!(
            "these are the first {count}; a higher `--limit`, or none, shows more"
        ))?;
    }
    Ok(())
}

/// Reads every page.
pub(crate) async fn all<T, F, A>(fetch: F) -> Result<Vec<T>>
where
    F: FnMut(Option<u32>, Option<String>) -> A,
    A: Future<Output = std::result::Result<List<T>, ClientError>>,
{
    let mut items = Vec::new();
    read_pages(None, fetch, |more| {
        items.extend(more);
        Ok(())
    })
    .await?;
    Ok(items)
}

/// Hands on each page's entries; tells whether there are more than were wanted.
async fn read_pages<T, F, A>(
    limit: Option<u32>,
    mut fetch: F,
    mut take: impl FnMut(Vec<T>) -> Result<()>,
) -> Result<bool>
where
    F: FnMut(Option<u32>, Option<String>) -> A,
    A: Future<Output = std::result::Result<List<T>, ClientError>>,
{
    let wanted = limit.map_or(usize::MAX, |limit| limit as usize);
    let mut rest = wanted;
    let mut cursor = None;
    loop {
        let size = u32::try_from(rest).unwrap_or(PAGE).min(PAGE);
        let mut page = fetch(Some(size), cursor.clone()).await?;
        let is_too_much = page.items.len() > rest;
        page.items.truncate(rest);
        rest -= page.items.len();
        take(page.items)?;
        let has_moved = page.next_cursor.is_some() && page.next_cursor != cursor;
        cursor = page.next_cursor;
        if rest == 0 || !has_moved {
            return Ok(is_too_much || has_moved);
        }
    }
}

/// Returns every member.
pub(crate) async fn members(organization: &Organization) -> Result<Vec<MemberView>> {
    all(|limit, cursor| {
        let query = PageQuery { limit, cursor };
        async move { organization.client.list_members(&organization.id, &query).await }
    })
    .await
}

/// Returns every group.
pub(crate) async fn groups(organization: &Organization) -> Result<Vec<GroupView>> {
    all(|limit, cursor| {
        let query = PageQuery { limit, cursor };
        async move { organization.client.list_groups(&organization.id, &query).await }
    })
    .await
}

/// Returns every credential that the caller may see.
pub(crate) async fn credentials(organization: &Organization) -> Result<Vec<CredentialView>> {
    all(|limit, cursor| {
        let query = PageQuery { limit, cursor };
        async move { organization.client.list_credentials(&organization.id, &query).await }
    })
    .await
}

/// Returns the member with this id or e-mail address.
pub(crate) async fn member(organization: &Organization, written: &str) -> Result<MemberView> {
    let is_asked = |member: &MemberView| {
        member.user_id.as_str() == written || member.email.eq_ignore_ascii_case(written)
    };
    members(organization).await?.into_iter().find(is_asked).ok_or_else(|| {
        CliError::not_found(format!("member `{written}`"))
            .hint("`keyferry member list` shows ids and e-mail addresses")
    })
}

/// Returns the ids of users, given by id or e-mail address.
pub(crate) async fn users(organization: &Organization, written: &[String]) -> Result<Vec<UserId>> {
    if let Some(ids) = all_ids(written) {
        return Ok(ids);
    }
    let members = members(organization).await?;
    written
        .iter()
        .map(|text| {
            members
                .iter()
                .find(|one| one.user_id.as_str() == text || one.email.eq_ignore_ascii_case(text))
                .map(|one| one.user_id.clone())
                .ok_or_else(|| {
                    CliError::not_found(format!("member `{text}`"))
                        .hint("`keyferry member list` shows ids and e-mail addresses")
                })
        })
        .collect()
}

/// Returns the group with this id or name.
pub(crate) async fn group(organization: &Organization, written: &str) -> Result<GroupView> {
    groups(organization)
        .await?
        .into_iter()
        .find(|one| one.id.as_str() == written || one.name == written)
        .ok_or_else(|| {
            CliError::not_found(format!("group `{written}`"))
                .hint("`keyferry group list` shows ids and names")
        })
}

/// Returns the ids of groups, given by id or name.
pub(crate) async fn group_ids(
    organization: &Organization,
    written: &[String],
) -> Result<Vec<GroupId>> {
    if let Some(ids) = all_ids(written) {
        return Ok(ids);
    }
    let mut ids = Vec::new();
    for text in written {
        ids.push(group(organization, text).await?.id);
    }
    Ok(ids)
}

/// Returns the credential with this id or name.
pub(crate) async fn credential(
    organization: &Organization,
    written: &str,
) -> Result<CredentialView> {
    if let Ok(id) = written.parse::<CredentialId>() {
        return Ok(organization.client.get_credential(&organization.id, &id).await?);
    }
    only("credential", written, credentials(organization).await?, |one| one.name == written)
}

/// Returns the id of the pipeline with this id or name.
pub(crate) async fn pipeline(organization: &Organization, written: &str) -> Result<PipelineId> {
    if let Ok(id) = written.parse() {
        return Ok(id);
    }
    let found = all(|limit, cursor| {
        let query = PipelineQuery { limit, cursor, search: Some(written.to_owned()) };
        async move { organization.client.list_pipelines(&organization.id, &query).await }
    })
    .await?;
    only("pipeline", written, found, |one: &PipelineSummary| one.name == written).map(|one| one.id)
}

fn all_ids<T: std::str::FromStr>(written: &[String]) -> Option<Vec<T>> {
    written.iter().map(|text| text.parse().ok()).collect()
}

fn only<T>(noun: &str, written: &str, found: Vec<T>, is_asked: impl Fn(&T) -> bool) -> Result<T> {
    let mut fitting = found.into_iter().filter(is_asked);
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => {
            Err(CliError::invalid(format!("several {noun}s are named `{written}`"))
                .hint(format!("name it by its id; see `keyferry {noun} list`")))
        }
        _ => Err(CliError::not_found(format!("{noun} `{written}`"))
            .hint(format!("`keyferry {noun} list` shows ids and names"))),
    }
}

/// Parses an argument into a domain type, with a message that reads well behind clap's own.
pub(crate) fn parse<T>(text: &str) -> std::result::Result<T, String>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| format!("failed to {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(from: u32, limit: Option<u32>, of: u32) -> List<u32> {
        let end = (from + limit.unwrap()).min(of);
        let next_cursor = (end < of).then(|| end.to_string());
        List { items: (from..end).collect(), next_cursor }
    }

    async fn read(limit: Option<u32>, of: u32) -> (u32, bool) {
        let mut count = 0;
        let fetch = |limit, cursor: Option<String>| async move {
            Ok(page(cursor.map_or(0, |cursor| cursor.parse().unwrap()), limit, of))
        };
        let is_cut = read_pages(limit, fetch, |items| {
            for item in items {
                assert_eq!(item, count, "in order, each once");
                count += 1;
            }
            Ok(())
        })
        .await
        .unwrap();
        (count, is_cut)
    }

    #[tokio::test]
    async fn lists_are_read_to_the_end_or_to_the_limit() {
        assert_eq!(read(None, 1_001).await, (1_001, false));
        assert_eq!(read(None, 0).await, (0, false));
        assert_eq!(read(Some(450), 1_001).await, (450, true));
        assert_eq!(read(Some(200), 200).await, (200, false));
        assert_eq!(read(Some(1), 200).await, (1, true));
    }

    #[tokio::test]
    async fn what_came_before_a_failure_was_handed_on() {
        let mut taken = 0;
        let fetch = |limit, cursor: Option<String>| async move {
            let from = cursor.map_or(0, |cursor| cursor.parse().unwrap());
            if from == 400 {
                return Err(ClientError::BadAddress { url: String::new() });
            }
            Ok(page(from, limit, 1_000))
        };
        let outcome = read_pages(None, fetch, |items| {
            taken += items.len();
            Ok(())
        });
        assert!(outcome.await.is_err());
        assert_eq!(taken, 400);
    }

    #[tokio::test]
    async fn a_cursor_that_does_not_move_ends_the_list() {
        let listed =
            all(|_, _| async { Ok(List { items: vec![1], next_cursor: Some("same".to_owned()) }) })
                .await
                .unwrap();
        assert_eq!(listed.len(), 2);
    }
}
