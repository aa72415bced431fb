//! Can this credential do what is declared? Read off ARM, judged by [`crate::domain::grants`].
use super::reading::{Reader, patiently};
use crate::arm::{ArmError, Precondition, chain};
use crate::domain::grants::{Grant, Lock, Need, Permission, Weight, allows, grants, group_of, needs, needs_of_objects};
use crate::domain::{IdentityId, TargetId};
use futures::{StreamExt, stream};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Questions under way at once.
const TOGETHER: usize = 8;

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preflight {
    /// Nothing that is needed is missing, and nothing is locked.
    pub ready: bool,
    pub missing: Vec<Missing>,
    /// Grants that would meet what is missing.
    pub grants: Vec<Wanted>,
    pub locks: Vec<Locked>,
    /// Machines whose endpoint was asked by `--probe` whether it honours If-Match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preconditions: Vec<Probed>,
    /// What is left of ARM's budgets, in requests.
    pub quota: BTreeMap<String, u64>,
    pub notes: Vec<String>,
    pub checked: usize,
}

/// An action that is not granted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Missing {
    pub scope: String,
    pub action: String,
    pub role: &'static str,
    /// False: something would be known less well.
    pub needed: bool,
}

/// A role assignment to ask an administrator for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    pub role: &'static str,
    pub role_definition_id: &'static str,
    pub scope: String,
}

/// A lock that forbids changes, and of what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Locked {
    pub lock: String,
    pub scope: String,
    pub machines: Vec<String>,
    /// That are objects.
    pub identities: Vec<String>,
}

/// What the probe found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Probed {
    pub machine: String,
    pub honours_if_match: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What is to be checked.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    pub machines: BTreeSet<TargetId>,
    pub identities: BTreeSet<IdentityId>,
    /// Identities that are to exist, each with whether it goes with its object.
    pub objects: BTreeMap<IdentityId, bool>,
}

/// Asks ARM, and judges.
///
/// # Errors
/// What all questions would end with: no token, no connection, no subscription.
pub async fn preflight(reader: &Reader, wishes: &Wishes, probe: bool) -> Result<Preflight, ArmError> {
    let mut needs: BTreeSet<Need> =
        needs(&wishes.machines, &wishes.identities).into_iter().map(|need| on_what_exists(need, wishes)).collect();
    for need in needs_of_objects(wishes.objects.iter().map(|(id, goes)| (id, *goes))) {
        needs.insert(need);
    }
    let mut found = Preflight { checked: needs.len(), ..Preflight::default() };
    let missing = missing(reader, &needs, &mut found.notes).await?;
    let needed = missing.iter().filter(|need| need.weight == Weight::Needed);
    found.grants = grants(needed.copied()).into_iter().map(Wanted::of).collect();
    found.missing = missing.iter().map(|need| Missing::of(need)).collect();
    found.locks = locks(reader, wishes, &mut found.notes).await;
    if probe {
        found.preconditions = probes(reader, &wishes.machines).await;
    }
    for (bucket, left) in reader.arm().remaining() {
        found.quota.insert(bucket.to_string(), whole(left));
    }
    let ignored = found.preconditions.iter().any(|probed| probed.honours_if_match == Some(false));
    found.ready = found.grants.is_empty() && found.locks.is_empty() && !ignored;
    Ok(found)
}

/// An identity that is to be made is no scope yet: its group is.
fn on_what_exists(need: Need, wishes: &Wishes) -> Need {
    let is_object = need.scope.parse().is_ok_and(|id| wishes.objects.contains_key(&id));
    if is_object { Need { scope: group_of(&need.scope).to_owned(), ..need } } else { need }
}

/// A count of requests: never negative, and far below what a float can hold exactly.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
fn whole(left: f64) -> u64 {
    left.clamp(0.0, 1e9) as u64
}

impl Missing {
    fn of(need: &Need) -> Self {
        Self {
            scope: need.scope.clone(),
            action: need.action.into(),
            role: need.role.name(),
            needed: need.weight == Weight::Needed,
        }
    }
}

