//! A double of AWS that knows some access keys and no others, which moto does not tell apart: it says whose a key is, and
//! gives one secret to whoever has a key that it knows. It looks at no signature.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::Result;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::s3_gate::{header, read_head, read_rest};

const UNKNOWN: &str = "The security token included in the request is invalid.";

/// A running double. Dropping it ends it.
#[derive(Debug)]
pub struct AwsKeys {
    address: SocketAddr,
    known: watch::Sender<BTreeSet<String>>,
    _stop: DropGuard,
}

impl AwsKeys {
    /// Starts one that knows no key, and gives this under whatever name it is asked for.
    pub async fn start(secret: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let (stopped, secret) = (stop.clone(), secret.to_owned());
        let (known, keys) = watch::channel(BTreeSet::new());
        let visits = TaskTracker::new();
        let tracker = visits.clone();
        visits.spawn(async move {
            while let Some(Ok((visitor, _))) = stopped.run_until_cancelled(listener.accept()).await {
                let (keys, secret, stopped) = (keys.clone(), secret.clone(), stopped.clone());
                tracker.spawn(async move {
                    // A visit that fails is a broken connection to the visitor, who reports it.
                    stopped.run_until_cancelled(answer(visitor, &keys, &secret)).await
                });
            }
        });
        Ok(Self { address, known, _stop: stop.drop_guard() })
    }

    /// From the next request on it knows these and no others.
    pub fn know(&self, keys: &[&str]) {
        self.known.send_replace(keys.iter().map(|key| (*key).to_owned()).collect());
    }

    /// Where all of its services are.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// One request a connection.
async fn answer(
    mut visitor: TcpStream,
    keys: &watch::Receiver<BTreeSet<String>>,
    secret: &str,
) -> Result<()> {
    let (head, begun) = read_head(&mut visitor).await?;
    read_rest(&mut visitor, &head, &begun).await?;
    let (status, body) = answer_of(&head, &keys.borrow().clone(), secret);
    let head =
        format!("HTTP/1.1 {status} Told\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    visitor.write_all(head.as_bytes()).await?;
    visitor.write_all(body.as_bytes()).await?;
    Ok(visitor.shutdown().await?)
}

/// What is asked for stands in the head: Secrets Manager has its operations there, and the service of tokens does not.
fn answer_of(head: &str, known: &BTreeSet<String>, secret: &str) -> (u16, String) {
    let key = key_of(head).unwrap_or_default();
    match (header(head, "x-amz-target"), known.contains(key)) {
        (Some(_), true) => (200, json!({ "Name": "kept", "SecretString": secret }).to_string()),
        (Some(_), false) => {
            (400, json!({ "__type": "UnrecognizedClientException", "message": UNKNOWN }).to_string())
        }
        (None, true) => (200, format!("<R><Arn>arn:aws:iam::123456789012:user/{key}</Arn></R>")),
        (None, false) => {
            let code = "InvalidClientTokenId";
            (403, format!("<E><Error><Code>{code}</Code><Message>{UNKNOWN}</Message></Error></E>"))
        }
    }
}

/// The access key that a request is signed with.
fn key_of(head: &str) -> Option<&str> {
    let (_, credential) = header(head, "authorization")?.split_once("Credential=")?;
    credential.split('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_counts_as_long_as_it_is_known() {
        let known = BTreeSet::from(["AKIAKNOWN".to_owned()]);
        let check = |key: &str, target: &str, status: u16, expected: &str| {
            let signed =
                format!("AWS4-HMAC-SHA256 Credential={key}/20260102/us-east-1/sts/aws4_request, S=x");
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nAuthorization: {signed}{target}");
            let (told, body) = answer_of(&head, &known, "kept there");
            assert!(told == status && body.contains(expected), "{told} {body}");
        };
        let target = "\r\nX-Amz-Target: secretsmanager.GetSecretValue";
        check("AKIAKNOWN", "", 200, ":user/AKIAKNOWN<");
        check("AKIAOTHER", "", 403, "InvalidClientTokenId");
        check("AKIAKNOWN", target, 200, "kept there");
        check("AKIAOTHER", target, 400, "UnrecognizedClientException");
        assert_eq!(answer_of("POST / HTTP/1.1\r\nHost: a", &known, "kept there").0, 403);
    }
}
