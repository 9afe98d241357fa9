//! Finding mistakes: those of the text alone, and those that only the organization's connections
//! show.

use std::collections::BTreeSet;

use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::OrganizationId;
use keyferry_domain::{Actor, Error, FieldError, Result};
use keyferry_pipeline::{Definition, Diagnostic, KnownConnection};
use keyferry_policy::Action;
use keyferry_store::connections;

use crate::Broker;
use crate::access::Subject;
use crate::failure::store_failed;

/// Connections that are looked at for the nearest name.
const SUGGESTED: u32 = 2_000;

/// The longest text of a pipeline.
const TEXT_BYTES: usize = 256 * 1024;

impl Broker {
    /// Checks a pipeline's text; saves nothing. Empty when it can be saved.
    pub async fn check_pipeline(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        yaml: &str,
    ) -> Result<Vec<Diagnostic>> {
        self.allow(actor, organization, Action::PipelineList, &Subject::Organization).await?;
        match self.read_definition(actor, organization, yaml).await? {
            Ok(_) => Ok(Vec::new()),
            Err(diagnostics) => Ok(diagnostics),
        }
    }

    /// Reads a definition and checks the connections it names.
    pub(super) async fn read_definition(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        yaml: &str,
    ) -> Result<Result<Definition, Vec<Diagnostic>>> {
        if yaml.len() > TEXT_BYTES {
            return Err(Error::invalid_field("/yaml", "is longer than 256 KiB"));
        }
        let definition = match Definition::parse(yaml) {
            Ok(definition) => definition,
            Err(diagnostics) => return Ok(Err(diagnostics)),
        };
        let known = self.known_connections(actor, organization, &definition).await?;
        let diagnostics = definition.check_connections(&known);
        Ok(if diagnostics.is_empty() { Ok(definition) } else { Err(diagnostics) })
    }

    /// Returns the connections that the definition names and that exist, and those that the
    /// author may see, for suggestions.
    async fn known_connections(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        definition: &Definition,
    ) -> Result<Vec<KnownConnection>> {
        let named: BTreeSet<String> = definition
            .places()
            .into_iter()
            .flat_map(|place| place.connections)
            .map(|used| used.id)
            .collect();
        let mut known = Vec::new();
        for id in named.iter().filter_map(|id| id.parse::<ConnectionId>().ok()) {
            let found =
                connections::find(&self.store, organization, &id).await.map_err(store_failed)?;
            let Some(connection) = found else { continue };
            let subject = self.connection_subject(&connection).await?;
            known.push(KnownConnection {
                id: id.to_string(),
                kind: connection.connection_type,
                is_visible: self.may(actor, organization, Action::ConnectionRead, &subject).await?,
            });
        }
        let visible = connections::list_ids(&self.store, organization, actor.user(), SUGGESTED)
            .await
            .map_err(store_failed)?;
        known.extend(
            visible
                .into_iter()
                .map(|id| id.to_string())
                .filter(|id| !named.contains(id))
                .map(|id| KnownConnection { id, kind: String::new(), is_visible: true }),
        );
        Ok(known)
    }
}

/// Makes the error of a save: every mistake with line and column.
pub(super) fn invalid_pipeline(diagnostics: &[Diagnostic]) -> Error {
    let fields = diagnostics
        .iter()
        .map(|found| {
            let hint = found.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            let text =
                format!("line {}, column {}: {}{hint}", found.line, found.column, found.message);
            FieldError::new("/yaml", text)
        })
        .collect();
    let count = diagnostics.len();
    let noun = if count == 1 { "mistake" } else { "mistakes" };
    Error::invalid_fields(fields)
        .named("pipeline_invalid", format!("the pipeline has {count} {noun}; nothing was saved"))
        .hint("`keyferry pipeline check FILE` finds most of them without a server")
}
