//! What would be done, without doing it: the controller's own planner, asked by people.
//!
//! ```text
//!   manifests, cluster ─▶ declared: claims by machine, records ─┐
//!   ARM (lists, reads) or a file ─▶ live ───────────────────────┴▶ domain::plan ─▶ report
//! ```
//!
//! Nothing here writes anywhere. A list may be minutes old and is good enough to preview a plan: the controller reads
//! each machine anew before it acts.
mod assess;
mod cluster;
mod declared;
mod identities;
mod import;
mod live;
mod preflight;
mod reading;
mod report;
mod state;
mod steps;

pub use assess::{Facts, assess, conflicts, suspects, would_write};
pub use cluster::{Stored, stored};
pub use declared::{Assignment, Declared, Origin};
pub use identities::{Identity, IdentityOutcome, Object, Objects, Seen, Source, TagChange};
pub use import::{Choices, Imported, LeftOut, Why, import, import_identities};
pub use live::{Found, Lookup, Missing, group_key};
pub use preflight::{Locked, Preflight, Wanted, Wishes, preflight};
pub use reading::{Reader, Tell, patiently};
pub use report::{Calls, IfEnforced, Machine, Outcome, Report, Summary};
pub use state::{State, StateError};
pub use steps::{Line, Mark};
