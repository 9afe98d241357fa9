//! The job socket's own protocol: one JSON line with a question, one JSON line with the answer.
//!
//! Spoken between the `keyferry` helpers in a job and the runner that started the job. Each
//! connection carries exactly one question. The answer may hold a secret, so it is rendered into
//! [`SecretString`] and has no `Serialize`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_domain::Timestamp;
use keyferry_domain::material::Material;
use keyferry_domain::secret::{SecretBytes, SecretString};
use serde::{Deserialize, Serialize, Serializer};

/// The version of the protocol. A runner answers only its own: both come in one binary.
pub const VERSION: u32 = 1;

/// Longest question in bytes, its newline included.
pub const MAX_QUESTION_BYTES: usize = 64 * 1024;

/// Longest answer in bytes: a few files of a `generic` connection in base64.
pub const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// What a tool's helper asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    /// A user name and password for Git over HTTP.
    Git {
        /// `https` or `http`.
        protocol: String,
        /// Host, with port where it is not the protocol's own.
        host: String,
        /// The repository's path, as in the address.
        path: Option<String>,
        /// The user name in the address.
        username: Option<String>,
    },
    /// What was given for this place does not work any more.
    GitRejected {
        /// `https` or `http`.
        protocol: String,
        /// Host, with port where it is not the protocol's own.
        host: String,
        /// The repository's path, as in the address.
        path: Option<String>,
    },
    /// A user name and password for an image registry.
    Registry {
        /// The registry as the tool names it.
        server: String,
    },
    /// The registries that there are connections for.
    Registries,
    /// The material of a connection that the job gave a name.
    Material {
        /// The job's name for the connection, or its connection ID.
        name: String,
    },
}

/// Why nothing is handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("get access: {message}")]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// The stable code: `connection_not_bound`.
    pub code: String,
    /// What happened, as a sentence.
    pub message: String,
    /// What can be done about it, and by whom.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

/// What a helper is told.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Here it is.
    Material {
        /// The secret bytes.
        material: Material,
        /// Ask again from then on.
        expires_at: Timestamp,
    },
    /// There is a connection, and it is not to be used like this.
    Refusal(Refusal),
    /// No connection of this job is for that.
    Unknown,
    /// The registries that there are connections for, as tools name them.
    Registries(Vec<String>),
    /// Taken note of.
    Done,
}

