//! The root key file on disk: created whole or not at all, replaced whole or not at all, readable
//! by its owner only. What is in it is [`crate::root_keys`]'s business.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use keyferry_domain::Random;
use zeroize::Zeroizing;

use crate::random::SystemRandom;
use crate::root_keys::RootKeysError;

/// A key file is a few hundred bytes; more is a wrong path.
const LIMIT_BYTES: u64 = 64 * 1024;

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> RootKeysError {
    let path = path.to_owned();
    move |source| RootKeysError::Io { doing, path, source }
}

/// Reads the file. Permissions are read from the open file, so they cannot change in between.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<String>, RootKeysError> {
    let mut file = File::open(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => RootKeysError::Missing { path: path.to_owned() },
        _ => RootKeysError::Io { doing: "open", path: path.to_owned(), source },
    })?;
    let metadata = file.metadata().map_err(io("read", path))?;
    if !metadata.is_file() {
        return Err(RootKeysError::NotAFile { path: path.to_owned() });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(RootKeysError::Exposed { path: path.to_owned(), mode });
    }
    if metadata.len() > LIMIT_BYTES {
        return Err(RootKeysError::Malformed { position: 1, reason: "the file is too big" });
    }
    let size = usize::try_from(metadata.len()).unwrap_or(0);
    // One byte more than the size, so that reading to the end does not grow (and copy) the text.
    let mut text = Zeroizing::new(String::with_capacity(size + 1));
    (&mut file).take(LIMIT_BYTES).read_to_string(&mut text).map_err(io("read", path))?;
    Ok(text)
}

/// Creates the file, unless there is one already (then that one stays, and this is no error).
pub(crate) fn create(path: &Path, text: &str) -> Result<(), RootKeysError> {
    let folder = folder_of(path);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(io("make the folder of", path))?;
    let temporary = write_temporary(path, text)?;
    // A hard link appears with its whole content, and fails where the name is taken.
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary).map_err(io("tidy up beside", path))?;
    match linked {
        Ok(()) => sync_folder(&folder, path),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(io("create", path)(error)),
    }
}

/// Replaces the file's content.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), RootKeysError> {
    let temporary = write_temporary(path, text)?;
    if let Err(error) = fs::rename(&temporary, path) {
        // The rename's failure is what the operator needs to see, not that of the tidying.
        let _ = fs::remove_file(&temporary);
        return Err(io("replace", path)(error));
    }
    sync_folder(&folder_of(path), path)
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Writes the text to a new file beside the path, through to the disk.
fn write_temporary(path: &Path, text: &str) -> Result<PathBuf, RootKeysError> {
    let mut suffix = [0_u8; 8];
    SystemRandom.fill(&mut suffix);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:016x}.new", u64::from_be_bytes(suffix)));
    let temporary = path.with_file_name(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(io("write beside", path))?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary);
        return Err(io("write", path)(error));
    }
    Ok(temporary)
}

/// Makes the new name survive a power loss.
fn sync_folder(folder: &Path, path: &Path) -> Result<(), RootKeysError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("save the folder of", path))
}
