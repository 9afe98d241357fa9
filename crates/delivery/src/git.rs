//! Git's credential helper protocol: `git-credential-keyferry get|store|erase|capability`.
//!
//! Source: git's `Documentation/git-credential.adoc` and `gitcredentials.adoc`. Speaks plain user
//! name and password, which every Git understands; newer keys only where Git says that it knows
//! them. Does not decide which connection answers: see [`crate::address`] and the job socket.

use std::fmt::Write as _;

use keyferry_domain::material::Material;

use crate::reply::{Reply, for_people};
use crate::socket::{Answer, Question, Refusal};

/// Longest line in bytes, its newline included; Git's own limit.
pub const MAX_LINE_BYTES: usize = 65_535;

/// Longest question in bytes. Git repeats the server's challenges in it, and nothing else is long.
pub const MAX_INPUT_BYTES: usize = 1024 * 1024;

/// What Git wants of its helper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A credential.
    Get,
    /// To remember a credential that worked; ignored, since nothing is kept here.
    Store,
    /// To forget a credential that was refused.
    Erase,
    /// The newer features that the helper knows.
    Capability,
}

impl Action {
    /// Reads the helper's first argument. Unknown ones must be ignored in silence, hence `None`.
    pub fn parse(argument: &str) -> Option<Self> {
        match argument {
            "get" => Some(Self::Get),
            "store" => Some(Self::Store),
            "erase" => Some(Self::Erase),
            "capability" => Some(Self::Capability),
            _ => None,
        }
    }
}

/// What Git says about the credential that it is after. A password in it is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// `https`, `http`; others are not answered.
    pub protocol: String,
    /// Host, with port where it is not the protocol's own.
    pub host: String,
    /// The repository's path; Git tells it only with `credential.useHttpPath`.
    pub path: Option<String>,
    /// The user name in the address.
    pub username: Option<String>,
    /// Newer features that this Git knows.
    pub capabilities: Vec<String>,
}

/// The text is not a question of Git's. Never repeats the text: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// More than any Git sends.
    #[error("read git's question, which is too long")]
    TooLong,
    /// One line is longer than the protocol allows.
    #[error("read line {line} of git's question, which is longer than 65535 bytes")]
    LongLine {
        /// Counts from 1.
        line: usize,
    },
    /// Not `key=value`, or with NUL or another control character in it.
    #[error("read line {line} of git's question")]
    Line {
        /// Counts from 1.
        line: usize,
    },
    /// A key that must be there once is there twice: somebody slipped in a line.
    #[error("read git's question, which has `{key}` twice")]
    Twice {
        /// The key.
        key: &'static str,
    },
}

impl Request {
    /// Reads what Git writes to its helper: lines of `key=value`, up to an empty line or the end.
    pub fn parse(input: &[u8]) -> Result<Self, InvalidRequest> {
        if input.len() > MAX_INPUT_BYTES {
            return Err(InvalidRequest::TooLong);
        }
        let mut request = Self::default();
        let mut seen = Vec::new();
        for (index, bytes) in input.split(|byte| *byte == b'\n').enumerate() {
            let line = index + 1;
            if bytes.is_empty() {
                break;
            }
            if bytes.len() >= MAX_LINE_BYTES {
                return Err(InvalidRequest::LongLine { line });
            }
            let invalid = || InvalidRequest::Line { line };
            if bytes.contains(&0) {
                return Err(invalid());
            }
            let split = bytes.iter().position(|byte| *byte == b'=').ok_or_else(invalid)?;
            let (key, value) = (&bytes[..split], &bytes[split + 1..]);
            let text = || {
                let text = std::str::from_utf8(value).map_err(|_| invalid())?;
                if text.contains(char::is_control) { Err(invalid()) } else { Ok(text.to_owned()) }
            };
            let mut once = |key: &'static str| {
                let is_new = !seen.contains(&key);
                seen.push(key);
                if is_new { Ok(()) } else { Err(InvalidRequest::Twice { key }) }
            };
            match key {
                b"protocol" => {
                    once("protocol")?;
                    request.protocol = text()?;
                }
                b"host" => {
                    once("host")?;
                    request.host = text()?;
                }
                b"path" => {
                    once("path")?;
                    request.path = Some(text()?);
                }
                b"username" => {
                    once("username")?;
                    request.username = Some(text()?);
                }
                b"capability[]" if value.is_empty() => request.capabilities.clear(),
                b"capability[]" => request.capabilities.push(text()?),
                // Passwords, challenges and keys of newer Gits: not needed, so not kept.
                _ => {}
            }
        }
        Ok(request)
    }

    /// Returns what is to be asked on the job socket; `None` when there is nothing to ask for.
    pub fn question(&self, action: Action) -> Option<Question> {
        if self.host.is_empty() || self.protocol.is_empty() {
            return None;
        }
        let (protocol, host, path) = (self.protocol.clone(), self.host.clone(), self.path.clone());
        match action {
            Action::Get => {
                Some(Question::Git { protocol, host, path, username: self.username.clone() })
            }
            Action::Erase => Some(Question::GitRejected { protocol, host, path }),
            Action::Store | Action::Capability => None,
        }
    }
}

