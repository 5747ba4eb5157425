//! The passphrase is kept elsewhere: in OpenBao, which speaks Vault's API and is not Vault, and in moto, which stands for
//! AWS. Pods reach both at the address of this machine.

use anyhow::{Context, Result, ensure};
use keelson_testkit::{KvVersion, Moto, OpenBao, Role, eventually};
use serde_json::json;

use super::installation::{Cluster, DR_POLICY, Lost, OWNERSHIP, PHRASE};
use super::scene::{BUCKET, Scene};
use super::typed::{
    PASSPHRASE_IN_AWS, PASSPHRASE_IN_VAULT, PASSPHRASE_IN_VAULT_KV1, VAULT_TOKEN, extended, with,
};
use super::verdict::scenario;
use crate::stage::{NAMESPACE, block_on, profile};
use crate::world::recovery_request;

/// The chart's account, as the documentation tells who sets up Vault.
const ACCOUNT: &str = "k10-k10";
const POLICY: &str = "k10-dr";
const RULES: &str = "path \"secret/k10\" { capabilities = [\"read\"] }\n\
                     path \"versions/data/k10\" { capabilities = [\"read\"] }";
/// Another name of the file that is read if none is given.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount/..data/token";
const NO_TOKEN_PATH: &str = "/var/run/secrets/elsewhere/token";

/// A server with an authority of its own: what is given besides to reach it and to sign in there, to either chart.
const PRIVATE: &str = r"--set vault.mountPath=clusters/one \
--set vault.caSecretName=vault-ca";

/// The passphrase in an engine without versions and in one with them, for a token and for the platform's account, which
/// signs in at `mount`.
fn fill_vault(bao: &OpenBao, cluster: &Cluster<'_>, mount: &str, reviewer: &str) -> Result<()> {
    bao.enable_kv("secret", KvVersion::One)?;
    bao.enable_kv("versions", KvVersion::Two)?;
    bao.write_policy(POLICY, RULES)?;
    bao.put("secret", "k10", "passphrase", PHRASE)?;
    // An engine with versions takes a moment.
    block_on(eventually("the engine takes secrets", async || {
        Ok(bao.put("versions", "k10", "passphrase", PHRASE).ok())
    }))?;
    bao.trust_cluster(mount, &cluster.nodes, reviewer)?;
    bao.bind_account(mount, &Role { name: "k10", namespace: NAMESPACE, account: ACCOUNT, policy: POLICY })
}

/// A token of an account that may ask whose tokens others are.
fn reviewer(cluster: &Cluster<'_>) -> Result<String> {
    cluster.kubectl(&["create", "serviceaccount", "reviewer", "-n", "default"], "")?;
    let delegator = ["--clusterrole=system:auth-delegator", "--serviceaccount=default:reviewer"];
    cluster.kubectl(&[&["create", "clusterrolebinding", "reviewer"][..], &delegator].concat(), "")?;
    let token = ["create", "token", "reviewer", "-n", "default", "--duration=2h"];
    Ok(cluster.kubectl(&token, "")?.trim().to_owned())
}

/// With a token for Vault in the Secret that the page calls so, on a platform that is told more besides.
fn begins_with_token(cluster: &Cluster<'_>, bao: &OpenBao, more: &str) -> Result<()> {
    cluster.makes_namespace()?;
    cluster.types(PASSPHRASE_IN_VAULT_KV1, &[])?;
    let token = bao.create_token(POLICY, "1h")?;
    cluster.types(VAULT_TOKEN, &[("vault-token", token.as_str())])?;
    cluster.installs(more)?;
    cluster.makes_profile()
}

/// The platform is told nothing of Vault; its account is what signs in.
fn begins_with_account(cluster: &Cluster<'_>) -> Result<()> {
    cluster.makes_namespace()?;
    cluster.types(PASSPHRASE_IN_VAULT_KV1, &[])?;
    cluster.installs("")?;
    cluster.makes_profile()
}

/// The platform is told by its chart where its account signs in, and who has signed the server's certificate.
fn begins_with_private_vault(cluster: &Cluster<'_>, bao: &OpenBao) -> Result<()> {
    cluster.makes_namespace()?;
    let secret = [
        ("version-of-key-value-secrets-engine", "KVv2"),
        ("path-where-key-value-engine-is-mounted", "versions"),
        ("path-from-mount-to-passphrase-key", "k10"),
        ("name-of-passphrase-key", "passphrase"),
    ];
    cluster.types(PASSPHRASE_IN_VAULT, &secret)?;
    let authority = json!({ "ca.crt": bao.authority().context("a server with TLS has an authority")? });
    let metadata = json!({ "name": "vault-ca", "namespace": NAMESPACE });
    cluster.apply(
        &json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": authority }),
    )?;
    let way = format!("--set vault.address={} --set vault.role=k10", bao.url());
    cluster.installs(&extended(&way, PRIVATE))?;
    cluster.makes_profile()
}

