//! Starting Gitea, and asking its API.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde_json::Value;

use super::{User, VERSION, folder, installed};
use crate::children::{Child, Start, command, run, start_on_free_port};
use crate::http::{Answer, Request};
use crate::{Authority, Scratch};

/// How long Gitea may take to answer after its start; it takes half a second alone.
const START_LIMIT: Duration = Duration::from_mins(1);

/// The administrator of each server, made when its template is.
pub(super) const ADMINISTRATOR: &str = "root-of-forge";
pub(super) const ADMINISTRATOR_PASSWORD: &str = "administrators-own-password-1";

/// Who owns the many repositories of a server with a library, and the password at first.
pub const LIBRARIAN: &str = "librarian";
const LIBRARIAN_PASSWORD: &str = "librarians-first-password-1";

/// How many repositories that is: private, empty, named `library-0000` and so on. They are for
/// listing: without hooks, Gitea takes no push to them.
pub const REPOSITORIES: usize = 1040;

/// How a server differs from the usual one.
#[derive(Default)]
pub struct Options<'a> {
    /// Serve below this path, `/forge` for instance; empty means at the root.
    pub sub_path: &'a str,
    /// Have the user [`LIBRARIAN`] with [`REPOSITORIES`] repositories.
    pub has_library: bool,
    /// Serve HTTPS with a certificate of this authority.
    pub authority: Option<&'a Authority>,
}

/// A running forge.
pub struct Gitea {
    server: Mutex<Child>,
    port: u16,
    ssh_port: u16,
    sub_path: String,
    certificate_authority: Option<PathBuf>,
    scratch: Scratch,
}

impl Gitea {
    /// Starts an empty forge over plain HTTP.
    pub fn start() -> Result<Self> {
        Self::start_with(&Options::default())
    }

    /// Starts an empty forge.
    pub fn start_with(options: &Options<'_>) -> Result<Self> {
        let template = if options.has_library { library()? } else { template()? };
        start_on_free_port(|port| {
            let scratch = Scratch::new()?;
            let data = scratch.join("data");
            run(command("cp").arg("-a").arg(&template).arg(&data))?;
            let ssh_port = crate::ports::free_port();
            let certificate =
                options.authority.map(|authority| authority.issue(scratch.path())).transpose()?;
            let mut settings = Settings::new(&data, port, ssh_port);
            options.sub_path.clone_into(&mut settings.sub_path);
            if let Some(certificate) = &certificate {
                settings.tls = Some((certificate.certificate.clone(), certificate.key.clone()));
            }
            std::fs::write(data.join("app.ini"), settings.render())?;
            let server = spawn(&data)?;
            let gitea = Self {
                server: Mutex::new(server),
                port,
                ssh_port,
                sub_path: options.sub_path.to_owned(),
                certificate_authority: options.authority.map(Authority::certificate),
                scratch,
            };
            gitea.wait_ready()?;
            Ok(gitea)
        })
    }

    fn wait_ready(&self) -> Result<()> {
        let health = Request::get(&format!("{}/api/healthz", self.url()))
            .trusting(self.certificate_authority.as_deref());
        self.server().wait_ready(START_LIMIT, || {
            Ok(health.send().is_ok_and(|answer| answer.status == 200).then_some(()))
        })
    }

