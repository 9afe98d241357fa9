//! Git over HTTP, HTTPS and SSH, without Keyferry.

use anyhow::Result;
use keyferry_testkit::children::describe;
use keyferry_testkit::peers::git_http::{self, GitHttp, TLS_PROGRAMS, USER};
use keyferry_testkit::peers::git_ssh::{self, GitSsh, KeyPair};
use keyferry_testkit::{Authority, Canary, Git, Scratch, require};

/// A git that would ask nobody and has `password` for `url`.
fn git_with_password(scratch: &Scratch, url: &str, password: &str) -> Result<Git> {
    let git = Git::new(&scratch.folder(format!("home-{}", password.len()))?)?;
    git.remember(url, USER, password)?;
    Ok(git)
}

#[test]
fn git_over_http_serves_who_has_the_password() -> Result<()> {
    if !require(git_http::PROGRAMS) {
        return Ok(());
    }
    let password = Canary::awkward("git-http")?;
    let server = GitHttp::start(password.value())?;
    let url = server.create_repository("team/app")?;
    let scratch = Scratch::new()?;
    let git = git_with_password(&scratch, &url, password.value())?;

    git.run(["clone", "--quiet", &url, "app"])?;
    git.run(["-C", "app", "push", "--quiet", "origin", "HEAD:refs/heads/feature/pushed"])?;
    assert_eq!(server.tip("team/app", "feature/pushed")?, server.tip("team/app", "main")?);
    git.run(["-C", "app", "push", "--quiet", "origin", "--delete", "feature/pushed"])?;
    assert_eq!(server.tip("team/app", "feature/pushed")?, None);
    assert!(server.tip("team/app", "feature/login")?.is_some());

    // Partial clones are offered, which merging without a checkout needs.
    git.run(["clone", "--quiet", "--bare", "--filter=blob:none", &url, "partial.git"])?;
    let missing =
        git.run(["-C", "partial.git", "rev-list", "--objects", "--missing=print", "main"])?;
    assert!(missing.lines().any(|line| line.starts_with('?')), "{missing}");

    let requests = server.requests()?;
    assert!(requests.contains("ci POST /git/team/app.git/git-upload-pack 200"), "{requests}");
    password.assert_absent_in("the server's log", server.log()?);
    Ok(())
}

#[test]
fn git_over_http_refuses_everyone_else() -> Result<()> {
    if !require(git_http::PROGRAMS) {
        return Ok(());
    }
    let server = GitHttp::start("the-first-password")?;
    let url = server.create_repository("team/app")?;
    let scratch = Scratch::new()?;

    let nobody = Git::new(&scratch.folder("nobody")?)?.output(["ls-remote", &url])?;
    assert!(!nobody.status.success(), "{}", describe(&nobody));

    let git = git_with_password(&scratch, &url, "a-wrong-password")?;
    let wrong = git.output(["ls-remote", &url])?;
    assert!(describe(&wrong).contains("Authentication failed"), "{}", describe(&wrong));

    // Another password: the old one is refused at once, the new one is good.
    let git = git_with_password(&scratch, &url, "the-first-password")?;
    git.run(["ls-remote", &url])?;
    server.change_password("the-second-and-longer-password")?;
    let old = git.output(["ls-remote", &url])?;
    assert!(describe(&old).contains("Authentication failed"), "{}", describe(&old));
    let git = git_with_password(&scratch, &url, "the-second-and-longer-password")?;
    git.run(["ls-remote", &url])?;
    let unknown = git.output(["ls-remote", &server.repository_url("team/none")])?;
    assert!(describe(&unknown).contains("not found"), "{}", describe(&unknown));
    Ok(())
}

#[test]
fn git_over_https_needs_the_authority() -> Result<()> {
    if !require(git_http::PROGRAMS) || !require(TLS_PROGRAMS) {
        return Ok(());
    }
    let authority = Authority::new()?;
    let server = GitHttp::start_tls("password", &authority)?;
    let url = server.create_repository("team/app")?;
    assert!(url.starts_with("https://"));
    let scratch = Scratch::new()?;
    let git = git_with_password(&scratch, &url, "password")?;

    let distrusted = git.output(["ls-remote", &url])?;
    assert!(describe(&distrusted).contains("certificate"), "{}", describe(&distrusted));
    let other = Authority::new()?;
    let misled = git.clone().trusting(&other.certificate()).output(["ls-remote", &url])?;
    assert!(describe(&misled).contains("certificate"), "{}", describe(&misled));
    git.trusting(&authority.certificate()).run(["clone", "--quiet", &url, "app"])?;
    assert!(scratch.join("home-8/app/README.md").exists());
    Ok(())
}

#[test]
fn git_over_ssh_serves_who_has_a_key_and_nothing_but_git() -> Result<()> {
    if !require(git_ssh::PROGRAMS) {
        return Ok(());
    }
    let server = GitSsh::start()?;
    let url = server.create_repository("team/app")?;
    let scratch = Scratch::new()?;
    let key = KeyPair::generate(scratch.path(), "key")?;
    let git =
        Git::new(&scratch.folder("home")?)?.env("GIT_SSH_COMMAND", &server.ssh_command(&key)?);

    let unknown = git.output(["ls-remote", &url])?;
    assert!(describe(&unknown).contains("Permission denied"), "{}", describe(&unknown));

    server.authorize(&key.public_line()?)?;
    git.run(["clone", "--quiet", &url, "app"])?;
    git.run(["-C", "app", "push", "--quiet", "origin", "HEAD:refs/heads/pushed"])?;
    assert!(server.tip("team/app", "pushed")?.is_some());
    let short = format!("{}@127.0.0.1:team/app.git", server.user());
    let port = format!("{} -p {}", server.ssh_command(&key)?, server.port());
    git.clone().env("GIT_SSH_COMMAND", &port).run(["ls-remote", &short])?;

    // Another host key is refused by who knows the right one.
    let other = GitSsh::start()?;
    let line =
        other.known_hosts_line()?.replace(&other.port().to_string(), &server.port().to_string());
    let file = scratch.write("other_known_hosts", line, 0o644)?;
    let command = server.ssh_command(&key)?;
    let misled =
        format!("ssh -o UserKnownHostsFile={} {}", file.display(), &command["ssh ".len()..]);
    let misled = git.clone().env("GIT_SSH_COMMAND", &misled).output(["ls-remote", &url])?;
    assert!(describe(&misled).contains("Host key verification failed"), "{}", describe(&misled));

    // Nothing but git's two programs.
    let mut shell = keyferry_testkit::children::command("sh");
    shell.args(["-c", &format!("{port} {}@127.0.0.1 id", server.user())]);
    let shell = keyferry_testkit::children::output(&mut shell)?;
    assert!(describe(&shell).contains("this server speaks git only"), "{}", describe(&shell));

    server.revoke_all()?;
    assert!(!git.output(["ls-remote", &url])?.status.success());
    Ok(())
}
