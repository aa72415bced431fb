//! How fast it could be done at best: what ARM's buckets allow of the share that is ours.
use std::time::Duration;

/// A bucket of ARM, as documented: so many at once, then so many a second.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    capacity: f64,
    refill: f64,
}

/// Of one subscription and principal.
pub const READS: Bucket = Bucket { capacity: 250.0, refill: 25.0 };
/// Of one subscription and principal.
pub const WRITES: Bucket = Bucket { capacity: 200.0, refill: 10.0 };

impl Bucket {
    /// The time that so many requests take out of a full bucket, of which a share may be spent.
    #[must_use]
    pub fn time(self, requests: f64, share: f64) -> Duration {
        let waiting = (requests - self.capacity * share).max(0.0);
        Duration::from_secs_f64(waiting / (self.refill * share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_bucket_gives_its_share_at_once_and_then_a_share_of_its_refill() {
        assert_eq!(WRITES.time(160.0, 0.8), Duration::ZERO);
        assert_eq!(WRITES.time(400.0, 0.8), Duration::from_secs(30));
        assert_eq!(READS.time(450.0, 0.8), Duration::from_millis(12_500));
    }
}
