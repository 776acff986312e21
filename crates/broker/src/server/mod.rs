//! Connections: frames in, answers out, in order.
//!
//! One task serves one connection, one request at a time, as Kafka does: the next request waits until
//! the one before it is answered. What a client may take is bounded: how many connections there are, how
//! large a frame is, what unfinished frames hold together, how long one may stand still. A client that
//! is slow or silent holds its own task and its own bytes, nothing of others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::core::Core;
use crate::units::Now;

mod connection;

/// Connections at one time; further ones are closed at once.
const MAX_CONNECTIONS: usize = 2_000;
/// How long to wait after the system refused to accept a connection, out of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often groups and transactions are looked after.
const TICK: Duration = Duration::from_millis(50);

/// Accepts connections until `stop` changes.
pub(crate) async fn accept(
    listener: TcpListener,
    core: Arc<Core>,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(%peer, limit = MAX_CONNECTIONS, "too many connections, closing this one");
            continue;
        };
        let (core, stop) = (Arc::clone(&core), stop.clone());
        tokio::spawn(async move {
            serve(stream, peer, &core, stop).await;
            drop(place);
        });
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, core: &Core, mut stop: watch::Receiver<bool>) {
    // Answers are written whole; waiting to fill a packet would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot turn off delays of a connection");
    }
    let served = tokio::select! {
        served = connection::serve(stream, peer, core) => served,
        _ = stop.changed() => return,
    };
    match served {
        Ok(()) => tracing::debug!(%peer, "connection ended"),
        Err(error) if error.is_ours() => tracing::error!(%peer, %error, "closing a connection"),
        Err(error) => tracing::debug!(%peer, %error, "closing a connection"),
    }
}

/// Lets time pass for groups and transactions until `stop` changes.
pub(crate) async fn tick(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            _ = stop.changed() => return,
        }
        core.tick(Now::read());
    }
}
