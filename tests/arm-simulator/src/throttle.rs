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
/// All principals of a subscription together have so many times what one has.
const ALL_PRINCIPALS: f64 = 15.0;
const UPDATE_ONE: Size = a_minute(12.0, 4.0);
const GET_ONE: Size = a_minute(36.0, 12.0);
const LIST_VMS: Size = a_minute(900.0, 300.0);
const LIST_SCALE_SETS: Size = a_minute(1_080.0, 360.0);
const GET_OPERATION: Size = a_minute(45.0, 15.0);
const GET_OPERATIONS: Size = a_minute(15_000.0, 5_000.0);
// Sizes of the subscription's own buckets are read off recorded headers. Their refills are not told there: a third of
// the size a minute, as in every compute bucket that is documented.
const GET_ALL_VMS: Size = a_minute(24_000.0, 8_000.0);
const GET_ALL_SCALE_SETS: Size = a_minute(2_400.0, 800.0);
const UPDATE_ALL: Size = a_minute(1_500.0, 500.0);
const CREATE_ALL_SCALE_SETS: Size = a_minute(375.0, 125.0);
const BATCHED: Size = a_minute(6_000.0, 2_000.0);

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

    /// What is left for the caller, and for all callers of the subscription.
    const fn headers(self) -> [&'static str; 2] {
        match self {
            Self::Read => {
                ["x-ms-ratelimit-remaining-subscription-reads", "x-ms-ratelimit-remaining-subscription-global-reads"]
            }
            Self::Write => {
                ["x-ms-ratelimit-remaining-subscription-writes", "x-ms-ratelimit-remaining-subscription-global-writes"]
            }
            Self::Delete => [
                "x-ms-ratelimit-remaining-subscription-deletes",
                "x-ms-ratelimit-remaining-subscription-global-deletes",
            ],
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

/// One bucket that a request draws on: its key, and how big it is.
type Drawn = (String, Size);

impl Throttle {
    /// Takes one from each, or from none. Gives what is left in each; else which one is empty, and for how many seconds.
    fn take(&mut self, drawn: &[Drawn], scale: f64, now: Instant) -> Result<Vec<u64>, (usize, u64)> {
        for (place, (key, size)) in drawn.iter().enumerate() {
            let tokens = self.level(key, *size, scale, now).tokens;
            if tokens < 1.0 {
                let wait = ((1.0 - tokens) / (size.refill * scale)).ceil();
                return Err((place, whole(wait).max(1)));
            }
        }
        let taken = drawn.iter().map(|(key, size)| {
            let bucket = self.level(key, *size, scale, now);
            bucket.tokens -= 1.0;
            whole(bucket.tokens)
        });
        Ok(taken.collect())
    }

    fn level(&mut self, key: &str, size: Size, scale: f64, now: Instant) -> &mut Bucket {
        let (capacity, refill) = (size.capacity * scale, size.refill * scale);
        let bucket = self.buckets.entry(key.to_owned()).or_insert(Bucket { tokens: capacity, at: now });
        let gained = now.duration_since(bucket.at).as_secs_f64() * refill;
        bucket.tokens = (bucket.tokens + gained).min(capacity);
        bucket.at = now;
        bucket
    }

    /// ARM's own buckets: of the subscription and principal, and of the subscription.
    pub fn arm(&mut self, throttling: Throttling, subscription: &str, principal: &str, verb: Verb) -> Admission {
        let Throttling::Documented { scale } = throttling else {
            return Admission::default();
        };
        let (name, own) = (verb.name(), verb.size());
        let all = Size { capacity: own.capacity * ALL_PRINCIPALS, refill: own.refill * ALL_PRINCIPALS };
        let drawn = [(format!("{name}|{subscription}|{principal}"), own), (format!("{name}|{subscription}"), all)];
        match self.take(&drawn, scale, Instant::now()) {
            Ok(left) => {
                let headers = verb.headers().into_iter().zip(left);
                Admission::of(headers.map(|(name, left)| (name, left.to_string())))
            }
            Err((_, wait)) => Admission::refused(subscription_throttled(name, subscription, principal, Some(wait))),
        }
    }

    /// The compute provider's buckets; all of them must have something left.
    pub fn compute(&mut self, throttling: Throttling, action: &Compute<'_>) -> Admission {
        let Throttling::Documented { scale } = throttling else {
            return Admission::default();
        };
        let counted = action.buckets();
        let drawn: Vec<Drawn> =
            counted.iter().map(|(policy, scope, size)| (format!("{policy}|{scope}"), *size)).collect();
        match self.take(&drawn, scale, Instant::now()) {
            Ok(left) => {
                let told =
                    counted.iter().zip(left).map(|((policy, ..), left)| format!("Microsoft.Compute/{policy};{left}"));
                let mut told: Vec<String> = told.collect();
                told.extend(action.counters().iter().map(|(name, value)| format!("Microsoft.Compute/{name};{value}")));
                Admission::of([("x-ms-ratelimit-remaining-resource", told.join(","))])
            }
            Err((place, wait)) => {
                let policy = counted.get(place).map_or("", |(policy, ..)| policy);
                Admission::refused(resource_throttled(policy, wait))
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative, and far below 2^53")]
const fn whole(number: f64) -> u64 {
    number as u64
}

/// Headers to add, or a refusal.
#[derive(Debug, Default)]
pub struct Admission {
    pub headers: Vec<(&'static str, String)>,
    pub refusal: Option<Refusal>,
}

impl Admission {
    fn of(headers: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self { headers: headers.into_iter().collect(), refusal: None }
    }

    const fn refused(refusal: Refusal) -> Self {
        Self { headers: Vec::new(), refusal: Some(refusal) }
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

type Counted<'a> = (&'static str, &'a str, Size);

impl<'a> Compute<'a> {
    /// In the order of the recorded headers: the subscription's bucket, then the resource's.
    fn buckets(self) -> Vec<Counted<'a>> {
        let both = |all, one, key: &'a str, (most, each)| vec![(all, subscription_of(key), most), (one, key, each)];
        match self {
            Self::Get(kind, key) if kind.is_scale_set() => {
                both("GetVMScaleSetSubscriptionMaximum", "GetVMScaleSetResource", key, (GET_ALL_SCALE_SETS, GET_ONE))
            }
            Self::Get(_, key) => {
                both("LowCostGetSubscriptionMaximum", "LowCostGetResource", key, (GET_ALL_VMS, GET_ONE))
            }
            Self::Update(kind, key) | Self::Delete(kind, key) if kind.is_scale_set() => {
                let mut buckets = both(
                    "VMScaleSetActionsSubscriptionMaximum",
                    "VMScaleSetActionsResource",
                    key,
                    (UPDATE_ALL, UPDATE_ONE),
                );
                buckets.push(("VMScaleSetBatchedVMRequestsSubscriptionMaximum", subscription_of(key), BATCHED));
                buckets
            }
            Self::Update(_, key) | Self::Delete(_, key) => {
                both("UpdateVMSubscriptionMaximum", "UpdateVMResource", key, (UPDATE_ALL, UPDATE_ONE))
            }
            Self::Create(kind, key) if kind.is_scale_set() => both(
                "CreateVMScaleSetSubscriptionMaximum",
                "CreateVMScaleSetResource",
                key,
                (CREATE_ALL_SCALE_SETS, UPDATE_ONE),
            ),
            Self::Create(_, key) => both("PutVMSubscriptionMaximum", "PutVMResource", key, (UPDATE_ALL, UPDATE_ONE)),
            Self::List(kind, key) if kind.is_scale_set() => {
                vec![("HighCostGetVMScaleSetSubscriptionMaximum", key, LIST_SCALE_SETS)]
            }
            Self::List(_, key) => vec![("HighCostGetSubscriptionMaximum", key, LIST_VMS)],
            Self::Poll { subscription, operation } => vec![
                ("GetOperationResource", operation, GET_OPERATION),
                ("GetOperationSubscriptionMaximum", subscription, GET_OPERATIONS),
            ],
        }
    }

    /// What stands among the buckets in the header and is none: instances of a scale set that wait for their turn.
    const fn counters(self) -> &'static [(&'static str, u64)] {
        match self {
            Self::Update(kind, _) | Self::Delete(kind, _) | Self::Create(kind, _) if kind.is_scale_set() => {
                &[("VmssQueuedVMOperations", 0)]
            }
            Self::Update(..)
            | Self::Delete(..)
            | Self::Create(..)
            | Self::Get(..)
            | Self::List(..)
            | Self::Poll { .. } => &[],
        }
    }
}

/// Of a resource's key.
fn subscription_of(key: &str) -> &str {
    key.split('/').nth(2).unwrap_or(key)
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
            let admitted = throttle.compute(all, &update).headers;
            let expected = format!(
                "Microsoft.Compute/UpdateVMSubscriptionMaximum;{},Microsoft.Compute/UpdateVMResource;{left}",
                1_488 + left
            );
            assert_eq!(admitted, [("x-ms-ratelimit-remaining-resource", expected)]);
        }
        let refusal = throttle.compute(all, &update).refusal.expect("refused");
        assert_eq!((refusal.status, refusal.code), (429, "OperationNotAllowed"));
        assert_eq!(refusal.headers, [("Retry-After", "15".to_owned())]);
        let other = Compute::Update(Kind::VirtualMachine, "another");
        assert!(throttle.compute(all, &other).refusal.is_none());
    }

    #[test]
    fn what_is_refused_by_one_bucket_costs_the_others_nothing() {
        let mut throttle = Throttle::default();
        let all = Throttling::Documented { scale: 1.0 };
        let update = Compute::Update(Kind::VirtualMachine, "/subscriptions/s/vm");
        let refused = (0..40).filter(|_| throttle.compute(all, &update).refusal.is_some()).count();
        assert_eq!(refused, 28);
        let other = Compute::Update(Kind::VirtualMachine, "/subscriptions/s/another");
        let (_, told) = throttle.compute(all, &other).headers.remove(0);
        assert!(told.starts_with("Microsoft.Compute/UpdateVMSubscriptionMaximum;1487,"), "{told}");
    }

    #[test]
    fn off_means_off() {
        let mut throttle = Throttle::default();
        let refused = (0..1_000).any(|_| throttle.arm(Throttling::Off, "s", "p", Verb::Read).refusal.is_some());
        assert!(!refused);
    }
}
