//! The embedded broker's way from a frame to a request: any bytes.
//!
//! `cargo +nightly fuzz run frames -- -rss_limit_mb=256` from the repository's root. An input is a
//! frame without its length. It is refused, or it decodes, and takes no more memory than a small
//! multiple of its length.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| floodmark_broker::fuzzing::frame(frame));
