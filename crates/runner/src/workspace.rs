//! The folders of one job and the environment of its processes.
//!
//! ```text
//! <work folder>/<job>/          0700, wiped when the job ends
//!   workspace/<source>/         checkouts, side by side; nothing secret is ever written here
//!   home/  tmp/                 HOME, and /tmp of the job
//!   bin/                        the helpers' names, in front of PATH
//!   scripts/                    the steps' scripts
//!   s                           the job socket
//! <memory>/keyferry-<random>/   0700: keys, registry configuration, service bindings
//! ```
//!
//! What is secret lies in memory where the machine has a file system for it. HOME does not: such
//! file systems are small and often refuse to execute what tools install below HOME.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use keyferry_delivery::service_binding::Binding;
use keyferry_domain::secret::SecretString;

use crate::beneath;
use crate::isolation::Boundary;
use crate::settings::Settings;

/// The names under which jobs find the helper.
const HELPER_NAMES: &[&str] =
    &["git-credential-keyferry", "docker-credential-keyferry", "keyferry"];

/// `sockaddr_un` has room for 108 bytes, the last of them NUL.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// The folders of one job. Dropping it wipes them.
pub(crate) struct Workspace {
    root: PathBuf,
    /// In memory where there is such a place.
    private: tempfile::TempDir,
    helper: PathBuf,
    ca_bundle: Option<PathBuf>,
    extra_path: Vec<PathBuf>,
}

impl Workspace {
    /// Makes the folders of a job called `name`.
    pub(crate) fn create(settings: &Settings, name: &str) -> io::Result<Self> {
        let root = settings.work_folder.join(name);
        beneath::make_folder(&settings.work_folder)?;
        // What an earlier try of the same job left is of no use.
        beneath::wipe(&root)?;
        let private = tempfile::Builder::new()
            .prefix("keyferry-")
            .tempdir_in(beneath::private_base(&settings.work_folder))?;
        let workspace = Self {
            root,
            private,
            helper: settings.helper_binary.clone(),
            ca_bundle: settings.ca_bundle.clone(),
            extra_path: settings.extra_path.clone(),
        };
        for folder in ["workspace", "home", "tmp", "bin", "scripts"] {
            beneath::make_folder(&workspace.root.join(folder))?;
        }
        beneath::make_folder(&workspace.bindings())?;
        for helper in HELPER_NAMES {
            symlink(&settings.helper_binary, workspace.bin().join(helper))?;
        }
        if workspace.socket().as_os_str().len() > MAX_SOCKET_PATH_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the work folder's path is too long for a socket below it",
            ));
        }
        Ok(workspace)
    }

    pub(crate) fn sources(&self) -> PathBuf {
        self.root.join("workspace")
    }

    pub(crate) fn source(&self, id: &str) -> PathBuf {
        self.sources().join(id)
    }

    pub(crate) fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(crate) fn script(&self, step: usize) -> PathBuf {
        self.root.join("scripts").join(format!("step-{step}"))
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.root.join("s")
    }

    /// Where secrets lie as files.
    pub(crate) fn private(&self) -> &Path {
        self.private.path()
    }

    pub(crate) fn bindings(&self) -> PathBuf {
        self.private().join("bindings")
    }

    /// Docker's configuration folder.
    pub(crate) fn docker(&self) -> PathBuf {
        self.private().join("docker")
    }

    /// Returns where the job finds the helper under one of its names.
    pub(crate) fn helper_path(&self, name: &str) -> PathBuf {
        self.bin().join(name)
    }

    fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// Returns what the job's processes see of all this.
    pub(crate) fn boundary(&self) -> Boundary {
        Boundary {
            writable: vec![self.root.clone(), self.private().to_path_buf()],
            readable: vec![self.bin(), self.root.join("scripts"), self.helper.clone()],
            temporary: self.temporary(),
        }
    }

    /// Writes a service binding's folder.
    pub(crate) fn write_binding(&self, binding: &Binding) -> io::Result<()> {
        let folder = self.bindings().join(&binding.name);
        beneath::wipe(&folder)?;
        beneath::make_folder(&folder)?;
        for (name, bytes) in &binding.files {
            beneath::write_file(&folder.join(name), bytes.expose())?;
        }
        Ok(())
    }

    /// Writes which registries are asked of us, for Docker and for podman, buildah and skopeo.
    pub(crate) fn write_docker_configuration(&self, registries: &[String]) -> io::Result<()> {
        beneath::make_folder(&self.docker())?;
        let text = keyferry_delivery::docker::config_file(registries);
        beneath::write_file(&self.docker().join("config.json"), text.as_bytes())
    }

    /// Returns the whole environment of the job's processes, before what steps add.
    pub(crate) fn environment(&self) -> BTreeMap<String, SecretString> {
        let mut path = vec![self.bin()];
        path.extend(self.extra_path.iter().cloned());
        path.extend(
            ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
                .map(PathBuf::from),
        );
        let path: Vec<String> = path.iter().map(|part| text(part)).collect();
        let home = text(&self.root.join("home"));
        let docker = self.docker();
        let mut environment: BTreeMap<String, SecretString> = [
            ("CI", "true".to_owned()),
            ("DOCKER_CONFIG", text(&docker)),
            ("HOME", home),
            ("KEYFERRY_SOCKET", text(&self.socket())),
            ("LANG", "C.UTF-8".to_owned()),
            ("LOGNAME", "keyferry".to_owned()),
            ("PATH", path.join(":")),
            ("REGISTRY_AUTH_FILE", text(&docker.join("config.json"))),
            ("SERVICE_BINDING_ROOT", text(&self.bindings())),
            ("SHELL", "/bin/sh".to_owned()),
            ("TERM", "dumb".to_owned()),
            ("TMPDIR", text(&self.temporary())),
            ("USER", "keyferry".to_owned()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
        if let Some(bundle) = &self.ca_bundle {
            for name in ["GIT_SSL_CAINFO", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"]
            {
                environment.insert(name.to_owned(), text(bundle).into());
            }
        }
        environment
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // The private folder goes first and with its field; this one is next.
        if let Err(error) = beneath::wipe(self.private.path()) {
            tracing::warn!(%error, "a job's private folder could not be wiped");
        }
        if let Err(error) = beneath::wipe(&self.root) {
            tracing::warn!(%error, "a job's folder could not be wiped");
        }
    }
}

/// Removes what jobs of an earlier life of this runner left, and makes the folder private.
pub(crate) fn prepare(work_folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    beneath::make_folder(work_folder)?;
    fs::set_permissions(work_folder, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(work_folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("job_") {
            beneath::wipe(&entry.path())?;
        }
    }
    Ok(())
}

/// Returns a path as text. Paths that are not text are refused when the runner starts.
pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
