//! A real forge: repositories and branches are picked, each job gets what was minted for it, and
//! nothing of it is alive afterwards.

use std::time::Duration;

use anyhow::{Context as _, Result};
use keyferry_api::connections::ConnectionView;
use keyferry_api::leases::LeaseView;
use keyferry_api::pipelines::PipelineView;
use keyferry_api::repositories::{BranchView, RepositoryView};
use keyferry_domain::lease::Narrowing;
use keyferry_domain::run::RunState;
use keyferry_testkit::http::Request;
use keyferry_testkit::peers::gitea::{self, Gitea, Options, Repository, User};
use keyferry_testkit::{Authority, Canary, certificates, require, wait_until};
use serde_json::json;

use crate::world::{LIMIT, Person, World, example, indented, text};

/// How long until everything that was minted is dead, after a crash too.
const DEAD: Duration = Duration::from_mins(1);

struct Scene {
    world: World,
    forge: Gitea,
    alice: User,
    app: Repository,
    password: Canary,
}

impl Scene {
    /// Starts a forge below `sub_path`, with Alice's repository `app` and its branches.
    fn start(sub_path: &str) -> Result<Self> {
        Self::start_with(&Options { sub_path, ..Options::default() })
    }

    /// Starts a forge as it is told, with the same.
    fn start_with(options: &Options<'_>) -> Result<Self> {
        let world = World::start()?;
        let forge = Gitea::start_with(options)?;
        let password = world.secret("alices-password")?;
        let alice = forge.create_user("alice", password.value())?;
        let app = forge.create_repository(&alice, "app")?;
        forge.create_branch(&app, "feature/login", "main")?;
        forge.create_file(&app, "feature/login", "src/login.txt", "login\n")?;
        Ok(Self { world, forge, alice, app, password })
    }

    /// Creates `team-forge` with Alice's password.
    fn connect(&self, person: &Person) -> Result<ConnectionView> {
        let url = format!("base_url={}", self.forge.url());
        let create = ["connection", "create", "--type", "gitea", "--id", "team-forge", "--name"];
        let fields = ["Team forge", "--set", &url, "--set", "username=alice", "--scope", "public"];
        let mut create = [&create[..], &fields, &["--secret", "password=-"]].concat();
        let authority = self.forge.certificate_authority().map(text);
        let authority = authority.map(|file| format!("ca_certificate=@{file}"));
        if let Some(authority) = &authority {
            create.extend(["--set", authority]);
        }
        person.ask_with_input(&create, self.password.value())
    }

    /// Writes a pipeline whose job, with `app` checked out, runs a script and then waits until the
    /// branch `go` is there; the test looks at the forge meanwhile.
    fn waiting_pipeline(&self, script: &str) -> String {
        let script = indented(script, 16);
        format!(
            "sources:
  app:
    type: gitea
    endpoint: {}
    branch: main
    certificate: {{type: serviceConnection, serviceConnection: team-forge}}
stages:
  main:
    jobs:
      job:
        timeoutMinutes: 5
        steps:
          script:
            step: Command
            with:
              run: |
{script}                echo waiting now
                until git ls-remote --exit-code origin refs/heads/go; do sleep 0.2; done
",
            self.app.http_url
        )
    }

    /// Returns name and scopes of each of Alice's living tokens.
    fn tokens(&self) -> Result<Vec<(String, Vec<String>)>> {
        let found = self.forge.call("GET", "/users/alice/tokens", None)?;
        let texts = |value: &serde_json::Value| -> Vec<String> {
            let items = value.as_array().into_iter().flatten();
            items.filter_map(|item| item.as_str()).map(str::to_owned).collect()
        };
        let tokens = found.as_array().into_iter().flatten();
        Ok(tokens
            .map(|token| {
                let name = token["name"].as_str().unwrap_or_default().to_owned();
                (name, texts(&token["scopes"]))
            })
            .collect())
    }

