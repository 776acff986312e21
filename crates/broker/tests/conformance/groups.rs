//! Consumer groups, as clients see them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::support::{
    PATIENCE, Row, TestConsumer, assigned, assignments, code, consumer, eventually, positions,
    topic, unique, watermarks, write,
};

const PARTITIONS: i32 = 6;

/// Subscribes a new member of a group.
fn join(group: &str, topic: &str, settings: &[(&str, &str)]) -> TestConsumer {
    let member = consumer(group, settings);
    member.subscribe(&[topic]).expect("subscribed");
    member
}

/// Polls every member once, so that they take part in what their group decides; returns what came.
fn poll(members: &[&TestConsumer]) -> Vec<Row> {
    let mut rows = Vec::new();
    for member in members {
        match member.poll(Duration::from_millis(10)) {
            Some(Ok(message)) => rows.push(Row::of(&message)),
            None | Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(error)) => panic!("{error}"),
        }
    }
    rows
}

/// Waits until the members have these numbers of partitions, together all of them, none twice.
fn wait_for_shares(members: &[&TestConsumer], shares: &[usize]) {
    eventually("the group's shares", || {
        poll(members);
        let sets: Vec<_> = members.iter().map(|m| assigned(m)).collect();
        let all: BTreeSet<i32> = sets.iter().flatten().copied().collect();
        let sizes: Vec<_> = sets.iter().map(BTreeSet::len).collect();
        let total: usize = sizes.iter().sum();
        let whole = all.len() == PARTITIONS as usize && total == all.len();
        (whole && sizes == shares).then_some(())
    });
}

#[test]
fn members_share_partitions_by_range_as_they_come_and_go() {
    members_share_partitions("range");
}

#[test]
fn members_share_partitions_cooperatively_as_they_come_and_go() {
    members_share_partitions("cooperative-sticky");
}

fn members_share_partitions(strategy: &str) {
    let topic = topic("shares", PARTITIONS);
    let group = unique("shares");
    let settings = [("partition.assignment.strategy", strategy)];
    let one = join(&group, &topic, &settings);
    wait_for_shares(&[&one], &[6]);
    let two = join(&group, &topic, &settings);
    wait_for_shares(&[&one, &two], &[3, 3]);
    let three = join(&group, &topic, &settings);
    wait_for_shares(&[&one, &two, &three], &[2, 2, 2]);
    drop(one);
    wait_for_shares(&[&two, &three], &[3, 3]);
    drop(three);
    wait_for_shares(&[&two], &[6]);
}

#[test]
fn a_cooperative_member_keeps_reading_what_it_keeps() {
    let topic = topic("keeps", PARTITIONS);
    let group = unique("keeps");
    let settings = [("partition.assignment.strategy", "cooperative-sticky")];
    let one = join(&group, &topic, &settings);
    wait_for_shares(&[&one], &[6]);
    let before = assigned(&one);
    let two = join(&group, &topic, &settings);
    let mut least = before.clone();
    eventually("the group's shares", || {
        poll(&[&one, &two]);
        least = least.intersection(&assigned(&one)).copied().collect();
        (assigned(&one).len() == 3 && assigned(&two).len() == 3).then_some(())
    });
    assert_eq!(least, assigned(&one), "never without what it keeps");
}

#[test]
fn a_group_reads_every_record_once_while_members_come_and_go() {
    let topic = topic("once-each", PARTITIONS);
    let group = unique("once-each");
    for partition in 0..PARTITIONS {
        let values: Vec<_> = (0..50).map(|n| format!("{partition}-{n}")).collect();
        write(
            &topic,
            partition,
            &values.iter().map(String::as_str).collect::<Vec<_>>(),
        );
    }
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut members = vec![join(&group, &topic, &[])];
    let deadline = Instant::now() + PATIENCE;
    while seen.len() < PARTITIONS as usize * 50 {
        assert!(Instant::now() < deadline, "{} records", seen.len());
        if seen.len() > 100 && members.len() == 1 {
            members.push(join(&group, &topic, &[]));
        }
        for member in &members {
            match member.poll(Duration::from_millis(10)) {
                Some(Ok(message)) => {
                    *seen.entry(Row::of(&message).text()).or_default() += 1;
                    // Refused if the partition was just taken away: then it comes again, elsewhere.
                    if member.commit_message(&message, CommitMode::Sync).is_err() {
                        *seen.entry(Row::of(&message).text()).or_default() -= 1;
                    }
                }
                None | Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => panic!("{error}"),
            }
        }
    }
    assert!(seen.values().all(|times| *times <= 1), "{seen:?}");
}

