//! A Git server that needs nothing but git: `git http-backend` behind a small HTTP host in here.
//!
//! For machines where no web server is installed; tests that want one like those in use take
//! [`super::git_http`]. One user, plain HTTP on loopback, one request per connection, bodies held in
//! memory: enough for sample repositories, and no more.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use crate::children::{command, output_with_input};
use crate::{Git, Scratch, git};

/// What this peer needs on the machine.
pub const PROGRAMS: &[&str] = &["git"];

/// The user that the server starts with.
pub const USER: &str = "ci";

/// Longer bodies are refused (413); a sample's pushes have a few kilobytes.
const MAX_BODY_BYTES: u64 = 64 << 20;

/// Longer lines of a header are refused.
const MAX_LINE_BYTES: u64 = 16 << 10;

/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Git server; repositories are in [`GitBackend::repositories`].
pub struct GitBackend {
    shared: Arc<Shared>,
    port: u16,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    scratch: Scratch,
    password: Mutex<String>,
    requests: Mutex<String>,
    is_over: AtomicBool,
}

impl GitBackend {
    /// Starts it with [`USER`] and `password`.
    pub fn start(password: &str) -> Result<Self> {
        let scratch = Scratch::new()?;
        scratch.folder("repositories")?;
        scratch.folder("home")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            scratch,
            password: Mutex::new(password.to_owned()),
            requests: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let served = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if served.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let served = Arc::clone(&served);
                std::thread::spawn(move || served.converse(&stream));
            }
        });
        Ok(Self { shared, port, acceptor: Some(acceptor) })
    }

    /// Returns the base URL, `http://127.0.0.1:PORT`, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the URL of the repository at `path`, `team/app` for instance.
    pub fn repository_url(&self, path: &str) -> String {
        format!("{}/{path}.git", self.url())
    }

    /// Returns the folder that holds the bare repositories, `team/app.git` and so on.
    pub fn repositories(&self) -> PathBuf {
        self.shared.scratch.join("repositories")
    }

    /// Makes a repository with commits on `main` and `feature/login` (see [`git::make_sample`]),
    /// and returns its URL.
    pub fn create_repository(&self, path: &str) -> Result<String> {
        git::make_sample(&self.git()?, &self.repository(path))?;
        Ok(self.repository_url(path))
    }

    /// Returns the commit at the tip of `branch`, if there is one, as the server has it.
    pub fn tip(&self, path: &str, branch: &str) -> Result<Option<String>> {
        git::tip(&self.git()?, &self.repository(path), branch)
    }

    /// Returns a git with a home of the server's, for a look at its repositories.
    pub fn git(&self) -> Result<Git> {
        Git::new(&self.shared.scratch.join("home"))
    }

    /// Returns where the bare repository of `path` is.
    pub fn repository(&self, path: &str) -> PathBuf {
        self.repositories().join(format!("{path}.git"))
    }

    /// Gives the server another password; the one before is refused at once.
    pub fn change_password(&self, password: &str) {
        password.clone_into(&mut lock(&self.shared.password));
    }

    /// Returns the requests so far, a line each: user or `-`, method, path with query, status.
    pub fn requests(&self) -> String {
        lock(&self.shared.requests).clone()
    }
}

impl Drop for GitBackend {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // The acceptor waits for a connection; it gets one.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request whose header has been read.
struct Head {
    method: String,
    path: String,
    query: String,
    /// By name in lower case.
    headers: BTreeMap<String, String>,
}

/// What is sent back: status line's end, header lines, body.
struct Reply {
    status: String,
    headers: Vec<String>,
    body: Vec<u8>,
}

impl Reply {
    fn refusal(status: &str) -> Self {
        let headers = vec!["Content-Type: text/plain".to_owned()];
        Self { status: status.to_owned(), headers, body: format!("{status}\n").into_bytes() }
    }
}

impl Shared {
    /// Answers the one request of a connection. A client that goes away is no failure of ours.
    fn converse(&self, stream: &TcpStream) {
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.set_write_timeout(Some(PATIENCE));
        let mut reader = BufReader::new(stream);
        let Ok(head) = Head::read(&mut reader) else { return };
        let reply = self.answer(&head, &mut reader, stream).unwrap_or_else(|error| {
            // The program's words, for whoever wonders why; no header of the request is in them.
            let mut reply = Reply::refusal("500 Internal Server Error");
            reply.body = format!("{error:#}\n").into_bytes();
            reply
        });
        let user = if self.is_allowed(&head) { USER } else { "-" };
        let status = reply.status.split(' ').next().unwrap_or_default();
        let line = format!("{user} {} {}?{} {status}\n", head.method, head.path, head.query);
        lock(&self.requests).push_str(&line);
        let lines: String = reply.headers.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect();
        let bytes = format!(
            "HTTP/1.1 {}\r\nConnection: close\r\nContent-Length: {}\r\n{lines}\r\n",
            reply.status,
            reply.body.len()
        );
        let mut stream = stream;
        let _ = stream.write_all(bytes.as_bytes());
        if head.method != "HEAD" {
            let _ = stream.write_all(&reply.body);
        }
        // What was not read would make the system cut the connection before the answer is there.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = std::io::copy(&mut reader.take(MAX_BODY_BYTES), &mut std::io::sink());
    }

