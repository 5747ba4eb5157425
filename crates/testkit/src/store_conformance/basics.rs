//! Objects one at a time: written once, read whole or in part, described, deleted.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use jiff::SignedDuration;
use keelson_store::{
    Capabilities, ListPage, OBJECT_BYTES_MAX, PutMode, PutOptions, Read, StoreError, StoreExt,
};
use tokio::task::JoinSet;

use super::{Subject, cases, ensure_fails};

const RACERS: u8 = 16;
/// Larger than a pack.
const LARGE_BYTES: usize = 20 << 20;

fn always(_: &Capabilities) -> bool {
    true
}

cases! {
    an_object_reads_back_as_written if always;
    a_large_object_reads_back_as_written if always;
    an_object_over_the_limit_is_refused if always;
    what_is_missing_is_not_found if always;
    a_create_does_not_replace if always;
    a_repeated_create_of_the_same_bytes_succeeds if always;
    of_racing_creates_exactly_one_wins if always;
    an_overwrite_replaces if |capabilities| capabilities.overwrite;
    ranges_read_exactly_their_bytes if always;
    a_range_beyond_the_end_is_an_error if always;
    a_description_tells_length_and_time if always;
    a_delete_can_be_repeated if always;
    unusual_names_survive if always;
    a_folder_is_no_object if always;
}

async fn an_object_reads_back_as_written(subject: Subject) -> Result<()> {
    for (name, body) in [("empty", &b""[..]), ("one", b"1"), ("deep/down/in/folders", b"\0\r\n\xff")] {
        subject.create(name, body).await?;
        ensure!(subject.store.fetch_all(&subject.path(name)?).await? == body, "{name}");
    }
    Ok(())
}

async fn a_large_object_reads_back_as_written(subject: Subject) -> Result<()> {
    let body: Bytes = (0..LARGE_BYTES).map(|place| (place / 251) as u8).collect();
    subject.create("large", body.clone()).await?;
    let read = subject.store.fetch_all(&subject.path("large")?).await?;
    ensure!(read == body, "the bytes differ");
    let span = subject.store.fetch(&subject.path("large")?, Read::span(12_345_678, 1_000_000)).await?;
    ensure!(span == body.slice(12_345_678..13_345_678), "the bytes of a span differ");
    Ok(())
}

async fn an_object_over_the_limit_is_refused(subject: Subject) -> Result<()> {
    let body = Bytes::from(vec![0; OBJECT_BYTES_MAX as usize + 1]);
    let path = subject.path("over")?;
    ensure_fails!(subject.store.create(&path, body).await, StoreError::TooLarge { .. });
    ensure!(!subject.store.exists(&path).await?, "it was written all the same");
    Ok(())
}

async fn what_is_missing_is_not_found(subject: Subject) -> Result<()> {
    subject.create("there", "x").await?;
    for name in ["not-there", "no/folder/either", "there/beneath"] {
        let path = subject.path(name)?;
        ensure_fails!(subject.store.fetch_all(&path).await, StoreError::NotFound { .. });
        ensure_fails!(subject.store.fetch(&path, Read::last(1)).await, StoreError::NotFound { .. });
        ensure_fails!(subject.store.head(&path, None).await, StoreError::NotFound { .. });
        ensure!(subject.store.fetch_if_present(&path).await?.is_none());
    }
    Ok(())
}

async fn a_create_does_not_replace(subject: Subject) -> Result<()> {
    for (name, options) in [("a", PutOptions::create()), ("b", PutOptions::create_unique())] {
        let path = subject.path(name)?;
        subject.store.put(&path, "first".into(), options).await?;
        for body in ["other", "longer than the first", ""] {
            let second = subject.store.put(&path, body.into(), options).await;
            ensure_fails!(second, StoreError::AlreadyExists { .. });
        }
        ensure!(subject.store.fetch_all(&path).await? == "first");
    }
    Ok(())
}

async fn a_repeated_create_of_the_same_bytes_succeeds(subject: Subject) -> Result<()> {
    let path = subject.path("again")?;
    let first = subject.store.create(&path, "same".into()).await?;
    let second = subject.store.create(&path, "same".into()).await?;
    ensure!(first.version == second.version, "the repetition made another version");
    ensure!(subject.names("").await? == ["again"]);
    Ok(())
}

async fn of_racing_creates_exactly_one_wins(subject: Subject) -> Result<()> {
    for mode in [PutMode::Create, PutMode::CreateUnique] {
        let path = subject.path(&format!("{mode:?}"))?;
        let mut racers = JoinSet::new();
        for racer in 0..RACERS {
            let (store, path) = (subject.store.clone(), path.clone());
            let options = PutOptions { mode, retain_until: None };
            racers.spawn(async move { (racer, store.put(&path, vec![racer; 1000].into(), options).await) });
        }
        let mut winners = Vec::new();
        while let Some(finished) = racers.join_next().await {
            let (racer, outcome) = finished?;
            match outcome {
                Ok(written) => winners.push((racer, written)),
                Err(StoreError::AlreadyExists { .. }) => {}
                Err(error) => return Err(error).context("lose a race"),
            }
        }
        ensure!(winners.len() == 1, "{} racers won", winners.len());
        let (winner, written) = &winners[0];
        let read = Read::all().of_version(written.version.clone());
        ensure!(subject.store.fetch(&path, read).await? == vec![*winner; 1000], "a loser's bytes are there");
    }
    Ok(())
}

