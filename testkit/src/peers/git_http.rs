//! A Git server over HTTP or HTTPS with passwords: lighttpd in front of `git http-backend`.
//!
//! It serves bare repositories from one folder below `/git/`, to one user at a time. It has no
//! API, no branches protected, no rights by repository; [`super::gitea`] has.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use super::write_password_file;
use crate::children::{Child, Start, accepts, start_on_free_port};
use crate::{Authority, Git, Scratch, ServerCertificate, find_program, git, wait_until};

/// What this peer needs on the machine.
pub const PROGRAMS: &[&str] =
    &["git", "/usr/lib/git-core/git-http-backend", "htpasswd", "lighttpd", "setpriv"];

/// What it needs besides for HTTPS.
pub const TLS_PROGRAMS: &[&str] = &["openssl", "/usr/lib/lighttpd/mod_openssl.so"];

/// The user that the server starts with.
pub const USER: &str = "ci";

/// A Git server; repositories are in [`GitHttp::repositories`].
pub struct GitHttp {
    // Dropped first: the server must be gone before its folder.
    server: Child,
    port: u16,
    is_tls: bool,
    scratch: Scratch,
}

impl GitHttp {
    /// Starts it with [`USER`] and `password`, over plain HTTP.
    pub fn start(password: &str) -> Result<Self> {
        Self::start_with(password, None)
    }

    /// Starts it with [`USER`] and `password`, over HTTPS with a certificate of `authority`.
    pub fn start_tls(password: &str, authority: &Authority) -> Result<Self> {
        Self::start_with(password, Some(authority))
    }

    fn start_with(password: &str, authority: Option<&Authority>) -> Result<Self> {
        start_on_free_port(|port| {
            let scratch = Scratch::new()?;
            scratch.folder("repositories")?;
            scratch.folder("documents")?;
            write_password_file(&scratch.join("htpasswd"), &[(USER, password)])?;
            let certificate =
                authority.map(|authority| authority.issue(scratch.path())).transpose()?;
            let configuration = configuration(&scratch, port, certificate.as_ref())?;
            scratch.write("lighttpd.conf", configuration, 0o644)?;
            let program = find_program("lighttpd").context("lighttpd is not installed")?;
            let server = Start::new(program, scratch.path(), "server.log")
                .args(["-D", "-f", "lighttpd.conf"])
                .spawn()?;
            server.wait_ready(Duration::from_secs(10), || Ok(accepts(port).then_some(())))?;
            Ok(Self { server, port, is_tls: certificate.is_some(), scratch })
        })
    }

    /// Returns the base URL, `http://127.0.0.1:PORT/git`, without a slash at its end.
    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}/git", self.port)
    }

    /// Returns the URL of the repository at `path`, `team/app` for instance.
    pub fn repository_url(&self, path: &str) -> String {
        format!("{}/{path}.git", self.url())
    }

    /// Returns the port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the folder that holds the bare repositories, `team/app.git` and so on.
    pub fn repositories(&self) -> PathBuf {
        self.scratch.join("repositories")
    }

    /// Makes a repository with commits on `main` and `feature/login` (see [`git::make_sample`]),
    /// and returns its URL.
    pub fn create_repository(&self, path: &str) -> Result<String> {
        git::make_sample(&self.git()?, &self.repositories().join(format!("{path}.git")))?;
        Ok(self.repository_url(path))
    }

    /// Returns the commit at the tip of `branch`, if there is one, as the server has it.
    pub fn tip(&self, path: &str, branch: &str) -> Result<Option<String>> {
        git::tip(&self.git()?, &self.repositories().join(format!("{path}.git")), branch)
    }

    /// Gives the server another password; the one before is refused at once.
    pub fn change_password(&self, password: &str) -> Result<()> {
        write_password_file(&self.scratch.join("htpasswd"), &[(USER, password)])
    }

    /// Returns the requests so far, a line each: user, method, path, status, bytes sent.
    pub fn requests(&self) -> Result<String> {
        let read = |name| std::fs::read_to_string(self.scratch.join(name)).unwrap_or_default();
        // It keeps lines back until its buffer is full or it is told to change files.
        let changes = || read("error.log").matches("logfiles cycled").count();
        let before = changes();
        self.server.signal(Signal::HUP)?;
        wait_until("lighttpd's lines", Duration::from_secs(10), || {
            Ok((changes() > before).then(|| read("access.log")))
        })
    }

    /// Returns everything that the server wrote, for a hunt after secrets.
    pub fn log(&self) -> Result<String> {
        let errors = std::fs::read_to_string(self.scratch.join("error.log"))?;
        Ok(self.server.log() + &self.requests()? + &errors)
    }

    fn git(&self) -> Result<Git> {
        Git::new(&self.scratch.folder("home")?)
    }
}

/// lighttpd's configuration; one setting per line. The password is checked and then dropped, so
/// that it is not in the environment of the programs that lighttpd starts.
fn configuration(
    scratch: &Scratch,
    port: u16,
    certificate: Option<&ServerCertificate>,
) -> Result<String> {
    let folder = scratch.path().display();
    let mut text = format!(
        r#"server.document-root = "{folder}/documents"
server.bind = "127.0.0.1"
server.port = {port}
server.errorlog = "{folder}/error.log"
server.upload-dirs = ( "{folder}" )
server.modules = ( "mod_auth", "mod_authn_file", "mod_setenv", "mod_alias", "mod_cgi", "mod_accesslog" )
accesslog.filename = "{folder}/access.log"
accesslog.format = "%u %m %U%q %>s %b"
auth.backend = "htpasswd"
auth.backend.htpasswd.userfile = "{folder}/htpasswd"
auth.require = ( "" => ( "method" => "basic", "realm" => "git", "require" => "valid-user" ) )
alias.url = ( "/git" => "/usr/lib/git-core/git-http-backend" )
setenv.set-request-header = ( "Authorization" => "" )
$HTTP["url"] =~ "^/git" {{
  cgi.assign = ( "" => "" )
  setenv.set-environment = ( "GIT_PROJECT_ROOT" => "{folder}/repositories", "GIT_HTTP_EXPORT_ALL" => "1" )
}}
"#
    );
    if let Some(certificate) = certificate {
        writeln!(text, "server.modules += ( \"mod_openssl\" )")?;
        writeln!(text, "ssl.engine = \"enable\"")?;
        writeln!(text, "ssl.pemfile = \"{}\"", certificate.combined.display())?;
    }
    Ok(text)
}
