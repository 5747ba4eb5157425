//! Versions and retention: an object is its first version, and a locked one stays. Stores without either say so.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use keelson_store::{
    Capabilities, Feature, ListPage, PutMode, PutOptions, RETENTION_MAX, Read, StoreError, StoreExt,
    StorePath, VersionId, VersionKind, VersionMeta, VersionPage, VersionScope,
};

use super::{Subject, Tamper, cases, ensure_fails};

fn versions(capabilities: &Capabilities) -> bool {
    capabilities.versions
}

fn no_versions(capabilities: &Capabilities) -> bool {
    !capabilities.versions
}

fn locks(capabilities: &Capabilities) -> bool {
    capabilities.object_lock
}

fn no_locks(capabilities: &Capabilities) -> bool {
    !capabilities.object_lock
}

cases! {
    without_versions_they_are_not_pretended if no_versions;
    without_locks_they_are_not_pretended if no_locks;
    a_written_version_can_be_read if versions;
    a_version_of_another_bucket_is_not_found_or_refused if versions;
    nothing_is_overwritten_where_versions_are_kept if versions;
    later_versions_hide_nothing if versions;
    delete_markers_hide_nothing if versions;
    a_key_with_a_first_version_is_not_created_again if versions;
    a_deleted_object_leaves_no_version if versions;
    a_tamperers_version_can_be_removed if versions;
    versions_are_listed_page_by_page if versions;
    a_locked_object_is_not_deleted if locks;
    retention_is_extended_and_never_shortened if locks;
    no_retention_is_longer_than_allowed if locks;
    a_repeated_create_extends_the_retention if locks;
}

const HOUR: Duration = Duration::from_secs(3600);

impl Subject {
    fn tamper(&self) -> Result<&dyn Tamper> {
        self.tamper.as_deref().context("a store with versions is tested with somebody who tampers")
    }

    async fn versions_of(&self, path: &StorePath) -> Result<Vec<VersionMeta>> {
        let scope = VersionScope::Object(path.clone());
        Ok(self.store.list_versions(&scope, &VersionPage::first()).await?.versions)
    }

    /// Every way to read an object answers its first version, and says that something lies over it.
    async fn check_first(&self, path: &StorePath, version: Option<&VersionId>, body: &str) -> Result<()> {
        ensure!(self.store.fetch_all(path).await? == *body, "a plain read");
        ensure!(self.store.fetch(path, Read::all().of_version(version.cloned())).await? == *body);
        ensure!(self.store.fetch(path, Read::span(0, 2)).await? == body[..2], "a read of a range");
        let head = self.store.head(path, None).await?;
        ensure!((head.version.as_ref(), head.length) == (version, body.len() as u64), "{head:?}");
        ensure!(head.altered, "the description does not tell of tampering");
        let listing = self.store.list(&self.folder, &ListPage::first()).await?;
        let listed = listing.objects.iter().find(|object| object.path == *path);
        let listed = listed.context("the object is not listed")?;
        ensure!((listed.version.as_ref(), listed.length) == (version, body.len() as u64), "{listed:?}");
        ensure!(listed.altered, "the listing does not tell of tampering");
        Ok(())
    }
}

async fn without_versions_they_are_not_pretended(subject: Subject) -> Result<()> {
    let written = subject.create("object", "x").await?;
    ensure!(written.version.is_none());
    let scope = VersionScope::Beneath(subject.folder.clone());
    let listing = subject.store.list_versions(&scope, &VersionPage::first()).await;
    ensure_fails!(listing, StoreError::Unsupported { feature: Feature::Versions, .. });

    // What was copied from a store with versions is read by ids that mean nothing here, but not deleted by them.
    let (path, recorded) = (subject.path("object")?, VersionId::new("recorded-elsewhere"));
    let read = Read::all().of_version(Some(recorded.clone()));
    ensure!(subject.store.fetch(&path, read).await? == "x");
    ensure!(subject.store.head(&path, Some(&recorded)).await?.version.is_none());
    let deleted = subject.store.delete(&path, Some(&recorded)).await;
    ensure_fails!(deleted, StoreError::Unsupported { feature: Feature::Versions, .. });
    Ok(())
}

async fn without_locks_they_are_not_pretended(subject: Subject) -> Result<()> {
    let path = subject.path("object")?;
    let until = subject.store.time().await? + HOUR;
    let locked = subject.store.put(&path, "x".into(), PutOptions::create().retained(Some(until))).await;
    ensure_fails!(locked, StoreError::Unsupported { feature: Feature::ObjectLock, .. });
    subject.create("object", "x").await?;
    let extended = subject.store.extend_retention(&path, None, until).await;
    ensure_fails!(extended, StoreError::Unsupported { feature: Feature::ObjectLock, .. });
    subject.store.delete(&path, None).await?;
    Ok(())
}