    /// Waits until nothing that Keyferry minted is alive at the forge.
    fn wait_until_all_is_dead(&self) -> Result<()> {
        wait_until("the end of all tokens and keys", DEAD, || {
            let tokens = self.forge.token_names(&self.alice)?;
            let keys = self.forge.deploy_key_titles(&self.app)?;
            let is_ours = |name: &String| name.starts_with("keyferry-");
            Ok((!tokens.iter().chain(&keys).any(is_ours)).then_some(()))
        })
    }

    /// Asks the forge for the repository with a token.
    fn status_with(&self, token: &str, path: &str) -> Result<u16> {
        let answer = Request::get(&format!("{}/api/v1{path}", self.forge.url()))
            .header(format!("Authorization: token {token}"))
            .send()?;
        Ok(answer.status)
    }

    fn leases(&self) -> Result<Vec<LeaseView>> {
        self.world.owner.ask(&["lease", "list", "--connection", "team-forge"])
    }
}

#[test]
fn repositories_and_branches_are_picked_and_merged_by_the_forge() -> Result<()> {
    if !gitea::require() {
        return Ok(());
    }
    let scene = Scene::start("/forge")?;
    let mia = scene.world.invite("mia", "member")?;
    let created = scene.connect(&mia)?;
    let reason = created.health.reason.unwrap_or_default();
    assert!(reason.contains("each job gets a token of its own"), "{reason}");

    // Many repositories, over several pages of the forge, each once.
    for number in 0..120 {
        let body = json!({"name": format!("library-{number:03}"), "private": true});
        scene.forge.call("POST", "/admin/users/alice/repos", Some(&body))?;
    }
    let all: Vec<RepositoryView> = mia.ask(&["repository", "list", "team-forge"])?;
    let mut paths: Vec<&str> = all.iter().map(|one| one.path.as_str()).collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!((paths.len(), all.len()), (121, 121));
    let search = ["repository", "list", "team-forge", "--search", "library-11"];
    let found: Vec<RepositoryView> = mia.ask(&search)?;
    assert_eq!(found.len(), 10, "{found:?}");
    let branches: Vec<BranchView> = mia.ask(&["branch", "list", "team-forge", "alice/app"])?;
    let names: Vec<_> = branches.iter().map(|one| (one.name.as_str(), one.default)).collect();
    assert_eq!(names, [("feature/login", Some(false)), ("main", Some(true))]);
    let nowhere = ["branch", "list", "team-forge", "alice/nowhere"];
    mia.refused(&nowhere)?.says(5, &["alice/nowhere"]);

    // What was picked goes into the pipeline.
    let address = scene.forge.url();
    let address = format!("{address}/alice");
    let addresses = [("https://forge.example.com/team", address.as_str())];
    let yaml = example("forge-merge.yaml", &addresses)?;
    mia.create_pipeline::<PipelineView>("merge", &yaml)?;
    mia.run("merge", &[])?.succeeded();
    assert_eq!(scene.forge.branches(&scene.app)?, ["main"]);
    let file = format!("/repos/{}/contents/src/login.txt", scene.app.path);
    scene.forge.call("GET", &file, None).context("the merged file")?;
    scene.wait_until_all_is_dead()?;

    // Merging and deleting by hand, too.
    scene.forge.create_branch(&scene.app, "feature/search", "main")?;
    let commit = scene.forge.create_file(&scene.app, "feature/search", "search.txt", "search\n")?;
    let merge = ["branch", "merge", "team-forge", "alice/app", "--from", "feature/search"];
    mia.ask::<serde_json::Value>(&[&merge[..], &["--into", "main"]].concat())?;
    let delete = ["branch", "delete", "team-forge", "alice/app", "feature/search", "--yes"];
    let elsewhere = scene.forge.tip(&scene.app, "main")?.context("no main")?;
    let moved = [&delete[..], &["--expected-commit", &elsewhere]].concat();
    mia.refused(&moved)?.says(6, &["feature/search"]);
    mia.read(&[&delete[..], &["--expected-commit", &commit]].concat())?;
    assert_eq!(scene.forge.branches(&scene.app)?, ["main"]);
    scene.world.assert_audit_is_whole()?;
    scene.world.hunt();
    Ok(())
}

