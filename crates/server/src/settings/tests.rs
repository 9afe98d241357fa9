//! Settings: what wins, what is refused.

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: SettingArgs,
}

fn resolve(arguments: &[&str]) -> Result<Settings> {
    let all = std::iter::once("keyferry-server").chain(arguments.iter().copied());
    Command::try_parse_from(all)?.args.resolve(Some(Path::new("/home/someone/data")))
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn without_arguments_it_listens_on_loopback_with_a_file_database() {
    let settings = resolve(&[]).unwrap();
    assert_eq!(settings.listen.address.to_string(), "127.0.0.1:7420");
    assert_eq!(settings.database.url.expose(), "sqlite:///home/someone/data/keyferry/keyferry.db");
    assert!(!settings.runner.is_enabled);
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
    let config = file("listen = \"127.0.0.1:1\"\nrunner_jobs = 7\nwith_runner = true\n");
    let path = config.path().to_str().unwrap();
    let settings = resolve(&["--config-file", path]).unwrap();
    assert_eq!(settings.listen.address.port(), 1);
    assert_eq!(settings.runner.jobs, 7);
    assert!(settings.runner.is_enabled);
    let settings = resolve(&["--config-file", path, "--listen", "127.0.0.1:2"]).unwrap();
    assert_eq!(settings.listen.address.port(), 2);
}

#[test]
fn a_public_address_without_tls_is_refused_unless_a_proxy_does_it() {
    assert!(resolve(&["--listen", "0.0.0.0:1"]).is_err());
    assert!(resolve(&["--listen", "[::]:1"]).is_err());
    assert!(resolve(&["--listen", "0.0.0.0:1", "--behind-proxy"]).is_ok());
    assert!(resolve(&["--listen", "0.0.0.0:1", "--tls-key-file", "k"]).is_err());
    let both = ["--listen", "0.0.0.0:1", "--tls-key-file", "k", "--tls-certificate-file", "c"];
    assert!(resolve(&both).is_ok());
}

#[test]
fn a_database_address_from_two_places_is_refused_without_telling_it() {
    let secret = file("postgres://u:hunter2@h/d\n");
    let path = secret.path().to_str().unwrap();
    let settings = resolve(&["--database-url-file", path]).unwrap();
    assert_eq!(settings.database.url.expose(), "postgres://u:hunter2@h/d");
    assert!(!format!("{settings:?}").contains("hunter2"));
    let error =
        resolve(&["--database-url-file", path, "--database-url", "sqlite:///x"]).unwrap_err();
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[test]
fn a_misspelt_or_missing_settings_file_is_refused() {
    let config = file("lisen = \"127.0.0.1:1\"\n");
    assert!(resolve(&["--config-file", config.path().to_str().unwrap()]).is_err());
    assert!(resolve(&["--config-file", "/nowhere/at/all.toml"]).is_err());
    assert!(resolve(&["--log-format", "xml"]).is_err());
    assert!(resolve(&["--listen", "nowhere"]).is_err());
}

#[test]
fn connections_are_checked_a_few_times_a_day_unless_told_otherwise() {
    let interval = |arguments: &[&str]| resolve(arguments).map(|found| found.checks.interval);
    let hours = |hours| Some(std::time::Duration::from_hours(hours));
    assert_eq!(interval(&[]).unwrap(), hours(6));
    assert_eq!(interval(&["--check-interval-minutes", "60"]).unwrap(), hours(1));
    assert_eq!(interval(&["--check-interval-minutes", "0"]).unwrap(), None);
    for wrong in ["1", "4", "-1", "often"] {
        assert!(interval(&["--check-interval-minutes", wrong]).is_err(), "{wrong}");
    }
}