/// Returns the answer to the `capability` operation.
pub fn capabilities() -> Reply {
    Reply::success("version 0\ncapability authtype\n".to_owned())
}

/// Returns what Git reads for an answer to `get`.
///
/// No connection for this place: nothing, and Git goes on without a credential. A refusal: `quit=1`
/// with the reason on standard error, so that Git neither asks a person nor tries another helper.
pub fn reply(request: &Request, answer: &Answer) -> Reply {
    match answer {
        Answer::Unknown | Answer::Registries(_) | Answer::Done => Reply::silent(),
        Answer::Refusal(refusal) => refuse(refusal),
        Answer::Material { material: Material::Password { username, password }, expires_at } => {
            let password = password.expose();
            // A newline would start a new line of the protocol: a host or a `url` of its choice.
            // Cutting it off would send a wrong password instead of saying what is wrong.
            let is_speakable =
                |text: &str| !text.contains(['\n', '\r', '\0']) && text.len() + 16 < MAX_LINE_BYTES;
            if username.is_empty() || !is_speakable(username) || !is_speakable(password) {
                return refuse(&Refusal {
                    code: "not_speakable".to_owned(),
                    message: "the stored user name or password is empty, too long, or has a line \
                              break in it, and git's protocol cannot carry that"
                        .to_owned(),
                    hint: Some("reconfigure the connection's credential".to_owned()),
                });
            }
            let is_new = request.capabilities.iter().any(|name| name == "authtype");
            let mut out = String::with_capacity(password.len() + 160);
            if is_new {
                out.push_str("capability[]=authtype\n");
            }
            let _ = write!(out, "username={username}\npassword={password}\n");
            if is_new {
                // Other helpers must not keep it, and Git must not use it past its time.
                let _ = write!(
                    out,
                    "ephemeral=1\npassword_expiry_utc={}\n",
                    expires_at.millis() / 1_000
                );
            }
            Reply::success(out)
        }
        Answer::Material { .. } => refuse(&Refusal {
            code: "wrong_material".to_owned(),
            message: format!(
                "the connection for `{}` has no user name and password for git over HTTP",
                request.host
            ),
            hint: Some("use the repository's ssh:// address, or another connection".to_owned()),
        }),
    }
}

/// Returns a refusal in Git's words: no other helper, no prompt, and the reason for people.
pub fn refuse(refusal: &Refusal) -> Reply {
    Reply {
        stdout: "quit=1\n".into(),
        stderr: for_people(&refusal.message, refusal.hint.as_deref()),
        exit_code: 0,
    }
}

#[cfg(test)]
mod tests {
    use keyferry_domain::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn password(username: &str, password: &str) -> Answer {
        Answer::Material {
            material: Material::Password { username: username.into(), password: password.into() },
            expires_at: Timestamp::from_millis(1_767_225_600_123),
        }
    }

    #[test]
    fn git_2_39_gets_only_what_it_knows() {
        let request =
            Request::parse(b"protocol=http\nhost=127.0.0.1:18080\npath=o/r.git\n\n").unwrap();
        assert_eq!(request.path.as_deref(), Some("o/r.git"));
        let reply = reply(&request, &password("alice", "pass=word"));
        assert_eq!(reply.stdout.expose(), "username=alice\npassword=pass=word\n");
        assert_eq!(reply.exit_code, 0);
    }

    #[test]
    fn a_git_with_capabilities_is_told_when_it_ends() {
        let request = Request::parse(
            b"capability[]=authtype\ncapability[]=state\nprotocol=https\nhost=h\n\
              wwwauth[]=Basic realm=\"x\"\n",
        )
        .unwrap();
        assert_eq!(
            reply(&request, &password("a", "b")).stdout.expose(),
            "capability[]=authtype\nusername=a\npassword=b\nephemeral=1\n\
             password_expiry_utc=1767225600\n"
        );
    }

    #[test]
    fn an_empty_capability_resets_the_list() {
        let request = Request::parse(b"capability[]=authtype\ncapability[]=\n").unwrap();
        assert!(request.capabilities.is_empty());
    }

