//! Where the passphrase of disaster recovery is, as `dr enable` is told: in a file, in Vault, or in AWS Secrets Manager. It
//! becomes the Secret `k10-dr-secret`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use keelson_model::passphrase::{key, parse_dr_secret};

use crate::failure::failed;
use crate::files::read_passphrase;

#[derive(Debug, Args)]
pub(super) struct PassphraseArguments {
    /// Holds the passphrase; '-' reads it from stdin. Without any source the Secret k10-dr-secret must be there.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["vault_path", "aws_secret"])]
    passphrase_file: Option<PathBuf>,
    /// The secret in HashiCorp Vault that holds the passphrase: its path below the mount.
    #[arg(
        long,
        value_name = "PATH",
        conflicts_with = "aws_secret",
        requires = "vault_key",
        requires = "vault_kv_version"
    )]
    vault_path: Option<String>,
    /// The key of that secret under which the passphrase is.
    #[arg(long, value_name = "KEY", requires = "vault_path")]
    vault_key: Option<String>,
    /// The version of Vault's secrets engine.
    #[arg(long, value_name = "VERSION", requires = "vault_path", value_parser = ["KVv1", "KVv2"])]
    vault_kv_version: Option<String>,
    /// Where the engine is mounted.
    #[arg(long, value_name = "PATH", default_value = "secret")]
    vault_mount: String,
    /// The secret in AWS Secrets Manager that holds the passphrase.
    #[arg(long, value_name = "NAME", requires = "aws_region")]
    aws_secret: Option<String>,
    /// The region of that secret.
    #[arg(long, value_name = "REGION", requires = "aws_secret")]
    aws_region: Option<String>,
    /// The field of a JSON secret; without it the whole secret, or its only field.
    #[arg(long, value_name = "FIELD", requires = "aws_secret")]
    aws_secret_key: Option<String>,
}

/// What the Secret holds.
pub(super) type Fields = BTreeMap<String, Vec<u8>>;

impl PassphraseArguments {
    /// The Secret's fields, checked; none where no source is named.
    pub(super) fn read(self) -> Result<Option<Fields>> {
        let Self {
            passphrase_file,
            vault_path,
            vault_key,
            vault_kv_version,
            vault_mount,
            aws_secret,
            aws_region,
            aws_secret_key,
        } = self;
        if let Some(file) = passphrase_file {
            return Ok(Some(Fields::from([(key::KEY.to_owned(), read_passphrase(&file)?)])));
        }
        let named = if vault_path.is_some() {
            vec![
                (key::SOURCE, Some("vault".to_owned())),
                (key::VAULT_VERSION, vault_kv_version),
                (key::VAULT_MOUNT, Some(vault_mount)),
                (key::VAULT_SECRET, vault_path),
                (key::KEY, vault_key),
            ]
        } else if aws_secret.is_some() {
            vec![
                (key::SOURCE, Some("aws".to_owned())),
                (key::AWS_REGION, aws_region),
                (key::KEY, aws_secret),
                (key::AWS_JSON_FIELD, aws_secret_key),
            ]
        } else {
            return Ok(None);
        };
        let given = named.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?.into_bytes())));
        let fields: Fields = given.collect();
        parse_dr_secret(&fields).map_err(failed)?;
        Ok(Some(fields))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        passphrase: PassphraseArguments,
    }

    fn read(words: &[&str]) -> Result<Option<Vec<String>>> {
        let line = Line::try_parse_from(std::iter::once(&"enable").chain(words))?;
        let told = |(key, value): (String, Vec<u8>)| format!("{key}={}", String::from_utf8_lossy(&value));
        Ok(line.passphrase.read()?.map(|fields| fields.into_iter().map(told).collect()))
    }

    #[test]
    fn the_secret_says_where_the_passphrase_is_as_the_flags_do() {
        let check = |words: &[&str], expected: &[&str]| {
            assert_eq!(read(words).unwrap().unwrap_or_default(), expected, "{words:?}");
        };
        check(&[], &[]);
        let vault = ["--vault-path", "k10", "--vault-key", "passphrase", "--vault-kv-version", "KVv1"];
        let expected = [
            "key=passphrase",
            "source=vault",
            "vault-kv-version=KVv1",
            "vault-mount-path=secret",
            "vault-secret-path=k10",
        ];
        check(&vault, &expected);
        let aws = ["--aws-secret", "k10/dr/passphrase", "--aws-region", "us-east-1"];
        check(&aws, &["aws-region=us-east-1", "key=k10/dr/passphrase", "source=aws"]);
    }

    #[test]
    fn half_a_source_and_two_at_once_are_refused() {
        for words in [
            &["--vault-path", "k10"][..],
            &["--vault-path", "k10", "--vault-key", "p", "--vault-kv-version", "2"],
            &["--vault-key", "p"],
            &["--aws-secret", "k10"],
            &["--aws-region", "us-east-1"],
            &["--aws-secret", "", "--aws-region", "us-east-1"],
            &["--aws-secret", "k10", "--aws-region", "us-east-1", "--passphrase-file", "-"],
        ] {
            assert!(read(words).is_err(), "{words:?}");
        }
    }
}
