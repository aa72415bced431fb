//! User-assigned identities as resources: what to do about one, given who wishes for it, what the record says, and what
//! ARM shows.
//!
//! ```text
//!   Record ──┐
//!            ├─▶ judge ─▶ decide ─▶ Step ─▶ (recorded first) ─▶ PUT, PATCH or DELETE ─▶ read again
//!   Shown  ──┤  whose    what to             permit: may
//!   Wish   ──┘  is it    do next             this DELETE leave?
//! ```
//!
//! ARM has no `ETag` and no `If-None-Match` for these resources: a PUT makes or overwrites. So a PUT leaves only for what
//! two reads did not find; a mark in its tags, recorded before, tells afterwards whose PUT made what is there; and the
//! answer itself does: 201 means made, 200 that somebody else was first.
mod plan;
mod record;
mod tags;

pub use plan::{
    Adopt, AnswerToPut, Case, Fate, Judged, Known, Note, Permit, Refusal, Shown, Step, Told, Wish, answered, decide,
    judge, may_delete, permit,
};
pub use record::{Creating, Origin, Policy, Record};
pub use tags::{MARK, Tags};

#[cfg(test)]
mod tests;
