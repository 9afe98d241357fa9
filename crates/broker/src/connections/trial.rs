//! Trying a credential against its service: before it is stored, and again whenever asked.
//!
//! Unclear is not success: a service that does not answer, or answers with something else than a
//! yes, leaves nothing stored unless the person has said that it shall not be tried.

use keyferry_domain::audit::Target;
use keyferry_domain::connection::{ConnectionId, Health, HealthStatus};
use keyferry_domain::id::OrganizationId;
use keyferry_domain::{Actor, Error, Result};
use keyferry_policy::Action;
use keyferry_providers::ProviderError;
use keyferry_store::connections;
use keyferry_store::connections::ConnectionRecord;

use super::view::ConnectionDetails;
use crate::Broker;
use crate::audit::Event;
use crate::failure::{provider_failed, store_failed};
use crate::opened::Opened;

impl Broker {
    /// Tries a connection again with its present credential, and keeps what was found. That the
    /// service says no is an answer, not a failure.
    pub async fn verify_connection(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &ConnectionId,
    ) -> Result<ConnectionDetails> {
        let connection =
            self.allowed_connection(actor, organization, id, Action::ConnectionVerify).await?;
        let opened = self.open_current(connection).await?;
        let (health, _) = self.examine(&opened).await;
        let mut connection = opened.connection;
        self.keep_health(actor, &mut connection, health).await?;
        self.connection_details(connection).await
    }

    /// Asks the service, unless it is of a type that has none. The failure goes with a health that
    /// is not healthy.
    pub(crate) async fn examine(&self, opened: &Opened) -> (Health, Option<ProviderError>) {
        if !opened.provider.kind().can_verify {
            return (Health::UNVERIFIED, None);
        }
        let asked = opened.provider.verify(&self.outside, opened.target()).await;
        let checked_at = Some(self.clock.now());
        let (status, reason, field, failure) = match asked {
            Ok(words) => (HealthStatus::Healthy, words, None, None),
            Err(error) => {
                let (status, field) = status_of(&error);
                (status, error.to_string(), field, Some(error))
            }
        };
        (Health { status, reason: Some(reason), field, checked_at }, failure)
    }

    /// Tries what is about to be stored; a failure is written down and nothing is stored.
    pub(super) async fn examine_new(
        &self,
        actor: &Actor,
        action: &'static str,
        opened: &Opened,
        skip: bool,
    ) -> Result<Health> {
        if skip {
            return Ok(Health::UNVERIFIED);
        }
        let (health, failure) = self.examine(opened).await;
        let Some(failure) = failure else { return Ok(health) };
        let connection = &opened.connection;
        let reason = health.reason.as_deref().unwrap_or_default();
        let event = Event::failed(action, Target::new("connection", &connection.id), reason)
            .with("health", health.status);
        self.record(actor, Some(&connection.organization_id), event).await?;
        Err(not_stored(opened, failure))
    }

    /// Tries the credential again after the service has refused something, so that people see in
    /// the list that a password was changed at the service. A refusal of one operation alone
    /// leaves the health as it is.
    pub(crate) async fn note_rejection(
        &self,
        actor: &Actor,
        opened: &Opened,
        error: &ProviderError,
    ) {
        if !matches!(error, ProviderError::Rejected { .. }) {
            return;
        }
        let (health, failure) = self.examine(opened).await;
        if !matches!(failure, Some(ProviderError::Rejected { .. })) {
            return;
        }
        let mut connection = opened.connection.clone();
        if let Err(error) = self.keep_health(actor, &mut connection, health).await {
            tracing::warn!(?error, connection = %connection.id, "keep the health of a connection");
        }
    }

    /// Keeps what was found and writes down that it was tried, unless the connection was changed in
    /// the meantime: then what was found is about something that is no more, and only the trial is
    /// written down.
    pub(crate) async fn keep_health(
        &self,
        actor: &Actor,
        connection: &mut ConnectionRecord,
        health: Health,
    ) -> Result<()> {
        let organization = connection.organization_id.clone();
        let target = Target::new("connection", &connection.id);
        let event = Event::done("connection.verify", target).with("health", health.status);
        let next_check_at = self.next_check(connection, health.status);
        let mut change = self.store.begin().await.map_err(store_failed)?;
        let is_kept = connections::set_health(&mut change, connection, &health, next_check_at)
            .await
            .map_err(store_failed)?;
        if is_kept {
            self.commit(change, actor, Some(&organization), event).await?;
            connection.set_health(health);
        } else {
            // On SQLite the transaction holds the one writer, which the record needs.
            drop(change);
            self.record(actor, Some(&organization), event).await?;
            *connection = self.find_connection(&organization, &connection.id).await?;
        }
        Ok(())
    }
}

fn status_of(error: &ProviderError) -> (HealthStatus, Option<String>) {
    match error {
        ProviderError::Rejected { .. } | ProviderError::Refused { .. } => {
            (HealthStatus::Rejected, None)
        }
        ProviderError::Misconfigured { field, .. } => {
            (HealthStatus::Misconfigured, Some(field.clone()))
        }
        ProviderError::NotFound { .. } => (HealthStatus::Misconfigured, None),
        ProviderError::RateLimited { .. }
        | ProviderError::Unavailable { .. }
        | ProviderError::MergeConflict { .. }
        | ProviderError::Moved { .. }
        | ProviderError::Unsupported { .. }
        | ProviderError::Unexpected { .. } => (HealthStatus::Unreachable, None),
    }
}

/// Makes the error for a credential or settings that were tried and not stored.
fn not_stored(opened: &Opened, error: ProviderError) -> Error {
    const HINT: &str = "nothing was stored; correct it and try again, or have it stored without a \
                        try (`skip_verify`)";
    if let ProviderError::Misconfigured { field, reason } = &error {
        let is_setting =
            opened.provider.kind().settings.iter().any(|setting| setting.name == field);
        let pointer = if is_setting {
            format!("/settings/{field}")
        } else {
            format!("/credential/fields/{field}")
        };
        return Error::invalid_field(pointer, reason.clone()).hint(HINT);
    }
    provider_failed(error).hint(HINT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_healthy_and_a_wrong_setting_is_named() {
        let unavailable = ProviderError::Unavailable { reason: "refused".to_owned() };
        let limited = ProviderError::RateLimited { retry_after: None };
        let strange = ProviderError::Unexpected { reason: "HTML".to_owned() };
        for error in [unavailable, limited, strange] {
            assert_eq!(status_of(&error), (HealthStatus::Unreachable, None), "{error:?}");
        }
        let rejected = ProviderError::Rejected { reason: "401".to_owned() };
        assert_eq!(status_of(&rejected), (HealthStatus::Rejected, None));
        let missing = ProviderError::NotFound { what: "API".to_owned() };
        assert_eq!(status_of(&missing), (HealthStatus::Misconfigured, None));
        let wrong =
            ProviderError::Misconfigured { field: "url".to_owned(), reason: "no".to_owned() };
        assert_eq!(status_of(&wrong), (HealthStatus::Misconfigured, Some("url".to_owned())));
    }
}
