//! What is measured: a real server with an owner, and a workload that holds a connection.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result};
use keyferry_testkit::http::{Answer, Request};
use keyferry_testkit::process::{ServerOptions, create_owner};
use keyferry_testkit::{Cli, Scratch, ServerProcess};
use serde_json::{Value, json};

use crate::steps;

const PASSWORD: &str = "a password for measuring";

/// A server with one organization, and the owner's token.
pub(super) struct Stand {
    pub(super) server: ServerProcess,
    pub(super) organization: String,
    pub(super) token: String,
    home: Scratch,
}

impl Stand {
    /// Starts a server; `arguments` follow `serve`.
    pub(super) fn start(options: ServerOptions) -> Result<Self> {
        let scratch = Scratch::new()?;
        create_owner(&scratch, &options, "owner@example.com", "Owner", "Bench", PASSWORD)?;
        let server = ServerProcess::start_in(scratch, options)?;
        let session = Request::new("POST", &format!("{}/api/v1/sessions", server.url()))
            .json(&json!({ "email": "owner@example.com", "password": PASSWORD }))
            .send()?
            .success()?
            .json()?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("read the session");
        Ok(Self {
            organization: text(&session["user"]["memberships"][0]["organization_id"])?,
            token: text(&session["token"])?,
            server,
            home: Scratch::new()?,
        })
    }

    /// Returns the address of a resource of the organization.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}/api/v1/organizations/{}/{path}", self.server.url(), self.organization)
    }

    /// Makes something as the owner.
    pub(super) fn create(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask(Request::new("POST", &self.url(path)).json(body))?.json()
    }

    /// Gets something as the owner.
    pub(super) fn get(&self, path: &str) -> Result<Value> {
        self.ask(Request::get(&self.url(path)))?.json()
    }

    fn ask(&self, request: Request) -> Result<Answer> {
        request.header(format!("Authorization: Bearer {}", self.token)).send()?.success()
    }

    /// Returns the command line program, signed in as the owner.
    pub(super) fn cli(&self) -> Result<Cli> {
        Ok(Cli::new(self.home.path())?
            .env("KEYFERRY_URL", self.server.url())
            .env("KEYFERRY_ORGANIZATION", &self.organization)
            .env("KEYFERRY_TOKEN", &self.token))
    }
}

/// Starts the load client with what it may not have on its command line.
pub(super) fn load(program: &Path, arguments: &[&str], secret_input: &str) -> Result<Value> {
    let mut child = steps::command(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("start the load client")?;
    write_input(&mut child, secret_input)?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        anyhow::bail!("the load client ended with {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("read the load client's figures")
}

fn write_input(child: &mut Child, text: &str) -> Result<()> {
    let mut stdin = child.stdin.take().context("reach the load client")?;
    stdin.write_all(text.as_bytes()).context("write to the load client")
}

/// Reads a number of the load client's figures.
pub(super) fn number(figures: &Value, name: &str) -> Result<f64> {
    figures[name].as_f64().with_context(|| format!("read `{name}` of the load client"))
}
