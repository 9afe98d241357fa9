//! What the stories stand on: a server with its owner, people with homes of their own, runners, and
//! a hunt after every secret that a story planted.
//!
//! People act by the real `keyferry`; what it says is kept, since secrets are hunted there too. Peers
//! are in `testkit`; the pipelines that stories run are in `examples/` where a reader can use them.

mod examples;
mod people;
mod repositories;
mod runner;
mod runs;
mod team_git;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use keyferry_testkit::children::{describe, output};
use keyferry_testkit::process::{ServerOptions, create_owner};
use keyferry_testkit::{Canary, Scratch, ServerProcess};

pub(crate) use examples::{example, names as example_names};
pub(crate) use people::Person;
pub(crate) use repositories::WorkingCopy;
pub(crate) use runner::RunnerProcess;
pub(crate) use runs::LIMIT;
pub(crate) use team_git::{TeamGit, indented, script_job, script_pipeline};

/// The organization that the first owner gets.
pub(crate) const ORGANIZATION: &str = "Example";

/// Where the peers are. Connections reach private addresses only where an operator says so.
const LOOPBACK: &str = "127.0.0.1,::1";

/// Where runners put what must not be on a disk.
const MEMORY: &str = "/dev/shm";

/// Everything that people were told, by any command.
pub(crate) type Transcript = Arc<Mutex<String>>;

/// A server, its owner, and the secrets that must not be found.
pub(crate) struct World {
    pub(crate) server: ServerProcess,
    pub(crate) owner: Person,
    /// Homes of people; planted secrets lie there, so it is not searched.
    homes: Scratch,
    transcript: Transcript,
    planted: Mutex<Vec<Canary>>,
}

impl World {
    /// Starts a server on SQLite with a runner inside.
    pub(crate) fn start() -> Result<Self> {
        Self::start_with(ServerOptions::default())
    }

    /// Starts a server and signs its owner in.
    pub(crate) fn start_with(mut options: ServerOptions) -> Result<Self> {
        // In the environment, where the admin commands find it too.
        options.environment.push(("KEYFERRY_ALLOW_ADDRESSES".to_owned(), LOOPBACK.to_owned()));
        let folder = Scratch::new()?;
        let password = Canary::new("owners-password")?;
        let email = "owner@example.com";
        create_owner(&folder, &options, email, "Olga Owner", ORGANIZATION, password.value())?;
        let certificate = options.environment.iter().find(|(name, _)| name == "KEYFERRY_CA_FILE");
        let certificate = certificate.map(|(_, path)| path.clone());
        let server = ServerProcess::start_in(folder, options)?;
        let homes = Scratch::new()?;
        let transcript = Transcript::default();
        let home = homes.folder("owner")?;
        let owner = Person::new(&home, email, server.url(), certificate, Arc::clone(&transcript))?;
        owner.log_in(password.value())?;
        let world = Self { server, owner, homes, transcript, planted: Mutex::default() };
        world.plant(&password);
        world.plant(&world.owner.session()?);
        Ok(world)
    }

    /// Invites someone into the organization, who accepts and signs in.
    pub(crate) fn invite(&self, name: &str, role: &str) -> Result<Person> {
        self.invite_to(None, name, role)
    }

    /// Invites someone into another organization of the owner's.
    pub(crate) fn invite_to(
        &self,
        organization: Option<&str>,
        name: &str,
        role: &str,
    ) -> Result<Person> {
        let email = format!("{name}@example.com");
        let mut add = vec!["member", "add", &email, "--name", name, "--role", role];
        if let Some(organization) = organization {
            add.extend(["--organization", organization]);
        }
        let invitation = self.owner.say(&add)?;
        let person = self.newcomer(name)?;
        let password = Canary::new(name)?;
        person.accept_invitation(invitation.trim(), password.value())?;
        self.plant(&password);
        self.plant(&Canary::from_value(invitation.trim()));
        self.plant(&person.session()?);
        Ok(person)
    }

    /// Makes someone with a home who is not signed in.
    pub(crate) fn newcomer(&self, name: &str) -> Result<Person> {
        let home = self.homes.folder(name)?;
        self.owner.beside(&home, &format!("{name}@example.com"))
    }

    /// Registers and starts a runner as a process of its own.
    pub(crate) fn start_runner(&self, name: &str, arguments: &[&str]) -> Result<RunnerProcess> {
        let (runner, token) = RunnerProcess::start(&self.owner, name, arguments)?;
        self.plant(&token);
        Ok(runner)
    }

    /// Makes a secret that [`Self::hunt`] looks for.
    pub(crate) fn secret(&self, label: &str) -> Result<Canary> {
        let canary = Canary::awkward(label)?;
        self.plant(&canary);
        Ok(canary)
    }

    /// Has [`Self::hunt`] look for a secret.
    pub(crate) fn plant(&self, canary: &Canary) {
        self.planted.lock().unwrap_or_else(PoisonError::into_inner).push(canary.clone());
    }

    /// Returns everything that was planted so far.
    pub(crate) fn planted(&self) -> Vec<Canary> {
        self.planted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fails the test when a planted secret is in anything that a run leaves behind: what people
    /// and operators were told, the server's folder with database and work folder, memory files,
    /// the process list.
    pub(crate) fn hunt(&self) {
        let said = self.transcript.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let log = self.server.log();
        for canary in self.planted() {
            canary.assert_absent_in("what people were told", &said);
            canary.assert_absent_in("the server's log", &log);
            canary.assert_absent_in_files(self.server.folder());
            for entry in std::fs::read_dir(MEMORY).into_iter().flatten().flatten() {
                let is_ours = entry.file_name().to_string_lossy().starts_with("keyferry-");
                if is_ours && entry.path().is_dir() {
                    canary.assert_absent_in_files(&entry.path());
                }
            }
            canary.assert_absent_in_processes();
        }
    }

    /// Fails the test unless every hash of the audit record fits.
    pub(crate) fn assert_audit_is_whole(&self) -> Result<()> {
        let verified = output(&mut self.server.admin_command(["audit", "verify"])?)?;
        assert!(verified.status.success(), "{}", describe(&verified));
        let text = describe(&verified);
        assert!(text.contains("every hash fits"), "{text}");
        Ok(())
    }

    /// Returns a folder beside the homes, for what a story needs.
    pub(crate) fn folder(&self, name: &str) -> Result<std::path::PathBuf> {
        self.homes.folder(name)
    }
}

/// Returns a path as text.
pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
