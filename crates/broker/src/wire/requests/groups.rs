//! Requests about consumer groups and their offsets.

use crate::wire::schema::{Field, boolean, bytes, int8, int32, int32s, int64, many, text, texts};

pub(super) const FIND_COORDINATOR: &[Field] = &[
    text("key").until(3),
    int8("key_type").since(1),
    texts("coordinator_keys").since(4),
];

pub(super) const JOIN_GROUP: &[Field] = &[
    text("group_id"),
    int32("session_timeout_ms"),
    int32("rebalance_timeout_ms").since(1),
    text("member_id"),
    text("group_instance_id").or_null().since(5),
    text("protocol_type"),
    many("protocols", &[text("name"), bytes("metadata")]),
    text("reason").or_null().since(8),
];

pub(super) const SYNC_GROUP: &[Field] = &[
    text("group_id"),
    int32("generation_id"),
    text("member_id"),
    text("group_instance_id").or_null().since(3),
    text("protocol_type").or_null().since(5),
    text("protocol_name").or_null().since(5),
    many("assignments", &[text("member_id"), bytes("assignment")]),
];

pub(super) const HEARTBEAT: &[Field] = &[
    text("group_id"),
    int32("generation_id"),
    text("member_id"),
    text("group_instance_id").or_null().since(3),
];

pub(super) const LEAVE_GROUP: &[Field] = &[
    text("group_id"),
    text("member_id").until(2),
    many(
        "members",
        &[
            text("member_id"),
            text("group_instance_id").or_null(),
            text("reason").or_null().since(5),
        ],
    )
    .since(3),
];

pub(super) const OFFSET_COMMIT: &[Field] = &[
    text("group_id"),
    int32("generation_id_or_member_epoch"),
    text("member_id"),
    text("group_instance_id").or_null().since(7),
    int64("retention_time_ms").until(4),
    many(
        "topics",
        &[
            text("name"),
            many(
                "partitions",
                &[
                    int32("partition_index"),
                    int64("committed_offset"),
                    int32("committed_leader_epoch").since(6),
                    text("committed_metadata").or_null(),
                ],
            ),
        ],
    ),
];

pub(super) const OFFSET_FETCH: &[Field] = &[
    text("group_id").until(7),
    many("topics", &[text("name"), int32s("partition_indexes")])
        .or_null()
        .until(7),
    many(
        "groups",
        &[
            text("group_id"),
            text("member_id").or_null().since(9),
            int32("member_epoch").since(9),
            many("topics", &[text("name"), int32s("partition_indexes")]).or_null(),
        ],
    )
    .since(8),
    boolean("require_stable").since(7),
];

pub(super) const OFFSET_DELETE: &[Field] = &[
    text("group_id"),
    many(
        "topics",
        &[
            text("name"),
            many("partitions", &[int32("partition_index")]),
        ],
    ),
];

pub(super) const LIST_GROUPS: &[Field] = &[
    texts("states_filter").since(4),
    texts("types_filter").since(5),
];

pub(super) const DESCRIBE_GROUPS: &[Field] = &[
    texts("groups"),
    boolean("include_authorized_operations").since(3),
];

pub(super) const DELETE_GROUPS: &[Field] = &[texts("groups_names")];
