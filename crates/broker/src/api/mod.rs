//! The requests that the broker answers: one handler each.
//!
//! A handler is `fn name(core: &Core, request: XRequest, context: &Context) -> XResponse` (`async` where
//! it waits). It answers errors in the response's own fields. `kafka-protocol` refuses to encode a field
//! that the negotiated version does not have and that is not at its default: handlers look at
//! [`Context::version`] where that matters.
//!
//! [`OFFERED`] says which versions clients may use. It stops where a later version would promise
//! something that this broker does not do: fetching by topic id, transactions without
//! `AddPartitionsToTxn`, the newer group protocol.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use crate::core::Core;
use crate::memory::Paid;
use crate::units::Now;
use crate::wire::{self, WireError};

mod cluster;
mod configs;
mod fetch;
mod group_offsets;
mod groups;
mod host;
mod list_offsets;
mod metadata;
mod produce;
mod records;
mod topics;
mod transactions;
mod versions;

pub(crate) use fetch::RESPONSE_BUDGET_BYTES;

/// The only node's id.
pub(crate) const NODE_ID: i32 = 1;
/// Every partition's leader epoch: the leader never changes.
pub(crate) const LEADER_EPOCH: i32 = 0;

/// What a handler knows of a request besides its body.
#[derive(Debug)]
pub(crate) struct Context {
    /// Version of the request, which is the version of the response.
    pub(crate) version: i16,
    /// What the client calls itself.
    pub(crate) client_id: String,
    /// Where it comes from.
    pub(crate) peer: SocketAddr,
    /// The address at which it has reached us.
    pub(crate) local: SocketAddr,
    /// When the request was taken up.
    pub(crate) now: Now,
}

impl Context {
    /// Where the client will find us again: where it has just done so.
    fn advertised(&self) -> (String, i32) {
        (self.local.ip().to_string(), i32::from(self.local.port()))
    }
}

/// Why a connection is closed instead of answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The bytes are no request.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A request that is not offered, or not in this version. A client that asked for the versions
    /// first does not send it.
    #[error("request {key} version {version} is not offered")]
    NotOffered {
        /// The request's number.
        key: i16,
        /// The version asked for.
        version: i16,
    },
    /// The body is not what its key and version say.
    #[error("request {key:?} version {version} does not decode: {reason}")]
    Malformed {
        /// Which request.
        key: ApiKey,
        /// Its version.
        version: i16,
        /// What the decoder said.
        reason: String,
    },
    /// A handler set a field that the version does not have: a mistake of ours.
    #[error("the answer to {key:?} version {version} does not encode: {reason}")]
    Answer {
        /// Which request.
        key: ApiKey,
        /// Its version.
        version: i16,
        /// What the encoder said.
        reason: String,
    },
}

/// The requests that are answered, with their least and greatest version.
pub(crate) const OFFERED: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 3, 11),
    (ApiKey::Fetch, 4, 12),
    (ApiKey::ListOffsets, 1, 8),
    (ApiKey::Metadata, 0, 12),
    (ApiKey::OffsetCommit, 2, 9),
    (ApiKey::OffsetFetch, 1, 9),
    (ApiKey::FindCoordinator, 0, 5),
    (ApiKey::JoinGroup, 2, 9),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::LeaveGroup, 0, 5),
    (ApiKey::SyncGroup, 1, 5),
    (ApiKey::DescribeGroups, 0, 6),
    (ApiKey::ListGroups, 0, 5),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 6),
    (ApiKey::DeleteRecords, 0, 2),
    (ApiKey::InitProducerId, 0, 4),
    (ApiKey::AddPartitionsToTxn, 0, 3),
    (ApiKey::AddOffsetsToTxn, 0, 3),
    (ApiKey::EndTxn, 0, 3),
    (ApiKey::WriteTxnMarkers, 1, 1),
    (ApiKey::TxnOffsetCommit, 0, 3),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::AlterConfigs, 0, 2),
    (ApiKey::CreatePartitions, 0, 3),
    (ApiKey::DeleteGroups, 0, 2),
    (ApiKey::IncrementalAlterConfigs, 0, 1),
    (ApiKey::OffsetDelete, 0, 0),
    (ApiKey::DescribeCluster, 0, 1),
    (ApiKey::DescribeProducers, 0, 0),
    (ApiKey::DescribeTransactions, 0, 0),
    (ApiKey::ListTransactions, 0, 1),
];

