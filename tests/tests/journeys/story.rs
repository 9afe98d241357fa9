//! The main story, on any Git server over HTTP and any database: a credential goes in once, a
//! pipeline uses it by name, the password changes at the server, and is replaced in one place.

use anyhow::Result;
use keyferry_api::audit::AuditEventView;
use keyferry_api::connections::{ConnectionReconfigured, ConnectionView};
use keyferry_api::leases::LeaseView;
use keyferry_api::pipelines::PipelineView;
use keyferry_api::repositories::BranchView;
use keyferry_domain::audit::Outcome;
use keyferry_domain::connection::HealthStatus;
use keyferry_testkit::peers::git_http::{GitHttp, USER};
use keyferry_testkit::{Authority, Canary, Git};

use crate::world::{Person, RunnerProcess, WorkingCopy, World, example, text};

/// Where the story's repository is, and who has access without Keyferry.
pub(crate) struct Place<'a> {
    pub(crate) server: &'a GitHttp,
    pub(crate) authority: Option<&'a Authority>,
    /// The password that the server was started with.
    pub(crate) password: &'a Canary,
}

/// Tells the story, and hunts its secrets at the end.
pub(crate) fn tell(world: &World, place: &Place<'_>, runner: Option<&RunnerProcess>) -> Result<()> {
    let url = place.server.create_repository("team/app")?;
    let copy = working_copy(world, place, &url)?;
    world.plant(place.password);
    let second = world.secret("second-password")?;
    let watch = place.password.watch_processes();

    // Someone who is not the owner does everything, as in a team.
    let mia = world.invite("mia", "member")?;
    create_connection(place, &mia)?;
    pick_a_branch(&mia)?;
    let yaml =
        example("clone-merge-tag.yaml", &[("https://git.example.com", &place.server.url())])?;
    let pipeline: PipelineView = mia.create_pipeline("release", &yaml)?;
    assert_eq!(pipeline.revision.number, 1);
    assert!(pipeline.bindings.iter().all(|binding| binding.state == "approved"));

    // The first run merges, deletes and tags.
    let feature = copy.find("refs/heads/feature/login")?.unwrap_or_default();
    let run = mia.run("release", &[])?;
    run.succeeded();
    assert!(copy.contains("main", &feature)?);
    assert_eq!(copy.find("refs/heads/feature/login")?, None);
    assert!(copy.find("refs/tags/release-1")?.is_some());
    assert!(run.log.contains("src/login.txt"), "the diff is shown: {}", run.log);

    // The password changes at the server: the next run says so, and what to do.
    place.server.change_password(second.value())?;
    copy.git().remember(&url, USER, second.value())?;
    copy.push("main", "feature/search", "src/search.txt", "search\n")?;
    let search = ["--variable", "FEATURE=feature/search"];
    let run = mia.run("release", &search)?;
    run.failed_because(&["team-git", "keyferry connection reconfigure team-git"]);
    let connection: ConnectionView = mia.ask(&["connection", "get", "team-git"])?;
    assert_eq!(connection.health.status, HealthStatus::Rejected, "{:?}", connection.health);
    assert!(copy.find("refs/heads/feature/search")?.is_some(), "nothing was changed");

    // It is replaced inside the connection; a wrong one would change nothing.
    let reconfigure = ["connection", "reconfigure", "team-git", "--set", "username=ci"];
    let reconfigure = [&reconfigure[..], &["--secret", "password=-"]].concat();
    let wrong = world.secret("wrong-password")?;
    mia.refused_with_input(&reconfigure, wrong.value())?.says(8, &["refused"]);
    let done: ConnectionReconfigured = mia.ask_with_input(&reconfigure, second.value())?;
    assert_eq!((done.pipelines_edited, done.used_by.len()), (0, 1));
    assert_eq!(done.connection.health.status, HealthStatus::Healthy);
    let run = mia.run("release", &search)?;
    run.succeeded();
    assert_eq!(copy.find("refs/heads/feature/search")?, None);
    assert!(copy.find("refs/tags/release-3")?.is_some());
    let pipeline: PipelineView = mia.ask(&["pipeline", "get", "release"])?;
    assert_eq!(pipeline.revision.number, 1, "no pipeline was edited");

    assert_leases_are_over(&mia)?;
    assert_audit_tells(world, &mia)?;
    assert_eq!(watch.finish(), [], "the password was in the process list");
    for canary in [place.password, &second] {
        if let Some(runner) = runner {
            runner.hunt(canary);
        }
        canary.assert_absent_in("the Git server's log", place.server.log()?);
    }
    world.hunt();
    Ok(())
}

