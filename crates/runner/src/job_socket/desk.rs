//! Which of the job's connections answers a question, and with what.
//!
//! A connection answers only for its own host, port and path; the most specific one wins, and two
//! that are equally specific are refused rather than guessed. Never asks for more than the question
//! needs: see [`Desk::name`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use keyferry_delivery::address::Address;
use keyferry_delivery::socket::{Answer, Question, Refusal};
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::operation::{Access, Operation};

use crate::leases::{Held, Leases};

/// A connection that the holder may use.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) kind: String,
    /// Where helpers answer for it.
    pub(crate) address: Option<Address>,
    /// Certificates in PEM that its service is trusted by, instead of the system's.
    pub(crate) ca_certificate: Option<String>,
}

impl Connection {
    /// Returns the operation for the repository at an address.
    pub(crate) fn git_operation(&self, asked: &Address, access: Access) -> Operation {
        let repository = self.address.as_ref().and_then(|own| {
            let path = own.path_below(asked)?;
            // A connection to one repository has that repository's whole path as its address.
            let path = if path.is_empty() { asked.path() } else { path };
            // Git LFS asks for a place inside the repository.
            let repository = path.split_once(".git/").map_or(path.as_str(), |(before, _)| before);
            repository.parse().ok()
        });
        Operation::Git { repository, access }
    }
}

/// Answers the questions of one job's helpers.
pub(crate) struct Desk {
    leases: Arc<Leases>,
    connections: Vec<Connection>,
    /// The names that the step at hand has for connections.
    names: Mutex<BTreeMap<String, ConnectionId>>,
}

impl Desk {
    pub(crate) fn new(leases: Arc<Leases>, connections: Vec<Connection>) -> Self {
        Self { leases, connections, names: Mutex::default() }
    }

    /// Sets the names of the step at hand. A connection that the step names may be written with;
    /// any other is for reading, since Git does not say whether it fetches or pushes. Returns the
    /// names that were set before.
    pub(crate) fn name(
        &self,
        names: BTreeMap<String, ConnectionId>,
    ) -> BTreeMap<String, ConnectionId> {
        let mut known = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut known, names)
    }

    pub(crate) fn connections(&self) -> &[Connection] {
        &self.connections
    }

    pub(crate) fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Returns what is said to a helper.
    pub(crate) async fn answer(&self, question: &Question) -> Answer {
        let (connection, operation) = match question {
            Question::Registries => return self.registries(),
            Question::Git { protocol, host, path, .. } => {
                match self.find_git(protocol, host, path.as_deref()) {
                    Ok(Some(found)) => found,
                    Ok(None) => return Answer::Unknown,
                    Err(refusal) => return Answer::Refusal(refusal),
                }
            }
            Question::GitRejected { protocol, host, path } => {
                let Ok(Some((connection, operation))) =
                    self.find_git(protocol, host, path.as_deref())
                else {
                    return Answer::Done;
                };
                // Git takes no answer here; the job's log does.
                let reported = self.leases.reject(&connection, &operation).await;
                return reported.map_or(Answer::Done, Answer::Refusal);
            }
            Question::Registry { server } => match self.find_registry(server) {
                Ok(Some(found)) => found,
                Ok(None) => return Answer::Unknown,
                Err(refusal) => return Answer::Refusal(refusal),
            },
            Question::Material { name } => match self.find_named(name) {
                Some(connection) => (connection, Operation::Material),
                None => return Answer::Unknown,
            },
        };
        match self.leases.get(&connection, &operation).await {
            Ok(held) => material(&held),
            Err(refusal) => Answer::Refusal(refusal),
        }
    }

    fn find_git(
        &self,
        protocol: &str,
        host: &str,
        path: Option<&str>,
    ) -> Result<Option<(ConnectionId, Operation)>, Refusal> {
        // Other protocols have no place for a password, or show it.
        if !matches!(protocol, "https" | "http") {
            return Ok(None);
        }
        let asked = read_address(Address::from_parts(Some(protocol), host, path))?;
        let Some(connection) =
            self.most_specific(&asked, |kind| kind != "private_docker_registry")?
        else {
            return Ok(None);
        };
        let access = self.access_to(&connection.id);
        let operation = connection.git_operation(&asked, access);
        Ok(Some((connection.id.clone(), operation)))
    }

    fn find_registry(&self, server: &str) -> Result<Option<(ConnectionId, Operation)>, Refusal> {
        let asked = read_address(Address::parse(server))?;
        // Registries are named by host; what tools put behind it is a version, not a place.
        let asked = read_address(Address::parse(&normalized(&asked.authority())))?;
        let entries = self.connections.iter().filter(|one| has_images(&one.kind));
        let matching: Vec<&Connection> = entries
            .filter(|one| {
                one.address
                    .as_ref()
                    .is_some_and(|own| normalized(&own.authority()) == asked.authority())
            })
            .collect();
        // A registry's own connection goes before a forge's that also serves images.
        let own = |one: &&&Connection| one.kind == "private_docker_registry";
        let best: Vec<&&Connection> = match matching.iter().filter(own).count() {
            0 => matching.iter().collect(),
            _ => matching.iter().filter(own).collect(),
        };
        match best.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some((
                one.id.clone(),
                Operation::Registry { repository: None, access: Access::Write },
            ))),
            [first, second, ..] => Err(ambiguous(&asked, first, second)),
        }
    }

    fn find_named(&self, name: &str) -> Option<ConnectionId> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(name).cloned().or_else(|| {
            self.connections.iter().find(|one| one.id.as_str() == name).map(|one| one.id.clone())
        })
    }

    fn registries(&self) -> Answer {
        let servers = self.connections.iter().filter(|one| has_images(&one.kind));
        Answer::Registries(servers.flat_map(registry_names).collect())
    }

    fn access_to(&self, connection: &ConnectionId) -> Access {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.values().any(|named| named == connection) { Access::Write } else { Access::Read }
    }

    fn most_specific(
        &self,
        asked: &Address,
        serves: impl Fn(&str) -> bool,
    ) -> Result<Option<&Connection>, Refusal> {
        let entries = self
            .connections
            .iter()
            .filter(|one| serves(&one.kind))
            .filter_map(|one| one.address.as_ref().map(|address| (address, one)));
        let found = Address::most_specific(entries, asked);
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            several => {
                // The step's own choice settles it.
                let named: Vec<&&Connection> =
                    several.iter().filter(|one| self.access_to(&one.id) == Access::Write).collect();
                match named.as_slice() {
                    [one] => Ok(Some(one)),
                    _ => Err(ambiguous(asked, several[0], several[1])),
                }
            }
        }
    }
}

