//! Secrets that say where a passphrase is, and passphrases that are too easy to guess.

use super::*;

fn secret(pairs: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
}

fn refusal(pairs: &[(&str, &str)]) -> String {
    match parse_dr_secret(&secret(pairs)) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_raw_passphrase_is_taken_byte_for_byte() {
    let data = secret(&[("key", " correct horse \n")]);
    assert!(parse_dr_secret(&data) == Ok(PassphraseSource::Raw(b" correct horse \n")));
}

#[test]
fn a_vault_secret_needs_all_its_keys() {
    let full = [
        ("source", "vault"),
        ("vault-kv-version", "KVv1"),
        ("vault-mount-path", "secret"),
        ("vault-secret-path", "k10"),
        ("key", "passphrase"),
    ];
    let data = secret(&full);
    let expected =
        VaultField { engine: VaultEngine::V1, mount_path: "secret", secret_path: "k10", field: "passphrase" };
    assert!(parse_dr_secret(&data) == Ok(PassphraseSource::Vault(expected)));
    for index in 1..full.len() {
        let mut partial = full.to_vec();
        let (missing, _) = partial.remove(index);
        let message = refusal(&partial);
        assert!(message.starts_with(&format!("secret 'k10-dr-secret' does not contain key '{missing}'")));
    }
}

#[test]
fn aws_and_azure_secrets_are_read_with_their_optional_keys() {
    let aws = secret(&[("source", "aws"), ("aws-region", "us-east-1"), ("key", "k10/dr/passphrase")]);
    let expected = AwsSecret { region: "us-east-1", name: "k10/dr/passphrase", json_field: None };
    assert!(parse_dr_secret(&aws) == Ok(PassphraseSource::Aws(expected)));
    let azure = secret(&[
        ("source", "azure"),
        ("azure-key-vault-url", "https://v.example"),
        ("key", "dr"),
        ("azure-secret-version", "3"),
        ("azure-secret-json-key", ""),
    ]);
    let expected =
        AzureSecret { vault_url: "https://v.example", name: "dr", version: Some("3"), json_field: None };
    assert!(parse_dr_secret(&azure) == Ok(PassphraseSource::Azure(expected)));
}

#[test]
fn a_wrong_secret_is_told_by_its_keys_and_never_by_its_values() {
    for (pairs, message) in [
        (&[][..], "secret 'k10-dr-secret' does not contain key 'key'; it contains no keys"),
        (
            &[("passphrase", "hunter2hunter2")],
            "secret 'k10-dr-secret' does not contain key 'key'; it contains 'passphrase'",
        ),
        (&[("key", "")], "key 'key' of secret 'k10-dr-secret' is empty"),
        (
            &[("source", "hunter2hunter2"), ("key", "x")],
            "key 'source' of secret 'k10-dr-secret' is none of 'vault', 'aws' and 'azure'",
        ),
        (
            &[("source", "vault"), ("vault-kv-version", "2")],
            "key 'vault-kv-version' of secret 'k10-dr-secret' is neither 'KVv1' nor 'KVv2'",
        ),
    ] {
        assert_eq!(refusal(pairs), message);
    }
}
