//! What a helper writes and how it exits. The program that runs it only has to copy this out.

use keyferry_domain::secret::SecretString;

/// The whole answer of a helper to its tool.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Goes to standard output, as it is. May hold the secret itself.
    pub stdout: SecretString,
    /// Goes to standard error, for people. Never holds a secret.
    pub stderr: String,
    /// The exit code of the helper.
    pub exit_code: u8,
}

impl Reply {
    /// Nothing to say, and that is fine.
    pub fn silent() -> Self {
        Self::success(String::new())
    }

    /// An answer for the tool.
    pub fn success(stdout: String) -> Self {
        Self { stdout: stdout.into(), stderr: String::new(), exit_code: 0 }
    }
}

/// Returns text as one printable line: what came over a wire must not steer a terminal or a log.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Returns a refusal as people read it: reason, then what can be done.
pub(crate) fn for_people(message: &str, hint: Option<&str>) -> String {
    let reason = one_line(message);
    match hint {
        Some(hint) => format!("keyferry: {reason}\nkeyferry: hint: {}\n", one_line(hint)),
        None => format!("keyferry: {reason}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_read_cannot_steer_a_terminal() {
        let text = for_people("no\u{1b}[2J\r\nmore", Some("ask\nalice"));
        assert_eq!(text, "keyferry: no [2J  more\nkeyferry: hint: ask alice\n");
    }

    #[test]
    fn debug_of_a_reply_hides_its_output() {
        assert!(!format!("{:?}", Reply::success("hunter2".to_owned())).contains("hunter2"));
    }
}
