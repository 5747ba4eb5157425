//! Secrets that can be told from anything else are planted wherever the platform takes some. Then all that it has said,
//! at the most talkative level that people use, and every byte that it has stored is searched for them. Private keys are
//! searched for everywhere, also among Secrets: the keys of our certificates leave no memory.

mod private_keys;
mod random;
mod sources;

use std::fmt::Write;
use std::fs;
use std::io::{ErrorKind, Read};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use keelson_e2e::{Answer, answer};
use keelson_testkit::{BucketProtection, ControlPlane, Minio, Moto, Supervisor};
use serde_json::{Value, json};

use self::random::Random;
use crate::imports::{export_by_policy, receive_string, run};
use crate::metrics::scrape;
use crate::stage::{NAMESPACE, Stage, block_on, profile};
use crate::world::{APPLICATION, ORIGIN, create_application, wait_until_shipped};

const BUCKET: &str = "vault";
const FIRST: &str = "planted first passphrase qX7";
const SECOND: &str = "planted second passphrase vK3";
const FURTHER: &str = "planted further passphrase mW9";
const OF_PASSKEY: &str = "planted passkey passphrase hD6";
const MISPLACED_PASSKEY: &str = "planted in the spec of a passkey";
const WRONG: &str = "planted wrong passphrase zT5";
const OF_KIT: &str = "planted kit passphrase pL8";
const WRONG_OF_KIT: &str = "planted wrong kit passphrase nY2";
const SHORT: &str = "sH0rt!Q";
const MISPLACED: &str = "planted as the source of a passphrase";
const WRONG_KEY: &str = "plantedWrongSecretAccessKey0123456789abcd";
const OF_APPLICATION: &str = "planted by the application gR2";

/// With which each frame of Zstandard begins.
const ZSTD_MAGIC: &[u8; 4] = b"\x28\xb5\x2f\xfd";
/// No more of a frame is looked at.
const FRAME_BYTES_MAX: u64 = 64 << 20;

/// What must not be found: as it is, in base64 and in hexadecimal digits. Bytes are read as characters of one byte.
pub(crate) struct Planted {
    what: String,
    forms: Vec<String>,
}

impl Planted {
    pub(crate) fn new(what: &str, secret: &[u8]) -> Self {
        let forms = vec![one_byte_each(secret), base64(secret), hexadecimal(secret)];
        Self { what: what.to_owned(), forms }
    }

    fn middle(what: &str, part: &[u8]) -> Self {
        Self::middle_before(what, part, &[b""])
    }

