//! What holds for any claims, record and live state: at least 20,000 cases each, or as many as `PROPTEST_CASES` says.
use crate::kit::{NOTHING_SAID, NOW, judged_at, live};
use crate::wild::{Case, Planned, an_id, bounded_case, case, config, searched_case};
use lanyard_domain::audit::audit;
use lanyard_domain::claims::{DefaultIdentityChange, Stance};
use lanyard_domain::judge::{Judgement, Memory, Outcome, Sent};
use lanyard_domain::live::{DefaultIdentity, Principal};
use lanyard_domain::plan::{Guard, Hold, MAX_IDENTITIES_IN_REQUEST, Removals, Trials};
use lanyard_domain::{Bounds, Claim, Edit, Ensure, IdentityId, Intent, Live, Patch, Record, Switch, Unanswered};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// The effect of a plan's request on the machine, by ids in lower case.
fn effect(case: &Case, planned: &Planned) -> Option<Result<crate::merge::ArmBlock, String>> {
    planned.plan.patch.as_ref().map(|patch| case.block().patched(&patch.body()))
}

fn shouted(id: &IdentityId) -> IdentityId {
    let loud = id.as_str().to_uppercase();
    if loud.to_lowercase() == id.folded() { IdentityId::told_by_arm(&loud) } else { id.clone() }
}

/// Every id in another case: in claims, record, live state and bounds alike.
fn respelled(case: &Case) -> Case {
    let one = |claim: &Claim| Claim {
        user: claim.user.iter().map(|(id, ensure)| (shouted(id), *ensure)).collect(),
        ..claim.clone()
    };
    let mut record = case.record.clone();
    record.attached = case.record.attached.iter().map(|(id, known)| (shouted(id), known.clone())).collect();
    for claim in &mut record.claims {
        claim.present = claim.present.iter().map(shouted).collect();
    }
    let user = case.live.user.iter().map(|(id, principal)| (shouted(id), principal.clone())).collect();
    let set_aside = case.bounds.set_aside.iter().map(shouted).collect();
    Case {
        live: Live { user, ..case.live.clone() },
        record,
        read: case.read.iter().map(one).collect(),
        unread: case.unread.iter().map(one).collect(),
        gone: case.gone.clone(),
        bounds: Bounds { set_aside, ..case.bounds.clone() },
    }
}

/// Writes and plans again, as often as something is to be written.
fn rounds(mut case: Case, most: usize) -> Result<(usize, Case), String> {
    for round in 0..=most {
        let planned = case.planned();
        let Some(patch) = &planned.plan.patch else { return Ok((round, case)) };
        let before = case.block();
        let after = case.applied(&planned, patch);
        if after.block() == before {
            return Err(format!("round {round} changes nothing: {}", patch.body()));
        }
        case = after;
    }
    Err(format!("more than {most} rounds"))
}

fn default_of(case: &Case, patch: Option<&Patch>) -> DefaultIdentity {
    let block = patch.map_or_else(|| case.block(), |patch| case.block().patched(&patch.body()).expect("covered"));
    let ids: Vec<IdentityId> = block.user.iter().map(|id| IdentityId::told_by_arm(id)).collect();
    DefaultIdentity::of(block.system, ids.iter())
}

