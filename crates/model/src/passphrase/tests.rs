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

#[test]
fn an_installation_says_how_vault_is_reached_and_no_empty_value_counts() {
    let map = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        VaultAccess::of_config_map(&pairs.collect())
    };
    assert_eq!(map(&[]), None);
    assert_eq!(map(&[("address", " "), ("role", "k10")]), None);
    let bare = VaultAccess {
        address: "https://vault.vault.svc:8200".to_owned(),
        namespace: None,
        role: None,
        token_path: None,
        mount_path: None,
        secret_name: None,
        ca_secret_name: None,
    };
    let address = ("address", "https://vault.vault.svc:8200");
    assert_eq!(map(&[address, ("role", ""), ("mountPath", ""), ("unknown", "x")]), Some(bare.clone()));
    let full = map(&[
        address,
        ("namespace", "team"),
        ("role", "k10"),
        ("serviceAccountTokenPath", "/token"),
        ("mountPath", "clusters/one"),
        ("secretName", "vault-creds"),
        ("caSecretName", "vault-ca"),
    ]);
    let some = |text: &str| Some(text.to_owned());
    let expected = VaultAccess {
        namespace: some("team"),
        role: some("k10"),
        token_path: some("/token"),
        mount_path: some("clusters/one"),
        secret_name: some("vault-creds"),
        ca_secret_name: some("vault-ca"),
        ..bare
    };
    assert_eq!(full, Some(expected));
}

#[test]
fn a_source_is_described_without_what_it_holds() {
    assert_eq!(PassphraseSource::Raw(b"planted").describe(), None);
    let aws = AwsSecret { region: "us-east-1", name: "k10/dr", json_field: Some("phrase") };
    let told = PassphraseSource::Aws(aws).describe().unwrap();
    assert_eq!(told, "field 'phrase' of secret 'k10/dr' of region 'us-east-1' in AWS Secrets Manager");
    let field = |engine| VaultField { engine, mount_path: "secret", secret_path: "k10", field: "phrase" };
    let told = |engine| PassphraseSource::Vault(field(engine)).describe().unwrap();
    assert_eq!(told(VaultEngine::V1), "key 'phrase' of 'k10' at 'secret' (KVv1) in Vault");
    assert_ne!(told(VaultEngine::V1), told(VaultEngine::V2));
}

#[test]
fn a_request_names_tokens_of_accounts_and_no_other_file() {
    for (path, may_be) in [
        (VaultAccess::TOKEN_PATH, true),
        ("/var/run/secrets/vault/token", true),
        ("/var/run/secrets/", false),
        ("/var/run/secrets", false),
        ("/var/run/secrets-of-others/token", false),
        ("/var/run/secrets/../../../etc/passwd", false),
        ("/var/run/secrets/./token", false),
        ("/var/run/secrets//token", false),
        ("var/run/secrets/token", false),
        ("/etc/passwd", false),
        ("", false),
    ] {
        assert_eq!(VaultAccess::may_be_asked_for(path), may_be, "{path}");
    }
}
