//! Listening and serving, within bounds.
//!
//! hyper drives each connection, so that its limits can be set: how long a client may take for its
//! request's head, how large that may be, how long it may leave an answer unread. Whatever a client
//! does costs at most one connection's buffers for at most that long.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, Sleep};

use super::guard::{self, Names};
use super::observer::{Observer, Subject};
use super::routes;

/// Connections at once; one more is closed as soon as it is made.
const MAX_CONNECTIONS: usize = 256;

/// Most bytes of a request's head.
const MAX_HEADER_BYTES: usize = 16 << 10;

/// Most headers of a request.
const MAX_HEADERS: usize = 64;

/// How long clients may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// For a request's head, and without a request.
    pub(super) header: Duration,
    /// Without reading anything of an answer.
    pub(super) write: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            write: Duration::from_secs(30),
        }
    }
}

/// Pause after a connection could not be taken, as when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long open connections get at the end.
const END_TIMEOUT: Duration = Duration::from_millis(200);

/// A port that is ours, not served yet.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    names: Vec<String>,
}

/// A server; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Server {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Takes `address`; port 0 is any free one. It answers to this machine's own names and to `names`;
    /// beyond this machine, without any, to whatever name it is called by.
    pub(crate) fn bind(address: &str, names: &[String]) -> anyhow::Result<Self> {
        let attempted = || {
            format!(
                "listening on {address} for the dashboard and metrics; choose another address with \
                 --http HOST:PORT, or --http off"
            )
        };
        let socket = TcpListener::bind(address).with_context(attempted)?;
        socket.set_nonblocking(true).with_context(attempted)?;
        let address = socket.local_addr().with_context(attempted)?;
        Ok(Self {
            socket,
            address,
            names: names.to_vec(),
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves what is said of `subject`, on a thread of its own.
    pub(crate) fn serve(self, subject: Subject) -> anyhow::Result<Server> {
        self.serve_within(subject, Limits::default())
    }

    pub(super) fn serve_within(self, subject: Subject, limits: Limits) -> anyhow::Result<Server> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting the HTTP runtime")?;
        let (stop, stopped) = watch::channel(false);
        let Self {
            socket,
            address,
            names,
        } = self;
        let loopback = address.ip().is_loopback();
        let names = Names::new(names, loopback);
        if !loopback {
            tracing::warn!(
                %address,
                "HTTP beyond this machine: whoever reaches this address sees rows of the pipeline"
            );
        }
        let observer = Arc::new(Observer::new(subject));
        let body = move || {
            runtime.block_on(async move {
                let listener = match tokio::net::TcpListener::from_std(socket) {
                    Ok(listener) => listener,
                    Err(error) => return tracing::error!(%error, "HTTP is not served"),
                };
                let router = guard::protect(routes::router(Arc::clone(&observer)), names);
                let looking = tokio::spawn(observer.keep_looking());
                accept(&listener, &router, limits, stopped).await;
                looking.abort();
            });
            runtime.shutdown_timeout(END_TIMEOUT);
        };
        let thread = std::thread::Builder::new()
            .name("http".to_owned())
            .spawn(body)
            .context("starting the HTTP thread")?;
        Ok(Server {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The thread may have ended by itself; then nobody listens any more.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The address in a browser.
pub(crate) fn url(address: SocketAddr) -> String {
    let host = match address.ip() {
        ip if ip.is_unspecified() => "localhost".to_owned(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    format!("http://{host}:{}", address.port())
}

async fn accept(
    listener: &tokio::net::TcpListener,
    router: &Router,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            _ = stopped.changed() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection was not taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let router = router.clone();
        tokio::spawn(async move {
            let _place = place;
            connection(stream, router, limits).await;
        });
    }
}

async fn connection(stream: TcpStream, router: Router, limits: Limits) {
    // Events are small and want to be there at once.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Impatient::new(stream, limits.write));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(io, TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        tracing::trace!(%error, "a connection ended");
    }
}

/// A connection that is given up when its peer reads nothing for too long.
struct Impatient {
    stream: TcpStream,
    limit: Duration,
    /// Set while a write waits.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn new(stream: TcpStream, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            patience: None,
        }
    }

    fn judge<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<std::io::Result<T>>,
    ) -> Poll<std::io::Result<T>> {
        if written.is_ready() {
            self.patience = None;
            return written;
        }
        let until = Instant::now() + self.limit;
        let patience = self
            .patience
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        ready!(patience.as_mut().poll(context));
        Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(context, flushed)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
