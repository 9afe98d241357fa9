//! `keyferry logout`: ends the session and forgets its token.

use keyferry_domain::token::{Token, TokenKind};

use crate::config::Config;
use crate::context::Context;
use crate::error::{CliError, Kind};

/// End the session, and forget its token
///
/// A session ends at the server too. An API token is only forgotten here; revoke it with
/// `keyferry token revoke`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(context: &Context, _: Args) -> Result<(), CliError> {
    let config = context.config()?;
    let Some(token) = &config.token else {
        return context.printer.talk("you were not logged in");
    };
    let is_session =
        Token::parse(token.expose()).is_ok_and(|token| token.kind() == TokenKind::Session);
    let ended = if is_session {
        let server = config.server.clone().map_or_else(|| context.server(), Ok)?;
        context.client_of(&server, Some(token.clone()))?.delete_session().await
    } else {
        Ok(())
    };
    let rest = Config {
        server: config.server.clone(),
        organization: config.organization.clone(),
        ca_file: config.ca_file.clone(),
        token: None,
    };
    rest.save(&context.environment.config_path()?)?;
    match ended.map_err(CliError::from) {
        // It had ended already.
        Err(error) if error.kind() == Kind::Unauthenticated => {}
        Err(error) => {
            return Err(
                error.note("the token is forgotten here, but its session may still be alive")
            );
        }
        Ok(()) => {}
    }
    context.printer.talk("logged out")
}
