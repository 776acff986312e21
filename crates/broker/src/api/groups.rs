//! Membership of consumer groups, and what operators ask of groups.
//!
//! Each handler translates a request for [`Groups`], which knows the rules, and its answer back.

#![allow(
    clippy::needless_pass_by_value,
    reason = "all handlers have one signature: they are handed the request"
)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    GroupId, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::api::Context;
use crate::core::Core;
use crate::group::{
    Claim, Description, Generation, GroupError, Groups, Join, JoinRefused, Joined, Keep, Leaver,
    Protocol, State, Sync, Synced,
};
use crate::sync::lock;

/// From this version of `JoinGroup` on, a member joins with an id that the broker gave it.
const ID_REQUIRED_SINCE: i16 = 4;
/// From this version of `JoinGroup` on, the protocol's name may be null.
const NULL_PROTOCOL_SINCE: i16 = 7;
/// From this version of `JoinGroup` on, a leader can be told to keep the assignment.
const SKIP_ASSIGNMENT_SINCE: i16 = 9;
/// From this version of `LeaveGroup` on, several members leave with one request.
const LEAVE_MANY_SINCE: i16 = 3;
/// From this version of `DescribeGroups` on, a group that does not exist is an error.
const DESCRIBE_NOT_FOUND_SINCE: i16 = 6;
/// From these versions of `ListGroups` on, groups are listed with their state and their type.
const LIST_STATE_SINCE: i16 = 4;
const LIST_TYPE_SINCE: i16 = 5;
/// The type of all groups here, as opposed to those of KIP-848.
const CLASSIC: &str = "classic";
/// What may be done with a group where nobody is denied anything: the bits of READ (3), DELETE (6),
/// DESCRIBE (8), `DESCRIBE_CONFIGS` (10) and `ALTER_CONFIGS` (11).
const ALL_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// `JoinGroup`, versions 0 to 9. Waits until the group has rebalanced.
pub(crate) async fn join_group(
    core: &Core,
    request: JoinGroupRequest,
    context: &Context,
) -> JoinGroupResponse {
    let join = join_of(request, context);
    let member = join.member.clone();
    let answer = lock(&core.groups).join(join, context.now);
    match answer.await {
        Ok(answer) => join_response(answer, context.version),
        Err(_) => join_failed(
            &member,
            ResponseError::CoordinatorNotAvailable.code(),
            context.version,
        ),
    }
}

fn join_of(request: JoinGroupRequest, context: &Context) -> Join {
    let session_timeout = millis(request.session_timeout_ms);
    let protocols = (request.protocols.iter())
        .map(|protocol| Protocol {
            name: protocol.name.to_string(),
            metadata: own(&protocol.metadata),
        })
        .collect();
    Join {
        group: request.group_id.to_string(),
        member: request.member_id.to_string(),
        instance: request.group_instance_id.as_ref().map(ToString::to_string),
        client_id: context.client_id.clone(),
        client_host: host_of(context.peer),
        session_timeout,
        rebalance_timeout: match request.rebalance_timeout_ms {
            // Version 0 knows one timeout for both.
            ..0 => session_timeout,
            timeout => millis(timeout),
        },
        protocol_type: request.protocol_type.to_string(),
        protocols,
        id_required: context.version >= ID_REQUIRED_SINCE,
        can_skip_assignment: context.version >= SKIP_ASSIGNMENT_SINCE,
        reason: request.reason.as_ref().map(ToString::to_string),
    }
}

fn join_response(answer: Result<Joined, JoinRefused>, version: i16) -> JoinGroupResponse {
    let joined = match answer {
        Ok(joined) => joined,
        Err(refused) => return join_failed(&refused.member, refused.error.code(), version),
    };
    let members = (joined.members.into_iter())
        .map(|member| {
            JoinGroupResponseMember::default()
                .with_member_id(text(member.member))
                .with_group_instance_id(member.instance.map(text))
                .with_metadata(member.metadata)
        })
        .collect();
    JoinGroupResponse::default()
        .with_generation_id(joined.generation.0)
        .with_protocol_type(joined.protocol_type.map(text))
        .with_protocol_name(protocol_name(joined.protocol, version))
        .with_leader(text(joined.leader))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(text(joined.member))
        .with_members(members)
}

fn join_failed(member: &str, code: i16, version: i16) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(code)
        .with_generation_id(Generation::NONE.0)
        .with_protocol_name(protocol_name(None, version))
        .with_member_id(text(member.to_owned()))
}

