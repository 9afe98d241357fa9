//! The real `git` program with a home of its own, and sample repositories for servers.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::Result;

use crate::children::{command, output, run};

/// What this needs on the machine.
pub const PROGRAMS: &[&str] = &["git"];

/// `git` that reads no configuration but its own home's and never asks a person.
#[derive(Clone, Debug)]
pub struct Git {
    home: PathBuf,
    environment: Vec<(String, String)>,
}

impl Git {
    /// Prepares a git whose home is `home`, an existing folder.
    pub fn new(home: &Path) -> Result<Self> {
        let configuration = "[user]\n\tname = Tester\n\temail = tester@example.invalid\n\
            [init]\n\tdefaultBranch = main\n[advice]\n\tdetachedHead = false\n\
            [gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n";
        std::fs::write(home.join(".gitconfig"), configuration)?;
        Ok(Self { home: home.to_path_buf(), environment: Vec::new() })
    }

    /// Adds an environment variable, `GIT_SSH_COMMAND` or `GIT_SSL_CAINFO` for instance.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Trusts the certificate authority in the file `certificate`.
    #[must_use]
    pub fn trusting(self, certificate: &Path) -> Self {
        self.env("GIT_SSL_CAINFO", &certificate.to_string_lossy())
    }

    /// Remembers a password for `url`'s host, as a credential helper would give it.
    pub fn remember(&self, url: &str, user: &str, password: &str) -> Result<()> {
        // `store approve` keeps the password out of every argument list.
        let input = format!("url={url}\nusername={user}\npassword={password}\n\n");
        let mut configuration = std::fs::read_to_string(self.home.join(".gitconfig"))?;
        if !configuration.contains("[credential]") {
            configuration.push_str("[credential]\n\thelper = store\n");
            std::fs::write(self.home.join(".gitconfig"), configuration)?;
        }
        crate::children::run_with_input(
            &mut self.command(["credential", "approve"]),
            input.as_bytes(),
        )?;
        Ok(())
    }

    /// Returns the home, which is also where commands run.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Makes a git command with `arguments`.
    pub fn command<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut command = command("git");
        command
            .args(arguments)
            .current_dir(&self.home)
            .env("HOME", &self.home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            // Commits get the same identifier each time, so that tests can name them.
            .env("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z")
            .env("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z")
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs git with `arguments` and returns its standard output without the last line end.
    pub fn run<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Result<String> {
        let output = run(&mut self.command(arguments))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Runs git with `arguments`, however it ends.
    pub fn output<I: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = I>,
    ) -> Result<Output> {
        output(&mut self.command(arguments))
    }
}

/// Makes a bare repository at `path` with two commits on `main` (`README.md`, `src/app.txt`) and
/// one more on `feature/login` (`src/login.txt`); `main` is the default branch.
pub fn make_sample(git: &Git, path: &Path) -> Result<()> {
    let work = tempfile::tempdir()?;
    let work = work.path().to_string_lossy().into_owned();
    let bare = path.to_string_lossy().into_owned();
    git.run(["init", "--quiet", "--bare", &bare])?;
    // Off by default, and on at every forge: clones without blobs.
    git.run(["-C", &bare, "config", "uploadpack.allowFilter", "true"])?;
    git.run(["-C", &bare, "config", "uploadpack.allowAnySHA1InWant", "true"])?;
    git.run(["clone", "--quiet", &bare, &work])?;
    let commit = |name: &str, text: &str, message: &str| -> Result<()> {
        let file = Path::new(&work).join(name);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(file, text)?;
        git.run(["-C", &work, "add", name])?;
        git.run(["-C", &work, "commit", "--quiet", "--message", message])?;
        Ok(())
    };
    commit("README.md", "# Sample\n", "First")?;
    commit("src/app.txt", "one\ntwo\nthree\n", "Add the application")?;
    git.run(["-C", &work, "push", "--quiet", "origin", "HEAD:refs/heads/main"])?;
    git.run(["-C", &work, "switch", "--quiet", "--create", "feature/login"])?;
    commit("src/login.txt", "login\n", "Add the login")?;
    git.run(["-C", &work, "push", "--quiet", "origin", "feature/login"])?;
    Ok(())
}

/// Returns the commit at the tip of `branch` in the bare repository at `path`, if there is one.
pub fn tip(git: &Git, path: &Path, branch: &str) -> Result<Option<String>> {
    let name = format!("refs/heads/{branch}");
    let path = path.to_string_lossy();
    let found = git.run(["-C", &path, "for-each-ref", "--format=%(objectname)", &name])?;
    Ok(Some(found).filter(|commit| !commit.is_empty()))
}
