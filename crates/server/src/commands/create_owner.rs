//! `create-owner`: the first owner, without a browser.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use keyferry_domain::secret::SecretString;

use crate::settings::Settings;

/// Create the first owner and their organization.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The owner's e-mail address, which is what they sign in with.
    #[arg(long)]
    email: String,
    /// The owner's name.
    #[arg(long)]
    name: String,
    /// The name of the first organization.
    #[arg(long)]
    organization: String,
    /// File with the owner's password, 12 to 1024 characters; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    password_file: PathBuf,
}

pub(super) async fn run(settings: Settings, args: Args) -> Result<()> {
    super::start_logging(&settings)?;
    let password = if args.password_file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
            .context("read the password from standard input")?
    } else {
        std::fs::read_to_string(&args.password_file)
            .with_context(|| format!("read the password from {}", args.password_file.display()))?
    };
    let password = SecretString::from(password.trim_end_matches(['\r', '\n']));
    let broker = super::open(&settings).await?;
    let actor = broker.system_actor();
    let created = broker
        .create_first_owner(&actor, &args.email, &args.name, &password, &args.organization)
        .await;
    broker.close().await;
    let organization = created?;
    super::print(&format!("created {} as the owner of {organization}", args.email))
}
