//! A partition's log is recovered from any bytes: no panic, no memory beyond them.
//!
//! `cargo +nightly fuzz run log_recovery` from the repository's root.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| floodmark_broker::fuzzing::recover_log(bytes));
