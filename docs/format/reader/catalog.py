"""`catalog.md`: rows, effects and entries, and the state that they add up to."""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass, field
from pathlib import Path

from decode import Cursor, ensure, unpack_zstandard
from slots_and_keys import chain_key, row_digest_key

TEXT_BYTES_MAX = 512
LABELS_MAX = 256
BODY_BYTES_MAX = 8 * 1024 * 1024
ACTOR_BYTES_MAX = 4096
PART_BYTES_MAX = 16 * 1024 * 1024
CLASSES = 3
NO_PART = b""

DICTIONARY = Path(__file__).parents[1] / "dictionary_1.json"
CREATED, UPDATED, RELABELLED, DELETED, LEFT = 1, 2, 3, 4, 5


@dataclass(frozen=True)
class Revision:
    generation: int
    sequence: int


def decode_revision(cursor: Cursor) -> Revision:
    value = cursor.u64()
    ensure(value < 2**63, "a revision with its top bit set")
    return Revision(value >> 40, value & (2**40 - 1))


Name = tuple[str, str, str]


@dataclass(frozen=True)
class Row:
    kind: str
    namespace: str
    name: str
    uid: str
    row_class: int
    revision: Revision
    created: int
    labels: list[tuple[str, str]]
    body: bytes
    encoded: bytes = field(repr=False)

    def full_name(self) -> Name:
        return self.kind, self.namespace, self.name

    def order(self) -> tuple[bytes, bytes, bytes]:
        return self.kind.encode(), self.namespace.encode(), self.name.encode()


def decode_text(cursor: Cursor) -> str:
    return cursor.text(TEXT_BYTES_MAX)


def decode_labels(cursor: Cursor) -> list[tuple[str, str]]:
    count = cursor.u16()
    ensure(count <= LABELS_MAX, f"{count} labels")
    labels = [(decode_text(cursor), decode_text(cursor)) for _ in range(count)]
    keys = [key.encode() for key, _ in labels]
    ensure(keys == sorted(set(keys)), "labels do not ascend")
    return labels


def decode_row(cursor: Cursor) -> Row:
    begin = cursor.at
    kind, namespace, name, uid = (decode_text(cursor) for _ in range(4))
    row_class = cursor.u8()
    ensure(row_class < CLASSES, f"class {row_class} is unknown")
    revision, created, labels = decode_revision(cursor), cursor.i64(), decode_labels(cursor)
    body = cursor.blob(1 + BODY_BYTES_MAX)
    return Row(kind, namespace, name, uid, row_class, revision, created, labels, body, cursor.since(begin))


def unpack_body(body: bytes) -> bytes:
    cursor = Cursor(body)
    encoding = cursor.u8()
    if encoding == 0:
        return cursor.rest()
    ensure(encoding == 1, f"encoding {encoding} of a body is unknown")
    length = cursor.u32()
    ensure(length <= BODY_BYTES_MAX, f"a body of {length} bytes")
    return unpack_zstandard(cursor.rest(), length, DICTIONARY.read_bytes())


@dataclass(frozen=True)
class Effect:
    kind: int
    name: Name
    row: Row | None


def decode_effects(part: bytes) -> list[Effect]:
    cursor, effects = Cursor(part), []
    while cursor.left():
        kind = cursor.u8()
        if kind == LEFT:
            effects.append(Effect(kind, (decode_text(cursor), decode_text(cursor), decode_text(cursor)), None))
            continue
        ensure(kind in (CREATED, UPDATED, RELABELLED, DELETED), f"effect {kind} is unknown")
        row = decode_row(cursor)
        if kind == RELABELLED:
            decode_labels(cursor)
        effects.append(Effect(kind, row.full_name(), row))
    return effects


class CatalogKeys:
    def __init__(self, catalog_key: bytes) -> None:
        ensure(len(catalog_key) == 32, "a catalog key that has not 32 bytes")
        self.catalog_key = catalog_key
        self._chain = chain_key(catalog_key)
        self._rows = [row_digest_key(catalog_key, row_class) for row_class in range(CLASSES)]

    def mac(self, *parts: bytes) -> bytes:
        joined = b"".join(struct.pack("<Q", len(part)) + part for part in parts)
        return hmac.digest(self._chain, joined, "sha256")

    def row_digest(self, row: Row) -> int:
        return int.from_bytes(hmac.digest(self._rows[row.row_class], row.encoded, "sha256"), "little")