    /// The middle of something, with what may follow it: what it is part of may begin at any of three places of a group of
    /// letters, and of these up to two bytes are lost at the end, by which it may be told from something else.
    fn middle_before(what: &str, part: &[u8], followers: &[&[u8]]) -> Self {
        let mut forms = vec![one_byte_each(part), hexadecimal(part)];
        for follower in followers {
            let whole = [part, *follower].concat();
            forms.extend((0..3).map(|skipped| base64(&whole[skipped..])));
        }
        Self { what: what.to_owned(), forms }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

fn one_byte_each(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Without the last letters, which depend on what follows.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |group: &[u8], place: usize| {
        let bits = group.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        char::from(LETTERS[bits >> (18 - 6 * place) & 63])
    };
    bytes.chunks_exact(3).flat_map(|group| (0..4).map(move |place| letter(group, place))).collect()
}

/// All that was said and stored.
#[derive(Default)]
pub(crate) struct Emitted {
    pieces: Vec<(String, String)>,
}

impl Emitted {
    pub(crate) fn add(&mut self, name: impl Into<String>, bytes: &[u8]) {
        self.pieces.push((name.into(), one_byte_each(bytes)));
    }

    /// Bytes of a file, and what they hold that is compressed and not encrypted. Where a frame only seems to begin, or is cut
    /// off, what could be read of it counts.
    pub(crate) fn add_stored(&mut self, name: &str, bytes: &[u8]) {
        self.add(name, bytes);
        for (at, _) in bytes.windows(4).enumerate().filter(|(_, window)| *window == ZSTD_MAGIC) {
            let mut read = Vec::new();
            if let Ok(decoder) = zstd::stream::read::Decoder::new(&bytes[at..]) {
                drop(decoder.single_frame().take(FRAME_BYTES_MAX).read_to_end(&mut read));
            }
            self.add(format!("{name}, a frame at {at}"), &read);
        }
    }

    fn add_answer(&mut self, words: &[&str], said: &Answer) {
        self.add(words.join(" "), format!("{}\n{}", said.stdout, said.stderr).as_bytes());
    }

    fn add_folder(&mut self, folder: &Path) -> Result<usize> {
        let (mut open, mut files) = (vec![folder.to_owned()], 0);
        while let Some(folder) = open.pop() {
            // What was only there for a moment is gone by now.
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let path: PathBuf = entry?.path();
                if path.is_dir() {
                    open.push(path);
                } else if let Ok(bytes) = fs::read(&path) {
                    self.add_stored(&path.display().to_string(), &bytes);
                    self.add(format!("the name {}", path.display()), path.display().to_string().as_bytes());
                    files += 1;
                }
            }
        }
        Ok(files)
    }

    /// What lies in all Secrets of a cluster, decoded.
    fn add_secrets(&mut self, stage: &Stage) -> Result<()> {
        let mut list = stage.get(&["secrets", "--all-namespaces"])?.context("no list of Secrets")?;
        let secrets: Vec<Secret> = serde_json::from_value(list["items"].take())?;
        ensure!(!secrets.is_empty(), "there are no Secrets");
        for secret in secrets {
            let name = secret.metadata.name.unwrap_or_default();
            for (key, ByteString(value)) in secret.data.unwrap_or_default() {
                self.add(format!("'{key}' of Secret {name}"), &value);
            }
        }
        Ok(())
    }

    /// The files that a process holds open, also those that have no name any more.
    fn add_open_files(&mut self, process: u32) -> Result<usize> {
        let mut files = 0;
        for entry in fs::read_dir(format!("/proc/{process}/fd"))? {
            let path = entry?.path();
            if path.is_file()
                && let Ok(bytes) = fs::read(&path)
            {
                self.add(path.display().to_string(), &bytes);
                files += 1;
            }
        }
        Ok(files)
    }

    pub(crate) fn find(&self, planted: &[Planted]) -> Vec<String> {
        let mut found = Vec::new();
        for (name, text) in &self.pieces {
            for secret in planted {
                if let Some(at) = secret.forms.iter().find_map(|form| text.find(form.as_str())) {
                    let before: String = text[..at].chars().rev().take(80).collect();
                    let before: String = before.chars().rev().filter(|letter| !letter.is_control()).collect();
                    found.push(format!("{} in {name}, behind '{before}'", secret.what));
                }
            }
        }
        found
    }
}

/// A stage whose every answer is kept.
struct Overheard<'a> {
    stage: &'a Stage,
    emitted: &'a mut Emitted,
}

