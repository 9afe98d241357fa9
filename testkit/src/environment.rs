//! What the machine offers: programs, folders, and whether this is continuous integration.
//!
//! The only place in testkit that reads the environment.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Folder with ready-made `keyferry` and `keyferry-server`; unset means that cargo builds them.
pub const BINARIES_VARIABLE: &str = "KEYFERRY_TEST_BINARIES";

#[expect(
    clippy::disallowed_methods,
    reason = "the one place in testkit that reads the environment"
)]
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Returns the search path for programs: the caller's, then where Debian puts servers.
pub(crate) fn search_path() -> OsString {
    let mut folders: Vec<PathBuf> =
        variable("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    folders.extend(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from));
    folders.extend(postgres_folders());
    std::env::join_paths(folders).unwrap_or_else(|_| "/usr/bin:/bin".into())
}

/// Debian keeps PostgreSQL's own programs out of PATH, a folder per version; newest first.
fn postgres_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    folders.sort_by_key(|folder| {
        let version = folder.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        std::cmp::Reverse(version.and_then(|version| version.parse::<u32>().ok()))
    });
    folders
}

/// Returns where `program` is; a name with a slash is looked up as it is.
pub fn find_program(program: &str) -> Option<PathBuf> {
    let is_program = |path: &Path| {
        path.metadata().is_ok_and(|metadata| {
            metadata.is_file() && (metadata.permissions().mode() & 0o111 != 0 || is_library(path))
        })
    };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| is_program(path));
    }
    std::env::split_paths(&search_path())
        .map(|folder| folder.join(program))
        .find(|path| is_program(path))
}

/// A server's loadable module has no execute bit.
fn is_library(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "so")
}

/// Says whether this is continuous integration (`CI` is set), where nothing may be skipped.
pub fn in_continuous_integration() -> bool {
    variable("CI").is_some()
}

/// Says whether this process is root; PostgreSQL and Gitea refuse that.
pub fn runs_as_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns `~/.cache/keyferry` (or below `XDG_CACHE_HOME`), where built peers are kept.
pub fn cache_folder() -> PathBuf {
    let base = variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("keyferry")
}

/// Says whether all of `programs` are here; if not, says so loudly, and in CI panics.
///
/// # Panics
///
/// When a program is missing in continuous integration: a test that is skipped there proves nothing.
pub fn require(programs: &[&str]) -> bool {
    let missing: Vec<&str> =
        programs.iter().copied().filter(|program| find_program(program).is_none()).collect();
    report_missing(&missing.join(", "))
}

/// Says that `missing` is not here; the empty text means that nothing is.
pub(crate) fn report_missing(missing: &str) -> bool {
    if missing.is_empty() {
        return true;
    }
    assert!(
        !in_continuous_integration(),
        "missing on this machine: {missing} (`cargo xtask test` installs what it can)"
    );
    skip(missing);
    false
}

#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn skip(missing: &str) {
    eprintln!("SKIPPED, missing on this machine: {missing} (`cargo xtask test` installs it)");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_in_the_path_is_found() {
        assert!(find_program("sh").is_some());
        assert!(find_program("/bin/sh").is_some());
    }

    #[test]
    fn what_is_no_program_is_not_found() {
        assert_eq!(find_program("keyferry-no-such-program"), None);
        assert_eq!(find_program("/etc/passwd"), None);
        assert_eq!(find_program("/"), None);
        assert_eq!(find_program(""), None);
    }

    #[test]
    fn a_missing_program_is_not_there_or_fails_in_continuous_integration() {
        let answer = std::panic::catch_unwind(|| require(&["sh", "keyferry-no-such-program"]));
        if in_continuous_integration() {
            assert!(answer.is_err());
        } else {
            assert!(!answer.unwrap());
        }
        assert!(require(&["sh"]));
    }
}