/// Clones as a colleague would, who has the password by other means.
fn working_copy(world: &World, place: &Place<'_>, url: &str) -> Result<WorkingCopy> {
    let mut git = Git::new(&world.folder("colleague")?)?;
    if let Some(authority) = place.authority {
        git = git.trusting(&authority.certificate());
    }
    git.remember(url, USER, place.password.value())?;
    WorkingCopy::clone(git, url)
}

fn create_connection(place: &Place<'_>, mia: &Person) -> Result<()> {
    let url = format!("url={}", place.server.url());
    let mut create = ["connection", "create", "--type", "git", "--id", "team-git"].to_vec();
    create.extend(["--name", "Team repositories", "--set", &url, "--set", "username=ci"]);
    create.extend(["--set", "verify_repository=team/app", "--scope", "public"]);
    let ca_certificate =
        place.authority.map(|one| format!("ca_certificate=@{}", text(&one.certificate())));
    if let Some(ca_certificate) = &ca_certificate {
        create.extend(["--set", ca_certificate]);
    }
    create.extend(["--secret", "password=-"]);

    // It is tried before anything is stored.
    mia.refused_with_input(&create, "not-the-password")?
        .says(8, &["refused", "nothing was stored"]);
    assert_eq!(mia.ask::<Vec<ConnectionView>>(&["connection", "list"])?.len(), 0);
    let created: ConnectionView = mia.ask_with_input(&create, place.password.value())?;
    assert_eq!(created.health.status, HealthStatus::Healthy);
    assert_eq!(created.connection_id.to_string(), "team-git");
    // The same ID again is refused, whoever asks.
    mia.refused_with_input(&create, place.password.value())?.says(6, &[]);
    Ok(())
}

fn pick_a_branch(mia: &Person) -> Result<()> {
    let branches: Vec<BranchView> = mia.ask(&["branch", "list", "team-git", "team/app"])?;
    let names: Vec<&str> = branches.iter().map(|branch| branch.name.as_str()).collect();
    assert_eq!(names, ["feature/login", "main"]);
    // Git itself cannot list repositories.
    mia.refused(&["repository", "list", "team-git"])?.says(2, &["path"]);
    Ok(())
}

fn assert_leases_are_over(mia: &Person) -> Result<()> {
    let leases: Vec<LeaseView> = mia.ask(&["lease", "list", "--connection", "team-git"])?;
    assert!(leases.len() >= 3, "{leases:?}");
    for lease in leases {
        assert_eq!(lease.state, "ended", "{lease:?}");
        let residue = lease.residue.map(|residue| residue.what).unwrap_or_default();
        assert_eq!(residue, "the stored password was handed over");
    }
    Ok(())
}

fn assert_audit_tells(world: &World, mia: &Person) -> Result<()> {
    let events: Vec<AuditEventView> = world.owner.ask(&["audit", "list"])?;
    let count = |action: &str, actor: Option<&str>, outcome: Outcome| {
        let is_asked = |event: &&AuditEventView| {
            event.action == action
                && event.outcome == outcome
                && actor.is_none_or(|actor| event.actor_id.as_deref() == Some(actor))
        };
        events.iter().filter(is_asked).count()
    };
    let id = mia.id()?;
    for (action, times) in [
        ("connection.create", 1),
        ("pipeline.create", 1),
        ("run.create", 3),
        ("connection.reconfigure", 1),
    ] {
        assert_eq!(count(action, Some(&id), Outcome::Allowed), times, "{action}");
    }
    assert_eq!(count("member.create", Some(&world.owner.id()?), Outcome::Allowed), 1);
    assert_eq!(count("connection.create", Some(&id), Outcome::Failed), 1, "the wrong password");
    assert_eq!(count("pipeline.update", None, Outcome::Allowed), 0);
    assert_eq!(count("run.finish", None, Outcome::Allowed), 3);
    assert!(count("lease.issue", None, Outcome::Allowed) >= 3);
    // Members do not read the record.
    mia.refused(&["audit", "list"])?.says(4, &[]);
    world.assert_audit_is_whole()
}
