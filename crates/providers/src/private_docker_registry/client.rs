//! Signs in to a registry as `docker login` does, to see whether the credential is right.
//!
//! Sources: the distribution specification's `/v2/`, and Docker's token authentication
//! (<https://distribution.github.io/distribution/spec/auth/token/>).

use keyferry_domain::safe_url::SafeUrl;
use keyferry_domain::secret::SecretString;
use reqwest::header::WWW_AUTHENTICATE;
use serde::Deserialize;
use url::Url;

use super::challenge::{self, Challenge};
use crate::error::ProviderError;
use crate::http::{Answer, Http};
use crate::provider::{Context, Settings};

/// The setting that holds the address.
const REGISTRY: &str = "registry";

/// The setting that allows a token server on another host.
const TOKEN_REALM_HOST: &str = "token_realm_host";

/// Docker Hub's name in image names, where its API is, and where it is signed in to.
const DOCKER_HUB: [&str; 3] = ["docker.io", "registry-1.docker.io", "auth.docker.io"];

/// What a token server answers: one of the two names, by its age.
#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<SecretString>,
    access_token: Option<SecretString>,
}

/// What became of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignedIn {
    /// The registry's own yes.
    Accepted,
    /// The registry lets everyone in and asks nobody: the credential is neither right nor wrong.
    NotAsked,
}

/// Signs in; everything but these two answers is an error.
pub(super) async fn sign_in(
    context: &Context,
    settings: &Settings,
    username: &str,
    secret: &SecretString,
) -> Result<SignedIn, ProviderError> {
    let base = base_url(settings)?;
    let ca = settings.get("ca_certificate").map(String::as_str);
    let http = Http::new(context, REGISTRY, ca)?;
    let api = api_url(&base);
    // The secret is not sent here, but a server may know it from another call.
    let asked = http.get(api.clone()).secret(secret).send().await?;
    let challenges = match asked.status.as_u16() {
        401 => challenges(&asked),
        200 => return Ok(SignedIn::NotAsked),
        404 => {
            return Err(misconfigured(
                REGISTRY,
                "there is no image registry at this address: it has no `/v2/`",
            ));
        }
        _ => return Err(asked.error("`/v2/` of the registry")),
    };
    // Basic first: the answer then comes from the registry itself.
    if challenges.iter().any(|challenge| challenge.scheme == "basic") {
        http.get(api).basic(username, secret).send().await?.success("`/v2/` of the registry")?;
        return Ok(SignedIn::Accepted);
    }
    let Some(bearer) = challenges.iter().find(|challenge| challenge.scheme == "bearer") else {
        return Err(ProviderError::Unexpected {
            reason: "the registry asks for neither Basic nor Bearer authentication".to_owned(),
        });
    };
    let realm = realm(settings, &base, bearer)?;
    let mut request = http
        .get(realm)
        .query("account", username)
        .query("client_id", "keyferry")
        .basic(username, secret);
    if let Some(service) = bearer.parameters.get("service") {
        request = request.query("service", service);
    }
    let answer = request.send().await?.success("the token server of the registry")?;
    let answer: TokenAnswer = answer.json()?;
    let token = answer
        .token
        .or(answer.access_token)
        .filter(|token| !token.expose().is_empty())
        .ok_or_else(|| ProviderError::Unexpected {
            reason: "the token server of the registry answers without a token".to_owned(),
        })?;
    // A token server may give anyone a token that is good for nothing.
    http.get(api).bearer(&token).secret(secret).send().await?.success("`/v2/` of the registry")?;
    Ok(SignedIn::Accepted)
}

fn misconfigured(field: &str, reason: impl Into<String>) -> ProviderError {
    ProviderError::Misconfigured { field: field.to_owned(), reason: reason.into() }
}

/// Returns the address of the registry: TLS unless it was given with `http://`.
fn base_url(settings: &Settings) -> Result<SafeUrl, ProviderError> {
    let text = settings.get(REGISTRY).ok_or_else(|| misconfigured(REGISTRY, "it is missing"))?;
    let text = match text.as_str() {
        "docker.io" | "index.docker.io" => DOCKER_HUB[1],
        text => text,
    };
    let url = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    SafeUrl::parse_http(&url).map_err(|_| misconfigured(REGISTRY, "it is not an address"))
}

/// Returns `/v2/`; the slash at its end is part of it.
fn api_url(base: &SafeUrl) -> Url {
    base.join(&["v2", ""]).as_url().clone()
}

