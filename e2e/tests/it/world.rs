//! What all stories of recovery share: a platform that protected an application and itself and was killed, copies of
//! what it left, and a fresh platform that can reach each copy.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context, Result, ensure};
use keelson_e2e::{Answer, Listing};
use keelson_testkit::Supervisor;
use serde_json::{Value, json};

use crate::stage::{ACTIONS, NAMESPACE, RECOVERY, Stage, State, assert_said};

pub(crate) const PASSPHRASE: &str = "kept outside the cluster";
pub(crate) const ORIGIN: &str = "origin";
pub(crate) const APPLICATION: &str = "shop";
const LINES: usize = 800;

/// Each case of damage has a copy of its own, and a profile of the same name.
pub(crate) const COPIES: [&str; 13] = [
    "whole",
    "never-ran",
    "newer-base",
    "pack-truncated",
    "pack-flipped",
    "pack-swapped",
    "pack-deleted",
    "outcome-lost",
    "export-lost",
    "index-lost",
    "chain-broken",
    "segment-lost",
    "slots-lost",
];

/// A copy of the location from before the platform had ended.
pub(crate) const EARLIER: &str = "earlier";

pub(crate) struct World {
    /// All locations lie in it, one folder each.
    pub(crate) share: Supervisor,
    pub(crate) source_id: String,
    pub(crate) stage: Stage,
    /// Made by the lost platform at its end.
    pub(crate) kit: KitFile,
}

pub(crate) const KIT_PASSPHRASE: &str = "kept in the safe, apart from the kit";

/// A recovery kit and the file with its passphrase.
pub(crate) struct KitFile {
    pub(crate) kit: PathBuf,
    pub(crate) passphrase: PathBuf,
}

impl KitFile {
    pub(crate) fn make(stage: &Stage, folder: &Path, flags: &[&str]) -> Result<Self> {
        let made = Self { kit: folder.join("kit"), passphrase: folder.join("kit-passphrase") };
        fs::write(&made.passphrase, KIT_PASSPHRASE)?;
        let (kit, passphrase) = (made.kit.display().to_string(), made.passphrase.display().to_string());
        let words = ["dr", "kit", "--output-file", &kit, "--kit-passphrase-file", &passphrase];
        let said = stage.keelson(&[&words[..], flags].concat())?;
        ensure!(said.code == 0, "{said:?}");
        Ok(made)
    }

    /// Runs a command of `dr` with this kit.
    pub(crate) fn with(&self, stage: &Stage, verb: &str, flags: &[&str]) -> Result<Answer> {
        let (kit, passphrase) = (self.kit.display().to_string(), self.passphrase.display().to_string());
        let words = ["dr", verb, "--kit", &kit, "--kit-passphrase-file", &passphrase];
        stage.keelson(&[&words[..], flags].concat())
    }
}

/// What a refused request may add to the catalog.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Except {
    Nothing,
    TheRecordOfTheAction,
}

/// The world, for one test at a time.
pub(crate) fn enter() -> Result<MutexGuard<'static, World>> {
    static WORLD: OnceLock<Result<Mutex<World>>> = OnceLock::new();
    match WORLD.get_or_init(|| World::create().map(Mutex::new)) {
        Ok(world) => Ok(world.lock().unwrap_or_else(PoisonError::into_inner)),
        Err(error) => anyhow::bail!("the world was not made: {error:#}"),
    }
}

impl World {
    fn create() -> Result<Self> {
        let share = Supervisor::start("share")?;
        let source = raise_source(share.directory(), ORIGIN)?;
        let source_id = source.cluster_id()?;
        copy_folder(&share.directory().join(ORIGIN), &share.directory().join(EARLIER))?;
        source.profile("later", "later")?;
        source.wait_valid("profile", "later")?;
        wait_until_shipped(&source)?;
        let kit = KitFile::make(&source, share.directory(), &[])?;
        source.instance.kill()?;
        drop(source);
        for copy in COPIES {
            copy_folder(&share.directory().join(ORIGIN), &share.directory().join(copy))?;
        }
        let stage = Stage::raise(share.directory(), &[])?;
        let copies = || COPIES.into_iter().chain([EARLIER]);
        for copy in copies() {
            stage.profile(copy, copy)?;
        }
        for copy in copies() {
            stage.wait_valid("profile", copy)?;
        }
        stage.passphrase(&[("key", PASSPHRASE)])?;
        Ok(Self { share, source_id, stage, kit })
    }

    pub(crate) fn folder(&self, copy: &str) -> PathBuf {
        self.share.directory().join(copy)
    }

    /// The folder of the lost cluster in a copy.
    pub(crate) fn source_folder(&self, copy: &str) -> PathBuf {
        self.folder(copy).join("k10").join(&self.source_id)
    }

