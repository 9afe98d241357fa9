//! The pure parts: handles, cursors, paths and names. What needs a server is tried against a real
//! one in `tests/providers`.

use keyferry_domain::operation::RepositoryPath;

use super::client::{RepositoryName, ref_segments};
use super::cursor::Cursor;
use super::handle::Handle;
use crate::provider::Settings;

#[test]
fn handles_are_read_back() {
    for handle in [
        Handle::Token { username: "alice".to_owned(), name: Handle::name("lease_1") },
        Handle::Token { username: "alice@example.com".to_owned(), name: "a:b".to_owned() },
        Handle::DeployKey {
            repository: "team/app".parse().unwrap(),
            title: Handle::name("lease_1"),
        },
    ] {
        assert_eq!(Handle::parse(&handle.render()), Ok(handle));
    }
}

#[test]
fn other_texts_are_no_handles() {
    for text in
        ["", "token", "token:alice", "token::x", "deploy-key:../x:t", "deploy-key:", "x:y:z"]
    {
        assert!(Handle::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_title_fits_into_what_gitea_takes() {
    let title = Handle::name("lease_01arz3ndektsv4rrffq69g5fav");
    assert!(title.len() <= 50, "{}", title.len());
}

#[test]
fn cursors_are_read_back_with_their_page_size() {
    let first = Cursor::read(None, 200).unwrap();
    assert_eq!((first.page, first.size, first.user), (1, 50, None));
    let later = Cursor { user: Some(7), ..first.next() };
    assert_eq!(Cursor::read(Some(&later.render()), 3), Ok(later));
    for text in ["", "1", "0.5", "1.0", "1.51", "1.50.x", "1.50.7.7", "1000000.50", "+1.50 "] {
        assert!(Cursor::read(Some(text), 50).is_err(), "{text}");
    }
}

fn name(base_url: &str, path: &str) -> Option<String> {
    let settings: Settings = [("base_url".to_owned(), base_url.to_owned())].into();
    let path: RepositoryPath = path.parse().unwrap();
    RepositoryName::of(&settings, &path).ok().map(|name| name.to_string())
}

#[test]
fn repositories_have_an_owner_and_a_name() {
    assert_eq!(name("https://h", "team/app").as_deref(), Some("team/app"));
    assert_eq!(name("https://h", "app"), None);
    assert_eq!(name("https://h", "a/b/c"), None);
}

#[test]
fn the_servers_sub_path_is_dropped_only_where_it_is_one() {
    assert_eq!(name("https://h/git", "git/team/app").as_deref(), Some("team/app"));
    assert_eq!(name("https://h/git", "team/app").as_deref(), Some("team/app"));
    // An owner may be named as the sub-path.
    assert_eq!(name("https://h/git", "git/app").as_deref(), Some("git/app"));
    assert_eq!(name("https://h/a/b", "a/b/team/app").as_deref(), Some("team/app"));
    assert_eq!(name("https://h/git", "gitteam/app").as_deref(), Some("gitteam/app"));
}

#[test]
fn names_that_git_does_not_take_are_refused() {
    assert_eq!(ref_segments("branch", "feature/a%2Fb"), Ok(vec!["feature", "a%2Fb"]));
    let long = "x".repeat(256);
    for text in [
        "",
        ".",
        "..",
        "a/..",
        "../a",
        "a/./b",
        ".a",
        "a.lock",
        "a/b.lock/c",
        "a.",
        "a//b",
        "/a",
        "a/",
        "a b",
        "a~",
        "a^",
        "a:b",
        "a?",
        "a*",
        "a[",
        "a\\b",
        "a@{b",
        "a\tb",
        "a\0b",
        &long,
    ] {
        assert!(ref_segments("branch", text).is_err(), "{text:?}");
    }
}
