//! What is taken, and mostly what is refused, of settings and credentials.

use keyferry_domain::FieldError;
use keyferry_domain::secret::{SecretBytes, SecretString};

use super::*;
use crate::credentials::{SSH_KEY, TOKEN, USERNAME_PASSWORD, VALUES};
use crate::provider::{CredentialForm, Field, Format, Kind, OpenCredential, Settings};

const fn field(name: &'static str, is_required: bool, is_multiline: bool, format: Format) -> Field {
    Field {
        name,
        label: name,
        help: "for tests",
        is_required,
        is_secret: false,
        is_multiline,
        default: None,
        format,
    }
}

const KIND: Kind = Kind {
    id: "sample",
    aliases: &[],
    title: "Sample",
    group: "Other",
    summary: "For tests",
    settings: &[
        field("base_url", true, false, Format::HttpUrl),
        field("git_url", false, false, Format::GitUrl),
        field("registry", false, false, Format::RegistryAddress),
        field("host", false, false, Format::Authority),
        field("ca_certificate", false, true, Format::CertificatePem),
        field("known_hosts", false, true, Format::KnownHosts),
        Field { default: Some("main"), ..field("branch", false, false, Format::Text) },
    ],
    credentials: &[&TOKEN],
    capabilities: &[],
    can_verify: true,
};

fn settings(given: &[(&str, &str)]) -> Result<Settings, Vec<FieldError>> {
    let given = given.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    validate_settings(&KIND, &given.collect())
}

/// The one error of one setting beside a good `base_url`.
fn refusal(name: &str, text: &str) -> String {
    let errors = settings(&[("base_url", "https://h"), (name, text)]).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].pointer, format!("/settings/{name}"));
    errors[0].message.clone()
}

fn accepted(name: &str, text: &str) -> String {
    settings(&[("base_url", "https://h"), (name, text)]).unwrap()[name].clone()
}

fn credential(
    form: &CredentialForm,
    fields: &[(&str, &str)],
) -> Result<OpenCredential, Vec<FieldError>> {
    let fields =
        fields.iter().map(|(name, text)| ((*name).to_owned(), SecretString::from(*text))).collect();
    validate_credential(form, &CredentialInput { fields, ..Default::default() }, "/credential")
}

fn values(values: &[(&str, &str)], files: &[(&str, &[u8])]) -> Result<OpenCredential, String> {
    let input = CredentialInput {
        fields: values
            .iter()
            .map(|(name, text)| ((*name).to_owned(), SecretString::from(*text)))
            .collect(),
        files: files
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), SecretBytes::new(bytes.to_vec())))
            .collect(),
    };
    validate_credential(&VALUES, &input, "").map_err(|errors| {
        let mut text = String::new();
        for error in errors {
            text = format!("{text}{}: {}\n", error.pointer, error.message);
        }
        text
    })
}

#[test]
fn settings_come_back_in_one_spelling_with_defaults() {
    let settings =
        settings(&[("base_url", "HTTPS://Git.Example.com:443/gitea/"), ("host", " ")]).unwrap();
    let expected = [("base_url", "https://git.example.com/gitea"), ("branch", "main")];
    let expected: Settings = expected.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
    assert_eq!(settings, expected);
}

#[test]
fn all_errors_are_told_at_once() {
    let errors = settings(&[("branch", "a\nb"), ("hots", "x"), ("host", "a/b")]).unwrap_err();
    let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(
        pointers,
        ["/settings/hots", "/settings/base_url", "/settings/host", "/settings/branch"]
    );
    assert_eq!(errors[1].message, "is missing");
    assert!(errors[3].message.contains("line break"));
}

#[test]
fn an_unknown_setting_is_refused_with_the_nearest_name() {
    assert_eq!(refusal("bas_url", "x"), "is not a field here; did you mean `base_url`?");
    assert_eq!(refusal("zzzzzzzz", "x"), "is not a field here");
}

#[test]
fn an_unknown_name_is_cut_and_escaped_in_the_pointer() {
    let name = format!("a/b~{}", "x".repeat(5_000));
    let errors = settings(&[("base_url", "https://h"), (&name, "1")]).unwrap_err();
    assert!(errors[0].pointer.starts_with("/settings/a~1b~0xxx"));
    assert!(errors[0].pointer.len() < 120);
}

