//! What holds for any claims, record and live state with dead entries among them, and what their identities say of themselves.
use crate::kit::{NOW, base, claim, clear, complete, id, live, record};
use crate::merge::ArmBlock;
use lanyard_domain::audit::audit;
use lanyard_domain::claims::Holding;
use lanyard_domain::dangling::{Own, ROUNDS, begun};
use lanyard_domain::depart::depart;
use lanyard_domain::intend::{Attempt, intend};
use lanyard_domain::judge::{Memory, Outcome, Sent};
use lanyard_domain::live::Provisioning;
use lanyard_domain::record::Repair;
use lanyard_domain::{
    Bounds, Claim, Claims, Complete, Edit, Ensure, Facts, Fresh, Identities, IdentityId, Leaving, Live, Patch, Plan,
    Record, Stance, SystemWish, plan,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A target in some state.
#[derive(Clone, Debug)]
struct Case {
    live: Live,
    record: Record,
    claims: Vec<Claim>,
    identities: Identities,
}

fn names() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(NAMES.to_vec(), 0..=NAMES.len())
}

fn a_claim() -> impl Strategy<Value = Claim> {
    let wishes = proptest::collection::btree_map(0..NAMES.len(), any::<bool>(), 0..4);
    let system = prop_oneof![Just(SystemWish::Enabled), Just(SystemWish::Disabled), Just(SystemWish::Unmanaged)];
    let stance = prop_oneof![
        4 => Just(Stance::Enforce),
        1 => Just(Stance::Hold(Holding::Observe)),
        1 => Just(Stance::Hold(Holding::Unread)),
    ];
    let leaving = prop_oneof![4 => Just(None), 1 => Just(Some(Leaving::Detach)), 1 => Just(Some(Leaving::Release))];
    (wishes, names(), system, stance, leaving).prop_map(|(wishes, repair, system, stance, leaving)| {
        let ensure = |present| if present { Ensure::Present } else { Ensure::Absent };
        let user = wishes.into_iter().map(|(n, present)| (id(NAMES[n]), ensure(present))).collect();
        let repair = repair.into_iter().map(id).collect();
        Claim { user, repair, system, stance, leaving, ..claim("?", "") }
    })
}

