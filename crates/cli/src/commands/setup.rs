//! `keyferry setup`: creates the first owner by the one-time link of the server's first start.

use keyferry_api::sessions::SetUpServer;
use keyferry_domain::secret::SecretString;
use keyferry_domain::token::TokenKind;

use super::login::{ask_password, remember};
use crate::context::Context;
use crate::error::CliError;
use crate::prompts;
use crate::secret_source::{SecretSource, without_line_end};

/// Create the first owner of a new server, by its one-time link
///
/// A server prints the link at its first start. It is a secret until it is used, so it is asked
/// for, or read from `--link-from`. Afterwards you are logged in.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry setup
  keyferry setup --link-from @setup-link --email jane@example.com --name Jane \\
    --organization-name Example --password-from env:PASSWORD")]
pub(crate) struct Args {
    /// Where the link, or the token in it, is: `-`, `@PATH` or `env:NAME`
    #[arg(long, value_name = "SOURCE")]
    link_from: Option<String>,
    /// Your e-mail address, which you will sign in with
    #[arg(long)]
    email: Option<String>,
    /// Your name
    #[arg(long)]
    name: Option<String>,
    /// Name of the first organization
    #[arg(long)]
    organization_name: Option<String>,
    /// Where your password is: `-`, `@PATH` or `env:NAME`
    #[arg(long, value_name = "SOURCE")]
    password_from: Option<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let link = read_link(context, args.link_from.as_deref())?;
    let (server, setup_token) = take_apart(&link)?;
    let server = server.map_or_else(|| context.server(), Ok)?;
    let email = context.require(args.email, "--email", || prompts::text("E-mail address", ""))?;
    let name = context.require(args.name, "--name", || prompts::text("Your name", ""))?;
    let organization_name =
        context.require(args.organization_name, "--organization-name", || {
            prompts::text("Name of the first organization", "it can be changed later")
        })?;
    let password =
        ask_password(context, args.password_from.as_deref(), || prompts::new_password("Password"))?;
    let body = SetUpServer {
        setup_token: setup_token.into(),
        email,
        name,
        password: password.into(),
        organization_name,
    };
    let created = {
        let _progress = context.printer.progress("creating the first owner");
        context.client_of(&server, None)?.set_up_server(&body).await?
    };
    remember(context, server, created.token.into_secret(), &created.user)
}

/// Returns a one-time link from its source, or asks for it.
pub(crate) fn read_link(context: &Context, source: Option<&str>) -> Result<SecretString, CliError> {
    match source {
        Some(source) => {
            let source = SecretSource::parse("--link-from", source)?;
            context.secrets().text("--link-from", &source, false)
        }
        None if context.is_interactive() => {
            prompts::secret("One-time link:", "it is not shown while you paste it")
        }
        None => Err(CliError::invalid("--link-from is missing")
            .hint("the link is a secret; use `@PATH`, `-` or `env:NAME`")),
    }
}

/// Splits a one-time link into the server's address and the token; a bare token has no address.
pub(crate) fn take_apart(link: &SecretString) -> Result<(Option<String>, SecretString), CliError> {
    let text = without_line_end(link.expose()).trim();
    let prefix = format!("{}_", TokenKind::Setup.as_str());
    let Some(start) = text.find(&prefix) else {
        return Err(CliError::invalid("that is not a one-time link of Keyferry")
            .hint("copy it as a whole, from `http` to its end"));
    };
    let token: String = text[start..]
        .chars()
        .take_while(|one| one.is_ascii_alphanumeric() || *one == '_')
        .collect();
    let address = &text[..start];
    let server = match url::Url::parse(address) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {
            // The console's page of the link is not part of the server's address.
            let path = url.path();
            let base = ["/setup", "/invitation", "/invitations"]
                .iter()
                .find_map(|page| path.find(page).map(|place| &path[..place]))
                .unwrap_or("");
            Some(format!("{}{base}", url.origin().ascii_serialization()))
        }
        _ if address.is_empty() => None,
        _ => {
            return Err(CliError::invalid("that is not a one-time link of Keyferry")
                .hint("copy it as a whole, from `http` to its end"));
        }
    };
    Ok((server, token.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_taken_apart_whatever_its_form() {
        for (link, server) in [
            ("http://127.0.0.1:7420/setup#token=kf_setup_Ab1", Some("http://127.0.0.1:7420")),
            ("https://h.example/kf/setup?token=kf_setup_Ab1&x=1", Some("https://h.example/kf")),
            ("https://h.example/invitation/kf_setup_Ab1\n", Some("https://h.example")),
            ("https://h.example/setup#kf_setup_Ab1", Some("https://h.example")),
            ("  kf_setup_Ab1 ", None),
        ] {
            let (address, token) = take_apart(&link.into()).unwrap();
            assert_eq!((address.as_deref(), token.expose().as_str()), (server, "kf_setup_Ab1"));
        }
    }

    #[test]
    fn other_texts_are_refused_and_not_repeated() {
        for link in ["", "https://h.example/setup", "kf_pat_canary", "ftp://h/kf_setup_canary"] {
            let error = take_apart(&link.into()).unwrap_err();
            assert!(!error.render(false).contains("canary"));
        }
    }
}
