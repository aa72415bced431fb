//! Token buckets, as ARM and the compute provider count them.
use std::collections::HashMap;
use std::time::Instant;

use serde_json::json;

use crate::id::Kind;
use crate::settings::Throttling;
use crate::wire::errors::{Refusal, subscription_throttled};

/// Size, and tokens a second.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub capacity: f64,
    pub refill: f64,
}

const fn a_minute(capacity: f64, refill: f64) -> Size {
    Size { capacity, refill: refill / 60.0 }
}

const ARM_READS: Size = Size { capacity: 250.0, refill: 25.0 };
const ARM_WRITES: Size = Size { capacity: 200.0, refill: 10.0 };
const UPDATE_ONE: Size = a_minute(12.0, 4.0);
const GET_ONE: Size = a_minute(36.0, 12.0);
const LIST_VMS: Size = a_minute(900.0, 300.0);
const LIST_SCALE_SETS: Size = a_minute(1_080.0, 360.0);
const GET_OPERATION: Size = a_minute(45.0, 15.0);
const GET_OPERATIONS: Size = a_minute(15_000.0, 5_000.0);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Read,
    Write,
    Delete,
}

impl Verb {
    pub fn of(method: &hyper::Method) -> Self {
        match method.as_str() {
            "GET" | "HEAD" => Self::Read,
            "DELETE" => Self::Delete,
            _ => Self::Write,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
        }
    }

    const fn header(self) -> &'static str {
        match self {
            Self::Read => "x-ms-ratelimit-remaining-subscription-reads",
            Self::Write => "x-ms-ratelimit-remaining-subscription-writes",
            Self::Delete => "x-ms-ratelimit-remaining-subscription-deletes",
        }
    }

    const fn size(self) -> Size {
        match self {
            Self::Read => ARM_READS,
            Self::Write | Self::Delete => ARM_WRITES,
        }
    }
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

#[derive(Debug, Default)]
pub struct Throttle {
    buckets: HashMap<String, Bucket>,
}

/// What is left in a bucket, or the seconds until there is something.
type Taken = Result<u64, u64>;

