//! Where a secret comes from: standard input, a file, an environment variable, or a prompt.
//!
//! Never from the command line itself: other users see it in the process list, and shells keep it
//! in their history. No message here repeats what was given, since it may be the secret.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use keyferry_domain::secret::{SecretBytes, SecretString};
use rustix::io::Errno;

use crate::environment::Environment;
use crate::error::CliError;

/// The longest secret that is read, in bytes; the server takes less.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Where one secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecretSource {
    /// `-`: standard input.
    Stdin,
    /// `@path`: a file.
    File(String),
    /// `env:NAME`: an environment variable.
    Variable(String),
}

impl SecretSource {
    /// Reads `-`, `@path` or `env:NAME`; `flag` is what to show in messages.
    pub(crate) fn parse(flag: &str, text: &str) -> Result<Self, CliError> {
        if text == "-" {
            return Ok(Self::Stdin);
        }
        if let Some(path) = text.strip_prefix('@').filter(|path| !path.is_empty()) {
            return Ok(Self::File(path.to_owned()));
        }
        if let Some(name) = text.strip_prefix("env:").filter(|name| !name.is_empty()) {
            return Ok(Self::Variable(name.to_owned()));
        }
        Err(CliError::invalid(format!("{flag} takes where the secret is, not the secret itself"))
            .note("the command line is seen by every user of this machine and kept in its history")
            .hint("use `@PATH` for a file, `-` for standard input, or `env:NAME` for a variable")
            .hint("if that was the secret, change it"))
    }
}

/// Reads secrets from their sources; standard input can be read once.
pub(crate) struct SecretReader<'a> {
    environment: &'a Environment,
    stdin_taken_by: Option<String>,
}

impl<'a> SecretReader<'a> {
    /// Makes a reader.
    pub(crate) const fn new(environment: &'a Environment) -> Self {
        Self { environment, stdin_taken_by: None }
    }

    /// Reads text. One line end at its end is dropped, unless several lines are expected: `echo`
    /// and editors add it, and no password ends in one.
    pub(crate) fn text(
        &mut self,
        flag: &str,
        source: &SecretSource,
        is_multiline: bool,
    ) -> Result<SecretString, CliError> {
        let bytes = self.bytes(flag, source)?;
        let text = std::str::from_utf8(bytes.expose())
            .map_err(|_| CliError::invalid(format!("what {flag} names is not text in UTF-8")))?;
        let text = if is_multiline { text } else { without_line_end(text) };
        if text.is_empty() {
            return Err(CliError::invalid(format!("what {flag} names is empty")));
        }
        Ok(text.into())
    }

    /// Reads bytes as they are.
    pub(crate) fn bytes(
        &mut self,
        flag: &str,
        source: &SecretSource,
    ) -> Result<SecretBytes, CliError> {
        match source {
            SecretSource::Stdin => {
                if let Some(other) = &self.stdin_taken_by {
                    return Err(CliError::invalid(format!(
                        "{flag} and {other} both read standard input"
                    ))
                    .hint("use `@PATH` or `env:NAME` for one of them"));
                }
                self.stdin_taken_by = Some(flag.to_owned());
                read_stdin()
            }
            SecretSource::File(path) => read_bytes(&self.environment.expand(path)),
            SecretSource::Variable(name) => match self.environment.text(name)? {
                Some(text) => Ok(SecretBytes::new(text.into_bytes())),
                None => Err(CliError::invalid(format!(
                    "{flag} names a variable that is not set or is empty"
                ))
                .hint("check its name, and that it is exported")),
            },
        }
    }
}

/// Reads a secret from a file, without the line end at its end.
pub(crate) fn read_file(path: &Path) -> Result<SecretString, CliError> {
    let bytes = read_bytes(path)?;
    let text = std::str::from_utf8(bytes.expose())
        .map_err(|_| CliError::invalid(format!("`{}` is not text in UTF-8", path.display())))?;
    let text = without_line_end(text);
    if text.is_empty() {
        return Err(CliError::invalid(format!("`{}` is empty", path.display())));
    }
    Ok(text.into())
}

