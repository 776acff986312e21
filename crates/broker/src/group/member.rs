//! One member of a group.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    GroupError, Join, JoinRefused, Joined, JoinedMember, MemberDescription, Protocol, Synced,
};

/// Where a join is answered.
pub(super) type JoinReply = oneshot::Sender<Result<Joined, JoinRefused>>;
/// Where a sync is answered.
pub(super) type SyncReply = oneshot::Sender<Result<Synced, GroupError>>;

/// Bytes that a member is reckoned to take besides what it sent.
pub(super) const MEMBER_OVERHEAD_BYTES: usize = 512;

impl Join {
    /// Bytes that the member would hold.
    pub(super) fn bytes(&self) -> usize {
        MEMBER_OVERHEAD_BYTES
            + self.client_id.len()
            + self.client_host.len()
            + 3 * self.instance.as_deref().map_or(0, str::len)
            + protocol_bytes(&self.protocols)
    }
}

fn protocol_bytes(protocols: &[Protocol]) -> usize {
    (protocols.iter())
        .map(|protocol| size_of::<Protocol>() + protocol.name.len() + protocol.metadata.len())
        .sum()
}

/// One member of a group.
///
/// It expires when it has not been heard of until `expires`. While it waits for an answer it can't
/// heartbeat, so that it is spared then, unless it has never finished a join: see `is_new`.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance: Option<String>,
    client_id: String,
    client_host: String,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    joining: Option<JoinReply>,
    syncing: Option<SyncReply>,
    /// Has not finished a join yet. Such a member may have gone and come back under another id.
    pub(super) is_new: bool,
    /// When it counts as gone. None only while it waits for an answer.
    pub(super) expires: Option<Instant>,
}

impl Member {
    /// A member that has just asked to join.
    pub(super) fn new(join: Join, reply: JoinReply, expires: Instant) -> Self {
        Self {
            instance: join.instance,
            client_id: join.client_id,
            client_host: join.client_host,
            session_timeout: join.session_timeout,
            rebalance_timeout: join.rebalance_timeout,
            protocols: join.protocols,
            assignment: Bytes::new(),
            joining: Some(reply),
            syncing: None,
            is_new: true,
            expires: Some(expires),
        }
    }

    /// Takes over what a join says anew, and who now waits for its answer.
    pub(super) fn update(&mut self, join: Join, reply: JoinReply, member: &str) {
        self.protocols = join.protocols;
        self.rebalance_timeout = join.rebalance_timeout;
        self.session_timeout = join.session_timeout;
        // The request that this one repeats is not waited for any more; it must not hang all the same.
        self.refuse_join(member, GroupError::RebalanceInProgress);
        self.joining = Some(reply);
    }

    /// Waits for its part of the assignment.
    pub(super) fn await_sync(&mut self, reply: SyncReply) {
        self.answer_sync(Err(GroupError::RebalanceInProgress));
        self.syncing = Some(reply);
    }

    pub(super) fn is_joining(&self) -> bool {
        self.joining.is_some()
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.joining.is_some() || self.syncing.is_some()
    }

    /// Answers a join that waits.
    pub(super) fn answer_join(&mut self, answer: Result<Joined, JoinRefused>) {
        if let Some(reply) = self.joining.take() {
            // A client that is gone does not listen; it will expire.
            let _ = reply.send(answer);
        }
    }

    /// Refuses a join that waits.
    pub(super) fn refuse_join(&mut self, member: &str, error: GroupError) {
        self.answer_join(Err(JoinRefused::new(member, error)));
    }

    /// Answers a sync that waits; false if none does.
    pub(super) fn answer_sync(&mut self, answer: Result<Synced, GroupError>) -> bool {
        let Some(reply) = self.syncing.take() else {
            return false;
        };
        let _ = reply.send(answer);
        true
    }

    /// It was heard of.
    pub(super) fn heard(&mut self, now: Instant) {
        self.expires = Some(now + self.session_timeout);
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|own| own.name == protocol)
    }

    /// What it says for a protocol.
    pub(super) fn metadata(&self, protocol: Option<&str>) -> Bytes {
        (self.protocols.iter())
            .find(|own| Some(own.name.as_str()) == protocol)
            .map(|own| own.metadata.clone())
            .unwrap_or_default()
    }

    pub(super) fn as_joined(&self, id: &str, protocol: Option<&str>) -> JoinedMember {
        JoinedMember {
            member: id.to_owned(),
            instance: self.instance.clone(),
            metadata: self.metadata(protocol),
        }
    }

    /// Describes it, with what it knows of `protocol`, or without if the group has settled on none.
    pub(super) fn describe(&self, id: &str, protocol: Option<&str>) -> MemberDescription {
        MemberDescription {
            member: id.to_owned(),
            instance: self.instance.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            metadata: self.metadata(protocol),
            assignment: protocol.map_or_else(Bytes::new, |_| self.assignment.clone()),
        }
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        MEMBER_OVERHEAD_BYTES
            + self.client_id.len()
            + self.client_host.len()
            + 3 * self.instance.as_deref().map_or(0, str::len)
            + protocol_bytes(&self.protocols)
            + self.assignment.len()
    }
}
