//! Distributions of durations: fixed buckets, counted without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds, in microseconds, ascending; above the last one there is one bucket more.
#[derive(Debug, Clone, Copy)]
pub struct Buckets(pub(crate) &'static [u64]);

impl Buckets {
    fn find(self, micros: u64) -> usize {
        self.0.partition_point(|bound| *bound < micros)
    }
}

/// Counts durations by bucket. May be written and read by any thread; what is read may lack what is
/// being counted just then.
#[derive(Debug)]
pub struct Histogram {
    buckets: Buckets,
    counts: Box<[AtomicU64]>,
    sum_micros: AtomicU64,
}

impl Histogram {
    /// Nothing counted.
    pub fn new(buckets: Buckets) -> Self {
        let counts = (0..=buckets.0.len()).map(|_| AtomicU64::new(0));
        Self {
            buckets,
            counts: counts.collect(),
            sum_micros: AtomicU64::new(0),
        }
    }

    /// Counts one.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts[self.buckets.find(micros)].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Counts `now - time` of each time, all in microseconds; what lies ahead of `now` counts as 0.
    pub fn observe_ages(&self, now: i64, times: &[i64]) {
        let mut counts = [0_u64; MOST_BUCKETS];
        let mut sum = 0_u64;
        for time in times {
            let micros = u64::try_from(now.saturating_sub(*time)).unwrap_or(0);
            counts[self.buckets.find(micros).min(MOST_BUCKETS - 1)] += 1;
            sum = sum.saturating_add(micros);
        }
        for (total, count) in self.counts.iter().zip(counts) {
            if count > 0 {
                total.fetch_add(count, Ordering::Relaxed);
            }
        }
        self.sum_micros.fetch_add(sum, Ordering::Relaxed);
    }

    /// What has been counted.
    pub fn read(&self) -> Distribution {
        let counts = self
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        Distribution {
            buckets: self.buckets,
            counts: counts.collect(),
            sum_micros: self.sum_micros.load(Ordering::Relaxed),
        }
    }
}

/// No histogram has more buckets, the one above the last bound included.
const MOST_BUCKETS: usize = 32;

/// What a histogram had counted at one moment.
#[derive(Debug, Clone)]
pub struct Distribution {
    buckets: Buckets,
    counts: Vec<u64>,
    sum_micros: u64,
}

impl Distribution {
    /// How many durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_micros as f64 / 1e6
    }

    /// Upper bound of each bucket in seconds, the last one infinite, and what is in it.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let bounds = self.buckets.0.iter().map(|micros| *micros as f64 / 1e6);
        bounds
            .chain([f64::INFINITY])
            .zip(self.counts.iter().copied())
    }

    /// What was counted since `earlier`, an older state of the same histogram.
    pub fn since(&self, earlier: &Self) -> Self {
        let pairs = self.counts.iter().zip(&earlier.counts);
        Self {
            buckets: self.buckets,
            counts: pairs.map(|(now, then)| now.saturating_sub(*then)).collect(),
            sum_micros: self.sum_micros.saturating_sub(earlier.sum_micros),
        }
    }

    /// The duration in seconds that a share of `quantile` did not exceed, even steps assumed inside a
    /// bucket; above the last bound, that bound. `None` if nothing was counted.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let rank = self.count() as f64 * quantile.clamp(0.0, 1.0);
        let mut below = 0.0;
        let mut lower = 0.0;
        for (upper, count) in self.buckets() {
            let upto = below + count as f64;
            if count > 0 && upto >= rank {
                let share = ((rank - below) / count as f64).clamp(0.0, 1.0);
                return Some(if upper.is_finite() {
                    lower + (upper - lower) * share
                } else {
                    lower
                });
            }
            (below, lower) = (upto, upper);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUCKETS: Buckets = Buckets(&[1_000, 10_000, 100_000]);

    #[test]
    fn a_duration_on_a_bound_belongs_below_it() {
        let histogram = Histogram::new(BUCKETS);
        for micros in [0, 1_000, 1_001, 100_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let read = histogram.read();
        let counts: Vec<u64> = read.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 1, 0, 1]);
        assert_eq!(read.count(), 4);
        assert!((read.sum_seconds() - 0.102_002).abs() < 1e-9);
    }

    #[test]
    fn ages_are_counted_like_single_durations() {
        let (one, many) = (Histogram::new(BUCKETS), Histogram::new(BUCKETS));
        let now = 1_000_000;
        let times = [now, now - 1_000, now - 5_000, now - 500_000, now + 7];
        many.observe_ages(now, &times);
        for time in times {
            let age = u64::try_from(now - time).unwrap_or(0);
            one.observe(Duration::from_micros(age));
        }
        assert_eq!(one.read().counts, many.read().counts);
        assert_eq!(one.read().sum_micros, many.read().sum_micros);
    }

    #[test]
    fn quantiles_lie_in_the_bucket_that_holds_them() {
        let histogram = Histogram::new(BUCKETS);
        assert_eq!(histogram.read().quantile(0.5), None);
        for _ in 0..98 {
            histogram.observe(Duration::from_micros(5_000));
        }
        let before = histogram.read();
        for _ in 0..2 {
            histogram.observe(Duration::from_millis(50));
        }
        let read = histogram.read();
        let p50 = read.quantile(0.5).expect("counted");
        assert!((0.001..=0.010).contains(&p50), "{p50}");
        let p99 = read.quantile(0.99).expect("counted");
        assert!((0.010..=0.100).contains(&p99), "{p99}");
        assert_eq!(read.since(&before).count(), 2);
        histogram.observe(Duration::from_secs(9));
        assert_eq!(histogram.read().quantile(1.0), Some(0.1));
    }
}
