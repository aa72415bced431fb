//! The worlds that are explored, each with some of what may happen: together all of it.
use crate::config::{Assignment, Broken, Budget, Config, Spec, absent, present};
use crate::holds;
use lanyard_domain::{DeletionPolicy, Mode, SystemWish};

const DETACHED: Assignment = Assignment {
    exists: true,
    policy: DeletionPolicy::Detach,
    specs: &[present(&["x"]), present(&[]), present(&["x", "y"])],
};

const fn in_mode(mode: Mode, spec: Spec) -> Spec {
    Spec { mode, ..spec }
}

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
    lag: 0,
    lost_put: 0,
    blink: 0,
    meddle: 0,
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
    budget: Budget { total: 3, change: 2, foreign: 2, crash: 1, lost_answer: 2, ..NOTHING },
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
    budget: Budget { total: 3, change: 2, foreign: 2, crash: 1, stale: 2, ..NOTHING },
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
    budget: Budget { total: 3, change: 1, foreign: 1, crash: 1, lost_answer: 1, failure: 2, stale: 1, ..NOTHING },
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
            Spec { system: SystemWish::Disabled, ..present(&["x"]) },
            Spec { system: SystemWish::Enabled, ..absent(&["f"]) },
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
    budget: Budget { total: 3, change: 4, foreign: 1, crash: 1, lost_answer: 1, ..NOTHING },
    ..ONE
};

/// A second controller, where there should be none: each may pause anywhere while the other goes on.
pub const RIVALS: Config = Config {
    name: "two controllers, each paused anywhere",
    processes: 2,
    strange: &["x"],
    assignments: &[Assignment { specs: &[present(&["x"]), present(&[])], ..DETACHED }],
    budget: Budget { total: 1, change: 1, foreign: 1, crash: 1, lost_answer: 1, ..NOTHING },
    steps: Some(17),
    ..ONE
};

/// The same with nothing from outside, to the end of every run.
pub const ALONE_TOGETHER: Config =
    Config { name: "two controllers and nobody else", budget: NOTHING, steps: None, ..RIVALS };

/// A second controller whose watches stand still while the first goes on, and the other way round.
pub const LAGGING_RIVALS: Config = Config {
    name: "two controllers, one with watches that lag",
    budget: Budget { total: 2, change: 1, lag: 1, lost_put: 1, ..NOTHING },
    steps: Some(14),
    ..RIVALS
};

/// Watches that lag behind, writes of the record whose answer is lost.
pub const LAGGING: Config = Config {
    name: "watches that lag, and records written without an answer",
    strange: &["x"],
    budget: Budget { total: 3, change: 2, foreign: 1, crash: 1, lost_answer: 1, lag: 1, lost_put: 2, ..NOTHING },
    ..ONE
};

/// The same over two assignments, of which one retains.
pub const LAGGING_TWO: Config = Config {
    name: "two assignments and watches that lag",
    budget: Budget { total: 3, change: 3, crash: 1, lost_answer: 1, lag: 1, lost_put: 1, ..NOTHING },
    ..TWO
};

/// A person deletes the record, with and without its finalizer, or puts an older one back.
pub const FORGOTTEN: Config = Config {
    name: "a record deleted, stripped or restored",
    strange: &["x"],
    assignments: &[Assignment { specs: &[present(&["x"]), present(&[])], ..DETACHED }],
    budget: Budget {
        total: 3,
        change: 1,
        foreign: 1,
        crash: 1,
        lost_answer: 1,
        failure: 1,
        lost_put: 1,
        meddle: 2,
        ..NOTHING
    },
    ..ONE
};

pub const FORGOTTEN_RIVALS: Config = Config {
    name: "two controllers and a record deleted or stripped",
    budget: Budget { total: 1, meddle: 1, ..NOTHING },
    steps: Some(20),
    ..RIVALS
};

/// Assignments that switch between enforcing, observing and being suspended, against one that wants the id gone.
pub const OBSERVING: Config = Config {
    name: "modes that change",
    strange: &["x"],
    assignments: &[
        Assignment {
            specs: &[
                present(&["x"]),
                in_mode(Mode::Observe, present(&["x"])),
                in_mode(Mode::Observe, present(&[])),
                in_mode(Mode::Suspended, present(&[])),
                present(&[]),
            ],
            ..DETACHED
        },
        Assignment { exists: false, specs: &[absent(&["x"]), in_mode(Mode::Observe, absent(&["x"]))], ..DETACHED },
    ],
    budget: Budget { total: 3, change: 3, foreign: 1, crash: 1, lost_answer: 1, ..NOTHING },
    ..ONE
};

/// A name that answers 404, once by mistake or for good.
pub const BLINKING: Config = Config {
    name: "a machine that is gone, or seems so",
    strange: &["x"],
    assignments: &[Assignment { specs: &[present(&["x"]), present(&[])], ..DETACHED }],
    budget: Budget { total: 3, change: 1, crash: 1, lost_answer: 1, recreate: 2, blink: 1, foreign: 1, ..NOTHING },
    ..ONE
};

pub const UNLISTED: Config = Config {
    name: "lists that are not in yet",
    budget: Budget { total: 3, change: 2, crash: 2, incomplete: 3, ..NOTHING },
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
fn two_controllers_with_watches_that_lag_do_no_harm() {
    holds(LAGGING_RIVALS);
}

#[test]
fn watches_that_lag_mislead_nobody() {
    holds(LAGGING);
    holds(LAGGING_TWO);
}

#[test]
fn a_record_that_is_deleted_is_forgotten_and_drops_nothing() {
    holds(FORGOTTEN);
    holds(FORGOTTEN_RIVALS);
}

#[test]
fn who_observes_protects_and_asks_for_nothing() {
    holds(OBSERVING);
}

#[test]
fn one_404_is_not_gone() {
    holds(BLINKING);
}

#[test]
fn a_list_that_is_not_in_withdraws_nothing() {
    holds(UNLISTED);
}
