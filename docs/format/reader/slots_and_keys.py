"""`slots-and-keys.md`: from a passphrase to the keys of a repository, a lineage and the catalog."""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass, field
from hashlib import pbkdf2_hmac, sha256

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from decode import Cursor, ensure, refuse_later
from envelope import hkdf, open_box, open_gcm

SLOT_BYTES = 200
KEYS_MAX = 1_024
BOXED_KEY_BYTES = 92

ARGON2ID, PBKDF2 = 1, 2


@dataclass(frozen=True)
class Slot:
    id: bytes
    vault_key: int
    derivation: int
    costs: tuple[int, int, int]
    salt: bytes
    check: bytes
    sealed: bytes
    associated: bytes

    def describe(self) -> str:
        if self.derivation == PBKDF2:
            return f"PBKDF2-HMAC-SHA256, {self.costs[0]} rounds"
        return "Argon2id, {} KiB, {} iterations, {} lanes".format(*self.costs)


def without_sum(data: bytes) -> bytes:
    """Bytes that end with the SHA-256 of what is before."""
    ensure(len(data) > 32 and sha256(data[:-32]).digest() == data[-32:], "the SHA-256 at its end is wrong")
    return data[:-32]


def decode_slot(data: bytes) -> Slot:
    ensure(len(data) == SLOT_BYTES, f"{len(data)} bytes instead of {SLOT_BYTES}")
    ensure(data[:8] == b"KEELSLOT", "the magic is wrong")
    refuse_later(int.from_bytes(data[8:10], "little"))
    cursor = Cursor(without_sum(data)[10:])
    derivation, zero, vault_key = cursor.u8(), cursor.u8(), cursor.u32()
    ensure(zero == 0, "the byte after the key derivation is not zero")
    costs = (cursor.u32(), cursor.u32(), cursor.u32())
    memory, iterations, lanes = costs
    if derivation == ARGON2ID:
        bounded = 1_024 <= memory <= 131_072 and 1 <= iterations <= 6 and 1 <= lanes <= 4
    else:
        ensure(derivation == PBKDF2, f"key derivation {derivation} is unknown")
        bounded = 1_000_000 <= memory <= 2_000_000 and iterations == lanes == 0
    ensure(bounded, f"costs {costs} are out of bounds")
    ensure(vault_key <= KEYS_MAX, f"vault key {vault_key} is beyond {KEYS_MAX}")
    slot_id, salt, check, sealed = cursor.take(16), cursor.take(32), cursor.take(32), cursor.take(60)
    cursor.end()
    return Slot(slot_id, vault_key, derivation, costs, salt, check, sealed, data[:108])


def open_slot(slot: Slot, passphrase: bytes) -> bytes | None:
    """The vault key; nothing if the passphrase is another."""
    if slot.derivation == PBKDF2:
        root = pbkdf2_hmac("sha256", passphrase, slot.salt, slot.costs[0], 32)
    else:
        memory, iterations, lanes = slot.costs
        root = Argon2id(salt=slot.salt, length=32, iterations=iterations, lanes=lanes, memory_cost=memory).derive(
            passphrase
        )
    if not hmac.compare_digest(hkdf(root, b"keelson/0/slot/check"), slot.check):
        return None
    return open_gcm(hkdf(root, b"keelson/0/slot/wrap"), slot.sealed, slot.associated)


@dataclass(frozen=True)
class KeyFile:
    repository_id: bytes
    number: int
    fingerprint: bytes
    data_key: bytes
    previous_vault_key: bytes | None


def decode_key_file(data: bytes) -> KeyFile:
    ensure(data[:8] == b"KEELKEYS", "the magic is wrong")
    refuse_later(int.from_bytes(data[8:10], "little"))
    cursor = Cursor(without_sum(data)[10:])
    repository_id, number, fingerprint = cursor.take(16), cursor.u32(), cursor.take(16)
    data_key, follows = cursor.take(BOXED_KEY_BYTES), cursor.u8()
    ensure(follows in (0, 1), "neither with nor without a previous key")
    previous = cursor.take(BOXED_KEY_BYTES) if follows else None
    cursor.end()
    return KeyFile(repository_id, number, fingerprint, data_key, previous)


def fingerprint(key: bytes) -> bytes:
    return hkdf(key, b"keelson/0/fingerprint", length=16)


def open_data_key(vault_key: bytes, file: KeyFile, format_sum: bytes) -> bytes:
    context = b"\x01" + file.repository_id + struct.pack("<I", file.number) + format_sum
    data_key = open_box(vault_key, "data key", context, file.data_key)
    ensure(len(data_key) == 32, "a key that has not 32 bytes")
    return data_key


@dataclass
class VaultKeys:
    """All vault keys at hand. Installations number theirs independently, so a number may have several."""

    by_fingerprint: dict[tuple[int, bytes], bytes] = field(default_factory=dict)

    def add(self, number: int, key: bytes) -> None:
        self.by_fingerprint[number, fingerprint(key)] = key

    def numbered(self, number: int) -> list[bytes]:
        return [key for (n, _), key in self.by_fingerprint.items() if n == number]

    def opens(self, file: KeyFile) -> bool:
        return (file.number, file.fingerprint) in self.by_fingerprint

    def open_key_file(self, file: KeyFile, format_sum: bytes) -> bytes:
        """The data key. The vault key before is added, if the file holds it."""
        vault_key = self.by_fingerprint[file.number, file.fingerprint]
        data_key = open_data_key(vault_key, file, format_sum)
        if file.previous_vault_key is not None:
            before = struct.pack("<I", file.number - 1)
            self.add(file.number - 1, open_box(vault_key, "previous vault key", before, file.previous_vault_key))
        return data_key


def lineage_key(vault_key_1: bytes, lineage: bytes) -> bytes:
    return hkdf(vault_key_1, b"keelson/0/lineage", salt=lineage)


def chunk_id_key(first_data_key: bytes) -> bytes:
    return hkdf(first_data_key, b"keelson/0/chunk-id")


def chain_key(catalog_key: bytes) -> bytes:
    return hkdf(catalog_key, b"keelson/0/journal-chain")


def row_digest_key(catalog_key: bytes, row_class: int) -> bytes:
    return hkdf(catalog_key, b"keelson/0/row-digest" + bytes([row_class]))
