//! How Git gets into a repository: through the helper over HTTP, with a key over SSH.
//!
//! Everything goes through environment variables (`GIT_CONFIG_COUNT`), so that no file in a checkout
//! changes and a repository's own configuration is never trusted for it.

use std::collections::BTreeMap;
use std::path::Path;

use keyferry_delivery::address::Address;
use keyferry_delivery::socket::Refusal;
use keyferry_delivery::ssh;
use keyferry_domain::Timestamp;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::material::Material;
use keyferry_domain::operation::{Access, Operation};
use keyferry_domain::secret::SecretString;

use crate::job_socket::Desk;
use crate::leases::{Held, is_fresh};
use crate::trust::Trust;
use crate::workspace::{Workspace, text};

/// OpenSSH's configuration, below the private folder.
const SSH_CONFIG: &str = "ssh_config";

/// Variables for every process of a job: our helper and no other, no prompts, no system settings,
/// and whom to trust.
pub(crate) fn base_environment(
    workspace: &Workspace,
    helper: &str,
    trust: &Trust,
) -> BTreeMap<String, SecretString> {
    let ssh_config = workspace.private_path(SSH_CONFIG);
    let entries = [
        // An empty one resets the list: whoever came before must not answer first.
        ("credential.helper".to_owned(), String::new()),
        ("credential.helper".to_owned(), helper.to_owned()),
        ("credential.useHttpPath".to_owned(), "true".to_owned()),
        // Runs any command that a submodule's address names.
        ("protocol.ext.allow".to_owned(), "never".to_owned()),
    ];
    let mut environment = configuration(&entries);
    extend_configuration(&mut environment, trust.git_configuration());
    let mut set = |name: &str, value: String| environment.insert(name.to_owned(), value.into());
    set("GIT_CONFIG_NOSYSTEM", "1".to_owned());
    set("GIT_TERMINAL_PROMPT", "0".to_owned());
    // Set and empty: nobody is asked, and Git says that there was no credential.
    set("GIT_ASKPASS", String::new());
    set("SSH_ASKPASS", "false".to_owned());
    // Written before the first key is there: an unknown host gets no key, and is not trusted.
    set("GIT_SSH_COMMAND", ssh::git_ssh_command(&text(&ssh_config)).unwrap_or_default());
    environment
}

fn configuration(entries: &[(String, String)]) -> BTreeMap<String, SecretString> {
    let mut environment = BTreeMap::new();
    environment.insert("GIT_CONFIG_COUNT".to_owned(), entries.len().to_string().into());
    for (index, (key, value)) in entries.iter().enumerate() {
        environment.insert(format!("GIT_CONFIG_KEY_{index}"), key.clone().into());
        environment.insert(format!("GIT_CONFIG_VALUE_{index}"), value.clone().into());
    }
    environment
}

/// Adds entries to the configuration that is in the environment already.
fn extend_configuration(
    environment: &mut BTreeMap<String, SecretString>,
    entries: &[(String, String)],
) {
    let count: usize = environment
        .get("GIT_CONFIG_COUNT")
        .and_then(|value| value.expose().parse().ok())
        .unwrap_or(0);
    for (index, (key, value)) in entries.iter().enumerate() {
        environment.insert(format!("GIT_CONFIG_KEY_{}", count + index), key.clone().into());
        environment.insert(format!("GIT_CONFIG_VALUE_{}", count + index), value.clone().into());
    }
    environment.insert("GIT_CONFIG_COUNT".to_owned(), (count + entries.len()).to_string().into());
}

/// Which keys there were at some time.
pub(crate) struct Snapshot {
    count: usize,
    rewrites: BTreeMap<String, String>,
}

/// A key that lies as a file, and what it was given for.
struct Key {
    identity: ssh::Identity,
    connection: ConnectionId,
    operation: Operation,
    expires_at: Timestamp,
}

/// The keys that a job holds as files, and the addresses that lead to them.
pub(crate) struct GitAccess {
    keys: Vec<Key>,
    next: usize,
    /// `url.<new>.insteadOf = <endpoint>`, by endpoint.
    rewrites: BTreeMap<String, String>,
}

impl GitAccess {
    /// Starts without any key, and writes the configuration that says so.
    pub(crate) fn start(workspace: &Workspace) -> std::io::Result<Self> {
        let access = Self { keys: Vec::new(), next: 1, rewrites: BTreeMap::new() };
        access.write_configuration(workspace)?;
        Ok(access)
    }

