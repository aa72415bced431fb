//! Stories of dead entries: identities that were deleted, or deleted and made again.
use crate::kit::{NOW, base, claim, clear, complete, id, ids, live, record};
use lanyard_domain::audit::audit;
use lanyard_domain::claims::{DefaultIdentityChange, Holding};
use lanyard_domain::dangling::{Own, ROUNDS, Suspects, begun, renewed};
use lanyard_domain::intend::{Attempt, conclude, intend, refused};
use lanyard_domain::judge::{Memory, Note, Outcome, Sent};
use lanyard_domain::live::Provisioning;
use lanyard_domain::{
    Bounds, Claim, Ensure, Facts, Fresh, Identities, Live, Moment, Plan, Principal, Record, Stance, plan,
};
use rstest::rstest;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A machine, what is declared and recorded, and what identities say of themselves.
#[derive(Clone)]
struct Story {
    live: Live,
    record: Record,
    claims: Vec<Claim>,
    identities: Identities,
    asked: BTreeMap<lanyard_domain::IdentityId, String>,
    etag: u32,
}

fn there(principal: &str) -> Own {
    Own::There(principal.into())
}

fn principal(principal: Option<&str>) -> Principal {
    Principal { principal_id: principal.map(Into::into), client_id: None }
}

/// `a` is on the machine and declared, the identity was made again; what the machine shows is as said.
fn story(attached: &str, shown: Option<&str>, own: Own) -> Story {
    let mut live = live("m1", 1, "a");
    live.user.insert(id("a"), principal(shown));
    Story {
        live,
        record: record("m1", attached),
        claims: vec![claim("web", "+a")],
        identities: Identities::new([(id("a"), own)].into(), BTreeSet::new()),
        asked: BTreeMap::new(),
        etag: 1,
    }
}

impl Story {
    fn plan(&self) -> Plan {
        let (fresh, bounds) = (Fresh::answered(self.live.clone()), Bounds::default());
        let claims = complete(self.claims.clone(), &self.record);
        let record = renewed(&self.record, &fresh, &self.asked);
        let facts =
            Facts { claims: &claims, record: &record, live: &fresh, bounds: &bounds, identities: &self.identities };
        plan(facts)
    }

    fn printed(&self) -> String {
        self.plan().to_string()
    }

    /// Sends the plan's PATCH, if there is one that the audit lets pass. `end`: what our process learns of it.
    fn send(&mut self, end: Outcome) -> Vec<Note> {
        let plan = self.plan();
        let patch = plan.patch.clone().expect("something to send");
        let claims = complete(self.claims.clone(), &self.record);
        let renewed = renewed(&self.record, &Fresh::answered(self.live.clone()), &self.asked);
        let (body, etag) = (patch.body().to_string(), patch.if_match.as_ref().map(|etag| etag.0.as_str()));
        audit(&body, etag, &claims, &renewed, &self.live, &self.identities).expect("it drops nothing");
        let by = Attempt { writer: "me", operation: "op" };
        let intended = intend(&renewed, &claims, &base("m1", self.etag), &patch, by);
        let intended = begun(intended, &plan, &self.identities, &self.asked);
        self.etag += 1;
        self.live.etag = live("m1", self.etag, "").etag;
        for id in patch.removed() {
            self.live.user.remove(id);
        }
        for id in patch.added() {
            let own = match self.identities.own(id) {
                Some(Own::There(own)) => Some(own.as_str()),
                Some(Own::Missing | Own::Untold) | None => None,
            };
            self.live.user.insert(id.clone(), principal(own));
        }
        // A process that was killed remembers nothing.
        let sent = Sent { outcome: end, ..Sent::new("op", &patch) };
        let sent = (end != Outcome::Unknown).then_some(sent);
        let mut memory = Memory { sent, last_write_ended: Some(NOW), ..Memory::default() };
        let (judged, notes) = clear(&intended, &self.live, &mut memory);
        self.record = conclude(&judged, &complete(self.claims.clone(), &judged));
        notes
    }

    fn claim(mut self, change: impl FnOnce(&mut Claim)) -> Self {
        change(&mut self.claims[0]);
        self
    }
}

const REPAIR: &str = "leave off system\ndetach (dangling, to be attached again) id-a";
const ATTACH: &str = "leave off system\nattach id-a";

#[rstest]
#[case::blank(None)]
#[case::another_principal(Some("old"))]
fn what_is_ours_is_taken_off_and_put_on_again_by_two_requests(#[case] shown: Option<&str>) {
    let mut story = story("a", shown, there("new"));
    assert_eq!(story.printed(), REPAIR);
    story.send(Outcome::Succeeded);
    assert!(story.record.attached.is_empty());
    assert_eq!(story.printed(), ATTACH);
    story.send(Outcome::Succeeded);
    assert_eq!(story.printed(), "leave off system\nkeep our id-a");
    assert_eq!(story.record.attached[&id("a")].principal_id.as_deref(), Some("new"));
}

