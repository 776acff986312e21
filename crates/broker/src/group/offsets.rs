//! The offsets that groups have committed. A change is journaled before it is applied. They do not
//! expire: they go with their topic, with their group, or one by one.

use std::collections::BTreeSet;

use tracing::debug;

use super::membership::{Group, Phase};
use super::subscription;
use super::{Claim, GroupError, Groups, NotKept, State};
use crate::journal::{CommittedOffset, Entry};
use crate::units::{Now, TopicPartition};

/// Bytes that an offset is reckoned to take besides its names and its metadata.
const OFFSET_OVERHEAD_BYTES: usize = 160;
/// The type of groups whose members read topics.
const CONSUMER: &str = "consumer";

/// Writes an entry to the journal, or says that it could not: then nothing changes.
pub(crate) type Keep<'a> = &'a mut dyn FnMut(&Entry) -> Result<(), NotKept>;

/// Offsets of transactions that are open: group, partition and producer id.
pub(super) type Pending = BTreeSet<(String, TopicPartition, i64)>;

/// The answers to each part of a request, in the order of the parts; or one for all of them.
pub(crate) type Answers = Result<Vec<Result<(), GroupError>>, GroupError>;

impl Groups {
    /// `OffsetCommit`: from a member of the group's current generation, or, to a group without members,
    /// from anybody who claims none. One answer for each offset.
    pub(crate) fn commit(
        &mut self,
        claim: &Claim<'_>,
        offsets: Vec<(TopicPartition, CommittedOffset)>,
        now: Now,
        keep: Keep<'_>,
    ) -> Answers {
        self.check_commit(claim, false)?;
        // Commits have kept sessions alive since before there were heartbeats.
        self.on_group(claim.group, now, |group, context| {
            if matches!(group.state(), State::Stable | State::PreparingRebalance)
                && let Some(member) = group.members.get_mut(claim.member)
            {
                member.heard(context.now);
            }
        });
        let store = |(at, committed)| self.store(claim.group, at, committed, keep);
        let answers = offsets.into_iter().map(store).collect();
        // A group that holds offsets does not lapse.
        self.on_group(claim.group, now, |_, _| ());
        Ok(answers)
    }

    /// Whether a transaction may commit offsets for the group: what `TxnOffsetCommit` asks. It is the
    /// last time that a limit can refuse them.
    pub(crate) fn check_transactional_commit(&self, claim: &Claim<'_>) -> Result<(), GroupError> {
        self.check_commit(claim, true)?;
        let has_room = self.by_id.contains_key(claim.group) || self.has_room_for_group();
        if self.offset_bytes >= self.limits.total_offset_bytes || !has_room {
            return Err(GroupError::TooManyOffsets);
        }
        Ok(())
    }

    /// Stores the offsets of a transaction that has committed; only the journal can refuse them. May be
    /// repeated.
    pub(crate) fn commit_from_transaction(
        &mut self,
        group: &str,
        offsets: &[(TopicPartition, CommittedOffset)],
        keep: Keep<'_>,
    ) -> Result<(), GroupError> {
        for (at, committed) in offsets {
            self.keep_offset(group, at.clone(), committed.clone(), keep)?;
        }
        Ok(())
    }

    /// Notes that an open transaction has an offset for the partition. Who fetches offsets that must
    /// not change any more is told to wait.
    pub(crate) fn set_pending(&mut self, group: &str, at: &TopicPartition, producer_id: i64) {
        self.pending
            .insert((group.to_owned(), at.clone(), producer_id));
    }

    /// The producer's transaction has ended for the group; its offsets, if it committed, have been stored.
    pub(crate) fn clear_pending(&mut self, group: &str, producer_id: i64) {
        self.pending
            .retain(|(owner, _, producer)| *producer != producer_id || owner != group);
    }

    /// A group's offset for a partition; refuses those that an open transaction may change, if asked to.
    pub(crate) fn committed(
        &self,
        group: &str,
        at: &TopicPartition,
        require_stable: bool,
    ) -> Result<Option<&CommittedOffset>, GroupError> {
        if require_stable && self.is_pending(group, at) {
            return Err(GroupError::UnstableOffset);
        }
        Ok(self
            .by_id
            .get(group)
            .and_then(|group| group.offsets.get(at)))
    }

