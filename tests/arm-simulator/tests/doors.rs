//! Tokens, IMDS and the admin door, and what ARM lets in.
mod support;

use arm_simulator::{Effect, Fault, IDENTITY_HEADER, Listener, Settings};
use serde_json::{Value, json};
use support::{API, Arm, SUB, got};

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

#[tokio::test]
async fn a_token_opens_arm_by_https_and_by_plain_http() {
    let arm = Arm::quick().await;
    let vm = arm.sim.vm(SUB, "shop", "web").create();
    let request = arm.request(reqwest::Method::GET, &vm.id()).header("x-ms-client-request-id", "mine");
    let read = got(request.send().await.expect("an answer")).await;
    assert_eq!(read.status, 200);
    assert_eq!(read.header("x-ms-client-request-id"), Some("mine"));
    assert!(read.header("x-ms-request-id").is_some() && read.header("x-ms-correlation-request-id").is_some());
    let plain = format!("{}{}?api-version={API}", arm.sim.arm_http_url(), vm.id());
    assert_eq!(arm.get_url(&plain).await.status, 200);
    let journal = serde_json::to_string(&arm.sim.journal()).expect("it serializes");
    assert!(!journal.contains(&arm.token), "no token is written down");
    assert!(!journal.contains(arm.sim.client_secret()), "and no secret");
}

#[tokio::test]
async fn what_is_no_good_token_is_refused_with_a_challenge() {
    let mut arm = Arm::start(Settings::quick()).await;
    let vm = arm.sim.vm(SUB, "shop", "web").create();
    let good = arm.token.clone();
    arm.token = "invented".into();
    let refused = arm.get(&vm.id()).await;
    assert_eq!((refused.status, refused.code()), (401, "InvalidAuthenticationToken"));
    assert!(refused.header("www-authenticate").is_some_and(|text| text.starts_with("Bearer ")));
    arm.token = good;
    arm.sim.expire_tokens();
    assert_eq!(arm.get(&vm.id()).await.code(), "ExpiredAuthenticationToken");
    arm.sim.revoke_tokens();
    assert_eq!(arm.get(&vm.id()).await.code(), "InvalidAuthenticationToken");
}

#[tokio::test]
async fn a_token_of_another_tenant_or_audience_is_refused() {
    let mut arm = Arm::quick().await;
    let other = json!({"id": "0b0b0b0b-0000-4000-8000-000000000000", "tenant": "33333333-cccc-4ccc-8ccc-333333333333"});
    post(&arm, "/subscriptions", &other).await;
    let refused = arm.get("/subscriptions/0b0b0b0b-0000-4000-8000-000000000000").await;
    assert_eq!((refused.status, refused.code()), (401, "InvalidAuthenticationTokenTenant"));
    let url = format!("{}/{}/oauth2/v2.0/token", arm.sim.authority_url(), arm.sim.tenant_id());
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&scope=https%3A%2F%2Fvault.azure.net%2F.default",
        arm.sim.client_id(),
        arm.sim.client_secret().replace('~', "%7E")
    );
    let told = got(arm.http.post(url).body(form).send().await.expect("an answer")).await;
    arm.token = told.body["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(arm.get(&format!("/subscriptions/{SUB}")).await.status, 401);
}

#[tokio::test]
async fn entra_refuses_in_its_own_words() {
    let arm = Arm::quick().await;
    let tenant = arm.sim.tenant_id();
    let wrong = arm.log_in_with(tenant, &[("client_secret", "wrong")]).await;
    assert_eq!((wrong.status, &wrong.body["error"]), (401, &json!("invalid_client")));
    assert!(wrong.body["error_description"].as_str().is_some_and(|text| text.starts_with("AADSTS7000215:")));
    let unknown = arm.log_in_with("99999999-0000-4000-8000-000000000000", &[("client_secret", "x")]).await;
    assert_eq!((unknown.status, &unknown.body["error_codes"]), (400, &json!([90_002])));
    let malformed = arm.log_in_with(tenant, &[("client_assertion_type", JWT_BEARER), ("client_assertion", "x")]).await;
    assert_eq!(malformed.body["error_codes"], json!([50_027]));
}

