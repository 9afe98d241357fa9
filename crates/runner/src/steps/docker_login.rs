//! `DockerLogin`: lets the job's image tools use a registry.
//!
//! Writes no password anywhere: Docker and its kin ask our helper when they need one. A lease is
//! taken at once, so that a refusal fails this step and not a push much later. The server tries the
//! login at the registry before it gives that lease, through its gate and with the connection's own
//! settings: this step needs no way to the registry of its own, and "logged in" is the registry's word.

use keyferry_delivery::address::Address;
use keyferry_domain::operation::{Access, Operation};
use keyferry_pipeline::plan::StepPlan;
use keyferry_pipeline::steps::DockerLogin;

use super::StepError;
use crate::job::JobContext;
use crate::job_socket::{has_images, registry_names};

pub(super) async fn run(
    job: &JobContext,
    step: &StepPlan,
    fields: &DockerLogin,
) -> Result<(), StepError> {
    let id = step
        .connections
        .get("serviceConnection")
        .or_else(|| step.connections.values().next())
        .ok_or_else(|| StepError::Failed("the step names no connection".to_owned()))?;
    let known = job
        .desk
        .connections()
        .iter()
        .find(|one| one.id == *id)
        .filter(|one| has_images(&one.kind))
        .ok_or_else(|| {
            StepError::Failed(format!("the connection `{id}` is not for an image registry"))
        })?;
    let names = registry_names(known);
    let own = names.last().cloned().unwrap_or_default();
    if let Some(asked) = &fields.docker_repository {
        let host = Address::parse(asked)
            .map_err(|error| StepError::Failed(format!("failed to {error}")))?
            .authority();
        let is_own =
            host.eq_ignore_ascii_case(&own) || (own == "docker.io" && host.ends_with("docker.io"));
        if !is_own {
            return Err(StepError::Failed(format!(
                "the connection `{id}` is for `{own}`, not for `{host}`"
            )));
        }
    }
    let operation = Operation::Registry { repository: None, access: Access::Write };
    job.desk.leases().get(id, &operation).await.map_err(|refusal| {
        let reason = super::refused(&refusal);
        StepError::Failed(match refusal.code.as_str() {
            "credential_rejected" => format!("the registry `{own}` refused the login: {reason}"),
            "stopped" => return StepError::Stopped,
            _ => format!("not logged in to `{own}`: {reason}"),
        })
    })?;
    job.log.line(&format!("logged in to {own} through the connection {id}")).await;
    Ok(())
}
