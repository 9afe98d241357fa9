//! The vault as its users see it: what is sealed opens for exactly its context and for nothing
//! else, and nothing it prints holds a secret.

use keyferry_domain::SystemClock;
use keyferry_domain::id::{CredentialId, OrganizationId};
use keyferry_domain::secret::SecretBytes;
use keyferry_vault::{
    CredentialSecrets, LocalRootKey, OpenError, RootKey, RootKeyError, RootKeys, SealContext,
    SealError, Sealed, SystemRandom, Vault,
};
use proptest::prelude::*;

const CANARY: &str = "canary-5d0c1e-do-not-leak";

struct Ids(OrganizationId, CredentialId);

fn ids() -> Ids {
    Ids(
        OrganizationId::generate(&SystemClock, &SystemRandom),
        CredentialId::generate(&SystemClock, &SystemRandom),
    )
}

impl Ids {
    fn context(&self) -> SealContext<'_> {
        SealContext { organization: &self.0, credential: &self.1, version: 3, field: "password" }
    }
}

fn vault() -> Vault {
    Vault::new(RootKeys::ephemeral())
}

#[test]
fn another_organization_credential_version_or_field_is_refused_by_name() {
    let (vault, ids, others) = (vault(), ids(), ids());
    let context = ids.context();
    let sealed = vault.seal(&context, CANARY.as_bytes()).unwrap().to_string();
    assert_eq!(vault.open(&context, &sealed).unwrap().expose(), CANARY.as_bytes());
    for (other, part) in [
        (SealContext { organization: &others.0, ..context }, "organization"),
        (SealContext { credential: &others.1, ..context }, "credential"),
        (SealContext { version: 4, ..context }, "version"),
        (SealContext { version: -3, ..context }, "version"),
        (SealContext { field: "passwords", ..context }, "field"),
        (SealContext { field: "", ..context }, "field"),
        (SealContext::credential(&ids.0, &ids.1, 3), "field"),
    ] {
        assert_eq!(vault.open(&other, &sealed).unwrap_err(), OpenError::WrongContext { part });
    }
}

#[test]
fn a_header_rewritten_for_another_context_is_refused_by_the_cipher() {
    let (vault, ids, others) = (vault(), ids(), ids());
    let context = ids.context();
    let sealed = vault.seal(&context, CANARY.as_bytes()).unwrap().to_string();
    for (forged, other) in [
        (
            sealed.replace(ids.0.as_str(), others.0.as_str()),
            SealContext { organization: &others.0, ..context },
        ),
        (
            sealed.replace(ids.1.as_str(), others.1.as_str()),
            SealContext { credential: &others.1, ..context },
        ),
        (sealed.replace(":3:", ":4:"), SealContext { version: 4, ..context }),
        (
            sealed.replace(":password:", ":passwords:"),
            SealContext { field: "passwords", ..context },
        ),
    ] {
        let error = vault.open(&other, &forged).unwrap_err();
        assert_eq!(error, OpenError::RootKey(RootKeyError::Refused));
    }
}

#[test]
fn a_message_under_another_values_data_key_is_refused() {
    let (vault, ids) = (vault(), ids());
    let context = ids.context();
    let seal = || vault.seal(&context, CANARY.as_bytes()).unwrap().to_string();
    let (one, two) = (seal(), seal());
    let mixed = format!("{}:{}", one.rsplit_once(':').unwrap().0, two.rsplit_once(':').unwrap().1);
    assert_eq!(vault.open(&context, &mixed).unwrap_err(), OpenError::Altered);
}

#[test]
fn a_value_under_an_unknown_root_key_names_the_key() {
    let ids = ids();
    let sealed = vault().seal(&ids.context(), b"x").unwrap();
    let id = sealed.root_key_id().to_owned();
    let other = vault();
    let error = other.open(&ids.context(), &sealed.to_string()).unwrap_err();
    assert_eq!(error, OpenError::UnknownRootKey { id: id.clone() });
    assert!(error.to_string().contains(&id));
    assert_eq!(other.rewrap(&sealed.to_string()).unwrap_err(), OpenError::UnknownRootKey { id });
}

