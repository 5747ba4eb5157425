//! Directories that are missing, closed, full, or not what they seem. Each names its own error, with a hint.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use keelson_model::{Classified, ErrorClass};
use keelson_store::probe::{Unfit, probe};
use keelson_store::providers::filesystem::FilesystemStore;
use keelson_store::{ListPage, Place, Read, Store, StoreError, StoreExt, StorePath};
use keelson_testkit::skip;

fn path(text: &str) -> StorePath {
    text.parse().unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_missing_directory_is_told_at_once_and_later() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let root = directory.path().join("share");
    let missing = FilesystemStore::open(&root).await.unwrap_err();
    assert_eq!(missing.to_string(), format!("open {}: the directory does not exist", root.display()));
    assert_eq!(missing.class(), ErrorClass::NotFound);
    assert!(missing.hint().unwrap().contains("mount the share"));
    assert!(!root.exists(), "a directory was made where a share should have been mounted");

    fs::create_dir(&root)?;
    let store = FilesystemStore::open(&root).await?;
    fs::remove_dir(&root)?;
    for error in [
        store.create(&path("a/b"), "x".into()).await.unwrap_err(),
        store.fetch_all(&path("a/b")).await.unwrap_err(),
        store.list(&StorePath::root(), &ListPage::first()).await.unwrap_err(),
        store.delete(&path("a/b"), None).await.unwrap_err(),
        store.time().await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::MissingLocation { place: Place::Directory, .. }), "{error:?}");
    }
    fs::write(&root, "a file")?;
    let file = FilesystemStore::open(&root).await.unwrap_err();
    assert!(matches!(file, StoreError::MissingLocation { .. }), "{file:?}");
    Ok(())
}

/// Root may do everything, so that the store must run as somebody else.
#[test]
fn a_directory_without_permission_is_told_apart() -> Result<()> {
    let directory = tempfile::tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    let root = directory.path().join("share");
    fs::create_dir_all(root.join("closed"))?;
    fs::write(root.join("object"), "x")?;
    fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o000))?;
    fs::set_permissions(&root, fs::Permissions::from_mode(0o555))?;

    let refused_root = root.clone();
    let worker = std::thread::spawn(move || {
        if rustix::process::geteuid().is_root() {
            let nobody = rustix::process::Uid::from_raw(NOBODY);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody)?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(check_permission_denied(&refused_root))
    });
    let checked = worker.join().unwrap();
    fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755))?;
    checked
}

const NOBODY: u32 = 65534;

async fn check_permission_denied(root: &Path) -> Result<()> {
    let store = FilesystemStore::open(root).await?;
    for error in [
        store.create(&path("new"), "x".into()).await.unwrap_err(),
        store.create(&path("folder/new"), "x".into()).await.unwrap_err(),
        store.delete(&path("object"), None).await.unwrap_err(),
        store.list_all(&StorePath::root()).await.unwrap_err(),
        store.fetch_all(&path("closed/object")).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Forbidden { .. }), "{error:?}");
        assert_eq!(error.class(), ErrorClass::Denied);
    }
    assert_eq!(store.fetch_all(&path("object")).await?, "x");
    Ok(())
}

/// A process with mounts of its own, made in a user namespace, so that it takes no right to have it.
struct Mounts {
    process: Child,
    directory: PathBuf,
}

impl Mounts {
    /// Nothing where the kernel does not let us: the test is skipped.
    fn new(script: &str) -> Result<Option<(Self, tempfile::TempDir)>> {
        let directory = tempfile::tempdir()?;
        let script = format!("cd {} && {script} && echo ready && exec cat", directory.path().display());
        let mut process = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("run unshare")?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("the output of unshare")?).read_line(&mut line)?;
        if line != "ready\n" {
            let output = process.wait_with_output()?;
            skip(&format!("no mounts without privilege: {}", String::from_utf8_lossy(&output.stderr)));
            return Ok(None);
        }
        let inside = format!("/proc/{}/root{}", process.id(), directory.path().display());
        Ok(Some((Self { process, directory: inside.into() }, directory)))
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        // It ends with its input; killing is for when it does not.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_half_written_is_seen() -> Result<()> {
    let mounted = Mounts::new("mkdir full && mount -t tmpfs -o size=256k none full")?;
    let Some((mounts, _directory)) = mounted else { return Ok(()) };
    let root = mounts.directory.join("full");
    let store = FilesystemStore::open(&root).await?;
    store.create(&path("packs/small"), vec![7; 1000].into()).await?;

    let full = store.create(&path("packs/large"), vec![7; 1 << 20].into()).await.unwrap_err();
    assert!(matches!(full, StoreError::Full { .. }), "{full:?}");
    assert!(full.to_string().ends_with("the location is full"), "{full}");
    assert!(full.hint().unwrap().contains("space"));
    assert!(matches!(full.class(), ErrorClass::Unavailable { retry_after: Some(_) }));

