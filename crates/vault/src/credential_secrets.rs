//! All secrets of one credential version, and their binary form inside the sealed value.
//!
//! The form is our own and small: it is written once into a buffer of the right size, so no copy
//! of a secret is left in memory that a growing buffer or a text format would leave.

use std::collections::BTreeMap;

use keyferry_domain::secret::{SecretBytes, SecretString};
use zeroize::Zeroizing;

use crate::sealed::SealError;

/// The secret fields and files of one credential version, by name. Names are shown by `Debug`,
/// values are not.
#[derive(Debug, Clone, Default)]
pub struct CredentialSecrets {
    /// Secret texts by field name.
    pub secrets: BTreeMap<String, SecretString>,
    /// Secret files by name.
    pub files: BTreeMap<String, SecretBytes>,
}

const FORM: u8 = 1;
/// The form is filled up to a multiple of this, so that a stolen database does not tell how long a
/// password is.
const BLOCK_BYTES: usize = 256;

/// Returns form number, then each list: its length, then each name and value after its length; then
/// zeros.
pub(crate) fn encode(
    secrets: &CredentialSecrets,
    limit_bytes: usize,
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let texts = secrets.secrets.iter().map(|(name, text)| (name, text.expose().as_bytes()));
    let files = secrets.files.iter().map(|(name, file)| (name, file.expose().as_slice()));
    let size: usize = 9 + texts
        .clone()
        .chain(files.clone())
        .map(|(name, value)| 8 + name.len() + value.len())
        .sum::<usize>();
    let padded = size.next_multiple_of(BLOCK_BYTES);
    let too_big = SealError::TooBig { size_bytes: size, limit_bytes };
    if padded > limit_bytes {
        return Err(too_big);
    }
    let length = |length: usize| u32::try_from(length).map(u32::to_be_bytes);
    let mut bytes = Zeroizing::new(Vec::with_capacity(padded));
    bytes.push(FORM);
    let mut push = |part: &[u8]| bytes.extend_from_slice(part);
    push(&length(secrets.secrets.len()).map_err(|_| too_big.clone())?);
    push(&length(secrets.files.len()).map_err(|_| too_big.clone())?);
    for (name, value) in texts.chain(files) {
        push(&length(name.len()).map_err(|_| too_big.clone())?);
        push(name.as_bytes());
        push(&length(value.len()).map_err(|_| too_big.clone())?);
        push(value);
    }
    bytes.resize(padded, 0);
    Ok(bytes)
}

/// Returns the secrets, or nothing when the bytes are not in our form to the last one.
pub(crate) fn decode(bytes: &[u8]) -> Option<CredentialSecrets> {
    let mut rest = bytes;
    if take(&mut rest, 1)? != [FORM] {
        return None;
    }
    let (text_count, file_count) = (take_length(&mut rest)?, take_length(&mut rest)?);
    let mut secrets = CredentialSecrets::default();
    for _ in 0..text_count {
        let name = take_text(&mut rest)?.to_owned();
        let value = SecretString::from(take_text(&mut rest)?);
        if secrets.secrets.insert(name, value).is_some() {
            return None;
        }
    }
    for _ in 0..file_count {
        let name = take_text(&mut rest)?.to_owned();
        let size = take_length(&mut rest)?;
        let value = SecretBytes::new(take(&mut rest, size)?.to_vec());
        if secrets.files.insert(name, value).is_some() {
            return None;
        }
    }
    (rest.len() < BLOCK_BYTES && rest.iter().all(|byte| *byte == 0)).then_some(secrets)
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn take_length(rest: &mut &[u8]) -> Option<usize> {
    let (length, left) = rest.split_first_chunk()?;
    *rest = left;
    usize::try_from(u32::from_be_bytes(*length)).ok()
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let size = take_length(rest)?;
    std::str::from_utf8(take(rest, size)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    fn sample() -> CredentialSecrets {
        CredentialSecrets {
            secrets: [("password", "hunter2"), ("empty", ""), ("lines", "a\nb\0c ü")]
                .map(|(name, text)| (name.to_owned(), text.into()))
                .into(),
            files: [("ca.pem".to_owned(), SecretBytes::new(vec![0, 255, 10]))].into(),
        }
    }

    #[test]
    fn every_value_comes_back() {
        let decoded = decode(&encode(&sample(), LIMIT).unwrap()).unwrap();
        assert_eq!(decoded.secrets["lines"].expose(), "a\nb\0c ü");
        assert_eq!(decoded.secrets["empty"].expose(), "");
        assert_eq!(decoded.files["ca.pem"].expose(), &[0, 255, 10]);
        assert_eq!((decoded.secrets.len(), decoded.files.len()), (3, 1));
    }

    #[test]
    fn cut_off_and_lengthened_forms_are_refused() {
        let bytes = encode(&sample(), LIMIT).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for length in 0..used {
            assert!(decode(&bytes[..length]).is_none(), "{length}");
        }
        for tail in [vec![1], vec![0; BLOCK_BYTES]] {
            assert!(decode(&[&bytes[..], &tail].concat()).is_none());
        }
        let mut other_form = bytes.to_vec();
        other_form[0] = 2;
        assert!(decode(&other_form).is_none());
    }

    #[test]
    fn absurd_lengths_take_no_memory() {
        let bytes = [&[FORM][..], &[255; 8], &[255; 4], b"x"].concat();
        assert!(decode(&bytes).is_none());
    }

    #[test]
    fn short_and_long_passwords_have_the_same_size() {
        let size = |text: &str| {
            let secrets = [("password".to_owned(), text.into())].into();
            let secrets = CredentialSecrets { secrets, files: BTreeMap::new() };
            encode(&secrets, LIMIT).unwrap().len()
        };
        assert_eq!(size("a"), size(&"a".repeat(128)));
    }

    #[test]
    fn more_than_the_limit_is_refused_and_debug_shows_names_only() {
        let mut secrets = sample();
        secrets.files.insert("big".to_owned(), SecretBytes::new(vec![7; LIMIT]));
        assert!(matches!(encode(&secrets, LIMIT), Err(SealError::TooBig { .. })));
        let shown = format!("{:?}", sample());
        assert!(shown.contains("password") && !shown.contains("hunter2"));
    }
}
