//! Plain HTTP requests of tests to their peers, by the `curl` program.
//!
//! Not for asking Keyferry: its typed client is. Passwords and tokens go to curl by standard
//! input, since arguments are in the process list that tests search for secrets.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::children::{command, run_with_input};

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    url: String,
    headers: Vec<String>,
    user: Option<String>,
    body: Option<String>,
    certificate_authority: Option<PathBuf>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header lines, as sent.
    pub headers: Vec<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// Makes a request.
    pub fn new(method: &str, url: &str) -> Self {
        Self {
            method: method.to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            user: None,
            body: None,
            certificate_authority: None,
        }
    }

    /// Makes a GET request.
    pub fn get(url: &str) -> Self {
        Self::new("GET", url)
    }

    /// Signs in with HTTP Basic.
    #[must_use]
    pub fn basic(mut self, user: &str, password: &str) -> Self {
        self.user = Some(format!("{user}:{password}"));
        self
    }

    /// Adds a header, `Name: value`.
    #[must_use]
    pub fn header(mut self, line: impl Into<String>) -> Self {
        self.headers.push(line.into());
        self
    }

    /// Sends a JSON body.
    #[must_use]
    pub fn json(mut self, body: &Value) -> Self {
        self.body = Some(body.to_string());
        self.header("Content-Type: application/json")
    }

    /// Trusts a certificate authority, if one is given.
    #[must_use]
    pub fn trusting(mut self, certificate: Option<&Path>) -> Self {
        self.certificate_authority = certificate.map(Path::to_path_buf);
        self
    }

    /// Sends it; every status is an answer, only no answer is an error.
    pub fn send(&self) -> Result<Answer> {
        let output = run_with_input(
            command("curl").args(["--disable", "--config", "-"]),
            self.configuration()?.as_bytes(),
        )
        .with_context(|| format!("{} {}", self.method, self.url))?;
        Answer::decode(&output.stdout)
    }

    /// The request in the words of curl's configuration file.
    fn configuration(&self) -> Result<String> {
        let mut text =
            String::from("silent\nshow-error\nhttp1.1\nmax-time = 60\ndump-header = -\n");
        let mut add = |name: &str, value: &str| writeln!(text, "{name} = {}", quote(value));
        add("request", &self.method)?;
        add("url", &self.url)?;
        for header in &self.headers {
            add("header", header)?;
        }
        // Else curl waits for permission to send a long body.
        add("header", "Expect:")?;
        if let Some(user) = &self.user {
            add("user", user)?;
        }
        if let Some(body) = &self.body {
            add("data-raw", body)?;
        }
        if let Some(certificate) = &self.certificate_authority {
            add("cacert", &certificate.to_string_lossy())?;
        }
        if self.method == "HEAD" {
            text.push_str("head\n");
        }
        Ok(text)
    }
}

/// Quotes a value as curl reads it in a configuration file.
fn quote(value: &str) -> String {
    let mut quoted = String::from("\"");
    for character in value.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

impl Answer {
    /// Reads header block and body; a `100 Continue` in front is skipped.
    fn decode(mut bytes: &[u8]) -> Result<Self> {
        loop {
            let end = bytes
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
                .context("an answer without a header block")?;
            let head = std::str::from_utf8(&bytes[..end])?;
            let mut lines = head.split("\r\n");
            let status = lines.next().and_then(|line| line.split(' ').nth(1));
            let status: u16 = status.context("an answer without a status")?.parse()?;
            let rest = &bytes[end + 4..];
            if (100..200).contains(&status) {
                bytes = rest;
                continue;
            }
            let headers = lines.map(str::to_owned).collect();
            return Ok(Self { status, headers, body: rest.to_vec() });
        }
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("not JSON ({}): {}", self.status, self.text()))
    }

    /// Fails unless the status says success.
    pub fn success(self) -> Result<Self> {
        if !(200..300).contains(&self.status) {
            bail!("status {}: {}", self.status, self.text());
        }
        Ok(self)
    }

    /// Returns the values of the header `name`, each line's.
    pub fn header_values(&self, name: &str) -> Vec<&str> {
        let value = |line| {
            let (found, value): (&str, &str) = str::split_once(line, ':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        };
        self.headers.iter().filter_map(|line| value(line.as_str())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_split_into_its_parts() {
        let answer = Answer::decode(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 401 No\r\nA: b\r\na:c\r\n\r\nx\r\n\r\ny",
        )
        .unwrap();
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header_values("A"), ["b", "c"]);
        assert_eq!(answer.body, b"x\r\n\r\ny");
        assert!(answer.success().is_err());
    }

    #[test]
    fn garbage_is_no_answer() {
        for bytes in [&b""[..], b"\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n"] {
            assert!(Answer::decode(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn quotes_and_line_ends_cannot_leave_a_value() {
        assert_eq!(quote("a\"b\\c\nurl = x"), r#""a\"b\\c\nurl = x""#);
    }

    #[test]
    fn nobody_listening_is_an_error() {
        let port = crate::ports::free_port();
        assert!(Request::get(&format!("http://127.0.0.1:{port}/")).send().is_err());
    }
}
