//! Fail points: named moments of a visit, between any two of its side effects, at which a test kills the process.
//!
//! They are part of builds with debug assertions, which nobody ships; a release has nothing of them but this list.
//! A feature of Cargo would do the same at the price of two builds of everything, one for `cargo test` and one for
//! `cargo demo`; the crate `fail` stops a thread where one visit of many is to stop.
use jiff::SignedDuration;
use lanyard_domain::{IdentityId, TargetId};

/// Names a file of lines `<point> <machine or identity>`. A visit to that machine that reaches that point says so in the log, and
/// goes no further. The file is read at every point, so that a running process can be told.
pub const FILE: &str = "LANYARD_FAIL_POINTS";

/// What the log says then.
pub const STANDS_STILL: &str = "this visit stands still";

/// Names a file that holds by how many seconds the time of day is ahead of what it is, or behind.
pub const WALL: &str = "LANYARD_WALL_CLOCK";

/// Every moment that has a name. A test iterates over them, and fails for one that no visit reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr, strum::VariantArray)]
pub enum Point {
    BeforeIntent,
    AfterIntent,
    PatchAnswered,
    BeforePoll,
    OperationEnded,
    BeforeSettling,
    AfterSettling,
    BeforeFinalizer,
    AfterFinalizer,
    BeforeFinalizerGoes,
    AfterFinalizerWent,
    BeforeTargetIsBare,
    BeforeTargetGoes,
    AfterTargetWent,
    BeforeStatus,
    AfterStatus,
    AfterEvents,
}

/// Moments of a visit to an identity that is an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr, strum::VariantArray)]
pub enum IdentityPoint {
    BeforeIdentityFinalizer,
    BeforePutIntent,
    AfterPutIntent,
    PutAnswered,
    BeforeDelete,
    DeleteAnswered,
    BeforeRecordGoes,
    AfterRecordWent,
    BeforeIdentityFinalizerGoes,
}

/// The visit to `target` has come to `point`.
#[cfg(debug_assertions)]
pub async fn reached(point: Point, target: &TargetId) {
    let point: &str = point.into();
    if is_armed(point, target.name()) {
        tracing::warn!(point, machine = target.name(), "{STANDS_STILL}");
        std::future::pending::<()>().await;
    }
}

/// The visit to `identity` has come to `point`.
#[cfg(debug_assertions)]
pub async fn reached_by_identity(point: IdentityPoint, identity: &IdentityId) {
    let point: &str = point.into();
    if is_armed(point, identity.name()) {
        tracing::warn!(point, identity = identity.name(), "{STANDS_STILL}");
        std::future::pending::<()>().await;
    }
}

#[cfg(debug_assertions)]
fn is_armed(point: &str, name: &str) -> bool {
    let Some(file) = std::env::var_os(FILE) else { return false };
    let line = format!("{point} {name}");
    std::fs::read_to_string(file).is_ok_and(|armed| armed.lines().any(|known| known == line))
}

/// A clock that is set while the process runs.
#[cfg(debug_assertions)]
#[must_use]
pub fn wall_is_ahead() -> SignedDuration {
    let told = std::env::var_os(WALL).and_then(|file| std::fs::read_to_string(file).ok());
    SignedDuration::from_secs(told.and_then(|text| text.trim().parse().ok()).unwrap_or_default())
}

#[cfg(not(debug_assertions))]
#[must_use]
pub const fn wall_is_ahead() -> SignedDuration {
    SignedDuration::ZERO
}

#[cfg(not(debug_assertions))]
#[allow(clippy::unused_async, reason = "in a build with fail points it waits")]
pub async fn reached(_: Point, _: &TargetId) {}

#[cfg(not(debug_assertions))]
#[allow(clippy::unused_async, reason = "in a build with fail points it waits")]
pub async fn reached_by_identity(_: IdentityPoint, _: &IdentityId) {}
