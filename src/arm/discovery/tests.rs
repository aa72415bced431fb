use super::*;
use crate::arm::scripted::{Reply, Server, reply};
use crate::arm::{Whereabouts, chain};
use rstest::rstest;
use secrecy::SecretString;

const STACK: &str = "https://management.local.azurestack.external";

fn read(body: &str) -> Result<(String, String), String> {
    let endpoint = Url::parse(STACK).expect("an URL");
    described(&endpoint, body.as_bytes()).map(|found| (found.authority, found.audience))
}

#[rstest]
#[case::the_older_object(
    r#"{"galleryEndpoint":"https://g.example","authentication":{"loginEndpoint":"https://login.windows.net/","audiences":["https://management.contoso.onmicrosoft.com/1f"]}}"#,
    "https://login.windows.net", "https://management.contoso.onmicrosoft.com/1f"
)]
#[case::with_a_byte_order_mark(
    "\u{feff}{\"authentication\":{\"loginEndpoint\":\"https://l.example:8443/tenant/\",\"audiences\":[\"a\",\"b\"]}}",
    "https://l.example:8443",
    "a"
)]
#[case::ad_fs_by_its_path(
    r#"{"authentication":{"loginEndpoint":"https://adfs.local.azurestack.external/ADFS/","audiences":["https://management.adfs.azurestack.local/2e"]}}"#,
    "https://adfs.local.azurestack.external/adfs", "https://management.adfs.azurestack.local/2e"
)]
#[case::ad_fs_by_its_name(
    r#"{"resourceManager":"https://management.local.azurestack.external/","authentication":{"loginEndpoint":"https://adfs.example","identityProvider":"ADFS","tenant":"adfs","audiences":["a"]}}"#,
    "https://adfs.example/adfs", "a"
)]
#[case::a_list_of_clouds(
    r#"[{"name":"AzureCloud","resourceManager":"https://management.azure.com/","authentication":{"loginEndpoint":"https://login.microsoftonline.com","audiences":["p"]}},
        {"name":"Stack","resourceManager":"https://MANAGEMENT.local.azurestack.external:443/","authentication":{"loginEndpoint":"https://login.example","audiences":["a"]}}]"#,
    "https://login.example", "a"
)]
fn both_forms_are_read(#[case] body: &str, #[case] authority: &str, #[case] audience: &str) {
    assert_eq!(read(body), Ok((authority.into(), audience.into())));
}

#[rstest]
#[case::html("<html>", "no JSON")]
#[case::a_word("\"x\"", "describes no cloud")]
#[case::empty("{}", "no 'authentication'")]
#[case::no_login(r#"{"authentication":{"audiences":["a"]}}"#, "no loginEndpoint")]
#[case::no_audience(
    r#"{"authentication":{"loginEndpoint":"https://l.example","audiences":["",7]}}"#,
    "names no audience"
)]
#[case::two_scopes(
    r#"{"authentication":{"loginEndpoint":"https://l.example","audiences":["a b"]}}"#,
    "with blanks in it"
)]
#[case::plain_http(
    r#"{"authentication":{"loginEndpoint":"http://l.example/","audiences":["a"]}}"#,
    "http://l.example' is not https"
)]
#[case::a_password(
    r#"{"authentication":{"loginEndpoint":"https://u:hush@l.example/","audiences":["a"]}}"#,
    "user name or password"
)]
#[case::no_url(r#"{"authentication":{"loginEndpoint":"login","audiences":["a"]}}"#, "'login' is no URL")]
#[case::about_another(
    r#"{"resourceManager":"https://evil.example","authentication":{"loginEndpoint":"https://l.example","audiences":["a"]}}"#,
    "another ARM endpoint, https://evil.example"
)]
#[case::a_list_without_us(
    r#"[{"resourceManager":"https://management.azure.com/","authentication":{}}]"#,
    "none of the clouds"
)]
fn what_cannot_be_used_is_told(#[case] body: &str, #[case] why: &str) {
    let error = read(body).expect_err("unusable");
    assert!(error.contains(why) && !error.contains("hush"), "{error}");
}

/// Of a credential that is discovered at this server: why there is no token, and what the server was asked.
async fn refused(script: impl IntoIterator<Item = Reply>) -> (String, Vec<String>) {
    let server = Server::start(script).await;
    let place =
        Whereabouts { endpoint: Some(server.origin.clone()), ..Whereabouts::default() }.locate().expect("a place");
    let options = CredentialOptions {
        tenant_id: Some("tenant".into()),
        client_id: Some("client".into()),
        client_secret: Some(SecretString::from("hush")),
        ..CredentialOptions::default()
    };
    let credential = credential_at(&place, CredentialKind::Default, &options).expect("set up");
    let error = credential.get_token(&["ignored/.default"], None).await.expect_err("no token");
    assert!(!format!("{error:?} {credential:?}").contains("hush"));
    (chain(&error), server.requests())
}

#[tokio::test]
async fn the_question_carries_no_token_and_is_asked_in_two_ways() {
    let answers = [reply(400, &[], ""), reply(404, &[], "")];
    let (error, asked) = refused(answers).await;
    assert!(error.contains("it knows no such page") && error.contains("set AZURE_AUTHORITY_HOST"), "{error}");
    assert!(asked[0].starts_with("GET /metadata/endpoints?api-version=2022-09-01 "), "{asked:?}");
    assert!(asked[1].starts_with("GET /metadata/endpoints?api-version=2015-01-01 "), "{asked:?}");
    assert!(!asked.concat().to_lowercase().contains("authorization"), "{asked:?}");
}

#[rstest]
#[case::a_redirect(reply(302, &[("Location", "https://evil.example/")], ""), "no redirect is followed")]
#[case::too_long(Reply::Endless, "is longer than")]
#[case::a_closed_door(reply(401, &[], ""), "it answered 401")]
#[case::nothing_in_it(reply(200, &[], "{}"), "no 'authentication'")]
#[case::its_own_trouble(reply(503, &[], ""), "could not be asked")]
#[tokio::test]
async fn an_answer_that_leads_elsewhere_or_nowhere_is_told(#[case] answer: Reply, #[case] why: &str) {
    let (error, asked) = refused([answer.clone(), answer]).await;
    assert!(error.contains(why), "{error}");
    assert_eq!(asked.len(), 1, "it is final: {asked:?}");
}

#[tokio::test]
async fn what_is_missing_is_told_before_anybody_is_asked() {
    let place = Whereabouts { endpoint: Some("https://arm.example".into()), ..Whereabouts::default() };
    let place = place.locate().expect("a place");
    let error =
        credential_at(&place, CredentialKind::ClientSecret, &CredentialOptions::default()).expect_err("nothing");
    assert!(error.to_string().contains("AZURE_CLIENT_SECRET"), "{error}");
}
