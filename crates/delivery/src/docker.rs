//! Docker's credential helper protocol: `docker-credential-keyferry get|list|store|erase|version`.
//!
//! Source: docker/docker-credential-helpers, `client/client.go`, `credentials/`. The protocol names
//! a registry and neither image nor action, has no expiry, and Docker throws the reason of a
//! refusal away: whoever runs the helper shows it elsewhere too.

use std::collections::BTreeMap;

use keyferry_domain::material::Material;
use serde::Serialize;

use crate::address::Address;
use crate::reply::{Reply, for_people};
use crate::socket::{Answer, Question, Refusal};

/// What tools compare with, letter by letter, on standard output.
const NOT_FOUND: &str = "credentials not found in native keychain\n";

/// The longest server address in bytes.
const MAX_SERVER_BYTES: usize = 4_096;

/// What Docker wants of its helper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A credential.
    Get,
    /// The registries and user names that there are.
    List,
    /// To keep a credential; refused, since connections are changed elsewhere.
    Store,
    /// To forget a credential; nothing is kept here, so there is nothing to do.
    Erase,
    /// Who the helper is.
    Version,
}

impl Action {
    /// Reads the helper's first argument.
    pub fn parse(argument: &str) -> Option<Self> {
        match argument {
            "get" => Some(Self::Get),
            "list" => Some(Self::List),
            "store" => Some(Self::Store),
            "erase" => Some(Self::Erase),
            "version" => Some(Self::Version),
            _ => None,
        }
    }

    /// Returns the answer where no question is needed, for `store`, `erase` and `version`.
    pub fn without_question(self, version: &str) -> Option<Reply> {
        match self {
            Self::Get | Self::List => None,
            Self::Erase => Some(Reply::silent()),
            Self::Version => {
                Some(Reply::success(format!("docker-credential-keyferry (keyferry) {version}\n")))
            }
            Self::Store => Some(refuse(&Refusal {
                code: "not_stored".to_owned(),
                message: "credentials are not stored from a job".to_owned(),
                hint: Some("change the credential inside the service connection".to_owned()),
            })),
        }
    }
}

/// What Docker wrote is not a registry's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("read the registry's address from standard input")]
pub struct InvalidServer;

/// Reads the server that Docker writes to `get`: `host[:port]`, or an address with scheme and path.
pub fn parse_server(input: &[u8]) -> Result<Address, InvalidServer> {
    if input.len() > MAX_SERVER_BYTES {
        return Err(InvalidServer);
    }
    let text = std::str::from_utf8(input).map_err(|_| InvalidServer)?;
    // One newline at the end is how people try a helper by hand; one inside is an attack.
    let text = text.strip_suffix('\n').unwrap_or(text);
    Address::parse(text).map_err(|_| InvalidServer)
}

/// Returns what is to be asked on the job socket.
pub fn question(server: &Address) -> Question {
    Question::Registry { server: server.to_string() }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Credentials<'a> {
    #[serde(rename = "ServerURL")]
    server_url: &'a str,
    username: &'a str,
    secret: &'a str,
}

/// Returns what Docker reads for an answer to `get`; `server` as Docker wrote it.
pub fn reply(server: &str, answer: &Answer) -> Reply {
    match answer {
        Answer::Material { material: Material::Password { username, password }, .. } => {
            let credentials =
                Credentials { server_url: server.trim_end(), username, secret: password.expose() };
            // INVARIANT: three strings always serialize; an empty text would be a malformed answer.
            Reply::success(serde_json::to_string(&credentials).unwrap_or_default())
        }
        Answer::Material { .. } => refuse(&Refusal {
            code: "wrong_material".to_owned(),
            message: "the connection for this registry has no user name and password".to_owned(),
            hint: None,
        }),
        Answer::Refusal(refusal) => refuse(refusal),
        Answer::Unknown | Answer::Registries(_) | Answer::Done => {
            Reply { stdout: NOT_FOUND.into(), stderr: String::new(), exit_code: 1 }
        }
    }
}

/// Returns what Docker reads for `list`. User names stay empty: telling them would take a lease for
/// each registry, and Docker asks again for the one that it uses.
pub fn list(answer: &Answer) -> Reply {
    let servers = match answer {
        Answer::Registries(servers) => servers.as_slice(),
        Answer::Refusal(refusal) => return refuse(refusal),
        _ => &[],
    };
    let map: BTreeMap<&str, &str> = servers.iter().map(|server| (server.as_str(), "")).collect();
    Reply::success(serde_json::to_string(&map).unwrap_or_else(|_| "{}".to_owned()))
}