    #[test]
    fn a_secret_with_a_line_break_is_refused_and_not_cut() {
        for secret in ["a\nhost=evil", "a\r", "a\0b"] {
            let reply = reply(&Request::default(), &password("alice", secret));
            assert_eq!(reply.stdout.expose(), "quit=1\n");
            assert!(reply.stderr.contains("line break"));
        }
        let named = reply(&Request::default(), &password("alice\nurl=https://evil", "x"));
        assert_eq!(named.stdout.expose(), "quit=1\n");
        let long = reply(&Request::default(), &password("a", &"x".repeat(MAX_LINE_BYTES)));
        assert_eq!(long.stdout.expose(), "quit=1\n");
    }

    #[test]
    fn a_refusal_ends_git_with_its_reason() {
        let refusal = Refusal {
            code: "connection_not_bound".into(),
            message: "not bound".into(),
            hint: Some("ask bob".into()),
        };
        let reply = reply(&Request::default(), &Answer::Refusal(refusal));
        assert_eq!(reply.stdout.expose(), "quit=1\n");
        assert_eq!(reply.stderr, "keyferry: not bound\nkeyferry: hint: ask bob\n");
    }

    #[test]
    fn a_place_without_a_connection_is_left_to_git() {
        let reply = reply(&Request::default(), &Answer::Unknown);
        assert_eq!((reply.stdout.expose().as_str(), reply.exit_code), ("", 0));
    }

    #[test]
    fn a_key_for_ssh_is_no_answer_over_http() {
        let material = Material::Values { values: [].into(), files: [].into() };
        let answer = Answer::Material { material, expires_at: Timestamp::default() };
        assert_eq!(reply(&Request::default(), &answer).stdout.expose(), "quit=1\n");
    }

    #[test]
    fn hostile_questions_are_refused() {
        for input in [
            &b"protocol=https\nhost=good\nhost=evil\n"[..],
            b"protocol=https\nprotocol=http\nhost=h\n",
            b"host=a\rb\n",
            b"host=a\0b\n",
            b"path=x\x1b[2J\n",
            b"username=\xff\n",
            b"nothing\n",
            b"password=a\0\n",
        ] {
            assert!(Request::parse(input).is_err(), "{}", String::from_utf8_lossy(input));
        }
        let long = [&b"host="[..], &vec![b'x'; MAX_LINE_BYTES], b"\n"].concat();
        assert_eq!(Request::parse(&long), Err(InvalidRequest::LongLine { line: 1 }));
        let limit = [&b"x="[..], &vec![b'x'; MAX_LINE_BYTES - 3], b"\n"].concat();
        assert!(Request::parse(&limit).is_ok());
        let huge = b"a=b\n".repeat(MAX_INPUT_BYTES / 4 + 1);
        assert_eq!(Request::parse(&huge), Err(InvalidRequest::TooLong));
    }

    #[test]
    fn nothing_after_the_empty_line_counts() {
        let request = Request::parse(b"protocol=https\nhost=h\n\nhost=evil\n").unwrap();
        assert_eq!(request.host, "h");
    }

    #[test]
    fn a_password_that_git_sends_back_is_not_kept() {
        let request =
            Request::parse(b"protocol=https\nhost=h\nusername=u\npassword=hunter2\n").unwrap();
        assert!(!format!("{request:?}").contains("hunter2"));
        assert!(matches!(request.question(Action::Erase), Some(Question::GitRejected { .. })));
        assert_eq!(request.question(Action::Store), None);
    }

    #[test]
    fn unknown_operations_are_ignored() {
        assert_eq!(Action::parse("approve"), None);
        assert_eq!(Request::default().question(Action::Get), None);
    }

    proptest! {
        #[test]
        fn reading_never_fails_in_another_way(input in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Request::parse(&input);
        }

        #[test]
        fn what_git_reads_is_what_was_meant(user in "[^\u{0}\r\n]{1,40}", secret in "[^\u{0}\r\n]{0,40}") {
            let reply = reply(&Request::default(), &password(&user, &secret));
            let expected = format!("username={user}\npassword={secret}\n");
            prop_assert_eq!(reply.stdout.expose(), &expected);
        }

        #[test]
        fn an_answer_never_has_a_line_of_its_own_choice(user in ".{0,20}(\n.{0,9})?", secret in "(.|\n){0,20}") {
            let reply = reply(&Request::default(), &password(&user, &secret));
            let keys: Vec<_> =
                reply.stdout.expose().split('\n').filter_map(|l| l.split_once('=')).map(|(k, _)| k).collect();
            prop_assert!(keys == ["quit"] || keys == ["username", "password"]);
        }
    }
}
