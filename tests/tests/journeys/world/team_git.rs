//! The usual scene: a team's Git server with one repository, and a connection to it.

use anyhow::Result;
use keyferry_api::connections::ConnectionView;
use keyferry_testkit::peers::git_http::{GitHttp, USER};
use keyferry_testkit::{Canary, Git};

use super::{Person, WorkingCopy, World};

/// A Git server over HTTP with the repository `team/app`, and a colleague's clone of it.
pub(crate) struct TeamGit {
    pub(crate) server: GitHttp,
    pub(crate) copy: WorkingCopy,
    pub(crate) password: Canary,
    /// The repository's address.
    pub(crate) url: String,
}

impl TeamGit {
    /// Starts the server. Nothing in Keyferry knows of it yet.
    pub(crate) fn start(world: &World) -> Result<Self> {
        let password = world.secret("git-password")?;
        let server = GitHttp::start(password.value())?;
        let url = server.create_repository("team/app")?;
        let git = Git::new(&world.folder("colleague")?)?;
        git.remember(&url, USER, password.value())?;
        let copy = WorkingCopy::clone(git, &url)?;
        Ok(Self { server, copy, password, url })
    }

    /// Has `person` create the connection `id` with a scope.
    pub(crate) fn connect(&self, person: &Person, id: &str, scope: &str) -> Result<ConnectionView> {
        let url = format!("url={}", self.server.url());
        let create = ["connection", "create", "--type", "git", "--id", id, "--name", id];
        let fields = ["--set", &url, "--set", "username=ci", "--secret", "password=-"];
        let rest = ["--set", "verify_repository=team/app", "--scope", scope];
        let arguments = [&create[..], &fields, &rest].concat();
        person.ask_with_input(&arguments, self.password.value())
    }

    /// Writes a pipeline with the repository as its source `app`; `jobs` is indented by two.
    pub(crate) fn pipeline(&self, connection: &str, jobs: &str) -> String {
        format!(
            "sources:\n  app:\n    type: git\n    endpoint: {}\n    branch: main\n    \
             certificate: {{type: serviceConnection, serviceConnection: {connection}}}\n\
             stages:\n  main:\n    jobs:\n{jobs}",
            self.url
        )
    }
}

/// Indents each line.
pub(crate) fn indented(text: &str, spaces: usize) -> String {
    let indent = " ".repeat(spaces);
    text.lines().flat_map(|line| [indent.as_str(), line, "\n"]).collect()
}

/// Writes one job with one script.
pub(crate) fn script_job(name: &str, more: &str, script: &str) -> String {
    format!(
        "      {name}:\n{}        steps:\n          script:\n            step: Command\n            \
         with:\n              run: |\n{}",
        indented(more, 8),
        indented(script, 16)
    )
}

/// Writes a pipeline without sources that has one job with one script.
pub(crate) fn script_pipeline(more: &str, script: &str) -> String {
    format!("stages:\n  main:\n    jobs:\n{}", script_job("job", more, script))
}
