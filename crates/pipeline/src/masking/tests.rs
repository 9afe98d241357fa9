//! What a log shows of secrets, for any way of cutting it into chunks.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::{Masker, Patterns};

fn patterns(values: &[&str]) -> Arc<Patterns> {
    Arc::new(Patterns::new(values.iter().map(|value| value.as_bytes())))
}

fn masked(values: &[&str], text: &str) -> String {
    String::from_utf8(Masker::mask(&patterns(values), text.as_bytes())).unwrap()
}

#[test]
fn a_secret_is_replaced_and_the_rest_is_kept() {
    assert_eq!(masked(&["hunter22"], "login hunter22 ok\n"), "login **** ok\n");
    assert_eq!(masked(&["hunter22"], "hunter2 hunter23"), "hunter2 hunter23");
    assert_eq!(masked(&[], "nothing to hide"), "nothing to hide");
}

#[test]
fn values_under_four_bytes_are_not_masked() {
    assert_eq!(masked(&["abc", ""], "abc abcabc"), "abc abcabc");
}

#[test]
fn encoded_forms_are_masked() {
    let secret = "p@ss word/\"ü\"";
    for text in [
        "cEBzcyB3b3JkLyLDvCI=",
        "p%40ss%20word%2F%22%C3%BC%22",
        "p%40ss+word%2F%22%C3%BC%22",
        "p%40ss%20word%2f%22%c3%bc%22",
        "p@ss word/\\\"ü\\\"",
    ] {
        assert_eq!(masked(&[secret], &format!("<{text}>")), "<****>", "{text}");
    }
}

#[test]
fn base64_inside_a_longer_text_is_masked_at_each_alignment() {
    for user in ["a:", "ab:", "abc:"] {
        let encoded = STANDARD.encode(format!("{user}hunter22-hunter22"));
        let shown = masked(&["hunter22-hunter22"], &encoded);
        assert!(shown.contains("****"), "{shown}");
        assert!(shown.len() < 16, "{shown}");
    }
}

#[test]
fn base64_in_lines_is_masked_and_keeps_its_line_breaks() {
    let secret = "0123456789".repeat(20);
    let encoded = STANDARD.encode(&secret);
    let lines: Vec<&str> =
        encoded.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    assert_eq!(masked(&[&secret], &lines.join("\n")), "****\n****\n****\n****");
}

#[test]
fn each_line_of_a_secret_is_masked_alone() {
    let key = "-----BEGIN KEY-----\nMIIabcdef\r\n  ab\nMIIghijkl\n-----END KEY-----\n";
    let shown = masked(&[key], "x MIIghijkl y\nMIIabcdef\n");
    assert_eq!(shown, "x **** y\n****\n");
}

#[test]
fn a_secret_broken_over_two_lines_is_masked() {
    assert_eq!(masked(&["hunter22"], "hunt\r\ner22!"), "****\r\n****!");
}

#[test]
fn overlapping_secrets_are_hidden_together() {
    assert_eq!(masked(&["abcdef", "defghi"], "-abcdefghi-"), "-****-");
    assert_eq!(masked(&["abcdefgh", "cdef"], "-abcdefgX-"), "-ab****gX-");
}

#[test]
fn only_what_may_become_a_secret_is_held_back() {
    let mut masker = Masker::new(patterns(&["hunter22"]));
    assert_eq!(masker.push(b"all of this\n"), b"all of this\n");
    assert_eq!(masker.push(b"and hun"), b"and ");
    assert_eq!(masker.push(b"t no."), b"hunt no.");
    // Complete: nothing longer can follow, so it is shown at once.
    assert_eq!(masker.push(b" hunter22"), b" ****");
    assert_eq!(masker.push(b"h"), b"");
    assert_eq!(masker.finish(), b"h");
}

#[test]
fn a_secret_that_arrives_later_covers_what_is_held_back() {
    let mut masker = Masker::new(patterns(&["hunter22"]));
    assert_eq!(masker.push(b"hunter"), b"");
    masker.update(patterns(&["hunter22", "unter-xx"]));
    assert_eq!(masker.push(b"-xx."), b"h****.");
}

#[test]
fn a_pause_shows_the_end_of_a_line_that_may_begin_a_secret() {
    let mut masker = Masker::new(patterns(&["hunter22"]));
    assert_eq!(masker.push(b"waiting for h\n"), b"waiting for ");
    assert_eq!(masker.settle(), b"h\n");
    assert_eq!(masker.settle(), b"");
    assert_eq!(masker.push(b"unter22!"), b"****!", "what follows of it is hidden");
    assert_eq!(masker.push(b"h"), b"");
    assert_eq!(masker.settle(), b"h");
    assert_eq!(masker.push(b"ello hu"), b"ello ");
    assert_eq!(masker.finish(), b"hu");
}

