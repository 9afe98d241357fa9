//! People and repositories of a test's forge, and what of theirs is still alive.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Gitea;

/// Someone on the forge.
#[derive(Clone, Debug)]
pub struct User {
    /// The name to sign in with.
    pub name: String,
    /// The password at the time the user was made or given a new one.
    pub password: String,
}

/// A repository on the forge.
#[derive(Clone, Debug)]
pub struct Repository {
    /// `owner/name`.
    pub path: String,
    /// The URL to clone over HTTP.
    pub http_url: String,
    /// The URL to clone over SSH.
    pub ssh_url: String,
}

impl User {
    fn pair(&self) -> (&str, &str) {
        (&self.name, &self.password)
    }
}

impl Gitea {
    /// Makes a user who can sign in at once.
    pub fn create_user(&self, name: &str, password: &str) -> Result<User> {
        let body = json!({
            "username": name,
            "password": password,
            "email": format!("{name}@example.invalid"),
            "must_change_password": false,
        });
        self.call("POST", "/admin/users", Some(&body))?;
        Ok(User { name: name.to_owned(), password: password.to_owned() })
    }

    /// Gives a user another password; the one before is refused at once.
    pub fn change_password(&self, user: &User, password: &str) -> Result<User> {
        let body = json!({"login_name": user.name, "source_id": 0, "password": password,
            "must_change_password": false});
        self.call("PATCH", &format!("/admin/users/{}", user.name), Some(&body))?;
        Ok(User { name: user.name.clone(), password: password.to_owned() })
    }

    /// Makes a private repository with one commit on `main`.
    pub fn create_repository(&self, owner: &User, name: &str) -> Result<Repository> {
        let body = json!({"name": name, "private": true, "auto_init": true,
            "default_branch": "main"});
        self.call("POST", &format!("/admin/users/{}/repos", owner.name), Some(&body))?;
        let path = format!("{}/{name}", owner.name);
        Ok(Repository {
            http_url: format!("{}/{path}.git", self.url()),
            ssh_url: format!("{}/{path}.git", self.ssh_url()),
            path,
        })
    }

    /// Makes a branch at the tip of `from`.
    pub fn create_branch(&self, repository: &Repository, name: &str, from: &str) -> Result<()> {
        let body = json!({"new_branch_name": name, "old_ref_name": from});
        self.call("POST", &format!("/repos/{}/branches", repository.path), Some(&body)).map(drop)
    }

    /// Writes a file in a commit of its own on `branch`; returns the commit.
    pub fn create_file(
        &self,
        repository: &Repository,
        branch: &str,
        path: &str,
        text: &str,
    ) -> Result<String> {
        use base64::Engine as _;
        let content = base64::engine::general_purpose::STANDARD.encode(text);
        let body = json!({"branch": branch, "content": content, "message": format!("Add {path}")});
        let answer =
            self.call("POST", &format!("/repos/{}/contents/{path}", repository.path), Some(&body))?;
        let commit = answer["commit"]["sha"].as_str().context("no commit in the answer")?;
        Ok(commit.to_owned())
    }

    /// Returns the branches' names, in order.
    pub fn branches(&self, repository: &Repository) -> Result<Vec<String>> {
        let found = self.call_all(&format!("/repos/{}/branches", repository.path))?;
        let mut names = texts(&found, "name");
        names.sort();
        Ok(names)
    }

    /// Returns the commit at the tip of `branch`, if there is one.
    pub fn tip(&self, repository: &Repository, branch: &str) -> Result<Option<String>> {
        let found = self.call_all(&format!("/repos/{}/branches", repository.path))?;
        let branch = found.iter().find(|found| found["name"] == branch);
        Ok(branch.and_then(|branch| branch["commit"]["id"].as_str()).map(str::to_owned))
    }

    /// Lets `user` read, or read and write, the repository.
    pub fn add_collaborator(
        &self,
        repository: &Repository,
        user: &User,
        permission: &str,
    ) -> Result<()> {
        let path = format!("/repos/{}/collaborators/{}", repository.path, user.name);
        self.call("PUT", &path, Some(&json!({"permission": permission}))).map(drop)
    }

    /// Makes an access token for the user, as the user would on the settings page.
    pub fn create_token(&self, user: &User, name: &str, scopes: &[&str]) -> Result<String> {
        let body = json!({"name": name, "scopes": scopes});
        let path = format!("/users/{}/tokens", user.name);
        let answer = self.ask(user.pair(), "POST", &path, Some(&body))?.success()?.json()?;
        let token = answer["sha1"].as_str().context("no token in the answer")?;
        Ok(token.to_owned())
    }

    /// Returns the names of the user's living access tokens: none is what a finished run leaves.
    pub fn token_names(&self, user: &User) -> Result<Vec<String>> {
        Ok(texts(&self.call_all(&format!("/users/{}/tokens", user.name))?, "name"))
    }

    /// Returns the titles of the repository's living deploy keys.
    pub fn deploy_key_titles(&self, repository: &Repository) -> Result<Vec<String>> {
        Ok(texts(&self.call_all(&format!("/repos/{}/keys", repository.path))?, "title"))
    }

    /// Makes an access token by Gitea's own command line, with every right.
    pub fn create_full_token(&self, user: &User, name: &str) -> Result<String> {
        let arguments = ["admin", "user", "generate-access-token", "--raw", "--scopes", "all"];
        let more = ["--username", user.name.as_str(), "--token-name", name];
        let said = self.command_line(&[&arguments[..], &more].concat())?;
        // As root it prints a warning first.
        Ok(said.lines().last().context("Gitea printed no token")?.to_owned())
    }
}

fn texts(items: &[Value], key: &str) -> Vec<String> {
    items.iter().filter_map(|item| item[key].as_str()).map(str::to_owned).collect()
}
