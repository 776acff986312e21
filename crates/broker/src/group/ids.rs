//! The ids that members are given.

/// Gives out member ids: what the client calls itself, then 128 bits that look like a UUID, as Kafka's.
///
/// The bits are a counter mixed with a seed of this start of the broker: unique within the start, and
/// not repeated by another one. They are no secret.
#[derive(Debug)]
pub(super) struct MemberIds {
    seed: u64,
    given: u64,
}

impl MemberIds {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, given: 0 }
    }

    /// The next id, for a client of this name.
    pub(super) fn next(&mut self, name: &str) -> String {
        self.given = self.given.wrapping_add(1);
        let high = mix(self.seed);
        let low = mix(self.seed ^ mix(self.given));
        format!(
            "{name}-{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff,
        )
    }
}

/// The finaliser of `SplitMix64` (Steele, Lea, Flood 2014): a bijection, so that different inputs stay so.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
