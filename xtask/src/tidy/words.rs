//! Words that have no place here: marks of unfinished work, folders of one machine in documents,
//! and names of types that are synonyms of the glossary's words.

use super::sources::{self, Source};

/// Marks of unfinished work. Put together here, so that this file is not what it finds.
fn marks() -> [String; 3] {
    ["TO DO", "FIX ME", "XX X"].map(|mark| mark.replace(' ', ""))
}

/// Folders of somebody's own machine, which a document must not send its reader to.
fn folders() -> [String; 2] {
    ["home", "root"].map(|name| format!("/{name}/"))
}

fn violations(source: &Source) -> Vec<String> {
    let mut banned = marks().to_vec();
    if std::path::Path::new(&source.path).extension().is_some_and(|ending| ending == "md") {
        banned.extend(folders());
    }
    let mut found = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        let words = banned.iter().filter(|word| stands_alone(line, word));
        found.extend(words.map(|word| format!("{}:{}: `{word}`", source.path, number + 1)));
    }
    found
}

/// Whether `word` is in `line` and not a part of a longer word or path.
fn stands_alone(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let joins = |character: Option<char>| {
            character
                .is_some_and(|character| character.is_alphanumeric() || "}~_".contains(character))
        };
        // A folder goes on behind its slash.
        !joins(before) && (word.ends_with('/') || !joins(after))
    })
}

/// Types whose name is a word that the glossary says not to use.
fn synonyms(source: &Source, glossary: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for line in source.product_text().lines().filter(|line| !line.trim_start().starts_with("//")) {
        let mut words = line.split(|character: char| !character.is_alphanumeric());
        while let Some(word) = words.next() {
            if !["struct", "enum", "trait"].contains(&word) {
                continue;
            }
            let Some(name) = words.next() else { continue };
            if let Some((not, instead)) = glossary.iter().find(|(not, _)| not == name) {
                found.push(format!("{}: type `{not}` is called {instead} here", source.path));
            }
        }
    }
    found
}

/// Reads the table of GLOSSARY.md: each word that is not used, and the word that is.
fn glossary(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| **")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [word, _, nots] = cells[..] else { continue };
        for not in nots.split(',').map(str::trim).filter(|not| !not.is_empty()) {
            // As a type would be written: `master key` is `MasterKey`.
            let name: String = not
                .split([' ', '-'])
                .map(|part| {
                    let mut characters = part.chars();
                    characters.next().map_or_else(String::new, |first| {
                        first.to_uppercase().chain(characters).collect()
                    })
                })
                .collect();
            found.push((name, word.replace("**", "")));
        }
    }
    found
}

/// Names that another standard fixed before we did, with the reason.
const FIXED_ELSEWHERE: &[(&str, &str)] = &[
    ("Key", "YAML's word for what stands before a colon"),
    ("Principal", "Cedar's word for who asks; `crates/policy` speaks Cedar"),
    ("Workspace", "Flow's word for the folder that a job works in"),
];

#[test]
fn no_word_is_here_that_should_not_be() {
    let sources =
        sources::all(&[".rs", ".md", ".toml", ".cedar", ".sql", ".yml", ".yaml", "Makefile"]);
    let found: Vec<String> = sources.iter().flat_map(violations).collect();
    super::assert_none("unfinished work and one machine's folders stay out", &found);
}

#[test]
fn types_are_called_by_the_glossarys_words() {
    let text = std::fs::read_to_string(crate::workspace::root().join("GLOSSARY.md")).unwrap();
    let mut glossary = glossary(&text);
    assert!(glossary.len() > 5, "the glossary's table was not found");
    glossary.retain(|(not, _)| !FIXED_ELSEWHERE.iter().any(|(name, _)| name == not));
    let found: Vec<String> =
        sources::rust().iter().flat_map(|source| synonyms(source, &glossary)).collect();
    super::assert_none("one word per concept", &found);
}

#[test]
fn a_word_that_should_not_be_here_is_found() {
    let found = |path: &str, text: &str| violations(&Source::new(path, text)).len();
    for word in marks() {
        assert_eq!(found("a.rs", &format!("// {word}: later\n")), 1, "{word}");
        assert_eq!(found("a.rs", &format!("let {word}_COUNT = 1;\n")), 0, "{word}");
    }
    for folder in folders() {
        assert_eq!(found("a.md", &format!("open `{folder}me/x`\n")), 1, "{folder}");
        assert_eq!(found("a.rs", &format!("open(\"{folder}me/x\")\n")), 0, "{folder}");
        assert_eq!(found("a.md", &format!("https://example.com{folder}x\n")), 0, "{folder}");
    }
}

#[test]
fn a_synonym_is_found_as_a_types_name_only() {
    let glossary = glossary(
        "| Word | Meaning | Not |\n| --- | --- | --- |\n\
        | **Connection** | a link | endpoint, integration |\n| **Root key** | a key | master key |\n",
    );
    assert_eq!(glossary.len(), 3);
    let found = |text| synonyms(&Source::new("crates/a/src/a.rs", text), &glossary).len();
    assert_eq!(found("pub(crate) struct Endpoint {\n"), 1);
    assert_eq!(found("pub enum MasterKey<T> {\n"), 1);
    assert_eq!(found("pub struct EndpointUrl;\n    endpoint: Endpoint, // struct\n"), 0);
    assert_eq!(found("/// The struct Endpoint of others.\n"), 0);
}
