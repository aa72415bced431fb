//! What ARM really answered is read: tests over the recordings in the folder that `ARM_RECORDINGS` names.
use super::classify::{Failure, Pause};
use super::operation::{Operation, Progress, progress};
use super::told::ErrorBody;
use super::{ArmError, wire};
use lanyard_domain::quota::Bucket;
use lanyard_domain::reason::Reason;
use lanyard_domain::{ETag, TargetId};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use url::Url;

/// The exchanges of all files whose name begins so, or nothing and a word about it.
fn exchanges(prefix: &str) -> Vec<Value> {
    let Ok(folder) = std::env::var("ARM_RECORDINGS") else {
        eprintln!("skipped: ARM_RECORDINGS names no folder");
        return Vec::new();
    };
    let files = std::fs::read_dir(Path::new(&folder)).expect("the folder of recordings");
    let paths = files.map(|entry| entry.expect("an entry").path());
    let chosen = paths.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    let texts = chosen.filter(|path| path.extension().is_some_and(|e| e == "jsonl")).map(std::fs::read_to_string);
    let all: Vec<Value> = texts
        .flat_map(|text| text.expect("readable").lines().map(str::to_owned).collect::<Vec<_>>())
        .map(|line| serde_json::from_str(&line).expect("a JSON line"))
        .collect();
    assert!(!all.is_empty(), "{folder} holds no {prefix}*.jsonl");
    all
}

fn body(exchange: &Value) -> Vec<u8> {
    match &exchange["response_body"] {
        Value::Null => Vec::new(),
        Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    }
}

fn header<'a>(exchange: &'a Value, name: &str) -> Option<&'a str> {
    let headers = exchange["response_headers"].as_object()?;
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?.1.as_str()
}

/// The machine that was asked, if the exchange is about one.
fn target(exchange: &Value) -> Option<TargetId> {
    let url = Url::parse(exchange["url"].as_str()?).ok()?;
    let path = url.path();
    path.parse().ok()
}

#[test]
fn every_recorded_machine_is_read_with_all_its_identities() {
    let mut read = 0;
    for exchange in exchanges("a") {
        let answered = matches!(exchange["status"].as_u64(), Some(200 | 201)) && exchange["method"] != "DELETE";
        let Some(target) = target(&exchange).filter(|_| answered) else { continue };
        let live = wire::machine(&target, &body(&exchange), header(&exchange, "etag")).expect("readable");
        let identity = &exchange["response_body"]["identity"];
        let map = identity["userAssignedIdentities"].as_object().map_or(0, serde_json::Map::len);
        let list = identity["identityIds"].as_array().map_or(0, Vec::len);
        assert_eq!(live.user.len(), map + list, "{}", exchange["url"]);
        let system = identity["type"].as_str().is_some_and(|kind| kind.contains("SystemAssigned"));
        assert_eq!(live.system.is_some(), system, "{}", exchange["url"]);
        if exchange["url"].as_str().is_some_and(|url| url.ends_with("2024-07-01")) {
            let header = header(&exchange, "etag").map(|etag| ETag(etag.into()));
            assert!(live.etag.is_some() && live.unique_id.is_some(), "{}", exchange["url"]);
            assert!(header.is_none() || header == live.etag, "body and header are written alike");
        }
        read += 1;
    }
    eprintln!("{read} recorded machines were read");
}

#[test]
fn every_recorded_operation_is_followed_verbatim() {
    for exchange in exchanges("a") {
        if let Some(address) = header(&exchange, "azure-asyncoperation") {
            let endpoint = Url::parse("https://management.azure.com").expect("an URL");
            let target = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/v";
            let operation = Operation::new(&target.parse().expect("an id"), address, None);
            assert_eq!(operation.url(&endpoint).expect("at home").as_str(), address);
        }
        let polled = exchange["url"].as_str().is_some_and(|url| url.contains("/operations/"));
        if polled && exchange["status"] == 200 && exchange["response_body"]["status"].is_string() {
            let target = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/v";
            let found = progress(&target.parse().expect("an id"), &body(&exchange), None).expect("readable");
            let done = exchange["response_body"]["status"] == "Succeeded";
            assert_eq!(matches!(found, Progress::Succeeded), done);
        }
    }
}

fn classified(exchange: &Value) -> ArmError {
    let status = exchange["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    let status = status.filter(|status| *status != 200);
    let failure = Failure { asked: "/x", status, body: ErrorBody::read(&body(exchange)), correlation_id: None };
    failure.classify(|_| Pause { bucket: Bucket::ResourceGets, pause: Duration::from_secs(1) })
}

#[test]
fn every_recorded_error_is_known() {
    for exchange in exchanges("ERRORS-") {
        let error = classified(&exchange);
        let code = exchange["response_body"]["error"]["code"].as_str().unwrap_or_default();
        let known = match code {
            "ResourceNotFound" if exchange["url"].as_str().is_some_and(|url| url.contains("ManagedIdentity/u")) => {
                Some(Reason::IdentityNotFound)
            }
            "ResourceNotFound" | "ResourceGroupNotFound" | "ParentResourceNotFound" => Some(Reason::TargetNotFound),
            "NotFound" => Some(Reason::SubscriptionNotFound),
            "InternalResourceIdentityError" | "BadGatewayConnection" | "ResourceReadFailed" => Some(Reason::ArmFailed),
            "MissingIdentityIds" | "InvalidIdentityValues" | "InvalidParameter" => Some(Reason::RequestRejected),
            "LinkedAuthorizationFailed" => Some(Reason::AssignRefused),
            "FailedIdentityOperation" if error.to_string().contains("150") => Some(Reason::RequestRejected),
            "FailedIdentityOperation" => Some(Reason::IdentityNotFound),
            "PreconditionFailed" => Some(Reason::TargetChanged),
            "Conflict" | "ConflictingConcurrentWriteNotAllowed" | "OperationPreempted" => Some(Reason::TargetBusy),
            "OperationNotAllowed" if exchange["status"] == 409 => Some(Reason::TargetBeingDeleted),
            "ScopeLocked" => Some(Reason::ScopeLocked),
            "OperationNotAllowed" | "SubscriptionRequestsThrottled" | "ResourceRequestsThrottled" => {
                Some(Reason::Throttled)
            }
            _ => None,
        };
        let expected = known.expect(code);
        assert_eq!(error.reason(), expected, "{code}: {error}");
    }
}

#[test]
fn the_identities_in_recorded_refusals_are_found() {
    let named = |code: &str| -> Vec<usize> {
        let of_code = exchanges("ERRORS-from-issues").into_iter();
        of_code
            .filter(|exchange| exchange["response_body"]["error"]["code"] == code)
            .map(|exchange| classified(&exchange).named_identities().len())
            .collect()
    };
    if std::env::var("ARM_RECORDINGS").is_ok() {
        assert_eq!(named("LinkedAuthorizationFailed"), [2]);
        assert_eq!(named("FailedIdentityOperation"), [1, 0], "one is not found; one is beyond the limit");
    }
}
