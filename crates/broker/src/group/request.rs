//! What is asked of groups and what they answer.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

/// Counts the rebalances of a group; -1 where a client takes no part in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation(pub(crate) i32);

impl Generation {
    /// What a client sends that is no member.
    pub(crate) const NONE: Self = Self(-1);

    pub(super) fn is_none(self) -> bool {
        self.0 < 0
    }

    pub(super) fn next(self) -> Self {
        Self(self.0.checked_add(1).unwrap_or(1))
    }
}

/// Where a group stands; displayed as Kafka names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// No members; it may have offsets.
    Empty,
    /// Waits for its members to join.
    PreparingRebalance,
    /// Waits for the leader's assignment.
    CompletingRebalance,
    /// Every member has its assignment.
    Stable,
}

impl State {
    /// What Kafka calls a group that does not exist.
    pub(crate) const DEAD: &'static str = "Dead";

    /// Kafka's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A way of assigning that a member supports, such as `range`, and what it says to the leader by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Protocol {
    /// Name.
    pub(crate) name: String,
    /// For the leader; the broker does not read it, except for the topics of consumers.
    pub(crate) metadata: Bytes,
}

/// A `JoinGroup` request. What it holds must be its own: a slice of a frame would keep the frame.
#[derive(Debug, Clone)]
pub(crate) struct Join {
    /// Group id.
    pub(crate) group: String,
    /// Member id; empty if it has none yet.
    pub(crate) member: String,
    /// `group.instance.id` of a static member.
    pub(crate) instance: Option<String>,
    /// What the client calls itself.
    pub(crate) client_id: String,
    /// Where it comes from.
    pub(crate) client_host: String,
    /// Silence after which it is taken for dead.
    pub(crate) session_timeout: Duration,
    /// How long it may take to join again when the group rebalances.
    pub(crate) rebalance_timeout: Duration,
    /// `consumer`, `connect` or whatever else.
    pub(crate) protocol_type: String,
    /// What it supports, by preference.
    pub(crate) protocols: Vec<Protocol>,
    /// Whether a member without an id is given one and sent back first (version 4 on).
    pub(crate) id_required: bool,
    /// Whether a returning leader can be told to keep the assignment (version 9 on).
    pub(crate) can_skip_assignment: bool,
    /// Why it joins, in its own words.
    pub(crate) reason: Option<String>,
}

/// A member's place in a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joined {
    /// The member's id from now on.
    pub(crate) member: String,
    /// The group's generation.
    pub(crate) generation: Generation,
    /// `consumer`, `connect` or whatever else.
    pub(crate) protocol_type: Option<String>,
    /// The protocol that was voted for.
    pub(crate) protocol: Option<String>,
    /// The leader's member id.
    pub(crate) leader: String,
    /// The leader need not assign: the assignment stands.
    pub(crate) skip_assignment: bool,
    /// All members, for the leader only.
    pub(crate) members: Vec<JoinedMember>,
}

/// A member, as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinedMember {
    /// Member id.
    pub(crate) member: String,
    /// `group.instance.id` of a static member.
    pub(crate) instance: Option<String>,
    /// What it said for the protocol that was chosen.
    pub(crate) metadata: Bytes,
}

/// Who a request claims to come from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'a> {
    /// Group id.
    pub(crate) group: &'a str,
    /// Member id.
    pub(crate) member: &'a str,
    /// `group.instance.id` of a static member.
    pub(crate) instance: Option<&'a str>,
    /// The generation it believes in.
    pub(crate) generation: Generation,
}

/// What a `SyncGroup` request says besides who it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sync {
    /// The protocol type that the member believes in, if it says so.
    pub(crate) protocol_type: Option<String>,
    /// The protocol that the member believes in, if it says so.
    pub(crate) protocol: Option<String>,
    /// The leader's assignment, by member id.
    pub(crate) assignments: Vec<(String, Bytes)>,
}

/// A member's assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Synced {
    /// `consumer`, `connect` or whatever else.
    pub(crate) protocol_type: Option<String>,
    /// The protocol that was voted for.
    pub(crate) protocol: Option<String>,
    /// The assignment; empty if the leader had none for the member.
    pub(crate) assignment: Bytes,
}

/// Who is to leave: a member by its id, or a static member by its instance id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leaver {
    /// Member id; empty if the instance id says it.
    pub(crate) member: String,
    /// `group.instance.id`.
    pub(crate) instance: Option<String>,
    /// Why, in its own words.
    pub(crate) reason: Option<String>,
}

/// What there is to know of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    /// Where it stands.
    pub(crate) state: State,
    /// `consumer` or whatever else; empty if it only stores offsets.
    pub(crate) protocol_type: String,
    /// The protocol in use; empty unless the group is stable.
    pub(crate) protocol: String,
    /// Its members.
    pub(crate) members: Vec<MemberDescription>,
}

/// What there is to know of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberDescription {
    /// Member id.
    pub(crate) member: String,
    /// `group.instance.id` of a static member.
    pub(crate) instance: Option<String>,
    /// What the client calls itself.
    pub(crate) client_id: String,
    /// Where it comes from.
    pub(crate) client_host: String,
    /// What it said for the protocol in use; empty unless the group is stable.
    pub(crate) metadata: Bytes,
    /// Its assignment; empty unless the group is stable.
    pub(crate) assignment: Bytes,
}
