use super::*;
use data_encoding::BASE64;
use rstest::rstest;

pub const CERTIFICATE: &str = include_str!("fixtures/certificate.pem");
pub const KEY: &str = include_str!("fixtures/key.pem");
const ANOTHER_KEY: &str = include_str!("fixtures/another-key.pem");
const ENCRYPTED: &str = include_str!("fixtures/encrypted.pem");
const ENCRYPTED_3DES: &str = include_str!("fixtures/encrypted-3des.pem");
const TRADITIONAL: &str = include_str!("fixtures/traditional.pem");
const TRADITIONAL_ENCRYPTED: &str = include_str!("fixtures/traditional-encrypted.pem");
const ELLIPTIC: &str = include_str!("fixtures/ec.pem");
const MODERN_PFX: &str = include_str!("fixtures/modern.pfx.base64");
const LEGACY_PFX: &str = include_str!("fixtures/legacy.pfx.base64");
const EMPTY_PASSWORD_PFX: &str = include_str!("fixtures/nopass.pfx.base64");
const BARE_PFX: &str = include_str!("fixtures/bare.pfx.base64");

pub fn noon() -> Timestamp {
    "2030-06-01T12:00:00Z".parse().expect("a time")
}

fn pem(blocks: &[&str]) -> Vec<u8> {
    blocks.concat().into_bytes()
}

fn pfx(base64: &str) -> Vec<u8> {
    let text: String = base64.split_whitespace().collect();
    BASE64.decode(text.as_bytes()).expect("a fixture")
}

fn opened(file: &[u8], password: Option<&str>) -> Result<usize, CertificateError> {
    let password = password.map(SecretString::from);
    Certificate::read(file, password.as_ref(), noon()).map(|certificate| certificate.chain.len())
}

#[rstest]
#[case::plain(pem(&[KEY, CERTIFICATE]), None)]
#[case::in_the_other_order(pem(&[CERTIFICATE, KEY]), None)]
#[case::with_words_between(pem(&["Bag Attributes\n  x: y\n", CERTIFICATE, "Key Attributes\n", KEY]), None)]
#[case::a_password_that_is_not_needed(pem(&[KEY, CERTIFICATE]), Some("opens"))]
#[case::traditional(pem(&[TRADITIONAL, CERTIFICATE]), None)]
#[case::encrypted(pem(&[ENCRYPTED, CERTIFICATE]), Some("opens"))]
#[case::encrypted_long_ago(pem(&[ENCRYPTED_3DES, CERTIFICATE]), Some("opens"))]
#[case::pfx(pfx(MODERN_PFX), Some("opens"))]
#[case::pfx_of_windows(pfx(LEGACY_PFX), Some("opens"))]
#[case::pfx_with_an_empty_password(pfx(EMPTY_PASSWORD_PFX), None)]
#[case::pfx_without_encryption(pfx(BARE_PFX), None)]
fn every_usual_form_is_read(#[case] file: Vec<u8>, #[case] password: Option<&str>) {
    assert_eq!(opened(&file, password), Ok(1));
}

#[rstest]
#[case::nothing(Vec::new(), None, "neither PEM nor PKCS#12")]
#[case::text(b"hello".to_vec(), None, "neither PEM nor PKCS#12")]
#[case::half_a_pem(pem(&[&KEY[..KEY.len() / 2], "\n"]), None, "neither PEM nor PKCS#12")]
#[case::half_a_pfx(pfx(MODERN_PFX)[..200].to_vec(), Some("opens"), "PKCS#12 cannot be read")]
#[case::no_key(pem(&[CERTIFICATE]), None, "no private key in it")]
#[case::no_certificate(pem(&[KEY]), None, "no certificate in it")]
#[case::wrong_password(pem(&[ENCRYPTED, CERTIFICATE]), Some("hush"), "password does not open it")]
#[case::no_password(pem(&[ENCRYPTED, CERTIFICATE]), None, "set AZURE_CLIENT_CERTIFICATE_PASSWORD")]
#[case::wrong_password_of_a_pfx(pfx(MODERN_PFX), Some("hush"), "password does not open it")]
#[case::no_password_of_a_pfx(pfx(MODERN_PFX), None, "set AZURE_CLIENT_CERTIFICATE_PASSWORD")]
#[case::wrong_password_of_an_old_pfx(pfx(LEGACY_PFX), Some("hush"), "password does not open it")]
#[case::encrypted_by_openssl_alone(pem(&[TRADITIONAL_ENCRYPTED, CERTIFICATE]), Some("opens"), "openssl pkcs8 -topk8")]
#[case::another_key(pem(&[ANOTHER_KEY, CERTIFICATE]), None, "belongs to none of the certificates")]
#[case::elliptic(pem(&[ELLIPTIC, CERTIFICATE]), None, "no RSA key")]
fn what_is_wrong_is_told_in_words(#[case] file: Vec<u8>, #[case] password: Option<&str>, #[case] why: &str) {
    let error = opened(&file, password).expect_err("unusable");
    assert!(error.to_string().contains(why), "{error}");
    assert!(!format!("{error:?} {error}").contains("hush"), "{error:?}");
}

#[rstest]
#[case("2200-01-01T00:00:00Z", "CN=lanyard one expired at 2126-11-04T")]
#[case("2020-01-01T00:00:00Z", "CN=lanyard one is not valid before 2026-11-28T")]
fn a_certificate_out_of_its_time_is_named_with_its_date(#[case] now: &str, #[case] why: &str) {
    let file = pem(&[KEY, CERTIFICATE]);
    let error = Certificate::read(&file, None, now.parse().expect("a time")).expect_err("out of time").to_string();
    assert!(error.contains(why), "{error}");
}

#[test]
fn the_chain_begins_with_the_keys_own_certificate() {
    let issued = arm_simulator::ClientCertificate::issued(1, "app").expect("a certificate");
    let signed_by = issued.issuer.clone().expect("an issuer");
    // A stranger's and the issuer's before its own.
    let file = [CERTIFICATE, &signed_by, &issued.certificate, &issued.key].concat();
    let chain = Certificate::read(file.as_bytes(), None, noon()).expect("usable").chain;
    let der = |text: &str| pem::parse(text).expect("PEM").into_contents();
    assert_eq!(chain, [der(&issued.certificate), der(&signed_by)]);
}

#[test]
fn no_file_makes_it_panic() {
    for file in [pfx(MODERN_PFX), pfx(BARE_PFX), pem(&[ENCRYPTED, CERTIFICATE])] {
        for at in (0..file.len()).step_by(29) {
            let mut bent = file.clone();
            bent[at] ^= 0x5a;
            let _ = opened(&bent[..], Some("opens"));
            let _ = opened(&file[..at], Some("opens"));
        }
    }
}
