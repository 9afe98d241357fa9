//! The secrets that a job was given, so that its log can hide them.
//!
//! A secret is added before it is handed over; every stream takes the new set before its next bytes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_domain::material::Material;
use keyferry_domain::secret::{SecretBytes, SecretString};
use keyferry_pipeline::masking::{Masker, Patterns};

/// Every secret that a job was given so far.
pub(crate) struct Secrets {
    known: Mutex<Known>,
    generation: AtomicU64,
}

struct Known {
    values: Vec<SecretBytes>,
    patterns: Arc<Patterns>,
}

impl Secrets {
    pub(crate) fn new() -> Self {
        let patterns = Arc::new(Patterns::new(std::iter::empty()));
        Self {
            known: Mutex::new(Known { values: Vec::new(), patterns }),
            generation: AtomicU64::new(0),
        }
    }

    /// Hides this value from now on.
    pub(crate) fn add(&self, bytes: &[u8]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes.is_empty() || known.values.iter().any(|value| value.expose() == bytes) {
            return;
        }
        known.values.push(SecretBytes::new(bytes.to_vec()));
        let patterns = Patterns::new(known.values.iter().map(|value| value.expose().as_slice()));
        known.patterns = Arc::new(patterns);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Hides every secret of this material.
    pub(crate) fn add_material(&self, material: &Material) {
        match material {
            Material::Password { username, password } => {
                self.add(password.expose().as_bytes());
                // What goes over the wire as basic authentication, and what curl -v prints of it. Not
                // the pair as it is: a line that ends in the name would be held back as its beginning.
                let pair = SecretString::from(format!("{username}:{}", password.expose()));
                self.add(SecretString::from(STANDARD.encode(pair.expose())).expose().as_bytes());
            }
            Material::SshKey { private_key, .. } => self.add(private_key.expose().as_bytes()),
            Material::Values { values, files } => {
                for value in values.values() {
                    self.add(value.expose().as_bytes());
                }
                for bytes in files.values() {
                    self.add(bytes.expose());
                }
            }
        }
    }

    fn patterns(&self) -> Arc<Patterns> {
        Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner).patterns)
    }
}

/// One stream with the job's secrets hidden.
pub(crate) struct MaskedStream {
    secrets: Arc<Secrets>,
    generation: u64,
    masker: Masker,
}

impl MaskedStream {
    pub(crate) fn new(secrets: Arc<Secrets>) -> Self {
        let generation = secrets.generation.load(Ordering::Acquire);
        let masker = Masker::new(secrets.patterns());
        Self { secrets, generation, masker }
    }

    /// Takes bytes and returns those that are certain by now.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let generation = self.secrets.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.generation = generation;
            self.masker.update(self.secrets.patterns());
        }
        self.masker.push(bytes)
    }

    /// Returns what a pause makes certain enough: see [`Masker::settle`].
    pub(crate) fn settle(&mut self) -> Vec<u8> {
        self.masker.settle()
    }

    /// Returns the rest.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.masker.finish()
    }
}

/// Hides the job's secrets in one text, for reasons and messages.
pub(crate) fn mask_text(secrets: &Secrets, text: &str) -> String {
    String::from_utf8_lossy(&Masker::mask(&secrets.patterns(), text.as_bytes())).into_owned()
}
