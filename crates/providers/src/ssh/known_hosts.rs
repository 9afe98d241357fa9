//! The lines of a `known_hosts` file (sshd(8), section "known hosts file format") that are about one
//! host: plain names, patterns, and the hashed form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use russh::keys::ssh_key::public::RsaPublicKey;
use russh::keys::{Algorithm, PublicKey};
use sha1::Sha1;

use super::keys::{RSA_BITS_MIN, is_long_enough, is_spoken, signatures_of};

/// What the lines say about one host.
#[derive(Debug, Clone, Default)]
pub(super) struct HostKeys {
    /// Keys the host may show.
    pub accepted: Vec<PublicKey>,
    /// Keys it must not show any more (`@revoked`).
    pub revoked: Vec<PublicKey>,
}

/// The lines do not say enough about the host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KnownHostsError {
    /// No line is about the host.
    #[error(
        "no line is about `{name}`; `ssh-keyscan` shows the host's keys, check them before you trust them"
    )]
    Unknown {
        /// The host as it is written in such lines.
        name: String,
    },
    /// A line about the host cannot be read.
    #[error("line {line} has no key that can be read")]
    Line {
        /// Its number, from 1.
        line: usize,
    },
    /// The host is known by a certificate authority only.
    #[error(
        "line {line} trusts a certificate authority, which is not supported; give the host's own key"
    )]
    Authority {
        /// Its number, from 1.
        line: usize,
    },
    /// The host is known by keys only that this client does not speak.
    #[error("`{name}` is known by an {algorithm} key only; give its Ed25519, ECDSA or RSA key")]
    Algorithm {
        /// The host as it is written in such lines.
        name: String,
        /// The algorithm of the key.
        algorithm: String,
    },
    /// The host is known by an RSA key only that is too short, or absurdly long.
    #[error(
        "`{name}` is known by an RSA key of {bits} bits only, and {RSA_BITS_MIN} are the least; \
         give another of its keys"
    )]
    Length {
        /// The host as it is written in such lines.
        name: String,
        /// The length of the key.
        bits: u32,
    },
}

impl HostKeys {
    /// Collects what the lines say about a host.
    pub(super) fn find(text: &str, host: &str, port: u16) -> Result<Self, KnownHostsError> {
        let host = host.to_ascii_lowercase();
        let name = if port == 22 { host } else { format!("[{host}]:{port}") };
        let mut keys = Self::default();
        let mut authority = None;
        let mut unspoken = None;
        let mut odd_length = None;
        for (index, line) in text.lines().enumerate() {
            let line_number = index + 1;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (marker, rest) = match line.split_once([' ', '\t']) {
                Some((marker, rest)) if marker.starts_with('@') => {
                    (Some(marker), rest.trim_start())
                }
                _ => (None, line),
            };
            let mut words = rest.split_ascii_whitespace();
            let patterns = words.next().unwrap_or_default();
            if !is_about(patterns, &name) {
                continue;
            }
            if marker == Some("@cert-authority") {
                authority = authority.or(Some(line_number));
                continue;
            }
            let key = words
                .next()
                .zip(words.next())
                .and_then(|(kind, key)| PublicKey::from_openssh(&format!("{kind} {key}")).ok())
                .ok_or(KnownHostsError::Line { line: line_number })?;
            match marker {
                Some("@revoked") => keys.revoked.push(key),
                Some(_) => return Err(KnownHostsError::Line { line: line_number }),
                None => match key.key_data().rsa().map(RsaPublicKey::key_size) {
                    Some(bits) if !is_long_enough(bits) => odd_length = Some(bits),
                    _ if is_spoken(&key.algorithm()) => keys.accepted.push(key),
                    _ => unspoken = Some(key.algorithm().to_string()),
                },
            }
        }
        if !keys.accepted.is_empty() {
            return Ok(keys);
        }
        Err(match (odd_length, unspoken, authority) {
            (Some(bits), _, _) => KnownHostsError::Length { name, bits },
            (None, Some(algorithm), _) => KnownHostsError::Algorithm { name, algorithm },
            (None, None, Some(line)) => KnownHostsError::Authority { line },
            (None, None, None) => KnownHostsError::Unknown { name },
        })
    }

    /// Tells whether the host may show this key.
    pub(super) fn accept(&self, shown: &PublicKey) -> bool {
        let is_in =
            |keys: &[PublicKey]| keys.iter().any(|known| known.key_data() == shown.key_data());
        is_in(&self.accepted) && !is_in(&self.revoked)
    }

    /// Returns the signatures that the accepted keys can make, so that the host is asked for one of
    /// these rather than for another key of its own that nobody has confirmed.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let mut algorithms: Vec<Algorithm> = Vec::new();
        for algorithm in self.accepted.iter().flat_map(|key| signatures_of(key.algorithm())) {
            if !algorithms.contains(&algorithm) {
                algorithms.push(algorithm);
            }
        }
        algorithms
    }
}

