//! User-assigned identities that are objects: created, adopted, tagged, told of, and deleted.
//!
//! ```text
//!   watches ─▶ index ─▶ queue (one entry an identity) ─▶ load ─▶ look ─▶ judge ─▶ decide ─▶ act ─▶ report
//!                │                                                ▲                          │
//!                └─▶ visits to machines that refer to it          └──── read again ──────────┘
//! ```
//!
//! Beside the machines' path, and by the same rules: one visit an identity at a time, the decisions in the core, what is
//! about to be done in the record first, and everything that Azure is asked within the same budgets.
mod act;
mod error;
mod index;
mod memory;
mod outputs;
mod report;
mod store;
mod users;
mod visit;

pub use index::{IdentityIndex, IdentityKey, News, understand};
pub use memory::Memories;

use super::context::Context;
use super::queue::Urgency;
use super::schedule::jitter;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Identities that are worked on at once: a visit is a read and some writes, and waits for no operation.
pub const AT_ONCE: usize = 64;

/// A process that begins looks at what nobody waits for within this time.
const FIRST_LOOKS: Duration = Duration::from_secs(60);

const AFTER_A_PANIC: Duration = Duration::from_secs(5 * 60);

/// Changes of who has an identity are taken up together; where they are only to be told, after this.
const TOGETHER: Duration = Duration::from_millis(300);
const USERS: Duration = Duration::from_secs(5);

/// How often it is looked whether identities are named of which nobody has counted who has them.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// Visits identities as they fall due, until the term ends.
pub async fn visits(context: Arc<Context>) {
    begin(&context);
    tokio::join!(work(&context), follow_users(&context));
}

fn begin(context: &Context) {
    for (identity, somebody_waits) in context.index.identities.all() {
        if somebody_waits {
            context.identity_queue.push(identity, Urgency::Change, None);
        } else {
            let at = Instant::now() + FIRST_LOOKS.mul_f64(jitter());
            context.identity_queue.later(&identity, at, Urgency::Drift);
        }
    }
}

async fn next_visit(
    context: Arc<Context>,
    slots: Arc<Semaphore>,
) -> (IdentityKey, Urgency, Option<tokio::sync::OwnedSemaphorePermit>) {
    let slot = slots.acquire_owned().await.ok();
    let (identity, urgency) = context.identity_queue.next(&context.gate).await;
    (identity, urgency, slot)
}

async fn work(context: &Arc<Context>) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut under_way: JoinSet<()> = JoinSet::new();
    let mut identities = HashMap::new();
    let mut next = Box::pin(next_visit(context.clone(), slots.clone()));
    loop {
        tokio::select! {
            () = context.stop.cancelled() => break,
            (identity, urgency, slot) = &mut next => {
                next.set(next_visit(context.clone(), slots.clone()));
                let (context, visited) = (context.clone(), identity.clone());
                let health = context.health.clone();
                let visit = async move {
                    let next = visit::visit(&context, visited.clone(), urgency).await;
                    drop(slot);
                    context.identity_queue.done(&visited, next);
                };
                let watched = health.visit(identity.clone(), visit);
                identities.insert(under_way.spawn(watched).id(), identity);
            }
            Some(ended) = under_way.join_next_with_id() => {
                let id = ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, ())| *id);
                if let (Some(identity), Err(error)) = (identities.remove(&id), ended) {
                    tracing::error!(identity = %identity, %error, "a visit panicked");
                    let again = Instant::now() + AFTER_A_PANIC;
                    context.identity_queue.done(&identity, Some((again, Urgency::Retry)));
                }
            }
        }
    }
    while under_way.join_next().await.is_some() {}
}

/// Who has an identity decides whether it may be deleted, and is told in its status.
async fn follow_users(context: &Context) {
    let mut counting = tokio::time::interval(COUNT_EVERY);
    loop {
        tokio::select! {
            () = context.stop.cancelled() => return,
            _ = counting.tick() => {
                if context.index.identities.is_to_count() {
                    context.index.count_users();
                }
            }
            touched = context.index.identities.touched() => {
                for identity in touched {
                    // Machines come and go in numbers: told of together.
                    if context.index.identities.is_going(&identity) {
                        context.identity_queue.push(identity, Urgency::Deletion, None);
                    } else if context.identity_queue.is_busy_with(&identity) {
                        // The visit under way may have told who has it already, and sets its own next look.
                        context.identity_queue.push(identity, Urgency::Drift, None);
                    } else {
                        context.identity_queue.later(&identity, Instant::now() + USERS, Urgency::Drift);
                    }
                }
                tokio::time::sleep(TOGETHER).await;
            }
        }
    }
}
