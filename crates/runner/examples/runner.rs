//! A runner as a process of its own, for tests that kill it.
//!
//! `runner SERVER WORK_FOLDER HELPER namespaces|process`; runs until it is killed.

use std::error::Error;
use std::path::PathBuf;

use keyferry_api::client::Client;
use keyferry_domain::secret::SecretString;
use keyferry_runner::{Runner, Settings};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, folder, helper, isolation] = arguments.as_slice() else {
        return Err("four arguments are needed".into());
    };
    let mut settings = Settings::new(PathBuf::from(folder), PathBuf::from(helper));
    settings.use_namespaces = isolation == "namespaces";
    let client = Client::new(server, Some(SecretString::from("kf_runner_x")), &[])?;
    Runner::new(settings, client).run(CancellationToken::new()).await?;
    Ok(())
}