fn recovers_with_vault(scene: &Scene, cluster: &Cluster<'_>) -> Result<()> {
    let reviewer = reviewer(cluster)?;
    let bao = block_on(OpenBao::start(scene.host))?;
    fill_vault(&bao, cluster, "kubernetes", &reviewer)?;
    let url = bao.url();
    let way = format!("--set vault.address={url} --set vault.secretName=vault-creds");

    begins_with_token(cluster, &bao, &way)?;
    cluster.kubectl(&["patch", "secret", "k10-dr-secret", "-n", NAMESPACE, "-p", &wrong_version()], "")?;
    let said = cluster.keelson(&["dr", "enable", "--profile", "vault"])?;
    ensure!(said.code == 3 && said.stderr.contains("neither 'KVv1' nor 'KVv2'"), "{said:?}");
    cluster.kubectl(&["delete", "secret", "k10-dr-secret", "-n", NAMESPACE], "")?;
    cluster.types(PASSPHRASE_IN_VAULT_KV1, &[])?;
    let lost = cluster.protects()?;

    // The platform is told nothing of Vault: only the restore knows the way.
    cluster.loses_everything()?;
    begins_with_token(cluster, &bao, "")?;
    let words = [("vault-server-address", url.as_str()), ("name-of-secret-with-vault-creds", "vault-creds")];
    cluster.recovers(&lost, with::VAULT_TOKEN, &words)?;
    is_protected_once_it_knows_the_way(cluster, &way)?;
    cluster.assert_recovered(&lost)?;

    cluster.loses_everything()?;
    begins_with_account(cluster)?;
    cluster.asks_for(&lost, "", &[])?;
    let word = cluster.last_word("k10-restore")?;
    ensure!(word.code == 4 && word.message.contains("says where Vault is"), "{word:?}");
    cluster.uninstalls_restore()?;
    let role = [("vault-server-address", url.as_str()), ("vault-kubernetes-authentication-role_name", "k10")];
    cluster.recovers(&lost, with::VAULT_ROLE, &role)?;
    cluster.assert_platform_recovered(&lost)?;

    recovers_with_private_vault(scene, cluster, &lost, &reviewer)
}

/// What a restore was told counts for nothing afterwards: what the platform reads for itself it is told by its own chart.
fn is_protected_once_it_knows_the_way(cluster: &Cluster<'_>, way: &str) -> Result<()> {
    cluster.until("its policy lacks the way to the passphrase", || {
        let policy = cluster.get(&["policy", DR_POLICY, "-n", NAMESPACE])?.unwrap_or_default();
        let status = &policy["status"];
        let lacks_it = status["validation"] == "Failed" && status.to_string().contains("says where Vault is");
        Ok(lacks_it.then_some(()))
    })?;
    cluster.upgrades(way)?;
    cluster.wait_valid("policy", DR_POLICY)
}

/// Without its authority nothing is said to it, and while it is sealed it says nothing.
fn recovers_with_private_vault(
    scene: &Scene,
    cluster: &Cluster<'_>,
    lost: &Lost,
    reviewer: &str,
) -> Result<()> {
    let bao = block_on(OpenBao::start_with_tls(scene.host))?;
    fill_vault(&bao, cluster, "clusters/one", reviewer)?;
    cluster.loses_everything()?;
    begins_with_private_vault(cluster, &bao)?;
    let url = bao.url();
    let with_token_at = |path: &'static str| {
        [
            ("vault-server-address", url.as_str()),
            ("vault-kubernetes-authentication-role_name", "k10"),
            ("service-account-token-path", path),
        ]
    };
    // What is given counts, and not what is read if nothing is given.
    cluster.asks_for(lost, with::VAULT_ROLE_AND_PATH, &with_token_at(NO_TOKEN_PATH))?;
    let word = cluster.last_word("k10-restore")?;
    ensure!(word.code == 4 && word.message.contains(NO_TOKEN_PATH), "{word:?}");
    cluster.uninstalls_restore()?;

    let words = with_token_at(TOKEN_PATH);
    // Of the way that the platform was told nothing counts for a restore that brings its own.
    cluster.asks_for(lost, with::VAULT_ROLE_AND_PATH, &words)?;
    let word = cluster.last_word("k10-restore")?;
    ensure!(word.code == 6 && word.message.contains("not trusted"), "{word:?}");
    cluster.uninstalls_restore()?;

    bao.seal()?;
    let more = extended("--set skipResource=policy", &extended(PRIVATE, with::VAULT_ROLE_AND_PATH));
    cluster.asks_for(lost, &more, &words)?;
    let word = cluster.last_word("k10-restore")?;
    let is_told = word.message.contains("Vault is sealed") && word.message.contains("vault operator unseal");
    ensure!(word.code == 7 && is_told, "{word:?}");
    ensure!(cluster.get(&OWNERSHIP)?.is_none(), "what was not done leaves something");
    bao.unseal()?;
    // The next pod of the same Job asks again.
    cluster.job_succeeds()?;
    cluster.assert_platform_recovered(lost)?;
    enables_anew(cluster)
}

