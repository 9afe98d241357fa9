//! A real image registry and a real client of it, through the docker helper.

use anyhow::Result;
use keyferry_api::connections::{ConnectionReconfigured, ConnectionView};
use keyferry_api::pipelines::PipelineView;
use keyferry_domain::connection::HealthStatus;
use keyferry_testkit::images::{self, ImageClient};
use keyferry_testkit::peers::git_http;
use keyferry_testkit::peers::registry::{self, Registry, USER};
use keyferry_testkit::process::ServerOptions;
use keyferry_testkit::{Authority, certificates, require};

use crate::world::{TeamGit, World, example, text};

#[test]
fn images_are_pulled_and_pushed_with_a_login_that_no_file_has() -> Result<()> {
    if !require(registry::PROGRAMS)
        || !require(images::PROGRAMS)
        || !require(certificates::PROGRAMS)
    {
        return Ok(());
    }
    let world = World::start_with(ServerOptions { without_runner: true, ..Default::default() })?;
    let authority = Authority::new()?;
    let certificate = text(&authority.certificate());
    let runner = world.start_runner("machine", &[])?;
    let (first, second) = (world.secret("first-password")?, world.secret("second-password")?);
    let registry = Registry::start_tls(first.value(), &authority)?;
    let watch = first.watch_processes();

    // A colleague pushes the candidate by other means.
    let colleague =
        ImageClient::new(&world.folder("colleague")?).trusting(&authority.certificate())?;
    colleague.login(&registry.host(), USER, first.value())?;
    let repository = format!("{}/team/app", registry.host());
    colleague.push(&format!("{repository}:candidate"))?;

    let mia = world.invite("mia", "member")?;
    let address = format!("registry={}", registry.host());
    let ca_certificate = format!("ca_certificate=@{certificate}");
    let create = ["connection", "create", "--type", "private_docker_registry", "--id"];
    let fields = ["team-images", "--name", "Team images", "--set", &address, "--set"];
    let rest = [&ca_certificate, "--set", "username=ci", "--secret", "password=-"];
    let create = [&create[..], &fields, &rest].concat();
    mia.refused_with_input(&create, "not-the-password")?.says(8, &["nothing was stored"]);
    let created: ConnectionView = mia.ask_with_input(&create, first.value())?;
    assert_eq!(created.health.status, HealthStatus::Healthy);

    let addresses = [("registry.example.com", registry.host())];
    let addresses = addresses.each_ref().map(|(written, real)| (*written, real.as_str()));
    let yaml = example("promote-image.yaml", &addresses)?;
    mia.create_pipeline::<PipelineView>("promote", &yaml)?;
    mia.run("promote", &[])?.succeeded();
    assert_eq!(colleague.tags(&repository)?, ["candidate", "release-1"]);

    // The password changes at the registry.
    registry.change_password(second.value())?;
    colleague.login(&registry.host(), USER, second.value())?;
    let run = mia.run("promote", &[])?;
    run.failed_because(&["team-images", "keyferry connection reconfigure team-images"]);
    // The step that logs in says so itself, and nothing was pulled or pushed.
    let refused = format!("step `login`: the registry `{}` refused the login", registry.host());
    run.failed_because(&[&refused]);
    assert!(!run.log.contains("logged in"), "{}", run.log);
    let connection: ConnectionView = mia.ask(&["connection", "get", "team-images"])?;
    assert_eq!(connection.health.status, HealthStatus::Rejected, "{:?}", connection.health);
    assert_eq!(colleague.tags(&repository)?, ["candidate", "release-1"]);

    let reconfigure = ["connection", "reconfigure", "team-images", "--set", "username=ci"];
    let reconfigure = [&reconfigure[..], &["--secret", "password=-"]].concat();
    let done: ConnectionReconfigured = mia.ask_with_input(&reconfigure, second.value())?;
    assert_eq!(done.pipelines_edited, 0);
    mia.run("promote", &[])?.succeeded();
    assert_eq!(colleague.tags(&repository)?, ["candidate", "release-1", "release-3"]);

    assert_eq!(watch.finish(), [], "the password was in the process list");
    for canary in [&first, &second] {
        runner.hunt(canary);
        canary.assert_absent_in("the registry's log", registry.log());
    }
    world.assert_audit_is_whole()?;
    world.hunt();
    Ok(())
}

