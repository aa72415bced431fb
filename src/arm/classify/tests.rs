use super::*;
use lanyard_domain::pace::Class;
use lanyard_domain::reason::Reason;
use rstest::rstest;

const A: &str = "/subscriptions/S/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/a";
const B: &str = "/subscriptions/S/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/b";

fn failure(status: u16, body: &str) -> ArmError {
    let failure = Failure {
        asked: "/the/target",
        status: Some(status),
        body: ErrorBody::read(body.as_bytes()),
        correlation_id: None,
    };
    failure.classify(|_| Pause { bucket: Bucket::ResourceGets, pause: Duration::from_secs(9) })
}

fn said(status: u16, code: &str, message: &str) -> ArmError {
    let body = serde_json::json!({"error": {"code": code, "message": message}});
    failure(status, &body.to_string())
}

#[rstest]
#[case(404, "ResourceNotFound", Reason::TargetNotFound, Class::Waiting, true)]
#[case(404, "ResourceGroupNotFound", Reason::TargetNotFound, Class::Waiting, true)]
#[case(404, "ParentResourceNotFound", Reason::TargetNotFound, Class::Waiting, true)]
#[case(404, "SubscriptionNotFound", Reason::SubscriptionNotFound, Class::Refused, true)]
#[case(404, "NotFound", Reason::SubscriptionNotFound, Class::Refused, true)]
#[case(412, "PreconditionFailed", Reason::TargetChanged, Class::Replan, true)]
#[case(409, "Conflict", Reason::TargetBusy, Class::Transient, true)]
#[case(409, "ConflictingConcurrentWriteNotAllowed", Reason::TargetBusy, Class::Transient, true)]
#[case(409, "AnotherOperationInProgress", Reason::TargetBusy, Class::Transient, true)]
#[case(409, "SomethingNew", Reason::TargetBusy, Class::Transient, true)]
#[case(409, "ResourceGroupBeingDeleted", Reason::TargetBeingDeleted, Class::Waiting, true)]
#[case(429, "OperationNotAllowed", Reason::Throttled, Class::Throttled(Duration::from_secs(9)), true)]
#[case(403, "AuthorizationFailed", Reason::AuthorizationFailed, Class::Refused, true)]
#[case(403, "LinkedAuthorizationFailed", Reason::AssignRefused, Class::Refused, true)]
#[case(403, "SomethingNew", Reason::AuthorizationFailed, Class::Refused, true)]
#[case(400, "FailedIdentityOperation", Reason::IdentityNotFound, Class::Refused, true)]
#[case(400, "InvalidIdentityValues", Reason::RequestRejected, Class::Defect, true)]
#[case(400, "MissingIdentityIds", Reason::RequestRejected, Class::Defect, true)]
#[case(405, "MethodNotAllowed", Reason::RequestRejected, Class::Defect, true)]
#[case(409, "ScopeLocked", Reason::ScopeLocked, Class::Refused, true)]
#[case(403, "RequestDisallowedByPolicy", Reason::PolicyDenied, Class::Refused, true)]
#[case(403, "DenyAssignmentAuthorizationFailed", Reason::DenyAssignment, Class::Refused, true)]
#[case(409, "ReadOnlyDisabledSubscription", Reason::SubscriptionReadOnly, Class::Refused, true)]
#[case(409, "MissingSubscriptionRegistration", Reason::ProviderNotRegistered, Class::Refused, true)]
#[case(401, "InvalidAuthenticationToken", Reason::CredentialRejected, Class::Refused, true)]
#[case(401, "InvalidAuthenticationTokenTenant", Reason::WrongTenant, Class::Refused, true)]
#[case(409, "RetryableError", Reason::ArmFailed, Class::Transient, false)]
#[case(408, "RequestTimeout", Reason::ArmFailed, Class::Transient, false)]
#[case(500, "InternalServerError", Reason::ArmFailed, Class::Transient, false)]
#[case(504, "Conflict", Reason::ArmFailed, Class::Transient, false)]
fn each_code_has_its_meaning(
    #[case] status: u16,
    #[case] code: &str,
    #[case] reason: Reason,
    #[case] class: Class,
    #[case] refused: bool,
) {
    let error = said(status, code, "m");
    assert_eq!((error.reason(), error.class(), error.refused()), (reason, class, refused), "{error}");
    assert!(super::super::chain(&error).contains(code), "{error}");
}

