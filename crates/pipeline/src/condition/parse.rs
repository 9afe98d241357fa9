//! Reads conditions: a hand-written parser, two levels of names, no surprises.

use super::{Expression, Function, Piece, day_number, minutes};
use crate::diagnostic::{did_you_mean, quote};

/// Longer conditions are refused.
const LONGEST: usize = 2_000;
/// Deeper ones too.
const DEEPEST: usize = 32;

/// A condition that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCondition {
    /// Something else stands where the grammar wants a part.
    #[error("cannot read the condition: expected {expected}, found {found}")]
    Expected {
        /// What should stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A function that does not exist.
    #[error("there is no function {name} in conditions")]
    UnknownFunction {
        /// Its name, quoted.
        name: String,
    },
    /// A function with too few or too many arguments.
    #[error("`{name}` takes {takes}")]
    Arguments {
        /// The function.
        name: &'static str,
        /// What it takes.
        takes: &'static str,
    },
    /// Longer or deeper than anyone needs.
    #[error("the condition is longer or nests deeper than is read")]
    TooLarge,
}

impl InvalidCondition {
    /// Returns what to write instead.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownFunction { name } => {
                let names = FUNCTIONS.iter().map(|(name, ..)| *name);
                did_you_mean(name.trim_matches('`'), names.clone()).or_else(|| {
                    Some(format!("functions are {}", names.collect::<Vec<_>>().join(", ")))
                })
            }
            Self::Expected { .. } => {
                Some("write it like `\"${NAME}\" == \"value\" && succeed()`".to_owned())
            }
            Self::Arguments { .. } | Self::TooLarge => None,
        }
    }
}

const FUNCTIONS: &[(&str, Function, &str)] = &[
    ("startsWith", Function::StartsWith, "two texts"),
    ("endsWith", Function::EndsWith, "two texts"),
    ("contains", Function::Contains, "two texts"),
    ("weekDay", Function::WeekDay, "days: 1 (Monday) to 7, or their names"),
    ("timeIn", Function::TimeIn, "two times of day like \"09:00\""),
    ("always", Function::Always, "nothing"),
    ("succeed", Function::Succeed, "nothing"),
    ("failed", Function::Failed, "nothing"),
];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Sign(&'static str),
    Text(Vec<Piece>),
    Word(String),
}

impl Token {
    fn shown(token: Option<&Self>) -> String {
        match token {
            None => "the end".to_owned(),
            Some(Self::Sign(sign)) => format!("`{sign}`"),
            Some(Self::Word(word)) => quote(word),
            Some(Self::Text(_)) => "a text".to_owned(),
        }
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
}

pub(super) fn parse(text: &str) -> Result<Expression, InvalidCondition> {
    if text.len() > LONGEST {
        return Err(InvalidCondition::TooLarge);
    }
    let text = text.trim();
    let inner = text.strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}"));
    let mut parser = Parser { tokens: tokens(inner.unwrap_or(text))?, next: 0, depth: 0 };
    let expression = parser.or()?;
    match parser.peek() {
        None => Ok(expression),
        token => Err(InvalidCondition::Expected {
            expected: "`&&`, `||` or the end",
            found: Token::shown(token),
        }),
    }
}

/// Splits a text into pieces at `${NAME}` and `$NAME`.
pub(super) fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        plain.push_str(&rest[..start]);
        let Some((name, after)) = crate::substitution::reference(&rest[start..]) else {
            plain.push('$');
            rest = &rest[start + 1..];
            continue;
        };
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Variable(name.to_owned()));
        rest = after;
    }
    plain.push_str(rest);
    if !plain.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    pieces
}

