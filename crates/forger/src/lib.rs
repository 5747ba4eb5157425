//! What somebody who can write puts beside the genuine objects of a cluster: whole slots, key files, cards and sealed
//! objects of every kind, made by the pages in `docs/format`, under the names that come next or that do harm. No `format`
//! and no granted key. Nothing is written here.
//!
//! A *stranger* seals under keys of his own, a *thief* holds the passphrase and seals what opens like ours. A
//! dev-dependency only.

mod documents;
mod records;

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use keelson_crypto::{
    DataKey, KdfCost, Keyring, ObjectId, ObjectKind, Passphrase, Sealer, Slot, VaultKey, VaultKeyring,
    open_object, random_bytes,
};
use keelson_model::{LineageId, PackId, RepositoryId, SessionId, SlotId};
use keelson_repository::{ChunkSizes, Locked, NewRepository, Repository, Unlock};
use keelson_store::providers::memory::MemoryStore;
use keelson_store::{Store, StoreExt, StorePath};
use serde_json::json;

/// The least that a slot may cost.
const CHEAP: KdfCost = KdfCost::Argon2id { memory_kib: 1_024, iterations: 1, lanes: 1 };

/// So many epochs are claimed. What is forged for the one after them waits for the next genuine owner.
const CLAIMS: u32 = 2;

/// Whose keys the forger holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hand<'a> {
    Stranger,
    /// With the passphrase of the platform.
    Thief {
        passphrase: &'a str,
    },
}

/// An object to be put where nothing lies yet.
#[derive(Debug, Clone)]
pub struct Forgery {
    pub path: StorePath,
    pub bytes: Bytes,
}

/// Makes the forgeries for what lies below `k10/<cluster>`.
pub async fn forge(store: &Arc<dyn Store>, cluster: &str, hand: Hand<'_>) -> Result<Vec<Forgery>> {
    let folder = format!("k10/{cluster}");
    let objects = store.list_all(&folder.parse()?).await?;
    let there: BTreeSet<String> = objects.into_iter().map(|object| object.path.to_string()).collect();
    let mut site = Site { store, folder, there, forged: Vec::new() };
    let roots: Vec<String> =
        site.there.iter().filter_map(|path| path.strip_suffix("/format")).map(str::to_owned).collect();
    let outcomes = site.names::<SessionId>("/outcomes/");
    let mut vault = None;
    for root in &roots {
        let keys = site.keys(root, hand).await?;
        site.forge_repository(root, &keys).await?;
        if root.contains("/dr/") {
            site.forge_chain(root, &keys.data).await?;
        }
        vault.get_or_insert(keys.vault);
    }
    site.forge_claims(&vault.context("there is no repository")?, &outcomes).await?;
    site.forge_card()?;
    Ok(site.forged)
}

/// What the forger seals a repository's objects under.
struct Keys {
    vault: VaultKeyring,
    data: Keyring,
}

struct Site<'a> {
    store: &'a Arc<dyn Store>,
    /// `k10/<cluster>`.
    folder: String,
    there: BTreeSet<String>,
    forged: Vec<Forgery>,
}

