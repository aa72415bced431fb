//! The conversation with Azure Resource Manager: what is asked, how the answers are read, and what they mean.
//!
//! ```text
//!   Arm ─▶ token ─▶ limiter ─▶ request ─▶ ARM
//!    ▲                 ▲                   │
//!    │                 └─ remaining ◀──────┤ what is left, on every answer
//!    └── Live, Accepted, Progress ◀─ wire ─┤ 2xx
//!    └── ArmError ◀──────────── classify ──┘ everything else
//! ```
//!
//! Nothing here decides what to write: that is the core's. Nothing here tries a PATCH twice.
mod authorization;
mod chain;
mod classify;
mod client;
mod credential;
mod describe;
mod errors;
mod exchange;
mod http;
mod limiter;
mod line;
mod list;
mod operation;
mod permits;
mod remaining;
mod reservation;
mod send;
mod settings;
mod token;
mod told;
mod wire;

#[cfg(test)]
mod recordings;
#[cfg(test)]
mod scripted;

pub use chain::chain;
pub use client::{Accepted, Arm, Asked, PATCH_LEAVES_WITHIN, Precondition};
pub use credential::{CredentialError, CredentialKind, CredentialOptions, credential};
pub use describe::{Described, describe};
pub use errors::{ArmError, Blame, Missing};
pub use exchange::{Exchange, Observer};
pub use lanyard_domain::quota::{Bucket, Share};
pub use list::{Listed, NextPage, Page};
pub use operation::{Operation, Progress};
pub use reservation::{Owed, Reservation};
pub use settings::{API_VERSION, Settings, SettingsError};
pub use token::{TokenError, TokenProblem};
pub use told::Told;
