//! Which credential is used, and how its traffic travels.
use super::assertion::{CertificateFile, token_endpoint};
use super::http::{self, Limits, Proxies};
use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind;
use azure_core::http::{
    AsyncRawResponse, ClientOptions, ExponentialRetryOptions, HttpClient, Request, RetryOptions, Transport,
};
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, ClientAssertionCredential, ClientAssertionCredentialOptions,
    ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use url::Url;

/// The public cloud's, as the library has it.
const PUBLIC_AUTHORITY: &str = "https://login.microsoftonline.com";

/// The tenant of AD FS, and the first part of its paths.
pub(super) const ADFS: &str = "adfs";

/// Which of the ecosystem's credentials to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::Display, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum CredentialKind {
    /// Workload identity, client secret, client certificate, managed identity: the first that is set up.
    #[default]
    Default,
    WorkloadIdentity,
    ClientSecret,
    ClientCertificate,
    ManagedIdentity,
    AzureCli,
}

impl CredentialKind {
    /// Whether the token comes from an authority that we address ourselves.
    pub(super) fn asks_an_authority(self) -> bool {
        match self {
            Self::WorkloadIdentity | Self::ClientSecret | Self::ClientCertificate => true,
            Self::Default | Self::ManagedIdentity | Self::AzureCli => false,
        }
    }
}

/// What the environment says about the credential, under the ecosystem's own names.
#[derive(Clone, Debug, Default)]
pub struct CredentialOptions {
    /// `AZURE_TENANT_ID`
    pub tenant_id: Option<String>,
    /// `AZURE_CLIENT_ID`
    pub client_id: Option<String>,
    /// `AZURE_CLIENT_SECRET`
    pub client_secret: Option<SecretString>,
    /// `AZURE_CLIENT_CERTIFICATE_PATH`: PEM or PKCS#12, with the private key.
    pub client_certificate_path: Option<PathBuf>,
    /// `AZURE_CLIENT_CERTIFICATE_PASSWORD`
    pub client_certificate_password: Option<SecretString>,
    /// `AZURE_CLIENT_SEND_CERTIFICATE_CHAIN`: for applications that trust by subject and issuer.
    pub client_send_certificate_chain: bool,
    /// `AZURE_FEDERATED_TOKEN_FILE`
    pub federated_token_file: Option<PathBuf>,
    /// `AZURE_AUTHORITY_HOST`; the public cloud's unless given.
    pub authority_host: Option<String>,
}

/// Why no credential can be made, and what to set.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("the credential {kind} needs {}: set it", missing.join(", "))]
    Missing { kind: CredentialKind, missing: Vec<&'static str> },
    #[error("the authority '{0}' is no https URL: write AZURE_AUTHORITY_HOST as https://login.microsoftonline.com")]
    Authority(String),
    #[error(
        "the HTTP client for tokens cannot be made: install the platform's CA certificates, or name a file in SSL_CERT_FILE"
    )]
    Client(#[source] reqwest::Error),
}

/// Chooses and prepares a credential. Nothing is fetched, and no file is read, before the first token is needed.
///
/// # Errors
///
/// When a credential is named, or half set up, and something that it needs is missing.
pub fn credential(
    kind: CredentialKind,
    options: &CredentialOptions,
) -> Result<Arc<dyn TokenCredential>, CredentialError> {
    let kind = check(kind, options)?;
    let options = &at_adfs(options);
    let cloud = options.authority_host.as_deref().map(cloud).transpose()?;
    let client_options = client_options(kind, cloud)?;
    let options = options.clone();
    tracing::info!(credential = %kind, "tokens come from this credential");
    Ok(Arc::new(Renewable {
        kind,
        build: Box::new(move || build(kind, &options, client_options.clone())),
        current: RwLock::default(),
    }))
}

/// The kind that is meant, if nothing that it needs is missing.
pub(super) fn check(kind: CredentialKind, options: &CredentialOptions) -> Result<CredentialKind, CredentialError> {
    let kind = chosen(kind, options);
    let missing = missing(kind, options);
    if missing.is_empty() { Ok(kind) } else { Err(CredentialError::Missing { kind, missing }) }
}

