//! The one error of the use cases: what happened, for whom, and what to do about it.
//!
//! It knows nothing of HTTP or of exit codes; `server` and `cli` choose those from [`ErrorKind`].
//! The public message and the private cause are different fields, and nothing joins them:
//! `Display` shows the public half only, the cause goes to the server's log.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// Result of a use case.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure this is; decides the status code and the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The input is wrong.
    Invalid,
    /// No or bad credentials of the caller.
    Unauthenticated,
    /// Policy said no, and the caller may know that the thing exists.
    Denied,
    /// Not there, or the caller may not know.
    NotFound,
    /// Exists already, or its state has moved on.
    Conflict,
    /// Too many requests; try again after the wait.
    RateLimited,
    /// The outside service failed or refused.
    Upstream,
    /// Our side cannot serve this now.
    Unavailable,
    /// A bug.
    Internal,
}

/// One wrong place in the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the request, `/settings/base_url` for instance.
    pub pointer: String,
    /// What is wrong there, as a sentence without a period.
    pub message: String,
}

impl FieldError {
    /// Makes a field error.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }
}

/// Everything the edge may tell beside the message.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Details {
    /// What the person can do about it.
    pub hint: Option<String>,
    /// Each wrong place in the input.
    pub fields: Vec<FieldError>,
    /// The version that the thing has now, when the caller's was stale.
    pub current_version: Option<i64>,
    /// What still uses the thing that was to be deleted, by name.
    pub used_by: Vec<String>,
    /// How long to wait before another try.
    pub retry_after: Option<Duration>,
}

/// A failed use case.
pub struct Error {
    kind: ErrorKind,
    code: &'static str,
    message: String,
    details: Box<Details>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes an error; `message` is public, a sentence without a period.
    pub fn new(kind: ErrorKind, code: &'static str, message: impl Into<String>) -> Self {
        Self { kind, code, message: message.into(), details: Box::default(), source: None }
    }

    /// The input is wrong as a whole.
    pub fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, code, message)
    }

    /// One field of the input is wrong.
    pub fn invalid_field(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid_fields(vec![FieldError::new(pointer, message)])
    }

    /// Several fields of the input are wrong; the first one makes the message.
    pub fn invalid_fields(fields: Vec<FieldError>) -> Self {
        let message = fields.first().map_or_else(
            || "the input is invalid".to_owned(),
            |field| format!("{}: {}", field.pointer.trim_start_matches('/'), field.message),
        );
        let mut error = Self::invalid("invalid_input", message);
        error.details.fields = fields;
        error
    }

    /// The caller is unknown.
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unauthenticated, "unauthenticated", message)
    }

    /// Policy said no.
    pub fn denied(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Denied, code, message)
    }

    /// There is no such thing, or the caller may not know; `what` is "connection `x`" for instance.
    pub fn not_found(what: impl fmt::Display) -> Self {
        Self::new(ErrorKind::NotFound, "not_found", format!("there is no {what}"))
    }

    /// The thing exists already or has moved on.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, code, message)
    }

    /// The caller's version is not the present one.
    pub fn stale(what: impl fmt::Display, current_version: i64) -> Self {
        let mut error = Self::conflict(
            "stale_version",
            format!("{what} was changed in the meantime; it is at version {current_version} now"),
        );
        error.details.current_version = Some(current_version);
        error.hint("read it again, apply your change to what you see, and send its version")
    }

    /// A bug, or a state that should not be; `source` is for the log only.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Internal, "internal", "something went wrong on our side")
            .hint("the server's log has the details under this request's id")
            .caused_by(source)
    }

    /// Gives the error a code and a message of its own.
    #[must_use]
    pub fn named(mut self, code: &'static str, message: impl Into<String>) -> Self {
        self.code = code;
        self.message = message.into();
        self
    }

    /// Adds what the person can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.details.hint = Some(hint.into());
        self
    }

    /// Adds the private cause, for the log.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds the wait before another try makes sense.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.details.retry_after = Some(wait);
        self
    }

    /// Adds the names of what still uses the thing.
    #[must_use]
    pub fn used_by(mut self, names: Vec<String>) -> Self {
        self.details.used_by = names;
        self
    }

    /// Makes an error for another caller of the same failed work; the cause stays with the first.
    #[must_use]
    pub fn to_shared(&self) -> Self {
        Self {
            kind: self.kind,
            code: self.code,
            message: self.message.clone(),
            details: self.details.clone(),
            source: None,
        }
    }

    /// Returns the kind of failure.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the stable code, `connection_not_bound` for instance; listed in docs/reference/errors.md.
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// Returns the public message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns what may be told beside the message.
    pub fn details(&self) -> &Details {
        &self.details
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} {}: {}", self.kind, self.code, self.message)?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_private_cause_is_not_in_the_public_text() {
        let error = Error::internal("disk on fire at /var/lib");
        assert!(!error.to_string().contains("fire"));
        assert!(format!("{error:?}").contains("fire"));
    }

    #[test]
    fn the_first_wrong_field_makes_the_message() {
        let error = Error::invalid_fields(vec![
            FieldError::new("/name", "is empty"),
            FieldError::new("/scope", "is unknown"),
        ]);
        assert_eq!(error.message(), "name: is empty");
        assert_eq!(error.details().fields.len(), 2);
    }

    #[test]
    fn a_stale_version_tells_the_current_one() {
        assert_eq!(Error::stale("connection `x`", 7).details().current_version, Some(7));
    }
}