#[test]
fn a_group_goes_on_where_it_committed() {
    let topic = topic("goes-on", 1);
    let group = unique("goes-on");
    write(&topic, 0, &["a", "b", "c", "d"]);
    let first = join(&group, &topic, &[]);
    let offsets = positions(&topic, &[(0, Offset::Invalid)]);
    let none = first
        .committed_offsets(offsets.clone(), PATIENCE)
        .expect("an answer");
    assert_eq!(none.elements()[0].offset(), Offset::Invalid);
    eventually("the first record", || poll(&[&first]).pop());
    let commit = positions(&topic, &[(0, Offset::Offset(2))]);
    commit
        .find_partition(&topic, 0)
        .expect("it is there")
        .set_metadata("by a test");
    first.commit(&commit, CommitMode::Sync).expect("committed");
    drop(first);

    let next = join(&group, &topic, &[]);
    let row = eventually("the next record", || poll(&[&next]).pop());
    assert_eq!((row.offset, row.text().as_str()), (2, "c"));
    let found = next
        .committed_offsets(offsets, PATIENCE)
        .expect("an answer");
    assert_eq!(found.elements()[0].offset(), Offset::Offset(2));
    assert_eq!(found.elements()[0].metadata(), "by a test");
}

#[test]
fn lag_is_what_lies_between_the_committed_offset_and_the_end() {
    let topic = topic("lag", 2);
    let group = unique("lag");
    write(&topic, 0, &["a", "b", "c"]);
    write(&topic, 1, &["a"]);
    let member = consumer(&group, &[]);
    // Without members anyone may commit for the group.
    let commit = positions(&topic, &[(0, Offset::Offset(1)), (1, Offset::Offset(1))]);
    member.commit(&commit, CommitMode::Sync).expect("committed");
    let found = member
        .committed_offsets(commit, PATIENCE)
        .expect("an answer");
    let lags: Vec<_> = found
        .elements()
        .iter()
        .map(|e| watermarks(&topic, e.partition()).1 - e.offset().to_raw().expect("an offset"))
        .collect();
    assert_eq!(lags, [2, 0]);
}

#[test]
fn a_static_member_that_comes_back_in_time_disturbs_nobody() {
    let topic = topic("static", PARTITIONS);
    let group = unique("static");
    let one = join(&group, &topic, &[("group.instance.id", "one")]);
    wait_for_shares(&[&one], &[6]);
    let two = join(&group, &topic, &[("group.instance.id", "two")]);
    wait_for_shares(&[&one, &two], &[3, 3]);
    let (share, count) = (assigned(&two), assignments(&one));
    drop(two);
    let two = join(&group, &topic, &[("group.instance.id", "two")]);
    eventually("the same share", || {
        poll(&[&one, &two]);
        (assigned(&two) == share).then_some(())
    });
    assert_eq!(assignments(&one), count, "no new assignment");
}

#[test]
fn a_static_member_that_exists_twice_shuts_out_the_older() {
    let topic = topic("twice", PARTITIONS);
    let group = unique("twice");
    let settings = [("group.instance.id", "one")];
    let older = join(&group, &topic, &settings);
    wait_for_shares(&[&older], &[6]);
    let newer = join(&group, &topic, &settings);
    wait_for_shares(&[&newer], &[6]);
    let error = eventually("the error", || match older.poll(Duration::ZERO) {
        Some(Err(KafkaError::PartitionEOF(_)) | Ok(_)) | None => None,
        Some(Err(error)) => Some(error),
    });
    assert!(
        matches!(
            code(&error),
            RDKafkaErrorCode::Fatal | RDKafkaErrorCode::FencedInstanceId
        ),
        "{error}"
    );
}

#[test]
fn a_commit_in_the_midst_of_a_new_assignment_is_refused_or_kept_but_never_lost() {
    let topic = topic("midst", PARTITIONS);
    let group = unique("midst");
    let one = join(&group, &topic, &[]);
    wait_for_shares(&[&one], &[6]);
    let two = join(&group, &topic, &[]);
    let at = |offset| positions(&topic, &[(0, Offset::Offset(offset))]);
    let mut kept = None;
    for offset in 0..200 {
        poll(&[&two]);
        match one.commit(&at(offset), CommitMode::Sync) {
            Ok(()) => kept = Some(offset),
            Err(error) => assert!(
                matches!(
                    code(&error),
                    RDKafkaErrorCode::RebalanceInProgress
                        | RDKafkaErrorCode::IllegalGeneration
                        | RDKafkaErrorCode::UnknownMemberId
                ),
                "{error}"
            ),
        }
        if offset > 50 {
            poll(&[&one]);
        }
    }
    wait_for_shares(&[&one, &two], &[3, 3]);
    let found = two.committed_offsets(at(0), PATIENCE).expect("an answer");
    let kept = kept.map_or(Offset::Invalid, Offset::Offset);
    assert_eq!(found.elements()[0].offset(), kept);
}