    /// The lost platform's own repository in a copy.
    pub(crate) fn chain_folder(&self, copy: &str) -> Result<PathBuf> {
        only_child(&self.source_folder(copy).join("dr"))
    }

    pub(crate) fn state_of(&self, copy: &str) -> Result<(Listing, State)> {
        Ok((Listing::of(&self.folder(copy))?, self.stage.state()?))
    }

    /// What a refusal leaves as it was: every location, and the catalog. Readers announce themselves, which harms
    /// nothing.
    pub(crate) fn everything(&self) -> Result<(Listing, State)> {
        let listing = || Ok::<_, anyhow::Error>(Listing::of(self.share.directory())?.without("sessions"));
        Ok((listing()?, self.stage.state()?))
    }

    /// No location has changed, and nothing that the catalog protects has.
    #[track_caller]
    pub(crate) fn assert_untouched(&self, before: &(Listing, State), except: Except) -> Result<()> {
        let after = self.everything()?;
        assert_eq!(before.0.differences(&after.0), Vec::<PathBuf>::new());
        match except {
            Except::Nothing => assert_eq!(before.1.digests, after.1.digests),
            Except::TheRecordOfTheAction => {
                assert_eq!(before.1.digests["configuration"], after.1.digests["configuration"]);
                assert_ne!(
                    before.1.digests["local"], after.1.digests["local"],
                    "the action is in the history"
                );
            }
        }
        Ok(())
    }

    pub(crate) fn recover(&self, verb: &str, profile: &str, cluster: &str) -> Result<Answer> {
        self.stage.keelson(&["dr", verb, "--profile", profile, "--source-cluster-id", cluster])
    }

    /// Review and restore are refused alike, and neither the copy nor the catalog has changed.
    #[track_caller]
    pub(crate) fn assert_refused(&self, copy: &str, code: i32, words: &[&str]) -> Result<()> {
        self.assert_refused_for(copy, &self.source_id, code, words)
    }

    #[track_caller]
    pub(crate) fn assert_refused_for(
        &self,
        copy: &str,
        cluster: &str,
        code: i32,
        words: &[&str],
    ) -> Result<()> {
        let before = self.state_of(copy)?;
        assert_said(&self.recover("review", copy, cluster)?, code, words);
        assert_eq!(self.state_of(copy)?, before);
        self.assert_restore_leaves(&before, copy, cluster, code, words)?;
        assert_eq!(before.0.differences(&Listing::of(&self.folder(copy))?), Vec::<PathBuf>::new());
        Ok(())
    }

    /// A review may find nothing wrong where only the restore reads everything. What it says.
    #[track_caller]
    pub(crate) fn assert_restore_refused(
        &self,
        copy: &str,
        cluster: &str,
        code: i32,
        words: &[&str],
    ) -> Result<String> {
        self.assert_restore_leaves(&self.state_of(copy)?, copy, cluster, code, words)
    }

    /// The same where the state of before is known.
    #[track_caller]
    fn assert_restore_leaves(
        &self,
        before: &(Listing, State),
        copy: &str,
        cluster: &str,
        code: i32,
        words: &[&str],
    ) -> Result<String> {
        let ownership = self.stage.status()?["ownership"].clone();
        let said = self.recover("restore", copy, cluster)?;
        let left = self.stage.kubectl(&["get", "kastendrrestores", "-n", NAMESPACE, "-o", "name"], "")?;
        self.stage.delete(&["kastendrrestores", "--all", "-n", NAMESPACE])?;
        ensure!(left.lines().count() == 1, "the refused restore is there to be read: {left}");
        assert_said(&said, code, words);
        // A reader announces itself, so that nothing is removed under its hands, and says when it has ended.
        let after = self.state_of(copy)?;
        let objects = after.0.without_sessions_since(&before.0);
        assert_eq!(before.0.differences(&objects), Vec::<PathBuf>::new());
        assert_eq!(before.1, after.1);
        // What a recovery places in the cluster is not there either.
        let map = self.stage.get(&["configmap", "k10-dr-remove-to-get-ownership", "-n", NAMESPACE])?;
        assert_eq!((map, &self.stage.status()?["ownership"]), (None, &ownership));
        Ok(said.stderr)
    }
}

/// A platform with an application, its export, and disaster recovery to the folder `path`; everything is shipped.
pub(crate) fn raise_source(share: &Path, path: &str) -> Result<Stage> {
    let stage = raise_protected(share, path, &[])?;
    back_up(&stage, "first")?;
    export(&stage, "first")?;
    change_application(&stage)?;
    back_up(&stage, "second")?;
    export(&stage, "second")?;
    let said = stage.keelson(&["dr", "run"])?;
    ensure!(said.code == 0, "{said:?}");
    // What comes after the run lies in segments alone.
    stage.profile("late", "late")?;
    stage.wait_valid("profile", "late")?;
    wait_until_shipped(&stage)?;
    Ok(stage)
}

