//! A request: built, sent within the call's deadline, tried again where that is safe.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use keyferry_domain::Clock;
use keyferry_domain::secret::SecretString;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use tokio::time::Instant;
use url::Url;

use super::Answer;
use super::clean::clean;
use crate::error::ProviderError;
use crate::gate::{Gate, GateError};
use crate::provider::Context;

/// Waits before the second and third try of an idempotent request.
const RETRY_WAITS: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(600)];

/// How much of a refusal's body is read: enough for a sentence.
const REFUSAL_BYTES: usize = 64 << 10;

/// The HTTP side of one provider call. The call's deadline starts when this is made, and holds
/// for all requests together.
#[derive(Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
    gate: Arc<Gate>,
    clock: Arc<dyn Clock>,
    deadline: Instant,
    timeout: Duration,
    field: &'static str,
}

impl Http {
    /// Starts a call. `field` is the setting that holds the service's address, named when the
    /// address is at fault; `ca` are PEM certificates to trust instead of the system's.
    pub(crate) fn new(
        context: &Context,
        field: &'static str,
        ca: Option<&str>,
    ) -> Result<Self, ProviderError> {
        Ok(Self {
            client: context.gate.client(ca.filter(|pem| !pem.trim().is_empty()))?,
            gate: Arc::clone(&context.gate),
            clock: Arc::clone(&context.clock),
            deadline: Instant::now() + context.timeout,
            timeout: context.timeout,
            field,
        })
    }

    /// Starts a request.
    pub(crate) fn request(&self, method: Method, url: Url) -> Request {
        Request {
            max_body_bytes: self.gate.limits().body_bytes,
            http: self.clone(),
            method,
            url,
            headers: HeaderMap::new(),
            body: Ok(Bytes::new()),
            secrets: Vec::new(),
        }
    }

    /// Starts a GET request.
    pub(crate) fn get(&self, url: Url) -> Request {
        self.request(Method::GET, url)
    }
}

/// A request that is being built.
#[must_use = "a request does nothing until it is sent"]
pub(crate) struct Request {
    http: Http,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Result<Bytes, ProviderError>,
    secrets: Vec<SecretString>,
    max_body_bytes: usize,
}

