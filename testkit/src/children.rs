//! Programs started by tests: with a listed environment, a log, and no way to outlive the test.
//!
//! A [`Child`] is killed with its process group when dropped. Should the test process die first
//! (Ctrl-C, SIGKILL, a static that is never dropped), the kernel kills the child: each is started
//! by `setpriv --pdeathsig` from one thread that lives as long as this process, since the signal
//! comes when the starting *thread* ends.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::environment::{search_path, variable};
use crate::wait_until;

/// The user that takes root's place where a program refuses root; every Linux has it.
pub const UNPRIVILEGED_USER: &str = "nobody";

/// Makes a command with nothing of this process's environment but PATH.
#[expect(clippy::disallowed_methods, reason = "testkit exists to start programs")]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", search_path()).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    // Temporary folders stay where the caller wants them.
    if let Some(folder) = variable("TMPDIR") {
        command.env("TMPDIR", folder);
    }
    command
}

/// Runs `command` to its end; fails with its output when it fails.
pub fn run(command: &mut Command) -> Result<Output> {
    let output = output(command)?;
    if !output.status.success() {
        bail!("`{}` failed: {}", name_of(command), describe(&output));
    }
    Ok(output)
}

/// Runs `command` to its end, however it ends.
pub fn output(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| format!("failed to start `{}`", name_of(command)))
}

/// Runs `command` with `input` on its standard input; fails with its output when it fails.
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Result<Output> {
    let name = name_of(command);
    let output = output_with_input(command, input)?;
    if !output.status.success() {
        bail!("`{name}` failed: {}", describe(&output));
    }
    Ok(output)
}

/// Runs `command` with `input` on its standard input, however it ends.
pub fn output_with_input(command: &mut Command, input: &[u8]) -> Result<Output> {
    let name = name_of(command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start `{name}`"))?;
    let mut stdin = child.stdin.take().context("a piped standard input is missing")?;
    std::thread::scope(|scope| {
        // A program that does not read its input closes the pipe; its exit status tells.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().with_context(|| format!("failed to wait for `{name}`"))
    })
}

/// Says how a program ended and what it said, for a test's failure.
pub fn describe(output: &Output) -> String {
    format!(
        "{}\n--- stdout\n{}--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn name_of(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// A program to start in the background.
pub struct Start {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    folder: PathBuf,
    log: PathBuf,
    as_unprivileged: bool,
}

impl Start {
    /// Plans `program` to run in `folder`, with its output in `folder`/`log_name`.
    pub fn new(program: impl Into<PathBuf>, folder: &Path, log_name: &str) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: folder.to_path_buf(),
            log: folder.join(log_name),
            as_unprivileged: false,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = I>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Runs it as [`UNPRIVILEGED_USER`] when this process is root.
    #[must_use]
    pub const fn unprivileged(mut self) -> Self {
        self.as_unprivileged = true;
        self
    }

    /// Starts it.
    pub fn spawn(self) -> Result<Child> {
        let log_file = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("failed to open `{}`", self.log.display()))?;
        let mut command = command("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if self.as_unprivileged {
            command.args(unprivileged_arguments());
        }
        command
            .arg("--")
            .arg(&self.program)
            .args(&self.arguments)
            .envs(self.environment)
            .current_dir(&self.folder)
            .stdout(log_file.try_clone()?)
            .stderr(log_file)
            .process_group(0);
        let process = spawn_from_lasting_thread(command)
            .with_context(|| format!("failed to start `{}`", self.program.display()))?;
        Ok(Child { process: Mutex::new(process), program: self.program, log: self.log })
    }
}

/// `setpriv`'s arguments to leave root; none when this process is not root.
fn unprivileged_arguments() -> Vec<String> {
    if !crate::runs_as_root() {
        return Vec::new();
    }
    vec![
        format!("--reuid={UNPRIVILEGED_USER}"),
        "--regid=nogroup".to_owned(),
        "--clear-groups".to_owned(),
    ]
}

/// Makes a command that runs as [`UNPRIVILEGED_USER`] when this process is root.
pub fn unprivileged_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = command("setpriv");
    command.args(unprivileged_arguments()).arg("--").arg(program);
    command
}

/// Gives `path` to [`UNPRIVILEGED_USER`] when this process is root.
pub fn give_to_unprivileged(path: &Path) -> Result<()> {
    if crate::runs_as_root() {
        let id = run(command("id").args(["-u", UNPRIVILEGED_USER]))?;
        let id: u32 = String::from_utf8(id.stdout)?.trim().parse()?;
        std::os::unix::fs::chown(path, Some(id), None)
            .with_context(|| format!("failed to give `{}` away", path.display()))?;
    }
    Ok(())
}

type Request = (Command, Sender<std::io::Result<std::process::Child>>);

fn spawn_from_lasting_thread(command: Command) -> Result<std::process::Child> {
    static STARTER: OnceLock<Mutex<Sender<Request>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (requests, incoming) = channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, answer) in incoming {
                drop(answer.send(command.spawn()));
            }
        });
        Mutex::new(requests)
    });
    let (answer, spawned) = channel();
    starter
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, answer))
        .map_err(|_| anyhow!("the thread that starts programs is gone"))?;
    Ok(spawned.recv().context("the thread that starts programs is gone")??)
}

/// A running program; killed with its process group when dropped.
pub struct Child {
    process: Mutex<std::process::Child>,
    program: PathBuf,
    log: PathBuf,
}

