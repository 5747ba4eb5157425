"""`envelope.md`: sealed objects and small boxes. Parses nothing that has not been authenticated but the header."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from decode import Cursor, Damage, Unreadable, ensure, refuse_later
from location import OBJECT_BYTES_MAX

HEADER_BYTES = 64
SEAL_BYTES = 28
PARTS_MAX = 65_536
MAGIC = b"KEELSON\0"
TRAILER = b"KEND"
DIRECTORY = 0xFFFF_FFFF

PACK, INDEX, OUTCOME, SESSION, RETIREMENT, MARK, VERDICT = 1, 2, 3, 4, 5, 6, 7
BASE, SEGMENT, MANIFEST, START, EPOCH, EPOCH_RETIREMENTS, KIT = 16, 17, 18, 19, 32, 33, 34

REPOSITORY, LINEAGE, KIT_OWNER = 1, 2, 3


def hkdf(key: bytes, info: bytes, salt: bytes = b"", length: int = 32) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(key)


def open_gcm(key: bytes, sealed: bytes, associated: bytes) -> bytes:
    """`sealed` is nonce, ciphertext and tag."""
    ensure(len(sealed) >= SEAL_BYTES, "too short to be sealed")
    try:
        return AESGCM(key).decrypt(sealed[:12], sealed[12:], associated)
    except InvalidTag:
        raise Damage("the tag is wrong") from None


def open_box(key: bytes, purpose: str, context: bytes, box: bytes) -> bytes:
    ensure(len(box) >= 32 + SEAL_BYTES, "too short to be a box")
    named = purpose.encode()
    box_key = hkdf(key, b"keelson/0/box/" + named, salt=box[:32])
    return open_gcm(box_key, box[32:], struct.pack("<Q", len(named)) + named + context)


@dataclass(frozen=True)
class Owner:
    """Whose the key is: a repository or a lineage, and the keys by their numbers."""

    kind: int
    id: bytes
    keys: Mapping[int, bytes]


@dataclass(frozen=True)
class Header:
    kind: int
    key_number: int
    object_id: bytes
    salt: bytes

    def encode(self) -> bytes:
        return struct.pack("<8sHBBI16s32s", MAGIC, 0, self.kind, 0, self.key_number, self.object_id, self.salt)


def decode_header(data: bytes) -> Header:
    cursor = Cursor(data)
    ensure(cursor.take(8) == MAGIC, "the magic is wrong")
    refuse_later(cursor.u16())
    kind, zero, key_number = cursor.u8(), cursor.u8(), cursor.u32()
    ensure(zero == 0, "the byte after the kind is not zero")
    header = Header(kind, key_number, cursor.take(16), cursor.take(32))
    cursor.end()
    return header


class Opener:
    """Opens the pieces of one object. It needs no more than the header, which an index object records of each pack."""

    def __init__(self, header: Header, owner: Owner) -> None:
        if header.key_number not in owner.keys:
            raise Unreadable(f"no key {header.key_number} is at hand")
        info = b"keelson/0/object/" + bytes([header.kind])
        self._key = hkdf(owner.keys[header.key_number], info, salt=header.salt)
        self._associated = header.encode() + struct.pack("<B16s", owner.kind, owner.id)

    def open(self, position: int, sealed: bytes) -> bytes:
        last = 1 if position == DIRECTORY else 0
        return open_gcm(self._key, sealed, self._associated + struct.pack("<IB", position, last))


@dataclass(frozen=True)
class Object:
    """An object whose directory has been opened."""

    header: Header
    opener: Opener
    directory: bytes
    sealed_parts: list[bytes]

    def part(self, position: int) -> bytes:
        return self.opener.open(position, self.sealed_parts[position])

    def only_part(self) -> bytes:
        ensure(len(self.sealed_parts) == 1, f"{len(self.sealed_parts)} parts instead of one")
        return self.part(0)


def open_object(data: bytes, owner: Owner, kind: int, object_id: bytes | None) -> Object:
    """`object_id` is the one that the object's key promises, if it does."""
    ensure(HEADER_BYTES + SEAL_BYTES + 8 <= len(data) <= OBJECT_BYTES_MAX, f"{len(data)} bytes are not an object")
    header = decode_header(data[:HEADER_BYTES])
    ensure(header.kind == kind, f"kind {header.kind} instead of {kind}")
    ensure(object_id in (None, header.object_id), "another object's id: it was swapped")
    ensure(data[-4:] == TRAILER, "the trailer is wrong")
    (directory_bytes,) = struct.unpack("<I", data[-8:-4])
    begin = len(data) - 8 - directory_bytes
    ensure(begin >= HEADER_BYTES, "the directory is longer than the object")
    opener = Opener(header, owner)
    cursor = Cursor(opener.open(DIRECTORY, data[begin:-8]))
    lengths = cursor.items(cursor.u32, 4, PARTS_MAX)
    ensure(all(length >= SEAL_BYTES for length in lengths), "a part is too short to be sealed")
    ensure(sum(lengths) == begin - HEADER_BYTES, "the parts do not fill the object")
    at, parts = HEADER_BYTES, []
    for length in lengths:
        parts.append(data[at : at + length])
        at += length
    return Object(header, opener, cursor.rest(), parts)