impl Wanted {
    fn of(Grant { role, scope }: Grant) -> Self {
        Self { role: role.name(), role_definition_id: role.definition(), scope }
    }

    /// What an administrator runs, with the principal's object id in `$PRINCIPAL`.
    #[must_use]
    pub fn az(&self) -> String {
        format!(
            "az role assignment create --assignee-object-id \"$PRINCIPAL\" --assignee-principal-type ServicePrincipal --role '{}' --scope '{}'",
            self.role,
            self.scope.replace('\'', r"'\''")
        )
    }

    /// The same for Terraform's azurerm provider.
    #[must_use]
    pub fn terraform(&self, number: usize) -> String {
        format!(
            "resource \"azurerm_role_assignment\" \"lanyard_{number}\" {{\n  scope                = \"{}\"\n  role_definition_name = \"{}\"\n  principal_id         = var.lanyard_principal_id\n}}\n",
            self.scope.replace("${", "$${"),
            self.role
        )
    }

    /// The same for Bicep: as a module for its own scope, deployed to the resource group.
    #[must_use]
    pub fn bicep(&self, number: usize) -> String {
        let (target, scope) = match self.on() {
            Some((kind, version, name)) => (
                format!("resource on_{number} '{kind}@{version}' existing = {{\n  name: '{}'\n}}\n", in_bicep(name)),
                format!("  scope: on_{number}\n"),
            ),
            None => (String::new(), String::new()),
        };
        let definition =
            format!("subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '{}')", self.role_definition_id);
        format!(
            "// az deployment group create --resource-group '{}' ...\n{target}resource lanyard_{number} 'Microsoft.Authorization/roleAssignments@2022-04-01' = {{\n{scope}  name: guid('{}', lanyardPrincipalId, '{}')\n  properties: {{\n    principalId: lanyardPrincipalId\n    principalType: 'ServicePrincipal'\n    roleDefinitionId: {definition}\n  }}\n}}\n",
            group_of(&self.scope).rsplit('/').next().unwrap_or_default(),
            in_bicep(&self.scope.to_lowercase()),
            self.role_definition_id,
        )
    }

    /// The resource below its group, if it is one.
    fn on(&self) -> Option<(&'static str, &'static str, &str)> {
        let name = self.scope.rsplit('/').next()?;
        let folded = self.scope.to_lowercase();
        let is = |kind: &str| folded.contains(&format!("/providers/{kind}/"));
        if is("microsoft.managedidentity/userassignedidentities") {
            Some(("Microsoft.ManagedIdentity/userAssignedIdentities", "2023-01-31", name))
        } else if is("microsoft.compute/virtualmachinescalesets") {
            Some(("Microsoft.Compute/virtualMachineScaleSets", "2024-07-01", name))
        } else if is("microsoft.compute/virtualmachines") {
            Some(("Microsoft.Compute/virtualMachines", "2024-07-01", name))
        } else {
            None
        }
    }
}

/// Names may hold what Bicep would take for an expression.
fn in_bicep(text: &str) -> String {
    text.replace("${", "\\${")
}

/// What is not granted: asked of each group first, since what is granted there is granted below; then of each resource
/// for which the group was not enough.
async fn missing<'a>(
    reader: &Reader,
    needs: &'a BTreeSet<Need>,
    notes: &mut Vec<String>,
) -> Result<Vec<&'a Need>, ArmError> {
    let groups: BTreeMap<String, &str> =
        needs.iter().map(|need| (group_of(&need.scope).to_lowercase(), group_of(&need.scope))).collect();
    let at_groups = permissions(reader, groups.into_values(), notes).await?;
    let granted = |at: &BTreeMap<String, Vec<Permission>>, scope: &str, action: &str| {
        at.get(&scope.to_lowercase()).is_some_and(|permissions| allows(permissions, action))
    };
    let open: Vec<&Need> =
        needs.iter().filter(|need| !granted(&at_groups, group_of(&need.scope), need.action)).collect();
    let single: BTreeSet<&str> =
        open.iter().map(|need| need.scope.as_str()).filter(|scope| group_of(scope) != *scope).collect();
    let at_resources = permissions(reader, single.into_iter(), notes).await?;
    Ok(open.into_iter().filter(|need| !granted(&at_resources, &need.scope, need.action)).collect())
}

