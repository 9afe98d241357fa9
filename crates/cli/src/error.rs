//! What a command fails with, how it is shown, and the exit code it becomes.
//!
//! All conversions from the errors of other rooms are here, so that the same failure reads the same
//! whichever command meets it.

use std::error::Error as StdError;
use std::fmt::{self, Write as _};
use std::io;

use keyferry_api::client::ClientError;
use keyferry_api::problem::Problem;

/// What kind of failure this is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A bug, here or in the server.
    Internal,
    /// The input is wrong.
    Invalid,
    /// Not signed in.
    Unauthenticated,
    /// Policy said no.
    Denied,
    /// Not there, or not visible.
    NotFound,
    /// Exists already, or its state has moved on.
    Conflict,
    /// Too many requests.
    RateLimited,
    /// The outside service, or the server, is not well.
    Upstream,
    /// The command did its work, and what it watched did not succeed.
    Unsuccessful,
    /// Nobody reads our output any more.
    BrokenPipe,
}

/// Each exit code with its meaning, for the reference.
pub const EXIT_CODES: &[(u8, &str)] = &[
    (0, "done"),
    (1, "a bug, here or in the server"),
    (2, "the input is wrong"),
    (3, "not signed in, or the token is not valid any more"),
    (4, "denied"),
    (5, "not there, or not visible to you"),
    (6, "it exists already, is in use, or was changed in the meantime"),
    (7, "too many requests; try again later"),
    (8, "the server or the outside service cannot be reached or refused"),
    (9, "the run that was watched failed or was canceled"),
];

impl Kind {
    /// Returns the exit code.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::BrokenPipe => 0,
            Self::Internal => 1,
            Self::Invalid => 2,
            Self::Unauthenticated => 3,
            Self::Denied => 4,
            Self::NotFound => 5,
            Self::Conflict => 6,
            Self::RateLimited => 7,
            Self::Upstream => 8,
            Self::Unsuccessful => 9,
        }
    }

    const fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Unauthenticated,
            403 => Self::Denied,
            404 | 410 => Self::NotFound,
            409 | 412 => Self::Conflict,
            429 => Self::RateLimited,
            400..500 => Self::Invalid,
            502..=504 => Self::Upstream,
            _ => Self::Internal,
        }
    }
}

/// A failed command.
#[derive(Debug)]
pub struct CliError {
    kind: Kind,
    message: String,
    notes: Vec<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    hints: Vec<String>,
}

impl CliError {
    /// Makes an error; `message` is a sentence without a period.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), notes: Vec::new(), source: None, hints: Vec::new() }
    }

    /// The input is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// There is no such thing; `what` is "group `x`" for instance.
    pub fn not_found(what: impl fmt::Display) -> Self {
        Self::new(Kind::NotFound, format!("there is no {what}"))
    }

    /// Adds one line about what is wrong where.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Adds what can be done about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the kind of failure.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the error as lines for a person: what happened, the chain of causes indented, then
    /// the hints.
    pub fn render(&self, is_colored: bool) -> String {
        let (red, cyan, plain) =
            if is_colored { ("\x1b[1;31m", "\x1b[1;36m", "\x1b[0m") } else { ("", "", "") };
        let mut out = format!("{red}error{plain}: {}\n", visible(&self.message));
        for note in &self.notes {
            let _ = writeln!(out, "  {}", visible(note));
        }
        let mut cause = self.source.as_ref().map(|source| &**source as &dyn StdError);
        let mut depth = 1;
        while let Some(error) = cause {
            let _ = writeln!(out, "{:1$}because: {2}", "", depth * 2, visible(&error.to_string()));
            cause = error.source();
            depth += 1;
        }
        for (index, hint) in self.hints.iter().enumerate() {
            if index == 0 {
                out.push('\n');
            }
            let _ = writeln!(out, "{cyan}hint{plain}: {}", visible(hint));
        }
        out
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl StdError for CliError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Replaces what could steer a terminal: names and messages come from other people.
pub fn visible(text: &str) -> String {
    text.chars().map(|one| if one.is_control() && one != '\n' { '\u{fffd}' } else { one }).collect()
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Problem(problem) => (*problem).into(),
            ClientError::Unreachable { ref url, .. } => {
                let (message, url) = (format!("failed to {error}"), url.clone());
                let mut out = Self::new(Kind::Upstream, message);
                if let ClientError::Unreachable { source, .. } = error {
                    // Our message has the address; theirs would repeat it with the whole path.
                    out = out.because(source.without_url());
                }
                out.hint(format!("is the server running, and is {url} its address?"))
            }
            ClientError::Strange { .. } => Self::new(Kind::Upstream, format!("failed to {error}"))
                .hint("check the address; client and server may also be of different versions"),
            ClientError::BadAddress { .. } => Self::invalid(format!("failed to {error}")),
        }
    }
}

