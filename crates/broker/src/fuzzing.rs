//! Entries for the fuzz targets: what reads bytes from outside, without what is around it.

/// Recovers a partition's log from a segment file of these bytes. Any bytes must do: no panic, and no
/// memory beyond what the bytes themselves take.
pub fn recover_log(bytes: &[u8]) {
    crate::log::inspect(bytes);
}
