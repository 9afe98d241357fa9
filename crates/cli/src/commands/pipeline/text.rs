//! Reading a pipeline's text, and looking for mistakes in it without a server.

use std::io::Read as _;

use keyferry_pipeline::{Definition, MAXIMUM_BYTES, diagnostic};

use crate::context::Context;
use crate::error::{CliError, Kind};

/// A pipeline's text and the name to show it under.
pub(crate) struct PipelineText {
    /// The YAML text.
    pub(crate) yaml: String,
    /// Its path, or `standard input`.
    pub(crate) name: String,
}

/// Reads a file, or standard input for `-`. A longer file than a pipeline may be is not read whole.
pub(crate) fn read(context: &Context, path: &str) -> Result<PipelineText, CliError> {
    let limit = MAXIMUM_BYTES as u64 + 1;
    let name = if path == "-" { "standard input" } else { path }.to_owned();
    let mut bytes = Vec::new();
    let outcome = if path == "-" {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(context.environment.expand(path))
            .and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    outcome
        .map_err(|error| CliError::invalid(format!("failed to read `{name}`")).because(error))?;
    let yaml = String::from_utf8(bytes)
        .map_err(|_| CliError::invalid(format!("`{name}` is not text in UTF-8")))?;
    Ok(PipelineText { yaml, name })
}

/// Checks what needs no server. Every mistake is shown with its line.
pub(crate) fn check(context: &Context, text: &PipelineText) -> Result<(), CliError> {
    let Err(diagnostics) = Definition::parse(&text.yaml) else { return Ok(()) };
    if context.printer.is_json() {
        context.printer.json(&diagnostics)?;
    } else {
        context.printer.data(&diagnostic::render_all(&diagnostics, &text.name))?;
    }
    Err(mistakes(&text.name, diagnostics.len()))
}

/// Returns the error for a text with mistakes that were shown already.
pub(crate) fn mistakes(name: &str, count: usize) -> CliError {
    let noun = if count == 1 { "mistake" } else { "mistakes" };
    CliError::new(Kind::Invalid, format!("`{name}` has {count} {noun}"))
}
