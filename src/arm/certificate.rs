//! A certificate and its private key, from a file as people have them: PEM or PKCS#12, encrypted or not.
use jiff::Timestamp;
use p12_keystore::Pkcs12Archive;
use pkcs8::EncryptedPrivateKeyInfoRef;
use ring::rsa::KeyPair;
use secrecy::{ExposeSecret as _, SecretString};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

/// Chains take some KiB.
pub(super) const LONGEST_FILE: u64 = 1024 * 1024;

/// Why a file gives no certificate to sign in with, and what to do. Holds nothing of the key and no password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CertificateError {
    #[error("it is neither PEM nor PKCS#12: export certificate and private key as one of the two")]
    UnknownForm,
    #[error("its PEM is damaged: {0}")]
    Pem(String),
    #[error("its PKCS#12 cannot be read: {0}")]
    Pkcs12(String),
    #[error("the password does not open it: check AZURE_CLIENT_CERTIFICATE_PASSWORD")]
    WrongPassword,
    #[error("it is protected by a password: set AZURE_CLIENT_CERTIFICATE_PASSWORD")]
    NoPassword,
    #[error(
        "its private key is encrypted in a way that is not supported ({0}): convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc`"
    )]
    Encryption(String),
    #[error("there is no certificate in it, only a private key: put both into the one file")]
    NoCertificate,
    #[error("there is no private key in it, only certificates: put both into the one file")]
    NoKey,
    #[error("a certificate in it cannot be read: {0}")]
    Malformed(String),
    #[error("its private key is no RSA key, and Entra ID takes no other")]
    NotRsa,
    #[error("its RSA key cannot be used ({0}): it must have 2048 to 4096 bits")]
    Key(String),
    #[error("its private key belongs to none of the certificates in it")]
    Mismatch,
    #[error("the certificate of {subject} expired at {at}: put a new one in its place")]
    Expired { subject: String, at: String },
    #[error("the certificate of {subject} is not valid before {from}: check the clock")]
    NotYetValid { subject: String, from: String },
}

/// What an assertion is signed with.
#[derive(Debug)]
pub(super) struct Certificate {
    pub key: KeyPair,
    /// In DER: the key's own, then who issued it, and so on.
    pub chain: Vec<Vec<u8>>,
}

impl Certificate {
    /// What is in the file, if it can be used at this time.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(file: &[u8], password: Option<&SecretString>, now: Timestamp) -> Result<Self, CertificateError> {
        let password = password.map(SecretString::expose_secret).filter(|password| !password.is_empty());
        let found = if holds(file, b"-----BEGIN ") {
            of_pem(file, password)?
        } else if file.first() == Some(&DER_SEQUENCE) {
            of_pkcs12(file, password)?
        } else {
            return Err(CertificateError::UnknownForm);
        };
        let key = found.key.ok_or(if found.certificates.is_empty() {
            CertificateError::UnknownForm
        } else {
            CertificateError::NoKey
        })?;
        if found.certificates.is_empty() {
            return Err(CertificateError::NoCertificate);
        }
        let chain = chain(&key, &found.certificates, now)?;
        Ok(Self { key, chain })
    }
}

const DER_SEQUENCE: u8 = 0x30;

#[derive(Default)]
struct Found {
    key: Option<KeyPair>,
    certificates: Vec<Vec<u8>>,
}

fn holds(file: &[u8], text: &[u8]) -> bool {
    file.windows(text.len()).any(|window| window == text)
}

fn of_pem(file: &[u8], password: Option<&str>) -> Result<Found, CertificateError> {
    let blocks = pem::parse_many(file).map_err(|error| CertificateError::Pem(error.to_string()))?;
    let mut found = Found::default();
    for block in blocks {
        let key = match block.tag() {
            "CERTIFICATE" => {
                found.certificates.push(block.into_contents());
                continue;
            }
            "PRIVATE KEY" => pkcs8(block.contents())?,
            "RSA PRIVATE KEY" if block.headers().get("Proc-Type").is_some() => {
                return Err(CertificateError::Encryption("the old form of OpenSSL".into()));
            }
            "RSA PRIVATE KEY" => KeyPair::from_der(block.contents()).map_err(rejected)?,
            "ENCRYPTED PRIVATE KEY" => encrypted(block.contents(), password)?,
            "EC PRIVATE KEY" => return Err(CertificateError::NotRsa),
            _ => continue,
        };
        found.key.get_or_insert(key);
    }
    Ok(found)
}

