//! Sealing and opening: the only place where plain text and stored text become each other.
//!
//! Envelope encryption: each value has a data key of its own, wrapped by a root key. The cipher is
//! in `aead`, the text form in [`crate::sealed`].

use keyferry_domain::secret::SecretBytes;

use crate::aead;
use crate::credential_secrets::{self, CredentialSecrets};
use crate::request_mark::MarkKey;
use crate::root_key::DataKey;
use crate::root_keys::RootKeys;
use crate::sealed::{OpenError, SealContext, SealError, Sealed, is_name, purpose};

/// The most that one value may hold: all secrets and files of a credential version.
pub const MAX_VALUE_BYTES: usize = 16 * 1024 * 1024;

/// Seals and opens with a set of root keys.
#[derive(Debug)]
pub struct Vault {
    root_keys: RootKeys,
    mark_key: MarkKey,
}

impl Vault {
    /// Makes a vault.
    pub const fn new(root_keys: RootKeys) -> Self {
        Self { root_keys, mark_key: MarkKey::new() }
    }

    /// Returns the root keys.
    pub const fn root_keys(&self) -> &RootKeys {
        &self.root_keys
    }

    pub(crate) const fn mark_key(&self) -> &MarkKey {
        &self.mark_key
    }

    /// Seals bytes for one context.
    pub fn seal(&self, context: &SealContext<'_>, plain: &[u8]) -> Result<Sealed, SealError> {
        if !is_name(context.field) {
            return Err(SealError::Field { field: context.field.chars().take(64).collect() });
        }
        if plain.len() > MAX_VALUE_BYTES {
            return Err(SealError::TooBig {
                size_bytes: plain.len(),
                limit_bytes: MAX_VALUE_BYTES,
            });
        }
        let root_key = self.root_keys.current();
        let mut sealed = Sealed {
            root_key: root_key.id().to_owned(),
            purpose: purpose(context),
            wrapped_key: Vec::new(),
            message: Vec::new(),
        };
        let data_key = DataKey::generate();
        sealed.message =
            aead::encrypt(data_key.expose(), sealed.message_associated().as_bytes(), plain)
                .map_err(|_| SealError::Cipher)?;
        sealed.wrapped_key = root_key
            .wrap(&data_key, sealed.key_associated(root_key.id()).as_bytes())
            .map_err(SealError::RootKey)?;
        Ok(sealed)
    }

    /// Opens what was sealed for exactly this context.
    pub fn open(&self, context: &SealContext<'_>, sealed: &str) -> Result<SecretBytes, OpenError> {
        let sealed: Sealed = sealed.parse()?;
        sealed.check_purpose(context)?;
        let data_key = self.data_key(&sealed)?;
        aead::decrypt(data_key.expose(), sealed.message_associated().as_bytes(), &sealed.message)
            .map_err(|_| OpenError::Altered)
    }

    /// Seals all secrets of one credential version together, under one data key; the context is
    /// [`SealContext::credential`]'s. Returns the text to store.
    pub fn seal_credential(
        &self,
        context: &SealContext<'_>,
        secrets: &CredentialSecrets,
    ) -> Result<String, SealError> {
        let plain = credential_secrets::encode(secrets, MAX_VALUE_BYTES)?;
        self.seal(context, &plain).map(|sealed| sealed.to_string())
    }

    /// Opens what [`Self::seal_credential`] has sealed for exactly this context.
    pub fn open_credential(
        &self,
        context: &SealContext<'_>,
        sealed: &str,
    ) -> Result<CredentialSecrets, OpenError> {
        let plain = self.open(context, sealed)?;
        credential_secrets::decode(plain.expose())
            .ok_or(OpenError::Malformed { part: "list of secrets" })
    }

    /// Returns the same value under the current root key. The message is not decrypted, only its
    /// data key changes its wrapping; a value that is under the current root key comes back as is.
    pub fn rewrap(&self, sealed: &str) -> Result<Sealed, OpenError> {
        let mut sealed: Sealed = sealed.parse()?;
        let current = self.root_keys.current();
        let data_key = self.data_key(&sealed)?;
        if sealed.root_key != current.id() {
            sealed.wrapped_key = current
                .wrap(&data_key, sealed.key_associated(current.id()).as_bytes())
                .map_err(OpenError::RootKey)?;
            current.id().clone_into(&mut sealed.root_key);
        }
        Ok(sealed)
    }

    fn data_key(&self, sealed: &Sealed) -> Result<DataKey, OpenError> {
        let root_key = self.root_keys.find(&sealed.root_key).ok_or_else(|| {
            OpenError::UnknownRootKey { id: sealed.root_key.chars().take(64).collect() }
        })?;
        root_key
            .unwrap(&sealed.wrapped_key, sealed.key_associated(root_key.id()).as_bytes())
            .map_err(OpenError::RootKey)
    }
}
