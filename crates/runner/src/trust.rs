//! Whom a job's tools trust: a connection's private certificate authority, at that connection's own
//! address and nowhere else.
//!
//! Git is told by `http.<address>.sslCAInfo`, the containers tools by a folder for each registry. A
//! certificate is no secret, but who can change it can pretend to be the service: in namespaces jobs
//! only read these files. Tools that know one list for all addresses are left with the machine's.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use keyferry_delivery::address::Address;

use crate::beneath;
use crate::job_socket::{Connection, has_images, registry_names};
use crate::workspace::{Workspace, text};

/// Where systems keep the certificates that they trust, as one file.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What a holder's tools are told, beside the files that lie in its workspace.
pub(crate) struct Trust {
    git: Vec<(String, String)>,
    unclear: Vec<String>,
}

impl Trust {
    /// Writes what the connections ask for; `bundle` is trusted at all other addresses instead of
    /// the system's.
    pub(crate) fn write(
        workspace: &Workspace,
        connections: &[Connection],
        bundle: Option<&Path>,
    ) -> io::Result<Self> {
        let mut trust = Self { git: Vec::new(), unclear: Vec::new() };
        if let Some(bundle) = bundle {
            // Not by GIT_SSL_CAINFO: that would be stronger than what is said for one address.
            trust.git.push(("http.sslCAInfo".to_owned(), text(bundle)));
        }
        let mut files = Files { folder: workspace.trust(), written: BTreeMap::new() };
        trust.write_git(connections, bundle, &mut files)?;
        trust.write_images(workspace, connections)?;
        Ok(trust)
    }

    /// Returns the entries of Git's configuration.
    pub(crate) fn git_configuration(&self) -> &[(String, String)] {
        &self.git
    }

    /// Returns where nobody is trusted because two connections contradict each other.
    pub(crate) fn unclear(&self) -> &[String] {
        &self.unclear
    }

    fn write_git(
        &mut self,
        connections: &[Connection],
        bundle: Option<&Path>,
        files: &mut Files,
    ) -> io::Result<()> {
        let mut places: BTreeMap<String, (&Address, Vec<&Connection>)> = BTreeMap::new();
        for connection in connections {
            let Some(address) = &connection.address else { continue };
            let written = address.to_string();
            if written.starts_with("https://") {
                places.entry(written).or_insert((address, Vec::new())).1.push(connection);
            }
        }
        let mut chosen = Vec::new();
        for (written, (address, sharing)) in &places {
            chosen.push((*address, written, self.choose(written, sharing)));
        }
        for (address, written, authority) in &chosen {
            let file = match authority {
                Some(pem) => files.write(pem)?,
                // What is trusted above must not be trusted here, where nobody has said so.
                None if chosen.iter().any(|(above, other, authority)| {
                    other != written && authority.is_some() && above.covers(address)
                }) =>
                {
                    usual_bundle(bundle)
                }
                None => continue,
            };
            self.git.push((format!("http.{written}.sslCAInfo"), text(&file)));
            if !address.path().is_empty() {
                // Git compares whole names: a repository's own address ends so, as often as not.
                self.git.push((format!("http.{written}.git.sslCAInfo"), text(&file)));
            }
        }
        Ok(())
    }

    /// Writes what podman, buildah and skopeo read: a folder for each registry, below the home. They
    /// trust it beside the system's, for that registry only.
    fn write_images(
        &mut self,
        workspace: &Workspace,
        connections: &[Connection],
    ) -> io::Result<()> {
        let mut hosts: BTreeMap<String, Vec<&Connection>> = BTreeMap::new();
        for connection in connections.iter().filter(|one| has_images(&one.kind)) {
            // One of Docker Hub's names is an address, and a name of dots would lead elsewhere.
            let names = registry_names(connection).into_iter();
            for name in names.filter(|name| !name.contains('/') && !name.starts_with('.')) {
                hosts.entry(name).or_default().push(connection);
            }
        }
        let root = workspace.trust().join("certs.d");
        for (host, mut sharing) in hosts {
            // As for the login: a registry's own connection goes before a forge's.
            let own = |one: &&Connection| one.kind == "private_docker_registry";
            if sharing.iter().any(own) {
                sharing.retain(own);
            }
            let Some(pem) = self.choose(&host, &sharing) else { continue };
            // Tools look for the name as it is written, and the usual port may be written.
            let with_port = (!has_port(&host)).then(|| format!("{host}:443"));
            for name in std::iter::once(&host).chain(&with_port) {
                beneath::make_folder(&root.join(name))?;
                beneath::write_file(&root.join(name).join("ca.crt"), pem.as_bytes())?;
            }
        }
        if root.is_dir() {
            workspace.show_registry_certificates(&root)?;
        }
        Ok(())
    }

