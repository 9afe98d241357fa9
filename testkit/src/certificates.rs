//! A private certificate authority, and server certificates for loopback.
//!
//! Made by the `openssl` program: the product's one cryptographic library stays the product's.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::Scratch;
use crate::children::{command, run};

/// What this needs on the machine.
pub const PROGRAMS: &[&str] = &["openssl"];

/// A certificate authority that nobody trusts unless told to.
pub struct Authority {
    scratch: Scratch,
}

/// A server's certificate and key as files, valid for `localhost` and `127.0.0.1`.
#[derive(Clone, Debug)]
pub struct ServerCertificate {
    /// PEM certificate.
    pub certificate: PathBuf,
    /// PEM private key, unencrypted.
    pub key: PathBuf,
    /// Certificate and key in one PEM file, as lighttpd wants them.
    pub combined: PathBuf,
}

impl Authority {
    /// Makes an authority with a fresh key.
    pub fn new() -> Result<Self> {
        let scratch = Scratch::new()?;
        run(openssl(&scratch)
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-nodes", "-keyout", "authority.key", "-out", "authority.crt"])
            .args(["-days", "3650", "-subj", "/CN=Keyferry test authority"])
            .args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"]))?;
        Ok(Self { scratch })
    }

    /// Returns the authority's own certificate, the file that a client must be told.
    pub fn certificate(&self) -> PathBuf {
        self.scratch.join("authority.crt")
    }

    /// Issues a certificate for a server on loopback, into `folder`.
    pub fn issue(&self, folder: &Path) -> Result<ServerCertificate> {
        let path = |name: &str| folder.join(name);
        let (certificate, key, combined) =
            (path("server.crt"), path("server.key"), path("server.pem"));
        let request = path("server.csr");
        let extensions = path("server.ext");
        std::fs::write(
            &extensions,
            "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n\
             extendedKeyUsage=serverAuth\n",
        )?;
        run(openssl(&self.scratch)
            .args(["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
            .args(["-subj", "/CN=localhost", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&request))?;
        run(openssl(&self.scratch)
            .args(["x509", "-req", "-days", "3650", "-CA", "authority.crt"])
            .args(["-CAkey", "authority.key", "-CAcreateserial", "-in"])
            .arg(&request)
            .arg("-extfile")
            .arg(&extensions)
            .arg("-out")
            .arg(&certificate))?;
        let mut both = std::fs::read(&certificate)?;
        both.extend(std::fs::read(&key)?);
        std::fs::write(&combined, both)?;
        Ok(ServerCertificate { certificate, key, combined })
    }
}

fn openssl(scratch: &Scratch) -> std::process::Command {
    let mut command = command("openssl");
    command.current_dir(scratch.path()).env("HOME", scratch.path());
    command
}
