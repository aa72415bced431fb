//! Lanyard's decisions: pure functions of claims, record and live state.
//!
//! No IO, no clock and no randomness live here: time is a [`Moment`] handed in, and whatever was read comes as
//! typed evidence. The controller, the command line, the property tests and the model checker call these functions.
//!
//! ```text
//!   Record ──┐
//!            ├─▶ judge ─▶ depart ─▶ plan ─▶ audit ─▶ intend ─▶ (PATCH) ─▶ judge again: settled
//!   Live ────┤  what became   who    what to   may it   what we are
//!   Claims ──┘  of our write  left   change    leave?   about to do
//! ```
#![forbid(unsafe_code)]

pub mod aks;
pub mod audit;
pub mod claims;
pub mod contest;
pub mod dangling;
pub mod depart;
mod draft;
pub mod ended;
pub mod evidence;
mod explain;
pub mod fate;
pub mod glance;
pub mod grants;
pub mod halving;
pub mod identity;
pub mod ids;
pub mod intend;
pub mod judge;
pub mod lease;
pub mod live;
pub mod order;
pub mod pace;
pub mod patch;
pub mod plan;
pub mod poll;
pub mod principals;
pub mod quota;
pub mod reason;
pub mod record;
pub mod reference;
pub mod sweep;
pub mod target_name;
pub mod time;
pub mod verdict;
mod wishes;

pub use claims::{Claim, ClaimKey, Claims, DeletionPolicy, Ensure, Leaving, Mode, Stance, SystemWish};
pub use dangling::{Identities, Own};
pub use evidence::{Complete, Fresh};
pub use ids::{IdError, IdentityId, MachineKind, TargetId};
pub use live::{ETag, Live, Orchestration, Principal, SystemIdentity, UniqueId};
pub use patch::{Edit, IdentityType, Patch};
pub use plan::{Bounds, Facts, Plan, plan};
pub use record::{Attached, Base, Intent, Record, RecordedClaim, Switch, Unanswered};
pub use time::{Moment, Timestamp};