fn protocol_name(name: Option<String>, version: i16) -> Option<StrBytes> {
    match name {
        None if version < NULL_PROTOCOL_SINCE => Some(StrBytes::default()),
        name => name.map(text),
    }
}

/// `SyncGroup`, versions 0 to 5. Waits for the leader's assignment.
pub(crate) async fn sync_group(
    core: &Core,
    request: SyncGroupRequest,
    context: &Context,
) -> SyncGroupResponse {
    let claim = Claim {
        group: &request.group_id,
        member: &request.member_id,
        instance: request.group_instance_id.as_deref(),
        generation: Generation(request.generation_id),
    };
    let sync = Sync {
        protocol_type: request.protocol_type.as_ref().map(ToString::to_string),
        protocol: request.protocol_name.as_ref().map(ToString::to_string),
        assignments: (request.assignments.iter())
            .map(|part| (part.member_id.to_string(), own(&part.assignment)))
            .collect(),
    };
    let answer = lock(&core.groups).sync(&claim, sync, context.now);
    match answer.await {
        Ok(answer) => sync_response(answer),
        Err(_) => SyncGroupResponse::default()
            .with_error_code(ResponseError::CoordinatorNotAvailable.code()),
    }
}

fn sync_response(answer: Result<Synced, GroupError>) -> SyncGroupResponse {
    match answer {
        Ok(synced) => SyncGroupResponse::default()
            .with_protocol_type(synced.protocol_type.map(text))
            .with_protocol_name(synced.protocol.map(text))
            .with_assignment(synced.assignment),
        Err(error) => SyncGroupResponse::default().with_error_code(error.code()),
    }
}

/// Heartbeat, versions 0 to 4.
pub(crate) fn heartbeat(
    core: &Core,
    request: HeartbeatRequest,
    context: &Context,
) -> HeartbeatResponse {
    let claim = Claim {
        group: &request.group_id,
        member: &request.member_id,
        instance: request.group_instance_id.as_deref(),
        generation: Generation(request.generation_id),
    };
    let answer = lock(&core.groups).heartbeat(&claim, context.now);
    HeartbeatResponse::default().with_error_code(code(answer))
}

/// `LeaveGroup`, versions 0 to 5.
pub(crate) fn leave_group(
    core: &Core,
    request: LeaveGroupRequest,
    context: &Context,
) -> LeaveGroupResponse {
    let leavers = leavers_of(&request, context.version);
    let answers = lock(&core.groups).leave(&request.group_id, &leavers, context.now);
    leave_response(leavers, answers, context.version)
}

fn leavers_of(request: &LeaveGroupRequest, version: i16) -> Vec<Leaver> {
    if version < LEAVE_MANY_SINCE {
        return vec![Leaver {
            member: request.member_id.to_string(),
            ..Leaver::default()
        }];
    }
    (request.members.iter())
        .map(|member| Leaver {
            member: member.member_id.to_string(),
            instance: member.group_instance_id.as_ref().map(ToString::to_string),
            reason: member.reason.as_ref().map(ToString::to_string),
        })
        .collect()
}

fn leave_response(
    leavers: Vec<Leaver>,
    answers: Result<Vec<Result<(), GroupError>>, GroupError>,
    version: i16,
) -> LeaveGroupResponse {
    let response = LeaveGroupResponse::default();
    let answers = match answers {
        Err(error) => return response.with_error_code(error.code()),
        Ok(answers) if version < LEAVE_MANY_SINCE => {
            let answer = answers.into_iter().next().unwrap_or(Ok(()));
            return response.with_error_code(code(answer));
        }
        Ok(answers) => answers,
    };
    let members = (leavers.into_iter().zip(answers))
        .map(|(leaver, answer)| {
            MemberResponse::default()
                .with_member_id(text(leaver.member))
                .with_group_instance_id(leaver.instance.map(text))
                .with_error_code(code(answer))
        })
        .collect();
    response.with_members(members)
}