#[rstest]
#[case::healthy(story("", Some("NEW"), there("new")), "keep preexisting id-a")]
#[case::nobody_asked_it(Story { identities: Identities::default(), ..story("", None, there("new")) }, "keep preexisting id-a")]
#[case::not_ours(story("", Some("old"), there("new")), "dangling (not ours, and no repair is asked for) id-a")]
#[case::deleted(story("a", Some("old"), Own::Missing), "dangling (the identity was deleted) id-a")]
#[case::deleted_and_blank(story("a", None, Own::Missing), "dangling (the identity was deleted) id-a")]
#[case::blank_and_hidden(story("a", None, Own::Untold), "dangling (the identity cannot be looked at) id-a")]
#[case::shown_and_hidden(story("", Some("old"), Own::Untold), "keep preexisting id-a")]
#[case::repair_is_asked_for(
    story("", Some("old"), there("new")).claim(|it| it.repair = ids(["a"])),
    "detach (dangling, to be attached again) id-a"
)]
#[case::by_one_that_only_observes(
    story("", Some("old"), there("new")).claim(|it| { it.repair = ids(["a"]); it.stance = Stance::Hold(Holding::Observe); }),
    "protect id-a"
)]
#[case::of_somebody_elses_failed_operation(
    Story { live: Live { provisioning: Provisioning::Failed, ..story("a", None, there("new")).live }, ..story("a", None, there("new")) },
    "keep our id-a"
)]
#[case::seen_this_moment(
    Story { identities: Identities::new([(id("a"), there("new"))].into(), ids(["a"])), ..story("a", None, there("new")) },
    "dangling (looked at again first) id-a"
)]
#[case::disputed(
    Story { claims: vec![claim("ops", "-a"), claim("web", "+a")], ..story("a", None, there("new")) },
    "disputed (shop/web against shop/ops) id-a"
)]
#[case::undeclared(Story { claims: vec![], ..story("a", None, there("new")) }, "detach (claim withdrawn) id-a")]
fn an_entry_is_judged_by_two_witnesses(#[case] story: Story, #[case] step: &str) {
    assert_eq!(story.printed(), format!("leave off system\n{step}"));
    // The second opinion, on the very body that would take it off.
    let claims = complete(story.claims.clone(), &story.record);
    let body = r#"{"identity":{"type":"None"}}"#;
    let verdict = audit(body, Some("1"), &claims, &story.record, &story.live, &story.identities);
    assert_eq!(verdict.is_ok(), step.starts_with("detach"), "{verdict:?}");
}

#[test]
fn a_crash_after_the_removal_is_followed_by_the_plain_rule() {
    let mut story = story("", Some("old"), there("new")).claim(|it| it.repair = ids(["a"]));
    story.send(Outcome::Unknown);
    story.identities = Identities::default();
    assert_eq!(story.printed(), ATTACH);
    story.send(Outcome::Unknown);
    assert_eq!(story.record.attached.into_keys().collect::<BTreeSet<_>>(), ids(["a"]), "we put it there: it is ours");
}

#[test]
fn what_a_stranger_puts_back_in_between_is_theirs() {
    let mut story = story("a", None, there("new"));
    story.send(Outcome::Succeeded);
    story.live.user.insert(id("a"), principal(Some("new")));
    story.live.etag = live("m1", 9, "").etag;
    assert_eq!(story.printed(), "leave off system\nkeep preexisting id-a");
}

#[test]
fn an_entry_that_never_heals_is_repaired_three_times_and_then_told_of() {
    let mut story = story("a", None, there("new"));
    for _ in 0..ROUNDS {
        assert_eq!(story.printed(), REPAIR);
        story.send(Outcome::Succeeded);
        story.send(Outcome::Unknown);
        story.live.user.insert(id("a"), principal(None));
    }
    assert_eq!(story.printed(), "leave off system\ndangling (repaired in vain) id-a");
    let body = r#"{"identity":{"type":"None"}}"#;
    let claims = complete(story.claims.clone(), &story.record);
    let etag = story.live.etag.clone().map(|etag| etag.0);
    assert!(audit(body, etag.as_deref(), &claims, &story.record, &story.live, &story.identities).is_err());

    let mut anew = story.clone();
    anew.asked = [(id("a"), "another generation".to_owned())].into();
    assert_eq!(anew.printed(), REPAIR, "a person asks anew");
    story.identities = Identities::new([(id("a"), there("newer"))].into(), BTreeSet::new());
    assert_eq!(story.printed(), REPAIR, "it was made again once more");
}

