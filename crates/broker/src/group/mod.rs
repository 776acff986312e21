//! Consumer groups by Kafka's classic protocol, and the offsets that groups have committed.
//!
//! ```text
//!   `JoinGroup` ──► every member's metadata ──► one of them is the leader ──► `SyncGroup` (its assignment)
//!      ▲          PreparingRebalance          CompletingRebalance                 │
//!      └──────── someone joins, leaves, expires or changes ◄── Stable ◄───────────┘
//! ```
//!
//! [`Groups`] is a state machine without I/O: requests and ticks go in with the time at which they were
//! taken up, answers come out. What has to wait for other members (`JoinGroup`, `SyncGroup`) is answered
//! through an [`Answer`]; a client that went away just drops its end, and its member expires like any
//! other that has gone silent. Membership lives in memory: after a restart consumers join again, as they
//! do when a coordinator moves. Committed offsets are journaled before they are applied.
//!
//! The rules are those of Apache Kafka's group coordinator (KIP-62, KIP-345, KIP-394, KIP-814), and so
//! are the error codes and the names of the states.
//!
//! INV-GROUP: a generation has one leader, which is a member, and at most one assignment for each member;
//! each join and each sync is answered within the timeouts its member asked for; a member of a stable
//! group has been heard of within its session timeout.

mod error;
mod ids;
mod joining;
mod limits;
mod member;
mod membership;
mod offsets;
mod rebalance;
mod request;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use tokio::sync::oneshot;
use tracing::debug;

pub(crate) use error::{GroupError, JoinRefused, NotKept};
pub(crate) use limits::Limits;
pub(crate) use offsets::Keep;
pub(crate) use request::{
    Claim, Description, Generation, Join, Joined, JoinedMember, Leaver, MemberDescription,
    Protocol, State, Sync, Synced,
};

use crate::journal::Entry;
use crate::units::Now;
use ids::MemberIds;
use membership::{Context, Group};
use offsets::Pending;

/// The answer to a request that may have to wait for other members. It is an error only when the broker
/// ends before it has answered.
pub(crate) type Answer<T, E = GroupError> = oneshot::Receiver<Result<T, E>>;

/// All groups of the broker.
#[derive(Debug)]
pub(crate) struct Groups {
    limits: Limits,
    ids: MemberIds,
    by_id: BTreeMap<String, Group>,
    /// When each group wants to be looked at; a group is in here at most once.
    timers: BTreeSet<(Instant, String)>,
    /// Bytes that the members of all groups hold.
    member_bytes: usize,
    /// Bytes that the offsets of all groups hold.
    offset_bytes: usize,
    /// Offsets of transactions that are open.
    pending: Pending,
}

impl Groups {
    /// No groups yet. `seed` makes the ids that members are given differ from those of earlier starts.
    pub(crate) fn new(limits: Limits, seed: u64) -> Self {
        Self {
            limits,
            ids: MemberIds::new(seed),
            by_id: BTreeMap::new(),
            timers: BTreeSet::new(),
            member_bytes: 0,
            offset_bytes: 0,
            pending: Pending::default(),
        }
    }

    /// `JoinGroup`. Answers when the group is complete, or at once where nothing has to be waited for.
    pub(crate) fn join(&mut self, mut join: Join, now: Now) -> Answer<Joined, JoinRefused> {
        let (reply, answer) = oneshot::channel();
        join.client_id = self.limits.cut_name(&join.client_id);
        join.reason = join.reason.map(|reason| self.limits.cut_name(&reason));
        if let Err(error) = self.check_join(&join) {
            // A client that is gone does not listen.
            let _ = reply.send(Err(JoinRefused::new(&join.member, error)));
            return answer;
        }
        if !self.by_id.contains_key(&join.group) {
            let group = Group::new(&join.group, Some(now.instant));
            self.by_id.insert(join.group.clone(), group);
        }
        let id = join.group.clone();
        self.on_group(&id, now, |group, context| group.join(join, reply, context));
        answer
    }

    /// What can be said of a join without its group's rules.
    fn check_join(&mut self, join: &Join) -> Result<(), GroupError> {
        let limits = &self.limits;
        limits.check_group_id(&join.group)?;
        if !limits.session_timeouts.contains(&join.session_timeout) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        let instance = join.instance.as_deref().unwrap_or_default();
        if instance.len() > limits.name_bytes || join.member.len() > limits.member_id_bytes() {
            return Err(GroupError::InvalidRequest);
        }
        if join.protocols.len() > limits.protocols {
            return Err(GroupError::InconsistentProtocol);
        }
        match self.by_id.get(&join.group) {
            None if !join.member.is_empty() => return Err(GroupError::UnknownMember),
            None if join.protocol_type.is_empty() || join.protocols.is_empty() => {
                return Err(GroupError::InconsistentProtocol);
            }
            None => self.make_room_for_group()?,
            Some(_) => (),
        }
        let group = self.by_id.get(&join.group);
        let (held, replaced) =
            group.map_or((0, 0), |group| (group.bytes(), group.replaced_by(join)));
        let added = join.bytes();
        let limits = &self.limits;
        if held.saturating_sub(replaced) + added > limits.group_bytes
            || self.member_bytes.saturating_sub(replaced) + added > limits.total_member_bytes
        {
            return Err(GroupError::GroupFull);
        }
        Ok(())
    }

