//! Reads `WWW-Authenticate` (RFC 9110 §11.6.1): how a registry wants to be signed in to.
//!
//! One header may hold several challenges, and several headers may come; values are quoted and
//! hold commas (`scope="repository:team/app:pull,push"`).

use std::collections::BTreeMap;

/// Parameters that are kept of one challenge; a hostile header has more.
const MAX_PARAMETERS: usize = 16;

/// One way to sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    /// `basic` or `bearer`, in lower case.
    pub(super) scheme: String,
    /// Parameters by their names in lower case.
    pub(super) parameters: BTreeMap<String, String>,
}

/// Reads all challenges of one header.
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = header.trim();
    while !rest.is_empty() {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let word = &rest[..end];
        if word.is_empty() {
            // Something that is no challenge at all; skip one character and go on.
            rest = rest.get(rest.chars().next().map_or(1, char::len_utf8)..).unwrap_or("");
            continue;
        }
        let after = rest[end..].trim_start_matches([' ', '\t']);
        if let Some(value) = after.strip_prefix('=') {
            let (value, left) = parse_value(value.trim_start_matches([' ', '\t']));
            if let Some(challenge) = challenges.last_mut()
                && challenge.parameters.len() < MAX_PARAMETERS
            {
                challenge.parameters.insert(word.to_ascii_lowercase(), value);
            }
            rest = left;
        } else {
            let scheme = word.to_ascii_lowercase();
            challenges.push(Challenge { scheme, parameters: BTreeMap::new() });
            rest = after;
        }
    }
    challenges
}

/// Reads a token or a quoted string, and returns what follows.
fn parse_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[index + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(header: &str) -> String {
        let mut text = String::new();
        for challenge in parse(header) {
            text = format!("{text}{} {:?};", challenge.scheme, challenge.parameters);
        }
        text
    }

    #[test]
    fn bearer_with_commas_inside_quotes() {
        assert_eq!(
            shown(r#"Bearer realm="https://a/token",service="r", scope="repository:x:pull,push""#),
            r#"bearer {"realm": "https://a/token", "scope": "repository:x:pull,push", "service": "r"};"#
        );
    }

    #[test]
    fn several_challenges_in_one_header() {
        assert_eq!(
            shown(r#"Bearer realm="x", Basic realm="a \"b\" c", Negotiate"#),
            r#"bearer {"realm": "x"};basic {"realm": "a \"b\" c"};negotiate {};"#
        );
    }

    #[test]
    fn unquoted_values_and_odd_spaces() {
        assert_eq!(
            shown("BASIC realm = x ,charset=UTF-8"),
            r#"basic {"charset": "UTF-8", "realm": "x"};"#
        );
    }

    #[test]
    fn garbage_ends_and_never_panics() {
        for text in
            ["", ",,,", "=", "= =", "\"", "Bearer realm=\"", "Bearer realm=\"\\", "é=é,é", "a b c"]
        {
            parse(text);
        }
        let many: Vec<String> = (0..1_000).map(|index| format!("p{index}=1")).collect();
        let header = format!("Basic {}", many.join(","));
        assert_eq!(parse(&header)[0].parameters.len(), MAX_PARAMETERS);
    }
}