impl Overheard<'_> {
    fn keelson(&mut self, words: &[&str]) -> Result<Answer> {
        let said = self.stage.keelson(words)?;
        self.emitted.add_answer(words, &said);
        Ok(said)
    }

    fn succeeds(&mut self, words: &[&str]) -> Result<()> {
        let said = self.keelson(words)?;
        ensure!(said.code == 0, "{words:?}: {said:?}");
        Ok(())
    }

    fn fails(&mut self, words: &[&str]) -> Result<()> {
        let said = self.keelson(words)?;
        ensure!(said.code != 0, "{words:?}: {said:?}");
        Ok(())
    }

    /// A new policy is looked at at once, with whatever passphrases there are now.
    fn enable_anew(&mut self) -> Result<()> {
        self.keelson(&["dr", "disable"])?;
        self.succeeds(&["dr", "enable", "--profile", "vault"])
    }

    /// Every object of every kind but Secrets, which are the place for secrets.
    fn list_everything(&mut self) -> Result<()> {
        let resources = self.stage.kubectl(&["api-resources", "--verbs=list", "-o", "name"], "")?;
        ensure!(resources.contains("restorepoints.apps.kio.kasten.io"), "ours are among them: {resources}");
        for resource in resources.lines().filter(|resource| *resource != "secrets") {
            for output in ["yaml", "wide"] {
                let words = ["get", resource, "--all-namespaces", "-o", output];
                self.emitted.add_answer(&words, &self.stage.try_kubectl(&words, "")?);
            }
        }
        for output in ["text", "json"] {
            self.succeeds(&["dr", "status", "--output", output])?;
        }
        Ok(())
    }

    /// What lies on its volume, what it has logged, and what it tells a scraper.
    fn look_behind(&mut self) -> Result<()> {
        let metrics = scrape(self.stage)?;
        ensure!(metrics.contains("keelson_catalog_up 1"), "{metrics}");
        self.emitted.add("the metrics", metrics.as_bytes());
        let log = fs::read(self.stage.instance.log_file())?;
        ensure!(one_byte_each(&log).contains(" DEBUG "), "the log says little");
        self.emitted.add("the log", &log);
        let files = self.emitted.add_folder(&self.stage.data())?;
        ensure!(files >= 3, "{files} files are on the volume");
        self.emitted.add_folder(&self.stage.instance.temporary())?;
        let process = self.stage.instance.process_id().context("it does not run")?;
        let files = self.emitted.add_open_files(process)?;
        ensure!(files >= 3, "{files} files are open");
        Ok(())
    }
}

fn bucket_profile(name: &str, minio: &Minio, secret_key: &str) -> Vec<Value> {
    let secret = format!("{name}-keys");
    let store = json!({ "objectStoreType": "S3", "name": BUCKET, "region": minio.region(),
        "endpoint": minio.endpoint(), "path": "exports", "pathType": "Directory" });
    let credential = json!({ "secretType": "AwsAccessKey", "secret": {
        "apiVersion": "v1", "kind": "Secret", "name": secret, "namespace": NAMESPACE } });
    let spec = json!({ "type": "ObjectStore", "objectStore": store, "credential": credential });
    vec![
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": secret, "namespace": NAMESPACE },
            "stringData": { "aws_access_key_id": minio.access_key(), "aws_secret_access_key": secret_key },
        }),
        profile(name, &json!({ "type": "Location", "locationSpec": spec })),
    ]
}

/// An application with a secret of its own, backed up and exported to the bucket. Gives the receive string of the policy
/// that does it.
fn protect_application(stage: &Stage, random: &[Random]) -> Result<String> {
    create_application(stage)?;
    for of in random {
        stage.create(&of.object)?;
    }
    stage.create(&json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "token", "namespace": APPLICATION },
        "stringData": { "token": OF_APPLICATION },
    }))?;
    export_by_policy(stage, "bucket")?;
    run(stage, "nightly", "first")?;
    receive_string(stage, "first")
}

/// What a receive string leads to: its key, as bytes and as the digits that stand in it, in hexadecimal once more.
fn keys_of(receive_string: &str) -> Result<[Planted; 2]> {
    let json = receive_string.split('.').nth(1).context("a receive string has three parts")?;
    let said: Value = serde_json::from_slice(&bytes_of(json)?)?;
    let digits = said["key"].as_str().context("a receive string without a key")?;
    let key = bytes_of(digits)?;
    ensure!(key.len() == 32, "the key of a receive string has {} bytes", key.len());
    let planted = [
        Planted::new("the key of a receive string", &key),
        Planted::new("the digits of the key of a receive string", digits.as_bytes()),
    ];
    let mut known = Emitted::default();
    known.add("the receive string", receive_string.as_bytes());
    ensure!(!known.find(&planted).is_empty(), "its key is not found in a receive string");
    Ok(planted)
}