    /// Tells whether there is no key.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn write_configuration(&self, workspace: &Workspace) -> std::io::Result<()> {
        let identities: Vec<ssh::Identity> =
            self.keys.iter().map(|key| key.identity.clone()).collect();
        let text = ssh::config_file(&identities).map_err(std::io::Error::other)?;
        workspace.private().write(Path::new(SSH_CONFIG), text.as_bytes())
    }

    /// Takes the lease for a repository, so that a refusal comes now and with its reason, and puts a
    /// key where SSH finds it. User names and passwords stay with the helper.
    pub(crate) async fn open(
        &mut self,
        workspace: &Workspace,
        desk: &Desk,
        connection: &ConnectionId,
        endpoint: &str,
        access: Access,
    ) -> Result<(), Refusal> {
        let refuse = |message: String| unusable(connection, &message);
        let Some(known) = desk.connections().iter().find(|one| one.id == *connection) else {
            return Err(Refusal {
                code: "connection_not_bound".to_owned(),
                message: format!("the connection `{connection}` is not among those of this job"),
                hint: Some("save the pipeline again, or ask someone to approve it".to_owned()),
            });
        };
        let asked = address_of(endpoint).map_err(refuse)?;
        // Never a credential for another place than the connection's own.
        if let Some(own) = &known.address
            && !same_place(own, &asked)
        {
            return Err(refuse(format!("it is for `{own}`, not for `{}`", asked.authority())));
        }
        let operation = known.git_operation(&asked, access);
        let held = desk.leases().get(connection, &operation).await?;
        let Material::SshKey { url, .. } = &held.material else { return Ok(()) };
        let url = url.clone().unwrap_or_else(|| endpoint.to_owned());
        let (host, path) = split_ssh(&url).ok_or_else(|| {
            refuse("it has a key for SSH, and the address is not one of SSH".to_owned())
        })?;
        let alias = self.add(workspace, connection, operation, &held, host)?;
        self.rewrites.insert(endpoint.to_owned(), format!("ssh://{alias}/{path}"));
        Ok(())
    }

    /// Takes the lease for everything below a connection's own SSH address, and leads the ways in
    /// which people write that address to its key. Other connections are left alone.
    pub(crate) async fn open_place(
        &mut self,
        workspace: &Workspace,
        desk: &Desk,
        connection: &ConnectionId,
    ) -> Result<(), Refusal> {
        let known = desk.connections().iter().find(|one| one.id == *connection);
        let Some(own) = known.and_then(|one| one.address.clone()) else { return Ok(()) };
        let Some((host, path)) = split_ssh(&format!("{own}/")) else { return Ok(()) };
        let operation = Operation::Git { repository: None, access: Access::Write };
        let held = desk.leases().get(connection, &operation).await?;
        let Material::SshKey { username, .. } = &held.material else { return Ok(()) };
        let username = username.clone();
        let authority = host.authority();
        let alias = self.add(workspace, connection, operation, &held, host)?;
        let path = path.trim_end_matches('/');
        let target = format!("ssh://{alias}/{path}");
        let mut ways = vec![
            format!("ssh://{authority}/{path}"),
            format!("ssh://{username}@{authority}/{path}"),
        ];
        // The short form has no room for a port, and starts in the user's home where it is not a
        // forge that answers.
        if !authority.contains(':') {
            ways.push(format!("{authority}:{path}"));
            ways.push(format!("{username}@{authority}:{path}"));
        }
        self.rewrites.extend(ways.into_iter().map(|way| (way, target.clone())));
        Ok(())
    }

    /// Writes a key and how to use it; returns the name that stands for its host.
    fn add(
        &mut self,
        workspace: &Workspace,
        connection: &ConnectionId,
        operation: Operation,
        held: &Held,
        host: Address,
    ) -> Result<String, Refusal> {
        let Material::SshKey { username, .. } = &held.material else {
            return Err(unusable(connection, "it has no key for SSH"));
        };
        let alias = format!("keyferry-{}", self.next);
        self.next += 1;
        write_key(workspace, connection, &alias, &held.material)?;
        let identity = ssh::Identity {
            alias: alias.clone(),
            host,
            username: username.clone(),
            key_path: text(&workspace.private_path(&key_name(&alias))),
            known_hosts_path: text(&workspace.private_path(&hosts_name(&alias))),
        };
        let connection = connection.clone();
        let expires_at = held.expires_at;
        self.keys.push(Key { identity, connection, operation, expires_at });
        self.write_configuration(workspace).map_err(|error| {
            let id = &self.keys[self.keys.len() - 1].connection;
            unusable(id, &format!("failed to write SSH's configuration: {error}"))
        })?;
        Ok(alias)
    }

    /// Asks again for keys that are about to end. Returns why those that could not be had were
    /// refused; they stay as they are.
    pub(crate) async fn refresh(&mut self, workspace: &Workspace, desk: &Desk) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        for key in self.keys.iter_mut().filter(|key| !is_fresh(key.expires_at)) {
            let renewed = match desk.leases().get(&key.connection, &key.operation).await {
                Ok(held) => {
                    let alias = &key.identity.alias;
                    key.expires_at = held.expires_at;
                    write_key(workspace, &key.connection, alias, &held.material)
                }
                Err(refusal) => Err(refusal),
            };
            refusals.extend(renewed.err());
        }
        refusals
    }

    /// Remembers which keys there are, before a step that gets more.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { count: self.keys.len(), rewrites: self.rewrites.clone() }
    }

    /// Takes away the keys that came since then: the right to push ends with the step that needed it.
    pub(crate) fn restore(
        &mut self,
        workspace: &Workspace,
        snapshot: Snapshot,
    ) -> std::io::Result<()> {
        if self.keys.len() == snapshot.count {
            return Ok(());
        }
        for key in self.keys.split_off(snapshot.count) {
            workspace.private().remove(Path::new(&key_name(&key.identity.alias)))?;
            workspace.private().remove(Path::new(&hosts_name(&key.identity.alias)))?;
        }
        self.rewrites = snapshot.rewrites;
        self.write_configuration(workspace)
    }

    /// Adds what leads Git to the keys.
    pub(crate) fn extend(&self, environment: &mut BTreeMap<String, SecretString>) {
        let entries: Vec<(String, String)> = self
            .rewrites
            .iter()
            .map(|(endpoint, url)| (format!("url.{url}.insteadOf"), endpoint.clone()))
            .collect();
        extend_configuration(environment, &entries);
    }
}

