//! Connections: TLS, who is at the other end, bounds on what a peer may take, and an end in good order.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use keelson_protection::Requester;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::authentication::PeerCertificates;
use crate::certificates::ServingCertificates;
use crate::limits::{
    CONNECTIONS_MAX, DRAIN_TIMEOUT, FAREWELL, FIRST_REQUEST_TIMEOUT, HEADER_BYTES_MAX, HEADER_TIMEOUT,
    HEADERS_MAX, NEWCOMERS_MAX, PING_INTERVAL, PING_TIMEOUT, REQUEST_TIMEOUT, SEND_BYTES_PER_STREAM,
    STRANGER_LIFE, STRANGERS_MAX, STREAMS_PER_CONNECTION_MAX,
};
use crate::room::{Place, Room};
use crate::shared::Shared;

/// How many connections there may be, how long they may take to come to the point, and how long we may.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) newcomers: usize,
    pub(crate) front_proxy: usize,
    pub(crate) strangers: usize,
    pub(crate) first_request: Duration,
    pub(crate) stranger_life: Duration,
    /// From a request to its outcome. What the trail is told of it has a time of its own.
    pub(crate) request: Duration,
    pub(crate) farewell: Farewell,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            newcomers: NEWCOMERS_MAX,
            front_proxy: CONNECTIONS_MAX,
            strangers: STRANGERS_MAX,
            first_request: FIRST_REQUEST_TIMEOUT,
            stranger_life: STRANGER_LIFE,
            request: REQUEST_TIMEOUT,
            farewell: Farewell::USUAL,
        }
    }
}

/// How long a server takes to end, counted from when it is told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Farewell {
    /// For so long everybody is answered, if the front proxy has a connection.
    pub answered_for: Duration,
    /// What is still open after this is dropped.
    pub dropped_after: Duration,
}

impl Farewell {
    pub const USUAL: Self = Self { answered_for: FAREWELL, dropped_after: DRAIN_TIMEOUT };
}

/// Who is at the other end, as far as room is concerned. What a request may do is judged at each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guest {
    FrontProxy,
    Stranger,
}

/// Room for connections. Those whose handshake is not done, and strangers, never take the front proxy's.
struct Places {
    newcomers: Arc<Room>,
    front_proxy: Arc<Semaphore>,
    strangers: Arc<Room>,
}

impl Places {
    fn new(bounds: Bounds) -> Self {
        Self {
            newcomers: Room::new(bounds.newcomers),
            front_proxy: Arc::new(Semaphore::new(bounds.front_proxy)),
            strangers: Room::new(bounds.strangers),
        }
    }

    /// Whether the front proxy has a connection.
    fn are_used(&self, bounds: Bounds) -> bool {
        self.front_proxy.available_permits() < bounds.front_proxy
    }

    fn of(&self, guest: Guest, address: IpAddr) -> Option<Seat> {
        match guest {
            Guest::FrontProxy => Arc::clone(&self.front_proxy).try_acquire_owned().ok().map(Seat::Kept),
            Guest::Stranger => Some(Seat::Lent(self.strangers.enter(address))),
        }
    }
}

/// The place of a connection whose handshake is done.
enum Seat {
    Kept(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit),
    Lent(Place),
}

impl Seat {
    async fn is_needed(&self) {
        match self {
            Self::Kept(_) => std::future::pending().await,
            Self::Lent(place) => place.is_needed().await,
        }
    }
}

/// What every connection needs.
struct Connections {
    router: Router,
    shared: Arc<Shared>,
    certificates: Arc<ServingCertificates>,
    bounds: Bounds,
    places: Places,
    tasks: TaskTracker,
    /// Connections end with what is under way on them.
    goaway: CancellationToken,
}

/// Serves until the token is cancelled. Then, in this order:
///
/// 1. watches say their last word, and end;
/// 2. for a moment everybody is answered: who asks for a watch again, when to come back, and probes, that we go;
/// 3. nobody is let in any more, and each connection is told to go away once what is under way on it is answered;
/// 4. what is left is dropped.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    shared: Arc<Shared>,
    certificates: Arc<ServingCertificates>,
    bounds: Bounds,
) {
    let shutdown = shared.shutdown.clone();
    let connections = Arc::new(Connections {
        router,
        shared,
        certificates,
        bounds,
        places: Places::new(bounds),
        tasks: TaskTracker::new(),
        goaway: CancellationToken::new(),
    });
    accept_until(&connections, &listener, shutdown.cancelled()).await;
    let began = Instant::now();
    if connections.places.are_used(bounds) {
        accept_until(&connections, &listener, sleep_until(began + bounds.farewell.answered_for)).await;
    }
    drop(listener);
    connections.goaway.cancel();
    connections.tasks.close();
    if tokio::time::timeout_at(began + bounds.farewell.dropped_after, connections.tasks.wait()).await.is_err()
    {
        warn!(connections = connections.tasks.len(), "connections were dropped at shutdown");
    }
}

