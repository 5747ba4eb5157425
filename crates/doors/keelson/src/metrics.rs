//! `serve --metrics`: answers `GET /metrics` in plain text, and nothing else. No secrets are in it, and no names of
//! applications; who may ask is decided by where it listens.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use keelson_model::Clock;
use keelson_protection::{Platform, metrics, status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Scrapers send a few hundred bytes.
const REQUEST_BYTES_MAX: usize = 8 << 10;
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_secs(1);

/// Scrapers are few; who comes on top of these is sent away.
const CONNECTIONS_MAX: usize = 16;

pub(crate) async fn serve(
    listener: TcpListener,
    platform: Arc<Platform>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let mut answers = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = answers.join_next() => continue,
            () = stop.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Too many files are open, for instance: there is nothing to do about it but to wait.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        if answers.len() < CONNECTIONS_MAX {
            let (platform, clock) = (platform.clone(), clock.clone());
            answers.spawn(async move {
                let answered =
                    tokio::time::timeout(ANSWERED_WITHIN, answer(stream, &platform, &*clock)).await;
                if let Ok(Err(error)) = answered {
                    tracing::debug!("a scraper went away: {error:#}");
                }
            });
        }
    }
}

async fn answer(mut stream: TcpStream, platform: &Platform, clock: &dyn Clock) -> Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read_buf(&mut request).await?;
        if read == 0 || request.len() > REQUEST_BYTES_MAX {
            return Ok(());
        }
    }
    let (code, body) = match request_line(&request) {
        Some("GET /metrics") => ("200 OK", metrics::render(&status::observe(platform), clock.now())),
        Some(_) | None => ("404 Not Found", "only GET /metrics is here\n".to_owned()),
    };
    let (content_type, length) = (metrics::CONTENT_TYPE, body.len());
    let head = format!(
        "HTTP/1.1 {code}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    Ok(stream.shutdown().await?)
}

/// Method and path.
fn request_line(request: &[u8]) -> Option<&str> {
    let line = request.split(|byte| *byte == b'\r').next()?;
    std::str::from_utf8(line).ok()?.strip_suffix(" HTTP/1.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_and_path_are_read_from_the_first_line() {
        assert_eq!(request_line(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), Some("GET /metrics"));
        assert_eq!(request_line(b"GET /metrics"), None);
        assert_eq!(request_line(b"\xff\r\n\r\n"), None);
        assert_ne!(request_line(b"POST /metrics HTTP/1.1\r\n\r\n"), Some("GET /metrics"));
    }
}
