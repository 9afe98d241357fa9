//! Questions to the person at the terminal. Whether one is there is decided by
//! [`crate::context::Context::is_interactive`].

use std::fmt::Display;

use inquire::validator::Validation;
use inquire::{Confirm, InquireError, Password, PasswordDisplayMode, Select, Text};
use keyferry_domain::secret::SecretString;

use crate::error::{CliError, Kind};

type Result<T> = std::result::Result<T, CliError>;

fn failed(error: InquireError) -> CliError {
    match error {
        InquireError::OperationCanceled | InquireError::OperationInterrupted => {
            CliError::invalid("canceled; nothing was changed")
        }
        error => CliError::new(Kind::Internal, "failed to ask").because(error),
    }
}

/// Asks for text that must not be empty.
pub(crate) fn text(label: &str, help: &str) -> Result<String> {
    ask_text(label, help, None, true)
}

/// Asks for text; what is entered empty is the default, or nothing.
pub(crate) fn optional_text(
    label: &str,
    help: &str,
    default: Option<&str>,
) -> Result<Option<String>> {
    let text = ask_text(label, help, default, false)?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn ask_text(label: &str, help: &str, default: Option<&str>, is_required: bool) -> Result<String> {
    let message = format!("{label}:");
    let mut prompt = Text::new(&message);
    if !help.is_empty() {
        prompt = prompt.with_help_message(help);
    }
    if let Some(default) = default {
        prompt = prompt.with_default(default);
    }
    if is_required {
        prompt = prompt.with_validator(|text: &str| {
            Ok(if text.trim().is_empty() {
                Validation::Invalid("this cannot be empty".into())
            } else {
                Validation::Valid
            })
        });
    }
    prompt.prompt().map(|text| text.trim().to_owned()).map_err(failed)
}

/// Asks for a secret without showing it.
pub(crate) fn secret(label: &str, help: &str) -> Result<SecretString> {
    hidden(label, help).prompt().map(SecretString::from).map_err(failed)
}

/// Asks for a new password, twice.
pub(crate) fn new_password(label: &str) -> Result<SecretString> {
    let message = format!("{label}:");
    Password::new(&message)
        .with_display_mode(PasswordDisplayMode::Hidden)
        .with_help_message("at least 12 characters")
        .with_custom_confirmation_message("The same again:")
        .with_custom_confirmation_error_message("that was not the same")
        .prompt()
        .map(SecretString::from)
        .map_err(failed)
}

fn hidden<'a>(label: &'a str, help: &'a str) -> Password<'a> {
    let prompt =
        Password::new(label).with_display_mode(PasswordDisplayMode::Hidden).without_confirmation();
    if help.is_empty() { prompt } else { prompt.with_help_message(help) }
}

/// Lets the person choose one of several.
pub(crate) fn select<T: Display>(label: &str, choices: Vec<T>) -> Result<T> {
    Select::new(label, choices).with_page_size(12).prompt().map_err(failed)
}

/// Asks a question whose usual answer is no.
pub(crate) fn confirm(question: &str) -> Result<bool> {
    Confirm::new(question).with_default(false).prompt().map_err(failed)
}