impl Request {
    /// Authenticates by user name and password (RFC 7617).
    pub(crate) fn basic(mut self, username: &str, password: &SecretString) -> Self {
        use base64::Engine as _;
        let pair: SecretString = format!("{username}:{}", password.expose()).into();
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair.expose());
        self = self.authorization(&format!("Basic {encoded}").into());
        self.secrets.push(password.clone());
        self.secrets.push(pair);
        self
    }

    /// Authenticates by a token as a bearer (RFC 6750).
    pub(crate) fn bearer(mut self, token: &SecretString) -> Self {
        self = self.authorization(&format!("Bearer {}", token.expose()).into());
        self.secrets.push(token.clone());
        self
    }

    /// Sets `Authorization` as it is.
    fn authorization(mut self, value: &SecretString) -> Self {
        match HeaderValue::from_str(value.expose()) {
            Ok(mut header) => {
                header.set_sensitive(true);
                self.headers.insert(AUTHORIZATION, header);
            }
            Err(_) => {
                self.body = Err(ProviderError::Misconfigured {
                    field: "credential".to_owned(),
                    reason: "it has characters that cannot be sent, such as a line break"
                        .to_owned(),
                });
            }
        }
        self
    }

    /// Names a secret that was sent before and that their answer might repeat.
    pub(crate) fn secret(mut self, secret: &SecretString) -> Self {
        self.secrets.push(secret.clone());
        self
    }

    /// Sets a header. Not for secrets.
    pub(crate) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    /// Adds a parameter to the query.
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// Sets a JSON body.
    pub(crate) fn json(mut self, value: &impl Serialize) -> Self {
        let json = serde_json::to_vec(value).map(Bytes::from).map_err(|error| {
            ProviderError::Unexpected { reason: format!("the request cannot be written: {error}") }
        });
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.body = self.body.and(json);
        self
    }

    /// Sets a body as it is.
    pub(crate) fn body(mut self, content_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.body = self.body.map(|_| bytes.into());
        self
    }

    /// Reads up to this many bytes of the answer instead of the gate's limit.
    pub(crate) const fn max_body_bytes(mut self, bytes: usize) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Sends the request and returns the answer, whatever its status.
    ///
    /// GET and HEAD follow redirects on the same host. Idempotent requests (RFC 9110 §9.2.2) are
    /// tried again after 502, 503 and 504 and after a cut connection, twice at most.
    pub(crate) async fn send(self) -> Result<Answer, ProviderError> {
        let deadline = self.http.deadline;
        let timeout = self.http.timeout;
        match tokio::time::timeout_at(deadline, self.send_with_retries()).await {
            Ok(result) => result,
            Err(_) => Err(ProviderError::Unavailable {
                reason: format!("no complete answer within {} ms", timeout.as_millis()),
            }),
        }
    }

    async fn send_with_retries(self) -> Result<Answer, ProviderError> {
        let body = self.body.clone()?;
        let is_idempotent = self.method.is_idempotent();
        let mut waits = RETRY_WAITS.into_iter();
        loop {
            let result = self.follow(&body).await;
            let is_worth_another = match &result {
                Ok(answer) => matches!(
                    answer.status,
                    StatusCode::BAD_GATEWAY
                        | StatusCode::SERVICE_UNAVAILABLE
                        | StatusCode::GATEWAY_TIMEOUT
                ),
                Err(Failure::Cut(_)) => true,
                Err(Failure::Final(_)) => false,
            };
            let wait = waits
                .next()
                .filter(|_| is_idempotent && is_worth_another)
                .filter(|wait| Instant::now() + *wait < self.http.deadline);
            let Some(wait) = wait else {
                return result.map_err(|failure| match failure {
                    Failure::Cut(error) | Failure::Final(error) => error,
                });
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Sends once, and again to where redirects on the same host lead.
    async fn follow(&self, body: &Bytes) -> Result<Answer, Failure> {
        let mut url = self.url.clone();
        let mut hops_left = self.http.gate.limits().redirects;
        loop {
            let answer = self.send_once(&url, body).await?;
            let follows = self.method == Method::GET || self.method == Method::HEAD;
            let Some(next) = redirect_target(&answer).filter(|_| follows) else {
                return Ok(answer);
            };
            if !is_same_place(&url, &next) {
                return Ok(answer);
            }
            if hops_left == 0 {
                return Err(Failure::Final(ProviderError::Unexpected {
                    reason: "the service redirects again and again".to_owned(),
                }));
            }
            hops_left -= 1;
            url = next;
        }
    }

    async fn send_once(&self, url: &Url, body: &Bytes) -> Result<Answer, Failure> {
        let host = url.host_str().unwrap_or_default();
        self.http
            .gate
            .check_host(host)
            .map_err(|error| Failure::Final(error.to_provider_error(self.http.field)))?;
        let request = self
            .http
            .client
            .request(self.method.clone(), url.clone())
            .headers(self.headers.clone())
            .body(body.clone());
        let mut response = request.send().await.map_err(|error| self.failure(&error, url))?;
        let status = response.status();
        let headers = response.headers().clone();
        let body = self.read_body(&mut response, status, url).await?;
        Ok(Answer {
            status,
            headers,
            body,
            url: url.clone(),
            field: self.http.field,
            secrets: self.secrets.clone(),
            at: self.http.clock.now(),
        })
    }

    async fn read_body(
        &self,
        response: &mut reqwest::Response,
        status: StatusCode,
        url: &Url,
    ) -> Result<Bytes, Failure> {
        let limit = if status.is_success() { self.max_body_bytes } else { REFUSAL_BYTES };
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > limit => {
                    if status.is_success() {
                        return Err(Failure::Final(ProviderError::Unexpected {
                            reason: format!("the answer is longer than {limit} bytes"),
                        }));
                    }
                    body.extend_from_slice(&chunk[..limit - body.len()]);
                    return Ok(body.freeze());
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(body.freeze()),
                // The status already tells what a cut-off refusal means.
                Err(_) if !status.is_success() => return Ok(body.freeze()),
                Err(error) => return Err(self.failure(&error, url)),
            }
        }
    }

    /// Sorts a failure of TLS: what the person can change is named.
    fn tls_error(&self, error: &rustls::Error, host: &str) -> ProviderError {
        use rustls::CertificateError as Certificate;
        let (field, reason) = match error {
            rustls::Error::InvalidCertificate(
                Certificate::Expired
                | Certificate::ExpiredContext { .. }
                | Certificate::NotValidYet
                | Certificate::NotValidYetContext { .. },
            ) => (self.http.field, format!("the certificate of `{host}` is out of date")),
            rustls::Error::InvalidCertificate(
                Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
            ) => (self.http.field, format!("`{host}` shows a certificate for another name")),
            rustls::Error::InvalidCertificate(Certificate::UnknownIssuer) => (
                "ca_certificate",
                format!(
                    "the certificate of `{host}` is signed by an authority that is not trusted; \
                     give that authority's certificate"
                ),
            ),
            rustls::Error::InvalidCertificate(other) => (
                "ca_certificate",
                format!(
                    "the certificate of `{host}` is not trusted: {}",
                    clean(&other.to_string(), &self.secrets)
                ),
            ),
            other => {
                let words = clean(&other.to_string(), &self.secrets);
                return ProviderError::Unavailable {
                    reason: format!("`{host}` does not speak TLS as expected: {words}"),
                };
            }
        };
        ProviderError::Misconfigured { field: field.to_owned(), reason }
    }

    /// Sorts a failure below HTTP. The library's own text is not used: it holds the URL.
    fn failure(&self, error: &reqwest::Error, url: &Url) -> Failure {
        let host = url.host_str().unwrap_or_default();
        if let Some(refusal) = find_cause::<GateError>(error) {
            return Failure::Final(refusal.to_provider_error(self.http.field));
        }
        if let Some(tls) = find_cause::<rustls::Error>(error) {
            return Failure::Final(self.tls_error(tls, host));
        }
        let reason = if error.is_timeout() {
            format!("`{host}` does not answer")
        } else if let Some(io) = find_cause::<std::io::Error>(error) {
            format!("`{host}`: {}", io.kind())
        } else {
            format!("`{host}` gives no answer that is HTTP, or cuts it off")
        };
        Failure::Cut(ProviderError::Unavailable { reason })
    }
}

/// Why a request came to nothing.
enum Failure {
    /// The connection failed; another try may go better.
    Cut(ProviderError),
    /// Another try would end the same way.
    Final(ProviderError),
}

fn redirect_target(answer: &Answer) -> Option<Url> {
    let is_redirect = matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = answer.headers.get(LOCATION).filter(|_| is_redirect)?.to_str().ok()?;
    let mut next = answer.url.join(location).ok()?;
    next.set_fragment(None);
    Some(next)
}

/// Tells whether credentials for one URL may go to the other: same scheme, host and port, and no
/// user information smuggled in.
fn is_same_place(from: &Url, to: &Url) -> bool {
    from.scheme() == to.scheme()
        && from.host() == to.host()
        && from.port_or_known_default() == to.port_or_known_default()
        && to.username().is_empty()
        && to.password().is_none()
}

/// Finds a cause by its type, also inside of IO errors, whose `source` skips what they wrap.
fn find_cause<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let wrapped = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            .map(|inner| inner as &(dyn StdError + 'static));
        if let Some(found) = wrapped.and_then(|inner| find_cause::<T>(inner)) {
            return Some(found);
        }
        current = error.source();
    }
    None
}
