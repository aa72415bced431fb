//! The worlds that are explored, each with some of what may happen: together all of it.
use crate::config::{Assignment, Broken, Budget, Config, Spec, absent, present};
use crate::holds;
use lanyard_domain::{DeletionPolicy, SystemWish};

const DETACHED: Assignment = Assignment {
    exists: true,
    policy: DeletionPolicy::Detach,
    specs: &[present(&["x"]), present(&[]), present(&["x", "y"])],
};

const RETAINED: Assignment = Assignment { policy: DeletionPolicy::Retain, ..DETACHED };

pub const NOTHING: Budget = Budget {
    total: 0,
    change: 0,
    foreign: 0,
    crash: 0,
    lost_answer: 0,
    failure: 0,
    stale: 0,
    recreate: 0,
    incomplete: 0,
    pause: 2,
};

/// One controller, one assignment, and a stranger who meddles with the very id that is declared.
pub const ONE: Config = Config {
    name: "one assignment, crashes, lost and late writes, a stranger",
    processes: 1,
    system: false,
    foreign: &["f"],
    strange: &["x", "f"],
    recreated_with: &["x"],
    gap: false,
    assignments: &[DETACHED],
    budget: Budget { total: 4, change: 2, foreign: 2, crash: 1, lost_answer: 2, ..NOTHING },
    broken: Broken::Nothing,
    steps: None,
};

pub const RETAINING: Config = Config {
    name: "an assignment that retains",
    assignments: &[RETAINED],
    budget: Budget { total: 3, change: 2, foreign: 1, crash: 1, lost_answer: 2, ..NOTHING },
    ..ONE
};

/// Reads that lag, and a stranger who leaves what is declared alone.
pub const STALE: Config = Config {
    name: "reads one state behind",
    strange: &["f"],
    budget: Budget { total: 4, change: 2, foreign: 2, crash: 1, stale: 2, ..NOTHING },
    ..ONE
};

pub const RECREATED: Config = Config {
    name: "a machine recreated, with the same ETag too",
    strange: &["f"],
    budget: Budget { total: 3, change: 2, foreign: 1, crash: 1, lost_answer: 1, stale: 1, recreate: 1, ..NOTHING },
    ..ONE
};

pub const FAILING: Config = Config {
    name: "operations that fail",
    strange: &["f"],
    budget: Budget { total: 4, change: 1, foreign: 1, crash: 1, lost_answer: 1, failure: 1, stale: 1, ..NOTHING },
    ..ONE
};

/// The last user identity goes, beside a system identity that a stranger switches: where `type` shrinks.
pub const SHRINKING: Config = Config {
    name: "a type that shrinks",
    system: true,
    foreign: &[],
    strange: &["system", "f"],
    assignments: &[Assignment {
        specs: &[
            present(&["x"]),
            present(&[]),
            Spec { present: &["x"], absent: &[], system: SystemWish::Disabled },
            Spec { present: &[], absent: &["f"], system: SystemWish::Enabled },
        ],
        ..DETACHED
    }],
    budget: Budget { total: 3, change: 2, foreign: 2, crash: 1, lost_answer: 1, ..NOTHING },
    ..ONE
};

/// Two assignments that share an id, and come to disagree about it.
pub const TWO: Config = Config {
    name: "two assignments, one of them to come",
    strange: &["x"],
    assignments: &[
        Assignment { specs: &[present(&["x"]), present(&[])], ..DETACHED },
        Assignment { exists: false, specs: &[present(&["x"]), absent(&["x"])], ..RETAINED },
    ],
    budget: Budget { total: 4, change: 4, foreign: 1, crash: 1, lost_answer: 1, ..NOTHING },
    ..ONE
};

/// A second controller, where there should be none: each may pause anywhere while the other goes on.
pub const RIVALS: Config = Config {
    name: "two controllers, each paused anywhere",
    processes: 2,
    strange: &["x"],
    assignments: &[Assignment { specs: &[present(&["x"]), present(&[])], ..DETACHED }],
    budget: Budget { total: 1, change: 1, foreign: 1, crash: 1, lost_answer: 1, ..NOTHING },
    steps: Some(18),
    ..ONE
};

/// The same with nothing from outside, to the end of every run.
pub const ALONE_TOGETHER: Config =
    Config { name: "two controllers and nobody else", budget: NOTHING, steps: None, ..RIVALS };

pub const UNLISTED: Config = Config {
    name: "lists that are not in yet",
    budget: Budget { total: 4, change: 2, crash: 2, incomplete: 3, ..NOTHING },
    ..ONE
};

#[test]
fn one_assignment_survives_crashes_and_a_stranger() {
    holds(ONE);
}

#[test]
fn an_assignment_that_retains_lets_go_by_name() {
    holds(RETAINING);
}

#[test]
fn reads_that_lag_mislead_nobody() {
    holds(STALE);
}

#[test]
fn a_namesake_is_told_from_the_machine() {
    holds(RECREATED);
}

#[test]
fn failed_operations_leave_nothing_behind() {
    holds(FAILING);
}

#[test]
fn a_type_that_shrinks_takes_nothing_along() {
    holds(SHRINKING);
}

#[test]
fn two_assignments_share_an_identity() {
    holds(TWO);
}

#[test]
fn two_controllers_do_no_harm() {
    holds(RIVALS);
    holds(ALONE_TOGETHER);
}

#[test]
fn a_list_that_is_not_in_withdraws_nothing() {
    holds(UNLISTED);
}