impl From<Problem> for CliError {
    fn from(problem: Problem) -> Self {
        let kind = Kind::of_status(problem.status);
        let mut error = Self::new(kind, problem.detail.clone());
        for field in &problem.errors {
            let place = field.pointer.trim_start_matches('/').replace('/', ".");
            let line = if place.is_empty() {
                field.message.clone()
            } else {
                format!("{place}: {}", field.message)
            };
            if line != problem.detail {
                error = error.note(line);
            }
        }
        for user in &problem.used_by {
            error = error.note(format!("used by {user}"));
        }
        if let Some(hint) = problem.hint {
            error = error.hint(hint);
        }
        if let Some(seconds) = problem.retry_after_seconds {
            error = error.hint(format!("try again in {seconds} s"));
        }
        if kind == Kind::Unauthenticated && error.hints.is_empty() {
            error = error.hint("log in with `keyferry login`, or set KEYFERRY_TOKEN");
        }
        if kind == Kind::Internal {
            error = error.note(format!("request {}", problem.request_id));
        }
        error
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::new(Kind::BrokenPipe, "nobody reads the output")
        } else {
            Self::new(Kind::Internal, "failed to write the output").because(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use keyferry_api::problem::FieldProblem;

    use super::*;

    fn problem(status: u16) -> Problem {
        Problem {
            kind: "/docs/errors#x".to_owned(),
            title: "x".to_owned(),
            status,
            code: "x".to_owned(),
            detail: "it is in use".to_owned(),
            hint: Some("look at it".to_owned()),
            request_id: "req_1".to_owned(),
            errors: Vec::new(),
            current_version: None,
            used_by: Vec::new(),
            retry_after_seconds: None,
        }
    }

    #[test]
    fn each_status_has_its_exit_code() {
        let codes = [400, 413, 422, 401, 403, 404, 409, 429, 500, 502, 503]
            .map(|status| CliError::from(problem(status)).kind().exit_code());
        assert_eq!(codes, [2, 2, 2, 3, 4, 5, 6, 7, 1, 8, 8]);
    }

    #[test]
    fn every_exit_code_is_documented() {
        let kinds = [
            Kind::Internal,
            Kind::Invalid,
            Kind::Unauthenticated,
            Kind::Denied,
            Kind::NotFound,
            Kind::Conflict,
            Kind::RateLimited,
            Kind::Upstream,
            Kind::Unsuccessful,
            Kind::BrokenPipe,
        ];
        for kind in kinds {
            assert!(EXIT_CODES.iter().any(|(code, _)| *code == kind.exit_code()), "{kind:?}");
        }
    }

    #[test]
    fn an_error_shows_places_users_causes_and_hints() {
        let mut problem = problem(409);
        problem.errors = vec![FieldProblem {
            pointer: "/settings/url".to_owned(),
            message: "is odd".to_owned(),
        }];
        problem.used_by = vec!["pipeline `nightly`".to_owned()];
        let error = CliError::from(problem).because(io::Error::other("disk\x1b[2J"));
        assert_eq!(
            error.render(false),
            "error: it is in use\n  settings.url: is odd\n  used by pipeline `nightly`\n  because: \
             disk\u{fffd}[2J\n\nhint: look at it\n"
        );
    }

    #[test]
    fn an_expired_session_says_how_to_sign_in() {
        let mut problem = problem(401);
        problem.hint = None;
        assert!(CliError::from(problem).render(false).contains("keyferry login"));
    }
}