/// By the edits alone: no request needs to have this type.
fn default_with(case: &Case, patch: &Patch) -> DefaultIdentity {
    let removed = patch.removed_set();
    let stay = case.live.user.keys().filter(|id| !removed.contains(*id));
    let system = patch.system.map_or(case.live.system.is_some(), |switch| switch == Switch::On);
    DefaultIdentity::of(system, stay.chain(patch.added()))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn never_drops(case in bounded_case()) {
        let planned = case.planned();
        if let Some(patch) = &planned.plan.patch {
            let after = case.block().patched(&patch.body());
            prop_assert!(after.as_ref().is_ok_and(|after| case.drops_nothing(after)), "{after:?}");
            let body = patch.body().to_string();
            prop_assert_eq!(patch.if_match.as_ref(), case.live.etag.as_ref());
            prop_assert_eq!(audit(&body, Some("1"), &planned.claims, &planned.record, &case.live, &NOTHING_SAID), Ok(()));
        }
    }

    #[test]
    fn does_what_is_wanted_and_nothing_about_disputes(case in case()) {
        let planned = case.planned();
        prop_assert_eq!(effect(&case, &planned).unwrap_or(Ok(case.block())), Ok(case.wanted()));
        for id in case.all_ids() {
            let voices = case.user_voices(&id);
            if voices.absent && (voices.present || voices.protected) {
                let named = planned.plan.patch.as_ref().is_some_and(|patch| patch.edits.contains_key(&id));
                prop_assert!(!named, "{} is disputed", id);
            }
        }
    }

    #[test]
    fn is_minimal(case in case()) {
        let planned = case.planned();
        prop_assert_eq!(planned.plan.patch.is_none(), case.wanted() == case.block(), "no PATCH when satisfied");
        if let Some(patch) = &planned.plan.patch {
            for (id, edit) in &patch.edits {
                prop_assert_eq!(case.live.has(id), *edit == Edit::Detach, "{} need not be named", id);
            }
            let body = patch.body();
            let map = body.pointer("/identity/userAssignedIdentities").and_then(|map| map.as_object());
            let named = map.map_or(0, serde_json::Map::len);
            let wanted = case.wanted();
            let changed = wanted.user.symmetric_difference(&case.block().user).count();
            prop_assert_eq!(named, if wanted.user.is_empty() { 0 } else { changed });
        }
    }

    #[test]
    fn the_order_of_claims_means_nothing(case in bounded_case(), turn in 0..5_usize) {
        let mut turned = case.clone();
        turned.read.rotate_left(turn.min(case.read.len()));
        turned.record.claims.reverse();
        let plan = case.planned().plan;
        prop_assert_eq!(&plan, &turned.planned().plan);
        turned.read.reverse();
        turned.unread.reverse();
        prop_assert_eq!(&plan, &turned.planned().plan);
    }

    #[test]
    fn the_case_of_ids_means_nothing(case in bounded_case()) {
        let loud = respelled(&case);
        let (plain, respelled) = (case.planned(), loud.planned());
        prop_assert_eq!(&plain.plan, &respelled.plan);
        prop_assert_eq!(effect(&case, &plain), effect(&case, &respelled), "on the machine as it was");
        prop_assert_eq!(plain.record, respelled.record);
    }

    #[test]
    fn is_idempotent(case in case()) {
        let planned = case.planned();
        if let Some(patch) = &planned.plan.patch {
            let again = case.applied(&planned, patch).planned().plan;
            prop_assert!(again.patch.is_none() && again.is_settled(), "{}", again);
        }
    }

    #[test]
    fn the_type_is_correct(case in bounded_case()) {
        let planned = case.planned();
        if let Some(patch) = &planned.plan.patch {
            let removed = patch.removed_set();
            let user = case.live.user.keys().any(|id| !removed.contains(id)) || patch.added().next().is_some();
            let system = patch.system.map_or(case.live.system.is_some(), |switch| switch == Switch::On);
            let kind = match (system, user) {
                (false, false) => "None",
                (true, false) => "SystemAssigned",
                (false, true) => "UserAssigned",
                (true, true) => "SystemAssigned, UserAssigned",
            };
            let body = patch.body();
            prop_assert_eq!(body.pointer("/identity/type").and_then(|kind| kind.as_str()), Some(kind));
            prop_assert_eq!(body.as_object().map(serde_json::Map::len), Some(1));
        }
    }

    #[test]
    fn origins_are_kept(case in bounded_case()) {
        let planned = case.planned();
        if let Some(patch) = &planned.plan.patch {
            let after = case.applied(&planned, patch);
            let added: BTreeSet<IdentityId> = patch.added().cloned().collect();
            let kept = planned.record.attached.keys().filter(|id| after.live.has(id)).cloned();
            let ours: BTreeSet<IdentityId> = kept.chain(added).collect();
            prop_assert_eq!(after.record.attached.keys().cloned().collect::<BTreeSet<_>>(), ours);
            prop_assert!(after.record.intent.is_none());
        } else {
            let told = planned.record.attached.keys().all(|id| case.record.attached.contains_key(id));
            prop_assert!(told, "what was there before is not ours by being declared");
        }
    }

    /// Whatever is known of an attempt, ours is what was ours or what we meant to add, and only what is there.
    #[test]
    fn nothing_becomes_ours_that_we_did_not_mean_to_add(
        case in case(),
        add in proptest::collection::btree_set(an_id(), 0..4),
        remove in proptest::collection::btree_set(an_id(), 0..4),
        known in proptest::option::of(proptest::sample::select(OUTCOMES.to_vec())),
        ours in any::<bool>(),
        unanswered in any::<bool>(),
        moved in any::<bool>(),
    ) {
        let writer = if ours { "me" } else { "another" };
        let etag = if moved { 1 } else { 2 };
        let earlier = Unanswered { base: crate::kit::base("m1", etag), operation: "op-0".into() };
        let unanswered: Vec<Unanswered> = unanswered.then_some(earlier).into_iter().collect();
        let intent = Intent {
            base: crate::kit::base("m1", etag), add, remove, unanswered, writer: writer.into(), ..crate::kit::intent("", "")
        };
        let shown = Live { etag: live("m1", 2, "").etag, ..case.live.clone() };
        let record = Record { intent: Some(intent.clone()), ..case.record.clone() };
        let sent = known.map(|outcome| Sent {
            operation: "op-1".into(),
            outcome,
            added: intent.add.clone(),
            removed: intent.remove.clone(),
            system: None,
        });
        let mut memory = Memory { sent, ..Memory::default() };
        if let Judgement::Clear { record: judged, .. } = judged_at(NOW, &record, &shown, &mut memory) {
            for id in judged.attached.keys() {
                prop_assert!(record.attached.contains_key(id) || intent.add.contains(id), "{} is not ours", id);
                prop_assert!(judged.intent.is_some() || shown.has(id), "{} is not there", id);
            }
            if let Some(open) = &judged.intent {
                prop_assert!(open.add.is_subset(&intent.add) && open.remove == intent.remove, "{:?}", open);
                let mut arrived = intent.add.difference(&open.add);
                prop_assert!(arrived.all(|id| judged.attached.contains_key(id)), "what an open intent lost is ours");
            }
        }
    }

    /// Bounds hold back and do nothing else.
    #[test]
    fn bounds_only_hold_back(case in bounded_case()) {
        let bounded = case.planned().plan;
        let free = Case { bounds: Bounds::default(), ..case.clone() }.planned().plan;
        let Some(patch) = &bounded.patch else {
            prop_assert!(!bounded.holds().any(|hold| hold == Hold::NextRequest), "what follows must have something to follow");
            return Ok(());
        };
        prop_assert!(patch.edits.keys().all(|id| !case.bounds.set_aside.contains(id)));
        let removals_allowed = match case.bounds.removals {
            Removals::Unlimited => usize::MAX,
            Removals::Left(left) => left,
            Removals::Paused => 0,
        };
        prop_assert!(patch.removals() <= removals_allowed);
        let due = free.patch.as_ref().map(|all| all.edits.clone()).unwrap_or_default();
        let blocked = |id: &IdentityId| matches!(free.step(id), lanyard_domain::plan::Step::Held { .. });
        prop_assert!(patch.edits.iter().all(|(id, edit)| due.get(id) == Some(edit) || blocked(id)));
        if case.bounds.guard == (Guard::Weak { allow_shrink: false }) {
            let after = case.block().patched(&patch.body()).expect("covered");
            prop_assert!(after.system || case.live.system.is_none());
            prop_assert!(!after.user.is_empty() || case.live.user.is_empty());
        }
        if case.bounds.split {
            prop_assert!(patch.added().next().is_none() || patch.removed().next().is_none());
        }
    }

    /// Where every claim blocks, and none leaves, the identity that callers get by default stays.
    #[test]
    fn a_blocked_default_identity_does_not_change(case in bounded_case()) {
        let mut case = case;
        case.record.attached.clear();
        for claim in &mut case.read {
            claim.default_identity_change = DefaultIdentityChange::Block;
        }
        let planned = case.planned();
        let before = default_of(&case, None);
        if before != DefaultIdentity::Nobody {
            prop_assert_eq!(before, default_of(&case, planned.plan.patch.as_ref()), "{}", planned.plan);
        }
    }

    /// Nor does it by a request that carries a part of what is due: what it alters, others ask for, or deletions.
    #[test]
    fn no_request_changes_the_default_identity_against_a_block(case in searched_case()) {
        let planned = case.planned();
        let (before, patch) = (default_of(&case, None), planned.plan.patch.as_ref());
        let after = default_of(&case, patch);
        if before != after && before != DefaultIdentity::Nobody {
            let mut unblocked = patch.cloned().expect("it changes something");
            unblocked.edits.retain(|id, edit| !case.is_blocked(id, *edit));
            unblocked.system = unblocked.system.filter(|_| !case.is_switch_blocked());
            let alone = default_with(&case, &unblocked);
            prop_assert_eq!(after, alone, "what is blocked changes it: {}", planned.plan);
        }
    }

    /// What `Block` holds makes room: in the midst of a search, what else is due still has its turn.
    #[test]
    fn what_is_blocked_takes_nobodys_turn(case in searched_case()) {
        let trials = Trials { affordable: true, ..case.bounds.trials.clone() };
        let case = Case { bounds: Bounds { trials, ..Bounds::default() }, ..case };
        let at_once = Case { bounds: Bounds::default(), ..case.clone() };
        let (searching, at_once) = (case.planned().plan, at_once.planned().plan);
        prop_assert_eq!(searching.patch.is_none(), at_once.patch.is_none(), "{}\n\n{}", searching, at_once);
    }

    /// Under any bounds there is a last request.
    #[test]
    fn writing_comes_to_an_end(case in bounded_case()) {
        rounds(case, 16).map_err(TestCaseError::fail)?;
    }
}

