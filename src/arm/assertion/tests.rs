use super::super::certificate::tests::{CERTIFICATE, KEY, noon};
use super::*;
use arm_simulator::ClientCertificate;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm};
use serde_json::Value;
use x509_parser::prelude::FromDer as _;

struct Read {
    header: Value,
    claims: Value,
    signed: String,
    signature: Vec<u8>,
}

fn file(dir: &tempfile::TempDir, text: &str, authority: &str, tenant: &str) -> CertificateFile {
    let path = dir.path().join("client.pem");
    std::fs::write(&path, text).expect("written");
    CertificateFile {
        path,
        password: None,
        send_chain: false,
        client_id: "app".into(),
        token_endpoint: token_endpoint(authority, tenant).expect("an URL"),
    }
}

fn read(assertion: &str) -> Read {
    let parts: Vec<&str> = assertion.split('.').collect();
    let bytes = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64");
    let json = |part: &str| serde_json::from_slice(&bytes(part)).expect("JSON");
    Read {
        header: json(parts[0]),
        claims: json(parts[1]),
        signed: format!("{}.{}", parts[0], parts[1]),
        signature: bytes(parts[2]),
    }
}

fn is_signed(read: &Read, certificate: &str, how: &'static dyn VerificationAlgorithm) -> bool {
    let der = pem::parse(certificate).expect("PEM").into_contents();
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(&der).expect("a certificate");
    let key = UnparsedPublicKey::new(how, certificate.public_key().subject_public_key.data.to_vec());
    key.verify(read.signed.as_bytes(), &read.signature).is_ok()
}

fn print(hash: &'static ring::digest::Algorithm, certificate: &str) -> String {
    BASE64URL_NOPAD.encode(digest(hash, pem::parse(certificate).expect("PEM").contents()).as_ref())
}

#[test]
fn entra_id_gets_what_its_documentation_asks_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = file(&dir, &[KEY, CERTIFICATE].concat(), "https://login.example", "tenant");
    let read = [file.assertion(noon()), file.assertion(noon())].map(|text| read(&text.expect("signed")));
    let [first, second] = &read;
    assert_eq!(first.header, json!({"alg": "PS256", "typ": "JWT", "x5t#S256": print(&SHA256, CERTIFICATE)}));
    assert!(is_signed(first, CERTIFICATE, &RSA_PSS_2048_8192_SHA256));
    assert_eq!(first.claims["aud"], "https://login.example/tenant/oauth2/v2.0/token");
    assert_eq!((&first.claims["iss"], &first.claims["sub"]), (&json!("app"), &json!("app")));
    assert_eq!(first.claims["exp"], noon().as_second() + LIFETIME);
    assert_ne!(first.claims["jti"], second.claims["jti"]);
}

#[test]
fn ad_fs_gets_the_older_thumbprint_and_signature() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = file(&dir, &[KEY, CERTIFICATE].concat(), "https://adfs.example/adfs", "adfs");
    let read = read(&file.assertion(noon()).expect("signed"));
    assert_eq!(
        read.header,
        json!({"alg": "RS256", "typ": "JWT", "x5t": print(&SHA1_FOR_LEGACY_USE_ONLY, CERTIFICATE)})
    );
    assert!(is_signed(&read, CERTIFICATE, &RSA_PKCS1_2048_8192_SHA256));
    assert_eq!(read.claims["aud"], "https://adfs.example/adfs/oauth2/token");
}

#[test]
fn the_chain_goes_along_when_it_is_asked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let issued = ClientCertificate::issued(0, "app").expect("a certificate");
    let file = CertificateFile { send_chain: true, ..file(&dir, &issued.pem(), "https://login.example", "tenant") };
    let read = read(&file.assertion(noon()).expect("signed"));
    let base64 = |text: &str| BASE64.encode(pem::parse(text).expect("PEM").contents());
    let signed_by = issued.issuer.expect("an issuer");
    assert_eq!(read.header["x5c"], json!([base64(&issued.certificate), base64(&signed_by)]));
}

#[test]
fn a_file_that_was_renewed_is_used_from_then_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let [old, new] = [0, 1].map(|key| ClientCertificate::until(key, "app", 2100).expect("a certificate"));
    let file = file(&dir, &old.pem(), "https://login.example", "tenant");
    let signed_by = |certificate: &ClientCertificate| {
        let read = read(&file.assertion(noon()).expect("signed"));
        is_signed(&read, &certificate.certificate, &RSA_PSS_2048_8192_SHA256)
    };
    assert!(signed_by(&old));
    std::fs::write(&file.path, new.pem()).expect("written");
    assert!(signed_by(&new) && !signed_by(&old));
}

#[tokio::test]
async fn what_is_wrong_with_the_file_is_told_with_its_path() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut file = file(&dir, KEY, "https://login.example", "tenant");
    file.password = Some(SecretString::from("hush"));
    let told = async |file: &CertificateFile| {
        let error = file.secret(None).await.expect_err("unusable");
        assert!(!format!("{error:?} {file:?}").contains("hush"));
        crate::arm::chain(&error)
    };
    let error = told(&file).await;
    assert!(error.contains("client.pem") && error.contains("no certificate in it"), "{error}");

    std::fs::write(&file.path, vec![b'x'; usize::try_from(LONGEST_FILE).expect("fits") + 1]).expect("written");
    let error = told(&file).await;
    assert!(error.contains("is longer than"), "{error}");

    std::fs::remove_file(&file.path).expect("removed");
    let error = told(&file).await;
    assert!(error.contains("cannot be read: check AZURE_CLIENT_CERTIFICATE_PATH"), "{error}");
}