#[rstest]
#[case::html("<html>not found</html>")]
#[case::empty("")]
#[case::another_shape(r#"{"code":"ResourceNotFound","message":"m"}"#)]
#[case::another_resource(r#"{"error":{"code":"ResourceNotFound","message":"The Resource 'Microsoft.ManagedIdentity/userAssignedIdentities/a' under resource group 'g' was not found."}}"#)]
fn a_404_of_another_shape_never_means_gone(#[case] body: &str) {
    assert!(!matches!(failure(404, body), ArmError::NotFound { .. }));
}

fn linked(scopes: &str) -> ArmError {
    let message = format!(
        "The client 'X' has permission on scope '{A}x'; however, it does not have permission to perform action 'assign' on the linked scope(s) {scopes} or the linked scope(s) are invalid."
    );
    said(403, "LinkedAuthorizationFailed", &message)
}

#[rstest]
#[case::two(format!("'{A},{B}'"), vec![A, B])]
#[case::blanks_and_case(format!("' {}, {B} '", A.to_uppercase()), vec![A, B])]
#[case::repeated(format!("'{A},{A}'"), vec![A])]
#[case::none(String::new(), vec![])]
#[case::other_types("'/subscriptions/S/resourceGroups/g/providers/Microsoft.Compute/disks/d'".into(), vec![])]
fn only_linked_identities_are_named(#[case] scopes: String, #[case] ids: Vec<&str>) {
    let expected: Vec<_> = ids.into_iter().map(IdentityId::told_by_arm).collect();
    assert_eq!(linked(&scopes).named_identities(), expected);
}

#[rstest]
#[case::not_found(format!(r#"Response: '{{"error":{{"code":"BadRequest","message":"Resource '{A}' was not found."}}}}'."#), Reason::IdentityNotFound)]
#[case::too_many("Response: '{\"error\":{\"message\":\"User Assigned Identities Number '151' Assign exceed limit '150' in one request.\"}}'".into(), Reason::RequestRejected)]
#[case::passing("Failed to perform resource identity operation. Status: 'InternalServerError'. Response: ''".into(), Reason::TargetBusy)]
fn a_failed_identity_operation_says_why(#[case] message: String, #[case] reason: Reason) {
    let error = said(400, "FailedIdentityOperation", &message);
    assert_eq!(error.reason(), reason, "{error}");
    let named = matches!(reason, Reason::IdentityNotFound).then(|| IdentityId::told_by_arm(A));
    assert_eq!(error.named_identities().first(), named.as_ref());
}

#[rstest]
#[case(
    403,
    "AuthorizationFailed",
    "The client 'c' does not have authorization to perform action 'Microsoft.Compute/virtualMachines/write' over scope '/s/vm' or the scope is invalid.",
    "Microsoft.Compute/virtualMachines/write on /s/vm"
)]
#[case(
    409,
    "ScopeLocked",
    "cannot perform write operation because following scope(s) are locked: '/s/RG,/s/RG/vm'. Please",
    "/s/RG, /s/RG/vm"
)]
#[case(
    403,
    "DenyAssignmentAuthorizationFailed",
    "however, the access is denied because of the deny assignment with name 'blueprint' and Id 'i' at scope '/s'.",
    "blueprint"
)]
#[case(
    403,
    "RequestDisallowedByPolicy",
    "Resource 'web' was disallowed by policy. Policy identifiers: '[{\"policyAssignment\":{\"name\":\"no-ids\",\"id\":\"/x\"}}]'.",
    "no-ids"
)]
#[case(
    409,
    "MissingSubscriptionRegistration",
    "The subscription is not registered to use namespace 'Microsoft.Compute'.",
    "Microsoft.Compute"
)]
fn a_person_is_told_what_stands_in_the_way(
    #[case] status: u16,
    #[case] code: &str,
    #[case] message: &str,
    #[case] named: &str,
) {
    let error = said(status, code, message).to_string();
    assert!(error.contains(named), "{error}");
}

#[test]
fn a_policys_display_name_is_preferred() {
    let body = r#"{"error":{"code":"RequestDisallowedByPolicy","message":"m","additionalInfo":[{"type":"PolicyViolation","info":{"policyAssignmentName":"p1","policyAssignmentDisplayName":"No identities"}}]}}"#;
    assert!(failure(403, body).to_string().contains("No identities"));
}

#[test]
fn a_machine_marked_for_deletion_is_told_from_a_busy_one() {
    let marked =
        said(409, "OperationNotAllowed", "Operation 'Update VM' is not allowed since the VM is marked for deletion.");
    assert!(matches!(marked, ArmError::BeingDeleted { group: false, .. }));
    assert_eq!(said(409, "OperationNotAllowed", "not now").reason(), Reason::TargetBusy);
}
