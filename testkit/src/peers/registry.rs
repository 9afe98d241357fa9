//! An image registry with passwords: Debian's `docker-registry`, over HTTP or HTTPS.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::write_password_file;
use crate::children::{Child, Start, accepts, start_on_free_port};
use crate::{Authority, Scratch, ServerCertificate, find_program};

/// What this peer needs on the machine.
pub const PROGRAMS: &[&str] = &["docker-registry", "htpasswd", "setpriv"];

/// The user that the registry starts with.
pub const USER: &str = "ci";

/// An image registry.
pub struct Registry {
    server: Child,
    port: u16,
    certificate_authority: Option<PathBuf>,
    scratch: Scratch,
}

impl Registry {
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
            write_password_file(&scratch.join("htpasswd"), &[(USER, password)])?;
            let certificate =
                authority.map(|authority| authority.issue(scratch.path())).transpose()?;
            scratch.write(
                "registry.yml",
                configuration(&scratch, port, certificate.as_ref()),
                0o644,
            )?;
            let program = find_program("docker-registry").context("no docker-registry here")?;
            let server = Start::new(program, scratch.path(), "server.log")
                .args(["serve", "registry.yml"])
                // Without it each start warns about tracing that nobody collects.
                .env("OTEL_TRACES_EXPORTER", "none")
                .spawn()?;
            server.wait_ready(Duration::from_secs(20), || Ok(accepts(port).then_some(())))?;
            let certificate_authority = authority.map(Authority::certificate);
            Ok(Self { server, port, certificate_authority, scratch })
        })
    }

    /// Returns what images are named after: `localhost:PORT`.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Returns the URL, `http://localhost:PORT`.
    pub fn url(&self) -> String {
        let scheme = if self.certificate_authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.host())
    }

    /// Returns the certificate authority to trust, when it speaks HTTPS.
    pub fn certificate_authority(&self) -> Option<&std::path::Path> {
        self.certificate_authority.as_deref()
    }

    /// Gives the registry another password; the one before is refused at once.
    pub fn change_password(&self, password: &str) -> Result<()> {
        write_password_file(&self.scratch.join("htpasswd"), &[(USER, password)])
    }

    /// Returns everything that the registry wrote.
    pub fn log(&self) -> String {
        self.server.log()
    }
}

fn configuration(scratch: &Scratch, port: u16, certificate: Option<&ServerCertificate>) -> String {
    let folder = scratch.path().display();
    let tls = certificate.map_or_else(String::new, |certificate| {
        format!(
            "  tls: {{certificate: \"{}\", key: \"{}\"}}\n",
            certificate.certificate.display(),
            certificate.key.display()
        )
    });
    format!(
        "version: 0.1\n\
         log: {{level: info}}\n\
         storage:\n\
         \x20 filesystem: {{rootdirectory: \"{folder}/data\"}}\n\
         \x20 delete: {{enabled: true}}\n\
         auth:\n\
         \x20 htpasswd: {{realm: test, path: \"{folder}/htpasswd\"}}\n\
         http:\n\
         \x20 addr: 127.0.0.1:{port}\n\
         \x20 secret: of-no-use\n{tls}"
    )
}