    fn server(&self) -> std::sync::MutexGuard<'_, Child> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the base URL with its sub-path, without a slash at the end.
    pub fn url(&self) -> String {
        let scheme = if self.certificate_authority.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}{}", self.port, self.sub_path)
    }

    /// Returns what images are named after: `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the base URL for git over SSH, `ssh://git@127.0.0.1:PORT`.
    pub fn ssh_url(&self) -> String {
        format!("ssh://git@127.0.0.1:{}", self.ssh_port)
    }

    /// Returns the certificate authority to trust, when it speaks HTTPS.
    pub fn certificate_authority(&self) -> Option<&Path> {
        self.certificate_authority.as_deref()
    }

    /// Returns the SSH host key as a line of `known_hosts`.
    pub fn known_hosts_line(&self) -> Result<String> {
        let key = std::fs::read_to_string(self.scratch.join("data/host_key.pub"))?;
        let key: Vec<&str> = key.split_whitespace().take(2).collect();
        Ok(format!("[127.0.0.1]:{} {}\n", self.ssh_port, key.join(" ")))
    }

    /// Returns the owner of the library, with the password at first.
    pub fn librarian(&self) -> User {
        User { name: LIBRARIAN.to_owned(), password: LIBRARIAN_PASSWORD.to_owned() }
    }

    /// Asks the API as `user`, with a password or a token, below `/api/v1`.
    pub fn ask(
        &self,
        (user, password): (&str, &str),
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer> {
        let mut request = Request::new(method, &format!("{}/api/v1{path}", self.url()))
            .basic(user, password)
            .trusting(self.certificate_authority.as_deref());
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send()
    }

    /// Asks the API as its administrator and fails unless it succeeds; returns the JSON answer.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let answer = self.ask((ADMINISTRATOR, ADMINISTRATOR_PASSWORD), method, path, body)?;
        if !(200..300).contains(&answer.status) {
            bail!("forge: {method} {path}: {} {}", answer.status, answer.text());
        }
        if answer.body.is_empty() { Ok(Value::Null) } else { answer.json() }
    }

    /// Asks `path` page after page, as its administrator, and returns all items.
    pub(super) fn call_all(&self, path: &str) -> Result<Vec<Value>> {
        /// Gitea's own maximum.
        const PAGE: usize = 50;
        let mut items = Vec::new();
        for page in 1.. {
            let separator = if path.contains('?') { '&' } else { '?' };
            let asked = format!("{path}{separator}limit={PAGE}&page={page}");
            // An empty list is `[]` in most places and `null` in some.
            let Value::Array(found) = self.call("GET", &asked, None)? else { break };
            let is_last = found.len() < PAGE;
            items.extend(found);
            if is_last {
                break;
            }
        }
        Ok(items)
    }

    /// Runs Gitea's own command line beside the running server.
    pub(super) fn command_line(&self, arguments: &[&str]) -> Result<String> {
        command_line(&self.scratch.join("data"), arguments)
    }

    /// Stops it as a power cut would.
    pub fn kill(&self) -> Result<()> {
        let server = self.server();
        server.signal(Signal::KILL)?;
        server.wait(Duration::from_secs(10)).map(drop)
    }

    /// Starts it again after [`Self::kill`], on the same ports and data.
    pub fn restart(&self) -> Result<()> {
        let started = spawn(&self.scratch.join("data"))?;
        *self.server() = started;
        self.wait_ready()
    }

    /// Returns everything that the server wrote.
    pub fn log(&self) -> String {
        self.server().log()
    }
}

/// What `app.ini` says; Gitea itself adds its own secrets to the file.
struct Settings {
    data: PathBuf,
    port: u16,
    ssh_port: u16,
    sub_path: String,
    tls: Option<(PathBuf, PathBuf)>,
}

impl Settings {
    fn new(data: &Path, port: u16, ssh_port: u16) -> Self {
        Self { data: data.to_path_buf(), port, ssh_port, sub_path: String::new(), tls: None }
    }

    fn render(&self) -> String {
        let data = self.data.display();
        let (port, ssh_port) = (self.port, self.ssh_port);
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let tls = self.tls.as_ref().map_or_else(String::new, |(certificate, key)| {
            format!(
                "PROTOCOL = https\nCERT_FILE = {}\nKEY_FILE = {}\n",
                certificate.display(),
                key.display()
            )
        });
        // Root is refused unless told twice; this server is on loopback and dies with its test.
        let root =
            if crate::runs_as_root() { "I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true\n" } else { "" };
        format!(
            "{root}WORK_PATH = {data}\n\
             [server]\n\
             {tls}HTTP_ADDR = 127.0.0.1\nHTTP_PORT = {port}\n\
             ROOT_URL = {scheme}://127.0.0.1:{port}{sub_path}/\n\
             LOCAL_ROOT_URL = {scheme}://127.0.0.1:{port}{sub_path}/\n\
             USE_SUB_URL_PATH = true\nSTATIC_ROOT_PATH = {statics}\nOFFLINE_MODE = true\n\
             START_SSH_SERVER = true\nBUILTIN_SSH_SERVER_USER = git\n\
             SSH_LISTEN_HOST = 127.0.0.1\nSSH_LISTEN_PORT = {ssh_port}\nSSH_PORT = {ssh_port}\n\
             SSH_DOMAIN = 127.0.0.1\nSSH_SERVER_HOST_KEYS = {data}/host_key\n\
             [database]\nDB_TYPE = sqlite3\nPATH = {data}/gitea.db\nSQLITE_JOURNAL_MODE = WAL\n\
             [security]\nINSTALL_LOCK = true\n\
             [service]\nDISABLE_REGISTRATION = true\n\
             [oauth2]\nJWT_SIGNING_ALGORITHM = ES256\n\
             [cron]\nENABLED = false\n\
             [log]\nMODE = console\nLEVEL = Warn\n",
            sub_path = self.sub_path,
            statics = folder().join("static").display(),
        )
    }
}