/// Tells whether connections of this type serve images.
pub(crate) fn has_images(kind: &str) -> bool {
    matches!(kind, "private_docker_registry" | "gitea")
}

/// Returns the names under which tools ask for a registry.
pub(crate) fn registry_names(connection: &Connection) -> Vec<String> {
    let Some(address) = &connection.address else { return Vec::new() };
    let name = normalized(&address.authority());
    if name == "docker.io" {
        // Docker Hub is known to Docker by the first of these, to other tools by the second.
        vec!["https://index.docker.io/v1/".to_owned(), name]
    } else {
        vec![name]
    }
}

fn normalized(authority: &str) -> String {
    match authority {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => {
            "docker.io".to_owned()
        }
        other => other.strip_suffix(":443").unwrap_or(other).to_owned(),
    }
}

fn material(held: &Held) -> Answer {
    Answer::Material { material: held.material.clone(), expires_at: held.expires_at }
}

fn read_address(
    address: Result<Address, keyferry_delivery::address::InvalidAddress>,
) -> Result<Address, Refusal> {
    address.map_err(|error| Refusal {
        code: "invalid_address".to_owned(),
        message: format!("failed to {error}"),
        hint: None,
    })
}

fn ambiguous(asked: &Address, first: &Connection, second: &Connection) -> Refusal {
    Refusal {
        code: "ambiguous_connection".to_owned(),
        message: format!(
            "the connections `{}` and `{}` are both for `{asked}`",
            first.id, second.id
        ),
        hint: Some("name the one that is meant under `connections` of the step".to_owned()),
    }
}

/// Returns a refusal as one line of the job's log.
pub(crate) fn refusal_line(refusal: &Refusal) -> String {
    let clean = |text: &str| text.replace(|letter: char| letter.is_control(), " ");
    let mut line =
        format!("keyferry: refused ({}): {}", clean(&refusal.code), clean(&refusal.message));
    if let Some(hint) = &refusal.hint {
        line.push_str("; hint: ");
        line.push_str(&clean(hint));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(kind: &str, address: &str) -> Connection {
        Connection {
            id: "images".parse().unwrap(),
            kind: kind.to_owned(),
            address: Some(Address::parse(address).unwrap()),
            ca_certificate: None,
        }
    }

    #[test]
    fn docker_hub_has_the_two_names_that_tools_know() {
        for address in ["docker.io", "index.docker.io", "https://registry-1.docker.io"] {
            let names = registry_names(&connection("private_docker_registry", address));
            assert_eq!(names, ["https://index.docker.io/v1/", "docker.io"], "{address}");
        }
        let names = registry_names(&connection("gitea", "git.example.com:3000/sub"));
        assert_eq!(names, ["git.example.com:3000"]);
    }

    #[test]
    fn the_operation_is_for_the_repository_below_the_connection() {
        let asked = Address::parse("https://h/gitea/team/app.git").unwrap();
        let repository = |address: &str| {
            let operation = connection("gitea", address).git_operation(&asked, Access::Read);
            let Operation::Git { repository, .. } = operation else { panic!() };
            repository.map(|path| path.as_str().to_owned())
        };
        assert_eq!(repository("h/gitea").as_deref(), Some("team/app"));
        assert_eq!(repository("h/gitea/team/app").as_deref(), Some("gitea/team/app"));
        assert_eq!(repository("other/gitea"), None);
    }

    #[test]
    fn a_place_inside_a_repository_is_for_the_repository() {
        let asked = Address::parse("https://h/team/app.git/info/lfs").unwrap();
        let operation = connection("git", "https://h").git_operation(&asked, Access::Read);
        let Operation::Git { repository: Some(path), .. } = operation else { panic!() };
        assert_eq!(path.as_str(), "team/app");
    }

    #[test]
    fn a_refusal_is_one_line_whatever_is_in_it() {
        let refusal = Refusal { code: "a\nb".into(), message: "c\u{1b}[2J".into(), hint: None };
        assert_eq!(refusal_line(&refusal), "keyferry: refused (a b): c [2J");
    }
}