fn is_about(patterns: &str, name: &str) -> bool {
    if let Some(hashed) = patterns.strip_prefix("|1|") {
        return is_hash_of(hashed, name);
    }
    let mut is_matched = false;
    for pattern in patterns.split(',') {
        let pattern = pattern.to_ascii_lowercase();
        match pattern.strip_prefix('!') {
            Some(excluded) if is_match(excluded.as_bytes(), name.as_bytes()) => return false,
            Some(_) => {}
            None => is_matched |= is_match(pattern.as_bytes(), name.as_bytes()),
        }
    }
    is_matched
}

/// Reads `salt|hash`: HMAC-SHA1 of the name under the salt, both in base64. It hides host names
/// from readers of the file, and protects nothing here.
fn is_hash_of(hashed: &str, name: &str) -> bool {
    let Some((salt, hash)) = hashed.split_once('|') else { return false };
    let (Ok(salt), Ok(hash)) = (STANDARD.decode(salt), STANDARD.decode(hash)) else { return false };
    Hmac::<Sha1>::new_from_slice(&salt)
        .is_ok_and(|hmac| hmac.chain_update(name).verify_slice(&hash).is_ok())
}

/// Matches `*` and `?`, in time linear to pattern times text.
fn is_match(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((star_p, star_t)) => {
                    star = Some((star_p, star_t + 1));
                    p = star_p + 1;
                    t = star_t + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
    const OTHER: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    fn find(text: &str, host: &str, port: u16) -> Result<HostKeys, KnownHostsError> {
        HostKeys::find(text, host, port)
    }

    #[test]
    fn plain_names_and_ports_are_matched() {
        let text =
            format!("# mine\n\ngit.example.com,10.0.0.1 {ED25519} comment\n[h]:2222 {ED25519}\n");
        assert_eq!(find(&text, "git.example.com", 22).unwrap().accepted.len(), 1);
        assert_eq!(find(&text, "GIT.example.com", 22).unwrap().accepted.len(), 1);
        assert_eq!(find(&text, "10.0.0.1", 22).unwrap().accepted.len(), 1);
        assert_eq!(find(&text, "h", 2222).unwrap().accepted.len(), 1);
        for (host, port) in [("git.example.com", 2222), ("h", 22), ("example.com", 22), ("", 22)] {
            assert!(
                matches!(find(&text, host, port), Err(KnownHostsError::Unknown { .. })),
                "{host}"
            );
        }
    }

    #[test]
    fn hashed_names_are_matched() {
        let salt = b"0123456789abcdefghij";
        let hash = Hmac::<Sha1>::new_from_slice(salt)
            .unwrap()
            .chain_update("git.example.com")
            .finalize()
            .into_bytes();
        let text = format!("|1|{}|{} {ED25519}\n", STANDARD.encode(salt), STANDARD.encode(hash));
        assert!(find(&text, "git.example.com", 22).is_ok());
        assert!(find(&text, "git.example.org", 22).is_err());
        assert!(find("|1|!!|!! x y\n", "git.example.com", 22).is_err());
    }

    #[test]
    fn patterns_and_exclusions_are_matched() {
        let text = format!("*.example.com,!bad.example.com,h?st {ED25519}\n");
        assert!(find(&text, "git.example.com", 22).is_ok());
        assert!(find(&text, "host", 22).is_ok());
        assert!(find(&text, "bad.example.com", 22).is_err());
        assert!(find(&text, "example.com", 22).is_err());
        assert!(is_match(b"*a*b*", b"xxaxxbxx") && !is_match(b"*a*b", b"ba"));
    }

    #[test]
    fn another_key_is_not_accepted() {
        let keys = find(&format!("h {ED25519}\n"), "h", 22).unwrap();
        assert!(keys.accept(&PublicKey::from_openssh(ED25519).unwrap()));
        assert!(!keys.accept(&PublicKey::from_openssh(OTHER).unwrap()));
        assert_eq!(keys.algorithms(), [Algorithm::Ed25519]);
    }

    #[test]
    fn a_revoked_key_is_not_accepted() {
        let keys =
            find(&format!("h {ED25519}\nh {OTHER}\n@revoked * {ED25519}\n"), "h", 22).unwrap();
        assert!(!keys.accept(&PublicKey::from_openssh(ED25519).unwrap()));
        assert!(keys.accept(&PublicKey::from_openssh(OTHER).unwrap()));
    }

    #[test]
    fn what_is_not_supported_is_said() {
        let error = find(&format!("@cert-authority h {ED25519}\n"), "h", 22).unwrap_err();
        assert_eq!(error, KnownHostsError::Authority { line: 1 });
        let error = find("x y\nh ssh-ed25519 AAAA\n", "h", 22).unwrap_err();
        assert_eq!(error, KnownHostsError::Line { line: 2 });
        assert!(find("h\n", "h", 22).is_err());
        assert!(find(&format!("@other h {ED25519}\n"), "h", 22).is_err());
    }

    #[test]
    fn a_broken_line_about_another_host_does_no_harm() {
        assert!(find(&format!("x ssh-ed25519 AAAA\nh {ED25519}\n"), "h", 22).is_ok());
    }
}
