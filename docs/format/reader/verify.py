"""Checks everything that the keys at hand open: each object, and that what names another leads somewhere."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

from catalog import Name, Row
from decode import Damage, Unreadable, decode_json_object, ensure
from disaster_recovery import PlatformRepository, read_lineages
from envelope import MARK, PACK, SESSION, VERDICT, open_object
from grants import GrantKeys
from location import NUMBER, Location
from report import Report
from repository import (
    Chunk,
    MoveTable,
    Outcome,
    Repository,
    Stream,
    check_id_lists,
    check_session,
    decode_pack_directory,
    id_of,
    pack_key,
)
from slots_and_keys import VaultKeys

FOLDERS = {"format", "slots", "keys", "sessions", "packs", "index", "outcomes", "retired", "marks", "verdicts"}
PLATFORM_FOLDERS = FOLDERS | {"bases", "segments", "manifests", "starts"}


class RepositoryCheck:
    """Opens each chunk once, then walks the trees over what was found good."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._report = repository.report
        self._good: dict[bytes, tuple[int, set[bytes]]] = {}
        self.outcomes = 0

    def run(self) -> None:
        repository = self._repository
        self._check_keys()
        for name in repository.location.names(repository.key("packs")):
            with self._report.reading(repository.key(f"packs/{name}")):
                self._check_pack(name)
        outcomes = self._read_outcomes()
        moves = MoveTable(outcomes.values())
        retired = repository.retired()
        for name, outcome in outcomes.items():
            if name not in retired:
                with self._report.reading(repository.key(f"outcomes/{name}")):
                    self._check_outcome(outcome, moves.needed_by(id_of(name), outcome.packs))
        for name in repository.location.names(repository.key("sessions")):
            with self._report.reading(repository.key(f"sessions/{name}")):
                session, _, renewal = name.partition("/")
                ensure(NUMBER.fullmatch(renewal) is not None, "not named by a number")
                opened = repository.open_object(f"sessions/{name}", SESSION, id_of(session))
                check_session(opened.only_part(), int(renewal))
        for folder, kind in (("marks", MARK), ("verdicts", VERDICT)):
            for name in repository.location.names(repository.key(folder)):
                with self._report.reading(repository.key(f"{folder}/{name}")):
                    check_id_lists(repository.open_object(f"{folder}/{name}", kind, id_of(name)).only_part())

    def _check_keys(self) -> None:
        repository = self._repository
        if repository.path.key.rsplit("/", 1)[1] != repository.format.repository_id.hex():
            self._report.add_damage(
                repository.key("format"), "another repository's id than the folder's: it was swapped"
            )
        known = PLATFORM_FOLDERS if repository.path.application is None else FOLDERS
        for name in repository.location.names(repository.path.key):
            if name.split("/")[0] not in known:
                self._report.add_damage(repository.key(name), "nothing of a repository has such a key")
        if repository.format.first_key not in repository.keys:
            raise Unreadable(f"no key {repository.format.first_key} is at hand")

    def _check_pack(self, name: str) -> None:
        repository = self._repository
        folder, _, pack_name = name.partition("/")
        pack_id = id_of(pack_name)
        ensure(folder == pack_name[:2], "in another folder than its id says")
        data = repository.location.read(repository.key(f"packs/{name}"))
        entry = repository.packs.get(pack_id)
        if entry is not None:
            ensure(len(data) == entry.length, f"{len(data)} bytes where the index says {entry.length}")
            ensure(sha256(data).digest() == entry.sum, "its SHA-256 is not the one in the index")
        opened = open_object(data, repository.owner(), PACK, pack_id)
        chunks = decode_pack_directory(opened.directory)
        ensure(len(chunks) == len(opened.sealed_parts), "its directory does not describe each part")
        if entry is not None:
            ensure(opened.header == entry.header, "its header is not the one in the index")
            described = [(copy.chunk, copy.sealed_length) for copy in entry.copies]
            same = described == list(zip(chunks, map(len, opened.sealed_parts), strict=True))
            ensure(same, "its directory is not what the index says")
        for position, chunk in enumerate(chunks):
            repository.open_chunk(chunk, opened.part(position))
            if entry is not None:
                self._add_good(chunk, pack_id)

    def _add_good(self, chunk: Chunk, pack_id: bytes) -> None:
        _, packs = self._good.setdefault(chunk.id, (chunk.length, set()))
        packs.add(pack_id)

    def _read_outcomes(self) -> dict[str, Outcome]:
        """All that open, without what their writers say of them: that may be long, and is not looked at."""
        repository, outcomes = self._repository, {}
        for name in repository.outcome_ids():
            self.outcomes += 1
            with self._report.reading(repository.key(f"outcomes/{name}")):
                outcomes[name] = replace(repository.outcome(name), description=b"")
        return outcomes

    def _check_outcome(self, outcome: Outcome, needed: set[bytes]) -> None:
        """Streams are whole, out of the packs that the outcome needs and no others."""
        try:
            self._check_streams(outcome, needed)
        except Damage as damage:
            # A later key's index objects and repacks say where things have gone; without that key nothing is proven.
            if any(self._report.has_unread(self._repository.key(folder)) for folder in ("index", "outcomes")):
                raise Unreadable(f"{damage}, and what was not read may say where it is") from None
            raise

    def _check_streams(self, outcome: Outcome, needed: set[bytes]) -> None:
        repository = self._repository
        for pack_id in sorted(needed):
            ensure(repository.location.holds(repository.key(pack_key(pack_id))), f"pack {pack_id.hex()} is missing")
        for stream in outcome.streams:
            if stream.root is not None:
                self._check_tree(stream.root, stream, needed)

    def _check_tree(self, root: bytes, stream: Stream, needed: set[bytes]) -> None:
        for chunk_id, length in self._repository.leaves(root, stream.depth, stream.length):
            stated = self._check_needed(chunk_id, needed)
            ensure(stated == length, f"chunk {chunk_id.hex()} has {stated} bytes where the tree says {length}")

    def _check_needed(self, chunk_id: bytes, needed: set[bytes]) -> int:
        length, packs = self._good.get(chunk_id, (0, set()))
        ensure(not packs.isdisjoint(needed), f"no pack that it needs has a good copy of chunk {chunk_id.hex()}")
        return length


