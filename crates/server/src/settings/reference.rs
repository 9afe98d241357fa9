//! The reference of settings, written from the flags: docs/reference/settings.md.

use std::fmt::Write as _;

use clap::{Arg, Args as _};

use super::SettingArgs;

/// What can only be given in the environment, since flags are in the process list.
const ONLY_IN_ENVIRONMENT: &[(&str, &str)] =
    &[("KEYFERRY_ROOT_KEY", "The root keys themselves, in place of a file with them")];

/// Returns docs/reference/settings.md.
pub fn reference() -> String {
    let mut out = String::from(
        "# `keyferry-server`: settings\n\n\
         <!-- Written from the flags by `keyferry_server::settings::reference`; do not edit by hand. -->\n\n\
         Nothing has to be set: `keyferry-server serve` listens on `127.0.0.1:7420` and keeps its data in the user's \
         data\nfolder. A flag takes precedence over its environment variable, that over the settings file, that over \
         the default.\n`keyferry-server doctor` prints what holds, and never a secret.\n\n\
         | Flag | Environment | In the settings file | Meaning |\n| --- | --- | --- | --- |\n",
    );
    let command = SettingArgs::augment_args(clap::Command::new("settings"));
    for argument in command.get_arguments() {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            flag(argument),
            argument.get_env().map(|name| format!("`{}`", name.display())).unwrap_or_default(),
            key(argument),
            meaning(argument)
        );
    }
    for (name, text) in ONLY_IN_ENVIRONMENT {
        let _ = writeln!(out, "| – | `{name}` | – | {text} |");
    }
    out.push_str(
        "\nA secret that is given both as text and as a file is refused, since one of them would \
         silently win. The settings file is\nTOML, named by `--config-file`; a key in it that is \
         no setting is refused.\n\n\
         ```toml\nlisten = \"0.0.0.0:7420\"\ntls_certificate_file = \"/etc/keyferry/tls.crt\"\n\
         tls_key_file = \"/etc/keyferry/tls.key\"\ndatabase_url_file = \"/etc/keyferry/database-url\"\n\
         allow_addresses = [\"10.0.0.0/8\", \"git.example.com\"]\nwith_runner = true\n```\n",
    );
    out
}

fn flag(argument: &Arg) -> String {
    let values = argument.get_value_names().filter(|_| argument.get_action().takes_values());
    let values = values.map(|names| format!(" {}", names.join(" "))).unwrap_or_default();
    // A bar would end the table's cell.
    format!("--{}{}", argument.get_long().unwrap_or_default(), values.replace('|', " or "))
}

fn key(argument: &Arg) -> String {
    match argument.get_id().as_str() {
        "config_file" => "–".to_owned(),
        name => format!("`{name}`"),
    }
}

fn meaning(argument: &Arg) -> String {
    let help = argument.get_long_help().or_else(|| argument.get_help());
    help.map(ToString::to_string).unwrap_or_default().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_reference_is_current() {
        keyferry_testkit::generated::assert_current("docs/reference/settings.md", &reference());
    }

    #[test]
    fn the_example_of_a_settings_file_is_read() {
        let text = reference();
        let example = text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), example.replace("database_url_file", "# database_url_file"))
            .unwrap();
        let args =
            SettingArgs { config_file: Some(file.path().to_owned()), ..SettingArgs::default() };
        let settings = args.resolve(Some(std::path::Path::new("/nowhere"))).unwrap();
        assert!(settings.runner.is_enabled);
        assert_eq!(settings.outbound.allow_addresses, ["10.0.0.0/8", "git.example.com"]);
    }
}
