//! Any request by its number, for tests and fuzz targets: the broker itself knows which it handles.

use std::fmt::Debug;

use bytes::Bytes;
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AlterConfigsRequest, ApiVersionsRequest,
    CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest, DeleteRecordsRequest,
    DeleteTopicsRequest, DescribeAclsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeGroupsRequest, DescribeLogDirsRequest, DescribeProducersRequest,
    DescribeTopicPartitionsRequest, DescribeTransactionsRequest, EndTxnRequest, FetchRequest,
    FindCoordinatorRequest, HeartbeatRequest, IncrementalAlterConfigsRequest,
    InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest,
    ListOffsetsRequest, ListPartitionReassignmentsRequest, ListTransactionsRequest,
    MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
    OffsetForLeaderEpochRequest, ProduceRequest, SyncGroupRequest, TxnOffsetCommitRequest,
    WriteTxnMarkersRequest,
};
use kafka_protocol::protocol::Request;

/// What to do with a request's type.
pub(crate) trait Visitor {
    /// What comes of it.
    type Output;

    /// Does it.
    fn visit<R: Request + PartialEq + Debug>(self) -> Self::Output;
}

macro_rules! visit {
    ($key:ident, $visitor:ident, [$($request:ident),* $(,)?]) => {
        match $key {
            $($request::KEY => Some($visitor.visit::<$request>()),)*
            _ => None,
        }
    };
}

/// Visits the type of the request with this number.
pub(crate) fn visit<V: Visitor>(api_key: i16, visitor: V) -> Option<V::Output> {
    visit!(
        api_key,
        visitor,
        [
            AddOffsetsToTxnRequest,
            AddPartitionsToTxnRequest,
            AlterConfigsRequest,
            ApiVersionsRequest,
            CreatePartitionsRequest,
            CreateTopicsRequest,
            DeleteGroupsRequest,
            DeleteRecordsRequest,
            DeleteTopicsRequest,
            DescribeAclsRequest,
            DescribeClusterRequest,
            DescribeConfigsRequest,
            DescribeGroupsRequest,
            DescribeLogDirsRequest,
            DescribeProducersRequest,
            DescribeTopicPartitionsRequest,
            DescribeTransactionsRequest,
            EndTxnRequest,
            FetchRequest,
            FindCoordinatorRequest,
            HeartbeatRequest,
            IncrementalAlterConfigsRequest,
            InitProducerIdRequest,
            JoinGroupRequest,
            LeaveGroupRequest,
            ListGroupsRequest,
            ListOffsetsRequest,
            ListPartitionReassignmentsRequest,
            ListTransactionsRequest,
            MetadataRequest,
            OffsetCommitRequest,
            OffsetDeleteRequest,
            OffsetFetchRequest,
            OffsetForLeaderEpochRequest,
            ProduceRequest,
            SyncGroupRequest,
            TxnOffsetCommitRequest,
            WriteTxnMarkersRequest,
        ]
    )
}

/// How decoding a body ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// It is a request, and so many bytes follow it.
    Request(usize),
    /// One of its texts is not UTF-8.
    NotUtf8,
    /// It is none.
    Refused(String),
}

/// Decodes `body`, which [`check`](super::check) has accepted, as a request of this number.
pub(crate) fn decode(api_key: i16, version: i16, body: Bytes) -> Option<Decoded> {
    struct Decode(i16, Bytes);

    impl Visitor for Decode {
        type Output = Decoded;

        fn visit<R: Request + PartialEq + Debug>(self) -> Decoded {
            let Self(version, mut body) = self;
            match R::decode(&mut body, version) {
                Ok(_) => Decoded::Request(body.len()),
                Err(error) if error.is::<std::str::Utf8Error>() => Decoded::NotUtf8,
                Err(error) => Decoded::Refused(error.to_string()),
            }
        }
    }

    visit(api_key, Decode(version, body))
}
