"""`repository.md`: records of a repository, chunks and streams."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

from decode import Cursor, Damage, Unreadable, ensure, refuse_later, unpack_zstandard
from envelope import (
    HEADER_BYTES,
    INDEX,
    OUTCOME,
    PACK,
    REPOSITORY,
    RETIREMENT,
    SEAL_BYTES,
    Header,
    Object,
    Opener,
    Owner,
    open_object,
)
from location import ID, Location, RepositoryPath
from report import Report
from slots_and_keys import (
    KEYS_MAX,
    KeyFile,
    Slot,
    VaultKeys,
    chunk_id_key,
    decode_key_file,
    decode_slot,
    open_slot,
)

CHUNK_BYTES_MAX = 8_388_608
PACK_BYTES_MAX = 16_777_216
DESCRIPTION_BYTES_MAX = 16 * 1024 * 1024
VERSION_ID_BYTES_MAX = NAME_BYTES_MAX = 1_024
ATTRIBUTE_BYTES_MAX = 4_096
STREAMS_MAX = 65_536
ATTRIBUTES_MAX = 64
CHILDREN_MAX = 4_096
DEPTH_MAX = 9
RAW, ZSTANDARD = 0, 1

RESULTS = {1: "committed", 2: "done", 3: "aborted"}
PURPOSES = {1: "backup", 2: "export", 3: "restore", 4: "base", 5: "verify", 6: "repack"}
COMMITTED, REPACK = 1, 6


@dataclass(frozen=True)
class Format:
    repository_id: bytes
    first_key: int
    least: int
    average: int
    greatest: int
    sum: bytes


def decode_format(data: bytes) -> Format:
    ensure(data[:8] == b"KEELREPO", "the magic is wrong")
    cursor = Cursor(data[8:])
    refuse_later(cursor.u16())
    fields = cursor.take(16), cursor.u32(), cursor.u32(), cursor.u32(), cursor.u32()
    ensure(cursor.take(32) == sha256(data[:42]).digest(), "the SHA-256 at its end is wrong")
    cursor.end()
    found = Format(*fields, sum=sha256(data).digest())
    bounded = 64 <= found.least < found.average < found.greatest <= CHUNK_BYTES_MAX
    ensure(bounded and found.average.bit_count() == 1, "lengths of chunks are out of bounds")
    return found


def decode_record(data: bytes) -> Cursor:
    cursor = Cursor(data)
    refuse_later(cursor.u16())
    return cursor


@dataclass(frozen=True)
class Chunk:
    id: bytes
    length: int
    encoding: int


def decode_chunk(cursor: Cursor) -> Chunk:
    chunk = Chunk(cursor.take(32), cursor.u32(), cursor.u8())
    ensure(chunk.length <= CHUNK_BYTES_MAX, f"a chunk of {chunk.length} bytes")
    ensure(chunk.encoding in (RAW, ZSTANDARD), f"encoding {chunk.encoding} of a chunk is unknown")
    return chunk


def decode_pack_directory(directory: bytes) -> list[Chunk]:
    cursor = decode_record(directory)
    chunks = cursor.items(lambda: decode_chunk(cursor), 37)
    cursor.end()
    return chunks


@dataclass(frozen=True)
class Copy:
    """Where a chunk lies in a pack."""

    chunk: Chunk
    position: int
    offset: int
    sealed_length: int


@dataclass(frozen=True)
class PackEntry:
    header: Header
    sum: bytes
    length: int
    copies: list[Copy]


def decode_pack_entry(part: bytes) -> PackEntry:
    cursor = decode_record(part)
    pack_id, key_number, salt = cursor.take(16), cursor.u32(), cursor.take(32)
    pack_sum, length = cursor.take(32), cursor.u32()
    ensure(length <= PACK_BYTES_MAX, f"a pack of {length} bytes")
    cursor.text(VERSION_ID_BYTES_MAX)
    chunks = cursor.items(lambda: (decode_chunk(cursor), cursor.u32()), 41)
    cursor.end()
    at = HEADER_BYTES
    copies: list[Copy] = []
    for chunk, sealed_length in chunks:
        stored = sealed_length - SEAL_BYTES
        fits = stored == chunk.length if chunk.encoding == RAW else stored >= 0
        ensure(fits, "a sealed part is not as long as its chunk says")
        copies.append(Copy(chunk, len(copies), at, sealed_length))
        at += sealed_length
    ensure(at < length, "the parts are longer than the pack")
    return PackEntry(Header(PACK, key_number, pack_id, salt), pack_sum, length, copies)


@dataclass(frozen=True)
class Stream:
    name: str
    length: int
    depth: int
    root: bytes | None
    attributes: dict[str, str]


@dataclass(frozen=True)
class Move:
    """What lay in one pack lies in others now."""

    old: bytes
    new: list[bytes]


@dataclass(frozen=True)
class Outcome:
    result: int
    purpose: int
    created: int
    locked_until: int | None
    description: bytes
    streams: list[Stream]
    packs: list[bytes]
    indexes: list[bytes]
    moves: list[Move]
    moved_for: frozenset[bytes]


def decode_stream(cursor: Cursor) -> Stream:
    name, length, depth_and_one = cursor.text(NAME_BYTES_MAX), cursor.u64(), cursor.u8()
    ensure(depth_and_one <= DEPTH_MAX + 1, f"a tree of depth {depth_and_one - 1}")
    ensure((length == 0) == (depth_and_one == 0), "a stream has a root if and only if it has bytes")
    root = cursor.take(32) if depth_and_one else None
    attributes = cursor.items(
        lambda: (cursor.text(ATTRIBUTE_BYTES_MAX), cursor.text(ATTRIBUTE_BYTES_MAX)), 4, ATTRIBUTES_MAX
    )
    return Stream(name, length, depth_and_one - 1, root, dict(attributes))


def decode_ids(cursor: Cursor) -> list[bytes]:
    return cursor.items(lambda: cursor.take(16), 16)


def decode_outcome(part: bytes) -> Outcome:
    cursor = decode_record(part)
    result, purpose, created = cursor.u8(), cursor.u8(), cursor.i64()
    ensure(result in RESULTS and purpose in PURPOSES, f"result {result}, purpose {purpose}")
    locked = cursor.u8()
    ensure(locked in (0, 1), "neither locked nor not")
    locked_until = cursor.i64() if locked else None
    description = cursor.blob(DESCRIPTION_BYTES_MAX)
    streams = cursor.items(lambda: decode_stream(cursor), 15, STREAMS_MAX)
    packs = decode_ids(cursor)
    ensure(packs == sorted(set(packs)), "the packs are not sorted")
    indexes = [index for index, _ in cursor.items(lambda: (cursor.take(16), cursor.text(VERSION_ID_BYTES_MAX)), 18)]
    moves: list[Move] = []
    moved_for: frozenset[bytes] = frozenset()
    if (result, purpose) == (COMMITTED, REPACK):
        ensure(not streams and not packs, "a repack with streams or packs")
        moves = cursor.items(lambda: Move(cursor.take(16), decode_ids(cursor)), 20)
        moved_for = frozenset(decode_ids(cursor))
    cursor.end()
    return Outcome(result, purpose, created, locked_until, description, streams, packs, indexes, moves, moved_for)


class MoveTable:
    """The moves of all repacks. Each holds for the outcomes that its repack names, and for no others."""

    def __init__(self, outcomes: Iterable[Outcome]) -> None:
        self._by_old: dict[bytes, list[tuple[frozenset[bytes], list[bytes]]]] = {}
        for outcome in outcomes:
            for move in outcome.moves:
                self._by_old.setdefault(move.old, []).append((outcome.moved_for, move.new))

    def needed_by(self, outcome_id: bytes, named: list[bytes]) -> set[bytes]:
        """The packs that an outcome needs in place of those that it names."""
        needed: set[bytes] = set()
        followed: set[bytes] = set()
        left = list(named)
        while left:
            pack_id = left.pop()
            moved = [new for outcomes, new in self._by_old.get(pack_id, []) if outcome_id in outcomes]
            if not moved:
                needed.add(pack_id)
            elif pack_id not in followed:
                followed.add(pack_id)
                for new in moved:
                    left.extend(new)
        return needed


def check_session(part: bytes, renewal: int) -> None:
    cursor = decode_record(part)
    purpose, stated = cursor.u8(), cursor.u32()
    cursor.take(16)
    cursor.end()
    ensure(purpose in PURPOSES and stated == renewal, f"purpose {purpose}, renewal {stated}")


def decode_retirement(part: bytes) -> bytes:
    """The retired outcome's id."""
    cursor = decode_record(part)
    outcome = cursor.take(16)
    cursor.take(16 + 8 + 8)
    cursor.end()
    return outcome


