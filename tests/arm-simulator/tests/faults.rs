//! Every fault, seen from the client's side and in the truth.
mod support;

use arm_simulator::{Actor, Effect, Fault, ForeignAct, Listener, Outcome, Pace, When};
use reqwest::Method;
use serde_json::{Value, json};
use support::{Arm, SUB, got};

fn tags() -> Value {
    json!({"tags": {"a": "b"}})
}

/// The PATCH of somebody who may get no answer.
async fn send(arm: &Arm, path: &str, etag: &str) -> Result<support::Got, reqwest::Error> {
    let request = arm.request(Method::PATCH, path).header("if-match", etag);
    match request.json(&tags()).send().await {
        Ok(response) => Ok(got(response).await),
        Err(why) => Err(why),
    }
}

#[tokio::test]
async fn a_lost_request_has_no_effect_and_a_lost_reply_has_one() {
    let arm = Arm::quick().await;
    let vm = arm.sim.vm(SUB, "shop", "web").create();
    arm.sim.fault(Fault::new("PATCH", "/web", Effect::LoseRequest {}));
    assert!(send(&arm, &vm.id(), "\"1\"").await.is_err());
    assert_eq!(vm.etag(), "\"1\"");
    arm.sim.fault(Fault::new("PATCH", "/web", Effect::LoseReply {}));
    assert!(send(&arm, &vm.id(), "\"1\"").await.is_err());
    assert_eq!(vm.etag(), "\"2\"");
    let statuses: Vec<_> = vm.patches().iter().map(|patch| patch.status).collect();
    assert_eq!(statuses, [None, None]);
}

#[tokio::test]
async fn a_late_patch_is_judged_when_it_arrives() {
    let arm = Arm::quick().await;
    let vm = arm.sim.vm(SUB, "shop", "web").create();
    let late = Effect::ArriveLate { after_millis: None, hang_millis: 0 };
    arm.sim.fault(Fault::new("PATCH", "/web", late.clone()));
    assert!(send(&arm, &vm.id(), "\"1\"").await.is_err());
    assert_eq!(vm.etag(), "\"1\"");
    assert_eq!(arm.sim.release(), 1);
    assert_eq!(vm.etag(), "\"2\"", "nobody wrote meanwhile: it lands");
    assert!(vm.wait_until_idle().await);

    arm.sim.fault(Fault::new("PATCH", "/web", late));
    assert!(send(&arm, &vm.id(), "\"2\"").await.is_err());
    vm.attach_as_stranger("theirs");
    arm.sim.release();
    assert_eq!(vm.patches().last().and_then(|patch| patch.status), Some(412), "somebody did: it does not");
    assert_eq!(vm.identities(), ["theirs"]);
}

