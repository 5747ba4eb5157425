//! Connections: TLS, who is at the other end, bounds on what a peer may take, and an end in good order.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::authentication::PeerCertificates;
use crate::certificates::ServingCertificates;
use crate::limits::{
    CONNECTIONS_MAX, DRAIN_TIMEOUT, HANDSHAKE_TIMEOUT, HEADER_BYTES_MAX, HEADER_TIMEOUT, HEADERS_MAX,
    PING_INTERVAL, PING_TIMEOUT, STREAMS_PER_CONNECTION_MAX,
};
use crate::shared::Shared;

/// What every connection needs.
struct Connections {
    router: Router,
    shared: Arc<Shared>,
    certificates: Arc<ServingCertificates>,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// Serves until the token is cancelled, then ends watches, lets requests finish, and returns.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    shared: Arc<Shared>,
    certificates: Arc<ServingCertificates>,
) {
    let shutdown = shared.shutdown.clone();
    let connections = Arc::new(Connections {
        router,
        shared,
        certificates,
        places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        tasks: TaskTracker::new(),
        shutdown: shutdown.clone(),
    });
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => accept(&connections, stream),
            Err(source) => {
                // Out of file descriptors, most likely: others are being closed, so a pause helps.
                warn!(error = &source as &dyn std::error::Error, "a connection could not be accepted");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    connections.tasks.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, connections.tasks.wait()).await.is_err() {
        warn!(connections = connections.tasks.len(), "connections were dropped at shutdown");
    }
}

fn accept(connections: &Arc<Connections>, stream: TcpStream) {
    let Ok(place) = Arc::clone(&connections.places).try_acquire_owned() else {
        debug!("a connection was refused: all places are taken");
        return;
    };
    let context = Arc::clone(connections);
    connections.tasks.spawn(async move {
        // Requests are small and answered one by one; waiting to fill a packet only delays them.
        drop(stream.set_nodelay(true));
        let acceptor = TlsAcceptor::from(context.certificates.config());
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let (_, session) = stream.get_ref();
                let peer = session.peer_certificates().unwrap_or_default().to_vec();
                context.run(TokioIo::new(stream), PeerCertificates(peer.into())).await;
            }
            Ok(Err(source)) => {
                debug!(error = &source as &dyn std::error::Error, "a TLS handshake failed");
            }
            Err(_) => debug!("a TLS handshake took too long"),
        }
        drop(place);
    });
}

impl Connections {
    async fn run<I>(&self, io: I, peer: PeerCertificates)
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let service = service_fn(|request: http::Request<Incoming>| {
            let mut request = request.map(Body::new);
            if let Some(requester) =
                self.shared.front_proxy.authenticate(&peer, request.headers(), self.shared.now())
            {
                request.extensions_mut().insert(requester);
            }
            self.router.clone().oneshot(request)
        });
        let builder = self.builder();
        let connection = builder.serve_connection(io, service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.shutdown.cancelled() => {
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
            .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        builder
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
