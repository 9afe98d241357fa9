//! Positions in Gitea's page-numbered lists, as the opaque text that callers send back.
//!
//! The size belongs to the position: page 3 of 20 is another place than page 3 of 50.

use crate::error::ProviderError;

/// Gitea serves at most this many entries on a page, whatever is asked for.
pub(super) const MAX_PAGE_SIZE: u32 = 50;

/// A position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The page, from 1.
    pub(super) page: u32,
    /// Entries on a page.
    pub(super) size: u32,
    /// The user whose repositories are searched, once known.
    pub(super) user: Option<i64>,
}

impl Cursor {
    /// Returns where a caller wants to go on, or the start.
    pub(super) fn read(page: Option<&str>, limit: u32) -> Result<Self, ProviderError> {
        let Some(text) = page else {
            return Ok(Self { page: 1, size: limit.clamp(1, MAX_PAGE_SIZE), user: None });
        };
        Self::parse(text).ok_or_else(|| ProviderError::Misconfigured {
            field: "cursor".to_owned(),
            reason: "it is not a position in this list".to_owned(),
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let page = parts.next()?.parse().ok().filter(|page| (1..1_000_000).contains(page))?;
        let size = parts.next()?.parse().ok().filter(|size| (1..=MAX_PAGE_SIZE).contains(size))?;
        let user = match parts.next() {
            Some(user) => Some(user.parse().ok()?),
            None => None,
        };
        parts.next().is_none().then_some(Self { page, size, user })
    }

    /// Returns the text for callers.
    pub(super) fn render(self) -> String {
        let Self { page, size, user } = self;
        match user {
            Some(user) => format!("{page}.{size}.{user}"),
            None => format!("{page}.{size}"),
        }
    }

    /// Returns the position of the next page.
    pub(super) const fn next(self) -> Self {
        Self { page: self.page + 1, ..self }
    }
}
