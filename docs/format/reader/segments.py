"""`segments.md`: segments and bases, and how a catalog is restored from them."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import dataclass

from catalog import CLASSES, CatalogKeys, Entry, Revision, Row, State, decode_entry, decode_revision, decode_row
from decode import Chunks, Cursor, ensure, refuse_later, unpack_zstandard

SEGMENT_BYTES_MAX = 48 * 1024 * 1024
WRAPPED_KEY_BYTES_MAX = 4_096
ENTRY_BYTES_MAX = 16 * 1024 * 1024 + 8 * 1_024
HEADER_BYTES_MAX = 5 * 1024
ROW_BYTES_MAX = 9 * 1024 * 1024
FRAME_BYTES_MAX = 9_699_336
SCOPES = {1: 1, 2: 2}
ROWS, END = 1, 2


def decode_scope(cursor: Cursor) -> int:
    """How many classes are covered."""
    scope = cursor.u8()
    ensure(scope in SCOPES, f"scope {scope} is unknown")
    return SCOPES[scope]


@dataclass(frozen=True)
class Segment:
    classes: int
    generation: int
    first: int
    last: int
    packed: bytes
    length: int

    def entries(self, keys: CatalogKeys) -> Iterator[Entry]:
        cursor = Cursor(unpack_zstandard(self.packed, self.length))
        for sequence in range(self.first, self.last + 1):
            entry = decode_entry(cursor.blob(ENTRY_BYTES_MAX), keys)
            right = entry.revision == Revision(self.generation, sequence)
            ensure(right, f"entry {entry.revision.sequence} where {sequence} should be")
            yield entry
        cursor.end()


def decode_segment(data: bytes) -> Segment:
    cursor = Cursor(data)
    ensure(cursor.take(8) == b"KLSNSEGM", "the magic of a segment is wrong")
    refuse_later(cursor.u16())
    classes, zero = decode_scope(cursor), cursor.u8()
    ensure(zero == 0, "the byte after the scope is not zero")
    generation, first, last, length = cursor.u32(), cursor.u64(), cursor.u64(), cursor.u32()
    ensure(1 <= first <= last < 2**40, f"entries {first} to {last}")
    ensure(length <= SEGMENT_BYTES_MAX, f"{length} bytes of entries")
    return Segment(classes, generation, first, last, cursor.rest(), length)


@dataclass(frozen=True)
class Head:
    revision: Revision
    digests: list[bytes]
    chain: bytes


@dataclass(frozen=True)
class BaseHeader:
    classes: int
    head: Head
    encoded: bytes
    tag: bytes


def decode_base_header(stream: Chunks) -> BaseHeader:
    encoded = stream.blob(HEADER_BYTES_MAX)
    cursor = Cursor(encoded)
    ensure(cursor.take(8) == b"KLSNBASE", "the magic of a base is wrong")
    refuse_later(cursor.u16())
    classes, origin = decode_scope(cursor), cursor.u8()
    ensure(origin in (0, 1), "neither with an origin nor without")
    if origin:
        decode_revision(cursor)
        cursor.take(32)
    revision, digests = decode_revision(cursor), [cursor.take(32) for _ in range(CLASSES)]
    head = Head(revision, digests, cursor.take(32))
    cursor.blob(WRAPPED_KEY_BYTES_MAX)
    cursor.end()
    return BaseHeader(classes, head, encoded, stream.take(32))


def load_base(stream: Chunks, header: BaseHeader, keys: CatalogKeys) -> State:
    right = hmac.compare_digest(keys.mac(b"keelson/0/base", header.encoded), header.tag)
    ensure(right, "the tag of the base is wrong")
    state, before = State(keys, header.classes), None
    while True:
        frame = Cursor(stream.blob(FRAME_BYTES_MAX))
        kind = frame.u8()
        if kind == END:
            break
        ensure(kind == ROWS, f"frame {kind} is unknown")
        while frame.left():
            row = decode_blob_row(frame)
            ensure(before is None or before < row.order(), "rows do not ascend")
            newest = row.revision.generation, row.revision.sequence
            head = header.head.revision.generation, header.head.revision.sequence
            ensure(newest <= head, f"{row.full_name()} is newer than the base")
            state.put(row)
            before = row.order()
    counts = [frame.u64() for _ in range(CLASSES)]
    frame.end()
    stream.end()
    ensure(counts == (state.counts() + [0] * CLASSES)[:CLASSES], f"counts of rows are not {counts}")
    state.check(header.head.digests, header.head.revision)
    return state


def decode_blob_row(frame: Cursor) -> Row:
    cursor = Cursor(frame.blob(ROW_BYTES_MAX))
    row = decode_row(cursor)
    cursor.end()
    return row
