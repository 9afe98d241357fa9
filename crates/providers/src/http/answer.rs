//! An answer, and what it means.

use std::time::Duration;

use bytes::Bytes;
use keyferry_domain::Timestamp;
use keyferry_domain::secret::SecretString;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::de::DeserializeOwned;
use url::Url;

use super::clean;
use crate::error::ProviderError;

/// A wait that a service asks for is believed up to here.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// What a service answered, whatever the status.
#[derive(Clone)]
pub(crate) struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; of refusals only the beginning.
    pub body: Bytes,
    /// Where it came from, after redirects.
    pub url: Url,
    /// The setting that the address came from.
    pub(super) field: &'static str,
    /// What must not show in texts.
    pub(super) secrets: Vec<SecretString>,
    /// When the answer came.
    pub(super) at: Timestamp,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither headers nor body: both may hold a token that was just minted.
        formatter.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Answer {
    /// Returns a header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns their words: the message of a JSON or plain text body, cleaned of secrets.
    pub(crate) fn words(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let said = message_of_json(&text).unwrap_or_else(|| {
            // A page for browsers tells a person nothing in an error message.
            if text.trim_start().starts_with('<') { String::new() } else { text.into_owned() }
        });
        let said = clean(&said, &self.secrets);
        if said.is_empty() { format!("HTTP {}", self.status) } else { said }
    }

    /// Returns a text cleaned of the secrets that the request was made with.
    pub(crate) fn clean(&self, text: &str) -> String {
        clean(text, &self.secrets)
    }

    /// Returns this answer when it is a success, else what its status means; `what` is the thing
    /// asked for, "repository `team/app`" for instance.
    pub(crate) fn success(self, what: &str) -> Result<Self, ProviderError> {
        if self.status.is_success() { Ok(self) } else { Err(self.error(what)) }
    }

    /// Returns what a refusal means.
    pub(crate) fn error(&self, what: &str) -> ProviderError {
        let status = self.status;
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                ProviderError::Rejected { reason: self.words() }
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                ProviderError::NotFound { what: what.to_owned() }
            }
            StatusCode::TOO_MANY_REQUESTS => {
                ProviderError::RateLimited { retry_after: self.retry_after() }
            }
            StatusCode::REQUEST_TIMEOUT => {
                ProviderError::Unavailable { reason: format!("HTTP {status}") }
            }
            _ if status.is_server_error() => {
                ProviderError::Unavailable { reason: format!("HTTP {status}: {}", self.words()) }
            }
            _ if status.is_redirection() => self.redirect_error(),
            _ => ProviderError::Unexpected { reason: format!("HTTP {status}: {}", self.words()) },
        }
    }

    /// Reads the body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, ProviderError> {
        // The parser's error repeats parts of the body, so only its place is told.
        serde_json::from_slice(&self.body).map_err(|error| ProviderError::Unexpected {
            reason: format!(
                "the answer is not the JSON that was expected (line {}, column {})",
                error.line(),
                error.column()
            ),
        })
    }

    fn redirect_error(&self) -> ProviderError {
        let target = self
            .header("location")
            .and_then(|location| self.url.join(location).ok())
            .and_then(|url| url.host_str().map(|host| format!("{}://{host}", url.scheme())));
        match target {
            Some(target) => ProviderError::Misconfigured {
                field: self.field.to_owned(),
                reason: self.clean(&format!(
                    "the service sends us on to `{target}`; use its final address"
                )),
            },
            None => ProviderError::Unexpected { reason: format!("HTTP {}", self.status) },
        }
    }

    /// Reads `Retry-After`: seconds, or a date (RFC 9110 §10.2.3).
    fn retry_after(&self) -> Option<Duration> {
        let text = self.header(RETRY_AFTER.as_str())?.trim();
        let wait = match text.parse::<u64>() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => parse_http_date(text)?.since(self.at),
        };
        Some(wait.min(MAX_RETRY_AFTER))
    }
}

/// Finds the message in the JSON error shapes in use: `message`, `error_description`, `error`,
/// `detail`, `errors[].message` (OCI distribution spec).
fn message_of_json(text: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    ["message", "error_description", "error", "detail"]
        .iter()
        .find_map(|key| value.get(key).and_then(serde_json::Value::as_str))
        .or_else(|| value.pointer("/errors/0/message").and_then(serde_json::Value::as_str))
        .or_else(|| value.as_str())
        .filter(|message| !message.trim().is_empty())
        .map(str::to_owned)
}

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that may be sent (RFC 9110 §5.6.7).
fn parse_http_date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let rest = text.split_once(", ")?.1.strip_suffix(" GMT")?;
    let mut parts = rest.split(' ');
    let (day, month, year, time) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    Timestamp::parse(&format!("{year}-{month:02}-{day}T{time}Z")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: map,
            body: Bytes::copy_from_slice(body.as_bytes()),
            url: Url::parse("https://h/x").unwrap(),
            field: "base_url",
            secrets: vec!["hunter2".into()],
            at: Timestamp::parse("2026-01-01T00:00:00Z").unwrap(),
        }
    }

    #[test]
    fn refusals_carry_their_words_without_the_secret() {
        for status in [401, 403] {
            let error = answer(status, &[], r#"{"message":"bad token hunter2"}"#).error("x");
            assert_eq!(error, ProviderError::Rejected { reason: "bad token ****".into() });
        }
    }

    #[test]
    fn a_page_for_browsers_is_not_repeated() {
        let error = answer(401, &[], "<html><h1>401</h1></html>").error("x");
        assert_eq!(error, ProviderError::Rejected { reason: "HTTP 401 Unauthorized".into() });
    }

    #[test]
    fn the_wait_is_read_as_seconds_or_date() {
        for (text, seconds) in [
            ("7", Some(7)),
            ("Thu, 01 Jan 2026 00:01:00 GMT", Some(60)),
            ("Thu, 01 Jan 2025 00:01:00 GMT", Some(0)),
            ("999999999", Some(86_400)),
            ("soon", None),
            ("-1", None),
        ] {
            let error = answer(429, &[("retry-after", text)], "").error("x");
            let retry_after = seconds.map(Duration::from_secs);
            assert_eq!(error, ProviderError::RateLimited { retry_after }, "{text}");
        }
    }

    #[test]
    fn other_statuses_are_sorted() {
        let of = |status| answer(status, &[], "").error("thing `x`");
        assert_eq!(of(404), ProviderError::NotFound { what: "thing `x`".into() });
        assert!(matches!(of(500), ProviderError::Unavailable { .. }));
        assert!(matches!(of(503), ProviderError::Unavailable { .. }));
        assert!(matches!(of(418), ProviderError::Unexpected { .. }));
        assert!(answer(204, &[], "").success("x").is_ok());
    }

    #[test]
    fn a_redirect_elsewhere_names_the_setting() {
        let error = answer(302, &[("location", "https://other/x?token=1")], "").error("x");
        let ProviderError::Misconfigured { field, reason } = error else { panic!("{error}") };
        assert_eq!(field, "base_url");
        assert!(reason.contains("https://other") && !reason.contains("token"), "{reason}");
    }

    #[test]
    fn garbage_is_unexpected_and_not_repeated() {
        let error = answer(200, &[], "{\"token\": \"abc").json::<u8>().unwrap_err();
        assert!(matches!(error, ProviderError::Unexpected { .. }));
        assert!(!error.to_string().contains("abc"));
    }
}
