//! What a cloud says of itself at `/metadata/endpoints`: where its tokens come from, and for whom they are.
//!
//! The question goes to the configured endpoint over TLS and without a token. Of the answer only two things are used, the
//! authority and the audience, and neither moves ARM: requests with tokens go to the configured endpoint all the same.
use super::chain::chain;
use super::cloud::{Place, SigningIn};
use super::credential::{CredentialError, CredentialKind, CredentialOptions, check, credential};
use super::http::{self, Limits, Proxies};
use super::operation::place;
use super::told::presentable;
use super::wire::word;
use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind;
use reqwest::StatusCode;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use url::Url;

/// The newest that tools ask for.
const NEWER: &str = "2022-09-01";

/// What every Azure Stack Hub has had.
const OLDER: &str = "2015-01-01";

/// The public cloud's answer takes 4 KiB; one about all clouds 20.
const LONGEST: usize = 1024 * 1024;

/// Both together stay within the time that a caller waits for a token.
const LIMITS: Limits = Limits { connect: Duration::from_secs(4), whole: Duration::from_secs(5) };

/// Why an endpoint's description of itself cannot be had or used, and what to set instead.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiscoveryError {
    #[error("the endpoint {endpoint} was asked at /metadata/endpoints where its tokens come from, and {why}: {REMEDY}")]
    Unusable { endpoint: String, why: String },
    #[error("the endpoint {endpoint} could not be asked where its tokens come from: {why}")]
    Unreachable { endpoint: String, why: String },
}

const REMEDY: &str =
    "check AZURE_RESOURCE_MANAGER_ENDPOINT, or set AZURE_AUTHORITY_HOST and AZURE_RESOURCE_MANAGER_AUDIENCE";

/// What is used of a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub authority: String,
    pub audience: String,
}

/// Prepares the credential for a place: at once where everything is known, else when the first token is needed.
///
/// # Errors
///
/// When something that the credential needs is missing.
pub fn credential_at(
    place: &Place,
    kind: CredentialKind,
    options: &CredentialOptions,
) -> Result<Arc<dyn TokenCredential>, CredentialError> {
    match &place.signing_in {
        SigningIn::At(authority) => {
            credential(kind, &CredentialOptions { authority_host: Some(authority.clone()), ..options.clone() })
        }
        // These ask nobody that an authority could name.
        SigningIn::Discovered { audience: Some(_), .. } if !check(kind, options)?.asks_an_authority() => {
            credential(kind, options)
        }
        SigningIn::Discovered { audience, authority } => {
            let asks_an_authority = check(kind, options)?.asks_an_authority();
            let proxies = if place.settings.is_plain() { Proxies::Never } else { Proxies::FromEnvironment };
            Ok(Arc::new(Discovering {
                http: http::client(proxies, &LIMITS).map_err(CredentialError::Client)?,
                endpoint: place.settings.endpoint.clone(),
                audience: audience.clone(),
                authority: authority.clone(),
                kind,
                asks_an_authority,
                options: options.clone(),
                found: OnceCell::new(),
            }))
        }
    }
}

/// Asks the endpoint before the first token, and until it has answered.
#[derive(Debug)]
struct Discovering {
    http: reqwest::Client,
    endpoint: Url,
    audience: Option<String>,
    authority: Option<String>,
    kind: CredentialKind,
    asks_an_authority: bool,
    options: CredentialOptions,
    found: OnceCell<(Arc<dyn TokenCredential>, String)>,
}

impl Discovering {
    async fn find(&self) -> azure_core::Result<(Arc<dyn TokenCredential>, String)> {
        let fail =
            |error: Box<dyn std::error::Error + Send + Sync>| azure_core::Error::new(ErrorKind::Credential, error);
        let described = self.described().await.map_err(|error| fail(error.into()))?;
        let described = match described {
            Some(described) => described,
            // A managed identity needs no authority, and an endpoint that says nothing is its own audience.
            None if !self.asks_an_authority => {
                let audience = self.endpoint.as_str().to_owned();
                Described { authority: self.authority.clone().unwrap_or_default(), audience }
            }
            None => return Err(fail(self.unusable("it knows no such page").into())),
        };
        let authority = self.authority.clone().unwrap_or(described.authority);
        let audience = self.audience.clone().unwrap_or(described.audience);
        let audience = audience.trim().trim_end_matches('/').to_owned();
        tracing::info!(endpoint = %place(&self.endpoint), authority, audience, "the endpoint says where its tokens come from");
        let authority_host = Some(authority).filter(|it| !it.is_empty());
        let options = CredentialOptions { authority_host, ..self.options.clone() };
        let credential = credential(self.kind, &options).map_err(|error| fail(error.into()))?;
        Ok((credential, format!("{audience}/.default")))
    }

