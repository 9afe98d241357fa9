//! The story: a credential goes in once, a pipeline uses it by name, the password changes at the
//! service, and is replaced in one place.
//!
//! A journey test tells the same with many more refusals (`tests/tests/journeys/story.rs`); this
//! one is for reading along.

use anyhow::{Context as _, Result, bail};
use keyferry_testkit::children::{describe, output};
use keyferry_testkit::images::ImageClient;
use keyferry_testkit::peers::git_backend;
use keyferry_testkit::peers::registry;
use keyferry_testkit::wait_until;
use serde_json::Value;

use super::hunt;
use super::interrupt::Interrupt;
use super::people::text;
use super::stage::{PATIENCE, PrivateRegistry, REPOSITORY, Stage};

/// A part of the story.
type Chapter = fn(&Stage<'_>) -> Result<()>;

/// The parts, in order.
const CHAPTERS: &[(&str, Chapter)] = &[
    ("The first owner is created by the server's one-time link, and invites a member", people),
    ("A credential goes in once; it is tried at the real Git server before it is kept", connect),
    ("The member sees the repository's branches, and no secret", pick),
    ("A pipeline names the connection; no secret is in it", write_pipeline),
    ("The pipeline clones, merges, deletes a branch and tags", first_run),
    ("Another pipeline logs in to an image registry and pushes", push_image),
    ("The password changes at the Git server: the next run says what to do", change_password),
    ("The credential is replaced inside the connection: the next run succeeds", replace),
    ("Any other command gets access the same way", exec),
    ("Who did what", look_back),
    ("No secret is anywhere", hunt::chapter),
];

/// Tells all of it; stops early when someone asks for it.
pub(super) fn tell(stage: &Stage<'_>, interrupt: &Interrupt) -> Result<()> {
    let watch = stage.passwords[0].watch_processes();
    let watch_new = stage.passwords[1].watch_processes();
    for (title, chapter) in CHAPTERS {
        if interrupt.has_come() {
            return Ok(());
        }
        stage.narrator.chapter(title);
        chapter(stage).with_context(|| format!("in the part `{title}`"))?;
    }
    let seen = [watch.finish(), watch_new.finish()].concat();
    stage.narrator.fact(
        seen.is_empty(),
        "all the while, the Git passwords were in no process's arguments or environment",
    )
}

fn people(stage: &Stage<'_>) -> Result<()> {
    let (owner, member) = (&stage.owner, &stage.member);
    let link = owner.file("setup-link", &stage.setup_link()?)?;
    let from = format!("@{}", text(&link));
    let setup = ["setup", "--link-from", &from, "--email", owner.email, "--name", "Olga Owner"];
    let setup = [&setup[..], &["--organization-name", "Demo", "--password-from", "-"]].concat();
    owner.show_with_input(&setup, Some(owner.password.value()))?;
    std::fs::remove_file(link)?;

    let add = ["member", "add", member.email, "--name", "Mia Member", "--role", "member"];
    let invitation = owner.take_token(&add)?;
    let file = member.file("invitation", invitation.value())?;
    let from = format!("@{}", text(&file));
    let accept = ["invitation", "accept", "--link-from", &from, "--password-from", "-"];
    member.show_with_input(&accept, Some(member.password.value()))?;
    Ok(std::fs::remove_file(file)?)
}

fn connect(stage: &Stage<'_>) -> Result<()> {
    let url = format!("url={}", stage.git.url());
    let username = format!("username={}", git_backend::USER);
    let mut create = ["connection", "create", "--type", "git", "--id", "team-git"].to_vec();
    let verify = format!("verify_repository={REPOSITORY}");
    create.extend(["--name", "Team repositories", "--scope", "public", "--set", &url]);
    create.extend(["--set", &verify, "--set", &username, "--secret", "password=-"]);
    stage.narrator.note("first with a wrong password:");
    stage.owner.show_refused(&create, Some("not-the-password"), 8)?;
    let kept = stage.owner.ask(&["connection", "list"])?;
    stage.narrator.fact(kept.as_array().is_some_and(Vec::is_empty), "nothing was stored")?;
    stage.narrator.note("then with the right one:");
    stage.owner.show_with_input(&create, Some(stage.passwords[0].value()))?;
    stage.narrator.fact(health(stage)? == "healthy", "the Git server has accepted the credential")
}

fn pick(stage: &Stage<'_>) -> Result<()> {
    let said = stage.member.show(&["branch", "list", "team-git", REPOSITORY])?;
    stage.member.show(&["connection", "get", "team-git"])?;
    let seen = said.contains("feature/login") && said.contains("main");
    stage.narrator.fact(seen, "both branches are there; the secret is shown to nobody, ever")
}

fn write_pipeline(stage: &Stage<'_>) -> Result<()> {
    let yaml = "clone-merge-tag.yaml";
    let file = stage.example(yaml, &[("https://git.example.com", &stage.git.url())])?;
    stage.narrator.note(&format!("the pipeline is examples/{yaml}, with this Git server in it"));
    stage.member.show(&["pipeline", "check", &file])?;
    stage.member.show(&["pipeline", "create", "release", &file])?;
    stage.narrator.fact(
        revision(stage)? == 1,
        "saved as revision 1; its two places may use the connection, since Mia may",
    )
}

fn first_run(stage: &Stage<'_>) -> Result<()> {
    let before = stage.git.tip(REPOSITORY, "main")?;
    stage.member.show(&["run", "start", "release", "--watch"])?;
    let after = stage.git.tip(REPOSITORY, "main")?;
    stage.narrator.fact(
        before != after && after.is_some(),
        &format!("at the Git server, main has moved to {}", after.unwrap_or_default()),
    )?;
    let is_gone = stage.git.tip(REPOSITORY, "feature/login")?.is_none();
    stage.narrator.fact(is_gone, "and feature/login is gone")?;
    stage.narrator.fact(has_tag(stage, "release-1")?, "and the tag release-1 is there")
}

fn push_image(stage: &Stage<'_>) -> Result<()> {
    let Some(registry) = &stage.registry else {
        stage.narrator.note("left out: this machine has no registry to start (see above)");
        return Ok(());
    };
    let host = format!("registry={}", registry.server.host());
    let authority = format!("ca_certificate=@{}", text(&registry.authority.certificate()));
    let username = format!("username={}", registry::USER);
    let mut create = ["connection", "create", "--type", "private_docker_registry"].to_vec();
    create.extend(["--id", "team-images", "--name", "Team images", "--scope", "public"]);
    create.extend(["--set", &host, "--set", &authority, "--set", &username]);
    create.extend(["--secret", "password=-"]);
    stage.owner.show_with_input(&create, Some(stage.registry_password.value()))?;
    let addresses = [
        ("https://git.example.com", &*stage.git.url()),
        ("registry.example.com", &*registry.server.host()),
    ];
    let file = stage.example("push-image.yaml", &addresses)?;
    stage.member.show(&["pipeline", "create", "publish", &file])?;
    stage.member.show(&["run", "start", "publish", "--watch"])?;
    stage
        .narrator
        .note("the registry's certificate is private: the job trusts it by the connection");
    let tags = tags(stage, registry)?;
    stage.narrator.fact(!tags.is_empty(), &format!("the registry has team/app:{}", tags.join(", ")))
}

fn change_password(stage: &Stage<'_>) -> Result<()> {
    stage.git.change_password(stage.passwords[1].value());
    stage.push_branch("feature/search", "search.txt")?;
    stage.narrator.note("(changed; a colleague has also pushed the branch feature/search)");
    let start = ["run", "start", "release", "--variable", "FEATURE=feature/search", "--watch"];
    stage.member.show_refused(&start, None, 9)?;
    let is_kept = stage.git.tip(REPOSITORY, "feature/search")?.is_some();
    stage.narrator.fact(is_kept, "nothing at the Git server was changed")?;
    stage.owner.show(&["connection", "list"])?;
    stage.narrator.fact(health(stage)? == "rejected", "the connection shows it, too")
}

fn replace(stage: &Stage<'_>) -> Result<()> {
    let username = format!("username={}", git_backend::USER);
    let replace = ["connection", "reconfigure", "team-git", "--set", &username];
    let replace = [&replace[..], &["--secret", "password=-"]].concat();
    stage.owner.show_with_input(&replace, Some(stage.passwords[1].value()))?;
    let start = ["run", "start", "release", "--variable", "FEATURE=feature/search", "--watch"];
    stage.member.show(&start)?;
    let is_gone = stage.git.tip(REPOSITORY, "feature/search")?.is_none();
    stage.narrator.fact(is_gone, "feature/search is merged and gone")?;
    stage.narrator.fact(revision(stage)? == 1, "the pipeline is still revision 1: nobody edited it")
}

fn exec(stage: &Stage<'_>) -> Result<()> {
    let url = stage.git.repository_url(REPOSITORY);
    let said = stage.member.show(&["exec", "-c", "team-git", "--", "git", "ls-remote", &url])?;
    stage.narrator.fact(said.contains("refs/heads/main"), "git has read the repository")?;
    wait_until("end of all leases", PATIENCE, || {
        let alive = stage.owner.ask(&["lease", "list", "--state", "active"])?;
        Ok(alive.as_array().is_some_and(Vec::is_empty).then_some(()))
    })?;
    stage.narrator.fact(true, "no lease is alive: each has ended with its job or command")
}

fn look_back(stage: &Stage<'_>) -> Result<()> {
    stage.owner.show(&["audit", "list", "--limit", "12"])?;
    stage.owner.show(&["audit", "list", "--outcome", "failed"])?;
    stage.owner.show(&["lease", "list", "--limit", "4"])?;
    stage.narrator.command("", "keyferry-server audit verify");
    let verified = output(&mut stage.server.admin_command(["audit", "verify"])?)?;
    if !verified.status.success() {
        bail!("the audit record does not verify: {}", describe(&verified));
    }
    stage.narrator.answer(&String::from_utf8_lossy(&verified.stdout));
    Ok(())
}

/// Returns the health of the Git connection.
fn health(stage: &Stage<'_>) -> Result<String> {
    let connection = stage.owner.ask(&["connection", "get", "team-git"])?;
    let status = connection["health"]["status"].as_str().context("a connection without health")?;
    Ok(status.to_owned())
}

/// Returns the number of the pipeline's revision.
fn revision(stage: &Stage<'_>) -> Result<i64> {
    let pipeline: Value = stage.member.ask(&["pipeline", "get", "release"])?;
    pipeline["revision"]["number"].as_i64().context("a pipeline without a revision")
}

fn has_tag(stage: &Stage<'_>, tag: &str) -> Result<bool> {
    let bare = text(&stage.git.repository(REPOSITORY));
    Ok(!stage.git.git()?.run(["-C", &bare, "tag", "--list", tag])?.is_empty())
}

/// Asks the registry itself, as someone with the password.
fn tags(stage: &Stage<'_>, registry: &PrivateRegistry) -> Result<Vec<String>> {
    let home = stage.homes().join("operator");
    std::fs::create_dir_all(&home)?;
    let client = ImageClient::new(&home).trusting(&registry.authority.certificate())?;
    let host = registry.server.host();
    client.login(&host, registry::USER, stage.registry_password.value())?;
    client.tags(&format!("{host}/team/app"))
}
