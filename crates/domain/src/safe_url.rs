//! Addresses that people give: parsed once, and never with a password inside.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

/// An absolute URL with a host and without user information, query or fragment.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SafeUrl(Url);

/// The text is not an address that Keyferry takes. Never repeats the text: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// Not a URL.
    #[error("read the address; write it like https://git.example.com/team/app.git")]
    NotAUrl,
    /// There is a password or a user name in it.
    #[error("take an address with a user name or password in it; put them into the credential")]
    HasUserInfo,
    /// There is a query or a fragment in it.
    #[error("take an address with `?` or `#` in it")]
    HasQuery,
    /// The scheme is not one of those accepted here.
    #[error("take this kind of address; it must start with one of: {accepted}")]
    Scheme {
        /// Schemes that are accepted.
        accepted: &'static str,
    },
}

impl SafeUrl {
    /// Reads an `http://` or `https://` address.
    pub fn parse_http(text: &str) -> Result<Self, InvalidUrl> {
        Self::parse(text, &["https", "http"], "https://, http://")
    }

    /// Reads the address of a Git repository or server: `https://`, `http://` or `ssh://`, or the
    /// short form `git@host:team/app.git`. SSH addresses keep their user name.
    pub fn parse_git(text: &str) -> Result<Self, InvalidUrl> {
        if !text.contains("://")
            && let Some((address, path)) = text.split_once(':')
            && address.contains('@')
        {
            let url = format!("ssh://{address}/{}", path.trim_start_matches('/'));
            return Self::parse(&url, &["ssh"], "ssh://");
        }
        Self::parse(text, &["https", "http", "ssh"], "https://, http://, ssh://")
    }

    fn parse(text: &str, schemes: &[&str], accepted: &'static str) -> Result<Self, InvalidUrl> {
        let url = Url::parse(text.trim()).map_err(|_| InvalidUrl::NotAUrl)?;
        if !schemes.contains(&url.scheme()) {
            return Err(InvalidUrl::Scheme { accepted });
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(InvalidUrl::NotAUrl);
        }
        let has_user = !url.username().is_empty() && url.scheme() != "ssh";
        if has_user || url.password().is_some() {
            return Err(InvalidUrl::HasUserInfo);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidUrl::HasQuery);
        }
        Ok(Self(url))
    }

    /// Returns the parsed URL.
    pub const fn as_url(&self) -> &Url {
        &self.0
    }

    /// Returns the URL as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Returns this address with path segments added, each percent-encoded.
    #[must_use]
    pub fn join(&self, segments: &[&str]) -> Self {
        let mut url = self.0.clone();
        // INVARIANT: a URL with a host always has a path that can be extended.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        Self(url)
    }

    /// Returns host and, when it is not the scheme's own, port: `git.example.com:3000`.
    pub fn authority(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        match self.0.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }
}

impl fmt::Display for SafeUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.as_str())
    }
}

impl fmt::Debug for SafeUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.as_str())
    }
}

impl Serialize for SafeUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for SafeUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse_git(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_address_is_refused_and_not_repeated() {
        for text in [
            "https://alice:hunter2@git.example.com/x",
            "https://hunter2@git.example.com/x",
            "ssh://git:hunter2@h/x",
        ] {
            let error = SafeUrl::parse_git(text).unwrap_err();
            assert_eq!(error, InvalidUrl::HasUserInfo);
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn ssh_addresses_keep_their_user_and_have_a_short_form() {
        let url = SafeUrl::parse_git("git@git.example.com:team/app.git").unwrap();
        assert_eq!(url.as_str(), "ssh://git@git.example.com/team/app.git");
    }

    #[test]
    fn other_schemes_are_refused() {
        for text in [
            "file:///etc/passwd",
            "ext::sh -c id",
            "git://h/x",
            "ftp://h/x",
            "/etc/passwd",
            "http://",
        ] {
            assert!(SafeUrl::parse_git(text).is_err(), "{text}");
        }
        assert!(SafeUrl::parse_http("ssh://h/x").is_err());
        assert!(SafeUrl::parse_http("https://h/x?token=1").is_err());
    }

    #[test]
    fn segments_are_encoded() {
        let base = SafeUrl::parse_http("https://h/git/").unwrap();
        assert_eq!(base.join(&["a b", "c/d"]).as_str(), "https://h/git/a%20b/c%2Fd");
        assert_eq!(base.authority(), "h");
    }
}
