//! The files that the rules look at: everything in the checkout that people write.

use std::path::Path;

use crate::workspace;

/// Folders of what is made, downloaded or kept by tools.
const LEFT_OUT: &[&str] = &[".git", "node_modules", "target"];

/// A file, with its path from the workspace's root.
pub(super) struct Source {
    /// `crates/store/src/leases.rs`, always with `/`.
    pub(super) path: String,
    pub(super) text: String,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// The last part of the path.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The path without its last part.
    pub(super) fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// Whether the whole file is for tests.
    pub(super) fn is_test(&self) -> bool {
        let of_tests = ["testkit/", "tests/", "xtask/"];
        of_tests.iter().any(|start| self.path.starts_with(start))
            || self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
    }

    /// The text up to the unit tests at the file's end.
    pub(super) fn product_text(&self) -> &str {
        if self.is_test() {
            return "";
        }
        self.without_unit_tests()
    }

    /// The text up to the unit tests at the file's end, also of a file that is for tests.
    pub(super) fn without_unit_tests(&self) -> &str {
        self.text
            .find("\n#[cfg(test)]\nmod tests {")
            .map_or(self.text.as_str(), |end| &self.text[..end])
    }
}

/// Returns all files whose names end with one of `endings`, in order.
pub(super) fn all(endings: &[&str]) -> Vec<Source> {
    let root = workspace::root();
    let mut found = Vec::new();
    collect(&root, &root, endings, &mut found);
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(!found.is_empty(), "no file ends with {endings:?}");
    found
}

/// Returns all Rust files.
pub(super) fn rust() -> Vec<Source> {
    all(&[".rs"])
}

fn collect(root: &Path, folder: &Path, endings: &[&str], found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && !LEFT_OUT.contains(&name.as_str()) {
            collect(root, &path, endings, found);
        } else if kind.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
            let relative = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.push(Source { path: relative, text: std::fs::read_to_string(&path).unwrap() });
        }
    }
}

#[test]
fn unit_tests_are_left_out_of_the_product() {
    let source = Source::new("crates/a/src/b.rs", "fn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n");
    assert_eq!(source.product_text(), "fn a() {}\n");
    assert_eq!((source.name(), source.folder()), ("b.rs", "crates/a/src"));
    assert_eq!(Source::new("crates/a/tests/a/main.rs", "x").product_text(), "");
    assert_eq!(Source::new("crates/a/src/b/tests.rs", "x").product_text(), "");
    assert_eq!(Source::new("crates/a/src/tests_of_b.rs", "x").product_text(), "x");
}