fn pkcs8(der: &[u8]) -> Result<KeyPair, CertificateError> {
    KeyPair::from_pkcs8(der).map_err(rejected)
}

fn rejected(why: ring::error::KeyRejected) -> CertificateError {
    match why.to_string().as_str() {
        "WrongAlgorithm" => CertificateError::NotRsa,
        other => CertificateError::Key(other.into()),
    }
}

fn encrypted(der: &[u8], password: Option<&str>) -> Result<KeyPair, CertificateError> {
    let password = password.ok_or(CertificateError::NoPassword)?;
    let info =
        EncryptedPrivateKeyInfoRef::try_from(der).map_err(|error| CertificateError::Encryption(error.to_string()))?;
    let key = info.decrypt(password).map_err(|error| match error {
        pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::UnsupportedAlgorithm { oid }) => {
            CertificateError::Encryption(oid.to_string())
        }
        // What a wrong password makes of the key is no key.
        _ => CertificateError::WrongPassword,
    })?;
    pkcs8(key.as_bytes())
}

fn of_pkcs12(file: &[u8], password: Option<&str>) -> Result<Found, CertificateError> {
    use p12_keystore::error::Error;
    let archive = Pkcs12Archive::from_pkcs12(file, password.unwrap_or_default()).map_err(|error| match error {
        Error::MacError(_) | Error::UnpadError | Error::Pkcs5Error(_) if password.is_none() => {
            CertificateError::NoPassword
        }
        Error::MacError(_) | Error::UnpadError | Error::Pkcs5Error(_) => CertificateError::WrongPassword,
        other => CertificateError::Pkcs12(other.to_string()),
    })?;
    let key = archive.keys.first().map(|bag| pkcs8(bag.key.as_der())).transpose()?;
    let certificates = archive.certs.iter().map(|bag| bag.cert.as_der().to_vec()).collect();
    Ok(Found { key, certificates })
}

/// The key's own certificate first, then each one's issuer, as far as they are in the file.
fn chain(key: &KeyPair, certificates: &[Vec<u8>], now: Timestamp) -> Result<Vec<Vec<u8>>, CertificateError> {
    let read: Vec<(X509Certificate<'_>, &Vec<u8>)> = certificates
        .iter()
        .map(|der| match X509Certificate::from_der(der) {
            Ok((_, certificate)) => Ok((certificate, der)),
            Err(error) => Err(CertificateError::Malformed(error.to_string())),
        })
        .collect::<Result<_, _>>()?;
    let own = |one: &X509Certificate<'_>| one.public_key().subject_public_key.data.as_ref() == key.public().as_ref();
    // Of several for one key the one that is good for longest.
    let expires = |one: &X509Certificate<'_>| one.validity().not_after.timestamp();
    let found = read.iter().filter(|(one, _)| own(one)).max_by_key(|(one, _)| expires(one));
    let found = found.ok_or(CertificateError::Mismatch)?;
    let (mut last, der) = (&found.0, found.1);
    check_dates(last, now)?;
    let mut chain = vec![der.clone()];
    while last.issuer() != last.subject() {
        let issuer = read.iter().find(|(one, der)| one.subject() == last.issuer() && !chain.contains(der));
        let Some((issuer, der)) = issuer else { break };
        chain.push((*der).clone());
        last = issuer;
    }
    Ok(chain)
}

fn check_dates(certificate: &X509Certificate<'_>, now: Timestamp) -> Result<(), CertificateError> {
    let subject = || super::told::presentable(&certificate.subject().to_string());
    let (from, at) = (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
    let date = |second| Timestamp::from_second(second).map_or_else(|_| format!("second {second}"), |at| at.to_string());
    if now.as_second() > at {
        return Err(CertificateError::Expired { subject: subject(), at: date(at) });
    }
    if now.as_second() < from {
        return Err(CertificateError::NotYetValid { subject: subject(), from: date(from) });
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