#[test]
fn a_round_that_was_refused_is_not_counted() {
    let story = story("a", None, there("new"));
    let plan = story.plan();
    let patch = plan.patch.clone().expect("a repair");
    let claims = complete(story.claims.clone(), &story.record);
    let by = Attempt { writer: "me", operation: "op" };
    let intended = intend(&story.record, &claims, &base("m1", 1), &patch, by);
    let intended = begun(intended, &plan, &story.identities, &story.asked);
    assert_eq!(intended.rounds_of_repair(&id("a"), "new"), 1);
    let void = refused(&intended);
    assert_eq!((void.rounds_of_repair(&id("a"), "new"), void.repairs[&id("a")].awaited), (0, false));
}

#[test]
fn what_nobody_declares_any_more_is_not_counted_any_more() {
    let mut story = story("a", None, there("new"));
    story.send(Outcome::Succeeded);
    assert_eq!(story.record.repairs.len(), 1);
    assert!(conclude(&story.record, &complete(vec![claim("web", "")], &story.record)).repairs.is_empty());
}

#[test]
fn a_repair_does_not_change_the_default_identity_and_is_not_held_for_it() {
    for others in ["", "b"] {
        let mut story =
            story("a", None, there("new")).claim(|it| it.default_identity_change = DefaultIdentityChange::Block);
        story.live.user.extend(ids(others.split_whitespace()).into_iter().map(|id| (id, principal(Some("b")))));
        let first = story.plan();
        assert_eq!((first.default_change.clone(), first.repairs().count()), (None, 1), "{others}");
        story.send(Outcome::Succeeded);
        let second = story.plan();
        assert_eq!(second.default_change, None, "{others}");
        assert_eq!(second.patch.iter().flat_map(lanyard_domain::Patch::added).count(), 1, "{others}");
    }
}

#[test]
fn what_waits_beside_a_repair_does_not_hold_its_way_back() {
    let mut story = story("a", None, there("new")).claim(|it| {
        it.default_identity_change = DefaultIdentityChange::Block;
        it.user.insert(id("b"), Ensure::Present);
    });
    story.send(Outcome::Succeeded);
    let back = story.plan().patch.expect("the way back");
    assert_eq!(back.added().cloned().collect::<BTreeSet<_>>(), ids(["a"]), "and not b, which alone would change it");
}

#[test]
fn a_repair_that_is_sent_again_for_want_of_an_answer_is_one_round() {
    let story = story("a", None, there("new"));
    let claims = complete(story.claims.clone(), &story.record);
    let plan = story.plan();
    let patch = plan.patch.clone().expect("due");
    let mut record = story.record.clone();
    for operation in ["op-1", "op-2", "op-3"] {
        let by = Attempt { writer: "me", operation };
        let intended = intend(&record, &claims, &base("m1", 1), &patch, by);
        record = begun(intended, &plan, &story.identities, &story.asked);
    }
    assert_eq!(record.rounds_of_repair(&id("a"), "new"), 1);
    let open = record.intent.expect("sent");
    assert_eq!((open.attempt, open.unanswered.len()), (3, 1), "one for each state is enough");
}

#[test]
fn the_first_repair_waits_a_moment_and_each_further_one_longer() {
    let mut suspects = Suspects::default();
    let at = |seconds: u64| Moment(Duration::from_secs(1000 + seconds));
    let mut record = record("m1", "a");
    suspects.see(&ids(["a"]), at(0));
    suspects.see(&ids(["a"]), at(2));
    let left = |suspects: &Suspects, record: &Record, failed, now| {
        suspects.settling(record, failed, now).get(&id("a")).map(Duration::as_secs)
    };
    assert_eq!(left(&suspects, &record, None, at(2)), Some(3));
    assert_eq!(left(&suspects, &record, None, at(5)), None);
    assert_eq!(left(&suspects, &record, Some(at(0)), at(5)), Some(595), "after a failed operation of ours");

    let mut story = story("a", None, there("new"));
    story.send(Outcome::Succeeded);
    record.repairs = story.record.repairs;
    assert_eq!(left(&suspects, &record, None, at(5)), Some(10), "the second round");
    suspects.forget_absent(&live("m1", 1, ""));
    assert_eq!(left(&suspects, &record, None, at(5)), None);
    suspects.see(&ids(["a"]), at(50));
    suspects.see(&BTreeSet::new(), at(51));
    suspects.see(&ids(["a"]), at(52));
    assert_eq!(left(&suspects, &record, None, at(52)), Some(15), "it looked alive in between");
}
