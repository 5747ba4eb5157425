//! A gate before an S3 server, for what no server at hand does by itself: it takes the condition off creates, as one
//! kind of server does in buckets with versions, refuses what needs a right, by AWS's table of rights, or answers as a
//! server does that keeps no locks.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::Client;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::minio::client;

/// No request of ours has a longer head, and no answer to one.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What a bucket asks for that is to protect, as a policy spells it.
pub const PROTECTION_RIGHTS: [&str; 12] = [
    "s3:ListBucket",
    "s3:PutObject",
    "s3:GetObject",
    "s3:DeleteObject",
    "s3:GetBucketVersioning",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:ListBucketVersions",
    "s3:GetObjectVersion",
    "s3:DeleteObjectVersion",
    "s3:GetObjectRetention",
    "s3:PutObjectRetention",
];

/// What the gate does to requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateHabit {
    /// Whoever comes through is nobody: he may what the bucket's policy lets everybody do.
    Anonymous,
    /// And `If-None-Match` counts for nothing: a create over an object succeeds.
    OverwritesOnCreate,
    /// Whoever comes through lacks this right, as a policy spells it.
    Lacks(&'static str),
    /// No answer says which version it speaks of.
    TellsNoVersion,
    /// No answer says until when an object is locked.
    TellsNoRetention,
    /// A lock that is to be extended ends when it would have, and the answer is that all is well.
    ForgetsExtensions,
    /// Whatever version is to be deleted is said to be gone, locked or not.
    DeletesLocked,
    /// Whoever asks to bypass a lock is told that the version is gone, in whatever mode it is locked.
    BypassesAnyLock,
}

/// A running gate. Dropping it closes it.
#[derive(Debug)]
pub struct S3Gate {
    address: SocketAddr,
    habit: watch::Sender<GateHabit>,
    _stop: DropGuard,
}

impl S3Gate {
    /// Opens one before the server at `endpoint`, an `http://` URL of a host and a port.
    pub async fn open(endpoint: &str, habit: GateHabit) -> Result<Self> {
        let server = endpoint.strip_prefix("http://").context("the gate speaks plain HTTP")?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let visits = TaskTracker::new();
        let tracker = visits.clone();
        let (habit, habits) = watch::channel(habit);
        visits.spawn(async move {
            while let Some(Ok((visitor, _))) = stopped.run_until_cancelled(listener.accept()).await {
                let (server, stopped) = (server.clone(), stopped.clone());
                let habit = *habits.borrow();
                tracker.spawn(async move {
                    // A visit that fails is a broken connection to the visitor, who reports it.
                    stopped.run_until_cancelled(pass(visitor, &server, habit)).await
                });
            }
        });
        Ok(Self { address, habit, _stop: stop.drop_guard() })
    }

    /// From the next request on it does this instead.
    pub fn change(&self, habit: GateHabit) {
        self.habit.send_replace(habit);
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client that goes through the gate.
    pub fn client(&self, access_key: &str, secret_key: &str) -> Client {
        client(&self.endpoint(), access_key, secret_key)
    }
}

/// One request a connection, so that each is seen.
async fn pass(mut visitor: TcpStream, server: &str, habit: GateHabit) -> Result<()> {
    let (head, begun) = read_head(&mut visitor).await?;
    if let Some(answer) = answer_of(&head, habit) {
        read_rest(&mut visitor, &head, &begun).await?;
        visitor.write_all(answer.as_bytes()).await?;
        return Ok(visitor.shutdown().await?);
    }
    let (mut asked, mut told) = visitor.into_split();
    let (mut answered, mut passed) = TcpStream::connect(server).await?.into_split();
    passed.write_all(rewrite(&head, habit).as_bytes()).await?;
    passed.write_all(&begun).await?;
    let forth = async {
        copy(&mut asked, &mut passed).await?;
        anyhow::Ok(passed.shutdown().await?)
    };
    let back = async {
        let (head, begun) = read_head(&mut answered).await?;
        let head = format!("{}\r\n\r\n", without(&head, hidden_by(habit)));
        told.write_all(head.as_bytes()).await?;
        told.write_all(&begun).await?;
        copy(&mut answered, &mut told).await?;
        anyhow::Ok(told.shutdown().await?)
    };
    tokio::try_join!(forth, back)?;
    Ok(())
}

/// Reads a request to its end: who answers before that breaks the connection.
pub(crate) async fn read_rest(visitor: &mut TcpStream, head: &str, begun: &[u8]) -> Result<()> {
    let mut rest = length_of(head).saturating_sub(begun.len());
    while rest > 0 {
        let mut body = vec![0; rest.min(HEAD_BYTES_MAX)];
        let read = visitor.read(&mut body).await?;
        ensure!(read > 0, "the visitor left");
        rest -= read;
    }
    Ok(())
}

/// The head of a message, and as much of its body as came with it.
pub(crate) async fn read_head(from: &mut (impl AsyncRead + Unpin)) -> Result<(String, Vec<u8>)> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end;
        }
        ensure!(read.len() < HEAD_BYTES_MAX, "the head has no end");
        ensure!(from.read_buf(&mut read).await? > 0, "the connection ended within the head");
    };
    let begun = read.split_off(end + 4);
    read.truncate(end);
    Ok((String::from_utf8(read).context("a head of text")?, begun))
}

