//! What a holder may have through one connection, and whether an operation is within it.

use keyferry_domain::operation::{Access, Operation, RepositoryPath};
use keyferry_domain::safe_url::SafeUrl;
use keyferry_domain::{Error, Result};
use keyferry_pipeline::Purpose;
use keyferry_providers::Provider;
use keyferry_providers::provider::{Format, Settings};
use keyferry_store::connections::ConnectionRecord;

/// One right of a holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Right {
    /// Everything that the connection gives.
    Everything,
    /// Git on one repository.
    Repository { path: Option<RepositoryPath>, access: Access },
    /// Images.
    Images,
}

impl Right {
    /// Returns the right that a place of a pipeline gives; `endpoint` is its source's address.
    pub(super) fn of_place(
        purpose: Purpose,
        endpoint: Option<&str>,
        connection: &ConnectionRecord,
        provider: &dyn Provider,
    ) -> Self {
        let path = || endpoint.and_then(|url| repository_of(url, provider, &connection.settings));
        match purpose {
            Purpose::Clone => Self::Repository { path: path(), access: Access::Read },
            Purpose::ChangeRepository => Self::Repository { path: path(), access: Access::Write },
            Purpose::RegistryLogin => Self::Images,
            Purpose::Command => Self::Everything,
        }
    }

    fn covers(&self, operation: &Operation) -> bool {
        match (self, operation) {
            (Self::Everything, _) | (Self::Images, Operation::Registry { .. }) => true,
            (Self::Repository { path, access }, Operation::Git { repository, access: asked }) => {
                let is_enough = *access == Access::Write || *asked == Access::Read;
                is_enough && path.is_some() && path == repository
            }
            _ => false,
        }
    }
}

/// What a holder may have through one connection.
#[derive(Clone)]
pub(crate) struct Reach {
    /// The connection.
    pub(crate) connection: ConnectionRecord,
    /// What its type can do.
    pub(crate) provider: &'static dyn Provider,
    /// The credential's current version.
    pub(crate) credential_version: i64,
    /// The rights; they add up.
    pub(crate) rights: Vec<Right>,
}

impl Reach {
    /// Returns when the operation is within the rights.
    pub(super) fn check(&self, operation: &Operation) -> Result<()> {
        if self.rights.iter().any(|right| right.covers(operation)) {
            return Ok(());
        }
        let allowed: Vec<String> = self
            .rights
            .iter()
            .map(|right| match right {
                Right::Everything => "everything".to_owned(),
                Right::Images => "images".to_owned(),
                Right::Repository { path: Some(path), access } => format!("git {access} {path}"),
                Right::Repository { path: None, .. } => {
                    "a repository that is not below the connection's address".to_owned()
                }
            })
            .collect();
        Err(Error::denied(
            "operation_not_bound",
            format!("`{operation}` is more than this job's binding to the connection allows"),
        )
        .hint(format!(
            "the binding allows: {}; name the connection under `connections:` of a step to use it \
             for more",
            allowed.join(", ")
        )))
    }
}

/// Returns the address below which a connection answers: `https://git.example.com:3000/team`, or
/// without a scheme where any will do; `None` for types without a service.
pub(crate) fn address_of(provider: &dyn Provider, settings: &Settings) -> Option<String> {
    let field = provider.kind().settings.iter().find(|field| {
        let is_address = matches!(
            field.format,
            Format::HttpUrl | Format::GitUrl | Format::Authority | Format::RegistryAddress
        );
        field.is_required && is_address
    })?;
    let text = settings.get(field.name)?;
    let has_scheme = text.contains("://");
    match field.format {
        // Images are named, and helpers asked, by the host alone.
        Format::RegistryAddress if has_scheme => {
            Some(SafeUrl::parse_git(text).ok()?.authority().to_ascii_lowercase())
        }
        Format::Authority | Format::RegistryAddress if !has_scheme => {
            Some(text.trim_end_matches('/').to_ascii_lowercase())
        }
        _ => SafeUrl::parse_git(text).ok().map(|url| place_of(&url)),
    }
}

