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
//! Nothing here decides what to write: that is the core's. Nothing here tries a write twice.
mod assertion;
mod authorization;
mod certificate;
mod chain;
mod classify;
mod client;
mod cloud;
mod credential;
mod describe;
mod discovery;
mod errors;
mod exchange;
pub(crate) mod http;
mod identities;
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
mod versions;
mod wire;

#[cfg(test)]
mod recordings;
#[cfg(test)]
mod scripted;

pub use chain::chain;
pub use client::{Accepted, Arm, Asked, PATCH_LEAVES_WITHIN, Precondition};
pub use cloud::{Cloud, CloudError, Place, SigningIn, Whereabouts};
pub use credential::{CredentialError, CredentialKind, CredentialOptions, credential};
pub use describe::{Described, describe};
pub use discovery::credential_at;
pub use errors::{ArmError, Blame, Missing};
pub use exchange::{Exchange, Observer};
pub use identities::Written;
pub use lanyard_domain::quota::{Bucket, Share};
pub use list::{Listed, NextPage, Page};
pub use operation::{Operation, Progress};
pub use reservation::{Owed, Reservation};
pub use settings::{API_VERSION, Settings, SettingsError};
pub use token::{TokenError, TokenProblem, TokenStanding};
pub use told::Told;
pub use versions::{Compute, VersionError, Versions};
