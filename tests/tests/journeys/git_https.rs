//! The main story on a Git server over HTTPS with a private authority, with a runner of its own.

use anyhow::Result;
use keyferry_api::connections::ConnectionView;
use keyferry_api::pipelines::PipelineView;
use keyferry_testkit::peers::git_http::{self, GitHttp, TLS_PROGRAMS};
use keyferry_testkit::process::ServerOptions;
use keyferry_testkit::{Authority, Canary, require};

use crate::story::{Place, tell};
use crate::world::{World, script_job, text};

#[test]
fn a_credential_goes_in_once_and_is_replaced_in_one_place() -> Result<()> {
    if !require(git_http::PROGRAMS) || !require(TLS_PROGRAMS) {
        return Ok(());
    }
    let authority = Authority::new()?;
    let password = Canary::awkward("first-password")?;
    let server = GitHttp::start_tls(password.value(), &authority)?;
    let world = World::start_with(ServerOptions { without_runner: true, ..Default::default() })?;
    // The connection says whom to trust; the machine's runner and its jobs know nothing of it.
    let runner = world.start_runner("machine", &[])?;
    let place = Place { server: &server, authority: Some(&authority), password: &password };
    tell(&world, &place, Some(&runner))
}

#[test]
fn a_job_trusts_the_connections_authority_and_the_operators_and_no_other() -> Result<()> {
    if !require(git_http::PROGRAMS) || !require(TLS_PROGRAMS) {
        return Ok(());
    }
    let world = World::start_with(ServerOptions { without_runner: true, ..Default::default() })?;
    let password = world.secret("password")?;
    let authorities = [Authority::new()?, Authority::new()?, Authority::new()?];
    let start = |authority| GitHttp::start_tls(password.value(), authority);
    let [own, operators, stranger] =
        [start(&authorities[0])?, start(&authorities[1])?, start(&authorities[2])?];
    let bundle = text(&authorities[1].certificate());
    let _runner = world.start_runner("machine", &["--job-ca-bundle", &bundle])?;
    let endpoint = own.create_repository("team/app")?;
    for server in [&operators, &stranger] {
        server.create_repository("team/app")?;
    }
    let url = format!("url={}", own.url());
    let authority = format!("ca_certificate=@{}", text(&authorities[0].certificate()));
    let create = ["connection", "create", "--type", "git", "--id", "team-git", "--name", "Git"];
    let fields = ["--set", &url, "--set", &authority, "--set", "username=ci"];
    let rest = ["--set", "verify_repository=team/app", "--secret", "password=-"];
    let create = [&create[..], &fields, &rest].concat();
    world.owner.ask_with_input::<ConnectionView>(&create, password.value())?;

    // The operator's server is trusted and asks for a password; the third is not spoken to at all.
    let script = format!(
        "ls README.md
git ls-remote {} 2>&1 | grep 'could not read Username'
git ls-remote {} > out 2>&1 && exit 9
grep -i certificate out",
        operators.repository_url("team/app"),
        stranger.repository_url("team/app")
    );
    let yaml = format!(
        "sources:\n  app:\n    type: git\n    endpoint: {endpoint}\n    branch: main\n    \
         certificate: {{type: serviceConnection, serviceConnection: team-git}}\n\
         defaultWorkspace: app\nstages:\n  main:\n    jobs:\n{}",
        script_job("job", "", &script)
    );
    world.owner.create_pipeline::<PipelineView>("clone", &yaml)?;
    world.owner.run("clone", &[])?.succeeded();
    world.hunt();
    Ok(())
}
