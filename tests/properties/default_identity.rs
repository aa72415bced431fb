//! The default identity: what `Block` holds, and that it holds nothing else.
use crate::kit::{claim, complete, live, record};
use lanyard_domain::claims::DefaultIdentityChange::Block;
use lanyard_domain::{Bounds, Claim, Facts, Fresh, Leaving, Plan, Record, SystemWish, plan};
use rstest::rstest;

fn planned(on: &str, claims: Vec<Claim>, record: &Record) -> Plan {
    let (live, bounds) = (Fresh::answered(live("m1", 1, on)), Bounds::default());
    let identities = lanyard_domain::Identities::default();
    plan(Facts { claims: &complete(claims, record), record, live: &live, bounds: &bounds, identities: &identities })
}

/// `+name` and `-name`, `+system` and `-system` for the system-assigned identity.
fn wishing(name: &str, wishes: &str) -> Claim {
    let user: Vec<&str> = wishes.split_whitespace().filter(|wish| !wish.ends_with("system")).collect();
    let system = match wishes.split_whitespace().find(|wish| wish.ends_with("system")) {
        Some("+system") => SystemWish::Enabled,
        Some(_) => SystemWish::Disabled,
        None => SystemWish::Unmanaged,
    };
    Claim { system, ..claim(name, &user.join(" ")) }
}

fn blocking(name: &str, wishes: &str) -> Claim {
    Claim { default_identity_change: Block, ..wishing(name, wishes) }
}

/// What leaves, in short.
fn leaves(plan: &Plan) -> String {
    let Some(patch) = &plan.patch else { return "nothing".into() };
    let user = patch.edits.iter().map(|(id, edit)| {
        let sign = if *edit == lanyard_domain::Edit::Attach { '+' } else { '-' };
        format!("{sign}{}", id.name().trim_start_matches("id-"))
    });
    let system = patch.system.map(|switch| match switch {
        lanyard_domain::Switch::On => "+system".to_owned(),
        lanyard_domain::Switch::Off => "-system".to_owned(),
    });
    user.chain(system).collect::<Vec<_>>().join(" ")
}

#[rstest]
#[case::from_none_to_one_breaks_nobody("", "+a", "+a")]
#[case::from_none_to_two("", "+a +b", "+a +b")]
#[case::from_none_to_the_system_identity("", "+system", "+system")]
#[case::from_two_to_one_breaks_nobody("a b", "-a", "-a")]
#[case::a_second_user_identity("a", "+a +b", "nothing")]
#[case::removing_the_only_one("a", "-a", "nothing")]
#[case::another_in_its_place("a", "-a +b", "nothing")]
#[case::beside_a_system_identity_all_goes("system a", "-a +b +c", "-a +b +c")]
#[case::switching_the_system_identity_on("a", "+a +system", "nothing")]
#[case::switching_it_off("system a", "-system", "nothing")]
#[case::all_but_the_switch_is_done("system a", "-system +b", "+b")]
#[case::all_but_the_switch_is_removed("system a b", "-system -b", "-b")]
#[case::neither_switch_nor_second("a", "+a +b +system", "nothing")]
fn block_holds_what_changes_the_default_and_nothing_else(
    #[case] on: &str,
    #[case] wishes: &str,
    #[case] leaves_as: &str,
) {
    let of_ours = record("m1", "");
    assert_eq!(leaves(&planned(on, vec![blocking("web", wishes)], &of_ours)), leaves_as);
    let warned = planned(on, vec![wishing("web", wishes)], &of_ours);
    assert!(warned.holds().next().is_none(), "Warn holds nothing: {warned}");
    let tells = leaves(&warned) != leaves_as;
    assert_eq!(warned.default_change.is_some(), tells, "the plan says so beforehand, and only then");
}

#[test]
fn what_others_change_is_not_held_nor_what_goes_with_it() {
    let none = record("m1", "");
    let both = vec![blocking("web", "+a +b"), wishing("ops", "+system")];
    assert_eq!(leaves(&planned("a", both, &none)), "+b +system", "with the system identity on, b changes nothing");
    let both = vec![blocking("web", "+b"), wishing("ops", "+c")];
    assert_eq!(leaves(&planned("a", both, &none)), "+b +c", "c changes the default by itself");
}

#[test]
fn undeclaring_is_held_and_a_deletion_is_not() {
    let ours = record("m1", "a");
    let mut declared = record("m1", "a");
    declared.claims = lanyard_domain::depart::recorded_claims(&ours, &complete(vec![claim("web", "+a")], &ours));
    let undeclared = planned("a", vec![blocking("web", "")], &declared);
    assert_eq!(leaves(&undeclared), "nothing", "{undeclared}");
    let deleted = Claim { leaving: Some(Leaving::Detach), ..blocking("web", "+a") };
    assert_eq!(leaves(&planned("a", vec![deleted.clone()], &declared)), "-a");
    let beside = vec![deleted, blocking("other", "")];
    assert_eq!(leaves(&planned("a", beside, &declared)), "-a", "somebody else's Block holds no deletion either");
}
