//! A connection as a Service Binding: a folder with one file per value.
//!
//! Source: servicebinding.io, "Workload Projection": `type` is required, `provider` recommended,
//! and names are those of a Kubernetes secret. Returns data; whoever has a private folder writes it.

use std::collections::BTreeMap;

use keyferry_domain::material::Material;
use keyferry_domain::secret::SecretBytes;

/// What lies in the folder of one binding: content by file name.
#[derive(Debug, Clone)]
pub struct Binding {
    /// The folder's name below `$SERVICE_BINDING_ROOT`.
    pub name: String,
    /// Each file by its name.
    pub files: BTreeMap<String, SecretBytes>,
}

/// The material does not make a folder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBinding {
    /// Not a name for a file: it could leave the folder.
    #[error("use `{name}` as a file name; it takes 1 to 253 letters, digits, `-`, `_` and `.`")]
    Name {
        /// The name, cut to a readable length.
        name: String,
    },
    /// A value and a file are called the same.
    #[error("make a folder of a value and a file that are both called `{name}`")]
    Twice {
        /// The name.
        name: String,
    },
}

/// Returns the folder of a binding.
///
/// `connection_type` becomes `type` unless the material brings one of its own, which is how a
/// `generic` connection says that it is for `postgresql`, say.
pub fn layout(
    name: &str,
    connection_type: &str,
    material: &Material,
) -> Result<Binding, InvalidBinding> {
    check_name(name)?;
    let mut files = BTreeMap::new();
    let mut add = |name: &str, bytes: &[u8]| {
        check_name(name)?;
        match files.insert(name.to_owned(), SecretBytes::new(bytes.to_vec())) {
            None => Ok(()),
            Some(_) => Err(InvalidBinding::Twice { name: name.to_owned() }),
        }
    };
    match material {
        Material::Password { username, password } => {
            add("username", username.as_bytes())?;
            add("password", password.expose().as_bytes())?;
        }
        Material::SshKey { username, private_key, known_hosts, url } => {
            add("username", username.as_bytes())?;
            add("private-key", private_key.expose().as_bytes())?;
            add("known_hosts", known_hosts.as_bytes())?;
            if let Some(url) = url {
                add("uri", url.as_bytes())?;
            }
        }
        Material::Values { values, files } => {
            for (name, value) in values {
                add(name, value.expose().as_bytes())?;
            }
            for (name, bytes) in files {
                add(name, bytes.expose())?;
            }
        }
    }
    for (name, value) in [("type", connection_type), ("provider", "keyferry")] {
        files.entry(name.to_owned()).or_insert_with(|| SecretBytes::new(value.as_bytes().to_vec()));
    }
    Ok(Binding { name: name.to_owned(), files })
}

/// Checks a name for a file or folder: nothing that leads elsewhere.
fn check_name(name: &str) -> Result<(), InvalidBinding> {
    let is_valid = (1..=253).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if is_valid {
        Ok(())
    } else {
        Err(InvalidBinding::Name { name: name.chars().take(80).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(binding: &'a Binding, name: &str) -> &'a str {
        std::str::from_utf8(binding.files[name].expose()).unwrap()
    }

    #[test]
    fn every_binding_has_a_type() {
        let material = Material::Password { username: "bob".into(), password: "hunter2".into() };
        let binding = layout("images", "private_docker_registry", &material).unwrap();
        assert_eq!(text(&binding, "type"), "private_docker_registry");
        assert_eq!(text(&binding, "provider"), "keyferry");
        assert_eq!(text(&binding, "password"), "hunter2");
        assert!(!format!("{binding:?}").contains("hunter2"));
    }

    #[test]
    fn a_generic_connection_may_say_its_own_type() {
        let material = Material::Values {
            values: [("type".to_owned(), "postgresql".into())].into(),
            files: [("ca.pem".to_owned(), SecretBytes::new(vec![0, 255]))].into(),
        };
        let binding = layout("db", "generic", &material).unwrap();
        assert_eq!(text(&binding, "type"), "postgresql");
        assert_eq!(binding.files["ca.pem"].expose(), &[0, 255]);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\0", "a\nb", "a b", "ü"] {
            let material = Material::Values {
                values: [(name.to_owned(), "x".into())].into(),
                files: [].into(),
            };
            assert!(layout("db", "generic", &material).is_err(), "{name:?}");
            assert!(layout(name, "generic", &material).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_value_does_not_hide_a_file() {
        let material = Material::Values {
            values: [("key".to_owned(), "x".into())].into(),
            files: [("key".to_owned(), SecretBytes::new(vec![1]))].into(),
        };
        assert_eq!(
            layout("db", "generic", &material).unwrap_err(),
            InvalidBinding::Twice { name: "key".into() }
        );
    }
}
