//! One SSH connection and the commands run over it.
//!
//! Deadlines are the caller's: every method may be dropped at any await, which closes the
//! connection.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use keyferry_domain::secret::SecretString;
use russh::client::{self, AuthResult, Handle};
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, Disconnect, Preferred};

use super::keys::{is_over_sha1, read_private_key};
use super::known_hosts::HostKeys;
use super::leash::{Leash, Leashed};
use crate::error::ProviderError;
use crate::gate::Gate;
use crate::http::clean;

/// How much of a command's error output is kept.
const STDERR_BYTES: usize = 8 << 10;

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// Where to connect to, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// The host, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user name.
    pub username: String,
}

/// An authenticated connection.
pub(crate) struct Session {
    handle: Handle<HostCheck>,
    host: String,
    // Last: the connection is cut when everything else is gone.
    leash: Leash,
}

impl Session {
    /// Connects through the gate, checks the host's key, and signs in. `field` is the setting that
    /// holds the address.
    pub(crate) async fn open(
        gate: &Gate,
        address: &Address,
        private_key: &SecretString,
        known_hosts: &str,
        field: &str,
    ) -> Result<Self, ProviderError> {
        let Address { host, port, username } = address;
        let keys = HostKeys::find(known_hosts, host, *port).map_err(|error| {
            ProviderError::Misconfigured {
                field: "known_hosts".to_owned(),
                reason: error.to_string(),
            }
        })?;
        let key = read_private_key(private_key.expose()).map_err(|problem| {
            ProviderError::Misconfigured {
                field: "private_key".to_owned(),
                reason: format!("it {problem}"),
            }
        })?;
        let config = client::Config {
            preferred: Preferred {
                key: Cow::Owned(keys.algorithms()),
                // What is compressed by the other side may grow without bounds here.
                compression: Cow::Borrowed(&[russh::compression::NONE]),
                ..Preferred::DEFAULT
            },
            nodelay: true,
            ..client::Config::default()
        };
        let stream =
            gate.connect(host, *port).await.map_err(|error| error.to_provider_error(field))?;
        let (leashed, leash) = Leashed::new(stream);
        let mut handle = client::connect_stream(Arc::new(config), leashed, HostCheck { keys })
            .await
            .map_err(|error| connect_error(error, host))?;
        if handle.agent_session_binding().is_some_and(|made| is_over_sha1(made.signature())) {
            return Err(ProviderError::Unavailable {
                reason: format!("`{host}` proves its key with SHA-1, which anybody may forge"),
            });
        }
        let hash = rsa_hash(&handle, &key, host).await?;
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
        match handle.authenticate_publickey(username, key).await {
            Ok(AuthResult::Success) => Ok(Self { handle, host: host.clone(), leash }),
            // The library reports a connection that ends here as a failure without methods.
            Ok(AuthResult::Failure { remaining_methods, .. })
                if remaining_methods.is_empty() && handle.is_closed() =>
            {
                Err(lost(&russh::Error::Disconnect, host))
            }
            Ok(AuthResult::Failure { partial_success: true, .. }) => Err(ProviderError::Rejected {
                reason: format!("`{host}` asks `{username}` for more than this key"),
            }),
            Ok(AuthResult::Failure { .. }) => Err(ProviderError::Rejected {
                reason: format!("`{host}` does not let `{username}` in with this key"),
            }),
            Err(error) => Err(lost(&error, host)),
        }
    }

    /// Starts a command. Variables are a wish: servers ignore those they do not know.
    pub(crate) async fn execute(
        &self,
        command: &str,
        variables: &[(&str, &str)],
    ) -> Result<Execution, ProviderError> {
        let start = async {
            let channel = self.handle.channel_open_session().await?;
            for (name, value) in variables {
                channel.set_env(false, *name, *value).await?;
            }
            channel.exec(true, command).await?;
            Ok(channel)
        };
        let channel = start.await.map_err(|error: russh::Error| lost(&error, &self.host))?;
        Ok(Execution {
            channel,
            host: self.host.clone(),
            received: Vec::new(),
            stderr: Vec::new(),
            exit_status: None,
        })
    }

    /// Says goodbye. Dropping the session closes it too, without a word.
    pub(crate) async fn close(self) {
        let Self { handle, host, leash } = self;
        let goodbye = async {
            handle.disconnect(Disconnect::ByApplication, "", "en").await?;
            // The connection's own task sends it, and ends.
            handle.await
        };
        match tokio::time::timeout(GOODBYE, goodbye).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, host, "no goodbye"),
            Err(_) => tracing::debug!(host, "no goodbye in time"),
        }
        drop(leash);
    }
}

/// A running command.
pub(crate) struct Execution {
    channel: Channel<client::Msg>,
    host: String,
    received: Vec<u8>,
    stderr: Vec<u8>,
    exit_status: Option<u32>,
}

/// What was heard of a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The part that was waited for.
    Part(Vec<u8>),
    /// It ended before; with its words on standard error.
    Ended {
        /// Its exit status, where it told.
        exit_status: Option<u32>,
        /// Its words, cleaned.
        words: String,
    },
}

impl Execution {
    /// Sends bytes to the command.
    pub(crate) async fn send(&self, bytes: Vec<u8>) -> Result<(), ProviderError> {
        self.channel.data_bytes(bytes).await.map_err(|error| lost(&error, &self.host))
    }

    /// Tells the command that nothing more comes.
    pub(crate) async fn finish(&self) -> Result<(), ProviderError> {
        self.channel.eof().await.map_err(|error| lost(&error, &self.host))
    }

