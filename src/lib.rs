//! Keeps the managed identities of Azure VMs and VM scale sets as declared, and never drops one that is not its own.
//!
//! ```text
//!   watch ─▶ claims by target ─▶ queue (one entry a target) ◀─ sweeps (ARM LIST: whom to look at)
//!                                  ▼
//!   ARM GET ──────────────────▶ gather ─▶ plan ─▶ record ─▶ apply ─▶ report
//!                                  ▲                          │
//!                                  └────── 412: gather anew ──┘
//! ```
//!
//! The command line asks the same planner, without a controller: [`manifests`] reads what is declared, [`survey`] what is
//! there, and nothing is written.
//!
//! What is decided is decided in [`domain`], a crate of its own without IO, clock or randomness.
#![forbid(unsafe_code)]

pub mod api;
pub mod arm;
pub mod cli;
mod clock;
mod controller;
#[doc(hidden)]
pub mod fail_point;
mod health;
mod lease;
pub mod manifests;
mod places;
mod server;
pub mod survey;
mod telemetry;

pub use lanyard_domain as domain;
