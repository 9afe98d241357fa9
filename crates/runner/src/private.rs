//! Where a job's secrets lie as files, for tools that take a path: keys, service bindings.
//!
//! For jobs in namespaces they lie nowhere on this machine: each command gets them over descriptors,
//! in a memory file system of its own namespace, and the kernel takes that away with the command,
//! also when the runner is killed. Elsewhere they are in a folder in memory; a guard process removes
//! it when its owner dies, and every start removes what a killed guard has left: the folder's name
//! tells whose it is.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use keyferry_domain::run::Isolation;
use keyferry_domain::secret::SecretBytes;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::beneath;
use crate::family::{JOB_MARK, forget, start, start_time_of};
use crate::process::plain_command;

/// Where jobs in namespaces find their secrets.
pub(crate) const IN_NAMESPACE: &str = "/run/keyferry";

/// What the names of folders on the machine begin with.
const PREFIX: &str = "keyferry-";

/// Waits for the end of its owner, whose pipe is its standard input; then removes the folder and ends
/// what the owner can no longer end, which carries the job's mark.
const GUARD: &str = r#"trap '' HUP INT TERM
read -r nothing
rm -rf -- "$1"
for round in 1 2 3; do
  for process in /proc/[0-9]*; do
    grep -qsxzF -- "$2" "$process/environ" && kill -9 "${process#/proc/}" 2>/dev/null
  done
done
rm -rf -- "$1""#;

/// The secret files of one job. Dropping it removes them.
pub(crate) struct Private {
    root: PathBuf,
    place: Place,
}

enum Place {
    /// In this process's memory; by the path below the root.
    Memory(Mutex<BTreeMap<PathBuf, SecretBytes>>),
    /// A folder on this machine, and what ends its guard when it is closed.
    Folder { _guard: io::PipeWriter },
}

/// A file on its way into a namespace.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) path: PathBuf,
    pub(crate) content: OwnedFd,
}

impl Private {
    /// Makes an empty place, as it fits the isolation. `fallback` is used where the machine has no
    /// memory file system for everybody; `mark` is that of the job's processes.
    pub(crate) fn create(isolation: Isolation, fallback: &Path, mark: &str) -> io::Result<Self> {
        match isolation {
            Isolation::Namespaces => Ok(Self {
                root: PathBuf::from(IN_NAMESPACE),
                place: Place::Memory(Mutex::default()),
            }),
            Isolation::Process => Self::on_this_machine(&private_base(fallback), mark),
        }
    }

    fn on_this_machine(base: &Path, mark: &str) -> io::Result<Self> {
        let own = Owner::this_process()?;
        let folder = tempfile::Builder::new()
            .prefix(&own.prefix())
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(base)?
            .keep();
        let (gone, guard) = io::pipe()?;
        let mut command = plain_command("setsid");
        command
            .args(["sh", "-c", GUARD, "keyferry-guard"])
            .arg(&folder)
            .arg(format!("{JOB_MARK}={mark}"))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .current_dir("/")
            .stdin(Stdio::from(gone))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = match start(&mut command, &[], None) {
            Ok(child) => child,
            Err(error) => {
                beneath::wipe(&folder)?;
                return Err(error);
            }
        };
        tokio::spawn(async move {
            let process = child.id();
            let _ = child.wait().await;
            if let Some(process) = process {
                forget(process);
            }
        });
        Ok(Self { root: folder, place: Place::Folder { _guard: guard } })
    }

    /// Returns the folder as the job's processes see it.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the folder where it is on this machine.
    pub(crate) fn folder(&self) -> Option<&Path> {
        matches!(self.place, Place::Folder { .. }).then_some(self.root.as_path())
    }

    /// Writes a file at a path below the root, in place of what was there.
    pub(crate) fn write(&self, name: &Path, bytes: &[u8]) -> io::Result<()> {
        match &self.place {
            Place::Memory(files) => {
                let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
                files.insert(name.to_path_buf(), SecretBytes::new(bytes.to_vec()));
                Ok(())
            }
            Place::Folder { .. } => {
                let path = self.root.join(name);
                if let Some(parent) = path.parent() {
                    beneath::make_folder(parent)?;
                }
                beneath::write_file(&path, bytes)
            }
        }
    }

