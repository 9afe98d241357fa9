//! Commands of the server in the documents are commands that there are; none is run.

use clap::Parser as _;
use keyferry_server::commands::Command;
use keyferry_testkit::documents::commands_of;

#[test]
fn commands_in_documents_are_understood() {
    let commands = commands_of("keyferry-server").unwrap();
    assert!(commands.len() > 3, "the documents' commands were not found: {}", commands.len());
    let wrong: Vec<String> = commands
        .iter()
        .filter_map(|command| {
            let error = Command::try_parse_from(&command.words).err()?;
            error.use_stderr().then(|| format!("{}: {error}", command.place))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