/// Returns a refusal. Other text than `NOT_FOUND`, so that it is not taken for "no credential".
pub fn refuse(refusal: &Refusal) -> Reply {
    let text = for_people(&refusal.message, refusal.hint.as_deref());
    Reply { stdout: text.clone().into(), stderr: text, exit_code: 1 }
}

/// Returns the text of Docker's `config.json` that sends these registries, and no other, to us.
pub fn config_file(registries: &[String]) -> String {
    let helpers: BTreeMap<&str, &str> =
        registries.iter().map(|registry| (registry.as_str(), "keyferry")).collect();
    let mut text = serde_json::json!({ "credHelpers": helpers }).to_string();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use keyferry_domain::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn password(username: &str, password: &str) -> Answer {
        Answer::Material {
            material: Material::Password { username: username.into(), password: password.into() },
            expires_at: Timestamp::default(),
        }
    }

    #[test]
    fn a_credential_is_three_keys() {
        let reply = reply("127.0.0.1:18443", &password("bob", "s\"3\n"));
        assert_eq!(
            reply.stdout.expose(),
            r#"{"ServerURL":"127.0.0.1:18443","Username":"bob","Secret":"s\"3\n"}"#
        );
        assert_eq!(reply.exit_code, 0);
    }

    #[test]
    fn no_connection_is_said_in_the_words_tools_compare_with() {
        let reply = reply("h", &Answer::Unknown);
        assert_eq!(reply.stdout.expose(), "credentials not found in native keychain\n");
        assert_eq!(reply.exit_code, 1);
    }

    #[test]
    fn a_refusal_is_not_taken_for_no_credential() {
        let refusal = Refusal { code: "x".into(), message: "no approval".into(), hint: None };
        let reply = reply("h", &Answer::Refusal(refusal));
        assert!(!reply.stdout.expose().contains("not found in native keychain"));
        assert_eq!(reply.stderr, "keyferry: no approval\n");
        assert_eq!(reply.exit_code, 1);
    }

    #[test]
    fn other_material_is_refused() {
        let material = Material::Values { values: [].into(), files: [].into() };
        let answer = Answer::Material { material, expires_at: Timestamp::default() };
        assert_eq!(reply("h", &answer).exit_code, 1);
    }

    #[test]
    fn the_list_takes_no_lease() {
        let answer = Answer::Registries(vec!["r.example.com".into()]);
        assert_eq!(list(&answer).stdout.expose(), "{\"r.example.com\":\"\"}");
        assert_eq!(list(&Answer::Unknown).stdout.expose(), "{}");
    }

    #[test]
    fn servers_come_in_three_forms() {
        for (text, authority) in [
            ("registry.example.com", "registry.example.com"),
            ("https://registry.example.com:443/v2/", "registry.example.com"),
            ("127.0.0.1:5000\n", "127.0.0.1:5000"),
            ("https://index.docker.io/v1/", "index.docker.io"),
        ] {
            assert_eq!(parse_server(text.as_bytes()).unwrap().authority(), authority);
        }
    }

    #[test]
    fn hostile_servers_are_refused() {
        for text in ["", "\n", "good\nevil", "h\0", "user:pw@h", "h h", "--help", "\u{fc}"] {
            assert_eq!(parse_server(text.as_bytes()), Err(InvalidServer), "{text:?}");
        }
        assert_eq!(parse_server(b"\xff"), Err(InvalidServer));
        assert_eq!(parse_server(&vec![b'a'; 65_536]), Err(InvalidServer));
    }

    #[test]
    fn nothing_is_stored_from_a_job() {
        assert_eq!(Action::Store.without_question("1").unwrap().exit_code, 1);
        assert_eq!(Action::Erase.without_question("1").unwrap().exit_code, 0);
        assert!(Action::Get.without_question("1").is_none());
        assert_eq!(Action::parse("GET"), None);
    }

    #[test]
    fn the_configuration_names_only_the_registries_of_the_job() {
        assert_eq!(
            config_file(&["r.example.com:5000".to_owned()]),
            "{\"credHelpers\":{\"r.example.com:5000\":\"keyferry\"}}\n"
        );
    }

    proptest! {
        #[test]
        fn secrets_survive_json(user in any::<String>(), secret in any::<String>()) {
            let reply = reply("h", &password(&user, &secret));
            let value: serde_json::Value = serde_json::from_str(reply.stdout.expose()).unwrap();
            prop_assert_eq!(value["Secret"].as_str(), Some(secret.as_str()));
            prop_assert_eq!(value["Username"].as_str(), Some(user.as_str()));
        }

        #[test]
        fn reading_a_server_never_panics(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_server(&input);
        }
    }
}
