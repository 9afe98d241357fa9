//! The end of the story: every secret of the demo is looked for wherever it could have been left.

use std::path::Path;

use anyhow::{Result, bail};
use keyferry_testkit::Canary;

use super::stage::Stage;

/// Where runners put what must not be on a disk.
const MEMORY: &str = "/dev/shm";

/// Looks, and says where.
pub(super) fn chapter(stage: &Stage<'_>) -> Result<()> {
    let secrets = secrets(stage)?;
    let folder = stage.server.folder();
    let texts = [
        ("what the commands printed", stage.narrator.told()),
        ("the server's log", stage.server.log()),
        ("the Git server's requests", stage.git.requests()),
        (
            "the registry's log",
            stage.registry.as_ref().map(|one| one.server.log()).unwrap_or_default(),
        ),
    ];
    for (what, secret) in &secrets {
        for (place, text) in &texts {
            if let Some(form) = secret.find_in(text.as_bytes()) {
                bail!("{what} is in {place}, {form}");
            }
        }
        let mut sightings = secret.find_in_files(folder)?;
        for entry in std::fs::read_dir(MEMORY).into_iter().flatten().flatten() {
            let is_ours = entry.file_name().to_string_lossy().starts_with("keyferry-");
            if is_ours && entry.path().is_dir() {
                // Another user's folder cannot be read, and is not this demo's.
                sightings.extend(secret.find_in_files(&entry.path()).unwrap_or_default());
            }
        }
        sightings.extend(secret.find_in_processes());
        if !sightings.is_empty() {
            bail!("{what} was found: {sightings:?}");
        }
    }
    let (files, bytes) = size(folder)?;
    let names: Vec<&str> = secrets.iter().map(|(what, _)| *what).collect();
    stage.narrator.note(&format!("looked for: {}", names.join(", ")));
    stage.narrator.note(
        "in every form that software turns secrets into (as they are, base64, URL-encoded, \
         JSON-escaped, hexadecimal)",
    );
    stage.narrator.fact(
        files > 0 && bytes > 0,
        &format!("none is in the {files} files ({bytes} bytes) of the server: database, log, jobs"),
    )?;
    stage.narrator.fact(
        texts.iter().take(3).all(|(_, text)| !text.is_empty()),
        "none is in what the commands printed, the servers' logs, the process list or /dev/shm",
    )
}

fn secrets(stage: &Stage<'_>) -> Result<Vec<(&'static str, Canary)>> {
    let mut secrets = vec![
        ("the first Git password", stage.passwords[0].clone()),
        ("the new Git password", stage.passwords[1].clone()),
        ("Olga's password", stage.owner.password.clone()),
        ("Mia's password", stage.member.password.clone()),
        ("Olga's session", stage.owner.session()?),
        ("Mia's session", stage.member.session()?),
    ];
    if stage.registry.is_some() {
        secrets.push(("the registry's password", stage.registry_password.clone()));
    }
    Ok(secrets)
}

/// Returns how many files are below `folder`, and their bytes together.
fn size(folder: &Path) -> Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let (more_files, more_bytes) = size(&entry.path())?;
            files += more_files;
            bytes += more_bytes;
        } else if kind.is_file() {
            files += 1;
            bytes += entry.metadata()?.len();
        }
    }
    Ok((files, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_below_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        std::fs::write(folder.path().join("a/b"), "four").unwrap();
        std::fs::write(folder.path().join("c"), "").unwrap();
        assert_eq!(size(folder.path()).unwrap(), (2, 4));
        assert!(size(&folder.path().join("none")).is_err());
    }
}