async fn a_written_version_can_be_read(subject: Subject) -> Result<()> {
    for mode in [PutMode::Create, PutMode::CreateUnique] {
        let path = subject.path(&format!("{mode:?}"))?;
        let options = PutOptions { mode, retain_until: None };
        let written = subject.store.put(&path, "body".into(), options).await?;
        let version = written.version.context("no version was answered")?;
        let read = Read::last(2).of_version(Some(version.clone()));
        ensure!(subject.store.fetch(&path, read).await? == "dy");
        ensure!(subject.store.head(&path, Some(&version)).await?.length == 4);
        let versions = subject.versions_of(&path).await?;
        ensure!(versions.len() == 1, "{versions:?}");
        ensure!((&versions[0].version, versions[0].kind) == (&version, VersionKind::Data));
        ensure!(!subject.store.head(&path, None).await?.altered);
    }
    Ok(())
}

/// What is recorded in a copy of a location are the ids that its first bucket gave, in the spelling of its server. Who reads
/// has to be able to tell that from a store that is out of reach.
async fn a_version_of_another_bucket_is_not_found_or_refused(subject: Subject) -> Result<()> {
    let path = subject.path("object")?;
    subject.create("object", "x").await?;
    let aws = "3HL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY+MTRCxf3vjVBH40Nr8X8gdRQBpUMLUo";
    let (minio, versitygw) = ("0d6f6ac0-5b3c-4a0f-9a4a-0d1b2c3d4e5f", "01JD9Z5W3Y6K8Q2N4R7T9V1X3Z");
    for id in [aws, minio, versitygw, "v7"] {
        for read in [Read::all(), Read::span(0, 1)] {
            let fetched = subject.store.fetch(&path, read.of_version(Some(VersionId::new(id)))).await;
            let told = matches!(fetched, Err(StoreError::NotFound { .. } | StoreError::Refused { .. }));
            ensure!(told, "version '{id}': {fetched:?}");
        }
    }
    Ok(())
}

async fn nothing_is_overwritten_where_versions_are_kept(subject: Subject) -> Result<()> {
    let path = subject.path("object")?;
    let overwritten = subject.store.put(&path, "x".into(), PutOptions::overwrite()).await;
    ensure_fails!(overwritten, StoreError::Unsupported { feature: Feature::Overwrite, .. });
    ensure!(subject.versions_of(&path).await?.is_empty());
    Ok(())
}

async fn later_versions_hide_nothing(subject: Subject) -> Result<()> {
    let path = subject.path("object")?;
    let written = subject.create("object", "the first").await?;
    for body in ["an attacker's", "and another's"] {
        subject.tamper()?.overwrite(&path, Bytes::from_static(body.as_bytes())).await?;
    }
    ensure!(subject.versions_of(&path).await?.len() == 3);
    subject.check_first(&path, written.version.as_ref(), "the first").await
}

async fn delete_markers_hide_nothing(subject: Subject) -> Result<()> {
    let path = subject.path("folder/object")?;
    let written = subject.create("folder/object", "the first").await?;
    subject.tamper()?.delete(&path).await?;
    subject.check_first(&path, written.version.as_ref(), "the first").await?;
    ensure!(subject.store.list_folders(&subject.folder).await? == ["folder"]);
    Ok(())
}

async fn a_key_with_a_first_version_is_not_created_again(subject: Subject) -> Result<()> {
    let path = subject.path("object")?;
    let written = subject.create("object", "the first").await?;
    subject.tamper()?.delete(&path).await?;
    let again = subject.store.create(&path, "another".into()).await;
    ensure_fails!(again, StoreError::AlreadyExists { .. });
    let same = subject.store.create(&path, "the first".into()).await?;
    ensure!(same.version == written.version, "our own bytes are taken for another's");
    subject.check_first(&path, written.version.as_ref(), "the first").await
}

async fn a_deleted_object_leaves_no_version(subject: Subject) -> Result<()> {
    let path = subject.path("object")?;
    subject.create("object", "x").await?;
    subject.create("object-beside", "x").await?;
    for _ in 0..2 {
        subject.tamper()?.overwrite(&path, "over it".into()).await?;
        subject.tamper()?.delete(&path).await?;
    }
    subject.store.delete(&path, None).await?;
    ensure!(subject.versions_of(&path).await?.is_empty());
    ensure!(!subject.store.exists(&path).await?);
    ensure!(subject.versions_of(&subject.path("object-beside")?).await?.len() == 1);
    Ok(())
}

