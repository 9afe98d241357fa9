//! Conditions: when a job runs.
//!
//! `==  !=  &&  ||  !  ( )`, texts in quotes, `${NAME}`, and the functions of Flow. Flow's grammar is
//! not published; this is a reading of what its users write. Names that are not set are empty text.
//! Times are in UTC.

mod parse;

use keyferry_domain::Timestamp;

pub use parse::InvalidCondition;

/// A parsed condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition(Expression);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    Text(Vec<Piece>),
    Call(Function, Vec<Expression>),
    Not(Box<Expression>),
    Equal(Box<Expression>, Box<Expression>),
    NotEqual(Box<Expression>, Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    StartsWith,
    EndsWith,
    Contains,
    WeekDay,
    TimeIn,
    Always,
    Succeed,
    Failed,
}

/// What a condition is decided on.
pub struct Facts<'f> {
    /// Finds a variable of the job.
    pub variable: &'f dyn Fn(&str) -> Option<String>,
    /// Everything the job waited for succeeded.
    pub has_succeeded: bool,
    /// Something the job waited for failed, directly or further back.
    pub has_failed: bool,
    /// The moment of the decision.
    pub now: Timestamp,
}

enum Outcome {
    Text(String),
    Truth(bool),
}

impl Outcome {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Truth(truth) => truth.to_string(),
        }
    }

    fn is_true(&self) -> bool {
        match self {
            Self::Text(text) => text.trim().eq_ignore_ascii_case("true"),
            Self::Truth(truth) => *truth,
        }
    }
}

impl Condition {
    /// Reads a condition; a whole one may stand in `${{ … }}` or not.
    pub fn parse(text: &str) -> Result<Self, InvalidCondition> {
        parse::parse(text).map(Self)
    }

    /// Decides. A condition that does not speak of `always`, `succeed` or `failed` also asks that
    /// everything before succeeded.
    pub fn is_met(&self, facts: &Facts<'_>) -> bool {
        (self.0.speaks_of_outcome() || facts.has_succeeded) && self.0.evaluate(facts).is_true()
    }

    /// Tells whether the job may run although something before it failed.
    pub fn speaks_of_outcome(&self) -> bool {
        self.0.speaks_of_outcome()
    }
}

impl Expression {
    fn speaks_of_outcome(&self) -> bool {
        match self {
            Self::Text(_) => false,
            Self::Call(function, arguments) => {
                matches!(function, Function::Always | Function::Succeed | Function::Failed)
                    || arguments.iter().any(Self::speaks_of_outcome)
            }
            Self::Not(inner) => inner.speaks_of_outcome(),
            Self::Equal(left, right)
            | Self::NotEqual(left, right)
            | Self::And(left, right)
            | Self::Or(left, right) => left.speaks_of_outcome() || right.speaks_of_outcome(),
        }
    }

    fn evaluate(&self, facts: &Facts<'_>) -> Outcome {
        let truth = match self {
            Self::Text(pieces) => return Outcome::Text(joined(pieces, facts)),
            Self::Call(function, arguments) => call(*function, arguments, facts),
            Self::Not(inner) => !inner.evaluate(facts).is_true(),
            Self::Equal(left, right) => {
                left.evaluate(facts).into_text() == right.evaluate(facts).into_text()
            }
            Self::NotEqual(left, right) => {
                left.evaluate(facts).into_text() != right.evaluate(facts).into_text()
            }
            Self::And(left, right) => {
                left.evaluate(facts).is_true() && right.evaluate(facts).is_true()
            }
            Self::Or(left, right) => {
                left.evaluate(facts).is_true() || right.evaluate(facts).is_true()
            }
        };
        Outcome::Truth(truth)
    }
}

fn joined(pieces: &[Piece], facts: &Facts<'_>) -> String {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Variable(name) => (facts.variable)(name).unwrap_or_default(),
        })
        .collect()
}

fn call(function: Function, arguments: &[Expression], facts: &Facts<'_>) -> bool {
    let texts: Vec<String> =
        arguments.iter().map(|argument| argument.evaluate(facts).into_text()).collect();
    match (function, texts.as_slice()) {
        (Function::StartsWith, [text, part]) => text.starts_with(part.as_str()),
        (Function::EndsWith, [text, part]) => text.ends_with(part.as_str()),
        (Function::Contains, [text, part]) => text.contains(part.as_str()),
        (Function::Always, _) => true,
        (Function::Succeed, _) => facts.has_succeeded,
        (Function::Failed, _) => facts.has_failed,
        (Function::WeekDay, days) => {
            days.iter().any(|day| day_number(day) == Some(week_day(facts.now)))
        }
        (Function::TimeIn, [from, to]) => is_time_in(from, to, facts.now),
        // INVARIANT: the parser counts arguments.
        _ => false,
    }
}

const MINUTE_MILLIS: i64 = 60_000;
const DAY_MILLIS: i64 = 24 * 60 * MINUTE_MILLIS;

/// Returns the day of the week in UTC: 1 is Monday, 7 is Sunday.
const fn week_day(now: Timestamp) -> i64 {
    // 1970-01-01 was a Thursday.
    (now.millis() / DAY_MILLIS + 3) % 7 + 1
}

/// Reads `1` to `7`, `Monday`, `mon`.
fn day_number(text: &str) -> Option<i64> {
    const DAYS: [&str; 7] =
        ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let text = text.trim().to_ascii_lowercase();
    if let Ok(number) = text.parse::<i64>() {
        return (1..=7).contains(&number).then_some(number);
    }
    (1_i64..)
        .zip(DAYS)
        .find(|(_, day)| text.len() >= 3 && day.starts_with(&text))
        .map(|(number, _)| number)
}

/// Reads `HH:MM` as minutes after midnight.
fn minutes(text: &str) -> Option<i64> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let minutes = minutes.split(':').next()?;
    let (hours, minutes) = (hours.parse::<i64>().ok()?, minutes.parse::<i64>().ok()?);
    ((0..=24).contains(&hours) && (0..60).contains(&minutes)).then_some(hours * 60 + minutes)
}

/// Tells whether the time of day is in `[from, to)`; a range may pass midnight.
fn is_time_in(from: &str, to: &str, now: Timestamp) -> bool {
    let now = now.millis() % DAY_MILLIS / MINUTE_MILLIS;
    match (minutes(from), minutes(to)) {
        (Some(from), Some(to)) if from <= to => (from..to).contains(&now),
        (Some(from), Some(to)) => now >= from || now < to,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
