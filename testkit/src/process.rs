//! The real programs, `keyferry-server` and `keyferry`, as a person would start them.
//!
//! They are built by cargo on first use in a test process (a moment when nothing has changed), or
//! taken from the folder in `KEYFERRY_TEST_BINARIES`. What the programs answer is not known here;
//! journeys (`tests/`) speak to the server by its typed client.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::Signal;
use serde_json::Value;

use crate::children::{Child, Start, command, output, output_with_input, run};
use crate::environment::{BINARIES_VARIABLE, variable};
use crate::{Scratch, wait_until};

/// How long the server may take until it listens; it takes well under a second alone.
const START_LIMIT: Duration = Duration::from_mins(1);

/// How long the server may take to leave when asked to.
const STOP_LIMIT: Duration = Duration::from_mins(1);

/// What the server prints when it is ready, before its URL.
const READY: &str = "listening on ";

/// Where the two programs are.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// `keyferry-server`.
    pub server: PathBuf,
    /// `keyferry`.
    pub cli: PathBuf,
}

impl Binaries {
    /// Returns the programs of this checkout, built as this test was (debug).
    pub fn get() -> Result<&'static Self> {
        static BINARIES: OnceLock<Result<Binaries, String>> = OnceLock::new();
        let binaries = BINARIES.get_or_init(|| Self::find().map_err(|error| format!("{error:#}")));
        binaries.as_ref().map_err(|error| anyhow!("{error}"))
    }

    fn find() -> Result<Self> {
        if let Some(folder) = variable(BINARIES_VARIABLE) {
            return Ok(Self::in_folder(Path::new(&folder)));
        }
        // Asked of cargo, and not guessed from the target folder: an old program would be tested.
        let cargo = variable("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = command(cargo);
        build
            .args(["build", "--quiet", "--message-format=json-render-diagnostics"])
            .args(["--package=keyferry-server", "--package=keyferry-cli", "--bins"])
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        // Cargo and the compiler's launcher find their own folders by these.
        for name in ["HOME", "CARGO_HOME", "RUSTUP_HOME", "CARGO_TARGET_DIR", "RUSTUP_TOOLCHAIN"] {
            if let Some(value) = variable(name) {
                build.env(name, value);
            }
        }
        let messages = run(&mut build).context("failed to build the programs")?;
        let messages = String::from_utf8_lossy(&messages.stdout).into_owned();
        let executable = |name: &str| {
            messages
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .filter(|message| message["target"]["name"] == name)
                .find_map(|message| message["executable"].as_str().map(PathBuf::from))
                .with_context(|| format!("cargo built no `{name}`"))
        };
        Ok(Self { server: executable("keyferry-server")?, cli: executable("keyferry")? })
    }

    fn in_folder(folder: &Path) -> Self {
        Self { server: folder.join("keyferry-server"), cli: folder.join("keyferry") }
    }
}

/// How to start a server; `Default` is SQLite in a folder of its own, with a runner inside.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// Leaves out `--with-runner`.
    pub without_runner: bool,
    /// More arguments after `serve`, `--database-url` for instance.
    pub arguments: Vec<String>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
}

/// A running server; killed when dropped, and its data folder removed.
pub struct ServerProcess {
    server: Mutex<Child>,
    url: String,
    options: ServerOptions,
    scratch: Scratch,
}

impl ServerProcess {
    /// Starts a server with an empty data folder and waits until it listens.
    pub fn start(options: ServerOptions) -> Result<Self> {
        Self::start_in(Scratch::new()?, options)
    }

    /// Starts a server whose data folder is `data` in `scratch`.
    pub fn start_in(scratch: Scratch, options: ServerOptions) -> Result<Self> {
        scratch.folder("home")?;
        let server = spawn(&scratch, &options, "127.0.0.1:0")?;
        let url = wait_ready(&server, 0)?;
        Ok(Self { server: Mutex::new(server), url, options, scratch })
    }

    fn server(&self) -> MutexGuard<'_, Child> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the URL that it said it listens on.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.server().id()
    }

    /// Returns the data folder.
    pub fn data(&self) -> PathBuf {
        self.scratch.join("data")
    }

    /// Returns the folder of this server: data, home and log.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Returns everything that it wrote since its first start, standard output and error.
    pub fn log(&self) -> String {
        self.server().log()
    }

    /// Kills it with SIGKILL; what it had started is left to itself.
    pub fn kill(&self) -> Result<()> {
        let server = self.server();
        server.signal(Signal::KILL)?;
        server.wait(STOP_LIMIT).map(drop)
    }

    /// Asks it to stop (SIGTERM) and returns its exit code.
    pub fn stop(&self) -> Result<i32> {
        let server = self.server();
        server.signal(Signal::TERM)?;
        server.wait(STOP_LIMIT)
    }

    /// Starts it again, after [`Self::kill`] or [`Self::stop`], on the same port and data.
    pub fn restart(&self) -> Result<()> {
        let written = self.log().len();
        let address = self.url.rsplit("//").next().context("a URL without an address")?;
        let started = spawn(&self.scratch, &self.options, address)?;
        let mut server = self.server();
        *server = started;
        let url = wait_ready(&server, written)?;
        if url != self.url {
            bail!("restarted on `{url}` and not on `{}`", self.url);
        }
        Ok(())
    }

    /// Waits until its log has `text`; for what only an operator sees.
    pub fn wait_for_log(&self, text: &str, limit: Duration) -> Result<()> {
        wait_until(&format!("`{text}` in the server's log"), limit, || {
            Ok(self.log().contains(text).then_some(()))
        })
    }

    /// Makes a command of the server's program on this data folder, `audit verify` for instance.
    pub fn admin_command<I: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = I>,
    ) -> Result<Command> {
        admin_command(&self.scratch, &self.options, arguments)
    }
}

