//! `ApiVersions`: what a client may ask for.

use bytes::BytesMut;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};

use super::{Context, OFFERED, RequestError, encode};
use crate::core::Core;

fn offered() -> Vec<ApiVersion> {
    OFFERED
        .iter()
        .map(|(key, least, greatest)| {
            ApiVersion::default()
                .with_api_key(*key as i16)
                .with_min_version(*least)
                .with_max_version(*greatest)
        })
        .collect()
}

/// The table of [`OFFERED`]. No features: clients then use the transaction protocol of Kafka 3.
pub(crate) fn api_versions(
    _core: &Core,
    _request: ApiVersionsRequest,
    _context: &Context,
) -> ApiVersionsResponse {
    ApiVersionsResponse::default().with_api_keys(offered())
}

/// To a version we do not know: the error and the table, in the version that every client reads.
pub(crate) fn unsupported(correlation_id: i32) -> Result<BytesMut, RequestError> {
    let response = ApiVersionsResponse::default()
        .with_error_code(ResponseError::UnsupportedVersion.code())
        .with_api_keys(offered());
    encode(&response, ApiKey::ApiVersions, 0, correlation_id)
}
