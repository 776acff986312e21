//! How a group rebalances: it waits for its members to join, votes for a protocol, counts up the
//! generation, waits for the leader's assignment and hands it out; and what happens when time passes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::{debug, info, warn};

use super::limits::Limits;
use super::membership::{Context, FirstRebalance, Group, Phase};
use super::{GroupError, JoinRefused, State, Synced};

/// How long a rebalance that nobody has joined waits at least before it looks again.
const MIN_REJOIN_WAIT: Duration = Duration::from_secs(1);

impl Group {
    /// After something has changed: begins a rebalance, or sees whether the one under way is complete.
    pub(super) fn settle(&mut self, reason: &str, context: &mut Context<'_>) {
        match self.phase {
            Phase::Preparing { first: None, .. } if self.all_joined() => {
                self.complete_join(context);
            }
            Phase::Preparing { .. } => (),
            Phase::Empty { .. } if self.members.is_empty() => (),
            Phase::Empty { .. } | Phase::Completing | Phase::Stable => {
                self.prepare_rebalance(reason, context);
            }
        }
    }

    fn all_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|member| member.is_joining())
    }

    /// The longest that any member wants to be waited for.
    fn rebalance_timeout(&self) -> Duration {
        let timeouts = self.members.values().map(|member| member.rebalance_timeout);
        timeouts.max().unwrap_or_default()
    }

    pub(super) fn prepare_rebalance(&mut self, reason: &str, context: &mut Context<'_>) {
        let was = self.state();
        debug!(group = self.id, state = %was, generation = self.generation.0, reason, "rebalancing");
        if was == State::CompletingRebalance {
            self.abandon_assignment(GroupError::RebalanceInProgress, context);
        }
        self.unsynced.clear();
        let timeout = self.rebalance_timeout();
        let delay = context.limits.initial_rebalance_delay;
        if was == State::Empty && !delay.is_zero() {
            self.phase = Phase::Preparing {
                deadline: context.now + delay,
                first: Some(FirstRebalance {
                    remaining: timeout.saturating_sub(delay),
                    grown: false,
                }),
            };
            return;
        }
        self.phase = Phase::Preparing {
            deadline: context.now + timeout,
            first: None,
        };
        // Ids that were given out are waited for as long as a member wants to wait.
        if was == State::Empty || self.members.is_empty() || self.all_joined() {
            self.complete_join(context);
        }
    }

    /// Answers whoever waits for an assignment that will not come.
    fn abandon_assignment(&mut self, error: GroupError, context: &Context<'_>) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
            if member.answer_sync(Err(error)) {
                member.heard(context.now);
            }
        }
    }

    /// Begins the next generation, with those who have joined; static members keep their place until
    /// their session expires.
    fn complete_join(&mut self, context: &mut Context<'_>) {
        let gone: Vec<String> = (self.members.iter())
            .filter(|(_, member)| !member.is_joining() && member.instance.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for id in &gone {
            info!(
                group = self.id,
                member = id,
                "removed: did not join in time"
            );
            self.remove(id);
        }
        if self.members.is_empty() {
            return self.become_empty(context);
        }
        if !self.elect_leader() {
            warn!(
                group = self.id,
                "nobody has joined; waiting for sessions to expire"
            );
            self.phase = Phase::Preparing {
                deadline: context.now + self.rebalance_timeout().max(MIN_REJOIN_WAIT),
                first: None,
            };
            return;
        }
        self.generation = self.generation.next();
        self.protocol = self.vote();
        self.phase = Phase::Completing;
        self.unsynced = self.members.keys().cloned().collect();
        self.sync_deadline = Some(context.now + self.rebalance_timeout());
        debug!(
            group = self.id,
            generation = self.generation.0,
            members = self.members.len(),
            "all members have joined"
        );
        let mut answers: BTreeMap<String, _> = (self.members.keys())
            .map(|id| {
                (
                    id.clone(),
                    self.joined(id, self.leader.as_ref() == Some(id)),
                )
            })
            .collect();
        for (id, member) in &mut self.members {
            member.heard(context.now);
            member.is_new = false;
            let answer = answers.remove(id);
            member
                .answer_join(answer.ok_or_else(|| JoinRefused::new(id, GroupError::UnknownMember)));
        }
    }

    fn become_empty(&mut self, context: &Context<'_>) {
        self.generation = self.generation.next();
        self.protocol = None;
        self.phase = Phase::Empty {
            since: Some(context.now),
        };
        debug!(group = self.id, generation = self.generation.0, "empty");
    }

    /// Sees that the leader is a member who has joined; false if nobody has.
    fn elect_leader(&mut self) -> bool {
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        if leader.is_some_and(|member| member.is_joining()) {
            return true;
        }
        let joined = self.members.iter().find(|(_, member)| member.is_joining());
        match joined.map(|(id, _)| id.clone()) {
            Some(id) => {
                self.leader = Some(id);
                true
            }
            None => false,
        }
    }

    /// Each member votes for what it likes best of what all support; the most votes win.
    pub(super) fn vote(&self) -> Option<String> {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        let candidates: Vec<&str> = (self.members.values().next()?.protocols.iter())
            .map(|protocol| protocol.name.as_str())
            .filter(|name| self.all_support(name))
            .collect();
        for member in self.members.values() {
            let mut names = member
                .protocols
                .iter()
                .map(|protocol| protocol.name.as_str());
            if let Some(choice) = names.find(|name| candidates.contains(name)) {
                *votes.entry(choice).or_default() += 1;
            }
        }
        let winner = votes.into_iter().max_by_key(|(_, count)| *count);
        winner.map(|(name, _)| name.to_owned())
    }

    /// Takes the leader's assignment and hands it out. `room` is what the broker has left for it.
    pub(super) fn assign(
        &mut self,
        assignments: Vec<(String, Bytes)>,
        room: usize,
        context: &mut Context<'_>,
    ) {
        let added: usize = (assignments.iter())
            .filter(|(id, _)| self.members.contains_key(id))
            .map(|(_, assignment)| assignment.len())
            .sum();
        if added > room || self.bytes() + added > context.limits.group_bytes {
            self.abandon_assignment(GroupError::AssignmentTooLarge, context);
            return self.prepare_rebalance("the leader's assignment is too large", context);
        }
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
        }
        for (id, assignment) in assignments {
            if let Some(member) = self.members.get_mut(&id) {
                member.assignment = assignment;
            }
        }
        self.phase = Phase::Stable;
        debug!(group = self.id, generation = self.generation.0, "stable");
        for member in self.members.values_mut() {
            let answer = Synced {
                protocol_type: self.protocol_type.clone(),
                protocol: self.protocol.clone(),
                assignment: member.assignment.clone(),
            };
            if member.answer_sync(Ok(answer)) {
                member.heard(context.now);
            }
        }
    }

    /// Does what has become due.
    pub(super) fn tick(&mut self, context: &mut Context<'_>) {
        self.expire_pending(context);
        self.expire_members(context);
        self.expire_rebalance(context);
        self.expire_syncs(context);
    }

    /// Ids that were given out and never used.
    fn expire_pending(&mut self, context: &mut Context<'_>) {
        let before = self.pending.len();
        self.pending.retain(|_, lapses| *lapses > context.now);
        if self.pending.len() < before {
            self.complete_if_all_joined(context);
            if let Phase::Empty { since } = &mut self.phase {
                *since = Some(context.now);
            }
        }
    }

    pub(super) fn complete_if_all_joined(&mut self, context: &mut Context<'_>) {
        if matches!(self.phase, Phase::Preparing { .. }) && self.all_joined() {
            self.complete_join(context);
        }
    }

    /// Members that have gone silent.
    fn expire_members(&mut self, context: &mut Context<'_>) {
        let due = |expires: Option<Instant>| expires.is_some_and(|at| at <= context.now);
        let silent: Vec<String> = (self.members.iter())
            .filter(|(_, member)| due(member.expires))
            .map(|(id, _)| id.clone())
            .collect();
        for id in silent {
            // The one before may have ended the rebalance that this one waited for.
            let now = context.now;
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            if member.expires.is_none_or(|at| at > now) {
                continue;
            }
            if member.is_waiting() && !member.is_new {
                // It can't heartbeat while it waits; its session begins anew with the answer.
                member.expires = None;
                continue;
            }
            info!(
                group = self.id,
                member = id,
                "removed: its session has expired"
            );
            self.remove(&id);
            if self.state() == State::PreparingRebalance {
                self.complete_if_all_joined(context);
            } else {
                self.settle("a member's session expired", context);
            }
        }
    }

    /// A rebalance that has waited long enough.
    fn expire_rebalance(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let step = context.limits.initial_rebalance_delay;
        let Phase::Preparing { deadline, first } = &mut self.phase else {
            return;
        };
        if *deadline > now {
            return;
        }
        if let Some(first) = first
            && first.grown
            && !first.remaining.is_zero()
        {
            first.grown = false;
            let longer = step.min(first.remaining);
            first.remaining = first.remaining.saturating_sub(longer);
            *deadline = now + longer;
            return;
        }
        self.complete_join(context);
    }

    /// Members that have joined but not synced in time.
    fn expire_syncs(&mut self, context: &mut Context<'_>) {
        let due = self.sync_deadline.is_some_and(|at| at <= context.now);
        if self.unsynced.is_empty() || !due || !self.awaits_syncs() {
            return;
        }
        for id in std::mem::take(&mut self.unsynced) {
            info!(
                group = self.id,
                member = id,
                "removed: did not sync in time"
            );
            self.remove(&id);
        }
        self.prepare_rebalance("members did not sync in time", context);
    }

    fn awaits_syncs(&self) -> bool {
        matches!(self.phase, Phase::Completing | Phase::Stable)
    }

    /// Whether it has held nothing for long.
    pub(super) fn is_forgotten(&self, context: &Context<'_>) -> bool {
        match self.phase {
            Phase::Empty { since: Some(since) } if self.holds_nothing() => {
                since + context.limits.empty_group_retention <= context.now
            }
            _ => false,
        }
    }

    /// When `tick` has something to do.
    pub(super) fn next_deadline(&self, limits: &Limits) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Empty { since } if self.holds_nothing() => {
                since.map(|since| since + limits.empty_group_retention)
            }
            Phase::Preparing { deadline, .. } => Some(*deadline),
            Phase::Completing | Phase::Stable if !self.unsynced.is_empty() => self.sync_deadline,
            Phase::Empty { .. } | Phase::Completing | Phase::Stable => None,
        };
        let members = self.members.values().filter_map(|member| member.expires);
        members
            .chain(self.pending.values().copied())
            .chain(phase)
            .min()
    }
}
