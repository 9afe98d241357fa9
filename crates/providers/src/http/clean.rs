//! Makes other people's words fit to show: no secrets, no control characters, a readable length.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keyferry_domain::secret::{MASK, SecretString};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Characters of foreign text that are kept.
const MAX_CHARS: usize = 300;

/// Returns `text` without the secrets, in any form they usually come back in: plain, base64,
/// percent-encoded, JSON-escaped. Runs of white space and control characters become one space,
/// and what is beyond 300 characters is cut off.
pub(crate) fn clean(text: &str, secrets: &[SecretString]) -> String {
    let mut masked = text.to_owned();
    let mut forms: Vec<String> = secrets.iter().flat_map(forms).collect();
    // Longer forms first: a short one may be part of a long one.
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    for form in &forms {
        masked = masked.replace(form.as_str(), MASK);
    }
    let mut cleaned = String::with_capacity(masked.len().min(4 * MAX_CHARS));
    let mut count = 0;
    for word in masked.split(|c: char| c.is_whitespace() || c.is_control()) {
        if word.is_empty() {
            continue;
        }
        if count > 0 {
            cleaned.push(' ');
            count += 1;
        }
        for c in word.chars().filter(|c| !is_invisible(*c)) {
            if count >= MAX_CHARS {
                cleaned.push('…');
                return cleaned;
            }
            cleaned.push(c);
            count += 1;
        }
    }
    cleaned
}

/// Tells whether a character changes how text around it is shown, without being seen itself.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn forms(secret: &SecretString) -> Vec<String> {
    let plain = secret.expose();
    let mut forms = vec![
        plain.clone(),
        STANDARD.encode(plain),
        URL_SAFE_NO_PAD.encode(plain),
        utf8_percent_encode(plain, NON_ALPHANUMERIC).to_string(),
        serde_json::Value::from(plain.as_str()).to_string().trim_matches('"').to_owned(),
    ];
    forms.extend(plain.lines().map(str::trim).filter(|line| line.len() >= 8).map(str::to_owned));
    forms.retain(|form| !form.is_empty());
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_in_every_form() {
        let secrets = ["hunter2/\"x\"".into()];
        for text in [
            "bad password hunter2/\"x\"",
            "aHVudGVyMi8ieCI=",
            "hunter2%2F%22x%22",
            r#"{"password":"hunter2/\"x\""}"#,
        ] {
            let cleaned = clean(text, &secrets);
            assert!(!cleaned.contains("hunter2") && !cleaned.contains("aHVu"), "{cleaned}");
            assert!(cleaned.contains(MASK), "{cleaned}");
        }
    }

    #[test]
    fn each_line_of_a_key_is_masked() {
        let cleaned = clean("line c2VjcmV0IGxpbmU bad", &["-----X-----\nc2VjcmV0IGxpbmU\n".into()]);
        assert_eq!(cleaned, "line **** bad");
    }

    #[test]
    fn an_empty_secret_masks_nothing() {
        assert_eq!(clean("all well", &["".into()]), "all well");
    }

    #[test]
    fn control_and_direction_characters_are_dropped() {
        assert_eq!(clean("a\x1b[31mb\r\n\t c\u{202e}d\0", &[]), "a [31mb cd");
    }

    #[test]
    fn a_long_text_is_cut() {
        let cleaned = clean(&"ü".repeat(5_000), &[]);
        assert_eq!(cleaned.chars().count(), 301);
    }

    #[test]
    fn a_secret_that_is_cut_in_half_by_the_limit_is_masked_before() {
        let text = format!("{}hunter2hunter2", "x".repeat(295));
        assert!(!clean(&text, &["hunter2hunter2".into()]).contains("hunt"));
    }
}
