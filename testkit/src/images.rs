//! A real client of image registries, and the smallest image to push with it.
//!
//! `skopeo` needs no daemon and no rights; the image is written by hand in the OCI layout
//! (<https://github.com/opencontainers/image-spec/blob/main/image-layout.md>).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::children::{command, output, run, run_with_input};

/// What this needs on the machine.
pub const PROGRAMS: &[&str] = &["sha256sum", "skopeo", "tar"];

/// `skopeo` with a home of its own.
#[derive(Clone, Debug)]
pub struct ImageClient {
    home: PathBuf,
    certificates: Option<PathBuf>,
    environment: Vec<(String, String)>,
}

impl ImageClient {
    /// Prepares a client whose home is `home`, an existing folder; it talks plain HTTP.
    pub fn new(home: &Path) -> Self {
        Self { home: home.to_path_buf(), certificates: None, environment: Vec::new() }
    }

    /// Talks HTTPS and trusts the certificate authority in the file `certificate`.
    pub fn trusting(mut self, certificate: &Path) -> Result<Self> {
        let folder = self.home.join("certificates");
        std::fs::create_dir_all(&folder)?;
        std::fs::copy(certificate, folder.join("ca.crt"))?;
        self.certificates = Some(folder);
        Ok(self)
    }

    /// Adds an environment variable, `REGISTRY_AUTH_FILE` for instance.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes a skopeo command; the caller adds what [`Self::tls`] gives.
    pub fn command<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut command = command("skopeo");
        command
            .args(arguments)
            .current_dir(&self.home)
            .env("HOME", &self.home)
            .env("XDG_RUNTIME_DIR", &self.home)
            .env("REGISTRY_AUTH_FILE", self.home.join("auth.json"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Returns how to speak to the registry, as arguments; `side` is `dest-`, `src-` or empty.
    pub fn tls(&self, side: &str) -> Vec<String> {
        match &self.certificates {
            Some(folder) => vec![format!("--{side}cert-dir={}", folder.display())],
            None => vec![format!("--{side}tls-verify=false")],
        }
    }

    /// Logs in; the registry is asked, so a wrong password fails here.
    pub fn login(&self, host: &str, user: &str, password: &str) -> Result<()> {
        let mut command = self.command(["login", "--username", user, "--password-stdin"]);
        run_with_input(command.args(self.tls("")).arg(host), password.as_bytes())?;
        Ok(())
    }

    /// Pushes the smallest image to `reference`, `localhost:5000/team/app:1` for instance.
    pub fn push(&self, reference: &str) -> Result<()> {
        run(&mut self.push_command(reference)?)?;
        Ok(())
    }

    /// Pushes as [`Self::push`], however it ends.
    pub fn push_output(&self, reference: &str) -> Result<Output> {
        output(&mut self.push_command(reference)?)
    }

    fn push_command(&self, reference: &str) -> Result<Command> {
        let image = self.home.join("image");
        if !image.join("index.json").exists() {
            write_image(&image)?;
        }
        let mut command = self.command(["copy", "--quiet"]);
        command
            .args(self.tls("dest-"))
            .arg(format!("oci:{}:latest", image.display()))
            .arg(format!("docker://{reference}"));
        Ok(command)
    }

    /// Returns the tags of `repository` in order, `localhost:5000/team/app` for instance.
    pub fn tags(&self, repository: &str) -> Result<Vec<String>> {
        let mut command = self.command(["list-tags"]);
        let found = run(command.args(self.tls("")).arg(format!("docker://{repository}")))?;
        let found: serde_json::Value = serde_json::from_slice(&found.stdout)?;
        let tags = found["Tags"].as_array().context("no tags in the answer")?;
        let mut tags: Vec<String> =
            tags.iter().filter_map(|tag| tag.as_str()).map(str::to_owned).collect();
        tags.sort();
        Ok(tags)
    }
}

/// Writes an image with one small file at `folder`, in the OCI image layout.
pub fn write_image(folder: &Path) -> Result<()> {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs)?;
    let content = tempfile::tempdir()?;
    std::fs::write(content.path().join("hello.txt"), "hello\n")?;
    let layer = run(command("tar")
        .args(["--create", "--sort=name", "--mtime=@0", "--owner=0", "--group=0"])
        .args(["--numeric-owner", "hello.txt"])
        .current_dir(content.path()))?;
    let layer = blob(&blobs, &layer.stdout)?;
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    let config = blob(&blobs, config.to_string().as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [described(layer, "application/vnd.oci.image.layer.v1.tar")],
    });
    let manifest = blob(&blobs, manifest.to_string().as_bytes())?;
    let mut manifest = described(manifest, "application/vnd.oci.image.manifest.v1+json");
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    std::fs::write(folder.join("index.json"), index.to_string())?;
    Ok(())
}

/// Writes a blob under the name of its digest, and returns digest and size.
fn blob(folder: &Path, bytes: &[u8]) -> Result<serde_json::Value> {
    let digest = run_with_input(&mut command("sha256sum"), bytes)?;
    let digest = String::from_utf8(digest.stdout)?;
    let digest = digest.split(' ').next().context("no digest")?;
    std::fs::write(folder.join(digest), bytes)?;
    Ok(json!({"digest": format!("sha256:{digest}"), "size": bytes.len()}))
}

fn described(mut blob: serde_json::Value, media_type: &str) -> serde_json::Value {
    blob["mediaType"] = json!(media_type);
    blob
}
