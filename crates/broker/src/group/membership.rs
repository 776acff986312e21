//! One group: who joins it, who leaves it, who is heard of. How it rebalances is told in `rebalance`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tracing::{debug, info};

use super::ids::MemberIds;
use super::limits::Limits;
use super::member::{JoinReply, Member, SyncReply};
use super::offsets::GroupOffsets;
use super::{
    Claim, Description, Generation, GroupError, Join, JoinRefused, Joined, Leaver, Protocol, State,
    Sync, Synced,
};

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
    pub(super) offsets: GroupOffsets,
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
            offsets: GroupOffsets::default(),
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

    /// The member that a join is from, or takes the place of.
    fn holder<'a>(&'a self, join: &'a Join) -> Option<&'a str> {
        if join.member.is_empty() {
            let instance = join.instance.as_ref()?;
            return self.instances.get(instance).map(String::as_str);
        }
        Some(&join.member)
    }

    pub(super) fn join(&mut self, join: Join, reply: JoinReply, context: &mut Context<'_>) {
        let refused = if !self.has_place_for(&join, context.limits) {
            // A member that did not make it into the new generation in time makes room.
            self.remove(&join.member);
            self.complete_if_all_joined(context);
            Some(JoinRefused::new("", GroupError::GroupFull))
        } else if !self.supports(&join.protocol_type, &join.protocols) {
            Some(JoinRefused::new(
                &join.member,
                GroupError::InconsistentProtocol,
            ))
        } else {
            None
        };
        match refused {
            Some(refused) => {
                // A client that is gone does not listen.
                let _ = reply.send(Err(refused));
            }
            None if join.member.is_empty() => self.join_without_id(join, reply, context),
            None => self.join_with_id(join, reply, context),
        }
    }

    /// Whether a join keeps the group within its size. While the group rebalances, those who have joined
    /// again count, and the last to come find it full.
    fn has_place_for(&self, join: &Join, limits: &Limits) -> bool {
        let holder = self.holder(join).and_then(|id| self.members.get(id));
        match self.phase {
            Phase::Empty { .. } => true,
            Phase::Preparing { .. } => {
                let joining = self
                    .members
                    .values()
                    .filter(|member| member.is_joining())
                    .count();
                holder.is_some_and(Member::is_joining) || joining < limits.members
            }
            Phase::Completing | Phase::Stable => {
                holder.is_some() || self.members.len() < limits.members
            }
        }
    }

    /// Whether a member with these protocols leaves one that all members support.
    fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.members.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type() == protocol_type
            && protocols
                .iter()
                .any(|protocol| self.all_support(&protocol.name))
    }

    pub(super) fn all_support(&self, protocol: &str) -> bool {
        self.members
            .values()
            .all(|member| member.supports(protocol))
    }

    fn join_without_id(&mut self, join: Join, reply: JoinReply, context: &mut Context<'_>) {
        let name = join.instance.as_deref().unwrap_or(&join.client_id);
        let id = context.ids.next(name);
        let held = join
            .instance
            .as_ref()
            .and_then(|instance| self.instances.get(instance));
        if let Some(old) = held.cloned() {
            self.replace_static(&old, id, join, reply, context);
        } else if join.instance.is_none() && join.id_required {
            let error = if self.pending.len() < context.limits.members {
                self.pending
                    .insert(id.clone(), context.now + join.session_timeout);
                debug!(
                    group = self.id,
                    member = id,
                    "asked to join again with the id it was given"
                );
                JoinRefused::new(&id, GroupError::MemberIdRequired)
            } else {
                JoinRefused::new("", GroupError::GroupFull)
            };
            let _ = reply.send(Err(error));
        } else {
            self.add(id, join, reply, context);
        }
    }

    fn join_with_id(&mut self, join: Join, reply: JoinReply, context: &mut Context<'_>) {
        let id = join.member.clone();
        // Only dynamic members are given an id before they join.
        if self.pending.contains_key(&id) && join.instance.is_none() {
            return self.add(id, join, reply, context);
        }
        if let Err(error) = self.check_member(&id, join.instance.as_deref()) {
            let _ = reply.send(Err(JoinRefused::new(&id, error)));
            return;
        }
        let changed =
            (self.members.get(&id)).is_none_or(|member| member.protocols != join.protocols);
        let leads = self.leader.as_ref() == Some(&id);
        let what = match self.phase {
            Phase::Preparing { .. } => "a member joins while the group rebalances",
            Phase::Completing | Phase::Stable if changed => "a member's metadata changed",
            // What the assignment depends on may have changed without the leader's own metadata, such as
            // the number of partitions.
            Phase::Stable if leads => "the leader joins again",
            Phase::Completing | Phase::Stable => {
                // It has probably lost the answer to its join.
                let list_members = leads && self.state() == State::CompletingRebalance;
                let _ = reply.send(Ok(self.joined(&id, list_members)));
                return;
            }
            Phase::Empty { .. } => {
                let _ = reply.send(Err(JoinRefused::new(&id, GroupError::UnknownMember)));
                return;
            }
        };
        let reason = reason_of(what, &id, join.reason.as_deref());
        if let Some(member) = self.members.get_mut(&id) {
            member.update(join, reply, &id);
        }
        self.settle(&reason, context);
    }

    /// A member's place in the generation that stands.
    pub(super) fn joined(&self, id: &str, list_members: bool) -> Joined {
        let protocol = self.protocol.as_deref();
        let members = self
            .members
            .iter()
            .map(|(id, member)| member.as_joined(id, protocol));
        Joined {
            member: id.to_owned(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            members: if list_members {
                members.collect()
            } else {
                Vec::new()
            },
        }
    }

    fn add(&mut self, id: String, join: Join, reply: JoinReply, context: &mut Context<'_>) {
        let reason = reason_of("a member joins", &id, join.reason.as_deref());
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        if let Some(instance) = &join.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.pending.remove(&id);
        self.leader.get_or_insert_with(|| id.clone());
        let expires = context.now + context.limits.new_member_timeout;
        self.members.insert(id, Member::new(join, reply, expires));
        if let Phase::Preparing {
            first: Some(first), ..
        } = &mut self.phase
        {
            first.grown = true;
        }
        self.settle(&reason, context);
    }

    /// A static member has restarted: it gets a new id, and its place. Whoever still uses the old id is
    /// told that it was fenced.
    fn replace_static(
        &mut self,
        old: &str,
        new: String,
        join: Join,
        reply: JoinReply,
        context: &mut Context<'_>,
    ) {
        let Some(mut member) = self.members.remove(old) else {
            return;
        };
        info!(
            group = self.id,
            member = new,
            old,
            "a static member takes its place again"
        );
        member.refuse_join(old, GroupError::FencedInstance);
        member.answer_sync(Err(GroupError::FencedInstance));
        member.heard(context.now);
        let old_leader = self.leader.clone().unwrap_or_default();
        if old_leader == old {
            self.leader = Some(new.clone());
        }
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), new.clone());
        }
        self.unsynced.remove(old);
        let can_skip_assignment = join.can_skip_assignment;
        let reason = reason_of("a static member restarted", &new, join.reason.as_deref());
        member.update(join, reply, &new);
        self.members.insert(new.clone(), member);
        if self.state() == State::Stable && self.vote() == self.protocol {
            // The old assignment is good for the new process; nobody else need notice.
            let leads = self.leader.as_ref() == Some(&new);
            let mut joined = self.joined(&new, leads && can_skip_assignment);
            if can_skip_assignment {
                joined.skip_assignment = leads;
            } else {
                // A leader of before version 9 would assign anew, to nobody's notice: by the old
                // leader's id it does not know that it leads.
                joined.leader = old_leader;
            }
            if let Some(member) = self.members.get_mut(&new) {
                member.is_new = false;
                member.answer_join(Ok(joined));
            }
        } else {
            // While the leader assigns, its assignment would name the old id.
            self.settle(&reason, context);
        }
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
                info!(
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

/// Why a group rebalances, for the log.
fn reason_of(what: &str, member: &str, client_reason: Option<&str>) -> String {
    let client_reason = client_reason.unwrap_or("not provided");
    format!("{what}: {member}; client reason: {client_reason}")
}
