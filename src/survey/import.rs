//! Manifests for what is there: declaring it changes nothing.
use super::live::group_key;
use crate::api::{GROUP, VERSION};
use crate::domain::aks::{group_of_aks, managed_by_aks};
use crate::domain::live::Provisioning;
use crate::domain::plan::MAX_IDENTITIES_IN_REQUEST;
use crate::domain::target_name::{identity_name, target_name};
use crate::domain::{IdentityId, Live, TargetId};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Names of objects have 253 characters at most: room is left for a number.
const LONGEST_NAME: usize = 240;

/// What was made, and what was not.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// Identities first, then machines, each in the order of their ids.
    pub objects: Vec<Value>,
    pub left_out: Vec<LeftOut>,
}

/// A machine, or an identity, that has no manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its id.
    pub what: String,
    pub why: Why,
}

/// Why something has no manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    NoIdentity,
    ManagedByAks,
    /// An identity in a resource group that AKS fills.
    MadeByAks,
    /// An operation runs: what it shows is on its way to something else.
    Moving,
    /// An entry whose id has no form that could be declared.
    Undeclarable(IdentityId),
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = &self.what;
        match &self.why {
            Why::NoIdentity => write!(f, "{target} has no identity"),
            Why::ManagedByAks => {
                write!(f, "{target} is managed by AKS, which rewrites its identities (--include-aks takes it in)")
            }
            Why::MadeByAks => {
                write!(f, "{target} lies in a resource group of AKS, which made it (--include-aks takes it in)")
            }
            Why::Moving => write!(f, "{target} is being changed: import it again when that is over"),
            Why::Undeclarable(id) => write!(f, "{target} carries {id}, which has no form that can be declared"),
        }
    }
}

/// How manifests are made.
#[derive(Clone, Copy, Debug)]
pub struct Choices<'a> {
    pub namespace: &'a str,
    pub include_aks: bool,
}

/// An object for each of these identities, which exist: it takes them over as they are, and leaves them when it goes.
#[must_use]
pub fn import_identities(
    identities: &BTreeSet<IdentityId>,
    groups: &BTreeMap<String, Option<String>>,
    choices: Choices<'_>,
) -> Imported {
    let mut imported = Imported::default();
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for id in identities {
        *names.entry(legible(id.name(), || identity_name(id))).or_default() += 1;
    }
    for id in identities {
        let group = format!("{}/{}", id.subscription(), id.group().to_lowercase());
        let managed_by = groups.get(&group).and_then(Option::as_deref);
        if group_of_aks(id.group(), managed_by).is_some() && !choices.include_aks {
            imported.left_out.push(LeftOut { what: id.to_string(), why: Why::MadeByAks });
            continue;
        }
        let plain = legible(id.name(), || identity_name(id));
        let name = if names.get(&plain) == Some(&1) { plain } else { identity_name(id) };
        imported.objects.push(json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": "UserAssignedIdentity",
            "metadata": {"name": name, "namespace": choices.namespace},
            "spec": {"resourceId": id.as_str(), "adopt": "IfExists", "deletionPolicy": "Retain"},
        }));
    }
    imported
}

/// An assignment for each machine that has an identity.
#[must_use]
pub fn import(
    machines: &BTreeMap<TargetId, Live>,
    groups: &BTreeMap<String, Option<String>>,
    choices: Choices<'_>,
) -> Imported {
    let mut imported = Imported::default();
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for target in machines.keys() {
        *names.entry(plain_name(target)).or_default() += 1;
    }
    for (target, live) in machines {
        let managed_by = groups.get(&group_key(target)).and_then(Option::as_deref);
        let aks = managed_by_aks(target, live, managed_by).is_some();
        let why = match live.provisioning {
            _ if live.system.is_none() && live.user.is_empty() => Some(Why::NoIdentity),
            _ if aks && !choices.include_aks => Some(Why::ManagedByAks),
            Provisioning::Running | Provisioning::Deleting => Some(Why::Moving),
            Provisioning::Succeeded | Provisioning::Failed => None,
        };
        if let Some(why) = why {
            imported.left_out.push(LeftOut { what: target.to_string(), why });
            continue;
        }
        let plain = plain_name(target);
        // Of namesakes each gets a name that follows from its id.
        let name = if names.get(&plain) == Some(&1) { plain } else { target_name(target) };
        let (known, odd): (Vec<&IdentityId>, Vec<&IdentityId>) =
            live.user.keys().partition(|id| id.as_str().parse::<IdentityId>().is_ok());
        for id in odd {
            imported.left_out.push(LeftOut { what: target.to_string(), why: Why::Undeclarable(id.clone()) });
        }
        imported.objects.extend(objects(target, live, &name, &known, aks, choices.namespace));
    }
    imported
}