#[tokio::test]
async fn a_federated_token_is_taken_while_it_is_fresh() {
    let arm = Arm::quick().await;
    let jwt = |expires: i64| {
        let claims = json!({"iss": "https://issuer", "sub": "system:serviceaccount:a:b", "exp": expires});
        format!("e30.{}.c2ln", data_encoding::BASE64URL_NOPAD.encode(claims.to_string().as_bytes()))
    };
    let arm = &arm;
    let assertion = |text: String| async move {
        arm.log_in_with(arm.sim.tenant_id(), &[("client_assertion_type", JWT_BEARER), ("client_assertion", &text)])
            .await
    };
    assert_eq!(assertion(jwt(4_000_000_000)).await.status, 200);
    assert_eq!(assertion(jwt(1)).await.body["error_codes"], json!([700_024]));
    arm.sim.set(|settings| {
        let other = arm_simulator::Federated { issuer: "https://issuer".into(), subject: "else".into() };
        settings.clients[0].federated.push(other);
    });
    assert_eq!(assertion(jwt(4_000_000_000)).await.body["error_codes"], json!([700_213]));
}

#[tokio::test]
async fn imds_hands_out_the_system_identity_else_the_only_other() {
    let arm = Arm::quick().await;
    let query = "api-version=2018-02-01&resource=https%3A%2F%2Fmanagement.azure.com";
    let url = format!("{}/metadata/identity/oauth2/token?{query}", arm.sim.imds_url());
    let ask = || async { got(arm.http.get(&url).header("Metadata", "true").send().await.expect("an answer")).await };
    assert_eq!(arm.get_url(&url).await.status, 400, "the header is required");
    let told = ask().await;
    assert!(told.body["expires_on"].is_string());
    let vm = arm.sim.vm(SUB, "shop", "web").create();
    let arm_url = format!("{}{}?api-version={API}", arm.sim.arm_url(), vm.id());
    let token = told.body["access_token"].as_str().expect("a token");
    assert_eq!(got(arm.http.get(&arm_url).bearer_auth(token).send().await.expect("an answer")).await.status, 200);

    arm.sim.set(|settings| {
        settings.imds.system = None;
        settings.imds.users = vec!["one".into(), "two".into()];
    });
    let refused = ask().await;
    assert!(refused.body["error_description"].as_str().is_some_and(|text| text.starts_with("Multiple user assigned")));
    let app_service = format!("{}/msi/token?{query}&client_id=two", arm.sim.imds_url());
    let told = arm.http.get(app_service).header("X-IDENTITY-HEADER", IDENTITY_HEADER);
    assert_eq!(got(told.send().await.expect("an answer")).await.body["client_id"], "two");
}

#[tokio::test]
async fn entra_can_be_struck_too() {
    let arm = Arm::quick().await;
    let fault = Fault::new("POST", "/token", Effect::LoseRequest {}).at(Listener::Entra);
    arm.sim.fault(fault);
    let url = format!("{}/{}/oauth2/v2.0/token", arm.sim.authority_url(), arm.sim.tenant_id());
    assert!(arm.http.post(url).send().await.is_err());
    assert_eq!(arm.log_in().await.status, 200);
}

async fn post(arm: &Arm, page: &str, body: &Value) -> support::Got {
    let url = format!("{}{page}", arm.sim.admin_url());
    got(arm.http.post(url).json(body).send().await.expect("an answer")).await
}

#[tokio::test]
async fn the_admin_door_does_what_the_calls_do() {
    let arm = Arm::quick().await;
    let vm = format!("/subscriptions/{SUB}/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines/web");
    let made = post(&arm, "/machines", &json!({"id": vm, "system": true, "identities": ["legacy"]})).await;
    assert_eq!((made.status, &made.body["id"]), (200, &json!(vm)));
    post(&arm, "/faults", &json!({"when": {"method": "GET", "path": "/web"}, "then": {"hide": {}}})).await;
    assert_eq!(arm.get(&vm).await.status, 404);
    assert_eq!(arm.get(&vm).await.status, 200);
    let foreign =
        json!({"resource": vm, "act": {"remove_identity": arm.sim.truth("web")["machines"][0]["identities"][0]}});
    assert_eq!(post(&arm, "/foreign", &foreign).await.body["done"], true);
    assert_eq!(post(&arm, "/settings", &json!({"page_size": 7})).await.body["page_size"], 7);
    assert_eq!(post(&arm, "/machines", &json!({"id": "/nonsense"})).await.status, 400);
    let get = |page: &str| format!("{}{page}", arm.sim.admin_url());
    let truth = arm.get_url(&get("/truth?path=/web")).await.body;
    assert_eq!(truth["machines"][0]["identities"], json!([]));
    assert_eq!(truth["machines"][0]["etag"], "\"2\"");
    let journal = arm.get_url(&get(&format!("/journal?since=0&path={SUB}"))).await.body;
    let statuses: Vec<&Value> = journal.as_array().expect("a list").iter().map(|one| &one["status"]).collect();
    assert_eq!(statuses, [404, 200]);
    assert_eq!(arm.get_url(&get("/endpoints")).await.body["arm"], arm.sim.arm_url());
}