impl Child {
    fn process(&self) -> std::sync::MutexGuard<'_, std::process::Child> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the program's process id.
    pub fn id(&self) -> u32 {
        self.process().id()
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.id()).ok().and_then(Pid::from_raw)
    }

    /// Returns everything it has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Returns the file that it writes to.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Fails with its log when it has ended.
    pub fn check_alive(&self) -> Result<()> {
        match self.process().try_wait()? {
            None => Ok(()),
            Some(status) => {
                bail!("`{}` ended ({status}):\n{}", self.program.display(), self.log())
            }
        }
    }

    /// Waits until `look` finds something, as long as the program lives.
    pub fn wait_ready<T>(
        &self,
        limit: Duration,
        mut look: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let name = self.program.display().to_string();
        wait_until(&format!("`{name}` ready"), limit, || {
            self.check_alive()?;
            look()
        })
        .with_context(|| format!("log of `{name}`:\n{}", self.log()))
    }

    /// Sends `signal` to the program alone, not to its children.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().context("a process id that is none")?;
        kill_process(pid, signal).context("failed to send a signal")
    }

    /// Waits for the end and returns the exit code, or the signal as a negative number.
    pub fn wait(&self, limit: Duration) -> Result<i32> {
        wait_until(&format!("end of `{}`", self.program.display()), limit, || {
            let status = self.process().try_wait()?;
            Ok(status.map(|status| {
                status.code().or_else(|| status.signal().map(|signal| -signal)).unwrap_or(-1)
            }))
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            // Already gone is as good as killed.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.process().wait();
    }
}

/// Starts a server on a free port, and on another one when the first was taken meanwhile.
pub fn start_on_free_port<T>(start: impl Fn(u16) -> Result<T>) -> Result<T> {
    const TRIES: usize = 5;
    for _ in 1..TRIES {
        match start(crate::ports::free_port()) {
            // All of them say it in these words, which are the system's (EADDRINUSE).
            Err(error) if format!("{error:#}").contains("in use") => {}
            answer => return answer,
        }
    }
    start(crate::ports::free_port())
}

/// Says whether something accepts connections on loopback's `port`.
pub fn accepts(port: u16) -> bool {
    std::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scratch;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_dropped_child_is_killed_with_its_children() {
        let scratch = Scratch::new().unwrap();
        let child = Start::new("/bin/sh", scratch.path(), "log")
            .args(["-c", "sleep 600 & echo $! ; wait"])
            .spawn()
            .unwrap();
        let grandchild: i32 =
            child.wait_ready(LIMIT, || Ok(child.log().trim().parse().ok())).unwrap();
        let alive = |pid: i32| {
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| !stat.contains(") Z"))
        };
        assert!(alive(grandchild));
        drop(child);
        wait_until("grandchild's end", LIMIT, || Ok((!alive(grandchild)).then_some(()))).unwrap();
    }

    #[test]
    fn a_child_survives_the_thread_that_asked_for_it() {
        let scratch = Scratch::new().unwrap();
        let folder = scratch.path().to_path_buf();
        let child = std::thread::spawn(move || {
            Start::new("/bin/sleep", &folder, "log").args(["600"]).spawn().unwrap()
        })
        .join()
        .unwrap();
        assert!(child.wait(Duration::from_millis(100)).is_err());
        child.check_alive().unwrap();
        child.signal(Signal::TERM).unwrap();
        assert_eq!(child.wait(LIMIT).unwrap(), -15);
    }

    #[test]
    fn a_child_that_ends_early_shows_its_log() {
        let scratch = Scratch::new().unwrap();
        let child = Start::new("/bin/sh", scratch.path(), "log")
            .args(["-c", "echo no such port >&2; exit 3"])
            .spawn()
            .unwrap();
        let error = child.wait_ready::<()>(LIMIT, || Ok(None)).unwrap_err();
        assert!(format!("{error:#}").contains("no such port"), "{error:#}");
        assert_eq!(child.wait(LIMIT).unwrap(), 3);
    }

    #[test]
    fn a_taken_port_is_tried_again_and_nothing_else_is() {
        let tries = std::cell::Cell::new(0);
        let count = |words: &'static str, until: i32| {
            let start = |_| {
                tries.set(tries.get() + 1);
                if tries.get() == until { Ok(()) } else { Err(anyhow!(words)) }
            };
            tries.set(0);
            (start_on_free_port(start).is_ok(), tries.get())
        };
        assert_eq!(count("bind: Address already in use", 2), (true, 2));
        assert_eq!(count("bind: Address already in use", 99), (false, 5));
        assert_eq!(count("no such file", 2), (false, 1));
    }

    #[test]
    fn a_command_sees_nothing_of_this_environment() {
        let output = run(&mut command("env")).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("PATH="), "{text}");
        assert!(!text.contains("CARGO"), "{text}");
    }

    #[test]
    fn a_failed_command_tells_what_it_said() {
        let error = run(command("sh").args(["-c", "echo why >&2; exit 1"])).unwrap_err();
        assert!(error.to_string().contains("why"), "{error}");
    }

    #[test]
    fn input_that_is_not_read_is_no_failure() {
        run_with_input(&mut command("true"), &vec![b'x'; 1 << 20]).unwrap();
        let echoed = run_with_input(&mut command("cat"), b"through").unwrap();
        assert_eq!(echoed.stdout, b"through");
    }
}
