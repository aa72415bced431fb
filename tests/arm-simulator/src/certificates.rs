//! Certificates for applications, made when they are needed, for keys that open nothing but a simulator.
use anyhow::Context as _;
use rcgen::date_time_ymd;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256};

/// Two RSA keys: making one takes a debug build many seconds.
const KEYS: [&str; 2] = [include_str!("entra/key-one.pem"), include_str!("entra/key-two.pem")];

/// A certificate and its private key, each as PEM.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    pub certificate: String,
    pub key: String,
    /// Who issued it, where it did not issue itself.
    pub issuer: Option<String>,
}

impl ClientCertificate {
    /// One that issued itself, for the first (0) or second (1) key, good from 2020 to the end of the year.
    ///
    /// # Errors
    /// There is no such key.
    pub fn until(key: usize, name: &str, year: i32) -> anyhow::Result<Self> {
        let (pem, pair) = rsa(key)?;
        let certificate = params(name, year)?.self_signed(&pair)?.pem();
        Ok(Self { certificate, key: pem.to_owned(), issuer: None })
    }

    /// One that an authority of its own issued.
    ///
    /// # Errors
    /// There is no such key.
    pub fn issued(key: usize, name: &str) -> anyhow::Result<Self> {
        let mut authority = params("Client CA", 2100)?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority_key = KeyPair::generate()?;
        let issuer = authority.self_signed(&authority_key)?.pem();
        let (pem, pair) = rsa(key)?;
        let certificate = params(name, 2100)?.signed_by(&pair, &Issuer::new(authority, authority_key))?.pem();
        Ok(Self { certificate, key: pem.to_owned(), issuer: Some(issuer) })
    }

    /// All in one file, as applications have it.
    #[must_use]
    pub fn pem(&self) -> String {
        format!("{}{}{}", self.key, self.certificate, self.issuer.as_deref().unwrap_or_default())
    }
}

fn rsa(key: usize) -> anyhow::Result<(&'static str, KeyPair)> {
    let pem = KEYS.get(key).context("there are two keys")?;
    Ok((pem, KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_RSA_SHA256)?))
}

fn params(name: &str, year: i32) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(year, 12, 31);
    Ok(params)
}