#[test]
fn pauses_never_show_more_than_the_beginning_of_a_secret() {
    let mut masker = Masker::new(patterns(&["hunter22"]));
    let mut shown = Vec::new();
    for byte in b"hunter22" {
        shown.extend(masker.push(&[*byte]));
        shown.extend(masker.settle());
    }
    shown.extend(masker.finish());
    assert_eq!(String::from_utf8(shown).unwrap(), "hun****");
}

#[test]
fn a_secret_that_arrives_after_a_pause_covers_what_follows_it() {
    let mut masker = Masker::new(patterns(&["hunter22"]));
    assert_eq!(masker.push(b"hu"), b"");
    assert_eq!(masker.settle(), b"hu");
    assert_eq!(masker.push(b"n"), b"");
    masker.update(patterns(&["hunter22", "hunt-xx"]));
    assert_eq!(masker.push(b"t-xx."), b"****.");
    assert_eq!(masker.push(b"-hu"), b"-");
    assert_eq!(masker.settle(), b"hu");
    assert_eq!(masker.push(b"-"), b"-");
    masker.update(patterns(&["hunter22"]));
    assert_eq!(masker.push(b"nter22"), b"nter22", "what is over does not count");
}

#[test]
fn repetitive_secrets_and_logs_stay_linear() {
    let secret = "a".repeat(8_000);
    let log = "a".repeat(2_000_000);
    assert_eq!(masked(&[&secret], &log), "****");
    let almost = format!("{}b", "a".repeat(7_999));
    assert_eq!(masked(&[&almost], &log).len(), log.len());
}

#[test]
fn secrets_that_end_in_each_other_hold_nothing_back() {
    let secrets: Vec<String> = (0..200).map(|n| format!("{}-end", "x".repeat(n))).collect();
    let values: Vec<&str> = secrets.iter().map(String::as_str).collect();
    let mut masker = Masker::new(patterns(&values));
    assert_eq!(masker.push(format!("{}-end", "x".repeat(199)).as_bytes()), b"****");
}

#[test]
fn large_binary_secrets_are_masked() {
    let mut value: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[1] | 0x80).collect();
    value[17] = 0;
    let patterns = Arc::new(Patterns::new([value.as_slice()]));
    let mut log = b"before ".to_vec();
    log.extend_from_slice(&value);
    let shown = Masker::mask(&patterns, &log);
    assert!(shown.len() < 1_000 && shown.starts_with(b"before "), "{}", shown.len());
}

#[test]
fn debug_shows_no_pattern() {
    let patterns = patterns(&["hunter22"]);
    let mut masker = Masker::new(Arc::clone(&patterns));
    masker.push(b"hunter2");
    assert_eq!(format!("{masker:?}"), "Masker { held_bytes: 7, .. }");
    assert_eq!(format!("{patterns:?}"), "Patterns(****)");
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

proptest! {
    #[test]
    fn no_chunking_shows_a_secret_or_changes_the_output(
        secrets in prop::collection::vec("[ab:/ü]{4,9}", 1..4),
        pieces in prop::collection::vec(("[ab:/ü\n]{0,8}", 0_usize..4, 0_u8..5), 0..12),
        cuts in prop::collection::vec(1_usize..7, 1..40),
    ) {
        let patterns = Arc::new(Patterns::new(secrets.iter().map(String::as_bytes)));
        let mut log = String::new();
        for (noise, which, form) in &pieces {
            log.push_str(noise);
            let secret = &secrets[which % secrets.len()];
            match form {
                0 => log.push_str(secret),
                1 => log.push_str(&STANDARD.encode(secret)),
                2 => log.push_str(&STANDARD.encode(format!("u:{secret}"))),
                3 => log.push_str(&secret.replace('/', "%2F").replace(':', "%3A")),
                _ => {}
            }
        }
        let once = Masker::mask(&patterns, log.as_bytes());
        let mut masker = Masker::new(Arc::clone(&patterns));
        let mut chunked = Vec::new();
        let mut rest = log.as_bytes();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (chunk, after) = rest.split_at((*cut).min(rest.len()));
            chunked.extend(masker.push(chunk));
            rest = after;
        }
        chunked.extend(masker.finish());
        prop_assert_eq!(&once, &chunked);
        for secret in &secrets {
            prop_assert!(!contains(&once, secret.as_bytes()));
            prop_assert!(!contains(&once, STANDARD.encode(secret).as_bytes()));
        }
    }

    #[test]
    fn what_holds_no_secret_is_unchanged(log in "[c-z \r\n]{0,200}") {
        let patterns = patterns(&["AAAAAA", "BBBB\nBBBBB"]);
        prop_assert_eq!(Masker::mask(&patterns, log.as_bytes()), log.as_bytes());
    }
}
