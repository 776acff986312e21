//! What clients that mean no good, or are broken, can do to the broker: nothing.
//!
//! Each test has a broker of its own in this process, and the process to itself: after the attack the
//! broker still answers, none of its threads has panicked, and the memory of the process stayed under
//! a bound while it lasted.

mod bombs;
mod bytes;
mod client;
mod crowds;
mod site;
mod wire;
