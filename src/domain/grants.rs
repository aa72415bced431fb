//! What the credential may do, and what it would need: roles and locks, judged from what ARM tells of them.
use crate::ids::{IdentityId, MachineKind, TargetId};
use std::collections::{BTreeMap, BTreeSet};

/// One entry of `Microsoft.Authorization/permissions`: what one role assignment grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permission {
    pub actions: Vec<String>,
    /// Taken from these actions, and from these alone: another role may grant the same.
    pub not_actions: Vec<String>,
}

/// Whether some entry grants an action.
#[must_use]
pub fn allows(permissions: &[Permission], action: &str) -> bool {
    let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, action));
    permissions.iter().any(|permission| any(&permission.actions) && !any(&permission.not_actions))
}

/// `*` stands for anything, and `/*/` for a single slash, too: Managed Identity Operator grants
/// `userAssignedIdentities/*/read`, and by it the reading of an identity itself.
fn matches(pattern: &str, action: &str) -> bool {
    let (pattern, action) = (pattern.to_lowercase(), action.to_lowercase());
    fits(pattern.as_bytes(), action.as_bytes()) || fits(pattern.replace("/*/", "/").as_bytes(), action.as_bytes())
}

/// Greedy, with one place to come back to: linear in practice, and never worse than the product of the lengths.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut back) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                back = Some((p + 1, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match back {
                Some((after, from)) => {
                    back = Some((after, from + 1));
                    (p, t) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// A role that Azure brings along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    VirtualMachineContributor,
    ManagedIdentityOperator,
    ManagedIdentityContributor,
}

impl Role {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::VirtualMachineContributor => "Virtual Machine Contributor",
            Self::ManagedIdentityOperator => "Managed Identity Operator",
            Self::ManagedIdentityContributor => "Managed Identity Contributor",
        }
    }

    /// The same in every tenant.
    #[must_use]
    pub fn definition(self) -> &'static str {
        match self {
            Self::VirtualMachineContributor => "9980e02c-c2be-4d73-94e8-173b1dc7cf3c",
            Self::ManagedIdentityOperator => "f1a07417-d97a-45cb-824c-7a7467783830",
            Self::ManagedIdentityContributor => "e40ec5ca-96e0-45a2-b4ff-59039f2c2b59",
        }
    }
}

/// How much depends on an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weight {
    /// Without it nothing that is declared here happens.
    Needed,
    /// Without it something is not known, and told less well.
    Useful,
}

/// One action at one scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// The resource that the action is about.
    pub scope: String,
    pub action: &'static str,
    pub role: Role,
    pub weight: Weight,
}

/// Reading, making and tagging an identity.
const KEEP: [&str; 2] =
    ["Microsoft.ManagedIdentity/userAssignedIdentities/read", "Microsoft.ManagedIdentity/userAssignedIdentities/write"];

const DELETE: &str = "Microsoft.ManagedIdentity/userAssignedIdentities/delete";

const ASSIGN: &str = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action";

/// What is needed for identities that are to exist, each with whether it goes with its object. All of it is asked for on
/// the resource group: an identity that is to be made is no scope yet.
#[must_use]
pub fn needs_of_objects<'a>(objects: impl IntoIterator<Item = (&'a IdentityId, bool)>) -> BTreeSet<Need> {
    let role = Role::ManagedIdentityContributor;
    let mut needs = BTreeSet::new();
    for (id, goes) in objects {
        let scope = format!("/subscriptions/{}/resourceGroups/{}", id.subscription(), id.group());
        let mut need = |action, weight| needs.insert(Need { scope: scope.clone(), action, role, weight });
        for action in KEEP.into_iter().chain(goes.then_some(DELETE)) {
            need(action, Weight::Needed);
        }
        // Where the group lies: the region of an identity whose spec names none.
        need("Microsoft.Resources/subscriptions/resourceGroups/read", Weight::Useful);
    }
    needs
}

/// Everything that is needed for what is declared about these machines.
#[must_use]
pub fn needs<'a>(
    machines: impl IntoIterator<Item = &'a TargetId>,
    identities: impl IntoIterator<Item = &'a IdentityId>,
) -> BTreeSet<Need> {
    let machine = Role::VirtualMachineContributor;
    let mut needs = BTreeSet::new();
    for target in machines {
        let (read, write) = match target.kind() {
            MachineKind::VirtualMachine => {
                ("Microsoft.Compute/virtualMachines/read", "Microsoft.Compute/virtualMachines/write")
            }
            MachineKind::ScaleSet => {
                ("Microsoft.Compute/virtualMachineScaleSets/read", "Microsoft.Compute/virtualMachineScaleSets/write")
            }
        };
        for action in [read, write] {
            needs.insert(Need { scope: target.to_string(), action, role: machine, weight: Weight::Needed });
        }
        needs.insert(Need {
            scope: format!("/subscriptions/{}/resourceGroups/{}", target.subscription(), target.group()),
            action: "Microsoft.Resources/subscriptions/resourceGroups/read",
            role: machine,
            weight: Weight::Useful,
        });
    }
    for id in identities {
        let parts =
            [(ASSIGN, Weight::Needed), ("Microsoft.ManagedIdentity/userAssignedIdentities/read", Weight::Useful)];
        for (action, weight) in parts {
            needs.insert(Need { scope: id.to_string(), action, role: Role::ManagedIdentityOperator, weight });
        }
    }
    needs
}

