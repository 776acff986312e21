//! Requests about the cluster, its topics and their configuration.

use crate::wire::schema::{
    Field, boolean, int8, int16, int32, int32s, many, maybe, text, texts, uuid,
};

pub(super) const API_VERSIONS: &[Field] = &[
    text("client_software_name").since(3),
    text("client_software_version").since(3),
];

pub(super) const METADATA: &[Field] = &[
    many(
        "topics",
        &[uuid("topic_id").since(10), text("name").or_null()],
    )
    .or_null(),
    boolean("allow_auto_topic_creation").since(4),
    boolean("include_cluster_authorized_operations")
        .since(8)
        .until(10),
    boolean("include_topic_authorized_operations").since(8),
];

pub(super) const DESCRIBE_CLUSTER: &[Field] = &[
    boolean("include_cluster_authorized_operations"),
    int8("endpoint_type").since(1),
    boolean("include_fenced_brokers").since(2),
];

pub(super) const DESCRIBE_TOPIC_PARTITIONS: &[Field] = &[
    many("topics", &[text("name")]),
    int32("response_partition_limit"),
    maybe("cursor", &[text("topic_name"), int32("partition_index")]).or_null(),
];

pub(super) const CREATE_TOPICS: &[Field] = &[
    many(
        "topics",
        &[
            text("name"),
            int32("num_partitions"),
            int16("replication_factor"),
            many(
                "assignments",
                &[int32("partition_index"), int32s("broker_ids")],
            ),
            many("configs", &[text("name"), text("value").or_null()]),
        ],
    ),
    int32("timeout_ms"),
    boolean("validate_only"),
];

pub(super) const DELETE_TOPICS: &[Field] = &[
    many("topics", &[text("name").or_null(), uuid("topic_id")]).since(6),
    texts("topic_names").until(5),
    int32("timeout_ms"),
];

pub(super) const CREATE_PARTITIONS: &[Field] = &[
    many(
        "topics",
        &[
            text("name"),
            int32("count"),
            many("assignments", &[int32s("broker_ids")]).or_null(),
        ],
    ),
    int32("timeout_ms"),
    boolean("validate_only"),
];

pub(super) const LIST_PARTITION_REASSIGNMENTS: &[Field] = &[
    int32("timeout_ms"),
    many("topics", &[text("name"), int32s("partition_indexes")]).or_null(),
];

pub(super) const DESCRIBE_CONFIGS: &[Field] = &[
    many(
        "resources",
        &[
            int8("resource_type"),
            text("resource_name"),
            texts("configuration_keys").or_null(),
        ],
    ),
    boolean("include_synonyms"),
    boolean("include_documentation").since(3),
];

pub(super) const ALTER_CONFIGS: &[Field] = &[
    many(
        "resources",
        &[
            int8("resource_type"),
            text("resource_name"),
            many("configs", &[text("name"), text("value").or_null()]),
        ],
    ),
    boolean("validate_only"),
];

pub(super) const INCREMENTAL_ALTER_CONFIGS: &[Field] = &[
    many(
        "resources",
        &[
            int8("resource_type"),
            text("resource_name"),
            many(
                "configs",
                &[
                    text("name"),
                    int8("config_operation"),
                    text("value").or_null(),
                ],
            ),
        ],
    ),
    boolean("validate_only"),
];

pub(super) const DESCRIBE_LOG_DIRS: &[Field] =
    &[many("topics", &[text("topic"), int32s("partitions")]).or_null()];

pub(super) const DESCRIBE_ACLS: &[Field] = &[
    int8("resource_type_filter"),
    text("resource_name_filter").or_null(),
    int8("pattern_type_filter"),
    text("principal_filter").or_null(),
    text("host_filter").or_null(),
    int8("operation"),
    int8("permission_type"),
];
