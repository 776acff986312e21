//! Consumer groups, request by request: members that die, are late, or are not who they say.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerProtocolSubscription, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, OffsetCommitRequest, OffsetDeleteRequest, SyncGroupRequest,
    SyncGroupResponse,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use rdkafka::Offset;
use rdkafka::consumer::{CommitMode, Consumer};

use crate::support::{PATIENCE, assigned, consumer, eventually, positions, topic, unique};
use crate::wire::{Wire, errors, group_id, text, topic_name};

const JOIN: i16 = 7;
const SYNC: i16 = 5;
const HEARTBEAT: i16 = 4;
const LEAVE: i16 = 4;
const COMMIT: i16 = 8;
const DELETE: i16 = 0;

/// The shortest session that Kafka grants by default.
const SESSION: Duration = Duration::from_secs(6);

/// A member that does what a test says and nothing by itself.
struct Member {
    wire: Wire,
    group: String,
    topic: String,
    id: StrBytes,
    instance: Option<StrBytes>,
    generation: i32,
}

impl Member {
    fn new(group: &str, topic: &str) -> Self {
        Self {
            wire: Wire::connect(),
            group: group.to_owned(),
            topic: topic.to_owned(),
            id: StrBytes::default(),
            instance: None,
            generation: -1,
        }
    }

    fn join_request(&self, session: Duration) -> JoinGroupRequest {
        let subscription = ConsumerProtocolSubscription::default()
            .with_topics(vec![text(&self.topic)])
            .with_user_data(None);
        let mut metadata = BytesMut::from(&[0, 0][..]);
        subscription.encode(&mut metadata, 0).expect("metadata");
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(metadata.freeze());
        JoinGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_session_timeout_ms(session.as_millis() as i32)
            .with_rebalance_timeout_ms(session.as_millis() as i32)
            .with_member_id(self.id.clone())
            .with_group_instance_id(self.instance.clone())
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol])
    }

    /// Asks once, and again with the id that the coordinator gives.
    fn join(&mut self) -> JoinGroupResponse {
        let answer = eventually("the coordinator", || {
            let request = self.join_request(SESSION);
            let answer = self.wire.call(&request, JOIN);
            if answer.error_code == errors::MEMBER_ID_REQUIRED {
                assert!(!answer.member_id.is_empty());
                self.id = answer.member_id;
                return None;
            }
            (![14, 15, 16].contains(&answer.error_code)).then_some(answer)
        });
        if answer.error_code == errors::NONE {
            self.id = answer.member_id.clone();
            self.generation = answer.generation_id;
        }
        answer
    }

    /// Takes the assignment; a leader gives each member its own id as its assignment.
    fn sync(&mut self, joined: &JoinGroupResponse) -> SyncGroupResponse {
        let assignments = joined.members.iter().map(|member| {
            SyncGroupRequestAssignment::default()
                .with_member_id(member.member_id.clone())
                .with_assignment(Bytes::copy_from_slice(member.member_id.as_bytes()))
        });
        let request = SyncGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone())
            .with_group_instance_id(self.instance.clone())
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")))
            .with_assignments(assignments.collect());
        self.wire.call(&request, SYNC)
    }

    fn heartbeat(&mut self) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone())
            .with_group_instance_id(self.instance.clone());
        self.wire.call(&request, HEARTBEAT).error_code
    }

    fn leave(&mut self) -> i16 {
        let member = MemberIdentity::default()
            .with_member_id(self.id.clone())
            .with_group_instance_id(self.instance.clone());
        let request = LeaveGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_members(vec![member]);
        let answer = self.wire.call(&request, LEAVE);
        assert_eq!(answer.error_code, errors::NONE);
        answer.members[0].error_code
    }

    fn commit(&mut self, offset: i64) -> i16 {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(0)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(-1);
        let topic = OffsetCommitRequestTopic::default()
            .with_name(topic_name(&self.topic))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(self.id.clone())
            .with_group_instance_id(self.instance.clone())
            .with_topics(vec![topic]);
        let answer = self.wire.call(&request, COMMIT);
        answer.topics[0].partitions[0].error_code
    }
}

/// The only member of a new group, with its assignment.
fn settled() -> Member {
    let mut member = Member::new(&unique("group"), &topic("group", 1));
    let joined = member.join();
    assert_eq!(joined.error_code, errors::NONE);
    assert_eq!(joined.leader, member.id);
    assert_eq!(joined.members.len(), 1);
    let synced = member.sync(&joined);
    assert_eq!(synced.error_code, errors::NONE);
    assert_eq!(&synced.assignment[..], member.id.as_bytes());
    member
}

