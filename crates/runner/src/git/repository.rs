//! The runner's own Git commands: check-outs, and bare repositories for changes at the server.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use keyferry_pipeline::plan::{CheckedOut, SourcePlan};

use crate::job::JobContext;
use crate::process::{Ended, Invocation, ProcessError};

/// A command of Git's did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    /// Git said no; its words, cleaned of secrets.
    #[error("run `git {command}`: {reason}")]
    Failed { command: String, reason: String },
    #[error("run git")]
    Process(#[source] ProcessError),
    #[error("make a folder for git")]
    Folder(#[source] std::io::Error),
}

impl GitError {
    /// Tells whether the job is being stopped, which is no failure of Git's.
    pub(crate) const fn is_stop(&self) -> bool {
        matches!(self, Self::Process(ProcessError::Stopped))
    }
}

/// The address in commits and tags that Keyferry makes; `.invalid` can never be anybody's.
const COMMIT_EMAIL: &str = "noreply@keyferry.invalid";

/// Settings for our own calls only: what a repository brings along must not run anything here.
const OWN: &[&str] = &[
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "protocol.allow=never",
    "-c",
    "protocol.https.allow=always",
    "-c",
    "protocol.http.allow=always",
    "-c",
    "protocol.ssh.allow=always",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "gc.auto=0",
    "-c",
    "maintenance.auto=false",
    "-c",
    "advice.detachedHead=false",
    "-c",
    "init.defaultBranch=main",
];

/// Runs Git in a folder and returns how it ended, whatever that is.
pub(crate) async fn run(
    job: &JobContext,
    folder: &Path,
    arguments: &[&str],
    quiet: bool,
) -> Result<Ended, GitError> {
    let mut environment = job.environment();
    job.git_environment(&mut environment).await;
    environment.insert("LC_ALL".to_owned(), "C".into());
    environment.insert("GIT_CONFIG_GLOBAL".to_owned(), "/dev/null".into());
    // Merges and tags are made for whoever started the run; nobody's address is known here.
    let executor = job.variable("BUILD_EXECUTOR").filter(|name| !name.trim().is_empty());
    let name = executor.unwrap_or_else(|| "Keyferry".to_owned());
    for (variable, value) in [
        ("GIT_AUTHOR_NAME", name.as_str()),
        ("GIT_COMMITTER_NAME", name.as_str()),
        ("GIT_AUTHOR_EMAIL", COMMIT_EMAIL),
        ("GIT_COMMITTER_EMAIL", COMMIT_EMAIL),
    ] {
        environment.insert(variable.to_owned(), value.into());
    }
    let all: Vec<OsString> = OWN.iter().chain(arguments).map(OsString::from).collect();
    let invocation = Invocation {
        program: "git".into(),
        arguments: all,
        folder: folder.to_path_buf(),
        environment,
        capture: true,
        quiet,
    };
    job.processes.run(invocation, &job.log).await.map_err(GitError::Process)
}

/// Runs Git and returns its standard output; an exit code other than 0 is an error.
pub(crate) async fn output(
    job: &JobContext,
    folder: &Path,
    arguments: &[&str],
) -> Result<String, GitError> {
    let ended = run(job, folder, arguments, true).await?;
    if ended.code == 0 {
        return Ok(String::from_utf8_lossy(&ended.stdout).trim_end().to_owned());
    }
    Err(failed(job, arguments, &ended))
}

pub(crate) fn failed(job: &JobContext, arguments: &[&str], ended: &Ended) -> GitError {
    let text = String::from_utf8_lossy(&ended.stderr);
    GitError::Failed {
        command: arguments.first().copied().unwrap_or_default().to_owned(),
        reason: job.mask(&reason(&text, ended.code)),
    }
}

/// Picks what people need from what Git wrote: our helper's words and Git's own errors.
fn reason(stderr: &str, code: i32) -> String {
    let starts = ["keyferry: ", "fatal: ", "error: ", "remote: ", "ssh: ", " ! "];
    // What OpenSSH says, without a prefix of its own.
    let says = ["host key", "Host key", "Permission denied", "Load key"];
    let lines: Vec<&str> = stderr
        .lines()
        .filter(|line| {
            starts.iter().any(|start| line.starts_with(start))
                || says.iter().any(|words| line.contains(words))
        })
        .map(str::trim)
        .filter(|line| !line.is_empty() && *line != "remote:")
        .take(6)
        .collect();
    if lines.is_empty() {
        let last = last_line(stderr);
        if last.is_empty() { format!("exit code {code}") } else { last.to_owned() }
    } else {
        lines.join("; ")
    }
}

/// Returns the last line that says something.
pub(crate) fn last_line(text: &str) -> &str {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default()
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Clones a source into its folder and returns what is checked out.
pub(crate) async fn check_out(
    job: &JobContext,
    source: &SourcePlan,
) -> Result<CheckedOut, GitError> {
    let folder = job.workspace.source(&source.id);
    std::fs::create_dir_all(&folder).map_err(GitError::Folder)?;
    output(job, &folder, &["init", "--quiet"]).await?;
    output(job, &folder, &["remote", "add", "--", "origin", &source.endpoint]).await?;
    let depth = format!("--depth={}", source.clone_depth);
    let branch = source.branch.as_str();
    let short = branch.strip_prefix("refs/heads/").unwrap_or(branch);
    let mut fetch = vec!["fetch", "--quiet", "--no-tags", "--no-recurse-submodules"];
    if source.clone_depth > 0 {
        fetch.push(&depth);
    }
    fetch.extend(["--", "origin"]);
    // A branch, else a tag, else a commit: the order in which people mean a name.
    let as_branch = format!("+refs/heads/{short}:refs/remotes/origin/{short}");
    let as_tag = format!("+refs/tags/{short}:refs/tags/{short}");
    let candidates: Vec<&str> = if is_commit(branch) {
        vec![branch]
    } else if branch.is_empty() {
        vec!["HEAD"]
    } else if let Some(_tag) = branch.strip_prefix("refs/tags/") {
        vec![branch]
    } else {
        vec![&as_branch, &as_tag]
    };
    let mut outcome = Ok(());
    for candidate in candidates {
        let mut arguments = fetch.clone();
        arguments.push(candidate);
        outcome = match output(job, &folder, &arguments).await {
            Ok(_) => Ok(()),
            Err(GitError::Failed { reason, .. }) if reason.contains("couldn't find remote ref") => {
                Err(GitError::Failed {
                    command: "fetch".to_owned(),
                    reason: format!("there is no branch or tag `{short}` in `{}`", source.endpoint),
                })
            }
            Err(other) => return Err(other),
        };
        if outcome.is_ok() {
            break;
        }
    }
    outcome?;
    let commit = output(job, &folder, &["rev-parse", "--verify", "FETCH_HEAD^{commit}"]).await?;
    let tracking = format!("refs/remotes/origin/{short}");
    let is_branch =
        run(job, &folder, &["rev-parse", "--quiet", "--verify", &tracking], true).await?.code == 0;
    if is_branch {
        output(
            job,
            &folder,
            &["checkout", "--quiet", "-B", short, "--track", &format!("origin/{short}")],
        )
        .await?;
    } else {
        output(job, &folder, &["checkout", "--quiet", "--detach", &commit]).await?;
    }
    if source.submodules {
        let arguments = ["submodule", "update", "--init", "--recursive", "--quiet"];
        output(job, &folder, &arguments).await?;
    }
    let title = output(job, &folder, &["log", "-1", "--format=%s", &commit]).await?;
    job.log.line(&format!("{}: {} at {commit}", source.id, source.branch)).await;
    Ok(checked_out(source, commit, title))
}

fn checked_out(source: &SourcePlan, commit: String, title: String) -> CheckedOut {
    CheckedOut {
        id: source.id.clone(),
        name: source.name.clone(),
        branch: source.branch.clone(),
        commit,
        title,
    }
}

/// A bare repository in the job's own temporary folder, for one source. Gone when dropped.
pub(crate) struct Bare<'a> {
    job: &'a JobContext,
    folder: tempfile::TempDir,
    pub(crate) endpoint: String,
}

impl<'a> Bare<'a> {
    /// Makes an empty repository whose `origin` is the source.
    pub(crate) async fn create(job: &'a JobContext, endpoint: &str) -> Result<Self, GitError> {
        let folder = tempfile::Builder::new()
            .prefix("git-")
            .tempdir_in(job.workspace.temporary())
            .map_err(GitError::Folder)?;
        let bare = Self { job, folder, endpoint: endpoint.to_owned() };
        bare.output(&["init", "--quiet", "--bare"]).await?;
        bare.output(&["remote", "add", "--", "origin", endpoint]).await?;
        Ok(bare)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().to_path_buf()
    }

    pub(crate) async fn output(&self, arguments: &[&str]) -> Result<String, GitError> {
        output(self.job, &self.path(), arguments).await
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<Ended, GitError> {
        run(self.job, &self.path(), arguments, true).await
    }

    pub(crate) fn failed(&self, arguments: &[&str], ended: &Ended) -> GitError {
        failed(self.job, arguments, ended)
    }

    /// Pushes, and tells a lost race from a refusal.
    pub(crate) async fn push(&self, arguments: &[&str]) -> Result<Pushed, GitError> {
        let mut all = vec!["push", "--porcelain", "--no-verify"];
        all.extend(arguments);
        let ended = self.run(&all).await?;
        if ended.code == 0 {
            return Ok(Pushed::Done);
        }
        let text = String::from_utf8_lossy(&ended.stdout);
        let rejected = text.lines().find(|line| line.starts_with("!\t"));
        let lost = [
            "(stale info)",
            "(fetch first)",
            "(non-fast-forward)",
            "cannot lock ref",
            "failed to update ref",
            "incorrect old value",
        ];
        match rejected {
            Some(line) if lost.iter().any(|words| line.contains(words)) => Ok(Pushed::LostRace),
            Some(line) => {
                let words = line.rsplit('\t').next().unwrap_or(line);
                let more = reason(&String::from_utf8_lossy(&ended.stderr), ended.code);
                Err(GitError::Failed {
                    command: "push".to_owned(),
                    reason: self.job.mask(&format!("{words}; {more}")),
                })
            }
            None => Err(self.failed(&["push"], &ended)),
        }
    }
}

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    Done,
    /// The branch moved in the meantime; nothing was changed.
    LostRace,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_what_git_and_our_helper_said() {
        let text = "Cloning\nkeyferry: not bound\nkeyferry: hint: ask bob\nfatal: credential helper told us to quit\n";
        assert_eq!(
            reason(text, 128),
            "keyferry: not bound; keyferry: hint: ask bob; fatal: credential helper told us to quit"
        );
        assert_eq!(reason("", 1), "exit code 1");
        assert_eq!(reason("odd\n\n", 1), "odd");
    }
}