/// AD FS has one tenant, which is called `adfs`, whatever the directory's own name is.
fn at_adfs(options: &CredentialOptions) -> CredentialOptions {
    let authority = options.authority_host.as_deref().and_then(|authority| Url::parse(authority).ok());
    let adfs = authority.is_some_and(|url| url.path().trim_matches('/').eq_ignore_ascii_case(ADFS));
    let tenant_id = if adfs { Some(ADFS.into()) } else { options.tenant_id.clone() };
    CredentialOptions { tenant_id, ..options.clone() }
}

fn chosen(kind: CredentialKind, options: &CredentialOptions) -> CredentialKind {
    match kind {
        CredentialKind::Default if missing(CredentialKind::WorkloadIdentity, options).is_empty() => {
            CredentialKind::WorkloadIdentity
        }
        CredentialKind::Default if options.client_secret.is_some() => CredentialKind::ClientSecret,
        CredentialKind::Default if options.client_certificate_path.is_some() => CredentialKind::ClientCertificate,
        CredentialKind::Default => CredentialKind::ManagedIdentity,
        named => named,
    }
}

fn missing(kind: CredentialKind, options: &CredentialOptions) -> Vec<&'static str> {
    let tenant = ("AZURE_TENANT_ID", options.tenant_id.is_some());
    let client = ("AZURE_CLIENT_ID", options.client_id.is_some());
    let needed: &[(&'static str, bool)] = match kind {
        CredentialKind::WorkloadIdentity => {
            &[tenant, client, ("AZURE_FEDERATED_TOKEN_FILE", options.federated_token_file.is_some())]
        }
        CredentialKind::ClientSecret => &[tenant, client, ("AZURE_CLIENT_SECRET", options.client_secret.is_some())],
        CredentialKind::ClientCertificate => {
            &[tenant, client, ("AZURE_CLIENT_CERTIFICATE_PATH", options.client_certificate_path.is_some())]
        }
        CredentialKind::Default | CredentialKind::ManagedIdentity | CredentialKind::AzureCli => &[],
    };
    needed.iter().filter(|(_, set)| !set).map(|(name, _)| *name).collect()
}

fn cloud(authority: &str) -> Result<Arc<CloudConfiguration>, CredentialError> {
    let url = Url::parse(authority).ok().filter(|url| url.scheme() == "https");
    if url.is_none() {
        return Err(CredentialError::Authority(authority.into()));
    }
    let mut custom = CustomConfiguration::default();
    custom.authority_host = authority.into();
    Ok(Arc::new(custom.into()))
}

/// The library's traffic goes through a client like ARM's own, so that it trusts the same certificates and follows
/// no redirect. A managed identity's is plain http to this machine's metadata service, and past every proxy.
fn client_options(
    kind: CredentialKind,
    cloud: Option<Arc<CloudConfiguration>>,
) -> Result<ClientOptions, CredentialError> {
    let proxies = match kind {
        CredentialKind::ManagedIdentity => Proxies::Never,
        CredentialKind::Default
        | CredentialKind::WorkloadIdentity
        | CredentialKind::ClientSecret
        | CredentialKind::ClientCertificate
        | CredentialKind::AzureCli => Proxies::FromEnvironment,
    };
    // Entra ID answers in well under a second; twice tried, this stays within the time that a caller waits.
    let limits = Limits { connect: Duration::from_secs(5), whole: Duration::from_secs(8) };
    let client = http::client(proxies, &limits).map_err(CredentialError::Client)?;
    let retry = ExponentialRetryOptions { max_retries: 1, ..ExponentialRetryOptions::default() };
    Ok(ClientOptions {
        transport: Some(Transport::new(Arc::new(PlainErrors(client)))),
        retry: RetryOptions::exponential(retry),
        cloud,
        ..ClientOptions::default()
    })
}

