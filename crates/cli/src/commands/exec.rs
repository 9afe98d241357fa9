//! `keyferry exec`: a command with access through connections. What happens is in `keyferry-runner`.

use std::collections::BTreeMap;
use std::ffi::OsString;

use keyferry_delivery::environment::check_name;
use keyferry_domain::connection::ConnectionId;
use keyferry_runner::exec::{Exec, ExecError, exec};

use crate::context::Context;
use crate::error::{CliError, Kind};
use crate::secret_source::split_pair;

/// Run a command with access through connections
///
/// For as long as the command runs, git and docker in it get what the connections give, by
/// themselves. Tools without a helper get environment variables with `--env`. What was minted for
/// the command is taken back when it ends. You must be allowed to use each connection. The command
/// does not inherit `KEYFERRY_TOKEN`. The exit code is the command's.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry exec -c team-git -- git clone https://git.example.com/team/app.git
  keyferry exec -c team-images -- docker push registry.example.com/team/app:1
  keyferry exec -c payment-keys=keys --env API_KEY='${keys.API_KEY}' -- ./deploy.sh")]
pub(crate) struct Args {
    /// A connection's ID, and a name for it in `--env`; may be repeated
    #[arg(short, long, value_name = "CONNECTION[=NAME]", required = true)]
    connection: Vec<String>,
    /// A variable for the command, with `${NAME.field}` for a field of a connection; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// How long the command may take at most, 60 to 86400 [default: 3600]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(60..=86_400))]
    lifetime_seconds: Option<u32>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<u8, CliError> {
    let connections = connections(&args.connection)?;
    let mut env = variables(&args.env)?;
    hide_own_tokens(context, &mut env);
    let organization = context.organization().await?;
    let work_folder = tempfile::Builder::new()
        .prefix("keyferry-exec-")
        .tempdir_in(context.environment.temporary_folder())
        .map_err(|error| {
            CliError::new(Kind::Internal, "failed to make a private folder").because(error)
        })?;
    let helper_binary = std::env::current_exe().map_err(|error| {
        CliError::new(Kind::Internal, "failed to find the `keyferry` binary").because(error)
    })?;
    let request = Exec {
        command: args.command,
        connections,
        env,
        lifetime_seconds: args.lifetime_seconds,
        helper_binary,
        path: context.environment.path("PATH").map(Into::into),
        git_ca_bundle: context.environment.path("GIT_SSL_CAINFO"),
        work_folder: work_folder.path().to_owned(),
    };
    let printer = context.printer;
    let code = exec(&organization.client, &organization.id, request, move |refusal| {
        let mut error = CliError::new(Kind::Denied, refusal.message.clone());
        error = refusal.hint.iter().fold(error, |error, hint| error.hint(hint.clone()));
        printer.error(&error);
    })
    .await
    .map_err(failed)?;
    Ok(u8::try_from(code.rem_euclid(256)).unwrap_or(1))
}

fn connections(texts: &[String]) -> Result<BTreeMap<String, ConnectionId>, CliError> {
    let mut out = BTreeMap::new();
    for text in texts {
        let (id, name) = text.split_once('=').unwrap_or((text, text));
        let id: ConnectionId =
            id.parse().map_err(|error| CliError::invalid(format!("failed to {error}")))?;
        if name.is_empty() {
            return Err(CliError::invalid("-c takes CONNECTION or CONNECTION=NAME"));
        }
        if out.insert(name.to_owned(), id).is_some() {
            return Err(CliError::invalid(format!("-c names `{name}` twice")));
        }
    }
    Ok(out)
}

fn variables(texts: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    let mut out = BTreeMap::new();
    for text in texts {
        let (name, value) = split_pair("--env", text)?;
        check_name(name).map_err(|error| CliError::invalid(format!("failed to {error}")))?;
        if out.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(CliError::invalid(format!("--env {name} is given twice")));
        }
    }
    Ok(out)
}

/// Takes the caller's tokens out of what the command inherits: it is to have these connections and
/// not everything that the caller may do. An empty variable counts as not set.
fn hide_own_tokens(context: &Context, env: &mut BTreeMap<String, String>) {
    for name in [
        "KEYFERRY_TOKEN",
        "KEYFERRY_TOKEN_FILE",
        "KEYFERRY_RUNNER_TOKEN",
        "KEYFERRY_RUNNER_TOKEN_FILE",
    ] {
        if context.environment.path(name).is_some() {
            env.entry(name.to_owned()).or_default();
        }
    }
}

fn failed(error: ExecError) -> CliError {
    match error {
        // The server's own words say more than ours.
        ExecError::Workload(source) => source.into(),
        ExecError::Refused(refusal) => {
            let error = CliError::new(Kind::Denied, refusal.message.clone());
            refusal.hint.into_iter().fold(error, CliError::hint)
        }
        ExecError::NoCommand
        | ExecError::Environment { .. }
        | ExecError::Binding { .. }
        | ExecError::Start { .. } => with_source(Kind::Invalid, error),
        ExecError::Folder(_) => with_source(Kind::Internal, error),
    }
}

fn with_source(kind: Kind, error: ExecError) -> CliError {
    let message = format!("failed to {error}");
    match error {
        ExecError::Environment { source, .. } => CliError::new(kind, message).because(source),
        ExecError::Binding { source, .. } => CliError::new(kind, message).because(source),
        ExecError::Start { source, .. } | ExecError::Folder(source) => {
            CliError::new(kind, message).because(source)
        }
        _ => CliError::new(kind, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_connection_is_named_by_its_id_or_by_a_name() {
        let map = connections(&texts(&["team-git", "team-images=images"])).unwrap();
        let shown: Vec<String> = map.iter().map(|(name, id)| format!("{name}={id}")).collect();
        assert_eq!(shown, ["images=team-images", "team-git=team-git"]);
    }

    #[test]
    fn connections_and_variables_that_make_no_sense_are_refused() {
        for one in [&["UPPER"][..], &["team-git="], &["team-git", "team-git"], &["a-b=x", "c-d=x"]]
        {
            assert!(connections(&texts(one)).is_err(), "{one:?}");
        }
        for one in [&["A"][..], &["=x"], &["1A=x"], &["A B=x"], &["A=1", "A=2"]] {
            assert!(variables(&texts(one)).is_err(), "{one:?}");
        }
    }
}
