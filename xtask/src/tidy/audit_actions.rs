//! Every action of an audit event is in docs/reference/audit-events.md, and no other is.
//!
//! Actions are read where events are made: the first text given to the constructors of the broker's
//! `Event`. What policy refuses is recorded under the policy's own names, which
//! docs/reference/permissions.md lists.

use std::collections::BTreeSet;

use super::sources::{self, Source};
use crate::workspace;

const DOCUMENT: &str = "docs/reference/audit-events.md";

/// What is in front of an action, once white space is left out.
const MAKERS: &[&str] = &["Event::done(", "Event::refused(", "Event::failed("];

/// The action that follows `text`, if one does.
fn action(text: &str) -> Option<&str> {
    let (word, _) = text.trim_start().strip_prefix('"')?.split_once('"')?;
    let is_word = |word: &str| {
        !word.is_empty() && word.chars().all(|one| one.is_ascii_lowercase() || one == '_')
    };
    let (noun, verb) = word.split_once('.')?;
    (is_word(noun) && is_word(verb)).then_some(word)
}

fn actions(source: &Source) -> BTreeSet<String> {
    let text = source.product_text();
    MAKERS
        .iter()
        .flat_map(|maker| text.match_indices(maker).map(|(at, _)| &text[at + maker.len()..]))
        .filter_map(action)
        .map(str::to_owned)
        .collect()
}

/// The actions that the document has a line of its last table for.
fn documented(text: &str) -> BTreeSet<String> {
    text.split("\n## Actions\n")
        .nth(1)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_audit_action_is_documented() {
    let sources = sources::rust();
    let broker = || sources.iter().filter(|source| source.path.starts_with("crates/broker/src/"));
    let made: BTreeSet<String> = broker().flat_map(actions).collect();
    assert!(made.contains("lease.issue"), "the actions are not found any more: {made:?}");
    let path = workspace::root().join(DOCUMENT);
    let documented = documented(&std::fs::read_to_string(path).unwrap_or_default());
    let missing =
        made.difference(&documented).map(|action| format!("`{action}` is not in {DOCUMENT}"));
    // Some are chosen in one line and recorded in another, so the text alone has to be there.
    let is_there = |action: &&String| {
        broker().any(|source| source.product_text().contains(&format!("\"{action}\"")))
    };
    let gone = documented
        .iter()
        .filter(|action| !is_there(action))
        .map(|action| format!("`{action}` is in {DOCUMENT} only"));
    super::assert_none("audit actions", &missing.chain(gone).collect::<Vec<_>>());
}

#[test]
fn actions_are_read_where_events_are_made() {
    let text = r#"
        let event = Event::done("lease.end", target);
        Event::refused(
            "credential.delete",
            target,
        );
        Event::failed(action, target, "not.this");
        Event::done("not an action", target);
        other("token.create");
"#;
    let found = actions(&Source::new("crates/broker/src/a.rs", text));
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["credential.delete", "lease.end"]);
}

#[test]
fn only_the_table_of_actions_counts() {
    let text = "| `sequence` | x |\n\n## Actions\n\n| `lease.end` | y |\n";
    assert_eq!(documented(text).into_iter().collect::<Vec<_>>(), ["lease.end"]);
    assert_eq!(documented("| `lease.end` | y |\n").len(), 0);
}