/// The policy of before was left out, and with it all that the platform may have known of the passphrase: it goes the way
/// that its chart has told it.
fn enables_anew(cluster: &Cluster<'_>) -> Result<()> {
    let policies = cluster.names(&["policies", "-n", NAMESPACE])?;
    ensure!(policies.is_empty(), "left out are {policies:?}");
    cluster.enables()?;
    cluster.wait_valid("policy", DR_POLICY)
}

fn wrong_version() -> String {
    json!({ "stringData": { "vault-kv-version": "KVv3" } }).to_string()
}

/// A platform that finds AWS here, and knows whose keys to sign with.
fn begins_with_keys(cluster: &Cluster<'_>, moto: &Moto) -> Result<()> {
    cluster.makes_namespace()?;
    cluster.types(PASSPHRASE_IN_AWS, &[])?;
    cluster.installs(&format!("--set keelson.env.AWS_ENDPOINT_URL={}", moto.url()))?;
    cluster.makes_profile_of("vault", BUCKET, &json!({ "path": "elsewhere" }))?;
    cluster.types(
        "$ kubectl create secret generic aws-infra --namespace kasten-io --type secrets.kanister.io/aws \\\n\
         --from-literal aws_access_key_id=AKIAIOSFODNN7EXAMPLE \\\n\
         --from-literal aws_secret_access_key=wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLE",
        &[],
    )?;
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "name": "aws-infra", "namespace": NAMESPACE });
    let credential = json!({ "secretType": "AwsAccessKey", "secret": secret });
    let infra = json!({ "type": "AWS", "credential": credential });
    cluster.apply(&profile("aws", &json!({ "type": "Infra", "infra": infra })))?;
    cluster.wait_valid("profile", "aws")
}

/// What the platform finds as passphrase opens nothing that the lost one has left.
fn assert_opens_nothing(cluster: &Cluster<'_>, lost: &Lost) -> Result<()> {
    let review = cluster.create(&recovery_request("KastenDRReview", "looked", "vault", &lost.id))?;
    let status = cluster.ended("kastendrreview", NAMESPACE, &review)?["status"].take();
    let is_told = status.to_string().contains("opens with this passphrase");
    ensure!(status["state"] == "failed" && is_told, "{status}");
    cluster.kubectl(&["delete", "kastendrreview", &review, "-n", NAMESPACE], "").map(drop)
}

/// Below another path of the bucket, since other backups of this cluster are there.
fn recovers_with_aws(scene: &Scene, cluster: &Cluster<'_>) -> Result<()> {
    let moto = block_on(Moto::start(scene.host))?;
    let put = |phrase: &str| moto.put_secret("k10/dr/passphrase", phrase);
    put(PHRASE)?;
    begins_with_keys(cluster, &moto)?;
    let lost = cluster.protects()?;
    cluster.loses_everything()?;
    begins_with_keys(cluster, &moto)?;
    // What AWS has is what counts, and nothing that the Secret or the platform has besides.
    put("not what the lost platform found there")?;
    assert_opens_nothing(cluster, &lost)?;
    put(PHRASE)?;
    cluster.recovers(&lost, "", &[])?;
    cluster.assert_recovered(&lost)
}

#[test]
fn a_passphrase_comes_from_vault_by_token_and_account_in_both_engines_and_from_aws_by_a_profile() -> Result<()>
{
    scenario(|scene| {
        let cluster = Cluster::raise(scene, "elsewhere")?;
        recovers_with_vault(scene, &cluster)?;
        cluster.loses_everything()?;
        recovers_with_aws(scene, &cluster)?;
        cluster.nodes.check()
    })
}
