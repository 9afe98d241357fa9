//! How jobs are kept apart: bubblewrap where it works, else a clean environment only.
//!
//! [`Confinement`] is decided once, at the runner's start, by trying. In namespaces a job sees the
//! system's programs read-only, its own folders, and nothing of the runner, the server or other
//! jobs; the network is shared. Source: `bwrap(1)`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use keyferry_domain::run::Isolation;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use crate::private::{Handed, IN_NAMESPACE};
use crate::settings::Settings;
use crate::workspace::BINDINGS;

/// System folders that jobs see, read-only, with everything in them.
const SYSTEM_FOLDERS: &[&str] =
    &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store"];

/// What jobs see of `/etc`: names, certificates, the linker's cache, and tools' defaults. Nothing
/// else, since people keep passwords there.
const SYSTEM_SETTINGS: &[&str] = &[
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/containers/policy.json",
    "/etc/containers/registries.conf",
    "/etc/containers/storage.conf",
    "/etc/crypto-policies",
    "/etc/debian_version",
    "/etc/group",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/magic",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/openssl.cnf",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/shells",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/subgid",
    "/etc/subuid",
    "/etc/timezone",
];

/// How this runner keeps jobs apart.
#[derive(Debug, Clone)]
pub struct Confinement {
    isolation: Isolation,
    /// Why it is not namespaces.
    reason: Option<String>,
    hidden: Vec<PathBuf>,
    visible: Vec<PathBuf>,
}

/// The folders of one job, as far as confinement has to know them.
#[derive(Debug, Clone)]
pub(crate) struct Boundary {
    /// Read and write.
    pub(crate) writable: Vec<PathBuf>,
    /// Read only, on top of the writable ones.
    pub(crate) readable: Vec<PathBuf>,
    /// What `/tmp` is.
    pub(crate) temporary: PathBuf,
}

impl Confinement {
    /// Finds out what this machine can do, by doing it once.
    pub async fn probe(settings: &Settings) -> Self {
        let mut hidden = settings.hidden_paths.clone();
        hidden.push(settings.work_folder.clone());
        let mut visible = settings.visible_paths.clone();
        visible.extend(settings.extra_path.iter().cloned());
        visible.extend(settings.ca_bundle.iter().cloned());
        let mut confinement =
            Self { isolation: Isolation::Namespaces, reason: None, hidden, visible };
        let tried = if settings.use_namespaces {
            confinement.try_namespaces(&settings.work_folder).await
        } else {
            Err("namespaces are switched off".to_owned())
        };
        if let Err(reason) = tried {
            confinement.isolation = Isolation::Process;
            confinement.reason = Some(reason);
        }
        confinement
    }

