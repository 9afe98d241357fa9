//! What every command works with: where the server is, who asks, in which organization, and how to
//! talk to the person.
//!
//! Precedence everywhere: flag, then environment, then configuration file, then default.

use std::cell::OnceCell;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use keyferry_api::client::Client;
use keyferry_domain::id::OrganizationId;
use keyferry_domain::secret::SecretString;

use crate::arguments::GlobalOptions;
use crate::config::Config;
use crate::environment::Environment;
use crate::error::{CliError, Kind};
use crate::printer::Printer;
use crate::secret_source::SecretReader;

/// Where a server listens when nobody says otherwise.
const DEFAULT_SERVER: &str = "http://127.0.0.1:7420";

/// What every command works with.
pub struct Context {
    /// The environment of this process.
    pub environment: Environment,
    /// Where output goes.
    pub printer: Printer,
    options: GlobalOptions,
    config: OnceCell<Config>,
}

/// An organization, and the client that speaks to its server.
pub struct Organization {
    /// The client, with the caller's token.
    pub client: Client,
    /// The organization.
    pub id: OrganizationId,
}

impl Context {
    /// Makes a context.
    pub fn new(environment: Environment, options: GlobalOptions) -> Self {
        let is_colored = environment.allows_color() && std::io::stderr().is_terminal();
        let printer = Printer::new(options.output, is_colored);
        Self { environment, printer, options, config: OnceCell::new() }
    }

    /// Returns what the configuration file says.
    pub(crate) fn config(&self) -> Result<&Config, CliError> {
        if self.config.get().is_none() {
            let config = Config::load(&self.environment.config_path()?)?;
            // Nobody else can have set it in between: a context is not shared between threads.
            let _ = self.config.set(config);
        }
        self.config.get().ok_or_else(|| CliError::new(Kind::Internal, "lost the configuration"))
    }

    /// Returns the server's address.
    pub fn server(&self) -> Result<String, CliError> {
        if let Some(server) = &self.options.server {
            return Ok(server.clone());
        }
        if let Some(server) = self.environment.text("KEYFERRY_URL")? {
            return Ok(server);
        }
        Ok(self.config()?.server.clone().unwrap_or_else(|| DEFAULT_SERVER.to_owned()))
    }

    /// Returns the path of the file with certificates to trust.
    pub fn ca_file(&self) -> Result<Option<PathBuf>, CliError> {
        if let Some(path) = &self.options.ca_file {
            return Ok(Some(path.clone()));
        }
        match self.environment.path("KEYFERRY_CA_FILE") {
            Some(path) => Ok(Some(path)),
            None => Ok(self.config()?.ca_file.clone()),
        }
    }

    /// Returns a client without a token.
    pub fn client_without_token(&self) -> Result<Client, CliError> {
        self.client_of(&self.server()?, None)
    }

    /// Returns a client of a server.
    pub fn client_of(&self, server: &str, token: Option<SecretString>) -> Result<Client, CliError> {
        let certificates = match self.ca_file()? {
            None => None,
            Some(path) => Some(std::fs::read_to_string(&path).map_err(|error| {
                CliError::invalid(format!("failed to read `{}`", path.display())).because(error)
            })?),
        };
        let certificates: Vec<&str> = certificates.as_deref().into_iter().collect();
        Ok(Client::new(server, token, &certificates)?)
    }

    /// Returns a client with the caller's token.
    pub fn client(&self) -> Result<Client, CliError> {
        let server = self.server()?;
        let token = match self.environment.secret("KEYFERRY_TOKEN")? {
            Some(token) => token,
            None => self.stored_token(&server)?,
        };
        self.client_of(&server, Some(token))
    }

    /// Returns the token that was stored at login. It goes to no other server than the one that
    /// gave it: a mistyped address must not be told a secret.
    fn stored_token(&self, server: &str) -> Result<SecretString, CliError> {
        let config = self.config()?;
        let Some(token) = &config.token else {
            return Err(CliError::new(Kind::Unauthenticated, "you are not logged in")
                .hint("run `keyferry login`, or set KEYFERRY_TOKEN"));
        };
        let home = config.server.as_deref().unwrap_or(DEFAULT_SERVER);
        if home.trim_end_matches('/') == server.trim_end_matches('/') {
            return Ok(token.clone());
        }
        Err(CliError::new(
            Kind::Unauthenticated,
            "you are logged in to another server than the one that is asked",
        )
        .note(format!("logged in to {home}"))
        .hint("run `keyferry login` for this one, or set KEYFERRY_TOKEN"))
    }

    /// Returns the organization to work in.
    pub async fn organization(&self) -> Result<Organization, CliError> {
        let client = self.client()?;
        let id = self.choose_organization(&client).await?;
        Ok(Organization { client, id })
    }

    async fn choose_organization(&self, client: &Client) -> Result<OrganizationId, CliError> {
        let wanted = match &self.options.organization {
            Some(wanted) => Some(wanted.clone()),
            None => match self.environment.text("KEYFERRY_ORGANIZATION")? {
                Some(wanted) => Some(wanted),
                None => self.config()?.organization.clone(),
            },
        };
        if let Some(id) = wanted.as_deref().and_then(|wanted| wanted.parse().ok()) {
            return Ok(id);
        }
        let memberships = client.get_current_user().await?.memberships;
        let mut fitting = memberships.iter().filter(|membership| {
            wanted.as_ref().is_none_or(|wanted| *wanted == membership.organization_name)
        });
        if let (Some(only), None) = (fitting.next(), fitting.next()) {
            return Ok(only.organization_id.clone());
        }
        let error = match &wanted {
            _ if memberships.is_empty() => {
                CliError::new(Kind::NotFound, "you belong to no organization")
                    .hint("create one with `keyferry organization create NAME`")
            }
            Some(wanted) => CliError::new(
                Kind::NotFound,
                format!("you belong to no organization `{wanted}`, or to several of that name"),
            )
            .hint("name it by its id, with `--organization` or KEYFERRY_ORGANIZATION"),
            None => CliError::invalid("you belong to several organizations")
                .hint("choose one with `--organization` or KEYFERRY_ORGANIZATION"),
        };
        Err(memberships.iter().fold(error, |error, membership| {
            error.note(format!("{}  {}", membership.organization_id, membership.organization_name))
        }))
    }

    /// Returns a reader of secrets for one command.
    pub(crate) const fn secrets(&self) -> SecretReader<'_> {
        SecretReader::new(&self.environment)
    }

    /// Tells whether there is a person to ask.
    pub fn is_interactive(&self) -> bool {
        !self.options.no_input && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Returns what was given, or asks for it; without a person it is missing.
    pub fn require(
        &self,
        given: Option<String>,
        flag: &str,
        ask: impl FnOnce() -> Result<String, CliError>,
    ) -> Result<String, CliError> {
        match given {
            Some(given) => Ok(given),
            None if self.is_interactive() => ask(),
            None => Err(CliError::invalid(format!("{flag} is missing"))
                .hint("without a terminal nothing is asked; give it as an option")),
        }
    }

    /// Asks before something that cannot be undone. Without a person, `--yes` must say it.
    pub fn confirm(&self, is_given: bool, question: &str) -> Result<(), CliError> {
        if is_given {
            return Ok(());
        }
        if !self.is_interactive() {
            return Err(CliError::invalid("this cannot be undone, and there is nobody to ask")
                .hint("add `--yes` to do it without a question"));
        }
        if crate::prompts::confirm(question)? {
            Ok(())
        } else {
            Err(CliError::invalid("nothing was changed"))
        }
    }
}
