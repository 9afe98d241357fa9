//! The root keys that a server has: one seals, all open. Their text form, for the key file
//! ([`RootKeys::read_or_create`]) and for the environment ([`RootKeys::from_text`]).
//!
//! Reading the environment is the settings module's work; rewrapping what is stored after a
//! rotation is [`crate::Vault::rewrap`] and the admin command's work.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use keyferry_domain::secret::SecretString;

use crate::aead::KEY_BYTES;
use crate::key_file;
use crate::root_key::{LocalRootKey, RootKey};

/// Why there are no root keys.
#[derive(Debug, thiserror::Error)]
pub enum RootKeysError {
    /// No file there. Not repaired by making a new one: stored credentials may need the lost key.
    #[error("read the root key file `{}`; it does not exist", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Others on the machine can read or change the file.
    #[error(
        "trust the root key file `{}`; its permissions are {mode:03o}, allow only its owner (chmod 600)",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Something else than a file is in its place.
    #[error("use `{}` as the root key file; it is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A line is not a root key. Its text is not repeated here, it may be most of a key.
    #[error("read root key {position}: {reason}")]
    Malformed {
        /// Which one, counted from 1.
        position: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The same key is given twice.
    #[error("read root key {position}; `{id}` is given twice")]
    Duplicate {
        /// Which one, counted from 1.
        position: usize,
        /// The key's id.
        id: String,
    },
    /// No key at all.
    #[error("find a root key; the text has none")]
    Empty,
    /// There is no key with this id, or it is the one in use.
    #[error("remove the root key `{id}`; it is {reason}")]
    NotRemovable {
        /// The key's id.
        id: String,
        /// Why not.
        reason: &'static str,
    },
    /// The file system refused.
    #[error("{doing} the root key file `{}`", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// One root key that seals, and others that only open what they sealed before a rotation.
pub struct RootKeys {
    current: Box<dyn RootKey>,
    others: Vec<Box<dyn RootKey>>,
}

impl RootKeys {
    /// Makes the set from keys of any kind; only `current` seals.
    pub fn new(current: Box<dyn RootKey>, others: Vec<Box<dyn RootKey>>) -> Self {
        Self { current, others }
    }

    /// Makes a set of one new key that is stored nowhere; what it seals dies with the process.
    pub fn ephemeral() -> Self {
        Self::new(Box::new(LocalRootKey::generate()), Vec::new())
    }

    /// Reads keys from text: one or more, separated by line breaks, spaces or commas, the first
    /// one seals. Each is 32 bytes in base64 (`openssl rand -base64 32`), after its id and a colon
    /// when it has been written by Keyferry. Text after `#` is a comment.
    pub fn from_text(text: &SecretString) -> Result<Self, RootKeysError> {
        Self::from_local(parse(text.expose())?)
    }

    /// Reads the key file. Refuses one that others than its owner can read or write.
    pub fn read(path: &Path) -> Result<Self, RootKeysError> {
        Self::from_local(parse(&key_file::read(path)?)?)
    }

    /// Reads the key file, or creates it with a new key, readable only by its owner. When several
    /// servers start at once, all end with the same key.
    ///
    /// Use [`Self::read`] when the database already holds sealed values: a new key opens none.
    pub fn read_or_create(path: &Path) -> Result<Self, RootKeysError> {
        match Self::read(path) {
            Err(RootKeysError::Missing { .. }) => {
                key_file::create(path, &render(&[LocalRootKey::generate()]))?;
                Self::read(path)
            }
            read => read,
        }
    }

    /// Adds a new key in front of those in the file and returns them all; the new one seals from
    /// now on, the older ones open. Then rewrap what is stored, then [`Self::remove`] them.
    pub fn rotate(path: &Path) -> Result<Self, RootKeysError> {
        let mut keys = parse(&key_file::read(path)?)?;
        keys.insert(0, LocalRootKey::generate());
        key_file::replace(path, &render(&keys))?;
        Self::from_local(keys)
    }

    /// Takes a key that is no longer needed out of the file. What it protects is lost for ever, so
    /// first see that nothing stored names it ([`crate::Sealed::root_key_id`]).
    pub fn remove(path: &Path, id: &str) -> Result<Self, RootKeysError> {
        let refuse =
            |reason| RootKeysError::NotRemovable { id: id.chars().take(64).collect(), reason };
        let mut keys = parse(&key_file::read(path)?)?;
        let index =
            keys.iter().position(|key| key.id() == id).ok_or_else(|| refuse("not in the file"))?;
        if index == 0 {
            return Err(refuse("the one that seals"));
        }
        keys.remove(index);
        key_file::replace(path, &render(&keys))?;
        Self::from_local(keys)
    }

    fn from_local(keys: Vec<LocalRootKey>) -> Result<Self, RootKeysError> {
        let mut keys = keys.into_iter().map(|key| Box::new(key) as Box<dyn RootKey>);
        let current = keys.next().ok_or(RootKeysError::Empty)?;
        Ok(Self { current, others: keys.collect() })
    }

    /// Returns the key that seals.
    pub fn current(&self) -> &dyn RootKey {
        &*self.current
    }

    /// Finds a key by its id.
    pub fn find(&self, id: &str) -> Option<&dyn RootKey> {
        std::iter::once(&self.current)
            .chain(&self.others)
            .find(|key| key.id() == id)
            .map(|key| &**key)
    }

    /// Returns the ids of all keys, the one that seals first.
    pub fn ids(&self) -> Vec<&str> {
        std::iter::once(&self.current).chain(&self.others).map(|key| key.id()).collect()
    }
}

impl fmt::Debug for RootKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("RootKeys").field(&self.ids()).finish()
    }
}

