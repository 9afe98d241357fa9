//! Documents that are written from the code: compared by tests, rewritten by `cargo xtask generate`.

use std::path::{Path, PathBuf};

use crate::environment::variable;

/// Set by `cargo xtask generate`: tests of generated documents write instead of comparing.
pub const UPDATE_VARIABLE: &str = "UPDATE";

/// Fails the test unless the document at `path`, from the workspace's root, is `wanted`; writes it
/// in place when [`UPDATE_VARIABLE`] is set.
///
/// # Panics
///
/// When it is another text, or cannot be written.
#[track_caller]
pub fn assert_current(path: &str, wanted: &str) {
    let file = root().join(path);
    if variable(UPDATE_VARIABLE).is_some() {
        write(&file, wanted);
        return;
    }
    let present = std::fs::read_to_string(&file).unwrap_or_default();
    if let Some(line) = first_difference(&present, wanted) {
        panic!("`{path}` is stale from line {line} on; run: make generate");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).to_path_buf()
}

fn write(file: &Path, text: &str) {
    let folder = file.parent().unwrap_or(file);
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(file, text));
    assert!(written.is_ok(), "failed to write `{}`: {written:?}", file.display());
}

/// Returns the number of the first line that differs, from 1.
fn first_difference(present: &str, wanted: &str) -> Option<usize> {
    if present == wanted {
        return None;
    }
    let same = present.lines().zip(wanted.lines()).take_while(|(one, other)| one == other).count();
    Some(same + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_told() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
        assert_eq!(first_difference("", "a\n"), Some(1));
        assert_eq!(first_difference("a\n", "a"), Some(2));
    }

    #[test]
    #[should_panic(expected = "is stale from line 1 on; run: make generate")]
    fn a_document_that_is_not_there_is_stale() {
        let is_update = variable(UPDATE_VARIABLE).is_some();
        assert!(!is_update, "is stale from line 1 on; run: make generate (not seen while it runs)");
        assert_current("docs/reference/no-such-document.md", "text\n");
    }
}
