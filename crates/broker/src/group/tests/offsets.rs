//! Offsets: who may commit them, what is journaled, what survives.

use super::*;
use crate::journal::CommittedOffset;
use crate::units::{Offset, TopicPartition};

fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition {
        topic: topic.to_owned(),
        partition,
    }
}

fn offset(offset: i64) -> CommittedOffset {
    CommittedOffset {
        offset: Offset(offset),
        leader_epoch: -1,
        metadata: "mine".to_owned(),
        at: Timestamp(1),
    }
}

/// What somebody claims who is no member.
const NOBODY: Claim<'static> = Claim {
    group: GROUP,
    member: "",
    instance: None,
    generation: Generation::NONE,
};

impl World {
    fn commit(
        &mut self,
        claim: &Claim<'_>,
        offsets: Vec<(TopicPartition, CommittedOffset)>,
    ) -> super::super::offsets::Answers {
        let journal = &mut self.journal;
        self.groups.commit(claim, offsets, self.now, &mut |entry| {
            journal.push(entry.clone());
            Ok(())
        })
    }

    fn delete_offsets(&mut self, partitions: &[TopicPartition]) -> super::super::offsets::Answers {
        let journal = &mut self.journal;
        self.groups
            .delete_offsets(GROUP, partitions, self.now, &mut |entry| {
                journal.push(entry.clone());
                Ok(())
            })
    }

    fn delete(&mut self) -> Result<(), GroupError> {
        let journal = &mut self.journal;
        self.groups.delete(GROUP, &mut |entry| {
            journal.push(entry.clone());
            Ok(())
        })
    }

    fn offset_of(&self, at: &TopicPartition) -> Option<i64> {
        let committed = self
            .groups
            .committed(GROUP, at, false)
            .expect("not asked to be stable");
        committed.map(|committed| committed.offset.0)
    }

    /// The world after a restart: what the journal leads to.
    fn restarted(&self) -> Self {
        let mut world = Self::new();
        self.journal
            .iter()
            .for_each(|entry| world.groups.restore(entry));
        world
    }
}

#[test]
fn a_member_commits_and_everybody_fetches() {
    let (mut world, members) = World::stable(&["a"]);
    let answers = world.commit(
        &claim(&members[0]),
        vec![(at("events", 0), offset(5)), (at("events", 1), offset(6))],
    );
    assert_eq!(answers, Ok(vec![Ok(()), Ok(())]));
    assert_eq!(world.offset_of(&at("events", 0)), Some(5));
    assert_eq!(world.offset_of(&at("events", 2)), None);
    let all: Vec<_> = world.groups.committed_partitions(GROUP).cloned().collect();
    assert_eq!(all, [at("events", 0), at("events", 1)]);
    assert_eq!(world.groups.committed_partitions("nobody").count(), 0);
}

#[test]
fn a_commit_of_an_old_generation_is_fenced_and_stores_nothing() {
    let (mut world, members) = World::stable(&["a"]);
    let mut old = members[0].clone();
    old.generation = Generation(0);
    let some = || vec![(at("events", 0), offset(5))];
    assert_eq!(
        world.commit(&claim(&old), some()),
        Err(GroupError::IllegalGeneration)
    );
    old.member = "ghost".to_owned();
    assert_eq!(
        world.commit(&claim(&old), some()),
        Err(GroupError::UnknownMember)
    );
    assert_eq!(
        world.commit(&NOBODY, some()),
        Err(GroupError::UnknownMember)
    );
    assert!(world.journal.is_empty());
    assert_eq!(world.offset_of(&at("events", 0)), None);
}

#[test]
fn a_commit_waits_for_the_assignment_and_counts_as_a_heartbeat() {
    let mut world = World::new();
    let (id, mut answer) = world.enter("a");
    let joined = said(&mut answer).unwrap();
    let some = || vec![(at("events", 0), offset(5))];
    assert_eq!(
        world.commit(&claim(&joined), some()),
        Err(GroupError::RebalanceInProgress)
    );
    said(&mut world.sync(&joined, &[(&id, "0")])).unwrap();
    for _ in 0..5 {
        world.pass(SESSION / 2);
        assert_eq!(world.commit(&claim(&joined), some()), Ok(vec![Ok(())]));
    }
    assert_eq!(world.beat(&joined), Ok(()));
}

