//! The recovery of the broker's journal: any bytes must do, and none may cost more than they are.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| floodmark_broker::fuzzing::recover_journal(bytes));
