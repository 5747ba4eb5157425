//! A server that answers as a function says and remembers what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) method: String,
    pub(crate) path: String,
    /// By names in small letters.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Heard {
    /// Method and path, as a script tells requests apart.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

pub(crate) type Reply = (u16, String);

/// Listens until the test's runtime ends.
pub(crate) struct Scripted {
    pub(crate) address: String,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Scripted {
    pub(crate) async fn start(script: impl Fn(&Heard) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(script, None).await
    }

    /// Behind TLS.
    pub(crate) async fn start_secured(
        acceptor: TlsAcceptor,
        script: impl Fn(&Heard) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen(script, Some(acceptor)).await
    }

    async fn listen(
        script: impl Fn(&Heard) -> Reply + Send + Sync + 'static,
        acceptor: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (script, noted) = (Arc::new(script), Arc::clone(&heard));
        let tasks = TaskTracker::new();
        let connections = tasks.clone();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, noted, acceptor) = (Arc::clone(&script), Arc::clone(&noted), acceptor.clone());
                connections.spawn(async move {
                    match acceptor {
                        None => answer_all(stream, &*script, &noted).await,
                        // Whoever does not trust us hangs up.
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                answer_all(stream, &*script, &noted).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address: format!("{scheme}://localhost:{port}"), heard }
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.heard().iter().map(Heard::line).collect()
    }
}

async fn answer_all(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: &(impl Fn(&Heard) -> Reply + ?Sized),
    heard: &Mutex<Vec<Heard>>,
) {
    while let Some(request) = read_request(&mut stream).await {
        let (status, body) = script(&request);
        heard.lock().unwrap().push(request);
        let head = format!("HTTP/1.1 {status} Told\r\ncontent-length: {}\r\n\r\n", body.len());
        // Whoever has read enough hangs up.
        let head_sent = stream.write_all(head.as_bytes()).await;
        if head_sent.is_err() || stream.write_all(body.as_bytes()).await.is_err() {
            return;
        }
        if stream.flush().await.is_err() {
            return;
        }
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Heard> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Heard { method, path, headers, body: String::from_utf8(body).unwrap() })
}
