//! How a mapping of the definition is described: which keys it takes, what they mean, and which of
//! them Keyferry runs.
//!
//! One table per mapping is the single source for reading, for "did you mean" and for the JSON
//! Schema that editors use. The tables stand beside the types they fill.

/// One mapping of the definition.
pub(crate) struct Table {
    /// What it is, for messages: `a source`.
    pub(crate) what: &'static str,
    pub(crate) keys: &'static [Key],
}

/// One key of a mapping.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// Other spellings that are read; `name` is the one that is written.
    pub(crate) aliases: &'static [&'static str],
    pub(crate) shape: Shape,
    pub(crate) support: Support,
    /// One sentence for editors.
    pub(crate) help: &'static str,
    /// What to do instead of a key that is not run.
    pub(crate) instead: Option<&'static str>,
}

/// What Keyferry does with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Support {
    /// Does what it says.
    Runs,
    /// Known in Flow, not run yet: refused unless its value is empty.
    NotRun,
}

/// What a key's value looks like.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    Text,
    Integer {
        minimum: u32,
        maximum: u32,
    },
    Boolean,
    /// One text or a list of them.
    Texts,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A mapping with these keys.
    Map(&'static Table),
    /// A mapping from ids to mappings with these keys.
    Each(&'static Table),
    /// A list of mappings with these keys.
    List(&'static Table),
    /// A mapping from names to texts.
    TextMap,
    /// Anything; not read.
    Any,
}

impl Key {
    /// A key that does what it says.
    pub(crate) const fn new(name: &'static str, shape: Shape, help: &'static str) -> Self {
        Self { name, aliases: &[], shape, support: Support::Runs, help, instead: None }
    }

    /// Adds other spellings.
    pub(crate) const fn or(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// A key of Flow that is not run yet.
    pub(crate) const fn not_run(name: &'static str) -> Self {
        Self {
            name,
            aliases: &[],
            shape: Shape::Any,
            support: Support::NotRun,
            help: "Known in Flow, not run yet.",
            instead: None,
        }
    }

    /// Says what to do instead.
    pub(crate) const fn instead(mut self, instead: &'static str) -> Self {
        self.instead = Some(instead);
        self
    }
}

impl Table {
    /// Finds a key by its name or another spelling.
    pub(crate) fn find(&self, text: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == text || key.aliases.contains(&text))
    }
}