/// One, or as many as the limit of a request makes necessary. The first has the system-assigned identity.
fn objects(target: &TargetId, live: &Live, name: &str, ids: &[&IdentityId], aks: bool, namespace: &str) -> Vec<Value> {
    let mut parts: Vec<&[&IdentityId]> = ids.chunks(MAX_IDENTITIES_IN_REQUEST).collect();
    if parts.is_empty() {
        parts.push(&[]);
    }
    let object = |(index, ids): (usize, &&[&IdentityId])| {
        let mut spec = json!({"target": {"resourceId": target.as_str()}});
        if index == 0 && live.system.is_some() {
            spec["systemAssigned"] = "Enabled".into();
        }
        if !ids.is_empty() {
            spec["userAssigned"] = ids.iter().map(|id| json!({"resourceId": id.as_str()})).collect();
        }
        if aks {
            spec["aksNodePool"] = "Manage".into();
        }
        let name = if index == 0 { name.to_owned() } else { format!("{name}-{}", index + 1) };
        json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": "IdentityAssignment",
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        })
    };
    parts.iter().enumerate().map(object).collect()
}

/// The machine's own name as Kubernetes takes it.
fn plain_name(target: &TargetId) -> String {
    legible(target.name(), || target_name(target))
}

fn legible(name: &str, otherwise: impl FnOnce() -> String) -> String {
    let fit = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let name: String = name.to_lowercase().chars().map(fit).take(LONGEST_NAME).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { otherwise() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Principal, SystemIdentity};

    const SUB: &str = "/subscriptions/5a3b1e00-0000-4000-8000-000000000001";

    fn vm(group: &str, name: &str) -> TargetId {
        format!("{SUB}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/{name}")
            .parse()
            .expect("an id")
    }

    fn id(name: &str) -> IdentityId {
        IdentityId::told_by_arm(&format!(
            "{SUB}/resourceGroups/ids/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
        ))
    }

    fn live(system: bool, ids: &[IdentityId]) -> Live {
        Live {
            system: system.then(SystemIdentity::default),
            user: ids.iter().map(|id| (id.clone(), Principal::default())).collect(),
            ..Live::default()
        }
    }

    fn names(imported: &Imported) -> Vec<&str> {
        imported.objects.iter().filter_map(|object| object["metadata"]["name"].as_str()).collect()
    }

    const CHOICES: Choices<'_> = Choices { namespace: "shop", include_aks: false };

    #[test]
    fn what_there_is_is_declared_and_the_rest_is_named() {
        let machines = BTreeMap::from([
            (vm("a", "Web_1"), live(true, &[id("shop-db"), IdentityId::told_by_arm("odd")])),
            (vm("a", "bare"), live(false, &[])),
            (vm("MC_x", "node"), live(true, &[])),
        ]);
        let imported = import(&machines, &BTreeMap::new(), CHOICES);
        assert_eq!(names(&imported), ["web-1"]);
        assert_eq!(imported.objects[0]["spec"]["systemAssigned"], "Enabled");
        assert_eq!(imported.objects[0]["spec"]["userAssigned"], json!([{"resourceId": id("shop-db").as_str()}]));
        let why: Vec<&Why> = imported.left_out.iter().map(|left| &left.why).collect();
        assert_eq!(why, [&Why::NoIdentity, &Why::Undeclarable(IdentityId::told_by_arm("odd")), &Why::ManagedByAks]);
        let with = import(&machines, &BTreeMap::new(), Choices { include_aks: true, ..CHOICES });
        assert_eq!(with.objects[1]["spec"]["aksNodePool"], "Manage");
    }

    #[test]
    fn identities_get_names_of_their_own_and_stay_when_their_objects_go() {
        let other = IdentityId::told_by_arm(&id("shop-db").as_str().replace("/ids/", "/other/"));
        let of_aks = IdentityId::told_by_arm(&id("agentpool").as_str().replace("/ids/", "/MC_shop/"));
        let identities = BTreeSet::from([id("Shop_DB"), id("shop-db"), id("Queue_"), other, of_aks]);
        let imported = import_identities(&identities, &BTreeMap::new(), CHOICES);
        let unique: BTreeSet<&str> = names(&imported).into_iter().collect();
        assert_eq!((imported.objects.len(), unique.len()), (4, 4), "{unique:?}");
        assert!(unique.contains("queue") && !unique.contains("shop-db"), "{unique:?}");
        assert!(imported.objects.iter().all(|object| object["spec"]["deletionPolicy"] == "Retain"));
        assert_eq!(imported.left_out.iter().map(|left| &left.why).collect::<Vec<_>>(), [&Why::MadeByAks]);
        let with = import_identities(&identities, &BTreeMap::new(), Choices { include_aks: true, ..CHOICES });
        assert_eq!(with.objects.len(), 5);
    }

    #[test]
    fn namesakes_are_told_apart_and_long_lists_split() {
        let many: Vec<IdentityId> = (0..151).map(|n| id(&format!("id-{n}"))).collect();
        let machines = BTreeMap::from([
            (vm("a", "web"), live(true, &[])),
            (vm("b", "WEB"), live(true, &[])),
            (vm("b", "big"), live(true, &many)),
        ]);
        let imported = import(&machines, &BTreeMap::new(), CHOICES);
        let mut names = names(&imported);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(names.contains(&"big") && names.contains(&"big-2"), "{names:?}");
        let on = imported.objects.iter().filter(|object| object["spec"]["systemAssigned"] == "Enabled");
        assert_eq!(on.count(), 3, "the second part says nothing of it");
    }
}
