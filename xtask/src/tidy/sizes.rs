//! Files that a person can hold in mind: 500 lines of code at most.
//!
//! Unit tests at the end, comments and empty lines do not count; files of tests, which are mostly
//! tables, may have twice as many. Longer files are on a list with the lines they have; the list
//! only shrinks.

use super::sources::{self, Source};

const MOST: usize = 500;
const MOST_OF_TESTS: usize = 1_000;

/// Longer files and the lines of code they may have. Split one and take it off; add none.
const LONGER: &[(&str, usize)] = &[];

fn code_lines(source: &Source) -> usize {
    let is_code = |line: &&str| !line.is_empty() && !line.starts_with("//");
    source.without_unit_tests().lines().map(str::trim).filter(is_code).count()
}

fn violations(sources: &[Source], longer: &[(&str, usize)]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let lines = code_lines(source);
        let usual = if source.is_test() { MOST_OF_TESTS } else { MOST };
        let most = longer.iter().find(|(path, _)| *path == source.path).map(|(_, most)| *most);
        match most {
            None if lines > usual => {
                found.push(format!("{}: {lines} lines of code, more than {usual}", source.path));
            }
            Some(most) if lines > most => {
                found.push(format!("{}: grew from {most} to {lines} lines", source.path));
            }
            Some(most) if lines < most => found.push(format!(
                "{}: has {lines} lines now; {}",
                source.path,
                if lines > usual { "write that into the list" } else { "take it off the list" }
            )),
            _ => {}
        }
    }
    let is_gone = |path: &str| !sources.iter().any(|source| source.path == path);
    found.extend(
        longer
            .iter()
            .filter(|(path, _)| is_gone(path))
            .map(|(path, _)| format!("{path}: is gone; take it off the list")),
    );
    found
}

#[test]
fn no_file_is_too_long_to_read() {
    super::assert_none("files stay short", &violations(&sources::rust(), LONGER));
}

#[test]
fn the_list_of_longer_files_only_shrinks() {
    let file = |lines: usize| [Source::new("a.rs", &"let a = 1;\n".repeat(lines))];
    assert_eq!(violations(&file(500), &[]), [""; 0]);
    assert_eq!(violations(&file(501), &[]).len(), 1);
    let of_tests = |lines| [Source::new("a/tests/a/b.rs", &"let a = 1;\n".repeat(lines))];
    assert_eq!(violations(&of_tests(1_000), &[]), [""; 0]);
    assert_eq!(violations(&of_tests(1_001), &[]).len(), 1);
    assert_eq!(violations(&file(600), &[("a.rs", 600)]), [""; 0]);
    assert_eq!(violations(&file(601), &[("a.rs", 600)]).len(), 1, "grew");
    assert_eq!(violations(&file(599), &[("a.rs", 600)]).len(), 1, "shrank");
    assert_eq!(violations(&file(400), &[("a.rs", 600)]).len(), 1, "short enough");
    assert_eq!(violations(&file(1), &[("b.rs", 600)]).len(), 1, "gone");
}

#[test]
fn only_code_counts() {
    let text = "//! Doc.\n\n// Why.\nfn a() {\n    // Why.\n}\n\n#[cfg(test)]\nmod tests {\n}\n";
    assert_eq!(code_lines(&Source::new("a.rs", text)), 2);
}