async fn an_overwrite_replaces(subject: Subject) -> Result<()> {
    let path = subject.path("changing")?;
    for body in ["first, and longer", "second"] {
        subject.store.put(&path, body.into(), PutOptions::overwrite()).await?;
        ensure!(subject.store.fetch_all(&path).await? == body);
    }
    ensure!(subject.store.list_all(&subject.folder).await?.len() == 1);
    Ok(())
}

async fn ranges_read_exactly_their_bytes(subject: Subject) -> Result<()> {
    subject.create("digits", "0123456789").await?;
    subject.create("empty", "").await?;
    for (name, read, expected) in [
        ("digits", Read::span(0, 10), "0123456789"),
        ("digits", Read::span(0, 1), "0"),
        ("digits", Read::span(9, 1), "9"),
        ("digits", Read::span(3, 4), "3456"),
        ("digits", Read::span(4, 0), ""),
        ("digits", Read::span(10, 0), ""),
        ("digits", Read::last(3), "789"),
        ("digits", Read::last(0), ""),
        ("digits", Read::last(10), "0123456789"),
        ("digits", Read::last(1000), "0123456789"),
        ("empty", Read::all(), ""),
        ("empty", Read::last(8), ""),
        ("empty", Read::span(0, 0), ""),
    ] {
        let found = subject.store.fetch(&subject.path(name)?, read.clone()).await;
        let found = found.with_context(|| format!("{name} {read:?}"))?;
        ensure!(found == expected, "{name} {read:?} read {found:?}");
    }
    Ok(())
}

async fn a_range_beyond_the_end_is_an_error(subject: Subject) -> Result<()> {
    subject.create("digits", "0123456789").await?;
    for read in
        [Read::span(0, 11), Read::span(9, 2), Read::span(10, 1), Read::span(1000, 1), Read::span(11, 0)]
    {
        let found = subject.store.fetch(&subject.path("digits")?, read).await;
        ensure_fails!(found, StoreError::OutOfRange { length: 10, .. });
    }
    let endless = subject.store.fetch(&subject.path("digits")?, Read::span(1, u64::MAX)).await;
    ensure_fails!(endless, StoreError::OutOfRange { .. });
    Ok(())
}

async fn a_description_tells_length_and_time(subject: Subject) -> Result<()> {
    let written = subject.create("described", "12345").await?;
    let path = subject.path("described")?;
    let meta = subject.store.head(&path, None).await?;
    ensure!((&meta.path, meta.length, meta.altered) == (&path, 5, false), "{meta:?}");
    ensure!(meta.version == written.version && meta.retain_until.is_none(), "{meta:?}");
    ensure!(meta.version.is_some() == subject.store.capabilities().versions, "{meta:?}");
    let listing = subject.store.list(&subject.folder, &ListPage::first()).await?;
    ensure!(listing.objects.len() == 1 && !listing.more);
    ensure!((listing.objects[0].length, &listing.objects[0].version) == (5, &meta.version));

    let now = subject.store.time().await?;
    for time in [meta.modified, listing.objects[0].modified, written.stored_at] {
        ensure!(now.duration_since(time).abs() < SignedDuration::from_mins(1), "{time} is not {now}");
    }
    Ok(())
}

async fn a_delete_can_be_repeated(subject: Subject) -> Result<()> {
    subject.create("gone", "x").await?;
    subject.create("gone-not", "x").await?;
    let path = subject.path("gone")?;
    for _ in 0..2 {
        subject.store.delete(&path, None).await?;
        ensure!(!subject.store.exists(&path).await?);
    }
    subject.store.delete(&subject.path("never/was")?, None).await?;
    ensure!(subject.names("").await? == ["gone-not"]);

    subject.create("gone", "another").await.context("the key is free again")?;
    ensure!(subject.store.fetch_all(&path).await? == "another");
    Ok(())
}

async fn unusual_names_survive(subject: Subject) -> Result<()> {
    let names = [
        "Grüße",
        "日本語",
        "a b",
        "a+b",
        "a%2fb",
        "a?b",
        "a#b",
        "a&b=c",
        "\"quoted\"",
        "it's",
        "<xml>",
        "~tilde",
        "..dots",
        "...",
        "-rf",
        "*",
        "$HOME",
        "a:b",
        "e\u{301}",
        "\u{1f980}",
    ];
    for name in names {
        subject.create(&format!("names/{name}"), name).await?;
    }
    let mut expected: Vec<_> = names.iter().map(|name| format!("names/{name}")).collect();
    expected.sort_unstable();
    ensure!(subject.names("names").await? == expected);
    for name in names {
        ensure!(subject.store.fetch_all(&subject.path(&format!("names/{name}"))?).await? == name, "{name}");
        subject.create(&format!("folders/{name}/object"), "x").await?;
    }
    let mut expected = names.to_vec();
    expected.sort_unstable();
    ensure!(subject.store.list_folders(&subject.path("folders")?).await? == expected);
    Ok(())
}

async fn a_folder_is_no_object(subject: Subject) -> Result<()> {
    subject.create("folder/object", "x").await?;
    let folder = subject.path("folder")?;
    ensure_fails!(subject.store.fetch_all(&folder).await, StoreError::NotFound { .. });
    ensure_fails!(subject.store.head(&folder, None).await, StoreError::NotFound { .. });
    subject.store.delete(&folder, None).await?;
    ensure!(subject.names("folder").await? == ["folder/object"]);
    ensure!(subject.names("folder/object").await?.is_empty(), "an object is no folder");
    Ok(())
}
