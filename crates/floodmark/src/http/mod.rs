//! The run as others see it: dashboard, health, metrics and status over HTTP.
//!
//! ```text
//!   engine ──> StatusBoard, Telemetry          (it posts and counts; it waits for nobody here)
//!                   ^ read
//!              observer.rs ──> status.rs       /api/status, /api/events
//!                   |      └─> metrics/        /metrics
//!                   └────────> events.rs       samples out of a ring, clients at their own pace
//! ```
//!
//! - Everything here *pulls*. Nothing on an event's path knows whether anybody looks; a client that
//!   does not read slows nobody but itself.
//! - The listener is bound before the engine starts, so that `/readyz` can say what a recovery waits
//!   for, and so that a port that is taken is known before anything has happened.
//! - What is served may be data: the address is a loopback one unless the user says otherwise, and
//!   requests for other hosts are refused there, or wherever the server was told its names ([`guard`]).
//!   Nothing can be changed over HTTP. Secrets of the pipeline file are cut out of every text ([`observer`]).
//!
//! The runtime has one thread of its own, `http`, and bounds on connections, headers and waiting
//! ([`serve`]).

mod assets;
mod events;
mod graph;
mod guard;
mod history;
mod metrics;
mod observer;
mod process;
mod routes;
mod samples;
mod secrets;
mod serve;
mod sinks;
mod status;
#[cfg(test)]
mod tests;
mod time;

pub(crate) use observer::{Failure, Subject};
pub(crate) use samples::KEPT;
pub(crate) use secrets::Secrets;
pub(crate) use serve::{Listener, Server, url};