/// A platform with an application and disaster recovery to the folder `path`, enabled with these flags.
pub(crate) fn raise_protected(share: &Path, path: &str, flags: &[&str]) -> Result<Stage> {
    fs::create_dir_all(share.join(path))?;
    let stage = Stage::raise(share, &[])?;
    stage.profile("vault", path)?;
    stage.wait_valid("profile", "vault")?;
    create_application(&stage)?;
    stage.passphrase(&[("key", PASSPHRASE)])?;
    let said = stage.keelson(&[&["dr", "enable", "--profile", "vault"], flags].concat())?;
    ensure!(said.code == 0, "{said:?}");
    Ok(stage)
}

pub(crate) fn wait_until_shipped(stage: &Stage) -> Result<()> {
    stage.state()?;
    stage.until("everything is shipped", || {
        Ok((stage.status()?["disasterRecovery"]["shipped"]["behind"] == 0).then_some(()))
    })
}

pub(crate) fn create_application(stage: &Stage) -> Result<()> {
    stage.namespace(APPLICATION)?;
    for name in ["orders", "prices"] {
        stage.create(&config_map(name))?;
    }
    Ok(())
}

fn change_application(stage: &Stage) -> Result<()> {
    for name in ["customers", "parcels"] {
        stage.create(&config_map(name))?;
    }
    Ok(())
}

/// Content that does not compress, so that packs have a body to be damaged.
pub(crate) fn config_map(name: &str) -> Value {
    config_map_in(APPLICATION, name)
}

pub(crate) fn config_map_in(namespace: &str, name: &str) -> Value {
    let lines: Vec<_> = (0..LINES).map(|_| keelson_testkit::random_hex::<128>()).collect();
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": namespace },
        "data": { "content": lines.join("\n") },
    })
}

pub(crate) fn action(kind: &str, name: &str, namespace: &str, spec: Value) -> Value {
    json!({
        "apiVersion": ACTIONS, "kind": kind,
        "metadata": { "name": name, "namespace": namespace }, "spec": spec,
    })
}

/// Backs the application up and names the restore point after the backup.
pub(crate) fn back_up(stage: &Stage, name: &str) -> Result<String> {
    back_up_of(stage, APPLICATION, name)
}

pub(crate) fn back_up_of(stage: &Stage, namespace: &str, name: &str) -> Result<String> {
    let subject = json!({ "subject": { "name": namespace, "namespace": namespace } });
    stage.create(&action("BackupAction", name, namespace, subject))?;
    restore_point_of(&stage.complete("backupaction", namespace, name)?)
}

pub(crate) fn restore_point_of(backup: &Value) -> Result<String> {
    let point = backup["status"]["restorePoint"]["name"].as_str();
    point.map(str::to_owned).with_context(|| format!("no restore point in {}", backup["status"]))
}

pub(crate) fn export_action(name: &str, point: &str) -> Value {
    export_action_to("vault", name, APPLICATION, point)
}

fn export_action_to(profile: &str, name: &str, namespace: &str, point: &str) -> Value {
    let subject = json!({ "kind": "RestorePoint", "name": point, "namespace": namespace });
    let profile = json!({ "name": profile, "namespace": NAMESPACE });
    // An export on demand is made in the install namespace.
    action("ExportAction", name, NAMESPACE, json!({ "subject": subject, "profile": profile }))
}

pub(crate) fn export(stage: &Stage, backup: &str) -> Result<()> {
    export_to(stage, "vault", backup)
}

pub(crate) fn export_to(stage: &Stage, profile: &str, backup: &str) -> Result<()> {
    export_of(stage, profile, APPLICATION, backup)
}

pub(crate) fn export_of(stage: &Stage, profile: &str, namespace: &str, backup: &str) -> Result<()> {
    let action = stage.get(&["backupaction", backup, "-n", namespace])?.context("the backup is gone")?;
    let name = format!("{backup}-export");
    stage.create(&export_action_to(profile, &name, namespace, &restore_point_of(&action)?))?;
    stage.complete("exportaction", NAMESPACE, &name).map(drop)
}

pub(crate) fn recovery_request(kind: &str, name: &str, profile: &str, cluster: &str) -> Value {
    json!({
        "apiVersion": RECOVERY, "kind": kind, "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": { "sourceClusterInfo": { "profileName": profile, "sourceClusterID": cluster } },
    })
}

pub(crate) fn only_child(folder: &Path) -> Result<PathBuf> {
    let mut children: Vec<_> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    ensure!(children.len() == 1, "{} holds {children:?}", folder.display());
    children.pop().context("no child")
}

pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let copy = to.join(path.file_name().context("a name")?);
        if path.is_dir() {
            copy_folder(&path, &copy)?;
        } else {
            fs::copy(&path, &copy)?;
        }
    }
    Ok(())
}
