//! What the fuzz targets run: the parts of the broker that bytes from outside reach first. No part of
//! the API.

use bytes::Bytes;

use crate::wire::{self, Decoded};

/// A frame as a client may send it, without its length. Whatever passes [`wire::check`] must decode,
/// within the memory that it promises (the fuzzer bounds the process).
///
/// # Panics
///
/// If that is not so.
pub fn frame(bytes: &[u8]) {
    let Ok(header) = wire::header(bytes) else {
        return;
    };
    let body = Bytes::copy_from_slice(bytes.get(header.body_offset..).unwrap_or_default());
    if wire::check(header.api_key, header.version, &body).is_err() {
        return;
    }
    let decoded = wire::decode(header.api_key, header.version, body);
    assert!(
        matches!(decoded, Some(Decoded::Request(_) | Decoded::NotUtf8)),
        "accepted, and then: {decoded:?}"
    );
}

/// Recovers a partition's log from a segment file of these bytes. Any bytes must do: no panic, and no
/// memory beyond what the bytes themselves take.
pub fn recover_log(bytes: &[u8]) {
    crate::log::inspect(bytes);
}

/// Reads bytes as a journal. Any bytes must do.
pub fn recover_journal(bytes: &[u8]) {
    // What they amount to does not matter.
    let _ = crate::journal::recover(bytes);
}
