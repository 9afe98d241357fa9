//! One-way functions: token hashes, fingerprints, the links of the audit chain, and comparison in
//! constant time. All are SHA-256 in lower-case hex. Passwords are not for here: see
//! [`crate::password`].

use aws_lc_rs::digest::{Context, Digest, SHA256, digest};
use keyferry_domain::token::Token;

/// Returns the hash under which a token is stored and found again.
///
/// A plain hash is enough: a token has 214 random bits, so there is nothing to guess.
pub fn hash_token(token: &Token) -> String {
    hex(&digest(&SHA256, token.text().expose().as_bytes()))
}

/// Returns the fingerprint of a text, of the canonical definition of a pipeline's place for
/// instance. Equals what `sha256sum` prints for it.
pub fn fingerprint(text: &str) -> String {
    hex(&digest(&SHA256, text.as_bytes()))
}

/// Returns the hash of an audit event: of the previous event's hash and this one's canonical text.
///
/// The first event of a chain has the empty text for `previous`. Lengths are hashed too, so no
/// other pair of texts gives the same bytes.
pub fn link(previous: &str, canonical: &str) -> String {
    tagged("keyferry audit link 1", &[previous.as_bytes(), canonical.as_bytes()])
}

/// Tells whether two texts are equal, in a time that depends on their lengths only.
pub fn constant_time_equal(left: &[u8], right: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(left, right).is_ok()
}

/// Hashes the parts with their lengths, under a tag that says what for.
pub(crate) fn tagged(tag: &str, parts: &[&[u8]]) -> String {
    let mut context = Context::new(&SHA256);
    for part in std::iter::once(&tag.as_bytes()).chain(parts) {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    hex(&context.finish())
}

fn hex(digest: &Digest) -> String {
    let digits = digest.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;
    use keyferry_domain::token::TokenKind;

    #[test]
    fn a_fingerprint_is_what_sha256sum_prints() {
        assert_eq!(
            fingerprint("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_token_hash_is_stable_and_does_not_contain_the_token() {
        let token = Token::generate(TokenKind::Job, &SystemRandom);
        let again = Token::parse(token.text().expose()).unwrap();
        let other = Token::generate(TokenKind::Job, &SystemRandom);
        assert_eq!(hash_token(&token), hash_token(&again));
        assert_ne!(hash_token(&token), hash_token(&other));
        assert_eq!(hash_token(&token).len(), 64);
    }

    #[test]
    fn a_link_depends_on_both_texts_and_on_where_one_ends() {
        let reference = link("ab", "c");
        assert_eq!(reference, link("ab", "c"));
        for (previous, canonical) in
            [("a", "bc"), ("abc", ""), ("", "abc"), ("ab", "d"), ("ac", "c")]
        {
            assert_ne!(link(previous, canonical), reference, "{previous} {canonical}");
        }
        assert_ne!(link("", "abc"), fingerprint("abc"));
    }

    #[test]
    fn stored_hashes_stay_valid_from_version_to_version() {
        assert_eq!(
            link("", "first"),
            "7e87705e45cf5a912f18a88a5eb829c55a9749b470b1f9b9a982ec0466989a5d"
        );
    }

    #[test]
    fn only_equal_texts_are_equal() {
        assert!(constant_time_equal(b"", b""));
        assert!(constant_time_equal(b"same", b"same"));
        for (left, right) in [("same", "sama"), ("same", "sam"), ("", "x"), ("Same", "same")] {
            assert!(!constant_time_equal(left.as_bytes(), right.as_bytes()));
        }
    }
}
