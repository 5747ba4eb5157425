//! Listings: complete, in order, inside their folder, page by page.

use anyhow::{Result, ensure};
use keelson_store::{Capabilities, ListPage, Listing, StorePath};

use super::{Subject, cases};

fn always(_: &Capabilities) -> bool {
    true
}

cases! {
    a_listing_stays_in_its_folder_and_in_order if always;
    pages_follow_without_gap_or_repetition if always;
    a_page_may_begin_anywhere if always;
    a_listing_of_nothing_is_empty if always;
    folders_are_named_once_and_in_order if always;
    an_emptied_folder_is_gone if always;
    many_objects_take_several_pages if always;
}

/// Neighbours that sort differently as names and as paths: `-` and `.` come before `/`, `0` after it.
const NEIGHBOURS: [&str; 10] =
    ["a/b-c/x", "a/b.d", "a/b/c", "a/b/d/e", "a/b/d/f", "a/b/d0", "a/b/e-/x", "a/b/e/x", "a/b0", "a/bc/d"];

async fn plant_neighbours(subject: &Subject) -> Result<()> {
    for name in NEIGHBOURS.iter().rev() {
        subject.create(name, *name).await?;
    }
    Ok(())
}

async fn a_listing_stays_in_its_folder_and_in_order(subject: Subject) -> Result<()> {
    plant_neighbours(&subject).await?;
    ensure!(subject.names("a").await? == NEIGHBOURS);
    let expected = ["a/b/c", "a/b/d/e", "a/b/d/f", "a/b/d0", "a/b/e-/x", "a/b/e/x"];
    ensure!(subject.names("a/b").await? == expected);
    ensure!(subject.names("a/b/d").await? == ["a/b/d/e", "a/b/d/f"]);
    ensure!(subject.names("a/b-c").await? == ["a/b-c/x"]);
    Ok(())
}

async fn pages_follow_without_gap_or_repetition(subject: Subject) -> Result<()> {
    plant_neighbours(&subject).await?;
    for limit in 1..=NEIGHBOURS.len() + 1 {
        let mut page = ListPage { after: None, limit };
        let mut found = Vec::new();
        loop {
            let Listing { objects, more } = subject.store.list(&subject.folder, &page).await?;
            ensure!(objects.len() <= limit, "a page of {limit} has {}", objects.len());
            found.extend(objects.into_iter().map(|object| object.path));
            if !more {
                break;
            }
            ensure!(found.len() <= NEIGHBOURS.len(), "the listing does not end");
            page.after = found.last().cloned();
        }
        let expected = NEIGHBOURS.iter().map(|name| subject.path(name));
        ensure!(found == expected.collect::<Result<Vec<_>>>()?, "pages of {limit}: {found:?}");
    }
    Ok(())
}

async fn a_page_may_begin_anywhere(subject: Subject) -> Result<()> {
    plant_neighbours(&subject).await?;
    for after in ["A", "a", "a/b", "a/b/d", "a/b/d/e-gone", "a/b/d/z", "a/b/e", "a/b1", "b"] {
        let page = ListPage::after(subject.path(after)?);
        let found = subject.store.list(&subject.folder, &page).await?.objects;
        let found: Vec<_> = found.into_iter().map(|object| object.path).collect();
        let expected = NEIGHBOURS.iter().filter(|name| **name > after).map(|name| subject.path(name));
        ensure!(found == expected.collect::<Result<Vec<StorePath>>>()?, "after {after}: {found:?}");
    }
    Ok(())
}

async fn a_listing_of_nothing_is_empty(subject: Subject) -> Result<()> {
    for folder in ["", "never", "never/was"] {
        let folder = subject.path(folder)?;
        let listing = subject.store.list(&folder, &ListPage::first()).await?;
        ensure!(listing == Listing::default(), "{listing:?}");
        ensure!(subject.store.list_folders(&folder).await?.is_empty());
    }
    Ok(())
}

async fn folders_are_named_once_and_in_order(subject: Subject) -> Result<()> {
    for name in ["x/1", "x/2", "x-y/1", "x/deep/3", "y/deep/4", "object"] {
        subject.create(name, "x").await?;
    }
    ensure!(subject.store.list_folders(&subject.folder).await? == ["x", "x-y", "y"]);
    ensure!(subject.store.list_folders(&subject.path("x")?).await? == ["deep"]);
    ensure!(subject.store.list_folders(&subject.path("x-y")?).await?.is_empty());
    Ok(())
}

async fn an_emptied_folder_is_gone(subject: Subject) -> Result<()> {
    subject.create("full/1", "x").await?;
    subject.create("emptied/deep/1", "x").await?;
    subject.store.delete(&subject.path("emptied/deep/1")?, None).await?;
    ensure!(subject.store.list_folders(&subject.folder).await? == ["full"]);
    ensure!(subject.names("emptied").await?.is_empty());
    subject.create("emptied/deep/1", "again").await?;
    ensure!(subject.names("emptied").await? == ["emptied/deep/1"]);
    Ok(())
}

async fn many_objects_take_several_pages(subject: Subject) -> Result<()> {
    let names: Vec<_> = (0..1010).map(|number| format!("many/{number:04}")).collect();
    for chunk in names.chunks(32) {
        let creates = chunk.iter().map(|name| subject.create(name, "x"));
        futures::future::try_join_all(creates).await?;
    }
    let first = subject.store.list(&subject.folder, &ListPage::first()).await?;
    ensure!(first.objects.len() == 1000 && first.more, "a page has {}", first.objects.len());
    ensure!(subject.names("many").await? == names);
    Ok(())
}