fn tokens(text: &str) -> Result<Vec<Token>, InvalidCondition> {
    const SIGNS: [&str; 8] = ["==", "!=", "&&", "||", "!", "(", ")", ","];
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let after = if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            tokens.push(Token::Sign(sign));
            &rest[sign.len()..]
        } else if matches!(first, '"' | '\'') {
            let Some((inner, after)) = rest[1..].split_once(first) else {
                let found = "the end".to_owned();
                return Err(InvalidCondition::Expected { expected: "a closing quote", found });
            };
            // As in a shell, nothing is replaced between single quotes … but Flow's users write
            // '${NAME}' inside a double-quoted YAML text, and mean the variable.
            tokens.push(Token::Text(pieces(inner)));
            after
        } else if first == '$' {
            let Some((name, after)) = crate::substitution::reference(rest) else {
                let found = quote(rest.split_whitespace().next().unwrap_or(rest));
                return Err(InvalidCondition::Expected { expected: "`${NAME}`", found });
            };
            tokens.push(Token::Text(vec![Piece::Variable(name.to_owned())]));
            after
        } else {
            let is_word = |one: char| one.is_alphanumeric() || "_-./:*+@#%".contains(one);
            let end = rest.find(|one| !is_word(one)).unwrap_or(rest.len());
            if end == 0 {
                let found = quote(&first.to_string());
                return Err(InvalidCondition::Expected { expected: "a text or a sign", found });
            }
            tokens.push(Token::Word(rest[..end].to_owned()));
            &rest[end..]
        };
        rest = after.trim_start();
    }
    Ok(tokens)
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn take_sign(&mut self, sign: &'static str) -> bool {
        let is_next = self.peek() == Some(&Token::Sign(sign));
        self.next += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), InvalidCondition> {
        if self.take_sign(sign) {
            return Ok(());
        }
        Err(InvalidCondition::Expected { expected: sign, found: Token::shown(self.peek()) })
    }

    fn or(&mut self) -> Result<Expression, InvalidCondition> {
        let mut left = self.and()?;
        while self.take_sign("||") {
            left = Expression::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expression, InvalidCondition> {
        let mut left = self.comparison()?;
        while self.take_sign("&&") {
            left = Expression::And(Box::new(left), Box::new(self.comparison()?));
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Expression, InvalidCondition> {
        let left = self.single()?;
        if self.take_sign("==") {
            return Ok(Expression::Equal(Box::new(left), Box::new(self.single()?)));
        }
        if self.take_sign("!=") {
            return Ok(Expression::NotEqual(Box::new(left), Box::new(self.single()?)));
        }
        Ok(left)
    }

    fn single(&mut self) -> Result<Expression, InvalidCondition> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(InvalidCondition::TooLarge);
        }
        let result = self.single_inner();
        self.depth -= 1;
        result
    }

    fn single_inner(&mut self) -> Result<Expression, InvalidCondition> {
        if self.take_sign("!") {
            return Ok(Expression::Not(Box::new(self.single()?)));
        }
        if self.take_sign("(") {
            let inner = self.or()?;
            self.expect(")")?;
            return Ok(inner);
        }
        match self.peek().cloned() {
            Some(Token::Text(pieces)) => {
                self.next += 1;
                Ok(Expression::Text(pieces))
            }
            Some(Token::Word(word)) => {
                self.next += 1;
                if self.take_sign("(") {
                    self.call(&word)
                } else {
                    Ok(Expression::Text(vec![Piece::Text(word)]))
                }
            }
            other => Err(InvalidCondition::Expected {
                expected: "a text, `${NAME}` or a function",
                found: Token::shown(other.as_ref()),
            }),
        }
    }

    fn call(&mut self, word: &str) -> Result<Expression, InvalidCondition> {
        let Some((name, function, takes)) =
            FUNCTIONS.iter().find(|(name, ..)| name.eq_ignore_ascii_case(word))
        else {
            return Err(InvalidCondition::UnknownFunction { name: quote(word) });
        };
        let mut arguments = Vec::new();
        if !self.take_sign(")") {
            loop {
                arguments.push(self.or()?);
                if !self.take_sign(",") {
                    break;
                }
            }
            self.expect(")")?;
        }
        if is_fitting(*function, &arguments) {
            Ok(Expression::Call(*function, arguments))
        } else {
            Err(InvalidCondition::Arguments { name, takes })
        }
    }
}

/// Counts arguments, and checks those that are written out: a mistyped day would never come.
fn is_fitting(function: Function, arguments: &[Expression]) -> bool {
    let all = |is_right: &dyn Fn(&str) -> bool| {
        arguments.iter().all(|argument| match argument {
            Expression::Text(pieces) => match pieces.as_slice() {
                [Piece::Text(text)] => is_right(text),
                _ => true,
            },
            _ => true,
        })
    };
    match function {
        Function::StartsWith | Function::EndsWith | Function::Contains => arguments.len() == 2,
        Function::TimeIn => arguments.len() == 2 && all(&|text| minutes(text).is_some()),
        Function::WeekDay => !arguments.is_empty() && all(&|text| day_number(text).is_some()),
        Function::Always | Function::Succeed | Function::Failed => arguments.is_empty(),
    }
}
