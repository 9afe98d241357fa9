//! How Git gets into a repository: through the helper over HTTP, with a key over SSH.
//!
//! Everything goes through environment variables (`GIT_CONFIG_COUNT`), so that no file in a checkout
//! changes and a repository's own configuration is never trusted for it.

use std::collections::BTreeMap;

use keyferry_delivery::address::Address;
use keyferry_delivery::socket::Refusal;
use keyferry_delivery::ssh;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::material::Material;
use keyferry_domain::operation::Access;
use keyferry_domain::secret::SecretString;

use crate::beneath;
use crate::job_socket::Desk;
use crate::workspace::{Workspace, text};

/// Variables for every process of a job: our helper and no other, no prompts, no system settings.
pub(crate) fn base_environment(
    workspace: &Workspace,
    helper: &str,
) -> BTreeMap<String, SecretString> {
    let ssh_config = workspace.private().join("ssh_config");
    let entries = [
        // An empty one resets the list: whoever came before must not answer first.
        ("credential.helper".to_owned(), String::new()),
        ("credential.helper".to_owned(), helper.to_owned()),
        ("credential.useHttpPath".to_owned(), "true".to_owned()),
        // Runs any command that a submodule's address names.
        ("protocol.ext.allow".to_owned(), "never".to_owned()),
    ];
    let mut environment = configuration(&entries);
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

/// The keys that a job holds as files, and the addresses that lead to them.
pub(crate) struct GitAccess {
    identities: Vec<ssh::Identity>,
    next: usize,
    /// `url.<new>.insteadOf = <endpoint>`, by endpoint.
    rewrites: BTreeMap<String, String>,
}

impl GitAccess {
    /// Starts without any key, and writes the configuration that says so.
    pub(crate) fn start(workspace: &Workspace) -> std::io::Result<Self> {
        let access = Self { identities: Vec::new(), next: 1, rewrites: BTreeMap::new() };
        access.write_configuration(workspace)?;
        Ok(access)
    }

    fn write_configuration(&self, workspace: &Workspace) -> std::io::Result<()> {
        let text = ssh::config_file(&self.identities).map_err(std::io::Error::other)?;
        beneath::write_file(&workspace.private().join("ssh_config"), text.as_bytes())
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
        let refuse = |message: String| Refusal {
            code: "unusable_material".to_owned(),
            message: format!("connection `{connection}`: {message}"),
            hint: None,
        };
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
        let Material::SshKey { username, private_key, known_hosts, url } = &held.material else {
            return Ok(());
        };
        let url = url.clone().unwrap_or_else(|| endpoint.to_owned());
        let (host, path) = split_ssh(&url).ok_or_else(|| {
            refuse("it has a key for SSH, and the address is not one of SSH".to_owned())
        })?;
        let alias = format!("keyferry-{}", self.next);
        self.next += 1;
        let key_path = workspace.private().join(format!("{alias}.key"));
        let known_hosts_path = workspace.private().join(format!("{alias}.hosts"));
        let key = SecretString::from(
            ssh::key_file(private_key.expose())
                .map_err(|error| refuse(format!("failed to {error}")))?,
        );
        let hosts = ssh::known_hosts_file(known_hosts)
            .map_err(|error| refuse(format!("failed to {error}")))?;
        let write = |path, bytes: &[u8]| {
            beneath::write_file(path, bytes)
                .map_err(|error| refuse(format!("failed to write a file: {error}")))
        };
        write(&key_path, key.expose().as_bytes())?;
        write(&known_hosts_path, hosts.as_bytes())?;
        let identity = ssh::Identity {
            alias: alias.clone(),
            host,
            username: username.clone(),
            key_path: text(&key_path),
            known_hosts_path: text(&known_hosts_path),
        };
        self.identities.push(identity);
        self.rewrites.insert(endpoint.to_owned(), format!("ssh://{alias}/{path}"));
        self.write_configuration(workspace)
            .map_err(|error| refuse(format!("failed to write SSH's configuration: {error}")))
    }

    /// Remembers which keys there are, before a step that gets more.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { count: self.identities.len(), rewrites: self.rewrites.clone() }
    }

    /// Takes away the keys that came since then: the right to push ends with the step that needed it.
    pub(crate) fn restore(
        &mut self,
        workspace: &Workspace,
        snapshot: Snapshot,
    ) -> std::io::Result<()> {
        if self.identities.len() == snapshot.count {
            return Ok(());
        }
        for identity in self.identities.split_off(snapshot.count) {
            std::fs::remove_file(&identity.key_path)?;
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