    /// Waits until `end_of_part` finds the end of a part in what has come, and returns that part.
    /// More than `limit` bytes are an error.
    pub(crate) async fn read_part(
        &mut self,
        limit: usize,
        mut end_of_part: impl FnMut(&[u8]) -> Result<Option<usize>, ProviderError>,
    ) -> Result<Heard, ProviderError> {
        loop {
            if let Some(end) = end_of_part(&self.received)? {
                let rest = self.received.split_off(end);
                return Ok(Heard::Part(std::mem::replace(&mut self.received, rest)));
            }
            match self.channel.wait().await {
                Some(ChannelMsg::Data { data }) => {
                    if self.received.len() + data.len() > limit {
                        return Err(ProviderError::Unexpected {
                            reason: format!("the answer is longer than {limit} bytes"),
                        });
                    }
                    self.received.extend_from_slice(&data);
                }
                Some(ChannelMsg::ExtendedData { data, .. }) => {
                    let room = STDERR_BYTES.saturating_sub(self.stderr.len());
                    self.stderr.extend_from_slice(&data[..data.len().min(room)]);
                }
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    self.exit_status = Some(exit_status);
                }
                Some(ChannelMsg::Failure) => {
                    return Err(ProviderError::Refused {
                        reason: format!("`{}` runs no commands for this key", self.host),
                    });
                }
                Some(ChannelMsg::Close) | None => {
                    return Ok(Heard::Ended {
                        exit_status: self.exit_status,
                        words: clean(&String::from_utf8_lossy(&self.stderr), &[]),
                    });
                }
                Some(_) => {}
            }
        }
    }
}

/// Returns the text as one word for the shell on the other side.
pub(crate) fn quote(word: &str) -> String {
    // `!` as Git does it: inside of single quotes csh would still expand it.
    let quoted = word.replace('\'', r"'\''").replace('!', r"'\!'");
    format!("'{quoted}'")
}

/// Chooses the hash of an RSA signature: the best one that the host names. A host that names none
/// is asked with SHA-256, which RFC 8332 recommends; SHA-1 is never used. Other keys need none.
async fn rsa_hash(
    handle: &Handle<HostCheck>,
    key: &PrivateKey,
    host: &str,
) -> Result<Option<HashAlg>, ProviderError> {
    if !key.algorithm().is_rsa() {
        return Ok(None);
    }
    match handle.best_supported_rsa_hash().await.map_err(|error| lost(&error, host))? {
        Some(Some(hash)) => Ok(Some(hash)),
        None => Ok(Some(HashAlg::Sha256)),
        Some(None) => Err(ProviderError::Misconfigured {
            field: "private_key".to_owned(),
            reason: format!(
                "`{host}` takes RSA keys with SHA-1 signatures only, which are not safe; use an \
                 Ed25519 or ECDSA key"
            ),
        }),
    }
}

/// Compares the host's key with the lines of `known_hosts`.
struct HostCheck {
    keys: HostKeys,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    /// The host shows a key that nobody has confirmed.
    #[error("the host key is not known: {fingerprint}")]
    HostKey {
        /// The key's fingerprint.
        fingerprint: String,
    },
    /// Anything else.
    #[error(transparent)]
    Ssh(#[from] russh::Error),
}

impl client::Handler for HostCheck {
    type Error = ConnectError;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, ConnectError> {
        match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } if self.keys.accept(key) => Ok(true),
            PublicKeyOrCertificate::PublicKey { key, .. } => Err(ConnectError::HostKey {
                fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
            }),
            PublicKeyOrCertificate::Certificate(_) => Err(ConnectError::HostKey {
                fingerprint: "a certificate, which was not asked for".to_owned(),
            }),
        }
    }
}

fn connect_error(error: ConnectError, host: &str) -> ProviderError {
    match error {
        ConnectError::HostKey { fingerprint } => ProviderError::Misconfigured {
            field: "known_hosts".to_owned(),
            reason: format!(
                "`{host}` shows another key than the lines say: {fingerprint}; if its key was \
                 changed on purpose, replace the lines, else someone is in between"
            ),
        },
        ConnectError::Ssh(russh::Error::NoCommonAlgo {
            kind: russh::AlgorithmKind::Key, ..
        }) => ProviderError::Misconfigured {
            field: "known_hosts".to_owned(),
            reason: format!(
                "`{host}` proves no key of the kinds that the lines name (an RSA key with SHA-2 \
                 only); give its Ed25519, ECDSA or RSA key"
            ),
        },
        ConnectError::Ssh(russh::Error::NoCommonAlgo { kind, .. }) => ProviderError::Unavailable {
            reason: format!("`{host}` and Keyferry have no {kind:?} algorithm in common"),
        },
        ConnectError::Ssh(error) => lost(&error, host),
    }
}

/// The connection failed. Only kinds of failure are told, not what the other side sent.
fn lost(error: &russh::Error, host: &str) -> ProviderError {
    let reason = match error {
        russh::Error::IO(error) => error.kind().to_string(),
        russh::Error::ChannelOpenFailure(_) => "it opens no channel".to_owned(),
        russh::Error::Version => "it does not speak SSH".to_owned(),
        russh::Error::Disconnect | russh::Error::HUP | russh::Error::SendError => {
            "it closed the connection".to_owned()
        }
        _ => "the SSH connection failed".to_owned(),
    };
    tracing::debug!(%error, host, "ssh");
    ProviderError::Unavailable { reason: format!("`{host}`: {reason}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_one_word_for_the_remote_shell() {
        for (word, quoted) in [
            ("/team/app", "'/team/app'"),
            ("/a'; rm -rf /'", r"'/a'\''; rm -rf /'\'''"),
            ("/a!b", r"'/a'\!'b'"),
            ("/$(id)`id`", "'/$(id)`id`'"),
        ] {
            assert_eq!(quote(word), quoted);
        }
    }
}