fn key_name(alias: &str) -> String {
    format!("{alias}.key")
}

fn hosts_name(alias: &str) -> String {
    format!("{alias}.hosts")
}

fn unusable(connection: &ConnectionId, message: &str) -> Refusal {
    Refusal {
        code: "unusable_material".to_owned(),
        message: format!("connection `{connection}`: {message}"),
        hint: None,
    }
}

/// Writes a key and the host keys to accept with it.
fn write_key(
    workspace: &Workspace,
    connection: &ConnectionId,
    alias: &str,
    material: &Material,
) -> Result<(), Refusal> {
    let Material::SshKey { private_key, known_hosts, .. } = material else {
        return Err(unusable(connection, "it has no key for SSH any more"));
    };
    let failed =
        |error: &dyn std::fmt::Display| unusable(connection, &format!("failed to {error}"));
    let key =
        SecretString::from(ssh::key_file(private_key.expose()).map_err(|error| failed(&error))?);
    let hosts = ssh::known_hosts_file(known_hosts).map_err(|error| failed(&error))?;
    for (name, content) in
        [(key_name(alias), key.expose().as_bytes()), (hosts_name(alias), hosts.as_bytes())]
    {
        workspace
            .private()
            .write(Path::new(&name), content)
            .map_err(|error| failed(&format!("write a file: {error}")))?;
    }
    Ok(())
}

/// Reads a repository's address: a URL, or `git@host:path`.
fn address_of(endpoint: &str) -> Result<Address, String> {
    let parsed = match split_ssh(endpoint) {
        Some((host, path)) => Address::parse(&format!("ssh://{}/{path}", host.authority())),
        None => Address::parse(endpoint),
    };
    parsed.map_err(|error| format!("failed to {error}"))
}

/// Compares places without their scheme: a forge is one place, over HTTP and over SSH alike, and
/// the port differs between the two.
fn same_place(own: &Address, asked: &Address) -> bool {
    if own.covers(asked) {
        return true;
    }
    let host = |address: &Address| {
        address
            .authority()
            .rsplit_once(':')
            .map_or(address.authority(), |(host, _)| host.to_owned())
    };
    let is_ssh = asked.to_string().starts_with("ssh://");
    is_ssh && host(own) == host(asked)
}

/// Splits an SSH address into host with port, and path.
fn split_ssh(url: &str) -> Option<(Address, String)> {
    let (authority, path) = match url.strip_prefix("ssh://") {
        Some(rest) => rest.split_once('/')?,
        None if url.contains("://") => return None,
        None => url.split_once(':')?,
    };
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.is_empty() || path.contains(char::is_control) {
        return None;
    }
    let host = Address::parse(&format!("ssh://{host}")).ok()?;
    Some((host, path.trim_start_matches('/').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_addresses_come_in_two_forms() {
        for url in ["ssh://git@h:2222/team/app.git", "ssh://h:2222/team/app.git"] {
            let (host, path) = split_ssh(url).unwrap();
            assert_eq!((host.authority().as_str(), path.as_str()), ("h:2222", "team/app.git"));
        }
        let (host, path) = split_ssh("git@h:team/app.git").unwrap();
        assert_eq!((host.authority().as_str(), path.as_str()), ("h", "team/app.git"));
        for url in ["https://h/team/app.git", "team/app", "ssh://h", "ssh://-oProxyCommand=x/y"] {
            assert!(split_ssh(url).is_none(), "{url}");
        }
    }

    #[test]
    fn a_forge_is_one_place_over_http_and_ssh() {
        let own = Address::parse("git.example.com:3000/team").unwrap();
        assert!(same_place(&own, &address_of("ssh://git@git.example.com:2222/team/app").unwrap()));
        assert!(!same_place(&own, &address_of("https://git.example.com:3001/team/app").unwrap()));
        assert!(!same_place(&own, &address_of("git@evil.test:team/app").unwrap()));
    }

    #[test]
    fn entries_are_added_behind_those_that_are_there() {
        let mut environment = configuration(&[("a.b".into(), "1".into())]);
        extend_configuration(&mut environment, &[("c.d".into(), "2".into())]);
        assert_eq!(environment["GIT_CONFIG_COUNT"].expose(), "2");
        assert_eq!(environment["GIT_CONFIG_KEY_1"].expose(), "c.d");
    }
}