async fn a_tamperers_version_can_be_removed(subject: Subject) -> Result<()> {
    let path = subject.path("object")?;
    let first = subject.create("object", "x").await?.version;
    subject.tamper()?.overwrite(&path, "over it".into()).await?;
    subject.tamper()?.delete(&path).await?;
    for version in subject.versions_of(&path).await? {
        if Some(&version.version) != first.as_ref() {
            subject.store.delete(&path, Some(&version.version)).await?;
        }
    }
    let head = subject.store.head(&path, None).await?;
    ensure!(head.version == first && !head.altered, "{head:?}");
    Ok(())
}

async fn versions_are_listed_page_by_page(subject: Subject) -> Result<()> {
    for name in ["a", "b", "b-c"] {
        subject.create(name, name).await?;
        subject.tamper()?.overwrite(&subject.path(name)?, "over it".into()).await?;
        subject.tamper()?.overwrite(&subject.path(name)?, "and again".into()).await?;
        subject.tamper()?.delete(&subject.path(name)?).await?;
    }
    let scope = VersionScope::Beneath(subject.folder.clone());
    let whole = subject.store.list_versions(&scope, &VersionPage::first()).await?;
    ensure!(whole.versions.len() == 12 && whole.next.is_none(), "{whole:?}");
    let mut page = VersionPage { after: None, limit: 2 };
    let mut found = Vec::new();
    for _ in 0..20 {
        let listing = subject.store.list_versions(&scope, &page).await?;
        found.extend(listing.versions);
        page.after = listing.next;
        if page.after.is_none() {
            break;
        }
    }
    let name = |version: &VersionMeta| (version.path.clone(), version.version.clone());
    let sorted = |versions: &[VersionMeta]| {
        let mut names: Vec<_> = versions.iter().map(name).collect();
        names.sort();
        names
    };
    ensure!(sorted(&found) == sorted(&whole.versions), "{found:?}");
    ensure!(found.is_sorted_by_key(|version| version.path.clone()), "{found:?}");
    Ok(())
}

async fn a_locked_object_is_not_deleted(subject: Subject) -> Result<()> {
    let path = subject.path("object")?;
    let until = subject.store.time().await? + HOUR;
    let options = PutOptions::create().retained(Some(until));
    let written = subject.store.put(&path, "the first".into(), options).await?;
    let retained = subject.store.head(&path, None).await?.retain_until;
    ensure!(retained.is_some_and(|retained| retained >= until), "{retained:?}");
    ensure_fails!(subject.store.delete(&path, None).await, StoreError::Locked { .. });
    let by_version = subject.store.delete(&path, written.version.as_ref()).await;
    ensure_fails!(by_version, StoreError::Locked { .. });
    ensure!(subject.store.fetch_all(&path).await? == "the first");

    subject.tamper()?.overwrite(&path, "over it".into()).await?;
    subject.tamper()?.delete(&path).await?;
    ensure_fails!(subject.store.delete(&path, None).await, StoreError::Locked { .. });
    ensure!(subject.store.fetch_all(&path).await? == "the first");
    Ok(())
}

async fn retention_is_extended_and_never_shortened(subject: Subject) -> Result<()> {
    let path = subject.path("object")?;
    let written = subject.create("object", "x").await?;
    let now = subject.store.time().await?;
    let mut longest = now;
    for (until, version) in
        [(now + HOUR, None), (now + 3 * HOUR, written.version.as_ref()), (now + 2 * HOUR, None)]
    {
        longest = longest.max(until);
        subject.store.extend_retention(&path, version, until).await?;
        let retained = subject.store.head(&path, None).await?.retain_until.context("it is not retained")?;
        ensure!(retained >= longest && retained <= longest + Duration::from_secs(1), "{retained}");
    }
    let missing = subject.store.extend_retention(&subject.path("missing")?, None, longest).await;
    ensure_fails!(missing, StoreError::NotFound { .. });
    Ok(())
}

async fn no_retention_is_longer_than_allowed(subject: Subject) -> Result<()> {
    let path = subject.path("object")?;
    let until = subject.store.time().await? + RETENTION_MAX + HOUR;
    let options = PutOptions::create().retained(Some(until));
    let written = subject.store.put(&path, "x".into(), options).await;
    ensure_fails!(written, StoreError::RetainTooLong { .. });
    subject.create("object", "x").await?;
    let extended = subject.store.extend_retention(&path, None, until).await;
    ensure_fails!(extended, StoreError::RetainTooLong { .. });
    subject.store.delete(&path, None).await?;
    Ok(())
}

async fn a_repeated_create_extends_the_retention(subject: Subject) -> Result<()> {
    let path = subject.path("object")?;
    let now = subject.store.time().await?;
    for until in [now + HOUR, now + 2 * HOUR] {
        let options = PutOptions::create().retained(Some(until));
        subject.store.put(&path, "same".into(), options).await?;
        let retained = subject.store.head(&path, None).await?.retain_until;
        ensure!(retained.is_some_and(|retained| retained >= until), "{retained:?}");
    }
    Ok(())
}
