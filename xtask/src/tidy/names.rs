//! Names that say nothing are banned: whatever is in such a file has a better name.

use super::sources::{self, Source};

const BANNED: &[&str] = &[
    "common",
    "helper_functions",
    "helpers",
    "manager",
    "managers",
    "misc",
    "service",
    "services",
    "shared",
    "stuff",
    "types",
    "util",
    "utilities",
    "utils",
];

/// Named after something else that has this name, with the reason.
const FIXED_ELSEWHERE: &[(&str, &str)] =
    &[("crates/cli/src/commands/connection/types.rs", "the command `keyferry connection types`")];

fn violations(source: &Source) -> Vec<String> {
    source
        .path
        .split('/')
        .map(|part| part.split('.').next().unwrap_or_default())
        .filter(|part| BANNED.contains(part))
        .map(|part| format!("{}: `{part}` says nothing", source.path))
        .collect()
}

#[test]
fn no_file_or_folder_has_a_name_that_says_nothing() {
    let mut sources = sources::rust();
    sources.retain(|source| !FIXED_ELSEWHERE.iter().any(|(path, _)| *path == source.path));
    let found: Vec<String> = sources.iter().flat_map(violations).collect();
    super::assert_none("names say what is inside", &found);
}

#[test]
fn a_banned_name_is_found_as_file_and_as_folder() {
    for path in ["a/src/util.rs", "a/common/mod.rs", "a/src/types.rs"] {
        assert_eq!(violations(&Source::new(path, "")).len(), 1, "{path}");
    }
    for path in ["a/src/service_binding.rs", "a/src/helper.rs", "a/connection_types.rs"] {
        assert_eq!(violations(&Source::new(path, "")), [""; 0], "{path}");
    }
}
