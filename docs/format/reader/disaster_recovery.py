"""`disaster-recovery.md`: bases, segments, manifests, starts, claims and cards."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

from catalog import CatalogKeys, State
from decode import Chunks, Damage, Unreadable, decode_json_object, ensure
from envelope import (
    BASE,
    EPOCH,
    EPOCH_RETIREMENTS,
    LINEAGE,
    MANIFEST,
    SEGMENT,
    START,
    Owner,
    open_box,
    open_object,
)
from location import ID, Location
from report import Report
from repository import Repository, id_of
from segments import Segment, decode_base_header, decode_segment, load_base
from slots_and_keys import VaultKeys, lineage_key

CLASS_NAMES = ("configuration", "local")
MODES = ("v2", "v3", "v3.2_data", "v3.2_metadata")
POSITION = re.compile(r"([0-9]{8})-([0-9]{8})-([0-9]{14})")
CLAIM = re.compile(r"[0-9]{8}")
RETIREMENTS = re.compile(r"([0-9]{8})\.retired")
CLAIM_FIELDS = ("instance", "cluster", "claimed_at")

Type = TypeVar("Type")


def take(document: dict[str, Any], name: str, kind: type[Type]) -> Type:
    value = document.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Damage(f"field {name} is not there or not of its type")
    return value


def take_bytes(document: dict[str, Any], name: str) -> bytes:
    try:
        return bytes.fromhex(take(document, name, str))
    except ValueError:
        raise Damage(f"field {name} is not hexadecimal") from None


@dataclass(frozen=True, order=True)
class Position:
    epoch: int
    generation: int
    sequence: int

    def name(self) -> str:
        return f"{self.epoch:08}-{self.generation:08}-{self.sequence:014}"


def decode_position_name(name: str) -> Position:
    found = POSITION.fullmatch(name)
    if found is None:
        raise Damage("not named by a position")
    return Position(*(int(number) for number in found.groups()))


def take_position(document: dict[str, Any], name: str) -> Position:
    fields = take(document, name, dict)
    return Position(*(take(fields, field, int) for field in ("epoch", "generation", "sequence")))


@dataclass(frozen=True)
class StateDocument:
    chain: bytes
    digests: dict[str, str]
    counts: dict[str, int]


def take_state(document: dict[str, Any]) -> StateDocument:
    state = take(document, "state", dict)
    return StateDocument(take_bytes(state, "chain"), take(state, "digests", dict), take(state, "counts", dict))


@dataclass(frozen=True)
class Parent:
    cluster: str
    repository: str
    at: Position


@dataclass(frozen=True)
class Base:
    at: Position
    cluster: str
    outcome: str
    lineage: bytes
    catalog_key: bytes
    vault_key: int
    state: StateDocument
    parent: Parent | None


def decode_base(document: dict[str, Any]) -> Base:
    ensure(take(document, "mode", str) in MODES, "its mode is unknown")
    parent = None
    if document.get("parent") is not None:
        fields = take(document, "parent", dict)
        parent = Parent(take(fields, "cluster", str), take(fields, "repository", str), take_position(fields, "at"))
    return Base(
        take_position(document, "at"),
        take(document, "cluster", str),
        take(document, "outcome", str),
        take_bytes(document, "lineage"),
        take_bytes(document, "catalog_key"),
        take(document, "vault_key", int),
        take_state(document),
        parent,
    )


@dataclass(frozen=True)
class Manifest:
    at: Position
    base: Position
    state: StateDocument
    outcome: str


def decode_manifest(document: dict[str, Any]) -> Manifest:
    return Manifest(
        take_position(document, "at"),
        take_position(document, "base"),
        take_state(document),
        take(document, "outcome", str),
    )


@dataclass(frozen=True)
class Reached:
    """The catalog after the entry at a position."""

    at: Position
    chain: bytes
    state: State

    def check(self, stated: StateDocument) -> None:
        ensure(stated.chain == self.chain, "its chain is not the journal's")
        digests = [digest.hex() for digest in self.state.digests()]
        ensure(stated.digests == dict(zip(CLASS_NAMES, digests, strict=False)), "its digests are not the journal's")

    def check_counts(self, stated: StateDocument) -> None:
        counts = (self.state.counts() + [0] * len(CLASS_NAMES))[: len(CLASS_NAMES)]
        ensure(stated.counts == dict(zip(CLASS_NAMES, counts, strict=True)), "its counts are not the journal's")


class PlatformRepository:
    """The documents of a repository under `dr/`. What cannot be read is in the repository's report."""

    def __init__(self, repository: Repository, vault_keys: VaultKeys) -> None:
        self.repository = repository
        self._vault_keys = vault_keys
        self.bases: dict[Position, Base] = {}
        self.manifests: dict[Position, Manifest] = {}
        self.segments: list[tuple[Position, Position]] = []
        for name in self._names("bases"):
            with repository.report.reading(repository.key(f"bases/{name}")):
                base = decode_base(self._document(f"bases/{name}", BASE))
                ensure(base.at == decode_position_name(name), "another position than its name")
                self.bases[base.at] = base
        for name in self._names("manifests"):
            with repository.report.reading(repository.key(f"manifests/{name}")):
                manifest = decode_manifest(self._document(f"manifests/{name}", MANIFEST))
                ensure(manifest.at == decode_position_name(name), "another position than its name")
                self.manifests[manifest.at] = manifest
        for name in self._names("starts"):
            with repository.report.reading(repository.key(f"starts/{name}")):
                take(self._document(f"starts/{name}", START), "instance", str)
        for name in self._names("segments"):
            with repository.report.reading(repository.key(f"segments/{name}")):
                first, last, _ = self._segment(decode_position_name(name))
                self.segments.append((first, last))

    def _names(self, folder: str) -> list[str]:
        return self.repository.location.names(self.repository.key(folder))

    def _document(self, name: str, kind: int) -> dict[str, Any]:
        opened = self.repository.open_object(name, kind, None)
        ensure(not opened.sealed_parts, "a document with parts")
        return decode_versioned(opened.directory)

    def _segment(self, position: Position) -> tuple[Position, Position, Segment]:
        opened = self.repository.open_object(f"segments/{position.name()}", SEGMENT, None)
        directory, segment = decode_versioned(opened.directory), decode_segment(opened.only_part())
        first, last = take_position(directory, "first"), take_position(directory, "last")
        ensure(first == position, "another position than its name")
        inside = (segment.generation, segment.first, segment.generation, segment.last)
        stated = (first.generation, first.sequence, last.generation, last.sequence)
        ensure(inside == stated, "its directory does not say what is inside")
        return first, last, segment

    def tips(self) -> dict[int, Position]:
        """The last position of each generation that has a base."""
        tips: dict[int, Position] = {}
        for base in self.bases.values():
            ends = [last for _, last in self.segments if last.generation == base.at.generation]
            tips[base.at.generation] = max([base.at, *ends])
        return tips

    def newest_base(self, generation: int) -> Base:
        return self.bases[max(at for at in self.bases if at.generation == generation)]

    def _base_before(self, first: Position) -> Base | None:
        """A base of everything before a segment."""
        before = [at for at in self.bases if (at.generation, at.sequence) == (first.generation, first.sequence - 1)]
        return self.bases[before[0]] if before else None

    def catalog_keys(self, base: Base) -> CatalogKeys:
        context = self.repository.format.repository_id
        reason: Exception = Unreadable(f"vault key {base.vault_key} is not at hand")
        for vault_key in self._vault_keys.numbered(base.vault_key):
            try:
                return CatalogKeys(open_box(vault_key, "catalog key", context, base.catalog_key))
            except Damage as damage:
                reason = damage
        raise reason

    def replay(self, base: Base) -> Iterator[Reached]:
        """The base, then entry after entry of its generation's segments: up to the end, or to a later base that stands
        for entries no segment holds, or begins a mode of fewer classes."""
        keys = self.catalog_keys(base)
        streams = [s for s in self.repository.outcome(base.outcome).streams if s.name == "rows"]
        ensure(len(streams) == 1, "its outcome does not have one stream of rows")
        stream = Chunks(self.repository.stream(streams[0]))
        header = decode_base_header(stream)
        head = header.head
        same = (head.revision.generation, head.revision.sequence) == (base.at.generation, base.at.sequence)
        ensure(same, "another moment inside than its position")
        reached = Reached(base.at, head.chain, load_base(stream, header, keys))
        reached.check(base.state)
        reached.check_counts(base.state)
        yield reached
        for first, last in self.segments:
            if first.generation != base.at.generation or last.sequence <= base.at.sequence:
                continue
            _, _, segment = self._segment(first)
            gap = first.sequence > reached.at.sequence + 1
            if (gap or segment.classes < header.classes) and self._base_before(first) is not None:
                return
            ensure(segment.classes >= header.classes, f"segment {first.name()} covers less than the base")
            for entry in segment.entries(keys):
                if entry.revision.sequence <= reached.at.sequence:
                    continue
                follows = entry.revision.sequence == reached.at.sequence + 1 and entry.previous == reached.chain
                ensure(follows, f"entry {entry.revision.sequence} does not follow entry {reached.at.sequence}")
                reached.state.apply(entry)
                at = Position(first.epoch, entry.revision.generation, entry.revision.sequence)
                reached = Reached(at, entry.digest, reached.state)
                yield reached