/// Drops one line end at the end.
pub(crate) fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

/// Reads all of standard input.
pub(crate) fn read_stdin() -> Result<SecretBytes, CliError> {
    read_all(std::io::stdin().lock(), "standard input")
}

fn read_bytes(path: &Path) -> Result<SecretBytes, CliError> {
    let name = format!("`{}`", path.display());
    let file = File::open(path)
        .map_err(|error| CliError::invalid(format!("failed to open {name}")).because(error))?;
    read_all(file, &name)
}

fn read_all(reader: impl std::io::Read, name: &str) -> Result<SecretBytes, CliError> {
    let mut bytes = Vec::new();
    let outcome = reader.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    let bytes = SecretBytes::new(bytes);
    match outcome {
        Ok(count) if count as u64 > MAX_BYTES => {
            Err(CliError::invalid(format!("{name} has more than {MAX_BYTES} bytes")))
        }
        Ok(_) => Ok(bytes),
        Err(error) if error.raw_os_error() == Some(Errno::ISDIR.raw_os_error()) => {
            Err(CliError::invalid(format!("{name} is a folder")))
        }
        Err(error) => Err(CliError::invalid(format!("failed to read {name}")).because(error)),
    }
}

/// Splits `name=value` at the first `=`.
pub(crate) fn split_pair<'a>(flag: &str, text: &'a str) -> Result<(&'a str, &'a str), CliError> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim(), value)),
        _ => Err(CliError::invalid(format!("{flag} takes NAME=VALUE"))
            .hint(format!("see `keyferry help`, or the examples of {flag}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_itself_is_refused_and_not_repeated() {
        for text in ["hunter2", "", "@", "env:", "--", "file"] {
            let error = SecretSource::parse("--secret password", text).unwrap_err();
            let shown = format!("{}{error:?}", error.render(false));
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(shown.contains("`@PATH`"));
        }
    }

    #[test]
    fn the_three_sources_are_read() {
        let parse = |text| SecretSource::parse("--x", text).unwrap();
        assert_eq!(parse("-"), SecretSource::Stdin);
        assert_eq!(parse("@key"), SecretSource::File("key".to_owned()));
        assert_eq!(parse("env:A"), SecretSource::Variable("A".to_owned()));
    }

    #[test]
    fn one_line_end_is_dropped_and_no_more() {
        assert_eq!(without_line_end("a\n"), "a");
        assert_eq!(without_line_end("a\r\n"), "a");
        assert_eq!(without_line_end("a\n\n"), "a\n");
        assert_eq!(without_line_end(" a "), " a ");
    }

    #[test]
    fn missing_and_empty_sources_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty");
        std::fs::write(&empty, "\n").unwrap();
        let environment = Environment::with(&[("EMPTY", "")]);
        let mut reader = SecretReader::new(&environment);
        for text in [
            format!("@{}", empty.display()),
            format!("@{}/missing", folder.path().display()),
            format!("@{}", folder.path().display()),
            "env:EMPTY".to_owned(),
            "env:ABSENT".to_owned(),
        ] {
            let source = SecretSource::parse("--x", &text).unwrap();
            assert!(reader.text("--x", &source, false).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_keeps_its_lines_where_several_are_expected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "a\nb\n").unwrap();
        let environment = Environment::with(&[]);
        let mut reader = SecretReader::new(&environment);
        let source = SecretSource::File(path.display().to_string());
        assert_eq!(reader.text("--x", &source, true).unwrap().expose(), "a\nb\n");
        assert_eq!(reader.text("--x", &source, false).unwrap().expose(), "a\nb");
        assert_eq!(reader.bytes("--x", &source).unwrap().expose(), b"a\nb\n");
    }
}
