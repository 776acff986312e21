//! One group: who is in it, who leaves it, who is heard of. How members come is told in `joining`, and
//! how the group rebalances in `rebalance`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tracing::debug;

use super::ids::MemberIds;
use super::limits::Limits;
use super::member::{Member, SyncReply};
use super::{Claim, Description, Generation, GroupError, Join, Leaver, State, Sync, Synced};
use crate::journal::CommittedOffset;
use crate::units::TopicPartition;

/// Bytes that an id is reckoned to take which was given out and not used yet.
const PENDING_OVERHEAD_BYTES: usize = 128;

/// What a group needs from around it.
pub(super) struct Context<'a> {
    pub(super) limits: &'a Limits,
    pub(super) ids: &'a mut MemberIds,
    pub(super) now: Instant,
}

/// Where a group stands, with what only matters there.
#[derive(Debug)]
pub(super) enum Phase {
    /// No members since then; unknown for a group that was restored.
    Empty { since: Option<Instant> },
    /// Waits for its members to join, until `deadline`.
    Preparing {
        deadline: Instant,
        first: Option<FirstRebalance>,
    },
    /// Waits for the leader's assignment.
    Completing,
    /// Every member has its assignment, or can have it.
    Stable,
}

/// The first rebalance of an empty group waits a while, whoever has joined: more are likely to come.
#[derive(Debug)]
pub(super) struct FirstRebalance {
    /// How long it may still be prolonged.
    pub(super) remaining: Duration,
    /// Somebody has joined since it was prolonged last.
    pub(super) grown: bool,
}

/// One group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: String,
    pub(super) generation: Generation,
    pub(super) phase: Phase,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<String>,
    pub(super) members: BTreeMap<String, Member>,
    /// Member ids that were given out and have not joined yet, and when they lapse.
    pub(super) pending: BTreeMap<String, Instant>,
    /// Who holds a `group.instance.id` now.
    pub(super) instances: BTreeMap<String, String>,
    /// Members that have not synced in this generation.
    pub(super) unsynced: BTreeSet<String>,
    /// When members that have not synced are removed; meaningless when all have.
    pub(super) sync_deadline: Option<Instant>,
    pub(super) offsets: BTreeMap<TopicPartition, CommittedOffset>,
    /// When the group is looked at next, as its owner has noted it.
    pub(super) timer: Option<Instant>,
    bytes: usize,
}