    /// Returns what is in force.
    pub const fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// Returns why jobs are not in namespaces of their own, when they are not.
    pub fn weakness(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    async fn try_namespaces(&self, folder: &Path) -> Result<(), String> {
        // A folder of its own: bubblewrap leaves mount points behind in what it binds.
        let trial = tempfile::Builder::new()
            .prefix("trial-")
            .tempdir_in(folder)
            .map_err(|error| format!("no folder to try bubblewrap in: {error}"))?;
        let boundary = Boundary {
            writable: vec![trial.path().to_path_buf()],
            readable: Vec::new(),
            temporary: trial.path().to_path_buf(),
        };
        let mut arguments = self.arguments(&boundary, trial.path(), &[], None);
        // Alone: a job's shell is among the first processes of its own world.
        arguments.extend(["sh", "-c", "test $$ -le 3"].map(Into::into));
        let mut command = crate::process::plain_command("bwrap");
        command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let started = crate::family::start(&mut command, &[], None);
        let ended = match started {
            Ok(child) => {
                let process = child.id();
                let output = child.wait_with_output().await;
                if let Some(process) = process {
                    crate::family::forget(process);
                }
                output
            }
            Err(error) => Err(error),
        };
        match ended {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err("bubblewrap (`bwrap`) is not installed".to_owned())
            }
            Err(error) => Err(format!("bubblewrap does not start: {error}")),
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr);
                let line = text.lines().next().unwrap_or("no reason given");
                Err(format!("bubblewrap does not work here: {line}"))
            }
        }
    }

    /// Returns program and arguments that run `program` within the boundary; it has to inherit what
    /// is `handed` to it.
    pub(crate) fn wrap(
        &self,
        boundary: &Boundary,
        folder: &Path,
        handed: &[Handed],
        variables: Option<&OwnedFd>,
        program: OsString,
        arguments: Vec<OsString>,
    ) -> (OsString, Vec<OsString>) {
        match self.isolation {
            Isolation::Process => (program, arguments),
            Isolation::Namespaces => {
                let mut all = self.arguments(boundary, folder, handed, variables);
                all.push(program);
                all.extend(arguments);
                ("bwrap".into(), all)
            }
        }
    }

    /// Returns bubblewrap's arguments, `--` included. No secret is among them: argument lists can be
    /// read by every process of the machine.
    fn arguments(
        &self,
        boundary: &Boundary,
        folder: &Path,
        handed: &[Handed],
        variables: Option<&OwnedFd>,
    ) -> Vec<OsString> {
        let mut list = Arguments(Vec::new());
        if let Some(variables) = variables {
            list.word("--args");
            list.word(variables.as_raw_fd().to_string());
        }
        list.words(&[
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-uts",
            "--unshare-cgroup-try",
            "--die-with-parent",
            "--cap-drop",
            "ALL",
            "--hostname",
            "keyferry-job",
        ]);
        let mut bound: Vec<&Path> = Vec::new();
        for text in SYSTEM_FOLDERS {
            let path = Path::new(text);
            match std::fs::read_link(path) {
                Ok(target) => list.paths("--symlink", &target, path),
                Err(_) if path.is_dir() => {
                    list.paths("--ro-bind", path, path);
                    bound.push(path);
                }
                Err(_) => {}
            }
        }
        for path in SYSTEM_SETTINGS.iter().map(Path::new) {
            list.paths("--ro-bind-try", path, path);
        }
        list.words(&["--proc", "/proc", "--dev", "/dev"]);
        list.paths("--bind", &boundary.temporary, Path::new("/tmp"));
        list.words(&["--dir", "/var/tmp", "--dir", "/run"]);
        for path in &self.visible {
            list.paths("--ro-bind-try", path, path);
            bound.push(path);
        }
        for path in self.hidden.iter().filter(|path| bound.iter().any(|top| path.starts_with(top)))
        {
            if path.is_dir() {
                list.word("--tmpfs");
                list.word(path);
            } else if path.exists() {
                list.paths("--ro-bind", Path::new("/dev/null"), path);
            }
        }
        for path in &boundary.writable {
            list.paths("--bind", path, path);
        }
        for path in &boundary.readable {
            list.paths("--ro-bind", path, path);
        }
        list.secrets(handed);
        list.words(&["--remount-ro", "/", "--chdir"]);
        list.word(folder);
        list.word("--");
        list.0
    }
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn word(&mut self, word: impl Into<OsString>) {
        self.0.push(word.into());
    }

    fn words(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(Into::into));
    }

    fn paths(&mut self, option: &str, from: &Path, to: &Path) {
        self.0.extend([option.into(), from.into(), to.into()]);
    }

    /// Adds the secret files, in a memory file system that only this command's namespace has.
    fn secrets(&mut self, handed: &[Handed]) {
        self.words(&["--perms", "0700", "--tmpfs", IN_NAMESPACE]);
        let mut folders = BTreeSet::from([Path::new(IN_NAMESPACE).join(BINDINGS)]);
        for file in handed {
            // Each folder before what is in it: a set of paths is in that order.
            let above = file.path.ancestors().skip(1);
            folders.extend(
                above.take_while(|path| *path != Path::new(IN_NAMESPACE)).map(Path::to_path_buf),
            );
        }
        for folder in &folders {
            self.words(&["--perms", "0700", "--dir"]);
            self.word(folder);
        }
        for file in handed {
            self.words(&["--perms", "0600", "--file"]);
            self.word(file.content.as_raw_fd().to_string());
            self.word(&file.path);
        }
    }
}

/// Makes this process unreadable for others of the same user: no ptrace, no `/proc/<pid>/mem`, no
/// core dump, which would all hold tokens and material.
pub fn protect_this_process() -> std::io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_paths_are_covered_where_jobs_could_see_them() {
        let mut settings = Settings::new("/tmp/work".into(), "/usr/bin/true".into());
        settings.hidden_paths = vec!["/usr/lib".into(), "/root".into()];
        let confinement = Confinement {
            isolation: Isolation::Namespaces,
            reason: None,
            hidden: settings.hidden_paths.clone(),
            visible: Vec::new(),
        };
        let boundary = Boundary {
            writable: vec!["/job".into()],
            readable: Vec::new(),
            temporary: "/job/tmp".into(),
        };
        let text: Vec<String> = confinement
            .arguments(&boundary, Path::new("/job"), &[], None)
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let text = text.join(" ");
        assert!(text.contains("--tmpfs /usr/lib"), "{text}");
        assert!(!text.contains("/root"), "{text}");
        assert!(text.contains("--unshare-pid") && text.contains("--cap-drop ALL"), "{text}");
        assert!(!text.contains("--share-net") && !text.contains("--bind / "), "{text}");
    }
}
