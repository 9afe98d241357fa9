//! What the command line reads from its environment: the only place that reads it.
//!
//! Everything is read once, at the start, into [`Environment`]. What it means is decided elsewhere;
//! see [`crate::context`]. The table in docs/reference/cli.md comes from [`VARIABLES`].

use std::ffi::OsString;
use std::path::PathBuf;

use keyferry_domain::secret::SecretString;

use crate::error::CliError;

/// Each variable that is read, with what it is for.
pub const VARIABLES: &[(&str, &str)] = &[
    ("KEYFERRY_URL", "Address of the server, like `--server`."),
    ("KEYFERRY_ORGANIZATION", "Organization to work in, by id or name, like `--organization`."),
    ("KEYFERRY_TOKEN", "API token; takes the place of the one that `keyferry login` stored."),
    ("KEYFERRY_TOKEN_FILE", "File with the API token."),
    ("KEYFERRY_RUNNER_TOKEN", "Token of the runner that `keyferry runner start` is."),
    ("KEYFERRY_RUNNER_TOKEN_FILE", "File with the runner's token."),
    ("KEYFERRY_CONFIG", "Path of the configuration file, in place of the usual one."),
    (
        "KEYFERRY_CA_FILE",
        "PEM file of certificates to trust beside the system's, like `--ca-file`.",
    ),
    ("KEYFERRY_SOCKET", "The job's socket, for the credential helpers; set by runner and `exec`."),
    ("NO_COLOR", "When set and not empty, nothing is coloured (no-color.org)."),
    ("KEYFERRY_LOG", "What `keyferry runner start` logs: `info`, or `keyferry_runner=debug`."),
    ("XDG_CONFIG_HOME", "Folder of configuration files; `~/.config` when not set."),
    ("XDG_STATE_HOME", "Folder of the runner's work; `~/.local/state` when not set."),
    (
        "XDG_RUNTIME_DIR",
        "Where `keyferry exec` makes its private folder; else TMPDIR, else `/tmp`.",
    ),
    ("TMPDIR", "See XDG_RUNTIME_DIR."),
    ("PATH", "Where the command of `keyferry exec` is looked for."),
    (
        "GIT_SSL_CAINFO",
        "What Git trusts in `keyferry exec`, but for connections with a CA certificate of their own.",
    ),
    ("HOME", "Where `~` is."),
];

/// Reads one variable by its name.
type Lookup = Box<dyn Fn(&str) -> Option<OsString>>;

/// The environment of this process.
pub struct Environment {
    lookup: Lookup,
}

impl Environment {
    /// Returns the environment that this process was started with.
    pub fn of_this_process() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the module through which the command line reads its environment"
        )]
        Self { lookup: Box::new(|name| std::env::var_os(name)) }
    }

    /// Returns an environment with exactly these variables.
    pub fn with(variables: &[(&str, &str)]) -> Self {
        let variables: Vec<(String, OsString)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        Self {
            lookup: Box::new(move |name| {
                variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
            }),
        }
    }

    /// Returns a variable's text; an empty one counts as not set.
    pub fn text(&self, name: &str) -> Result<Option<String>, CliError> {
        match (self.lookup)(name).filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(value) => value
                .into_string()
                .map(Some)
                .map_err(|_| CliError::invalid(format!("{name} is not valid UTF-8"))),
        }
    }

    /// Returns a variable as a path; an empty one counts as not set.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        (self.lookup)(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// Returns a secret from `NAME` or from the file in `NAME_FILE`; both at once is an error,
    /// since one of them would silently win.
    pub fn secret(&self, name: &str) -> Result<Option<SecretString>, CliError> {
        let file_name = format!("{name}_FILE");
        match (self.text(name)?, self.path(&file_name)) {
            (Some(_), Some(_)) => {
                Err(CliError::invalid(format!("{name} and {file_name} are both set"))
                    .hint("keep one of them"))
            }
            (Some(text), None) => Ok(Some(text.into())),
            (None, Some(path)) => crate::secret_source::read_file(&path).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// Tells whether output may be coloured at all.
    pub fn allows_color(&self) -> bool {
        (self.lookup)("NO_COLOR").is_none_or(|value| value.is_empty())
    }

    /// Returns the path of the configuration file.
    pub fn config_path(&self) -> Result<PathBuf, CliError> {
        if let Some(path) = self.path("KEYFERRY_CONFIG") {
            return Ok(path);
        }
        let folder = self.path("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
        folder
            .or_else(|| self.path("HOME").map(|home| home.join(".config")))
            .map(|folder| folder.join("keyferry").join("config.toml"))
            .ok_or_else(|| {
                CliError::invalid("there is no home folder to look for the configuration in")
                    .hint("set HOME, or KEYFERRY_CONFIG to the path of the file")
            })
    }

    /// Returns the folder for what a program keeps between its starts.
    pub fn state_folder(&self) -> Result<PathBuf, CliError> {
        let folder = self.path("XDG_STATE_HOME").filter(|path| path.is_absolute());
        folder
            .or_else(|| self.path("HOME").map(|home| home.join(".local").join("state")))
            .map(|folder| folder.join("keyferry"))
            .ok_or_else(|| {
                CliError::invalid("there is no home folder to work in")
                    .hint("set HOME, or name a folder with `--work-folder`")
            })
    }

    /// Returns where folders for a short time may be made.
    pub fn temporary_folder(&self) -> PathBuf {
        self.path("XDG_RUNTIME_DIR")
            .filter(|path| path.is_dir())
            .or_else(|| self.path("TMPDIR"))
            .unwrap_or_else(|| PathBuf::from("/tmp"))
    }

    /// Returns a path that a person typed, with a leading `~/` resolved.
    pub fn expand(&self, typed: &str) -> PathBuf {
        match (typed.strip_prefix("~/"), self.path("HOME")) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(typed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let environment = Environment::with(&[("KEYFERRY_URL", "")]);
        assert_eq!(environment.text("KEYFERRY_URL").unwrap(), None);
    }

    #[test]
    fn a_secret_given_twice_is_refused() {
        let environment =
            Environment::with(&[("KEYFERRY_TOKEN", "a"), ("KEYFERRY_TOKEN_FILE", "/b")]);
        let error = environment.secret("KEYFERRY_TOKEN").unwrap_err();
        assert_eq!(error.to_string(), "KEYFERRY_TOKEN and KEYFERRY_TOKEN_FILE are both set");
    }

    #[test]
    fn the_configuration_is_where_the_environment_says() {
        let path = |variables: &[(&str, &str)]| Environment::with(variables).config_path();
        assert_eq!(path(&[("KEYFERRY_CONFIG", "/c")]).unwrap(), PathBuf::from("/c"));
        assert_eq!(
            path(&[("HOME", "/h")]).unwrap(),
            PathBuf::from("/h/.config/keyferry/config.toml")
        );
        assert_eq!(
            path(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]).unwrap(),
            PathBuf::from("/x/keyferry/config.toml")
        );
        // The specification says that relative paths are ignored.
        assert_eq!(
            path(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "x")]).unwrap(),
            PathBuf::from("/h/.config/keyferry/config.toml")
        );
        assert!(path(&[]).is_err());
    }

    #[test]
    fn only_an_empty_no_color_allows_colour() {
        assert!(Environment::with(&[]).allows_color());
        assert!(Environment::with(&[("NO_COLOR", "")]).allows_color());
        assert!(!Environment::with(&[("NO_COLOR", "0")]).allows_color());
    }
}