def verify_platform(platform: PlatformRepository, grant_keys: GrantKeys) -> None:
    """Replays each base up to the next one of its generation, the newest to the end, and compares on the way. One whose
    outcome is retired is on its way out, and its rows may be gone. Keeps the keys of the grants that it meets."""
    report, repository = platform.repository.report, platform.repository
    reached_manifests = set()
    retired = repository.retired()
    positions = sorted(at for at, base in platform.bases.items() if base.outcome not in retired)
    for base_at, next_at in zip(positions, [*positions[1:], None], strict=False):
        followed = next_at if next_at is not None and next_at.generation == base_at.generation else None
        base = platform.bases[base_at]
        rows: dict[Name, Row] = {}
        with report.reading(repository.key(f"bases/{base_at.name()}")):
            for reached in platform.replay(base):
                rows = reached.state.rows
                manifest = platform.manifests.get(reached.at)
                if manifest is not None:
                    reached_manifests.add(reached.at)
                    with report.reading(repository.key(f"manifests/{reached.at.name()}")):
                        reached.check(manifest.state)
                if followed is not None and reached.at.sequence >= followed.sequence:
                    reached.check(platform.bases[followed].state)
                    break
            grant_keys.add_given(rows.values(), platform.catalog_keys(base).catalog_key)
    standing = set(repository.outcome_ids()) - retired
    for at, manifest in platform.manifests.items():
        with report.reading(repository.key(f"manifests/{at.name()}")):
            # Of a run that was retired the document stays longer than its outcome, its base and the segments.
            if manifest.outcome in standing:
                ensure(manifest.base in platform.bases, f"base {manifest.base.name()} is missing")
                ensure(at in reached_manifests, "no base and segments reach it")


def verify_clusters(location: Location, vault_keys: VaultKeys, report: Report) -> None:
    """Cards, claims, and what is none of the platform's."""
    for key in location.keys("k10"):
        match key.split("/"):
            case ["k10", _, "cards", _]:
                with report.reading(key):
                    ensure("format" in decode_json_object(location.read(key)), "a card without a format")
            case ["k10", _, "epochs", _, _] | ["k10", _, "grants", _, _, _, _]:
                pass
            case ["k10", _, "dr", _, _, *_] | ["k10", _, "exports", _, _, _, *_]:
                pass
            case _:
                report.add_damage(key, "nothing of the platform has such a key")
    for lineage in read_lineages(location, vault_keys, report):
        for key in lineage.strangers:
            report.add_damage(key, "neither a claim that names the one before nor its epoch's list of retirements")