#[tokio::test]
async fn a_late_patch_arrives_by_itself_after_its_time() {
    let arm = Arm::quick().await;
    let vm = arm.sim.vm(SUB, "shop", "web").create();
    let late = Effect::ArriveLate { after_millis: Some(20), hang_millis: 1 };
    arm.sim.fault(Fault::new("PATCH", "/web", late));
    assert!(send(&arm, &vm.id(), "\"1\"").await.is_err());
    for _ in 0..1_000 {
        if vm.etag() == "\"2\"" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    unreachable!("the request never arrived");
}

#[tokio::test]
async fn reads_can_be_old_or_miss_what_is_there() {
    let arm = Arm::quick().await;
    let vm = arm.sim.vm(SUB, "shop", "web").with_identity("a").create();
    vm.attach_as_stranger("b");
    arm.sim.fault(Fault::new("GET", "/web", Effect::StaleRead {}));
    arm.sim.fault(Fault::new("GET", "/web", Effect::Hide {}).skip(1));
    let old = arm.get(&vm.id()).await;
    assert_eq!(old.header("etag"), Some("\"1\""));
    assert_eq!(old.body["identity"]["userAssignedIdentities"].as_object().map(serde_json::Map::len), Some(1));
    assert_eq!(arm.get(&vm.id()).await.code(), "ResourceNotFound");
    assert_eq!(arm.get(&vm.id()).await.header("etag"), Some("\"2\""));
}

#[tokio::test]
async fn answers_can_be_anything_or_break_off() {
    let arm = Arm::quick().await;
    let vm = arm.sim.vm(SUB, "shop", "web").create();
    let answer = Effect::Answer {
        status: 503,
        headers: vec![("Retry-After".into(), "7".into())],
        body: json!({"error": {"code": "ServerBusy", "message": "later"}}),
    };
    arm.sim.fault(Fault::new("GET", "/web", answer).times(2));
    for _ in 0..2 {
        let busy = arm.get(&vm.id()).await;
        assert_eq!((busy.status, busy.code(), busy.header("retry-after")), (503, "ServerBusy", Some("7")));
    }
    arm.sim.fault(Fault::new("GET", "/web", Effect::TruncateBody {}));
    let cut = arm.request(Method::GET, &vm.id()).send().await.expect("headers come");
    assert_eq!(cut.status(), 200);
    assert!(cut.bytes().await.is_err(), "the body does not");
    arm.sim.fault(Fault::new("GET", "/web", Effect::GarbageBody {}));
    let garbage = arm.get(&vm.id()).await;
    assert_eq!((garbage.status, garbage.body), (200, Value::Null));
    arm.sim.fault(Fault::new("GET", "/web", Effect::Slow { millis: 60, after: false }));
    let began = std::time::Instant::now();
    arm.get(&vm.id()).await;
    assert!(began.elapsed().as_millis() >= 60);
}

#[tokio::test]
async fn an_accepted_write_can_fail_and_be_taken_back() {
    let arm = Arm::quick().await;
    let vm = arm.sim.vm(SUB, "shop", "web").create();
    let failed = Outcome::Failed { code: "InternalExecutionError".into(), message: "no".into(), reverts: true };
    arm.sim.fault(Fault::new("PATCH", "/web", Effect::EndOperation(failed)));
    let accepted = arm.patch(&vm.id(), &json!({"identity": {"type": "SystemAssigned"}})).await;
    assert_eq!(accepted.status, 200);
    let end = arm.follow(accepted.operation()).await;
    assert_eq!((&end["status"], &end["error"]["code"]), (&json!("Failed"), &json!("InternalExecutionError")));
    let read = arm.get(&vm.id()).await;
    assert_eq!(read.body["properties"]["provisioningState"], "Failed");
    assert_eq!(vm.system_principal(), None);
    assert!(matches!(vm.history()[1].by, Actor::Rollback(_)));
}

#[tokio::test]
async fn an_operation_can_vanish_or_never_end() {
    let arm = Arm::quick().await;
    let vm = arm.sim.vm(SUB, "shop", "web").create();
    arm.sim.fault(Fault::new("PATCH", "/web", Effect::LoseOperation {}));
    let accepted = arm.patch(&vm.id(), &tags()).await;
    assert_eq!(arm.get_url(accepted.operation()).await.status, 404);
    assert!(vm.wait_until_idle().await);
    arm.sim.fault(Fault::new("PATCH", "/web", Effect::HoldOperation {}));
    let held = arm.patch(&vm.id(), &tags()).await;
    assert_eq!(arm.get_url(held.operation()).await.body["status"], "InProgress");
    assert!(!vm.is_idle());
    arm.sim.finish_operations();
    assert!(vm.is_idle());
}

#[tokio::test]
async fn a_stranger_acts_between_the_read_and_the_write() {
    let arm = Arm::quick().await;
    let vm = arm.sim.vm(SUB, "shop", "web").create();
    let theirs = arm.sim.identity(SUB, "shop", "theirs").create();
    let act = ForeignAct::AddIdentity(theirs.id().to_owned());
    let before = Effect::Foreign { resource: None, act, after: false };
    arm.sim.fault(Fault::new("PATCH", "/web", before));
    let read = arm.get(&vm.id()).await;
    let etag = read.header("etag").expect("an ETag");
    assert_eq!(arm.patch_if(etag, &vm.id(), &tags()).await.status, 412);
    assert_eq!(vm.identities(), ["theirs"]);

    let first = vm.unique_id();
    let act = ForeignAct::Recreate { same_etag: true };
    arm.sim.fault(Fault::new("GET", "/web", Effect::Foreign { resource: None, act, after: true }));
    let read = arm.get(&vm.id()).await;
    assert_eq!(read.body["properties"]["vmId"].as_str(), first.as_deref());
    assert_ne!(vm.unique_id(), first);
    assert_eq!(read.header("etag"), Some(vm.etag().as_str()), "the ETag tells nothing");
}

#[tokio::test]
async fn links_can_lead_to_a_stranger_who_writes_down_what_comes() {
    let arm = Arm::quick().await;
    arm.sim.set(|settings| settings.page_size = 1);
    let vm = arm.sim.vm(SUB, "shop", "web").create();
    arm.sim.vm(SUB, "shop", "web-2").create();
    let origin = arm.sim.endpoints().stranger_https.clone();
    let when = When { path: "virtualMachines".into(), times: None, ..When::default() };
    let then = Effect::LinkTo { origin: origin.clone() };
    arm.sim.fault(Fault { when, then });
    let accepted = arm.patch(&vm.id(), &tags()).await;
    assert!(accepted.operation().starts_with(&origin));
    let list = format!("/subscriptions/{SUB}/providers/Microsoft.Compute/virtualMachines");
    let page = arm.get(&list).await;
    assert!(page.body["nextLink"].as_str().is_some_and(|link| link.starts_with(&origin)));
    arm.get_url(accepted.operation()).await;
    let seen = arm.sim.journal();
    let heard = seen.iter().find(|exchange| exchange.listener == Listener::Stranger);
    let told = heard.and_then(|exchange| exchange.request_headers.get("authorization"));
    assert!(told.is_some_and(|text| text.starts_with("Bearer (")), "{told:?}");
    arm.sim.clear_faults();
    let redirect = Effect::Redirect { status: 307, location: origin.clone() };
    arm.sim.fault(Fault::new("GET", "/web", redirect));
    assert_eq!(arm.get(&vm.id()).await.header("location"), Some(origin.as_str()));
}

#[tokio::test]
async fn faults_keep_to_their_path() {
    let arm = Arm::quick().await;
    let (one, two) = (arm.sim.vm(SUB, "shop", "one").create(), arm.sim.vm(SUB, "shop", "two").create());
    let fault = Fault::new("GET", &one.id(), Effect::Hide {}).always();
    let number = arm.sim.fault(fault);
    assert_eq!(arm.get(&two.id()).await.status, 200);
    assert_eq!(arm.get(&one.id()).await.status, 404);
    arm.sim.disarm(number);
    assert_eq!(arm.get(&one.id()).await.status, 200);
}

#[tokio::test]
async fn buckets_run_dry_and_say_so() {
    let arm = Arm::quick().await;
    arm.sim.set(|settings| settings.operations = Pace::Fixed { millis: 0 });
    let vm = arm.sim.vm(SUB, "shop", "web").create();
    let first = arm.patch(&vm.id(), &tags()).await;
    let told = "Microsoft.Compute/UpdateVMSubscriptionMaximum;1499,Microsoft.Compute/UpdateVMResource;11";
    assert_eq!(first.header("x-ms-ratelimit-remaining-resource"), Some(told));
    assert_eq!(first.header("x-ms-ratelimit-remaining-subscription-global-writes"), Some("2999"));
    assert_eq!(first.header("x-ms-ratelimit-remaining-subscription-writes"), Some("199"));
    for _ in 0..11 {
        assert_eq!(arm.patch(&vm.id(), &tags()).await.status, 200);
    }
    let refused = arm.patch(&vm.id(), &tags()).await;
    assert_eq!((refused.status, refused.code()), (429, "OperationNotAllowed"));
    assert_eq!(refused.body["error"]["details"][0]["code"], "TooManyRequests");
    let wait: u64 = refused.header("retry-after").expect("a pause").parse().expect("seconds");
    assert!((1..=15).contains(&wait), "{wait}");
}