/// Both ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    /// The client's.
    pub(crate) peer: SocketAddr,
    /// Ours.
    pub(crate) local: SocketAddr,
}

/// A response as it goes over the wire.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its bytes, the length first.
    pub(crate) bytes: BytesMut,
    /// What pays for records in it until the client has read it.
    pub(crate) paid: Option<Paid>,
}

impl From<BytesMut> for Answer {
    fn from(bytes: BytesMut) -> Self {
        Self { bytes, paid: None }
    }
}

/// A request on its way to its handler.
struct Call<'a> {
    key: ApiKey,
    correlation_id: i32,
    body: Bytes,
    core: &'a Core,
    context: Context,
}

/// Answers the request in `frame` (without its length): the response with its length, or nothing if the
/// request wants no answer.
pub(crate) async fn answer(
    core: &Core,
    frame: Bytes,
    ends: Ends,
    now: Now,
) -> Result<Option<Answer>, RequestError> {
    let header = wire::header(&frame)?;
    let not_offered = RequestError::NotOffered {
        key: header.api_key,
        version: header.version,
    };
    let Some(&(key, least, greatest)) = OFFERED
        .iter()
        .find(|(key, ..)| *key as i16 == header.api_key)
    else {
        return Err(not_offered);
    };
    if !(least..=greatest).contains(&header.version) {
        // The one request that a client sends before it knows the versions.
        if key == ApiKey::ApiVersions {
            return versions::unsupported(header.correlation_id)
                .map(Answer::from)
                .map(Some);
        }
        return Err(not_offered);
    }
    let client_id = header.client_id.unwrap_or_default().to_owned();
    let (version, correlation_id) = (header.version, header.correlation_id);
    let body = frame.slice(header.body_offset..);
    wire::check(header.api_key, version, &body)?;
    let call = Call {
        key,
        correlation_id,
        body,
        core,
        context: Context {
            version,
            client_id,
            peer: ends.peer,
            local: ends.local,
            now,
        },
    };
    call.dispatch().await
}

/// Decodes, calls, encodes. A handler that waits is marked so.
macro_rules! handle {
    ($call:ident, async $handler:path) => {{
        let request = $call.decode()?;
        let response = $handler($call.core, request, &$call.context).await;
        $call.encode(&response).map(Answer::from).map(Some)
    }};
    ($call:ident, $handler:path) => {{
        let request = $call.decode()?;
        let response = $handler($call.core, request, &$call.context);
        $call.encode(&response).map(Answer::from).map(Some)
    }};
}

