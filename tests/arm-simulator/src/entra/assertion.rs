//! Judges a client assertion that an application signed with its certificate: thumbprint, signature, claims.
use std::collections::HashMap;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use jiff::Timestamp;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm};
use serde_json::Value;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::Aadsts;
use crate::settings::Client;

/// No assertion may be good for longer, in seconds.
const LONGEST: i64 = 24 * 3_600;

/// Assertions that were taken, until they expire: none is taken twice.
#[derive(Debug, Default)]
pub struct Used(HashMap<String, i64>);

/// An assertion in three parts, decoded.
pub struct Jwt<'a> {
    signed: &'a str,
    header: Value,
    pub claims: Value,
    signature: Vec<u8>,
}

impl<'a> Jwt<'a> {
    pub fn parse(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let bytes = |part: &str| BASE64URL_NOPAD.decode(part.trim_end_matches('=').as_bytes()).ok();
        let json = |part: &str| serde_json::from_slice::<Value>(&bytes(part)?).ok();
        Some(Self { signed, header: json(header)?, claims: json(claims)?, signature: bytes(signature)? })
    }

    fn word<'b>(value: &'b Value, name: &str) -> &'b str {
        value.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn claim(&self, name: &str) -> &str {
        Self::word(&self.claims, name)
    }

    fn second(&self, name: &str) -> Option<i64> {
        self.claims.get(name).and_then(Value::as_i64)
    }

    /// Whether an application speaks for itself, and no other issuer for it.
    pub fn is_own(&self, client: &Client) -> bool {
        let thumbprint = ["x5t", "x5t#S256"].iter().any(|name| self.header.get(*name).is_some());
        thumbprint && self.claim("iss").eq_ignore_ascii_case(&client.client_id)
    }
}

/// Whether the certificate's key signed it for this endpoint, and for the first time.
pub fn fits(client: &Client, jwt: &Jwt<'_>, endpoint: &str, adfs: bool, used: &mut Used) -> Result<(), Aadsts> {
    let der = certificate(client, jwt).ok_or_else(|| unknown_key(client, jwt))?;
    if !is_signed_by(jwt, &der, adfs) {
        let message = "Client assertion contains an invalid signature.".to_owned();
        return Err(Aadsts::new(401, "invalid_client", 700_027, message));
    }
    let invalid = |why: &str| Aadsts::new(401, "invalid_client", 50_027, format!("JWT token is invalid: {why}."));
    if jwt.claim("sub") != jwt.claim("iss") {
        return Err(invalid("iss and sub differ"));
    }
    if jwt.claim("aud") != endpoint {
        let message = format!("The audience '{}' of the client assertion is not '{endpoint}'.", jwt.claim("aud"));
        return Err(Aadsts::new(401, "invalid_client", 700_023, message));
    }
    let now = Timestamp::now().as_second();
    let (Some(from), Some(until)) = (jwt.second("nbf"), jwt.second("exp")) else {
        return Err(invalid("nbf or exp is missing"));
    };
    if from > now + 300 || until <= now || until > now + LONGEST {
        let message =
            format!("Client assertion is not within its valid time range: {from} to {until}, and it is {now}.");
        return Err(Aadsts::new(401, "invalid_client", 700_024, message));
    }
    let jti = jwt.claim("jti");
    used.0.retain(|_, expires| *expires > now);
    if jti.is_empty() || used.0.insert(jti.to_owned(), until).is_some() {
        return Err(invalid("jti is missing, or was seen before"));
    }
    Ok(())
}

/// The certificate that the header speaks of: registered, or issued by an authority that is trusted.
fn certificate(client: &Client, jwt: &Jwt<'_>) -> Option<Vec<u8>> {
    let registered = client.certificates.iter().flat_map(|pem| ders(pem));
    let sent = jwt.header.get("x5c").and_then(Value::as_array);
    let sent: Vec<Vec<u8>> =
        sent.into_iter().flatten().filter_map(|one| BASE64.decode(one.as_str()?.as_bytes()).ok()).collect();
    let trusted =
        sent.first().filter(|leaf| client.issuers.iter().flat_map(|pem| ders(pem)).any(|ca| issued(leaf, &ca)));
    let valid =
        |der: &Vec<u8>| X509Certificate::from_der(der).is_ok_and(|(_, certificate)| certificate.validity().is_valid());
    registered.chain(trusted.cloned()).find(|der| is_meant(jwt, der) && valid(der))
}

fn is_meant(jwt: &Jwt<'_>, der: &[u8]) -> bool {
    let is = |name: &str, print: &[u8]| {
        jwt.header.get(name).and_then(Value::as_str).is_some_and(|it| it == BASE64URL_NOPAD.encode(print))
    };
    is("x5t#S256", digest(&SHA256, der).as_ref()) || is("x5t", digest(&SHA1_FOR_LEGACY_USE_ONLY, der).as_ref())
}

fn issued(leaf: &[u8], authority: &[u8]) -> bool {
    let (Ok((_, leaf)), Ok((_, authority))) = (X509Certificate::from_der(leaf), X509Certificate::from_der(authority))
    else {
        return false;
    };
    leaf.verify_signature(Some(authority.public_key())).is_ok()
}

fn is_signed_by(jwt: &Jwt<'_>, der: &[u8], adfs: bool) -> bool {
    let algorithm: &'static dyn VerificationAlgorithm = match Jwt::word(&jwt.header, "alg") {
        "RS256" => &RSA_PKCS1_2048_8192_SHA256,
        "PS256" if !adfs => &RSA_PSS_2048_8192_SHA256,
        _ => return false,
    };
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
    let key = UnparsedPublicKey::new(algorithm, certificate.public_key().subject_public_key.data.to_vec());
    key.verify(jwt.signed.as_bytes(), &jwt.signature).is_ok()
}

fn ders(pem: &str) -> Vec<Vec<u8>> {
    let blocks = x509_parser::pem::Pem::iter_from_buffer(pem.as_bytes()).filter_map(Result::ok);
    blocks.filter(|block| block.label == "CERTIFICATE").map(|block| block.contents).collect()
}

fn unknown_key(client: &Client, jwt: &Jwt<'_>) -> Aadsts {
    let print = ["x5t#S256", "x5t"].iter().find_map(|name| jwt.header.get(*name)?.as_str()).unwrap_or_default();
    let message = format!(
        "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was not found., Thumbprint of key used by client: '{print}'] Configured keys: {}.",
        client.certificates.len()
    );
    Aadsts::new(401, "invalid_client", 700_027, message)
}
