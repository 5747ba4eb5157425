//! The index against a plain map, through index objects that come and go, on disk and in memory, through reopening,
//! damage and kills: it answers as the map does, or says that its local copy is damaged and answers after a refresh.

mod crash;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use keelson_crypto::Sha256;
use keelson_model::RepositoryId;
use proptest::prelude::*;

use super::build::Builder;
use super::folder::Folder;
use super::merge::Sizes;
use super::pages::Pages;
use super::*;
use crate::format::pack_directory::Encoding;

/// Index objects by number, each with its packs. Packs share chunks, and objects share packs.
type Objects = BTreeMap<u8, BTreeSet<u8>>;

const CHUNKS: u8 = 24;

fn chunks_of(pack: u8) -> impl Iterator<Item = u8> {
    (0..pack % 7).map(move |nth| pack.wrapping_mul(5).wrapping_add(nth) % CHUNKS)
}

/// Some ids look like hashes, some differ in their last bytes only.
fn chunk_id(number: u8) -> ChunkId {
    let mut id = [9; 32];
    id[31] = number;
    if number.is_multiple_of(2) {
        id = *Sha256::of(&[number]).as_bytes();
    }
    ChunkId::from_bytes(id)
}

fn object_id(number: u8) -> ObjectId {
    ObjectId::from_bytes([number; 16])
}

fn pack_id(number: u8) -> PackId {
    let mut id = [0; 16];
    id.copy_from_slice(&Sha256::of(&[number, 1]).as_bytes()[..16]);
    PackId::from_bytes(id)
}

fn pack_record(pack: u8) -> PackRecord {
    PackRecord {
        id: pack_id(pack),
        key_number: 1,
        salt: [pack; 32],
        sha256: Sha256::of(&[pack]),
        length: 10_000 + u32::from(pack),
        version: pack.is_multiple_of(3).then(|| VersionId::new("v".repeat(1 + usize::from(pack)))),
    }
}

fn chunk_record(number: u8) -> ChunkRecord {
    let chunk =
        PackedChunk { id: chunk_id(number), plain_bytes: u32::from(number), encoding: Encoding::Zstd };
    ChunkRecord { chunk, sealed_bytes: 100 + u32::from(number) }
}

fn decoded(object: u8, packs: &BTreeSet<u8>) -> DecodedIndex {
    let source = IndexSource { id: object_id(object), version: None };
    let packs = packs.iter().map(|pack| (pack_record(*pack), chunks_of(*pack).map(chunk_record).collect()));
    DecodedIndex { source, packs: packs.collect() }
}

/// Everything goes to disk at once.
const ON_DISK: Sizes = Sizes { memory_bytes: 0, sort_bytes: 0, merge_inputs: 3, ids: 1 };
/// Some stays in memory.
const MIXED: Sizes = Sizes { memory_bytes: 2000, sort_bytes: 4000, merge_inputs: 8, ids: 1 };
const SMALL: Sizes = Sizes { memory_bytes: usize::MAX, sort_bytes: usize::MAX, merge_inputs: 8, ids: 1 };

fn open(path: &Path, sizes: Sizes) -> LocalIndex {
    open_of(path, sizes, 1)
}

fn open_of(path: &Path, sizes: Sizes, repository: u8) -> LocalIndex {
    let (folder, pages) = (Arc::new(Folder::kept(path.to_owned())), Arc::new(Pages::new(4000)));
    let repository = RepositoryId::from_bytes([repository; 16]);
    LocalIndex::open(Workplace { folder, pages, repository, sizes }).unwrap()
}

/// What a refresh does, with the map in place of the store.
fn catch_up(local: &LocalIndex, objects: &Objects) -> Result<Arc<Index>, IndexCacheError> {
    let current = local.current();
    let there: BTreeSet<_> = objects.keys().map(|object| object_id(*object)).collect();
    let gone = current.sources().map(|source| source.id).filter(|id| !there.contains(id)).collect();
    let mut builder = Builder::new(local.workplace(), &current, &gone);
    for (object, packs) in objects {
        if current.find_source(&object_id(*object)).is_none() {
            builder.add(decoded(*object, packs))?;
        }
    }
    Ok(local.install(builder.finish(Vec::new())?))
}