def decode_versioned(data: bytes) -> dict[str, Any]:
    document = decode_json_object(data)
    if take(document, "version", int) != 0:
        raise Unreadable("a later release wrote it")
    return document


def newest_chain(
    repositories: Sequence[PlatformRepository], cluster: str
) -> tuple[PlatformRepository, Base] | None:
    """Below one cluster id: the greatest position; then a chain that left it and went on, as long as it has nothing beyond
    the fork."""
    repositories = [one for one in repositories if one.repository.path.cluster == cluster]
    found = [(tip, r, r.newest_base(generation)) for r in repositories for generation, tip in r.tips().items()]
    if not found:
        return None
    latest = max(found, key=lambda one: one[0])
    while True:
        tip, repository, _ = latest
        followers = [one for one in found if leaves_at_the_end(one[2], repository, tip) and revision(one[0]) > revision(tip)]
        if not followers:
            return latest[1], latest[2]
        latest = max(followers, key=lambda one: one[0])


def continuations(repositories: Sequence[PlatformRepository], cluster: str) -> list[tuple[PlatformRepository, Position]]:
    """Chains below other ids that came from one below this id, directly or over others, and that no chain left at their
    end; with how far they go."""
    found = [(r, *newest) for r in repositories for newest in newest_of(r)]
    line = {r.repository.path.key for r in repositories if r.repository.path.cluster == cluster}
    # A base says below which id it was written: elsewhere it is a copy.
    others = [one for one in found if one[1].cluster == one[0].repository.path.cluster != cluster]
    for _ in others:
        line |= {r.repository.path.key for r, base, _ in others if parent_key(base) in line}
    left = [base for _, base, _ in found]
    return [
        (r, tip)
        for r, _, tip in others
        if r.repository.path.key in line and not any(leaves_at_the_end(base, r, tip) for base in left)
    ]


