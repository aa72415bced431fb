use super::*;
use rstest::rstest;

fn options(set: &str) -> CredentialOptions {
    let has = |name: &str| set.split(' ').any(|word| word == name);
    let text = |name: &str| has(name).then(|| name.to_owned());
    CredentialOptions {
        tenant_id: text("tenant"),
        client_id: text("client"),
        client_secret: text("secret").map(SecretString::from),
        federated_token_file: has("file").then(|| PathBuf::from("/nowhere")),
        client_certificate_path: has("certificate").then(|| PathBuf::from("/nowhere.pem")),
        ..CredentialOptions::default()
    }
}

#[rstest]
#[case::all("tenant client file secret", CredentialKind::WorkloadIdentity)]
#[case::secret("tenant client secret", CredentialKind::ClientSecret)]
#[case::certificate("tenant client certificate", CredentialKind::ClientCertificate)]
#[case::half_a_workload_identity("tenant file", CredentialKind::ManagedIdentity)]
#[case::client_alone("client", CredentialKind::ManagedIdentity)]
#[case::nothing("", CredentialKind::ManagedIdentity)]
fn the_first_that_is_set_up_is_chosen(#[case] set: &str, #[case] kind: CredentialKind) {
    assert_eq!(chosen(CredentialKind::Default, &options(set)), kind);
}

#[rstest]
#[case(CredentialKind::WorkloadIdentity, "client", "AZURE_TENANT_ID, AZURE_FEDERATED_TOKEN_FILE")]
#[case(CredentialKind::ClientSecret, "", "AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET")]
#[case(CredentialKind::ClientCertificate, "client", "AZURE_TENANT_ID, AZURE_CLIENT_CERTIFICATE_PATH")]
#[case(CredentialKind::Default, "secret", "AZURE_TENANT_ID, AZURE_CLIENT_ID")]
fn what_is_missing_is_named(#[case] kind: CredentialKind, #[case] set: &str, #[case] missing: &str) {
    let error = credential(kind, &options(set)).expect_err("half set up").to_string();
    assert!(error.contains(missing), "{error}");
}

#[test]
fn an_authority_without_tls_is_refused() {
    let options =
        CredentialOptions { authority_host: Some("http://login.example".into()), ..options("tenant client secret") };
    let error = credential(CredentialKind::Default, &options).expect_err("no TLS").to_string();
    assert!(error.contains("http://login.example"), "{error}");
}

#[tokio::test]
async fn a_missing_token_file_is_an_error_of_the_token_not_of_the_start() {
    let credential = credential(CredentialKind::Default, &options("tenant client file")).expect("set up");
    let error = credential.get_token(&["https://arm.example/.default"], None).await.expect_err("no file");
    assert!(super::super::chain(&error).contains("/nowhere"), "{error}");
}

#[test]
fn no_debug_shows_the_secret() {
    let options =
        CredentialOptions { client_secret: Some(SecretString::from("hush".to_owned())), ..options("tenant client") };
    let credential = credential(CredentialKind::Default, &options).expect("set up");
    assert!(!format!("{options:?} {credential:?}").contains("hush"));
}

#[test]
fn an_error_with_line_breaks_and_quotes_becomes_one_that_the_library_reads() {
    let body = br#"{"error_description":"AADSTS1: \"x\" isn\u0027t\r\nhere \\","error_codes":[1]}"#;
    let plain = String::from_utf8(without_escapes(body)).expect("text");
    assert_eq!(plain, r#"{"error_description":"AADSTS1: 'x' isn't  here /","error_codes":[1]}"#);
    assert_eq!(without_escapes(b"<html>"), b"<html>");
}

#[test]
fn kinds_are_named_as_flags_are() {
    assert_eq!("workload-identity".parse(), Ok(CredentialKind::WorkloadIdentity));
    assert_eq!(CredentialKind::AzureCli.to_string(), "azure-cli");
}

#[rstest]
#[case::ad_fs("https://adfs.example/adfs/", "adfs")]
#[case::entra_id("https://login.example/", "tenant")]
fn ad_fs_has_one_tenant(#[case] authority: &str, #[case] tenant: &str) {
    let options = CredentialOptions { authority_host: Some(authority.into()), ..options("tenant") };
    assert_eq!(at_adfs(&options).tenant_id.as_deref(), Some(tenant));
}

#[rstest]
#[case("https://adfs.example:444/adfs/oauth2/v2.0/token", Some("https://adfs.example:444/adfs/oauth2/token"))]
#[case("https://login.example/tenant/oauth2/v2.0/token", None)]
fn ad_fs_has_one_version_of_its_endpoint(#[case] asked: &str, #[case] sent: Option<&str>) {
    let url = Url::parse(asked).expect("an URL");
    assert_eq!(adfs_token_url(&url).as_ref().map(Url::as_str), sent);
}
