//! Why a request to a group was refused: each variant is one of Kafka's error codes.

use kafka_protocol::ResponseError;

/// Why a request to a group was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GroupError {
    /// The group id is empty where it must not be, or too long.
    #[error("the group id is empty or too long")]
    InvalidGroupId,
    /// The session timeout is outside of what the broker allows.
    #[error("the session timeout is outside of what the broker allows")]
    InvalidSessionTimeout,
    /// An instance id or member id is too long.
    #[error("an id in the request is too long")]
    InvalidRequest,
    /// The member is not, or not any more, in the group: it joins as a new one.
    #[error("the group has no such member; join again without a member id")]
    UnknownMember,
    /// The member's generation has passed: it joins again.
    #[error("the generation is not the group's current one; join again")]
    IllegalGeneration,
    /// The member supports no protocol that all others support, or is of another type.
    #[error("no protocol is supported by all members")]
    InconsistentProtocol,
    /// The group is rebalancing: the member joins again.
    #[error("the group is rebalancing; join again")]
    RebalanceInProgress,
    /// Another process has taken over the static member: this one ends.
    #[error("another process uses the same group.instance.id")]
    FencedInstance,
    /// The member joins again with the id it was just given.
    #[error("join again with the member id that was assigned")]
    MemberIdRequired,
    /// The group, or the broker, holds as many members, or bytes of theirs, as it may.
    #[error("the group has reached its maximum size")]
    GroupFull,
    /// The leader's assignment is larger than a group may be.
    #[error("the assignment is larger than a group may be")]
    AssignmentTooLarge,
    /// The group has members, and so can't be changed from outside.
    #[error("the group is not empty")]
    NonEmptyGroup,
    /// There is no such group.
    #[error("the group does not exist")]
    GroupNotFound,
    /// Members of the group read the topic, so its offsets can't be deleted.
    #[error("members of the group are subscribed to the topic")]
    SubscribedToTopic,
    /// The text beside an offset is too long.
    #[error("the metadata beside the offset is too long")]
    OffsetMetadataTooLarge,
    /// The broker holds as many offsets as it may.
    #[error("the broker holds as many offsets as it may")]
    TooManyOffsets,
    /// The offset is part of a transaction that is still open.
    #[error("a transaction that is still open has an offset for the partition")]
    UnstableOffset,
    /// The journal did not take the change, so it was not made.
    #[error("the change could not be written to the journal")]
    NotKept,
}

impl GroupError {
    /// Kafka's code for it.
    pub(crate) fn code(self) -> i16 {
        let error = match self {
            Self::InvalidGroupId => ResponseError::InvalidGroupId,
            Self::InvalidSessionTimeout => ResponseError::InvalidSessionTimeout,
            Self::InvalidRequest => ResponseError::InvalidRequest,
            Self::UnknownMember => ResponseError::UnknownMemberId,
            Self::IllegalGeneration => ResponseError::IllegalGeneration,
            Self::InconsistentProtocol => ResponseError::InconsistentGroupProtocol,
            Self::RebalanceInProgress => ResponseError::RebalanceInProgress,
            Self::FencedInstance => ResponseError::FencedInstanceId,
            Self::MemberIdRequired => ResponseError::MemberIdRequired,
            Self::GroupFull => ResponseError::GroupMaxSizeReached,
            Self::AssignmentTooLarge => ResponseError::UnknownServerError,
            Self::NonEmptyGroup => ResponseError::NonEmptyGroup,
            Self::GroupNotFound => ResponseError::GroupIdNotFound,
            Self::SubscribedToTopic => ResponseError::GroupSubscribedToTopic,
            Self::OffsetMetadataTooLarge => ResponseError::OffsetMetadataTooLarge,
            Self::TooManyOffsets => ResponseError::InvalidCommitOffsetSize,
            Self::UnstableOffset => ResponseError::UnstableOffsetCommit,
            Self::NotKept => ResponseError::CoordinatorNotAvailable,
        };
        error.code()
    }
}

/// A join that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub(crate) struct JoinRefused {
    /// Why.
    pub(crate) error: GroupError,
    /// The member id that goes with the answer: the one to use from now on if the error is
    /// [`GroupError::MemberIdRequired`], else the one that came with the request, or none.
    pub(crate) member: String,
}

impl JoinRefused {
    pub(super) fn new(member: &str, error: GroupError) -> Self {
        Self {
            error,
            member: member.to_owned(),
        }
    }
}

/// The journal did not take an entry. Whoever writes the journal reports why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal did not take the entry")]
pub(crate) struct NotKept;

impl From<NotKept> for GroupError {
    fn from(_: NotKept) -> Self {
        Self::NotKept
    }
}
