//! Someone who uses Keyferry by its command line.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, PoisonError};

use anyhow::{Context as _, Result, bail};
use keyferry_testkit::children::{command, describe, output};
use keyferry_testkit::{Canary, Cli};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Transcript;

/// A person with a home, signed in or not.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) cli: Cli,
    pub(crate) email: String,
    home: PathBuf,
    transcript: Transcript,
}

/// A command that was refused, as it should.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: i32,
    pub(crate) text: String,
}

impl Refusal {
    /// Fails the test unless the exit code is `code` and each of `words` was said.
    #[track_caller]
    pub(crate) fn says(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{}", self.text);
        for word in words {
            assert!(self.text.contains(word), "`{word}` is not in: {}", self.text);
        }
    }
}

impl Person {
    pub(super) fn new(
        home: &Path,
        email: &str,
        server: &str,
        certificate: Option<String>,
        transcript: Transcript,
    ) -> Result<Self> {
        let mut cli = Cli::new(home)?.env("KEYFERRY_URL", server);
        if let Some(certificate) = certificate {
            cli = cli.env("KEYFERRY_CA_FILE", &certificate);
        }
        Ok(Self { cli, email: email.to_owned(), home: home.to_path_buf(), transcript })
    }

    /// Makes another person of the same server, not signed in.
    pub(super) fn beside(&self, home: &Path, email: &str) -> Result<Self> {
        let mut cli = Cli::new(home)?;
        for (name, value) in self.cli.environment() {
            cli = cli.env(name, value);
        }
        Ok(Self {
            cli,
            email: email.to_owned(),
            home: home.to_path_buf(),
            transcript: Arc::clone(&self.transcript),
        })
    }

    /// Trusts the authority in this file, or the system's, in place of the world's own.
    pub(crate) fn trust_only(&mut self, certificate: Option<&str>) -> Result<()> {
        let mut cli = Cli::new(&self.home)?;
        for (name, value) in self.cli.environment().filter(|(name, _)| *name != "KEYFERRY_CA_FILE")
        {
            cli = cli.env(name, value);
        }
        if let Some(certificate) = certificate {
            cli = cli.env("KEYFERRY_CA_FILE", certificate);
        }
        self.cli = cli;
        Ok(())
    }

    pub(super) fn log_in(&self, password: &str) -> Result<()> {
        let command = ["login", "--email", &self.email, "--password-from", "-"];
        self.check(self.keep(self.cli.output_with_input(command, password)?))?;
        Ok(())
    }

    pub(super) fn accept_invitation(&self, invitation: &str, password: &str) -> Result<()> {
        let link = self.file("invitation", invitation)?;
        let command =
            ["invitation", "accept", "--link-from", &format!("@{link}"), "--password-from", "-"];
        self.check(self.keep(self.cli.output_with_input(command, password)?))?;
        Ok(())
    }

    /// Returns the token of the present session, as the configuration file has it.
    pub(super) fn session(&self) -> Result<Canary> {
        let text = std::fs::read_to_string(self.home.join(".config/keyferry/config.toml"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("token = "));
        Ok(Canary::from_value(line.context("no token after the login")?.trim_matches('"')))
    }

    /// Returns the person's id.
    pub(crate) fn id(&self) -> Result<String> {
        let user: Value = self.ask(&["whoami"])?;
        Ok(user["id"].as_str().context("no id")?.to_owned())
    }

    /// Writes a file in the person's home, which only they can read, and returns its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> Result<String> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.home.join(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(super::text(&path))
    }

    /// Runs a command and returns its JSON answer.
    pub(crate) fn ask<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        self.ask_with_input(arguments, "")
    }

    /// Runs a command with a secret on its standard input and returns its JSON answer.
    pub(crate) fn ask_with_input<T: DeserializeOwned>(
        &self,
        arguments: &[&str],
        input: &str,
    ) -> Result<T> {
        let arguments = [arguments, &["--output", "json"]].concat();
        let output = self.check(self.keep(self.cli.output_with_input(&arguments, input)?))?;
        let text = if output.stdout.is_empty() { b"null" } else { &output.stdout[..] };
        serde_json::from_slice(text).with_context(|| describe(&output))
    }

    /// Starts a command and returns it as it runs; what it says is not kept.
    pub(crate) fn start_command(&self, arguments: &[&str]) -> Result<std::process::Child> {
        let mut command = self.cli.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().context("start `keyferry`")
    }

    /// Runs a command that makes a token, and returns what it prints. The token is shown this once,
    /// so the answer is not kept for the hunt.
    pub(crate) fn say(&self, arguments: &[&str]) -> Result<String> {
        let output = self.check(self.cli.output(arguments)?)?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs a command as a person reads it: standard output and error together.
    pub(crate) fn read(&self, arguments: &[&str]) -> Result<String> {
        let output = self.check(self.keep(self.cli.output(arguments)?))?;
        Ok(describe(&output))
    }

    /// Runs a command that must fail.
    pub(crate) fn refused(&self, arguments: &[&str]) -> Result<Refusal> {
        self.refused_with_input(arguments, "")
    }

    /// Runs a command that must fail, with a secret on its standard input.
    pub(crate) fn refused_with_input(&self, arguments: &[&str], input: &str) -> Result<Refusal> {
        let output = self.keep(self.cli.output_with_input(arguments, input)?);
        if output.status.success() {
            bail!("`{}` was not refused: {}", arguments.join(" "), describe(&output));
        }
        let code = output.status.code().context("a command that a signal ended")?;
        Ok(Refusal { code, text: describe(&output) })
    }

    /// Runs a command, however it ends.
    pub(crate) fn output(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.keep(self.cli.output(arguments)?))
    }

    /// Runs a shell script in the person's home, with `keyferry` in its `PATH`.
    pub(crate) fn run_script(&self, script: &str) -> Result<Output> {
        let file = self.file("script.sh", script)?;
        let folder = self.cli.program().parent().context("a program without a folder")?;
        let mut shell = self.cli.command([""; 0]);
        let path = shell.get_envs().find(|(name, _)| *name == "PATH").and_then(|found| found.1);
        let mut path = path.unwrap_or_default().to_owned();
        path.push(":");
        path.push(folder);
        let environment: Vec<_> = shell
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        shell = command("sh");
        shell.arg(file).current_dir(&self.home).envs(environment).env("PATH", path);
        Ok(self.keep(output(&mut shell)?))
    }

    /// Tells whether there is such a file in the person's home.
    pub(crate) fn has_file(&self, name: &str) -> bool {
        self.home.join(name).exists()
    }

    /// Saves a pipeline under `name`.
    pub(crate) fn create_pipeline<T: DeserializeOwned>(&self, name: &str, yaml: &str) -> Result<T> {
        let file = self.file("pipeline.yaml", yaml)?;
        self.ask(&["pipeline", "create", name, &file])
    }

    /// Saves a new revision of a pipeline.
    pub(crate) fn update_pipeline<T: DeserializeOwned>(&self, name: &str, yaml: &str) -> Result<T> {
        let file = self.file("pipeline.yaml", yaml)?;
        self.ask(&["pipeline", "update", name, &file])
    }

    fn keep(&self, output: Output) -> Output {
        let mut said = self.transcript.lock().unwrap_or_else(PoisonError::into_inner);
        said.push_str(&describe(&output));
        output
    }

    fn check(&self, output: Output) -> Result<Output> {
        if !output.status.success() {
            bail!("{} was refused: {}", self.email, describe(&output));
        }
        Ok(output)
    }
}
