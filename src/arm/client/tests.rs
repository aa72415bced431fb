use super::*;
use crate::arm::scripted::{Reply, Server, VM, error, reply, vm};
use lanyard_domain::pace::Class;
use lanyard_domain::reason::Reason;
use rstest::rstest;

const ID: &str = "33333333-0000-0000-0000-000000000000";

fn machine_json() -> String {
    format!(r#"{{"id":"{VM}","etag":"\"7\"","properties":{{"vmId":"m","provisioningState":"Updating"}}}}"#)
}

/// As the controller does: first the right to write.
async fn patch(arm: &Arm, body: &str, if_match: Option<&ETag>) -> Result<Accepted, ArmError> {
    let reservation = arm.reserve_write(&vm()).await?;
    arm.patch_identity(reservation, body, if_match, ID).await
}

fn ok(headers: &[(&str, &str)]) -> Reply {
    reply(200, headers, &machine_json())
}

#[tokio::test]
async fn a_get_says_who_asks_and_what_it_wants() {
    let server = Server::start([ok(&[])]).await;
    let live = server.arm().0.machine(&vm()).await.expect("answered");
    assert_eq!(live.etag, Some(ETag("\"7\"".into())));

    let request = &server.requests()[0];
    assert!(request.starts_with(&format!("GET {VM}?api-version=2024-07-01 HTTP/1.1")), "{request}");
    for header in [
        "authorization: Bearer secret-1",
        "accept: application/json",
        "user-agent: lanyard/0.",
        "x-ms-return-client-request-id: true",
        "x-ms-client-request-id: ",
    ] {
        assert!(request.contains(header), "{header} is not in {request}");
    }
}

#[tokio::test]
async fn a_patch_carries_its_condition_and_leads_to_its_operation() {
    let headers =
        [("Azure-AsyncOperation", "/operations/1?c=x"), ("Retry-After", "10"), ("x-ms-correlation-request-id", "c-1")];
    let server = Server::start([ok(&headers)]).await;
    let accepted = patch(&server.arm().0, r#"{"identity":{}}"#, Some(&ETag("\"6\"".into()))).await.expect("accepted");

    let request = &server.requests()[0];
    assert!(request.starts_with("PATCH "), "{request}");
    assert!(
        request.contains("if-match: \"6\"\r\n") && request.contains(&format!("x-ms-client-request-id: {ID}\r\n")),
        "{request}"
    );
    assert!(request.ends_with(r#"{"identity":{}}"#) && request.contains("content-type: application/json"), "{request}");
    assert_eq!(accepted.etag, Some(ETag("\"7\"".into())));
    assert_eq!(accepted.correlation_id.as_deref(), Some("c-1"));
    assert_eq!(accepted.operation.and_then(|operation| operation.first_pause()), Some(Duration::from_secs(10)));
}

#[tokio::test]
async fn an_etag_without_quotes_is_sent_in_quotes() {
    let server = Server::start([ok(&[])]).await;
    patch(&server.arm().0, "{}", Some(&ETag("6".into()))).await.expect("accepted");
    assert!(server.requests()[0].contains("if-match: \"6\"\r\n"));
}

#[rstest]
#[case::honoured(error(412, "PreconditionFailed"), Some(Precondition::Honoured))]
#[case::ignored(ok(&[]), Some(Precondition::Ignored))]
#[case::neither(error(403, "AuthorizationFailed"), None)]
#[tokio::test]
async fn the_probe_tells_whether_if_match_is_honoured(#[case] answer: Reply, #[case] found: Option<Precondition>) {
    let server = Server::start([answer]).await;
    assert_eq!(server.arm().0.probe(&vm()).await.ok(), found);
    let request = &server.requests()[0];
    assert!(request.contains("if-match: \"9223372036854775807\"") && request.ends_with("\r\n\r\n{}"), "{request}");
}

#[tokio::test]
async fn a_token_that_arm_refuses_is_replaced_once_for_a_get() {
    let server = Server::start([error(401, "ExpiredAuthenticationToken"), ok(&[])]).await;
    let (arm, credential) = server.arm();
    arm.machine(&vm()).await.expect("the second token does");
    assert!(server.requests()[1].contains("Bearer secret-2"));
    assert_eq!(credential.count(), 2);
}

#[tokio::test]
async fn a_credential_that_arm_keeps_refusing_is_asked_for_no_third_token() {
    let server = Server::start(std::iter::repeat_n(error(401, "InvalidAuthenticationToken"), 3)).await;
    let (arm, credential) = server.arm();
    for _ in 0..2 {
        let refused = arm.machine(&vm()).await.expect_err("401");
        assert_eq!((refused.reason(), refused.refused()), (Reason::CredentialRejected, true));
    }
    assert_eq!((server.requests().len(), credential.count()), (3, 2));
}

#[tokio::test]
async fn a_patch_is_not_repeated_with_a_new_token() {
    let server = Server::start([error(401, "ExpiredAuthenticationToken"), ok(&[])]).await;
    let (arm, credential) = server.arm();
    let refused = patch(&arm, "{}", None).await.expect_err("401");
    assert_eq!((refused.class(), refused.refused()), (Class::Replan, true));
    assert_eq!((server.requests().len(), credential.count()), (1, 2));
}

#[tokio::test]
async fn a_credential_without_tokens_sends_nothing() {
    let server = Server::start([]).await;
    let (arm, credential) = server.arm();
    *credential.fails.lock().expect("no panic") = Some("7000215");
    let error = patch(&arm, "{}", None).await.expect_err("no token");
    assert_eq!((error.reason(), error.refused()), (Reason::CredentialRejected, true));
    assert!(crate::arm::chain(&error).contains("AZURE_CLIENT_SECRET"), "{}", crate::arm::chain(&error));
    assert!(server.requests().is_empty());
}

#[rstest]
#[case::reset(Reply::Bytes(Vec::new()), Reason::ArmUnreachable)]
#[case::half_a_head(Reply::Bytes(b"HTTP/1.1 200 OK\r\ncont".to_vec()), Reason::ArmUnreachable)]
#[case::garbage(Reply::Bytes(b"\x00\x01garbage\r\n\r\n".to_vec()), Reason::ArmUnreachable)]
#[case::truncated(Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"id\":".to_vec()), Reason::AnswerUnreadable)]
#[case::half_a_document(reply(200, &[], r#"{"id":"#), Reason::AnswerUnreadable)]
#[case::html(reply(200, &[], "<html>"), Reason::AnswerUnreadable)]
#[case::another_machine(reply(200, &[], &machine_json().replace("/web", "/other")), Reason::AnswerUnreadable)]
#[case::endless(Reply::Endless, Reason::AnswerUnreadable)]
#[case::server_error(reply(502, &[], "<html>Bad Gateway</html>"), Reason::ArmFailed)]
#[case::redirect(reply(307, &[("Location", "https://evil.example/?sig=x")], ""), Reason::ForeignHost)]
#[case::redirect_home(reply(301, &[("Location", "/elsewhere")], ""), Reason::ForeignHost)]
#[tokio::test]
async fn a_patch_with_no_clear_answer_is_of_unknown_outcome_and_sent_once(
    #[case] answer: Reply,
    #[case] reason: Reason,
) {
    let server = Server::start([answer]).await;
    let error = patch(&server.arm().0, "{}", None).await.expect_err("no clear answer");
    assert_eq!((error.reason(), error.refused()), (reason, false), "{error}");
    assert_eq!(server.requests().len(), 1, "nothing is sent twice, or elsewhere");
    assert!(!format!("{error:?} {}", crate::arm::chain(&error)).contains("sig="));
}

#[tokio::test]
async fn an_answer_that_never_comes_is_given_up() {
    let server = Server::start([Reply::Silence]).await;
    let mut settings = Settings::new(&server.origin, None).expect("loopback");
    settings.request_timeout = Duration::from_millis(200);
    let arm = Arm::new(settings, Arc::new(crate::arm::scripted::Counting::default()), ()).expect("a client");
    let error = patch(&arm, "{}", None).await.expect_err("silence");
    assert_eq!((error.reason(), error.refused()), (Reason::ArmUnreachable, false));
}

#[tokio::test]
async fn a_connection_refused_means_that_nothing_was_sent() {
    // Bound, so that nobody else gets the port, but not listening.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let origin = format!("http://{}", socket.local_addr().expect("bound"));
    let settings = Settings::new(&origin, None).expect("loopback");
    let arm = Arm::new(settings, Arc::new(crate::arm::scripted::Counting::default()), ()).expect("a client");
    let error = patch(&arm, "{}", None).await.expect_err("nobody listens");
    assert_eq!((error.reason(), error.refused()), (Reason::ArmUnreachable, true), "{error:?}");
}

#[rstest]
#[case::one_target(r#"{"error":{"code":"TooManyRequests","message":"m"}}"#, Bucket::ResourceGets, true)]
#[case::the_subscription(
    r#"{"error":{"code":"SubscriptionRequestsThrottled","message":"m"}}"#,
    Bucket::SubscriptionReads,
    false
)]
#[case::the_providers_policy(
    r#"{"error":{"code":"OperationNotAllowed","message":"m","details":[{"code":"TooManyRequests","target":"LowCostGetSubscriptionMaximum"}]}}"#,
    Bucket::VmGets,
    false
)]
#[case::a_policy_in_the_message(
    r#"{"error":{"code":"OperationNotAllowed","message":"m","details":[{"message":"{\"operationGroup\":\"LowCostGetResource\"}"}]}}"#,
    Bucket::ResourceGets,
    true
)]
#[case::a_policy_unknown_to_us(
    r#"{"error":{"code":"OperationNotAllowed","message":"m","details":[{"target":"NewSubscriptionMaximum"}]}}"#,
    Bucket::VmGets,
    false
)]
#[case::says_nothing("", Bucket::ResourceGets, true)]
#[tokio::test]
async fn a_429_closes_one_bucket_until_retry_after(
    #[case] body: &str,
    #[case] closed: Bucket,
    #[case] other_open: bool,
) {
    let other = VM.replace("/web", "/other");
    let server = Server::start([
        reply(429, &[("Retry-After", "30")], body),
        reply(200, &[], &machine_json().replace("/web", "/other")),
    ])
    .await;
    let (arm, _) = server.arm();
    let first = arm.machine(&vm()).await.expect_err("429");
    assert_eq!(first.class(), Class::Throttled(Duration::from_secs(30)));

    let second = arm.machine(&vm()).await.expect_err("still closed");
    assert!(matches!(second, ArmError::Throttled { bucket, told: None, .. } if bucket == closed), "{second:?}");
    assert_eq!(server.requests().len(), 1, "a closed bucket is not asked");

    let other: TargetId = other.parse().expect("an id");
    assert_eq!(arm.machine(&other).await.is_ok(), other_open);
}

