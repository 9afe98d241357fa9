//! Versions and features are written once, in the root manifest.
//!
//! Otherwise building one crate and building all would compile a dependency twice, with other
//! features each.

use super::sources::{self, Source};

fn violations(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_dependencies = false;
    for line in source.text.lines().map(str::trim) {
        if line.starts_with('[') {
            is_dependencies = line.ends_with("dependencies]");
            if !is_dependencies && line.contains("dependencies.") {
                found.push(format!("{}: `{line}`: one line per dependency", source.path));
            }
            continue;
        }
        if !is_dependencies || line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else { continue };
        let is_inherited =
            name.trim().ends_with(".workspace") || value.contains("workspace = true");
        let is_ours = name.trim().starts_with("keyferry-");
        if !is_inherited || (value.contains("features") && !is_ours) {
            found.push(format!("{}: `{line}`: version and features go to the root", source.path));
        }
    }
    found
}

fn members() -> Vec<Source> {
    let mut manifests = sources::all(&["Cargo.toml"]);
    manifests.retain(|source| source.path != "Cargo.toml");
    manifests
}

#[test]
fn versions_and_features_are_in_the_root_only() {
    let found: Vec<String> = members().iter().flat_map(violations).collect();
    super::assert_none("a crate's manifest inherits its dependencies", &found);
}

#[test]
fn every_crate_inherits_the_lints_and_stays_unpublished() {
    let lacks = |source: &Source, line: &str| {
        (!source.text.contains(line)).then(|| format!("{}: without `{line}`", source.path))
    };
    let found: Vec<String> = members()
        .iter()
        .flat_map(|source| {
            [lacks(source, "[lints]\nworkspace = true"), lacks(source, "publish.workspace = true")]
        })
        .flatten()
        .collect();
    super::assert_none("every crate inherits the lints", &found);
}

#[test]
fn a_version_or_feature_in_a_crate_is_found() {
    let found = |line: &str| {
        let text =
            format!("[package]\nversion = \"1\"\n[dev-dependencies]\n{line}\n[lints]\na = 1\n");
        violations(&Source::new("crates/a/Cargo.toml", &text)).len()
    };
    assert_eq!(found("serde = \"1\""), 1);
    assert_eq!(found("serde = { version = \"1\" }"), 1);
    assert_eq!(found("serde = { workspace = true, features = [\"rc\"] }"), 1);
    assert_eq!(found("[dependencies.serde]\nversion = \"1\""), 1);
    assert_eq!(found("serde.workspace = true"), 0);
    assert_eq!(found("serde = { workspace = true, optional = true }"), 0);
    assert_eq!(found("keyferry-api = { workspace = true, features = [\"client\"] }"), 0);
}
