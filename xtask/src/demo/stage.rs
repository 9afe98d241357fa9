//! Where the story happens: a Git server with a sample repository, a registry where there is one,
//! Keyferry's server, and two people.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use keyferry_testkit::peers::git_backend::{self, GitBackend};
use keyferry_testkit::peers::registry::{self, Registry};
use keyferry_testkit::process::{Binaries, ServerOptions};
use keyferry_testkit::{
    Authority, Canary, Scratch, ServerProcess, certificates, find_program, images, wait_until,
};

use super::narrator::{self, Narrator};
use super::people::{Person, text};
use crate::workspace;

/// The sample repository.
pub(super) const REPOSITORY: &str = "team/app";

/// How long what comes in a moment may take on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Everything that runs, and the secrets that must be found nowhere.
pub(super) struct Stage<'a> {
    pub(super) narrator: &'a Narrator,
    pub(super) server: ServerProcess,
    pub(super) git: GitBackend,
    pub(super) registry: Option<PrivateRegistry>,
    pub(super) owner: Person<'a>,
    pub(super) member: Person<'a>,
    /// The Git server's password at the start, and the one that it is changed to.
    pub(super) passwords: [Canary; 2],
    /// The registry's password.
    pub(super) registry_password: Canary,
    homes: Scratch,
}

/// A registry with a certificate of a private authority, which nobody trusts unless told to.
pub(super) struct PrivateRegistry {
    pub(super) server: Registry,
    pub(super) authority: Authority,
}

impl<'a> Stage<'a> {
    /// Starts everything and says what is where.
    pub(super) fn set(narrator: &'a Narrator) -> Result<Self> {
        let passwords = [Canary::new("git-password")?, Canary::new("new-git-password")?];
        let git = GitBackend::start(passwords[0].value())?;
        git.create_repository(REPOSITORY)?;
        let registry_password = Canary::new("registry-password")?;
        let registry = start_registry(narrator, registry_password.value())?;
        if registry.is_some() {
            let add = |folder: &Path| images::write_image(&folder.join("image"));
            commit(&git, "main", "main", "Add an image", add)?;
        }
        let server = ServerProcess::start_in(Scratch::new()?, options())?;
        let homes = Scratch::new()?;
        let person =
            |name, email| Person::new(name, email, homes.folder(name)?, server.url(), narrator);
        let owner = person("olga", "olga@example.com")?;
        let member = person("mia", "mia@example.com")?;
        narrator.note(&format!("Git server       {}", git.repository_url(REPOSITORY)));
        if let Some(registry) = &registry {
            narrator.note(&format!("image registry   {}", registry.server.url()));
        }
        narrator.note(&format!("Keyferry's API   {}/api/v1", server.url()));
        narrator.note(&format!("Keyferry's data  {}", server.data().display()));
        Ok(Self {
            narrator,
            server,
            git,
            registry,
            owner,
            member,
            passwords,
            registry_password,
            homes,
        })
    }

    /// Returns the one-time link that the server printed at its first start.
    pub(super) fn setup_link(&self) -> Result<String> {
        wait_until("the server's one-time link", PATIENCE, || {
            let log = self.server.log();
            // The last line may still be on its way.
            let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let link = whole.lines().map(str::trim).find(|line| line.contains("/setup#"));
            Ok(link.map(str::to_owned))
        })
    }

    /// Pushes a branch with one more file, as a colleague would who has the password.
    pub(super) fn push_branch(&self, branch: &str, file: &str) -> Result<()> {
        let write = |folder: &Path| Ok(std::fs::write(folder.join(file), "more\n")?);
        commit(&self.git, "main", branch, &format!("Add {file}"), write)
    }

