//! What ARM says is left in its buckets: `x-ms-ratelimit-remaining-*`, on every answer.
use lanyard_domain::quota::{Bucket, Key, Left};
use reqwest::header::HeaderMap;

const PREFIX: &str = "x-ms-ratelimit-remaining-";

/// What an answer tells of the buckets that its request drew on.
///
/// - `subscription-reads`, `-writes`, `-deletes`: of this principal, as ARM counts it;
/// - `subscription-global-…`: of all principals together, so that no more can be left of ours;
///   `subscription-resource-requests`, which some services send, likewise;
/// - `resource`: of the provider, several policies in one: `Microsoft.Compute/UpdateVMResource;11,…`.
pub(super) fn remaining(headers: &HeaderMap, keys: &[Key]) -> Vec<(Bucket, Left)> {
    let arms = keys.first().and_then(|key| Some((key.bucket, of_arm(headers, key.bucket)?)));
    arms.into_iter().chain(of_provider(headers)).collect()
}

fn of_arm(headers: &HeaderMap, bucket: Bucket) -> Option<Left> {
    let what = match bucket {
        Bucket::SubscriptionReads => "reads",
        Bucket::SubscriptionWrites => "writes",
        Bucket::SubscriptionDeletes => "deletes",
        Bucket::VmGets
        | Bucket::ScaleSetGets
        | Bucket::VmUpdates
        | Bucket::ScaleSetUpdates
        | Bucket::VmLists
        | Bucket::ScaleSetLists
        | Bucket::AllOperationGets
        | Bucket::ResourceGets
        | Bucket::ResourceUpdates
        | Bucket::OperationGets => return None,
    };
    let left = |name: &str| number(headers.get(format!("{PREFIX}subscription-{name}"))?.to_str().ok()?);
    let wider = [left(&format!("global-{what}")), left("resource-requests")].into_iter().flatten().min();
    match (left(what), wider) {
        (Some(own), wider) => Some(Left::Exactly(wider.map_or(own, |wider| own.min(wider)))),
        (None, wider) => wider.map(Left::AtMost),
    }
}

fn of_provider(headers: &HeaderMap) -> impl Iterator<Item = (Bucket, Left)> {
    let values = headers.get_all(format!("{PREFIX}resource")).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|policy| {
        let (name, left) = policy.rsplit_once(';')?;
        Some((Bucket::of_policy(name)?, Left::Exactly(number(left)?)))
    })
}

/// A bucket that is overdrawn may be told as less than nothing.
fn number(text: &str) -> Option<u32> {
    let number: i64 = text.trim().parse().ok()?;
    Some(u32::try_from(number.max(0)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderName, HeaderValue};
    use rstest::rstest;

    fn told(headers: &[(&'static str, &'static str)]) -> Vec<(Bucket, Left)> {
        let pairs =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let target = crate::arm::scripted::vm();
        remaining(&pairs.collect(), &Key::update(&target))
    }

    const WRITES: &str = "x-ms-ratelimit-remaining-subscription-writes";
    const GLOBAL: &str = "x-ms-ratelimit-remaining-subscription-global-writes";
    const REQUESTS: &str = "x-ms-ratelimit-remaining-subscription-resource-requests";
    const READS: &str = "x-ms-ratelimit-remaining-subscription-reads";

    #[rstest]
    #[case::own(&[(WRITES, "199")], Some(Left::Exactly(199)))]
    #[case::of_all_principals(&[(GLOBAL, "2999")], Some(Left::AtMost(2999)))]
    #[case::the_lower_counts(&[(WRITES, "199"), (GLOBAL, "7")], Some(Left::Exactly(7)))]
    #[case::of_a_service(&[(WRITES, "199"), (REQUESTS, "3")], Some(Left::Exactly(3)))]
    #[case::another_bucket(&[(READS, "1")], None)]
    #[case::overdrawn(&[(WRITES, "-4")], Some(Left::Exactly(0)))]
    #[case::nonsense(&[(WRITES, "many")], None)]
    fn arms_own_bucket_is_told(#[case] headers: &[(&'static str, &'static str)], #[case] left: Option<Left>) {
        let expected: Vec<_> = left.into_iter().map(|left| (Bucket::SubscriptionWrites, left)).collect();
        assert_eq!(told(headers), expected);
    }

    #[test]
    fn several_policies_of_the_provider_are_told_at_once() {
        let value = "Microsoft.Compute/UpdateVMSubscriptionMaximum;1493,Microsoft.Compute/UpdateVMResource;11,\
                     Microsoft.Compute/VmssQueuedVMOperations;0,Microsoft.Compute/Broken";
        let expected = [(Bucket::VmUpdates, Left::Exactly(1493)), (Bucket::ResourceUpdates, Left::Exactly(11))];
        assert_eq!(told(&[("x-ms-ratelimit-remaining-resource", value)]), expected);
    }
}