/// What the gate says itself; nothing where the server is asked.
fn answer_of(head: &str, habit: GateHabit) -> Option<&'static str> {
    let rights = rights_of(head);
    match habit {
        GateHabit::Lacks(right) => rights.contains(&right).then_some(DENIED),
        GateHabit::ForgetsExtensions => (rights == ["s3:PutObjectRetention"]).then_some(DONE),
        GateHabit::DeletesLocked => rights.contains(&"s3:DeleteObjectVersion").then_some(DONE),
        GateHabit::BypassesAnyLock => rights.contains(&"s3:BypassGovernanceRetention").then_some(DONE),
        GateHabit::Anonymous
        | GateHabit::OverwritesOnCreate
        | GateHabit::TellsNoVersion
        | GateHabit::TellsNoRetention => None,
    }
}

/// The fields of an answer that are kept from the visitor.
fn hidden_by(habit: GateHabit) -> &'static [&'static str] {
    match habit {
        GateHabit::TellsNoVersion => &["x-amz-version-id"],
        GateHabit::TellsNoRetention => &["x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"],
        GateHabit::Anonymous
        | GateHabit::OverwritesOnCreate
        | GateHabit::Lacks(_)
        | GateHabit::ForgetsExtensions
        | GateHabit::DeletesLocked
        | GateHabit::BypassesAnyLock => &[],
    }
}

fn rewrite(head: &str, habit: GateHabit) -> String {
    let dropped: &[&str] = match habit {
        GateHabit::Anonymous => &["authorization", "connection"],
        GateHabit::OverwritesOnCreate => &["authorization", "connection", "if-none-match"],
        GateHabit::Lacks(_)
        | GateHabit::TellsNoVersion
        | GateHabit::TellsNoRetention
        | GateHabit::ForgetsExtensions
        | GateHabit::DeletesLocked
        | GateHabit::BypassesAnyLock => &["connection"],
    };
    format!("{}\r\nconnection: close\r\n\r\n", without(head, dropped))
}

/// A head without the fields of these names.
fn without(head: &str, dropped: &[&str]) -> String {
    let kept = head.split("\r\n").filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        !dropped.iter().any(|dropped| name.eq_ignore_ascii_case(dropped))
    });
    let kept: Vec<_> = kept.collect();
    kept.join("\r\n")
}

const DENIED: &str = "HTTP/1.1 403 Forbidden\r\ncontent-length: 77\r\nconnection: close\r\n\r\n\
    <Error><Code>AccessDenied</Code><Message>a right is missing</Message></Error>";

const DONE: &str = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";

pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    let mut found = lines.filter(|(other, _)| other.eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.trim())
}

fn length_of(head: &str) -> usize {
    header(head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0)
}

