//! Entry points for the fuzz targets: what reads bytes that nobody vouches for. No part of the API.

/// Reads bytes as a journal.
pub fn recover_journal(bytes: &[u8]) {
    let _ = crate::journal::recover(bytes);
}