/// `DescribeGroups`, versions 0 to 6.
pub(crate) fn describe_groups(
    core: &Core,
    request: DescribeGroupsRequest,
    context: &Context,
) -> DescribeGroupsResponse {
    let groups = lock(&core.groups);
    let operations = if request.include_authorized_operations {
        ALL_OPERATIONS
    } else {
        i32::MIN
    };
    // A group that is named a thousand times is described once, so that an answer is never larger than
    // what is stored.
    let mut seen = BTreeSet::new();
    let described = (request.groups.into_iter())
        .filter(|id| seen.insert(id.clone()))
        .map(|id| {
            let description = groups.describe(&id);
            describe_response(id, description, context.version)
                .with_authorized_operations(operations)
        })
        .collect();
    DescribeGroupsResponse::default().with_groups(described)
}

fn describe_response(id: GroupId, group: Option<Description>, version: i16) -> DescribedGroup {
    let Some(group) = group else {
        let message = (version >= DESCRIBE_NOT_FOUND_SINCE)
            .then(|| text(format!("Group {} not found.", id.as_str())));
        let error = message
            .as_ref()
            .map_or(0, |_| GroupError::GroupNotFound.code());
        return DescribedGroup::default()
            .with_group_id(id)
            .with_error_code(error)
            .with_error_message(message)
            .with_group_state(StrBytes::from_static_str(State::DEAD));
    };
    let members = (group.members.into_iter())
        .map(|member| {
            DescribedGroupMember::default()
                .with_member_id(text(member.member))
                .with_group_instance_id(member.instance.map(text))
                .with_client_id(text(member.client_id))
                .with_client_host(text(member.client_host))
                .with_member_metadata(member.metadata)
                .with_member_assignment(member.assignment)
        })
        .collect();
    DescribedGroup::default()
        .with_group_id(id)
        .with_group_state(StrBytes::from_static_str(group.state.name()))
        .with_protocol_type(text(group.protocol_type))
        .with_protocol_data(text(group.protocol))
        .with_members(members)
}

/// `ListGroups`, versions 0 to 5.
pub(crate) fn list_groups(
    core: &Core,
    request: ListGroupsRequest,
    context: &Context,
) -> ListGroupsResponse {
    list_response(&lock(&core.groups), &request, context.version)
}

fn list_response(groups: &Groups, request: &ListGroupsRequest, version: i16) -> ListGroupsResponse {
    let named = |filter: &[StrBytes], name: &str| {
        filter.is_empty()
            || filter
                .iter()
                .any(|wanted| wanted.eq_ignore_ascii_case(name))
    };
    let all_types = named(&request.types_filter, CLASSIC);
    let listed = (groups.list())
        .filter(|(_, _, state)| all_types && named(&request.states_filter, state.name()))
        .map(|(id, protocol_type, state)| {
            let mut group = ListedGroup::default()
                .with_group_id(GroupId(text(id.to_owned())))
                .with_protocol_type(text(protocol_type.to_owned()));
            if version >= LIST_STATE_SINCE {
                group = group.with_group_state(StrBytes::from_static_str(state.name()));
            }
            if version >= LIST_TYPE_SINCE {
                group = group.with_group_type(StrBytes::from_static_str(CLASSIC));
            }
            group
        })
        .collect();
    ListGroupsResponse::default().with_groups(listed)
}

/// `DeleteGroups`, versions 0 to 2.
pub(crate) fn delete_groups(
    core: &Core,
    request: DeleteGroupsRequest,
    _context: &Context,
) -> DeleteGroupsResponse {
    let mut keep = core.keeper();
    delete_response(&mut lock(&core.groups), request, &mut keep)
}

fn delete_response(
    groups: &mut Groups,
    request: DeleteGroupsRequest,
    keep: Keep<'_>,
) -> DeleteGroupsResponse {
    let results = (request.groups_names.into_iter())
        .map(|id| {
            let deleted = groups.delete(&id, keep);
            DeletableGroupResult::default()
                .with_group_id(id)
                .with_error_code(code(deleted))
        })
        .collect();
    DeleteGroupsResponse::default().with_results(results)
}

/// The error code of a result; 0 where there is no error.
pub(super) fn code(result: Result<(), GroupError>) -> i16 {
    result.err().map_or(0, GroupError::code)
}

pub(super) fn text(text: String) -> StrBytes {
    StrBytes::from_string(text)
}

/// A copy, for decoded bytes are slices of their frame and would keep all of it.
fn own(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn millis(count: i32) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap_or_default())
}

/// A client's address as Java prints it, which is what tools expect.
fn host_of(peer: SocketAddr) -> String {
    format!("/{}", peer.ip())
}

#[cfg(test)]
mod tests;
