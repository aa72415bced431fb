//! `Microsoft.Authorization`: what the caller may do at a scope, and the locks on it and below.
use serde_json::{Value, json};

use super::Answer;
use super::errors::Refusal;
use crate::id::{fold, lies_under};
use crate::state::World;
use crate::state::restrictions::Barrier;

/// What takes the right to assign identities, as Managed Identity Operator spells it.
const ASSIGN: &str = "Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action";

impl World {
    /// `Permissions - List For Resource Group`, and for a resource. A barrier further down leaves no right here that would
    /// reach it: rights are inherited.
    pub fn rights(&self, scope: &str, client: &str) -> Result<Answer, Refusal> {
        let met = |wanted: &[Barrier]| {
            self.restrictions.iter().any(|one| {
                let lies = fold(&one.scope);
                wanted.contains(&one.kind) && (lies_under(scope, &lies) || lies_under(&lies, scope))
            })
        };
        let above = |wanted: &Barrier| {
            self.restrictions.iter().any(|one| one.kind == *wanted && lies_under(scope, &fold(&one.scope)))
        };
        if above(&Barrier::NoReadRole) {
            let action = "Microsoft.Authorization/permissions/read";
            let message = format!(
                "The client '{client}' with object id '{client}' does not have authorization to perform action '{action}' over scope '{scope}' or the scope is invalid. If access was recently granted, please refresh your credentials."
            );
            return Err(Refusal::new(403, "AuthorizationFailed", message));
        }
        let mut granted: Vec<Value> = Vec::new();
        if !met(&[Barrier::NoReadRole]) {
            granted.push(permission(&["*/read"], &[]));
        }
        if !met(&[Barrier::NoReadRole, Barrier::NoWriteRole]) {
            let taken: &[&str] =
                if met(&[Barrier::NoAssignRole, Barrier::NoAssignRoleElsewhere]) { &[ASSIGN] } else { &[] };
            granted.push(permission(&["*"], taken));
        } else if !met(&[Barrier::NoAssignRole, Barrier::NoAssignRoleElsewhere]) {
            granted.push(permission(&[ASSIGN], &[]));
        }
        Ok(Answer::json(200, &json!({"value": granted})))
    }

    /// `Management Locks - List At Subscription Level`, and at a resource group's.
    pub fn locks(&self, scope: &str) -> Answer {
        let locked = self
            .restrictions
            .iter()
            .enumerate()
            .filter(|(_, one)| one.kind == Barrier::ScopeLocked && lies_under(&fold(&one.scope), scope));
        let lock = |(number, one): (usize, &crate::state::restrictions::Restriction)| {
            let name = format!("lock-{number}");
            let id = format!("{}/providers/Microsoft.Authorization/locks/{name}", one.scope.trim_end_matches('/'));
            json!({"id": id, "name": name, "type": "Microsoft.Authorization/locks", "properties": {"level": "ReadOnly"}})
        };
        Answer::json(200, &json!({"value": locked.map(lock).collect::<Vec<_>>()}))
    }
}

fn permission(actions: &[&str], not_actions: &[&str]) -> Value {
    json!({"actions": actions, "notActions": not_actions, "dataActions": [], "notDataActions": []})
}
