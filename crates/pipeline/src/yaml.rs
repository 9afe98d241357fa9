//! YAML text → a tree of nodes that know where they stand. The only place that knows the parser.
//!
//! Scalars stay text as written: `1.10` is not 1.1, and `on` is not true. What a text means is
//! decided by who reads it; see `reader`.

use std::cell::Cell;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Location, NonFiniteFloatPolicy, Spanned};

use crate::diagnostic::{Diagnostic, Position, code};

/// The longest text of a pipeline, in bytes. Flow's own limit is not known; the largest public files
/// are under 100 KiB.
pub const MAXIMUM_BYTES: usize = 512 * 1024;

/// The most text a document may have once aliases are replaced by what they stand for.
const MAXIMUM_EXPANDED_BYTES: usize = 4 * 1024 * 1024;

thread_local! {
    /// How much text the document being read has so far. The parser's budget counts what an anchor
    /// holds, not how often it is used, and offers no place to carry a counter of our own.
    static EXPANDED_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// Counts text of the document, and fails when there is more than a pipeline may have.
fn count<E: serde::de::Error>(text: &str) -> Result<(), E> {
    let total = EXPANDED_BYTES.get().saturating_add(text.len());
    EXPANDED_BYTES.set(total);
    if total > MAXIMUM_EXPANDED_BYTES { Err(E::custom("too much text")) } else { Ok(()) }
}

/// One value of the document.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Name, Node)>),
}

/// A mapping's key.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) at: Position,
}

impl Node {
    /// Tells whether nothing was asked for: no value, or an empty list or mapping.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::Text(text) => text.is_empty(),
            Value::List(list) => list.is_empty(),
            Value::Map(map) => map.is_empty(),
        }
    }

    /// Returns what kind of value this is, for messages.
    pub(crate) const fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// Parses one document. There is at most one diagnostic: a parser cannot go on after an error.
pub(crate) fn parse(text: &str) -> Result<Node, Box<Diagnostic>> {
    let fail = |at: Position, code, message: String| {
        Err(Box::new(Diagnostic::new(text, at, String::new(), code, message, None)))
    };
    if text.len() > MAXIMUM_BYTES {
        let message =
            format!("the text has {} bytes; at most {MAXIMUM_BYTES} are read", text.len());
        return fail(Position::default(), code::TOO_LARGE, message);
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 32,
            flow_nesting_limit: 32,
            max_documents: 2,
            max_nodes: 50_000,
            max_events: 200_000,
            max_aliases: 2_000,
            max_anchors: 1_000,
            max_recorded_anchor_events: 50_000,
            max_merge_keys: 2_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 50_000,
            max_replay_stack_depth: 16,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        reject_unsupported_tags: true,
        emit_comments: false,
        with_snippet: false,
    };
    EXPANDED_BYTES.set(0);
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Ok(node(raw, text)),
        Err(error) => {
            let at = error.location().map_or_else(Position::default, position);
            if is_budget(&error) || EXPANDED_BYTES.get() > MAXIMUM_EXPANDED_BYTES {
                let message = "the text nests or repeats more than a pipeline may";
                return fail(at, code::BUDGET, message.to_owned());
            }
            let mut refusal = fail(at, code::YAML_SYNTAX, message(&error));
            if let (Err(diagnostic), serde_saphyr::Error::UnsupportedTag { .. }) =
                (&mut refusal, error.without_snippet())
            {
                let hint = "a text that starts with `!` stands in quotes: `'!failed()'`";
                diagnostic.hint = Some(hint.to_owned());
            }
            refusal
        }
    }
}

fn is_budget(error: &serde_saphyr::Error) -> bool {
    use serde_saphyr::Error::{
        AliasError, AliasExpansionLimitExceeded, AliasReplayCounterOverflow,
        AliasReplayLimitExceeded, AliasReplayStackDepthExceeded, Budget,
    };
    match error.without_snippet() {
        AliasError { error, .. } => is_budget(error),
        other => matches!(
            other,
            Budget { .. }
                | AliasReplayCounterOverflow { .. }
                | AliasReplayLimitExceeded { .. }
                | AliasExpansionLimitExceeded { .. }
                | AliasReplayStackDepthExceeded { .. }
        ),
    }
}

/// Returns the parser's words without the place, which the diagnostic carries itself.
fn message(error: &serde_saphyr::Error) -> String {
    if matches!(error.without_snippet(), serde_saphyr::Error::MultipleDocuments { .. }) {
        return "the text holds several YAML documents; a pipeline is one".to_owned();
    }
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or_default();
    let words = first.split(" at line ").next().unwrap_or(first).trim();
    let words = words.strip_prefix("error: ").unwrap_or(words);
    format!("cannot read the text as YAML: {}", crate::diagnostic::clean(words))
}

fn position(location: Location) -> Position {
    let cut = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Position { line: cut(location.line()), column: cut(location.column()) }
}

/// What serde hands over; [`Raw::Source`] is a scalar whose text must be taken from the source.
enum Raw {
    Null,
    Source(String),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

fn node(raw: Spanned<Raw>, source: &str) -> Node {
    let at = position(raw.defined);
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Text(text) => Value::Text(text),
        Raw::Source(fallback) => Value::Text(written(raw.defined, source).unwrap_or(fallback)),
        Raw::List(items) => Value::List(items.into_iter().map(|item| node(item, source)).collect()),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| (name(key, source), node(value, source)))
                .collect(),
        ),
    };
    Node { at, value }
}