#[test]
fn an_address_with_a_password_is_refused_without_repeating_it() {
    for (name, text) in [
        ("base_url", "https://alice:hunter2@h/"),
        ("base_url", "https://hunter2@h/"),
        ("git_url", "ssh://git:hunter2@h/x"),
        ("registry", "http://ci:hunter2@h"),
        ("registry", "ci:hunter2@h"),
        ("host", "hunter2@h"),
    ] {
        let errors = settings(&[("base_url", "https://h"), (name, text)]).unwrap_err();
        assert!(!format!("{errors:?}").contains("hunter2"), "{errors:?}");
    }
}

#[test]
fn addresses_of_other_kinds_are_refused() {
    for text in ["ftp://h", "file:///etc/passwd", "h", "https://", "https://h?x=1", "https://h#x"] {
        let errors = settings(&[("base_url", text)]).unwrap_err();
        assert_eq!(errors[0].pointer, "/settings/base_url", "{text}");
    }
    refusal("git_url", "ext::sh -c id");
    refusal("git_url", "/srv/git");
}

#[test]
fn registries_keep_their_scheme_only_when_it_is_not_tls() {
    assert_eq!(accepted("registry", "Registry.example.com"), "registry.example.com");
    assert_eq!(accepted("registry", "https://registry.example.com/"), "registry.example.com");
    assert_eq!(accepted("registry", "http://127.0.0.1:5000"), "http://127.0.0.1:5000");
    assert_eq!(accepted("registry", "[::1]:5000"), "[::1]:5000");
    for text in ["registry.example.com/team", "https://h/v2", "ftp://h", "h h", "h:99999", ":5000"]
    {
        refusal("registry", text);
    }
}

#[test]
fn line_breaks_control_characters_and_nul_are_refused_in_a_line() {
    for text in ["a\nb", "a\rb", "a\0b", "a\u{1b}[31mb", "a\tb"] {
        refusal("branch", text);
    }
    assert!(refusal("known_hosts", "a\0b").contains("NUL"));
}

#[test]
fn a_text_over_the_limit_is_refused() {
    assert!(refusal("branch", &"x".repeat(MAX_TEXT_BYTES + 1)).contains("64 KiB"));
    assert_eq!(accepted("branch", &"x".repeat(MAX_TEXT_BYTES)).len(), MAX_TEXT_BYTES);
}

#[test]
fn certificates_must_be_certificates() {
    let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(refusal("ca_certificate", empty).contains("cannot be read"));
    assert!(refusal("ca_certificate", "hello").contains("holds no certificate"));
    refusal("ca_certificate", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
    refusal("ca_certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    assert!(accepted("ca_certificate", CERTIFICATE).ends_with("-----END CERTIFICATE-----\n"));
}

const HOST_KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

#[test]
fn known_hosts_are_read_line_by_line() {
    let good = format!("# a comment\n\n[127.0.0.1]:2222 ssh-ed25519 {HOST_KEY} note");
    assert!(accepted("known_hosts", &good).ends_with("note\n"));
    accepted("known_hosts", &format!("|1|c2FsdA==|aGFzaA== ssh-ed25519 {HOST_KEY}"));
    for (text, part) in [
        (format!("h ssh-ed25519 {HOST_KEY}\nh2 ssh-ed25519"), "line 2"),
        (format!("@cert-authority * ssh-ed25519 {HOST_KEY}"), "markers"),
        ("h ssh-ed25519 AAAA".to_owned(), "cannot be read"),
        (format!("h ssh-rsa {HOST_KEY}"), "cannot be read"),
        ("# nothing".to_owned(), "no host key"),
    ] {
        assert!(refusal("known_hosts", &text).contains(part), "{text}");
    }
}

#[test]
fn a_credential_is_split_into_public_and_secret_parts() {
    let open =
        credential(&USERNAME_PASSWORD, &[("username", "alice"), ("password", "hunter2")]).unwrap();
    assert_eq!(open.public["username"], "alice");
    assert_eq!(open.secrets["password"].expose(), "hunter2");
    assert!(!format!("{open:?}").contains("hunter2"));
    assert_eq!(credential(&TOKEN, &[("token", "t")]).unwrap().public["username"], "oauth2");
}

#[test]
fn no_refusal_of_a_credential_repeats_what_was_given() {
    for (name, text) in [
        ("password", "hunter2\nhunter2"),
        ("password", "hunter2\0"),
        ("passwrd", "hunter2"),
        ("username", "hunter2:hunter2"),
        ("username", "hunter2\r"),
    ] {
        let fields = [("username", "alice"), ("password", "x"), (name, text)];
        let errors = credential(&USERNAME_PASSWORD, &fields).unwrap_err();
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].pointer, format!("/credential/fields/{name}"));
        assert!(!format!("{errors:?}").contains("hunter2"), "{errors:?}");
    }
}