/// Creates the first owner in the data folder of `scratch`, before the server's first start.
pub fn create_owner(
    scratch: &Scratch,
    options: &ServerOptions,
    email: &str,
    name: &str,
    organization: &str,
    password: &str,
) -> Result<()> {
    scratch.folder("home")?;
    let secrets = tempfile::tempdir()?;
    let file = secrets.path().join("password");
    std::fs::write(&file, password)?;
    let mut create = admin_command(scratch, options, ["create-owner"])?;
    create.args(["--email", email, "--name", name, "--organization", organization]);
    run(create.arg("--password-file").arg(&file))?;
    Ok(())
}

fn admin_command<I: AsRef<OsStr>>(
    scratch: &Scratch,
    options: &ServerOptions,
    arguments: impl IntoIterator<Item = I>,
) -> Result<Command> {
    let mut command = command(&Binaries::get()?.server);
    command
        .args(arguments)
        .arg("--data-dir")
        .arg(scratch.join("data"))
        .current_dir(scratch.path())
        .env("HOME", scratch.join("home"))
        .envs(options.environment.iter().map(|(name, value)| (name, value)));
    Ok(command)
}

fn spawn(scratch: &Scratch, options: &ServerOptions, address: &str) -> Result<Child> {
    let mut start = Start::new(&Binaries::get()?.server, scratch.path(), "server.log")
        .args(["serve", "--listen", address, "--data-dir"])
        .args([scratch.join("data")])
        .args(&options.arguments)
        .env("HOME", scratch.join("home"));
    if !options.without_runner {
        start = start.args(["--with-runner"]);
    }
    for (name, value) in &options.environment {
        start = start.env(name, value);
    }
    start.spawn()
}

/// Waits for the line that says where it listens, after the first `skip` bytes of the log.
fn wait_ready(server: &Child, skip: usize) -> Result<String> {
    server.wait_ready(START_LIMIT, || {
        let log = server.log();
        // A line is whole when its end is there.
        let whole = log.get(skip..).and_then(|log| log.rsplit_once('\n')).map_or("", |log| log.0);
        let line = whole.lines().find_map(|line| line.split_once(READY));
        Ok(line.map(|(_, url)| url.trim().trim_end_matches('/').to_owned()))
    })
}

/// The `keyferry` program with a home and an environment of its own.
#[derive(Clone, Debug)]
pub struct Cli {
    program: PathBuf,
    home: PathBuf,
    environment: Vec<(String, String)>,
}

impl Cli {
    /// Prepares `keyferry` with `home` as its home, an existing folder.
    pub fn new(home: &Path) -> Result<Self> {
        let program = Binaries::get()?.cli.clone();
        Ok(Self { program, home: home.to_path_buf(), environment: Vec::new() })
    }

    /// Returns the program's path.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Returns the variables that were added.
    pub fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Makes a command with `arguments`.
    pub fn command<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut command = command(&self.program);
        command
            .args(arguments)
            .current_dir(&self.home)
            .env("HOME", &self.home)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it and returns its standard output; fails with all it said when it fails.
    pub fn run<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Result<String> {
        let output = run(&mut self.command(arguments))?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs it and returns its JSON answer (`--output json` is added).
    pub fn json<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Result<Value> {
        let output = run(self.command(arguments).args(["--output", "json"]))?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("not JSON: {}", String::from_utf8_lossy(&output.stdout)))
    }

    /// Runs it, however it ends.
    pub fn output<I: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = I>,
    ) -> Result<Output> {
        output(&mut self.command(arguments))
    }

    /// Runs it with `input` on its standard input, however it ends.
    pub fn output_with_input<I: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = I>,
        input: &str,
    ) -> Result<Output> {
        output_with_input(&mut self.command(arguments), input.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stand-in for the server: says where it listens a moment after its start.
    fn server(scratch: &Scratch, script: &str) -> Child {
        Start::new("/bin/sh", scratch.path(), "server.log").args(["-c", script]).spawn().unwrap()
    }

    #[test]
    fn the_url_is_read_from_the_line_that_says_so() {
        let scratch = Scratch::new().unwrap();
        let server = server(
            &scratch,
            "echo starting; printf 'listening on http://127.0.0.1:1'; printf '234/\\n'; sleep 600",
        );
        assert_eq!(wait_ready(&server, 0).unwrap(), "http://127.0.0.1:1234");
    }

    #[test]
    fn an_old_line_is_not_taken_for_a_new_start() {
        let scratch = Scratch::new().unwrap();
        let old = "listening on http://127.0.0.1:1\n";
        scratch.write("server.log", old, 0o644).unwrap();
        let server = server(&scratch, "echo listening on http://127.0.0.1:2; sleep 600");
        assert_eq!(wait_ready(&server, old.len()).unwrap(), "http://127.0.0.1:2");
    }

    #[test]
    fn a_server_that_ends_at_once_is_no_server() {
        let scratch = Scratch::new().unwrap();
        let server = server(&scratch, "echo no root key >&2; exit 1");
        let error = wait_ready(&server, 0).unwrap_err();
        assert!(format!("{error:#}").contains("no root key"), "{error:#}");
    }
}
