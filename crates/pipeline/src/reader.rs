//! Reads nodes as what the definition expects, and notes everything that is wrong on the way.
//!
//! Generous about spelling (quoted or not, one text for a list of one), strict about meaning. What
//! the keys mean is in the tables of `definition` and `steps`.

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, MOST_DIAGNOSTICS, Position, clean, code, did_you_mean, quote};
use crate::keys::{Support, Table};
use crate::yaml::{Name, Node, Value};

/// Collects diagnostics while the tree is read.
pub(crate) struct Reader<'t> {
    source: &'t str,
    path: Vec<String>,
    diagnostics: Vec<Diagnostic>,
}

impl<'t> Reader<'t> {
    pub(crate) const fn new(source: &'t str) -> Self {
        Self { source, path: Vec::new(), diagnostics: Vec::new() }
    }

    /// Returns what was noted, in the order of the text.
    pub(crate) fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        self.diagnostics.sort_by_key(|one| (one.line, one.column));
        self.diagnostics.dedup();
        self.diagnostics
    }

    /// Notes something wrong at the present path.
    pub(crate) fn note(&mut self, at: Position, code: &'static str, message: impl Into<String>) {
        self.note_with(at, code, message, None);
    }

    /// Notes something wrong, with what to write instead.
    pub(crate) fn note_with(
        &mut self,
        at: Position,
        code: &'static str,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        if self.diagnostics.len() < MOST_DIAGNOSTICS {
            let path = self.path.join(".");
            self.diagnostics.push(Diagnostic::new(self.source, at, path, code, message, hint));
        }
    }

    /// Notes a feature of Flow that is not run yet.
    pub(crate) fn not_run(&mut self, at: Position, what: &str, hint: Option<String>) {
        self.note_with(
            at,
            code::KNOWN_NOT_RUN,
            format!("{what} is known in Flow, not run yet"),
            hint,
        );
    }

    /// Reads something inside a key or id.
    pub(crate) fn inside<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(clean(name));
        let result = read(self);
        self.path.pop();
        result
    }

    fn wrong_type(&mut self, node: &Node, expected: &str) {
        self.note(node.at, code::WRONG_TYPE, format!("expected {expected}, found {}", node.kind()));
    }

    /// Reads a mapping with the keys of a table. Unknown and unsupported keys are noted.
    pub(crate) fn fields<'n>(&mut self, node: &'n Node, table: &'static Table) -> Fields<'n> {
        match &node.value {
            Value::Map(entries) => self.fields_of(node.at, entries, table),
            Value::Null => self.fields_of(node.at, [], table),
            _ => {
                self.wrong_type(node, &format!("{}, a mapping", table.what));
                self.fields_of(node.at, [], table)
            }
        }
    }

    /// Reads these entries of a mapping with the keys of a table.
    pub(crate) fn fields_of<'n>(
        &mut self,
        at: Position,
        entries: impl IntoIterator<Item = &'n (Name, Node)>,
        table: &'static Table,
    ) -> Fields<'n> {
        let mut fields = Fields { at, entries: BTreeMap::new() };
        for (name, value) in entries {
            let Some(key) = table.find(&name.text) else {
                self.unknown_key(name, table);
                continue;
            };
            if key.support == Support::NotRun {
                if !value.is_empty() {
                    let what = format!("`{}` of {}", key.name, table.what);
                    let hint = key.instead.map(str::to_owned);
                    self.inside(key.name, |reader| reader.not_run(name.at, &what, hint));
                }
            } else if fields.entries.insert(key.name, (name, value)).is_some() {
                self.duplicate(name);
            }
        }
        fields
    }

    fn unknown_key(&mut self, name: &Name, table: &'static Table) {
        let names = table.keys.iter().map(|key| key.name);
        let hint = did_you_mean(&name.text, names.clone()).or_else(|| {
            let all: Vec<String> = names.map(|name| format!("`{name}`")).collect();
            Some(format!("{} takes {}", table.what, all.join(", ")))
        });
        let message = format!("{} is not a key of {}", quote(&name.text), table.what);
        self.note_with(name.at, code::UNKNOWN_KEY, message, hint);
    }

    fn duplicate(&mut self, name: &Name) {
        let message = format!("{} is given twice", quote(&name.text));
        self.note(name.at, code::DUPLICATE_KEY, message);
    }

    /// Reads a mapping whose keys the user chooses, in the order of the text.
    pub(crate) fn entries<'n>(&mut self, node: &'n Node, what: &str) -> Vec<(&'n Name, &'n Node)> {
        let entries = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => return Vec::new(),
            _ => {
                self.wrong_type(node, &format!("{what}, a mapping"));
                return Vec::new();
            }
        };
        let mut seen = BTreeMap::new();
        for (name, value) in entries {
            if seen.insert(name.text.as_str(), value).is_some() {
                self.duplicate(name);
            }
        }
        entries.iter().map(|(name, value)| (name, value)).collect()
    }

    /// Reads an id: a letter, then letters, digits, `_` or `-`; at most 30.
    pub(crate) fn id(&mut self, name: &Name, what: &str) {
        let mut characters = name.text.chars();
        let is_valid = characters.next().is_some_and(|first| first.is_ascii_alphabetic())
            && characters.all(|one| one.is_ascii_alphanumeric() || matches!(one, '_' | '-'))
            && name.text.len() <= 30;
        if !is_valid {
            let message = format!("{} cannot be the id of {what}", quote(&name.text));
            let hint = "an id starts with a letter and has up to 30 letters, digits, `_` and `-`; \
                        `name` takes any text";
            self.note_with(name.at, code::WRONG_VALUE, message, Some(hint.to_owned()));
        }
    }

    /// Reads a text. An absent value is not a text.
    pub(crate) fn text(&mut self, node: &Node) -> Option<String> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Null => None,
            _ => {
                self.wrong_type(node, "a text");
                None
            }
        }
    }

    /// Reads the text of a key, when the key is there.
    pub(crate) fn text_of(&mut self, fields: &Fields<'_>, key: &str) -> Option<String> {
        let node = fields.get(key)?;
        self.inside(key, |reader| reader.text(node))
    }

    /// Reads the text of a key that must be there and not be empty.
    pub(crate) fn required(&mut self, fields: &Fields<'_>, key: &str) -> Option<String> {
        let text = self.text_of(fields, key);
        let is_other_kind = fields
            .get(key)
            .is_some_and(|node| matches!(node.value, Value::List(_) | Value::Map(_)));
        if text.as_deref().unwrap_or_default().trim().is_empty() && !is_other_kind {
            self.note(fields.place(key), code::MISSING_KEY, format!("`{key}` is missing"));
            return None;
        }
        text
    }

    /// Reads a whole number within limits, quoted or not.
    pub(crate) fn integer_of(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
        limits: std::ops::RangeInclusive<u32>,
    ) -> Option<u32> {
        let node = fields.get(key)?;
        let text = self.text_of(fields, key)?;
        let number = text.trim().parse::<u32>().ok().filter(|number| limits.contains(number));
        if number.is_none() {
            let message = format!(
                "expected a whole number from {} to {}, found {}",
                limits.start(),
                limits.end(),
                quote(&text)
            );
            self.inside(key, |reader| reader.note(node.at, code::WRONG_TYPE, message));
        }
        number
    }

    /// Reads `true` or `false`, quoted or not, also as YAML 1.1 spells them.
    pub(crate) fn boolean_of(&mut self, fields: &Fields<'_>, key: &str) -> Option<bool> {
        let node = fields.get(key)?;
        let text = self.text_of(fields, key)?;
        let value = match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        };
        if value.is_none() {
            let message = format!("expected true or false, found {}", quote(&text));
            self.inside(key, |reader| reader.note(node.at, code::WRONG_TYPE, message));
        }
        value
    }

    /// Reads one of a few names, in any letter case.
    pub(crate) fn choice_of(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
        names: &[&'static str],
    ) -> Option<&'static str> {
        let node = fields.get(key)?;
        let text = self.text_of(fields, key)?;
        let found = names.iter().copied().find(|name| name.eq_ignore_ascii_case(text.trim()));
        if found.is_none() {
            let all: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            let message = format!("expected one of {}, found {}", all.join(", "), quote(&text));
            let hint = did_you_mean(&text, names.iter().copied());
            self.inside(key, |reader| {
                reader.note_with(node.at, code::WRONG_VALUE, message, hint);
            });
        }
        found
    }

    /// Reads a list of texts, or one text as a list of one. An absent key is `None`.
    pub(crate) fn texts_of(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
    ) -> Option<Vec<(String, Position)>> {
        let node = fields.get(key)?;
        self.inside(key, |reader| match &node.value {
            Value::Null => None,
            Value::Text(text) => Some(vec![(text.clone(), node.at)]),
            Value::List(items) => Some(
                items
                    .iter()
                    .filter_map(|item| reader.text(item).map(|text| (text, item.at)))
                    .collect(),
            ),
            Value::Map(_) => {
                reader.wrong_type(node, "a list of texts");
                None
            }
        })
    }

    /// Reads a list of mappings.
    pub(crate) fn items<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.value {
            Value::List(items) => items,
            Value::Null => &[],
            _ => {
                self.wrong_type(node, what);
                &[]
            }
        }
    }

    /// Notes a value that must not hold `${VAR}` or `{{ .KEY }}`; returns whether it is literal.
    pub(crate) fn literal(&mut self, text: &str, at: Position, what: &str) -> bool {
        let is_literal = !text.contains("${") && !text.contains("{{") && !text.starts_with('$');
        if !is_literal {
            let message = format!("{what} must be literal; variables are not replaced here");
            self.note(at, code::WRONG_VALUE, message);
        }
        is_literal
    }
}

/// The keys of one mapping that are there, by their one name.
pub(crate) struct Fields<'n> {
    pub(crate) at: Position,
    entries: BTreeMap<&'static str, (&'n Name, &'n Node)>,
}

impl<'n> Fields<'n> {
    /// Returns the value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entries.get(key).map(|(_, node)| *node)
    }

    /// Returns where a key's value stands, else the mapping.
    pub(crate) fn place(&self, key: &str) -> Position {
        self.get(key).map_or(self.at, |node| node.at)
    }
}