/// What a refusal comes to, by what ARM tells of our rights: `lacking` are those of the needs that no role grants.
#[must_use]
pub fn in_words(needs: &BTreeSet<Need>, lacking: &BTreeSet<Need>) -> String {
    let listed = |needs: &BTreeSet<Need>| {
        let told = needs.iter().map(|need| format!("{} on {}", need.action, need.scope));
        told.collect::<Vec<_>>().join(", ")
    };
    let asked_for = |needs: &BTreeSet<Need>| {
        let wanted: BTreeSet<(Role, &str)> = needs.iter().map(|need| (need.role, need.scope.as_str())).collect();
        let told = wanted.iter().map(|(role, scope)| format!("{} on {scope}", role.name()));
        told.collect::<Vec<_>>().join(", ")
    };
    if lacking.is_empty() {
        return format!(
            "as ARM tells its rights it may {}: a new role assignment takes some minutes to have effect; else a condition \
             on it or a deny assignment is in the way, or grant it {}",
            listed(needs),
            asked_for(needs)
        );
    }
    format!("as ARM tells its rights it lacks {}: grant it {}", listed(lacking), asked_for(lacking))
}

/// The resource group that a resource lies in: what is granted there is granted below.
#[must_use]
pub fn group_of(scope: &str) -> &str {
    let end = scope.match_indices('/').nth(4).map_or(scope.len(), |(at, _)| at);
    &scope[..end]
}

/// A grant to ask for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    pub role: Role,
    /// As narrow as what is declared, but a group where several of its resources need the same.
    pub scope: String,
}

/// The fewest grants that meet what is missing: on the resource where one is concerned, else on its group.
#[must_use]
pub fn grants<'a>(missing: impl IntoIterator<Item = &'a Need>) -> Vec<Grant> {
    let mut by_group: BTreeMap<(String, Role), BTreeSet<&str>> = BTreeMap::new();
    for need in missing {
        by_group.entry((group_of(&need.scope).to_lowercase(), need.role)).or_default().insert(&need.scope);
    }
    let one = |((_, role), scopes): ((String, Role), BTreeSet<&str>)| {
        let first = scopes.first().copied().unwrap_or_default();
        let scope = if scopes.len() == 1 { first } else { group_of(first) };
        Grant { role, scope: scope.to_owned() }
    };
    let mut grants: Vec<Grant> = by_group.into_iter().map(one).collect();
    grants.sort();
    grants
}

/// What a lock forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// Deleting alone: an identity that is taken off is no deletion.
    CanNotDelete,
    ReadOnly,
    /// One that is not known here: in doubt it forbids.
    Other,
}

/// A lock, and what it lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    pub name: String,
    pub scope: String,
    pub level: Level,
}

impl Lock {
    /// Whether it forbids a change of this machine's identities.
    #[must_use]
    pub fn forbids(&self, target: &TargetId) -> bool {
        match self.level {
            Level::CanNotDelete => false,
            Level::ReadOnly | Level::Other => self.covers(target.folded()),
        }
    }

    /// Whether it forbids to make or tag this identity or, where that is wished for, to delete it.
    #[must_use]
    pub fn forbids_identity(&self, id: &IdentityId, goes: bool) -> bool {
        match self.level {
            Level::CanNotDelete => goes && self.covers(id.folded()),
            Level::ReadOnly | Level::Other => self.covers(id.folded()),
        }
    }

