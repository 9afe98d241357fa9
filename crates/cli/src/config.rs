//! The configuration file: server, organization and the token that `keyferry login` stored.
//!
//! The file holds a secret, so it is written with mode 0600 and not read when others could read it.
//! What takes precedence over it is decided in [`crate::context`].

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use keyferry_domain::secret::SecretString;
use serde::Deserialize;

use crate::error::CliError;

/// Permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// What the file says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Address of the server.
    pub(crate) server: Option<String>,
    /// Organization to work in, by id or name.
    pub(crate) organization: Option<String>,
    /// PEM file of certificates to trust beside the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// Session or API token.
    pub(crate) token: Option<SecretString>,
}

impl Config {
    /// Reads the file; a missing one is an empty configuration.
    pub(crate) fn load(path: &Path) -> Result<Self, CliError> {
        let failed =
            |what: &str| CliError::invalid(format!("failed to {what} `{}`", path.display()));
        let mut file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed("open").because(error)),
        };
        // The permissions of the opened file, not of the path: nobody can swap it in between.
        let mode = file.metadata().map_err(|error| failed("look at").because(error))?.mode();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut file, &mut text)
            .map_err(|error| failed("read").because(error))?;
        let text = SecretString::from(text);
        // The parser's own message would repeat the line, which may be the token.
        let config: Self = toml::from_str(text.expose()).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let before = text.expose().get(..start).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            failed("understand").note(format!("line {line} is not as expected")).hint(
                "the file may set `server`, `organization`, `ca_file` and `token`, each in quotes",
            )
        })?;
        if config.token.is_some() && mode & OTHERS != 0 {
            return Err(CliError::invalid(format!(
                "`{}` holds a token and others may read it (mode {:04o})",
                path.display(),
                mode & 0o7777
            ))
            .hint(format!("run: chmod 600 '{}'", path.display()))
            .hint("if others use this machine, revoke the token and log in again"));
        }
        Ok(config)
    }

    /// Writes the file with mode 0600, as a whole or not at all.
    pub(crate) fn save(&self, path: &Path) -> Result<(), CliError> {
        let failed = |error| {
            CliError::invalid(format!("failed to write `{}`", path.display())).because(error)
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        // `tempfile` creates with mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        file.write_all(self.render().expose().as_bytes()).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    fn render(&self) -> SecretString {
        let mut text =
            "# Written by `keyferry login`. Keep it to yourself: it holds a token.\n".to_owned();
        let ca_file = self.ca_file.as_ref().map(|path| path.display().to_string());
        let entries = [
            ("server", self.server.as_deref()),
            ("organization", self.organization.as_deref()),
            ("ca_file", ca_file.as_deref()),
            ("token", self.token.as_ref().map(|token| token.expose().as_str())),
        ];
        for (name, value) in entries {
            if let Some(value) = value {
                text.push_str(name);
                text.push_str(" = ");
                text.push_str(&toml::Value::from(value).to_string());
                text.push('\n');
            }
        }
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_was_saved_is_read_back_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("config.toml");
        let config = Config {
            server: Some("https://keyferry.example.com".to_owned()),
            organization: Some("Quote \" and \\ and \n".to_owned()),
            ca_file: Some("/etc/ca.pem".into()),
            token: Some("kf_pat_x".into()),
        };
        config.save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        let read = Config::load(&path).unwrap();
        assert_eq!(read.server, config.server);
        assert_eq!(read.organization, config.organization);
        assert_eq!(read.ca_file, config.ca_file);
        assert_eq!(read.token.unwrap().expose(), "kf_pat_x");
    }

    #[test]
    fn a_token_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, "token = \"kf_pat_x\"\n").unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(Config::load(&path).is_err(), "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Config::load(&path).is_ok());
    }

    #[test]
    fn a_file_without_a_token_may_be_read_by_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, "server = \"https://keyferry.example.com\"\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Config::load(&path).is_ok());
    }

    #[test]
    fn a_broken_file_is_refused_without_repeating_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        for text in ["token = kf_pat_canary\n", "token = \"x\"\nkf_pat_canary = 1\n", "\0"] {
            fs::write(&path, text).unwrap();
            let error = format!("{:?}", Config::load(&path).unwrap_err());
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