#[test]
fn a_simple_consumer_commits_to_a_group_without_members() {
    let mut world = World::new();
    let some = || vec![(at("events", 0), offset(5))];
    assert_eq!(world.commit(&NOBODY, some()), Ok(vec![Ok(())]));
    let group = world.groups.describe(GROUP).unwrap();
    assert_eq!((group.state, &*group.protocol_type), (State::Empty, ""));
    let member = Claim {
        group: "another",
        generation: Generation(1),
        ..NOBODY
    };
    assert_eq!(
        world.commit(&member, some()),
        Err(GroupError::IllegalGeneration)
    );
    world.pass(Limits::default().empty_group_retention * 2);
    assert_eq!(
        world.offset_of(&at("events", 0)),
        Some(5),
        "what holds offsets does not lapse"
    );
}

#[test]
fn a_transaction_commits_with_an_old_clients_silence_or_with_the_members_generation() {
    let (world, members) = World::stable(&["a"]);
    assert_eq!(world.groups.check_transactional_commit(&NOBODY), Ok(()));
    assert_eq!(
        world.groups.check_transactional_commit(&claim(&members[0])),
        Ok(())
    );
    let mut old = members[0].clone();
    old.generation = Generation(0);
    let refused = world.groups.check_transactional_commit(&claim(&old));
    assert_eq!(refused, Err(GroupError::IllegalGeneration));
}

#[test]
fn offsets_of_an_open_transaction_are_unstable_until_it_ends() {
    let mut world = World::new();
    let partition = at("events", 0);
    world
        .commit(&NOBODY, vec![(partition.clone(), offset(5))])
        .unwrap()[0]
        .unwrap();
    world.groups.set_pending(GROUP, &partition, 42);
    world.groups.set_pending(GROUP, &partition, 43);
    let unstable = world.groups.committed(GROUP, &partition, true);
    assert_eq!(unstable, Err(GroupError::UnstableOffset));
    assert_eq!(world.offset_of(&partition), Some(5));
    assert!(
        world
            .groups
            .committed(GROUP, &at("events", 1), true)
            .is_ok()
    );
    assert!(world.groups.committed("another", &partition, true).is_ok());
    world.groups.clear_pending("another", 42);
    world.groups.clear_pending(GROUP, 43);
    assert!(world.groups.committed(GROUP, &partition, true).is_err());
    let journal = &mut world.journal;
    let offsets = [(partition.clone(), offset(9))];
    let mut keep = |entry: &Entry| {
        journal.push(entry.clone());
        Ok(())
    };
    world
        .groups
        .commit_from_transaction(GROUP, &offsets, &mut keep)
        .unwrap();
    world.groups.clear_pending(GROUP, 42);
    assert_eq!(
        world
            .groups
            .committed(GROUP, &partition, true)
            .unwrap()
            .unwrap()
            .offset,
        Offset(9)
    );
    assert_eq!(world.restarted().offset_of(&partition), Some(9));
}

#[test]
fn offsets_survive_a_restart_and_members_do_not() {
    let (mut world, members) = World::stable(&["a"]);
    let offsets = vec![(at("events", 0), offset(5)), (at("events", 1), offset(6))];
    world.commit(&claim(&members[0]), offsets).unwrap();
    let later = vec![(at("events", 0), offset(7))];
    world.commit(&claim(&members[0]), later).unwrap();
    let mut back = world.restarted();
    assert_eq!(back.offset_of(&at("events", 0)), Some(7));
    assert_eq!(back.offset_of(&at("events", 1)), Some(6));
    assert_eq!(back.state(), "Empty");
    assert_eq!(back.beat(&members[0]), Err(GroupError::UnknownMember));
    // The compact state leads to the same.
    let mut compacted = World::new();
    back.groups
        .entries()
        .for_each(|entry| compacted.groups.restore(&entry));
    assert_eq!(
        compacted.groups.entries().collect::<Vec<_>>(),
        world.groups.entries().collect::<Vec<_>>()
    );
    assert_eq!(compacted.groups.offset_bytes, world.groups.offset_bytes);
}

#[test]
fn what_the_journal_refuses_is_not_applied() {
    let mut world = World::new();
    let refuse: Keep<'_> = &mut |_| Err(NotKept);
    let offsets = vec![(at("events", 0), offset(5))];
    let answers = world.groups.commit(&NOBODY, offsets, world.now, refuse);
    assert_eq!(answers, Ok(vec![Err(GroupError::NotKept)]));
    assert_eq!(world.offset_of(&at("events", 0)), None);
    world
        .commit(&NOBODY, vec![(at("events", 0), offset(5))])
        .unwrap();
    assert_eq!(
        world.groups.delete(GROUP, &mut |_| Err(NotKept)),
        Err(GroupError::NotKept)
    );
    assert_eq!(world.offset_of(&at("events", 0)), Some(5));
}

