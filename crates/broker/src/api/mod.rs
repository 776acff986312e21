//! The requests that the broker answers: one handler each.
//!
//! A handler is `fn name(core: &Core, request: XRequest, context: &Context) -> XResponse` (`async` where
//! it waits). It answers errors in the response's own fields. `kafka-protocol` refuses to encode a field
//! that the negotiated version does not have and that is not at its default: handlers look at
//! [`Context::version`] where that matters.

pub(crate) mod transactions;

use std::net::SocketAddr;

use crate::units::Now;

/// What a handler knows of a request besides its body.
#[derive(Debug)]
pub(crate) struct Context {
    /// Version of the request, which is the version of the response.
    pub(crate) version: i16,
    /// What the client calls itself.
    pub(crate) client_id: String,
    /// Where it comes from.
    pub(crate) peer: SocketAddr,
    /// When the request was taken up.
    pub(crate) now: Now,
}