#[test]
fn a_member_gets_an_id_first_and_joins_with_it() {
    let mut member = Member::new(&unique("group"), &topic("group", 1));
    let request = member.join_request(SESSION);
    let answer = eventually("the coordinator", || {
        let answer = member.wire.call(&request, JOIN);
        (![14, 15, 16].contains(&answer.error_code)).then_some(answer)
    });
    assert_eq!(answer.error_code, errors::MEMBER_ID_REQUIRED);
    assert!(!answer.member_id.is_empty());
    member.id = answer.member_id;
    let joined = member.join();
    assert_eq!(joined.error_code, errors::NONE);
    assert_eq!(joined.member_id, member.id);
    assert_eq!(joined.protocol_name, Some(text("range")));
}

#[test]
fn a_member_that_falls_silent_loses_its_place_when_its_session_ends() {
    let topic = topic("silent", 4);
    let group = unique("silent");
    let survivor = consumer(&group, &[("partition.assignment.strategy", "range")]);
    survivor.subscribe(&[&topic]).expect("subscribed");
    let take_part = || {
        let _whatever = survivor.poll(Duration::from_millis(10));
        assigned(&survivor)
    };
    eventually("all partitions", || (take_part().len() == 4).then_some(()));
    let silent = std::thread::spawn({
        let mut silent = Member::new(&group, &topic);
        move || {
            let joined = silent.join();
            assert_eq!(joined.error_code, errors::NONE);
            assert_eq!(silent.sync(&joined).error_code, errors::NONE);
            silent
        }
    });
    eventually("half the partitions", || {
        (take_part().len() == 2).then_some(())
    });
    let mut silent = silent.join().expect("it joined");
    let since = Instant::now();
    eventually("all partitions", || (take_part().len() == 4).then_some(()));
    assert!(since.elapsed() > SESSION / 2, "{:?}", since.elapsed());
    assert_eq!(silent.heartbeat(), errors::UNKNOWN_MEMBER_ID);
    assert_eq!(silent.commit(1), errors::UNKNOWN_MEMBER_ID);
}

#[test]
fn only_members_of_this_generation_commit() {
    let mut member = settled();
    assert_eq!(member.commit(3), errors::NONE);
    member.generation += 1;
    assert_eq!(member.commit(4), errors::ILLEGAL_GENERATION);
    assert_eq!(member.heartbeat(), errors::ILLEGAL_GENERATION);
    member.generation -= 1;
    let id = std::mem::replace(&mut member.id, text("somebody"));
    assert_eq!(member.commit(5), errors::UNKNOWN_MEMBER_ID);
    assert_eq!(member.heartbeat(), errors::UNKNOWN_MEMBER_ID);
    assert_eq!(member.leave(), errors::UNKNOWN_MEMBER_ID);
    // Who is not in a group may commit for it only while nobody is.
    member.id = StrBytes::default();
    let generation = std::mem::replace(&mut member.generation, -1);
    assert_eq!(member.commit(6), errors::UNKNOWN_MEMBER_ID);
    (member.id, member.generation) = (id, generation);
    assert_eq!(committed(&member), Offset::Offset(3));
    assert_eq!(member.leave(), errors::NONE);
    member.id = StrBytes::default();
    member.generation = -1;
    assert_eq!(member.commit(7), errors::NONE);
    assert_eq!(committed(&member), Offset::Offset(7));
}

fn committed(member: &Member) -> Offset {
    let list = positions(&member.topic, &[(0, Offset::Invalid)]);
    let list = consumer(&member.group, &[])
        .committed_offsets(list, PATIENCE)
        .expect("an answer");
    list.elements()[0].offset()
}

#[test]
fn a_session_shorter_or_longer_than_allowed_is_refused() {
    let mut member = Member::new(&unique("group"), &topic("group", 1));
    for seconds in [1, 3_600] {
        let request = member.join_request(Duration::from_secs(seconds));
        let error = eventually("the coordinator", || {
            let error = member.wire.call(&request, JOIN).error_code;
            (![14, 15, 16].contains(&error)).then_some(error)
        });
        assert_eq!(error, errors::INVALID_SESSION_TIMEOUT, "{seconds} s");
    }
}

