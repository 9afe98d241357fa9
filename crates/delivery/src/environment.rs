//! Environment variables out of connections, for tools that have no helper: `${images.password}`.
//!
//! Only references of the form `${name.field}` are replaced; every other `$` is left for the shell.
//! `$${` writes `${`. What is made here is secret as a whole and is masked in logs.

use keyferry_domain::material::Material;
use keyferry_domain::secret::SecretString;

/// A piece of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Reference { name: String, field: String },
}

/// The value of a variable, with references to connections in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

/// The variable cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// Not a name for a variable.
    #[error("use `{name}` as the name of a variable")]
    Name {
        /// The name, cut to a readable length.
        name: String,
    },
    /// The job has no connection of that name.
    #[error("find a connection called `{name}`; this step has {known}")]
    UnknownConnection {
        /// The name in the reference.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// The connection has no such field.
    #[error("find `{field}` in the connection `{name}`; it has {known}")]
    UnknownField {
        /// The connection.
        name: String,
        /// The field in the reference.
        field: String,
        /// The fields that there are.
        known: String,
    },
    /// The environment cannot carry it.
    #[error("put `{name}.{field}` into a variable; it is not text, or has a NUL in it")]
    NotText {
        /// The connection.
        name: String,
        /// The field.
        field: String,
    },
}

impl Template {
    /// Reads a value. Everything is a value: what is no reference is text.
    pub fn parse(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            plain.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("$${") {
                plain.push_str("${");
                rest = after;
            } else if let Some((name, field, after)) = reference(rest) {
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(Part::Reference { name: name.to_owned(), field: field.to_owned() });
                rest = after;
            } else {
                plain.push('$');
                rest = &rest[1..];
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Self { parts }
    }

    /// Returns the names of the connections that are needed, each once.
    pub fn connections(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for part in &self.parts {
            if let Part::Reference { name, .. } = part
                && !names.contains(&name.as_str())
            {
                names.push(name.as_str());
            }
        }
        names
    }

    /// Returns the value, with what `find` knows for each name.
    pub fn render<'a>(
        &self,
        known_names: &[&str],
        find: impl Fn(&str) -> Option<&'a Material>,
    ) -> Result<SecretString, EnvironmentError> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Reference { name, field } => {
                    let material =
                        find(name).ok_or_else(|| EnvironmentError::UnknownConnection {
                            name: name.clone(),
                            known: listed(known_names),
                        })?;
                    out.push_str(&value_of(name, field, material)?);
                }
            }
        }
        Ok(out.into())
    }
}

/// Checks the name of a variable: letters, digits and underscores, no digit first.
pub fn check_name(name: &str) -> Result<(), EnvironmentError> {
    let mut bytes = name.bytes();
    let is_valid = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.len() <= 255;
    if is_valid {
        Ok(())
    } else {
        Err(EnvironmentError::Name { name: name.chars().take(80).collect() })
    }
}

/// Returns `name`, `field` and what follows, when the text starts with `${name.field}`.
fn reference(text: &str) -> Option<(&str, &str, &str)> {
    let (inside, after) = text.strip_prefix("${")?.split_once('}')?;
    let (name, field) = inside.split_once('.')?;
    let is_word = |text: &str, extra: &[u8]| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || extra.contains(&b))
    };
    (is_word(name, b"-_") && is_word(field, b"-_.")).then_some((name, field, after))
}

/// Returns one field of a connection's material as text; `name` is for the reason only.
///
/// `user` and `token` are read as `username` and `password`.
pub fn field(
    name: &str,
    field: &str,
    material: &Material,
) -> Result<SecretString, EnvironmentError> {
    value_of(name, field, material).map(SecretString::from)
}