    /// The partitions that a group has offsets for, in order.
    pub(crate) fn committed_partitions(
        &self,
        group: &str,
    ) -> impl Iterator<Item = &TopicPartition> {
        self.by_id
            .get(group)
            .into_iter()
            .flat_map(|group| group.offsets.keys())
    }

    fn is_pending(&self, group: &str, at: &TopicPartition) -> bool {
        let from = (group.to_owned(), at.clone(), i64::MIN);
        let first = self.pending.range(from..).next();
        first.is_some_and(|(owner, partition, _)| owner == group && partition == at)
    }

    /// `OffsetDelete`: of partitions of topics that no member reads. One answer for each partition.
    pub(crate) fn delete_offsets(
        &mut self,
        group: &str,
        partitions: &[TopicPartition],
        now: Now,
        keep: Keep<'_>,
    ) -> Answers {
        let Some(found) = self.by_id.get(group) else {
            return Err(GroupError::GroupNotFound);
        };
        if found.state() != State::Empty && found.protocol_type() != CONSUMER {
            return Err(GroupError::NonEmptyGroup);
        }
        let answers = (partitions.iter())
            .map(|at| {
                if self
                    .by_id
                    .get(group)
                    .is_some_and(|group| group.reads(&at.topic))
                {
                    return Err(GroupError::SubscribedToTopic);
                }
                self.delete_offset(group, at, keep)
            })
            .collect();
        self.on_group(group, now, |group, context| {
            if let Phase::Empty { since } = &mut group.phase {
                *since = Some(context.now);
            }
        });
        Ok(answers)
    }

    /// Deletes all groups' offsets for a topic that is deleted. Called before the deletion is journaled:
    /// an end in between costs offsets of a topic that was about to go, and nothing else.
    pub(crate) fn forget_topic(&mut self, topic: &str, keep: Keep<'_>) -> Result<(), GroupError> {
        let found: Vec<(String, TopicPartition)> = (self.by_id.iter())
            .flat_map(|(id, group)| group.offsets.keys().map(move |at| (id, at)))
            .filter(|(_, at)| at.topic == topic)
            .map(|(id, at)| (id.clone(), at.clone()))
            .collect();
        for (group, at) in found {
            self.delete_offset(&group, &at, keep)?;
            self.remove_if_unused(&group);
        }
        Ok(())
    }