#[test]
fn a_member_that_shares_no_protocol_with_the_others_is_refused() {
    let mut member = settled();
    let mut stranger = Member::new(&member.group, &member.topic);
    let mut request = stranger.join_request(SESSION);
    request.protocols[0].name = text("no-such-assignor");
    let answer = stranger.wire.call(&request, JOIN);
    assert_eq!(answer.error_code, errors::INCONSISTENT_GROUP_PROTOCOL);
    assert_eq!(member.heartbeat(), errors::NONE);
}

#[test]
fn an_instance_that_joins_again_shuts_out_its_former_self() {
    let mut former = Member::new(&unique("instance"), &topic("instance", 1));
    former.instance = Some(text("one"));
    let joined = former.join();
    assert_eq!(joined.error_code, errors::NONE);
    assert_eq!(former.sync(&joined).error_code, errors::NONE);

    let mut latter = Member::new(&former.group, &former.topic);
    latter.instance = Some(text("one"));
    let joined = latter.join();
    assert_eq!(joined.error_code, errors::NONE);
    assert_ne!(latter.id, former.id);
    assert_eq!(latter.generation, former.generation, "nothing to decide");
    assert_eq!(former.heartbeat(), errors::FENCED_INSTANCE_ID);
    assert_eq!(former.commit(1), errors::FENCED_INSTANCE_ID);
    assert_eq!(latter.heartbeat(), errors::NONE);
    assert_eq!(latter.commit(2), errors::NONE);
}

#[test]
fn offsets_are_deleted_unless_the_group_still_reads_the_topic() {
    let mut member = settled();
    assert_eq!(member.commit(3), errors::NONE);
    let delete = |member: &mut Member| {
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(0);
        let topic = OffsetDeleteRequestTopic::default()
            .with_name(topic_name(&member.topic))
            .with_partitions(vec![partition]);
        let request = OffsetDeleteRequest::default()
            .with_group_id(group_id(&member.group))
            .with_topics(vec![topic]);
        let answer = member.wire.call(&request, DELETE);
        assert_eq!(answer.error_code, errors::NONE);
        answer.topics[0].partitions[0].error_code
    };
    // The assignor of this test hides from the coordinator what it reads: a real member is needed.
    assert_eq!(member.leave(), errors::NONE);
    let reader = consumer(&member.group, &[]);
    reader.subscribe(&[&member.topic]).expect("subscribed");
    eventually("the partition", || {
        let _whatever = reader.poll(Duration::from_millis(10));
        (assigned(&reader).len() == 1).then_some(())
    });
    assert_eq!(delete(&mut member), errors::GROUP_SUBSCRIBED_TO_TOPIC);
    drop(reader);
    assert_eq!(delete(&mut member), errors::NONE);
    assert_eq!(committed(&member), Offset::Invalid);
}

#[test]
fn a_member_hears_of_a_new_one_by_its_heartbeat() {
    let mut first = settled();
    let second = std::thread::spawn({
        let mut second = Member::new(&first.group, &first.topic);
        move || second.join()
    });
    let in_progress = eventually("the heartbeat's answer", || {
        let error = first.heartbeat();
        (error != errors::NONE).then_some(error)
    });
    assert_eq!(in_progress, 27, "REBALANCE_IN_PROGRESS");
    // What it has read so far it may still commit.
    assert_eq!(first.commit(1), errors::NONE);
    let generation = first.generation;
    let joined = first.join();
    assert_eq!(joined.error_code, errors::NONE);
    assert_eq!(joined.members.len(), 2);
    assert_eq!(first.generation, generation + 1);
    let second = second.join().expect("it joined");
    assert_eq!(second.generation_id, first.generation);
    assert!(second.members.is_empty(), "only the leader hears who is in");
}

#[test]
fn commits_of_one_consumer_are_seen_by_another_at_once() {
    let topic = topic("seen", 1);
    let group = unique("seen");
    let (one, other) = (consumer(&group, &[]), consumer(&group, &[]));
    for offset in [5, 3, 8] {
        let at = positions(&topic, &[(0, Offset::Offset(offset))]);
        one.commit(&at, CommitMode::Sync).expect("committed");
        let found = other.committed_offsets(at, PATIENCE).expect("an answer");
        assert_eq!(found.elements()[0].offset(), Offset::Offset(offset));
    }
}