fn build(
    kind: CredentialKind,
    options: &CredentialOptions,
    client_options: ClientOptions,
) -> azure_core::Result<Arc<dyn TokenCredential>> {
    let client_id = options.client_id.clone();
    Ok(match kind {
        CredentialKind::WorkloadIdentity => WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
            credential_options: ClientAssertionCredentialOptions { client_options },
            client_id,
            tenant_id: options.tenant_id.clone(),
            token_file_path: options.federated_token_file.clone(),
        }))?,
        CredentialKind::ClientSecret => {
            let secret = options.client_secret.as_ref().map(|secret| secret.expose_secret().to_owned());
            ClientSecretCredential::new(
                options.tenant_id.as_deref().unwrap_or_default(),
                client_id.unwrap_or_default(),
                Secret::new(secret.unwrap_or_default()),
                Some(ClientSecretCredentialOptions { client_options }),
            )?
        }
        CredentialKind::ClientCertificate => {
            let (tenant, client_id) = (options.tenant_id.clone().unwrap_or_default(), client_id.unwrap_or_default());
            let authority = options.authority_host.as_deref().unwrap_or(PUBLIC_AUTHORITY);
            let file = CertificateFile {
                path: options.client_certificate_path.clone().unwrap_or_default(),
                password: options.client_certificate_password.clone(),
                send_chain: options.client_send_certificate_chain,
                client_id: client_id.clone(),
                token_endpoint: token_endpoint(authority, &tenant)?,
            };
            ClientAssertionCredential::new(
                tenant,
                client_id,
                file,
                Some(ClientAssertionCredentialOptions { client_options }),
            )?
        }
        CredentialKind::Default | CredentialKind::ManagedIdentity => {
            ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                user_assigned_id: client_id.map(UserAssignedId::ClientId),
                client_options,
            }))?
        }
        CredentialKind::AzureCli => {
            let tenant_id = options.tenant_id.clone();
            AzureCliCredential::new(Some(AzureCliCredentialOptions { tenant_id, ..Default::default() }))?
        }
    })
}

/// Asks for a token that is in no cache: put into a request's context.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anew;

type Build = dyn Fn() -> azure_core::Result<Arc<dyn TokenCredential>> + Send + Sync;

/// A credential that can forget. The library's caches know no eviction, so that it is built anew instead.
struct Renewable {
    kind: CredentialKind,
    build: Box<Build>,
    current: RwLock<Option<Arc<dyn TokenCredential>>>,
}

impl fmt::Debug for Renewable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewable").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Renewable {
    fn current(&self, anew: bool) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let held = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(credential) = held.filter(|_| !anew) {
            return Ok(credential);
        }
        let credential = (self.build)()?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(credential.clone());
        Ok(credential)
    }
}

#[async_trait]
impl TokenCredential for Renewable {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let anew = options.as_ref().is_some_and(|options| options.method_options.context.value::<Anew>().is_some());
        self.current(anew)?.get_token(scopes, options).await
    }
}

/// Hands error answers on in a form that the library can read: it borrows the description from the body, and so
/// loses any that holds an escape, such as Entra ID's line breaks.
#[derive(Debug)]
struct PlainErrors(reqwest::Client);

#[async_trait]
impl HttpClient for PlainErrors {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let response = match adfs_token_url(request.url()) {
            Some(url) => {
                let mut request = request.clone();
                *request.url_mut() = url;
                HttpClient::execute_request(&self.0, &request).await?
            }
            None => HttpClient::execute_request(&self.0, request).await?,
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, headers, body) = response.deconstruct();
        let body = body.collect().await.map_err(|error| azure_core::Error::new(ErrorKind::Io, error))?;
        Ok(AsyncRawResponse::from_bytes(status, headers, without_escapes(&body)))
    }
}

/// AD FS has no second version of its token endpoint; the library knows no other.
pub(super) fn adfs_token_url(url: &Url) -> Option<Url> {
    let path = url.path().to_ascii_lowercase();
    (path == "/adfs/oauth2/v2.0/token").then(|| {
        let mut url = url.clone();
        url.set_path("/adfs/oauth2/token");
        url
    })
}

fn without_escapes(body: &[u8]) -> Vec<u8> {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice::<Value>(body) else {
        return body.to_vec();
    };
    for value in fields.values_mut() {
        if let Value::String(text) = value {
            *text = text.chars().map(plain).collect();
        }
    }
    Value::Object(fields).to_string().into_bytes()
}

fn plain(character: char) -> char {
    match character {
        '"' => '\'',
        '\\' => '/',
        c if c.is_control() => ' ',
        c => c,
    }
}

#[cfg(test)]
mod tests;