/// What people get wrong: each refusal names what is wrong, and must not name the secret.
fn get_it_wrong(overheard: &mut Overheard<'_>, minio: &Minio) -> Result<()> {
    let stage = overheard.stage;
    for object in bucket_profile("wrong", minio, WRONG_KEY) {
        stage.apply(&object)?;
    }
    let status = stage.validation("profile", "wrong")?;
    ensure!(status["validation"] == "Failed", "{status}");
    for fields in [("source", MISPLACED), ("key", SHORT)] {
        stage.passphrase(&[fields])?;
        overheard.fails(&["dr", "enable", "--profile", "vault"])?;
    }
    let (endpoint, access_key) = (minio.endpoint(), minio.access_key());
    let place = ["--bucket", BUCKET, "--endpoint", &endpoint, "--access-key", access_key];
    overheard.fails(&[&["tools", "list", "--secret-key", WRONG_KEY], &place[..]].concat())
}

/// A Passkey, its Secret, one that is changed, and passphrases where none belong.
fn make_passkeys(overheard: &mut Overheard<'_>) -> Result<()> {
    let stage = overheard.stage;
    let secret = |phrase: &str| {
        stage.apply(&json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "office", "namespace": NAMESPACE },
            "stringData": { "passphrase": phrase },
        }))
    };
    let mut create = |spec: Value, is_taken: bool| -> Result<()> {
        let object = json!({
            "apiVersion": "vault.kio.kasten.io/v1alpha1", "kind": "Passkey",
            "metadata": { "name": "office" }, "spec": spec,
        });
        let words = ["create", "-f", "-"];
        let said = stage.try_kubectl(&words, &object.to_string())?;
        overheard.emitted.add_answer(&words, &said);
        ensure!((said.code == 0) == is_taken, "{said:?}");
        Ok(())
    };
    let of_secret = json!({ "secret": { "name": "office", "namespace": NAMESPACE } });
    secret(SHORT)?;
    create(of_secret.clone(), false)?;
    secret(OF_PASSKEY)?;
    create(json!({ "secret": { "name": "office", "passphrase": MISPLACED_PASSKEY } }), false)?;
    create(json!({ "secret": MISPLACED_PASSKEY }), false)?;
    create(of_secret, true)?;
    secret(WRONG)?;
    stage.until("the Passkey is not valid", || {
        let passkey = stage.get(&["passkey", "office"])?.context("the Passkey")?;
        Ok((passkey["status"]["valid"] == false).then_some(()))
    })?;
    secret(OF_PASSKEY)?;
    stage.until("the Passkey is valid", || {
        let passkey = stage.get(&["passkey", "office"])?.context("the Passkey")?;
        Ok((passkey["status"]["valid"] == true).then_some(()))
    })
}

