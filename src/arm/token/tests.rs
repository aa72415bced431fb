use super::*;
use crate::arm::scripted::Counting;
use azure_core::time::Duration as Span;
use rstest::rstest;

fn tokens() -> (Arc<Tokens>, Arc<Counting>) {
    let credential = Arc::new(Counting::default());
    (Arc::new(Tokens::new(credential.clone(), "https://arm.example")), credential)
}

async fn crowd(tokens: &Arc<Tokens>) -> Vec<Result<Bearer, TokenError>> {
    futures::future::join_all((0..100).map(|_| tokens.bearer())).await
}

#[tokio::test]
async fn a_crowd_shares_one_token() {
    let (tokens, credential) = tokens();
    assert!(crowd(&tokens).await.iter().all(|bearer| bearer.as_ref().is_ok_and(|b| b.header() == "Bearer secret-1")));
    assert_eq!(credential.count(), 1);
}

#[tokio::test]
async fn a_crowd_shares_one_failure() {
    let (tokens, credential) = tokens();
    *credential.fails.lock().expect("no panic") = Some("700016");
    assert!(
        crowd(&tokens)
            .await
            .iter()
            .all(|bearer| { bearer.as_ref().is_err_and(|error| error.problem == TokenProblem::WrongTenant) })
    );
    assert_eq!(credential.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_replaced_before_it_expires_and_used_up_if_that_fails() {
    let (tokens, credential) = tokens();
    // Short of what is fetched early for, and yet more than a token is given at least.
    let soon = || tokio::time::advance(Duration::from_secs(90));
    *credential.lives.lock().expect("no panic") = Some(Span::minutes(4));
    assert_eq!(tokens.bearer().await.expect("a token").header(), "Bearer secret-1");
    soon().await;
    assert_eq!(tokens.bearer().await.expect("a token").header(), "Bearer secret-2");
    *credential.fails.lock().expect("no panic") = Some("90033");
    soon().await;
    for _ in 0..3 {
        assert_eq!(tokens.bearer().await.expect("still good").header(), "Bearer secret-2");
    }
    assert_eq!(credential.count(), 3, "the failure is remembered");
}

#[rstest]
#[case::behind(Span::days(400))]
#[case::ahead(Span::days(-400))]
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_wrong_keeps_no_token_from_being_used_and_replaced(#[case] lives: Span) {
    let (tokens, credential) = tokens();
    *credential.lives.lock().expect("no panic") = Some(lives);
    assert!(crowd(&tokens).await.iter().all(Result::is_ok));
    assert!(crowd(&tokens).await.iter().all(Result::is_ok));
    assert_eq!(credential.count(), 1, "not one for each request");
    tokio::time::advance(Duration::from_secs(25 * 60 * 60)).await;
    assert!(tokens.bearer().await.is_ok());
    assert_eq!(credential.count(), 2);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_for_all_that_held_it() {
    let (tokens, credential) = tokens();
    let old = tokens.bearer().await.expect("a token");
    for _ in 0..10 {
        assert!(matches!(tokens.replace(&old).await, Ok(Replacement::New)));
    }
    let new = tokens.bearer().await.expect("a token");
    assert!(matches!(tokens.replace(&new).await, Ok(Replacement::TooSoon)));
    assert_eq!(credential.count(), 2);
}

#[tokio::test]
async fn a_young_token_is_kept_when_grants_are_waited_for() {
    let (tokens, credential) = tokens();
    tokens.bearer().await.expect("a token");
    tokens.renew_if_older(Duration::from_secs(600)).await.expect("kept");
    assert_eq!(credential.count(), 1);
    tokens.renew_if_older(Duration::ZERO).await.expect("renewed");
    assert_eq!(credential.count(), 2);
}

#[rstest]
#[case("AADSTS7000215: Invalid client secret provided.", TokenProblem::Rejected, "AZURE_CLIENT_SECRET")]
#[case("AADSTS90002: Tenant 'x' not found.", TokenProblem::WrongTenant, "AZURE_TENANT_ID")]
#[case("AADSTS700211: No matching federated identity record found", TokenProblem::Rejected, "issuer")]
#[case("AADSTS1: something new", TokenProblem::Rejected, "something new")]
#[case("AADSTS90033: A transient error has occurred.", TokenProblem::Unavailable, "try again")]
#[case("connection refused", TokenProblem::Unavailable, "connection refused")]
fn codes_are_said_in_plain_words(#[case] message: &'static str, #[case] problem: TokenProblem, #[case] said: &str) {
    let error = TokenError::of(&azure_core::Error::with_message(ErrorKind::Credential, message));
    assert_eq!(error.problem, problem);
    assert!(error.to_string().contains(said), "{error}");
}

#[tokio::test]
async fn no_debug_shows_a_token() {
    let (tokens, _) = tokens();
    let bearer = tokens.bearer().await.expect("a token");
    assert!(!format!("{bearer:?} {:?}", bearer.header()).contains("secret"));
}

#[rstest]
#[case::by_its_number(Some("7000222,50000"), 401, TokenProblem::Rejected, "expired")]
#[case::an_oauth_word(Some("invalid_request"), 400, TokenProblem::Rejected, "no identity here")]
#[case::no_code(None, 401, TokenProblem::Rejected, "no identity here")]
#[case::somebody_in_between(None, 403, TokenProblem::Unavailable, "no identity here")]
#[case::a_failing_server(None, 503, TokenProblem::Unavailable, "no identity here")]
fn an_answer_deep_in_the_chain_is_found(
    #[case] code: Option<&str>,
    #[case] status: u16,
    #[case] problem: TokenProblem,
    #[case] said: &str,
) {
    let answer =
        ErrorKind::HttpResponse { status: status.into(), error_code: code.map(str::to_owned), raw_response: None };
    let answer = azure_core::Error::with_message(answer, "no identity here");
    let error = TokenError::of(&azure_core::Error::with_error(ErrorKind::Credential, answer, "authentication failed"));
    assert_eq!(error.problem, problem, "{error}");
    assert!(error.to_string().contains(said), "{error}");
}

#[rstest]
#[case("failed. x\nTo troubleshoot, visit https://aka.ms/y#z: refused", "failed. x: refused")]
#[case("failed. x\nTo troubleshoot, visit https://aka.ms/y#z", "failed. x")]
#[case("failed", "failed")]
fn the_librarys_link_is_left_out(#[case] text: &str, #[case] plain: &str) {
    assert_eq!(without_link(text), plain);
}
