//! What conditions mean, and which ones are refused.

use keyferry_domain::Timestamp;
use proptest::prelude::*;

use super::{Condition, Facts};

/// A Wednesday, 10:30 in UTC.
const NOW: Timestamp = Timestamp::from_millis(1_764_153_000_000);

fn decide(text: &str, has_succeeded: bool, has_failed: bool) -> bool {
    let variable = |name: &str| match name {
        "BRANCH" => Some("release/1.2".to_owned()),
        "FLAG" => Some("true".to_owned()),
        _ => None,
    };
    Condition::parse(text).unwrap().is_met(&Facts {
        variable: &variable,
        has_succeeded,
        has_failed,
        now: NOW,
    })
}

#[test]
fn texts_are_compared_and_functions_called() {
    for text in [
        r#""${BRANCH}" == "release/1.2""#,
        "$BRANCH == release/1.2",
        "'${BRANCH}' != 'master'",
        r#"startsWith("${BRANCH}", "release/")"#,
        r#"STARTSWITH($BRANCH, "release/") && endsWith($BRANCH, ".2")"#,
        r#"contains("${BRANCH}", "/") || 1 == 2"#,
        "!(1 == 2) && !contains($BRANCH, x)",
        "$FLAG",
        r#""${UNSET}" == """#,
        "weekDay(3)",
        "weekDay('Wednesday', sun)",
        "timeIn('09:00', '18:00')",
        "timeIn('22:00', '10:31')",
        "1 == 2 || 1 == 1 && 2 == 2",
        "${{ 1 == 1 }}",
    ] {
        assert!(decide(text, true, false), "{text}");
    }
    for text in [
        "1 == 2",
        "$BRANCH",
        "weekDay(1, 2, 4)",
        "timeIn('10:31', '18:00')",
        "timeIn('10:30', '10:30')",
        "(1 == 1 || 1 == 1) && 1 == 2",
        "failed()",
    ] {
        assert!(!decide(text, true, false), "{text}");
    }
}

#[test]
fn a_condition_asks_for_success_unless_it_speaks_of_outcomes() {
    assert!(!decide("1 == 1", false, true));
    assert!(decide("always()", false, true));
    assert!(decide("failed()", false, true));
    assert!(decide("1 == 1 && (failed() || succeed())", false, true));
    assert!(!decide("succeed()", false, true));
    assert!(!decide("!failed()", false, true));
    assert!(!decide("failed()", false, false));
}

#[test]
fn what_cannot_be_read_is_refused_with_a_reason() {
    let cases = [
        ("", "cannot read the condition: expected a text, `${NAME}` or a function, found the end"),
        (
            "1 ==",
            "cannot read the condition: expected a text, `${NAME}` or a function, found the end",
        ),
        ("1 = 1", "cannot read the condition: expected a text or a sign, found `=`"),
        ("'a", "cannot read the condition: expected a closing quote, found the end"),
        ("(1 == 1", "cannot read the condition: expected ), found the end"),
        ("1 == 1 2", "cannot read the condition: expected `&&`, `||` or the end, found `2`"),
        ("succes()", "there is no function `succes` in conditions"),
        ("always(1)", "`always` takes nothing"),
        ("contains(a)", "`contains` takes two texts"),
        ("weekDay(8)", "`weekDay` takes days: 1 (Monday) to 7, or their names"),
        ("timeIn(9, 10)", "`timeIn` takes two times of day like \"09:00\""),
        ("${X:-1} == 1", "cannot read the condition: expected `${NAME}`, found `${X:-1}`"),
    ];
    for (text, expected) in cases {
        assert_eq!(Condition::parse(text).unwrap_err().to_string(), expected, "{text}");
    }
    assert_eq!(
        Condition::parse("succes()").unwrap_err().hint().as_deref(),
        Some("did you mean `succeed`?")
    );
}

#[test]
fn depth_and_length_are_limited() {
    for text in ["(".repeat(500), "!".repeat(1_900), "a".repeat(3_000)] {
        assert!(Condition::parse(&text).is_err());
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_fail_otherwise_than_by_refusing(text in "[a-z(),!=&|$ {}'\"]{0,60}") {
        if let Ok(condition) = Condition::parse(&text) {
            let facts = Facts {
                variable: &|_| None,
                has_succeeded: true,
                has_failed: false,
                now: NOW,
            };
            let _ = condition.is_met(&facts);
        }
    }
}
