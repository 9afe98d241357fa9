//! A Git server over SSH: OpenSSH with a forced command that serves one folder of repositories.
//!
//! It lets in the user who runs the tests, with keys that were added, and runs nothing but git's
//! two server programs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::children::{Child, Start, accepts, command, run, start_on_free_port};
use crate::{Git, Scratch, find_program, git};

/// What this peer needs on the machine.
pub const PROGRAMS: &[&str] = &["git", "setpriv", "ssh", "ssh-keygen", "sshd"];

/// A Git server over SSH.
pub struct GitSsh {
    server: Child,
    port: u16,
    user: String,
    scratch: Scratch,
}

/// A key pair as files.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// OpenSSH private key, unencrypted, readable by its owner only.
    pub private: PathBuf,
    /// OpenSSH public key, one line.
    pub public: PathBuf,
}

impl KeyPair {
    /// Makes an Ed25519 key pair in `folder`.
    pub fn generate(folder: &Path, name: &str) -> Result<Self> {
        Self::generate_as(folder, name, &["-t", "ed25519"])
    }

    /// Makes a key pair of the kind, length and format that these words ask `ssh-keygen` for.
    pub fn generate_as(folder: &Path, name: &str, kind: &[&str]) -> Result<Self> {
        let private = folder.join(name);
        run(command("ssh-keygen")
            .args(["-q", "-N", "", "-C", name])
            .args(kind)
            .arg("-f")
            .arg(&private))?;
        Ok(Self { public: private.with_extension("pub"), private })
    }

    /// Returns the private key's text.
    pub fn private_text(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.private)?)
    }

    /// Returns the public key's line.
    pub fn public_line(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.public)?.trim_end().to_owned())
    }
}

impl GitSsh {
    /// Starts it with no keys and no repositories.
    pub fn start() -> Result<Self> {
        Self::start_with(&["-t", "ed25519"], "")
    }

    /// Starts it with a host key of this kind (see [`KeyPair::generate_as`]) and these lines in
    /// front of its configuration, where they win.
    pub fn start_with(host_key: &[&str], lines: &str) -> Result<Self> {
        let user = run(command("id").arg("-un"))?;
        let user = String::from_utf8(user.stdout)?.trim().to_owned();
        if crate::runs_as_root() {
            // sshd as root insists on this folder, which the system makes at boot.
            std::fs::create_dir_all("/run/sshd").context("failed to create `/run/sshd`")?;
        }
        start_on_free_port(|port| {
            let scratch = Scratch::new()?;
            scratch.folder("repositories")?;
            KeyPair::generate_as(scratch.path(), "host_key", host_key)?;
            scratch.write("authorized_keys", "", 0o600)?;
            scratch.write("serve", forced_command(scratch.path()), 0o755)?;
            let configuration = format!("{lines}\n{}", configuration(scratch.path(), port));
            scratch.write("sshd_config", configuration, 0o644)?;
            // sshd starts itself again for each connection and insists on an absolute path.
            let program = find_program("sshd").context("sshd is not installed")?;
            let server = Start::new(program, scratch.path(), "server.log")
                .args(["-D", "-e", "-f"])
                .args([scratch.join("sshd_config")])
                .spawn()?;
            server.wait_ready(Duration::from_secs(10), || Ok(accepts(port).then_some(())))?;
            Ok(Self { server, port, user: user.clone(), scratch })
        })
    }

    /// Returns the base URL, `ssh://user@127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("ssh://{}@127.0.0.1:{}", self.user, self.port)
    }

    /// Returns the URL of the repository at `path`, `team/app` for instance.
    pub fn repository_url(&self, path: &str) -> String {
        format!("{}/{path}.git", self.url())
    }

    /// Returns the port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the user to log in as.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Returns the folder that holds the bare repositories.
    pub fn repositories(&self) -> PathBuf {
        self.scratch.join("repositories")
    }

    /// Makes a repository as [`git::make_sample`] does, and returns its URL.
    pub fn create_repository(&self, path: &str) -> Result<String> {
        git::make_sample(&self.git()?, &self.repositories().join(format!("{path}.git")))?;
        Ok(self.repository_url(path))
    }

    /// Returns the commit at the tip of `branch`, if there is one, as the server has it.
    pub fn tip(&self, path: &str, branch: &str) -> Result<Option<String>> {
        git::tip(&self.git()?, &self.repositories().join(format!("{path}.git")), branch)
    }

    /// Lets in who holds the private key of `public_line`.
    pub fn authorize(&self, public_line: &str) -> Result<()> {
        let mut keys = std::fs::read_to_string(self.scratch.join("authorized_keys"))?;
        let program = self.scratch.join("serve");
        writeln!(keys, "restrict,command=\"{}\" {public_line}", program.display())?;
        self.scratch.write("authorized_keys", keys, 0o600)?;
        Ok(())
    }

    /// Lets nobody in any more.
    pub fn revoke_all(&self) -> Result<()> {
        self.scratch.write("authorized_keys", "", 0o600)?;
        Ok(())
    }

    /// Returns the server's host key as a line of `known_hosts`.
    pub fn known_hosts_line(&self) -> Result<String> {
        let key = std::fs::read_to_string(self.scratch.join("host_key.pub"))?;
        // Without the comment, which `known_hosts` does not need.
        let key: Vec<&str> = key.split_whitespace().take(2).collect();
        Ok(format!("[127.0.0.1]:{} {}\n", self.port, key.join(" ")))
    }

    /// Returns a `GIT_SSH_COMMAND` that uses `key` and trusts this server only.
    pub fn ssh_command(&self, key: &KeyPair) -> Result<String> {
        let known_hosts = self.scratch.write("known_hosts", self.known_hosts_line()?, 0o644)?;
        Ok(format!(
            "ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes \
             -o UserKnownHostsFile={} -i {}",
            known_hosts.display(),
            key.private.display()
        ))
    }

    /// Returns everything that the server wrote.
    pub fn log(&self) -> String {
        self.server.log()
    }

    fn git(&self) -> Result<Git> {
        Git::new(&self.scratch.folder("home")?)
    }
}

/// The program that sshd runs whatever the client asked for.
fn forced_command(folder: &Path) -> String {
    format!(
        "#!/bin/sh\n\
         case \"$SSH_ORIGINAL_COMMAND\" in\n\
         \"git-upload-pack '\"*|\"git-receive-pack '\"*) ;;\n\
         *) echo 'this server speaks git only' >&2; exit 1 ;;\n\
         esac\n\
         # `ssh://host/team/app.git` sends a path with a slash in front, `host:team/app.git` none.\n\
         asked=$(printf '%s' \"$SSH_ORIGINAL_COMMAND\" | sed \"s, '/, ',\")\n\
         cd '{}' && exec git shell -c \"$asked\"\n",
        folder.join("repositories").display()
    )
}

fn configuration(folder: &Path, port: u16) -> String {
    format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\n\
         UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\nStrictModes no\n\
         AuthorizedKeysFile {folder}/authorized_keys\nAcceptEnv GIT_PROTOCOL\nLogLevel VERBOSE\n",
        folder = folder.display()
    )
}