#[test]
fn a_conflict_lists_its_paths_at_a_forge_with_a_private_authority() -> Result<()> {
    if !gitea::require() || !require(certificates::PROGRAMS) {
        return Ok(());
    }
    let authority = Authority::new()?;
    let options = Options { sub_path: "/forge", authority: Some(&authority), ..Options::default() };
    let scene = Scene::start_with(&options)?;
    let (forge, owner) = (&scene.forge, &scene.world.owner);
    scene.connect(owner)?;
    // Both branches add the same file, with different text.
    let ours = forge.create_file(&scene.app, "main", "src/login.txt", "another login\n")?;
    let theirs = forge.tip(&scene.app, "feature/login")?;
    let yaml = format!(
        "sources:
  app:
    type: gitea
    endpoint: {}
    branch: main
    certificate: {{type: serviceConnection, serviceConnection: team-forge}}
stages:
  main:
    jobs:
      merge:
        steps:
          merge: {{step: MergeBranch, with: {{source: app, from: feature/login, into: main, deleteSource: true}}}}
",
        scene.app.http_url
    );
    owner.create_pipeline::<PipelineView>("merge", &yaml)?;
    let run = owner.run("merge", &[])?;
    run.failed_because(&["feature/login", "`src/login.txt`", "nothing was changed"]);
    assert_eq!(forge.tip(&scene.app, "main")?, Some(ours));
    assert_eq!(forge.tip(&scene.app, "feature/login")?, theirs);
    scene.wait_until_all_is_dead()?;
    scene.world.hunt();
    Ok(())
}

