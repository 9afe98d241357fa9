//! The generic type's declaration and its few rules.

use std::time::Duration;

use async_trait::async_trait;
use keyferry_domain::lease::{Narrowing, Residue};
use keyferry_domain::material::Material;
use keyferry_domain::operation::Operation;

use crate::credentials;
use crate::error::ProviderError;
use crate::provider::{Context, Issued, Kind, Plan, Provider, Target};

/// The declaration.
const KIND: Kind = Kind {
    id: "generic",
    aliases: &["values", "secrets"],
    title: "Values and files",
    group: "Other",
    summary: "Named values and files for tools that no other type covers",
    settings: &[],
    credentials: &[&credentials::VALUES],
    capabilities: &[],
    can_verify: false,
};

/// The provider.
pub(crate) const GENERIC: Generic = Generic;

/// Named values and files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Generic;

#[async_trait]
impl Provider for Generic {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    async fn verify(&self, _: &Context, _: Target<'_>) -> Result<String, ProviderError> {
        Err(ProviderError::Unsupported {
            reason: "there is no service that could be asked whether these values are right"
                .to_owned(),
        })
    }

    fn plan(&self, _: Target<'_>, operation: &Operation, _: &str) -> Result<Plan, ProviderError> {
        match operation {
            Operation::Material => Ok(Plan { narrowing: Narrowing::Stored, handle: None }),
            Operation::Git { .. } | Operation::Registry { .. } => {
                Err(ProviderError::Misconfigured {
                    field: "operation".to_owned(),
                    reason: "a `generic` connection holds values and files; it cannot sign in \
                             to a service"
                        .to_owned(),
                })
            }
        }
    }

    async fn issue(
        &self,
        _: &Context,
        target: Target<'_>,
        _: &Operation,
        _: &Plan,
        _: Duration,
    ) -> Result<Issued, ProviderError> {
        Ok(Issued {
            material: Material::Values {
                values: target.credential.secrets.clone(),
                files: target.credential.files.clone(),
            },
            expires_at: None,
            residue: Some(Residue {
                what: "the stored values and files were handed over".to_owned(),
                until: None,
            }),
        })
    }

    async fn revoke(
        &self,
        _: &Context,
        _: Target<'_>,
        _: &Narrowing,
        _: &str,
    ) -> Result<Option<Residue>, ProviderError> {
        Ok(None)
    }
}