/// Compares every answer.
fn check(index: &Index, objects: &Objects) -> Result<(), IndexCacheError> {
    let packs: BTreeSet<u8> = objects.values().flatten().copied().collect();
    for chunk in 0..CHUNKS {
        let mut found = Vec::new();
        for place in index.find(&chunk_id(chunk))? {
            assert_eq!(place.chunk, chunk_record(chunk).chunk);
            assert_eq!(place.sealed_bytes, chunk_record(chunk).sealed_bytes);
            found.push((index.pack(place.pack)?.record.id, place.position, place.offset));
        }
        found.sort_unstable();
        let mut expected = Vec::new();
        for pack in &packs {
            let mut offset = 64;
            for (position, other) in (0..).zip(chunks_of(*pack)) {
                if other == chunk {
                    expected.push((pack_id(*pack), position, offset));
                }
                offset += chunk_record(other).sealed_bytes;
            }
        }
        expected.sort_unstable();
        assert_eq!(found, expected, "chunk {chunk}");
    }
    for pack in 0..=40 {
        let found = index.find_pack(&pack_id(pack))?;
        assert_eq!(found.is_some(), packs.contains(&pack));
        if let Some(IndexedPack { record, source }) = found {
            assert_eq!(record, pack_record(pack));
            assert!(objects.iter().any(|(object, of)| object_id(*object) == source.id && of.contains(&pack)));
        }
    }
    let mut listed = BTreeSet::new();
    index.for_each_pack(|pack| {
        listed.insert(pack.record.id);
        Ok::<_, IndexCacheError>(())
    })?;
    assert_eq!(listed, packs.iter().map(|pack| pack_id(*pack)).collect());
    assert_eq!(index.source_count(), objects.len());
    Ok(())
}

