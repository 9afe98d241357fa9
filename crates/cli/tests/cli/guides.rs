//! Commands in the documents are commands that there are: each is parsed, none is run.

use clap::Parser as _;
use keyferry_cli::arguments::Cli;
use keyferry_testkit::documents::commands_of;

#[test]
fn commands_in_documents_are_understood() {
    let commands = commands_of("keyferry").unwrap();
    assert!(commands.len() > 30, "the documents' commands were not found: {}", commands.len());
    let wrong: Vec<String> = commands
        .iter()
        .filter_map(|command| {
            let error = Cli::try_parse_from(&command.words).err()?;
            // Help and version are no failures.
            error.use_stderr().then(|| format!("{}: {error}", command.place))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