    /// Returns an example of the documents with its addresses replaced by those of this stage, as
    /// a file of the member's.
    pub(super) fn example(&self, name: &str, addresses: &[(&str, &str)]) -> Result<String> {
        let path = workspace::root().join("examples").join(name);
        let mut yaml = std::fs::read_to_string(&path)
            .with_context(|| format!("failed to read `{}`", path.display()))?;
        for (written, real) in addresses {
            yaml = yaml.replace(written, real);
        }
        Ok(text(&self.member.file(name, &yaml)?))
    }

    /// Returns where people's homes are.
    pub(super) fn homes(&self) -> &Path {
        self.homes.path()
    }

    /// Returns the end of the server's log.
    pub(super) fn last_words(&self) -> String {
        let log = self.server.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Tells where to look, and with which login.
    pub(super) fn show_around(&self) {
        let programs = Binaries::get().ok().and_then(|one| one.cli.parent());
        let programs = programs.map_or_else(String::new, |folder| folder.display().to_string());
        narrator::whisper(&format!(
            "\nEverything is still up. In another terminal:\n\n  \
             export PATH={programs}:$PATH\n  \
             export KEYFERRY_CONFIG={configuration}\n  \
             keyferry connection get team-git\n  \
             keyferry run list\n  \
             keyferry lease list\n  \
             keyferry audit list --limit 20\n  \
             keyferry exec -c team-git -- git clone {repository}\n\n\
             Keyferry  {server}  (description of its API: {server}/api/openapi.json)\n\
             owner     {email}, password {password}\n\
             member    {member_email}, password {member_password}\n\
             Git       {repository}, user {git_user}, password {git_password}\n\
             log       {log}\n\n\
             Ctrl-C stops everything and removes its folders.",
            configuration = self.owner.configuration().display(),
            repository = self.git.repository_url(REPOSITORY),
            server = self.server.url(),
            email = self.owner.email,
            password = self.owner.password.value(),
            member_email = self.member.email,
            member_password = self.member.password.value(),
            git_user = git_backend::USER,
            git_password = self.passwords[1].value(),
            log = self.server.folder().join("server.log").display(),
        ));
    }

    /// Stops the server as an operator would, then the rest.
    pub(super) fn end(self) -> Result<()> {
        let code = self.server.stop()?;
        self.narrator.fact(code == 0, "everything is stopped, and its folders are removed")
    }
}

fn options() -> ServerOptions {
    // Connections reach private addresses only where an operator says so.
    let allow = ("KEYFERRY_ALLOW_ADDRESSES".to_owned(), "127.0.0.1,::1".to_owned());
    ServerOptions { environment: vec![allow], ..ServerOptions::default() }
}

fn start_registry(narrator: &Narrator, password: &str) -> Result<Option<PrivateRegistry>> {
    let needed = registry::PROGRAMS.iter().chain(images::PROGRAMS).chain(certificates::PROGRAMS);
    let missing: Vec<&str> =
        needed.copied().filter(|program| find_program(program).is_none()).collect();
    if missing.is_empty() {
        let authority = Authority::new()?;
        let server = Registry::start_tls(password, &authority)?;
        return Ok(Some(PrivateRegistry { server, authority }));
    }
    narrator.note(&format!("image registry   left out: {} not installed", missing.join(", ")));
    Ok(None)
}

/// Commits what `write` does on top of `base`, and puts it on `branch` at the server.
fn commit(
    server: &GitBackend,
    base: &str,
    branch: &str,
    message: &str,
    write: impl Fn(&Path) -> Result<()>,
) -> Result<()> {
    let git = server.git()?;
    let scratch = Scratch::new()?;
    let work: PathBuf = scratch.join("work");
    let (origin, folder) = (text(&server.repository(REPOSITORY)), text(&work));
    git.run(["clone", "--quiet", "--branch", base, &origin, &folder])?;
    write(&work)?;
    git.run(["-C", &folder, "add", "--all"])?;
    git.run(["-C", &folder, "commit", "--quiet", "--message", message])?;
    let update = format!("HEAD:refs/heads/{branch}");
    git.run(["-C", &folder, "push", "--quiet", "origin", &update])?;
    Ok(())
}
