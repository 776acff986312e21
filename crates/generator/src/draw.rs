//! Counter-based randomness: draw `n` of a stream costs the same whichever was drawn before.
//!
//! The mixing function is the finalizer of `SplitMix64` (Steele, Lea, Flood: *Fast splittable
//! pseudorandom number generators*, OOPSLA 2014). It is written here rather than taken from a library
//! because its output is part of what the simulator promises: it must never change.

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// An endless sequence of independent 64-bit draws, addressed by number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream(u64);

impl Stream {
    /// The stream of a seed; streams of different labels are independent.
    pub(crate) fn new(seed: u64, label: u64) -> Self {
        Self(mix(seed ^ mix(label.wrapping_mul(GOLDEN_GAMMA))))
    }

    /// Draw number `index`.
    #[inline]
    pub(crate) fn at(self, index: u64) -> u64 {
        mix(self.0.wrapping_add(index.wrapping_mul(GOLDEN_GAMMA)))
    }
}

/// Spreads a draw into another one that looks independent of it.
#[inline]
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(GOLDEN_GAMMA);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A number in `0..bound` from a 64-bit draw; 0 where the bound is 0.
#[inline]
pub(crate) fn below(draw: u64, bound: u64) -> u64 {
    ((u128::from(draw) * u128::from(bound)) >> 64) as u64
}

/// A probability as a threshold for 32 bits of a draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chance(u64);

impl Chance {
    /// From a share between 0 and 1.
    pub(crate) fn new(share: f64) -> Self {
        Self((share * 4_294_967_296.0) as u64)
    }

    /// Whether the draw's low 32 bits fall into the share.
    #[inline]
    pub(crate) fn hit(self, draw: u64) -> bool {
        (draw & 0xffff_ffff) < self.0
    }
}

/// Bell-shaped noise in `-510..=510` with a standard deviation of 148, from the low 32 bits of a draw:
/// the sum of four uniform bytes, so that it is bounded.
#[inline]
pub(crate) fn bell(draw: u64) -> i32 {
    let [a, b, c, d, ..] = draw.to_le_bytes();
    i32::from(a) + i32::from(b) + i32::from(c) + i32::from(d) - 510
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chance_of_zero_never_hits_and_of_one_always_does() {
        for draw in [0, 1, 0xffff_ffff, u64::MAX] {
            assert!(!Chance::new(0.0).hit(draw));
            assert!(Chance::new(1.0).hit(draw));
        }
    }

    #[test]
    fn draws_stay_below_their_bound() {
        let stream = Stream::new(7, 1);
        for index in 0..1_000 {
            assert!(below(stream.at(index), 10) < 10);
            assert!(bell(stream.at(index)).abs() <= 510);
        }
        assert_eq!(below(u64::MAX, 0), 0);
    }

    #[test]
    fn streams_of_different_labels_differ() {
        assert_ne!(Stream::new(7, 1).at(0), Stream::new(7, 2).at(0));
        assert_ne!(Stream::new(7, 1).at(0), Stream::new(8, 1).at(0));
    }
}