impl Throttle {
    fn take(&mut self, key: String, size: Size, scale: f64, now: Instant) -> Taken {
        let (capacity, refill) = (size.capacity * scale, size.refill * scale);
        let bucket = self.buckets.entry(key).or_insert(Bucket { tokens: capacity, at: now });
        let gained = now.duration_since(bucket.at).as_secs_f64() * refill;
        bucket.tokens = (bucket.tokens + gained).min(capacity);
        bucket.at = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(whole(bucket.tokens));
        }
        Err(whole(((1.0 - bucket.tokens) / refill).ceil()).max(1))
    }

    /// ARM's own bucket: subscription and principal.
    pub fn arm(&mut self, throttling: Throttling, subscription: &str, principal: &str, verb: Verb) -> Admission {
        let Throttling::Documented { scale } = throttling else {
            return Admission::default();
        };
        let key = format!("{}|{subscription}|{principal}", verb.name());
        match self.take(key, verb.size(), scale, Instant::now()) {
            Ok(left) => Admission::of(verb.header(), left.to_string()),
            Err(wait) => Admission::refused(subscription_throttled(verb.name(), subscription, principal, Some(wait))),
        }
    }

    /// The compute provider's buckets; all of them must have something left.
    pub fn compute(&mut self, throttling: Throttling, action: &Compute<'_>) -> Admission {
        let Throttling::Documented { scale } = throttling else {
            return Admission::default();
        };
        let mut left = Vec::new();
        for (policy, scope, size) in action.buckets() {
            match self.take(format!("{policy}|{scope}"), size, scale, Instant::now()) {
                Ok(rest) => left.push(format!("Microsoft.Compute/{policy};{rest}")),
                Err(wait) => return Admission::refused(resource_throttled(policy, wait)),
            }
        }
        Admission::of("x-ms-ratelimit-remaining-resource", left.join(","))
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative, and far below 2^53")]
const fn whole(number: f64) -> u64 {
    number as u64
}

/// A header to add, or a refusal.
#[derive(Debug, Default)]
pub struct Admission {
    pub header: Option<(&'static str, String)>,
    pub refusal: Option<Refusal>,
}

impl Admission {
    const fn of(name: &'static str, value: String) -> Self {
        Self { header: Some((name, value)), refusal: None }
    }

    const fn refused(refusal: Refusal) -> Self {
        Self { header: None, refusal: Some(refusal) }
    }
}

/// An action as the compute provider counts it.
#[derive(Clone, Copy, Debug)]
pub enum Compute<'a> {
    Get(Kind, &'a str),
    Update(Kind, &'a str),
    Create(Kind, &'a str),
    Delete(Kind, &'a str),
    List(Kind, &'a str),
    Poll { subscription: &'a str, operation: &'a str },
}

type Counted = (&'static str, String, Size);

impl Compute<'_> {
    fn buckets(self) -> Vec<Counted> {
        let one = |policy, key: &str, size| vec![(policy, key.to_owned(), size)];
        match self {
            Self::Get(kind, key) if kind.is_scale_set() => one("GetVMScaleSetResource", key, GET_ONE),
            Self::Get(_, key) => one("LowCostGetResource", key, GET_ONE),
            Self::Update(kind, key) if kind.is_scale_set() => one("VMScaleSetActionsResource", key, UPDATE_ONE),
            Self::Update(_, key) => one("UpdateVMResource", key, UPDATE_ONE),
            Self::Create(kind, key) if kind.is_scale_set() => one("CreateVMScaleSetResource", key, UPDATE_ONE),
            Self::Create(_, key) => one("PutVMResource", key, UPDATE_ONE),
            Self::Delete(kind, key) if kind.is_scale_set() => one("DeleteVMScaleSetResource", key, UPDATE_ONE),
            Self::Delete(_, key) => one("DeleteVMResource", key, UPDATE_ONE),
            Self::List(kind, key) if kind.is_scale_set() => {
                one("HighCostGetVMScaleSetSubscriptionMaximum", key, LIST_SCALE_SETS)
            }
            Self::List(_, key) => one("HighCostGetSubscriptionMaximum", key, LIST_VMS),
            Self::Poll { subscription, operation } => vec![
                ("GetOperationResource", operation.to_owned(), GET_OPERATION),
                ("GetOperationSubscriptionMaximum", subscription.to_owned(), GET_OPERATIONS),
            ],
        }
    }
}

fn resource_throttled(policy: &str, wait: u64) -> Refusal {
    let inner = json!({"operationGroup": policy, "retryAfter": wait});
    Refusal::new(
        429,
        "OperationNotAllowed",
        "The server rejected the request because too many requests have been received for this subscription.",
    )
    .details(json!([{"code": "TooManyRequests", "target": policy, "message": inner.to_string()}]))
    .header("Retry-After", wait.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thirteenth_update_of_one_vm_is_refused_and_told_when() {
        let mut throttle = Throttle::default();
        let all = Throttling::Documented { scale: 1.0 };
        let update = Compute::Update(Kind::VirtualMachine, "vm");
        for left in (0..12).rev() {
            let (_, value) = throttle.compute(all, &update).header.expect("admitted");
            assert_eq!(value, format!("Microsoft.Compute/UpdateVMResource;{left}"));
        }
        let refusal = throttle.compute(all, &update).refusal.expect("refused");
        assert_eq!((refusal.status, refusal.code), (429, "OperationNotAllowed"));
        assert_eq!(refusal.headers, [("Retry-After", "15".to_owned())]);
        let other = Compute::Update(Kind::VirtualMachine, "another");
        assert!(throttle.compute(all, &other).refusal.is_none());
    }

    #[test]
    fn off_means_off() {
        let mut throttle = Throttle::default();
        let refused = (0..1_000).any(|_| throttle.arm(Throttling::Off, "s", "p", Verb::Read).refusal.is_some());
        assert!(!refused);
    }
}
