//! Starts the processes of a job, reads what they say, and ends all of them.
//!
//! Every command is the leader of its own session (`setsid`), so that one signal reaches its group;
//! what left the group is found as `family.rs` says, and in namespaces the kernel ends the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use keyferry_domain::run::Isolation;
use keyferry_domain::secret::SecretString;
use rustix::process::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::family::{self, JOB_MARK, descendants, forget, signal, signal_group, start};
use crate::isolation::{Boundary, Confinement};
use crate::log::{JobLog, READ_BYTES};
use crate::private::{Handed, Private, in_memory};
use crate::secrets::MaskedStream;
use crate::workspace::Workspace;

/// The longest output that is kept for the runner itself, as of `git rev-parse`.
const MAX_CAPTURE_BYTES: usize = 4 * 1024 * 1024;

/// How long output is still read after everything that could write was killed.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a command says nothing until the end of its last line is shown, though it may be the
/// beginning of a secret.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the end of killed processes is waited for.
const KILL_TIME: Duration = Duration::from_secs(5);

/// A command to run.
pub(crate) struct Invocation {
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) folder: PathBuf,
    pub(crate) environment: BTreeMap<String, SecretString>,
    /// Keep standard output for the caller instead of writing it to the log.
    pub(crate) capture: bool,
    /// Keep standard error too.
    pub(crate) quiet: bool,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Exit code; 128 plus the signal's number when a signal ended it, as shells say it.
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// The command did not run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    #[error("start `{program}`")]
    Start {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("follow `{program}`")]
    Follow {
        program: String,
        #[source]
        source: std::io::Error,
    },
    /// Told to stop: canceled, out of time, or given up by the server.
    #[error("go on, since the job is being stopped")]
    Stopped,
}

/// Where the processes of one job run, and which they are.
pub(crate) struct Processes {
    pub(crate) confinement: Arc<Confinement>,
    pub(crate) boundary: Boundary,
    pub(crate) private: Arc<Private>,
    /// In the environment of every process of the job.
    pub(crate) mark: String,
    pub(crate) stop: CancellationToken,
    pub(crate) stop_grace: Duration,
    /// Descriptors that this process was started with and that a child would inherit.
    pub(crate) leaked_descriptors: Arc<[i32]>,
}

impl Processes {
    pub(crate) fn new(
        confinement: Arc<Confinement>,
        workspace: &Workspace,
        stop: CancellationToken,
        stop_grace: Duration,
        leaked_descriptors: Arc<[i32]>,
    ) -> Self {
        Self {
            confinement,
            boundary: workspace.boundary(),
            private: Arc::clone(workspace.private()),
            mark: workspace.mark(),
            stop,
            stop_grace,
            leaked_descriptors,
        }
    }

    /// Tells whether a process belongs to this job: it descends from one that was started here.
    pub(crate) fn owns(&self, process: u32) -> bool {
        family::is_of(&self.mark, process)
    }

    /// Runs a command to its end, its output going to `log`.
    pub(crate) async fn run(
        &self,
        invocation: Invocation,
        log: &JobLog,
    ) -> Result<Ended, ProcessError> {
        if self.stop.is_cancelled() {
            return Err(ProcessError::Stopped);
        }
        let name = invocation.program.to_string_lossy().into_owned();
        let start_failed = |source| ProcessError::Start { program: name.clone(), source };
        let (log_reader, log_writer) = std::io::pipe().map_err(start_failed)?;
        let (capture_reader, capture_writer) = std::io::pipe().map_err(start_failed)?;
        let handed = self.private.handed().map_err(start_failed)?;
        let variables = self.variables(&invocation).map_err(start_failed)?;
        let mut command = self.command(&invocation, &handed, variables.as_ref());
        let stdout = if invocation.capture {
            Stdio::from(capture_writer)
        } else {
            drop(capture_writer);
            Stdio::from(log_writer.try_clone().map_err(start_failed)?)
        };
        command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::from(log_writer));
        let inherited: Vec<&OwnedFd> =
            handed.iter().map(|file| &file.content).chain(&variables).collect();
        let mut child = start(&mut command, &inherited, Some(&self.mark)).map_err(start_failed)?;
        // The command holds the writing ends; while it lives here, reading would never end.
        drop((command, handed, variables));
        let root = child.id().unwrap_or_default();

