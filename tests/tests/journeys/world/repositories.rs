//! A colleague's clone of a repository, to push to the server what stories need.

use std::path::Path;

use anyhow::Result;
use keyferry_testkit::Git;

/// A clone with the rights of whoever made it; Keyferry has no part in it.
pub(crate) struct WorkingCopy {
    git: Git,
}

impl WorkingCopy {
    /// Clones `url` into `home`, an existing empty folder, with a git that has access already.
    pub(crate) fn clone(git: Git, url: &str) -> Result<Self> {
        git.run(["clone", "--quiet", url, "app"])?;
        Ok(Self { git })
    }

    /// Pushes a commit on top of `base` to `branch` and returns it.
    pub(crate) fn push(&self, base: &str, branch: &str, file: &str, text: &str) -> Result<String> {
        self.push_with(base, branch, file, |path| {
            std::fs::create_dir_all(path.parent().unwrap_or(path))?;
            Ok(std::fs::write(path, text)?)
        })
    }

    /// Pushes a commit with what `write` puts at the path of `file`, a file or a folder.
    pub(crate) fn push_with(
        &self,
        base: &str,
        branch: &str,
        file: &str,
        write: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<String> {
        let base = format!("origin/{base}");
        self.git.run(["-C", "app", "fetch", "--quiet", "--prune", "origin"])?;
        self.git.run(["-C", "app", "checkout", "--quiet", "--detach", &base])?;
        write(&self.git.home().join("app").join(file))?;
        self.git.run(["-C", "app", "add", file])?;
        self.git.run(["-C", "app", "commit", "--quiet", "--message", &format!("Write {file}")])?;
        let update = format!("HEAD:refs/heads/{branch}");
        self.git.run(["-C", "app", "push", "--quiet", "--force", "origin", &update])?;
        self.git.run(["-C", "app", "rev-parse", "HEAD"])
    }

    /// Returns what the server has under `reference`, if anything.
    pub(crate) fn find(&self, reference: &str) -> Result<Option<String>> {
        let found = self.git.run(["-C", "app", "ls-remote", "origin", reference])?;
        Ok(found.split_once('\t').map(|(commit, _)| commit.to_owned()))
    }

    /// Tells whether everything of `commit` is in `branch` at the server.
    pub(crate) fn contains(&self, branch: &str, commit: &str) -> Result<bool> {
        self.git.run(["-C", "app", "fetch", "--quiet", "--prune", "origin"])?;
        let branch = format!("origin/{branch}");
        let asked = ["-C", "app", "merge-base", "--is-ancestor", commit, &branch];
        Ok(self.git.output(asked)?.status.success())
    }

    /// Returns the git, to give it another password.
    pub(crate) const fn git(&self) -> &Git {
        &self.git
    }
}
