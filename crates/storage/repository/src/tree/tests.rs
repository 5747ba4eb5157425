//! Trees: the chunks come back in order, whatever their number; a node that lies about its length is refused.

use std::collections::HashMap;

use keelson_model::ChunkId;
use proptest::prelude::*;

use super::*;
use crate::format::tree_node::Child;

/// Ids like those of chunks: the low bits of one in 1,024 are zero.
fn child(number: u64) -> Child {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut id = [0; 32];
    id[..8].copy_from_slice(&mixed.rotate_left(17).to_le_bytes());
    id[8..16].copy_from_slice(&number.to_le_bytes());
    Child { id: ChunkId::from_bytes(id), length: number % 7 + 1 }
}

fn build(chunks: &[Child]) -> (StreamRef, HashMap<ChunkId, Vec<u8>>) {
    let mut nodes = HashMap::new();
    let mut builder = TreeBuilder::new();
    let mut store = |builder: &mut TreeBuilder, mut pending: Option<PendingNode>| {
        while let Some(node) = pending {
            let mut id = [0xee; 32];
            id[..8].copy_from_slice(&(nodes.len() as u64 + 1).to_le_bytes());
            nodes.insert(ChunkId::from_bytes(id), node.content.clone());
            pending = builder.stored(&node, ChunkId::from_bytes(id));
        }
    };
    for chunk in chunks {
        let pending = builder.push(*chunk);
        store(&mut builder, pending);
    }
    loop {
        match builder.close() {
            TreeStep::Complete(reference) => return (reference, nodes),
            TreeStep::Store(node) => store(&mut builder, Some(node)),
        }
    }
}

fn walk(reference: &StreamRef, nodes: &HashMap<ChunkId, Vec<u8>>) -> Vec<Child> {
    let (mut cursor, mut chunks) = (TreeCursor::new(reference), Vec::new());
    loop {
        match cursor.advance() {
            WalkStep::End => return chunks,
            WalkStep::Chunk(chunk) => chunks.push(chunk),
            WalkStep::Node { node, height } => cursor.enter(&node, height, &nodes[&node.id]).unwrap(),
        }
    }
}

#[test]
fn a_tree_gives_its_chunks_back_in_order() {
    for count in [0, 1, 2, 127, 128, 129, 4096, 5000, 300_000] {
        let chunks: Vec<_> = (0..count).map(child).collect();
        let (reference, nodes) = build(&chunks);
        assert_eq!(reference.length(), chunks.iter().map(|chunk| chunk.length).sum::<u64>());
        assert!(walk(&reference, &nodes) == chunks, "{count}");
        let longest = nodes.values().map(Vec::len).max().unwrap_or(0);
        assert!(longest <= 6 + 4096 * 40);
    }
}

#[test]
fn an_insertion_changes_few_nodes() {
    let chunks: Vec<_> = (0..100_000).map(child).collect();
    let mut inserted = chunks.clone();
    inserted.insert(10, child(1_000_000));
    let contents = |chunks| build(chunks).1.into_values().collect::<std::collections::HashSet<_>>();
    let (before, after) = (contents(&chunks), contents(&inserted));
    assert!(before.len() > 40);
    assert!(after.difference(&before).count() <= 3);
}

#[test]
fn a_node_whose_children_do_not_make_up_its_length_is_refused() {
    let (reference, nodes) = build(&[child(1), child(2)]);
    let mut cursor = TreeCursor::new(&StreamRef { length: reference.length + 1, ..reference });
    let WalkStep::Node { node, height } = cursor.advance() else { panic!("two chunks make a node") };
    assert!(cursor.enter(&node, height, &nodes[&node.id]).is_err());
    assert!(cursor.enter(&node, height, b"not a node").is_err());
}

#[test]
fn a_reference_whose_parts_disagree_is_refused() {
    let root = TreeRoot { depth: 0, id: ChunkId::from_bytes([1; 32]) };
    assert!(StreamRef::new(0, Some(root)).is_none());
    assert!(StreamRef::new(1, None).is_none());
    assert!(StreamRef::new(1, Some(TreeRoot { depth: TREE_DEPTH_MAX + 1, ..root })).is_none());
}

proptest! {
    #[test]
    fn trees_of_any_size_read_back(count in 0..3000u64) {
        let chunks: Vec<_> = (0..count).map(child).collect();
        let (reference, nodes) = build(&chunks);
        prop_assert_eq!(walk(&reference, &nodes), chunks);
    }
}