impl Call<'_> {
    async fn dispatch(mut self) -> Result<Option<Answer>, RequestError> {
        let call = &mut self;
        match call.key {
            ApiKey::Produce => {
                let request = call.decode()?;
                match produce::produce(call.core, request, &call.context) {
                    Some(response) => call.encode(&response).map(Answer::from).map(Some),
                    None => Ok(None),
                }
            }
            ApiKey::Fetch => {
                let request = call.decode()?;
                let (response, paid) = fetch::fetch(call.core, request, &call.context).await;
                let bytes = call.encode(&response)?;
                Ok(Some(Answer { bytes, paid }))
            }
            ApiKey::ListOffsets => handle!(call, list_offsets::list_offsets),
            ApiKey::Metadata => handle!(call, metadata::metadata),
            ApiKey::OffsetCommit => handle!(call, group_offsets::offset_commit),
            ApiKey::OffsetFetch => handle!(call, group_offsets::offset_fetch),
            ApiKey::OffsetDelete => handle!(call, group_offsets::offset_delete),
            ApiKey::FindCoordinator => handle!(call, cluster::find_coordinator),
            ApiKey::JoinGroup => handle!(call, async groups::join_group),
            ApiKey::SyncGroup => handle!(call, async groups::sync_group),
            ApiKey::Heartbeat => handle!(call, groups::heartbeat),
            ApiKey::LeaveGroup => handle!(call, groups::leave_group),
            ApiKey::DescribeGroups => handle!(call, groups::describe_groups),
            ApiKey::ListGroups => handle!(call, groups::list_groups),
            ApiKey::DeleteGroups => handle!(call, groups::delete_groups),
            ApiKey::ApiVersions => handle!(call, versions::api_versions),
            ApiKey::CreateTopics => handle!(call, topics::create_topics),
            ApiKey::DeleteTopics => handle!(call, topics::delete_topics),
            ApiKey::CreatePartitions => handle!(call, topics::create_partitions),
            ApiKey::DeleteRecords => handle!(call, records::delete_records),
            ApiKey::DescribeProducers => handle!(call, records::describe_producers),
            ApiKey::InitProducerId => handle!(call, transactions::init_producer_id),
            ApiKey::AddPartitionsToTxn => handle!(call, transactions::add_partitions_to_txn),
            ApiKey::AddOffsetsToTxn => handle!(call, transactions::add_offsets_to_txn),
            ApiKey::TxnOffsetCommit => handle!(call, transactions::txn_offset_commit),
            ApiKey::EndTxn => handle!(call, transactions::end_txn),
            ApiKey::WriteTxnMarkers => handle!(call, transactions::write_txn_markers),
            ApiKey::ListTransactions => handle!(call, transactions::list_transactions),
            ApiKey::DescribeTransactions => {
                handle!(call, transactions::describe_transactions)
            }
            ApiKey::DescribeConfigs => handle!(call, configs::describe_configs),
            ApiKey::AlterConfigs => handle!(call, configs::alter_configs),
            ApiKey::IncrementalAlterConfigs => handle!(call, configs::incremental_alter_configs),
            ApiKey::DescribeCluster => handle!(call, cluster::describe_cluster),
            key => Err(RequestError::NotOffered {
                key: key as i16,
                version: call.context.version,
            }),
        }
    }

    fn decode<Q: Decodable>(&mut self) -> Result<Q, RequestError> {
        let version = self.context.version;
        Q::decode(&mut self.body, version).map_err(|error| RequestError::Malformed {
            key: self.key,
            version,
            reason: error.to_string(),
        })
    }

    fn encode<R: Encodable + HeaderVersion>(&self, response: &R) -> Result<BytesMut, RequestError> {
        encode(
            response,
            self.key,
            self.context.version,
            self.correlation_id,
        )
    }
}

/// A response as it goes over the wire: length, header, body.
fn encode<R: Encodable + HeaderVersion>(
    response: &R,
    key: ApiKey,
    version: i16,
    correlation_id: i32,
) -> Result<BytesMut, RequestError> {
    const LENGTH: usize = 4;
    let failed = |reason: String| RequestError::Answer {
        key,
        version,
        reason,
    };
    let size = response
        .compute_size(version)
        .map_err(|error| failed(error.to_string()))?;
    let mut answer = BytesMut::with_capacity(LENGTH + 5 + size);
    answer.put_i32(0);
    answer.put_i32(correlation_id);
    if R::header_version(version) >= 1 {
        answer.put_u8(0); // no tagged fields
    }
    response
        .encode(&mut answer, version)
        .map_err(|error| failed(error.to_string()))?;
    let length = i32::try_from(answer.len() - LENGTH).map_err(|error| failed(error.to_string()))?;
    if let Some(prefix) = answer.get_mut(..LENGTH) {
        prefix.copy_from_slice(&length.to_be_bytes());
    }
    Ok(answer)
}

/// Text for a response.
fn text(value: impl Into<String>) -> StrBytes {
    StrBytes::from_string(value.into())
}

/// A refusal: the code that clients act on, and words for whoever reads their log.
struct Refused {
    code: ResponseError,
    reason: String,
}

impl Refused {
    fn new(code: ResponseError, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }
}

impl From<ResponseError> for Refused {
    fn from(code: ResponseError) -> Self {
        Self::new(code, code.to_string())
    }
}

/// An error's code and its own message, for responses that carry both.
fn coded(error: ResponseError) -> (i16, Option<StrBytes>) {
    (error.code(), Some(text(error.to_string())))
}
