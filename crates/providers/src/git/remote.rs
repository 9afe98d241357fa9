//! Conversations with a repository on a Git server, the same over HTTP and SSH.
//!
//! What the bytes mean is in `refs` and `receive`; this file carries them, within limits, and
//! turns the server's refusals into [`ProviderError`].

use bytes::Bytes;
use keyferry_domain::safe_url::SafeUrl;
use keyferry_domain::secret::SecretString;
use reqwest::{Method, StatusCode};
use url::Url;

use super::address;
use super::packet::SectionEnd;
use super::provider::URL_FIELD;
use super::receive::{Report, decode_report, encode_delete};
use super::refs::{Advertisement, References, RefsError, decode_ls_refs, encode_ls_refs};
use crate::error::ProviderError;
use crate::http::{Answer, Http, clean};
use crate::provider::{Context, OpenCredential, Settings};
use crate::ssh;

/// Bytes of one answer that are read. A reference takes some 70 bytes, so [`super::refs::MAX_REFS`]
/// of them fit.
const MAX_ANSWER_BYTES: usize = 32 << 20;

/// The two programs of the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// Tells references and gives objects.
    UploadPack,
    /// Takes objects and changes references.
    ReceivePack,
}

impl Service {
    const fn name(self) -> &'static str {
        match self {
            Self::UploadPack => "git-upload-pack",
            Self::ReceivePack => "git-receive-pack",
        }
    }

    const fn request_type(self) -> &'static str {
        match self {
            Self::UploadPack => "application/x-git-upload-pack-request",
            Self::ReceivePack => "application/x-git-receive-pack-request",
        }
    }

    const fn result_type(self) -> &'static str {
        match self {
            Self::UploadPack => "application/x-git-upload-pack-result",
            Self::ReceivePack => "application/x-git-receive-pack-result",
        }
    }

    const fn advertisement_type(self) -> &'static str {
        match self {
            Self::UploadPack => "application/x-git-upload-pack-advertisement",
            Self::ReceivePack => "application/x-git-receive-pack-advertisement",
        }
    }
}

/// A user name and a password for HTTP.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub username: String,
    pub password: SecretString,
}

/// A repository on a server. Made for one provider call.
pub(super) struct Remote {
    way: Way,
    /// "repository `team/app`", for texts.
    what: String,
}

enum Way {
    Http {
        http: Http,
        url: Url,
        login: Option<Login>,
    },
    Ssh {
        context: Context,
        address: ssh::Address,
        path: String,
        key: SecretString,
        known_hosts: String,
    },
}

impl Remote {
    /// Prepares to speak HTTP, without a login to try what anybody may.
    pub(super) fn http(
        context: &Context,
        settings: &Settings,
        url: &SafeUrl,
        login: Option<Login>,
        what: String,
    ) -> Result<Self, ProviderError> {
        let ca = settings.get("ca_certificate").map(String::as_str);
        let http = Http::new(context, URL_FIELD, ca)?;
        Ok(Self { way: Way::Http { http, url: url.as_url().clone(), login }, what })
    }

    /// Prepares to speak SSH.
    pub(super) fn ssh(
        context: &Context,
        settings: &Settings,
        url: &SafeUrl,
        credential: &OpenCredential,
        key: SecretString,
        what: String,
    ) -> Self {
        let known_hosts = settings.get("known_hosts").cloned().unwrap_or_default();
        let way = Way::Ssh {
            context: context.clone(),
            address: address::ssh_address(url, credential),
            path: address::ssh_path(url),
            key,
            known_hosts,
        };
        Self { way, what }
    }

    /// Returns branches and `HEAD`; with servers of protocol v0 tags too.
    pub(super) async fn references(&self) -> Result<References, ProviderError> {
        let (mut conversation, advertisement) = self.open(Service::UploadPack).await?;
        let can_list = advertisement.has("ls-refs");
        let object_format = advertisement.object_format().map(str::to_owned);
        let references = match advertisement {
            Advertisement::V0 { references, .. } => references,
            Advertisement::V2 { .. } if can_list => {
                let request = encode_ls_refs(object_format.as_deref());
                let answer = conversation.ask(request).await?;
                decode_ls_refs(&answer).map_err(|error| self.protocol_error(error))?
            }
            Advertisement::V2 { .. } => {
                return Err(ProviderError::Unexpected {
                    reason: "the server cannot list references".to_owned(),
                });
            }
        };
        conversation.end().await;
        Ok(references)
    }

    /// Tells whether the server would let this login talk to a service; refusals are errors.
    pub(super) async fn try_service(&self, service: Service) -> Result<(), ProviderError> {
        let (conversation, _) = self.open(service).await?;
        conversation.end().await;
        Ok(())
    }

