//! The server as its clients see it, over real connections.

mod client;
mod hostile;
mod job;
mod metrics_are_true;
mod outside;
mod readiness;
mod streams;
mod truth;