/// As a session that fails and its next tries: each may find one more damaged file, and none may find a wrong answer.
fn check_in_the_end(local: &LocalIndex, objects: &Objects) {
    for _ in 0..20 {
        match catch_up(local, objects).and_then(|index| check(&index, objects)) {
            Ok(()) => return,
            Err(IndexCacheError::Damaged { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the index did not recover");
}

fn rolls(path: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, BTreeSet<u8>),
    Remove(u8),
    Reopen,
    /// Which file, where in it, and whether by a changed byte or by cutting.
    Harm(prop::sample::Index, prop::sample::Index, bool),
    /// One roll's bytes under another's name, and bytes that are no roll.
    Confuse(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let put = || {
        (0..12u8, prop::collection::btree_set(0..40u8, 0..6))
            .prop_map(|(object, packs)| Step::Put(object, packs))
    };
    let any_index = any::<prop::sample::Index>;
    let step = prop_oneof![
        6 => put(),
        3 => (0..12u8).prop_map(Step::Remove),
        1 => Just(Step::Reopen),
        1 => (any_index(), any_index(), any::<bool>()).prop_map(|(file, at, cut)| Step::Harm(file, at, cut)),
        1 => any_index().prop_map(Step::Confuse),
    ];
    prop::collection::vec(step, 1..25)
}

fn harm(path: &Path, file: &prop::sample::Index, at: &prop::sample::Index, cut: bool) {
    let files = rolls(path);
    if files.is_empty() {
        return;
    }
    let file = file.get(&files);
    let mut bytes = std::fs::read(file).unwrap();
    // It was cut to nothing before.
    if bytes.is_empty() {
        return;
    }
    if cut {
        bytes.truncate(at.index(bytes.len()));
    } else {
        let at = at.index(bytes.len());
        bytes[at] ^= 0x40;
    }
    // In place: who has the file open sees it too.
    std::fs::write(file, bytes).unwrap();
}

fn follow(steps: Vec<Step>, sizes: Sizes) {
    let folder = tempfile::tempdir().unwrap();
    let mut local = open(folder.path(), sizes);
    let (mut objects, mut ever) = (Objects::new(), Objects::new());
    for step in steps {
        match step {
            Step::Put(object, packs) => {
                // One that was gone may be listed again, but no id is ever used with other content.
                let packs = ever.entry(object).or_insert(packs);
                objects.insert(object, packs.clone());
            }
            Step::Remove(object) => {
                objects.remove(&object);
                catch_up(&local, &objects).ok();
            }
            Step::Reopen => {
                drop(local);
                local = open(folder.path(), sizes);
            }
            Step::Harm(file, at, cut) => harm(folder.path(), &file, &at, cut),
            Step::Confuse(file) => {
                drop(local);
                let files = rolls(folder.path());
                if !files.is_empty() {
                    let copy = folder.path().join("00ff.roll");
                    std::fs::copy(file.get(&files), copy).unwrap();
                }
                std::fs::write(folder.path().join("nonsense.roll"), b"no roll").ok();
                local = open(folder.path(), sizes);
            }
        }
        check_in_the_end(&local, &objects);
        assert!(local.current().layers.len() <= 8, "{} layers", local.current().layers.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_index_is_the_union_of_the_objects_that_are_there(steps in steps()) {
        follow(steps, SMALL);
    }

    #[test]
    fn on_disk_it_is_that_too_whatever_becomes_of_the_files(steps in steps()) {
        follow(steps, ON_DISK);
    }

    #[test]
    fn partly_on_disk_it_is_that_too(steps in steps()) {
        follow(steps, MIXED);
    }
}

#[test]
fn a_place_is_the_chunks_position_behind_the_header_and_the_parts_before_it() {
    for sizes in [SMALL, ON_DISK] {
        let folder = tempfile::tempdir().unwrap();
        let index =
            catch_up(&open(folder.path(), sizes), &Objects::from([(1, BTreeSet::from([3]))])).unwrap();
        let chunks: Vec<_> = chunks_of(3).collect();
        let place = index.find(&chunk_id(chunks[2])).unwrap()[0];
        let before: u32 = chunks[..2].iter().map(|chunk| 100 + u32::from(*chunk)).sum();
        let sealed_bytes = 100 + u32::from(chunks[2]);
        assert_eq!((place.position, place.offset, place.sealed_bytes), (2, 64 + before, sealed_bytes));
        assert!(index.find(&ChunkId::from_bytes([6; 32])).unwrap().is_empty());
    }
}

#[test]
fn a_pack_that_two_index_objects_describe_counts_once_and_stays_while_one_of_them_does() {
    for sizes in [SMALL, ON_DISK] {
        let folder = tempfile::tempdir().unwrap();
        let local = open(folder.path(), sizes);
        let both = Objects::from([(1, BTreeSet::from([5])), (2, BTreeSet::from([5]))]);
        let index = catch_up(&local, &both).unwrap();
        let chunk = chunk_id(chunks_of(5).next().unwrap());
        assert_eq!(index.find(&chunk).unwrap().len(), 1);
        for left in [1, 2] {
            let one = Objects::from([(left, BTreeSet::from([5]))]);
            assert_eq!(catch_up(&local, &one).unwrap().find(&chunk).unwrap().len(), 1);
        }
    }
}

#[test]
fn a_reopened_copy_knows_what_it_knew_and_one_of_another_repository_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let objects: Objects = (0..10).map(|object| (object, BTreeSet::from([object, object + 20]))).collect();
    drop(catch_up(&open(folder.path(), ON_DISK), &objects).unwrap());
    let local = open(folder.path(), ON_DISK);
    check(&local.current(), &objects).unwrap();
    drop(local);
    assert_eq!(open_of(folder.path(), ON_DISK, 2).current().source_count(), 0);
    assert!(rolls(folder.path()).is_empty());
}

/// A kill between the end of a merge and the removal of what it merged.
#[test]
fn of_two_rolls_with_the_same_index_objects_one_is_used_and_the_other_goes() {
    let folder = tempfile::tempdir().unwrap();
    let objects: Objects = (0..4).map(|object| (object, BTreeSet::from([object, object + 20]))).collect();
    drop(catch_up(&open(folder.path(), ON_DISK), &objects).unwrap());
    let before = rolls(folder.path());
    for (number, file) in before.iter().enumerate() {
        std::fs::copy(file, folder.path().join(format!("0{number}.roll"))).unwrap();
    }
    let local = open(folder.path(), ON_DISK);
    assert_eq!(rolls(folder.path()).len(), before.len());
    assert_eq!(local.current().layers.iter().flat_map(Layer::live_sources).count(), objects.len());
    check(&local.current(), &objects).unwrap();
}

#[test]
fn files_that_a_newer_state_does_without_go_when_nobody_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path(), ON_DISK);
    let mut objects = Objects::new();
    let mut states = Vec::new();
    for object in 0..12 {
        objects.insert(object, BTreeSet::from([object]));
        states.push((catch_up(&local, &objects).unwrap(), objects.clone()));
    }
    for (index, objects) in &states {
        check(index, objects).unwrap();
    }
    drop(states);
    assert!(rolls(folder.path()).len() <= local.current().layers.len());
    check(&local.current(), &objects).unwrap();
}

/// Tens of thousands of rows, several pages of each table, and filters that do not all fit into their budget.
#[test]
fn tables_of_many_pages_answer_for_every_row() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path(), Sizes { sort_bytes: 400_000, ..ON_DISK });
    let id = |number: u32| ChunkId::from_bytes(*Sha256::of(&number.to_le_bytes()).as_bytes());
    let mut builder = Builder::new(local.workplace(), &local.current(), &Default::default());
    for object in 0..20 {
        let chunk = |nth: u32| {
            let chunk =
                PackedChunk { id: id(object * 2500 + nth), plain_bytes: nth, encoding: Encoding::Raw };
            ChunkRecord { chunk, sealed_bytes: 100 }
        };
        let pack = (pack_record(object as u8), (0..2500).map(chunk).collect());
        let source = IndexSource { id: object_id(object as u8), version: None };
        builder.add(DecodedIndex { source, packs: vec![pack] }).unwrap();
    }
    let index = local.install(builder.finish(Vec::new()).unwrap());
    for number in 0..50_000 {
        let found = index.find(&id(number)).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].position, found[0].offset), (number % 2500, 64 + number % 2500 * 100));
        let pack = index.pack(found[0].pack).unwrap().record;
        assert_eq!(pack, pack_record((number / 2500) as u8));
        assert!(index.find(&id(number + 50_000)).unwrap().is_empty());
    }
    assert!(local.workplace().pages.resident_bytes() <= 4000 + 40_000);
}