#[tokio::test]
async fn what_arm_has_left_is_believed_on_every_answer() {
    let left = |status, reads: &str, gets: u32| {
        let gets = format!(
            "Microsoft.Compute/LowCostGetSubscriptionMaximum;23999,Microsoft.Compute/LowCostGetResource;{gets}"
        );
        let headers = [
            ("x-ms-ratelimit-remaining-subscription-reads", reads),
            ("x-ms-ratelimit-remaining-resource", gets.as_str()),
        ];
        reply(status, &headers, &machine_json())
    };
    let server = Server::start([left(200, "120", 35), left(404, "90", 11)]).await;
    let (arm, _) = server.arm();
    let of = |bucket| arm.remaining().into_iter().find(|(known, _)| *known == bucket).expect("every kind").1;
    arm.machine(&vm()).await.expect("answered");
    assert!((70.0..75.0).contains(&of(Bucket::SubscriptionReads)), "120, less the 50 that are not ours");
    assert!((27.0..28.0).contains(&of(Bucket::ResourceGets)), "our share, less one");
    arm.machine(&vm()).await.expect_err("404");
    assert!((40.0..45.0).contains(&of(Bucket::SubscriptionReads)));
    assert!((3.8..4.0).contains(&of(Bucket::ResourceGets)), "11, less a fifth of 36");
}

