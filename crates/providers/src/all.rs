//! The list of all connection types. A new one adds its folder and one line here.

use crate::generic::GENERIC;
use crate::git::GIT;
use crate::gitea::GITEA;
use crate::private_docker_registry::PRIVATE_DOCKER_REGISTRY;
use crate::provider::Provider;

/// Every connection type, in the order in which they are offered.
pub const ALL: &[&dyn Provider] = &[&GIT, &GITEA, &PRIVATE_DOCKER_REGISTRY, &GENERIC];

/// Finds a connection type by its name or an alias, without regard to case.
pub fn find(name: &str) -> Option<&'static dyn Provider> {
    ALL.iter().copied().find(|provider| {
        let kind = provider.kind();
        kind.id.eq_ignore_ascii_case(name)
            || kind.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_and_alias_means_one_type() {
        let mut names = BTreeSet::new();
        for kind in ALL.iter().map(|provider| provider.kind()) {
            for name in std::iter::once(&kind.id).chain(kind.aliases) {
                assert!(names.insert(name.to_lowercase()), "{name} is there twice");
                assert_eq!(find(&name.to_uppercase()).map(|found| found.kind().id), Some(kind.id));
            }
        }
    }

    #[test]
    fn unknown_names_are_not_found() {
        for name in ["", "git ", "svn", "gi"] {
            assert!(find(name).is_none(), "{name:?}");
        }
    }

    #[test]
    fn settings_and_credentials_are_declared_in_full() {
        for kind in ALL.iter().map(|provider| provider.kind()) {
            assert!(!kind.title.is_empty() && !kind.summary.is_empty(), "{}", kind.id);
            let mut names = BTreeSet::new();
            for field in kind.settings {
                assert!(names.insert(field.name), "{}: {} is there twice", kind.id, field.name);
                assert!(!field.is_secret, "{}: settings are shown to everybody", field.name);
                assert!(!field.help.ends_with('.'), "{}: {}", kind.id, field.help);
            }
        }
    }
}