#[test]
fn a_job_gets_a_token_of_its_own_that_does_less_and_dies_with_it() -> Result<()> {
    if !gitea::require() {
        return Ok(());
    }
    let scene = Scene::start("")?;
    scene.connect(&scene.world.owner)?;
    let watch = scene.password.watch_processes();
    // Masking is no wall: backwards, the job can say what it was given.
    let script = "
git push origin HEAD:refs/heads/smuggled && exit 9 || echo pushing was refused
token=$(printf 'url=%s\\n\\n' \"$(git remote get-url origin)\" | git credential fill | sed -n 's/^password=//p')
echo \"the token is $token\"
echo \"backwards: $(printf %s \"$token\" | rev)\"";
    let yaml = scene.waiting_pipeline(script);
    scene.world.owner.create_pipeline::<PipelineView>("wait", &yaml)?;
    let run = scene.world.owner.start("wait", &[])?;
    let log = scene.world.owner.wait_for_log(&run, "waiting now")?;
    assert!(log.contains("pushing was refused") && log.contains("the token is ****"), "{log}");
    let line = log.lines().find_map(|line| line.strip_prefix("backwards: "));
    let token: String = line.context("no token")?.trim().chars().rev().collect();

    // The forge says what it is: a token to read repositories, and no more.
    let tokens = scene.tokens()?;
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    assert!(tokens[0].0.starts_with("keyferry-lease_"), "{tokens:?}");
    assert_eq!(tokens[0].1, ["read:repository"]);
    assert_eq!(scene.status_with(&token, "/repos/alice/app")?, 200);
    assert_eq!(scene.status_with(&token, "/user")?, 403, "Alice's account is out of reach");
    let active = scene.leases()?;
    assert!(active.iter().all(|lease| lease.state == "active"), "{active:?}");
    let scopes = Narrowing::ScopedToken { scopes: vec!["read:repository".to_owned()] };
    assert_eq!(active[0].narrowing, scopes);

    // The job ends, and with it the token.
    scene.forge.create_branch(&scene.app, "go", "main")?;
    scene.world.owner.watch(&run)?.succeeded();
    scene.wait_until_all_is_dead()?;
    assert_eq!(scene.tokens()?, []);
    assert_eq!(scene.status_with(&token, "/repos/alice/app")?, 401);
    assert_eq!(scene.forge.tip(&scene.app, "smuggled")?, None);
    assert!(scene.leases()?.iter().all(|lease| lease.state == "ended" && lease.residue.is_none()));

    // Another password at the forge: no token is minted, and the run says what to do.
    scene.forge.change_password(&scene.alice, "another-password-of-alice-1")?;
    let run = scene.world.owner.run("wait", &[])?;
    run.failed_because(&["team-forge", "keyferry connection reconfigure"]);
    assert_eq!(watch.finish(), []);
    scene.world.assert_audit_is_whole()?;
    scene.world.hunt();
    Ok(())
}

#[test]
fn a_stored_token_gives_a_deploy_key_for_the_one_repository() -> Result<()> {
    if !gitea::require() {
        return Ok(());
    }
    let scene = Scene::start("")?;
    let token = Canary::from_value(scene.forge.create_full_token(&scene.alice, "stored")?);
    scene.world.plant(&token);
    let owner = &scene.world.owner;
    let url = format!("base_url={}", scene.forge.url());
    let hosts = owner.file("known_hosts", &scene.forge.known_hosts_line()?)?;
    let hosts = format!("ssh_known_hosts=@{hosts}");
    let create = ["connection", "create", "--type", "gitea", "--id", "team-forge", "--name"];
    let fields = ["Forge", "--set", &url, "--set", &hosts, "--secret", "token=-"];
    owner.ask_with_input::<ConnectionView>(&[&create[..], &fields].concat(), token.value())?;

    let script = "git push origin HEAD:refs/heads/smuggled && exit 9 || echo pushing was refused";
    let yaml = scene.waiting_pipeline(script);
    owner.create_pipeline::<PipelineView>("wait", &yaml)?;
    let run = owner.start("wait", &[])?;
    let log = owner.wait_for_log(&run, "waiting now")?;
    assert!(log.contains("pushing was refused"), "{log}");
    let keys = scene.forge.call("GET", "/repos/alice/app/keys", None)?;
    assert_eq!(keys.as_array().map(Vec::len), Some(1), "{keys}");
    assert_eq!(keys[0]["read_only"], true, "{keys}");
    assert_eq!(scene.forge.token_names(&scene.alice)?, ["stored"], "no other token");
    let lease = scene.leases()?.pop().context("no lease")?;
    assert!(matches!(lease.narrowing, Narrowing::DeployKey { .. }), "{lease:?}");

    scene.forge.create_branch(&scene.app, "go", "main")?;
    owner.watch(&run)?.succeeded();
    scene.wait_until_all_is_dead()?;
    assert_eq!(scene.forge.deploy_key_titles(&scene.app)?, [""; 0]);
    assert_eq!(scene.forge.tip(&scene.app, "smuggled")?, None);
    scene.world.hunt();
    Ok(())
}

#[test]
fn nothing_that_was_minted_survives_a_killed_server() -> Result<()> {
    if !gitea::require() {
        return Ok(());
    }
    let scene = Scene::start("")?;
    scene.connect(&scene.world.owner)?;
    scene.world.owner.create_pipeline::<PipelineView>("wait", &scene.waiting_pipeline("true"))?;
    let run = scene.world.owner.start("wait", &[])?;
    scene.world.owner.wait_for_log(&run, "waiting now")?;
    assert_eq!(scene.tokens()?.len(), 1);

    scene.world.server.kill()?;
    assert_eq!(scene.tokens()?.len(), 1, "it lives on, since nobody could take it back");
    scene.world.server.restart()?;
    scene.wait_until_all_is_dead()?;
    let watched = wait_until("the end of the run", LIMIT, || {
        let now: keyferry_api::runs::RunView =
            scene.world.owner.ask(&["run", "get", run.id.as_str()])?;
        Ok(now.state.is_over().then_some(now))
    })?;
    assert_eq!(watched.state, RunState::Failed, "{watched:#?}");
    let reason = watched.reason.unwrap_or_default();
    assert!(reason.contains("runner was lost"), "{reason}");
    // The record has no gap, and the next run is not harmed.
    scene.world.assert_audit_is_whole()?;
    scene.forge.create_branch(&scene.app, "go", "main")?;
    scene.world.owner.run("wait", &[])?.succeeded();
    scene.wait_until_all_is_dead()?;
    scene.world.hunt();
    Ok(())
}
