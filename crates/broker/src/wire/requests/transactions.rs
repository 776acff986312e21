//! Requests about transactions.

use crate::wire::schema::{Field, boolean, int16, int32, int32s, int64, int64s, many, text, texts};

pub(super) const INIT_PRODUCER_ID: &[Field] = &[
    text("transactional_id").or_null(),
    int32("transaction_timeout_ms"),
    int64("producer_id").since(3),
    int16("producer_epoch").since(3),
];

pub(super) const ADD_PARTITIONS_TO_TXN: &[Field] = &[
    many(
        "transactions",
        &[
            text("transactional_id"),
            int64("producer_id"),
            int16("producer_epoch"),
            boolean("verify_only"),
            many("topics", &[text("name"), int32s("partitions")]),
        ],
    )
    .since(4),
    text("v3_and_below_transactional_id").until(3),
    int64("v3_and_below_producer_id").until(3),
    int16("v3_and_below_producer_epoch").until(3),
    many("v3_and_below_topics", &[text("name"), int32s("partitions")]).until(3),
];

pub(super) const ADD_OFFSETS_TO_TXN: &[Field] = &[
    text("transactional_id"),
    int64("producer_id"),
    int16("producer_epoch"),
    text("group_id"),
];

pub(super) const TXN_OFFSET_COMMIT: &[Field] = &[
    text("transactional_id"),
    text("group_id"),
    int64("producer_id"),
    int16("producer_epoch"),
    int32("generation_id").since(3),
    text("member_id").since(3),
    text("group_instance_id").or_null().since(3),
    many(
        "topics",
        &[
            text("name"),
            many(
                "partitions",
                &[
                    int32("partition_index"),
                    int64("committed_offset"),
                    int32("committed_leader_epoch").since(2),
                    text("committed_metadata").or_null(),
                ],
            ),
        ],
    ),
];

pub(super) const END_TXN: &[Field] = &[
    text("transactional_id"),
    int64("producer_id"),
    int16("producer_epoch"),
    boolean("committed"),
];

pub(super) const WRITE_TXN_MARKERS: &[Field] = &[many(
    "markers",
    &[
        int64("producer_id"),
        int16("producer_epoch"),
        boolean("transaction_result"),
        many("topics", &[text("name"), int32s("partition_indexes")]),
        int32("coordinator_epoch"),
    ],
)];

pub(super) const LIST_TRANSACTIONS: &[Field] = &[
    texts("state_filters"),
    int64s("producer_id_filters"),
    int64("duration_filter").since(1),
    text("transactional_id_pattern").or_null().since(2),
];

pub(super) const DESCRIBE_TRANSACTIONS: &[Field] = &[texts("transactional_ids")];
