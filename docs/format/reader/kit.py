"""`kit.md`: the recovery kit, one file that a passphrase of its own opens."""

from __future__ import annotations

from typing import Any

from decode import Damage, Unreadable, decode_json_object, ensure, refuse_later
from envelope import KIT, KIT_OWNER, Owner, hkdf, open_object
from slots_and_keys import SLOT_BYTES, decode_slot, open_slot

KIT_BYTES_MAX = 8 << 20
SLOT_AT = 16


def open_kit(data: bytes, passphrase: bytes) -> dict[str, Any]:
    """The document in it."""
    ensure(len(data) <= KIT_BYTES_MAX, f"{len(data)} bytes are not a kit")
    ensure(data[:8] == b"KEELKIT\0", "the magic is wrong")
    refuse_later(int.from_bytes(data[8:10], "little"))
    ensure(data[10:SLOT_AT] == bytes(6), "reserved bytes are not zero")
    end = SLOT_AT + SLOT_BYTES
    slot = decode_slot(data[SLOT_AT:end])
    ensure(slot.vault_key == 1, f"a kit's key has number 1, not {slot.vault_key}")
    kit_key = open_slot(slot, passphrase)
    if kit_key is None:
        raise Unreadable("the passphrase is another")
    content_key = hkdf(kit_key, b"keelson/0/kit", salt=slot.id)
    sealed = open_object(data[end:], Owner(KIT_OWNER, slot.id, {1: content_key}), KIT, slot.id)
    ensure(sealed.directory == b"", "the directory of a kit is empty")
    document = decode_json_object(sealed.only_part())
    version = document.get("version")
    if not isinstance(version, int):
        raise Damage("the document states no version")
    refuse_later(version)
    return document
