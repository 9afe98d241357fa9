//! A folder that lives as long as its owner, and that servers under another user can enter.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A temporary folder, removed with everything in it when dropped.
pub struct Scratch {
    folder: tempfile::TempDir,
}

impl Scratch {
    /// Makes an empty folder, readable and not writable by other users.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("keyferry-")
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir()
            .context("failed to make a temporary folder")?;
        Ok(Self { folder })
    }

    /// Returns the folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns a path below the folder; nothing is made.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// Makes a folder below and returns its path.
    pub fn folder(&self, name: impl AsRef<Path>) -> Result<PathBuf> {
        let path = self.join(name);
        std::fs::create_dir_all(&path)
            .with_context(|| format!("failed to create `{}`", path.display()))?;
        Ok(path)
    }

    /// Writes a file below, with the given permission bits, and returns its path.
    pub fn write(
        &self,
        name: impl AsRef<Path>,
        bytes: impl AsRef<[u8]>,
        mode: u32,
    ) -> Result<PathBuf> {
        let path = self.join(name);
        let write = || {
            std::fs::write(&path, bytes)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
        };
        write().with_context(|| format!("failed to write `{}`", path.display()))?;
        Ok(path)
    }
}
