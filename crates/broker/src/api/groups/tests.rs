use std::time::Instant;

use bytes::BytesMut;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::protocol::{Decodable, Encodable};

use super::*;
use crate::group::Limits;
use crate::units::{Now, Timestamp};

fn context(version: i16) -> Context {
    Context {
        version,
        client_id: "client".to_owned(),
        peer: ([127, 0, 0, 1], 9).into(),
        local: ([127, 0, 0, 1], 9092).into(),
        now: now(),
    }
}

fn now() -> Now {
    Now {
        instant: Instant::now(),
        wall: Timestamp(0),
    }
}

/// What a client reads that speaks this version.
fn through<T: Encodable + Decodable>(message: &T, version: i16) -> T {
    let mut frame = BytesMut::new();
    message
        .encode(&mut frame, version)
        .expect("only fields that the version has");
    T::decode(&mut frame.freeze(), version).expect("decodes")
}

fn request(version: i16) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(StrBytes::from_static_str("range"))
        .with_metadata(Bytes::from_static(b"metadata"));
    let request = JoinGroupRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str("readers")))
        .with_session_timeout_ms(10_000)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol]);
    match version {
        0 => request,
        1..5 => request.with_rebalance_timeout_ms(60_000),
        _ => request
            .with_rebalance_timeout_ms(60_000)
            .with_group_instance_id(Some(StrBytes::from_static_str("one"))),
    }
}

fn joined(groups: &mut Groups, version: i16) -> Result<Joined, JoinRefused> {
    let join = join_of(request(version), &context(version));
    groups
        .join(join, now())
        .try_recv()
        .expect("answered at once")
}

#[test]
fn every_version_of_join_is_answered_with_its_own_fields() {
    for version in 0..=9 {
        let mut groups = Groups::new(Limits::default(), 1);
        let response = through(
            &join_response(joined(&mut groups, version), version),
            version,
        );
        if version == 4 {
            assert_eq!(response.error_code, ResponseError::MemberIdRequired.code());
            assert!(response.member_id.starts_with("client-"));
            assert_eq!(
                response.protocol_name.as_deref(),
                Some(""),
                "not null before version 7"
            );
            continue;
        }
        assert_eq!(
            (response.error_code, response.generation_id),
            (0, 1),
            "version {version}"
        );
        assert_eq!(response.leader, response.member_id);
        assert_eq!(response.protocol_name.as_deref(), Some("range"));
        assert_eq!(response.protocol_type.is_some(), version >= 7);
        assert_eq!(&response.members[0].metadata[..], b"metadata");
        assert_eq!(
            response.members[0].group_instance_id.is_some(),
            version >= 5
        );
    }
}

#[test]
fn only_a_client_that_can_keep_an_assignment_is_told_to() {
    for version in 5..=9 {
        let mut groups = Groups::new(Limits::default(), 1);
        let first = joined(&mut groups, version).expect("joins");
        let claim = Claim {
            group: "readers",
            member: &first.member,
            instance: None,
            generation: first.generation,
        };
        let synced = groups
            .sync(&claim, Sync::default(), now())
            .try_recv()
            .expect("answered");
        assert_eq!(
            through(&sync_response(synced), version.min(5)).error_code,
            0
        );
        let response = through(
            &join_response(joined(&mut groups, version), version),
            version,
        );
        assert_eq!(response.skip_assignment, version == 9);
        assert_eq!(response.leader == response.member_id, version == 9);
    }
}

#[test]
fn a_version_0_join_has_one_timeout_for_both() {
    let join = join_of(request(0), &context(0));
    assert_eq!(join.rebalance_timeout, Duration::from_secs(10));
    assert_eq!(join.client_host, "/127.0.0.1");
    let negative = request(5).with_session_timeout_ms(-5);
    assert_eq!(
        join_of(negative, &context(5)).session_timeout,
        Duration::ZERO
    );
}

#[test]
fn a_refused_join_and_sync_are_answered_in_every_version() {
    for version in 0..=9 {
        let refused = Err(JoinRefused {
            error: GroupError::UnknownMember,
            member: "ghost".to_owned(),
        });
        let response = through(&join_response(refused, version), version);
        assert_eq!((response.error_code, response.generation_id), (25, -1));
        assert_eq!(&*response.member_id, "ghost");
        let response = sync_response(Err(GroupError::IllegalGeneration));
        assert_eq!(through(&response, version.min(5)).error_code, 22);
    }
}

