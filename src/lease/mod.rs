//! Which of several replicas works: whoever holds the Lease.
//!
//! ```text
//!   Elector ── asks, writes and watches the Lease by a client of its own; decides by `domain::lease`
//!      │ campaign: until it is ours           hold: renews it, until it is ours no more
//!      ▼
//!   Lead ───── what a term's writes ask before they leave: held at this moment, by the monotonic clock?
//! ```
//!
//! Nothing that must not be lost rests on it: of two that both believe they lead, the record's `resourceVersion` and
//! the machine's ETag let one through. It keeps them from doing work twice and from getting in each other's way.
mod elector;
mod lead;
mod object;

pub use elector::{Elector, Place};
pub use lead::Lead;