fn name(raw: Spanned<Raw>, source: &str) -> Name {
    let Node { at, value } = node(raw, source);
    let text = match value {
        Value::Text(text) => text,
        Value::Null => String::new(),
        Value::List(_) | Value::Map(_) => "?".to_owned(),
    };
    Name { text, at }
}

/// Returns a plain scalar as it stands in the text.
fn written(location: Location, source: &str) -> Option<String> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    let text = source.get(start..start.checked_add(length)?)?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RawVisitor;

        impl<'de> Visitor<'de> for RawVisitor {
            type Value = Raw;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any YAML value")
            }

            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }

            fn visit_none<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
                Ok(Raw::Source(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
                Ok(Raw::Source(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
                Ok(Raw::Source(value.to_string()))
            }

            fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
                Ok(Raw::Source(value.to_string()))
            }

            fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
                Ok(Raw::Source(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
                Ok(Raw::Source(value.to_string()))
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Raw, E> {
                count(value)?;
                Ok(Raw::Text(value.to_owned()))
            }

            fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Raw, E> {
                count(&value)?;
                Ok(Raw::Text(value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = access.next_element()? {
                    items.push(item);
                }
                Ok(Raw::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = access.next_entry()? {
                    entries.push(entry);
                }
                Ok(Raw::Map(entries))
            }
        }

        deserializer.deserialize_any(RawVisitor)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn text_of(node: &Node, key: &str) -> (String, Position) {
        let Value::Map(entries) = &node.value else { panic!("{node:?}") };
        let (_, value) = entries.iter().find(|(name, _)| name.text == key).unwrap();
        let Value::Text(text) = &value.value else { panic!("{value:?}") };
        (text.clone(), value.at)
    }

    #[test]
    fn scalars_stay_as_they_are_written() {
        let text = "a: 1.10\nb: on\nc: 0x1F # note\nd: 'yes'\ne: 1e999\nf: 007\ng: 1_000\nh: {i: 2.0, j: .inf}\n名: é\n1: x\n";
        let node = parse(text).unwrap();
        for (key, expected) in [
            ("a", "1.10"),
            ("b", "on"),
            ("c", "0x1F"),
            ("d", "yes"),
            ("e", "1e999"),
            ("f", "007"),
            ("g", "1_000"),
            ("名", "é"),
            ("1", "x"),
        ] {
            assert_eq!(text_of(&node, key).0, expected, "{key}");
        }
        let Value::Map(entries) = &node.value else { panic!() };
        assert_eq!(text_of(&entries[7].1, "i"), ("2.0".into(), Position { line: 8, column: 8 }));
        assert_eq!(text_of(&entries[7].1, "j").0, ".inf");
    }

    #[test]
    fn aliases_and_merges_are_expanded_with_the_text_of_their_definition() {
        let node = parse("x-a: &a {v: 1.10, w: 2}\nb:\n  <<: *a\n  w: 3.30\nc: *a\n").unwrap();
        let Value::Map(entries) = &node.value else { panic!() };
        assert_eq!(text_of(&entries[1].1, "v").0, "1.10");
        assert_eq!(text_of(&entries[1].1, "w").0, "3.30");
        assert_eq!(text_of(&entries[2].1, "v").0, "1.10");
    }

    #[test]
    fn bombs_end_in_a_budget() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let refs = vec![format!("*a{}", level - 1); 9].join(", ");
            writeln!(bomb, "a{level}: &a{level} [{refs}]").unwrap();
        }
        assert_eq!(parse(&bomb).unwrap_err().code, code::BUDGET);
        let deep = format!("a: {}{}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(matches!(parse(&deep).unwrap_err().code, code::BUDGET | code::YAML_SYNTAX));
        let wide = "a: [".to_owned() + &"1, ".repeat(60_000) + "]";
        assert_eq!(parse(&wide).unwrap_err().code, code::BUDGET);
    }

    #[test]
    fn a_long_text_repeated_by_aliases_ends_in_a_budget() {
        let text =
            format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 500].join(", "));
        assert_eq!(parse(&text).unwrap_err().code, code::BUDGET);
        let block = format!(
            "a: &a |\n  {}\nb: &b [{}]\nc: [{}]\n",
            "x".repeat(40_000),
            vec!["*a"; 40].join(", "),
            vec!["*b"; 40].join(", ")
        );
        assert_eq!(parse(&block).unwrap_err().code, code::BUDGET);
        assert!(parse("a: &a text\nb: [*a, *a, *a]\n").is_ok());
    }

    #[test]
    fn what_is_not_one_yaml_document_is_refused() {
        for text in ["a: [1", "a: b: c", "\"x", "a: 1\n---\nb: 2\n", "a: !custom x", "a: *nope"] {
            assert_eq!(parse(text).unwrap_err().code, code::YAML_SYNTAX, "{text}");
        }
        assert_eq!(parse(&"#".repeat(MAXIMUM_BYTES + 1)).unwrap_err().code, code::TOO_LARGE);
    }

    #[test]
    fn a_byte_order_mark_and_other_line_ends_are_read() {
        let node = parse("\u{feff}a: 1.10\r\nb: |\r\n  x\r\n  y\r\n").unwrap();
        assert_eq!(text_of(&node, "a"), ("1.10".into(), Position { line: 1, column: 4 }));
        assert_eq!(text_of(&node, "b").0, "x\ny\n");
    }

    #[test]
    fn other_bytes_than_text_do_no_harm() {
        for text in ["", "\0", "a: \u{feff}", "%YAML 9.9\n---\na: 1", "- - - -", "? [a]\n: b", "~"]
        {
            let _ = parse(text);
        }
    }
}