#[test]
fn texts_that_are_no_sealed_values_are_refused() {
    let (vault, ids) = (vault(), ids());
    let sealed = vault.seal(&ids.context(), b"x").unwrap().to_string();
    for text in [
        "",
        ":",
        ":::::::::",
        "hunter2",
        "kf-sealed-1",
        "kf-sealed-1:aes-256-gcm",
        &sealed.to_uppercase(),
        &format!("{sealed}:"),
        &format!("{sealed}="),
    ] {
        let error = vault.open(&ids.context(), text).unwrap_err();
        assert!(matches!(error, OpenError::Malformed { .. }), "{text}: {error}");
    }
    for (from, to) in [("kf-sealed-1", "kf-sealed-2"), ("aes-256-gcm", "none")] {
        let error = vault.open(&ids.context(), &sealed.replace(from, to)).unwrap_err();
        assert!(matches!(error, OpenError::Unsupported { .. }), "{error}");
    }
}

#[test]
fn every_truncation_is_refused() {
    let (vault, ids) = (vault(), ids());
    let sealed = vault.seal(&ids.context(), CANARY.as_bytes()).unwrap().to_string();
    for length in 0..sealed.len() {
        assert!(vault.open(&ids.context(), &sealed[..length]).is_err(), "{length}");
    }
}

#[test]
fn every_single_flipped_bit_is_noticed() {
    let (vault, ids) = (vault(), ids());
    let sealed = vault.seal(&ids.context(), b"secret").unwrap().to_string();
    for index in 0..sealed.len() {
        for bit in 0..8 {
            let mut bytes = sealed.clone().into_bytes();
            bytes[index] ^= 1 << bit;
            // What is no text any more cannot come out of a text column either.
            let Ok(text) = String::from_utf8(bytes) else { continue };
            assert!(vault.open(&ids.context(), &text).is_err(), "byte {index}, bit {bit}");
        }
    }
}

#[test]
fn fields_that_could_break_the_stored_form_are_refused() {
    let (vault, ids) = (vault(), ids());
    for field in ["", "a:b", "Password", "a b", "a\n", "ü", &"a".repeat(65)] {
        let error = vault.seal(&SealContext { field, ..ids.context() }, b"x").unwrap_err();
        assert!(matches!(error, SealError::Field { .. }), "{field:?}");
    }
}

#[test]
fn values_over_the_limit_are_refused() {
    let ids = ids();
    let error = vault().seal(&ids.context(), &vec![0; 16 * 1024 * 1024 + 1]).unwrap_err();
    assert!(matches!(error, SealError::TooBig { .. }));
}

/// A set of root keys made of one repeated byte each, so that the same key can be in two sets.
fn keys(current: u8, others: &[u8]) -> RootKeys {
    let key = |byte: u8| -> Box<dyn RootKey> { Box::new(LocalRootKey::from_bytes([byte; 32])) };
    RootKeys::new(key(current), others.iter().copied().map(key).collect())
}

#[test]
fn a_rotation_rewraps_data_keys_and_leaves_messages_alone() {
    let ids = ids();
    let context = ids.context();
    let old = Vault::new(keys(1, &[])).seal(&context, CANARY.as_bytes()).unwrap().to_string();
    let both = Vault::new(keys(2, &[1]));
    assert_eq!(both.open(&context, &old).unwrap().expose(), CANARY.as_bytes());

    let rewrapped = both.rewrap(&old).unwrap();
    assert_eq!(rewrapped.root_key_id(), both.root_keys().current().id());
    let rewrapped = rewrapped.to_string();
    assert_eq!(old.rsplit_once(':').unwrap().1, rewrapped.rsplit_once(':').unwrap().1);
    assert_eq!(both.rewrap(&rewrapped).unwrap().to_string(), rewrapped);

    let new_only = Vault::new(keys(2, &[]));
    assert_eq!(new_only.open(&context, &rewrapped).unwrap().expose(), CANARY.as_bytes());
    assert!(matches!(new_only.open(&context, &old), Err(OpenError::UnknownRootKey { .. })));
    assert!(Vault::new(keys(1, &[])).open(&context, &rewrapped).is_err());
}

#[test]
fn a_damaged_value_is_not_rewrapped() {
    let (vault, ids) = (vault(), ids());
    let sealed = vault.seal(&ids.context(), b"x").unwrap().to_string();
    let forged = sealed.replace(":3:", ":4:");
    assert_eq!(vault.rewrap(&forged).unwrap_err(), OpenError::RootKey(RootKeyError::Refused));
}

