//! What holds of the decisions for any claims, record and live state, and cases of the protocol that once failed.
#![allow(clippy::expect_used, reason = "a test says what it expected")]
mod always;
mod arm_bucket;
mod dangling;
mod dead_entries;
mod default_identity;
mod identities;
mod kit;
mod lease;
#[path = "../scenarios/merge.rs"]
mod merge;
mod order;
mod order_at_scale;
mod protocol;
mod quota;
mod recorded;
mod second_opinion;
mod wild;
