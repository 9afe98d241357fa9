//! Keyferry's own tokens: a prefix that says what it is, random text, and a checksum.
//!
//! Prefix and checksum let scanners find leaked tokens without asking the server. Only the hash
//! of a token is ever stored (`vault` makes it).

use crate::clock::Random;
use crate::named::named;
use crate::secret::SecretString;

named! {
    /// What a token stands for.
    TokenKind {
        /// A person's API token.
        Personal = "kf_pat",
        /// A signed-in session.
        Session = "kf_sess",
        /// A runner.
        Runner = "kf_runner",
        /// One job, while it runs.
        Job = "kf_job",
        /// One command outside pipelines, while it runs.
        Workload = "kf_work",
        /// The one-time right to create the first owner, or to accept an invitation.
        Setup = "kf_setup",
    }
}

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_CHARS: usize = 36;
const CHECKSUM_CHARS: usize = 6;

/// A token in plain text, just made or just received.
#[derive(Debug, Clone)]
pub struct Token {
    kind: TokenKind,
    text: SecretString,
}

/// The text is not one of our tokens. Says nothing of the text, which may be another secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("read the token; it is mistyped, cut off, or not one of Keyferry's")]
pub struct InvalidToken;

impl Token {
    /// Makes a new token with 214 random bits.
    pub fn generate(kind: TokenKind, random: &dyn Random) -> Self {
        let mut body = String::with_capacity(RANDOM_CHARS);
        let mut bytes = [0_u8; 64];
        while body.len() < RANDOM_CHARS {
            random.fill(&mut bytes);
            // 248 is the largest multiple of 62 in a byte; higher ones would favour some letters.
            for byte in bytes.iter().filter(|byte| **byte < 248).take(RANDOM_CHARS - body.len()) {
                body.push(char::from(ALPHABET[usize::from(byte % 62)]));
            }
        }
        let checksum = checksum(&body);
        Self { kind, text: format!("{kind}_{body}{checksum}").into() }
    }

    /// Reads a token, checking its kind, its length and its checksum.
    pub fn parse(text: &str) -> Result<Self, InvalidToken> {
        let (kind, body) = text.rsplit_once('_').ok_or(InvalidToken)?;
        let kind: TokenKind = kind.parse().map_err(|_| InvalidToken)?;
        let is_ours = body.len() == RANDOM_CHARS + CHECKSUM_CHARS
            && body.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && checksum(&body[..RANDOM_CHARS]) == body[RANDOM_CHARS..];
        if is_ours { Ok(Self { kind, text: text.into() }) } else { Err(InvalidToken) }
    }

    /// Returns what the token stands for.
    pub const fn kind(&self) -> TokenKind {
        self.kind
    }

    /// Returns the whole token, prefix and checksum included.
    pub const fn text(&self) -> &SecretString {
        &self.text
    }

    /// Returns the first characters, safe to show in lists.
    pub fn hint(&self) -> String {
        self.text.expose().chars().take(self.kind.as_str().len() + 5).collect()
    }
}

/// Returns six characters of CRC-32 (IEEE 802.3) of the text, in base 62.
fn checksum(text: &str) -> String {
    let mut crc = u32::MAX;
    for byte in text.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    let mut rest = !crc;
    let mut out = [b'0'; CHECKSUM_CHARS];
    for slot in out.iter_mut().rev() {
        *slot = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    out.iter().map(|byte| char::from(*byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting;
    impl Random for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            for (index, byte) in bytes.iter_mut().enumerate() {
                *byte = u8::try_from(index % 256).unwrap();
            }
        }
    }

    #[test]
    fn a_token_is_read_back_with_its_kind() {
        for kind in TokenKind::ALL {
            let token = Token::generate(*kind, &Counting);
            assert_eq!(Token::parse(token.text().expose()).unwrap().kind(), *kind);
        }
    }

    #[test]
    fn one_wrong_character_is_noticed() {
        let text = Token::generate(TokenKind::Personal, &Counting).text().expose().clone();
        for index in "kf_pat_".len()..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[index] = if bytes[index] == b'x' { b'y' } else { b'x' };
            assert!(Token::parse(std::str::from_utf8(&bytes).unwrap()).is_err(), "{index}");
        }
    }

    #[test]
    fn foreign_texts_are_refused() {
        for text in ["", "_", "kf_pat_", "ghp_abc", "kf_pat_ü", "kf_nope_0123456789"] {
            assert_eq!(Token::parse(text).unwrap_err(), InvalidToken);
        }
    }

    #[test]
    fn neither_debug_nor_hint_shows_the_token() {
        let token = Token::generate(TokenKind::Personal, &Counting);
        assert!(!format!("{token:?}").contains(&token.text().expose()[7..]));
        assert_eq!(token.hint().len(), 11);
    }
}
