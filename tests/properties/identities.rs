//! Identities that are objects: what holds for any wish, record, and state of ARM.
use lanyard_domain::claims::ClaimKey;
use lanyard_domain::identity::{
    Adopt, AnswerToPut, Case, Creating, Fate, Known, MARK, Origin, Policy, Record, Shown, Step, Tags, Wish, answered,
    decide, judge, permit,
};
use lanyard_domain::{IdentityId, TargetId};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn id() -> IdentityId {
    crate::kit::id("db")
}

fn machine() -> TargetId {
    crate::kit::record("m1", "").resource_id
}

fn key(namespace: &str) -> ClaimKey {
    ClaimKey { namespace: namespace.into(), name: "db".into(), uid: "u1".into() }
}

const PRINCIPALS: [&str; 3] = ["p1", "p2", "p3"];
const MARKS: [&str; 2] = ["m1", "m2"];
const NAMES: [&str; 4] = ["team", "Team", "env", "theirs"];

fn a_principal() -> impl Strategy<Value = String> {
    proptest::sample::select(PRINCIPALS.to_vec()).prop_map(str::to_owned)
}

fn some_tags() -> impl Strategy<Value = Tags> {
    let tag = (proptest::sample::select(NAMES.to_vec()), proptest::sample::select(vec!["a", "b"]));
    proptest::collection::vec(tag, 0..4).prop_map(|tags| tags.into_iter().collect())
}

fn a_wish() -> impl Strategy<Value = Wish> {
    (some_tags(), any::<[bool; 4]>(), proptest::option::of(a_principal())).prop_map(
        |(tags, [never, retain, leaving, released], delete_adopted)| Wish {
            key: key("shop"),
            id: id(),
            location: None,
            tags,
            adopt: if never { Adopt::Never } else { Adopt::IfExists },
            policy: if retain { Policy::Retain } else { Policy::Delete },
            delete_adopted,
            outputs: None,
            leaving,
            released,
        },
    )
}

fn a_record() -> impl Strategy<Value = Record> {
    let origin = proptest::option::of(prop_oneof![Just(Origin::Created), Just(Origin::Adopted)]);
    let tags = proptest::collection::btree_set(proptest::sample::select(vec!["team", "env", "old"]), 0..3);
    let mark = proptest::option::of(proptest::sample::select(MARKS.to_vec()));
    (origin, a_principal(), tags, mark, any::<[bool; 2]>()).prop_map(
        |(origin, principal, tags, mark, [deleting, retain])| {
            let policy = if retain { Policy::Retain } else { Policy::Delete };
            Record {
                origin,
                principal_id: origin.map(|_| principal),
                tags: tags.into_iter().map(str::to_owned).collect(),
                creating: mark.map(|mark| Creating { mark: mark.into() }),
                deleting,
                ..Record::new(id(), key("shop"), policy)
            }
        },
    )
}

fn a_state() -> impl Strategy<Value = Shown> {
    let mark = proptest::option::of(proptest::sample::select(MARKS.to_vec()));
    let there = (a_principal(), some_tags(), mark).prop_map(|(principal_id, mut tags, mark)| {
        if let Some(mark) = mark {
            tags.set(MARK, mark);
        }
        Shown::There(Known { principal_id, tags, ..Known::default() })
    });
    prop_oneof![4 => there, 1 => Just(Shown::Missing)]
}

/// An object that stays or goes, or one that is proven gone.
fn fate(wish: &Wish, gone: bool) -> Fate<'_> {
    match (gone, wish.leaving) {
        (true, _) => Fate::Gone,
        (false, true) => Fate::Leaves(wish),
        (false, false) => Fate::Stays(wish),
    }
}