#[rstest]
#[case::running(reply(200, &[("Retry-After", "20")], r#"{"status":"InProgress"}"#), "Running { retry_after: Some(20s) }")]
#[case::done(reply(200, &[], r#"{"status":"Succeeded"}"#), "Succeeded")]
#[case::lost(error(404, "NotFound"), "Lost")]
#[case::accepted_still(reply(202, &[], ""), "Running { retry_after: None }")]
#[tokio::test]
async fn an_operation_is_asked_where_it_said(#[case] answer: Reply, #[case] progress: &str) {
    let server = Server::start([answer]).await;
    let address = format!("{}/subscriptions/s/operations/1?p=1&c=MII-_A%2Fb%3D&s=a~b", server.origin);
    let operation = Operation::new(&vm(), &address, None);
    let found = server.arm().0.poll(&operation).await.expect("answered");
    assert_eq!(format!("{found:?}"), progress);
    let asked = "GET /subscriptions/s/operations/1?p=1&c=MII-_A%2Fb%3D&s=a~b HTTP/1.1";
    assert!(server.requests()[0].starts_with(asked), "{}", server.requests()[0]);
}

#[tokio::test]
async fn an_operation_elsewhere_is_not_asked() {
    let server = Server::start([]).await;
    let elsewhere = Server::start([]).await;
    let (arm, credential) = server.arm();
    for address in
        [elsewhere.origin.clone() + "/operations/1", "//127.0.0.1:1/x".into(), "https://evil.example/x?s=1".into()]
    {
        let error = arm.poll(&Operation::new(&vm(), &address, None)).await.expect_err("elsewhere");
        assert_eq!(error.reason(), Reason::ForeignHost, "{error}");
    }
    assert!(elsewhere.requests().is_empty() && server.requests().is_empty());
    assert_eq!(credential.count(), 0, "not even a token is fetched");
}

