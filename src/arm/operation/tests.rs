use super::*;
use crate::arm::scripted::vm;
use lanyard_domain::pace::Class;
use lanyard_domain::reason::Reason;
use rstest::rstest;

fn url(endpoint: &str, address: &str) -> Result<String, Reason> {
    let endpoint = Url::parse(endpoint).expect("an endpoint");
    let operation = Operation::new(&vm(), address, None);
    operation.url(&endpoint).map(String::from).map_err(|error| error.reason())
}

#[rstest]
#[case::own("https://arm.example", "https://arm.example/o?s=1", Some("https://arm.example/o?s=1"))]
#[case::case_of_the_host("https://arm.example", "https://ARM.example:443/o", Some("https://arm.example/o"))]
#[case::relative("https://arm.example", "/o?s=1", Some("https://arm.example/o?s=1"))]
#[case::other_host("https://arm.example", "https://evil.example/o", None)]
#[case::host_by_suffix("https://arm.example", "https://arm.example.evil.example/o", None)]
#[case::other_port("https://arm.example", "https://arm.example:8443/o", None)]
#[case::other_scheme("https://arm.example", "http://arm.example/o", None)]
#[case::without_scheme("https://arm.example", "//evil.example/o", None)]
#[case::backslashes("https://arm.example", "\\\\evil.example/o", None)]
#[case::user("https://arm.example", "https://arm.example@evil.example/o", None)]
#[case::user_at_home("https://arm.example", "https://u:p@arm.example/o", None)]
#[case::no_host("https://arm.example", "data:text/plain,x", None)]
fn a_token_goes_to_the_endpoint_alone(#[case] endpoint: &str, #[case] address: &str, #[case] asked: Option<&str>) {
    assert_eq!(url(endpoint, address), asked.map(str::to_owned).ok_or(Reason::ForeignHost));
}

#[test]
fn a_long_signed_url_is_sent_as_it_came() {
    let certificate = "MIIHhzCCBm-gAw_".repeat(250);
    let address = format!("https://arm.example/subscriptions/s/op?p=e6&t=63&c={certificate}&s=Vj-f%2Bo%3d~.!*()'&h=Iu");
    assert_eq!(url("https://arm.example", &address).as_deref(), Ok(address.replace('\'', "%27").as_str()));
    let signed = address.replace('\'', "");
    assert_eq!(url("https://arm.example", &signed), Ok(signed));
}

#[test]
fn its_debug_shows_no_signature() {
    let operation = Operation::new(&vm(), "https://arm.example/operations/o-1?c=secret&s=secret", None);
    let shown = format!("{operation:?}");
    assert!(shown.contains("o-1") && !shown.contains("secret"), "{shown}");
}

fn failed(body: &str) -> ArmError {
    let found = progress(&vm(), body.as_bytes(), None).expect("readable");
    if let Progress::Failed(error) = found { Some(error) } else { None }.expect("failed")
}

#[rstest]
#[case::preempted(
    r#"{"status":"Failed","error":{"code":"OperationPreempted","message":"m"}}"#,
    Reason::TargetBusy,
    Class::Transient
)]
#[case::canceled(r#"{"status":"Canceled"}"#, Reason::OperationFailed, Class::Transient)]
#[case::unknown(r#"{"status":"Failed","error":{"code":"X","message":"m"}}"#, Reason::OperationFailed, Class::Transient)]
#[case::our_fault(r#"{"status":"Failed","error":{"code":"InvalidParameter"}}"#, Reason::OperationFailed, Class::Defect)]
#[case::policy(
    r#"{"status":"failed","error":{"code":"RequestDisallowedByPolicy"}}"#,
    Reason::PolicyDenied,
    Class::Refused
)]
#[case::error_is_odd(r#"{"status":"Failed","error":"boom"}"#, Reason::OperationFailed, Class::Transient)]
fn a_failed_operation_means_what_its_cause_means(#[case] body: &str, #[case] reason: Reason, #[case] class: Class) {
    let error = failed(body);
    assert_eq!((error.reason(), error.class()), (reason, class));
    assert!(!error.refused(), "it was accepted, and may have changed something");
}

#[rstest]
#[case("[]")]
#[case("{}")]
#[case(r#"{"status":7}"#)]
#[case("<html>")]
fn a_poll_that_says_nothing_is_unreadable(#[case] body: &str) {
    progress(&vm(), body.as_bytes(), None).expect_err("unreadable");
}