def newest_of(repository: PlatformRepository) -> list[tuple[Base, Position]]:
    """The base and the end of its latest generation, if it has a base."""
    tips = repository.tips()
    return [(repository.newest_base(generation), tips[generation]) for generation in sorted(tips)[-1:]]


def parent_key(base: Base) -> str | None:
    return None if base.parent is None else f"k10/{base.parent.cluster}/dr/{base.parent.repository}"


def revision(at: Position) -> tuple[int, int]:
    return at.generation, at.sequence


def leaves_at_the_end(base: Base, parent: PlatformRepository, tip: Position) -> bool:
    if base.parent is None or parent.repository.path.key != parent_key(base):
        return False
    return revision(base.parent.at) >= revision(tip)


@dataclass(frozen=True)
class Lineage:
    cluster: str
    id: str
    epochs: list[dict[str, Any]]
    strangers: list[str]


def read_lineages(location: Location, vault_keys: VaultKeys, report: Report) -> Iterator[Lineage]:
    folders: dict[str, list[str]] = {}
    for key in location.keys("k10"):
        match key.split("/"):
            case ["k10", _, "epochs", _, _]:
                folders.setdefault(key.rsplit("/", 1)[0], []).append(key)
    for folder, keys in folders.items():
        _, cluster, _, name = folder.split("/")
        with report.reading(folder):
            lineage = id_of(name)
            candidates = vault_keys.numbered(1)
            if not candidates:
                raise Unreadable("vault key 1 is not at hand")
            owners = [Owner(LINEAGE, lineage, {1: lineage_key(key, lineage)}) for key in candidates]
            read = [read_claims(location, keys, owner) for owner in owners]
            epochs, strangers = max(read, key=lambda one: len(one[0]))
            yield Lineage(cluster, name, epochs, strangers)


def read_claims(location: Location, keys: list[str], owner: Owner) -> tuple[list[dict[str, Any]], list[str]]:
    """A claim counts if it opens and names the one before it that counts; the others were written by strangers, and so
    was what lies in the place of a list of retirements and is none."""
    epochs: list[dict[str, Any]] = []
    strangers: list[str] = []
    previous: str | None = None
    for key in keys:
        name = key.rsplit("/", 1)[1]
        retirements = RETIREMENTS.fullmatch(name)
        try:
            if retirements is not None:
                check_retirements(location.read(key), owner, int(retirements[1]))
                continue
            ensure(CLAIM.fullmatch(name) is not None, "not named by a number")
            data = location.read(key)
            claim = decode_json_object(open_object(data, owner, EPOCH, None).directory)
            ensure(claim.get("previous") == previous, "does not name the claim before")
        except (Damage, Unreadable):
            strangers.append(key)
            continue
        previous = sha256(data).hexdigest()
        epochs.append({"epoch": int(name), **{field: claim.get(field) for field in CLAIM_FIELDS}})
    return epochs, strangers


def check_retirements(data: bytes, owner: Owner, epoch: int) -> None:
    """What was retired when an epoch was claimed."""
    opened = open_object(data, owner, EPOCH_RETIREMENTS, None)
    ensure(not opened.sealed_parts, "a list of retirements with parts")
    document = decode_versioned(opened.directory)
    ensure(take(document, "epoch", int) == epoch, "another epoch's list")
    for outcome in take(document, "outcomes", list):
        ensure(isinstance(outcome, str) and ID.fullmatch(outcome) is not None, "names what is no outcome")
