//! Guards left out on purpose: the checker finds what each of them is for.
use crate::config::{Broken, Budget, Config};
use crate::worlds::{ALONE_TOGETHER, BLINKING, FORGOTTEN, ONE, RIVALS, SHRINKING, STALE, UNLISTED};
use crate::{LEAK, finds};

const DROP: &str = "never drops";
const TWICE: &str = "nothing is written twice";
const LATE: &str = "what was given up on never arrives";
const BODY: &str = "every body is covered by the facts";

#[test]
fn without_if_match_a_type_that_shrinks_drops_a_strangers_identity() {
    finds(SHRINKING.broken(Broken::IfMatch), &[DROP, TWICE, LEAK]);
}

#[test]
fn without_an_intent_before_the_patch_a_crash_leaks() {
    finds(ONE.broken(Broken::IntentFirst), &[LEAK]);
}

#[test]
fn without_a_fate_for_each_id_a_strangers_identity_is_taken_for_ours() {
    finds(ONE.broken(Broken::FatePerId), &[DROP, LEAK]);
}

#[test]
fn believing_a_read_from_before_our_write_leaks() {
    finds(STALE.broken(Broken::FreshRead), &[LEAK]);
}

#[test]
fn taking_an_unfinished_list_for_the_whole_removes_what_is_declared() {
    finds(UNLISTED.broken(Broken::CompleteClaims), &["absence needs proof"]);
}

/// The namesake comes with what we had attached to the machine before it.
const NAMESAKE: Config = Config { strange: &[], ..crate::worlds::RECREATED };

#[test]
fn not_looking_which_machine_answers_drops_what_the_namesake_came_with() {
    finds(NAMESAKE.broken(Broken::UniqueId), &[DROP, LEAK]);
}

#[test]
fn sending_on_an_old_intent_lands_after_it_was_given_up() {
    finds(RIVALS.broken(Broken::Age), &[LATE, LEAK, TWICE]);
}

#[test]
fn writing_over_a_rivals_record_leaks() {
    finds(RIVALS.broken(Broken::ResourceVersion), &[LEAK, DROP, LATE, TWICE]);
}

#[test]
fn letting_a_deleted_record_go_while_a_write_may_still_arrive_leaks() {
    finds(FORGOTTEN.broken(Broken::Forgetting), &[DROP, LEAK]);
}

#[test]
fn believing_the_first_404_loses_the_record() {
    finds(BLINKING.broken(Broken::GoneTwice), &["no record is lost", LEAK]);
}

#[test]
fn without_if_match_two_controllers_write_twice() {
    finds(ALONE_TOGETHER.broken(Broken::IfMatch), &[TWICE, LEAK, DROP, LATE]);
}

/// Known: If-Match cannot tell a namesake with the same `ETag` that appears between our GET and our PATCH.
#[test]
fn the_known_gap_a_namesake_with_the_same_etag_is_still_one() {
    finds(Config { gap: true, ..NAMESAKE }, &[BODY, DROP, LEAK, TWICE]);
}

/// Known: a lagging read from before a stranger took off what we put back in a write without an answer.
#[test]
fn the_known_gap_a_lagging_read_that_shows_what_a_stranger_removed_is_still_one() {
    let budget = Budget { total: 4, change: 1, foreign: 1, crash: 1, stale: 1, ..crate::worlds::NOTHING };
    finds(Config { strange: &["x"], budget, ..STALE }, &[LEAK]);
}