/// A kit is made of all secrets there are, and said and stored like everything else.
fn make_kit(overheard: &mut Overheard<'_>, folder: &Path) -> Result<()> {
    let file = |name: &str, text: &str| -> Result<String> {
        let path = folder.join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let (right, wrong) = (file("kit-passphrase", OF_KIT)?, file("wrong-kit-passphrase", WRONG_OF_KIT)?);
    let kit = folder.join("kit").display().to_string();
    // What a kit holds is the newest; DR goes to the bucket, whose credentials go into it.
    overheard.succeeds(&["dr", "disable"])?;
    overheard.succeeds(&["dr", "enable", "--profile", "bucket"])?;
    wait_until_shipped(overheard.stage)?;
    let words = ["dr", "kit", "--output-file", &kit, "--kit-passphrase-file", &right, "--with-credentials"];
    overheard.succeeds(&words)?;
    overheard.fails(&["dr", "review", "--kit", &kit, "--kit-passphrase-file", &wrong])?;
    overheard.succeeds(&["dr", "review", "--kit", &kit, "--kit-passphrase-file", &right])?;
    overheard.emitted.add("the kit", &fs::read(&kit)?);
    overheard.enable_anew()
}

/// With the tools that need no platform.
fn look_from_outside(overheard: &mut Overheard<'_>, location: &Path, folder: &Path) -> Result<()> {
    let location = location.display().to_string();
    for (name, passphrase) in [("right", SECOND), ("wrong", WRONG)] {
        let file = folder.join(name);
        fs::write(&file, passphrase)?;
        let file = file.display().to_string();
        for tool in ["discover", "verify"] {
            let words = ["tools", tool, "--directory", &location, "--passphrase-file", &file];
            let said = answer(words)?;
            ensure!((said.code == 0) == (name == "right"), "{words:?}: {said:?}");
            overheard.emitted.add_answer(&words, &said);
        }
    }
    Ok(())
}

/// On an empty cluster, with a wrong passphrase first.
fn recover(overheard: &mut Overheard<'_>, id: &str, location: &Path, folder: &Path) -> Result<()> {
    let stage = overheard.stage;
    stage.profile("vault", ORIGIN)?;
    stage.wait_valid("profile", "vault")?;
    stage.passphrase(&[("key", WRONG)])?;
    overheard.fails(&["dr", "review", "--profile", "vault", "--source-cluster-id", id])?;
    stage.passphrase(&[("key", SECOND)])?;
    overheard.succeeds(&["dr", "review", "--profile", "vault", "--source-cluster-id", id])?;
    overheard.succeeds(&["dr", "plan", "--profile", "vault", "--source-cluster-id", id])?;
    look_from_outside(overheard, location, folder)?;
    overheard.succeeds(&["dr", "restore", "--profile", "vault", "--source-cluster-id", id])?;
    overheard.succeeds(&["restore", APPLICATION])?;
    ensure!(
        stage.get(&["secret", "token", "-n", APPLICATION])?.is_some(),
        "the application's Secret is back"
    );
    ensure!(
        stage.get(&["secret", "bucket-keys", "-n", NAMESPACE])?.is_some(),
        "the profile's Secret is back"
    );
    ensure!(stage.get(&["secret", "office", "-n", NAMESPACE])?.is_some(), "the Passkey's Secret is back");
    Ok(())
}

#[test]
fn nothing_that_is_said_or_stored_holds_a_secret() -> Result<()> {
    let (share, bucket) = (Supervisor::start("share")?, Supervisor::start("bucket")?);
    let kits = Supervisor::start("kits")?;
    fs::create_dir_all(share.directory().join(ORIGIN))?;
    let minio = block_on(Minio::start_in(bucket.directory().join("minio")))?;
    block_on(minio.create_bucket(BUCKET, BucketProtection::Versioning))?;
    let (mut emitted, mut secrets) = (Emitted::default(), Emitted::default());

    let aws = block_on(Moto::start(Ipv4Addr::LOCALHOST.into()))?;
    let endpoint = aws.url();
    let environment = [("RUST_LOG", "debug"), ("AWS_ENDPOINT_URL", endpoint.as_str())];
    let source = Stage::raise_in(block_on(ControlPlane::start())?, share.directory(), &environment)?;
    let mut overheard = Overheard { stage: &source, emitted: &mut emitted };
    source.profile("vault", ORIGIN)?;
    for object in bucket_profile("bucket", &minio, minio.secret_key()) {
        source.apply(&object)?;
    }
    source.wait_valid("profile", "vault")?;
    source.wait_valid("profile", "bucket")?;
    get_it_wrong(&mut overheard, &minio)?;
    source.passphrase(&[("key", FIRST)])?;
    overheard.enable_anew()?;
    let random = Random::both()?;
    let receive_string = protect_application(&source, &random)?;
    overheard.succeeds(&["dr", "run"])?;
    source.passphrase(&[("key", SECOND), ("key-further", FURTHER)])?;
    overheard.enable_anew()?;
    let of_sources = sources::keep_elsewhere(&mut overheard, &aws)?;
    make_passkeys(&mut overheard)?;
    make_kit(&mut overheard, kits.directory())?;
    overheard.succeeds(&["dr", "run"])?;
    wait_until_shipped(&source)?;
    overheard.list_everything()?;
    overheard.look_behind()?;
    let mut planted = planted(&minio);
    planted.extend(of_sources);
    planted.push(Planted::new("the instance key", &instance_key(&source)?));
    planted.extend(keys_of(&receive_string)?);
    secrets.add_secrets(&source)?;
    let id = source.cluster_id()?;
    source.instance.kill()?;

    let fresh = Stage::raise_with(share.directory(), &[], &[], Some("debug"))?;
    let mut overheard = Overheard { stage: &fresh, emitted: &mut emitted };
    recover(&mut overheard, &id, &share.directory().join(ORIGIN), kits.directory())?;
    overheard.list_everything()?;
    overheard.look_behind()?;
    planted.push(Planted::new("the second instance key", &instance_key(&fresh)?));
    secrets.add_secrets(&fresh)?;

    let mut stored = Emitted::default();
    for location in [share.directory(), &bucket.directory().join("minio").join("data").join(BUCKET)] {
        for pieces in [&mut emitted, &mut stored] {
            let files = pieces.add_folder(location)?;
            ensure!(files > 10, "{files} files in {}", location.display());
        }
    }
    stored.add_folder(&source.data())?;
    stored.add_folder(&fresh.data())?;
    assert_eq!(emitted.find(&planted), Vec::<String>::new());
    // Whoever lists ConfigMaps is told what they hold, so this is for what is stored alone.
    for of in &random {
        of.assert_is_found()?;
        assert_eq!(stored.find(&of.planted()), Vec::<String>::new());
    }
    for pieces in [&emitted, &secrets] {
        assert_eq!(pieces.find(&private_keys::forms_of_any()), Vec::<String>::new());
    }
    let keys = fresh.plane().directory().join("pki");
    private_keys::assert_are_found(&keys)?;
    private_keys::assert_certificates_are_not_found(&keys)?;
    assert_secrets_are_found(&fresh, &planted)
}

/// The search finds what is there: Secrets are where secrets are, in base64.
fn assert_secrets_are_found(stage: &Stage, planted: &[Planted]) -> Result<()> {
    let mut known = Emitted::default();
    for name in ["k10-dr-secret", "bucket-keys", "keelson-instance", "office"] {
        let said = stage.kubectl(&["get", "secret", name, "-n", NAMESPACE, "-o", "yaml"], "")?;
        known.add(name, said.as_bytes());
    }
    ensure!(known.find(planted).len() >= 4, "{:?}", known.find(planted));
    Ok(())
}

fn planted(minio: &Minio) -> Vec<Planted> {
    let texts = [
        ("the first passphrase", FIRST),
        ("the second passphrase", SECOND),
        ("a further passphrase", FURTHER),
        ("a wrong passphrase", WRONG),
        ("the passphrase of a Passkey", OF_PASSKEY),
        ("a passphrase in the spec of a Passkey", MISPLACED_PASSKEY),
        ("the passphrase of a kit", OF_KIT),
        ("a wrong passphrase of a kit", WRONG_OF_KIT),
        ("a passphrase that is too short", SHORT),
        ("a passphrase in the wrong field", MISPLACED),
        ("a wrong secret key", WRONG_KEY),
        ("a secret of the application", OF_APPLICATION),
        ("the secret key of the bucket", minio.secret_key()),
    ];
    texts.map(|(what, secret)| Planted::new(what, secret.as_bytes())).into()
}

/// The bytes that the Secret `keelson-instance` holds.
fn instance_key(stage: &Stage) -> Result<Vec<u8>> {
    let template = "-o=go-template={{index .data \"instance-key\" | base64decode | printf \"%x\"}}";
    let digits = stage.kubectl(&["get", "secret", "keelson-instance", "-n", NAMESPACE, template], "")?;
    let key = bytes_of(digits.trim())?;
    ensure!(key.len() == 32, "the instance key has {} bytes", key.len());
    Ok(key)
}

/// What hexadecimal digits stand for.
fn bytes_of(digits: &str) -> Result<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair)?, 16).map_err(anyhow::Error::from);
    digits.as_bytes().chunks(2).map(byte).collect()
}
