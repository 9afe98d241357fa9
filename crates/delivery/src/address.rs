//! Which connection answers for an address: exact host and port, path at segment boundaries.
//!
//! The most important rule of delivery is here: a credential never goes to another host, nor to a
//! path beside its own. The caller decides what to do when nothing, or more than one, covers an
//! address.

use std::fmt;

/// Longest address that is read, in bytes.
const MAX_BYTES: usize = 4_096;

/// A place at a service: scheme where it matters, host, port, and path segments.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// `http` or `https`; absent when both will do.
    scheme: Option<String>,
    /// Lower case; IPv6 in brackets.
    host: String,
    /// Absent for the scheme's own port.
    port: Option<u16>,
    segments: Vec<String>,
}

/// The text is not an address that a credential may be given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// Longer than any real one.
    #[error("read the address, which is longer than 4096 bytes")]
    TooLong,
    /// A control character: somebody tries to slip in a second line.
    #[error("read the address, which has a control character or a space in it")]
    ControlCharacter,
    /// No host, or letters in it that no host has.
    #[error("read the host of the address")]
    Host,
    /// Not a port.
    #[error("read the port of the address")]
    Port,
    /// `.` or `..` as a path segment, or an encoded one: means another place than it says.
    #[error("take a path with `.`, `..` or an encoded slash in it")]
    Path,
}

impl Address {
    /// Reads `[scheme://]host[:port][/path]`. User information is refused, queries are not known.
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, text),
        };
        let (host, path) = match rest.split_once('/') {
            Some((host, path)) => (host, Some(path)),
            None => (rest, None),
        };
        Self::from_parts(scheme, host, path)
    }

    /// Reads the parts as a tool gives them: protocol, host with port, path.
    pub fn from_parts(
        scheme: Option<&str>,
        authority: &str,
        path: Option<&str>,
    ) -> Result<Self, InvalidAddress> {
        let path = path.unwrap_or_default();
        let length = authority.len() + path.len() + scheme.map_or(0, str::len);
        if length > MAX_BYTES {
            return Err(InvalidAddress::TooLong);
        }
        let is_bad = |letter: char| letter.is_control() || letter.is_whitespace();
        if [scheme.unwrap_or_default(), authority, path].iter().any(|part| part.contains(is_bad)) {
            return Err(InvalidAddress::ControlCharacter);
        }
        let scheme = scheme.map(str::to_ascii_lowercase);
        let (host, port) = split_authority(authority)?;
        let own_port = match scheme.as_deref() {
            Some("https") => Some(443),
            Some("http") => Some(80),
            Some("ssh") => Some(22),
            _ => None,
        };
        let port = if port == own_port { None } else { port };
        Ok(Self { scheme, host, port, segments: split_path(path)? })
    }

    /// Returns host and, when it is not the scheme's own, port.
    pub fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    /// Returns the path without slashes around it and without `.git` at its end.
    pub fn path(&self) -> String {
        self.segments.join("/")
    }

    /// Tells whether `asked` is this place or one below it.
    pub fn covers(&self, asked: &Self) -> bool {
        let same_scheme = match (&self.scheme, &asked.scheme) {
            (Some(own), Some(other)) => own == other,
            _ => true,
        };
        same_scheme
            && self.host == asked.host
            && self.port == asked.port
            && asked.segments.starts_with(&self.segments)
    }

    /// Returns the path of `asked` below this place; `None` when it is not below it.
    pub fn path_below(&self, asked: &Self) -> Option<String> {
        self.covers(asked).then(|| asked.segments[self.segments.len()..].join("/"))
    }

    /// Returns the entries that cover `asked` with the longest path: one, or several alike.
    pub fn most_specific<'a, T>(
        entries: impl IntoIterator<Item = (&'a Self, T)>,
        asked: &Self,
    ) -> Vec<T> {
        let mut best = Vec::new();
        let mut longest = 0;
        for (address, entry) in entries.into_iter().filter(|(address, _)| address.covers(asked)) {
            let length = address.segments.len();
            if length > longest {
                best.clear();
                longest = length;
            }
            if length == longest {
                best.push(entry);
            }
        }
        best
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = &self.scheme {
            write!(formatter, "{scheme}://")?;
        }
        formatter.write_str(&self.authority())?;
        for segment in &self.segments {
            write!(formatter, "/{segment}")?;
        }
        Ok(())
    }
}

fn split_authority(text: &str) -> Result<(String, Option<u16>), InvalidAddress> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']').ok_or(InvalidAddress::Host)?;
        let parsed: std::net::Ipv6Addr = inside.parse().map_err(|_| InvalidAddress::Host)?;
        let port = match after {
            "" => None,
            _ => Some(after.strip_prefix(':').ok_or(InvalidAddress::Port)?),
        };
        (format!("[{parsed}]"), port)
    } else {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if host.is_empty() || host.starts_with('-') || !host.bytes().all(is_host) {
            return Err(InvalidAddress::Host);
        }
        (host.to_ascii_lowercase(), port)
    };
    let port = match port {
        None => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            let number: u16 = digits.parse().map_err(|_| InvalidAddress::Port)?;
            Some(number).filter(|number| *number != 0).ok_or(InvalidAddress::Port).map(Some)?
        }
        Some(_) => return Err(InvalidAddress::Port),
    };
    Ok((host, port))
}