        let log_stream =
            pipe::Receiver::from_owned_fd(OwnedFd::from(log_reader)).map_err(start_failed)?;
        let captured =
            pipe::Receiver::from_owned_fd(OwnedFd::from(capture_reader)).map_err(start_failed)?;
        let quiet = invocation.quiet;
        let stream_log = log.clone();
        let mut streams = tokio::spawn(async move {
            let talk = async {
                if quiet {
                    read_capped(log_stream).await
                } else {
                    pump(log_stream, &stream_log).await;
                    Vec::new()
                }
            };
            tokio::join!(read_capped(captured), talk)
        });

        let status = tokio::select! {
            status = child.wait() => status,
            () = self.stop.cancelled() => {
                self.terminate(root);
                let ended = tokio::time::timeout(self.stop_grace, child.wait()).await;
                if let Ok(status) = ended {
                    status
                } else {
                    self.kill(root).await;
                    child.wait().await
                }
            }
        };
        // What the command left running must not outlive its step, nor keep its pipes open.
        self.kill(root).await;
        forget(root);
        let follow = |source| ProcessError::Follow { program: name.clone(), source };
        let (stdout, stderr) = loop {
            match tokio::time::timeout(DRAIN, &mut streams).await {
                Ok(joined) => {
                    break joined.map_err(|error| follow(std::io::Error::other(error)))?;
                }
                // The rest of the output waits for the server: it is not lost.
                Err(_) if log.is_full() => {}
                // Something escaped that holds the pipe open, and says nothing any more.
                Err(_) => {
                    streams.abort();
                    break (Vec::new(), Vec::new());
                }
            }
        };
        let status = status.map_err(follow)?;
        if self.stop.is_cancelled() {
            return Err(ProcessError::Stopped);
        }
        let signal = std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or(0);
        Ok(Ended { code: status.code().unwrap_or(128 + signal), stdout, stderr })
    }

    /// Returns the job's variables as bubblewrap reads them, for jobs in namespaces. They come from
    /// the pipeline and from its checkout, and `PATH`, `LD_PRELOAD` and the like would act on what
    /// is started outside the namespaces; so nothing outside sees them.
    fn variables(&self, invocation: &Invocation) -> std::io::Result<Option<OwnedFd>> {
        if self.confinement.isolation() == Isolation::Process {
            return Ok(None);
        }
        let mut words = b"--clearenv\0".to_vec();
        let mark = (JOB_MARK, self.mark.as_bytes());
        let own = invocation
            .environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose().as_bytes()));
        for (name, value) in own.chain([mark]) {
            for word in [b"--setenv".as_slice(), name.as_bytes(), value] {
                words.extend_from_slice(word);
                words.push(0);
            }
        }
        in_memory(&words).map(Some)
    }

    fn command(
        &self,
        invocation: &Invocation,
        handed: &[Handed],
        variables: Option<&OwnedFd>,
    ) -> Command {
        let (program, mut arguments) = self.confinement.wrap(
            &self.boundary,
            &invocation.folder,
            handed,
            variables,
            invocation.program.clone(),
            invocation.arguments.clone(),
        );
        arguments.insert(0, program);
        let meant = handed.iter().map(|file| &file.content).chain(variables);
        if let Some(script) = closing(&self.leaked_descriptors, meant) {
            arguments.splice(0..0, ["bash", "-c", &script, "keyferry"].map(OsString::from));
        }
        let mut command = plain_command("setsid");
        command.args(arguments).current_dir(&invocation.folder).env_clear().kill_on_drop(true);
        if variables.is_some() {
            command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        } else {
            for (name, value) in &invocation.environment {
                command.env(name, value.expose());
            }
        }
        command.env(JOB_MARK, &self.mark);
        command
    }

    /// Asks the processes below `root` to end. The outermost one is spared: bubblewrap would take
    /// the rest with it, without giving them time.
    fn terminate(&self, root: u32) {
        let below = descendants(root);
        if below.is_empty() || self.confinement.isolation() == Isolation::Process {
            signal_group(root, Signal::TERM);
        }
        for process in below {
            signal(process, Signal::TERM);
        }
    }

    /// Ends everything: the group, what descends from it, and what left it.
    async fn kill(&self, root: u32) {
        signal_group(root, Signal::KILL);
        self.kill_rest(Some(root)).await;
    }

    /// Ends what is left of this job, wherever it went: until nothing is found any more, since what
    /// is being killed can still start something.
    pub(crate) async fn kill_rest(&self, root: Option<u32>) {
        let adopts = self.confinement.isolation() == Isolation::Process;
        let until = tokio::time::Instant::now() + KILL_TIME;
        while family::kill_of(&self.mark, root, adopts) {
            if tokio::time::Instant::now() > until {
                tracing::warn!("some processes of a job do not end");
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The one place that makes commands.
#[expect(clippy::disallowed_methods, reason = "this is the room that starts processes")]
pub(crate) fn plain_command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// Returns a shell's text that closes what leaked in and then runs its arguments; safe Rust cannot
/// close anything between fork and exec. What is `meant` to be inherited stays open: a leaked
/// descriptor may be closed by now, and its number in use again.
fn closing<'a>(leaked: &[i32], meant: impl Iterator<Item = &'a OwnedFd>) -> Option<String> {
    let meant: BTreeSet<i32> = meant.map(AsRawFd::as_raw_fd).collect();
    let closed: Vec<String> = leaked
        .iter()
        .filter(|number| !meant.contains(number))
        .map(|number| format!("{number}>&-"))
        .collect();
    (!closed.is_empty()).then(|| format!("exec {}; exec \"$@\"", closed.join(" ")))
}

/// Returns descriptors above 2 that a child would inherit. To be asked before this process makes
/// itself undumpable, after which it cannot read its own `/proc`.
pub(crate) fn inheritable_descriptors() -> Vec<i32> {
    // Whoever is starting something makes descriptors inheritable for a moment; those are no leak.
    let _nothing_starts = family::pause_starts();
    let Ok(entries) = fs::read_dir("/proc/self/fdinfo") else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        let flags = info
            .lines()
            .find_map(|line| line.strip_prefix("flags:"))
            .and_then(|digits| u32::from_str_radix(digits.trim(), 8).ok());
        // O_CLOEXEC, as Linux prints it.
        if number > 2 && flags.is_some_and(|flags| flags & 0o2_000_000 == 0) {
            found.push(number);
        }
    }
    found
}

async fn pump(mut stream: pipe::Receiver, log: &JobLog) {
    let mut masked = MaskedStream::new(Arc::clone(log.secrets()));
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let soon = tokio::time::timeout(PAUSE, stream.read(&mut buffer)).await;
        let read = if let Ok(read) = soon {
            read
        } else {
            log.write(masked.settle()).await;
            stream.read(&mut buffer).await
        };
        match read {
            Ok(count) if count > 0 => log.write(masked.push(&buffer[..count])).await,
            _ => break,
        }
    }
    log.write(masked.finish()).await;
}

async fn read_capped(mut stream: pipe::Receiver) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(count) = stream.read(&mut buffer).await
        && count > 0
    {
        let room = MAX_CAPTURE_BYTES.saturating_sub(bytes.len());
        bytes.extend_from_slice(&buffer[..count.min(room)]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_that_is_handed_over_is_not_closed_as_a_leak() {
        let handed = in_memory(b"secret").unwrap();
        let number = handed.as_raw_fd();
        assert_eq!(closing(&[number], [&handed].into_iter()), None);
        assert_eq!(
            closing(&[number, 901], [&handed].into_iter()).unwrap(),
            "exec 901>&-; exec \"$@\""
        );
        assert_eq!(closing(&[], std::iter::empty()), None);
    }
}