def check_id_lists(part: bytes) -> None:
    """A mark or a verdict: two lists of ids."""
    cursor = decode_record(part)
    for _ in range(2):
        decode_ids(cursor)
    cursor.end()


def decode_node(content: bytes, length: int) -> list[tuple[bytes, int]]:
    cursor = Cursor(content)
    refuse_later(cursor.u16())
    children = cursor.items(lambda: (cursor.take(32), cursor.u64()), 40, CHILDREN_MAX)
    cursor.end()
    ensure(len(children) > 0 and all(below > 0 for _, below in children), "a node or a child of it is empty")
    ensure(sum(below for _, below in children) == length, "a node's lengths do not add up to its own")
    return children


class Repository:
    """One repository. What cannot be read on the way is in the report, and the rest is there."""

    def __init__(self, location: Location, path: RepositoryPath, report: Report) -> None:
        self.location = location
        self.path = path
        self.format = decode_format(location.read(self.key("format")))
        self.report = report
        self.slots: list[Slot] = []
        self.key_files: list[KeyFile] = []
        self.opened_slots: set[bytes] = set()
        self.keys: dict[int, bytes] = {}
        self.packs: dict[bytes, PackEntry] = {}
        self._id_key: bytes | None = None
        self._retired: set[str] | None = None
        self._openers: dict[bytes, Opener] = {}
        self._copies: dict[bytes, list[tuple[PackEntry, Copy]]] = {}
        for name in location.names(self.key("slots")):
            with report.reading(self.key(f"slots/{name}")):
                slot = decode_slot(self._read(f"slots/{name}"))
                ensure(name == slot.id.hex(), "another slot's id: it was swapped")
                self.slots.append(slot)
        for name in self._key_names():
            with report.reading(self.key(f"keys/{name}")):
                file = decode_key_file(self._read(f"keys/{name}"))
                ensure(name == str(file.number), f"key {file.number} under another number")
                ensure(file.repository_id == self.format.repository_id, "another repository's key")
                self.key_files.append(file)
        self.slots.sort(key=lambda slot: -slot.vault_key)
        self.key_files.sort(key=lambda file: -file.number)

    def key(self, name: str) -> str:
        return f"{self.path.key}/{name}"

    def _read(self, name: str) -> bytes:
        return self.location.read(self.key(name))

    def _key_names(self) -> list[str]:
        names = self.location.names(self.key("keys"))
        ensure(len(names) <= KEYS_MAX, f"{len(names)} objects in keys/, more than {KEYS_MAX}")
        return names

    def open_slots(self, passphrase: bytes, vault_keys: VaultKeys) -> None:
        for slot in self.slots:
            with self.report.reading(self.key(f"slots/{slot.id.hex()}")):
                vault_key = open_slot(slot, passphrase)
                if vault_key is not None:
                    self.opened_slots.add(slot.id)
                    vault_keys.add(slot.vault_key, vault_key)

    def open_keys(self, vault_keys: VaultKeys) -> None:
        """Newest first, because each may bring the vault key of the one before."""
        for file in self.key_files:
            if file.number not in self.keys and vault_keys.opens(file):
                with self.report.reading(self.key(f"keys/{file.number}")):
                    self.keys[file.number] = vault_keys.open_key_file(file, self.format.sum)

    def owner(self) -> Owner:
        return Owner(REPOSITORY, self.format.repository_id, self.keys)

    def open_object(self, name: str, kind: int, object_id: bytes | None) -> Object:
        return open_object(self._read(name), self.owner(), kind, object_id)

    def load_index(self) -> None:
        for name in self.location.names(self.key("index")):
            with self.report.reading(self.key(f"index/{name}")):
                index = self.open_object(f"index/{name}", INDEX, id_of(name))
                for position in range(len(index.sealed_parts)):
                    self._add_pack(decode_pack_entry(index.part(position)))

    def _add_pack(self, entry: PackEntry) -> None:
        if entry.header.object_id in self.packs:
            return
        self.packs[entry.header.object_id] = entry
        for copy in entry.copies:
            self._copies.setdefault(copy.chunk.id, []).append((entry, copy))

    def outcome_ids(self) -> list[str]:
        return self.location.names(self.key("outcomes"))

    def outcome(self, outcome_id: str) -> Outcome:
        opened = self.open_object(f"outcomes/{outcome_id}", OUTCOME, id_of(outcome_id))
        return decode_outcome(opened.only_part())

    def retired(self) -> set[str]:
        """The outcomes that somebody has stated to be retired, whether as an owner or not."""
        if self._retired is None:
            self._retired = self._read_retired()
        return self._retired

    def _read_retired(self) -> set[str]:
        found = set()
        for name in self.location.names(self.key("retired")):
            with self.report.reading(self.key(f"retired/{name}")):
                opened = self.open_object(f"retired/{name}", RETIREMENT, id_of(name))
                ensure(decode_retirement(opened.only_part()) == id_of(name), "retires another outcome")
                found.add(name)
        return found

    def _opener(self, entry: PackEntry) -> Opener:
        opener = self._openers.get(entry.header.object_id)
        if opener is None:
            opener = self._openers[entry.header.object_id] = Opener(entry.header, self.owner())
        return opener

    def copies(self, chunk_id: bytes) -> list[tuple[PackEntry, Copy]]:
        return self._copies.get(chunk_id, [])

    def _chunk_id_key(self) -> bytes:
        if self.format.first_key not in self.keys:
            raise Unreadable(f"no key {self.format.first_key} is at hand")
        if self._id_key is None:
            self._id_key = chunk_id_key(self.keys[self.format.first_key])
        return self._id_key

    def open_chunk(self, chunk: Chunk, stored: bytes) -> bytes:
        if chunk.encoding == ZSTANDARD:
            stored = unpack_zstandard(stored, chunk.length)
        ensure(len(stored) == chunk.length, f"a chunk of {len(stored)} bytes instead of {chunk.length}")
        named = hmac.compare_digest(hmac.digest(self._chunk_id_key(), stored, "sha256"), chunk.id)
        ensure(named, "a chunk's content does not have its id")
        return stored

    def read_chunk(self, chunk_id: bytes) -> bytes:
        """If a chunk lies in two packs and one copy is damaged, the other is read."""
        reason = Damage("no index describes it")
        for entry, copy in self.copies(chunk_id):
            try:
                key = self.key(pack_key(entry.header.object_id))
                sealed = self.location.read_range(key, copy.offset, copy.sealed_length)
                return self.open_chunk(copy.chunk, self._opener(entry).open(copy.position, sealed))
            except Damage as damage:
                reason = damage
        raise Damage(f"chunk {chunk_id.hex()}: {reason}")

    def leaves(self, root: bytes, depth: int, length: int) -> Iterator[tuple[bytes, int]]:
        """The chunks of a stream in order, each with the length that the tree states."""
        if depth == 0:
            yield root, length
            return
        for child, below in decode_node(self.read_chunk(root), length):
            yield from self.leaves(child, depth - 1, below)

    def stream(self, stream: Stream) -> Iterator[bytes]:
        if stream.root is None:
            return
        for chunk_id, length in self.leaves(stream.root, stream.depth, stream.length):
            content = self.read_chunk(chunk_id)
            ensure(len(content) == length, f"a chunk of {len(content)} bytes where the tree says {length}")
            yield content


def pack_key(pack_id: bytes) -> str:
    return f"packs/{pack_id.hex()[:2]}/{pack_id.hex()}"


def id_of(name: str) -> bytes:
    ensure(ID.fullmatch(name) is not None, "not named by an id")
    return bytes.fromhex(name)
