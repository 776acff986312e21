//! What clients that mean no good, or are broken, can do to the broker: nothing.
//!
//! Each test has a broker of its own, in a process of its own: after the attack it still answers, none
//! of its threads has panicked, and its memory stayed under a bound.

mod bombs;
mod bytes;
mod client;
mod crowds;
mod site;
mod wire;