    assert_eq!(names(&root.join("packs")), ["small"], "a temporary was left");
    assert_eq!(store.fetch_all(&path("packs/small")).await?, vec![7; 1000]);
    store.create(&path("packs/another"), vec![7; 1000].into()).await?;
    Ok(())
}

#[tokio::test]
async fn a_read_only_directory_is_told_and_serves_for_import() -> Result<()> {
    let script =
        "mkdir ro && mount -t tmpfs none ro && mkdir ro/a && echo -n x > ro/a/b && mount -o remount,ro ro";
    let Some((mounts, _directory)) = Mounts::new(script)? else { return Ok(()) };
    let store = FilesystemStore::open(mounts.directory.join("ro")).await?;
    for error in [
        store.create(&path("a/new"), "x".into()).await.unwrap_err(),
        store.create(&path("folder/new"), "x".into()).await.unwrap_err(),
        store.delete(&path("a/b"), None).await.unwrap_err(),
        store.time().await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
        assert_eq!(error.class(), ErrorClass::Denied);
        assert!(error.hint().unwrap().contains("import"));
    }
    assert_eq!(store.fetch_all(&path("a/b")).await?, "x");
    assert_eq!(store.list_all(&StorePath::root()).await?.len(), 1);

    let dialect = probe(&store, "nonce", jiff::Timestamp::UNIX_EPOCH).await?;
    assert_eq!(dialect.unfit(), [Unfit::ReadOnly]);
    assert!(dialect.reason.unwrap().contains("read-only"));
    Ok(())
}

#[tokio::test]
async fn links_lead_nowhere() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (root, outside) = (directory.path().join("root"), directory.path().join("outside"));
    fs::create_dir(&root)?;
    fs::create_dir(&outside)?;
    fs::write(outside.join("secret"), "secret")?;
    symlink(&outside, root.join("folder"))?;
    symlink(outside.join("secret"), root.join("object"))?;
    let store = FilesystemStore::open(&root).await?;

    for name in ["folder/secret", "object"] {
        let read = store.fetch_all(&path(name)).await;
        assert!(matches!(read, Err(StoreError::NotFound { .. })), "{read:?}");
        assert!(!store.exists(&path(name)).await?);
        assert!(store.create(&path(name), "planted".into()).await.is_err());
    }
    assert!(store.list_all(&StorePath::root()).await?.is_empty());
    assert!(store.list_folders(&StorePath::root()).await?.is_empty());
    store.delete(&path("folder/secret"), None).await?;
    assert_eq!(names(&outside), ["secret"]);
    assert_eq!(fs::read(outside.join("secret"))?, b"secret");
    Ok(())
}

#[tokio::test]
async fn a_pipe_is_no_object_and_holds_nobody_up() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, directory.path().join("pipe"), mode)?;
    let store = FilesystemStore::open(directory.path()).await?;
    let read = tokio::time::timeout(Duration::from_secs(120), store.fetch_all(&path("pipe"))).await?;
    assert!(matches!(read, Err(StoreError::NotFound { .. })), "{read:?}");
    assert!(store.list_all(&StorePath::root()).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_key_and_a_folder_cannot_share_a_name() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let store = FilesystemStore::open(directory.path()).await?;
    store.create(&path("object"), "x".into()).await?;
    store.create(&path("folder/object"), "x".into()).await?;
    for name in ["object/beneath", "folder", "object/much/deeper"] {
        let error = store.create(&path(name), "y".into()).await.unwrap_err();
        assert!(matches!(error, StoreError::MixKeyAndFolder { .. }), "{error:?}");
    }
    assert_eq!(store.list_all(&StorePath::root()).await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn leftovers_of_dead_writers_are_not_listed_and_can_be_swept() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let store = FilesystemStore::open(directory.path()).await?;
    store.create(&path("a/b/object"), "x".into()).await?;
    fs::write(directory.path().join("a/.keelson-0123"), "half")?;
    fs::write(directory.path().join("a/b/.keelson-4567"), "half")?;
    fs::write(directory.path().join("a/.nfs0000001"), "deleted but open")?;
    assert_eq!(store.list_all(&StorePath::root()).await?.len(), 1);

    let before_them = store.time().await? - Duration::from_secs(3600);
    assert_eq!(store.sweep(&path("a"), before_them).await?, 0, "a writer may still be at work");
    let after_them = store.time().await? + Duration::from_secs(3600);
    assert_eq!(store.sweep(&path("other"), after_them).await?, 0, "there are none");
    assert_eq!(store.sweep(&path("a"), after_them).await?, 2);
    assert_eq!(names(&directory.path().join("a")), [".nfs0000001", "b"]);
    assert_eq!(store.fetch(&path("a/b/object"), Read::all()).await?, "x");
    Ok(())
}
