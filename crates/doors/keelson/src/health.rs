//! `--health`: answers `GET /healthz` in plain HTTP, for the probe of a kubelet, and nothing else. That it answers shows
//! that the process runs; what it answers, whether its work goes on.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Probes send a few hundred bytes.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// Sooner than a probe gives up.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) async fn listen(address: Option<SocketAddr>) -> Result<Option<TcpListener>> {
    match address {
        Some(address) => crate::serve::listen(address).await.map(Some),
        None => Ok(None),
    }
}

/// Until `stop`, one after the other: a probe asks seldom, and nobody else does.
pub(crate) async fn serve(
    listener: Option<TcpListener>,
    goes_on: impl Fn() -> bool,
    stop: CancellationToken,
) {
    let Some(listener) = listener else { return };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            // Whoever goes away or sends nothing gets no answer.
            Ok((stream, _)) => {
                drop(tokio::time::timeout(ANSWERED_WITHIN, answer(stream, goes_on())).await);
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn answer(mut stream: TcpStream, goes_on: bool) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read_buf(&mut request).await?;
        if read == 0 || request.len() > REQUEST_BYTES_MAX {
            return Ok(());
        }
    }
    let (code, body) = match (request.starts_with(b"GET /healthz "), goes_on) {
        (false, _) => ("404 Not Found", "only GET /healthz is here\n"),
        (true, true) => ("200 OK", "ok\n"),
        (true, false) => ("503 Service Unavailable", "the work stands still\n"),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {code}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    async fn ask(address: SocketAddr, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await?;
        let mut said = String::new();
        stream.read_to_string(&mut said).await?;
        Ok(said)
    }

    #[tokio::test]
    async fn a_probe_hears_whether_the_work_goes_on() -> Result<()> {
        let listener = listen(Some("127.0.0.1:0".parse()?)).await?;
        let address = listener.as_ref().expect("an address was given").local_addr()?;
        let (goes_on, stop) = (AtomicBool::new(true), CancellationToken::new());
        let asking = async {
            let mut said = Vec::new();
            for (well, path) in [(true, "/healthz"), (false, "/healthz"), (true, "/metrics")] {
                goes_on.store(well, Ordering::Relaxed);
                said.push(ask(address, path).await);
            }
            stop.cancel();
            said
        };
        let serving = serve(listener, || goes_on.load(Ordering::Relaxed), stop.clone());
        let (said, ()) = tokio::join!(asking, serving);
        for (said, code) in said.into_iter().zip(["200 OK", "503 Service Unavailable", "404 Not Found"]) {
            let said = said?;
            assert!(said.starts_with(&format!("HTTP/1.1 {code}\r\n")), "{said}");
        }
        Ok(())
    }
}
