//! A real Gitea: credentials are tried, tokens and deploy keys are minted, narrow, and dead after.

use keyferry_domain::lease::Narrowing;
use keyferry_domain::material::Material;
use keyferry_domain::operation::{Access, Operation};
use keyferry_providers::ProviderError;
use keyferry_testkit::peers::gitea::{self, Gitea, Options, User};
use keyferry_testkit::{Authority, Git, Scratch};

use crate::world::{Connection, context, git, pair, password, registry, token};

fn connection(gitea: &Gitea, user: &User) -> Connection {
    let settings = [("base_url", gitea.url())];
    let settings: Vec<(&str, &str)> =
        settings.iter().map(|(name, text)| (*name, text.as_str())).collect();
    Connection::new("gitea", &settings, password(&user.name, &user.password))
}

fn with_ssh(mut connection: Connection, gitea: &Gitea) -> Connection {
    let lines = gitea.known_hosts_line().unwrap();
    connection.settings.insert("ssh_known_hosts".to_owned(), lines);
    connection
}

/// What the API answers to the holder of a token.
fn status(gitea: &Gitea, pair: &(String, String), method: &str, path: &str) -> u16 {
    let body = serde_json::json!({"new_branch_name": format!("b{}", path.len())});
    let body = (method == "POST").then_some(&body);
    gitea.ask((&pair.0, &pair.1), method, path, body).unwrap().status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minted_token_reaches_only_its_scopes_and_dies_when_it_is_revoked() {
    if !gitea::require() {
        return;
    }
    let gitea = Gitea::start().unwrap();
    let alice = gitea.create_user("alice", "first password 1").unwrap();
    let app = gitea.create_repository(&alice, "app").unwrap();
    gitea.create_token(&alice, "of-alice-herself", &["read:user"]).unwrap();
    let connection = connection(&gitea, &alice);

    let read = git(Some("alice/app"), Access::Read);
    let plan = connection.plan(&read, "lease_1");
    let scopes = vec!["read:repository".to_owned()];
    assert_eq!(plan.narrowing, Narrowing::ScopedToken { scopes });
    assert_eq!(plan.handle.as_deref(), Some("token:alice:keyferry-lease_1"));
    assert_eq!(gitea.token_names(&alice).unwrap(), ["of-alice-herself"], "a plan does nothing");

    let issued = connection.issue(&read, &plan).await.unwrap();
    assert!(issued.residue.is_none() && issued.expires_at.is_none());
    let minted = pair(&issued);
    assert_eq!(minted.0, "alice");
    assert_ne!(minted.1, alice.password);
    assert_eq!(status(&gitea, &minted, "GET", "/repos/alice/app"), 200);
    assert_eq!(status(&gitea, &minted, "POST", "/repos/alice/app/branches"), 403);
    assert_eq!(status(&gitea, &minted, "GET", "/user"), 403);
    assert_eq!(status(&gitea, &minted, "GET", "/user/keys"), 403);

    let write = git(Some("alice/app"), Access::Write);
    let second = connection.plan(&write, "lease_2");
    let writer = pair(&connection.issue(&write, &second).await.unwrap());
    assert_eq!(status(&gitea, &writer, "POST", "/repos/alice/app/branches"), 201);
    assert_eq!(status(&gitea, &writer, "GET", "/user"), 403);

    assert_eq!(connection.revoke(&plan).await, Ok(None));
    assert_eq!(status(&gitea, &minted, "GET", "/repos/alice/app"), 401);
    assert_eq!(status(&gitea, &writer, "GET", "/repos/alice/app"), 200, "only its own");
    assert_eq!(connection.revoke(&plan).await, Ok(None), "twice is as good as once");
    connection.revoke(&second).await.unwrap();
    assert_eq!(gitea.token_names(&alice).unwrap(), ["of-alice-herself"]);
    assert!(gitea.deploy_key_titles(&app).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_minted_can_be_revoked() {
    if !gitea::require() {
        return;
    }
    let gitea = Gitea::start().unwrap();
    let alice = gitea.create_user("alice", "first password 1").unwrap();
    gitea.create_repository(&alice, "app").unwrap();
    let connection = connection(&gitea, &alice);
    let plan = connection.plan(&git(None, Access::Read), "lease_never");
    assert_eq!(connection.revoke(&plan).await, Ok(None));

    let full = gitea.create_token(&alice, "full", &["all"]).unwrap();
    let stored = with_ssh(connection.with(token(&full)), &gitea);
    let plan = stored.plan(&git(Some("alice/app"), Access::Read), "lease_never");
    assert_eq!(stored.revoke(&plan).await, Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_images_leaves_the_registrys_own_login_as_residue() {
    if !gitea::require() {
        return;
    }
    let gitea = Gitea::start().unwrap();
    let alice = gitea.create_user("alice", "first password 1").unwrap();
    let connection = connection(&gitea, &alice);
    for (operation, expected) in [
        (registry(Access::Read), &["read:package"][..]),
        (registry(Access::Write), &["write:package"][..]),
        (Operation::Material, &["write:repository", "write:package"][..]),
    ] {
        let plan = connection.plan(&operation, &format!("lease_{}", expected.join("")));
        let Narrowing::ScopedToken { scopes } = &plan.narrowing else { panic!("{plan:?}") };
        assert_eq!(scopes, expected);
        let issued = connection.issue(&operation, &plan).await.unwrap();
        assert!(issued.residue.unwrap().until.is_some());
        let residue = connection.revoke(&plan).await.unwrap().unwrap();
        assert!(residue.what.contains("24 hours"), "{residue:?}");
        assert!(residue.until.is_some());
    }
    assert!(gitea.token_names(&alice).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_tried_with_what_minting_needs() {
    if !gitea::require() {
        return;
    }
    let gitea = Gitea::start().unwrap();
    let alice = gitea.create_user("alice", "first password 1").unwrap();
    let connection = connection(&gitea, &alice);
    assert!(connection.verify().await.unwrap().contains("`alice`"));
    let by_address = connection.with(password("alice@example.invalid", &alice.password));
    assert!(by_address.verify().await.unwrap().contains("`alice`"));
    let plan = by_address.plan(&git(None, Access::Read), "lease_address");
    assert_eq!(pair(&by_address.issue(&git(None, Access::Read), &plan).await.unwrap()).0, "alice");
    by_address.revoke(&plan).await.unwrap();
    assert!(gitea.token_names(&alice).unwrap().is_empty());

    let wrong = connection.with(password("alice", "canary-wrong-password"));
    let error = wrong.verify().await.unwrap_err();
    assert!(matches!(error, ProviderError::Rejected { .. }), "{error}");
    assert!(!error.to_string().contains("canary"));
    let plan = wrong.plan(&git(None, Access::Read), "lease_wrong");
    let error = wrong.issue(&git(None, Access::Read), &plan).await.unwrap_err();
    assert!(matches!(error, ProviderError::Rejected { .. }), "{error}");
    let error = wrong.revoke(&plan).await.unwrap_err();
    assert!(matches!(error, ProviderError::Rejected { .. }), "not a success: {error}");

    // A token in the password's place must be able to mint, or it is told so at once.
    let narrow = gitea.create_token(&alice, "n", &["read:user", "write:repository"]).unwrap();
    let narrow = connection.with(password("alice", &narrow));
    let error = narrow.verify().await.unwrap_err();
    assert!(error.to_string().contains("write:user"), "{error}");
    let plan = narrow.plan(&git(None, Access::Read), "lease_narrow");
    let error = narrow.issue(&git(None, Access::Read), &plan).await.unwrap_err();
    assert!(matches!(&error, ProviderError::Rejected { reason } if reason.contains("write:user")));

    let wide = gitea.create_token(&alice, "w", &["write:user"]).unwrap();
    connection.with(password("alice", &wide)).verify().await.unwrap();
    let other = connection.with(password("bob", &wide)).verify().await.unwrap_err();
    assert!(matches!(&other, ProviderError::Misconfigured { field, .. } if field == "username"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_tried_whatever_their_scopes() {
    if !gitea::require() {
        return;
    }
    let gitea = Gitea::start().unwrap();
    let alice = gitea.create_user("alice", "first password 1").unwrap();
    let connection = connection(&gitea, &alice);
    for (name, scope, expected) in [
        ("a", "read:user", "`alice`"),
        ("b", "read:repository", "may not tell"),
        ("c", "write:package", "may not tell"),
    ] {
        let made = gitea.create_token(&alice, name, &[scope]).unwrap();
        let said = connection.with(token(&made)).verify().await.unwrap();
        assert!(said.contains(expected), "{scope}: {said}");
    }
    for wrong in ["0123456789012345678901234567890123456789", "canary"] {
        let error = connection.with(token(wrong)).verify().await.unwrap_err();
        assert!(matches!(error, ProviderError::Rejected { .. }), "{error}");
        assert!(!error.to_string().contains(wrong));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_token_becomes_a_deploy_key_for_the_one_repository() {
    if !gitea::require() {
        return;
    }
    let gitea = Gitea::start().unwrap();
    let alice = gitea.create_user("alice", "first password 1").unwrap();
    let app = gitea.create_repository(&alice, "app").unwrap();
    let other = gitea.create_repository(&alice, "other").unwrap();
    let stored = gitea.create_token(&alice, "stored", &["write:repository"]).unwrap();
    let connection = with_ssh(connection(&gitea, &alice).with(token(&stored)), &gitea);

    for (index, access) in [Access::Read, Access::Write].into_iter().enumerate() {
        let operation = git(Some("alice/app"), access);
        let plan = connection.plan(&operation, &format!("lease_{index}"));
        let repository = "alice/app".parse().unwrap();
        assert_eq!(plan.narrowing, Narrowing::DeployKey { repository, access });
        let issued = connection.issue(&operation, &plan).await.unwrap();
        assert!(issued.residue.is_none());
        let Material::SshKey { username, private_key, known_hosts, url } = issued.material else {
            panic!("not a key");
        };
        assert_eq!(username, "git");
        assert!(private_key.expose().starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
        assert_eq!(known_hosts, gitea.known_hosts_line().unwrap());
        assert_eq!(url, Some(app.ssh_url.clone()));
        let keys = gitea.call("GET", "/repos/alice/app/keys", None).unwrap();
        assert_eq!(keys[0]["read_only"], access == Access::Read, "{keys}");
        // Real ssh reads the key, and reaches this repository and no other, until it is revoked.
        let scratch = Scratch::new().unwrap();
        scratch.write("key", private_key.expose(), 0o600).unwrap();
        scratch.write("known_hosts", &known_hosts, 0o644).unwrap();
        let folder = scratch.path().display();
        let ssh = format!(
            "ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -i {folder}/key \
             -o UserKnownHostsFile={folder}/known_hosts"
        );
        let git = Git::new(scratch.path()).unwrap().env("GIT_SSH_COMMAND", &ssh);
        let reaches = |url: &str| git.run(["ls-remote", url]).is_ok();
        assert!(reaches(&app.ssh_url));
        assert!(!reaches(&other.ssh_url));
        let clone = format!("{folder}/clone");
        git.run(["clone", "-q", &app.ssh_url, &clone]).unwrap();
        let pushed = git.run(["-C", &clone, "push", "-q", "origin", "HEAD:refs/heads/pushed"]);
        assert_eq!(pushed.is_ok(), access == Access::Write);

        assert_eq!(connection.revoke(&plan).await, Ok(None));
        assert_eq!(connection.revoke(&plan).await, Ok(None));
        assert!(!reaches(&app.ssh_url));
        assert!(gitea.deploy_key_titles(&app).unwrap().is_empty());
    }

    // Without a repository, or for images, nothing narrower is to be had.
    for operation in [git(None, Access::Read), registry(Access::Read), Operation::Material] {
        let plan = connection.plan(&operation, "lease_9");
        assert_eq!((plan.narrowing.clone(), plan.handle.clone()), (Narrowing::Stored, None));
        let issued = connection.issue(&operation, &plan).await.unwrap();
        assert_eq!(pair(&issued).1, stored);
        assert!(issued.residue.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_key_is_found_behind_many_others() {
    if !gitea::require() {
        return;
    }
    let gitea = Gitea::start().unwrap();
    let alice = gitea.create_user("alice", "first password 1").unwrap();
    let app = gitea.create_repository(&alice, "app").unwrap();
    let full = gitea.create_token(&alice, "full", &["all"]).unwrap();
    let connection = with_ssh(connection(&gitea, &alice).with(token(&full)), &gitea);
    let operation = git(Some("alice/app"), Access::Read);
    let mut plans = Vec::new();
    for index in 0..53 {
        let plan = connection.plan(&operation, &format!("lease_{index}"));
        connection.issue(&operation, &plan).await.unwrap();
        plans.push(plan);
    }
    let (first, last) = (&plans[0], &plans[52]);
    connection.revoke(last).await.unwrap();
    connection.revoke(first).await.unwrap();
    let left = gitea.deploy_key_titles(&app).unwrap();
    assert_eq!(left.len(), 51);
    assert!(!left.contains(&"keyferry-lease_0".to_owned()));
    assert!(!left.contains(&"keyferry-lease_52".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_key_that_cannot_be_made_is_a_refusal_and_not_the_stored_token() {
    if !gitea::require() {
        return;
    }
    let gitea = Gitea::start().unwrap();
    let alice = gitea.create_user("alice", "first password 1").unwrap();
    let bob = gitea.create_user("bob", "first password 1").unwrap();
    let app = gitea.create_repository(&alice, "app").unwrap();
    gitea.add_collaborator(&app, &bob, "write").unwrap();
    let stored = gitea.create_token(&bob, "stored", &["write:repository"]).unwrap();
    let connection = with_ssh(connection(&gitea, &bob).with(token(&stored)), &gitea);
    let operation = git(Some("alice/app"), Access::Read);
    let plan = connection.plan(&operation, "lease_1");
    let error = connection.issue(&operation, &plan).await.unwrap_err();
    assert!(error.to_string().contains("ssh_known_hosts"), "{error}");

    let operation = git(Some("alice/nothing"), Access::Read);
    let plan = connection.plan(&operation, "lease_2");
    let error = connection.issue(&operation, &plan).await.unwrap_err();
    assert!(matches!(error, ProviderError::NotFound { .. }), "{error}");
    // A repository that is not seen may be gone or somebody else's: that is told.
    let residue = connection.revoke(&plan).await.unwrap().unwrap();
    assert!(residue.what.contains("alice/nothing"), "{residue:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_someone_else_is_not_taken_for_gone() {
    if !gitea::require() {
        return;
    }
    let gitea = Gitea::start().unwrap();
    let alice = gitea.create_user("alice", "first password 1").unwrap();
    let bob = gitea.create_user("bob", "first password 1").unwrap();
    let before = connection(&gitea, &alice);
    let operation = git(None, Access::Read);
    let plan = before.plan(&operation, "lease_1");
    before.issue(&operation, &plan).await.unwrap();

    let replaced = before.with(password(&bob.name, &bob.password));
    let error = replaced.revoke(&plan).await.unwrap_err();
    assert!(matches!(error, ProviderError::Rejected { .. }), "{error}");
    assert_eq!(gitea.token_names(&alice).unwrap().len(), 1);

    // The same person's new password does, and so does a token of hers that may mint.
    gitea.change_password(&alice, "second password 2").unwrap();
    assert!(before.revoke(&plan).await.is_err());
    before.with(password("alice", "second password 2")).revoke(&plan).await.unwrap();
    assert!(gitea.token_names(&alice).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_below_a_path_with_a_private_authority_is_reached() {
    if !gitea::require() || !keyferry_testkit::require(keyferry_testkit::certificates::PROGRAMS) {
        return;
    }
    let authority = Authority::new().unwrap();
    let options = Options { sub_path: "/forge", authority: Some(&authority), ..Options::default() };
    let gitea = Gitea::start_with(&options).unwrap();
    let alice = gitea.create_user("alice", "first password 1").unwrap();
    let app = gitea.create_repository(&alice, "app").unwrap();
    let mut connection = connection(&gitea, &alice);
    let error = connection.verify().await.unwrap_err();
    assert!(
        matches!(&error, ProviderError::Misconfigured { field, .. } if field == "ca_certificate")
    );
    let ca = std::fs::read_to_string(authority.certificate()).unwrap();
    connection.settings.insert("ca_certificate".to_owned(), ca);
    connection.verify().await.unwrap();
    // What Git asks for has the server's sub-path in front.
    for path in [app.path.as_str(), "forge/alice/app"] {
        let operation = git(Some(path), Access::Read);
        let plan = connection.plan(&operation, "lease_1");
        connection.issue(&operation, &plan).await.unwrap();
        connection.revoke(&plan).await.unwrap();
        let repositories = connection.provider.repositories().unwrap();
        let path = path.parse().unwrap();
        let found = repositories
            .list_branches(&context(), connection.target(), &path, None, None, 50)
            .await
            .unwrap();
        assert_eq!(found.items.len(), 1);
    }
    assert!(gitea.token_names(&alice).unwrap().is_empty());
}