/// What AWS asks for a request.
fn rights_of(head: &str) -> Vec<&'static str> {
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let asks = |name: &str| query.split('&').any(|part| part.split('=').next() == Some(name));
    let of_object = path.trim_matches('/').contains('/');
    let versioned = asks("versionId");
    let mut rights = vec![match (method, of_object) {
        ("GET", false) if asks("versioning") => "s3:GetBucketVersioning",
        ("GET", false) if asks("object-lock") => "s3:GetBucketObjectLockConfiguration",
        ("GET", false) if asks("lifecycle") => "s3:GetLifecycleConfiguration",
        ("GET", false) if asks("location") => "s3:GetBucketLocation",
        ("GET", false) if asks("versions") => "s3:ListBucketVersions",
        (_, false) => "s3:ListBucket",
        ("GET", true) if asks("retention") => "s3:GetObjectRetention",
        ("PUT", true) if asks("retention") => "s3:PutObjectRetention",
        ("PUT", true) => "s3:PutObject",
        ("DELETE", true) if versioned => "s3:DeleteObjectVersion",
        ("DELETE", true) => "s3:DeleteObject",
        (_, true) if versioned => "s3:GetObjectVersion",
        (_, true) => "s3:GetObject",
    }];
    if header(head, "x-amz-object-lock-mode").is_some() {
        rights.push("s3:PutObjectRetention");
    }
    if header(head, "x-amz-bypass-governance-retention").is_some() {
        rights.push("s3:BypassGovernanceRetention");
    }
    rights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_as_long_as_it_says() {
        let (head, body) = DENIED.split_once("\r\n\r\n").unwrap();
        assert_eq!(length_of(head), body.len());
    }

    #[test]
    fn a_request_needs_the_rights_that_aws_asks_for() {
        let check = |head: &str, expected: &[&str]| assert_eq!(rights_of(head), expected, "{head}");
        check("GET /b?versioning HTTP/1.1\r\nHost: a", &["s3:GetBucketVersioning"]);
        check("GET /b?location HTTP/1.1\r\nHost: a", &["s3:GetBucketLocation"]);
        check("GET /b/?list-type=2 HTTP/1.1\r\nHost: a", &["s3:ListBucket"]);
        check("GET /b/k?versionId=1 HTTP/1.1\r\nHost: a", &["s3:GetObjectVersion"]);
        let locked = "PUT /b/k HTTP/1.1\r\nX-Amz-Object-Lock-Mode: GOVERNANCE";
        check(locked, &["s3:PutObject", "s3:PutObjectRetention"]);
        let bypass = "DELETE /b/k?versionId=1 HTTP/1.1\r\nx-amz-bypass-governance-retention: true";
        check(bypass, &["s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"]);
    }

    #[test]
    fn a_gate_answers_itself_what_its_server_would_not() {
        let check = |head: &str, habit: GateHabit, expected: Option<&str>| {
            assert_eq!(answer_of(head, habit), expected, "{habit:?}: {head}");
        };
        let locked = "PUT /b/k HTTP/1.1\r\nx-amz-object-lock-mode: GOVERNANCE";
        check(locked, GateHabit::ForgetsExtensions, None);
        check("PUT /b/k?retention&versionId=1 HTTP/1.1", GateHabit::ForgetsExtensions, Some(DONE));
        check("DELETE /b/k HTTP/1.1", GateHabit::DeletesLocked, None);
        check("DELETE /b/k?versionId=1 HTTP/1.1", GateHabit::DeletesLocked, Some(DONE));
        check("DELETE /b/k?versionId=1 HTTP/1.1", GateHabit::BypassesAnyLock, None);
        let bypass = "DELETE /b/k?versionId=1 HTTP/1.1\r\nx-amz-bypass-governance-retention: true";
        check(bypass, GateHabit::BypassesAnyLock, Some(DONE));
    }

    #[test]
    fn a_gate_keeps_fields_of_an_answer_to_itself() {
        let answer =
            "HTTP/1.1 200 OK\r\nX-Amz-Version-Id: 1\r\nX-Amz-Object-Lock-Mode: GOVERNANCE\r\nETag: a";
        let check = |habit, expected: &str| assert_eq!(without(answer, hidden_by(habit)), expected);
        check(GateHabit::Anonymous, answer);
        let unversioned = "HTTP/1.1 200 OK\r\nX-Amz-Object-Lock-Mode: GOVERNANCE\r\nETag: a";
        check(GateHabit::TellsNoVersion, unversioned);
        check(GateHabit::TellsNoRetention, "HTTP/1.1 200 OK\r\nX-Amz-Version-Id: 1\r\nETag: a");
    }

    #[test]
    fn a_gate_takes_off_the_signature_and_the_condition() {
        let head = "PUT /bucket/key HTTP/1.1\r\nHost: a\r\nAuthorization: AWS4\r\nIf-None-Match: *";
        let passed = rewrite(head, GateHabit::Anonymous);
        assert_eq!(
            passed,
            "PUT /bucket/key HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\nconnection: close\r\n\r\n"
        );
        let passed = rewrite(head, GateHabit::OverwritesOnCreate);
        assert_eq!(passed, "PUT /bucket/key HTTP/1.1\r\nHost: a\r\nconnection: close\r\n\r\n");
    }
}