fn split_path(path: &str) -> Result<Vec<String>, InvalidAddress> {
    // Servers decode these, so the place that they would open is not the place that is compared.
    let lower = path.to_ascii_lowercase();
    if ["%2e", "%2f", "%5c", "%00", "\\"].iter().any(|bad| lower.contains(bad)) {
        return Err(InvalidAddress::Path);
    }
    let mut segments: Vec<String> =
        path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    if segments.iter().any(|part| part == "." || part == "..") {
        return Err(InvalidAddress::Path);
    }
    if let Some(last) = segments.last_mut()
        && let Some(stem) = last.strip_suffix(".git")
        && !stem.is_empty()
    {
        *last = stem.to_owned();
    }
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn a_credential_is_never_for_another_host() {
        let own = address("git.example.com/team");
        for other in [
            "git.example.com.evil.test/team/app",
            "evil.test/git.example.com/team/app",
            "xgit.example.com/team/app",
            "example.com/team/app",
            "git.example.com:8443/team/app",
            "git-example.com/team/app",
        ] {
            assert!(!own.covers(&address(other)), "{other}");
        }
    }

    #[test]
    fn a_path_ends_at_a_segment() {
        let own = address("git.example.com/team");
        assert!(own.covers(&address("git.example.com/team/app.git")));
        assert!(own.covers(&address("GIT.example.com/team")));
        assert!(!own.covers(&address("git.example.com/teams/app")));
        assert!(!own.covers(&address("git.example.com/")));
        assert!(!own.covers(&address("git.example.com/Team/app")));
    }

    #[test]
    fn the_end_of_a_repository_may_be_left_out() {
        assert!(address("h/team/app.git").covers(&address("h/team/app")));
        assert!(address("h/team/app").covers(&address("h/team/app.git")));
        assert!(!address("h/team/app").covers(&address("h/team/app2.git")));
    }

    #[test]
    fn a_place_with_a_scheme_is_only_for_that_scheme() {
        let own = address("https://h/team");
        assert!(own.covers(&address("https://h:443/team/app")));
        assert!(!own.covers(&address("http://h/team/app")));
        assert!(!own.covers(&address("https://h:80/team/app")));
        assert!(!address("http://h").covers(&address("http://h:443/x")));
    }

    #[test]
    fn paths_that_mean_another_place_are_refused() {
        for path in ["team/../other", "team/./x", "team/%2e%2e/other", "team%2Fapp", "a\\b", ".."] {
            assert_eq!(
                Address::from_parts(Some("https"), "h", Some(path)),
                Err(InvalidAddress::Path),
                "{path}"
            );
        }
    }

    #[test]
    fn hosts_that_are_none_are_refused() {
        for host in ["", "-oProxyCommand=x", "user@h", "h#x", "h?x", "ü.test", "[::1", "[x]", "a,b"]
        {
            assert_eq!(Address::from_parts(None, host, None), Err(InvalidAddress::Host), "{host}");
        }
        for host in ["h:", "h:0x1", "h:65536", "h:-1", "h:0", "[::1]x", "h:1:2"] {
            assert!(Address::from_parts(None, host, None).is_err(), "{host}");
        }
        for host in ["h\n", "h\0", "h h", "h\r"] {
            assert_eq!(
                Address::from_parts(None, host, None),
                Err(InvalidAddress::ControlCharacter)
            );
        }
    }

    #[test]
    fn the_longest_path_wins() {
        let (wide, narrow, other) = (address("h"), address("h/team"), address("h/else"));
        let entries = || vec![(&wide, 1), (&narrow, 2), (&other, 3)];
        assert_eq!(Address::most_specific(entries(), &address("h/team/app")), [2]);
        assert_eq!(Address::most_specific(entries(), &address("h/third")), [1]);
        assert!(Address::most_specific(entries(), &address("x/team/app")).is_empty());
        let twice = vec![(&narrow, 1), (&narrow, 2)];
        assert_eq!(Address::most_specific(twice, &address("h/team/app")), [1, 2]);
    }

    #[test]
    fn a_repository_is_what_is_below_the_place() {
        let own = address("h/gitea");
        assert_eq!(own.path_below(&address("h/gitea/team/app.git")).as_deref(), Some("team/app"));
        assert_eq!(own.path_below(&address("h/gitea")).as_deref(), Some(""));
        assert_eq!(own.path_below(&address("h/team/app")), None);
    }

    #[test]
    fn ipv6_hosts_have_one_spelling() {
        assert_eq!(address("[0:0::1]:8080/x").authority(), "[::1]:8080");
        assert_eq!(address("[::1]:8080/x").to_string(), "[::1]:8080/x");
    }
}