    /// Deletes a reference, provided that it is where `expected` says; without it, where it was a
    /// moment ago. `noun` and `shown` are for texts: "branch", "feature/x".
    pub(super) async fn delete(
        &self,
        name: &str,
        noun: &str,
        shown: &str,
        expected: Option<&str>,
    ) -> Result<(), ProviderError> {
        let moved = |actual: Option<&str>| ProviderError::Moved {
            name: shown.to_owned(),
            actual: actual.unwrap_or("gone").to_owned(),
        };
        let (mut conversation, advertisement) = self.open(Service::ReceivePack).await?;
        let Advertisement::V0 { references, .. } = &advertisement else {
            return Err(ProviderError::Unexpected {
                reason: "the server speaks protocol v2 where only v0 exists".to_owned(),
            });
        };
        let current = references.get(name);
        let refusal = match (current, expected) {
            (None, None) => Some(ProviderError::NotFound { what: format!("{noun} `{shown}`") }),
            (current, Some(expected)) if current != Some(expected) => Some(moved(current)),
            _ if !advertisement.has("delete-refs") => Some(ProviderError::Refused {
                reason: "the server does not allow references to be deleted".to_owned(),
            }),
            _ if !advertisement.has("report-status") => Some(ProviderError::Unsupported {
                reason: "the server does not report what it does, so nothing was sent".to_owned(),
            }),
            _ => None,
        };
        let (Some(id), None) = (current, &refusal) else {
            conversation.end().await;
            return refusal.map_or(Ok(()), Err);
        };
        let report = conversation.ask(encode_delete(name, id, &advertisement)).await?;
        conversation.end().await;
        match decode_report(&report, name).map_err(|error| self.protocol_error(error))? {
            Report::Done => Ok(()),
            Report::Refused(reason) => {
                // Servers word a lost race in many ways, so the reference itself is asked.
                let (conversation, advertisement) = self.open(Service::ReceivePack).await?;
                conversation.end().await;
                match &advertisement {
                    Advertisement::V0 { references, .. } if references.get(name) != Some(id) => {
                        Err(moved(references.get(name)))
                    }
                    _ => Err(ProviderError::Refused { reason: self.clean(&reason) }),
                }
            }
        }
    }

    async fn open(
        &self,
        service: Service,
    ) -> Result<(Conversation<'_>, Advertisement), ProviderError> {
        match &self.way {
            Way::Http { http, url, login } => {
                let (answer, url) =
                    self.get_advertisement(http, url, login.as_ref(), service).await?;
                let advertisement = Advertisement::decode(&answer.body)
                    .map_err(|error| self.protocol_error(error))?;
                let channel = Channel::Http { http, url, login: login.as_ref(), service };
                Ok((Conversation { remote: self, channel }, advertisement))
            }
            Way::Ssh { context, address, path, key, known_hosts } => {
                let session =
                    ssh::Session::open(&context.gate, address, key, known_hosts, URL_FIELD).await?;
                let command = format!("{} {}", service.name(), ssh::quote(path));
                // Asking `receive-pack` for v2 is not defined.
                let variables: &[(&str, &str)] = match service {
                    Service::UploadPack => &[("GIT_PROTOCOL", "version=2")],
                    Service::ReceivePack => &[],
                };
                let execution = session.execute(&command, variables).await?;
                let channel = Channel::Ssh { session, execution: Box::new(execution) };
                let mut conversation = Conversation { remote: self, channel };
                let first = conversation.section().await?;
                let advertisement =
                    Advertisement::decode(&first).map_err(|error| self.protocol_error(error))?;
                Ok((conversation, advertisement))
            }
        }
    }

    /// Asks for the advertisement, and for `….git` where there is nothing without. Returns the
    /// repository's final address too: forges redirect from one form to the other.
    async fn get_advertisement(
        &self,
        http: &Http,
        url: &Url,
        login: Option<&Login>,
        service: Service,
    ) -> Result<(Answer, Url), ProviderError> {
        let mut answer = get_info_refs(http, url, login, service).await?;
        let path = url.path().trim_end_matches('/');
        let is_bare = !path.is_empty() && path.strip_suffix(".git").is_none();
        if answer.status == StatusCode::NOT_FOUND && is_bare {
            let mut with_suffix = url.clone();
            with_suffix.set_path(&format!("{path}.git"));
            answer = get_info_refs(http, &with_suffix, login, service).await?;
        }
        let answer = answer.success(&self.what)?;
        expect_type(&answer, service.advertisement_type())?;
        let mut base = answer.url.clone();
        base.set_query(None);
        let path = base.path().strip_suffix("/info/refs").unwrap_or_default().to_owned();
        base.set_path(&path);
        Ok((answer, base))
    }

    fn protocol_error(&self, error: RefsError) -> ProviderError {
        match error {
            RefsError::Server { message } => self.refusal(&self.clean(&message)),
            other => ProviderError::Unexpected { reason: other.to_string() },
        }
    }

