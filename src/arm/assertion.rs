//! A client assertion: a JWT that says who we are, signed with a certificate's key. Its form is documented by Entra ID as
//! "certificate credentials"; AD FS takes the older thumbprint and signature.
use super::certificate::{Certificate, CertificateError, LONGEST_FILE};
use super::credential::{ADFS, adfs_token_url};
use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::ClientMethodOptions;
use azure_core::time::OffsetDateTime;
use azure_identity::ClientAssertion;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use jiff::Timestamp;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding};
use secrecy::SecretString;
use serde_json::json;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use url::Url;

/// How long an assertion is good for, in seconds: what the SDKs use. Each is sent once.
const LIFETIME: i64 = 600;

/// A file with a certificate: read anew for each assertion, so that one that was renewed is used from then on.
#[derive(Clone, Debug)]
pub(super) struct CertificateFile {
    pub path: PathBuf,
    pub password: Option<SecretString>,
    /// Sends the chain along: for applications that trust by subject and issuer.
    pub send_chain: bool,
    pub client_id: String,
    /// The authority's token endpoint, which the assertion is for.
    pub token_endpoint: Url,
}

/// Why no assertion can be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum AssertionError {
    #[error("the certificate file {} cannot be read: check AZURE_CLIENT_CERTIFICATE_PATH", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("the certificate file {} is longer than {LONGEST_FILE} bytes: check AZURE_CLIENT_CERTIFICATE_PATH", path.display())]
    TooLong { path: PathBuf },
    #[error("the certificate file {} cannot be used", path.display())]
    Unusable { path: PathBuf, source: CertificateError },
    #[error("the assertion could not be signed with the key of {}", path.display())]
    Unsigned { path: PathBuf },
}

/// Where this tenant's tokens come from at this authority.
///
/// # Errors
///
/// When the two make no URL.
pub(super) fn token_endpoint(authority: &str, tenant: &str) -> Result<Url, url::ParseError> {
    let url = Url::parse(authority)?.join(&format!("/{tenant}/oauth2/v2.0/token"))?;
    Ok(adfs_token_url(&url).unwrap_or(url))
}

#[async_trait]
impl ClientAssertion for CertificateFile {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let this = self.clone();
        // Opening a key that is well encrypted takes a good part of a second.
        let signed = tokio::task::spawn_blocking(move || this.assertion(now())).await;
        let signed = signed.map_err(|_| self.unusable(CertificateError::UnknownForm)).and_then(|signed| signed);
        signed.map_err(|error| azure_core::Error::new(ErrorKind::Credential, error))
    }
}

impl CertificateFile {
    pub fn assertion(&self, now: Timestamp) -> Result<String, AssertionError> {
        let bytes = read(&self.path)?;
        let certificate = Certificate::read(&bytes, self.password.as_ref(), now);
        self.signed(&certificate.map_err(|error| self.unusable(error))?, now)
    }

    fn unusable(&self, source: CertificateError) -> AssertionError {
        AssertionError::Unusable { path: self.path.clone(), source }
    }

    fn signed(&self, certificate: &Certificate, now: Timestamp) -> Result<String, AssertionError> {
        let own = certificate.chain.first().map(Vec::as_slice).unwrap_or_default();
        let adfs = self.token_endpoint.path().split('/').nth(1) == Some(ADFS);
        let (algorithm, padding, thumbprint, hash): (_, &dyn RsaEncoding, _, _) = if adfs {
            ("RS256", &RSA_PKCS1_SHA256, "x5t", &SHA1_FOR_LEGACY_USE_ONLY)
        } else {
            ("PS256", &RSA_PSS_SHA256, "x5t#S256", &SHA256)
        };
        let mut header = json!({"alg": algorithm, "typ": "JWT"});
        header[thumbprint] = BASE64URL_NOPAD.encode(digest(hash, own).as_ref()).into();
        if self.send_chain {
            header["x5c"] = certificate.chain.iter().map(|der| BASE64.encode(der)).collect();
        }
        let second = now.as_second();
        let claims = json!({
            "aud": self.token_endpoint.as_str(),
            "iss": self.client_id,
            "sub": self.client_id,
            "jti": uuid::Uuid::new_v4().to_string(),
            "iat": second,
            "nbf": second,
            "exp": second + LIFETIME,
        });
        let part = |value: &serde_json::Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let text = format!("{}.{}", part(&header), part(&claims));
        let mut signature = vec![0; certificate.key.public().modulus_len()];
        certificate
            .key
            .sign(padding, &SystemRandom::new(), text.as_bytes(), &mut signature)
            .map_err(|_| AssertionError::Unsigned { path: self.path.clone() })?;
        Ok(format!("{text}.{}", BASE64URL_NOPAD.encode(&signature)))
    }
}

/// The time of day, as the library has it: certificates and assertions are judged by it.
fn now() -> Timestamp {
    Timestamp::from_second(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn read(path: &Path) -> Result<Vec<u8>, AssertionError> {
    let unreadable = |source| AssertionError::Unreadable { path: path.into(), source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(LONGEST_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let fits = u64::try_from(bytes.len()).is_ok_and(|length| length <= LONGEST_FILE);
    if fits { Ok(bytes) } else { Err(AssertionError::TooLong { path: path.into() }) }
}

#[cfg(test)]
mod tests;
