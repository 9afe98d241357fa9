//! Commands in the shell blocks of documents, for tests that try whether programs would take them.
//!
//! It reads shell as guides are written: one command a line, quotes, `\` at the end of a line,
//! pipes, redirections, variables in front. No loops, no here-documents, no substitutions.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// A command of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentedCommand {
    /// Document and line: `docs/guides/exec.md:12`.
    pub place: String,
    /// The program and its arguments, quotes taken away.
    pub words: Vec<String>,
}

/// Documents whose commands must be right: the README, and all below `docs/guides` and
/// `docs/concepts`.
const FOLDERS: &[&str] = &["docs/guides", "docs/concepts"];

/// Returns every command of these documents that starts `program`.
pub fn commands_of(program: &str) -> Result<Vec<DocumentedCommand>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("testkit has no parent")?;
    let mut files = vec![PathBuf::from("README.md")];
    for folder in FOLDERS {
        let listed = std::fs::read_dir(root.join(folder)).with_context(|| (*folder).to_owned())?;
        for entry in listed {
            let name = entry?.file_name();
            if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
                files.push(Path::new(folder).join(name));
            }
        }
    }
    files.sort();
    let mut commands = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(root.join(&file))
            .with_context(|| format!("failed to read `{}`", file.display()))?;
        commands.extend(commands_in(&file.display().to_string(), &text)?);
    }
    commands.retain(|command| {
        let first = command.words.first().map(String::as_str).unwrap_or_default();
        first.rsplit('/').next() == Some(program)
    });
    Ok(commands)
}

/// Returns every command of one document's shell blocks.
fn commands_in(file: &str, text: &str) -> Result<Vec<DocumentedCommand>> {
    let mut commands = Vec::new();
    let mut is_shell = false;
    let mut begun = String::new();
    let mut begun_at = 0;
    for (number, line) in text.lines().enumerate() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            is_shell = !is_shell && matches!(language, "sh" | "bash" | "console");
            continue;
        }
        if !is_shell {
            continue;
        }
        if begun.is_empty() {
            begun_at = number + 1;
        }
        if let Some(start) = line.strip_suffix('\\') {
            begun.push_str(start);
            continue;
        }
        begun.push_str(line);
        let place = format!("{file}:{begun_at}");
        for words in split(&std::mem::take(&mut begun)).with_context(|| place.clone())? {
            commands.push(DocumentedCommand { place: place.clone(), words });
        }
    }
    Ok(commands)
}

/// Splits a line into commands, and each into words.
fn split(line: &str) -> Result<Vec<Vec<String>>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut is_target = false;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_comment = letter == '#' && word.is_none();
        let is_end = is_comment || letter.is_whitespace() || "|&;<>".contains(letter);
        if !is_end {
            let word = word.get_or_insert_default();
            match letter {
                '\'' => word.push_str(&until(&mut letters, '\'')?),
                '"' => word.push_str(&until(&mut letters, '"')?),
                '\\' => word.extend(letters.next()),
                other => word.push(other),
            }
            continue;
        }
        if let Some(word) = word.take()
            && !std::mem::take(&mut is_target)
        {
            commands.last_mut().context("no command")?.push(word);
        }
        match letter {
            '#' => break,
            '|' | '&' | ';' => commands.push(Vec::new()),
            '<' | '>' => is_target = true,
            _ => {}
        }
    }
    if let Some(word) = word
        && !is_target
    {
        commands.last_mut().context("no command")?.push(word);
    }
    for words in &mut commands {
        let variables = words.iter().take_while(|word| is_assignment(word)).count();
        words.drain(..variables);
    }
    commands.retain(|words| !words.is_empty());
    Ok(commands)
}

fn until(letters: &mut impl Iterator<Item = char>, quote: char) -> Result<String> {
    let mut text = String::new();
    for letter in letters {
        if letter == quote {
            return Ok(text);
        }
        text.push(letter);
    }
    bail!("a quote is not closed: {text}")
}

/// Whether a word sets a variable for the command after it.
fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.chars().all(|one| one.is_ascii_alphanumeric() || one == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Vec<String>> {
        split(line).unwrap()
    }

    #[test]
    fn a_line_is_read_as_a_shell_reads_it() {
        assert_eq!(words("a 'b c' d\"e f\"g \\$h"), [["a", "b c", "de fg", "$h"]]);
        assert_eq!(words("A=1 B='2 3' c --d=e"), [["c", "--d=e"]]);
        assert_eq!(words("a | b > out && c < in   # d"), [vec!["a"], vec!["b"], vec!["c"]]);
        assert_eq!(words("  # only talk"), [[""; 0]; 0]);
        assert_eq!(words("a team#1"), [["a", "team#1"]]);
        assert!(split("a 'b").is_err());
    }

    #[test]
    fn only_shell_blocks_are_read_and_lines_are_joined() {
        let text = "run `a`\n```sh\na \\\n  b\n\nc\n```\n```yaml\nd: e\n```\nf\n";
        let found = commands_in("x.md", text).unwrap();
        let found: Vec<(&str, Vec<String>)> =
            found.iter().map(|one| (one.place.as_str(), one.words.clone())).collect();
        assert_eq!(
            found,
            [("x.md:3", vec!["a".to_owned(), "b".to_owned()]), ("x.md:6", vec!["c".to_owned()])]
        );
    }
}
