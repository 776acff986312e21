//! How members join a group: as new ones, again, or in the place of one that has restarted.

use tracing::debug;

use super::limits::Limits;
use super::member::{JoinReply, Member};
use super::membership::{Context, Group, Phase};
use super::{GroupError, Join, JoinRefused, Joined, Protocol, State};

impl Group {
    /// The member that a join is from, or takes the place of.
    pub(super) fn holder<'a>(&'a self, join: &'a Join) -> Option<&'a str> {
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
            self.replace_static(&old, &id, join, reply, context);
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
        new: &str,
        join: Join,
        reply: JoinReply,
        context: &mut Context<'_>,
    ) {
        let Some(mut member) = self.members.remove(old) else {
            return;
        };
        debug!(
            group = self.id,
            member = new,
            old,
            "a static member takes its place again"
        );
        member.refuse_join(old, GroupError::FencedInstance);
        member.answer_sync(Err(GroupError::FencedInstance));
        let old_leader = self.leader.clone().unwrap_or_default();
        if old_leader == old {
            self.leader = Some(new.to_owned());
        }
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), new.to_owned());
        }
        self.unsynced.remove(old);
        let can_skip_assignment = join.can_skip_assignment;
        let reason = reason_of("a static member restarted", new, join.reason.as_deref());
        member.update(join, reply, new);
        member.heard(context.now);
        self.members.insert(new.to_owned(), member);
        if self.state() == State::Stable && self.vote() == self.protocol {
            // The old assignment is good for the new process; nobody else need notice.
            let leads = self.leader.as_deref() == Some(new);
            let mut joined = self.joined(new, leads && can_skip_assignment);
            if can_skip_assignment {
                joined.skip_assignment = leads;
            } else {
                // A leader of before version 9 would assign anew, to nobody's notice: by the old
                // leader's id it does not know that it leads.
                joined.leader = old_leader;
            }
            if let Some(member) = self.members.get_mut(new) {
                member.is_new = false;
                member.answer_join(Ok(joined));
            }
        } else {
            // While the leader assigns, its assignment would name the old id.
            self.settle(&reason, context);
        }
    }
}

/// Why a group rebalances, for the log.
fn reason_of(what: &str, member: &str, client_reason: Option<&str>) -> String {
    let client_reason = client_reason.unwrap_or("not provided");
    format!("{what}: {member}; client reason: {client_reason}")
}