/// Returns the certificates, in PEM, that a connection's service is trusted by: its own setting,
/// which every type that speaks TLS calls the same.
pub(crate) fn ca_certificate_of(settings: &Settings) -> Option<String> {
    settings.get("ca_certificate").filter(|text| !text.trim().is_empty()).cloned()
}

/// Returns `scheme://host[:port]/path` of an address, without user, `.git`, and slashes at the end.
/// The scheme counts: what is for `https` is never sent over `http`.
fn place_of(url: &SafeUrl) -> String {
    let path = url.as_url().path().trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let place = format!("{}://{}/{path}", url.as_url().scheme(), url.authority());
    place.trim_end_matches('/').to_owned()
}

/// Returns the repository that an address names, below the connection's own address.
pub(crate) fn repository_of(
    endpoint: &str,
    provider: &dyn Provider,
    settings: &Settings,
) -> Option<RepositoryPath> {
    let base = address_of(provider, settings)?;
    let place = place_of(&SafeUrl::parse_git(endpoint).ok()?);
    if place == base {
        // The connection is for this one repository; its path is what follows the host.
        return place.splitn(4, '/').nth(3)?.parse().ok();
    }
    place.strip_prefix(&base)?.strip_prefix('/')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(base: &str, endpoint: &str) -> Option<String> {
        let provider = keyferry_providers::find("git").unwrap();
        let settings = Settings::from([("url".to_owned(), base.to_owned())]);
        repository_of(endpoint, provider, &settings).map(|path| path.to_string())
    }

    #[test]
    fn a_repository_is_what_follows_the_connections_address() {
        let base = "https://git.example.com/git";
        assert_eq!(
            repository(base, "https://git.example.com/git/team/app.git").unwrap(),
            "team/app"
        );
        assert_eq!(repository("https://h/team/app.git", "https://h/team/app").unwrap(), "team/app");
        assert_eq!(repository("ssh://git@h", "git@h:team/app.git").unwrap(), "team/app");
    }

    #[test]
    fn other_hosts_ports_schemes_and_neighbouring_paths_are_not_covered() {
        let base = "https://git.example.com/git";
        for endpoint in [
            "https://git.example.com.evil.test/git/team/app",
            "https://git.example.com:444/git/team/app",
            "http://git.example.com/git/team/app",
            "https://git.example.com/git2/team/app",
            "https://git.example.com/team/app",
            "https://git.example.com/git/../team/app",
            "ssh://git@git.example.com/git/team/app",
            "nonsense",
        ] {
            assert_eq!(repository(base, endpoint), None, "{endpoint}");
        }
    }

    #[test]
    fn a_registry_answers_for_the_host_that_images_are_named_by() {
        let provider = keyferry_providers::find("private_docker_registry").unwrap();
        for (setting, address) in [
            ("registry.example.com", "registry.example.com"),
            ("Registry.example.com:5000", "registry.example.com:5000"),
            ("http://localhost:5000", "localhost:5000"),
            ("https://registry.example.com/", "registry.example.com"),
        ] {
            let settings = Settings::from([("registry".to_owned(), setting.to_owned())]);
            assert_eq!(address_of(provider, &settings).as_deref(), Some(address), "{setting}");
        }
    }

    #[test]
    fn a_source_gives_its_own_repository_and_not_more_than_was_bound() {
        let path = |text: &str| Some(text.parse().unwrap());
        let read = Right::Repository { path: path("team/app"), access: Access::Read };
        let git = |repository, access| Operation::Git { repository, access };
        assert!(read.covers(&git(path("team/app"), Access::Read)));
        assert!(!read.covers(&git(path("team/app"), Access::Write)));
        assert!(!read.covers(&git(path("team/other"), Access::Read)));
        assert!(!read.covers(&git(None, Access::Read)));
        assert!(!read.covers(&Operation::Material));
        let nowhere = Right::Repository { path: None, access: Access::Write };
        assert!(!nowhere.covers(&git(None, Access::Read)));
        let images = Operation::Registry { repository: None, access: Access::Write };
        assert!(Right::Images.covers(&images));
        assert!(!Right::Images.covers(&Operation::Material));
        assert!(Right::Everything.covers(&Operation::Material));
    }
}