#[test]
fn a_missing_or_empty_secret_is_refused() {
    for fields in [&[("username", "alice")][..], &[("username", "alice"), ("password", "")]] {
        let errors = credential(&USERNAME_PASSWORD, fields).unwrap_err();
        assert_eq!(errors, [FieldError::new("/credential/fields/password", "is missing")]);
    }
}

#[test]
fn files_belong_to_the_kind_values_only() {
    let input = CredentialInput {
        fields: [("token".to_owned(), SecretString::from("t"))].into(),
        files: [("A".to_owned(), SecretBytes::new(b"hunter2".to_vec()))].into(),
    };
    let errors = validate_credential(&TOKEN, &input, "").unwrap_err();
    assert_eq!(errors[0].pointer, "/files");
    assert!(!format!("{errors:?}").contains("hunter2"));
}

#[test]
fn private_keys_must_be_readable_and_without_a_passphrase() {
    let key = russh::keys::ssh_key::private::Ed25519Keypair::from_seed(&[7; 32]);
    let key = russh::keys::PrivateKey::from(key);
    let pem = key.to_openssh(russh::keys::ssh_key::LineEnding::LF).unwrap();
    let open = credential(&SSH_KEY, &[("private_key", pem.trim_end())]).unwrap();
    assert_eq!(open.secrets["private_key"].expose(), &*pem);
    assert_eq!(open.public["username"], "git");

    let windows = pem.replace('\n', "\r\n");
    let open = credential(&SSH_KEY, &[("private_key", &windows)]).unwrap();
    assert_eq!(open.secrets["private_key"].expose(), &*pem);

    let cut = &pem[..pem.len() / 2];
    let public = key.public_key().to_openssh().unwrap();
    for text in [cut, &public, "PuTTY-User-Key-File-3: ssh-ed25519", "hello", ENCRYPTED_KEY] {
        let errors = credential(&SSH_KEY, &[("private_key", text)]).unwrap_err();
        assert_eq!(errors[0].pointer, "/credential/fields/private_key");
        assert!(!errors[0].message.contains(text));
    }
    let errors = credential(&SSH_KEY, &[("private_key", ENCRYPTED_KEY)]).unwrap_err();
    assert!(errors[0].message.contains("passphrase"), "{errors:?}");
}

#[test]
fn named_values_and_files_are_taken() {
    let open =
        values(&[("API_KEY", "a\nb"), ("type", "postgresql")], &[("ca.crt", &[0, 255])]).unwrap();
    assert_eq!(open.secrets["API_KEY"].expose(), "a\nb");
    assert_eq!(open.files["ca.crt"].expose(), &[0, 255]);
    values(&[("A", &"x".repeat(MAX_VALUE_BYTES))], &[]).unwrap();
    values(&[("A", "")], &[]).unwrap();
}

#[test]
fn names_that_are_no_names_are_refused() {
    let long = "x".repeat(129);
    for name in ["", "1a", "a b", "a/b", "..", ".a", "-a", "a=b", "ä", "a\0", long.as_str()] {
        assert!(values(&[(name, "hunter2")], &[]).is_err(), "{name:?}");
    }
    for name in ["", "a/b", "/etc/passwd", ".", "..", "..data", "-rf", "a\0b", "a b", &long] {
        let error = values(&[], &[(name, b"hunter2")]).unwrap_err();
        assert!(!error.contains("hunter2"));
    }
    values(&[], &[(".npmrc", b"x"), ("0", b"x")]).unwrap();
}

#[test]
fn too_many_or_too_large_values_are_refused() {
    let large = "x".repeat(MAX_VALUE_BYTES + 1);
    assert!(values(&[("A", &large)], &[]).unwrap_err().contains("1 MiB"));
    assert!(values(&[], &[("A", large.as_bytes())]).unwrap_err().contains("1 MiB"));
    let names: Vec<String> = (0..=MAX_VALUES).map(|index| format!("V{index}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    assert!(values(&many, &[]).unwrap_err().contains("more than 100"));
    assert!(values(&many[1..], &[]).is_ok());
    assert!(values(&[], &[]).unwrap_err().contains("neither"));
}

#[test]
fn a_value_and_a_file_of_one_name_are_refused() {
    assert!(values(&[("A", "x")], &[("A", b"y")]).unwrap_err().contains("too"));
}

#[test]
fn a_value_with_nul_is_refused() {
    assert!(values(&[("A", "hunter2\0")], &[]).unwrap_err().contains("NUL"));
}

const ENCRYPTED_KEY: &str = include_str!("fixtures/encrypted_key");
const CERTIFICATE: &str = include_str!("fixtures/certificate.pem");