#[test]
fn an_old_leave_is_answered_at_the_top_and_a_new_one_member_by_member() {
    let mut groups = Groups::new(Limits::default(), 1);
    for version in 0..=5 {
        let joined = joined(&mut groups, 5).expect("joins");
        let member = text(joined.member);
        let request = if version < LEAVE_MANY_SINCE {
            LeaveGroupRequest::default().with_member_id(member)
        } else {
            let ghost =
                MemberIdentity::default().with_member_id(StrBytes::from_static_str("ghost"));
            let leaver = MemberIdentity::default().with_member_id(member);
            LeaveGroupRequest::default().with_members(vec![ghost, leaver])
        };
        let leavers = leavers_of(&request, version);
        let answers = groups.leave("readers", &leavers, now());
        let response = through(&leave_response(leavers, answers, version), version);
        assert_eq!(response.error_code, 0);
        let codes: Vec<i16> = response
            .members
            .iter()
            .map(|member| member.error_code)
            .collect();
        assert_eq!(
            codes,
            if version < LEAVE_MANY_SINCE {
                vec![]
            } else {
                vec![25, 0]
            }
        );
    }
    let ghost = vec![Leaver::default()];
    let answers = groups.leave("readers", &ghost, now());
    assert_eq!(leave_response(ghost, answers, 2).error_code, 25);
    let refused = groups.leave("", &[], now());
    assert_eq!(leave_response(Vec::new(), refused, 5).error_code, 24);
}

#[test]
fn a_group_is_described_as_far_as_it_has_settled() {
    let mut groups = Groups::new(Limits::default(), 1);
    let joined = joined(&mut groups, 5).expect("joins");
    let id = GroupId(StrBytes::from_static_str("readers"));
    for version in 0..=6 {
        let described = describe_response(id.clone(), groups.describe("readers"), version);
        let response = DescribeGroupsResponse::default().with_groups(vec![described]);
        let group = through(&response, version).groups.remove(0);
        assert_eq!(&*group.group_state, "CompletingRebalance");
        assert_eq!(&*group.protocol_data, "");
        assert_eq!(&group.members[0].member_metadata[..], b"");
    }
    let claim = Claim {
        group: "readers",
        member: &joined.member,
        instance: None,
        generation: joined.generation,
    };
    let sync = Sync {
        assignments: vec![(joined.member.clone(), Bytes::from_static(b"all"))],
        ..Sync::default()
    };
    groups
        .sync(&claim, sync, now())
        .try_recv()
        .expect("answered")
        .expect("synced");
    let group = describe_response(id, groups.describe("readers"), 6);
    assert_eq!(
        (&*group.group_state, &*group.protocol_data),
        ("Stable", "range")
    );
    assert_eq!(&*group.protocol_type, "consumer");
    let member = &group.members[0];
    assert_eq!(
        (&member.member_metadata[..], &member.member_assignment[..]),
        (&b"metadata"[..], &b"all"[..])
    );
    assert_eq!(
        (&*member.client_id, &*member.client_host),
        ("client", "/127.0.0.1")
    );
}

#[test]
fn a_group_that_does_not_exist_is_dead_and_an_error_for_new_clients() {
    for version in 0..=6 {
        let id = GroupId(StrBytes::from_static_str("nobody"));
        let described = describe_response(id, None, version);
        let response = DescribeGroupsResponse::default().with_groups(vec![described]);
        let group = through(&response, version).groups.remove(0);
        assert_eq!(&*group.group_state, "Dead");
        assert_eq!(group.error_code, if version == 6 { 69 } else { 0 });
        let message = group.error_message.as_deref();
        assert_eq!(message, (version == 6).then_some("Group nobody not found."));
    }
}

#[test]
fn groups_are_listed_by_state_and_type_as_far_as_the_version_knows_them() {
    let mut groups = Groups::new(Limits::default(), 1);
    joined(&mut groups, 5).expect("joins");
    for version in 0..=5 {
        let response = list_response(&groups, &ListGroupsRequest::default(), version);
        let group = through(&response, version).groups.remove(0);
        assert_eq!(
            (&*group.group_id.0, &*group.protocol_type),
            ("readers", "consumer")
        );
        assert_eq!(
            &*group.group_state,
            if version >= 4 {
                "CompletingRebalance"
            } else {
                ""
            }
        );
        assert_eq!(
            &*group.group_type,
            if version >= 5 { "classic" } else { "" }
        );
    }
    let filtered = |states: &[&'static str], types: &[&'static str]| {
        let names = |names: &[&'static str]| {
            names
                .iter()
                .map(|name| StrBytes::from_static_str(name))
                .collect()
        };
        let request = ListGroupsRequest::default()
            .with_states_filter(names(states))
            .with_types_filter(names(types));
        list_response(&groups, &request, 5).groups.len()
    };
    assert_eq!(
        filtered(&["Stable", "completingrebalance"], &["Classic"]),
        1
    );
    assert_eq!(filtered(&["Stable"], &[]), 0);
    assert_eq!(filtered(&[], &["consumer"]), 0);
}

#[test]
fn each_group_to_delete_has_its_own_answer() {
    let mut groups = Groups::new(Limits::default(), 1);
    joined(&mut groups, 5).expect("joins");
    let names = ["readers", "nobody"].map(|name| GroupId(StrBytes::from_static_str(name)));
    let request = DeleteGroupsRequest::default().with_groups_names(names.to_vec());
    let response = delete_response(&mut groups, request, &mut |_| Ok(()));
    for version in 0..=2 {
        let codes: Vec<i16> = through(&response, version)
            .results
            .iter()
            .map(|result| result.error_code)
            .collect();
        assert_eq!(codes, [68, 69]);
    }
}
