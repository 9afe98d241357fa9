//! Gitea's API over HTTP: addresses, authentication, and what its refusals mean.
//!
//! Errors have the body `{"message", "url"}`. A wrong credential is 401 without a challenge, a
//! missing scope is 403 with the word "scope", and what may not be seen is 404. Which calls there
//! are is in the files beside this one.

use std::fmt;

use keyferry_domain::credential::CredentialKind;
use keyferry_domain::operation::RepositoryPath;
use keyferry_domain::safe_url::SafeUrl;
use keyferry_domain::secret::SecretString;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::error::ProviderError;
use crate::http::{Answer as HttpAnswer, Http};
use crate::provider::{Context, Settings, Target};

/// The setting that holds the address.
pub(super) const BASE_URL: &str = "base_url";

/// A user as Gitea tells it; other fields are of no interest.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct User {
    /// The id, which searches are limited by.
    pub(super) id: i64,
    /// The name to sign in with.
    pub(super) login: String,
}

/// An answer with its status as a number, as Gitea's documentation writes them.
pub(super) struct Answer {
    /// The status code.
    pub(super) status: u16,
    inner: HttpAnswer,
}

impl Answer {
    /// Reads the body as JSON.
    pub(super) fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, ProviderError> {
        self.inner.json()
    }

    /// Returns Gitea's words, cleaned of secrets.
    pub(super) fn words(&self) -> String {
        self.inner.words()
    }

    /// Tells whether Gitea refuses because of what the token may do, not because of the thing.
    pub(super) fn is_about_scopes(&self) -> bool {
        self.status == 403 && self.words().contains("scope")
    }

    /// Returns what a refusal means; `what` is the thing asked for.
    pub(super) fn refusal(&self, what: &str) -> ProviderError {
        let words = self.words();
        match self.status {
            // Their rules about the thing, not about the credential.
            403 if is_rule(&words) => ProviderError::Refused { reason: words },
            405 | 409 | 422 | 423 => ProviderError::Refused { reason: words },
            _ => self.inner.error(what),
        }
    }

    /// Tells whether there is another page: from `Link`, else from `X-Total-Count`.
    pub(super) fn has_next_page(&self, page: u32, size: u32) -> bool {
        if let Some(link) = self.inner.header("link") {
            return link.contains("rel=\"next\"");
        }
        let total = self.inner.header("x-total-count").and_then(|text| text.trim().parse().ok());
        total.is_some_and(|total: u64| total > u64::from(page) * u64::from(size))
    }
}

/// The API as one connection's credential sees it, for the length of one call.
pub(super) struct Client<'a> {
    http: Http,
    base: SafeUrl,
    context: &'a Context,
    target: Target<'a>,
}

/// The username and the secret of a credential: a token may have a meaningless name.
fn parts(target: Target<'_>) -> Result<(&str, &SecretString), ProviderError> {
    let credential = target.credential;
    let name = match credential.kind {
        CredentialKind::UsernamePassword => "password",
        CredentialKind::Token => "token",
        CredentialKind::SshKey | CredentialKind::Values => {
            return Err(ProviderError::Misconfigured {
                field: "credential".to_owned(),
                reason: format!("Gitea takes no credential of the kind `{}`", credential.kind),
            });
        }
    };
    let username = credential.public.get("username").map_or("", String::as_str);
    let secret = credential.secrets.get(name).ok_or_else(|| ProviderError::Misconfigured {
        field: name.to_owned(),
        reason: "it is missing".to_owned(),
    })?;
    Ok((username, secret))
}

impl<'a> Client<'a> {
    /// Starts a call; the call's deadline runs from here.
    pub(super) fn new(context: &'a Context, target: Target<'a>) -> Result<Self, ProviderError> {
        parts(target)?;
        let ca = target.settings.get("ca_certificate").map(String::as_str);
        Ok(Self {
            http: Http::new(context, BASE_URL, ca)?,
            base: base_url(target.settings)?.join(&["api", "v1"]),
            context,
            target,
        })
    }

    /// Starts another call with its own deadline, to tidy up after one whose time may be over.
    pub(super) fn renewed(&self) -> Result<Self, ProviderError> {
        Self::new(self.context, self.target)
    }