/// What ARM and Kubernetes make of a step: the record, and what is shown next. None: it is over.
fn carried_out(step: Step, record: &Record, shown: &Shown, wish: &Wish) -> Option<(Record, Shown)> {
    match step {
        Step::Create => {
            let mark = record.creating.clone().map_or_else(|| "m9".to_owned(), |creating| creating.mark);
            let known =
                Known { principal_id: "p9".into(), tags: wish.tags.clone().with(MARK, &mark), ..Known::default() };
            Some((answered(record, AnswerToPut::Made, &known, wish), Shown::There(known)))
        }
        Step::Adopt(record) | Step::Announce(record) | Step::Withdraw(record) => Some((record, shown.clone())),
        Step::Tag { tags, ours, .. } => match shown {
            Shown::There(known) => {
                Some((Record { tags: ours, ..record.clone() }, Shown::There(Known { tags, ..known.clone() })))
            }
            Shown::Missing => None,
        },
        Step::Delete => Some((Record { creating: None, ..record.clone() }, Shown::Missing)),
        Step::Settled(_) | Step::Exists | Step::InUse | Step::Await | Step::LetGo { .. } => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn never_deletes_what_it_did_not_create(
        wish in a_wish(), record in a_record(), shown in a_state(), gone in any::<bool>()
    ) {
        let judged = judge(&record, &shown).record;
        let users = BTreeSet::new();
        let case = Case { fate: fate(&wish, gone), record: &judged, shown: &shown, users: &users, may_arrive: false };
        let step = decide(&case);
        if let (Step::Delete, Shown::There(known)) = (&step, &shown) {
            // Of what was recorded before this read, and of nothing that this read could make up but our own mark.
            let created = record.origin == Some(Origin::Created) && record.principal_id.as_ref() == Some(&known.principal_id);
            let ours = record.creating.as_ref().is_some_and(|creating| known.tags.get(MARK) == Some(&creating.mark));
            let adopted = judged.origin == Some(Origin::Adopted) && judged.principal_id.as_ref() == Some(&known.principal_id);
            let named = adopted && !gone && wish.delete_adopted.as_ref() == Some(&known.principal_id);
            prop_assert!(created || ours || named, "{judged:?}");
            prop_assert!(gone || (wish.leaving && !wish.released && wish.policy == Policy::Delete));
            prop_assert!(!gone || record.policy == Policy::Delete);
            prop_assert!(judged.deleting, "announced before");
        }
        prop_assert_eq!(matches!(step, Step::Delete), permit(&case).is_ok(), "the second opinion agrees");
    }

    #[test]
    fn never_deletes_while_a_machine_has_it(
        wish in a_wish(), record in a_record(), shown in a_state(), gone in any::<bool>()
    ) {
        let judged = judge(&record, &shown).record;
        let users = BTreeSet::from([machine()]);
        let case = Case { fate: fate(&wish, gone), record: &judged, shown: &shown, users: &users, may_arrive: false };
        prop_assert_ne!(decide(&case), Step::Delete);
        prop_assert!(permit(&case).is_err());
    }

    #[test]
    fn foreign_tags_are_kept(wish in a_wish(), record in a_record(), shown in a_state()) {
        let Shown::There(known) = &shown else { return Ok(()) };
        let users = BTreeSet::new();
        let case = Case { fate: Fate::Stays(&wish), record: &record, shown: &shown, users: &users, may_arrive: false };
        let Step::Tag { tags, announced, ours } = decide(&case) else { return Ok(()) };
        for (name, value) in known.tags.iter() {
            let added = record.tags.contains(&name.to_lowercase());
            let wished = wish.tags.get(name).is_some();
            prop_assert!(added || wished || tags.get(name) == Some(value), "{name} was lost");
        }
        for (name, value) in wish.tags.iter() {
            prop_assert_eq!(tags.get(name), Some(value));
        }
        prop_assert!(ours.is_subset(&announced), "nothing is taken off later that was not announced");
        let added: BTreeSet<String> = ours.difference(&record.tags).cloned().collect();
        prop_assert!(added.iter().all(|name| known.tags.get(name).is_none()), "ours is only what was not there");
    }

    #[test]
    fn whatever_is_decided_ends(
        wish in a_wish(), record in a_record(), shown in a_state(), gone in any::<bool>(), used in any::<bool>()
    ) {
        let users: BTreeSet<TargetId> = used.then(machine).into_iter().collect();
        let (mut record, mut shown) = (record, shown);
        for round in 0.. {
            prop_assert!(round < 8, "{record:?} {shown:?}");
            record = judge(&record, &shown).record;
            let case = Case { fate: fate(&wish, gone), record: &record, shown: &shown, users: &users, may_arrive: false };
            match carried_out(decide(&case), &record, &shown, &wish) {
                Some(next) => (record, shown) = next,
                None => break,
            }
        }
    }

    #[test]
    fn what_was_there_before_is_never_taken_for_created(record in a_record(), shown in a_state()) {
        let judged = judge(&record, &shown).record;
        if let (Some(Origin::Created), Shown::There(known)) = (judged.origin, &shown) {
            let before = record.origin == Some(Origin::Created) && record.principal_id.as_ref() == Some(&known.principal_id);
            let marked = record.creating.as_ref().is_some_and(|creating| known.tags.get(MARK) == Some(&creating.mark));
            prop_assert!(before || marked);
            prop_assert!(judged.principal_id.as_ref() == Some(&known.principal_id));
        }
    }
}
