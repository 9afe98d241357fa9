//! A real Gitea: repositories and branches are listed to the end, merged, and deleted.

use std::collections::BTreeSet;

use keyferry_providers::ProviderError;
use keyferry_providers::provider::{
    Branch, MergeRequest, MergeStrategy, Merged, Repository, ServicePage,
};
use keyferry_testkit::peers::gitea::{self, Gitea, Repository as Made, User};
use serde_json::{Value, json};

use crate::world::{Connection, context, password, token};

struct Forge {
    gitea: Gitea,
    alice: User,
    app: Made,
    connection: Connection,
}

/// Starts a forge with `alice/app`, and a connection of hers; `None` when there is none here.
fn forge() -> Option<Forge> {
    if !gitea::require() {
        return None;
    }
    let gitea = Gitea::start().unwrap();
    let alice = gitea.create_user("alice", "first password 1").unwrap();
    let app = gitea.create_repository(&alice, "app").unwrap();
    let credential = password(&alice.name, &alice.password);
    let connection = Connection::new("gitea", &[("base_url", &gitea.url())], credential);
    Some(Forge { gitea, alice, app, connection })
}

impl Forge {
    /// Makes a branch with a commit of its own.
    fn branch(&self, name: &str, file: &str, text: &str) -> String {
        self.gitea.create_branch(&self.app, name, "main").unwrap();
        self.gitea.create_file(&self.app, name, file, text).unwrap()
    }

    fn tip(&self, branch: &str) -> String {
        self.gitea.tip(&self.app, branch).unwrap().unwrap()
    }

    fn open_pulls(&self) -> usize {
        let found = self.gitea.call("GET", "/repos/alice/app/pulls?state=open", None).unwrap();
        found.as_array().map_or(0, Vec::len)
    }

    fn protect(&self, rule: &Value) {
        self.gitea.call("POST", "/repos/alice/app/branch_protections", Some(rule)).unwrap();
    }

    async fn merge(&self, request: &MergeRequest) -> Result<Merged, ProviderError> {
        let path = "alice/app".parse().unwrap();
        let repositories = self.connection.provider.repositories().unwrap();
        repositories.merge(&context(), self.connection.target(), &path, request).await
    }

    async fn delete_branch(&self, name: &str, expected: Option<&str>) -> Result<(), ProviderError> {
        let path = "alice/app".parse().unwrap();
        let repositories = self.connection.provider.repositories().unwrap();
        let target = self.connection.target();
        repositories.delete_branch(&context(), target, &path, name, expected).await
    }

    async fn delete_tag(&self, name: &str) -> Result<(), ProviderError> {
        let path = "alice/app".parse().unwrap();
        let repositories = self.connection.provider.repositories().unwrap();
        repositories.delete_tag(&context(), self.connection.target(), &path, name).await
    }
}

async fn repositories(
    connection: &Connection,
    search: Option<&str>,
    page: Option<&str>,
    limit: u32,
) -> Result<ServicePage<Repository>, ProviderError> {
    let repositories = connection.provider.repositories().unwrap();
    repositories.list_repositories(&context(), connection.target(), search, page, limit).await
}

async fn branches(
    connection: &Connection,
    repository: &str,
    search: Option<&str>,
    page: Option<&str>,
    limit: u32,
) -> Result<ServicePage<Branch>, ProviderError> {
    let path = repository.parse().unwrap();
    let repositories = connection.provider.repositories().unwrap();
    repositories.list_branches(&context(), connection.target(), &path, search, page, limit).await
}

/// Follows the pages to the end.
async fn all_branches(connection: &Connection, search: Option<&str>, limit: u32) -> Vec<Branch> {
    let mut items = Vec::new();
    let mut page = None;
    loop {
        let found =
            branches(connection, "alice/app", search, page.as_deref(), limit).await.unwrap();
        assert!(found.items.len() <= limit as usize);
        items.extend(found.items);
        page = found.next;
        if page.is_none() {
            return items;
        }
    }
}

