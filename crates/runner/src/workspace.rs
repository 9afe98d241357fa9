//! The folders of one job and the environment of its processes.
//!
//! ```text
//! <work folder>/<job>/          0700, wiped when the job ends
//!   workspace/<source>/         checkouts, side by side; nothing secret is ever written here
//!   home/  tmp/                 HOME, and /tmp of the job
//!   bin/                        the helpers' names, in front of PATH
//!   docker/                     which registries are asked of the helper
//!   scripts/                    the steps' scripts
//!   trust/                      certificates of private authorities; read-only for the job
//!   s                           the job socket
//! ```
//!
//! What is secret lies elsewhere, in memory: see [`Private`]. HOME does not: such file systems are
//! small and often refuse to execute what tools install below HOME.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyferry_delivery::service_binding::Binding;
use keyferry_domain::run::Isolation;
use keyferry_domain::secret::SecretString;

use crate::beneath;
use crate::isolation::Boundary;
use crate::private::{self, Private};
use crate::settings::Settings;

/// The names under which jobs find the helper.
const HELPER_NAMES: &[&str] =
    &["git-credential-keyferry", "docker-credential-keyferry", "keyferry"];

/// The folder of service bindings, below the private one.
pub(crate) const BINDINGS: &str = "bindings";

/// `sockaddr_un` has room for 108 bytes, the last of them NUL.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// The folders of one job. Dropping it wipes them.
pub(crate) struct Workspace {
    root: PathBuf,
    private: Arc<Private>,
    helper: PathBuf,
    ca_bundle: Option<PathBuf>,
    extra_path: Vec<PathBuf>,
}

impl Workspace {
    /// Makes the folders of a job called `name`, whose processes are kept apart in this way.
    pub(crate) fn create(
        settings: &Settings,
        name: &str,
        isolation: Isolation,
    ) -> io::Result<Self> {
        let root = settings.work_folder.join(name);
        beneath::make_folder(&settings.work_folder)?;
        // What an earlier try of the same job left is of no use.
        beneath::wipe(&root)?;
        let private = Private::create(isolation, &settings.work_folder, &text(&root))?;
        let workspace = Self {
            root,
            private: Arc::new(private),
            helper: settings.helper_binary.clone(),
            ca_bundle: settings.ca_bundle.clone(),
            extra_path: settings.extra_path.clone(),
        };
        for folder in ["workspace", "home", "tmp", "bin", "docker", "scripts", "trust"] {
            beneath::make_folder(&workspace.root.join(folder))?;
        }
        if let Some(folder) = workspace.private.folder() {
            beneath::make_folder(&folder.join(BINDINGS))?;
        }
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

    /// Returns what tells this job's processes from all others.
    pub(crate) fn mark(&self) -> String {
        text(&self.root)
    }

    /// Where secrets lie as files.
    pub(crate) fn private(&self) -> &Arc<Private> {
        &self.private
    }

    /// Returns where the job's processes find a secret file.
    pub(crate) fn private_path(&self, name: &str) -> PathBuf {
        self.private.root().join(name)
    }

    fn bindings(&self) -> PathBuf {
        self.private_path(BINDINGS)
    }

    /// Docker's configuration folder.
    pub(crate) fn docker(&self) -> PathBuf {
        self.root.join("docker")
    }

    /// The certificates of private authorities.
    pub(crate) fn trust(&self) -> PathBuf {
        self.root.join("trust")
    }

    /// Returns the operator's bundle, which tools trust instead of the system's.
    pub(crate) fn ca_bundle(&self) -> Option<&Path> {
        self.ca_bundle.as_deref()
    }

    /// Leads the containers tools from where they look, below the home, to a folder of ours.
    pub(crate) fn show_registry_certificates(&self, folder: &Path) -> io::Result<()> {
        let settings = self.home().join(".config/containers");
        beneath::make_folder(&settings)?;
        symlink(folder, settings.join("certs.d"))
    }

    fn home(&self) -> PathBuf {
        self.root.join("home")
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
        let mut writable = vec![self.root.clone()];
        writable.extend(self.private.folder().map(Path::to_path_buf));
        Boundary {
            writable,
            readable: vec![
                self.bin(),
                self.root.join("scripts"),
                self.trust(),
                self.helper.clone(),
            ],
            temporary: self.temporary(),
        }
    }

    /// Writes a service binding's folder.
    pub(crate) fn write_binding(&self, binding: &Binding) -> io::Result<()> {
        let folder = Path::new(BINDINGS).join(&binding.name);
        self.private.remove(&folder)?;
        for (name, bytes) in &binding.files {
            self.private.write(&folder.join(name), bytes.expose())?;
        }
        Ok(())
    }

    /// Takes all service bindings away: they are for the step that names their connections.
    pub(crate) fn clear_bindings(&self) -> io::Result<()> {
        self.private.remove(Path::new(BINDINGS))?;
        match self.private.folder() {
            Some(folder) => beneath::make_folder(&folder.join(BINDINGS)),
            None => Ok(()),
        }
    }

    /// Writes which registries are asked of us, for Docker and for podman, buildah and skopeo.
    pub(crate) fn write_docker_configuration(&self, registries: &[String]) -> io::Result<()> {
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
        let home = text(&self.home());
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
            // Git's own is in `trust`, where it leaves room for a connection's.
            for name in ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"] {
                environment.insert(name.to_owned(), text(bundle).into());
            }
        }
        environment
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = beneath::wipe(&self.root) {
            tracing::warn!(%error, "a job's folder could not be wiped");
        }
    }
}

/// Removes what jobs of an earlier life of this runner left, and what killed runners of this user
/// left in memory; makes the folder private.
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
    private::sweep(work_folder);
    Ok(())
}

/// Returns a path as text. Paths that are not text are refused when the runner starts.
pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