#[test]
fn offsets_of_a_topic_that_members_read_are_not_deleted() {
    let (mut world, members) = World::stable(&["a"]);
    let offsets = vec![(at("events", 0), offset(5)), (at("old", 0), offset(6))];
    world.commit(&claim(&members[0]), offsets).unwrap();
    let answers = world.delete_offsets(&[at("events", 0), at("old", 0), at("old", 1)]);
    assert_eq!(
        answers,
        Ok(vec![Err(GroupError::SubscribedToTopic), Ok(()), Ok(())])
    );
    assert_eq!(world.offset_of(&at("old", 0)), None);
    assert_eq!(world.restarted().offset_of(&at("old", 0)), None);
    world.leave(&members[0].member).unwrap();
    assert_eq!(world.delete_offsets(&[at("events", 0)]), Ok(vec![Ok(())]));
    let mut nothing = World::new();
    assert_eq!(
        nothing.delete_offsets(&[at("events", 0)]),
        Err(GroupError::GroupNotFound)
    );
}

#[test]
fn offsets_of_a_group_that_is_no_consumers_are_deleted_only_when_it_is_empty() {
    let mut world = World::new();
    let connect = |id: &str| Join {
        protocol_type: "connect".to_owned(),
        ..again(member("worker"), id)
    };
    let id = said(&mut world.join(connect("")))
        .expect_err("an id comes first")
        .member;
    let joined = world.joins(connect(&id));
    assert_eq!(
        world.delete_offsets(&[at("events", 0)]),
        Err(GroupError::NonEmptyGroup)
    );
    world.leave(&joined.member).unwrap();
    assert_eq!(world.delete_offsets(&[at("events", 0)]), Ok(vec![Ok(())]));
}

#[test]
fn a_group_is_deleted_when_it_has_no_members() {
    let (mut world, members) = World::stable(&["a"]);
    world
        .commit(&claim(&members[0]), vec![(at("events", 0), offset(5))])
        .unwrap();
    assert_eq!(world.delete(), Err(GroupError::NonEmptyGroup));
    world.leave(&members[0].member).unwrap();
    assert_eq!(world.delete(), Ok(()));
    assert_eq!(world.delete(), Err(GroupError::GroupNotFound));
    assert_eq!((world.state(), world.restarted().state()), ("Dead", "Dead"));
    assert_eq!(world.groups.offset_bytes, 0);
}

#[test]
fn a_deleted_topic_takes_its_offsets_along() {
    let mut world = World::new();
    let offsets = vec![(at("events", 0), offset(5)), (at("old", 0), offset(6))];
    world.commit(&NOBODY, offsets).unwrap();
    let journal = &mut world.journal;
    let mut keep = |entry: &Entry| {
        journal.push(entry.clone());
        Ok(())
    };
    world.groups.forget_topic("old", &mut keep).unwrap();
    assert_eq!(world.offset_of(&at("old", 0)), None);
    assert_eq!(world.restarted().offset_of(&at("old", 0)), None);
    assert_eq!(world.restarted().offset_of(&at("events", 0)), Some(5));
}

#[test]
fn text_beside_an_offset_is_bounded_as_are_all_offsets() {
    let mut world = World::with(Limits {
        total_offset_bytes: 10_000,
        ..Limits::default()
    });
    let long = CommittedOffset {
        metadata: "x".repeat(4_097),
        ..offset(1)
    };
    let answers = world.commit(
        &NOBODY,
        vec![(at("events", 0), long), (at("events", 1), offset(1))],
    );
    assert_eq!(
        answers,
        Ok(vec![Err(GroupError::OffsetMetadataTooLarge), Ok(())])
    );
    let many = (0..1_000)
        .map(|partition| (at("events", partition), offset(1)))
        .collect();
    let answers = world.commit(&NOBODY, many).unwrap();
    assert_eq!(answers.last(), Some(&Err(GroupError::TooManyOffsets)));
    assert!(world.groups.offset_bytes <= 10_000);
    let again = vec![(at("events", 1), offset(2))];
    assert_eq!(
        world.commit(&NOBODY, again),
        Ok(vec![Ok(())]),
        "one in the place of another"
    );
}