/// The text is not of this protocol.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// Longer than allowed.
    #[error("read a message of the job socket, which is longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// Not the JSON that is expected. Has no cause, since that would repeat a piece of the text.
    #[error("read a message of the job socket")]
    Malformed,
    /// From another version of Keyferry.
    #[error("speak version {theirs} of the job socket's protocol; this is version {VERSION}")]
    Version {
        /// The other side's version.
        theirs: u32,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuestionLine {
    version: u32,
    question: Question,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum AnswerLine {
    Material { material: MaterialLine, expires_at: Timestamp },
    Refusal { refusal: Refusal },
    Unknown,
    Registries { servers: Vec<String> },
    Done,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum MaterialLine {
    Password {
        username: String,
        password: Spoken,
    },
    SshKey {
        username: String,
        private_key: Spoken,
        known_hosts: String,
        url: Option<String>,
    },
    Values {
        values: BTreeMap<String, Spoken>,
        /// In base64.
        files: BTreeMap<String, Spoken>,
    },
}

/// A secret on its way over the job socket; nowhere else is one serialized in this crate.
#[derive(Deserialize)]
#[serde(transparent)]
struct Spoken(SecretString);

impl Serialize for Spoken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl Question {
    /// Returns the line that asks this, newline included.
    pub fn render(&self) -> String {
        let line = QuestionLine { version: VERSION, question: self.clone() };
        // Serializing strings to a string has no way to fail; an empty line is refused anyway.
        let mut text = serde_json::to_string(&line).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads a line.
    pub fn parse(line: &[u8]) -> Result<Self, ProtocolError> {
        if line.len() > MAX_QUESTION_BYTES {
            return Err(ProtocolError::TooLong { limit: MAX_QUESTION_BYTES });
        }
        match serde_json::from_slice::<QuestionLine>(line) {
            Ok(QuestionLine { version: VERSION, question }) => Ok(question),
            Ok(QuestionLine { version, .. }) => Err(ProtocolError::Version { theirs: version }),
            Err(_) => match serde_json::from_slice::<VersionOnly>(line) {
                Ok(other) if other.version != VERSION => {
                    Err(ProtocolError::Version { theirs: other.version })
                }
                _ => Err(ProtocolError::Malformed),
            },
        }
    }
}

impl Answer {
    /// Returns the line that says this, newline included.
    pub fn render(&self) -> SecretString {
        let line = match self {
            Self::Material { material, expires_at } => AnswerLine::Material {
                material: MaterialLine::from_material(material),
                expires_at: *expires_at,
            },
            Self::Refusal(refusal) => AnswerLine::Refusal { refusal: refusal.clone() },
            Self::Unknown => AnswerLine::Unknown,
            Self::Registries(servers) => AnswerLine::Registries { servers: servers.clone() },
            Self::Done => AnswerLine::Done,
        };
        let mut text = serde_json::to_string(&line).unwrap_or_default();
        text.push('\n');
        text.into()
    }

    /// Reads a line.
    pub fn parse(line: &[u8]) -> Result<Self, ProtocolError> {
        if line.len() > MAX_ANSWER_BYTES {
            return Err(ProtocolError::TooLong { limit: MAX_ANSWER_BYTES });
        }
        // serde's message may repeat a piece of the text, so it is dropped.
        match serde_json::from_slice(line).map_err(|_| ProtocolError::Malformed)? {
            AnswerLine::Material { material, expires_at } => {
                Ok(Self::Material { material: material.into_material()?, expires_at })
            }
            AnswerLine::Refusal { refusal } => Ok(Self::Refusal(refusal)),
            AnswerLine::Unknown => Ok(Self::Unknown),
            AnswerLine::Registries { servers } => Ok(Self::Registries(servers)),
            AnswerLine::Done => Ok(Self::Done),
        }
    }
}

impl MaterialLine {
    fn from_material(material: &Material) -> Self {
        match material {
            Material::Password { username, password } => {
                Self::Password { username: username.clone(), password: Spoken(password.clone()) }
            }
            Material::SshKey { username, private_key, known_hosts, url } => Self::SshKey {
                username: username.clone(),
                private_key: Spoken(private_key.clone()),
                known_hosts: known_hosts.clone(),
                url: url.clone(),
            },
            Material::Values { values, files } => Self::Values {
                values: values
                    .iter()
                    .map(|(name, value)| (name.clone(), Spoken(value.clone())))
                    .collect(),
                files: files
                    .iter()
                    .map(|(name, bytes)| {
                        (name.clone(), Spoken(STANDARD.encode(bytes.expose()).into()))
                    })
                    .collect(),
            },
        }
    }

    fn into_material(self) -> Result<Material, ProtocolError> {
        Ok(match self {
            Self::Password { username, password } => {
                Material::Password { username, password: password.0 }
            }
            Self::SshKey { username, private_key, known_hosts, url } => {
                Material::SshKey { username, private_key: private_key.0, known_hosts, url }
            }
            Self::Values { values, files } => Material::Values {
                values: values.into_iter().map(|(name, value)| (name, value.0)).collect(),
                files: files
                    .into_iter()
                    .map(|(name, text)| {
                        STANDARD
                            .decode(text.0.expose())
                            .map(|bytes| (name, SecretBytes::new(bytes)))
                            .map_err(|_| ProtocolError::Malformed)
                    })
                    .collect::<Result<_, _>>()?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn questions_are_one_line_each() {
        let question = Question::Git {
            protocol: "https".into(),
            host: "h\nhost=evil".into(),
            path: None,
            username: Some("\u{2028}".into()),
        };
        let line = question.render();
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(Question::parse(line.as_bytes()).unwrap(), question);
    }

    #[test]
    fn another_version_is_named() {
        let line = br#"{"version":2,"question":{"kind":"telepathy"}}"#;
        assert!(matches!(Question::parse(line), Err(ProtocolError::Version { theirs: 2 })));
    }

    #[test]
    fn strange_lines_are_refused() {
        for line in [
            "",
            "{}",
            "null",
            "[]",
            "GET / HTTP/1.1",
            r#"{"version":1,"question":{"kind":"git"}}"#,
            r#"{"version":1,"question":{"kind":"shell","command":"id"}}"#,
            r#"{"version":1,"question":{"kind":"registries"},"more":1}"#,
            r#"{"version":1,"question":{"kind":"registry","server":"a","x":1}}"#,
        ] {
            assert!(matches!(Question::parse(line.as_bytes()), Err(ProtocolError::Malformed)));
        }
        let long = vec![b' '; MAX_QUESTION_BYTES + 1];
        assert!(matches!(Question::parse(&long), Err(ProtocolError::TooLong { .. })));
    }

    #[test]
    fn a_broken_answer_is_not_repeated() {
        let line = br#"{"kind":"material","material":{"kind":"password","username":"u","password":["hunter2"]},"expires_at":"2026-01-01T00:00:00Z"}"#;
        let error = Answer::parse(line).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }

    #[test]
    fn every_answer_is_read_back() {
        let at = Timestamp::from_millis(1_767_225_600_123);
        let refusal = Refusal { code: "x".into(), message: "y".into(), hint: None };
        let line = Answer::Refusal(refusal.clone()).render();
        assert!(
            matches!(Answer::parse(line.expose().as_bytes()), Ok(Answer::Refusal(got)) if got == refusal)
        );
        for answer in [Answer::Unknown, Answer::Registries(vec!["h".into()]), Answer::Done] {
            let back = Answer::parse(answer.render().expose().as_bytes()).unwrap();
            assert_eq!(std::mem::discriminant(&back), std::mem::discriminant(&answer));
        }
        let material = Material::SshKey {
            username: "git".into(),
            private_key: "-----BEGIN\nkey\n".into(),
            known_hosts: "h ssh-ed25519 AAAA\n".into(),
            url: Some("ssh://git@h/x.git".into()),
        };
        let line = Answer::Material { material, expires_at: at }.render();
        let Ok(Answer::Material { material: Material::SshKey { private_key, .. }, expires_at }) =
            Answer::parse(line.expose().as_bytes())
        else {
            panic!("not read back");
        };
        assert_eq!((private_key.expose().as_str(), expires_at), ("-----BEGIN\nkey\n", at));
    }

    proptest! {
        #[test]
        fn files_survive(bytes in proptest::collection::vec(any::<u8>(), 0..200), name in "[a-z]{1,9}") {
            let material = Material::Values {
                values: [(name.clone(), SecretString::from("v\n\0"))].into(),
                files: [(name.clone(), SecretBytes::new(bytes.clone()))].into(),
            };
            let line = Answer::Material { material, expires_at: Timestamp::default() }.render();
            let Ok(Answer::Material { material: Material::Values { values, files }, .. }) =
                Answer::parse(line.expose().as_bytes()) else { panic!() };
            prop_assert_eq!(files[&name].expose(), &bytes);
            prop_assert_eq!(values[&name].expose().as_str(), "v\n\0");
        }
    }
}