    /// `SyncGroup`: takes the leader's assignment, and answers each member with its part of it.
    pub(crate) fn sync(&mut self, claim: &Claim<'_>, sync: Sync, now: Now) -> Answer<Synced> {
        let (reply, answer) = oneshot::channel();
        if let Err(error) = self.limits.check_group_id(claim.group) {
            let _ = reply.send(Err(error));
            return answer;
        }
        let room = self
            .limits
            .total_member_bytes
            .saturating_sub(self.member_bytes);
        let mut reply = Some(reply);
        self.on_group(claim.group, now, |group, context| {
            if let Some(reply) = reply.take() {
                group.sync(claim, sync, room, reply, context);
            }
        });
        if let Some(reply) = reply {
            let _ = reply.send(Err(GroupError::UnknownMember));
        }
        answer
    }

    /// Heartbeat: the member lives. An error tells it what to do next, such as joining again.
    pub(crate) fn heartbeat(&mut self, claim: &Claim<'_>, now: Now) -> Result<(), GroupError> {
        self.limits.check_group_id(claim.group)?;
        self.on_group(claim.group, now, |group, context| {
            group.heartbeat(claim, context.now)
        })
        .unwrap_or(Err(GroupError::UnknownMember))
    }

    /// `LeaveGroup`: one answer for each leaver, in order.
    pub(crate) fn leave(
        &mut self,
        group: &str,
        leavers: &[Leaver],
        now: Now,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        self.limits.check_group_id(group)?;
        Ok(self
            .on_group(group, now, |group, context| group.leave(leavers, context))
            .unwrap_or_else(|| vec![Err(GroupError::UnknownMember); leavers.len()]))
    }

    /// What there is to know of a group; `None` if there is no such group, which Kafka calls `Dead`.
    pub(crate) fn describe(&self, group: &str) -> Option<Description> {
        self.by_id.get(group).map(Group::describe)
    }

    /// Each group's id, protocol type and state, by id.
    pub(crate) fn list(&self) -> impl Iterator<Item = (&str, &str, State)> {
        (self.by_id.iter()).map(|(id, group)| (id.as_str(), group.protocol_type(), group.state()))
    }

    /// Deletes a group without members, and its offsets.
    pub(crate) fn delete(&mut self, group: &str, keep: Keep<'_>) -> Result<(), GroupError> {
        match self.by_id.get(group).map(Group::state) {
            None => return Err(GroupError::GroupNotFound),
            Some(State::Empty) => (),
            Some(_) => return Err(GroupError::NonEmptyGroup),
        }
        keep(&Entry::GroupDeleted {
            group: group.to_owned(),
        })?;
        self.remove_group(group);
        debug!(group, "deleted");
        Ok(())
    }

    /// Expires members that have gone silent and completes what has waited long enough.
    pub(crate) fn tick(&mut self, now: Now) {
        // Each group once, so that no timeout of zero can hold the broker here.
        let due: Vec<String> = (self.timers.iter())
            .take_while(|(at, _)| *at <= now.instant)
            .map(|(_, id)| id.clone())
            .collect();
        for id in due {
            let expired = self.on_group(&id, now, |group, context| {
                group.tick(context);
                group.is_forgotten(context)
            });
            if expired == Some(true) {
                self.remove_group(&id);
            }
        }
    }

    /// When [`tick`](Self::tick) has something to do next, as far as is known now: a request can bring
    /// it forward.
    #[cfg(test)]
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Applies an entry of the journal; those that are not about groups are ignored.
    pub(crate) fn restore(&mut self, entry: &Entry) {
        match entry {
            Entry::OffsetCommitted {
                group,
                topic,
                partition,
                committed,
            } => self.restore_offset(group, topic, *partition, committed.clone()),
            Entry::OffsetDeleted {
                group,
                topic,
                partition,
            } => self.restore_offset_deleted(group, topic, *partition),
            Entry::GroupDeleted { group } => self.remove_group(group),
            _ => (),
        }
    }

    /// Runs `act` on a group, then accounts for what it changed. `None` if there is no such group.
    fn on_group<R>(
        &mut self,
        id: &str,
        now: Now,
        act: impl FnOnce(&mut Group, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let group = self.by_id.get_mut(id)?;
        let before = group.bytes();
        let done = act(
            group,
            &mut Context {
                limits: &self.limits,
                ids: &mut self.ids,
                now: now.instant,
            },
        );
        group.recount();
        self.member_bytes = (self.member_bytes + group.bytes()).saturating_sub(before);
        let wanted = group.next_deadline(&self.limits);
        if group.timer != wanted {
            if let Some(at) = group.timer {
                self.timers.remove(&(at, id.to_owned()));
            }
            if let Some(at) = wanted {
                self.timers.insert((at, id.to_owned()));
            }
            group.timer = wanted;
        }
        Some(done)
    }

    /// Forgets a group, its members and its offsets.
    fn remove_group(&mut self, id: &str) {
        let Some(group) = self.by_id.remove(id) else {
            return;
        };
        if let Some(at) = group.timer {
            self.timers.remove(&(at, id.to_owned()));
        }
        self.member_bytes = self.member_bytes.saturating_sub(group.bytes());
        self.offset_bytes = self.offset_bytes.saturating_sub(group.offset_bytes());
    }

    /// Whether one more group could be made.
    fn has_room_for_group(&self) -> bool {
        self.by_id.len() < self.limits.groups || self.by_id.values().any(Group::holds_nothing)
    }

    /// Sees that one more group may be made: one that holds nothing gives way to it.
    fn make_room_for_group(&mut self) -> Result<(), GroupError> {
        if self.by_id.len() < self.limits.groups {
            return Ok(());
        }
        let unused = (self.by_id.iter())
            .find(|(_, group)| group.holds_nothing())
            .map(|(id, _)| id.clone());
        match unused {
            Some(id) => {
                self.remove_group(&id);
                Ok(())
            }
            None => Err(GroupError::GroupFull),
        }
    }
}
