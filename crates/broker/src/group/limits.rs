//! What groups may take, each with its unit.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::GroupError;

/// A member id is a name of the client's and this many bytes at most.
const MEMBER_ID_SUFFIX_BYTES: usize = 64;

/// What groups may take. The timeouts default to Kafka's; the sizes keep a client from taking the
/// broker's memory.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Session timeouts that a member may ask for (`group.min.session.timeout.ms` and `max`).
    pub(crate) session_timeouts: RangeInclusive<Duration>,
    /// How long the first rebalance of an empty group waits for more members
    /// (`group.initial.rebalance.delay.ms`; Kafka's own default is 3 s).
    pub(crate) initial_rebalance_delay: Duration,
    /// How long a member that has never finished a join may wait for it, since it can't heartbeat.
    pub(crate) new_member_timeout: Duration,
    /// How long a group without members and offsets is remembered.
    pub(crate) empty_group_retention: Duration,
    /// Groups in all.
    pub(crate) groups: usize,
    /// Members of a group (`group.max.size`); as many again may be about to join.
    pub(crate) members: usize,
    /// Protocols that a member may offer.
    pub(crate) protocols: usize,
    /// Bytes that the members of one group may hold: metadata, assignments, names.
    pub(crate) group_bytes: usize,
    /// Bytes that the members of all groups may hold.
    pub(crate) total_member_bytes: usize,
    /// Bytes of a group id, an instance id, or of what a client calls itself.
    pub(crate) name_bytes: usize,
    /// Bytes of the text beside an offset (`offset.metadata.max.bytes`).
    pub(crate) offset_metadata_bytes: usize,
    /// Bytes that the offsets of all groups may hold.
    pub(crate) total_offset_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            session_timeouts: Duration::from_secs(6)..=Duration::from_secs(30 * 60),
            initial_rebalance_delay: Duration::ZERO,
            new_member_timeout: Duration::from_secs(5 * 60),
            empty_group_retention: Duration::from_secs(10 * 60),
            groups: 10_000,
            members: 1_000,
            protocols: 64,
            group_bytes: 16 << 20,
            total_member_bytes: 128 << 20,
            name_bytes: 1_024,
            offset_metadata_bytes: 4_096,
            total_offset_bytes: 64 << 20,
        }
    }
}

impl Limits {
    /// A group that has members must have a name.
    pub(super) fn check_group_id(&self, id: &str) -> Result<(), GroupError> {
        if id.is_empty() || id.len() > self.name_bytes {
            return Err(GroupError::InvalidGroupId);
        }
        Ok(())
    }

    /// Bytes of the longest member id that was ever given out.
    pub(super) fn member_id_bytes(&self) -> usize {
        self.name_bytes + MEMBER_ID_SUFFIX_BYTES
    }

    /// What a client calls itself, or says of itself, as far as it is kept.
    pub(super) fn cut_name(&self, name: &str) -> String {
        name.get(..name.floor_char_boundary(self.name_bytes))
            .unwrap_or_default()
            .to_owned()
    }
}