#[test]
fn an_image_in_the_repository_is_pushed() -> Result<()> {
    let needed = [registry::PROGRAMS, images::PROGRAMS, certificates::PROGRAMS, git_http::PROGRAMS];
    if !needed.into_iter().all(require) {
        return Ok(());
    }
    let world = World::start_with(ServerOptions { without_runner: true, ..Default::default() })?;
    let authority = Authority::new()?;
    let certificate = text(&authority.certificate());
    let _runner = world.start_runner("machine", &[])?;
    let team = TeamGit::start(&world)?;
    team.connect(&world.owner, "team-git", "public")?;
    team.copy.push_with("main", "main", "image", images::write_image)?;
    let password = world.secret("registry-password")?;
    let registry = Registry::start_tls(password.value(), &authority)?;
    let address = format!("registry={}", registry.host());
    let ca_certificate = format!("ca_certificate=@{certificate}");
    let create = ["connection", "create", "--type", "private_docker_registry", "--id"];
    let fields = ["team-images", "--name", "Team images", "--set", &address, "--set"];
    let rest = [&ca_certificate, "--set", "username=ci", "--secret", "password=-"];
    let create = [&create[..], &fields, &rest].concat();
    world.owner.ask_with_input::<ConnectionView>(&create, password.value())?;

    let (git, host) = (team.server.url(), registry.host());
    let addresses = [("https://git.example.com", git.as_str()), ("registry.example.com", &host)];
    let yaml = example("push-image.yaml", &addresses)?;
    world.owner.create_pipeline::<PipelineView>("publish", &yaml)?;
    world.owner.run("publish", &[])?.succeeded();
    let colleague =
        ImageClient::new(&world.folder("images")?).trusting(&authority.certificate())?;
    colleague.login(&host, USER, password.value())?;
    assert_eq!(colleague.tags(&format!("{host}/team/app"))?, ["1"]);
    world.hunt();
    Ok(())
}

#[test]
fn a_login_is_given_for_its_own_registry_only() -> Result<()> {
    if !require(registry::PROGRAMS) || !require(images::PROGRAMS) {
        return Ok(());
    }
    let world = World::start()?;
    let password = world.secret("password")?;
    let (own, other) = (Registry::start(password.value())?, Registry::start(password.value())?);
    let address = format!("registry=http://{}", own.host());
    let create = ["connection", "create", "--type", "private_docker_registry", "--id", "images"];
    let fields = ["--name", "Images", "--set", &address, "--set", "username=ci"];
    let create = [&create[..], &fields, &["--secret", "password=-"]].concat();
    world.owner.ask_with_input::<ConnectionView>(&create, password.value())?;

    // Another registry is not logged in to, neither by the step nor by a tool that asks the helper.
    let login = |host: &str| {
        format!(
            "stages:\n  main:\n    jobs:\n      job:\n        steps:\n          login:\n            \
             step: DockerLogin\n            with: {{dockerRepository: \"{host}\", \
             serviceConnection: images}}\n          look:\n            step: Command\n            \
             with:\n              connections: {{images: images}}\n              run: |\n                \
             skopeo list-tags --tls-verify=false docker://{host}/team/app > out 2>&1 || true\n                \
             cat out; ! grep -qi 'unauthorized\\|authentication' out\n                \
             echo {} | docker-credential-keyferry get && exit 9 || echo refused\n",
            other.host(),
        )
    };
    world.owner.create_pipeline::<PipelineView>("own", &login(&own.host()))?;
    let run = world.owner.run("own", &[])?;
    run.succeeded();
    assert!(run.log.contains("refused"), "{}", run.log);
    world.owner.create_pipeline::<PipelineView>("other", &login(&other.host()))?;
    let words = format!("is for `{}`, not for `{}`", own.host(), other.host());
    world.owner.run("other", &[])?.failed_because(&[&words]);
    // A connection for images gives no access to Git.
    world.hunt();
    Ok(())
}
