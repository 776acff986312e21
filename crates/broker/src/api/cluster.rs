//! Requests about the cluster, which is one node: who coordinates, who is there.

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{
    BrokerId, DescribeClusterRequest, DescribeClusterResponse, FindCoordinatorRequest,
    FindCoordinatorResponse,
};

use super::{Context, NODE_ID, text};
use crate::core::Core;

/// What a response says of permissions that nobody asked about.
pub(crate) const NOT_ASKED: i32 = i32::MIN;
/// First version that asks for several coordinators at once.
const BATCHED: i16 = 4;

/// This node coordinates everything.
pub(crate) fn find_coordinator(
    _core: &Core,
    request: FindCoordinatorRequest,
    context: &Context,
) -> FindCoordinatorResponse {
    let (host, port) = context.advertised();
    if context.version < BATCHED {
        return FindCoordinatorResponse::default()
            .with_node_id(BrokerId(NODE_ID))
            .with_host(text(host))
            .with_port(port);
    }
    FindCoordinatorResponse::default().with_coordinators(
        request
            .coordinator_keys
            .into_iter()
            .map(|key| {
                Coordinator::default()
                    .with_key(key)
                    .with_node_id(BrokerId(NODE_ID))
                    .with_host(text(host.clone()))
                    .with_port(port)
            })
            .collect(),
    )
}

/// One node, which is also the controller.
pub(crate) fn describe_cluster(
    core: &Core,
    _request: DescribeClusterRequest,
    context: &Context,
) -> DescribeClusterResponse {
    let (host, port) = context.advertised();
    DescribeClusterResponse::default()
        .with_cluster_id(text(core.cluster_id.clone()))
        .with_controller_id(BrokerId(NODE_ID))
        .with_cluster_authorized_operations(NOT_ASKED)
        .with_brokers(vec![
            DescribeClusterBroker::default()
                .with_broker_id(BrokerId(NODE_ID))
                .with_host(text(host))
                .with_port(port),
        ])
}
