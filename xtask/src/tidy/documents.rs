//! Documents point at what exists: links, and paths in backticks.

use std::path::Path;

use super::sources::{self, Source};
use crate::workspace;

/// Where a path in backticks starts, so that it is not some other text with a slash.
const ROOTS: &[&str] =
    &["crates/", "docs/", "examples/", "policies/", "testkit/", "tests/", "xtask/", ".ci/"];

/// The paths that a document names, from the workspace's root.
fn named(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_code_block = false;
    for line in source.text.lines() {
        if line.trim_start().starts_with("```") {
            is_code_block = !is_code_block;
            continue;
        }
        if is_code_block {
            continue;
        }
        found.extend(line.split('`').skip(1).step_by(2).filter_map(|text| {
            let is_path = ROOTS.iter().any(|root| text.starts_with(root));
            let is_pattern = text.contains(['<', '*', '{', '…', ' ', '$']);
            (is_path && !is_pattern).then(|| text.split(':').next().unwrap_or(text).to_owned())
        }));
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split([')', ' ']).next().unwrap_or_default();
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let folder = source.folder();
            found.push(match target.strip_prefix('/') {
                Some(absolute) => absolute.to_owned(),
                None if folder.is_empty() => target.to_owned(),
                None => format!("{folder}/{target}"),
            });
        }
    }
    found
}

fn violations(source: &Source, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    named(source)
        .into_iter()
        .filter(|path| !exists(Path::new(path)))
        .map(|path| format!("{}: there is no `{path}`", source.path))
        .collect()
}

#[test]
fn documents_point_at_what_exists() {
    let root = workspace::root();
    let found: Vec<String> = sources::all(&[".md"])
        .iter()
        .flat_map(|source| violations(source, |path| root.join(path).exists()))
        .collect();
    super::assert_none("documents point at what exists", &found);
}

#[test]
fn paths_are_read_from_links_and_backticks() {
    let text = "See [a](../b.md#c), [web](https://example.com/x), `crates/a/src/lib.rs:12` and\n\
        `crates/<type>/x`, `application/json`, [top](#top), [root](/LICENSE).\n\
        ```sh\ncat `docs/none.md` [x](none)\n```\n";
    let source = Source::new("docs/guides/a.md", text);
    assert_eq!(named(&source), ["crates/a/src/lib.rs", "docs/guides/../b.md", "LICENSE"]);
}

#[test]
fn a_path_to_nowhere_is_found() {
    let source = Source::new("README.md", "[a](docs/a.md) `crates/b`");
    assert_eq!(violations(&source, |_| false).len(), 2);
    assert_eq!(violations(&source, |path| path == Path::new("crates/b")).len(), 1);
}
