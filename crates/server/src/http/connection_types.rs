//! Connection types and their fields, as the providers declare them.

use axum::Json;
use axum::extract::State;
use keyferry_api::List;
use keyferry_api::connection_types::{ConnectionTypeView, CredentialFormView, FieldView};
use keyferry_broker::connection_types::{Capability, CredentialForm, Field, Format, Kind};

use super::AppState;
use super::answer::{Answer, answer};
use super::extract::Caller;

/// Lists every connection type with its fields.
#[utoipa::path(
    get, path = "/connection-types", operation_id = "list_connection_types", tag = "connection_types",
    responses((status = 200, body = List<ConnectionTypeView>))
)]
pub(super) async fn list_connection_types(
    State(state): State<AppState>,
    Caller(actor): Caller,
) -> Answer<Json<List<ConnectionTypeView>>> {
    answer(&actor, state.broker.list_connection_types(&actor), |kinds| List {
        items: kinds.into_iter().map(view).collect(),
        next_cursor: None,
    })
}

fn view(kind: &Kind) -> ConnectionTypeView {
    ConnectionTypeView {
        id: kind.id.to_owned(),
        aliases: kind.aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        title: kind.title.to_owned(),
        group: kind.group.to_owned(),
        summary: kind.summary.to_owned(),
        settings: kind.settings.iter().map(field_view).collect(),
        credentials: kind.credentials.iter().map(|form| form_view(form)).collect(),
        capabilities: kind
            .capabilities
            .iter()
            .map(|capability| capability_name(*capability).to_owned())
            .collect(),
        can_verify: kind.can_verify,
    }
}

fn form_view(form: &CredentialForm) -> CredentialFormView {
    CredentialFormView {
        kind: form.kind.to_string(),
        title: form.title.to_owned(),
        fields: form.fields.iter().map(field_view).collect(),
    }
}

fn field_view(field: &Field) -> FieldView {
    FieldView {
        name: field.name.to_owned(),
        label: field.label.to_owned(),
        help: field.help.to_owned(),
        required: field.is_required,
        secret: field.is_secret,
        multiline: field.is_multiline,
        default: field.default.map(str::to_owned),
        format: format_name(field.format).to_owned(),
    }
}

const fn capability_name(capability: Capability) -> &'static str {
    match capability {
        Capability::ListRepositories => "list_repositories",
        Capability::Branches => "branches",
        Capability::Merge => "merge",
        Capability::Tags => "tags",
        Capability::Registry => "registry",
    }
}

const fn format_name(format: Format) -> &'static str {
    match format {
        Format::Text => "text",
        Format::HttpUrl => "http_url",
        Format::GitUrl => "git_url",
        Format::Authority => "authority",
        Format::RegistryAddress => "registry_address",
        Format::CertificatePem => "certificate_pem",
        Format::PrivateKeyPem => "private_key_pem",
        Format::KnownHosts => "known_hosts",
    }
}
