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
