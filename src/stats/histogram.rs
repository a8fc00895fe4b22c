//! A histogram of times in constant memory: each power of two is cut into 16
//! equal parts, so a percentile is at most 1/16 above the true value.
//!
//! What must hold: recording is one relaxed addition (and a rare one for the
//! maximum), from any thread or handler.

use crate::sync::atomic::{AtomicU64, Ordering};

const PARTS: usize = 16;
const PARTS_BITS: u32 = 4;
/// Up to 2^42 ns, more than an hour; what is longer counts as that.
const BUCKETS: usize = PARTS * (42 - PARTS_BITS as usize + 1);

/// The histogram. All zero is empty.
#[repr(C, align(64))]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    longest: AtomicU64,
}

/// The bucket of a time.
fn bucket(ns: u64) -> usize {
    if ns < PARTS as u64 {
        return ns as usize;
    }
    let power = 63 - ns.leading_zeros();
    let part = (ns >> (power - PARTS_BITS)) as usize & (PARTS - 1);
    (PARTS * (power - PARTS_BITS + 1) as usize + part).min(BUCKETS - 1)
}

/// The largest time of a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < PARTS {
        return bucket as u64;
    }
    let shift = bucket / PARTS - 1;
    let part = (PARTS + bucket % PARTS) as u64;
    ((part + 1) << shift) - 1
}

impl Histogram {
    /// Adds a time.
    pub fn record(&self, ns: u64) {
        self.buckets[bucket(ns)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(ns, Ordering::Relaxed);
        if ns > self.longest.load(Ordering::Relaxed) {
            self.longest.fetch_max(ns, Ordering::Relaxed);
        }
    }

    /// How many times were recorded.
    pub fn count(&self) -> u64 {
        self.buckets
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    /// Their mean; 0 if there is none.
    pub fn mean(&self) -> u64 {
        self.sum
            .load(Ordering::Relaxed)
            .checked_div(self.count())
            .unwrap_or(0)
    }

    pub fn longest(&self) -> u64 {
        self.longest.load(Ordering::Relaxed)
    }

    /// The time that `per_100_000` of 100 000 do not exceed.
    pub fn percentile(&self, per_100_000: u64) -> u64 {
        let count = self.count();
        if count == 0 {
            return 0;
        }
        let rank = (count as u128 * u128::from(per_100_000)).div_ceil(100_000) as u64;
        let mut below = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            below += bucket.load(Ordering::Relaxed);
            if below >= rank.max(1) {
                return upper(index).min(self.longest());
            }
        }
        self.longest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Box<Histogram> {
        // SAFETY: all zero is the empty histogram.
        unsafe { Box::new(std::mem::zeroed()) }
    }

    #[test]
    fn buckets_cover_everything_without_a_gap() {
        for index in 0..BUCKETS {
            let last = upper(index);
            assert_eq!(bucket(last), index);
            assert_eq!(bucket(last + 1), (index + 1).min(BUCKETS - 1));
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_within_a_sixteenth() {
        let histogram = empty();
        for ns in 1..=100_000u64 {
            histogram.record(ns * 10);
        }
        assert_eq!(histogram.count(), 100_000);
        assert_eq!(histogram.mean(), 500_005);
        assert_eq!(histogram.longest(), 1_000_000);
        for per_100_000 in [1, 50, 1_000, 50_000, 90_000, 99_000, 99_900, 100_000] {
            let exact = per_100_000 * 10;
            let found = histogram.percentile(per_100_000);
            assert!(
                found >= exact && found <= exact + exact / 16 + 1,
                "{per_100_000}: {found}, exact {exact}"
            );
        }
    }

    #[test]
    fn one_value_is_every_percentile() {
        let histogram = empty();
        assert_eq!(histogram.percentile(50_000), 0);
        histogram.record(777);
        for per_100_000 in [1, 50_000, 100_000] {
            assert_eq!(histogram.percentile(per_100_000), 777);
        }
    }
}
