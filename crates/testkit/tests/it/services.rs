//! The servers that stand for others' services keep and refuse what a test tells them to. They need no root and no cluster.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use anyhow::{Result, ensure};
use keelson_testkit::{KvVersion, Moto, OpenBao, eventually};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn told(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test]
async fn a_token_reads_what_its_policy_allows_until_the_store_is_sealed() -> Result<()> {
    let bao = OpenBao::start(HERE).await?;
    for (mount, version) in [("one", KvVersion::One), ("two", KvVersion::Two)] {
        bao.enable_kv(mount, version)?;
        // An engine with versions takes a moment.
        eventually("the engine takes a secret", async || {
            Ok(bao.put(mount, "dr", "passphrase", "correct horse").ok())
        })
        .await?;
    }
    bao.write_policy("one", r#"path "one/dr" { capabilities = ["read"] }"#)?;
    let token = bao.create_token("one", "1h")?;
    let read = |mount: &str| {
        let mount = format!("-mount={mount}");
        let mut read = bao.bao();
        read.env("BAO_TOKEN", &token).args(["kv", "get", &mount, "-field=passphrase", "dr"]);
        told(&mut read)
    };
    assert_eq!(read("one")?, "correct horse");
    assert!(read("two").is_err(), "not allowed");
    bao.seal()?;
    assert!(read("one").is_err(), "sealed");
    bao.unseal()?;
    assert_eq!(read("one")?, "correct horse");
    Ok(())
}

#[tokio::test]
async fn a_secret_of_the_double_of_aws_has_versions_under_one_name() -> Result<()> {
    let moto = Moto::start(HERE).await?;
    let first = moto.put_secret("dr", "correct horse")?;
    assert!(first.starts_with("arn:aws:secretsmanager:us-east-1:"), "{first}");
    assert_eq!(moto.put_binary_secret("dr", b"\0\xff")?, first);
    assert_ne!(moto.put_secret("another", "staple")?, first);
    Ok(())
}
