//! The controller: two watches, a queue of targets, and one supervisor that owns every task.
mod apply;
mod audit_log;
mod brake;
mod context;
mod error;
mod events;
mod finalizers;
mod gather;
mod index;
mod kubernetes;
mod memory;
mod news;
mod queue;
mod reconcile;
mod record;
mod report;
mod schedule;
mod seen;
mod status;
mod supervise;
mod visit;
mod watch;

pub use brake::{Brake, Rate};
pub use context::{Choices, Context, Parts};
pub use error::VisitError;
pub use kubernetes::Kubernetes;
pub use supervise::run;
