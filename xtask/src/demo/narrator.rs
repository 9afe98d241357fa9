//! What the demo says, on standard output; kept as well, since secrets are hunted in it.

use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};

/// Prints, and remembers what it printed.
#[derive(Default)]
pub(super) struct Narrator {
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    text: String,
    chapters: usize,
}

impl Narrator {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Begins a part of the story.
    pub(super) fn chapter(&self, title: &str) {
        let number = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.chapters += 1;
            told.chapters
        };
        self.print(&format!("\n{number:>2}  {title}\n"));
    }

    /// Says something beside the story.
    pub(super) fn note(&self, text: &str) {
        self.print(&indented(text, "    "));
    }

    /// Shows a command as it could be typed.
    pub(super) fn command(&self, who: &str, text: &str) {
        self.print(&indented(text, &format!("    {who}$ ")));
    }

    /// Shows what a command answers.
    pub(super) fn answer(&self, text: &str) {
        self.print(&indented(text, "      "));
    }

    /// States what was looked up, or fails when it does not hold.
    pub(super) fn fact(&self, holds: bool, text: &str) -> Result<()> {
        if !holds {
            bail!("this should hold and does not: {text}");
        }
        self.print(&indented(text, "    ok  "));
        Ok(())
    }

    /// Returns everything that was said.
    pub(super) fn told(&self) -> String {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).text.clone()
    }

    fn print(&self, text: &str) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).text.push_str(text);
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// Says what is not kept for the hunt: where the demo's own secrets are told, to whoever started it.
pub(super) fn whisper(text: &str) {
    // Where nobody listens there is nobody to tell.
    let _ = std::io::stdout().write_all(indented(text, "    ").as_bytes());
}

/// Puts `lead` before the first line and as many spaces before the others.
fn indented(text: &str, lead: &str) -> String {
    let mut lines = text.trim_end_matches('\n').lines();
    let mut out = format!("{lead}{}\n", lines.next().unwrap_or_default());
    let blank = " ".repeat(lead.chars().count());
    for line in lines {
        out.push_str(&blank);
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// Writes arguments as a shell would read them.
pub(super) fn shell(words: &[&str]) -> String {
    let is_plain = |word: &&str| {
        !word.is_empty()
            && word.chars().all(|one| one.is_ascii_alphanumeric() || "-_=./:@,".contains(one))
    };
    let quote = |word: &&str| {
        if is_plain(word) {
            (*word).to_owned()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_a_shell_reads_them() {
        assert_eq!(shell(&["a", "--b=c/d", "@e", ""]), "a --b=c/d @e ''");
        assert_eq!(shell(&["a b", "it's", "$x"]), r"'a b' 'it'\''s' '$x'");
    }

    #[test]
    fn every_line_is_indented() {
        assert_eq!(indented("a\nb\n", "  $ "), "  $ a\n    b\n");
        assert_eq!(indented("", "  "), "  \n");
    }

    #[test]
    fn what_does_not_hold_ends_the_story() {
        let narrator = Narrator::new();
        narrator.fact(true, "the sun shines").unwrap();
        assert!(narrator.fact(false, "it rains").is_err());
        assert_eq!(narrator.told(), "    ok  the sun shines\n");
    }
}
