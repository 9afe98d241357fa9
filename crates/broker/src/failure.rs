//! What failures of the rooms below mean for a caller.

use keyferry_domain::{Error, ErrorKind};
use keyferry_providers::ProviderError;
use keyferry_store::StoreError;

/// Turns a failed store operation into the caller's error.
pub(crate) fn store_failed(error: StoreError) -> Error {
    match error {
        StoreError::AlreadyExists { what } => {
            Error::conflict("already_exists", format!("there is such a {what} already"))
                .hint("choose another name or id")
        }
        StoreError::Stale { what, current_version: Some(version) } => {
            Error::stale(format!("the {what}"), version)
        }
        StoreError::Stale { what, current_version: None } => {
            Error::conflict("gone", format!("the {what} was deleted in the meantime"))
        }
        StoreError::InvalidCursor => {
            Error::invalid_field("/cursor", "is not a cursor of this list")
        }
        StoreError::Unavailable { .. } => {
            Error::new(ErrorKind::Unavailable, "store_unavailable", "the database does not answer")
                .hint("try again; an operator sees the cause in the server's log")
                .caused_by(error)
        }
        other => Error::internal(other),
    }
}

/// Turns a failed call of an outside service into the caller's error. The texts were cleaned of
/// secrets by the provider.
pub(crate) fn provider_failed(error: ProviderError) -> Error {
    let message = error.to_string();
    let upstream = |code| Error::new(ErrorKind::Upstream, code, message.clone());
    match error {
        ProviderError::Rejected { .. } => upstream("credential_rejected").hint(
            "replace the credential inside the connection: `keyferry connection reconfigure`",
        ),
        ProviderError::NotFound { .. } => {
            Error::new(ErrorKind::NotFound, "not_found_at_service", message)
                .hint("check the spelling, and that the connection's credential may see it")
        }
        ProviderError::RateLimited { retry_after } => {
            let limited = upstream("service_rate_limited").hint("try again later");
            match retry_after {
                Some(wait) => limited.retry_after(wait),
                None => limited,
            }
        }
        ProviderError::Unavailable { .. } => upstream("service_unavailable")
            .hint("check that the service is up and that its address is right"),
        ProviderError::Misconfigured { field, reason } => {
            Error::new(ErrorKind::Invalid, "misconfigured", format!("{field}: {reason}"))
                .hint("change this setting of the connection: `keyferry connection reconfigure`")
        }
        ProviderError::MergeConflict { paths } => {
            let list =
                if paths.is_empty() { String::new() } else { format!(" in {}", paths.join(", ")) };
            Error::conflict("merge_conflict", format!("the branches conflict{list}"))
                .hint("merge them by hand, or bring the source branch up to date first")
        }
        ProviderError::Moved { .. } => Error::conflict("branch_moved", message)
            .hint("look at what was added, then try again with the present commit"),
        ProviderError::Refused { .. } => Error::conflict("service_refused", message),
        ProviderError::Unsupported { reason } => Error::invalid("unsupported", reason),
        ProviderError::Unexpected { .. } => {
            upstream("service_unexpected").hint("check that the address is that of the service")
        }
    }
}