    /// Removes a file, or a folder with everything in it.
    pub(crate) fn remove(&self, name: &Path) -> io::Result<()> {
        match &self.place {
            Place::Memory(files) => {
                let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
                files.retain(|path, _| !path.starts_with(name));
                Ok(())
            }
            Place::Folder { .. } => {
                let path = self.root.join(name);
                match fs::symlink_metadata(&path) {
                    Ok(metadata) if metadata.is_dir() => beneath::wipe(&path),
                    Ok(_) => fs::remove_file(&path),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Returns what a namespace has to be given; nothing for a folder on this machine.
    pub(crate) fn handed(&self) -> io::Result<Vec<Handed>> {
        let Place::Memory(files) = &self.place else { return Ok(Vec::new()) };
        let files = files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut handed = Vec::with_capacity(files.len());
        for (name, bytes) in files.iter() {
            let content = in_memory(bytes.expose())?;
            handed.push(Handed { path: self.root.join(name), content });
        }
        Ok(handed)
    }
}

/// Returns a descriptor of a file that is in memory only, to be read from its beginning.
pub(crate) fn in_memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = fs::File::from(memfd_create("keyferry", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

impl Drop for Private {
    fn drop(&mut self) {
        if let Some(folder) = self.folder()
            && let Err(error) = beneath::wipe(folder)
        {
            tracing::warn!(%error, "a job's private folder could not be wiped");
        }
    }
}

/// A process, told from a later one with the same number by the time that it started.
#[derive(Debug, PartialEq, Eq)]
struct Owner {
    /// The world in which the number counts: containers may share a folder and not their processes.
    namespace: u64,
    process: u32,
    started: u64,
}

impl Owner {
    fn this_process() -> io::Result<Self> {
        let process = std::process::id();
        let started = start_time_of(process)
            .ok_or_else(|| io::Error::other("this process is not in /proc"))?;
        Ok(Self { namespace: own_namespace(), process, started })
    }

    fn prefix(&self) -> String {
        format!("{PREFIX}{}-{}-{}-", self.namespace, self.process, self.started)
    }

    fn of(folder_name: &str) -> Option<Self> {
        let mut parts = folder_name.strip_prefix(PREFIX)?.split('-');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (namespace, process, started) = (number()?, number()?, number()?);
        Some(Self { namespace, process: process.try_into().ok()?, started })
    }

    fn is_gone(&self) -> bool {
        self.namespace == own_namespace() && start_time_of(self.process) != Some(self.started)
    }
}

/// Returns the number of this process's PID namespace; 0 where the kernel does not tell.
fn own_namespace() -> u64 {
    let link = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let digits: String = link.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_default()
}

/// Where secrets lie as files: memory, where the machine has a file system for that.
fn private_base(fallback: &Path) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let is_memory = rustix::fs::statfs(memory).is_ok_and(|stat| stat.f_type == 0x0102_1994);
    let is_ours = rustix::fs::access(memory, rustix::fs::Access::WRITE_OK).is_ok();
    if is_memory && is_ours { memory.to_path_buf() } else { fallback.to_path_buf() }
}

/// Removes what dead processes of this user left. What cannot be removed is left to the next start.
pub(crate) fn sweep(fallback: &Path) {
    sweep_base(&private_base(fallback));
}

fn sweep_base(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    let own_user = rustix::process::geteuid().as_raw();
    for entry in entries.flatten() {
        let is_left = entry.file_name().to_str().and_then(Owner::of).is_some_and(|o| o.is_gone());
        // Not following links: somebody else's link must not lead this into another folder.
        let is_ours = fs::symlink_metadata(entry.path())
            .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == own_user);
        if is_left
            && is_ours
            && let Err(error) = beneath::wipe(&entry.path())
        {
            tracing::warn!(%error, "what a runner left that was killed could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(base: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(base)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_what_dead_processes_left_is_swept() {
        let base = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("keep"), "x").unwrap();
        let own = Owner::this_process().unwrap();
        let earlier = Owner { started: own.started - 1, ..Owner::this_process().unwrap() };
        let dead = Owner { process: u32::MAX - 1, ..Owner::this_process().unwrap() };
        let elsewhere = Owner { namespace: own.namespace + 1, process: u32::MAX, started: 1 };
        let living = format!("{}a", own.prefix());
        let foreign = format!("{}b", elsewhere.prefix());
        let kept = [&living, &foreign, "keyferry-abc", "keyferry-1-2", "other"];
        let left = [format!("{}c", earlier.prefix()), format!("{}d", dead.prefix())];
        for name in kept.iter().copied().chain(left.iter().map(String::as_str)) {
            beneath::make_folder(&base.path().join(name).join("bindings")).unwrap();
            fs::write(base.path().join(name).join("bindings/key"), "secret").unwrap();
        }
        let link = format!("{}e", dead.prefix());
        std::os::unix::fs::symlink(outside.path(), base.path().join(&link)).unwrap();
        sweep_base(base.path());
        let mut expected: Vec<&str> = kept.to_vec();
        expected.push(&link);
        expected.sort_unstable();
        assert_eq!(names(base.path()), expected);
        assert!(outside.path().join("keep").exists());
        sweep_base(Path::new("/nowhere"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_folder_is_private_and_goes_with_its_owner() {
        let base = tempfile::tempdir().unwrap();
        let private = Private::on_this_machine(base.path(), "a-test").unwrap();
        private.write(Path::new("bindings/db/password"), b"hunter2").unwrap();
        let path = private.root().join("bindings/db/password");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(private.root()).unwrap().mode() & 0o777, 0o700);
        sweep_base(base.path());
        assert!(path.exists(), "a living owner's files");
        private.remove(Path::new("bindings")).unwrap();
        assert!(!path.exists() && private.root().exists());
        drop(private);
        assert_eq!(names(base.path()), Vec::<String>::new());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_guard_removes_what_an_owner_cannot() {
        let base = tempfile::tempdir().unwrap();
        let private = Private::on_this_machine(base.path(), "a-test").unwrap();
        private.write(Path::new("key"), b"secret").unwrap();
        let folder = private.root().to_path_buf();
        // As when the owner is killed: its end of the pipe is closed and nothing else is done.
        let mut private = std::mem::ManuallyDrop::new(private);
        private.place = Place::Memory(Mutex::default());
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while folder.exists() {
            assert!(std::time::Instant::now() < until, "it is still there");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    #[test]
    fn for_namespaces_nothing_is_on_this_machine() {
        let private = Private::create(Isolation::Namespaces, Path::new("/nowhere"), "m").unwrap();
        private.write(Path::new("bindings/db/password"), b"hunter2").unwrap();
        private.write(Path::new("a.key"), b"key").unwrap();
        assert!(private.folder().is_none() && !private.root().exists());
        let paths: Vec<PathBuf> =
            private.handed().unwrap().into_iter().map(|one| one.path).collect();
        assert_eq!(
            paths,
            [Path::new("/run/keyferry/a.key"), Path::new("/run/keyferry/bindings/db/password")]
        );
        private.remove(Path::new("bindings")).unwrap();
        assert_eq!(private.handed().unwrap().len(), 1);
    }
}