fn request(from: &str, strategy: MergeStrategy) -> MergeRequest {
    MergeRequest {
        from: from.to_owned(),
        into: "main".to_owned(),
        strategy,
        message: None,
        expected_commit: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_arrive_to_the_end_each_once_and_only_ones_own() {
    let Some(forge) = forge() else { return };
    let bob = forge.gitea.create_user("bob", "first password 1").unwrap();
    let shared = forge.gitea.create_repository(&bob, "shared").unwrap();
    forge.gitea.add_collaborator(&shared, &forge.alice, "read").unwrap();
    forge.gitea.create_repository(&bob, "hidden").unwrap();
    let public = json!({"name": "public", "private": false});
    forge.gitea.call("POST", "/admin/users/bob/repos", Some(&public)).unwrap();
    for index in 0..60 {
        let body = json!({"name": format!("r{index:02}"), "private": true});
        forge.gitea.call("POST", "/admin/users/alice/repos", Some(&body)).unwrap();
    }
    for limit in [7, 50, 200] {
        let mut seen = Vec::new();
        let mut page = None;
        loop {
            let found =
                repositories(&forge.connection, None, page.as_deref(), limit).await.unwrap();
            assert!(found.items.len() <= limit as usize);
            seen.extend(found.items.into_iter().map(|found| found.path.to_string()));
            page = found.next;
            if page.is_none() {
                break;
            }
        }
        let distinct: BTreeSet<_> = seen.iter().cloned().collect();
        assert_eq!((seen.len(), distinct.len()), (62, 62), "limit {limit}");
        assert!(distinct.contains("bob/shared") && distinct.contains("alice/app"));
    }

    let found = repositories(&forge.connection, Some("r1"), None, 50).await.unwrap();
    assert_eq!(found.items.len(), 10);
    let found = repositories(&forge.connection, Some("App"), None, 50).await.unwrap();
    let [app] = found.items.as_slice() else { panic!("{found:?}") };
    assert_eq!(app.path.as_str(), "alice/app");
    assert_eq!(app.default_branch.as_deref(), Some("main"));
    assert!(app.is_private && !app.is_archived);
    assert_eq!(app.clone_url.as_deref(), Some(forge.app.http_url.as_str()));
    let none = repositories(&forge.connection, Some("no such thing"), None, 50).await.unwrap();
    assert_eq!(none, ServicePage { items: Vec::new(), next: None });

    // A token that may not tell whose it is lists what it sees.
    let narrow = forge.gitea.create_token(&forge.alice, "narrow", &["read:repository"]).unwrap();
    let narrow = forge.connection.with(token(&narrow));
    let found = repositories(&narrow, Some("public"), None, 50).await.unwrap();
    assert_eq!(found.items.len(), 1);
    let blind = forge.gitea.create_token(&forge.alice, "blind", &["read:user"]).unwrap();
    let error =
        repositories(&forge.connection.with(token(&blind)), None, None, 5).await.unwrap_err();
    assert!(matches!(error, ProviderError::Rejected { .. }), "{error}");
    for cursor in ["", "0.50", "1.0", "1.51", "x", "1.50.x", "1.50.1.1", "-1.50"] {
        let error = repositories(&narrow, None, Some(cursor), 50).await.unwrap_err();
        assert!(matches!(error, ProviderError::Misconfigured { .. }), "{cursor}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_are_listed_with_their_marks_and_searched() {
    let Some(forge) = forge() else { return };
    for name in ["feature/login", "feature/logout", "fix%2Fodd", "release/1"] {
        forge.gitea.create_branch(&forge.app, name, "main").unwrap();
    }
    forge.protect(&json!({"rule_name": "release/*", "enable_push": false}));
    for limit in [1, 2, 50] {
        let found = all_branches(&forge.connection, None, limit).await;
        let mut names: Vec<_> = found.iter().map(|branch| branch.name.as_str()).collect();
        names.sort_unstable();
        let expected = ["feature/login", "feature/logout", "fix%2Fodd", "main", "release/1"];
        assert_eq!(names, expected, "limit {limit}");
        for branch in found {
            assert_eq!(branch.is_default, Some(branch.name == "main"));
            assert_eq!(branch.is_protected, Some(branch.name == "release/1"));
            assert_eq!(branch.commit.len(), 40);
        }
    }
    for limit in [1, 2, 50] {
        let found = all_branches(&forge.connection, Some("LOG"), limit).await;
        assert_eq!(found.len(), 2, "limit {limit}");
    }
    assert!(all_branches(&forge.connection, Some("nothing"), 50).await.is_empty());

    let body = json!({"name": "empty", "private": true});
    forge.gitea.call("POST", "/admin/users/alice/repos", Some(&body)).unwrap();
    let found = branches(&forge.connection, "alice/empty", None, None, 50).await.unwrap();
    assert_eq!(found, ServicePage { items: Vec::new(), next: None });
    let error = branches(&forge.connection, "alice/none", None, None, 50).await.unwrap_err();
    assert!(matches!(error, ProviderError::NotFound { .. }), "{error}");
    for path in ["alice", "a/b/c"] {
        let error = branches(&forge.connection, path, None, None, 50).await.unwrap_err();
        assert!(matches!(error, ProviderError::Misconfigured { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_are_merged_in_each_way() {
    let Some(forge) = forge() else { return };
    // Fast-forward keeps the commit.
    let commit = forge.branch("feature/one", "one.txt", "1");
    let merged = forge.merge(&request("feature/one", MergeStrategy::FastForward)).await.unwrap();
    assert_eq!(merged, Merged::Done { commit: commit.clone() });
    assert_eq!(forge.tip("main"), commit);
    let again = forge.merge(&request("feature/one", MergeStrategy::Merge)).await.unwrap();
    assert_eq!(again, Merged::AlreadyUpToDate);

    let tip = forge.branch("feature/two", "two.txt", "2");
    let merged = forge
        .merge(&MergeRequest {
            message: Some("Merge two\n\nWith a reason.".to_owned()),
            expected_commit: Some(tip),
            ..request("feature/two", MergeStrategy::Merge)
        })
        .await
        .unwrap();
    assert_eq!(merged, Merged::Done { commit: forge.tip("main") });
    let path = format!("/repos/alice/app/git/commits/{}", forge.tip("main"));
    let commit = forge.gitea.call("GET", &path, None).unwrap();
    assert_eq!(commit["parents"].as_array().unwrap().len(), 2);
    assert!(
        commit["commit"]["message"].as_str().unwrap().starts_with("Merge two\n\nWith a reason."),
        "{commit}"
    );

    forge.branch("feature/three", "three.txt", "3");
    let merged = forge.merge(&request("feature/three", MergeStrategy::Squash)).await.unwrap();
    assert_eq!(merged, Merged::Done { commit: forge.tip("main") });
    assert_eq!(forge.open_pulls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_that_cannot_be_leaves_everything_as_it_was() {
    let Some(forge) = forge() else { return };
    forge.branch("feature/a", "same.txt", "a");
    forge.branch("feature/b", "same.txt", "b");
    forge.merge(&request("feature/a", MergeStrategy::Merge)).await.unwrap();
    let before = forge.tip("main");

    let error = forge.merge(&request("feature/b", MergeStrategy::Merge)).await.unwrap_err();
    assert!(matches!(error, ProviderError::MergeConflict { .. }), "{error}");
    let error = forge.merge(&request("feature/b", MergeStrategy::FastForward)).await.unwrap_err();
    assert!(matches!(error, ProviderError::Refused { .. }), "{error}");
    let moved = MergeRequest {
        expected_commit: Some(before.clone()),
        ..request("feature/b", MergeStrategy::Merge)
    };
    let error = forge.merge(&moved).await.unwrap_err();
    let actual = forge.tip("feature/b");
    assert_eq!(error, ProviderError::Moved { name: "feature/b".to_owned(), actual });
    let error = forge.merge(&request("nothing", MergeStrategy::Merge)).await.unwrap_err();
    assert!(matches!(error, ProviderError::NotFound { .. }), "{error}");
    let error = forge.merge(&request("main", MergeStrategy::Merge)).await.unwrap_err();
    assert!(matches!(error, ProviderError::Misconfigured { .. }), "{error}");
    let error = forge.merge(&request("../../../user", MergeStrategy::Merge)).await.unwrap_err();
    assert!(matches!(error, ProviderError::Misconfigured { .. }), "{error}");
    assert_eq!(forge.tip("main"), before);
    assert_eq!(forge.open_pulls(), 0, "what was opened was closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_request_of_people_is_used_and_not_closed() {
    let Some(forge) = forge() else { return };
    forge.branch("feature/a", "same.txt", "a");
    forge.branch("feature/b", "same.txt", "b");
    for (head, number) in [("feature/a", 1), ("feature/b", 2)] {
        let body = json!({"head": head, "base": "main", "title": "Mine"});
        let made = forge.gitea.call("POST", "/repos/alice/app/pulls", Some(&body)).unwrap();
        assert_eq!(made["number"], number);
    }
    forge.merge(&request("feature/a", MergeStrategy::Merge)).await.unwrap();
    let pull = forge.gitea.call("GET", "/repos/alice/app/pulls/1", None).unwrap();
    assert_eq!(pull["merged"], true);
    let error = forge.merge(&request("feature/b", MergeStrategy::Merge)).await.unwrap_err();
    assert!(matches!(error, ProviderError::MergeConflict { .. }), "{error}");
    assert_eq!(forge.open_pulls(), 1, "not ours to close");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_of_the_forge_about_merging_are_told() {
    let Some(forge) = forge() else { return };
    forge.branch("feature/a", "a.txt", "a");
    forge.protect(&json!({"rule_name": "main", "required_approvals": 1}));
    let error = forge.merge(&request("feature/a", MergeStrategy::Merge)).await.unwrap_err();
    assert!(
        matches!(&error, ProviderError::Refused { reason } if reason.contains("approvals")),
        "{error}"
    );
    assert_eq!(forge.open_pulls(), 0);

    let off = json!({"has_pull_requests": false});
    forge.gitea.call("PATCH", "/repos/alice/app", Some(&off)).unwrap();
    let error = forge.merge(&request("feature/a", MergeStrategy::Merge)).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unsupported { .. }), "{error}");

    let read = forge.gitea.create_token(&forge.alice, "r", &["read:repository"]).unwrap();
    let reader = forge.connection.with(token(&read));
    let repositories = reader.provider.repositories().unwrap();
    let path = "alice/app".parse().unwrap();
    let asked = request("feature/a", MergeStrategy::Merge);
    let error = repositories.merge(&context(), reader.target(), &path, &asked).await.unwrap_err();
    assert!(matches!(error, ProviderError::Rejected { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_are_deleted_unless_they_moved_or_are_kept() {
    let Some(forge) = forge() else { return };
    let tip = forge.branch("feature/gone", "a.txt", "a");
    let main = forge.tip("main");
    let error = forge.delete_branch("feature/gone", Some(&main)).await.unwrap_err();
    assert_eq!(
        error,
        ProviderError::Moved { name: "feature/gone".to_owned(), actual: tip.clone() }
    );
    forge.delete_branch("feature/gone", Some(&tip)).await.unwrap();
    for expected in [None, Some(tip.as_str())] {
        let error = forge.delete_branch("feature/gone", expected).await.unwrap_err();
        assert!(
            matches!(&error, ProviderError::NotFound { what } if what.contains("branch `feature/gone`")),
            "{error}"
        );
    }
    forge.gitea.create_branch(&forge.app, "fix%2Fodd", "main").unwrap();
    forge.gitea.create_branch(&forge.app, "fix/odd", "main").unwrap();
    forge.delete_branch("fix%2Fodd", None).await.unwrap();
    assert_eq!(forge.gitea.branches(&forge.app).unwrap(), ["fix/odd", "main"]);

    forge.protect(&json!({"rule_name": "fix/*", "enable_push": false}));
    for name in ["main", "fix/odd"] {
        for expected in [None, Some(main.as_str())] {
            let error = forge.delete_branch(name, expected).await.unwrap_err();
            assert!(matches!(error, ProviderError::Refused { .. }), "{name}: {error}");
        }
    }
    for name in ["", "a/../../x", "..", ".", "a//b", "/a", "a/", "a b", "a?b", "a\nb", "-x/.."] {
        let error = forge.delete_branch(name, None).await.unwrap_err();
        assert!(matches!(error, ProviderError::Misconfigured { .. }), "{name:?}: {error}");
    }
    assert_eq!(forge.gitea.branches(&forge.app).unwrap(), ["fix/odd", "main"]);

    let read = forge.gitea.create_token(&forge.alice, "r", &["read:repository"]).unwrap();
    let reader = forge.connection.with(token(&read));
    let path = "alice/app".parse().unwrap();
    let repositories = reader.provider.repositories().unwrap();
    for expected in [None, Some(main.as_str())] {
        let error = repositories
            .delete_branch(&context(), reader.target(), &path, "fix/odd", expected)
            .await
            .unwrap_err();
        assert!(matches!(error, ProviderError::Rejected { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_deleted_unless_a_release_stands_on_them() {
    let Some(forge) = forge() else { return };
    for name in ["v1/rc", "v2"] {
        let body = json!({"tag_name": name, "target": "main"});
        forge.gitea.call("POST", "/repos/alice/app/tags", Some(&body)).unwrap();
    }
    let body = json!({"tag_name": "v2", "name": "Two"});
    forge.gitea.call("POST", "/repos/alice/app/releases", Some(&body)).unwrap();
    forge.delete_tag("v1/rc").await.unwrap();
    let error = forge.delete_tag("v1/rc").await.unwrap_err();
    assert!(matches!(&error, ProviderError::NotFound { what } if what.contains("tag")), "{error}");
    let error = forge.delete_tag("v2").await.unwrap_err();
    assert!(
        matches!(&error, ProviderError::Refused { reason } if reason.contains("release")),
        "{error}"
    );
}
