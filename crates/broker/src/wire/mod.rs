//! Refuses frames whose lengths do not fit their bytes, before anything is allocated for them.
//!
//! `kafka-protocol` makes room for as many elements as an array says it has before it reads the
//! first: twenty bytes can ask it for gigabytes, and the process ends. So each frame passes here
//! between the socket and that decoder:
//!
//! ```text
//! socket ── frame ──> header() ── Header ──> check(body) ──> kafka-protocol ──> handler
//!                        │                       │
//!                        └── WireError ──────────┴── WireError: the connection is closed
//! ```
//!
//! [`check`] walks the body by a table of what each request consists of ([`requests`]), without
//! allocating. Once it has accepted a body, decoding it
//!
//! - does not panic, and fails on nothing but text that is not UTF-8;
//! - takes at most 40 bytes of memory per byte of the body, since an empty text is one byte on the
//!   wire and 32 in memory, and 1 MiB for tagged fields that are unknown here.
//!
//! Text and bytes that the decoder hands out are slices of the frame: whoever keeps one keeps the
//! whole frame, and copies it if it is to stay.
//!
//! Bytes after the end of a body are ignored, as Kafka ignores them. In two places this is stricter
//! than `kafka-protocol` and as strict as Kafka: a varint of more than 32 bits and text of more than
//! 32,767 bytes are refused.

mod any;
mod requests;
mod schema;
#[cfg(test)]
mod tests;
mod walk;

use std::ops::RangeInclusive;

pub(crate) use any::{Decoded, decode};
use walk::Walk;

/// Elements that the arrays of one request may have in all, nested ones included. Kafka's clients
/// stay far below: it is 100,000 partitions in one request.
pub(crate) const MAX_ELEMENTS: usize = 100_000;

/// Tagged fields unknown to us that one request may carry in all. Each costs the decoder a node of
/// a tree; a client of a later Kafka may send a few per element.
pub(crate) const MAX_UNKNOWN_TAGGED_FIELDS: usize = 2_000;

/// Bytes of the longest text that Kafka accepts.
const MAX_TEXT: usize = i16::MAX as usize;

/// Bytes of a header up to the correlation id, which every version of it starts with.
const HEADER_START: usize = 8;

/// What a request says before its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header<'a> {
    /// Number of the API.
    pub(crate) api_key: i16,
    /// Version of the request.
    pub(crate) version: i16,
    /// What the answer must repeat.
    pub(crate) correlation_id: i32,
    /// What the client calls itself. `None` as well if the request is not known here.
    pub(crate) client_id: Option<&'a str>,
    /// Where in the frame the body starts.
    pub(crate) body_offset: usize,
}

/// Why a frame is refused. No answer can be made to any of them, except that an `ApiVersions` of an
/// unknown version is answered in version 0 with `UNSUPPORTED_VERSION`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// The frame ends before its correlation id.
    #[error("a frame of {0} bytes has no room for a request header")]
    NoHeader(usize),
    /// No request with this number is known here.
    #[error("API {0} is not known here")]
    UnknownApi(i16),
    /// The request is known, this version of it is not.
    #[error("{api} is known here in versions {known:?}, the request has version {version}")]
    UnknownVersion {
        /// Name of the API.
        api: &'static str,
        /// Version of the request.
        version: i16,
        /// Versions known here.
        known: RangeInclusive<i16>,
    },
    /// What the request says does not fit its bytes or our limits.
    #[error("{api} in version {version}: {field} {fault}")]
    Malformed {
        /// Name of the API.
        api: &'static str,
        /// Version of the request.
        version: i16,
        /// Name of the field.
        field: &'static str,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// It is longer than what is left of the frame.
    #[error("takes at least {wanted} bytes, {left} are left")]
    Truncated {
        /// Bytes that it takes.
        wanted: usize,
        /// Bytes that there are.
        left: usize,
    },
    /// It is null and must not be.
    #[error("must not be null")]
    Null,
    /// Its length is below -1.
    #[error("has the length {0}")]
    NegativeLength(i32),
    /// A varint in it has more than 32 bits.
    #[error("has a number of more than 32 bits")]
    LongVarint,
    /// It is a text longer than Kafka accepts.
    #[error("has {0} bytes, text has at most {MAX_TEXT}")]
    LongText(usize),
    /// It is text, and not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// The byte that says whether it is there is neither 1 nor -1.
    #[error("is neither there nor null: {0}")]
    Presence(i8),
    /// With it, the request has too many elements.
    #[error("brings the request to {0} elements, more than {MAX_ELEMENTS}")]
    TooManyElements(usize),
    /// With it, the request has too many tagged fields.
    #[error("brings the request to more than {MAX_UNKNOWN_TAGGED_FIELDS} unknown tagged fields")]
    TooManyTaggedFields,
    /// It is a tagged field that this version does not have.
    #[error("is not a tagged field of this version")]
    WrongTag,
    /// It is a tagged field that announces one length and has another.
    #[error("is announced with {announced} bytes and has {has}")]
    TaggedLength {
        /// Bytes that its length says.
        announced: usize,
        /// Bytes that it took.
        has: usize,
    },
}

/// The header of a request. Its API and version may be unknown: then nothing after the correlation
/// id is looked at, and [`check`] says so.
pub(crate) fn header(frame: &[u8]) -> Result<Header<'_>, WireError> {
    let Some((&[k0, k1, v0, v1, c0, c1, c2, c3], rest)) = frame.split_first_chunk::<HEADER_START>()
    else {
        return Err(WireError::NoHeader(frame.len()));
    };
    let mut header = Header {
        api_key: i16::from_be_bytes([k0, k1]),
        version: i16::from_be_bytes([v0, v1]),
        correlation_id: i32::from_be_bytes([c0, c1, c2, c3]),
        client_id: None,
        body_offset: HEADER_START,
    };
    let known = requests::find(header.api_key).filter(|request| request.has(header.version));
    if let Some(request) = known {
        let mut walk = Walk::new(request, header.version, rest);
        header.client_id = walk.rest_of_header()?;
        header.body_offset = frame.len() - walk.left().len();
    }
    Ok(header)
}

/// Whether the body of a request can be decoded, at a cost in proportion to its length.
pub(crate) fn check(api_key: i16, version: i16, body: &[u8]) -> Result<(), WireError> {
    after_body(api_key, version, body).map(drop)
}

/// What follows the body of a request in `bytes`.
fn after_body(api_key: i16, version: i16, bytes: &[u8]) -> Result<&[u8], WireError> {
    let request = requests::find(api_key).ok_or(WireError::UnknownApi(api_key))?;
    if !request.has(version) {
        return Err(WireError::UnknownVersion {
            api: request.name,
            version,
            known: request.first..=request.last,
        });
    }
    let mut walk = Walk::new(request, version, bytes);
    walk.body()?;
    Ok(walk.left())
}
