//! The columns of `kubectl get`.
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceColumnDefinition as Column;

pub(super) fn of_assignments() -> Vec<Column> {
    vec![
        shown("Target", "string", ".status.summary.machine", "The machine's name"),
        shown("Kind", "string", ".status.target.kind", "VirtualMachine or VirtualMachineScaleSet"),
        shown("System", "string", ".status.systemAssigned.state", "State of the system-assigned identity"),
        shown("User", "string", ".status.summary.user", "User-assigned identities as declared, of those declared here"),
        shown("Ready", "string", &ready("status"), "Whether the machine is as declared"),
        shown("Reason", "string", &ready("reason"), "Why it is ready or not; docs/reasons.md explains each"),
        shown("Age", "date", ".metadata.creationTimestamp", "When the assignment was created"),
        wide("Mode", ".spec.mode", "Enforce or Observe"),
        wide("Suspended", ".spec.suspend", "Whether writes are suspended"),
        wide("Unmanaged", ".status.unmanaged.count", "Identities that are nobody's here: never touched"),
        wide("IdentityTarget", ".status.target.name", "Where everything known of the machine stands"),
        wide("Resource-Id", ".spec.target.resourceId", "The machine's ARM resource id"),
        wide("Message", &ready("message"), "What to know or do"),
    ]
}

pub(super) fn of_targets() -> Vec<Column> {
    vec![
        shown("Target", "string", ".status.summary.machine", "The machine's name"),
        shown("Kind", "string", ".status.kind", "VirtualMachine or VirtualMachineScaleSet"),
        shown("System", "string", ".status.systemAssigned.state", "State of the system-assigned identity"),
        shown("User", "string", ".status.summary.user", "Declared user-assigned identities of all that are on it"),
        shown("Unmanaged", "integer", ".status.unmanaged.count", "Identities that are nobody's here: never touched"),
        shown("Ready", "string", &ready("status"), "Whether the machine is as declared"),
        shown("Reason", "string", &ready("reason"), "Why it is ready or not; docs/reasons.md explains each"),
        shown("Age", "date", ".metadata.creationTimestamp", "When the machine was first declared"),
        wide("Location", ".status.location", "Azure region"),
        wide("Last-Write", ".status.lastWrite.time", "When Lanyard last wrote to the machine"),
        wide("Unique-Id", ".record.uniqueId", "vmId or uniqueId, which tells the machine from a namesake"),
        wide("Resource-Id", ".record.resourceId", "The machine's ARM resource id"),
        wide("Message", &ready("message"), "What to know or do"),
    ]
}

pub(super) fn of_identities() -> Vec<Column> {
    vec![
        shown("Client-Id", "string", ".status.clientId", "What programs name when they ask for a token"),
        shown("Origin", "string", ".status.origin", "Created by Lanyard, or Adopted"),
        shown("Ready", "string", &ready("status"), "Whether the identity exists and is as declared"),
        shown("Reason", "string", &ready("reason"), "Why it is ready or not; docs/reasons.md explains each"),
        shown("Age", "date", ".metadata.creationTimestamp", "When the object was created"),
        wide("Principal-Id", ".status.principalId", "What roles are granted to"),
        wide("Location", ".status.location", "Azure region"),
        wide("Policy", ".spec.deletionPolicy", "What a deletion does in Azure"),
        wide("Resource-Id", ".status.resourceId", "The identity's ARM resource id"),
        wide("Message", &ready("message"), "What to know or do"),
    ]
}

pub(super) fn of_identity_records() -> Vec<Column> {
    vec![
        shown("Namespace", "string", ".record.owner.namespace", "Of the object that has the identity"),
        shown("Object", "string", ".record.owner.name", "The UserAssignedIdentity that has it"),
        shown("Origin", "string", ".record.origin", "Created by Lanyard, or Adopted"),
        shown("Deleting", "boolean", ".record.deleting", "The object goes, and the identity with it"),
        shown("Age", "date", ".metadata.creationTimestamp", "When it was first declared"),
        wide("Principal-Id", ".record.principalId", "The principal that the record is about"),
        wide("Resource-Id", ".record.resourceId", "The identity's ARM resource id"),
    ]
}

fn ready(field: &str) -> String {
    format!(".status.conditions[?(@.type=='Ready')].{field}")
}

fn shown(name: &str, type_: &str, json_path: &str, description: &str) -> Column {
    Column {
        name: name.into(),
        type_: type_.into(),
        json_path: json_path.into(),
        description: Some(description.into()),
        ..Column::default()
    }
}

/// A column under `-o wide`.
fn wide(name: &str, json_path: &str, description: &str) -> Column {
    Column { priority: Some(1), ..shown(name, "string", json_path, description) }
}
