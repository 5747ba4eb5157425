//! Private keys, as those of our certificates are, in each form in which one may lie about.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use k8s_openapi::ByteString;
use serde_json::json;

use super::{Emitted, Planted, base64, hexadecimal};

/// What every private key of the curve of our certificates has, wherever it lies.
const KEY_IN_PEM: &[u8] = b"PRIVATE KEY-----";
/// The curve, and then an octet string, where a public key has a bit string.
const KEY_IN_PKCS8: &[u8] =
    b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x04";
/// How that octet string goes on: it holds the number with the public key, or alone.
const OCTETS_IN_PKCS8: [&[u8]; 2] = [b"\x6d\x30", b"\x27\x30"];
/// The curve, and then the public key, which stand behind the number.
const KEY_IN_SEC1: &[u8] = b"\xa0\x0a\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\xa1\x44\x03\x42\x00";

/// What is in each of them, whichever it is.
pub(super) fn forms_of_any() -> [Planted; 3] {
    [
        Planted::middle("a private key in PEM", KEY_IN_PEM),
        Planted::middle_before("a private key in PKCS#8", KEY_IN_PKCS8, &OCTETS_IN_PKCS8),
        Planted::middle("a private key in SEC 1", KEY_IN_SEC1),
    ]
}

/// One that was made as those of our certificates are.
pub(super) fn assert_are_found(keys: &Path) -> Result<()> {
    let pem = fs::read_to_string(keys.join("ca.key"))?;
    let der = decode_pem(&pem)?;
    // Within a PKCS#8 lies a SEC 1 without the curve, which stands between the number and the public key otherwise.
    let (number, public_key) = der[31..].split_at(37);
    let sec1 =
        [&b"\x30\x77"[..], number, b"\xa0\x0a\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07", public_key].concat();
    let shifted = |bytes: &[u8]| base64(&[bytes, &der].concat()).into_bytes();
    let forms = [
        ("PEM", pem.clone().into_bytes()),
        ("PEM in base64", base64(pem.as_bytes()).into_bytes()),
        ("DER", der.clone()),
        ("DER in base64", shifted(b"")),
        ("DER behind a byte, in base64", shifted(b"x")),
        ("DER behind two bytes, in base64", shifted(b"xx")),
        ("DER in hexadecimal digits", hexadecimal(&der).into_bytes()),
        ("SEC 1", sec1),
    ];
    for (form, bytes) in forms {
        let mut known = Emitted::default();
        known.add(form, &bytes);
        ensure!(!known.find(&forms_of_any()).is_empty(), "a private key in {form} is not found");
    }
    Ok(())
}

/// A certificate names the same curve, at whatever place of a group of letters.
pub(super) fn assert_certificates_are_not_found(keys: &Path) -> Result<()> {
    let certificate = decode_pem(&fs::read_to_string(keys.join("ca.crt"))?)?;
    for before in [&b""[..], b"x", b"xx"] {
        let mut known = Emitted::default();
        known.add("a certificate", base64(&[before, &certificate].concat()).as_bytes());
        assert_eq!(known.find(&forms_of_any()), Vec::<String>::new(), "behind {} bytes", before.len());
    }
    Ok(())
}

fn decode_pem(pem: &str) -> Result<Vec<u8>> {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let ByteString(der) = serde_json::from_value(json!(body))?;
    Ok(der)
}
