//! How a request becomes an answer or an error.

use std::fmt;
use std::time::Duration;

use keyferry_domain::secret::SecretString;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::problem::Problem;

/// Longest answer that is read, in bytes; lists are paged well below it.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server said no, and why.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// The server could not be reached, or the connection broke.
    #[error("reach the server at {url}")]
    Unreachable {
        /// The server's address.
        url: String,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// Something answered that is not Keyferry, or not this version of it.
    #[error("understand the answer of {url}: {reason}")]
    Strange {
        /// The server's address.
        url: String,
        /// What was strange.
        reason: String,
        /// The HTTP status, when there was one without an explanation.
        status: Option<u16>,
    },
    /// The address of the server is not usable.
    #[error("use `{url}` as the server's address; write it like https://keyferry.example.com")]
    BadAddress {
        /// What was given.
        url: String,
    },
}

impl ClientError {
    /// Returns the problem, when the server answered with one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// Tells whether the same call may succeed later without any change.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Problem(problem) => matches!(problem.status, 429 | 503),
            // What a proxy says while the server behind it restarts.
            Self::Strange { status, .. } => matches!(status, Some(502..=504)),
            Self::BadAddress { .. } => false,
        }
    }
}

/// A client of one server with at most one token.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<SecretString>,
    retries_for: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Client({})", self.base)
    }
}

impl Client {
    /// Makes a client; `address` is where the server listens, `https://keyferry.example.com`.
    /// `ca_certificates` are PEM texts that are trusted beside the system's.
    pub fn new(
        address: &str,
        token: Option<SecretString>,
        ca_certificates: &[&str],
    ) -> Result<Self, ClientError> {
        let bad = || ClientError::BadAddress { url: address.to_owned() };
        let mut base = Url::parse(address).map_err(|_| bad())?;
        let has_user = !base.username().is_empty() || base.password().is_some();
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() || has_user {
            return Err(ClientError::BadAddress { url: "the given address".to_owned() });
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "this client talks to Keyferry itself, at the address of its own settings"
        )]
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(90))
            .user_agent(concat!("keyferry/", env!("CARGO_PKG_VERSION")));
        for pem in ca_certificates {
            let certificate = reqwest::Certificate::from_pem(pem.as_bytes())
                .map_err(|source| ClientError::Unreachable { url: base.to_string(), source })?;
            builder = builder.add_root_certificate(certificate);
        }
        let http = builder
            .build()
            .map_err(|source| ClientError::Unreachable { url: base.to_string(), source })?;
        Ok(Self { http, base, token, retries_for: Duration::ZERO })
    }

    /// Returns a client with another token.
    #[must_use]
    pub fn with_token(&self, token: SecretString) -> Self {
        Self { token: Some(token), ..self.clone() }
    }

    /// Returns a client that repeats calls for so long while the server is away. Only for callers
    /// whose calls change nothing when repeated, like the runner's.
    #[must_use]
    pub fn with_retries(&self, retries_for: Duration) -> Self {
        Self { retries_for, ..self.clone() }
    }

    /// Returns the server's address.
    pub fn address(&self) -> &Url {
        &self.base
    }

    pub(super) async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, ClientError> {
        self.call(Method::GET, path, None::<&()>, None::<&()>).await
    }

    pub(super) async fn get_with<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &str,
        query: &Q,
    ) -> Result<A, ClientError> {
        self.call(Method::GET, path, Some(query), None::<&()>).await
    }

    pub(super) async fn post<B: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<A, ClientError> {
        self.call(Method::POST, path, None::<&()>, Some(body)).await
    }

    pub(super) async fn put<B: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<A, ClientError> {
        self.call(Method::PUT, path, None::<&()>, Some(body)).await
    }

    pub(super) async fn patch<B: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<A, ClientError> {
        self.call(Method::PATCH, path, None::<&()>, Some(body)).await
    }

    pub(super) async fn delete<Q: Serialize + Sync>(
        &self,
        path: &str,
        query: &Q,
    ) -> Result<(), ClientError> {
        self.call(Method::DELETE, path, Some(query), None::<&()>).await
    }

    /// Sends one request, and again while retries are allowed and the failure is transient.
    async fn call<Q: Serialize + Sync, B: Serialize + Sync, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: Option<&Q>,
        body: Option<&B>,
    ) -> Result<A, ClientError> {
        let mut waited = Duration::ZERO;
        let mut pause = Duration::from_millis(100);
        loop {
            match self.call_once(method.clone(), path, query, body).await {
                Err(error) if error.is_transient() && waited < self.retries_for => {
                    tokio::time::sleep(pause).await;
                    waited += pause;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
                outcome => return outcome,
            }
        }
    }

    async fn call_once<Q: Serialize + Sync, B: Serialize + Sync, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: Option<&Q>,
        body: Option<&B>,
    ) -> Result<A, ClientError> {
        let url = self.base.join(path).map_err(|_| self.strange("the address cannot be built"))?;
        let mut request = self.http.request(method, url);
        if let Some(query) = query {
            request = request.query(query);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        self.send(request).await
    }

    async fn send<A: DeserializeOwned>(&self, request: RequestBuilder) -> Result<A, ClientError> {
        let unreachable = |source: reqwest::Error| ClientError::Unreachable {
            url: self.base.to_string(),
            source,
        };
        let mut answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(self.strange("it is too long"));
            }
            bytes.extend_from_slice(&chunk);
        }
        if status.is_success() {
            let text: &[u8] = if status == StatusCode::NO_CONTENT { b"null" } else { &bytes };
            return serde_json::from_slice(text).map_err(|error| {
                self.strange(&format!(
                    "it is not as expected at line {}, column {}",
                    error.line(),
                    error.column()
                ))
            });
        }
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => Err(ClientError::Problem(Box::new(problem))),
            Err(_) => Err(ClientError::Strange {
                url: self.base.to_string(),
                reason: format!("status {status} without an explanation"),
                status: Some(status.as_u16()),
            }),
        }
    }

    fn strange(&self, reason: &str) -> ClientError {
        ClientError::Strange { url: self.base.to_string(), reason: reason.to_owned(), status: None }
    }
}