@dataclass(frozen=True)
class Entry:
    revision: Revision
    at: int
    actor: str
    parts: list[bytes | None]
    part_digests: list[bytes]
    digests: list[bytes]
    previous: bytes
    digest: bytes


def decode_entry(data: bytes, keys: CatalogKeys) -> Entry:
    """An entry as a segment holds it, its digest checked."""
    cursor = Cursor(data)
    revision, at, actor = decode_revision(cursor), cursor.i64(), cursor.text(ACTOR_BYTES_MAX)
    parts: list[bytes | None] = []
    part_digests: list[bytes] = []
    for row_class in range(CLASSES):
        whole = cursor.u8()
        ensure(whole in (0, 1), "a part is neither whole nor a digest")
        part = cursor.blob(PART_BYTES_MAX) if whole else None
        parts.append(part)
        digest = cursor.take(32) if part is None else keys.mac(b"keelson/0/part", bytes([row_class]), part)
        part_digests.append(digest)
    digests = [cursor.take(32) for _ in range(CLASSES)]
    entry = Entry(revision, at, actor, parts, part_digests, digests, cursor.take(32), cursor.take(32))
    cursor.end()
    number = struct.pack("<Q", revision.generation << 40 | revision.sequence)
    right = keys.mac(
        b"keelson/0/entry", number, struct.pack("<q", at), actor.encode(), *part_digests, *digests, entry.previous
    )
    ensure(hmac.compare_digest(right, entry.digest), f"the digest of entry {revision.sequence} is wrong")
    return entry


class State:
    """Rows of the classes that are covered, with their digests kept as they change."""

    def __init__(self, keys: CatalogKeys, classes: int) -> None:
        self._keys = keys
        self.classes = classes
        self.rows: dict[Name, Row] = {}
        self.sums = [0] * CLASSES

    def put(self, row: Row) -> None:
        ensure(row.row_class < self.classes, f"{row.full_name()} is of class {row.row_class}, which is not shipped")
        self.remove(row.full_name())
        self.rows[row.full_name()] = row
        self._add(row, 1)

    def remove(self, name: Name) -> Row | None:
        row = self.rows.pop(name, None)
        if row is not None:
            self._add(row, -1)
        return row

    def _add(self, row: Row, sign: int) -> None:
        changed = self.sums[row.row_class] + sign * self._keys.row_digest(row)
        self.sums[row.row_class] = changed % 2**256

    def digests(self) -> list[bytes]:
        return [self.sums[row_class].to_bytes(32, "little") for row_class in range(self.classes)]

    def counts(self) -> list[int]:
        return [sum(row.row_class == c for row in self.rows.values()) for c in range(self.classes)]

    def check(self, digests: list[bytes], at: Revision) -> None:
        for row_class, digest in enumerate(self.digests()):
            same = digest == digests[row_class]
            ensure(same, f"rows of class {row_class} do not add up to the digest of entry {at.sequence}")

    def apply(self, entry: Entry) -> None:
        """Deletions and departures first, then what was written."""
        effects: list[tuple[int, Effect]] = []
        for row_class in range(self.classes):
            part = entry.parts[row_class]
            ensure(part is not None, f"entry {entry.revision.sequence} lacks the part of class {row_class}")
            effects += [(row_class, effect) for effect in decode_effects(part or NO_PART)]
        for row_class, effect in effects:
            if effect.kind in (DELETED, LEFT):
                gone = self.remove(effect.name)
                ensure(gone is not None and gone.row_class == row_class, f"{effect.name} is not there to be removed")
                last = effect.row is None or gone is None or effect.row.encoded == gone.encoded
                ensure(last, f"{effect.name} was not what its removal says")
        for row_class, effect in effects:
            if effect.kind in (CREATED, UPDATED, RELABELLED) and effect.row is not None:
                row = effect.row
                fits = row.row_class == row_class and row.revision == entry.revision
                ensure(fits, f"{effect.name} does not have its entry's class and revision")
                self.put(row)
        self.check(entry.digests, entry.revision)
