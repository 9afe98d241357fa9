//! The forge, without Keyferry.

use anyhow::Result;
use keyferry_testkit::children::describe;
use keyferry_testkit::http::Request;
use keyferry_testkit::images::{self, ImageClient};
use keyferry_testkit::peers::git_ssh::KeyPair;
use keyferry_testkit::peers::gitea::{self, Gitea, Options};
use keyferry_testkit::{Authority, Git, Scratch, certificates, require};
use serde_json::json;

#[test]
fn the_forge_has_users_repositories_branches_and_tokens() -> Result<()> {
    if !gitea::require() {
        return Ok(());
    }
    let forge = Gitea::start()?;
    let alice = forge.create_user("alice", "alices-password-1")?;
    let bob = forge.create_user("bob", "bobs-password-1")?;
    let app = forge.create_repository(&alice, "app")?;
    forge.create_branch(&app, "feature/login", "main")?;
    let commit = forge.create_file(&app, "feature/login", "src/login.txt", "login\n")?;
    assert_eq!(forge.branches(&app)?, ["feature/login", "main"]);
    assert_eq!(forge.tip(&app, "feature/login")?, Some(commit));
    assert_eq!(forge.tip(&app, "feature/none")?, None);

    // A token reads and does not write; gone, it does neither.
    assert_eq!(forge.token_names(&alice)?, [""; 0]);
    let token = forge.create_token(&alice, "reader", &["read:repository"])?;
    assert_eq!(forge.token_names(&alice)?, ["reader"]);
    let scratch = Scratch::new()?;
    let git = Git::new(&scratch.folder("alice")?)?;
    git.remember(&app.http_url, "alice", &token)?;
    git.run(["clone", "--quiet", &app.http_url, "app"])?;
    let push = ["-C", "app", "push", "--quiet", "origin", "HEAD:refs/heads/other"];
    assert!(describe(&git.output(push)?).contains("403"));
    forge.call("DELETE", "/users/alice/tokens/reader", None)?;
    assert!(!git.output(["ls-remote", &app.http_url])?.status.success());
    assert_eq!(forge.token_names(&alice)?, [""; 0]);

    // A private repository is its owner's until someone else is let in.
    let git = Git::new(&scratch.folder("bob")?)?;
    git.remember(&app.http_url, "bob", &bob.password)?;
    assert!(!git.output(["ls-remote", &app.http_url])?.status.success());
    forge.add_collaborator(&app, &bob, "read")?;
    git.run(["ls-remote", &app.http_url])?;

    // Another password.
    let renewed = forge.change_password(&alice, "alices-password-2")?;
    assert!(forge.create_token(&alice, "late", &["read:repository"]).is_err());
    let token = forge.create_token(&renewed, "late", &["read:repository"])?;
    let full = forge.create_full_token(&renewed, "full")?;
    for token in [token, full] {
        let answer = Request::get(&format!("{}/api/v1/repos/alice/app", forge.url()))
            .header(format!("Authorization: token {token}"))
            .send()?;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    Ok(())
}

#[test]
fn the_forge_lets_in_a_deploy_key_until_it_is_deleted() -> Result<()> {
    if !gitea::require() {
        return Ok(());
    }
    let forge = Gitea::start()?;
    let alice = forge.create_user("alice", "alices-password-1")?;
    let app = forge.create_repository(&alice, "app")?;
    let scratch = Scratch::new()?;
    let key = KeyPair::generate(scratch.path(), "key")?;
    let known_hosts = scratch.write("known_hosts", forge.known_hosts_line()?, 0o644)?;
    let command = format!(
        "ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o UserKnownHostsFile={} -i {}",
        known_hosts.display(),
        key.private.display()
    );
    let git = Git::new(&scratch.folder("home")?)?.env("GIT_SSH_COMMAND", &command);
    assert!(!git.output(["ls-remote", &app.ssh_url])?.status.success());

    let body = json!({"title": "job", "key": key.public_line()?, "read_only": true});
    let made = forge.call("POST", "/repos/alice/app/keys", Some(&body))?;
    assert_eq!(forge.deploy_key_titles(&app)?, ["job"]);
    git.run(["clone", "--quiet", &app.ssh_url, "app"])?;
    let push = git.output(["-C", "app", "push", "--quiet", "origin", "HEAD:refs/heads/other"])?;
    assert!(!push.status.success(), "{}", describe(&push));

    forge.call("DELETE", &format!("/repos/alice/app/keys/{}", made["id"]), None)?;
    assert_eq!(forge.deploy_key_titles(&app)?, [""; 0]);
    assert!(!git.output(["ls-remote", &app.ssh_url])?.status.success());
    Ok(())
}

#[test]
fn the_forge_survives_a_kill_with_its_data() -> Result<()> {
    if !gitea::require() {
        return Ok(());
    }
    let forge = Gitea::start()?;
    let alice = forge.create_user("alice", "alices-password-1")?;
    let app = forge.create_repository(&alice, "app")?;
    forge.kill()?;
    assert!(forge.branches(&app).is_err());
    forge.restart()?;
    assert_eq!(forge.branches(&app)?, ["main"]);
    Ok(())
}

#[test]
fn the_forge_serves_https_below_a_path_and_images() -> Result<()> {
    if !gitea::require() || !require(certificates::PROGRAMS) || !require(images::PROGRAMS) {
        return Ok(());
    }
    let authority = Authority::new()?;
    let forge = Gitea::start_with(&Options { authority: Some(&authority), ..Options::default() })?;
    let alice = forge.create_user("alice", "alices-password-1")?;
    let app = forge.create_repository(&alice, "app")?;
    let scratch = Scratch::new()?;
    let git = Git::new(&scratch.folder("home")?)?;
    git.remember(&app.http_url, "alice", &alice.password)?;
    assert!(!git.output(["ls-remote", &app.http_url])?.status.success());
    git.trusting(&authority.certificate()).run(["ls-remote", &app.http_url])?;
    assert!(Request::get(&forge.url()).send().is_err());

    let client = ImageClient::new(&scratch.folder("images")?).trusting(&authority.certificate())?;
    client.login(&forge.host(), "alice", &alice.password)?;
    client.push(&format!("{}/alice/app:1", forge.host()))?;
    assert_eq!(client.tags(&format!("{}/alice/app", forge.host()))?, ["1"]);
    Ok(())
}

#[test]
fn the_forge_below_a_path_answers_there() -> Result<()> {
    if !gitea::require() {
        return Ok(());
    }
    let forge = Gitea::start_with(&Options { sub_path: "/forge", ..Options::default() })?;
    assert!(forge.url().ends_with("/forge"));
    let alice = forge.create_user("alice", "alices-password-1")?;
    let app = forge.create_repository(&alice, "app")?;
    assert!(app.http_url.contains("/forge/alice/app.git"));
    let scratch = Scratch::new()?;
    let git = Git::new(&scratch.folder("home")?)?;
    git.remember(&app.http_url, "alice", &alice.password)?;
    git.run(["ls-remote", &app.http_url])?;
    Ok(())
}