fn binary() -> Result<PathBuf> {
    installed().context("Gitea is not built: run `cargo xtask peers`")
}

fn spawn(data: &Path) -> Result<Child> {
    Start::new(binary()?, data, "server.log")
        .args(["web", "--config"])
        .args([data.join("app.ini")])
        .env("HOME", data)
        // New repositories without git's sample hooks, which are half of what would be written.
        .env("GIT_TEMPLATE_DIR", "")
        .spawn()
}

fn command_line(data: &Path, arguments: &[&str]) -> Result<String> {
    let output = run(command(binary()?)
        .args(arguments)
        .arg("--config")
        .arg(data.join("app.ini"))
        .env("HOME", data)
        .current_dir(data))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Returns a migrated data folder with an administrator, made on first use on this machine.
///
/// Kept per user, version and layout of this file, below the cache. Two processes that make it at
/// once both do, and the first to finish wins.
fn template() -> Result<PathBuf> {
    /// Raised when what is in the template changes.
    const LAYOUT: u32 = 1;
    let place = place_of(&format!("template-{LAYOUT}"));
    if place.is_dir() {
        return Ok(place);
    }
    let scratch = Scratch::new()?;
    let data = scratch.folder("data")?;
    run(command("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "forge", "-f"])
        .arg(data.join("host_key")))?;
    std::fs::write(data.join("app.ini"), Settings::new(&data, 1, 1).render())?;
    command_line(&data, &["migrate"])
        .with_context(|| format!("failed to migrate a template of Gitea {VERSION}"))?;
    command_line(
        &data,
        &[
            "admin",
            "user",
            "create",
            "--admin",
            "--must-change-password=false",
            "--username",
            ADMINISTRATOR,
            "--password",
            ADMINISTRATOR_PASSWORD,
            "--email",
            "administrator@example.invalid",
        ],
    )?;
    keep(&data, place)
}

/// Returns a data folder with a user who has very many repositories, made on first use on this
/// machine by the forge's own API; that takes half a minute.
fn library() -> Result<PathBuf> {
    /// Raised when what is in it changes.
    const LAYOUT: u32 = 1;
    /// More do not help: each repository costs some processes of git.
    const WORKERS: usize = 4;
    let place = place_of(&format!("library-{LAYOUT}"));
    if place.is_dir() {
        return Ok(place);
    }
    let forge = Gitea::start()?;
    forge.create_user(LIBRARIAN, LIBRARIAN_PASSWORD)?;
    // A password is hashed slowly for each request, a token is not.
    let administrator =
        User { name: ADMINISTRATOR.to_owned(), password: ADMINISTRATOR_PASSWORD.to_owned() };
    let token = forge.create_token(&administrator, "library", &["all"])?;
    let path = format!("/admin/users/{LIBRARIAN}/repos");
    let make = |first: usize| -> Result<()> {
        for number in (first..REPOSITORIES).step_by(WORKERS) {
            let body = serde_json::json!({"name": format!("library-{number:04}"), "private": true});
            forge.ask((ADMINISTRATOR, &token), "POST", &path, Some(&body))?.success()?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|first| scope.spawn(move || make(first))).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| bail!("a thread that made repositories panicked"))
        })
    })?;
    forge.server().signal(Signal::TERM)?;
    forge.server().wait(START_LIMIT)?;
    let data = forge.scratch.join("data");
    // Hooks name the folder of the server that made them, and are half of what would be copied.
    for repository in std::fs::read_dir(data.join("data/gitea-repositories").join(LIBRARIAN))? {
        std::fs::remove_dir_all(repository?.path().join("hooks"))?;
    }
    keep(&data, place)
}

/// Where a data folder is kept, per user: the files belong to who made them.
fn place_of(name: &str) -> PathBuf {
    let owner = if crate::runs_as_root() { "root" } else { "user" };
    folder().join(format!("{name}-{owner}"))
}

/// Copies a data folder beside its place and renames it, so that nobody copies half of it.
fn keep(data: &Path, place: PathBuf) -> Result<PathBuf> {
    let unfinished = place.with_extension(format!("unfinished-{}", std::process::id()));
    run(command("cp").arg("-a").arg(data).arg(&unfinished))?;
    if std::fs::rename(&unfinished, &place).is_err() && !place.is_dir() {
        bail!("failed to put the template at `{}`", place.display());
    }
    let _ = std::fs::remove_dir_all(&unfinished);
    Ok(place)
}