#[test]
fn credential_secrets_come_back_whole_and_for_their_version_only() {
    let (vault, ids) = (vault(), ids());
    let secrets = CredentialSecrets {
        secrets: [("password".to_owned(), CANARY.into())].into(),
        files: [("id_ed25519".to_owned(), SecretBytes::new(vec![0; 1024 * 1024]))].into(),
    };
    let context = SealContext::credential(&ids.0, &ids.1, 1);
    let text = vault.seal_credential(&context, &secrets).unwrap();
    let opened = vault.open_credential(&context, &text).unwrap();
    assert_eq!(opened.secrets["password"].expose(), CANARY);
    assert_eq!(opened.files["id_ed25519"].expose().len(), 1024 * 1024);
    let next = SealContext::credential(&ids.0, &ids.1, 2);
    assert_eq!(
        vault.open_credential(&next, &text).unwrap_err(),
        OpenError::WrongContext { part: "version" }
    );
}

#[test]
fn bytes_that_are_no_credential_are_refused_as_one() {
    let (vault, ids) = (vault(), ids());
    let context = SealContext::credential(&ids.0, &ids.1, 1);
    let sealed = vault.seal(&context, b"not a list").unwrap().to_string();
    let error = vault.open_credential(&context, &sealed).unwrap_err();
    assert_eq!(error, OpenError::Malformed { part: "list of secrets" });
}

#[test]
fn nothing_that_is_printed_or_stored_holds_the_secret() {
    let (vault, ids, others) = (vault(), ids(), ids());
    let secrets = CredentialSecrets {
        secrets: [("password".to_owned(), CANARY.into())].into(),
        files: [("file".to_owned(), SecretBytes::new(CANARY.into()))].into(),
    };
    let context = SealContext::credential(&ids.0, &ids.1, 1);
    let text = vault.seal_credential(&context, &secrets).unwrap();
    let sealed: Sealed = text.parse().unwrap();
    let opened = vault.open_credential(&context, &text).unwrap();
    let error = vault.open(&SealContext { organization: &others.0, ..context }, &text).unwrap_err();
    let shown =
        format!("{vault:?} {secrets:?} {sealed:?} {sealed} {text} {opened:?} {error:?} {error}");
    assert!(!shown.contains(CANARY) && !shown.contains(&CANARY[..12]));
    assert!(!shown.contains(&format!("{:?}", CANARY.as_bytes())));
}

proptest! {
    #[test]
    fn whatever_is_sealed_opens_again(plain in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let (vault, ids) = (vault(), ids());
        let sealed = vault.seal(&ids.context(), &plain).unwrap().to_string();
        let opened = vault.open(&ids.context(), &sealed).unwrap();
        prop_assert_eq!(opened.expose(), &plain);
    }

    #[test]
    fn whatever_credential_is_sealed_opens_again(
        texts in prop::collection::btree_map(".{0,40}", "(?s).{0,200}", 0..6),
        files in prop::collection::btree_map(".{0,40}", prop::collection::vec(any::<u8>(), 0..300), 0..4),
    ) {
        let (vault, ids) = (vault(), ids());
        let secrets = CredentialSecrets {
            secrets: texts.iter().map(|(name, text)| (name.clone(), text.clone().into())).collect(),
            files: files.iter().map(|(name, file)| (name.clone(), SecretBytes::new(file.clone()))).collect(),
        };
        let context = SealContext::credential(&ids.0, &ids.1, 1);
        let text = vault.seal_credential(&context, &secrets).unwrap();
        let opened = vault.open_credential(&context, &text).unwrap();
        prop_assert_eq!(opened.secrets.len(), texts.len());
        prop_assert_eq!(opened.files.len(), files.len());
        for (name, text) in &texts { prop_assert_eq!(opened.secrets[name].expose(), text); }
        for (name, file) in &files { prop_assert_eq!(opened.files[name].expose(), file); }
    }

    #[test]
    fn changed_bytes_never_open(
        plain in prop::collection::vec(any::<u8>(), 0..300),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..128), 1..4),
    ) {
        let (vault, ids) = (vault(), ids());
        let sealed = vault.seal(&ids.context(), &plain).unwrap().to_string();
        let mut bytes = sealed.clone().into_bytes();
        for (index, byte) in &changes {
            let index = index.index(bytes.len());
            bytes[index] = *byte;
        }
        let text = String::from_utf8(bytes).unwrap();
        prop_assume!(text != sealed);
        prop_assert!(vault.open(&ids.context(), &text).is_err());
    }

    #[test]
    fn no_text_makes_the_reader_fall_over(text in "(?s).{0,200}") {
        prop_assert!(vault().open(&ids().context(), &text).is_err());
    }
}
