//! Buckets that cannot be reached, opened or used. Each names its own error, with a hint and without a secret.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::Result;
use keelson_model::{Chain, Classified, ErrorClass};
use keelson_store::providers::s3::{LockMode, S3Settings, S3Store, Secret, Trust};
use keelson_store::{NetworkFault, Place, Store, StoreError, StoreExt, StorePath};
use keelson_testkit::{BucketProtection, Minio, TlsFront, free_port};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::servers::settings;

const ACCESS_KEY: &str = "AKIAVERYSECRET";
const SECRET_KEY: &str = "wJalrXUtnFEMI-very-secret";

fn anywhere(endpoint: impl Into<String>) -> S3Settings {
    S3Settings {
        bucket: "backups".to_owned(),
        path: StorePath::root(),
        endpoint: Some(endpoint.into()),
        region: Some("eu-central-1".to_owned()),
        access_key: ACCESS_KEY.to_owned(),
        secret_key: Secret::new(SECRET_KEY.to_owned()),
        trust: Trust::System,
        lock_mode: LockMode::Governance,
    }
}

/// Opens a bucket that cannot be opened. What is said of it must not hold the credentials.
async fn refused(settings: S3Settings) -> StoreError {
    let said = format!("{settings:?}");
    let secret = [ACCESS_KEY, SECRET_KEY];
    let error = S3Store::connect(settings).await.unwrap_err();
    let said = format!("{said} {error:?} {} {:?}", Chain(&error), error.hint());
    assert!(!secret.iter().any(|secret| said.contains(secret)), "a secret is told: {said}");
    error
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused_before_anything_is_sent() -> Result<()> {
    for endpoint in [
        "s3.example.test",
        "ftp://s3.example.test",
        "https://user:password@s3.example.test",
        "https://s3.example.test/path",
        "https://s3.example.test?key=value",
        "https://",
    ] {
        let error = refused(anywhere(endpoint)).await;
        assert!(matches!(error, StoreError::Configure { .. }), "{endpoint}: {error:?}");
        assert!(!Chain(&error).to_string().contains("password"));
    }
    let endpoint = "https://s3.example.test";
    for settings in [
        S3Settings { bucket: String::new(), ..anywhere(endpoint) },
        S3Settings { bucket: "a/b".to_owned(), ..anywhere(endpoint) },
        S3Settings { secret_key: Secret::new(String::new()), ..anywhere(endpoint) },
        S3Settings { trust: Trust::SystemAnd(b"no certificate".to_vec()), ..anywhere(endpoint) },
    ] {
        let error = refused(settings).await;
        assert!(matches!(error, StoreError::Configure { .. }), "{error:?}");
        assert_eq!(error.class(), ErrorClass::Invalid);
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_told_with_the_reason() -> Result<()> {
    let nobody = format!("http://127.0.0.1:{}", free_port()?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let plain = format!("https://{}", listener.local_addr()?);
    serve(listener, |mut connection| async move {
        Ok(connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await?)
    });
    for (endpoint, expected) in [
        (nobody, NetworkFault::Refused),
        ("http://store.invalid".to_owned(), NetworkFault::Name),
        (plain, NetworkFault::Tls),
    ] {
        let error = refused(anywhere(&endpoint)).await;
        assert!(error.to_string().starts_with(&format!("open s3://backups at {endpoint}: ")), "{error}");
        assert!(error.hint().is_some());
        assert!(matches!(error.class(), ErrorClass::Unavailable { .. }));
        match error {
            StoreError::Unreachable { fault, .. } => assert_eq!(fault, expected, "{endpoint}"),
            other => panic!("{endpoint}: {other:?}"),
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_and_buckets_that_are_wrong_are_told_apart() -> Result<()> {
    let minio = Minio::start().await?;
    let wrong_key = S3Settings { access_key: ACCESS_KEY.to_owned(), ..settings(&minio, "backups") };
    let wrong_secret =
        S3Settings { secret_key: Secret::new(SECRET_KEY.to_owned()), ..settings(&minio, "backups") };
    for settings in [wrong_key, wrong_secret] {
        let error = refused(settings).await;
        assert!(matches!(error, StoreError::BadCredentials { .. }), "{error:?}");
        assert_eq!(error.class(), ErrorClass::Denied);
        assert!(error.hint().unwrap().contains("secret key"));
    }
    let error = refused(settings(&minio, "backups")).await;
    assert!(matches!(error, StoreError::MissingLocation { place: Place::Bucket, .. }), "{error:?}");
    let expected = format!("open s3://backups at {}: the bucket does not exist", minio.endpoint());
    assert_eq!(error.to_string(), expected);
    assert!(error.hint().unwrap().contains("create the bucket"));
    minio.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_and_comes_back_is_used_again() -> Result<()> {
    let mut minio = Minio::start().await?;
    minio.create_bucket("backups", BucketProtection::None).await?;
    let store = S3Store::connect(settings(&minio, "backups")).await?;
    assert!(!format!("{store:?}").contains(minio.access_key()), "{store:?}");
    let path: StorePath = "object".parse()?;
    store.create(&path, "x".into()).await?;
    minio.interrupt()?;
    let gone = store.fetch_all(&path).await.unwrap_err();
    assert!(matches!(gone, StoreError::Unreachable { .. }), "{gone:?}");
    minio.resume().await?;
    assert_eq!(store.fetch_all(&path).await?, "x");
    minio.stop().await
}

#[tokio::test]
async fn a_servers_refusal_is_understood() -> Result<()> {
    let answer = |code: &str| format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
    for (status, headers, code, expected) in [
        ("403 Forbidden", "", "AccessDenied", "store.location.forbidden"),
        ("403 Forbidden", "", "InvalidAccessKeyId", "store.location.bad_credentials"),
        ("403 Forbidden", "", "RequestTimeTooSkewed", "store.location.wrong_clock"),
        (
            "301 Moved",
            "x-amz-bucket-region: eu-west-1\r\n",
            "PermanentRedirect",
            "store.location.wrong_region",
        ),
        ("400 Bad Request", "", "AuthorizationHeaderMalformed", "store.location.wrong_region"),
        ("404 Not Found", "", "NoSuchBucket", "store.location.missing"),
        ("503 Slow Down", "retry-after: 7\r\n", "SlowDown", "store.location.busy"),
        ("507 Insufficient Storage", "", "XMinioStorageFull", "store.location.full"),
        ("418 I'm a teapot", "", "Whatever", "store.location.refused"),
    ] {
        let endpoint = canned(status, headers, &answer(code)).await?;
        let error = refused(anywhere(endpoint)).await;
        assert_eq!(error.code(), expected, "{error:?}");
        if let StoreError::Busy { retry_after, .. } = &error {
            assert_eq!(*retry_after, Some(Duration::from_secs(7)));
        }
        if code == "PermanentRedirect" {
            assert_eq!(error.hint().unwrap(), "set the profile's region to 'eu-west-1'");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_an_error() -> Result<()> {
    for (status, body, expected) in [
        ("502 Bad Gateway", "<html>proxy</html>", "store.location.busy"),
        ("403 Forbidden", "go away", "store.location.forbidden"),
        ("200 OK", "<ListBucketResult><Cont", "store.location.refused"),
        ("200 OK", "not xml at all", "store.location.refused"),
    ] {
        let error = refused(anywhere(canned(status, "", body).await?)).await;
        assert_eq!(error.code(), expected, "{status} {body}: {error:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_ones_own_is_trusted_only_when_told() -> Result<()> {
    let minio = Minio::start().await?;
    minio.create_bucket("backups", BucketProtection::None).await?;
    let front = TlsFront::open(&minio.endpoint(), IpAddr::V4(Ipv4Addr::LOCALHOST)).await?;
    let with = |trust| S3Settings { endpoint: Some(front.endpoint()), trust, ..settings(&minio, "backups") };

    let error = refused(with(Trust::System)).await;
    assert!(matches!(error, StoreError::Unreachable { fault: NetworkFault::Tls, .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("certificate authority"));
    for trust in [Trust::SystemAnd(front.authority().into()), Trust::Anyone] {
        let store = S3Store::connect(with(trust)).await?;
        store.create(&"object".parse()?, "x".into()).await?;
        store.delete(&"object".parse()?, None).await?;
    }
    minio.stop().await
}

/// A server that answers everything the same. It ends with the test's runtime.
async fn canned(status: &str, headers: &str, body: &str) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
    serve(listener, move |connection| {
        let answer = answer.clone();
        async move {
            let mut connection = BufReader::new(connection);
            let mut line = String::new();
            while connection.read_line(&mut line).await? > 2 {
                line.clear();
            }
            connection.write_all(answer.as_bytes()).await?;
            Ok(connection.shutdown().await?)
        }
    });
    Ok(endpoint)
}

/// Accepts connections for as long as the test lives. A connection that fails is what some tests are about.
fn serve<F>(listener: TcpListener, answer: impl Fn(TcpStream) -> F + Send + 'static)
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let accept = async move {
        let mut connections = JoinSet::new();
        while let Ok((connection, _)) = listener.accept().await {
            connections.spawn(answer(connection));
        }
    };
    TaskTracker::new().spawn(accept);
}
