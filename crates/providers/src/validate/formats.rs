//! What a text of each [`Format`] must look like, and its one spelling.
//!
//! Messages say what is wrong without repeating the text: it may be a private key, or an address
//! with a password in it.

use keyferry_domain::safe_url::{InvalidUrl, SafeUrl};
use russh::keys::PublicKey;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::provider::Format;

/// Checks a text and returns it in its one spelling.
pub(super) fn check(format: Format, text: &str) -> Result<String, String> {
    match format {
        Format::Text => Ok(text.to_owned()),
        Format::HttpUrl => {
            let url = SafeUrl::parse_http(text).map_err(|error| address(&error))?;
            Ok(url.as_str().trim_end_matches('/').to_owned())
        }
        Format::GitUrl => {
            let url = SafeUrl::parse_git(text).map_err(|error| address(&error))?;
            Ok(url.as_str().trim_end_matches('/').to_owned())
        }
        Format::Authority => authority(text),
        Format::RegistryAddress => registry_address(text),
        Format::CertificatePem => certificates(text),
        Format::PrivateKeyPem => private_key(text),
        Format::KnownHosts => known_hosts(text),
    }
}

fn address(error: &InvalidUrl) -> String {
    match error {
        InvalidUrl::NotAUrl => "is not an address; write it like https://git.example.com",
        InvalidUrl::HasUserInfo => {
            "has a user name or password in it; put them into the credential"
        }
        InvalidUrl::HasQuery => "has `?` or `#` in it",
        InvalidUrl::Scheme { accepted } => {
            return format!("must start with one of: {accepted}");
        }
    }
    .to_owned()
}

fn authority(text: &str) -> Result<String, String> {
    let rule = "is not a host; write it like registry.example.com or registry.example.com:5000";
    if text.contains(['/', '@', '?', '#', '\\']) || text.contains("://") {
        return Err(rule.to_owned());
    }
    let url = SafeUrl::parse_http(&format!("https://{}", text.trim())).map_err(|_| rule)?;
    Ok(url.authority())
}

/// `host[:port]` for TLS, `http://host[:port]` without.
fn registry_address(text: &str) -> Result<String, String> {
    let text = text.trim();
    if !text.contains("://") {
        return authority(text.trim_end_matches('/'));
    }
    let url = SafeUrl::parse_http(text).map_err(|error| address(&error))?;
    if url.as_url().path() != "/" {
        return Err("has a path; image names carry only the registry's host and port".to_owned());
    }
    Ok(match url.as_url().scheme() {
        "http" => format!("http://{}", url.authority()),
        _ => url.authority(),
    })
}

fn certificates(text: &str) -> Result<String, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let certificate = certificate.map_err(|_| "is not PEM text")?;
        roots.add(certificate).map_err(|_| "holds a certificate that cannot be read")?;
    }
    if roots.is_empty() {
        return Err("holds no certificate; it starts with -----BEGIN CERTIFICATE-----".to_owned());
    }
    Ok(with_final_line_end(text))
}

fn private_key(text: &str) -> Result<String, String> {
    if text.trim_start().starts_with("PuTTY-User-Key-File-") {
        return Err("is a PuTTY key; export it as an OpenSSH key".to_owned());
    }
    if !text.contains("PRIVATE KEY-----") {
        return Err("is not a private key; it starts with -----BEGIN and ends with PRIVATE \
                    KEY-----"
            .to_owned());
    }
    // ssh writes its own files with the line ends of this machine only; a key pasted on another
    // one must not fail in the job.
    let text = with_final_line_end(&text.replace("\r\n", "\n"));
    crate::ssh::read_private_key(&text).map_err(|problem| problem.to_string())?;
    Ok(text)
}

fn known_hosts(text: &str) -> Result<String, String> {
    let mut count = 0;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let problem = |problem: &str| format!("line {}: {problem}", index + 1);
        if line.starts_with('@') {
            return Err(problem(
                "markers such as @cert-authority are not supported; give the \
                                host's own key",
            ));
        }
        let mut words = line.split_whitespace();
        let (Some(_hosts), Some(algorithm), Some(key)) = (words.next(), words.next(), words.next())
        else {
            return Err(problem("expected hosts, key type and key, as ssh-keyscan prints them"));
        };
        if PublicKey::from_openssh(&format!("{algorithm} {key}")).is_err() {
            return Err(problem("the key cannot be read"));
        }
        count += 1;
    }
    if count == 0 {
        return Err("holds no host key; paste what ssh-keyscan prints".to_owned());
    }
    Ok(with_final_line_end(text))
}

fn with_final_line_end(text: &str) -> String {
    format!("{}\n", text.trim_end())
}