    /// Returns the user name of the credential as it was given.
    pub(super) fn username(&self) -> &'a str {
        parts(self.target).map_or("", |(username, _)| username)
    }

    /// Calls the API with the credential in its usual form.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<Answer, ProviderError> {
        let (username, secret) = parts(self.target)?;
        let mut request = self.http.request(method, self.base.join(path).as_url().clone());
        request = match self.target.credential.kind {
            CredentialKind::Token => request.bearer(secret),
            _ => request.basic(username, secret),
        };
        for (name, value) in query {
            request = request.query(name, value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let inner = request.header("accept", "application/json").send().await?;
        Ok(Answer { status: inner.status.as_u16(), inner })
    }

    /// Calls the API with Basic authentication, which calls about tokens insist on; `login` is
    /// the name to go with a stored token.
    pub(super) async fn call_basic(
        &self,
        login: &str,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> Result<Answer, ProviderError> {
        let (username, secret) = parts(self.target)?;
        let username = match self.target.credential.kind {
            CredentialKind::Token => login,
            _ => username,
        };
        let mut request = self
            .http
            .request(method, self.base.join(path).as_url().clone())
            .basic(username, secret)
            .header("accept", "application/json");
        if let Some(body) = body {
            request = request.json(body);
        }
        let inner = request.send().await?;
        Ok(Answer { status: inner.status.as_u16(), inner })
    }

    /// Returns whose credential this is. Needs the scope `read:user`: `None` when a valid token
    /// does not have it.
    pub(super) async fn user(&self) -> Result<Option<User>, ProviderError> {
        let answer = self.call(Method::GET, &["user"], &[], None).await?;
        match answer.status {
            200 => answer.json().map(Some),
            _ if answer.is_about_scopes() => Ok(None),
            _ => Err(answer.refusal("the API of Gitea at this address")),
        }
    }
}

fn is_rule(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    words.contains("protected") || words.contains("can not delete") || words.contains("archived")
}

/// Returns the address of the server.
pub(super) fn base_url(settings: &Settings) -> Result<SafeUrl, ProviderError> {
    let wrong = |reason: &str| ProviderError::Misconfigured {
        field: BASE_URL.to_owned(),
        reason: reason.to_owned(),
    };
    let text = settings.get(BASE_URL).ok_or_else(|| wrong("it is missing"))?;
    SafeUrl::parse_http(text).map_err(|_| wrong("it is not an address"))
}

/// A repository as Gitea names it: owner and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RepositoryName<'a> {
    owner: &'a str,
    name: &'a str,
}

impl<'a> RepositoryName<'a> {
    /// Reads a path of two parts. What Git asks for below a server's sub-path has the sub-path in
    /// front, which is dropped.
    pub(super) fn of(settings: &Settings, path: &'a RepositoryPath) -> Result<Self, ProviderError> {
        let base = base_url(settings)?;
        let prefix = base.as_url().path().trim_matches('/');
        let text = path.as_str();
        let inside = text
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix('/'))
            .filter(|rest| !prefix.is_empty() && rest.contains('/'))
            .unwrap_or(text);
        match inside.split_once('/') {
            Some((owner, name)) if !name.contains('/') => Ok(Self { owner, name }),
            _ => Err(ProviderError::Misconfigured {
                field: "repository".to_owned(),
                reason: format!("`{text}` is not a repository of Gitea; write it like `team/app`"),
            }),
        }
    }

    /// Returns the API's path of something of this repository.
    pub(super) fn path<'b>(&self, rest: &[&'b str]) -> Vec<&'b str>
    where
        'a: 'b,
    {
        let mut path = vec!["repos", self.owner, self.name];
        path.extend(rest);
        path
    }

    /// Returns the words for errors.
    pub(super) fn describe(&self) -> String {
        format!("repository `{self}`")
    }
}

impl fmt::Display for RepositoryName<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.owner, self.name)
    }
}

/// Returns the parts of a branch's or tag's name, to be percent-encoded one by one. Names that Git
/// does not take (git-check-ref-format(1)) are refused: `..` would climb in the address.
pub(super) fn ref_segments<'a>(
    field: &'static str,
    name: &'a str,
) -> Result<Vec<&'a str>, ProviderError> {
    let is_valid = !name.is_empty()
        && name.len() <= 255
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && name.split('/').all(|part| {
            !part.is_empty() && !part.starts_with('.') && part.strip_suffix(".lock").is_none()
        })
        && !name.chars().any(|c| c.is_control() || " ~^:?*[\\".contains(c));
    if is_valid {
        Ok(name.split('/').collect())
    } else {
        Err(ProviderError::Misconfigured {
            field: field.to_owned(),
            reason: format!(
                "`{}` is not a name that Git takes",
                name.chars().take(80).collect::<String>()
            ),
        })
    }
}
