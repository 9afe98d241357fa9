//! People of the demo: they act by the real `keyferry`, and the reader sees what they type and read.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::channel;

use anyhow::{Context as _, Result, bail};
use keyferry_testkit::{Canary, Cli};
use serde_json::Value;

use super::narrator::{Narrator, shell};

/// Someone with a home of their own.
pub(super) struct Person<'a> {
    pub(super) name: &'static str,
    pub(super) email: &'static str,
    pub(super) password: Canary,
    cli: Cli,
    home: PathBuf,
    narrator: &'a Narrator,
}

/// How a command ended, and what it said.
pub(super) struct Ended {
    pub(super) code: i32,
    pub(super) text: String,
}

impl<'a> Person<'a> {
    /// Makes someone whose home is `home`, an existing folder.
    pub(super) fn new(
        name: &'static str,
        email: &'static str,
        home: PathBuf,
        server: &str,
        narrator: &'a Narrator,
    ) -> Result<Self> {
        let cli = Cli::new(&home)?.env("KEYFERRY_URL", server);
        Ok(Self { name, email, password: Canary::new(name)?, cli, home, narrator })
    }

    /// Returns the file that `keyferry login` writes.
    pub(super) fn configuration(&self) -> PathBuf {
        self.home.join(".config/keyferry/config.toml")
    }

    /// Returns the token of the session, as the configuration file has it.
    pub(super) fn session(&self) -> Result<Canary> {
        let text = std::fs::read_to_string(self.configuration())?;
        let token = text.lines().find_map(|line| line.strip_prefix("token = "));
        Ok(Canary::from_value(token.context("no token after the login")?.trim_matches('"')))
    }

    /// Writes a file in the person's home and returns its path.
    pub(super) fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.home.join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Runs a command that must succeed, and shows it with its answer.
    pub(super) fn show(&self, arguments: &[&str]) -> Result<String> {
        self.show_with_input(arguments, None)
    }

    /// Shows a command that reads a secret from its standard input; the secret itself is not shown.
    pub(super) fn show_with_input(
        &self,
        arguments: &[&str],
        input: Option<&str>,
    ) -> Result<String> {
        let ended = self.watch(arguments, input)?;
        if ended.code != 0 {
            bail!("`keyferry {}` ended with exit code {}", shell(arguments), ended.code);
        }
        Ok(ended.text)
    }

    /// Shows a command that must fail, with the exit code `code`.
    pub(super) fn show_refused(
        &self,
        arguments: &[&str],
        input: Option<&str>,
        code: i32,
    ) -> Result<String> {
        let ended = self.watch(arguments, input)?;
        self.narrator.answer(&format!("exit code {}", ended.code));
        if ended.code != code {
            bail!("`keyferry {}` should end with exit code {code}", shell(arguments));
        }
        Ok(ended.text)
    }

    /// Asks without showing it, and returns the JSON answer.
    pub(super) fn ask(&self, arguments: &[&str]) -> Result<Value> {
        self.cli.json(arguments)
    }

    /// Runs a command whose answer is a token that is shown once; the answer is not shown.
    pub(super) fn take_token(&self, arguments: &[&str]) -> Result<Canary> {
        self.narrator.command(self.name, &format!("keyferry {}", shell(arguments)));
        let token = self.cli.run(arguments)?;
        self.narrator.answer("(a one-time token, which is not repeated here)");
        Ok(Canary::from_value(token.trim()))
    }

    /// Runs a command and shows each line as it comes.
    fn watch(&self, arguments: &[&str], input: Option<&str>) -> Result<Ended> {
        let typed = format!("keyferry {}", shell(arguments));
        let typed = if input.is_some() { format!("{typed} < secret") } else { typed };
        self.narrator.command(self.name, &typed);
        let mut command = self.cli.command(arguments);
        let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("failed to start `keyferry`")?;
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            // A command that ends before it reads says why.
            drop(stdin.write_all(input.as_bytes()));
        }
        let (lines, arrived) = channel();
        let out = child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>);
        let err = child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>);
        for pipe in [out, err].into_iter().flatten() {
            let lines = lines.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                    drop(lines.send(String::from_utf8_lossy(&line).into_owned()));
                }
            });
        }
        drop(lines);
        let mut text = String::new();
        for line in arrived {
            self.narrator.answer(&line);
            text.push_str(&line);
            text.push('\n');
        }
        let code = child.wait()?.code().context("a signal ended `keyferry`")?;
        Ok(Ended { code, text })
    }
}

/// Returns a path as an argument.
pub(super) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
