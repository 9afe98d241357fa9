//! The text form and the key file: what is refused, and what a crash or a race leaves.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

const FIRST: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const SECOND: &str = "HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn from_text(text: &str) -> Result<RootKeys, RootKeysError> {
    RootKeys::from_text(&text.into())
}

#[test]
fn the_first_key_seals_and_all_are_found() {
    let keys = from_text(&format!("# mine\n{FIRST}, {SECOND} # old\n")).unwrap();
    let ids = keys.ids();
    assert_eq!(ids.len(), 2);
    assert_eq!(keys.current().id(), ids[0]);
    assert!(keys.find(ids[1]).is_some());
    assert!(keys.find("rk_0000000000000000").is_none());
}

#[test]
fn text_that_is_no_key_is_refused_without_being_repeated() {
    for text in [
        "hunter2",
        "rk_0000000000000000:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gIQ==",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ":",
    ] {
        let error = from_text(text).unwrap_err();
        assert!(matches!(error, RootKeysError::Malformed { position: 1, .. }), "{text}: {error}");
        let shown = format!("{error} {error:?}");
        assert!(text.len() < 3 || !shown.contains(&text[text.len() - 6..]), "{shown}");
    }
}

#[test]
fn no_key_and_the_same_key_twice_are_refused() {
    assert!(matches!(from_text(" \n# nothing\n"), Err(RootKeysError::Empty)));
    assert!(matches!(
        from_text(&format!("{FIRST} {SECOND} {FIRST}")),
        Err(RootKeysError::Duplicate { position: 3, .. })
    ));
}

#[test]
fn a_first_start_makes_a_file_that_only_its_owner_reads_and_the_next_start_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data").join("root.key");
    let id = RootKeys::read_or_create(&path).unwrap().current().id().to_owned();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(RootKeys::read_or_create(&path).unwrap().ids(), [&id]);
    let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(names.len(), 1, "no temporary file stays behind: {names:?}");
}

#[test]
fn servers_that_start_at_once_agree_on_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.key");
    let ids: std::collections::BTreeSet<String> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| RootKeys::read_or_create(&path).unwrap().current().id().to_owned())
            })
            .collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 1);
}

#[test]
fn a_file_that_others_can_reach_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.key");
    RootKeys::read_or_create(&path).unwrap();
    for mode in [0o640, 0o604, 0o620, 0o601, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = RootKeys::read_or_create(&path).unwrap_err();
        assert!(
            matches!(error, RootKeysError::Exposed { mode: seen, .. } if seen == mode),
            "{error}"
        );
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(RootKeys::read(&path).is_ok());
}

#[test]
fn a_lost_file_is_not_replaced_behind_the_operators_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.key");
    assert!(matches!(RootKeys::read(&path), Err(RootKeysError::Missing { .. })));
    assert!(matches!(RootKeys::rotate(&path), Err(RootKeysError::Missing { .. })));
    assert!(!path.exists());
}

#[test]
fn a_folder_and_a_dangling_link_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(RootKeys::read(folder.path()), Err(RootKeysError::NotAFile { .. })));
    let link = folder.path().join("root.key");
    symlink(folder.path().join("elsewhere"), &link).unwrap();
    assert!(RootKeys::read_or_create(&link).is_err());
    assert!(!folder.path().join("elsewhere").exists());
}

#[test]
fn a_damaged_file_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.key");
    RootKeys::read_or_create(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let damaged = text.trim_end()[..text.trim_end().len() - 3].to_owned();
    fs::write(&path, &damaged).unwrap();
    assert!(matches!(RootKeys::read_or_create(&path), Err(RootKeysError::Malformed { .. })));
    assert!(matches!(RootKeys::rotate(&path), Err(RootKeysError::Malformed { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
}

#[test]
fn rotation_keeps_old_keys_until_they_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.key");
    let old = RootKeys::read_or_create(&path).unwrap().current().id().to_owned();
    let rotated = RootKeys::rotate(&path).unwrap();
    let new = rotated.current().id().to_owned();
    assert_eq!(RootKeys::read(&path).unwrap().ids(), [&new, &old]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(RootKeys::remove(&path, &new), Err(RootKeysError::NotRemovable { .. })));
    assert!(matches!(RootKeys::remove(&path, "rk_x"), Err(RootKeysError::NotRemovable { .. })));
    assert_eq!(RootKeys::remove(&path, &old).unwrap().ids(), [&new]);
    assert_eq!(RootKeys::read(&path).unwrap().ids(), [&new]);
}

#[test]
fn debug_shows_ids_only() {
    let keys = from_text(FIRST).unwrap();
    let shown = format!("{keys:?}");
    assert!(shown.contains(keys.current().id()) && !shown.contains(&FIRST[..8]));
}
