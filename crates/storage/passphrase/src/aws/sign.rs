//! Signature version 4, of a POST to the root of a service: all that is needed here.

use aws_lc_rs::{digest, hmac};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::AwsCredentials;

/// What is signed.
pub(super) struct Post<'a> {
    pub(super) service: &'a str,
    pub(super) region: &'a str,
    /// With its port, if it is not the usual one.
    pub(super) host: &'a str,
    pub(super) content_type: &'a str,
    /// The operation, where the service wants it in a header.
    pub(super) target: Option<&'a str>,
    pub(super) body: &'a [u8],
}

/// The time as the header `x-amz-date` tells it.
pub(super) fn stamp(now: Timestamp) -> String {
    now.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// The value of the header `authorization`.
pub(super) fn authorize(post: &Post<'_>, credentials: &AwsCredentials, now: Timestamp) -> Zeroizing<String> {
    let stamp = stamp(now);
    let day = &stamp[..8];
    let token = credentials.session_token.as_ref().map(|token| token.expose());
    let mut headers =
        vec![("content-type", post.content_type), ("host", post.host), ("x-amz-date", stamp.as_str())];
    headers.extend(token.map(|token| ("x-amz-security-token", token)));
    headers.extend(post.target.map(|target| ("x-amz-target", target)));
    let signed = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let mut canonical = Zeroizing::new(String::from("POST\n/\n\n"));
    for (name, value) in &headers {
        canonical.push_str(&format!("{name}:{}\n", value.trim()));
    }
    canonical.push_str(&format!("\n{signed}\n{}", hash(post.body)));
    let scope = format!("{day}/{}/{}/aws4_request", post.region, post.service);
    let wanted = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", hash(canonical.as_bytes()));
    let first = Zeroizing::new(format!("AWS4{}", credentials.secret_key.expose()).into_bytes());
    let key =
        [day, post.region, post.service, "aws4_request"].iter().fold(first, |key, part| derive(&key, part));
    let signature = hex::encode(derive(&key, &wanted).as_slice());
    Zeroizing::new(format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}",
        credentials.access_key
    ))
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

fn derive(key: &[u8], text: &str) -> Zeroizing<Vec<u8>> {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    Zeroizing::new(tag.as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretText;

    /// Of the suite that AWS publishes for those who write signers, and reckoned by a second implementation.
    #[test]
    fn a_known_request_has_the_known_signature() {
        let now: Timestamp = "2015-08-30T12:36:00Z".parse().unwrap();
        let check = |token: Option<&str>, target: Option<&str>, expected: &str| {
            let credentials = AwsCredentials {
                access_key: "AKIDEXAMPLE".to_owned(),
                secret_key: SecretText::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()),
                session_token: token.map(|token| SecretText::new(token.to_owned())),
            };
            let post = Post {
                service: "service",
                region: "us-east-1",
                host: "example.amazonaws.com",
                content_type: "application/x-www-form-urlencoded",
                target,
                body: b"Param1=value1",
            };
            let authorized = authorize(&post, &credentials, now);
            assert!(authorized.ends_with(&format!("Signature={expected}")), "{}", *authorized);
        };
        check(None, None, "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a");
        check(
            Some("a-token"),
            Some("secretsmanager.GetSecretValue"),
            "086b7f748b14cb60000e4f6a4104dc1101fb70d6d0746a2ebcd3c21ead5173c0",
        );
    }
}