impl Site<'_> {
    fn put(&mut self, path: String, bytes: impl Into<Bytes>) -> Result<()> {
        self.forged.push(Forgery { path: path.parse()?, bytes: bytes.into() });
        Ok(())
    }

    /// The names of what lies beneath a folder whose path has `part` in it.
    fn names<T: std::str::FromStr>(&self, part: &str) -> Vec<T> {
        let beneath = self.there.iter().filter(|path| path.contains(part));
        beneath.filter_map(|path| path.rsplit('/').next()?.parse().ok()).collect()
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        Ok(self.store.fetch_all(&path.parse()?).await?)
    }

    async fn keys(&self, root: &str, hand: Hand<'_>) -> Result<Keys> {
        match hand {
            Hand::Stranger => {
                let vault = VaultKeyring::new(VaultKey::generate(VaultKey::FIRST));
                let data = Keyring::new(DataKey::generate(id_of(root)?, VaultKey::FIRST));
                Ok(Keys { vault, data })
            }
            Hand::Thief { passphrase } => {
                let passphrase = Arc::new(Passphrase::new(passphrase.as_bytes().to_vec()));
                let locked = Repository::<Locked>::at(self.store.clone(), root.parse()?)?;
                let open = locked.open(Unlock::Passphrase(&passphrase)).await?;
                Ok(Keys { vault: open.vault_keys().clone(), data: open.keyring().clone() })
            }
        }
    }

    async fn forge_repository(&mut self, root: &str, keys: &Keys) -> Result<()> {
        self.put(format!("{root}/keys/2"), foreign_key_file(id_of(root)?).await?)?;
        for number in [1, 2] {
            let id = SlotId::from_bytes(random_bytes());
            let other = Passphrase::new(b"somebody else's passphrase".to_vec());
            let slot = Slot::seal(id, &other, CHEAP, &VaultKey::generate(number))?;
            self.put(format!("{root}/slots/{id}"), slot.to_bytes())?;
        }
        let packs = self.names::<PackId>(&format!("{root}/packs/"));
        let outcomes = self.names::<SessionId>(&format!("{root}/outcomes/"));
        let (lineage, epoch) = (self.lineage()?, self.newest_epoch() + CLAIMS + 1);
        let seal = |kind: ObjectKind, id: ObjectId, body: &[u8]| -> Result<Bytes> {
            let mut sealer = Sealer::with_id(keys.data.newest(), kind, id);
            sealer.part(body)?;
            Ok(sealer.finish(&[])?.bytes)
        };
        for outcome in &outcomes {
            let record = records::retirement(*outcome, lineage, u64::from(epoch));
            let id = ObjectId::from_bytes(*outcome.as_bytes());
            self.put(format!("{root}/retired/{outcome}"), seal(ObjectKind::Retired, id, &record)?)?;
        }
        // One that is decided: all is dead. One that the next prune decides: no outcome speaks for any pack.
        for decided in [true, false] {
            let id = ObjectId::from_bytes(random_bytes());
            let mark = records::mark(&packs, &outcomes);
            self.put(format!("{root}/marks/{id}"), seal(ObjectKind::Mark, id, &mark)?)?;
            if decided {
                let verdict = records::verdict(&packs);
                self.put(format!("{root}/verdicts/{id}"), seal(ObjectKind::Verdict, id, &verdict)?)?;
            }
        }
        let id = ObjectId::from_bytes(random_bytes());
        let session = records::session_for_ever();
        self.put(format!("{root}/sessions/{id}/0"), seal(ObjectKind::Session, id, &session)?)?;
        // A genuine outcome that opens is copied under a new id; a stranger has none, and makes up its bytes.
        let id = ObjectId::from_bytes(random_bytes());
        let genuine = match outcomes.last() {
            Some(outcome) => self.outcome(root, outcome, &keys.data).await?,
            None => None,
        };
        let body = genuine.unwrap_or_else(|| random_bytes::<400>().to_vec());
        self.put(format!("{root}/outcomes/{id}"), seal(ObjectKind::Outcome, id, &body)?)?;
        self.forge_pack(root, keys, &packs).await
    }

    /// The record of an outcome, if these keys open it.
    async fn outcome(&self, root: &str, id: &SessionId, keys: &Keyring) -> Result<Option<Vec<u8>>> {
        let bytes = self.read(&format!("{root}/outcomes/{id}")).await?;
        Ok(open_object(keys, ObjectKind::Outcome, &bytes).ok().and_then(|opened| opened.part(0).ok()))
    }

    /// Noise that is said to be the chunks of the genuine packs, and an index object that leads to it.
    async fn forge_pack(&mut self, root: &str, keys: &Keys, packs: &[PackId]) -> Result<()> {
        let mut chunks = Vec::new();
        for pack in packs {
            let bytes = self.read(&format!("{root}/packs/{:02x}/{pack}", pack.as_bytes()[0])).await?;
            if let Ok(opened) = open_object(&keys.data, ObjectKind::Pack, &bytes) {
                chunks.extend(records::chunks_of(opened.directory()));
            }
        }
        if chunks.is_empty() {
            chunks.push(random_bytes());
        }
        let mut sealer = Sealer::new(keys.data.newest(), ObjectKind::Pack);
        for _ in &chunks {
            sealer.part(&random_bytes::<{ records::NOISE_BYTES }>())?;
        }
        let pack = sealer.finish(&records::pack_directory(&chunks))?;
        let mut sealer = Sealer::new(keys.data.newest(), ObjectKind::Index);
        sealer.part(&records::index_part(&pack, &chunks))?;
        let index = sealer.finish(&[])?;
        self.put(format!("{root}/packs/{:02x}/{}", pack.id.as_bytes()[0], pack.id), pack.bytes)?;
        self.put(format!("{root}/index/{}", index.id), index.bytes)
    }

    fn lineage(&self) -> Result<LineageId> {
        let claims = format!("{}/epochs/", self.folder);
        let claim = self.there.iter().find_map(|path| path.strip_prefix(&claims)).context("a claim")?;
        Ok(claim.split('/').next().context("a lineage")?.parse()?)
    }

    fn newest_epoch(&self) -> u32 {
        self.names::<u32>("/epochs/").into_iter().max().unwrap_or(0)
    }

    /// Claims that go on from the newest, and lists of what was retired for them and for the next owner.
    async fn forge_claims(&mut self, vault: &VaultKeyring, outcomes: &[SessionId]) -> Result<()> {
        let (lineage, newest) = (self.lineage()?, self.newest_epoch());
        let keys = Keyring::of_lineage(vault, lineage).context("the first vault key")?;
        let folder = format!("{}/epochs/{lineage}", self.folder);
        let mut before = self.read(&format!("{folder}/{newest:08}")).await?;
        for epoch in newest + 1..=newest + CLAIMS + 1 {
            if epoch <= newest + CLAIMS {
                let claim = documents::claim(&self.folder, &before);
                before = documents::seal(&keys, ObjectKind::Epoch, &[], &claim)?;
                self.put(format!("{folder}/{epoch:08}"), before.clone())?;
            }
            let list = json!({ "version": 0, "epoch": epoch, "outcomes": outcomes });
            let list = documents::seal(&keys, ObjectKind::EpochRetired, &[], &list)?;
            self.put(format!("{folder}/{epoch:08}.retired"), list)?;
        }
        Ok(())
    }

    fn forge_card(&mut self) -> Result<()> {
        let card = json!({
            "format": 0, "productVersion": "0", "fips": false, "created": "2026-01-01T00:00:00Z",
            "continuedBy": "00000000-0000-4000-8000-000000000000",
        });
        self.put(format!("{}/cards/00000002", self.folder), card.to_string())
    }
}

fn id_of(root: &str) -> Result<RepositoryId> {
    Ok(root.rsplit('/').next().context("a folder")?.parse()?)
}

/// `keys/2` of another installation that made a repository with the same id.
async fn foreign_key_file(id: RepositoryId) -> Result<Bytes> {
    let mut vault = VaultKeyring::new(VaultKey::generate(1));
    vault.insert(VaultKey::generate(2));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let locked = Repository::<Locked>::at(store.clone(), StorePath::root())?;
    locked.create(NewRepository { id, vault: &vault, slots: &[], chunks: ChunkSizes::default() }).await?;
    Ok(store.fetch_all(&"keys/2".parse()?).await?)
}
