//! The reference of connection types, written from their declarations:
//! docs/reference/connection-types/, a page each. A test fails when one is stale.

use std::fmt::Write as _;

use crate::provider::{Capability, CredentialForm, Field, Format, Kind};

/// Returns the page of a connection type.
pub fn page(kind: &Kind) -> String {
    let mut out = format!(
        "# {title}: `{id}`\n\n\
         <!-- Written from the declaration by `keyferry_providers::reference`; do not edit by hand. -->\n\n\
         {summary}. Listed under *{group}*.\n\n",
        title = kind.title,
        id = kind.id,
        summary = kind.summary,
        group = kind.group,
    );
    if !kind.aliases.is_empty() {
        let aliases: Vec<String> = kind.aliases.iter().map(|alias| format!("`{alias}`")).collect();
        let _ = write!(out, "Also read as {}, without regard to case.\n\n", aliases.join(", "));
    }
    out.push_str(if kind.can_verify {
        "The credential is tried at the service before a connection is stored, unless that is \
         skipped.\n"
    } else {
        "There is no service to try the credential at, so connections of this type stay \
         *unverified*.\n"
    });
    let _ = write!(out, "\n```sh\n{}\n```\n\n## Settings\n\n", example(kind));
    out.push_str("Settings are shown to everyone who may see the connection.\n\n");
    fields(kind.settings, &mut out);
    out.push_str("\n## Credentials\n\nThe usual kind comes first.\n");
    for form in kind.credentials {
        credential(form, &mut out);
    }
    if !kind.capabilities.is_empty() {
        out.push_str("\n## What can be done through it\n\n");
        for capability in kind.capabilities {
            let _ = writeln!(out, "- {}", capability_text(*capability));
        }
    }
    out
}

/// Returns the page that lists all types.
pub fn index(kinds: &[&Kind]) -> String {
    let mut out = "# Connection types\n\n\
        <!-- Written from the declarations by `keyferry_providers::reference`; do not edit by hand. -->\n\n\
        | Type | Name | For |\n| --- | --- | --- |\n"
        .to_owned();
    for kind in kinds {
        let (id, title, summary) = (kind.id, kind.title, kind.summary);
        let _ = writeln!(out, "| [`{id}`]({id}.md) | {title} | {summary} |");
    }
    out
}

/// A command that makes a connection with what must be given and nothing else.
fn example(kind: &Kind) -> String {
    let mut lines =
        vec![format!("keyferry connection create --type {} --name \"{}\"", kind.id, kind.title)];
    let mut add = |field: &Field| {
        if !field.is_required {
            return;
        }
        lines.push(match (field.is_secret, field.is_multiline) {
            (false, _) => format!("--set {}={}", field.name, sample(field.format)),
            (true, true) => format!("--secret {0}=@{0}.txt", field.name),
            (true, false) => format!("--secret {}=-", field.name),
        });
    };
    kind.settings.iter().for_each(&mut add);
    match kind.credentials.first() {
        Some(form) if form.fields.is_empty() => lines.push("--secret NAME=-".to_owned()),
        Some(form) => form.fields.iter().for_each(add),
        None => {}
    }
    lines.join(" \\\n  ")
}

/// Something that looks as the format wants it.
const fn sample(format: Format) -> &'static str {
    match format {
        Format::Text => "deploy",
        Format::HttpUrl => "https://forge.example.com",
        Format::GitUrl => "https://git.example.com/team",
        Format::Authority | Format::RegistryAddress => "registry.example.com",
        Format::CertificatePem => "@ca.pem",
        Format::PrivateKeyPem => "@key.pem",
        Format::KnownHosts => "@known_hosts",
    }
}

fn fields(fields: &[Field], out: &mut String) {
    if fields.is_empty() {
        out.push_str("None.\n");
        return;
    }
    out.push_str("| Field | Name | Required | Meaning | Form |\n| --- | --- | --- | --- | --- |\n");
    for field in fields {
        let required = match (field.is_required, field.default) {
            (true, _) => "yes".to_owned(),
            (false, Some(default)) => format!("no; `{default}`"),
            (false, None) => "no".to_owned(),
        };
        let secret = if field.is_secret { "; secret, sealed and never shown again" } else { "" };
        let _ = writeln!(
            out,
            "| `{}` | {} | {required} | {} | {}{secret} |",
            field.name,
            field.label,
            field.help,
            format_text(field.format, field.is_multiline),
        );
    }
}

fn credential(form: &CredentialForm, out: &mut String) {
    let _ = write!(out, "\n### {}: `{}`\n\n", form.title, form.kind);
    if form.fields.is_empty() {
        out.push_str("Names and values of your own choice, and files.\n");
    } else {
        fields(form.fields, out);
    }
}

const fn format_text(format: Format, is_multiline: bool) -> &'static str {
    match format {
        Format::Text if is_multiline => "text of several lines",
        Format::Text => "text of one line",
        Format::HttpUrl => "`https://` or `http://`, without user name, password and query",
        Format::GitUrl => "`https://`, `http://`, `ssh://` or `user@host:path`, without a password",
        Format::Authority => "host, with a port where there is one",
        Format::RegistryAddress => "host, with a port where there is one, no path",
        Format::CertificatePem => "PEM certificates",
        Format::PrivateKeyPem => "private key, OpenSSH, PKCS#8 or PKCS#1 PEM, without a passphrase",
        Format::KnownHosts => "lines of a `known_hosts` file",
    }
}

const fn capability_text(capability: Capability) -> &'static str {
    match capability {
        Capability::ListRepositories => "list the repositories that the credential sees",
        Capability::Branches => "list branches, and delete one",
        Capability::Merge => "merge branches by the service's own call",
        Capability::Tags => "delete tags",
        Capability::Registry => "log in to its image registry",
    }
}

#[cfg(test)]
mod tests {
    use keyferry_testkit::generated::assert_current;

    use super::*;

    #[test]
    fn the_connection_types_reference_is_current() {
        let kinds: Vec<&Kind> = crate::all::ALL.iter().map(|provider| provider.kind()).collect();
        let folder = "docs/reference/connection-types";
        assert_current(&format!("{folder}/index.md"), &index(&kinds));
        for kind in kinds {
            assert_current(&format!("{folder}/{}.md", kind.id), &page(kind));
        }
    }

    #[test]
    fn no_example_has_a_secret_on_the_command_line() {
        for provider in crate::all::ALL {
            let kind = provider.kind();
            let secrets = kind.credentials.iter().flat_map(|form| form.fields);
            for field in secrets.filter(|field| field.is_secret) {
                let text = format!("--set {}=", field.name);
                assert!(!page(kind).contains(&text), "{}: {}", kind.id, field.name);
            }
        }
    }
}