fn value_of(name: &str, field: &str, material: &Material) -> Result<String, EnvironmentError> {
    let (known, value): (Vec<&str>, Option<Result<String, ()>>) = match material {
        Material::Password { username, password } => (
            vec!["username", "password"],
            match field {
                "username" | "user" => Some(Ok(username.clone())),
                "password" | "token" => Some(Ok(password.expose().clone())),
                _ => None,
            },
        ),
        Material::SshKey { username, private_key, known_hosts, url } => (
            vec!["username", "private_key", "known_hosts", "url"],
            match field {
                "username" => Some(Ok(username.clone())),
                "private_key" => Some(Ok(private_key.expose().clone())),
                "known_hosts" => Some(Ok(known_hosts.clone())),
                "url" => url.clone().map(Ok),
                _ => None,
            },
        ),
        Material::Values { values, files } => (
            values.keys().chain(files.keys()).map(String::as_str).collect(),
            match (values.get(field), files.get(field)) {
                (Some(value), _) => Some(Ok(value.expose().clone())),
                (None, Some(bytes)) => {
                    Some(std::str::from_utf8(bytes.expose()).map(str::to_owned).map_err(|_| ()))
                }
                (None, None) => None,
            },
        ),
    };
    match value {
        None => Err(EnvironmentError::UnknownField {
            name: name.to_owned(),
            field: field.to_owned(),
            known: listed(&known),
        }),
        Some(Ok(text)) if !text.contains('\0') => Ok(text),
        Some(_) => {
            Err(EnvironmentError::NotText { name: name.to_owned(), field: field.to_owned() })
        }
    }
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use keyferry_domain::secret::SecretBytes;
    use proptest::prelude::*;

    use super::*;

    fn render(text: &str) -> Result<String, EnvironmentError> {
        let images = Material::Password { username: "bob".into(), password: "s3${x.y}cret".into() };
        let keys = Material::Values {
            values: [("api.key".to_owned(), "K".into()), ("nul".to_owned(), "a\0b".into())].into(),
            files: [("bin".to_owned(), SecretBytes::new(vec![255]))].into(),
        };
        let find = |name: &str| match name {
            "images" => Some(&images),
            "keys" => Some(&keys),
            _ => None,
        };
        Template::parse(text).render(&["images", "keys"], find).map(|value| value.expose().clone())
    }

    #[test]
    fn references_are_replaced_once() {
        assert_eq!(
            render("https://${images.username}:${images.password}@h").unwrap(),
            "https://bob:s3${x.y}cret@h"
        );
        assert_eq!(render("${keys.api.key}").unwrap(), "K");
    }

    #[test]
    fn what_belongs_to_the_shell_is_left_alone() {
        for text in
            ["$HOME", "${HOME}", "${X:-y.z}", "${X#p.q}", "{{.Names}}", "$", "${", "${a.", "${.b}"]
        {
            assert_eq!(render(text).unwrap(), text);
        }
        assert_eq!(render("$${images.password}").unwrap(), "${images.password}");
    }

    #[test]
    fn mistyped_references_name_what_there_is() {
        assert_eq!(
            render("${image.password}").unwrap_err().to_string(),
            "find a connection called `image`; this step has `images`, `keys`"
        );
        assert_eq!(
            render("${images.secret}").unwrap_err().to_string(),
            "find `secret` in the connection `images`; it has `username`, `password`"
        );
    }

    #[test]
    fn what_a_variable_cannot_carry_is_refused() {
        for text in ["${keys.nul}", "${keys.bin}"] {
            let error = render(text).unwrap_err();
            assert!(matches!(error, EnvironmentError::NotText { .. }));
            assert!(!error.to_string().contains("a\0b"));
        }
    }

    #[test]
    fn names_of_variables_are_checked() {
        for name in ["", "1A", "A=B", "A B", "A\0", "ü", "A-B"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert!(check_name("_API_KEY2").is_ok());
    }

    proptest! {
        #[test]
        fn text_without_references_is_unchanged(text in "[^$]*") {
            prop_assert_eq!(render(&text).unwrap(), text);
        }

        #[test]
        fn reading_never_panics(text in any::<String>()) {
            let _ = Template::parse(&text).connections();
        }
    }
}
