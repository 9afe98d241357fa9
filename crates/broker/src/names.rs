//! Names, addresses and passwords that people choose.

use keyferry_domain::secret::SecretString;
use keyferry_domain::{Error, Result};

/// Checks a name: 1 to 100 characters, none of them a control character, no space around it.
pub(crate) fn check_name(pointer: &str, name: &str) -> Result<String> {
    let length = name.chars().count();
    if name.trim().is_empty() {
        Err(Error::invalid_field(pointer, "is empty"))
    } else if name.trim() != name {
        Err(Error::invalid_field(pointer, "begins or ends with a space"))
    } else if length > 100 {
        Err(Error::invalid_field(pointer, format!("has {length} characters; 100 are allowed")))
    } else if name.chars().any(char::is_control) {
        Err(Error::invalid_field(pointer, "holds a control character"))
    } else {
        Ok(name.to_owned())
    }
}

/// Checks an e-mail address as far as that makes sense: it identifies, nothing is sent to it.
pub(crate) fn check_email(pointer: &str, email: &str) -> Result<String> {
    let is_valid = email.len() <= 254
        && email.chars().all(|c| !c.is_control() && !c.is_whitespace())
        && email.split_once('@').is_some_and(|(name, host)| {
            !name.is_empty() && !host.is_empty() && !host.contains('@')
        });
    if is_valid {
        Ok(email.to_owned())
    } else {
        Err(Error::invalid_field(pointer, "is not an e-mail address"))
    }
}

/// Checks the length of a new password: 12 to 1024 characters, as NIST SP 800-63B advises to look
/// at length only.
pub(crate) fn check_password(pointer: &str, password: &SecretString) -> Result<()> {
    let length = password.expose().chars().count();
    if length < 12 {
        Err(Error::invalid_field(pointer, "has fewer than 12 characters"))
    } else if length > 1024 {
        Err(Error::invalid_field(pointer, "has more than 1024 characters"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_deceive_or_do_not_fit_are_refused() {
        for name in ["", " ", " x", "x ", "a\nb", "a\0b", &"x".repeat(101)] {
            assert!(check_name("/name", name).is_err(), "{name:?}");
        }
        assert!(check_name("/name", &"ü".repeat(100)).is_ok());
    }

    #[test]
    fn addresses_without_a_host_or_with_spaces_are_refused() {
        for email in ["", "x", "@", "a@", "@b", "a b@c", "a@b@c", "a@b\n"] {
            assert!(check_email("/email", email).is_err(), "{email:?}");
        }
        assert!(check_email("/email", "alice@example.com").is_ok());
    }

    #[test]
    fn short_and_endless_passwords_are_refused_without_telling_them() {
        let error = check_password("/password", &"hunter2".into()).unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"));
        assert!(check_password("/password", &"x".repeat(1025).into()).is_err());
        assert!(check_password("/password", &"x".repeat(12).into()).is_ok());
    }
}