/// What is granted where. Where that may not be read, there is no role at all.
async fn permissions(
    reader: &Reader,
    scopes: impl Iterator<Item = &str>,
    notes: &mut Vec<String>,
) -> Result<BTreeMap<String, Vec<Permission>>, ArmError> {
    let scopes: Vec<&str> = scopes.collect();
    let mut asked = stream::iter(scopes)
        .map(async |scope| (scope, patiently(|| reader.arm().permissions(scope)).await))
        .buffer_unordered(TOGETHER);
    let mut granted = BTreeMap::new();
    while let Some((scope, answer)) = asked.next().await {
        match answer {
            Ok(permissions) => {
                granted.insert(scope.to_lowercase(), permissions);
            }
            Err(ArmError::Forbidden { .. }) => {
                notes.push(format!(
                    "the rights at {scope} may not be read: there is no role on it, or none that lets its holder look"
                ));
            }
            Err(ArmError::NotFound { .. } | ArmError::NotShown { .. }) => {
                notes.push(format!("{scope} is not there: what is granted on it cannot be told"));
            }
            Err(error) => return Err(error),
        }
    }
    notes.sort();
    Ok(granted)
}

/// Locks that forbid something that is declared: by subscription, or by group where only that may be looked at.
async fn locks(reader: &Reader, wishes: &Wishes, notes: &mut Vec<String>) -> Vec<Locked> {
    let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let machines = wishes.machines.iter().map(|target| (target.subscription(), target.as_str()));
    let objects = wishes.objects.keys().map(|id| (id.subscription(), id.as_str()));
    for (subscription, id) in machines.chain(objects) {
        groups.entry(subscription).or_default().insert(group_of(id));
    }
    let mut all: Vec<Lock> = Vec::new();
    for (subscription, groups) in groups {
        let scope = format!("/subscriptions/{subscription}");
        if let Ok(locks) = patiently(|| reader.arm().locks(&scope)).await {
            all.extend(locks);
            continue;
        }
        for group in groups {
            match patiently(|| reader.arm().locks(group)).await {
                Ok(locks) => all.extend(locks),
                Err(error) => notes.push(format!("locks on {group} cannot be read: {}", chain(&error))),
            }
        }
    }
    let machines =
        |lock: &Lock| wishes.machines.iter().filter(|target| lock.forbids(target)).map(ToString::to_string).collect();
    let identities = |lock: &Lock| {
        let locked = wishes.objects.iter().filter(|(id, goes)| lock.forbids_identity(id, **goes));
        locked.map(|(id, _)| id.to_string()).collect()
    };
    let locked = all.iter().map(|lock| Locked {
        lock: lock.name.clone(),
        scope: lock.scope.clone(),
        machines: machines(lock),
        identities: identities(lock),
    });
    locked.filter(|locked| !locked.machines.is_empty() || !locked.identities.is_empty()).collect()
}

/// One machine of each kind answers for its endpoint. The PATCH that is sent changes nothing.
async fn probes(reader: &Reader, machines: &BTreeSet<TargetId>) -> Vec<Probed> {
    let mut probed = Vec::new();
    let mut kinds = BTreeSet::new();
    for target in machines.iter().filter(|target| kinds.insert(target.kind())) {
        let (honours, error) = match reader.arm().probe(target).await {
            Ok(Precondition::Honoured) => (Some(true), None),
            Ok(Precondition::Ignored) => (Some(false), None),
            Err(error) => (None, Some(chain(&error))),
        };
        probed.push(Probed { machine: target.to_string(), honours_if_match: honours, error });
    }
    probed
}
