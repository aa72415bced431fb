//! The custom resources: what people write, what they read, and the rules that refuse bad input at `kubectl apply`.
//!
//! Types, schemas and conversions to [`crate::domain`] alone: nothing here decides anything.
pub mod assignment;
pub mod claim;
mod columns;
pub mod crd;
pub mod duration;
pub mod identity_record;
pub mod raw;
pub mod record;
mod root;
mod rules;
pub mod status;
pub mod target;
pub mod user_assigned_identity;

pub use assignment::{IdentityAssignment, IdentityAssignmentSpec, IdentityAssignmentStatus};
pub use identity_record::{IdentityRecord, StoredRecord};
pub use target::{IdentityTarget, IdentityTargetStatus, TargetRecord};
pub use user_assigned_identity::{UserAssignedIdentity, UserAssignedIdentitySpec, UserAssignedIdentityStatus};

/// The API group of all kinds.
pub const GROUP: &str = "lanyard.dev";

/// The version that is served and stored.
pub const VERSION: &str = "v1alpha1";

/// On a deleted assignment, `"true"`: it goes at once, and what it attached stays on the machine. On a deleted
/// `UserAssignedIdentity`: it goes at once, and the identity stays in Azure.
pub const RELEASE: &str = "lanyard.dev/release";

/// On a `UserAssignedIdentity` that is adopted, its principal id: `deletionPolicy: Delete` said again, for this very one.
pub const DELETE_ADOPTED: &str = "lanyard.dev/delete-adopted";

/// On any kind that people write or look at, any new value: what it is about is checked now.
pub const RECONCILE_AT: &str = "lanyard.dev/reconcile-at";

/// On an `IdentityTarget`, `declared`: what is present and declared at that moment counts as attached by Lanyard.
pub const ADOPT: &str = "lanyard.dev/adopt";

/// On an `IdentityTarget`, `principals`: principals that are no more were seen to; status stops telling of them.
pub const ACKNOWLEDGE: &str = "lanyard.dev/acknowledge";

/// On an assignment, `"true"`: `defaultIdentityChange: Block` acts as `Warn`.
pub const ALLOW_DEFAULT_IDENTITY_CHANGE: &str = "lanyard.dev/allow-default-identity-change";

/// On a namespace: the ARM scopes that its assignments and identities may name, comma-separated; `*` for all.
pub const ALLOWED_SCOPES: &str = "lanyard.dev/allowed-scopes";