    /// Sorts what a server says in words only.
    fn refusal(&self, words: &str) -> ProviderError {
        let lower = words.to_lowercase();
        let says = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
        if says(&["not found", "not exist", "not appear to be a git", "could not be found"]) {
            ProviderError::NotFound { what: self.what.clone() }
        } else if says(&["denied", "not allowed", "forbidden", "unauthorized", "permission"]) {
            ProviderError::Rejected { reason: words.to_owned() }
        } else if words.is_empty() {
            ProviderError::Unexpected { reason: "the server ended the conversation".to_owned() }
        } else {
            ProviderError::Refused { reason: words.to_owned() }
        }
    }

    fn clean(&self, text: &str) -> String {
        match &self.way {
            Way::Http { login, .. } => {
                let secrets: Vec<_> = login.iter().map(|login| login.password.clone()).collect();
                clean(text, &secrets)
            }
            Way::Ssh { key, .. } => clean(text, std::slice::from_ref(key)),
        }
    }
}

async fn get_info_refs(
    http: &Http,
    repository: &Url,
    login: Option<&Login>,
    service: Service,
) -> Result<Answer, ProviderError> {
    let mut request = http
        .get(under(repository, "info/refs"))
        .query("service", service.name())
        .max_body_bytes(MAX_ANSWER_BYTES);
    if service == Service::UploadPack {
        request = request.header("git-protocol", "version=2");
    }
    if let Some(login) = login {
        request = request.basic(&login.username, &login.password);
    }
    request.send().await
}

/// Returns the address of a file of the repository.
fn under(repository: &Url, file: &str) -> Url {
    let mut url = repository.clone();
    url.set_path(&format!("{}/{file}", repository.path().trim_end_matches('/')));
    url
}

/// Refuses what a Git server would not send; a page for browsers with status 200 in particular.
fn expect_type(answer: &Answer, expected: &str) -> Result<(), ProviderError> {
    let found = answer.header("content-type").unwrap_or_default();
    let found = found.split(';').next().unwrap_or_default().trim();
    if found.eq_ignore_ascii_case(expected) {
        Ok(())
    } else {
        Err(ProviderError::Unexpected {
            reason: format!(
                "this is no Git server's answer (`{}` instead of `{expected}`)",
                answer.clean(found)
            ),
        })
    }
}

/// A conversation with one service.
struct Conversation<'a> {
    remote: &'a Remote,
    channel: Channel<'a>,
}

enum Channel<'a> {
    Http { http: &'a Http, url: Url, login: Option<&'a Login>, service: Service },
    Ssh { session: ssh::Session, execution: Box<ssh::Execution> },
}

impl Conversation<'_> {
    /// Sends a request and returns the answer up to its flush packet.
    async fn ask(&mut self, request: Vec<u8>) -> Result<Bytes, ProviderError> {
        match &mut self.channel {
            Channel::Http { http, url, login, service } => {
                let mut post = http
                    .request(Method::POST, under(url, service.name()))
                    .header("accept", service.result_type())
                    .body(service.request_type(), request)
                    .max_body_bytes(MAX_ANSWER_BYTES);
                if *service == Service::UploadPack {
                    post = post.header("git-protocol", "version=2");
                }
                if let Some(login) = login {
                    post = post.basic(&login.username, &login.password);
                }
                let answer = post.send().await?.success(&self.remote.what)?;
                expect_type(&answer, service.result_type())?;
                Ok(answer.body)
            }
            Channel::Ssh { execution, .. } => {
                execution.send(request).await?;
                self.section().await
            }
        }
    }

    /// Reads up to the next flush packet. Over HTTP there is nothing to read without a request.
    async fn section(&mut self) -> Result<Bytes, ProviderError> {
        let Channel::Ssh { execution, .. } = &mut self.channel else { return Ok(Bytes::new()) };
        let mut end = SectionEnd::default();
        let heard = execution
            .read_part(MAX_ANSWER_BYTES, |bytes| {
                end.find(bytes)
                    .map_err(|error| ProviderError::Unexpected { reason: error.to_string() })
            })
            .await?;
        match heard {
            ssh::Heard::Part(part) => Ok(part.into()),
            ssh::Heard::Ended { exit_status, words } => {
                tracing::debug!(?exit_status, "the remote command ended early");
                Err(self.remote.refusal(&self.remote.clean(&words)))
            }
        }
    }

    /// Ends the conversation; the other side then has nothing to wait for.
    async fn end(self) {
        if let Channel::Ssh { session, execution } = self.channel {
            // What is left to say is said; a connection that is gone by now is as good.
            let goodbye = async {
                execution.send(b"0000".to_vec()).await?;
                execution.finish().await
            };
            if let Err(error) = goodbye.await {
                tracing::debug!(%error, "the connection was gone before the goodbye");
            }
            session.close().await;
        }
    }
}