/// What the machine shows of one identity, what that says of itself, whether this is news, and repairs so far.
type Entry = (Option<&'static str>, Option<Own>, bool, u32);

fn entry() -> impl Strategy<Value = Entry> {
    let there = |principal: &str| Some(Own::There(principal.into()));
    let own = prop_oneof![
        2 => Just(None),
        3 => Just(there("new")),
        1 => Just(there("old")),
        1 => Just(Some(Own::Missing)),
        1 => Just(Some(Own::Untold)),
    ];
    (prop_oneof![Just(None), Just(Some("old")), Just(Some("NEW"))], own, proptest::bool::weighted(0.2), 0..=ROUNDS)
}

fn case() -> impl Strategy<Value = Case> {
    let state = (any::<bool>(), names(), names(), proptest::collection::vec(entry(), NAMES.len()));
    (state, proptest::bool::weighted(0.1), proptest::collection::vec(a_claim(), 0..4)).prop_map(
        |((system, there, attached, entries), failed, mut claims)| {
            for (n, claim) in claims.iter_mut().enumerate() {
                claim.key.name = format!("claim-{n}");
                claim.key.uid = n.to_string();
            }
            let mut shown = live("m1", 1, &there.join(" "));
            shown.system = system.then(lanyard_domain::live::SystemIdentity::default);
            shown.provisioning = if failed { Provisioning::Failed } else { Provisioning::Succeeded };
            let mut record = record("m1", &attached.join(" "));
            let (mut own, mut settling) = (BTreeMap::new(), BTreeSet::new());
            for (name, (principal, says, young, rounds)) in NAMES.iter().zip(entries) {
                if let Some(entry) = shown.user.get_mut(&id(name)) {
                    entry.principal_id = principal.map(Into::into);
                }
                own.extend(says.map(|says| (id(name), says)));
                settling.extend(young.then(|| id(name)));
                let repair = Repair { principal_id: "new".into(), rounds, asked: String::new(), awaited: false };
                record.repairs.extend((rounds > 0).then(|| (id(name), repair)));
            }
            Case { live: shown, record, claims, identities: Identities::new(own, settling) }
        },
    )
}

/// As the controller comes to a plan.
struct Planned {
    claims: Complete<Claims>,
    record: Record,
    plan: Plan,
}

impl Case {
    fn planned(&self) -> Planned {
        let (judged, _) = clear(&self.record, &self.live, &mut Memory::default());
        let claims = complete(self.claims.clone(), &judged);
        let (record, _) = depart(&judged, &claims);
        let (fresh, bounds) = (Fresh::answered(self.live.clone()), Bounds::default());
        let identities = &self.identities;
        let plan = plan(Facts { claims: &claims, record: &record, live: &fresh, bounds: &bounds, identities });
        Planned { claims, record, plan }
    }

    fn block(&self) -> ArmBlock {
        ArmBlock::new(self.live.system.is_some(), self.live.user.keys().map(IdentityId::as_str))
    }

    fn staying(&self) -> impl Iterator<Item = &Claim> {
        self.claims.iter().filter(|claim| claim.leaving.is_none())
    }

    /// Ours, and not let go by an assignment that leaves without a write.
    fn ours(&self, id: &IdentityId) -> bool {
        let says = |claim: &Claim| claim.user.get(id) == Some(&Ensure::Present);
        let released = self.claims.iter().any(|c| c.leaving == Some(Leaving::Release) && says(c));
        self.record.attached.contains_key(id) && (!released || self.staying().any(says))
    }

    /// Who says what of one thing: (enforced present, enforced absent, protected).
    fn voices(&self, says: impl Fn(&Claim) -> Option<bool>) -> (bool, bool, bool) {
        let heard = |enforce: bool, what: bool| {
            self.staying().any(|c| (c.stance == Stance::Enforce) == enforce && says(c) == Some(what))
        };
        (heard(true, true), heard(true, false), heard(false, true))
    }

    /// Dead by the word of a machine at rest and of the identity itself, wanted, and ours or asked to be mended.
    fn is_to_be_repaired(&self, id: &IdentityId) -> bool {
        let (present, absent, _) = self.user_voices(id);
        let asks = |claim: &Claim| {
            claim.stance == Stance::Enforce && claim.user.get(id) == Some(&Ensure::Present) && claim.repair.contains(id)
        };
        let shown = self.live.user.get(id).and_then(|principal| principal.principal_id.clone()).unwrap_or_default();
        let Some(Own::There(own)) = self.identities.own(id) else { return false };
        let repair = self.record.repairs.get(id).filter(|repair| repair.principal_id == *own);
        self.live.has(id)
            && self.live.provisioning == Provisioning::Succeeded
            && !self.identities.is_settling(id)
            && present
            && !absent
            && (self.record.attached.contains_key(id) || self.staying().any(asks))
            && shown.to_lowercase() != *own
            && repair.is_none_or(|repair| repair.rounds < ROUNDS)
    }

    fn user_voices(&self, id: &IdentityId) -> (bool, bool, bool) {
        self.voices(|claim| claim.user.get(id).map(|ensure| *ensure == Ensure::Present))
    }

    fn system_voices(&self) -> (bool, bool, bool) {
        self.voices(|claim| match claim.system {
            SystemWish::Enabled => Some(true),
            SystemWish::Disabled => Some(false),
            SystemWish::Unmanaged => None,
        })
    }

    /// What the semantics want of the machine, said once more and apart from the planner.
    fn wanted(&self) -> ArmBlock {
        let decided = |voices: (bool, bool, bool), there: bool, unclaimed: bool| match voices {
            (true, false, _) => true,
            (false, true, false) => false,
            (false, false, false) => unclaimed,
            (true | false, true, _) | (false, false, true) => there,
        };
        let system = self.live.system.is_some();
        let user = NAMES.iter().map(|name| id(name)).filter(|id| {
            let there = self.live.has(id);
            decided(self.user_voices(id), there, there && !self.ours(id)) && !self.is_to_be_repaired(id)
        });
        ArmBlock::new(decided(self.system_voices(), system, system), user.map(|id| id.as_str().to_owned()))
    }

    /// Whether promise 1 allows that the machine comes to this state.
    fn drops_nothing(&self, after: &ArmBlock) -> bool {
        let (on, off, protected) = self.system_voices();
        let system = self.live.system.is_none() || after.system || (off && !on && !protected);
        let lost = self.live.user.keys().filter(|id| !after.user.contains(id.folded()));
        system
            && lost.into_iter().all(|id| {
                let (present, absent, protected) = self.user_voices(id);
                (!present && !protected && (absent || self.ours(id))) || self.is_to_be_repaired(id)
            })
    }
}

/// The machine after an accepted write, and the record as judged by it.
fn applied(case: &Case, planned: &Planned, patch: &Patch) -> Case {
    let by = Attempt { writer: "me", operation: "op-1" };
    let intended = intend(&planned.record, &planned.claims, &base("m1", 1), patch, by);
    let after = case.block().patched(&patch.body()).expect("covered by the facts");
    let intended = begun(intended, &planned.plan, &case.identities, &BTreeMap::new());
    let user = after.user.iter().map(|id| {
        let id = IdentityId::told_by_arm(id);
        let new = match case.identities.own(&id) {
            Some(Own::There(own)) => own.clone(),
            Some(Own::Missing | Own::Untold) | None => "old".into(),
        };
        let new = lanyard_domain::Principal { principal_id: Some(new), client_id: None };
        let principal = case.live.user.get(&id).cloned().unwrap_or(new);
        (id, principal)
    });
    let mut shown = live("m1", 2, if after.system { "system" } else { "" });
    shown.user = user.collect();
    let sent = Sent { outcome: Outcome::Succeeded, ..Sent::new("op-1", patch) };
    let mut memory = Memory { sent: Some(sent), last_write_ended: Some(NOW), ..Memory::default() };
    let (settled, _) = clear(&intended, &shown, &mut memory);
    shown.provisioning = case.live.provisioning;
    Case { live: shown, record: settled, claims: case.claims.clone(), identities: case.identities.clone() }
}

fn respelled(claims: &[Claim]) -> Vec<Claim> {
    let shout = |id: &IdentityId| id.as_str().to_uppercase().parse::<IdentityId>().expect("still an id");
    let one = |claim: &Claim| Claim {
        user: claim.user.iter().map(|(id, ensure)| (shout(id), *ensure)).collect(),
        repair: claim.repair.iter().map(shout).collect(),
        ..claim.clone()
    };
    claims.iter().map(one).collect()
}

/// Some body that a defect could make.
fn any_body() -> impl Strategy<Value = serde_json::Value> {
    let kinds = ["None", "SystemAssigned", "UserAssigned", "SystemAssigned, UserAssigned"];
    let map = proptest::collection::btree_map(0..NAMES.len(), any::<bool>(), 0..4);
    (proptest::sample::select(kinds.to_vec()), proptest::option::of(map)).prop_map(|(kind, map)| {
        let mut identity = serde_json::json!({ "type": kind });
        if let Some(map) = map {
            let edit = |add: bool| if add { serde_json::json!({}) } else { serde_json::Value::Null };
            let map: BTreeMap<String, serde_json::Value> =
                map.into_iter().map(|(n, add)| (id(NAMES[n]).as_str().to_owned(), edit(add))).collect();
            identity["userAssignedIdentities"] = serde_json::json!(map);
        }
        serde_json::json!({ "identity": identity })
    })
}

proptest! {
    #[test]
    fn a_plan_never_drops_and_the_audit_agrees(case in case()) {
        let planned = case.planned();
        if let Some(patch) = &planned.plan.patch {
            let after = case.block().patched(&patch.body());
            prop_assert!(after.as_ref().is_ok_and(|after| case.drops_nothing(after)), "{after:?}");
            let body = patch.body().to_string();
            prop_assert_eq!(audit(&body, Some("1"), &planned.claims, &planned.record, &case.live, &case.identities), Ok(()));
            prop_assert!(audit(&body, Some("2"), &planned.claims, &planned.record, &case.live, &case.identities).is_err());
            prop_assert!(audit(&body, None, &planned.claims, &planned.record, &case.live, &case.identities).is_err());
        }
    }

    #[test]
    fn the_audit_refuses_exactly_what_would_drop(case in case(), body in any_body()) {
        let planned = case.planned();
        if let Ok(after) = case.block().patched(&body) {
            let verdict = audit(&body.to_string(), Some("1"), &planned.claims, &planned.record, &case.live, &case.identities);
            prop_assert_eq!(verdict.is_ok(), case.drops_nothing(&after), "{:?} after {}", verdict, body);
        }
    }

    #[test]
    fn a_plan_does_what_is_wanted_and_nothing_about_disputes(case in case()) {
        let planned = case.planned();
        let reached = match &planned.plan.patch {
            Some(patch) => case.block().patched(&patch.body()),
            None => Ok(case.block()),
        };
        prop_assert_eq!(reached, Ok(case.wanted()));
        for claim in case.staying() {
            for id in claim.user.keys() {
                let (present, absent, protected) = case.user_voices(id);
                if absent && (present || protected) {
                    let named = planned.plan.patch.as_ref().is_some_and(|patch| patch.edits.contains_key(id));
                    prop_assert!(!named, "{} is disputed", id);
                }
            }
        }
    }

    #[test]
    fn a_plan_is_minimal(case in case()) {
        let planned = case.planned();
        prop_assert_eq!(planned.plan.patch.is_none(), case.wanted() == case.block());
        if let Some(patch) = &planned.plan.patch {
            for (id, edit) in &patch.edits {
                prop_assert_eq!(case.live.has(id), *edit == Edit::Detach, "{} changes", id);
            }
        }
    }

    #[test]
    fn the_type_says_what_is_there_afterwards(case in case()) {
        if let Some(patch) = &case.planned().plan.patch {
            let wanted = case.wanted();
            let kind = match (wanted.system, wanted.user.is_empty()) {
                (false, true) => "None",
                (true, true) => "SystemAssigned",
                (false, false) => "UserAssigned",
                (true, false) => "SystemAssigned, UserAssigned",
            };
            let body = patch.body();
            prop_assert_eq!(body.pointer("/identity/type").and_then(|kind| kind.as_str()), Some(kind));
        }
    }

    #[test]
    fn planning_again_changes_nothing_and_the_record_knows_what_is_ours(case in case()) {
        let planned = case.planned();
        if let Some(patch) = &planned.plan.patch {
            let after = applied(&case, &planned, patch);
            let added: BTreeSet<IdentityId> = patch.added().cloned().collect();
            let kept = planned.record.attached.keys().filter(|id| after.live.has(id)).cloned();
            let ours: BTreeSet<IdentityId> = kept.chain(added).collect();
            prop_assert_eq!(after.record.attached.keys().cloned().collect::<BTreeSet<_>>(), ours);
            prop_assert!(after.record.intent.is_none());
            let repaired: Vec<IdentityId> = planned.plan.repairs().cloned().collect();
            let again = after.planned();
            let added: Vec<IdentityId> = again.plan.patch.iter().flat_map(Patch::added).cloned().collect();
            prop_assert_eq!(&added, &repaired, "what was taken off to be mended comes back, by a request of its own");
            let last = match &again.plan.patch {
                Some(patch) => applied(&after, &again, patch).planned().plan,
                None => again.plan,
            };
            prop_assert!(last.is_settled(), "{}", last);
        }
    }

    #[test]
    fn the_order_of_claims_means_nothing(case in case(), turn in 0..4_usize) {
        let mut turned = case.clone();
        turned.claims.rotate_left(turn.min(case.claims.len()));
        prop_assert_eq!(case.planned().plan, turned.planned().plan);
        turned.claims.reverse();
        prop_assert_eq!(case.planned().plan, turned.planned().plan);
    }

    #[test]
    fn the_case_of_ids_means_nothing(case in case()) {
        let shouted = Case { claims: respelled(&case.claims), ..case.clone() };
        let (plain, loud) = (case.planned().plan, shouted.planned().plan);
        prop_assert_eq!(&plain, &loud);
        let effect = |plan: &Plan| plan.patch.as_ref().map(|patch| case.block().patched(&patch.body()));
        prop_assert_eq!(effect(&plain), effect(&loud));
    }
}