    /// What the journal must hold for [`restore`](Self::restore) to lead here.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        let offsets = (self.by_id.iter())
            .flat_map(|(id, group)| group.offsets.iter().map(move |offset| (id, offset)));
        offsets.map(|(id, (at, committed))| committed_entry(id, at, committed))
    }

    pub(super) fn restore_offset(
        &mut self,
        group: &str,
        topic: &str,
        partition: i32,
        committed: CommittedOffset,
    ) {
        let at = TopicPartition {
            topic: topic.to_owned(),
            partition,
        };
        self.apply(group, at, committed);
    }

    pub(super) fn restore_offset_deleted(&mut self, group: &str, topic: &str, partition: i32) {
        let at = TopicPartition {
            topic: topic.to_owned(),
            partition,
        };
        self.apply_deleted(group, &at);
        self.remove_if_unused(group);
    }

    fn remove_if_unused(&mut self, group: &str) {
        if self.by_id.get(group).is_some_and(Group::holds_nothing) {
            self.remove_group(group);
        }
    }

    fn check_commit(&self, claim: &Claim<'_>, in_transaction: bool) -> Result<(), GroupError> {
        if claim.group.len() > self.limits.name_bytes {
            return Err(GroupError::InvalidGroupId);
        }
        match self.by_id.get(claim.group) {
            None if claim.generation.is_none() => Ok(()),
            None => Err(GroupError::IllegalGeneration),
            Some(group) => group.check_commit(claim, in_transaction),
        }
    }

    /// Stores an offset if the limits allow it.
    fn store(
        &mut self,
        group: &str,
        at: TopicPartition,
        committed: CommittedOffset,
        keep: Keep<'_>,
    ) -> Result<(), GroupError> {
        if committed.metadata.len() > self.limits.offset_metadata_bytes {
            return Err(GroupError::OffsetMetadataTooLarge);
        }
        let found = self.by_id.get(group);
        let replaced = found.and_then(|group| group.offsets.get(&at));
        let freed = replaced.map_or(0, |old| offset_bytes(&at, old));
        let wanted = self.offset_bytes + offset_bytes(&at, &committed);
        if wanted.saturating_sub(freed) > self.limits.total_offset_bytes {
            return Err(GroupError::TooManyOffsets);
        }
        if found.is_none() {
            self.make_room_for_group()
                .map_err(|_| GroupError::TooManyOffsets)?;
        }
        self.keep_offset(group, at, committed, keep)
    }

    /// Journals an offset, then applies it.
    fn keep_offset(
        &mut self,
        group: &str,
        at: TopicPartition,
        committed: CommittedOffset,
        keep: Keep<'_>,
    ) -> Result<(), GroupError> {
        keep(&committed_entry(group, &at, &committed))?;
        debug!(
            group,
            topic = at.topic,
            partition = at.partition,
            offset = committed.offset.0,
            "committed"
        );
        self.apply(group, at, committed);
        Ok(())
    }

    fn apply(&mut self, group: &str, at: TopicPartition, committed: CommittedOffset) {
        let added = offset_bytes(&at, &committed);
        if !self.by_id.contains_key(group) {
            self.by_id.insert(group.to_owned(), Group::new(group, None));
        }
        if let Some(group) = self.by_id.get_mut(group) {
            let replaced = group
                .offsets
                .get(&at)
                .map_or(0, |old| offset_bytes(&at, old));
            group.offsets.insert(at, committed);
            self.offset_bytes = (self.offset_bytes + added).saturating_sub(replaced);
        }
    }

    /// Journals that an offset is gone, if there is one, then applies it.
    fn delete_offset(
        &mut self,
        group: &str,
        at: &TopicPartition,
        keep: Keep<'_>,
    ) -> Result<(), GroupError> {
        let known = self
            .by_id
            .get(group)
            .is_some_and(|group| group.offsets.contains_key(at));
        if known {
            keep(&Entry::OffsetDeleted {
                group: group.to_owned(),
                topic: at.topic.clone(),
                partition: at.partition,
            })?;
            self.apply_deleted(group, at);
        }
        Ok(())
    }

    fn apply_deleted(&mut self, group: &str, at: &TopicPartition) {
        let gone = self
            .by_id
            .get_mut(group)
            .and_then(|group| group.offsets.remove(at));
        if let Some(old) = gone {
            self.offset_bytes = self.offset_bytes.saturating_sub(offset_bytes(at, &old));
        }
    }
}

impl Group {
    /// Whether a commit may be made.
    fn check_commit(&self, claim: &Claim<'_>, in_transaction: bool) -> Result<(), GroupError> {
        if claim.generation.is_none() && self.state() == State::Empty {
            return Ok(());
        }
        if !claim.generation.is_none() || !claim.member.is_empty() || claim.instance.is_some() {
            self.check(claim)?;
        } else if !in_transaction {
            return Err(GroupError::UnknownMember);
        }
        if !in_transaction && self.state() == State::CompletingRebalance {
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    /// Whether its members read the topic. If they are consumers and it can't be told, they do.
    fn reads(&self, topic: &str) -> bool {
        if self.protocol_type() != CONSUMER {
            return false;
        }
        let protocol = self.protocol.as_deref();
        self.members.values().any(|member| {
            let metadata = member.metadata(protocol);
            subscription::topics(&metadata).is_none_or(|topics| topics.contains(&topic))
        })
    }

    /// Bytes that its offsets hold.
    pub(super) fn offset_bytes(&self) -> usize {
        self.offsets
            .iter()
            .map(|(at, committed)| offset_bytes(at, committed))
            .sum()
    }
}

fn offset_bytes(at: &TopicPartition, committed: &CommittedOffset) -> usize {
    OFFSET_OVERHEAD_BYTES + at.topic.len() + committed.metadata.len()
}

fn committed_entry(group: &str, at: &TopicPartition, committed: &CommittedOffset) -> Entry {
    Entry::OffsetCommitted {
        group: group.to_owned(),
        topic: at.topic.clone(),
        partition: at.partition,
        committed: committed.clone(),
    }
}