    async fn described(&self) -> Result<Option<Described>, DiscoveryError> {
        // What it says in the newer form is not asked about again in the older one, which says less.
        match self.ask(NEWER).await? {
            Some(described) => Ok(Some(described)),
            None => self.ask(OLDER).await,
        }
    }

    /// None: it knows no such page, or not in this api-version.
    async fn ask(&self, version: &str) -> Result<Option<Described>, DiscoveryError> {
        let mut url = self.endpoint.clone();
        url.set_path("/metadata/endpoints");
        url.query_pairs_mut().append_pair("api-version", version);
        let broken = |error: reqwest::Error| DiscoveryError::Unreachable {
            endpoint: place(&self.endpoint),
            why: presentable(&chain(&error.without_url())),
        };
        let mut response = self.http.get(url).header("accept", "application/json").send().await.map_err(broken)?;
        let status = response.status();
        if status.is_server_error() {
            let why = format!("it answered {status}");
            return Err(DiscoveryError::Unreachable { endpoint: place(&self.endpoint), why });
        }
        if status.is_redirection() {
            return Err(self.unusable(&format!("it answered {status}, and no redirect is followed")));
        }
        if status == StatusCode::BAD_REQUEST || status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if status != StatusCode::OK {
            return Err(self.unusable(&format!("it answered {status}")));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > LONGEST {
                return Err(self.unusable(&format!("its answer is longer than {LONGEST} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        described(&self.endpoint, &body).map(Some).map_err(|why| self.unusable(&why))
    }

    fn unusable(&self, why: &str) -> DiscoveryError {
        DiscoveryError::Unusable { endpoint: place(&self.endpoint), why: presentable(why) }
    }
}

#[async_trait]
impl TokenCredential for Discovering {
    /// The scope is the endpoint's own, whatever the caller believed.
    async fn get_token(&self, _: &[&str], options: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let (credential, scope) = self.found.get_or_try_init(|| self.find()).await?;
        credential.get_token(&[scope], options).await
    }
}

/// What a document says: of one cloud, or of a list of them, of which the one with this endpoint counts.
pub(super) fn described(endpoint: &Url, body: &[u8]) -> Result<Described, String> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let document: Value = serde_json::from_slice(body).map_err(|error| format!("its answer is no JSON: {error}"))?;
    match &document {
        Value::Array(clouds) => {
            let ours = |cloud: &&Value| resource_manager(cloud).is_some_and(|url| same_host(&url, endpoint));
            let cloud = clouds.iter().find(ours).ok_or("none of the clouds in its answer has this endpoint")?;
            of_cloud(endpoint, cloud)
        }
        Value::Object(_) => of_cloud(endpoint, &document),
        _ => Err("its answer describes no cloud".into()),
    }
}

fn of_cloud(endpoint: &Url, cloud: &Value) -> Result<Described, String> {
    if let Some(other) = resource_manager(cloud).filter(|url| !same_host(url, endpoint)) {
        return Err(format!("its answer is about another ARM endpoint, {}", place(&other)));
    }
    let authentication = cloud.get("authentication").ok_or("its answer has no 'authentication'")?;
    let login = word(authentication.get("loginEndpoint")).ok_or("its answer names no loginEndpoint")?;
    let audiences = authentication.get("audiences").and_then(Value::as_array);
    let audience = audiences.and_then(|all| all.iter().find_map(|one| word(Some(one))));
    let audience = audience.ok_or("its answer names no audience")?;
    if audience.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("its answer names an audience with blanks in it".into());
    }
    let adfs = word(authentication.get("identityProvider")).is_some_and(|it| it.eq_ignore_ascii_case("ADFS"));
    Ok(Described { authority: authority(&login, adfs)?, audience })
}

/// Scheme, host and port, and `/adfs` where AD FS answers in place of Entra ID.
fn authority(login: &str, adfs: bool) -> Result<String, String> {
    let url = Url::parse(login.trim()).map_err(|_| format!("its loginEndpoint '{login}' is no URL"))?;
    if url.scheme() != "https" {
        return Err(format!("its loginEndpoint '{}' is not https, and credentials travel over TLS", place(&url)));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("its loginEndpoint holds a user name or password".into());
    }
    let adfs = adfs || url.path().trim_matches('/').eq_ignore_ascii_case("adfs");
    Ok(format!("{}{}", place(&url), if adfs { "/adfs" } else { "" }))
}

fn resource_manager(cloud: &Value) -> Option<Url> {
    let written = word(cloud.get("resourceManager")).or_else(|| word(cloud.get("resourceManagerEndpoint")))?;
    Url::parse(written.trim()).ok()
}

fn same_host(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

#[cfg(test)]
mod tests;