async fn accept_until(connections: &Arc<Connections>, listener: &TcpListener, end: impl Future<Output = ()>) {
    tokio::pin!(end);
    loop {
        let accepted = tokio::select! {
            () = &mut end => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => accept(connections, stream, peer.ip().to_canonical()),
            Err(source) => {
                // Out of file descriptors, most likely: others are being closed, so a pause helps.
                warn!(error = &source as &dyn std::error::Error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn accept(connections: &Arc<Connections>, stream: TcpStream, address: IpAddr) {
    let newcomer = connections.places.newcomers.enter(address);
    let context = Arc::clone(connections);
    connections.tasks.spawn(async move {
        let opened = Instant::now();
        // Requests are small and answered one by one; waiting to fill a packet only delays them.
        drop(stream.set_nodelay(true));
        let acceptor = TlsAcceptor::from(context.certificates.config());
        let until = opened + context.bounds.first_request;
        let shaken = tokio::select! {
            shaken = tokio::time::timeout_at(until, acceptor.accept(stream)) => shaken,
            () = newcomer.is_needed() => {
                debug!(%address, "a connection was closed in its handshake: others need its place");
                return;
            }
        };
        match shaken {
            Ok(Ok(stream)) => {
                drop(newcomer);
                context.admit(stream, opened, address).await;
            }
            Ok(Err(source)) => {
                debug!(%address, error = &source as &dyn std::error::Error, "a TLS handshake failed");
            }
            Err(_) => debug!(%address, "a TLS handshake took too long"),
        }
    });
}

impl Connections {
    /// Gives a connection whose handshake is done the place of its kind.
    async fn admit(&self, stream: TlsStream<TcpStream>, opened: Instant, address: IpAddr) {
        let (_, session) = stream.get_ref();
        let peer = PeerCertificates(session.peer_certificates().unwrap_or_default().into());
        let is_front_proxy = self.shared.front_proxy.is_shown_by(&peer, self.shared.now());
        let mut guest = if is_front_proxy { Guest::FrontProxy } else { Guest::Stranger };
        let Some(mut seat) = self.places.of(guest, address) else {
            debug!(?guest, %address, "a connection was refused: all places are taken");
            return;
        };
        let asked = CancellationToken::new();
        let running = self.run(TokioIo::new(stream), peer.clone(), &asked);
        let silent = silence(&asked, opened + self.bounds.first_request);
        tokio::pin!(running, silent);
        loop {
            tokio::select! {
                () = &mut running => return,
                () = &mut silent => {
                    debug!(?guest, "a connection was closed: no request came over it");
                    return;
                }
                // All that a stranger may ask for is answered in a moment.
                () = sleep_until(opened + self.bounds.stranger_life), if guest == Guest::Stranger => {}
                () = seat.is_needed() => {}
            }
            // The front proxy may have come before its authority was known here.
            let proves =
                guest == Guest::Stranger && self.shared.front_proxy.is_shown_by(&peer, self.shared.now());
            let Some(kept) = proves.then(|| self.places.of(Guest::FrontProxy, address)).flatten() else {
                debug!(%address, "a connection was closed: it is not the front proxy's, and others need its place or \
                    it was open long enough");
                return;
            };
            (guest, seat) = (Guest::FrontProxy, kept);
        }
    }

    async fn run<I>(&self, io: I, peer: PeerCertificates, asked: &CancellationToken)
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let service = service_fn(|request: http::Request<Incoming>| {
            asked.cancel();
            let mut request = request.map(Body::new);
            if let Some(user) =
                self.shared.front_proxy.authenticate(&peer, request.headers(), self.shared.now())
            {
                request.extensions_mut().insert(Requester::User(user));
            }
            self.router.clone().oneshot(request)
        });
        let builder = self.builder();
        let connection = builder.serve_connection(io, service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.goaway.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(source) = ended {
            debug!(error = &*source, "a connection broke");
        }
    }

    fn builder(&self) -> auto::Builder<Tracked> {
        let mut builder = auto::Builder::new(Tracked(self.tasks.clone()));
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEADER_BYTES_MAX)
            .max_headers(HEADERS_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .max_send_buf_size(SEND_BYTES_PER_STREAM)
            .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        builder
    }
}

/// Ends if nothing was asked until then.
async fn silence(asked: &CancellationToken, until: Instant) {
    if tokio::time::timeout_at(until, asked.cancelled()).await.is_ok() {
        std::future::pending::<()>().await;
    }
}

/// Streams of a connection run as tasks that the shutdown waits for.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