#[tokio::test]
async fn a_group_tells_who_manages_it() {
    let server = Server::start([reply(200, &[], r#"{"managedBy":"/x"}"#), reply(200, &[], "{}")]).await;
    let (arm, _) = server.arm();
    assert_eq!(arm.group_managed_by(&vm()).await.expect("answered"), Some("/x".into()));
    assert_eq!(arm.group_managed_by(&vm()).await.expect("answered"), None);
    let path = "GET /subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop?api-version=2021-04-01 ";
    assert!(server.requests()[0].starts_with(path), "{}", server.requests()[0]);
}

#[tokio::test]
async fn names_are_encoded_by_segment() {
    let target: TargetId = VM.replace("/shop/", "/büro(1)+/").parse().expect("an id");
    let server = Server::start([]).await;
    server.arm().0.machine(&target).await.expect_err("nothing scripted");
    assert!(server.requests()[0].contains("/resourceGroups/b%C3%BCro(1)+/providers/"), "{}", server.requests()[0]);
}

#[tokio::test]
async fn every_exchange_is_observed_and_nothing_secret_is_shown() {
    struct Seen(Arc<std::sync::Mutex<Vec<String>>>);
    impl Observer for Seen {
        fn exchanged(&self, e: &crate::arm::Exchange) {
            let line = format!("{} {} {:?}", e.method, e.bucket.as_str(), e.status);
            self.0.lock().expect("no panic").push(line);
        }

        fn throttled(&self, bucket: Bucket) {
            self.0.lock().expect("no panic").push(format!("429 {}", bucket.as_str()));
        }
    }
    let throttled = error(429, "SubscriptionRequestsThrottled");
    let server = Server::start([ok(&[]), error(412, "PreconditionFailed"), throttled]).await;
    let seen: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let settings = Settings::new(&server.origin, None).expect("loopback");
    let credential = Arc::new(crate::arm::scripted::Counting::default());
    let arm = Arm::new(settings, credential, Seen(seen.clone())).expect("a client");
    arm.machine(&vm()).await.expect("answered");
    patch(&arm, "{}", None).await.expect_err("412");
    arm.machine(&vm()).await.expect_err("429");
    let expected = [
        "GET resource-gets Some(200)",
        "PATCH resource-updates Some(412)",
        "GET resource-gets Some(429)",
        "429 subscription-reads",
    ];
    assert_eq!(*seen.lock().expect("no panic"), expected);
    assert!(!format!("{arm:?}").contains("secret"));
}

const IDENTITY: &str = "/subscriptions/00000000-0000-0000-0000-000000000002/resourceGroups/ids/providers/Microsoft.ManagedIdentity/userAssignedIdentities/shop-db";

fn identity(id: &str, properties: &str) -> Reply {
    reply(200, &[], &format!(r#"{{"id":"{id}","properties":{properties}}}"#))
}

fn principal(id: &str) -> Principal {
    Principal { principal_id: Some(id.into()), client_id: None }
}

#[rstest]
#[case::there(identity(&IDENTITY.to_lowercase(), r#"{"principalId":"p"}"#), Some(Asked::There(principal("p"))))]
#[case::without_a_principal(identity(IDENTITY, "{}"), Some(Asked::There(Principal::default())))]
#[case::missing(error(404, "ResourceNotFound"), Some(Asked::Missing))]
#[case::its_group_missing(error(404, "ResourceGroupNotFound"), Some(Asked::Missing))]
#[case::another_404(reply(404, &[], "no such page"), Some(Asked::Hidden))]
#[case::forbidden(error(403, "AuthorizationFailed"), Some(Asked::Hidden))]
#[case::another_one(identity("/subscriptions/else", "{}"), None)]
#[case::broken(error(400, "Nonsense"), None)]
#[tokio::test]
async fn an_identity_is_asked_for_by_itself(#[case] answer: Reply, #[case] found: Option<Asked>) {
    let server = Server::start([answer]).await;
    assert_eq!(server.arm().0.identity(&IDENTITY.parse().expect("an id")).await.ok(), found);
    let request = &server.requests()[0];
    assert!(request.starts_with(&format!("GET {IDENTITY}?api-version=2023-01-31 HTTP/1.1")), "{request}");
}

#[tokio::test]
async fn an_identity_of_an_unknown_form_is_not_asked_for() {
    let server = Server::start([]).await;
    let strange = IdentityId::told_by_arm("/subscriptions/../../elsewhere?x=1");
    assert_eq!(server.arm().0.identity(&strange).await.ok(), Some(Asked::Hidden));
    assert!(server.requests().is_empty());
}

mod identities {
    use super::*;
    use lanyard_domain::IdentityId;
    use lanyard_domain::identity::{AnswerToPut, Tags};

    const DB: &str = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/db1";

    fn db() -> IdentityId {
        DB.parse().expect("an id")
    }

    fn shown(more: &str) -> String {
        let id = DB.replace("resourceGroups", "resourcegroups");
        format!(
            r#"{{"id":"{id}","location":"westeurope","properties":{{"principalId":"p","clientId":"c","tenantId":"t"}}{more}}}"#
        )
    }

    #[tokio::test]
    async fn a_put_says_whether_it_made_the_identity_and_is_not_repeated() {
        for (status, was) in [(201, AnswerToPut::Made), (200, AnswerToPut::WasThere)] {
            let server = Server::start([reply(status, &[], &shown(r#","tags":{"A":"1"}"#))]).await;
            let tags: Tags = [("team", "shop")].into_iter().collect();
            let written = server.arm().0.put_identity(&db(), "westeurope", &tags, ID).await.expect("answered");
            assert_eq!(written.answer.0, was);
            assert_eq!(written.answer.1.tags.get("a"), Some("1"));
            let request = &server.requests()[0];
            assert!(request.starts_with(&format!("PUT {DB}?api-version=2023-01-31")), "{request}");
            assert!(request.ends_with(r#"{"location":"westeurope","tags":{"team":"shop"}}"#), "{request}");
        }
        let server = Server::start([error(401, "ExpiredAuthenticationToken"), reply(201, &[], &shown(""))]).await;
        let refused = server.arm().0.put_identity(&db(), "westeurope", &Tags::default(), ID).await;
        assert!(matches!(refused, Err(ArmError::TokenReplaced { .. })), "{refused:?}");
        assert_eq!(server.requests().len(), 1, "its record is written anew first");
    }

    #[tokio::test]
    async fn an_identity_that_does_not_tell_who_it_is_is_not_understood() {
        let unlike = [
            shown("").replace(r#""principalId":"p","#, ""),
            shown(r#","tags":{"a":7}"#),
            shown("").replace("/db1", "/db2"),
        ];
        for body in unlike {
            let server = Server::start([reply(200, &[], &body)]).await;
            let answer = server.arm().0.user_identity(&db()).await;
            assert!(matches!(answer, Err(ArmError::AnswerUnreadable { .. })), "{body}: {answer:?}");
        }
    }

    #[rstest]
    #[case::the_identity(
        404,
        r#"{"error":{"code":"ResourceNotFound","message":"The Resource 'Microsoft.ManagedIdentity/userAssignedIdentities/db1' under resource group 'shop' was not found."}}"#,
        true
    )]
    #[case::its_group(404, r#"{"error":{"code":"ResourceGroupNotFound","message":"no"}}"#, true)]
    #[case::the_subscription(404, r#"{"error":{"code":"SubscriptionNotFound","message":"no"}}"#, false)]
    #[case::somebodys_page(404, "<html>not here</html>", false)]
    #[tokio::test]
    async fn only_arms_own_word_says_that_an_identity_is_not_there(
        #[case] status: u16,
        #[case] body: &str,
        #[case] missing: bool,
    ) {
        let server = Server::start([reply(status, &[], body)]).await;
        let answer = server.arm().0.user_identity(&db()).await.expect_err("an error");
        assert_eq!(matches!(answer, ArmError::NotFound { .. }), missing, "{answer:?}");
    }
}