    /// Returns the authority that all connections to a place name; none when they differ, since what
    /// one of them trusts is not for the other.
    fn choose(&mut self, place: &str, sharing: &[&Connection]) -> Option<String> {
        let named: BTreeSet<Option<&str>> =
            sharing.iter().map(|one| one.ca_certificate.as_deref()).collect();
        if named.len() > 1 {
            let ids: Vec<String> = sharing.iter().map(|one| format!("`{}`", one.id)).collect();
            self.unclear.push(format!(
                "the connections {} are all for {place} and do not name the same CA certificate; \
                 none of them is trusted there",
                ids.join(", ")
            ));
            return None;
        }
        named.into_iter().next().flatten().map(str::to_owned)
    }
}

/// One file for each authority, however many connections name it.
struct Files {
    folder: PathBuf,
    written: BTreeMap<String, PathBuf>,
}

impl Files {
    fn write(&mut self, pem: &str) -> io::Result<PathBuf> {
        if let Some(path) = self.written.get(pem) {
            return Ok(path.clone());
        }
        let path = self.folder.join(format!("{}.pem", self.written.len() + 1));
        beneath::write_file(&path, pem.as_bytes())?;
        self.written.insert(pem.to_owned(), path.clone());
        Ok(path)
    }
}

/// Tells whether a registry's name has a port; an IPv6 address in brackets has colons of its own.
fn has_port(host: &str) -> bool {
    host.rsplit(']').next().is_some_and(|rest| rest.contains(':'))
}

/// Returns what is trusted where no connection says otherwise; where that is not known, nothing is.
fn usual_bundle(bundle: Option<&Path>) -> PathBuf {
    let system = SYSTEM_BUNDLES.iter().map(Path::new).find(|path| path.is_file());
    bundle.or(system).unwrap_or(Path::new("/dev/null")).to_path_buf()
}

#[cfg(test)]
mod tests {
    use keyferry_domain::run::Isolation;

    use super::*;
    use crate::settings::Settings;

    fn connection(id: &str, kind: &str, address: &str, authority: &str) -> Connection {
        Connection {
            id: id.parse().unwrap(),
            kind: kind.to_owned(),
            address: Some(Address::parse(address).unwrap()),
            ca_certificate: (!authority.is_empty()).then(|| authority.to_owned()),
        }
    }

    struct Written {
        _folder: tempfile::TempDir,
        workspace: Workspace,
        trust: Trust,
    }

    impl Written {
        fn new(connections: &[Connection], bundle: Option<&Path>) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let settings = Settings::new(folder.path().join("work"), "/usr/bin/true".into());
            let workspace = Workspace::create(&settings, "job", Isolation::Namespaces).unwrap();
            let trust = Trust::write(&workspace, connections, bundle).unwrap();
            Self { _folder: folder, workspace, trust }
        }

        /// What Git is told for an address, read from the file.
        fn git(&self, key: &str) -> Option<String> {
            let found = self.trust.git.iter().find(|(name, _)| name == key)?;
            Some(std::fs::read_to_string(&found.1).unwrap_or_else(|_| found.1.clone()))
        }

