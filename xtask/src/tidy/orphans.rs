//! No file is forgotten: each is a crate's root or a module of the file above it.
//!
//! A test file that nobody declared would look like a test and never run. One test binary per
//! crate, since each links the whole crate again.

use std::collections::BTreeMap;

use super::sources::{self, Source};

fn violations(sources: &[Source]) -> Vec<String> {
    let texts: BTreeMap<&str, &str> =
        sources.iter().map(|source| (source.path.as_str(), source.text.as_str())).collect();
    let mut found: Vec<String> =
        sources.iter().filter_map(|source| forgotten(source, &texts)).collect();
    found.extend(second_test_binaries(sources));
    found
}

/// Whether cargo finds the file by itself: a library, a program, an example, a test binary.
fn is_root(source: &Source) -> bool {
    let is_in_folder_of_roots = ["/tests", "/examples"]
        .iter()
        .filter_map(|folder| source.folder().strip_suffix(folder))
        .any(|package| !package.ends_with("/src") && !package.contains("/src/"));
    is_in_folder_of_roots || ["lib.rs", "main.rs", "build.rs"].contains(&source.name())
}

fn forgotten(source: &Source, texts: &BTreeMap<&str, &str>) -> Option<String> {
    if is_root(source) {
        return None;
    }
    let (stem, folder) = if source.name() == "mod.rs" {
        let (folder, stem) = source.folder().rsplit_once('/')?;
        (stem, folder)
    } else {
        (source.name().strip_suffix(".rs")?, source.folder())
    };
    let parents = ["mod.rs", "lib.rs", "main.rs"].map(|name| format!("{folder}/{name}"));
    let declaration = format!("mod {stem};");
    if texts.iter().any(|(path, text)| names_by_path(path, text, &source.path)) {
        return None;
    }
    let is_declared = parents.iter().filter_map(|parent| texts.get(parent.as_str())).any(|text| {
        text.lines().any(|line| {
            line.trim_start_matches("pub(crate) ").trim_start_matches("pub ") == declaration
                || line.trim_start_matches("pub(super) ") == declaration
        })
    });
    (!is_declared).then(|| format!("{}: nobody declares `{declaration}`", source.path))
}

/// Whether the file at `path` has a `#[path = "…"]` that leads to `wanted`.
fn names_by_path(path: &str, text: &str, wanted: &str) -> bool {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let relative = wanted.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
    relative.is_some_and(|relative| text.contains(&format!("\n#[path = \"{relative}\"]\n")))
}

/// Test binaries beside the first one of a crate.
fn second_test_binaries(sources: &[Source]) -> Vec<String> {
    let mut binaries: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for source in sources {
        let Some((package, rest)) = source.path.rsplit_once("/tests/") else { continue };
        let is_binary = !rest.contains('/') || rest.ends_with("/main.rs");
        if is_binary && !package.contains("/src") {
            binaries.entry(package).or_default().push(&source.path);
        }
    }
    binaries
        .into_values()
        .flat_map(|paths| paths.into_iter().skip(1))
        .map(|path| format!("{path}: a second test binary of its crate; make it a module"))
        .collect()
}

#[test]
fn no_file_is_forgotten() {
    super::assert_none("each file is part of its crate", &violations(&sources::rust()));
}

#[test]
fn a_file_that_nobody_declares_is_found() {
    let sources = [
        Source::new("crates/a/src/lib.rs", "pub mod b;\nmod c;\n// mod d;\n"),
        Source::new("crates/a/src/b.rs", "\n#[path = \"b/tests/mod.rs\"]\nmod tests;\n"),
        Source::new("crates/a/src/c/mod.rs", "pub(crate) mod e;\n#[cfg(test)]\nmod tests;\n"),
        Source::new("crates/a/src/c/e.rs", ""),
        Source::new("crates/a/src/c/tests.rs", ""),
        Source::new("crates/a/src/c/f.rs", ""),
        Source::new("crates/a/examples/g.rs", ""),
        Source::new("crates/a/src/d.rs", ""),
        Source::new("crates/a/src/b/tests/mod.rs", ""),
        Source::new("crates/a/src/c/f/tests/mod.rs", ""),
        Source::new("crates/a/tests/a/main.rs", "mod leases;\n"),
        Source::new("crates/a/tests/a/leases.rs", ""),
        Source::new("crates/a/tests/a/runs.rs", ""),
    ];
    assert_eq!(
        violations(&sources),
        [
            "crates/a/src/c/f.rs: nobody declares `mod f;`",
            "crates/a/src/d.rs: nobody declares `mod d;`",
            "crates/a/src/c/f/tests/mod.rs: nobody declares `mod tests;`",
            "crates/a/tests/a/runs.rs: nobody declares `mod runs;`",
        ]
    );
}

#[test]
fn a_second_test_binary_is_found() {
    let sources = [
        Source::new("crates/a/tests/a/main.rs", ""),
        Source::new("crates/a/tests/b/main.rs", ""),
        Source::new("crates/a/tests/c.rs", ""),
        Source::new("crates/b/tests/b.rs", ""),
        Source::new("tests/tests/journeys/main.rs", ""),
    ];
    assert_eq!(violations(&sources).len(), 2);
}
