//! One of ARM's buckets, by its documentation alone: holds so many, takes one from each request, is refilled all the
//! time, tells what is left, and refuses what finds it empty. Shares no line with what it is to judge.

/// Times in milliseconds; levels in thousandths of a request, so that nothing is rounded.
pub struct ArmBucket {
    level: u64,
    capacity: u64,
    per_second: u64,
    at: u64,
    pub admitted: u64,
    pub refused: u64,
}

impl ArmBucket {
    pub fn full(capacity: u64, per_second: u64) -> Self {
        let whole = capacity * 1000;
        Self { level: whole, capacity: whole, per_second, at: 0, admitted: 0, refused: 0 }
    }

    fn flow(&mut self, now: u64) {
        assert!(now >= self.at, "ARM's clock goes forward");
        self.level = (self.level + (now - self.at) * self.per_second).min(self.capacity);
        self.at = now;
    }

    /// A request of ours: what is left, or the seconds until there is something.
    pub fn ask(&mut self, now: u64) -> Result<u32, u64> {
        self.flow(now);
        if self.level < 1000 {
            self.refused += 1;
            return Err((1000 - self.level).div_ceil(self.per_second * 1000).max(1));
        }
        self.admitted += 1;
        self.level -= 1000;
        Ok(u32::try_from(self.level / 1000).expect("small"))
    }

    /// Others take up to so many.
    pub fn drawn_by_others(&mut self, now: u64, wanted: u64) {
        self.flow(now);
        self.level -= (wanted * 1000).min(self.level / 1000 * 1000);
    }

    /// Whole requests left.
    pub fn left(&self) -> u64 {
        self.level / 1000
    }
}
