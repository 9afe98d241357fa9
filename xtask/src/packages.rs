//! The Debian packages that tests start as real peers and real clients.
//!
//! Installs what is missing when it may (root, with apt); otherwise says what to install. Servers
//! that no package ships are in [`crate::peers`].

use anyhow::{Result, bail};
use keyferry_testkit::{find_program, runs_as_root};

use crate::steps;

/// What tests start, and the Debian package that brings it.
const NEEDED: &[(&str, &str)] = &[
    ("apache2-utils", "htpasswd"),
    ("bubblewrap", "bwrap"),
    ("buildah", "buildah"),
    ("curl", "curl"),
    ("docker-registry", "docker-registry"),
    ("gcc", "gcc"),
    ("git", "git"),
    ("git", "/usr/lib/git-core/git-http-backend"),
    ("lighttpd", "lighttpd"),
    ("lighttpd-mod-openssl", "/usr/lib/lighttpd/mod_openssl.so"),
    ("openssh-client", "ssh-keygen"),
    ("openssh-server", "sshd"),
    ("openssl", "openssl"),
    ("postgresql", "initdb"),
    ("postgresql", "postgres"),
    ("postgresql-client", "pg_dump"),
    ("skopeo", "skopeo"),
    ("sqlite3", "sqlite3"),
    ("util-linux", "setpriv"),
];

/// Returns the packages of `needed` whose program `is_there` does not find, each once.
fn missing<'a>(needed: &[(&'a str, &'a str)], is_there: impl Fn(&str) -> bool) -> Vec<&'a str> {
    let mut packages: Vec<&str> = needed
        .iter()
        .filter(|(_, program)| !is_there(program))
        .map(|(package, _)| *package)
        .collect();
    packages.dedup();
    packages
}

/// Installs what is missing; fails with the list when it may not.
pub(crate) fn install() -> Result<()> {
    let packages = missing(NEEDED, |program| find_program(program).is_some());
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if !runs_as_root() || find_program("apt-get").is_none() {
        steps::say(&format!("missing, so their tests are skipped: apt-get install {list}"));
        return Ok(());
    }
    steps::run("package lists", steps::command("apt-get").args(["-q", "update"]))?;
    steps::run(
        &format!("packages: {list}"),
        steps::command("apt-get")
            .args(["-q", "install", "--yes", "--no-install-recommends"])
            .args(&packages)
            // Debian starts the servers that it installs; tests start their own.
            .env("RUNLEVEL", "1")
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )?;
    let still_missing = missing(NEEDED, |program| find_program(program).is_some());
    if !still_missing.is_empty() {
        bail!("installed, but their programs are not found: {}", still_missing.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_missing_when_one_of_its_programs_is() {
        let needed = [("one", "a"), ("two", "b"), ("two", "c"), ("three", "d")];
        assert_eq!(missing(&needed, |program| program == "a" || program == "c"), ["two", "three"]);
        assert_eq!(missing(&needed, |_| true), [""; 0]);
        assert_eq!(missing(&needed, |_| false), ["one", "two", "three"]);
    }
}
