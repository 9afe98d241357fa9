//! Pages of lists: how many, and where to go on.

use crate::error::{Error, Result};

/// Entries on a page when the caller does not say.
pub const DEFAULT_LIMIT: u32 = 50;

/// Entries on a page at most.
pub const MAX_LIMIT: u32 = 200;

/// Which page of a list is asked for. The cursor is opaque to callers; it is the sort key of the
/// last entry they have seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// Entries at most, 1 to [`MAX_LIMIT`].
    pub limit: u32,
    /// Where to go on.
    pub cursor: Option<String>,
}

impl PageRequest {
    /// Checks what a caller asked for.
    pub fn new(limit: Option<u32>, cursor: Option<String>) -> Result<Self> {
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Error::invalid_field(
                "/limit",
                format!("is not between 1 and {MAX_LIMIT}"),
            ));
        }
        let is_too_long = cursor.as_deref().is_some_and(|cursor| cursor.len() > 512);
        if is_too_long || cursor.as_deref() == Some("") {
            return Err(Error::invalid_field("/cursor", "is not a cursor of this list"));
        }
        Ok(Self { limit, cursor })
    }
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { limit: DEFAULT_LIMIT, cursor: None }
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Where the next page starts; absent on the last one.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page from up to `limit + 1` entries; the one too many only tells that more follow.
    pub fn from_overfetch(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Self {
        let limit = limit as usize;
        let has_more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = if has_more { items.last().map(cursor) } else { None };
        Self { items, next_cursor }
    }

    /// Turns each entry into another form.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(f).collect(), next_cursor: self.next_cursor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_outside_the_range_are_refused() {
        assert!(PageRequest::new(Some(0), None).is_err());
        assert!(PageRequest::new(Some(MAX_LIMIT + 1), None).is_err());
        assert!(PageRequest::new(Some(MAX_LIMIT), None).is_ok());
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        let page = Page::from_overfetch(vec![1, 2, 3], 3, ToString::to_string);
        assert_eq!(page.next_cursor, None);
        let page = Page::from_overfetch(vec![1, 2, 3], 2, ToString::to_string);
        assert_eq!((page.items, page.next_cursor.as_deref()), (vec![1, 2], Some("2")));
    }
}
