//! What each request consists of, by Kafka's message definitions
//! (`clients/src/main/resources/common/message/*Request.json`).
//!
//! Every version that `kafka-protocol` decodes is here, whether or not the broker offers it; the
//! tests hold the table against that decoder.

mod cluster;
mod groups;
mod records;
mod transactions;

use super::schema::{Field, Request};

/// `request(key, name, first version, last version, first flexible version, fields)`.
const fn request(
    key: i16,
    name: &'static str,
    first: i16,
    last: i16,
    flexible: i16,
    fields: &'static [Field],
) -> Request {
    Request {
        key,
        name,
        first,
        last,
        flexible,
        fields,
    }
}

/// A first flexible version that no version reaches.
const NEVER: i16 = i16::MAX;

/// What is known of the request with the number `key`.
pub(super) fn find(key: i16) -> Option<&'static Request> {
    REQUESTS.iter().find(|request| request.key == key)
}

/// The requests, by number.
#[rustfmt::skip]
pub(super) static REQUESTS: &[Request] = &[
    //      key name                          first, last, flexible
    request(0,  "Produce",                    3, 13, 9,     records::PRODUCE),
    request(1,  "Fetch",                      4, 18, 12,    records::FETCH),
    request(2,  "ListOffsets",                1, 10, 6,     records::LIST_OFFSETS),
    request(3,  "Metadata",                   0, 13, 9,     cluster::METADATA),
    request(8,  "OffsetCommit",               2, 9,  8,     groups::OFFSET_COMMIT),
    request(9,  "OffsetFetch",                1, 9,  6,     groups::OFFSET_FETCH),
    request(10, "FindCoordinator",            0, 6,  3,     groups::FIND_COORDINATOR),
    request(11, "JoinGroup",                  0, 9,  6,     groups::JOIN_GROUP),
    request(12, "Heartbeat",                  0, 4,  4,     groups::HEARTBEAT),
    request(13, "LeaveGroup",                 0, 5,  4,     groups::LEAVE_GROUP),
    request(14, "SyncGroup",                  0, 5,  4,     groups::SYNC_GROUP),
    request(15, "DescribeGroups",             0, 6,  5,     groups::DESCRIBE_GROUPS),
    request(16, "ListGroups",                 0, 5,  3,     groups::LIST_GROUPS),
    request(18, "ApiVersions",                0, 4,  3,     cluster::API_VERSIONS),
    request(19, "CreateTopics",               2, 7,  5,     cluster::CREATE_TOPICS),
    request(20, "DeleteTopics",               1, 6,  4,     cluster::DELETE_TOPICS),
    request(21, "DeleteRecords",              0, 2,  2,     records::DELETE_RECORDS),
    request(22, "InitProducerId",             0, 5,  2,     transactions::INIT_PRODUCER_ID),
    request(23, "OffsetForLeaderEpoch",       2, 4,  4,     records::OFFSET_FOR_LEADER_EPOCH),
    request(24, "AddPartitionsToTxn",         0, 5,  3,     transactions::ADD_PARTITIONS_TO_TXN),
    request(25, "AddOffsetsToTxn",            0, 4,  3,     transactions::ADD_OFFSETS_TO_TXN),
    request(26, "EndTxn",                     0, 5,  3,     transactions::END_TXN),
    request(27, "WriteTxnMarkers",            1, 1,  1,     transactions::WRITE_TXN_MARKERS),
    request(28, "TxnOffsetCommit",            0, 5,  3,     transactions::TXN_OFFSET_COMMIT),
    request(29, "DescribeAcls",               1, 3,  2,     cluster::DESCRIBE_ACLS),
    request(32, "DescribeConfigs",            1, 4,  4,     cluster::DESCRIBE_CONFIGS),
    request(33, "AlterConfigs",               0, 2,  2,     cluster::ALTER_CONFIGS),
    request(35, "DescribeLogDirs",            1, 4,  2,     cluster::DESCRIBE_LOG_DIRS),
    request(37, "CreatePartitions",           0, 3,  2,     cluster::CREATE_PARTITIONS),
    request(42, "DeleteGroups",               0, 2,  2,     groups::DELETE_GROUPS),
    request(44, "IncrementalAlterConfigs",    0, 1,  1,     cluster::INCREMENTAL_ALTER_CONFIGS),
    request(46, "ListPartitionReassignments", 0, 0,  0,     cluster::LIST_PARTITION_REASSIGNMENTS),
    request(47, "OffsetDelete",               0, 0,  NEVER, groups::OFFSET_DELETE),
    request(60, "DescribeCluster",            0, 2,  0,     cluster::DESCRIBE_CLUSTER),
    request(61, "DescribeProducers",          0, 0,  0,     records::DESCRIBE_PRODUCERS),
    request(65, "DescribeTransactions",       0, 0,  0,     transactions::DESCRIBE_TRANSACTIONS),
    request(66, "ListTransactions",           0, 2,  0,     transactions::LIST_TRANSACTIONS),
    request(75, "DescribeTopicPartitions",    0, 0,  0,     cluster::DESCRIBE_TOPIC_PARTITIONS),
];