    /// It lies on this resource, or on something that holds it.
    fn covers(&self, folded: &str) -> bool {
        let scope = self.scope.to_lowercase();
        let below = folded.strip_prefix(scope.trim_end_matches('/'));
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const GROUP: &str = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/shop";

    fn permission(actions: &[&str], not_actions: &[&str]) -> Permission {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Permission { actions: owned(actions), not_actions: owned(not_actions) }
    }

    const WRITE: &str = "Microsoft.Compute/virtualMachines/write";
    const ASSIGN: &str = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action";

    #[rstest]
    #[case::owner(&["*"], &[], WRITE, true)]
    #[case::contributor(&["*"], &["Microsoft.Authorization/*/Write"], WRITE, true)]
    #[case::reader(&["*/read"], &[], WRITE, false)]
    #[case::any_of_a_type(&["Microsoft.Compute/virtualMachines/*"], &[], WRITE, true)]
    #[case::in_any_case(&["microsoft.compute/VIRTUALMACHINES/write"], &[], WRITE, true)]
    #[case::another_type(&["Microsoft.Compute/virtualMachineScaleSets/*"], &[], WRITE, false)]
    #[case::taken_away(&["*"], &["Microsoft.Compute/virtualMachines/*"], WRITE, false)]
    #[case::operator(&["Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action"], &[], ASSIGN, true)]
    #[case::operator_taken(&["*"], &["Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action"], ASSIGN, false)]
    #[case::stars_in_the_middle(&["Microsoft.*/userAssigned*/assign/act*"], &[], ASSIGN, true)]
    #[case::beginning_alone(&["Microsoft.Compute/virtualMachines/writ"], &[], WRITE, false)]
    #[case::nothing(&[""], &[], WRITE, false)]
    fn an_action_is_granted(
        #[case] actions: &[&str],
        #[case] not: &[&str],
        #[case] action: &str,
        #[case] granted: bool,
    ) {
        assert_eq!(allows(&[permission(actions, not)], action), granted);
    }

    #[test]
    fn what_one_role_leaves_out_another_may_grant() {
        let both = [permission(&["*"], &[WRITE]), permission(&[WRITE], &[])];
        assert!(allows(&both, WRITE) && !allows(&both[..1], WRITE));
    }

    fn vm(name: &str) -> TargetId {
        format!("{GROUP}/providers/Microsoft.Compute/virtualMachines/{name}").parse().expect("an id")
    }

    #[test]
    fn a_refusal_names_action_role_and_scope_or_says_that_it_is_granted_by_now() {
        let web = vm("web");
        let needs: BTreeSet<Need> = needs([&web], []).into_iter().filter(|need| need.action == WRITE).collect();
        let lacks = in_words(&needs, &needs);
        assert!(lacks.contains(&format!("lacks {WRITE} on {web}: grant it Virtual Machine Contributor on {web}")));
        assert!(in_words(&needs, &BTreeSet::new()).contains(&format!("it may {WRITE} on {web}: a new role")));
    }

    #[test]
    fn an_identity_that_is_to_exist_needs_rights_on_its_group() {
        let id: IdentityId =
            format!("{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/db1").parse().expect("an id");
        let actions = |goes| {
            let needs = needs_of_objects([(&id, goes)]);
            assert!(needs.iter().all(|need| need.scope == GROUP && need.role == Role::ManagedIdentityContributor));
            needs.into_iter().filter(|need| need.weight == Weight::Needed).map(|need| need.action).collect::<Vec<_>>()
        };
        assert_eq!(actions(false), KEEP);
        assert_eq!(actions(true), [DELETE, KEEP[0], KEEP[1]]);
    }

    #[test]
    fn one_resource_gets_a_grant_of_its_own_and_several_get_their_groups() {
        let id = format!(
            "{}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/shop-db",
            GROUP.replace("shop", "ids")
        );
        let id: IdentityId = id.parse().expect("an id");
        let needs = needs([&vm("a"), &vm("b")], [&id]);
        let needed: Vec<&Need> = needs.iter().filter(|need| need.weight == Weight::Needed).collect();
        let grants = grants(needed);
        let told: Vec<(&str, &str)> = grants.iter().map(|grant| (grant.role.name(), grant.scope.as_str())).collect();
        assert_eq!(told, [("Virtual Machine Contributor", GROUP), ("Managed Identity Operator", id.as_str())]);
    }

    #[rstest]
    #[case::a_group(GROUP, GROUP)]
    #[case::a_machine(&format!("{GROUP}/providers/Microsoft.Compute/virtualMachines/web"), GROUP)]
    #[case::a_subscription("/subscriptions/s", "/subscriptions/s")]
    fn a_resource_lies_in_its_group(#[case] scope: &str, #[case] group: &str) {
        assert_eq!(group_of(scope), group);
    }

    #[rstest]
    #[case::on_the_machine(Level::ReadOnly, &format!("{GROUP}/providers/microsoft.compute/virtualmachines/WEB"), true)]
    #[case::on_its_group(Level::ReadOnly, &GROUP.to_uppercase(), true)]
    #[case::on_a_namesake(Level::ReadOnly, &format!("{GROUP}-2"), false)]
    #[case::of_deletion(Level::CanNotDelete, GROUP, false)]
    #[case::unheard_of(Level::Other, GROUP, true)]
    fn a_lock_forbids_what_lies_below_it(#[case] level: Level, #[case] scope: &str, #[case] forbids: bool) {
        let lock = Lock { name: "l".into(), scope: scope.into(), level };
        assert_eq!(lock.forbids(&vm("web")), forbids);
    }

    #[rstest]
    #[case::read_only(Level::ReadOnly, false, true)]
    #[case::of_an_unknown_level(Level::Other, false, true)]
    #[case::that_stays(Level::CanNotDelete, false, false)]
    #[case::that_goes(Level::CanNotDelete, true, true)]
    fn a_lock_forbids_what_is_to_be_done_with_an_identity(
        #[case] level: Level,
        #[case] goes: bool,
        #[case] forbids: bool,
    ) {
        let id = |group: &str| {
            let id: IdentityId = format!("{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/shop-db")
                .parse()
                .expect("an id");
            id
        };
        let lock = Lock {
            name: "keep".into(),
            scope: GROUP.to_uppercase().replace("/SUBSCRIPTIONS", "/subscriptions"),
            level,
        };
        assert_eq!(lock.forbids_identity(&id(GROUP), goes), forbids);
        assert!(!lock.forbids_identity(&id(&format!("{GROUP}-two")), goes), "another group");
    }
}
