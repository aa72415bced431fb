//! Azure Resource Manager, Entra ID and IMDS in memory: for tests, the demo and benchmarks.
//!
//! ```text
//!   client ── TLS or loopback HTTP ──▶ server ─▶ faults ─▶ gateway ─▶ machines, identities, lists, polls
//!                                                  │         │                    │
//!                                                  │       tokens, buckets,     state: one lock, no waiting;
//!                                                  │       locks, roles         operations end when looked at
//!                                                  ▼
//!                                               journal: every request, and what became of it
//!   test ── Rust calls, or JSON to the admin door ──▶ seeds, foreign writes, faults, journal, truth
//! ```
//!
//! What it does is read off recordings of the real service, or documented; what is not confirmed is
//! a setting. [`ArmSimulator::start`] is the way in; everything in it is kept apart by subscription
//! id, so that many tests may share one.
//!
//! # The admin door
//! Plain HTTP on loopback, no token, JSON both ways; the bodies are the types of this crate.
//!
//! | page | |
//! | --- | --- |
//! | `POST /machines` | [`MachineSeed`] |
//! | `POST /identities` | [`IdentitySeed`] |
//! | `POST`, `DELETE /groups` | [`Group`]; `?subscription=&name=` |
//! | `POST`, `DELETE /subscriptions` | [`Subscription`]; `?id=` |
//! | `POST /seeds` | [`Seeds`]: all of these at once |
//! | `POST`, `GET`, `DELETE /faults` | [`Fault`]; the armed ones; those with `?path=` in their path |
//! | `POST`, `DELETE /restrictions` | [`Restriction`]; those at `?scope=`, or all |
//! | `POST /foreign` | `{"resource": id, "act": ForeignAct}`, see [`ForeignAct`] |
//! | `POST /late/release` | requests on their way arrive |
//! | `POST /operations/finish` | running operations end |
//! | `POST /tokens/revoke`, `/tokens/expire` | every token issued so far |
//! | `GET`, `POST /settings` | [`Settings`]; what is named changes |
//! | `GET /journal` | [`Exchange`]s, `?since=` a number, `?path=` a part of the path, `?method=` |
//! | `GET /journal/latest` | the number of the latest exchange: a mark for `since` |
//! | `GET /operations` | of those begun since `?since=` a time: how many run, how long the longest lasted |
//! | `GET /tally` | [`Count`]s of all exchanges by sort |
//! | `POST`, `GET /sightings` | begins to watch which machines reads show; [`Sightings`] since |
//! | `GET /truth` | machines, gone ones and identities, `?path=` a part of the id |
//! | `GET /endpoints` | [`Endpoints`] |
#![forbid(unsafe_code)]

mod admin;
mod certificates;
mod entra;
mod faults;
mod handle;
mod id;
mod imds;
mod journal;
mod settings;
mod simulator;
mod stack;
mod state;
mod throttle;
mod tls;
mod wire;

pub use certificates::ClientCertificate;
pub use faults::{Effect, Fault, When};
pub use handle::{Identity, IdentityBuilder, Machine, MachineBuilder, RecordedPatch};
pub use imds::IDENTITY_HEADER;
pub use journal::{Count, Exchange, Sort};
pub use settings::{
    AllNull, CLIENT, Client, DeadEntries, Federated, ImdsSettings, Listen, Pace, SECRET, SecondWrite, Settings, TENANT,
    Throttling,
};
pub use simulator::{ArmSimulator, Endpoints};
pub use stack::Stack;
pub use state::fleet::Fleet;
pub use state::foreign::ForeignAct;
pub use state::history::{Actor, Change, SystemChange};
pub use state::machine::{Orchestration, Provisioning, Tags};
pub use state::operations::Outcome;
pub use state::restrictions::{Barrier, Restriction};
pub use state::seed::{IdentitySeed, MachineSeed, Seeds};
pub use state::sightings::Sightings;
pub use state::{Group, Subscription};
pub use wire::Listener;
