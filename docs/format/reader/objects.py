"""`objects.md`: what the streams of an application hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from decode import Chunks, Damage, decode_json_object, ensure, refuse_later

FRAME_BYTES_MAX = 4_194_304
SEGMENT_BYTES_MAX = 253


def is_segment(text: str) -> bool:
    """Whether it may become a part of a URL."""
    return (
        0 < len(text.encode("utf-8", "surrogatepass")) <= SEGMENT_BYTES_MAX
        and text not in (".", "..")
        and not any(letter in "/%" or ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in text)
    )


def decode_objects(pieces: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    stream = Chunks(pieces)
    ensure(stream.take(4) == b"KOBJ", "the stream does not begin like one of objects")
    refuse_later(int.from_bytes(stream.take(2), "little"))
    ensure(stream.take(2) == b"\0\0", "the bytes after the version are not zero")
    while not stream.at_end():
        frame = decode_json_object(stream.blob(FRAME_BYTES_MAX))
        named = ("version", "kind", "resource", "name")
        optional = ("group", "namespace")
        texts = [frame.get(field) for field in named] + [frame[field] for field in optional if frame.get(field)]
        if not all(isinstance(text, str) and is_segment(text) for text in texts):
            raise Damage("an object has an impossible name")
        ensure(isinstance(frame.get("object"), dict), "a frame without an object")
        yield frame
