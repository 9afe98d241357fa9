//! Branches as pages: filtered, sorted by name, cut to what was asked for.
//!
//! The Git protocol sends all branches at once, so paging is done here, by name: a branch that
//! comes or goes between two pages moves none of the others.

use super::refs::References;
use crate::provider::{Branch, ServicePage};

const HEADS: &str = "refs/heads/";

/// Returns the page of branches after `cursor`, the last name of the page before.
pub(super) fn page(
    references: References,
    search: Option<&str>,
    cursor: Option<&str>,
    limit: u32,
) -> ServicePage<Branch> {
    let search = search.map(str::to_lowercase);
    let References { list, head } = references;
    let mut branches: Vec<Branch> = list
        .into_iter()
        .filter_map(|reference| {
            let name = reference.name.strip_prefix(HEADS)?;
            let is_wanted = search.as_ref().is_none_or(|part| name.to_lowercase().contains(part))
                && cursor.is_none_or(|last| name > last);
            is_wanted.then(|| Branch {
                name: name.to_owned(),
                commit: reference.id,
                is_default: head.as_ref().map(|head| *head == reference.name),
                is_protected: None,
            })
        })
        .collect();
    branches.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    branches.dedup_by(|left, right| left.name == right.name);
    let limit = limit.max(1) as usize;
    let has_more = branches.len() > limit;
    branches.truncate(limit);
    let next = branches.last().filter(|_| has_more).map(|branch| branch.name.clone());
    ServicePage { items: branches, next }
}

#[cfg(test)]
mod tests {
    use super::super::refs::Reference;
    use super::*;

    fn references(names: &[&str]) -> References {
        let list = names
            .iter()
            .map(|name| Reference { name: (*name).to_owned(), id: "a".repeat(40) })
            .collect();
        References { list, head: Some("refs/heads/main".into()) }
    }

    fn names(page: &ServicePage<Branch>) -> Vec<&str> {
        page.items.iter().map(|branch| branch.name.as_str()).collect()
    }

    #[test]
    fn pages_follow_each_other_by_name_to_the_end() {
        let all =
            ["refs/heads/main", "refs/heads/b", "refs/tags/v1", "refs/heads/a", "refs/heads/c"];
        let first = page(references(&all), None, None, 2);
        assert_eq!((names(&first), first.next.as_deref()), (vec!["a", "b"], Some("b")));
        let second = page(references(&all), None, first.next.as_deref(), 2);
        assert_eq!((names(&second), second.next.as_deref()), (vec!["c", "main"], None));
    }

    #[test]
    fn the_default_branch_is_marked_where_the_server_tells() {
        let branches = page(references(&["refs/heads/main", "refs/heads/a"]), None, None, 9).items;
        assert_eq!([branches[0].is_default, branches[1].is_default], [Some(false), Some(true)]);
        let mut unknown = references(&["refs/heads/a"]);
        unknown.head = None;
        assert_eq!(page(unknown, None, None, 9).items[0].is_default, None);
    }

    #[test]
    fn search_finds_parts_without_regard_to_case() {
        let found = page(
            references(&["refs/heads/Feature/Login", "refs/heads/main"]),
            Some("LOG"),
            None,
            9,
        );
        assert_eq!(names(&found), ["Feature/Login"]);
    }

    #[test]
    fn a_page_after_the_end_is_empty() {
        let found = page(references(&["refs/heads/a"]), None, Some("zzz"), 9);
        assert_eq!((found.items.len(), found.next), (0, None));
    }
}
