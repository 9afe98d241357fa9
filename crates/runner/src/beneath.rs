//! Private folders and files: made for one job, readable by nobody else, gone with it.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Makes a folder, mode 0700, and those above it.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file, mode 0600, in place of what was there. Never follows a link at its end: a job
/// could have put one there.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

/// Removes a folder with everything in it, also where the job took its own rights away.
pub(crate) fn wipe(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) => {
            open_up(path);
            fs::remove_dir_all(path)
        }
    }
}

/// Gives folders their rights back, so that they can be emptied. Links are not followed.
fn open_up(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    if !metadata.is_dir() {
        return;
    }
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    if let Ok(entries) = fs::read_dir(path) {
        for entry in entries.flatten() {
            open_up(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn files_are_private_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        fs::write(&outside, "before").unwrap();
        let path = folder.path().join("key");
        symlink(&outside, &path).unwrap();
        write_file(&path, b"secret").unwrap();
        assert_eq!(fs::read(&outside).unwrap(), b"before");
        assert_eq!(fs::read(&path).unwrap(), b"secret");
        assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn wiping_follows_no_link_and_needs_no_rights() {
        let folder = tempfile::tempdir().unwrap();
        let keep = folder.path().join("keep");
        fs::create_dir(&keep).unwrap();
        fs::write(keep.join("file"), "x").unwrap();
        let job = folder.path().join("job");
        make_folder(&job.join("locked/inner")).unwrap();
        symlink(&keep, job.join("locked/link")).unwrap();
        fs::set_permissions(job.join("locked"), fs::Permissions::from_mode(0o000)).unwrap();
        wipe(&job).unwrap();
        assert!(!job.exists());
        assert!(keep.join("file").exists());
        wipe(&job).unwrap();
    }
}
