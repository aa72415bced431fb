//! So many places for each subscription, and no more: one that stops answering must not take everybody's.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A place of one subscription, until it is dropped.
pub struct Place {
    /// None only if a semaphore were closed, which none ever is.
    _permit: Option<OwnedSemaphorePermit>,
}

/// The places of each subscription.
pub struct Places {
    of_each: usize,
    known: Mutex<HashMap<Box<str>, Arc<Semaphore>>>,
}

impl Places {
    pub fn new(of_each: usize) -> Self {
        Self { of_each, known: Mutex::default() }
    }

    pub async fn acquire(&self, subscription: &str) -> Place {
        let of_one = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.entry(subscription.into()).or_insert_with(|| Arc::new(Semaphore::new(self.of_each))).clone()
        };
        Place { _permit: of_one.acquire_owned().await.ok() }
    }
}
