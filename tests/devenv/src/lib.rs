//! A real Kubernetes API and a simulated Azure, for tests, for the demo and to use by hand.
//!
//! ```text
//!   parts ──▶ control plane ─┐
//!   (found or built)         ├─▶ environment ─▶ world: a test's namespace and subscription
//!   simulator ───────────────┘                ├▶ up: kept running, with what to export
//!                                             └▶ demo: what the product does, shown and checked
//! ```
//!
//! Whatever is started runs under a [`guardian`], so that nothing outlives the process that started it.
#![forbid(unsafe_code)]

pub mod certificates;
pub mod commands;
pub mod control_plane;
pub mod crds;
pub mod demo;
pub mod environment;
pub mod failover;
pub mod figures;
pub mod guardian;
pub mod kubeconfig;
pub mod parts;
pub mod paths;
pub mod picture;
pub mod sample;
pub mod up;
pub mod world;