    fn answer(
        &self,
        head: &Head,
        reader: &mut BufReader<&TcpStream>,
        mut stream: &TcpStream,
    ) -> Result<Reply> {
        if !self.is_allowed(head) {
            let mut reply = Reply::refusal("401 Unauthorized");
            reply.headers.push("WWW-Authenticate: Basic realm=\"git\"".to_owned());
            return Ok(reply);
        }
        if head.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let Some(body) = read_body(head, reader)? else {
            return Ok(Reply::refusal("413 Content Too Large"));
        };
        let output = output_with_input(&mut self.backend(head), &body)?;
        Reply::of_backend(&output.stdout)
    }

    /// Compares the whole of what was sent with the whole of what is expected.
    fn is_allowed(&self, head: &Head) -> bool {
        let sent = head.header("authorization").and_then(|value| value.split_once(' '));
        let Some((scheme, sent)) = sent else { return false };
        let expected = format!("{USER}:{}", lock(&self.password));
        scheme.eq_ignore_ascii_case("basic")
            && STANDARD.decode(sent.trim()).is_ok_and(|sent| sent == expected.as_bytes())
    }

    /// The CGI program with its variables (git-http-backend(1)); it keeps paths inside its root.
    fn backend(&self, head: &Head) -> std::process::Command {
        let mut backend = command("git");
        backend
            .arg("http-backend")
            .current_dir(self.scratch.path())
            .env("HOME", self.scratch.join("home"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_PROJECT_ROOT", self.scratch.join("repositories"))
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REQUEST_METHOD", &head.method)
            .env("PATH_INFO", percent_decode_str(&head.path).decode_utf8_lossy().as_ref())
            .env("QUERY_STRING", &head.query)
            .env("REMOTE_USER", USER)
            .env("REMOTE_ADDR", "127.0.0.1");
        for (name, variable) in [
            ("content-type", "CONTENT_TYPE"),
            ("content-encoding", "HTTP_CONTENT_ENCODING"),
            ("git-protocol", "GIT_PROTOCOL"),
        ] {
            if let Some(value) = head.header(name) {
                backend.env(variable, value);
            }
        }
        backend
    }
}

impl Head {
    fn read(reader: &mut impl std::io::BufRead) -> Result<Self> {
        let request = line(reader)?;
        let mut words = request.split(' ');
        let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            bail!("this is not HTTP");
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = BTreeMap::new();
        loop {
            let line = line(reader)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').context("a header line without a colon")?;
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
        Ok(Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
        })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// Reads a line without its end.
fn line(reader: &mut impl std::io::BufRead) -> Result<String> {
    let mut line = Vec::new();
    reader.take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        bail!("a line that does not end");
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(String::from_utf8(line)?)
}

/// Reads the body in whichever framing it comes; `None` when it is too long.
fn read_body(head: &Head, reader: &mut BufReader<&TcpStream>) -> Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    let is_chunked =
        head.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    if !is_chunked {
        let length: u64 = head.header("content-length").map_or(Ok(0), str::parse)?;
        if length > MAX_BODY_BYTES {
            return Ok(None);
        }
        reader.take(length).read_to_end(&mut body)?;
        return Ok(Some(body));
    }
    loop {
        let size = line(reader)?;
        let size = u64::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)?;
        if size == 0 {
            // Trailers, if any, end with an empty line.
            while !line(reader)?.is_empty() {}
            return Ok(Some(body));
        }
        if size > MAX_BODY_BYTES - body.len() as u64 {
            return Ok(None);
        }
        reader.take(size).read_to_end(&mut body)?;
        line(reader)?;
    }
}

impl Reply {
    /// Takes a CGI program's output apart (RFC 3875 §6).
    fn of_backend(output: &[u8]) -> Result<Self> {
        let end = output
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .context("`git http-backend` is missing or said nothing")?;
        let mut status = "200 OK".to_owned();
        let mut headers = Vec::new();
        for line in std::str::from_utf8(&output[..end])?.split("\r\n") {
            match line.strip_prefix("Status: ") {
                Some(found) => found.clone_into(&mut status),
                None => headers.push(line.to_owned()),
            }
        }
        Ok(Self { status, headers, body: output[end + 4..].to_vec() })
    }
}

/// Tells whether this machine's git has the program that this peer stands on; some distributions
/// pack it by itself.
pub fn is_available() -> bool {
    crate::children::output(command("git").arg("--exec-path")).is_ok_and(|output| {
        let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success() && Path::new(&folder).join("git-http-backend").is_file()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Request;

    fn client(server: &GitBackend, password: &str) -> (Scratch, Git, String) {
        let url = server.create_repository("team/app").unwrap();
        let scratch = Scratch::new().unwrap();
        let git = Git::new(scratch.path()).unwrap();
        git.remember(&url, USER, password).unwrap();
        (scratch, git, url)
    }

    #[test]
    fn the_right_password_clones_and_pushes_also_what_is_large() {
        let server = GitBackend::start("right").unwrap();
        let (scratch, git, url) = client(&server, "right");
        git.run(["clone", "--quiet", &url, "copy"]).unwrap();
        // Over 1 MB git asks first (`0000`) and then sends in chunks; noise does not compress.
        let mut noise = vec![0; 3 << 20];
        std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut noise).unwrap();
        std::fs::write(scratch.join("copy/noise"), noise).unwrap();
        git.run(["-C", "copy", "add", "noise"]).unwrap();
        git.run(["-C", "copy", "commit", "--quiet", "--message", "Noise"]).unwrap();
        git.run(["-C", "copy", "push", "--quiet", "origin", "HEAD:refs/heads/noise"]).unwrap();
        let here = git.run(["-C", "copy", "rev-parse", "HEAD"]).unwrap();
        assert_eq!(server.tip("team/app", "noise").unwrap(), Some(here));
        git.run(["-C", "copy", "push", "--quiet", "origin", ":feature/login"]).unwrap();
        assert_eq!(server.tip("team/app", "feature/login").unwrap(), None);
        assert!(server.requests().contains("ci POST /team/app.git/git-receive-pack? 200"));
    }

    #[test]
    fn other_passwords_are_refused_also_the_one_before() {
        let server = GitBackend::start("before").unwrap();
        let (_scratch, git, url) = client(&server, "before");
        git.run(["ls-remote", &url]).unwrap();
        server.change_password("after");
        let refused = git.output(["ls-remote", &url]).unwrap();
        assert!(!refused.status.success());
        let get = |user: &str, password: &str| {
            let url = format!("{url}/info/refs?service=git-upload-pack");
            Request::get(&url).basic(user, password).send().unwrap()
        };
        for (user, password) in [("ci", "before"), ("ci", ""), ("", "after"), ("root", "after")] {
            assert_eq!(get(user, password).status, 401, "{user}:{password}");
        }
        let anonymous = Request::get(&url).send().unwrap();
        assert_eq!(anonymous.header_values("www-authenticate"), ["Basic realm=\"git\""]);
        assert_eq!(get("ci", "after").status, 200);
    }

    #[test]
    fn what_is_no_repository_is_not_served() {
        let server = GitBackend::start("secret").unwrap();
        server.create_repository("team/app").unwrap();
        for path in ["/team/none.git/info/refs", "/../home/.gitconfig", "/%2e%2e/home/.gitconfig"] {
            let url = format!("{}{path}?service=git-upload-pack", server.url());
            let answer = Request::get(&url).basic(USER, "secret").send().unwrap();
            assert!(answer.status >= 400, "{path}: {}", answer.status);
            assert!(!answer.text().contains("[user]"), "{path}");
        }
    }

    #[test]
    fn what_is_no_request_is_not_read() {
        for text in
            ["", "\r\n", "GET /\r\n\r\n", "GET / HTTP/2\r\n\r\n", "GET / HTTP/1.1\r\nx\r\n\r\n"]
        {
            assert!(Head::read(&mut text.as_bytes()).is_err(), "{text:?}");
        }
        let endless = "x".repeat(1 << 20);
        assert!(Head::read(&mut endless.as_bytes()).is_err());
    }

    #[test]
    fn a_backend_that_says_nothing_is_an_error() {
        assert!(Reply::of_backend(b"").is_err());
        let reply = Reply::of_backend(b"Status: 404 Not Found\r\nA: b\r\n\r\nx\r\n\r\ny").unwrap();
        assert_eq!(
            (reply.status.as_str(), reply.body.as_slice()),
            ("404 Not Found", &b"x\r\n\r\ny"[..])
        );
        assert_eq!(reply.headers, ["A: b"]);
    }
}
