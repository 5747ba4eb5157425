//! Copying living chunks: one old pack in memory at a time, each chunk authenticated and compared with its id.

use std::collections::HashMap;
use std::sync::Arc;

use keelson_crypto::{ObjectId, ObjectKind};
use keelson_model::{ChunkId, PackId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::survey::{PackLife, or_damage};
use super::{RepackError, decide_move};
use crate::chunk::{EncodedChunk, decode_chunk};
use crate::core::Core;
use crate::format::outcome_record::{IndexReference, Move};
use crate::format::pack_directory;
use crate::limits::CHUNKS_QUEUED;
use crate::object::{Expected, ObjectError, offload};
use crate::pack::{PackerReport, WriteFault, run_packer};
use crate::session::Progress;

/// What was copied, and where it is now.
pub(super) struct Copied {
    pub(super) moves: Vec<Move>,
    pub(super) indexes: Vec<IndexReference>,
    pub(super) packs_written: u64,
    pub(super) bytes: u64,
}

type Packer = JoinSet<Result<PackerReport, WriteFault>>;

/// A damaged pack is left out of the moves.
pub(super) async fn copy_packs(
    core: &Arc<Core>,
    lives: &[(PackId, PackLife)],
) -> Result<Copied, RepackError> {
    let (queue, chunks) = mpsc::channel(CHUNKS_QUEUED);
    let mut packer = Packer::new();
    packer.spawn(run_packer(Arc::clone(core), Arc::new(Progress::default()), chunks));
    // A chunk that lies in two old packs is copied once.
    let mut queued: HashMap<ChunkId, u64> = HashMap::new();
    let (mut emptied, mut bytes) = (Vec::new(), 0);
    for (pack, life) in lives {
        let Some(chunks) = or_damage(read_living(core, *pack, life).await)? else { continue };
        let mut numbers = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let (id, length) = (chunk.chunk.id, chunk.body.len() as u64);
            if let Some(number) = queued.get(&id) {
                numbers.push(*number);
                continue;
            }
            if queue.send(chunk).await.is_err() {
                // The packer has stopped; it says why.
                return Err(match join(packer).await {
                    Err(error) => error,
                    Ok(_) => std::future::pending().await,
                });
            }
            let number = queued.len() as u64;
            queued.insert(id, number);
            numbers.push(number);
            bytes += length;
        }
        emptied.push((*pack, numbers));
    }
    drop(queue);
    let PackerReport { packs, indexes } = join(packer).await?;
    let moves = emptied.iter().map(|(from, numbers)| decide_move(*from, numbers, &packs)).collect();
    Ok(Copied { moves, indexes, packs_written: packs.len() as u64, bytes })
}

async fn join(mut packer: Packer) -> Result<PackerReport, RepackError> {
    match packer.join_next().await {
        Some(Ok(result)) => result.map_err(|source| RepackError::Write { source }),
        Some(Err(error)) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

async fn read_living(
    core: &Arc<Core>,
    pack: PackId,
    life: &PackLife,
) -> Result<Vec<EncodedChunk>, ObjectError> {
    let path = core.paths.pack(pack);
    let expected = Expected { kind: ObjectKind::Pack, id: ObjectId::from(pack), path };
    let bytes = expected.fetch(core.store.as_ref(), None).await?;
    let core = Arc::clone(core);
    let living = life.living();
    offload(move || {
        let opened = expected.open(&core.keys, &bytes)?;
        let directory = pack_directory::decode(opened.directory());
        let directory = directory.map_err(|source| expected.decode_error(source))?;
        let mut chunks = Vec::with_capacity(living.len());
        for position in living {
            let Some(chunk) = directory.get(position as usize).copied() else {
                return Err(ObjectError::Contents { path: expected.path });
            };
            let body = opened.part(position).map_err(|source| expected.explain(source, &bytes))?;
            decode_chunk(&core.identity, &chunk, body.clone())
                .map_err(|source| ObjectError::Chunk { path: expected.path.clone(), source })?;
            chunks.push(EncodedChunk { chunk, body: body.into() });
        }
        Ok(chunks)
    })
    .await
}
