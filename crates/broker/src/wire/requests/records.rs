//! Requests about what moves records, and what says where they are.

use crate::wire::schema::{Field, bytes, int8, int16, int32, int32s, int64, many, one, text, uuid};

pub(super) const PRODUCE: &[Field] = &[
    text("transactional_id").or_null(),
    int16("acks"),
    int32("timeout_ms"),
    many(
        "topic_data",
        &[
            text("name").until(12),
            uuid("topic_id").since(13),
            many(
                "partition_data",
                &[int32("index"), bytes("records").or_null()],
            ),
        ],
    ),
];

pub(super) const FETCH: &[Field] = &[
    text("cluster_id").or_null().since(12).tagged(0),
    one(
        "replica_state",
        &[int32("replica_id"), int64("replica_epoch")],
    )
    .since(15)
    .tagged(1),
    int32("replica_id").until(14),
    int32("max_wait_ms"),
    int32("min_bytes"),
    int32("max_bytes"),
    int8("isolation_level"),
    int32("session_id").since(7),
    int32("session_epoch").since(7),
    many(
        "topics",
        &[
            text("topic").until(12),
            uuid("topic_id").since(13),
            many(
                "partitions",
                &[
                    int32("partition"),
                    int32("current_leader_epoch").since(9),
                    int64("fetch_offset"),
                    int32("last_fetched_epoch").since(12),
                    int64("log_start_offset").since(5),
                    int32("partition_max_bytes"),
                    uuid("replica_directory_id").since(17).tagged(0),
                    int64("high_watermark").since(18).tagged(1),
                ],
            ),
        ],
    ),
    many(
        "forgotten_topics_data",
        &[
            text("topic").until(12),
            uuid("topic_id").since(13),
            int32s("partitions"),
        ],
    )
    .since(7),
    text("rack_id").since(11),
];

pub(super) const LIST_OFFSETS: &[Field] = &[
    int32("replica_id"),
    int8("isolation_level").since(2),
    many(
        "topics",
        &[
            text("name"),
            many(
                "partitions",
                &[
                    int32("partition_index"),
                    int32("current_leader_epoch").since(4),
                    int64("timestamp"),
                ],
            ),
        ],
    ),
    int32("timeout_ms").since(10),
];

pub(super) const OFFSET_FOR_LEADER_EPOCH: &[Field] = &[
    int32("replica_id").since(3),
    many(
        "topics",
        &[
            text("topic"),
            many(
                "partitions",
                &[
                    int32("partition"),
                    int32("current_leader_epoch"),
                    int32("leader_epoch"),
                ],
            ),
        ],
    ),
];

pub(super) const DELETE_RECORDS: &[Field] = &[
    many(
        "topics",
        &[
            text("name"),
            many("partitions", &[int32("partition_index"), int64("offset")]),
        ],
    ),
    int32("timeout_ms"),
];

pub(super) const DESCRIBE_PRODUCERS: &[Field] =
    &[many("topics", &[text("name"), int32s("partition_indexes")])];
