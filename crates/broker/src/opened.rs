//! A connection together with its provider and its credential in plain text, for the length of
//! one call of the outside service.

use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::OrganizationId;
use keyferry_domain::{Error, Result};
use keyferry_providers::{OpenCredential, Provider, Target};
use keyferry_store::connections::ConnectionRecord;
use keyferry_store::credentials::{CredentialRecord, CredentialVersionRecord};
use keyferry_store::{connections, credentials};
use keyferry_vault::SealContext;

use crate::Broker;
use crate::failure::store_failed;

/// A connection, ready for a call.
pub(crate) struct Opened {
    /// The connection.
    pub(crate) connection: ConnectionRecord,
    /// What its type can do.
    pub(crate) provider: &'static dyn Provider,
    /// The number of the credential's version that was opened.
    pub(crate) credential_version: i64,
    /// The credential.
    pub(crate) credential: OpenCredential,
}

impl Opened {
    /// Returns what providers take.
    pub(crate) fn target(&self) -> Target<'_> {
        Target { settings: &self.connection.settings, credential: &self.credential }
    }
}

impl Broker {
    /// Finds a connection that has not been deleted.
    pub(crate) async fn find_connection(
        &self,
        organization: &OrganizationId,
        id: &ConnectionId,
    ) -> Result<ConnectionRecord> {
        connections::find(&self.store, organization, id)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| Error::not_found(format!("connection `{id}`")))
    }

    /// Opens a connection with its credential's current version. Callers have been allowed before.
    pub(crate) async fn open_current(&self, connection: ConnectionRecord) -> Result<Opened> {
        let credential = self.credential_of(&connection).await?;
        self.open_version(connection, &credential, credential.current_number).await
    }

    /// Finds the credential behind a connection, deleted or not.
    pub(crate) async fn credential_of(
        &self,
        connection: &ConnectionRecord,
    ) -> Result<CredentialRecord> {
        let organization = &connection.organization_id;
        credentials::find_with_deleted(&self.store, organization, &connection.credential_id)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| Error::internal("a connection without a credential"))
    }

    /// Opens a connection with one version of its credential.
    pub(crate) async fn open_version(
        &self,
        connection: ConnectionRecord,
        credential: &CredentialRecord,
        number: i64,
    ) -> Result<Opened> {
        let version = credentials::find_version(
            &self.store,
            &credential.organization_id,
            &credential.id,
            number,
        )
        .await
        .map_err(store_failed)?
        .ok_or_else(|| Error::internal("a credential without this version"))?;
        let open = self.open_credential(credential, &version)?;
        let provider = keyferry_providers::find(&connection.connection_type)
            .ok_or_else(|| Error::internal("a connection of an unknown type"))?;
        Ok(Opened { connection, provider, credential_version: number, credential: open })
    }

    fn open_credential(
        &self,
        credential: &CredentialRecord,
        version: &CredentialVersionRecord,
    ) -> Result<OpenCredential> {
        let sealed = version.sealed.as_deref().ok_or_else(|| {
            Error::conflict("credential_retired", "this version of the credential was wiped")
        })?;
        let context =
            SealContext::credential(&credential.organization_id, &credential.id, version.number);
        let secrets = self.vault.open_credential(&context, sealed).map_err(|error| {
            Error::new(
                keyferry_domain::ErrorKind::Unavailable,
                "credential_unreadable",
                "the credential cannot be opened with the root keys of this server",
            )
            .hint("an operator can give the server the root key that it was sealed with")
            .caused_by(error)
        })?;
        Ok(OpenCredential {
            kind: credential.kind,
            public: version.public_fields.clone(),
            secrets: secrets.secrets,
            files: secrets.files,
        })
    }
}