proptest! {
    // Hundreds of ids each: a few are as good as many.
    #![proptest_config(ProptestConfig { cases: config().cases / 200 + 1, ..config() })]

    /// However many ids, and whatever comes first: each request is within the limit, and there is a last one.
    #[test]
    fn requests_are_within_the_limit_and_come_to_an_end(
        wanted in 0..330_usize, withdrawn in 0..330_usize, strangers in 0..3_usize, split in any::<bool>(),
    ) {
        let case = crowd(wanted, withdrawn, strangers, split);
        let first = case.planned();
        if let Some(patch) = &first.plan.patch {
            let body = patch.body();
            let named = body.pointer("/identity/userAssignedIdentities").and_then(|map| map.as_object());
            prop_assert!(named.is_none_or(|map| map.len() <= MAX_IDENTITIES_IN_REQUEST));
        }
        let least = (wanted + withdrawn).div_ceil(MAX_IDENTITIES_IN_REQUEST);
        let (round, end) = rounds(case.clone(), least + 1).map_err(TestCaseError::fail)?;
        prop_assert_eq!(end.block(), case.wanted());
        prop_assert!(round >= least || wanted == 0, "{round} rounds");
    }
}

const OUTCOMES: [Outcome; 5] =
    [Outcome::Unknown, Outcome::Refused, Outcome::Accepted, Outcome::Succeeded, Outcome::Failed];

/// Many ids wanted that are not there, many there that are not wanted any more.
fn crowd(wanted: usize, withdrawn: usize, strangers: usize, split: bool) -> Case {
    let id = |kind: &str, n: usize| crate::kit::id(&format!("{kind}-{n}"));
    let mut shown = live("m1", 1, "");
    let there = (0..withdrawn).map(|n| id("ours", n)).chain((0..strangers).map(|n| id("theirs", n)));
    shown.user = there.map(|id| (id, Principal::default())).collect();
    let mut record = crate::kit::record("m1", "");
    record.attached = (0..withdrawn).map(|n| (id("ours", n), lanyard_domain::Attached::default())).collect();
    let claim = Claim {
        user: (0..wanted).map(|n| (id("wanted", n), Ensure::Present)).collect(),
        stance: Stance::Enforce,
        ..crate::kit::claim("web", "")
    };
    let bounds = Bounds { split, ..Bounds::default() };
    Case { live: shown, record, read: vec![claim], unread: vec![], gone: BTreeSet::new(), bounds }
}
