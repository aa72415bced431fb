//! ARM resource ids: compared without case, printed as written.
use std::fmt;

use serde::{Deserialize, Serialize};

/// Which resources the simulator keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    VirtualMachine,
    VirtualMachineScaleSet,
    UserAssignedIdentity,
}

impl Kind {
    pub fn of(namespace: &str, plural: &str) -> Option<Self> {
        let both = fold(&format!("{namespace}/{plural}"));
        [Self::VirtualMachine, Self::VirtualMachineScaleSet, Self::UserAssignedIdentity]
            .into_iter()
            .find(|kind| fold(kind.type_name()) == both)
    }

    pub const fn type_name(self) -> &'static str {
        match self {
            Self::VirtualMachine => "Microsoft.Compute/virtualMachines",
            Self::VirtualMachineScaleSet => "Microsoft.Compute/virtualMachineScaleSets",
            Self::UserAssignedIdentity => "Microsoft.ManagedIdentity/userAssignedIdentities",
        }
    }

    pub fn namespace(self) -> &'static str {
        self.type_name().split_once('/').map_or("", |(namespace, _)| namespace)
    }

    pub const fn is_scale_set(self) -> bool {
        matches!(self, Self::VirtualMachineScaleSet)
    }
}

pub fn fold(text: &str) -> String {
    text.to_lowercase()
}

/// The id of a VM, a scale set or a user-assigned identity.
#[derive(Clone, Debug)]
pub struct ResourceId {
    pub subscription: String,
    pub group: String,
    pub kind: Kind,
    pub name: String,
}

impl ResourceId {
    pub fn new(subscription: &str, group: &str, kind: Kind, name: &str) -> Self {
        Self { subscription: subscription.to_owned(), group: group.to_owned(), kind, name: name.to_owned() }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.strip_prefix('/')?.split('/').collect();
        let [subscriptions, subscription, groups, group, providers, namespace, plural, name] = parts[..] else {
            return None;
        };
        let shaped = subscriptions.eq_ignore_ascii_case("subscriptions")
            && groups.eq_ignore_ascii_case("resourceGroups")
            && providers.eq_ignore_ascii_case("providers")
            && [subscription, group, name].iter().all(|part| !part.is_empty());
        let kind = Kind::of(namespace, plural)?;
        shaped.then(|| Self::new(subscription, group, kind, name))
    }

    /// What the state is keyed by.
    pub fn key(&self) -> String {
        fold(&self.to_string())
    }

    pub fn group_key(&self) -> String {
        group_key(&self.subscription, &self.group)
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "/subscriptions/{}/resourceGroups/{}/providers/{}/{}",
            self.subscription,
            self.group,
            self.kind.type_name(),
            self.name
        )
    }
}

pub fn group_key(subscription: &str, group: &str) -> String {
    fold(&format!("/subscriptions/{subscription}/resourceGroups/{group}"))
}

/// Whether `key` lies at or under `scope`, by whole parts; both folded.
pub fn lies_under(key: &str, scope: &str) -> bool {
    let scope = scope.trim_end_matches('/');
    key.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_same_whatever_their_case() {
        let one = "/SUBSCRIPTIONS/s/resourcegroups/G/providers/microsoft.compute/VirtualMachines/Web";
        let two = "/subscriptions/S/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/web";
        let keys = [one, two].map(|text| ResourceId::parse(text).map(|id| id.key()));
        assert_eq!(keys[0], keys[1]);
        assert!(keys[0].is_some());
    }

    #[test]
    fn a_scope_holds_whole_parts_only() {
        assert!(lies_under("/subscriptions/s/resourcegroups/a", "/subscriptions/s"));
        assert!(!lies_under("/subscriptions/s/resourcegroups/ab", "/subscriptions/s/resourcegroups/a"));
    }
}
