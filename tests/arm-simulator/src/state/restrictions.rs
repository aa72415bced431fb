//! What stands in the way of a write until a person acts: locks, policies, missing roles.
use serde::{Deserialize, Serialize};

use crate::id::{fold, lies_under};
use crate::wire::errors::Refusal;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restriction {
    /// Everything at or under this ARM scope.
    pub scope: String,
    pub kind: Barrier,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Barrier {
    ScopeLocked,
    RequestDisallowedByPolicy {
        policy: String,
    },
    DenyAssignment {
        name: String,
    },
    ReadOnlyDisabledSubscription,
    MissingSubscriptionRegistration,
    /// No role for writes, `AuthorizationFailed`.
    NoWriteRole,
    /// No role for reads either.
    NoReadRole,
    ResourceGroupBeingDeleted,
    /// On a user-assigned identity or above: `LinkedAuthorizationFailed` for who names it.
    NoAssignRole,
    /// Likewise, in a subscription of another tenant: the refusal names no identity.
    NoAssignRoleElsewhere,
}

impl Restriction {
    fn covers(&self, key: &str) -> bool {
        lies_under(key, &fold(&self.scope))
    }
}

/// Whether `actor` may assign the identity behind `key`.
pub fn may_assign(restrictions: &[Restriction], key: &str) -> bool {
    let role = |kind: &Barrier| matches!(kind, Barrier::NoAssignRole | Barrier::NoAssignRoleElsewhere);
    !restrictions.iter().any(|restriction| role(&restriction.kind) && restriction.covers(key))
}

/// Whether the identity behind `key` lies with another tenant, whose identities a refusal does not name.
pub fn is_elsewhere(restrictions: &[Restriction], key: &str) -> bool {
    let elsewhere = |restriction: &Restriction| restriction.kind == Barrier::NoAssignRoleElsewhere;
    restrictions.iter().any(|restriction| elsewhere(restriction) && restriction.covers(key))
}

/// The refusal of a request to the resource behind `key`, if something stands in its way.
pub fn refusal(restrictions: &[Restriction], key: &str, id: &str, action: &Action<'_>) -> Option<Refusal> {
    let mut covering = restrictions.iter().filter(|restriction| restriction.covers(key));
    covering.find_map(|restriction| refused(restriction, id, action))
}

/// Who wants to do what.
pub struct Action<'a> {
    pub client: &'a str,
    /// `Microsoft.Compute/virtualMachines/write`.
    pub name: String,
    pub writes: bool,
    pub namespace: &'a str,
    pub subscription: &'a str,
    pub group: &'a str,
}

fn refused(restriction: &Restriction, id: &str, action: &Action<'_>) -> Option<Refusal> {
    let scope = &restriction.scope;
    let Action { client, name, namespace, subscription, group, .. } = action;
    let no_role = || {
        Refusal::new(
            403,
            "AuthorizationFailed",
            format!(
                "The client '{client}' with object id '{client}' does not have authorization to perform action '{name}' over scope '{id}' or the scope is invalid. If access was recently granted, please refresh your credentials."
            ),
        )
    };
    let write = match &restriction.kind {
        Barrier::NoReadRole => return Some(no_role()),
        Barrier::NoAssignRole | Barrier::NoAssignRoleElsewhere => return None,
        Barrier::NoWriteRole => no_role(),
        Barrier::ScopeLocked => Refusal::new(
            409,
            "ScopeLocked",
            format!(
                "The scope '{id}' cannot perform write operation because following scope(s) are locked: '{scope}'. Please remove the lock and try again."
            ),
        ),
        Barrier::RequestDisallowedByPolicy { policy } => Refusal::new(
            403,
            "RequestDisallowedByPolicy",
            format!(
                "Resource '{id}' was disallowed by policy. Policy identifiers: '[{{\"policyAssignment\":{{\"name\":\"{policy}\",\"id\":\"{scope}/providers/Microsoft.Authorization/policyAssignments/{policy}\"}}}}]'."
            ),
        ),
        Barrier::DenyAssignment { name: deny } => Refusal::new(
            403,
            "DenyAssignmentAuthorizationFailed",
            format!(
                "The client '{client}' with object id '{client}' has permission to perform action '{name}' on scope '{id}'; however, the access is denied because of the deny assignment with name '{deny}' and Id '{deny}' at scope '{scope}'."
            ),
        ),
        Barrier::ReadOnlyDisabledSubscription => Refusal::new(
            409,
            "ReadOnlyDisabledSubscription",
            format!(
                "The subscription '{subscription}' is disabled and therefore marked as read only. You cannot perform any write actions on this subscription until it is re-enabled."
            ),
        ),
        Barrier::MissingSubscriptionRegistration => Refusal::new(
            409,
            "MissingSubscriptionRegistration",
            format!(
                "The subscription is not registered to use namespace '{namespace}'. See https://aka.ms/rps-not-found for how to register subscriptions."
            ),
        ),
        Barrier::ResourceGroupBeingDeleted => Refusal::new(
            409,
            "ResourceGroupBeingDeleted",
            format!("The resource group '{group}' is in deprovisioning state and cannot perform this operation."),
        ),
    };
    action.writes.then_some(write)
}