fn challenges(answer: &Answer) -> Vec<Challenge> {
    let headers = answer.headers.get_all(WWW_AUTHENTICATE).into_iter().take(8);
    headers.filter_map(|header| header.to_str().ok()).flat_map(challenge::parse).collect()
}

/// Decides whether the credential may go to the token server that the registry names. The name
/// comes from outside: a registry that was taken over could send every credential anywhere. So it
/// must be the registry's own host, or the one that the connection names, and as safe on the way.
fn realm(settings: &Settings, base: &SafeUrl, bearer: &Challenge) -> Result<Url, ProviderError> {
    let strange = || ProviderError::Unexpected {
        reason: "the registry names a token server whose address cannot be used".to_owned(),
    };
    let text = bearer.parameters.get("realm").ok_or_else(strange)?;
    let url = Url::parse(text).map_err(|_| strange())?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(strange)?;
    let has_user_info = !url.username().is_empty() || url.password().is_some();
    if has_user_info || !matches!(url.scheme(), "https" | "http") {
        return Err(strange());
    }
    if url.scheme() == "http" && base.as_url().scheme() == "https" {
        return Err(ProviderError::Unexpected {
            reason: format!("the registry wants the password sent to `{host}` without TLS"),
        });
    }
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let own_host = base.as_url().host_str().unwrap_or_default();
    let is_docker_hub = own_host == DOCKER_HUB[1] && authority == DOCKER_HUB[2];
    let is_named = settings.get(TOKEN_REALM_HOST).is_some_and(|named| *named == authority);
    if host == own_host || is_docker_hub || is_named {
        return Ok(url);
    }
    Err(misconfigured(
        TOKEN_REALM_HOST,
        format!(
            "the registry has passwords checked by another host, `{authority}`; set this to it if \
             that is right"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    fn realm_of(settings: &Settings, realm_text: &str) -> Result<String, ProviderError> {
        let header = format!("Bearer realm=\"{realm_text}\",service=\"r\"");
        let base = base_url(settings).unwrap();
        realm(settings, &base, &challenge::parse(&header)[0]).map(|url| url.to_string())
    }

    #[test]
    fn the_address_is_tls_unless_said_otherwise() {
        let api = |text| api_url(&base_url(&settings(&[("registry", text)])).unwrap()).to_string();
        assert_eq!(api("registry.example.com:5000"), "https://registry.example.com:5000/v2/");
        assert_eq!(api("http://127.0.0.1:5000"), "http://127.0.0.1:5000/v2/");
        assert_eq!(api("docker.io"), "https://registry-1.docker.io/v2/");
    }

    #[test]
    fn a_token_server_on_another_host_is_refused_until_it_is_named() {
        let plain = settings(&[("registry", "registry.example.com")]);
        for realm in [
            "https://evil.example/token",
            "https://registry.example.com.evil.example/token",
            "https://auth.registry.example.com/token",
        ] {
            let error = realm_of(&plain, realm).unwrap_err();
            assert!(
                matches!(&error, ProviderError::Misconfigured { field, .. } if field == TOKEN_REALM_HOST),
                "{error}"
            );
        }
        assert!(realm_of(&plain, "https://registry.example.com:8443/token").is_ok());
        let named = settings(&[
            ("registry", "registry.example.com"),
            ("token_realm_host", "auth.example.com"),
        ]);
        assert!(realm_of(&named, "https://auth.example.com/token").is_ok());
        assert!(realm_of(&named, "https://auth.example.com:8443/token").is_err());
        assert!(
            realm_of(&settings(&[("registry", "docker.io")]), "https://auth.docker.io/token")
                .is_ok()
        );
        assert!(realm_of(&plain, "https://auth.docker.io/token").is_err());
    }

    #[test]
    fn a_token_server_without_tls_is_refused_beside_a_registry_with_it() {
        let plain = settings(&[("registry", "registry.example.com")]);
        let error = realm_of(&plain, "http://registry.example.com/token").unwrap_err();
        assert!(error.to_string().contains("without TLS"), "{error}");
        let open = settings(&[("registry", "http://registry.example.com")]);
        assert!(realm_of(&open, "http://registry.example.com/token").is_ok());
    }

    #[test]
    fn realms_that_are_no_plain_address_are_refused() {
        let plain = settings(&[("registry", "registry.example.com")]);
        for realm in [
            "",
            "/token",
            "file:///etc/passwd",
            "https://a:b@registry.example.com/token",
            "ftp://registry.example.com/",
        ] {
            let error = realm_of(&plain, realm).unwrap_err();
            assert!(matches!(error, ProviderError::Unexpected { .. }), "{realm}: {error}");
        }
    }
}
