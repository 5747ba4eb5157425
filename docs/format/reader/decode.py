"""Reads bytes that nobody vouches for. Whatever is too long, too short or left over is damage, never a guess."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import zstandard

Item = TypeVar("Item")


class Damage(Exception):
    """What was read is not what the pages draw."""


class Unreadable(Exception):
    """No key at hand opens it, or a later release wrote it: not damage, and not checked either."""


def ensure(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Damage(otherwise)


def refuse_later(version: int) -> None:
    if version != 0:
        raise Unreadable(f"version {version}: a later release wrote it")


class Cursor:
    """Walks once over bytes, forwards. All numbers are little-endian."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def since(self, begin: int) -> bytes:
        return self._data[begin : self.at]

    def left(self) -> int:
        return len(self._data) - self.at

    def take(self, length: int) -> bytes:
        ensure(length <= self.left(), f"ends early: {length} bytes are wanted, {self.left()} are left")
        self.at += length
        return self._data[self.at - length : self.at]

    def _number(self, layout: str) -> int:
        value: int
        (value,) = struct.unpack(layout, self.take(struct.calcsize(layout)))
        return value

    def u8(self) -> int:
        return self._number("<B")

    def u16(self) -> int:
        return self._number("<H")

    def u32(self) -> int:
        return self._number("<I")

    def u64(self) -> int:
        return self._number("<Q")

    def i64(self) -> int:
        return self._number("<q")

    def text(self, bytes_max: int) -> str:
        length = self.u16()
        ensure(length <= bytes_max, f"a text of {length} bytes, more than {bytes_max}")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise Damage("a text that is not UTF-8") from None

    def blob(self, bytes_max: int) -> bytes:
        length = self.u32()
        ensure(length <= bytes_max, f"{length} bytes, more than {bytes_max}")
        return self.take(length)

    def items(self, item: Callable[[], Item], item_bytes_min: int, count_max: int | None = None) -> list[Item]:
        """A count of 4 bytes and that many items. The count never asks for more than what follows can hold."""
        count = self.u32()
        ensure(count_max is None or count <= count_max, f"{count} items, more than {count_max}")
        ensure(count * item_bytes_min <= self.left(), f"{count} items in {self.left()} bytes")
        return [item() for _ in range(count)]

    def rest(self) -> bytes:
        return self.take(self.left())

    def end(self) -> None:
        ensure(self.left() == 0, f"{self.left()} bytes are left over")


class Chunks:
    """Walks over a stream's bytes and holds no more than a chunk and what is asked for."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = b""

    def take(self, length: int) -> bytes:
        while len(self._held) < length:
            more = next(self._chunks, None)
            if more is None:
                raise Damage("the stream ends early")
            self._held += more
        taken, self._held = self._held[:length], self._held[length:]
        return taken

    def blob(self, bytes_max: int) -> bytes:
        length = int.from_bytes(self.take(4), "little")
        ensure(length <= bytes_max, f"{length} bytes, more than {bytes_max}")
        return self.take(length)

    def at_end(self) -> bool:
        while not self._held:
            more = next(self._chunks, None)
            if more is None:
                return True
            self._held = more
        return False

    def end(self) -> None:
        ensure(self.at_end(), "bytes are left over in the stream")


def decode_json_object(data: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        ensure(len({name for name, _ in pairs}) == len(pairs), "a JSON object names a field twice")
        return dict(pairs)

    def finite(number: str) -> float:
        ensure(math.isfinite(float(number)), "a number that JSON does not have")
        return float(number)

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_float=finite, parse_constant=finite)
    except (ValueError, RecursionError):
        raise Damage("not JSON") from None
    ensure(isinstance(value, dict), "not a JSON object")
    return dict(value)


def unpack_zstandard(data: bytes, length: int, dictionary: bytes = b"") -> bytes:
    """Unpacks one frame of exactly `length` bytes; more are never made, whatever the frame claims."""
    raw = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if dictionary else None
    try:
        claimed = zstandard.frame_content_size(data)
        ensure(claimed in (-1, length), f"a frame of {claimed} bytes instead of {length}")
        plain = zstandard.ZstdDecompressor(dict_data=raw).decompress(
            data, max_output_size=length, read_across_frames=False, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise Damage(f"not a Zstandard frame: {error}") from None
    ensure(len(plain) == length, f"a frame of {len(plain)} bytes instead of {length}")
    return plain