fn parse(text: &str) -> Result<Vec<LocalRootKey>, RootKeysError> {
    let words = text
        .lines()
        .map(|line| line.split_once('#').map_or(line, |(before, _)| before))
        .flat_map(|line| line.split([' ', '\t', ',']))
        .filter(|word| !word.is_empty());
    let mut keys: Vec<LocalRootKey> = Vec::new();
    for (index, word) in words.enumerate() {
        let position = index + 1;
        let key =
            parse_one(word).map_err(|reason| RootKeysError::Malformed { position, reason })?;
        if keys.iter().any(|known| known.id() == key.id()) {
            return Err(RootKeysError::Duplicate { position, id: key.id().to_owned() });
        }
        keys.push(key);
    }
    if keys.is_empty() { Err(RootKeysError::Empty) } else { Ok(keys) }
}

fn parse_one(word: &str) -> Result<LocalRootKey, &'static str> {
    let (id, encoded) = word.split_once(':').map_or((None, word), |(id, rest)| (Some(id), rest));
    // One byte more than a key takes, since the decoder wants room for the padding.
    let mut bytes = Zeroizing::new([0_u8; KEY_BYTES + 1]);
    let length = STANDARD
        .decode_slice(encoded, bytes.as_mut_slice())
        .map_err(|_| "it is not 32 bytes in base64")?;
    let key: [u8; KEY_BYTES] =
        bytes[..length].try_into().map_err(|_| "it is not 32 bytes in base64")?;
    if key.iter().all(|byte| *byte == key[0]) {
        return Err("every byte of it is the same, which no generator gives");
    }
    let key = LocalRootKey::from_bytes(key);
    if id.is_some_and(|id| id != key.id()) {
        return Err("it does not belong to the id in front of it; it is mistyped or damaged");
    }
    Ok(key)
}

fn render(keys: &[LocalRootKey]) -> Zeroizing<String> {
    const HEAD: &str = "# Keyferry's root keys. Whoever has them can open every stored credential.\n\
        # The first one seals, the others only open. Keep a copy where the database's copies are not.\n";
    let mut encoded = Zeroizing::new([0_u8; KEY_BYTES.div_ceil(3) * 4]);
    let mut text = Zeroizing::new(String::with_capacity(HEAD.len() + keys.len() * 80));
    text.push_str(HEAD);
    for key in keys {
        text.push_str(key.id());
        text.push(':');
        // The buffer has the exact size, so this always fits; base64 is ASCII.
        if let Ok(length) = STANDARD.encode_slice(key.expose(), encoded.as_mut_slice()) {
            text.extend(encoded[..length].iter().map(|byte| char::from(*byte)));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