        fn images(&self, host: &str) -> Option<String> {
            let home = self.workspace.environment()["HOME"].expose().clone();
            let root = Path::new(&home).join(".config/containers/certs.d");
            std::fs::read_to_string(root.join(host).join("ca.crt")).ok()
        }
    }

    #[test]
    fn an_authority_is_trusted_at_its_connections_address_in_every_spelling() {
        let written = Written::new(
            &[
                connection("one", "git", "https://git.example.com:8443/team/app", "ONE"),
                connection("two", "gitea", "https://forge.example.com", "TWO"),
                connection("three", "private_docker_registry", "images.example.com", "THREE"),
                connection("four", "private_docker_registry", "[::1]:5000", "FOUR"),
            ],
            None,
        );
        let one = "http.https://git.example.com:8443/team/app";
        assert_eq!(written.git(&format!("{one}.sslCAInfo")).unwrap(), "ONE");
        assert_eq!(written.git(&format!("{one}.git.sslCAInfo")).unwrap(), "ONE");
        assert_eq!(written.git("http.https://forge.example.com.sslCAInfo").unwrap(), "TWO");
        assert_eq!(written.trust.git.len(), 3, "{:?}", written.trust.git);
        for (host, authority) in [
            ("forge.example.com", "TWO"),
            ("images.example.com", "THREE"),
            ("images.example.com:443", "THREE"),
            ("[::1]:5000", "FOUR"),
        ] {
            assert_eq!(written.images(host).as_deref(), Some(authority), "{host}");
        }
        for host in ["git.example.com:8443", "images.example.com:5000", "[::1]", "[::1]:5000:443"] {
            assert_eq!(written.images(host), None, "{host}");
        }
        assert!(written.trust.unclear().is_empty());
    }

    #[test]
    fn places_without_tls_and_connections_without_an_authority_are_told_nothing() {
        let written = Written::new(
            &[
                connection("one", "git", "http://git.example.com", "ONE"),
                connection("two", "git", "ssh://git.example.com", "TWO"),
                connection("three", "gitea", "https://forge.example.com", ""),
                connection("dots", "private_docker_registry", "..", "DOTS"),
            ],
            None,
        );
        assert!(written.trust.git.is_empty(), "{:?}", written.trust.git);
        assert_eq!(written.images("forge.example.com"), None);
        assert!(!written.workspace.trust().join("ca.crt").exists());
    }

    #[test]
    fn what_is_trusted_above_is_not_trusted_below_where_another_connection_is() {
        let bundle = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(bundle.path(), "USUAL").unwrap();
        let connections = [
            connection("all", "git", "https://git.example.com", "ALL"),
            connection("team", "git", "https://git.example.com/team", "TEAM"),
            connection("open", "git", "https://git.example.com/open", ""),
            connection("beside", "git", "https://git.example.com:8443/open", ""),
        ];
        let written = Written::new(&connections, Some(bundle.path()));
        let at =
            |place: &str| written.git(&format!("http.https://git.example.com{place}.sslCAInfo"));
        assert_eq!(at("").unwrap(), "ALL");
        assert_eq!(at("/team").unwrap(), "TEAM");
        assert_eq!(at("/open").unwrap(), "USUAL");
        assert_eq!(at(":8443/open"), None);
        assert_eq!(written.git("http.sslCAInfo").unwrap(), "USUAL");
        // Where nobody knows what is usual, nothing is trusted.
        let written = Written::new(&connections, None);
        let open = written.git("http.https://git.example.com/open.sslCAInfo").unwrap();
        assert_ne!(open, "ALL");
    }

    #[test]
    fn connections_that_contradict_each_other_are_not_trusted_and_named() {
        let written = Written::new(
            &[
                connection("one", "git", "https://git.example.com", "ONE"),
                connection("two", "git", "https://git.example.com", "TWO"),
                connection("three", "private_docker_registry", "images.example.com", "THREE"),
                connection("four", "private_docker_registry", "images.example.com", ""),
                connection("five", "private_docker_registry", "forge.example.com", "FIVE"),
                connection("six", "gitea", "https://forge.example.com", "SIX"),
            ],
            None,
        );
        assert_eq!(written.git("http.https://git.example.com.sslCAInfo"), None);
        assert_eq!(written.images("images.example.com"), None);
        // The registry's own connection is the one that is asked there, and the forge's for Git.
        assert_eq!(written.images("forge.example.com").unwrap(), "FIVE");
        assert_eq!(written.git("http.https://forge.example.com.sslCAInfo").unwrap(), "SIX");
        let unclear = written.trust.unclear().join("\n");
        assert_eq!(written.trust.unclear().len(), 2, "{unclear}");
        assert!(unclear.contains("`one`, `two`") && unclear.contains("images.example.com"));
    }
}