impl Group {
    /// A group that holds nothing; `since` is when it was made, unless it comes from the journal.
    pub(super) fn new(id: &str, since: Option<Instant>) -> Self {
        Self {
            id: id.to_owned(),
            generation: Generation(0),
            phase: Phase::Empty { since },
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            pending: BTreeMap::new(),
            instances: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            sync_deadline: None,
            offsets: BTreeMap::new(),
            timer: None,
            bytes: 0,
        }
    }

    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Empty { .. } => State::Empty,
            Phase::Preparing { .. } => State::PreparingRebalance,
            Phase::Completing => State::CompletingRebalance,
            Phase::Stable => State::Stable,
        }
    }

    pub(super) fn protocol_type(&self) -> &str {
        self.protocol_type.as_deref().unwrap_or_default()
    }

    /// Bytes that its members held when it was counted last.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts the bytes that its members hold.
    pub(super) fn recount(&mut self) {
        let members = self
            .members
            .iter()
            .map(|(id, member)| 3 * id.len() + member.bytes());
        let pending = self
            .pending
            .keys()
            .map(|id| id.len() + PENDING_OVERHEAD_BYTES);
        self.bytes = members.chain(pending).sum();
    }

    /// Bytes of the member that a join would take the place of.
    pub(super) fn replaced_by(&self, join: &Join) -> usize {
        self.holder(join)
            .and_then(|id| self.members.get(id))
            .map_or(0, Member::bytes)
    }

    /// Neither members nor offsets, and nobody about to join.
    pub(super) fn holds_nothing(&self) -> bool {
        self.state() == State::Empty && self.pending.is_empty() && self.offsets.is_empty()
    }

    /// Takes a member, or an id that was given out, from the group.
    pub(super) fn remove(&mut self, id: &str) {
        self.pending.remove(id);
        self.unsynced.remove(id);
        let Some(mut member) = self.members.remove(id) else {
            return;
        };
        // It may wait for an answer all the same; if it lives, it joins again.
        member.refuse_join("", GroupError::UnknownMember);
        member.answer_sync(Err(GroupError::UnknownMember));
        if let Some(instance) = &member.instance {
            self.instances.remove(instance);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// Whether the member exists and holds the instance id it claims.
    pub(super) fn check_member(&self, id: &str, instance: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(GroupError::UnknownMember),
                Some(holder) if holder != id => return Err(GroupError::FencedInstance),
                Some(_) => (),
            }
        }
        if self.members.contains_key(id) {
            Ok(())
        } else {
            Err(GroupError::UnknownMember)
        }
    }

    /// Whether a claim is of this generation.
    pub(super) fn check(&self, claim: &Claim<'_>) -> Result<(), GroupError> {
        self.check_member(claim.member, claim.instance)?;
        if claim.generation == self.generation {
            Ok(())
        } else {
            Err(GroupError::IllegalGeneration)
        }
    }

    pub(super) fn heartbeat(&mut self, claim: &Claim<'_>, now: Instant) -> Result<(), GroupError> {
        self.check(claim)?;
        if let Some(member) = self.members.get_mut(claim.member) {
            member.heard(now);
        }
        match self.phase {
            Phase::Empty { .. } => Err(GroupError::UnknownMember),
            Phase::Preparing { .. } => Err(GroupError::RebalanceInProgress),
            // Clients heartbeat as soon as they have joined, before they have their assignment.
            Phase::Completing | Phase::Stable => Ok(()),
        }
    }

    pub(super) fn sync(
        &mut self,
        claim: &Claim<'_>,
        sync: Sync,
        room: usize,
        reply: SyncReply,
        context: &mut Context<'_>,
    ) {
        if let Err(error) = self.check_sync(claim, &sync) {
            let _ = reply.send(Err(error));
            return;
        }
        self.unsynced.remove(claim.member);
        let is_stable = self.state() == State::Stable;
        let Some(member) = self.members.get_mut(claim.member) else {
            return;
        };
        if is_stable {
            member.heard(context.now);
            let _ = reply.send(Ok(Synced {
                protocol_type: self.protocol_type.clone(),
                protocol: self.protocol.clone(),
                assignment: member.assignment.clone(),
            }));
            return;
        }
        member.await_sync(reply);
        if self.leader.as_deref() == Some(claim.member) {
            self.assign(sync.assignments, room, context);
        }
    }

    fn check_sync(&self, claim: &Claim<'_>, sync: &Sync) -> Result<(), GroupError> {
        let differ = |theirs: &Option<String>, ours: &Option<String>| {
            theirs.is_some() && ours.is_some() && theirs != ours
        };
        self.check(claim)?;
        if differ(&sync.protocol_type, &self.protocol_type)
            || differ(&sync.protocol, &self.protocol)
        {
            return Err(GroupError::InconsistentProtocol);
        }
        match self.phase {
            Phase::Empty { .. } => Err(GroupError::UnknownMember),
            Phase::Preparing { .. } => Err(GroupError::RebalanceInProgress),
            Phase::Completing | Phase::Stable => Ok(()),
        }
    }

    pub(super) fn leave(
        &mut self,
        leavers: &[Leaver],
        context: &mut Context<'_>,
    ) -> Vec<Result<(), GroupError>> {
        let mut left = 0_usize;
        let answers = (leavers.iter())
            .map(|leaver| {
                let id = self.leaving(leaver)?;
                let client_reason = leaver.reason.as_deref().unwrap_or("not provided");
                debug!(
                    group = self.id,
                    member = id,
                    client_reason,
                    "a member leaves"
                );
                self.remove(&id);
                left += 1;
                Ok(())
            })
            .collect();
        if left > 0 {
            self.settle("members left", context);
        }
        answers
    }

    /// The member that is to leave.
    fn leaving(&self, leaver: &Leaver) -> Result<String, GroupError> {
        if leaver.member.is_empty() {
            // An operator removes a static member by the name that he knows.
            let holder = leaver
                .instance
                .as_ref()
                .and_then(|instance| self.instances.get(instance));
            return holder.cloned().ok_or(GroupError::UnknownMember);
        }
        if !self.pending.contains_key(&leaver.member) {
            self.check_member(&leaver.member, leaver.instance.as_deref())?;
        }
        Ok(leaver.member.clone())
    }

    pub(super) fn describe(&self) -> Description {
        let is_stable = self.state() == State::Stable;
        let protocol = self.protocol.as_deref().filter(|_| is_stable);
        Description {
            state: self.state(),
            protocol_type: self.protocol_type().to_owned(),
            protocol: protocol.unwrap_or_default().to_owned(),
            members: (self.members.iter())
                .map(|(id, member)| member.describe(id, protocol))
                .collect(),
        }
    }
}
