//! Identities that nobody visits a machine for: lists show most of them, the others are asked by themselves.
//!
//! A machine may go on showing the principal of an identity that was deleted and made again. What is heard here makes
//! such a machine be visited.
use crate::controller::context::Context;
use crate::controller::identities::routine;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked who was not heard of for an hour.
const EVERY: Duration = Duration::from_secs(60);

/// Keeps what identities say of themselves young, until the term ends.
pub async fn roll_calls(context: Arc<Context>) {
    loop {
        context.index.prune();
        let declared = context.index.declared_identities();
        let asked: Vec<_> = declared.iter().cloned().collect();
        context.fleet.declare(declared);
        tokio::select! {
            () = context.stop.cancelled() => return,
            // Lists come first: whom they show need not be asked.
            () = tokio::time::sleep(EVERY) => {}
        }
        tokio::select! {
            () = context.stop.cancelled() => return,
            () = routine(&context, asked) => {}
        }
    }
}
