//! `Command`: a shell script, with the connections that it names within reach.
//!
//! As Flow runs it: `bash -e` (`sh -e` where there is no bash), from a file outside the checkout.

use keyferry_delivery::environment::{self, EnvironmentError};
use keyferry_delivery::service_binding;
use keyferry_domain::material::Material;
use keyferry_domain::operation::{Access, Operation};
use keyferry_domain::secret::SecretString;
use keyferry_pipeline::plan::StepPlan;
use keyferry_pipeline::steps::{Command, EnvironmentPart};

use super::StepError;
use crate::beneath;
use crate::job::JobContext;
use crate::process::Invocation;

pub(super) async fn run(
    job: &JobContext,
    number: usize,
    step: &StepPlan,
    fields: &Command,
) -> Result<(), StepError> {
    open_sources(job, step).await?;
    write_bindings(job, step).await?;
    let mut environment = job.environment();
    job.git_environment(&mut environment).await;
    for (name, value) in &fields.variables {
        environment.insert(name.clone(), job.substitute(value)?.into());
    }
    for (name, parts) in &fields.env {
        environment::check_name(name).map_err(|error| failed(&error))?;
        let value = render(job, step, parts).await?;
        // As a whole, too: tools print `Bearer abc` and cut it where they like.
        job.log.secrets().add(value.expose().as_bytes());
        environment.insert(name.clone(), value);
    }
    let script = job.workspace.script(number);
    beneath::write_file(&script, fields.run.as_bytes())
        .map_err(|error| StepError::Failed(format!("the script could not be written: {error}")))?;
    let has_bash =
        ["/bin/bash", "/usr/bin/bash"].iter().any(|path| std::fs::exists(path).unwrap_or(false));
    let (shell, mut arguments) = if has_bash {
        ("bash", vec!["--noprofile".into(), "--norc".into(), "-e".into()])
    } else {
        ("sh", vec!["-e".into()])
    };
    arguments.push(script.into_os_string());
    let invocation = Invocation {
        program: shell.into(),
        arguments,
        folder: job.folder(step),
        environment,
        capture: false,
        quiet: false,
    };
    match job.processes.run(invocation, &job.log).await?.code {
        0 => Ok(()),
        code => Err(StepError::Failed(format!("exit code {code}"))),
    }
}

/// Gives the keys of named connections the right to push, for this step.
async fn open_sources(job: &JobContext, step: &StepPlan) -> Result<(), StepError> {
    for source in &job.plan.sources {
        let Some(connection) = &source.connection else { continue };
        if step.connections.values().any(|named| named == connection) {
            let mut access = job.access.lock().await;
            access
                .open(&job.workspace, &job.desk, connection, &source.endpoint, Access::Write)
                .await?;
        }
    }
    Ok(())
}

/// Writes the values and files of `generic` connections where tools look for service bindings.
async fn write_bindings(job: &JobContext, step: &StepPlan) -> Result<(), StepError> {
    for (name, connection) in &step.connections {
        let known = job.desk.connections().iter().find(|one| one.id == *connection);
        let Some(known) =
            known.filter(|one| matches!(one.kind.as_str(), "generic" | "certificate"))
        else {
            continue;
        };
        let held = job.desk.leases().get(connection, &Operation::Material).await?;
        let binding =
            service_binding::layout(name, &known.kind, &held.material).map_err(|error| {
                StepError::Failed(format!("connection `{name}`: failed to {error}"))
            })?;
        job.workspace.write_binding(&binding).map_err(|error| {
            StepError::Failed(format!("the service binding `{name}` could not be written: {error}"))
        })?;
    }
    Ok(())
}

async fn render(
    job: &JobContext,
    step: &StepPlan,
    parts: &[EnvironmentPart],
) -> Result<SecretString, StepError> {
    let mut value = String::new();
    for part in parts {
        match part {
            EnvironmentPart::Text(text) => value.push_str(&job.substitute(text)?),
            EnvironmentPart::Field { connection: name, field } => {
                let Some(id) = step.connections.get(name) else {
                    return Err(failed(&EnvironmentError::UnknownConnection {
                        name: name.clone(),
                        known: step.connections.keys().cloned().collect::<Vec<_>>().join(", "),
                    }));
                };
                let held = job.desk.leases().get(id, &Operation::Material).await?;
                let material: &Material = &held.material;
                let text =
                    environment::field(name, field, material).map_err(|error| failed(&error))?;
                value.push_str(text.expose());
            }
        }
    }
    Ok(value.into())
}

fn failed(error: &EnvironmentError) -> StepError {
    StepError::Failed(format!("failed to {error}"))
}
